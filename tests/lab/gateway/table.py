"""The mappings of a gateway, and by what rules it opens and closes them."""

from collections.abc import Callable
from dataclasses import dataclass, field, replace
import math
import re
from typing import Final, Protocol

from ..exchange import Transport
from .options import GatewayOptions

type Place = tuple[Transport, int]
"""A port on the internet's side."""

_PLAIN: Final = re.compile(r"[\w .:-]*", re.ASCII)
_INVALID, _NO_PORT, _NO_PORT_INSIDE, _FULL = 402, 716, 732, 728
_AMONG_MANY: Final = 20
"""How far `add_any` looks for another port."""


@dataclass(frozen=True)
class Wanted:
    """A mapping as it is asked for."""

    place: Place
    client: str
    port: int
    description: str = ""
    lease: int = 0
    enabled: bool = True


@dataclass(frozen=True)
class Entry:
    """A mapping as it is kept."""

    wanted: Wanted
    since: float
    until: float = math.inf
    shown: bool = True
    open: bool = True

    def left(self, now: float) -> int:
        """Return what is left of its lease; 0: it is for good."""
        return 0 if self.until == math.inf else max(0, math.ceil(self.until - now))


class Kernel(Protocol):
    """What lets packets in."""

    def open(self, place: Place, client: str, port: int) -> None:
        """Lead a port to a client's, in place of what it led to."""

    def close(self, place: Place) -> None:
        """Lead it nowhere."""

    def packets(self, place: Place) -> int:
        """Return how many connections have come through it since it was opened."""

    def ways(self) -> dict[Place, tuple[str, int]]:
        """Return what leads where."""

    def flush(self) -> None:
        """Lead all of them nowhere."""


class NoKernel:
    """What only notes what would be open, where there is no network."""

    def __init__(self) -> None:
        """Begin with nothing."""
        self._ways: dict[Place, tuple[str, int]] = {}

    def open(self, place: Place, client: str, port: int) -> None:
        """Note it."""
        self._ways[place] = client, port

    def close(self, place: Place) -> None:
        """Forget it."""
        self._ways.pop(place, None)

    def packets(self, place: Place) -> int:  # noqa: ARG002
        """Return 0: none can come."""
        return 0

    def ways(self) -> dict[Place, tuple[str, int]]:
        """Return what is noted."""
        return dict(self._ways)

    def flush(self) -> None:
        """Forget all."""
        self._ways.clear()


