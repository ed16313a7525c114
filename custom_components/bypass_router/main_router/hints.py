"""What others say that may have changed at the main router, which is looked at then."""

from collections.abc import Callable
import time

from homeassistant.core import HomeAssistant, callback

from ..sync.rate_limit import RateLimit
from ..sync.retry import Retry

# Seconds in which hints of one change come.
_PAUSE = 1.0


class Hints:
    """Has it looked soon after a hint, but not often, however many of them come.

    Anybody in the LAN can make some up.
    """

    def __init__(self, hass: HomeAssistant, look: Callable[[], None]) -> None:
        """Take what looks."""
        self._later = Retry(hass, self._due)
        self._look = look
        self._limit = RateLimit()
        self._waits = False

    @callback
    def async_take(self) -> None:
        """Take one."""
        if not self._waits:
            self._waits = True
            self._later.async_in(max(_PAUSE, self._limit.left(time.monotonic())))

    @callback
    def async_stop(self) -> None:
        """Forget those that were not followed yet, and take no more."""
        self._waits = True
        self._later.async_cancel()

    @callback
    def _due(self) -> None:
        """Have it looked."""
        self._waits = False
        self._limit.spend(time.monotonic())
        self._look()
