"""The addresses of hosts that forwards let in by their names.

The other home's address changes, and its name stays. What can't be resolved is as it
was: a forward is not closed to its guests by a name server that is away. A name that
was never resolved lets nobody in.
"""

import asyncio
from collections.abc import Callable, Collection, Mapping
from contextlib import suppress
from datetime import datetime, timedelta
from ipaddress import IPv4Address
import socket
from typing import Final

from homeassistant.core import CALLBACK_TYPE, HomeAssistant, callback
from homeassistant.helpers.event import async_track_time_interval

from ..const import DOMAIN
from ..router.forward import is_host
from ..storage import CheckedStore, NotLoaded, NotSaved

type Addresses = Mapping[str, tuple[IPv4Address, ...]]

AGAIN: Final = timedelta(minutes=5)
# Seconds that a name server is waited for.
_LIMIT: Final = 10.0
# Each takes a thread of Home Assistant's, for as long as a name server is silent.
_AT_ONCE: Final = 8
# A name of one home has one. Whoever may change it lets in no more than these.
_MOST: Final = 16


def names_file(hass: HomeAssistant, entry_id: str) -> CheckedStore:
    """Return the file of what an entry's names were resolved to."""
    return CheckedStore(hass, f"{DOMAIN}.{entry_id}.names")


async def addresses_of(hass: HomeAssistant, name: str) -> tuple[IPv4Address, ...]:
    """Return the IPv4 addresses of a host, in order; none where it is not resolved."""
    try:
        async with asyncio.timeout(_LIMIT):
            found = await hass.loop.getaddrinfo(
                name, None, family=socket.AF_INET, type=socket.SOCK_STREAM
            )
    except OSError, TimeoutError, UnicodeError:
        return ()
    addresses = {IPv4Address(address[0]) for *_, address in found}
    return tuple(sorted(filter(is_host, addresses)))[:_MOST]


class SourceNames:
    """The names that one entry's forwards let in, resolved again and again."""

    def __init__(
        self,
        hass: HomeAssistant,
        entry_id: str,
        on_change: Callable[[], None],
        tell: Callable[[Addresses], None],
    ) -> None:
        """Name the file, and say who hears of other addresses.

        Who is to `tell` it hears of the names that are not resolved, and by which
        addresses they go on.
        """
        self._hass = hass
        self._file = names_file(hass, entry_id)
        self._on_change = on_change
        self._tell = tell
        self.names = frozenset[str]()
        """Those that count."""
        self._failed = frozenset[str]()
        self._resolving = asyncio.Lock()
        self._threads = asyncio.Semaphore(_AT_ONCE)
        self.addresses: Addresses = {}
        """What is known of each name."""

    async def load(self) -> None:
        """Read what was known before; what makes no sense is not."""
        with suppress(NotLoaded):
            self.addresses = _parsed(await self._file.async_load())

    @callback
    def async_start(self) -> CALLBACK_TYPE:
        """Resolve all of them again and again, until what this returns is called."""

        async def again(_: datetime) -> None:
            await self.resolve(self.names)

        return async_track_time_interval(self._hass, again, AGAIN)

    async def resolve(self, names: Collection[str]) -> None:
        """Resolve these names, and take note of all that count."""
        async with self._resolving:
            async with asyncio.TaskGroup() as group:
                tasks = {name: group.create_task(self._look_up(name)) for name in names}
            found = {name: task.result() for name, task in tasks.items()}
            known = {
                name: found.get(name) or self.addresses.get(name, ())
                for name in self.names
            }
            failed = {name for name in known if found.get(name) == ()}
            failed |= self._failed & known.keys() - found.keys()
            # A name server may be away for a moment, as at a start.
            unknown = {name for name in failed if not known[name]}
            self._tell({name: known[name] for name in failed & self._failed | unknown})
            self._failed = frozenset(failed)
            if known != self.addresses:
                self.addresses = known
                self._on_change()
                # After a start, they are resolved again.
                with suppress(NotSaved):
                    await self._file.async_save(
                        {name: list(map(str, it)) for name, it in known.items() if it}
                    )

    async def _look_up(self, name: str) -> tuple[IPv4Address, ...]:
        """Return the addresses of a host, a few at a time."""
        async with self._threads:
            return await addresses_of(self._hass, name)


def _parsed(stored: object) -> Addresses:
    """Return what the file says that makes sense."""
    if not isinstance(stored, dict):
        return {}
    addresses: dict[str, tuple[IPv4Address, ...]] = {}
    for name, texts in stored.items():
        with suppress(ValueError, TypeError):
            found = [IPv4Address(text) for text in texts if isinstance(text, str)]
            addresses[name] = tuple(filter(is_host, found))[:_MOST]
    return addresses
