"""Where the mangle table is to lead to our chain: before a proxy takes the packets.

And what the same table drops of what is forwarded, which is no place for ours.
"""

from collections.abc import Collection, Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property

from ..forward import Forward, Transport
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
from .table import Jump, Table

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
        """The chains from which a packet can come to a TPROXY.

        What a rule matches is not looked at: a proxy that takes only some packets
        counts as well.
        """
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
            any(jump.before <= item.passage.spot.last for jump in self._leading(item))
            for item in self._items(forward)
            if item.packet.transport == transport and item.passage.spot
        )

    def _leading(self, item: Item) -> Iterator[Jump]:
        """Yield what leads a packet to our chain."""
        for jump in self.table.jumps(MANGLE):
            (branch,) = chain_rule(jump.rule, jump.chain, ()).branches
            if jump.chain == MANGLE.builtin and branch.match(item.packet) is Match.YES:
                yield jump

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
            at = self._taken_at(found)
            passage = Passage() if at is None else Passage(Spot(MANGLE.builtin, at, at))
            yield Item(forward, found, inside, passage)

    def _taken_at(self, packet: Packet) -> int | None:
        """Return the rule by which it may come to a TPROXY; None if there is none."""
        ways = Takings(self.table.others(MANGLE), self._taking)
        return ways.taken_at(MANGLE.builtin, packet)

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