@dataclass
class Table:
    """All mappings. What is asked returns 0, or the code of the refusal."""

    options: GatewayOptions
    kernel: Kernel
    now: Callable[[], float]
    entries: dict[Place, Entry] = field(default_factory=dict)
    changes: int = 0
    """How often something was opened, closed or has ended."""

    def add(self, asker: str, wanted: Wanted) -> int:
        """Open one, by UPnP."""
        options = self.options
        refused = options.always or self._refused(asker, wanted)
        if refused:
            return refused
        present = self.entries.get(wanted.place)
        if present is None and len(self.entries) >= options.most:
            return options.full_code
        self.put(wanted)
        return 0

    def _refused(self, asker: str, wanted: Wanted) -> int:
        """Return why it is not opened: the first reason of all."""
        options = self.options
        (transport, port), inside = wanted.place, wanted.port
        other: Transport = "udp" if transport == "tcp" else "tcp"
        present = self.entries.get(wanted.place)
        twin = self.entries.get((other, port))
        reasons = (
            (not port, _NO_PORT),
            (not inside, _NO_PORT_INSIDE),
            (
                options.plain_descriptions and not _PLAIN.fullmatch(wanted.description),
                _INVALID,
            ),
            (
                options.lease == "only_for_good" and wanted.lease,
                options.lease_code,
            ),
            (
                options.lease == "never_for_good"
                and not 0 < wanted.lease <= options.longest,
                options.lease_code,
            ),
            (
                not options.third_party and wanted.client != asker,
                options.third_party_code,
            ),
            (port < options.lowest, options.lowest_code),
            (inside < options.lowest_inside, options.lowest_inside_code),
            (wanted.place in options.taken, options.taken_code),
            (
                present is not None
                and (present.wanted.client != wanted.client or not options.replaces),
                options.conflict_code,
            ),
            (options.one_transport and twin is not None, options.conflict_code),
            (
                options.one_port_inside and self._leads_there(wanted),
                options.conflict_code,
            ),
        )
        return next((code for applies, code in reasons if applies), 0)

    def _leads_there(self, wanted: Wanted) -> bool:
        """Whether another port leads to the same one."""
        return any(
            entry.wanted.client == wanted.client
            and entry.wanted.port == wanted.port
            and place[0] == wanted.place[0]
            for place, entry in self.entries.items()
            if place != wanted.place
        )

    def add_any(self, asker: str, wanted: Wanted) -> tuple[int, int]:
        """Open one, or another beside it; return the code, and the port it has got."""
        transport, first = wanted.place
        for port in range(first, first + _AMONG_MANY):
            code = self.add(asker, replace(wanted, place=(transport, port)))
            if code != self.options.conflict_code:
                return code, port
        return _FULL, 0

    def put(self, wanted: Wanted) -> Entry:
        """Keep one that nothing speaks against, and let its packets in."""
        options, now = self.options, self.now()
        present = self.entries.get(wanted.place)
        description = wanted.description[: options.longest_description]
        if options.description == "blank":
            description = ""
        elif options.description == "first" and present is not None:
            description = present.wanted.description
        wanted = replace(wanted, description=description)
        entry = Entry(
            wanted, now, now + (self._lasts(wanted.lease) or math.inf), options.lists
        )
        same = present is not None and present.wanted.port == wanted.port
        if options.effect and (options.notices or not same):
            self.kernel.open(wanted.place, wanted.client, wanted.port)
        elif present is not None:
            entry = replace(entry, open=present.open)
        self.entries[wanted.place] = entry
        self.changes += 1
        return entry

    def _lasts(self, lease: int) -> int:
        """Return the lease that is given; 0: for good."""
        options = self.options
        too_long = not 0 < lease <= options.longest
        if options.lease == "fixed" or (options.lease == "capped" and too_long):
            return options.longest
        return lease

    def delete(self, asker: str, place: Place) -> int:
        """Close one."""
        entry = self.entries.get(place)
        if entry is None:
            return self.options.none_code
        if entry.wanted.client != asker and not self.options.third_party:
            return self.options.delete_code
        self.drop(place)
        return 0

    def drop(self, place: Place) -> None:
        """Let one be gone; a test that looks may have seen first that it is."""
        if self.entries.pop(place, None) is None:
            return
        self.kernel.close(place)
        self.changes += 1

    def get(self, place: Place) -> Entry | None:
        """Return what is listed at a port."""
        entry = self.entries.get(place)
        return entry if entry is not None and entry.shown else None

    def listed(self) -> list[Entry]:
        """Return all that is listed."""
        return [entry for entry in self.entries.values() if entry.shown]

    def end(self) -> None:
        """Let go what has come to its end."""
        now = self.now()
        for place, entry in list(self.entries.items()):
            if self._ended(place, entry, now):
                self.drop(place)
            elif entry.open and now - entry.since >= self._open_for:
                self.kernel.close(place)
                self.entries[place] = replace(entry, open=False)

    @property
    def _open_for(self) -> float:
        """For how many seconds what is listed lets packets in."""
        lasts = self.options.effect_lasts
        return math.inf if lasts is None else lasts

    def _ended(self, place: Place, entry: Entry, now: float) -> bool:
        """Whether a mapping has come to its end."""
        options, age = self.options, now - entry.since
        lasts = options.leased_last if entry.wanted.lease else options.for_good_last
        return (
            (now >= entry.until and not options.keeps_expired)
            or (lasts is not None and age >= lasts)
            or (
                options.unused_last is not None
                and age >= options.unused_last
                and not self.kernel.packets(place)
            )
        )
