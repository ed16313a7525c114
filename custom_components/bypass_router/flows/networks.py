"""The field for networks, into which all of them are typed at once."""

from collections.abc import Iterable
import re
from typing import Any, override

from homeassistant.helpers.selector import TextSelector, TextSelectorConfig
import voluptuous as vol

# What people write between them.
_BETWEEN = re.compile(r"[\s,;，；、]+")


class NetworksSelector(TextSelector):
    """Takes several networks as one text, or as a list; what comes of it is a list."""

    def __init__(self) -> None:
        """Leave room for more than one line."""
        super().__init__(TextSelectorConfig(multiline=True))

    @override
    def __call__(self, data: Any) -> Any:
        """Validate what was sent."""
        if isinstance(data, list):
            return vol.Schema([str])(data)
        return [text for text in _BETWEEN.split(str(super().__call__(data))) if text]


def as_typed(networks: Iterable[str]) -> str:
    """Return networks as they are typed."""
    return "\n".join(networks)
