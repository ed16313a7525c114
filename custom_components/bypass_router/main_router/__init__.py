"""The main router's half of each forward: set with it, read back, and shown."""
