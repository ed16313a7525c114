"""What ends a forward by itself, and what cuts connections, as elements of our table.

Both act in the kernel alone, whether Home Assistant is there or not. For each
transport, where R is the router's address:

- `leased` holds the external ports of forwards that are open for a while, and `open`
  those of them whose time is not over: an element with a timeout, which the kernel
  takes away. What is in the first and not in the second is not translated any more, so
  that another program's rule may have it, and none of it is forwarded: who was
  connected is cut off with his next packet, and so is who answers him.
- `cut` holds what is no longer forwarded since its forward was turned off or changed:
  by the client's network, the external port and the target. An element ends when no
  connection can be left that has kept quiet since; whoever goes on sending over UDP
  keeps his in the kernel's mind for ever, and so an element that is used is renewed.

They stand beside the maps, so that neither their coming nor their going touches a
counter, and a forward is made permanent, or is given more time, by one element.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Network
import re
from typing import Final

from ..forward import Forward, PortRange, Transport
from ..rules.base import RouterContext, Tag, Way
from ..rules.ends import CUT_FOR, SLACK, ending, read_ending

TRANSPORTS: Final[tuple[Transport, ...]] = ("tcp", "udp")
_KINDS: Final = {
    "leased": "type inet_service; flags interval;",
    "open": "type inet_service; flags interval, timeout;",
    "cut": "type ipv4_addr . inet_service . ipv4_addr; flags interval, timeout;"
    " counter;",
}
SETS: Final = {
    f"{kind}_{transport}": what
    for kind, what in _KINDS.items()
    for transport in TRANSPORTS
}
# How the kernel tells a sender that a connection is over, where there is a way. In a
# chain of its own: before a reset, nft leaves out that a rule is about TCP when it
# prints it, and then does not take what it has printed.
OVER: Final = "over"
OVER_RULE: Final = "reject with tcp reset"
_VERDICTS: Final[dict[Transport, str]] = {"tcp": f"goto {OVER}", "udp": "drop"}
_PORTS = r"([0-9]{1,5})(?:-([0-9]{1,5}))?"
_TIMES = r"(?: timeout [0-9a-z]{1,40})?(?: expires ([0-9a-z]{1,40}))?"
_LEASED = re.compile(rf'{_PORTS} comment "([^"]*)"')
_OPEN = re.compile(rf'{_PORTS}{_TIMES} comment "([^"]*)"')
_CUT = re.compile(
    rf"([0-9./]+) \. {_PORTS} \. ([0-9.]+)"
    r"(?: counter(?: packets ([0-9]{1,20}) bytes [0-9]+)?)?"
    rf'{_TIMES} comment "([^"]*)"'
)
_TIME = re.compile(
    r"(?:([0-9]{1,6})d)?(?:([0-9]{1,6})h)?(?:([0-9]{1,6})m)?(?:([0-9]{1,9})s)?"
    r"(?:([0-9]{1,15})ms)?"
)
_IN_SECONDS = (86400.0, 3600.0, 60.0, 1.0, 0.001)


@dataclass(frozen=True, slots=True)
class Leased:
    """An element that has ports end with their time."""

    transport: Transport
    ports: PortRange

    @property
    def place(self) -> str:
        """The set that holds it."""
        return f"leased_{self.transport}"

    @property
    def key(self) -> str:
        """What it is looked up by."""
        return str(self.ports)


@dataclass(frozen=True, slots=True)
class Open:
    """An element that lasts for as long as these ports are open."""

    transport: Transport
    ports: PortRange
    until: int
    """In Unix time of Home Assistant's clock, as it stands in the comment."""
    expires: float = field(default=0, compare=False)
    """Seconds that are left, as the kernel says."""

    @property
    def place(self) -> str:
        """The set that holds it."""
        return f"open_{self.transport}"

    @property
    def key(self) -> str:
        """What it is looked up by."""
        return str(self.ports)


@dataclass(frozen=True, slots=True)
class CutElement:
    """An element by which connections of these clients to a target are over."""

    way: Way
    until: int = field(default=0, compare=False)
    """In Unix time of Home Assistant's clock, as the kernel says."""
    due: bool = False
    """Whether someone has been cut off by it, and half of its time is over."""

    @property
    def place(self) -> str:
        """The set that holds it."""
        return f"cut_{self.way.transport}"

    @property
    def key(self) -> str:
        """What it is looked up by."""
        return f"{self.way.source} . {self.way.ports} . {self.way.target}"


