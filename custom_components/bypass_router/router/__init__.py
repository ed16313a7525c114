"""The SSH and firewall client of Bypass Router; knows nothing of Home Assistant."""
