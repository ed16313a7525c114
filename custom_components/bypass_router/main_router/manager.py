"""Has the main router forward to the bypass router what is on there.

The bypass router asks, by scripts: a main router lets each host open ports for itself
alone. It is asked whenever something else is desired, and every few minutes, for some
forget what they were asked for. Whatever it answers, a forward stays as it is on the
bypass router, where it is of use without the main router too.
"""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Collection, Mapping
from dataclasses import replace
from ipaddress import IPv4Address
import logging
import math
import time
from typing import Any

from homeassistant.config_entries import ConfigEntry
from homeassistant.core import HomeAssistant, callback

from ..router.doctor.report import Reason
from ..router.errors import RouterError
from ..router.port_mapping.base import (
    Answer,
    Outcome,
    PortMapper,
    PublicPort,
    Refusal,
)
from ..router.router import Router
from ..storage import NotLoaded, NotSaved
from ..unforeseen import Surprises
from .asking import Asking
from .discovery import Discovery
from .events import Events
from .face import Face
from .findings import OFF, PublicAddress, halves_of, nobody, not_known
from .half import MainHalf
from .hints import Hints
from .looks import Looks
from .plan import MOST_PORTS, Desired, Owner, mappings_of
from .records import Record, Records
from .search import is_asked, main_router_of

_LOGGER = logging.getLogger(__name__)

# Seconds between looks at what the main router has: some drop in ten minutes what no
# one uses.
_LOOK_INTERVAL = 240.0
# The same, where nothing is on, and only its public address may be another.
_IDLE_INTERVAL = 3600.0
# Seconds after which it is looked whether a mapping is still there that was taken.
_SECOND_LOOK = 5.0
# Seconds until a main router is asked again that did not answer, at first.
_FIRST_DELAY = 15.0
# Seconds that a switch waits for the main router at the most.
_PATIENCE = 15.0
UNTOLD = Refusal(Answer.UNSUPPORTED)


type Find = Callable[
    [Router, IPv4Address, Collection[str]], Awaitable[PortMapper | Refusal]
]
"""Finds out by which protocol a main router can be asked. Raises RouterError."""


