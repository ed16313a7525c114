"""A real Home Assistant in the lab, and the demo that walks through it."""
