"""Tells of each answer of the kernel's whether it leads packets away."""

from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Interface, IPv4Network
import re
from typing import Final

ANYWHERE: Final = IPv4Network("0.0.0.0/0")

_FROM = re.compile(r"\bfrom ([0-9./]{7,18})(?= )")
_LOOKED_UP = re.compile(r"\bfwmark (0x[0-9a-f]{1,8}|[0-9]{1,10})\b.* lookup ")
# As Linux numbers kinds of interfaces. A router that dials has a way of its own.
_NO_TUNNELS = frozenset({"1", "512", "772"})


@dataclass(frozen=True, slots=True)
class Hop:
    """Where a packet goes next."""

    interface: str
    gateway: str = ""
    """Empty where the interface leads to one place only."""
    local: bool = False
    """Whether the router itself takes it."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What the kernel has said to a question; no hop where it leads nowhere."""

    to: IPv4Address
    source: IPv4Address
    mark: str
    dns: bool
    hop: Hop | None


def network_of(text: str) -> IPv4Network | None:
    """Return the network of a text, or None if it is none."""
    try:
        return IPv4Network(ANYWHERE if text == "default" else text, strict=False)
    except ValueError:
        return None


@dataclass(frozen=True, slots=True)
class Judge:
    """Tells which answers are led away."""

    lan: IPv4Interface
    interface: str
    gateway: IPv4Address | None
    sure: bool
    kinds: Mapping[str, str]

    def diverted(
        self, answers: list[Answer], rules: list[str]
    ) -> tuple[frozenset[IPv4Network], str]:
        """Return the networks whose hosts' packets are led away, and where to."""
        ways = [one for one in answers if one.to not in self.lan.network]
        if not ways:
            return frozenset(), ""
        anyone = ways[0].source
        straight = {
            one.to for one in ways if one.source == anyone and not one.mark and one.hop
        }
        looked_up = {mark for rule in rules for mark in _LOOKED_UP.findall(rule)}
        named = [
            network
            for rule in rules
            for text in _FROM.findall(rule)
            if (network := network_of(text))
        ]
        found: set[IPv4Network] = set()
        by = ""
        for one in ways:
            if one.hop is None:
                away = one.to in straight and (
                    one.mark in looked_up
                    or (one.source != anyone and one.source in self.lan.network)
                )
            else:
                away = self._is_away(one.hop, one.mark)
            if not away:
                continue
            by = by or (one.hop.interface if one.hop else "")
            if one.source == anyone:
                found.add(ANYWHERE)
            else:
                of = [network for network in named if one.source in network]
                found.add(max(of, key=lambda it: it.prefixlen, default=ANYWHERE))
        return frozenset(found), by

    def _is_away(self, hop: Hop, mark: str) -> bool:
        """Return whether a hop is not the main router's."""
        if hop.local:
            # What has a mark is a TPROXY's; it is taken elsewhere.
            return not mark and self.sure
        if self.sure:
            return hop != Hop(self.interface, str(self.gateway))
        return (
            hop.interface != self.interface
            and self.kinds.get(hop.interface) not in _NO_TUNNELS
        )

    def leaves(self, answer: Answer) -> bool:
        """Return whether what goes to a host of the LAN is led elsewhere."""
        hop = answer.hop
        return bool(hop and not hop.local and hop.interface != self.interface)

    def misled(self, answer: Answer, default: IPv4Address, *, bans: bool) -> bool:
        """Return whether what has our mark goes not where our table says."""
        if answer.to in self.lan.network:
            return False
        if answer.hop is None:
            return not bans
        return answer.hop != Hop(self.interface, str(default))
