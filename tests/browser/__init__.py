"""A person with a browser, who walks through a Home Assistant in the lab."""
