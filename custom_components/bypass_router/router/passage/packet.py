"""A forward's packets as the kernel's hook `forward` sees them, and what is known.

What is known of a packet is a set of values for each key: one interface, any address
on the internet. A condition holds another set, and is surely true, surely false, or
either, as the one lies in the other, beside it, or across its edge.
"""

from collections.abc import Iterable, Iterator, Sequence, Set as AbstractSet
from dataclasses import dataclass, field
from enum import IntEnum, StrEnum
from ipaddress import IPv4Address, IPv4Network

from ..forward import Forward, Transport
from ..network.private import PRIVATE
from ..rules.base import RouterContext

type Interval = tuple[int, int]
"""Two numbers, and all between them."""

ALL = (0, 2**32 - 1)
_PORTS = ((1, 65535),)
_NOT_ON_THE_INTERNET = (
    IPv4Network("0.0.0.0/8"),
    *PRIVATE,
    # To many, or to no one yet.
    IPv4Network("224.0.0.0/3"),
)


class Match(IntEnum):
    """Whether a packet meets a condition."""

    NO = 0
    MAYBE = 1
    YES = 2


class Key(StrEnum):
    """What conditions are about."""

    INPUT = "input"
    OUTPUT = "output"
    TRANSPORT = "transport"
    SOURCE = "source"
    DESTINATION = "destination"
    SOURCE_PORT = "source port"
    DESTINATION_PORT = "destination port"
    STATE = "state"
    """Of its connection, and its status: true if any of them is."""
    DIRECTION = "direction"
    ORIGINAL_SOURCE = "original source"
    ORIGINAL_DESTINATION = "original destination"
    ORIGINAL_PORT = "original port"
    FAMILY = "family"
    KIND = "kind"
    """Of its addresses, and of the frame: unicast, broadcast, multicast, local."""
    MARK = "mark"
    """Its own or its connection's. Intervals are a value and its mask, and tell only
    which marks are meant: any if there are none. Negated is what no mark meets."""
    LABEL = "label"
    """Its connection's; likewise."""
    DESTINATION_KIND = "destination kind"
    FLAGS = "flags"
    """Those of TCP that open a connection, or others."""
    UNKNOWN = "unknown"
    """None of these; so it may be true or not."""


@dataclass(frozen=True, slots=True)
class Packet:
    """One packet, or all of those that have only the client's address apart."""

    interface: str
    """By which it comes."""
    out: str | None
    """By which it leaves; None if that is not known."""
    transport: Transport
    target: Interval
    ports: Interval
    """The target's."""
    router: Interval
    external: Interval
    clients: tuple[Interval, ...]
    answer: bool = False
    translated: bool = True
    """Whether it has been, before it comes there."""
    answered: Interval | None = None
    """Where an answer goes to, while it is not yet the client."""
    local: bool = False
    """Whether it is addressed to the router, as far as is known where it is."""

    def numbers(self, key: Key) -> Sequence[Interval] | None:
        """Return the numbers that it may have there; None where it has none."""
        found: Interval | None = None
        if self.answered and key is Key.DESTINATION:
            return (self.answered,)
        match _ANSWERED.get(key, key) if self.answer else key:
            case Key.SOURCE | Key.ORIGINAL_SOURCE:
                return self.clients
            case Key.DESTINATION:
                found = self.target
            case Key.DESTINATION_PORT:
                found = self.ports
            case Key.SOURCE_PORT:
                found = (0, 65535)
            case Key.ORIGINAL_DESTINATION:
                found = self.router
            case Key.ORIGINAL_PORT:
                found = self.external
        return (found,) if found else None

    def words(self, key: Key) -> AbstractSet[str] | None:
        """Return the words that describe it; None where it is not known."""
        match key:
            case Key.INPUT:
                found = self.out if self.answer else self.interface
            case Key.OUTPUT:
                found = self.interface if self.answer else self.out
            case Key.TRANSPORT:
                found = self.transport
            case Key.DIRECTION:
                found = "reply" if self.answer else "original"
            case Key.FAMILY:
                found = "ipv4"
            case Key.KIND:
                found = "unicast"
            case Key.DESTINATION_KIND:
                found = "local" if self.local else "unicast"
            case Key.FLAGS if not self.answer:
                # A request is the first one here, as it is a new one.
                found = "opening"
            case Key.STATE:
                status = {"dnat"} if self.translated else set()
                return status | _STATES[self.answer]
            case _:
                found = None
        return frozenset({found}) if found else None


_ANSWERED = {
    Key.SOURCE: Key.DESTINATION,
    Key.DESTINATION: Key.SOURCE,
    Key.SOURCE_PORT: Key.DESTINATION_PORT,
    Key.DESTINATION_PORT: Key.SOURCE_PORT,
}
_STATES = {
    False: frozenset({"new"}),
    True: frozenset({"established"}),
}
# Whether these are so depends on the forward, or on how far the connection is.
_OPEN_STATES = frozenset({"snat", "assured", "confirmed", "seen-reply", "expected"})


