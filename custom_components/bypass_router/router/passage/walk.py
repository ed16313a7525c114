"""What becomes of a packet in a chain that the kernel enters, and where ours belongs.

A packet that would be dropped for no reason of its own is to be accepted right before
that: behind all that decides by who asks, and all that does something else than decide.
So each chain is walked as the kernel does it, with three answers for each condition:
true, false, and maybe. What may be true stays in front. The first that surely drops is
the catch-all: a rule, or the policy. `spot` finds the place from there.

No accept belongs before a drop that follows accepts for some clients, or for so many at
a time: that would let in whom a list or a limit keeps out. Nor before one that is about
just this target or port, or where a program decides. Whoever lets a packet pass for
sure needs nothing of ours.
"""

from enum import Enum, auto

from ..rules.obstacles import Hindrance
from .chains import Action, Branch, ChainRule, Chains
from .packet import Match, Packet
from .spot import DEEPEST, Passage, Refused, Spot, SpotFinder, Step, Steps


class _Exit(Enum):
    """How a packet leaves a chain."""

    OVER = auto()
    """It goes no further in what the kernel has entered."""
    RETURNED = auto()
    REFUSED = auto()
    """It is dropped, but some have left a chain before, and go on."""


def passage(base: str, chains: Chains, packet: Packet) -> Passage:
    """Return what is to be done for a packet in the chain `base`."""
    return _Walk(base, chains, packet).run()


