"""What is desired on a router, and how it is applied and kept."""
