"""The main router's port mappings, asked for by scripts on the bypass router."""
