"""What brings forwards back when the router starts, before Home Assistant is there."""
