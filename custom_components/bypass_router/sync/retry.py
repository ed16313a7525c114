"""When a router is looked at although it has told nothing."""

from collections.abc import Callable
from datetime import datetime
from typing import Final

from homeassistant.core import CALLBACK_TYPE, HomeAssistant, callback
from homeassistant.helpers.event import async_call_later

# Seconds until a router that gave an odd answer, or refused a change unasked, is
# looked at again: at first, and at the most.
_FIRST: Final = 1.0
_LAST: Final = 60.0


class NextLook:
    """One look at a time that is planned."""

    def __init__(self, hass: HomeAssistant, look: Callable[[], None]) -> None:
        """Take what looks; nothing is planned yet."""
        self._hass = hass
        self._look = look
        self._delay = _FIRST
        self._forget: CALLBACK_TYPE | None = None

    @callback
    def async_retry(self) -> None:
        """Look again, ever more seldom until all is as wished."""
        self.async_plan(self._delay)
        self._delay = min(self._delay * 2, _LAST)

    @callback
    def async_all_well(self) -> None:
        """Begin anew with short delays."""
        self._delay = _FIRST

    @callback
    def async_plan(self, seconds: float) -> None:
        """Look in so many seconds, and not when it was planned before."""
        self.async_forget()

        @callback
        def look(_: datetime) -> None:
            self._forget = None
            self._look()

        self._forget = async_call_later(self._hass, seconds, look)

    @callback
    def async_forget(self) -> None:
        """Don't look."""
        if self._forget:
            self._forget()
            self._forget = None
