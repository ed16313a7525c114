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
from .outlook import Outlook
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
        self._outlook = Outlook(chains, packet, self._steps)
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
                    left = self._maybe(name, rule, branch, left) or left
                    if by_client and self._outlook.goes_on(branch):
                        spared = self._spared(name, index)
                    decides |= by_client or branch.action is not Action.ACCEPT
                    continue
                here = self._step(way, name, index, branch, decides=decides)
                found = self._surely(rule, branch, here, spared or left or let_go)
                if found is _Exit.REFUSED and (spared or left):
                    found = None if spared else _Exit.RETURNED
                if found:
                    return found
                break
        return _Exit.RETURNED

    def _step(
        self,
        way: tuple[Step, ...],
        name: str,
        index: int,
        branch: Branch,
        *,
        decides: bool,
    ) -> tuple[Step, ...]:
        """Return the steps that lead to what a rule does."""
        singled_out = branch.singles_out(self._packet) or any(
            step.singled_out for step in way
        )
        named = branch.names_clients(self._packet)
        return (*way, Step(name, index, singled_out, decides, named))

    def _spared(self, name: str, index: int) -> ChainRule:
        """Return a rule behind which some clients go on, where others may not."""
        rule = self._chains[name].rules[index]
        if any(branch.action is Action.GOTO for branch in rule.branches):
            self._note_spared(name, index)
        return rule

    def _note_spared(self, name: str, index: int) -> None:
        """Take note of clients who go on where all others leave the chain."""
        if self._outlook.may_accept(name, by_client=True, start=index + 1):
            self._lets_in = self._lets_in or (name, self._chains[name].rules[index])

    def _met(self, name: str, index: int, branch: Branch) -> Match:
        """Return whether a packet goes this way.

        So it does where all but some leave the chain unharmed: those are banned, and
        behind that is no place for ours.
        """
        match = branch.match(self._packet)
        leaves = branch.action is Action.ACCEPT or (
            branch.action is Action.RETURN and not self._is_dropping_end(name)
        )
        if not (match is Match.MAYBE and leaves and branch.is_for_most(self._packet)):
            return match
        if branch.action is Action.RETURN:
            self._note_spared(name, index)
        return Match.YES

    def _maybe(
        self, name: str, rule: ChainRule, branch: Branch, left: ChainRule | None
    ) -> ChainRule | None:
        """Take note of a rule that some packets meet.

        Some clients have left the chain before, perhaps. Returns the rule if some do by
        it, and go on.
        """
        by_client = branch.asks_who(self._packet) or bool(
            left and branch.action is Action.ACCEPT
        )
        to_policy = self._is_dropping_end(name)
        if branch.is_for_most_addresses(self._packet) and self._drops(name, branch):
            found = Refused(Hindrance.ALLOW_LIST, name, rule.text)
            self._listed = self._listed or found
        returns = branch.action is Action.RETURN
        if branch.action is Action.ACCEPT or (
            returns and name == self._end and not to_policy
        ):
            if by_client:
                self._lets_in = self._lets_in or (name, rule)
        elif branch.action in (Action.JUMP, Action.GOTO):
            if self._outlook.may_accept(branch.chain, by_client=by_client):
                self._lets_in = self._lets_in or (name, rule)
            returns = branch.action is Action.GOTO and self._outlook.may_return(
                branch.chain
            )
        # Where the kernel has entered and the policy drops, to return is to be dropped.
        goes_on = returns and not to_policy
        return rule if goes_on and by_client else None

    def _is_dropping_end(self, name: str) -> bool:
        """Return whether whoever returns from a chain is dropped by a policy."""
        return name == self._end and self._chains[self._base].drops

    def _drops(self, name: str, branch: Branch) -> bool:
        """Return whether whoever goes this way is dropped for sure."""
        match branch.action:
            case Action.DROP:
                return True
            case Action.RETURN:
                return self._is_dropping_end(name)
            case Action.JUMP | Action.GOTO:
                return not (
                    self._outlook.may_return(branch.chain)
                    or self._outlook.may_accept(branch.chain, by_client=True)
                )
        return False

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
            action is Action.RETURN and self._is_dropping_end(name)
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
