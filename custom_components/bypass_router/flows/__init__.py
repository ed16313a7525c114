"""The forms: of a forward, of the options, and what they have in common."""
