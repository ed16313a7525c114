"""What the main router is to be asked, going by what it lists and what is desired.

Pure: nothing is asked here. What others hold is never touched: a mapping is ours by its
description, or, where a main router keeps none, by our record of just that mapping.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address
from itertools import pairwise
from typing import Final

from ..router.forward import Forward, PortRange
from ..router.port_mapping.base import (
    LASTS,
    Answer,
    Entry,
    Listed,
    Opening,
    Outcome,
    PortMapping,
    PublicPort,
    Refusal,
)
from .records import Record

MOST_PORTS: Final = 16
"""A main router is asked for each port by itself: ranges of more are set by hand."""

LEASES: Final = (LASTS, 0, 604_800)
"""What is asked for, in seconds, where those before did not do; 0: for good."""

type Desired = Mapping[PublicPort, tuple[str, PortMapping]]
"""By port of the main router: the id of the forward, and what is to be there."""

# Of a description, what is left of it at the least where it counts as ours.
_NAME: Final = "bypass"

# After these answers, another lease may be taken. `Answer.FAILED` is how some say all.
_ABOUT_THE_LEASE = frozenset({Answer.ONLY_FOR_GOOD, Answer.INVALID})


@dataclass(frozen=True, slots=True)
class Owner:
    """Whose mappings are ours."""

    id: str
    """Of this Home Assistant."""
    client: IPv4Address
    """The bypass router's address, which they lead to."""

    def description(self, forward_id: str, number: int) -> str:
        """Return what a mapping of ours is called."""
        return f"bypass_router:{self.id}:{forward_id}:{number}"

    def has(self, entry: Entry, record: Record | None) -> bool:
        """Return whether a listed mapping is ours, and leads to this bypass router.

        One that leads to another of ours is that one's. Some main routers put another
        sign for each that they don't like, cut what is longer than they have room for,
        or keep nothing: there, it takes our record.
        """
        if entry.client not in (self.client, None):
            return False
        if self.has_named(entry):
            return True
        if (
            record is None
            or not record.looked
            or entry.client is None
            or entry.port not in record.ports
        ):
            return False
        name = _letters(entry.description)
        whole = _letters(self.description(record.forward_id, record.number))
        cut = name.startswith(_NAME) and whole.startswith(name)
        return cut or not entry.description.strip()

    def has_named(self, entry: Entry) -> bool:
        """Return whether it is called as ours are."""
        name = _letters(f"bypass_router{self.id}")
        return _letters(entry.description).startswith(name)


def leads_to(entry: Entry, client: IPv4Address, mapping: PortMapping) -> bool:
    """Return whether it leads where this mapping is to lead, whoever made it."""
    return (entry.client, entry.port, entry.enabled) == (client, mapping.port, True)


def _letters(text: str) -> str:
    """Return letters and digits alone, in lower case."""
    return "".join(char for char in text.lower() if char.isalnum())


def mappings_of(forward: Forward, public: PortRange) -> tuple[PortMapping, ...]:
    """Return what a forward needs on the main router, at these ports of it.

    None where that are more ports than are asked for.
    """
    if len(public) > MOST_PORTS:
        return ()
    return tuple(
        PortMapping(PublicPort(transport, public.first + offset), port)
        for transport in forward.protocol.transports
        for offset, port in enumerate(
            range(forward.external.first, forward.external.last + 1)
        )
    )


@dataclass(frozen=True, slots=True)
class Plan:
    """What is to be asked of the main router."""

    opens: Desired
    closes: tuple[PortMapping, ...]


def plan_of(
    owner: Owner,
    desired: Desired,
    listed: Mapping[PublicPort, Listed],
    records: Mapping[PublicPort, Record],
    due: Collection[PublicPort],
) -> Plan:
    """Return what has to be asked for the desired mappings to be there, and no others.

    `listed` has each port that is desired or of which there is a record, and `due` are
    those to be asked for again, though they are there.
    """
    opens = {}
    for public, (forward_id, mapping) in desired.items():
        entry, record = listed.get(public), records.get(public)
        if isinstance(entry, Entry) and not owner.has(entry, record):
            # Another's, be it that it leads to us: that serves as well as ours.
            continue
        if public in due or not _stands(owner, entry, record, mapping):
            opens[public] = forward_id, mapping
    closes = tuple(
        record.mapping
        for public, record in sorted(records.items())
        if public not in desired and _may_be_ours(owner, listed.get(public), record)
    )
    return Plan(opens, closes)


def replaced_by(
    opens: Desired, records: Mapping[PublicPort, Record]
) -> tuple[PortMapping, ...]:
    """Return what has to be closed for these to be opened at the same public ports.

    A main router that lists nothing knows a mapping by the port that it leads to: one
    that leads elsewhere does not take its place. What stands at another public port by
    now, and is not opened anew together with these, would be closed along.
    """
    stands = {
        (public.transport, record.mapping.port)
        for public, record in records.items()
        if public not in opens
    }
    return tuple(
        PortMapping(public, port)
        for public, (_, mapping) in sorted(opens.items())
        if (record := records.get(public))
        for port in sorted(record.ports - {mapping.port})
        if (public.transport, port) not in stands
    )


def _stands(
    owner: Owner, entry: Listed, record: Record | None, mapping: PortMapping
) -> bool:
    """Return whether a mapping needs no asking for: as it is listed, or recorded."""
    if isinstance(entry, Entry):
        # Of one that we know nothing of any more, no one knows when it ends.
        return record is not None and leads_to(entry, owner.client, mapping)
    # Of a main router that lists nothing, only what it was asked for is known.
    told = isinstance(entry, Refusal)
    known = record.mapping if record and record.looked else None
    return told and known == mapping


def _may_be_ours(owner: Owner, entry: Listed, record: Record) -> bool:
    """Return whether what is at a port has to be closed.

    There are main routers that list nothing of what they do.
    """
    if isinstance(entry, Entry):
        return owner.has(entry, record)
    return entry is None or record.looked


def opening(owner: Owner, record: Record) -> Opening:
    """Return how a mapping is asked for that is recorded."""
    name = owner.description(record.forward_id, record.number)
    return Opening(record.mapping, name, record.lease)


def next_lease(lease: int, first: int, outcome: Outcome) -> int | None:
    """Return what lease to ask for instead of one that did not do; None: no other.

    There are main routers that take only 0, those that never take it, and those that
    say yes to one of both and forget it: so it goes from two hours by 0 to a week, and
    once around, from whichever was the `first`.
    """
    refusal = outcome.refusal
    if refusal is None and outcome.listed is not None:
        return None
    if refusal and refusal.kind not in _ABOUT_THE_LEASE:
        return None
    following = LEASES[(LEASES.index(lease) + 1) % len(LEASES)]
    return None if following == first else following


def longer_lease(lease: int) -> int | None:
    """Return what lease to ask for where one was agreed to, and not kept."""
    return dict(pairwise(LEASES)).get(lease)
