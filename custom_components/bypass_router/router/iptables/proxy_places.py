"""Where the mangle table is to lead to our chain: before a proxy takes the packets.

And what the same table drops of what is forwarded, which is no place for ours.
"""

from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from functools import cached_property

from ..forward import Forward, Transport
from ..passage.packet import Packet
from ..passage.spot import Passage
from ..passage.walks import Walks
from ..rules.base import RouterContext
from ..rules.obstacles import Hindrance, Obstacle
from .forward_places import packets
from .places import Place, obstacle_of
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

    @cached_property
    def _place(self) -> int | None:
        """How many rules of others stand before the first that may take packets."""
        taking = self._taking
        others = self.table.others(MANGLE).get(MANGLE.builtin)
        for number, rule in enumerate(others.rules if others else ()):
            if rule.takes or any(branch.chain in taking for branch in rule.branches):
                return number
        return None

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
        needed = self._place is not None
        return frozenset(forward.protocol.transports if needed else ())

    def opens(self, _: Forward, __: Transport) -> bool:
        """Return whether packets come to our chain before they can be taken."""
        return any(
            jump.chain == MANGLE.builtin
            and jump.rule == MANGLE.jump
            and jump.before <= (self._place or 0)
            for jump in self.table.jumps(MANGLE)
        )

    def places(self, forwards: Collection[Forward]) -> list[Place]:
        """Return what has to lead to our chain."""
        if not forwards or self._place is None:
            return []
        return [Place(MANGLE.builtin, self._place, self._place, MANGLE.jump)]

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
