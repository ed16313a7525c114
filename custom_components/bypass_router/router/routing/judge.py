"""Tells of each answer of the kernel's whether it leads packets away."""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Interface, IPv4Network
from typing import Final

from ..forward import PortRange
from .others import EVERY_PORT, OtherRules
from .questions import ADDRESSES

SAMPLES: Final = frozenset(map(IPv4Address, ADDRESSES))
ANYWHERE: Final = IPv4Network("0.0.0.0/0")

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
    hop: Hop | None
    from_port: int | None = None
    to_port: int | None = None


@dataclass(frozen=True, slots=True)
class Service:
    """What devices of a network serve at some of their ports."""

    network: IPv4Network
    ports: PortRange


@dataclass(frozen=True, slots=True)
class Judge:
    """Tells which answers are led away."""

    lan: IPv4Interface
    interface: str
    gateway: IPv4Address | None
    sure: bool
    kinds: Mapping[str, str]
    rules: OtherRules
    splits: Collection[frozenset[Hop]] = ()
    """Hops among which the kernel chooses for each client."""
    beside: Collection[IPv4Network] = ()
    """The router's other networks with devices."""
    shut: bool = False
    """Whether main has a way for all that leads nowhere."""

    def diverted(self, answers: list[Answer]) -> tuple[frozenset[Service], str]:
        """Return whose packets to the internet are led away, and where to."""
        ways = self._to_internet(answers)
        if not ways:
            return frozenset(), ""
        anyone = ways[0].source
        straight = {
            one.to for one in ways if one.source == anyone and not one.mark and one.hop
        }
        # A way that leads nowhere is a decision where others go on, and a tunnel that
        # is down where nothing does.
        closed = straight.isdisjoint(SAMPLES) and (self.shut or self.rules.lead)
        found: set[Service] = set()
        by = ""
        for one in ways:
            if one.hop:
                away = self._is_away(one.hop, one.mark)
            else:
                away = not self.rules.refuses(one.source) and (
                    closed or (one.to in straight and self._is_stopped(one, anyone))
                )
            if not away:
                continue
            network = ANYWHERE if one.source == anyone else self._around(one.source)
            for ports in self._ports("sport", one.from_port, one.to_port):
                found.add(Service(network, ports))
                by = by or (one.hop.interface if one.hop else "")
        return frozenset(found), by

    def _to_internet(self, answers: list[Answer]) -> list[Answer]:
        """Return those to questions about targets' answers."""
        return [one for one in answers if one.to not in self.lan.network]

    def refused(self, answers: list[Answer]) -> frozenset[tuple[IPv4Network, str]]:
        """Return whose packets no rule lets go to the internet, and that rule."""
        ways = [one for one in self._to_internet(answers) if not one.mark]
        let = {one.source for one in ways if one.hop}
        return frozenset(
            refusal
            for source in {one.source for one in ways} - let
            for refusal in self.rules.refuses(source)
        )

    def requested(self, answers: list[Answer]) -> frozenset[PortRange]:
        """Return at which ports of the LAN's devices requests are led elsewhere."""
        ways = [one for one in answers if one.to in self.lan.network]
        led = {one.mark for one in ways if one.hop}
        return frozenset(
            ports
            for one in ways
            if (self._leaves(one.hop) if one.hop else one.mark not in led)
            for ports in self._ports("dport", one.to_port, one.from_port)
        )

    def _ports(
        self, word: str, device: int | None, client: int | None
    ) -> Iterator[PortRange]:
        """Yield the device's ports that an answer tells of.

        None where it depends on a client's port that no client is likely to have.
        """
        clients = "dport" if word == "sport" else "sport"
        if client is not None and not any(
            len(ports) > 1 for ports in self.rules.ports_at(clients, client)
        ):
            return
        if device is None:
            yield EVERY_PORT
        else:
            yield from self.rules.ports_at(word, device)

    def _around(self, source: IPv4Address) -> IPv4Network:
        """Return for which network a host stands."""
        known = (*self.rules.named(source), *self._networks(source))
        return max(known, key=lambda it: it.prefixlen, default=ANYWHERE)

    def _networks(self, source: IPv4Address) -> list[IPv4Network]:
        """Return the router's other networks with this host."""
        return [network for network in self.beside if source in network]

    def _is_stopped(self, one: Answer, anyone: IPv4Address) -> bool:
        """Return whether what leads nowhere is led there by a rule of routing."""
        return self.rules.looks_up(one.mark) or (
            one.source != anyone
            and (one.source in self.lan.network or bool(self._networks(one.source)))
        )

    def _is_away(self, hop: Hop, mark: str) -> bool:
        """Return whether a hop, or another that the kernel may choose, is elsewhere."""
        if hop.local:
            # What has a mark is a TPROXY's; it is taken elsewhere.
            return not mark and self.sure
        hops = {hop, *(one for split in self.splits if hop in split for one in split)}
        return any(map(self._is_elsewhere, hops))

    def _is_elsewhere(self, hop: Hop) -> bool:
        """Return whether a hop is not the main router's."""
        if self.sure:
            return hop != Hop(self.interface, str(self.gateway))
        return (
            hop.interface != self.interface
            and self.kinds.get(hop.interface) not in _NO_TUNNELS
        )

    def _leaves(self, hop: Hop) -> bool:
        """Return whether what goes to a host of the LAN is led elsewhere."""
        return not hop.local and hop.interface != self.interface

    def misled(self, answer: Answer, default: IPv4Address, *, bans: bool) -> bool:
        """Return whether what has our mark goes not where our table says."""
        if answer.to in self.lan.network:
            return False
        if answer.hop is None:
            return not bans and not self.rules.refuse
        return answer.hop != Hop(self.interface, str(default))
