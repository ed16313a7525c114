"""What may become of a packet in a chain to which it may come."""

from .chains import Action, Branch, Chains
from .packet import Match, Packet
from .spot import DEEPEST, Steps


class Outlook:
    """Looks into chains for one packet, as far as can be told without its client."""

    def __init__(self, chains: Chains, packet: Packet, steps: Steps) -> None:
        """Take all chains, and how many rules may be looked at."""
        self._chains = chains
        self._packet = packet
        self._steps = steps

    def goes_on(self, branch: Branch, depth: int = 0) -> bool:
        """Return whether who takes this way may go on behind its rule."""
        return branch.action is Action.CONTINUE or (
            branch.action is Action.JUMP and self.may_return(branch.chain, depth + 1)
        )

    def may_return(self, name: str, depth: int = 0) -> bool:
        """Return whether a packet may come out of a chain again."""
        if name not in self._chains or depth > DEEPEST:
            return True
        for rule in self._chains[name].rules:
            if not self._steps.more():
                return True
            goes_on = False
            for branch in rule.branches:
                match = branch.match(self._packet)
                if match is Match.NO:
                    continue
                if branch.action is Action.RETURN or (
                    branch.action is Action.GOTO
                    and self.may_return(branch.chain, depth + 1)
                ):
                    return True
                goes_on |= self.goes_on(branch, depth)
                if match is Match.YES:
                    if not goes_on:
                        return False
                    break
        return True

    def may_accept(self, name: str, *, by_client: bool, start: int = 0) -> bool:
        """Return whether only some clients may be accepted in a chain, from a rule on.

        `by_client` is whether it depends on who one is to come there.
        """
        return self._may_accept(name, set(), by_client, start, 0)

    def _may_accept(
        self, name: str, seen: set[str], by_client: bool, start: int, depth: int
    ) -> bool:
        """Return the same, but for chains that were seen."""
        if name in seen or name not in self._chains:
            return False
        if depth > DEEPEST:
            return True
        seen.add(name)
        for rule in self._chains[name].rules[start:]:
            goes_on = False
            for branch in rule.branches:
                match = branch.match(self._packet)
                if match is Match.NO:
                    continue
                asks = by_client or branch.asks_who(self._packet)
                if self._accepts(branch, seen, asks=asks, depth=depth):
                    return True
                goes_on |= self.goes_on(branch, depth)
                leaves = branch.action in (Action.DROP, Action.RETURN)
                if match is Match.YES:
                    if leaves and not goes_on:
                        return False
                    # Whoever goes on where others can't does so for who it is.
                    by_client |= leaves
                    break
                # Those who return come to what refuses, and others do not.
                by_client |= asks and branch.action is Action.RETURN
        return False

    def _accepts(
        self, branch: Branch, seen: set[str], *, asks: bool, depth: int
    ) -> bool:
        """Return whether only some clients may be accepted this way."""
        if branch.action is Action.ACCEPT:
            return asks
        return branch.action in (Action.JUMP, Action.GOTO) and self._may_accept(
            branch.chain, seen, asks, 0, depth + 1
        )
