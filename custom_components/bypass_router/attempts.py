"""No more refused logins than a router forgives.

Programs such as fail2ban lock out who fails to log in a few times in ten
minutes, and then nobody reaches the router any more from here.
"""

from collections import defaultdict, deque
import math
import time

from homeassistant.core import HomeAssistant, callback
from homeassistant.util.hass_dict import HassKey

from .const import DOMAIN
from .router.errors import TooManyAttempts

# fail2ban's default is five in ten minutes.
_ATTEMPTS = 3
_SECONDS = 600.0

type _Refusals = defaultdict[tuple[str, int], deque[float]]
_KEY: HassKey[_Refusals] = HassKey(f"{DOMAIN}_refusals")


def _refusals(hass: HomeAssistant, host: str, port: int) -> deque[float]:
    """Return when a router refused us last."""
    refusals: _Refusals = hass.data.setdefault(
        _KEY, defaultdict(lambda: deque(maxlen=_ATTEMPTS))
    )
    return refusals[host, port]


@callback
def async_check_attempts(hass: HomeAssistant, host: str, port: int) -> None:
    """Raise TooManyAttempts if one more refusal could lock us out."""
    refusals = _refusals(hass, host, port)
    if len(refusals) == _ATTEMPTS:
        wait = refusals[0] + _SECONDS - time.monotonic()
        if wait > 0:
            raise TooManyAttempts(host=host, minutes=str(math.ceil(wait / 60)))


@callback
def async_note_refusal(hass: HomeAssistant, host: str, port: int) -> None:
    """Remember that a router refused us."""
    _refusals(hass, host, port).append(time.monotonic())
