"""Has forwards follow their devices to the addresses that these have now.

The router says when a device may have moved. What it remembers of its neighbours is
read then, and only where that is odd, the addresses concerned are asked for. A forward
whose device is nowhere to be seen is kept closed while another one has its address.
"""

import asyncio
from collections.abc import Callable, Collection, Iterator, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address
import logging
import time
from typing import Any, Final

from homeassistant.config_entries import ConfigEntry, ConfigSubentry
from homeassistant.const import CONF_TARGET
from homeassistant.core import HomeAssistant, callback

from .activity import switches_of, tell_activity
from .const import CONF_TAKEN
from .devices import name_of
from .diagnosis.texts import Texts
from .router.errors import RouterError
from .router.network.whereabouts import (
    Followed,
    Found,
    Sights,
    Whereabouts,
    to_ask_for,
    whereabouts,
)
from .router.router import Router
from .sync.history import History
from .sync.retry import Retry
from .unforeseen import Surprises

_LOGGER = logging.getLogger(__name__)

# Seconds between two times that a device is asked for: at first, and at the most.
_FIRST_PAUSE: Final = 5.0
_LAST_PAUSE: Final = 60.0
# Seconds between two looks.
_BREATH: Final = 0.2
# As often the router is asked that can't tell yet: its kernel forgets within a minute.
_TRIES: Final = 12
# Seconds in which the router still tells of what was asked for.
_ECHO: Final = 1.0
# A device that moves more often within so many seconds is followed more slowly.
_MOVES: Final = 3
_WITHIN: Final = 600.0
# Devices that are asked for at once.
_MOST: Final = 8
_MOVED, _TAKEN = "followed", "target_taken"


@dataclass(slots=True)
class _Case:
    """A device that may have moved, and does not seem to."""

    asked: frozenset[IPv4Address] = frozenset()
    """What it was asked for at."""
    tries: int = 0
    pause: float = _FIRST_PAUSE
    due: float = 0.0
    """Not before that, by the monotonic clock."""
    again: bool = False
    """Whether it is to be asked for then, though nothing more may be told."""

    def wait(self, asked: frozenset[IPv4Address]) -> None:
        """Ask again after a while, which grows."""
        self.asked = asked
        self.due = time.monotonic() + self.pause
        self.again = False
        self.pause = min(self.pause * 2, _LAST_PAUSE)


