"""The connections of each forward, on disk.

The router's own counters keep what is not written down yet, so little is written: at
most every five minutes while connections come, nothing while none come, and at once
when a counter has begun again, because from then on the file alone knows what was
before. Whoever kills Home Assistant loses nothing, unless the rules are set again while
it is away: then the connections since the last writing, of five minutes at the most.
"""

from collections.abc import Mapping
from datetime import datetime
import logging
from typing import TypedDict

from homeassistant.const import EVENT_HOMEASSISTANT_FINAL_WRITE
from homeassistant.core import CALLBACK_TYPE, Event, HomeAssistant, callback
from homeassistant.helpers.event import async_call_later

from ..const import DOMAIN
from ..storage import CheckedStore, NotLoaded, NotSaved
from .tally import Tally
from .visits import StoredVisits, is_moment, stored, visits_in

_LOGGER = logging.getLogger(__name__)

# Seconds. A router's disk or Home Assistant's may be flash, which wears.
_SAVE_DELAY = 300


class _StoredTally(TypedDict):
    """A forward's line."""

    total: int
    seen: int
    boot: str
    last: float | None
    visits: StoredVisits


class Totals:
    """The tallies of one entry's forwards, by id."""

    def __init__(self, hass: HomeAssistant, entry_id: str) -> None:
        """Name the file; nothing is read yet."""
        self._hass = hass
        self._store = CheckedStore(hass, f"{DOMAIN}.{entry_id}.totals")
        self._tallies: Mapping[str, Tally] = {}
        self._waiting: list[CALLBACK_TYPE] = []
        self._readable = True

    async def load(self) -> dict[str, Tally]:
        """Return what the file holds; nothing where there is none, or makes no sense.

        One that can't be read is let be: what it holds may be of use another time.
        """
        try:
            stored = await self._store.async_load()
        except NotLoaded as err:
            _LOGGER.warning("The numbers of connections can't be read: %s", err)
            self._readable = False
            return {}
        lines = stored.items() if isinstance(stored, dict) else ()
        return {key: tally for key, line in lines if (tally := _tally_of(line))}

    @callback
    def save_soon(self, tallies: Mapping[str, Tally]) -> None:
        """Write the tallies before long, with whatever is to be written until then."""
        self._tallies = tallies
        if not self._waiting and self._readable:
            self._waiting = [
                async_call_later(self._hass, _SAVE_DELAY, self._save),
                self._hass.bus.async_listen_once(
                    EVENT_HOMEASSISTANT_FINAL_WRITE, self._save_last
                ),
            ]

    async def save_now(self, tallies: Mapping[str, Tally]) -> None:
        """Write the tallies; where the disk does not take them, before long."""
        self._tallies = tallies
        while self._waiting:
            self._waiting.pop()()
        if not self._readable:
            return
        try:
            await self._store.async_save({k: _line_of(t) for k, t in tallies.items()})
        except NotSaved as err:
            _LOGGER.warning("The numbers of connections are not written: %s", err)
            self.save_soon(tallies)

    async def flush(self) -> None:
        """Write what waits to be written."""
        if self._waiting:
            await self.save_now(self._tallies)
        # What the disk does not take is lost.
        while self._waiting:
            self._waiting.pop()()

    async def remove(self) -> None:
        """Delete the file."""
        await self._store.async_remove()

    async def _save(self, _: datetime) -> None:
        """Write them, as it is time."""
        self._waiting.pop(0)
        await self.save_now(self._tallies)

    async def _save_last(self, _: Event) -> None:
        """Write them, as Home Assistant ends."""
        self._waiting.pop()
        await self.flush()


def _line_of(tally: Tally) -> _StoredTally:
    """Return what is written of a forward."""
    return {
        "total": tally.total,
        "seen": tally.seen,
        "boot": tally.boot,
        "last": tally.last,
        "visits": stored(tally.visits),
    }


def _tally_of(line: object) -> Tally | None:
    """Return what a line says, if it makes sense."""
    match line:
        case {
            "total": int(total),
            "seen": int(seen),
            "boot": str(boot),
            "last": float() | int() | None as last,
            **more,
        } if total >= 0 and seen >= 0 and is_moment(last or 0):
            visits = visits_in(more.get("visits"))
            return Tally(total, seen, boot, last, visits=visits)
        case _:
            return None
