"""What becomes of many packets in one table, each kind of them walked once.

Most rules ask for neither the target nor its ports, so a thousand forwards are of a few
kinds: those that the same rules tell apart.
"""

from bisect import bisect_right
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import cached_property

from .chains import Action, Chain, Chains
from .packet import Condition, Key, Match, Packet
from .spot import Passage
from .walk import passage

_OF_THE_FORWARD = {
    False: (Key.DESTINATION, Key.DESTINATION_PORT, Key.ORIGINAL_PORT),
    True: (Key.SOURCE, Key.SOURCE_PORT, Key.ORIGINAL_PORT),
}
"""What a request, and an answer, has of its own."""
_ANY = (0, 2**32 - 1)
_PORTS = (0, 65535)

type _Kind = tuple[object, ...]
type Walk = Callable[[str, Chains, Packet], Passage]
"""What becomes of one packet."""


class Walks:
    """Walks from one chain of the kernel's, of any packets."""

    def __init__(self, base: str, chains: Chains, walk: Walk = passage) -> None:
        """Take the chain that the kernel enters, and all chains of its table."""
        self._base = base
        self._chains = chains
        self._walk = walk
        self._kinds: dict[_Kind, _WalksOfKind] = {}

    def passage(self, packet: Packet) -> Passage:
        """Return what is to be done for a packet."""
        kind = (
            packet.interface,
            packet.out,
            packet.transport,
            packet.answer,
            packet.router,
            packet.clients,
            packet.answered,
            packet.local,
        )
        if not (walks := self._kinds.get(kind)):
            walks = _WalksOfKind(self._base, self._chains, packet, self._walk)
            self._kinds[kind] = walks
        return walks.passage(packet)


class _WalksOfKind:
    """Walks of packets that have no more than a target, and ports, of their own."""

    def __init__(self, base: str, chains: Chains, packet: Packet, walk: Walk) -> None:
        """Take one of them."""
        self._base = base
        self._walk = walk
        self._all = chains
        self._any = replace(packet, target=_ANY, ports=_PORTS, external=_PORTS)
        self._by_place: dict[tuple[int, ...], Passage] = {}
        self._by_match: dict[tuple[Match, ...], Passage] = {}

    def passage(self, packet: Packet) -> Passage:
        """Return what is to be done for one of them."""
        place = tuple(
            bisect_right(self._edges[key], number)
            for key in _OF_THE_FORWARD[packet.answer]
            for ends in packet.numbers(key) or ()
            for number in ends
        )
        if place not in self._by_place:
            told = tuple(it.match(packet) for it in self._telling)
            if told not in self._by_match:
                self._by_match[told] = self._walk(self._base, self._all, packet)
            self._by_place[place] = self._by_match[told]
        return self._by_place[place]

    @cached_property
    def _edges(self) -> Mapping[Key, Sequence[int]]:
        """Where, among a key's numbers, one may begin or cease to meet a condition."""
        found: dict[Key, set[int]] = {key: set() for key in Key}
        for condition in self._telling:
            for first, last in condition.intervals:
                found[condition.key] |= {first, last + 1}
        return {key: sorted(edges) for key, edges in found.items()}

    @cached_property
    def _telling(self) -> list[Condition]:
        """The conditions that may tell one of them from another."""
        found: dict[Condition, None] = {}
        of_the_forward = _OF_THE_FORWARD[self._any.answer]
        for chain in self._reached():
            for rule in chain.rules:
                for branch in rule.branches:
                    if branch.match(self._any) is Match.NO:
                        continue
                    found |= dict.fromkeys(
                        it for it in branch.conditions if it.key in of_the_forward
                    )
        return [it for it in found if it.match(self._any) is Match.MAYBE]

    def _reached(self) -> list[Chain]:
        """Return the chains that any of them may come to."""
        waiting = [self._base] if self._base in self._all else []
        found: dict[str, Chain] = {}
        while waiting:
            if (name := waiting.pop()) in found:
                continue
            found[name] = self._all[name]
            waiting += (
                branch.chain
                for rule in found[name].rules
                for branch in rule.branches
                if branch.action in (Action.JUMP, Action.GOTO)
                and branch.chain in self._all
                and branch.match(self._any) is not Match.NO
            )
        return list(found.values())