@dataclass(frozen=True, slots=True)
class Condition:
    """One condition of a rule."""

    key: Key
    intervals: tuple[Interval, ...] = ()
    words: frozenset[str] = field(default=frozenset())
    """Of interfaces, those that end in `*` stand for all that begin so."""
    negated: bool = False
    by_client: bool = False
    """Whether an unknown one may tell one client from another, or count them."""

    def match(self, packet: Packet) -> Match:
        """Return whether a packet meets it."""
        found = self._match(packet)
        return Match(Match.YES - found) if self.negated else found

    def _match(self, packet: Packet) -> Match:
        """Return the same, not negated."""
        if self.intervals:
            numbers = packet.numbers(self.key)
            return Match.MAYBE if numbers is None else _compare(numbers, self.intervals)
        words = packet.words(self.key)
        if words is None or not self.words:
            return Match.MAYBE
        if self.key is Key.STATE:
            if words & self.words:
                return Match.YES
            return Match.MAYBE if self.words & _OPEN_STATES else Match.NO
        (word,) = words
        return Match.YES if any(_fits(word, it) for it in self.words) else Match.NO

    def asks_who(self, packet: Packet) -> bool:
        """Return whether it depends on who the client is, or how often one comes."""
        return self.by_client or self.names_address(packet)

    def names_address(self, packet: Packet) -> bool:
        """Return whether it is about the client's address, or a mark that tells it."""
        client = Key.DESTINATION if packet.answer else Key.SOURCE
        return self.key in (client, Key.ORIGINAL_SOURCE) or (
            self.key in (Key.MARK, Key.LABEL) and self.by_client
        )

    def singles_out(self, packet: Packet) -> bool:
        """Return whether it names just this target, or ports."""
        if self.negated:
            return False
        if self.key in (Key.SOURCE_PORT, Key.DESTINATION_PORT, Key.ORIGINAL_PORT):
            return _compare(_PORTS, self.intervals) is not Match.YES
        target = Key.SOURCE if packet.answer else Key.DESTINATION
        return self.key is target and all(
            first == last for first, last in self.intervals
        )


def _fits(word: str, pattern: str) -> bool:
    """Return whether a word is meant by another one."""
    if pattern.endswith("*"):
        return word.startswith(pattern[:-1])
    return word == pattern


def _compare(numbers: Sequence[Interval], others: Sequence[Interval]) -> Match:
    """Return whether some numbers are among others: all, none, or some of them."""
    found = {_compare_one(first, last, others) for first, last in numbers}
    if Match.MAYBE in found and len(others) > 1:
        # Perhaps they are among several of the others together.
        missing = subtracted(numbers, others)
        return Match.YES if next(missing, None) is None else Match.MAYBE
    return found.pop() if len(found) == 1 else Match.MAYBE


def _compare_one(first: int, last: int, others: Iterable[Interval]) -> Match:
    """Return the same of neighbours, as far as one look at each of the others tells."""
    found = Match.NO
    for low, high in others:
        if low <= first and last <= high:
            return Match.YES
        if low <= last and first <= high:
            found = Match.MAYBE
    return found


def subtracted(
    numbers: Iterable[Interval], others: Iterable[Interval]
) -> Iterator[Interval]:
    """Yield what is left of numbers without others, in order and not adjacent."""
    gone = sorted(others)
    last_yielded: Interval | None = None
    for first, last in _joined(numbers):
        start = first
        for low, high in gone:
            if high < start or low > last:
                continue
            if low > start:
                yield start, low - 1
            start = high + 1
        if start <= last:
            last_yielded = (start, last)
            yield last_yielded


def _joined(numbers: Iterable[Interval]) -> Iterator[Interval]:
    """Yield the same numbers in as few intervals as may be, in order."""
    current: Interval | None = None
    for first, last in sorted(numbers):
        if current and first <= current[1] + 1:
            current = current[0], max(current[1], last)
            continue
        if current:
            yield current
        current = first, last
    if current:
        yield current


def interval_of(network: IPv4Network) -> Interval:
    """Return the addresses of a network as numbers."""
    return int(network.network_address), int(network.broadcast_address)


def address_of(address: IPv4Address) -> Interval:
    """Return an address as a number."""
    return int(address), int(address)


INTERNET = tuple(subtracted([ALL], map(interval_of, _NOT_ON_THE_INTERNET)))


def packets_of(
    forward: Forward, context: RouterContext, interface: str
) -> Iterator[Packet]:
    """Yield a forward's packets: requests and answers, of the internet and the LAN.

    Those of the internet come first. The router's LAN address stands on `interface`.
    """
    lan = interval_of(context.address.network)
    allowed = [interval_of(network) for network in forward.sources] or [*INTERNET, lan]
    outside = tuple(subtracted(allowed, [lan]))
    inside = tuple(subtracted(allowed, subtracted([ALL], [lan])))
    in_lan = forward.target in context.address.network
    for clients in filter(None, (outside, inside)):
        for transport in forward.protocol.transports:
            for answer in (False, True):
                yield Packet(
                    interface,
                    interface if in_lan else None,
                    transport,
                    address_of(forward.target),
                    (forward.target_ports.first, forward.target_ports.last),
                    address_of(context.address.ip),
                    (forward.external.first, forward.external.last),
                    clients,
                    answer,
                )