class _Walk:
    """One packet's way from the chain that the kernel enters."""

    def __init__(self, base: str, chains: Chains, packet: Packet) -> None:
        """Begin."""
        self._chains = chains
        self._packet = packet
        self._base = base
        self._end = base
        """The chain at whose end the kernel's policy decides."""
        self._to_end: tuple[Step, ...] = ()
        """The steps that lead there."""
        self._lets_in: tuple[str, ChainRule] | None = None
        """A rule by which some clients have been accepted before."""
        self._refused: Refused | None = None
        self._listed: Refused | None = None
        self._spot: Spot | None = None
        self._left: set[str] = set()
        """The chains out of which it has come again."""
        self._steps = Steps()
        self._spots = SpotFinder(base, chains, packet, self._steps)

    def run(self) -> Passage:
        """Return what comes of it."""
        base = self._base
        if base in self._chains and self._chain(base, ()) is _Exit.RETURNED:
            self._at_policy()
        return Passage(self._spot, self._refused, self._listed)

    def _at_policy(self) -> None:
        """Take note of what the policy does."""
        if not self._chains[self._base].drops:
            return
        if self._lets_in:
            self._refuse(Hindrance.ALLOW_LIST, *self._lets_in)
            return
        end = len(self._chains[self._end].rules)
        self._place((*self._to_end, Step(self._end, end)))

    def _refuse(self, kind: Hindrance, chain: str, rule: ChainRule) -> None:
        """Take note of a rule that is in the way."""
        self._refused = self._refused or Refused(kind, chain, rule.text)

    def _chain(
        self, name: str, way: tuple[Step, ...], let_go: ChainRule | None = None
    ) -> _Exit:
        """Walk a chain, to which these steps led, past a rule that let some go on."""
        chain = self._chains.get(name)
        if chain is None or name in {step.chain for step in way}:
            # Not known, such as a chain of another kind; the kernel allows no circles.
            return _Exit.RETURNED
        left: ChainRule | None = None
        for index, rule in enumerate(chain.rules):
            if not self._steps.more() or len(way) > DEEPEST:
                self._refuse(Hindrance.DENIED, name, rule)
                return _Exit.OVER
            spared: ChainRule | None = None
            decides = False
            for branch in rule.branches:
                match = self._met(name, index, branch)
                if match is Match.NO:
                    continue
                if match is Match.MAYBE:
                    by_client = branch.asks_who(self._packet)
                    left = self._maybe(name, rule, branch) or left
                    if by_client and branch.action is Action.CONTINUE:
                        spared = rule
                    decides |= by_client or branch.action is not Action.ACCEPT
                    continue
                singled_out = branch.singles_out(self._packet) or any(
                    step.singled_out for step in way
                )
                named = branch.names_clients(self._packet)
                here = (*way, Step(name, index, singled_out, decides, named))
                found = self._surely(rule, branch, here, spared or left or let_go)
                if found is _Exit.REFUSED and left and not spared:
                    return _Exit.RETURNED
                if found and not (found is _Exit.REFUSED and spared):
                    return found
                break
        return _Exit.RETURNED

    def _met(self, name: str, index: int, branch: Branch) -> Match:
        """Return whether a packet goes this way.

        So it does where all but some leave the chain unharmed: those are banned, and
        behind that is no place for ours.
        """
        match = branch.match(self._packet)
        to_policy = name == self._end and self._chains[self._base].drops
        leaves = branch.action is Action.ACCEPT or (
            branch.action is Action.RETURN and not to_policy
        )
        if not (match is Match.MAYBE and leaves and branch.is_for_most(self._packet)):
            return match
        if branch.action is Action.RETURN and self._may_accept(
            name, set(), by_client=True, start=index + 1
        ):
            self._lets_in = self._lets_in or (name, self._chains[name].rules[index])
        return Match.YES

    def _maybe(self, name: str, rule: ChainRule, branch: Branch) -> ChainRule | None:
        """Take note of a rule that some packets meet.

        Returns it if some clients leave the chain by it, and go on.
        """
        by_client = branch.asks_who(self._packet)
        if branch.is_for_most_addresses(self._packet) and self._drops(name, branch):
            found = Refused(Hindrance.ALLOW_LIST, name, rule.text)
            self._listed = self._listed or found
        returns = branch.action is Action.RETURN
        if branch.action is Action.ACCEPT or (
            returns and name == self._base and not self._chains[name].drops
        ):
            if by_client:
                self._lets_in = self._lets_in or (name, rule)
        elif branch.action in (Action.JUMP, Action.GOTO):
            if self._may_accept(branch.chain, {name}, by_client=by_client):
                self._lets_in = self._lets_in or (name, rule)
            returns = branch.action is Action.GOTO and self._may_return(branch.chain)
        # Where the kernel has entered and the policy drops, to return is to be dropped.
        goes_on = returns and not (name == self._base and self._chains[name].drops)
        return rule if goes_on and by_client else None

    def _may_accept(
        self,
        name: str,
        seen: set[str],
        *,
        by_client: bool,
        depth: int = 0,
        start: int = 0,
    ) -> bool:
        """Return whether some clients may be accepted in a chain, from a rule on."""
        if name in seen or name not in self._chains:
            return False
        if depth > DEEPEST:
            return True
        seen.add(name)
        for rule in self._chains[name].rules[start:]:
            for branch in rule.branches:
                match = branch.match(self._packet)
                if match is Match.NO:
                    continue
                asks = by_client or branch.asks_who(self._packet)
                if branch.action is Action.ACCEPT and asks:
                    return True
                if branch.action in (Action.JUMP, Action.GOTO) and self._may_accept(
                    branch.chain, seen, by_client=asks, depth=depth + 1
                ):
                    return True
                if match is Match.YES and branch.action in (Action.DROP, Action.RETURN):
                    return False
        return False

    def _drops(self, name: str, branch: Branch) -> bool:
        """Return whether whoever goes this way is dropped for sure."""
        match branch.action:
            case Action.DROP:
                return True
            case Action.RETURN:
                return name == self._end and self._chains[self._base].drops
            case Action.JUMP | Action.GOTO:
                return not (
                    self._may_return(branch.chain)
                    or self._may_accept(branch.chain, {name}, by_client=True)
                )
        return False

    def _may_return(self, name: str, depth: int = 0) -> bool:
        """Return whether a packet may come out of a chain again, as far as it tells."""
        if name not in self._chains or depth > DEEPEST:
            return True
        for rule in self._chains[name].rules:
            if not self._steps.more():
                return True
            for branch in rule.branches:
                match = branch.match(self._packet)
                if match is Match.NO:
                    continue
                action = branch.action
                returns = action is Action.RETURN or (
                    action in (Action.JUMP, Action.GOTO)
                    and self._may_return(branch.chain, depth + 1)
                )
                if returns and action is not Action.JUMP:
                    return True
                if match is Match.YES:
                    if not returns and action is not Action.CONTINUE:
                        return False
                    break
        return True

    def _surely(
        self,
        rule: ChainRule,
        branch: Branch,
        way: tuple[Step, ...],
        let_go: ChainRule | None,
    ) -> _Exit | None:
        """Return how the packet leaves the chain by this rule, if it does."""
        name, action = way[-1].chain, branch.action
        if action is Action.CONTINUE:
            return None
        if action is Action.DROP or (
            # Back to where the policy drops.
            action is Action.RETURN
            and name == self._end
            and self._chains[self._base].drops
        ):
            return self._dropped(rule, way, let_go)
        if action in (Action.JUMP, Action.GOTO):
            known = branch.chain in self._chains
            if known and action is Action.GOTO and name == self._end:
                self._end, self._to_end = branch.chain, way
            found = self._chain(branch.chain, way, let_go)
            if found is _Exit.RETURNED and branch.chain != self._end:
                self._left.add(branch.chain)
            return None if (action, found) == (Action.JUMP, _Exit.RETURNED) else found
        if action is Action.QUEUE:
            self._refuse(Hindrance.QUEUED, name, rule)
        return _Exit.RETURNED if action is Action.RETURN else _Exit.OVER

    def _dropped(
        self, rule: ChainRule, way: tuple[Step, ...], let_go: ChainRule | None
    ) -> _Exit:
        """Take note of a catch-all, or of what only looks like one."""
        name = way[-1].chain
        if way[-1].singled_out:
            self._refuse(Hindrance.DENIED, name, rule)
        elif let_go:
            self._refuse(Hindrance.ALLOW_LIST, name, let_go)
            return _Exit.REFUSED
        elif self._lets_in:
            self._refuse(Hindrance.ALLOW_LIST, *self._lets_in)
        elif way[-1].decides:
            self._refuse(Hindrance.DENIED, name, rule)
        elif unlisted := self._unlisted(way):
            at = self._chains[unlisted.chain].rules[unlisted.index]
            self._refuse(Hindrance.ALLOW_LIST, unlisted.chain, at)
        else:
            self._place(way)
        return _Exit.OVER

    def _unlisted(self, way: tuple[Step, ...]) -> Step | None:
        """Return the step by which all who are not on a list are dropped."""
        for step in reversed(way):
            if step.names_clients:
                return step
            if not self._spots.only_refuse(self._chains[step.chain].rules):
                return None
        return None

    def _place(self, way: tuple[Step, ...]) -> None:
        """Take note of the place before a catch-all."""
        found = self._spots.before(way, self._left)
        if isinstance(found, Spot):
            self._spot = found
        else:
            self._refused = self._refused or found
