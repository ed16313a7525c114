"""The doctor as the user meets it: when it is asked, and what it is heard to say."""