class MainRouter:
    """The main router of one entry, as far as it is asked to forward by itself."""

    def __init__(
        self,
        hass: HomeAssistant,
        entry: ConfigEntry[Any],
        face: Face,
        find: Find,
        changed: Callable[[], None],
        *,
        left_out: Callable[[str], bool],
    ) -> None:
        """Take whose it is, and who hears of what is found; nothing is asked yet.

        It is not asked for forwards that are `left_out`.
        """
        self._left_out = left_out
        self._entry = entry
        self._face = face
        self._find = find
        self._changed = changed
        self._records = Records(hass, entry.entry_id)
        self._looks = Looks(hass, self.settle_soon)
        self._hints = Hints(hass, self._looks.at_all_soon)
        self._discovery = Discovery(hass, face.in_background, self._heard)
        self._events = Events(hass, face.in_background, self._hints.async_take)
        self._surprises = Surprises(entry.title)
        self._acting = asyncio.Lock()
        self._next: asyncio.Task[None] | None = None
        self._under_way: asyncio.Task[None] | None = None
        self._closing: Counter[str] = Counter()
        self._anew: set[str] = set()
        self._planned: Desired = {}
        self._ends: Mapping[str, int] = {}
        self._router: Router | None = None
        self._delay = _FIRST_DELAY
        self.asking: Asking | None = None
        """What asks it, once it is known how it can be asked."""
        self.gateway: IPv4Address | None = None
        """The main router's address in the LAN, once it is known."""
        self.public_address: PublicAddress = UNTOLD
        """Its address at the internet's side, as it says itself."""
        self.halves: Mapping[str, MainHalf] = {}
        """The main router's half of forwards that are on, by id."""

    async def start(self) -> None:
        """Read what it was asked for before; its answers are worth more than that."""
        self._discovery.async_follow(self.asks)
        try:
            await self._records.load()
        except NotLoaded as err:
            _LOGGER.warning(
                "%s: what the main router was asked for can't be read: %s",
                self._entry.title,
                err,
            )

    @property
    def asks(self) -> bool:
        """Whether the user has it asked for what is on."""
        return is_asked(self._entry)

    @property
    def left(self) -> Collection[Record]:
        """What it may have of forwards that were removed, while it can't be asked."""
        if self.asking and self._face.connected:
            return ()
        forwards, now = self._face.forwards, time.time()
        return [
            record
            for record in self.records
            if record.forward_id not in forwards and record.until > now
        ]

    @property
    def records(self) -> Collection[Record]:
        """What it was asked for, and has not closed since."""
        return self._records.mappings.values()

    @property
    def locations(self) -> Collection[str]:
        """Where it may describe itself, as it was heard to say."""
        return self._discovery.locations or self._records.locations

    def half(self, forward_id: str) -> MainHalf | None:
        """Return its half of a forward; None where no one tells of it."""
        if not self.asks or self._left_out(forward_id):
            return None
        if half := self.halves.get(forward_id):
            return half
        if self._face.is_on(forward_id) or self._has(forward_id):
            return not_known(Reason.MAIN_UNASKED)
        return OFF

    @callback
    def show(self) -> None:
        """Have it asked if the bypass router shows something else than before."""
        self._discovery.async_follow(self.asks)
        idle = not self._records.mappings and not self._acting.locked()
        if not self.asks and idle:
            self._events.async_follow(None)
            if self.halves:
                self._show({})
            return
        if not self._is_planned:
            self.settle_soon()

    @property
    def _is_planned(self) -> bool:
        """Whether it was asked for just what is desired, or is being asked."""
        router = self._face.connected
        desired = self._desired()
        return (router, desired, self._ends_of(desired)) == (
            self._router,
            self._planned,
            self._ends,
        )

    @callback
    def _heard(self, gateway: IPv4Address, /, *, gone: bool) -> None:
        """Find out anew what it is, since it went, came or began anew."""
        if gateway == self.gateway:
            self.asking = None
            if gone:
                self._back_off()
            else:
                self._delay = _FIRST_DELAY
                self._hints.async_take()

    @callback
    def settle_soon(self) -> None:
        """Have it asked, and wait for nothing."""
        if self._next is None and not self._face.stopped:
            # Not eagerly: it would begin, and end the time to join, in here.
            self._next = self._face.in_background(
                self._act(), "main router", eager_start=False
            )

    async def settle(self) -> None:
        """Have it asked of all ports, and wait for its answers, but not for ever."""
        self._looks.at_all_soon()
        await _patiently(self._next)

    async def opened(self) -> None:
        """Wait until it was asked for a forward that has come on."""
        if not self.asks:
            return
        if self._next is None and not self._is_planned:
            self.settle_soon()
        if self._delay == _FIRST_DELAY:
            # It was told as the forward came on, and perhaps it is all done.
            await _patiently(self._next or self._under_way)

    async def close(self, forward_id: str) -> None:
        """Have it close what a forward had, which is about to go off."""
        self._closing[forward_id] += 1
        if self._has(forward_id) or self._opens(forward_id):
            self.settle_soon()
            await _patiently(self._next)

    def _opens(self, forward_id: str) -> bool:
        """Return whether it is being asked for something of a forward."""
        planned = any(key == forward_id for key, _ in self._planned.values())
        return planned and self._acting.locked()

    def _has(self, forward_id: str) -> bool:
        """Return whether it may have something of a forward."""
        records = self._records.mappings.values()
        return any(record.forward_id == forward_id for record in records)

    @callback
    def closed(self, forward_id: str) -> None:
        """Go by what is desired again: the forward has gone off, or has not."""
        self._closing = self._closing - Counter({forward_id: 1})
        self.show()

    async def look(self, forward_id: str, *, anew: bool = False) -> MainHalf | None:
        """Return its half of a forward as it says now.

        Asked `anew`, it sets what it may have lost and lists all the same.
        """
        if self.asks and self._face.is_on(forward_id):
            if anew:
                self._anew.add(forward_id)
            await self.settle()
        return self.half(forward_id)

    @callback
    def stop(self) -> None:
        """Ask no more; what is there stays, and ends with its lease at the latest."""
        self._looks.async_cancel()
        self._hints.async_stop()
        self._discovery.async_follow(False)
        self._events.async_follow(None)

    async def _act(self) -> None:
        """Have it be as desired, when what is under way is done."""
        async with self._acting:
            self._next, self._under_way = None, self._next
            with self._surprises.survived("the main router"):
                await self._once()
            asking = self.asking if self.asks else None
            self._events.async_follow(asking.mapper if asking else None)

    async def _once(self) -> None:
        """Ask what it has, have it be as desired, and note what it says."""
        router, desired = self._face.connected, self._desired()
        ends = self._ends_of(desired)
        self._looks.doubt(
            public
            for public, (key, _) in desired.items()
            if ends.get(key) != self._ends.get(key)
        )
        self._planned, self._ends = desired, ends
        if router is not self._router:
            self._router, self.asking = router, None
        if self.asking is None:
            self._looks.at_all = True
        everything = self._looks.at_all
        known = self._looks.begin(desired)
        if router is None:
            return
        if not self.asks and not self._records.mappings:
            self._show({})
            return
        try:
            await self._ask(router, desired, known, everything=everything)
        except NotSaved:
            self._note_all(not_known(Reason.MAIN_NOT_SAVED))
            self._looks.all_in(_LOOK_INTERVAL)
        except RouterError as err:
            _LOGGER.debug("The main router can't be asked: %s", err)
            self.asking = None
            self._note_all(not_known(Reason.MAIN_UNASKED))
            self._back_off()

    async def _ask(
        self,
        router: Router,
        desired: Desired,
        known: Mapping[PublicPort, Outcome],
        *,
        everything: bool,
    ) -> None:
        """Do it, but for ports that are known. Raises RouterError, NotSaved."""
        asking = await self._found(router)
        if asking is None:
            self._note_all(nobody(self.gateway))
            self._back_off()
            return
        anew, self._anew = self._anew, set()
        asking.ends = self._ends
        outcomes = await asking.bring_about(desired, anew, known)
        if asking.lost:
            self.asking, self._anew = None, self._anew | anew
            await self._ask(router, desired, {}, everything=True)
            return
        if asking.silent:
            # Whoever answers next may be another, or have begun anew.
            self.asking = None
            self._back_off()
        else:
            if everything or any(
                outcome.refusal
                for public, outcome in outcomes.items()
                if public not in known
            ):
                # It changes seldom: what is well is not held up by this.
                self.public_address = await asking.mapper.public_address()
            self._looks.end(desired, outcomes, asking.opened, known)
            if not outcomes and _is_out_of_reach(self.public_address):
                # The first switch is not to find that out.
                self.asking = None
                self._back_off()
            else:
                self._delay = _FIRST_DELAY
                idle = not outcomes and not self.records
                interval = _IDLE_INTERVAL if idle else self._until_renewal()
                self._looks.plan(_SECOND_LOOK, interval, partial=not everything)
        self._note(router, desired, outcomes)

    async def _found(self, router: Router) -> Asking | None:
        """Return what asks the main router; None if nothing can. Raises RouterError."""
        if self.asking is None:
            self.public_address = UNTOLD
            self.gateway = await main_router_of(router)
            if self.gateway:
                found = await self._find(router, self.gateway, self.locations)
                if not isinstance(found, Refusal):
                    await self._records.save(locations=tuple(self.locations))
                    owner = Owner(router.context.owner, router.context.address.ip)
                    self.asking = Asking(found, owner, self._records)
        return self.asking

    def _desired(self) -> Desired:
        """Return what the main router is to have.

        Nothing is opened before the forward is on. What is open stays while a forward
        is put back that others took away.
        """
        if not self.asks:
            return {}
        face = self._face
        recorded = {record.forward_id for record in self.records}
        ids = face.desired - face.refused.keys() - self._closing.keys()
        ids -= {key for key in ids if self._left_out(key)}
        return {
            mapping.public: (key, mapping)
            for key in sorted(ids & face.forwards.keys())
            if key in recorded or face.is_on(key)
            for forward in (face.forwards[key],)
            for mapping in mappings_of(forward, face.public_ports_of(forward))
        }

    def _ends_of(self, desired: Desired) -> Mapping[str, int]:
        """Return when forwards of these ports are to end by themselves, by id."""
        ends = {key: self._face.ends_at(key) for key, _ in desired.values()}
        return {key: until for key, until in ends.items() if until is not None}

    def _until_renewal(self) -> float:
        """Return in how many seconds all ports are to be looked at."""
        now = time.time()
        # What is due by now was refused, or is no more: that can wait for any look.
        renewals = (it.renew_at for it in self._records.mappings.values())
        due = min((when for when in renewals if when > now), default=math.inf)
        return min(max(due - now, 1.0), _LOOK_INTERVAL)

    def _back_off(self) -> None:
        """Ask again, ever more seldom until it answers."""
        self._looks.all_in(self._delay)
        self._delay = min(self._delay * 2, _LOOK_INTERVAL)

    def _note(
        self,
        router: Router,
        desired: Desired,
        outcomes: Mapping[PublicPort, Outcome],
    ) -> None:
        """Take note of what it says of each port."""
        forwards, client = self._face.forwards, router.context.address.ip
        said = halves_of(desired, outcomes, client, self.public_address, self.gateway)
        self._show({key: half for key, half in said.items() if key in forwards})

    def _left_to_hands(self) -> set[str]:
        """Return the forwards that are on and have too many ports to ask for."""
        if not self.asks:
            return set()
        return {
            key
            for key, forward in self._face.forwards.items()
            if self._face.is_on(key)
            and not self._left_out(key)
            and not mappings_of(forward, self._face.public_ports_of(forward))
        }

    def _note_all(self, half: MainHalf) -> None:
        """Take note of what holds for all that it is to have."""
        self._show({key: half for key, _ in self._planned.values()})

    def _show(self, halves: Mapping[str, MainHalf]) -> None:
        """Tell of what is new, and since when it is so."""
        by_hand = not_known(Reason.MAIN_BY_HAND, most=str(MOST_PORTS))
        halves = {**dict.fromkeys(self._left_to_hands(), by_hand), **halves}
        now, before = time.time(), self.halves
        self.halves = {
            key: replace(half, since=_since(before.get(key), half, now))
            for key, half in halves.items()
        }
        self._changed()


def _is_out_of_reach(answer: PublicAddress) -> bool:
    """Return whether nobody answered who knows what was asked."""
    return isinstance(answer, Refusal) and answer.code is None


async def _patiently(task: asyncio.Task[None] | None) -> None:
    """Wait for the main router, but not for ever."""
    if task:
        await asyncio.wait([task], timeout=_PATIENCE)


def _since(before: MainHalf | None, half: MainHalf, now: float) -> float:
    """Return since when it is as it is."""
    same = before and before.check.cause is half.check.cause
    return before.since if before and same else now
