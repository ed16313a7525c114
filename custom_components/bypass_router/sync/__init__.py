"""What is desired on a router, and how it is brought about and kept."""
