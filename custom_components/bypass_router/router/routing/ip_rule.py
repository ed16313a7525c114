"""Rules of routing by the flow, which lead what comes from a target's port to main.

    ip rule add pref 8000 from TARGET ipproto tcp sport 443 lookup main protocol 217

They take the answers of a target's service to whoever reaches it otherwise, too, and
help only where other rules lead answers away, and not main itself. So they are used
only for an account that may set them and nothing better.

mihomo and sing-box look up nothing in main for packets to port 53. A forward to that
port of the target needs a second rule, `to TARGET ipproto udp dport 53`, for requests.
"""

from dataclasses import dataclass
from ipaddress import IPv4Address
import re
from typing import Self, get_args, override

from ..forward import PortRange, Transport
from .ways import TAG

_RULE = re.compile(
    r"([0-9]{1,10}):\s+from (all|[0-9.]{7,15})(?: to ([0-9.]{7,15}))?"
    r" ipproto (tcp|udp)(?: sport ([0-9-]{1,11}))?(?: dport ([0-9-]{1,11}))?"
    rf" lookup main proto(?:col)? {TAG}\s*"
)
_PORTS = re.compile(r"([0-9]{1,5})(?:-([0-9]{1,5}))?")


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
    return tuple(filter(None, map(RouteRule.parse, map(str.strip, rules.splitlines()))))
