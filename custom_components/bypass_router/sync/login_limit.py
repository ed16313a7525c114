"""No more refused logins than a router forgives.

Programs such as fail2ban lock out who fails to log in a few times in ten
minutes, and then no one reaches the router any more from here.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
import math
import time

from homeassistant.core import HomeAssistant
from homeassistant.util.hass_dict import HassKey

from ..const import DOMAIN
from ..router.errors import AuthenticationFailed, TooManyAttempts

# fail2ban's default is five in ten minutes.
_ATTEMPTS = 3
_SECONDS = 600.0


@dataclass(frozen=True, slots=True)
class _Logins:
    """To one router: when it refused us last, and who is at it now."""

    refused: deque[float] = field(default_factory=lambda: deque(maxlen=_ATTEMPTS))
    turn: asyncio.Lock = field(default_factory=asyncio.Lock)

    def check(self, host: str) -> None:
        """Raise TooManyAttempts if one more refusal could lock us out."""
        if len(self.refused) == _ATTEMPTS:
            wait = self.refused[0] + _SECONDS - time.monotonic()
            if wait > 0:
                raise TooManyAttempts(host=host, minutes=str(math.ceil(wait / 60)))


_KEY: HassKey[dict[tuple[str, int], _Logins]] = HassKey(f"{DOMAIN}_logins")


@asynccontextmanager
async def one_attempt(hass: HomeAssistant, host: str, port: int) -> AsyncIterator[None]:
    """Log in to a router in here, one at a time; a refusal is remembered.

    Several at once could be refused more often than we may. Raises TooManyAttempts if
    one more refusal could lock us out.
    """
    logins = hass.data.setdefault(_KEY, {}).setdefault((host, port), _Logins())
    async with logins.turn:
        logins.check(host)
        try:
            yield
        except AuthenticationFailed:
            logins.refused.append(time.monotonic())
            raise
