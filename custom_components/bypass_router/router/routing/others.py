"""What others' rules of routing say, as far as the kernel's answers don't tell it."""

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network
import re
from typing import Final, Self

from ..forward import PortRange

EVERY_PORT: Final = PortRange(1, 65535)

_FROM = re.compile(r"from ([0-9./]{7,18})(?= )")
_MARK = re.compile(r"\bfwmark (0x[0-9a-f]{1,8}|[0-9]{1,10})\b.* lookup ")
_PORTS = re.compile(r" (sport|dport) ([0-9]{1,5})(?:-([0-9]{1,5}))?(?= )")
_LOOKUP = re.compile(r" lookup (\S{1,64})")
_REFUSAL = re.compile(r" (?:unreachable|blackhole|prohibit)\s*$")
_MAIN: Final = 32766
_KERNELS_TABLES = frozenset({"main", "local", "default"})


@dataclass(frozen=True, slots=True)
class OtherRules:
    """All that are neither the kernel's nor ours."""

    lowest: int
    """The preference of the first that leads anywhere, or of the kernel's own.

    Those before it only refuse, and count for forwards as for all else.
    """
    refuse: bool
    """Whether any before that does."""
    lead: bool
    """Whether any leads to a table of others."""
    sources: frozenset[IPv4Network]
    refused: frozenset[tuple[IPv4Network, str]]
    """Where packets come from that a rule refuses, and the rule."""
    marks: frozenset[str]
    ports: frozenset[tuple[str, PortRange]]

    @classmethod
    def of(
        cls, rules: Collection[tuple[int, str]], refusing: Iterable[str] = ()
    ) -> Self:
        """Take each with its preference, and the tables that only refuse."""
        tables = frozenset(refusing)
        refusals = {
            (preference, rule)
            for preference, rule in rules
            if _REFUSAL.search(rule)
            or ((found := _LOOKUP.search(rule)) and found[1] in tables)
        }
        leading = [one for one in rules if one not in refusals]
        texts = [rule for _, rule in rules]
        lowest = min((preference for preference, _ in leading), default=_MAIN)
        return cls(
            lowest=lowest,
            refuse=any(preference <= lowest for preference, _ in refusals),
            lead=any(
                found[1] not in _KERNELS_TABLES
                for _, rule in leading
                if (found := _LOOKUP.search(rule))
            ),
            sources=frozenset(network for network, _ in _sources(leading)),
            refused=_sources(one for one in rules if _REFUSAL.search(one[1])),
            marks=frozenset(mark for rule in texts for mark in _MARK.findall(rule)),
            ports=frozenset(
                (word, ports)
                for rule in texts
                for word, first, last in _PORTS.findall(rule)
                if (ports := _range(first, last))
            ),
        )

    def named(self, source: IPv4Address) -> list[IPv4Network]:
        """Return the networks with this host that rules are for."""
        return [network for network in self.sources if source in network]

    def refuses(self, source: IPv4Address) -> frozenset[tuple[IPv4Network, str]]:
        """Return the rules that refuse what comes from a host."""
        return frozenset(one for one in self.refused if source in one[0])

    def looks_up(self, mark: str) -> bool:
        """Return whether what has a mark is led to a table."""
        return mark in self.marks

    def ports_at(self, word: str, port: int) -> list[PortRange]:
        """Return the ports that rules name, of which this is one."""
        return [
            ports
            for kind, ports in self.ports
            if kind == word and ports.first <= port <= ports.last
        ]


def network_of(text: str) -> IPv4Network | None:
    """Return the network of a text, or None if it is none."""
    try:
        return IPv4Network("0.0.0.0/0" if text == "default" else text, strict=False)
    except ValueError:
        return None


def _sources(rules: Iterable[tuple[int, str]]) -> frozenset[tuple[IPv4Network, str]]:
    """Return the networks from which packets are that rules are for, with the rule."""
    return frozenset(
        (network, rule.strip())
        for _, rule in rules
        if (found := _FROM.match(rule)) and (network := network_of(found[1]))
    )


def _range(first: str, last: str) -> PortRange | None:
    """Return the ports of a rule; None if they can be none."""
    try:
        return PortRange(int(first), int(last or first))
    except ValueError:
        return None
