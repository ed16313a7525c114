"""When a router is read although it has reported nothing."""

from collections.abc import Callable
from datetime import datetime
from typing import Final

from homeassistant.core import CALLBACK_TYPE, HomeAssistant, callback
from homeassistant.helpers.event import async_call_later

# Seconds until a router that gave an odd answer, or refused a change unasked, is
# read again: at first, and at the most.
FIRST_DELAY: Final = 1.0
LAST_DELAY: Final = 60.0


class Retry:
    """One planned read at a time."""

    def __init__(self, hass: HomeAssistant, act: Callable[[], None]) -> None:
        """Take what reads; nothing is planned yet."""
        self._hass = hass
        self._act = act
        self._delay = FIRST_DELAY
        self._cancel: CALLBACK_TYPE | None = None

    @callback
    def async_back_off(self) -> None:
        """Read again, ever more seldom until all is as desired."""
        self.async_in(self._delay)
        self._delay = min(self._delay * 2, LAST_DELAY)

    @callback
    def async_reset(self) -> None:
        """Begin again with short delays."""
        self._delay = FIRST_DELAY

    @callback
    def async_in(self, seconds: float) -> None:
        """Read in so many seconds, and not when it was planned before."""
        self.async_cancel()

        @callback
        def due(_: datetime) -> None:
            self._cancel = None
            self._act()

        self._cancel = async_call_later(self._hass, seconds, due)

    @callback
    def async_cancel(self) -> None:
        """Don't read."""
        if self._cancel:
            self._cancel()
            self._cancel = None
