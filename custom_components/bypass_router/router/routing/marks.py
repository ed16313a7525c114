"""What is marked of a forward, wherever that is done."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from ipaddress import IPv4Network

from ..forward import Forward, PortRange, Transport
from ..rules.base import Tag
from .ways import Ways


@dataclass(frozen=True, slots=True)
class Marked:
    """One direction of a forward's connections over one transport."""

    tag: Tag
    transport: Transport
    ports: PortRange
    """The external ones."""
    answers: bool = True

    @property
    def place(self) -> str:
        """The set that holds it."""
        return f"{'answers' if self.answers else 'requests'}_{self.transport}"


@dataclass(frozen=True, slots=True)
class MarksState:
    """What is marked, for whomever."""

    present: bool = False
    sound: bool = False
    """Whether what is marked really is."""
    marked: frozenset[Marked] = field(default=frozenset())
    entrances: int = 0
    """How often a chain of the kernel's enters ours, where it has to."""


def in_order(marked: Iterable[Marked]) -> list[Marked]:
    """Return what is marked in an order that is always the same."""
    return sorted(marked, key=lambda it: (it.place, it.ports.first))


def marked_of(
    forward: Forward, owner: str, lan: IPv4Network, ways: Ways
) -> Iterator[Marked]:
    """Yield what has to be marked of a forward."""
    tag = Tag(owner, forward.id)
    answers = ways.divert(forward)
    requests = forward.target in lan and ways.divert_requests(forward)
    for transport in forward.protocol.transports:
        if answers:
            yield Marked(tag, transport, forward.external)
        if requests:
            yield Marked(tag, transport, forward.external, answers=False)
