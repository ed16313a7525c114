"""Marks that tell one client from another: rules set them, and others go by them.

Who goes by such a mark asks who the client is, as if by its address.
"""

from collections.abc import Collection, Iterable, Iterator
from dataclasses import replace

from .chains import Action, Branch, ChainRule, Chains, Marking
from .packet import Condition, Key, Match, Packet
from .spot import DEEPEST

_MARKS = frozenset({Key.MARK, Key.LABEL})
_LEAVING = frozenset({Action.ACCEPT, Action.RETURN, Action.GOTO})
_ENDS = _LEAVING | {Action.DROP, Action.QUEUE}


def marks_in(chains: Chains, base: str, packets: Iterable[Packet]) -> set[Marking]:
    """Return the marks that depend on the client, of those that packets may get.

    In the chain `base`, which the kernel enters, and those to which it leads.
    """
    found: set[Marking] = set()
    for packet in packets:
        marked = _Marked(chains, packet)
        marked.walk(base)
        found |= marked.found
    return found


class _Marked:
    """Which marks depend on the client, of those that a packet may get in chains."""

    def __init__(self, chains: Chains, packet: Packet) -> None:
        """Take all chains of a table."""
        self._chains = chains
        self._packet = packet
        self._seen: dict[tuple[str, bool], bool] = {}
        self.found: set[Marking] = set()

    def walk(self, name: str, *, asked: bool = False, depth: int = 0) -> bool:
        """Take note of those in a chain, to which it may depend on the client to come.

        Returns whether some clients may leave for good what the kernel has entered.
        """
        known = (name, asked) in self._seen
        if known or name not in self._chains or depth > DEEPEST:
            return self._seen.get((name, asked), False)
        key = name, asked
        self._seen[key] = gone = False
        for branch, rule in self._met(name):
            here = asked or branch.asks_who(self._packet)
            self.found.update(it for it in rule.marks if here or it.by_client)
            if branch.action in (Action.JUMP, Action.GOTO):
                gone |= self.walk(branch.chain, asked=here, depth=depth + 1)
            gone |= here and branch.action is Action.ACCEPT
            asked |= gone or (here and branch.action in _LEAVING)
        self._seen[key] = gone
        return gone

    def _met(self, name: str) -> Iterator[tuple[Branch, ChainRule]]:
        """Yield what a packet may meet in a chain, until it surely leaves it."""
        for rule in self._chains[name].rules:
            for branch in rule.branches:
                match = branch.match(self._packet)
                if match is not Match.NO:
                    yield branch, rule
                if match is Match.YES:
                    if branch.action in _ENDS:
                        return
                    break


def asking_who(chains: Chains, marks: Collection[Marking]) -> Chains:
    """Return the same chains, where a condition on such a mark asks for the client."""
    if not marks:
        return chains

    def asking(condition: Condition) -> Condition:
        """Return a condition, as one that asks if it does."""
        if condition.key not in _MARKS or not any(_may_be(condition, marks)):
            return condition
        return replace(condition, by_client=True)

    return {
        name: replace(
            chain,
            rules=tuple(
                replace(
                    rule,
                    branches=tuple(
                        replace(it, conditions=tuple(map(asking, it.conditions)))
                        for it in rule.branches
                    ),
                )
                for rule in chain.rules
            ),
        )
        for name, chain in chains.items()
    }


def _may_be(condition: Condition, marks: Collection[Marking]) -> Iterator[bool]:
    """Yield whether each of these marks may be the one that a condition is about."""
    for mark in marks:
        yield mark.key is condition.key and (
            not condition.intervals
            or any(
                _may_decide(mark, value, mask) for value, mask in condition.intervals
            )
        )


def _may_decide(mark: Marking, value: int, mask: int) -> bool:
    """Return whether a packet's mark may be this value, or not, by a mark it gets."""
    if not (mask and mark.mask):
        return True
    if not value & mask:
        # Whoever has none.
        return bool(mark.value & mask)
    common = mask & mark.mask
    return bool(common) and not (value ^ mark.value) & common
