"""What ends a forward by itself, and what cuts connections, as elements of our table.

Both act in the kernel alone, whether Home Assistant is there or not. For each
transport, where R is the router's address:

- `leased` holds the external ports of forwards that are open for a while, and `open`
  those of them whose time is not over: an element with a timeout, which the kernel
  takes away. What is in the first and not in the second is not translated any more, so
  that another program's rule may have it, and none of it is forwarded: who was
  connected is cut off with his next packet, and so is who answers him.

They stand beside the maps, so that neither their coming nor their going touches a
counter, and a forward is made permanent, or is given more time, by one element.

What is no longer forwarded since its forward was turned off or changed has rules in a
chain of its own: by the client's network, the external port and the target's. They are
no elements, since `nft monitor` of 1.0.6 crashes over those that have several parts and
intervals. Such a rule stays until no connection can be left that has kept quiet since;
whoever goes on sending over UDP keeps his in the kernel's mind for ever, and so a rule
that is used is renewed.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Network
import re
from typing import Final

from ..forward import Forward, PortRange, Transport
from ..rules.base import Cut, RouterContext, Tag, Way
from ..rules.ends import CUT_FOR, EVERYWHERE, SLACK, ending, read_ending
from .listing import NftRule

TRANSPORTS: Final[tuple[Transport, ...]] = ("tcp", "udp")
_KINDS: Final = {
    "leased": "type inet_service; flags interval;",
    "open": "type inet_service; flags interval, timeout;",
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
CUT: Final = "cut"
OVER_RULE: Final = "reject with tcp reset"
_VERDICTS: Final[dict[Transport, str]] = {"tcp": f"goto {OVER}", "udp": "drop"}
_PORTS = r"([0-9]{1,5})(?:-([0-9]{1,5}))?"
_TIMES = r"(?: timeout [0-9a-z]{1,40})?(?: expires ([0-9a-z]{1,40}))?"
_LEASED = re.compile(rf'{_PORTS} comment "([^"]*)"')
_OPEN = re.compile(rf'{_PORTS}{_TIMES} comment "([^"]*)"')
_CUT = re.compile(
    r"(\S+) cut ([0-9]{1,11}) ([0-9./]{1,18}) (tcp|udp)"
    rf" {_PORTS} ([0-9.]{{1,15}}) ([0-9]{{1,5}})"
)
_USED = re.compile(r" counter packets [1-9]")
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


type GateElement = Leased | Open


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
        forwarding.append(f"{flow} {port} {ended} {verdict}")
    forwarding.append(f"ct status dnat ct original ip daddr {router} jump {CUT}")
    return before, forwarding


def cut_rule(cut: Cut) -> str:
    """Return the rule that cuts connections, of what is forwarded already."""
    way = cut.way
    source = "" if way.source == EVERYWHERE else f"ct original ip saddr {way.source} "
    return (
        f"{source}meta l4proto {way.transport} ct original proto-dst {way.ports}"
        f" ct reply ip saddr {way.target} ct reply proto-src {way.target_ports}"
        f' counter {_VERDICTS[way.transport]} comment "{_comment_of(cut)}"'
    )


def _comment_of(cut: Cut) -> str:
    """Return what its rule says of it, whatever nft makes of the rest."""
    way = cut.way
    return (
        f"{cut.tag} cut {cut.until} {way.source} {way.transport} {way.ports}"
        f" {way.target} {way.target_ports.first}"
    )


def read_cut(rule: NftRule, now: float) -> tuple[Cut, bool] | None:
    """Return what a rule cuts, and whether it is to be renewed; None: it is not ours.

    It is where someone was cut off by it, and half of its time is over.
    """
    if not (found := _CUT.fullmatch(rule.comment)) or not (tag := Tag.parse(found[1])):
        return None
    _, until, source, transport, first, last, target, to = found.groups()
    try:
        ports = _ports(first, last)
        way = Way(
            IPv4Network(source),
            "tcp" if transport == "tcp" else "udp",
            ports,
            IPv4Address(target),
            int(to) - ports.first,
        )
        cut = Cut(tag, way, int(until))
        if _comment_of(cut) != rule.comment:
            return None
    except ValueError:
        return None
    used = _USED.search(rule.text) is not None
    return cut, used and cut.until - now < CUT_FOR / 2


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
