"""The connections of each forward, on disk.

The router's own counters keep what is not written down yet, so little is written: at
most every five minutes while connections come, nothing while none come, and at once
when a counter has begun again, because from then on the file alone knows what was
before. Whoever kills Home Assistant loses nothing, unless the rules are set again while
it is away: then the connections since the last writing, of five minutes at the most.
"""

from collections.abc import Mapping
from typing import TypedDict

from homeassistant.core import HomeAssistant, callback
from homeassistant.helpers.storage import Store

from ..const import DOMAIN
from .tally import Tally

_VERSION = 1
# Seconds. A router's disk or Home Assistant's may be flash, which wears.
_SAVE_DELAY = 300


class _StoredTally(TypedDict):
    """A forward's line."""

    total: int
    seen: int
    boot: str
    last: float | None


class Totals:
    """The tallies of one entry's forwards, by id."""

    def __init__(self, hass: HomeAssistant, entry_id: str) -> None:
        """Name the file; nothing is read yet."""
        self._store = Store[dict[str, _StoredTally]](
            hass, _VERSION, f"{DOMAIN}.{entry_id}.totals", atomic_writes=True
        )
        self._tallies: Mapping[str, Tally] = {}
        self._waiting = False

    async def load(self) -> dict[str, Tally]:
        """Return what the file holds; nothing where there is none."""
        stored = await self._store.async_load() or {}
        return {key: Tally(**tally) for key, tally in stored.items()}

    @callback
    def save_soon(self, tallies: Mapping[str, Tally]) -> None:
        """Write the tallies before long, with whatever is to be written until then."""
        self._tallies = tallies
        if not self._waiting:
            self._waiting = True
            self._store.async_delay_save(self._written, _SAVE_DELAY)

    async def save_now(self, tallies: Mapping[str, Tally]) -> None:
        """Write the tallies."""
        self._tallies = tallies
        await self._store.async_save(self._written())

    async def flush(self) -> None:
        """Write what waits to be written."""
        if self._waiting:
            await self.save_now(self._tallies)

    async def remove(self) -> None:
        """Delete the file."""
        await self._store.async_remove()

    @callback
    def _written(self) -> dict[str, _StoredTally]:
        """Return what is to be written, and take it for written."""
        self._waiting = False
        return {
            key: {
                "total": tally.total,
                "seen": tally.seen,
                "boot": tally.boot,
                "last": tally.last,
            }
            for key, tally in self._tallies.items()
        }
