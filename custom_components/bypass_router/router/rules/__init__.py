"""What every part of the rules can do, and all parts together."""
