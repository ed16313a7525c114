"""What becomes of a packet in a chain that the kernel enters, and where ours belongs.

A packet that would be dropped for no reason of its own is to be accepted right before
that: behind all that decides by who asks, and all that does something else than decide.
So each chain is walked as the kernel does it, with three answers for each condition:
true, false, and maybe. What may be true stays in front. The first that surely drops is
the catch-all: a rule, or the policy. From there a place moves up over what only logs
the refusal, and from a chain that does nothing but refuse to the jump that leads there.

No accept belongs before a drop that follows accepts for some clients, or for so many at
a time: that would let in whom a list or a limit keeps out. Nor before one that is about
just this target or port, or where a program decides. Whoever lets a packet pass for
sure needs nothing of ours.
"""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from enum import Enum, auto
from ipaddress import IPv4Address
import re

from ..rules.obstacles import Hindrance
from .chains import Action, Branch, ChainRule, Chains
from .packet import Match, Packet

# Their programs put back whatever differs from what they wrote.
_REWRITTEN = re.compile(
    "PVEFW-|cali-|KUBE-|DOCKER(?!-USER)|ts-|nm-sh-|LIBVIRT_|NETAVARK|CNI-|FLANNEL"
    # Chains that stand in a rule, and have no name.
    r"|\{"
)

# The kernel goes no deeper than sixteen chains, or about so, and a table that leads
# through more rules than these is made to mislead.
_DEEPEST = 40
_MOST_STEPS = 50_000

_ANYONE = tuple(
    (int(IPv4Address(first)), int(IPv4Address(last)))
    for first, last in (
        ("1.0.0.0", "126.255.255.255"),
        ("128.0.0.0", "223.255.255.255"),
    )
)
"""The addresses that a client may have."""


@dataclass(frozen=True, slots=True)
class Spot:
    """Where a rule of ours is to stand: behind so many rules of others.

    At `first`; anywhere up to `last` does as well.
    """

    chain: str
    first: int
    last: int


@dataclass(frozen=True, slots=True)
class Refused:
    """Why there is no place: a rule that decides."""

    kind: Hindrance
    chain: str
    rule: str


@dataclass(frozen=True, slots=True)
class Passage:
    """What is to be done so that packets pass one chain of the kernel's."""

    spot: Spot | None = None
    refused: Refused | None = None


class _Exit(Enum):
    """How a packet leaves a chain."""

    OVER = auto()
    """It goes no further in what the kernel has entered."""
    RETURNED = auto()
    REFUSED = auto()
    """It is dropped, but some have left a chain before, and go on."""


@dataclass(frozen=True, slots=True)
class _Step:
    """Where a packet is: at a rule of a chain."""

    chain: str
    index: int
    singled_out: bool = False
    """Whether the rule, or one that led here, is about just this target."""
    decides: bool = False
    """Whether the rule does something else with some packets, as a map may."""
    names_clients: bool = False
    """Whether it is for some addresses of clients, and not for others."""


def passage(base: str, chains: Chains, packet: Packet) -> Passage:
    """Return what is to be done for a packet in the chain `base`."""
    return _Walk(chains, packet).run(base)