type GateElement = Leased | Open | CutElement


def gate_rules(context: RouterContext) -> tuple[list[str], list[str]]:
    """Return the rules that come before any is translated, and those for forwarding."""
    router = context.address.ip
    before, forwarding = [], []
    for transport in TRANSPORTS:
        port, verdict = f"{transport} dport", _VERDICTS[transport]
        ended = f"@leased_{transport} {port} != @open_{transport}"
        before.append(f"ip daddr {router} {port} {ended} return")
        flow = f"ct status dnat ct original ip daddr {router} meta l4proto {transport}"
        port = "ct original proto-dst"
        ended = f"@leased_{transport} {port} != @open_{transport}"
        way = f"ct original ip saddr . {port} . ct reply ip saddr"
        forwarding.append(f"{flow} {port} {ended} {verdict}")
        forwarding.append(f"{flow} {way} @cut_{transport} {verdict}")
    return before, forwarding


def gate_of(forward: Forward) -> Iterator[Leased | Open]:
    """Yield the elements that end a forward; none for one that lasts."""
    if forward.until is not None:
        for transport in forward.protocol.transports:
            yield Leased(transport, forward.external)
            yield Open(transport, forward.external, forward.until)


def element_text(tag: Tag, element: GateElement, now: float) -> str:
    """Return an element for `nft`, at this time."""
    match element:
        case Leased():
            return f'{element.key} comment "{tag}"'
        case Open(until=until):
            comment = ending(tag, "until", until)
            return f'{element.key} timeout {_left(until, now)} comment "{comment}"'
        case CutElement(until=until):
            return f'{element.key} timeout {_left(until, now)} comment "{tag}"'


def _left(until: int, now: float) -> str:
    """Return what is left of a time."""
    # At least something: what is over is not asked for, but now is later.
    seconds, milliseconds = divmod(max(round((until - now) * 1000), 1), 1000)
    # Of either alone, nft takes no more than fit into 31 bits.
    return f"{seconds}s{milliseconds}ms"


def read_gate_element(
    place: str, text: str, now: float
) -> tuple[Tag, GateElement] | None:
    """Return the element that nft printed. Raises ValueError for what is none of ours.

    One that is open until much later or earlier than its comment says was put there by
    others: it is not what was wanted, whatever that is.
    """
    kind, _, name = place.partition("_")
    transport: Transport = "tcp" if name == "tcp" else "udp"
    if kind == "leased" and (found := _LEASED.fullmatch(text)):
        tag = Tag.parse(found[3])
        return (tag, Leased(transport, _ports(found[1], found[2]))) if tag else None
    if kind == "open" and (found := _OPEN.fullmatch(text)):
        if not (said := read_ending(found[4])):
            return None
        tag, _, until = said
        left = seconds_of(found[3] or "")
        if abs(now + left - until) > SLACK:
            until = 0
        return tag, Open(transport, _ports(found[1], found[2]), until, left)
    if kind == "cut" and (found := _CUT.fullmatch(text)):
        source, first, last, target, used, left_text, comment = found.groups()
        left = seconds_of(left_text or "")
        due = int(used or 0) > 0 and left < CUT_FOR / 2
        network, ports = IPv4Network(source), _ports(first, last)
        tag = Tag.parse(comment)
        way = Way(network, transport, ports, IPv4Address(target))
        return (tag, CutElement(way, int(now + left), due)) if tag else None
    return None


def _ports(first: str, last: str | None) -> PortRange:
    """Return ports as nft prints them. Raises ValueError."""
    return PortRange(int(first), int(last or first))


def seconds_of(text: str) -> float:
    """Return a time as nft prints it, such as `1d2h3m4s5ms`, in seconds; 0 for none."""
    if not (found := _TIME.fullmatch(text)):
        return 0
    pairs = zip(found.groups(), _IN_SECONDS, strict=True)
    return sum(int(number) * unit for number, unit in pairs if number)
