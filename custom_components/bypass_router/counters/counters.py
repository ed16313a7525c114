"""When the counters of a router's rules are read, and what became of them.

A router with `conntrack` tells of each connection that it translates. That is a hint,
after which the counters are read, every few seconds at the most; nothing is asked while
nothing comes. Where it can't be heard, they are read once a minute, which is one round
trip and one process on the router: a forward's rules tell no one when they are used.
That is done only while someone wants to know and a forward is on.

It tells of those that were answered as well, which proves the way; the counters do not.
"""

import asyncio
from collections import OrderedDict, defaultdict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from ipaddress import IPv4Address
import logging
import time
from typing import Any

from homeassistant.config_entries import ConfigEntry
from homeassistant.core import CALLBACK_TYPE, HomeAssistant, callback
from homeassistant.helpers.event import async_track_time_interval

from ..router.doctor.visitors import is_outside
from ..router.errors import RouterError
from ..router.forward import Forward, PortRange, Transport
from ..router.monitor import Answered, ConnectionEvent, NewConnection, Unheard
from ..router.router import Router
from ..unforeseen import Surprises
from .store import Totals
from .tally import Tally
from .visits import Visit, identity

_LOGGER = logging.getLogger(__name__)

# Seconds between two readings while connections come.
_PAUSE = 3.0
_POLL = timedelta(minutes=1)
# Seconds after which it is worth telling that there was another visitor.
_NEWS = 60.0
# Seconds in which the router tells of a connection that its rules have counted.
_LAG = 1.0
# Connections of which it is kept in mind that they were answered.
_REMEMBERED = 1000


@dataclass(frozen=True, slots=True)
class _Arrival:
    """A visitor that the router has told of, and that may not be counted yet."""

    when: float
    source: IPv4Address | None = None


