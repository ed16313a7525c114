"""Who came to a forward from the internet and was answered.

Such a visitor proves all of the way, the main router's half included: for the forward
as it was then, and for the transport that he came by.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Address
from typing import TypedDict

from ..router.forward import Forward, PortRange, Transport

# The end of the year 9998, in Unix time: in any zone, it is no later than can be told.
_LATEST = 253_370_764_799


@dataclass(frozen=True, slots=True)
class Visit:
    """What is known of those that came over one transport."""

    when: float
    """When the last one was answered, in Unix time."""
    client: IPv4Address
    number: int = 1
    """How many were answered."""


class StoredVisit(TypedDict):
    """A visit, as it is written."""

    when: float
    client: str
    number: int


class StoredVisits(TypedDict):
    """A forward's visits, as they are written."""

    of: str
    visits: dict[Transport, StoredVisit]


@dataclass(frozen=True, slots=True)
class Visits:
    """A forward's visitors, over each transport that any came by."""

    of: str = ""
    """The forward that they came to, as `identity` says it."""
    by_transport: Mapping[Transport, Visit] = field(default_factory=dict, hash=False)

    def to(self, identity: str) -> Mapping[Transport, Visit]:
        """Return the visits that prove something for a forward."""
        return self.by_transport if self.of == identity else {}

    def with_one(
        self, identity: str, transport: Transport, client: IPv4Address, when: float
    ) -> Visits:
        """Return the visits with one more; those to another forward are of no use."""
        known = self.to(identity)
        former = known.get(transport)
        number = former.number + 1 if former else 1
        return Visits(identity, {**known, transport: Visit(when, client, number)})


def identity(forward: Forward, public: PortRange, router: IPv4Address) -> str:
    """Return what the way through a forward depends on, as text.

    Whom it lets in is no part of that. `public` are the main router's ports.
    """
    outside = "" if public == forward.external else f"{public} "
    kept = " kept" if forward.keep_client_address else ""
    way = f"{router}:{forward.external} {forward.target}:{forward.target_ports}"
    return f"{outside}{way}{kept}"


def stored(visits: Visits) -> StoredVisits:
    """Return what is written of a forward's visits."""
    return {
        "of": visits.of,
        "visits": {
            transport: {
                "when": visit.when,
                "client": str(visit.client),
                "number": visit.number,
            }
            for transport, visit in visits.by_transport.items()
        },
    }


def visits_in(line: object) -> Visits:
    """Return what was written, as far as it makes sense."""
    match line:
        case {"of": str(of), "visits": dict(written)}:
            pass
        case _:
            return Visits()
    transports: tuple[Transport, ...] = ("tcp", "udp")
    found = {
        transport: visit
        for transport in transports
        if (visit := _visit_in(written.get(transport)))
    }
    return Visits(of, found)


def is_moment(when: float) -> bool:
    """Return whether a number is a time that can be shown."""
    return 0 <= when <= _LATEST


def _visit_in(line: object) -> Visit | None:
    """Return the visits over one transport, if they make sense."""
    match line:
        case {
            "when": float() | int() as when,
            "client": str(text),
            "number": int(n),
        } if is_moment(when):
            try:
                return Visit(when, IPv4Address(text), max(1, n))
            except ValueError:
                return None
        case _:
            return None
