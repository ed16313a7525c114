"""Chains drawn at random, and what netfilter does with a packet in them.

The model goes through them as the kernel does, once all conditions that may be true or
not are said to be the one or the other.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import product
from typing import Final

from hypothesis import strategies as st

from custom_components.bypass_router.router.passage.chains import (
    Action,
    Branch,
    Chain,
    ChainRule,
    Chains,
)
from custom_components.bypass_router.router.passage.packet import (
    Condition,
    Key,
    Match,
    Packet,
)
from custom_components.bypass_router.router.passage.spot import Spot

NAMES: Final = ("base", "DOCKER", "one", "two")
"""A chain leads to later ones only. The second one's program writes it anew."""

YES: Final = Condition(Key.TRANSPORT, words=frozenset({"tcp"}))
NO: Final = Condition(Key.TRANSPORT, words=frozenset({"udp"}))
SINGLED_OUT: Final = Condition(Key.DESTINATION_PORT, ((443, 443),))
_WHO: Final = Condition(Key.UNKNOWN, by_client=True)
FROM: Final = Condition(Key.SOURCE, ((0xCB00710B, 0xCB00710B),))
BY: Final = Condition(Key.ORIGINAL_SOURCE, FROM.intervals)
NOT_WHO: Final = Condition(Key.UNKNOWN, negated=True, by_client=True)
NOT_FROM: Final = Condition(Key.SOURCE, FROM.intervals, negated=True)
WHAT: Final = Condition(Key.UNKNOWN)

_ENDS: Final = (
    Action.CONTINUE,
    Action.ACCEPT,
    Action.DROP,
    Action.DROP,
    Action.RETURN,
    Action.QUEUE,
)

type Truth = Mapping[int, bool]
"""Of the conditions that may be true or not, by where they stand."""


@dataclass(frozen=True, slots=True)
class Fate:
    """What became of a packet, and what it met."""

    verdict: str
    """accept, drop or queue."""
    by: ChainRule | None = None
    """The rule that decided; None for the policy, and for ours."""
    chain: str = ""
    led_by: tuple[Condition, ...] = ()
    """What was true of the rule that decided, and of those that led to it."""
    met: tuple[str, ...] = ()
    """What else was done with it, logs and counters aside."""


@dataclass(slots=True)
class _Run:
    """One packet's way, all conditions being said."""

    chains: Chains
    packet: Packet
    truth: Truth
    accept: tuple[str, int] | None
    met: list[str] = field(default_factory=list)

    def chain(self, name: str, led_by: tuple[Condition, ...]) -> Fate | None:
        """Return its fate there; None if it comes to the end, or returns."""
        rules = self.chains[name].rules
        for index in range(len(rules) + 1):
            if (name, index) == self.accept:
                return Fate("accept", met=tuple(self.met))
            if index == len(rules):
                return None
            branch = self._branch(rules[index])
            if branch is None:
                continue
            action, led = branch.action, (*led_by, *branch.conditions)
            if action is Action.CONTINUE:
                self.met += [rules[index].text] * (not rules[index].only_logs)
            elif action in (Action.JUMP, Action.GOTO):
                found = self.chain(branch.chain, led)
                if found or action is Action.GOTO:
                    return found
            elif action is Action.RETURN:
                return None
            else:
                return Fate(action, rules[index], name, led, tuple(self.met))
        return None

    def _branch(self, rule: ChainRule) -> Branch | None:
        """Return what is true of a rule first."""
        for branch in rule.branches:
            if all(map(self._true, branch.conditions)):
                return branch
        return None

    def _true(self, condition: Condition) -> bool:
        """Return whether a condition is true."""
        match condition.match(self.packet):
            case Match.MAYBE:
                return self.truth[id(condition)]
            case found:
                return found is Match.YES


def fate(
    chains: Chains, packet: Packet, truth: Truth, spot: Spot | None = None, at: int = 0
) -> Fate:
    """Return a packet's fate, with an accept of ours at a spot if there is one."""
    accept = (spot.chain, at) if spot else None
    run = _Run(chains, packet, truth, accept)
    found = run.chain("base", ())
    policy = "drop" if chains["base"].drops else "accept"
    return found or Fate(policy, chain="base", met=tuple(run.met))


