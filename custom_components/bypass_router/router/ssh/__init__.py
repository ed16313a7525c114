"""Scripts on a router, over SSH: the connection, its keys, its shells, and sudo."""
