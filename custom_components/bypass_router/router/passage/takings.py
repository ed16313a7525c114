"""Whether a packet may come to a rule that hands it to a program, as TPROXY does.

What may be true counts as true here: a packet that may be taken is to be kept from it.
One that surely is not needs nothing, and what stands behind sees it.
"""

from collections.abc import Collection

from .chains import Action, Chain, Chains
from .packet import Match, Packet
from .spot import DEEPEST, Steps

_OVER = frozenset({Action.ACCEPT, Action.DROP, Action.QUEUE})


class Takings:
    """The ways in some chains, of which those named can lead to such a rule."""

    def __init__(self, chains: Chains, taking: Collection[str]) -> None:
        """Take them."""
        self._chains = chains
        self._taking = taking
        self._steps = Steps()

    def taken_at(self, name: str, packet: Packet) -> int | None:
        """Return the rule of a chain by which a packet may come to be taken."""
        at, _ = self._walk(name, packet, 0)
        return at

    def _walk(self, name: str, packet: Packet, depth: int) -> tuple[int | None, bool]:
        """Return the same, and whether the packet is over with the table else."""
        chain = self._chains.get(name, Chain())
        for number, rule in enumerate(chain.rules):
            for branch in rule.branches:
                match = branch.match(packet)
                if match is Match.NO:
                    continue
                if rule.takes or not self._steps.more():
                    return number, True
                over = branch.action in _OVER
                goes = branch.action in (Action.GOTO, Action.RETURN)
                if branch.chain in self._taking and depth < DEEPEST:
                    taken, over = self._walk(branch.chain, packet, depth + 1)
                    if taken is not None:
                        return number, True
                if match is Match.YES and (over or goes):
                    return None, over
                if match is Match.YES:
                    break
        return None, False
