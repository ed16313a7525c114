"""Where the mangle table is to lead to our chain: before a proxy takes the packets.

And what the same table drops of what is forwarded, which is no place for ours.
"""

from collections.abc import Collection, Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property

from ..forward import Forward, Transport
from ..passage.chains import Branch, Chains
from ..passage.packet import Match, Packet, interval_of
from ..passage.spot import Passage, Spot
from ..passage.takings import Takings
from ..passage.walks import Walks
from ..rules.base import RouterContext
from ..rules.obstacles import Hindrance, Obstacle
from .conditions import chain_rule
from .forward_places import packets
from .places import Item, Place, obstacle_of, places_of
from .rules import MANGLE
from .table import Table

_FORWARD = "FORWARD"


@dataclass(frozen=True)
class ProxyPlaces:
    """What forwards need in the mangle table."""

    table: Table
    context: RouterContext
    interface: str
    _walks: dict[str, Walks] = field(default_factory=dict, compare=False, repr=False)
    _found: dict[Forward, list[Item]] = field(
        default_factory=dict, compare=False, repr=False
    )

    @cached_property
    def _taking(self) -> frozenset[str]:
        """The chains that lead to a TPROXY, whichever packets they lead there."""
        chains = self.table.others(MANGLE)
        leading: dict[str, set[str]] = {}
        waiting = []
        for name, chain in chains.items():
            for rule in chain.rules:
                if rule.takes:
                    waiting.append(name)
                for branch in rule.branches:
                    leading.setdefault(branch.chain, set()).add(name)
        found: set[str] = set()
        while waiting:
            if (name := waiting.pop()) not in found:
                found.add(name)
                waiting += leading.get(name, ())
        return frozenset(found)

    def transports(self, forward: Forward) -> frozenset[Transport]:
        """Return of which transports a forward has to have rules."""
        return frozenset(item.packet.transport for item in self._items(forward))

    def opens(self, forward: Forward, transport: Transport) -> bool:
        """Return whether packets come to our chain before they can be taken."""
        return all(
            any(
                before <= spot.last and branch.match(item.packet) is Match.YES
                for before, branch in self._leading
            )
            for item in self._items(forward)
            if item.packet.transport == transport and (spot := item.passage.spot)
        )

    @cached_property
    def _leading(self) -> list[tuple[int, Branch]]:
        """What leads packets to our chain, and behind how many rules of others."""
        return [
            (jump.before, chain_rule(jump.rule, jump.chain, ()).branches[0])
            for jump in self.table.jumps(MANGLE)
            if jump.chain == MANGLE.builtin
        ]

    def places(self, forwards: Collection[Forward]) -> list[Place]:
        """Return what has to lead to our chain: what can be taken, and no more."""
        items = [item for forward in forwards for item in self._items(forward)]
        first = min(
            (it.passage.spot.first for it in items if it.passage.spot), default=0
        )
        at = Passage(Spot(MANGLE.builtin, first, first))
        those = [replace(it, passage=at) if it.passage.spot else it for it in items]
        lan = self.context.address.network
        return places_of(those, lambda _, __: True, MANGLE, lan)

    def _items(self, forward: Forward) -> list[Item]:
        """Return its packets of those transports of which any can be taken."""
        if forward not in self._found:
            items = list(self._arriving(forward) if self._taking else ())
            taken = {it.packet.transport for it in items if it.passage.spot}
            self._found[forward] = [it for it in items if it.packet.transport in taken]
        return self._found[forward]

    def _arriving(self, forward: Forward) -> Iterator[Item]:
        """Yield its packets as they come in, before they are translated."""
        lan = interval_of(self.context.address.network)
        for packet in packets(forward, self.context, self.interface):
            inside = lan[0] <= packet.clients[0][0] <= lan[1]
            to_router = inside or not forward.keep_client_address
            found = (
                replace(
                    packet,
                    answered=packet.router if to_router else None,
                    local=to_router,
                )
                if packet.answer
                else replace(
                    packet, target=packet.router, ports=packet.external, local=True
                )
            )
            yield Item(forward, found, inside, self._arrivals.passage(found))

    @cached_property
    def _arrivals(self) -> Walks:
        """The walks to where a packet may come to a TPROXY, if it may."""

        def walk(base: str, chains: Chains, packet: Packet) -> Passage:
            at = Takings(chains, self._taking).taken_at(base, packet)
            return Passage() if at is None else Passage(Spot(base, at, at))

        return Walks(MANGLE.builtin, self.table.others(MANGLE), walk)

    def obstacles(self, forward: Forward) -> Iterator[Obstacle]:
        """Yield what drops its packets behind that, whatever they are."""
        all_packets = packets(forward, self.context, self.interface)
        for packet in all_packets:
            if packet.clients == all_packets[0].clients:
                yield from self._obstacle(packet)

    def _obstacle(self, packet: Packet) -> Iterator[Obstacle]:
        """Yield what drops a packet."""
        chains = self.table.others(MANGLE)
        if not self._walks:
            self._walks[_FORWARD] = Walks(_FORWARD, chains)
        found = self._walks[_FORWARD].passage(packet)
        if found == Passage():
            return
        if refused := found.keeping_out:
            yield obstacle_of(refused.kind, refused.chain, refused.rule)
        elif spot := found.spot:
            rules = chains[spot.chain].rules[spot.last : spot.last + 1]
            rule = rules[0].text if rules else f"-P {_FORWARD} DROP"
            yield obstacle_of(Hindrance.DENIED, spot.chain, rule)
