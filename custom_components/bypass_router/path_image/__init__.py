"""The picture of a forward's path, as an SVG."""