class Counters:
    """The connections of one router's forwards."""

    def __init__(
        self,
        hass: HomeAssistant,
        entry: ConfigEntry[Any],
        *,
        router: Callable[[], Router | None],
        forwards: Callable[[], Mapping[str, Forward]],
        public_ports: Callable[[Forward], PortRange],
    ) -> None:
        """Take where to ask for the router while it is connected, and what is on.

        `public_ports` tells by which ports of the main router one comes to a forward.
        """
        self._hass = hass
        self._entry = entry
        self._router = router
        self._forwards = forwards
        self._public_ports = public_ports
        self._totals = Totals(hass, entry.entry_id)
        self._tallies: dict[str, Tally] = {}
        self._listeners: list[Callable[[], None]] = []
        self._greeters = defaultdict[str, list[Callable[[NewConnection], None]]](list)
        self._arrived: dict[str, _Arrival] = {}
        self._answered: OrderedDict[Answered, None] = OrderedDict()
        self._asked = False
        self._reading: asyncio.Task[None] | None = None
        self._surprises = Surprises(entry.title)
        self.read = False
        """Whether the router has told its counters since the start."""

    async def async_start(self) -> None:
        """Read what was counted before, and be ready to count on."""
        ours = self._entry.subentries
        stored = await self._totals.load()
        self._tallies = {key: tally for key, tally in stored.items() if key in ours}
        self._entry.async_on_unload(
            async_track_time_interval(
                self._hass, self._poll, _POLL, cancel_on_shutdown=True
            )
        )

    async def async_stop(self) -> None:
        """Write down what was counted."""
        await self._totals.flush()

    def tally(self, forward_id: str) -> Tally:
        """Return what is known of a forward's connections."""
        return self._tallies.get(forward_id, Tally())

    @callback
    def async_listen(self, update: Callable[[], None]) -> CALLBACK_TYPE:
        """Call whenever something was counted."""
        self._listeners.append(update)
        self.async_read_soon()
        return lambda: self._listeners.remove(update)

    @callback
    def async_listen_to_arrivals(
        self, forward_id: str, tell: Callable[[NewConnection], None]
    ) -> CALLBACK_TYPE:
        """Call with each visitor of a forward, answered or not, that is told of."""
        self._greeters[forward_id].append(tell)
        return lambda: self._greeters[forward_id].remove(tell)

    def visits(self, forward: Forward) -> Mapping[Transport, Visit]:
        """Return who came from the internet and was answered, by transport."""
        if (router := self._router()) is None:
            return self.tally(forward.id).visits.by_transport
        way = self._way(forward, router)
        # Who may come in decides who is from outside, and may have been changed.
        return {
            transport: visit
            for transport, visit in self.tally(forward.id).visits.to(way).items()
            if is_outside(visit.client, forward, router.context.address)
        }

    def _way(self, forward: Forward, router: Router) -> str:
        """Return what a visitor of a forward proves to work."""
        public = self._public_ports(forward)
        return identity(forward, public, router.context.address.ip)

    @callback
    def async_connected(self, connection: ConnectionEvent) -> None:
        """Take the hint that a connection came, perhaps by one of our forwards."""
        if isinstance(connection, Unheard):
            self.async_read_soon()
            return
        if (router := self._router()) is None:
            return
        own = router.probe.is_own(connection.client)
        for forward in self._forwards().values():
            if not forward.takes(connection.transport, connection.port):
                continue
            if isinstance(connection, Answered):
                if not own and connection.target == forward.target:
                    self._take_answered(forward, connection, router)
            elif own:
                router.own_connections.heard(forward.id)
                self.async_read_soon()
            else:
                # A client may come by the same port of its own each time.
                self._answered.pop(connection.answered_by(forward.target), None)
                self._arrived[forward.id] = _Arrival(time.time(), connection.client)
                for tell in list(self._greeters[forward.id]):
                    tell(connection)
                self.async_read_soon()

    def _take_answered(
        self, forward: Forward, connection: Answered, router: Router
    ) -> None:
        """Keep who was answered, once; tell it where that proves something new."""
        if not is_outside(connection.client, forward, router.context.address):
            return
        if connection in self._answered:
            self._answered.move_to_end(connection)
            return
        self._answered[connection] = None
        if len(self._answered) > _REMEMBERED:
            self._answered.popitem(last=False)
        self.async_visited(forward, connection.transport, connection.client)

    @callback
    def async_visited(
        self, forward: Forward, transport: Transport, client: IPv4Address
    ) -> None:
        """Keep that someone from the internet was answered just now."""
        if (router := self._router()) is None:
            return
        way = self._way(forward, router)
        tally, now = self.tally(forward.id), time.time()
        former = tally.visits.to(way).get(transport)
        visits = tally.visits.with_one(way, transport, client, now)
        self._tallies[forward.id] = replace(tally, visits=visits)
        self._totals.save_soon(self._tallies)
        if former is None or former.when + _NEWS < now:
            self._tell()
        self.async_read_soon()

    @callback
    def async_read_soon(self) -> None:
        """Read the counters, unless that was done a moment ago: then in a moment."""
        self._asked = True
        if self._reading is None and self._listeners and self._router():
            self._reading = self._entry.async_create_background_task(
                self._hass,
                self._read(),
                f"{self._entry.title} counters",
                eager_start=False,
            )

    def _tell(self) -> None:
        """Say that something is new."""
        for update in list(self._listeners):
            update()

    @callback
    def _poll(self, _: datetime) -> None:
        """Read the counters of a router that does not tell when they change."""
        router = self._router()
        if router and not router.hears_connections and self._forwards():
            self.async_read_soon()

    async def _read(self) -> None:
        """Read as long as someone asks for it, with pauses."""
        try:
            while self._asked and (router := self._router()):
                self._asked = False
                with self._surprises.survived("counting"):
                    await self._read_once(router)
                await asyncio.sleep(_PAUSE)
        finally:
            self._reading = None

    async def _read_once(self, router: Router) -> None:
        """Read the counters, and tell what is new."""
        arrived, self._arrived = self._arrived, {}
        try:
            counts = await router.rules.count()
        except RouterError as err:
            _LOGGER.debug("%s does not tell its counters: %s", self._entry.title, err)
            self._arrived = arrived | self._arrived
            return
        now, boot = time.time(), router.probe.boot_id
        if router.hears_connections and any(
            number != self.tally(key).seen for key, number in counts.items()
        ):
            # Until all is told that was counted, and whose it was.
            await asyncio.sleep(_LAG)
            arrived |= self._arrived
        # What the router does not name may be off, or it did not answer; its rules
        # are not known to be gone.
        own, noticed = router.own_connections, _Arrival(now)
        # Who comes while a forward is tried is counted after that.
        tested = {key: it for key, it in arrived.items() if own.is_tested(key)}
        self._arrived = tested | self._arrived
        tallies = dict[str, Tally]()
        for key in self._entry.subentries:
            tallies[key] = self.tally(key)
            if key in counts and not own.is_tested(key):
                last = arrived.get(key, noticed)
                tallies[key] = tallies[key].counted(
                    counts[key], boot, last.when, own.take(key), last.source
                )
        before, first = self._tallies, not self.read
        self.read, self._tallies = True, tallies
        if tallies == before and not first:
            return
        self._tell()
        if all(
            tally.continues(before.get(key, tally)) for key, tally in tallies.items()
        ):
            self._totals.save_soon(tallies)
        else:
            await self._totals.save_now(tallies)
