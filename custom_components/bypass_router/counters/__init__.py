"""The connections through each forward: counted, and kept over restarts."""
