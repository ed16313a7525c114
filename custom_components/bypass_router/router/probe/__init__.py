"""What a router is: its kernel, its addresses, and its firewalls."""
