"""What fits into an entity's attributes.

Home Assistant's recorder keeps no attributes of a state at all, and says so in the log,
where they take more than 16,384 bytes together. So whatever can grow is told in parts.
"""

from collections.abc import Sequence

from homeassistant.helpers.json import json_bytes

# Bytes, as JSON. The rest is for a state's other attributes: a name of 100 letters may
# take 400, and a device's icon, picture and class some more.
MOST = 12_000


def parts_of(items: Sequence[str]) -> list[list[str]]:
    """Return the items in as few lists as may be, each of which fits."""
    parts: list[list[str]] = [[]]
    size = 0
    for item in items:
        length = len(json_bytes(item)) + 1
        if size + length > MOST and parts[-1]:
            parts.append([])
            size = 0
        parts[-1].append(item)
        size += length
    return parts


def fitting(text: str) -> str:
    """Return the text, or its beginning where it does not fit."""
    if len(json_bytes(text)) <= MOST:
        return text
    # No letter takes more than six bytes.
    return f"{text[: MOST // 6 - 1]}…"
