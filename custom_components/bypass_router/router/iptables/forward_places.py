"""Where the filter table lets a forward's packets pass, or is to lead to our chain."""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass, field, replace
from functools import lru_cache

from ..forward import Forward, Transport
from ..passage.chains import Action, Branch, Chain, ChainRule, Marking
from ..passage.marks import asking_who
from ..passage.packet import Packet, interval_of, packets_of
from ..passage.spot import Passage, Refused, Spot
from ..passage.walks import Walks
from ..rules.base import RouterContext
from ..rules.obstacles import Hindrance, Obstacle
from .places import Item, Place, obstacle_of, places_of
from .rules import FWD
from .table import Table, is_writable

_KEPT = 8192
_MARK = ChainRule("a mark", (Branch((), Action.QUEUE),))


@lru_cache(_KEPT)
def packets(
    forward: Forward, context: RouterContext, interface: str
) -> tuple[Packet, ...]:
    """Return a forward's packets."""
    return tuple(packets_of(forward, context, interface))


@dataclass(frozen=True)
class ForwardPlaces:
    """What forwards need in the filter table, which could be read."""

    table: Table
    context: RouterContext
    interface: str
    marks: frozenset[Marking] = frozenset()
    """Those by which rules of others tell clients."""
    _walks: dict[object, Walks] = field(default_factory=dict, compare=False, repr=False)
    _found: dict[Forward, list[Item]] = field(
        default_factory=dict, compare=False, repr=False
    )

    def transports(self, forward: Forward) -> frozenset[Transport]:
        """Return of which transports a forward has to have rules."""
        return frozenset(item.packet.transport for item in self._items(forward))

    def opens(self, forward: Forward, transport: Transport) -> bool:
        """Return whether its packets come to our chain before anything keeps them."""
        return all(
            self._passage(item.packet, "with ours").spot is None
            for item in self._items(forward)
            if item.packet.transport == transport and item.passage.spot
        )

    def places(self, forwards: Collection[Forward]) -> list[Place]:
        """Return what has to lead to our chain."""
        items = [item for forward in forwards for item in self._items(forward)]
        return places_of(items, self._reaches, FWD, self.context.address.network)

    def obstacles(self, forward: Forward) -> Iterator[Obstacle]:
        """Yield what keeps its packets out, and is not ours to take away."""
        all_packets = packets(forward, self.context, self.interface)
        for packet in all_packets:
            refused = self._passage(packet).keeping_out
            if refused and packet.clients == all_packets[0].clients:
                yield obstacle_of(refused.kind, refused.chain, refused.rule)

    def _items(self, forward: Forward) -> list[Item]:
        """Return its packets of those transports that can be let in here."""
        if forward not in self._found:
            self._found[forward] = self._items_of(forward)
        return self._found[forward]

    def _items_of(self, forward: Forward) -> list[Item]:
        """Return the same, of a forward that comes for the first time.

        Where some of those that come first are kept out on purpose, none is let in:
        what accepts one of a connection accepts all.
        """
        lan = interval_of(self.context.address.network)
        all_packets = packets(forward, self.context, self.interface)
        found: dict[Transport, list[Item]] = {}
        refused: set[Transport] = set()
        for packet in all_packets:
            passage = self._passage(packet)
            if passage.refused and packet.clients == all_packets[0].clients:
                refused.add(packet.transport)
            inside = lan[0] <= packet.clients[0][0] <= lan[1]
            item = Item(forward, packet, inside, passage)
            found.setdefault(packet.transport, []).append(item)
        return [
            item
            for transport, items in found.items()
            if transport not in refused and any(it.passage.spot for it in items)
            for item in items
        ]

    def _passage(self, packet: Packet, where: object = None) -> Passage:
        """Return what is to be done for a packet: without ours, or as it is now."""
        if where not in self._walks:
            self._walks[where] = Walks(FWD.builtin, self._chains(where))
        return _named(self._walks[where].passage(packet))

    def _chains(self, where: object) -> Mapping[str, Chain]:
        """Return the chains to walk."""
        if where == "with ours":
            return asking_who(self.table.with_ours(FWD), self.marks)
        chains = asking_who(self.table.others(FWD), self.marks)
        if not isinstance(where, Spot):
            return chains
        chain = chains[where.chain]
        rules = (*chain.rules[: where.last], _MARK, *chain.rules[where.last :])
        return {**chains, where.chain: replace(chain, rules=rules)}

    def _reaches(self, packet: Packet, spot: Spot) -> bool:
        """Return whether a packet comes by a place."""
        refused = self._passage(packet, spot).refused
        return refused is not None and refused.rule == _MARK.text


def _named(passage: Passage) -> Passage:
    """Return the same; refused where the chain's name is none that can be written."""
    if passage.spot and not is_writable(passage.spot.chain):
        chain = passage.spot.chain
        return Passage(refused=Refused(Hindrance.DENIED, chain, f"-N {chain}"))
    return passage


@dataclass(frozen=True, slots=True)
class OpaquePlaces:
    """The same of a table that iptables can't show, as someone put native rules in.

    What nft can read is left to it. Else it can only be told whether the jump stands.
    """

    left_to_nft: bool
    entered: bool

    def transports(self, forward: Forward) -> frozenset[Transport]:
        """Return all, unless nft sees to it."""
        return frozenset(() if self.left_to_nft else forward.protocol.transports)

    def opens(self, _: Forward, __: Transport) -> bool:
        """Return whether the jump stands."""
        return self.entered

    def places(self, forwards: Collection[Forward]) -> list[Place]:
        """Return the jump, wherever in the kernel's chain."""
        wanted = forwards and not self.left_to_nft
        return [Place(FWD.builtin, 0, 0, FWD.jump)] if wanted else []

    def obstacles(self, _: Forward) -> Iterator[Obstacle]:
        """Yield nothing: nothing is seen."""
        return iter(())
