"""What a transparent proxy on the router does to a forward, told by what it prints.

A proxy by TPROXY stands in mangle. One with a tunnel has rules of routing that lead
into it, which the kernel itself applies when it is asked for a route:

    ip -4 route get 192.0.2.1 from TARGET iif LAN

is the way that the target's answers to the internet take. Answers leave as others do
if a rule of our own comes first, for what comes from the target's port:

    ip rule add pref 8000 from TARGET ipproto tcp sport 443 lookup main protocol 217

mihomo and sing-box look up nothing in main for packets to port 53. A forward to that
port of the target needs a second rule, `to TARGET ipproto udp dport 53`, for requests.
"""

from dataclasses import dataclass
from ipaddress import IPv4Address
import re
from typing import Self, get_args, override

from ..forward import PortRange, Transport

TAG = 217
"""The protocol by which rules of routing say whose they are; 0 to 255."""

# What every router has: local, main and default, at these places.
_KERNELS_OWN = re.compile(r"(?:0|32766|32767):\s")
_HOP = re.compile(r"(?: via (?:inet6? )?(\S{1,64}))? dev (\S{1,64})")
_RULE = re.compile(
    r"([0-9]{1,10}):\s+from (all|[0-9.]{7,15})(?: to ([0-9.]{7,15}))?"
    r" ipproto (tcp|udp)(?: sport ([0-9-]{1,11}))?(?: dport ([0-9-]{1,11}))?"
    rf" lookup main proto(?:col)? {TAG}\s*"
)
_PORTS = re.compile(r"([0-9]{1,5})(?:-([0-9]{1,5}))?")


@dataclass(frozen=True, slots=True)
class Hop:
    """Where a packet goes next."""

    interface: str
    gateway: str
    """Empty where the interface leads to one place only."""


def hop_of(route_get: str) -> Hop | None:
    """Return where `ip route get` says that a packet goes, or None if nowhere."""
    return next(iter(_hops(route_get.partition("\n")[0])), None)


def default_hops(routes: str) -> frozenset[Hop]:
    """Return where the default routes of `ip -4 route show table main` lead to.

    There may be several, and each may have several hops, on lines of their own.
    """
    found: set[Hop] = set()
    is_default = False
    for line in routes.splitlines():
        if not line[:1].isspace():
            is_default = line.partition(" ")[0] == "default"
        if is_default:
            found.update(_hops(line))
    return frozenset(found)


def reply_is_diverted(route_get: str, main_default: str) -> bool:
    """Return whether what a LAN host sends to the internet leaves not as main says.

    Takes what `ip -4 route get 192.0.2.1 from HOST iif LAN` and `ip -4 route show
    table main` print. False where either says nothing: no rule of ours would help.
    """
    hop = hop_of(route_get)
    defaults = default_hops(main_default)
    return bool(hop and defaults) and hop not in defaults


def has_policy_routing(rules: str) -> bool:
    """Return whether `ip -4 rule show` lists more than what every router has.

    Rules of ours don't count. Without others, nothing can divert a reply.
    """
    return any(
        line.strip() and not _KERNELS_OWN.match(line) and not _RULE.fullmatch(line)
        for line in rules.splitlines()
    )


def _hops(line: str) -> list[Hop]:
    """Return the hops on a line."""
    return [Hop(interface, gateway) for gateway, interface in _HOP.findall(line)]


@dataclass(frozen=True, slots=True)
class RouteRule:
    """A rule of ours: what has these ports at its target is routed by main.

    `answers` are what comes from there; requests go to it.
    """

    preference: int
    target: IPv4Address
    transport: Transport
    ports: PortRange
    answers: bool = True

    @override
    def __str__(self) -> str:
        """Return what follows `ip rule add` or `ip rule del`."""
        address, ports = ("from", "sport") if self.answers else ("to", "dport")
        return (
            f"pref {self.preference} {address} {self.target}"
            f" ipproto {self.transport} {ports} {self.ports}"
            f" lookup main protocol {TAG}"
        )

    @classmethod
    def parse(cls, line: str) -> Self | None:
        """Return the rule of a line of `ip -4 rule show`; None if it is none of ours.

        busybox prints neither ports nor protocol, so of its lines none is.
        """
        if not (found := _RULE.fullmatch(line)):
            return None
        preference, source, target, transport, *ports = found.groups()
        answers = source != "all"
        if answers == bool(target) or bool(ports[0]) != answers or all(ports):
            return None
        (first, last), *_ = _PORTS.findall(ports[0] or ports[1] or "") or [("", "")]
        transports = get_args(Transport.__value__)
        try:
            return cls(
                int(preference),
                IPv4Address(source if answers else target),
                transports[transports.index(transport)],
                PortRange(int(first), int(last or first)),
                answers,
            )
        except ValueError:
            return None


def route_rules(rules: str) -> tuple[RouteRule, ...]:
    """Return the rules of ours that `ip -4 rule show` lists."""
    return tuple(filter(None, map(RouteRule.parse, rules.splitlines())))
