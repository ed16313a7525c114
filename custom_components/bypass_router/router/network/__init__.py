"""Who is around a router: its neighbours, and who listens on it."""