def decided(chains: Chains, packet: Packet, found: Fate) -> bool:
    """Return whether a packet was kept out for a reason of someone's own."""
    if found.verdict == "queue":
        return True
    if found.verdict == "accept" or found.by is None:
        return False
    if any(it.singles_out(packet) for it in found.led_by):
        return True
    maybe = [it for it in found.led_by if it.match(packet) is Match.MAYBE]
    only_refuses = all(
        rule.only_logs or all(it.action is Action.DROP for it in rule.branches)
        for rule in chains[found.chain].rules
    )
    return any(it.asks_who(packet) for it in maybe) or bool(maybe and not only_refuses)


def conditions_of(chains: Chains) -> Iterator[Condition]:
    """Yield all conditions."""
    for chain in chains.values():
        for rule in chain.rules:
            for branch in rule.branches:
                yield from branch.conditions


def truths(chains: Chains, packet: Packet) -> Iterator[Truth]:
    """Yield each way in which the conditions that may be true can be.

    First that of a client that no rule names: what is true of all but some is so of it.
    """
    open_ones = {
        id(it): it.negated
        for it in conditions_of(chains)
        if it.match(packet) is Match.MAYBE
    }
    for values in product((False, True), repeat=len(open_ones)):
        yield {
            it: value != negated
            for (it, negated), value in zip(open_ones.items(), values, strict=True)
        }


def _copy(condition: Condition) -> Condition:
    """Return the same as a value of its own, to be true or not by itself."""
    return Condition(
        condition.key,
        condition.intervals,
        condition.words,
        condition.negated,
        condition.by_client,
    )


@st.composite
def _branches(
    draw: st.DrawFn,
    later: tuple[str, ...],
    spare: list[int],
    of_map: tuple[Condition, ...] = (),
) -> Branch:
    """Draw one, of which not too many may be true or not.

    One of a map asks for the same as the others, or is for all that are left.
    """
    kinds: list[tuple[Condition, ...]] = [(), (), (YES,), (NO,), (SINGLED_OUT,)]
    if spare[0]:
        kinds += [(_WHO,), (FROM,), (BY,), (WHAT,), (_WHO, SINGLED_OUT)]
    if of_map:
        kinds = [(), of_map] if spare[0] else [()]
    conditions = draw(st.sampled_from(kinds))
    spare[0] -= any(it in (_WHO, FROM, BY, WHAT) for it in conditions)
    leads = (Action.JUMP, Action.GOTO) if later else ()
    action = draw(st.sampled_from([*_ENDS, *leads, *leads[:1]]))
    leaves = {Action.ACCEPT, *[Action.RETURN][: len(later) < len(NAMES) - 1]}
    if action in leaves and conditions in ((_WHO,), (FROM,)):
        other = NOT_WHO if conditions == (_WHO,) else NOT_FROM
        conditions = draw(st.sampled_from([conditions, (other,)]))
    chain = draw(st.sampled_from(later)) if action in leads else ""
    return Branch(tuple(map(_copy, conditions)), action, chain)


@st.composite
def random_chains(draw: st.DrawFn) -> dict[str, Chain]:
    """Draw the chains of a table, of which `base` is the kernel's."""
    spare = [6]
    chains = {}
    for place, name in enumerate(NAMES):
        later = NAMES[place + 1 :]
        rules = []
        for number in range(draw(st.integers(0, 4))):
            first = draw(_branches(later, spare))
            branches = [first]
            if bool(first.conditions) and draw(st.booleans()):
                branches.append(draw(_branches(later, spare, first.conditions)))
            logs = all(it.action is Action.CONTINUE for it in branches)
            rules.append(
                ChainRule(
                    f"{name} {number}", tuple(branches), logs and draw(st.booleans())
                )
            )
        drops = name == "base" and draw(st.booleans())
        chains[name] = Chain(tuple(rules), drops)
    return chains