class Follower:
    """The devices that one entry's forwards follow."""

    def __init__(
        self,
        hass: HomeAssistant,
        entry: ConfigEntry[Any],
        *,
        router: Callable[[], Router | None],
        followed: Callable[[], Mapping[str, Followed]],
        texts: Callable[[], Texts],
        history: Callable[[], History],
    ) -> None:
        """Take where to ask for the router while it is connected, and what follows."""
        self._hass = hass
        self._entry = entry
        self._router = router
        self._followed = followed
        self._texts = texts
        self._history = history
        self._cases: dict[Followed, _Case] = {}
        self._moves: dict[str, list[float]] = {}
        self._looking: asyncio.Task[None] | None = None
        self._unread = False
        self._echo_until = 0.0
        self._again = Retry(hass, self.async_met)
        self._surprises = Surprises(entry.title)

    @callback
    def async_met(self) -> None:
        """Look where the devices are, since one may have moved."""
        self._unread = True
        if self._looking is None:
            self._looking = self._entry.async_create_background_task(
                self._hass,
                self._look(),
                f"{self._entry.title} followed",
                eager_start=False,
            )

    @callback
    def async_stop(self) -> None:
        """Look no more."""
        self._again.async_cancel()

    async def _look(self) -> None:
        """Look as long as there is news."""
        try:
            while self._unread and (router := self._router()):
                self._unread = False
                with self._surprises.told("following devices"):
                    await self._look_once(router)
                # Whoever plays with addresses keeps no router busy.
                await asyncio.sleep(_BREATH)
        except RouterError as err:
            # Whoever connects again looks again; or it is busy.
            self._again.async_in(_LAST_PAUSE)
            _LOGGER.debug("%s tells no neighbours: %s", self._entry.title, err)
        finally:
            self._looking = None

    async def _look_once(self, router: Router) -> None:
        """Find out where the devices are that may have moved. Raises RouterError."""
        sights = await router.sights()
        asked = self._odd(sights, echo=time.monotonic() < self._echo_until)
        if asked:
            addresses = frozenset[IPv4Address]().union(*asked.values())
            sights = await router.sights(addresses)
            self._echo_until = time.monotonic() + _ECHO
            for it in asked:
                self._cases[it].wait(asked[it])
                self._conclude(it, self._cases[it], whereabouts(it, sights))
        dues = [case.due for case in self._cases.values() if case.again]
        if dues:
            self._again.async_in(max(min(dues) - time.monotonic(), 0.0))
        else:
            self._again.async_cancel()

    def _odd(
        self, sights: Sights, *, echo: bool
    ) -> dict[Followed, frozenset[IPv4Address]]:
        """Return which devices are to be asked for now, and at which addresses."""
        devices = sorted(set(self._followed().values()))
        cases, self._cases = self._cases, {}
        asked: dict[Followed, frozenset[IPv4Address]] = {}
        for it in devices:
            addresses = to_ask_for(it, sights)
            if not addresses:
                if (old := sights.of.get(it.target)) and old.is_known:
                    self._keep_from_stranger(it, taken=False)
                continue
            case = cases.get(it) or _Case(due=self._rests_until(it.mac))
            self._cases[it] = case
            if time.monotonic() < case.due:
                # What we asked ourselves is no news.
                case.again = case.again or not (echo and addresses == case.asked)
            elif len(asked) < _MOST:
                asked[it] = addresses
            else:
                self._unread = True
        return asked

    def _conclude(self, it: Followed, case: _Case, result: Whereabouts) -> None:
        """Do what follows from where a device was found."""
        match result.found:
            case Found.MOVED if result.address:
                self._move(it, result.address)
            case Found.HERE:
                case.tries = 0
                self._keep_from_stranger(it, taken=False)
            case found:
                if found is Found.TAKEN:
                    self._keep_from_stranger(it, taken=True)
                case.tries += 1
                if case.tries < _TRIES:
                    case.due, case.again = time.monotonic() + _FIRST_PAUSE, True

    def _move(self, it: Followed, address: IPv4Address) -> None:
        """Have the forwards lead to where the device is now."""
        now = time.monotonic()
        moves = [then for then in self._moves.get(it.mac, []) if then > now - _WITHIN]
        self._moves[it.mac] = [*moves, now]
        before = str(it.target)
        words = {
            "device": name_of(self._hass, address, it.mac),
            "before": before,
            "after": str(address),
        }
        moved = list(self._those_of(it))
        for subentry in moved:
            data = {**subentry.data, CONF_TARGET: str(address)}
            data.pop(CONF_TAKEN, None)
            self._hass.config_entries.async_update_subentry(
                self._entry, subentry, data=data
            )
        self._tell(_MOVED, moved, words, f"{before} → {address}")

    def _rests_until(self, mac: str) -> float:
        """Return when a device may move again that has moved often, by the clock."""
        moves = self._moves.get(mac, [])
        if len(moves) < _MOVES:
            return 0.0
        doubled = min(len(moves) - _MOVES, 10)
        return moves[-1] + min(_FIRST_PAUSE * 2.0**doubled, _LAST_PAUSE)

    def _keep_from_stranger(self, it: Followed, *, taken: bool) -> None:
        """Keep the forwards closed while another device has their address, or not."""
        changed = [
            subentry
            for subentry in self._those_of(it)
            if (subentry.data.get(CONF_TAKEN) is True) is not taken
        ]
        for subentry in changed:
            data = {**subentry.data, CONF_TAKEN: True}
            if not taken:
                del data[CONF_TAKEN]
            self._hass.config_entries.async_update_subentry(
                self._entry, subentry, data=data
            )
        if taken:
            self._tell(_TAKEN, changed, {"target": str(it.target)}, str(it.target))

    def _those_of(self, it: Followed) -> Iterator[ConfigSubentry]:
        """Return the forwards that follow a device from an address."""
        return (
            self._entry.subentries[key]
            for key, other in self._followed().items()
            if other == it and key in self._entry.subentries
        )

    def _tell(
        self,
        what: str,
        subentries: Collection[ConfigSubentry],
        words: Mapping[str, str],
        cause: str,
    ) -> None:
        """Tell it in the activity of each forward."""
        if not subentries:
            return
        ids = tuple(subentry.subentry_id for subentry in subentries)
        self._history().record(what, ids, cause)
        message = self._texts().get(what, **words)
        tell_activity(self._hass, switches_of(self._hass, ids), message)