class _Walk:
    """One packet's way from the chain that the kernel enters."""

    def __init__(self, chains: Chains, packet: Packet) -> None:
        """Begin."""
        self._chains = chains
        self._packet = packet
        self._base = ""
        self._end = ""
        """The chain at whose end the kernel's policy decides."""
        self._to_end: tuple[_Step, ...] = ()
        """The steps that lead there."""
        self._lets_in: tuple[str, ChainRule] | None = None
        """A rule by which some clients have been accepted before."""
        self._refused: Refused | None = None
        self._spot: Spot | None = None
        self._steps = 0

    def run(self, base: str) -> Passage:
        """Return what comes of it."""
        self._base = self._end = base
        if base in self._chains and self._chain(base, ()) is _Exit.RETURNED:
            self._at_policy()
        return Passage(self._spot, self._refused)

    def _at_policy(self) -> None:
        """Take note of what the policy does."""
        if not self._chains[self._base].drops:
            return
        if self._lets_in:
            self._refuse(Hindrance.ALLOW_LIST, *self._lets_in)
            return
        end = len(self._chains[self._end].rules)
        self._place((*self._to_end, _Step(self._end, end)))

    def _refuse(self, kind: Hindrance, chain: str, rule: ChainRule) -> None:
        """Take note of a rule that is in the way."""
        self._refused = self._refused or Refused(kind, chain, rule.text)

    def _chain(
        self, name: str, way: tuple[_Step, ...], let_go: ChainRule | None = None
    ) -> _Exit:
        """Walk a chain, to which these steps led, past a rule that let some go on."""
        chain = self._chains.get(name)
        if chain is None or name in {step.chain for step in way}:
            # Not known, such as a chain of another kind; the kernel allows no circles.
            return _Exit.RETURNED
        left: ChainRule | None = None
        for index, rule in enumerate(chain.rules):
            self._steps += 1
            if self._steps > _MOST_STEPS or len(way) > _DEEPEST:
                self._refuse(Hindrance.DENIED, name, rule)
                return _Exit.OVER
            spared: ChainRule | None = None
            decides = False
            for branch in rule.branches:
                match = branch.match(self._packet)
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
                here = (*way, _Step(name, index, singled_out, decides, named))
                found = self._surely(rule, branch, here, spared or left or let_go)
                if found is _Exit.REFUSED and left and not spared:
                    return _Exit.RETURNED
                if found and not (found is _Exit.REFUSED and spared):
                    return found
                break
        return _Exit.RETURNED

    def _maybe(self, name: str, rule: ChainRule, branch: Branch) -> ChainRule | None:
        """Take note of a rule that some packets meet.

        Returns it if some clients leave the chain by it, and go on.
        """
        by_client = branch.asks_who(self._packet)
        returns = branch.action is Action.RETURN
        if branch.action is Action.ACCEPT or (
            returns and name == self._base and not self._chains[name].drops
        ):
            if by_client:
                self._lets_in = self._lets_in or (name, rule)
        elif branch.action in (Action.JUMP, Action.GOTO):
            if self._may_accept(branch.chain, {name}, by_client=by_client):
                self._lets_in = self._lets_in or (name, rule)
            returns = branch.action is Action.GOTO
        # Where the kernel has entered and the policy drops, to return is to be dropped.
        goes_on = returns and not (name == self._base and self._chains[name].drops)
        return rule if goes_on and by_client else None

    def _may_accept(
        self, name: str, seen: set[str], *, by_client: bool, depth: int = 0
    ) -> bool:
        """Return whether some clients may be accepted in a chain."""
        if name in seen or name not in self._chains:
            return False
        if depth > _DEEPEST:
            return True
        seen.add(name)
        for rule in self._chains[name].rules:
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

    def _surely(
        self,
        rule: ChainRule,
        branch: Branch,
        way: tuple[_Step, ...],
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
            return None if (action, found) == (Action.JUMP, _Exit.RETURNED) else found
        if action is Action.QUEUE:
            self._refuse(Hindrance.QUEUED, name, rule)
        return _Exit.RETURNED if action is Action.RETURN else _Exit.OVER

    def _dropped(
        self, rule: ChainRule, way: tuple[_Step, ...], let_go: ChainRule | None
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

    def _unlisted(self, way: tuple[_Step, ...]) -> _Step | None:
        """Return the step by which all who are not on a list are dropped."""
        for step in reversed(way):
            if step.names_clients:
                return step
            rules = self._chains[step.chain].rules
            if not all(self._is_idle(it) or self._refuses(it) for it in rules):
                return None
        return None

    def _place(self, way: tuple[_Step, ...]) -> None:
        """Take note of the place before a catch-all."""
        *before, at = way
        spot = self._raised(at.chain, at.index)
        while before:
            *_, led = before
            to_leave = _REWRITTEN.match(spot.chain) or self._is_shared(spot.chain)
            rules = self._chains[spot.chain].rules[: spot.first]
            only_refuses = not led.decides and all(
                self._is_idle(rule) or self._refuses(rule) for rule in rules
            )
            if not (to_leave or only_refuses):
                break
            if led.decides or not (only_refuses or self._lets_all_go(rules)):
                rule = self._chains[led.chain].rules[led.index]
                self._refuse(Hindrance.DENIED, led.chain, rule)
                return
            at = before.pop()
            spot = self._raised(at.chain, at.index)
        self._spot = spot

    def _is_shared(self, name: str) -> bool:
        """Return whether rules that decide lead to a chain as well."""
        waiting = [(self._base, False)]
        seen = set(waiting)
        while waiting:
            at, decided = waiting.pop()
            if at == name and decided:
                return True
            for branch in self._branches(at):
                match = branch.match(self._packet)
                step = branch.chain, decided or match is Match.MAYBE
                if match is not Match.NO and step not in seen:
                    seen.add(step)
                    waiting.append(step)
        return False

    def _lets_all_go(self, rules: Iterable[ChainRule]) -> bool:
        """Return whether rules, and those they surely lead to, decide nothing."""
        waiting = [branch for rule in rules for branch in rule.branches]
        seen = set()
        while waiting:
            branch = waiting.pop()
            match = branch.match(self._packet)
            if match is Match.MAYBE and branch.action is not Action.CONTINUE:
                return False
            if match is Match.YES and branch.chain not in seen:
                seen.add(branch.chain)
                waiting += self._branches(branch.chain)
        return True

    def _branches(self, name: str) -> list[Branch]:
        """Return the branches of all rules of a chain, if it is known."""
        chain = self._chains.get(name)
        return [it for rule in chain.rules for it in rule.branches] if chain else []

    def _raised(self, chain: str, index: int) -> Spot:
        """Return the place before a rule, or before what only logs its refusal."""
        first = index
        rules = self._chains[chain].rules
        while first and self._is_idle(rules[first - 1]):
            first -= 1
        return Spot(chain, first, index)

    def _is_idle(self, rule: ChainRule, seen: frozenset[str] = frozenset()) -> bool:
        """Return whether a rule only logs or counts, or leads to what does no more."""
        if rule.only_logs:
            return True
        self._steps += 1
        if self._steps > _MOST_STEPS or len(seen) > _DEEPEST:
            return False
        jumps = [it.chain for it in rule.branches if it.action is Action.JUMP]
        return len(jumps) == len(rule.branches) > 0 and all(
            name in self._chains
            and name not in seen
            and all(
                self._is_idle(inner, seen | {name})
                for inner in self._chains[name].rules
            )
            for name in jumps
        )

    def _refuses(self, rule: ChainRule) -> bool:
        """Return whether a rule does nothing else, whoever asks.

        The same for all packets of a forward, so that they share a place.
        """
        anyone = [
            replace(self._packet, clients=_ANYONE, answer=answer)
            for answer in (False, True)
        ]
        return all(
            branch.action is Action.DROP
            and branch.match(self._packet) is not Match.MAYBE
            and not any(map(branch.asks_who, anyone))
            for branch in rule.branches
        )


def spots_of(passages: Iterable[Passage]) -> list[Spot]:
    """Return the places for several packets, each chain's as one where one does."""
    found: dict[str, list[Spot]] = {}
    for spot in filter(None, (it.spot for it in passages)):
        spots = found.setdefault(spot.chain, [])
        for number, other in enumerate(spots):
            first = max(spot.first, other.first)
            last = min(spot.last, other.last)
            if first <= last:
                spots[number] = replace(spot, first=first, last=last)
                break
        else:
            spots.append(spot)
    return [spot for spots in found.values() for spot in spots]
