"""One table of iptables: its chains as they are printed, and as a packet meets them."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import lru_cache
import re

from ..passage.chains import Action, Branch, Chain, ChainRule
from .conditions import chain_rule
from .rule import Rule, listed
from .rules import CUT, Hook

_NAME = re.compile(r"(?![-!])[A-Za-z0-9_.,:@/+=~-]{1,31}")
# What was judged is kept: a router prints the same rules at each look.
_KEPT = 8


@dataclass(frozen=True, slots=True)
class Jump:
    """A rule by which a chain leads to one of ours."""

    chain: str
    before: int
    """How many rules of others stand in front of it."""
    rule: Rule


@dataclass(frozen=True)
class Table:
    """All chains of a table, with all rules in order."""

    chains: Mapping[str, tuple[Rule, ...]] = field(default_factory=dict)
    dropping: frozenset[str] = frozenset()
    """The kernel's chains that don't let pass what no rule decides about."""

    def jumps(self, hook: Hook) -> tuple[Jump, ...]:
        """Return each rule that leads to our chain, and that a text of ours names."""
        return tuple(
            Jump(name, number - at, rule)
            for name, rules in self.chains.items()
            if name != hook.chain
            for at, (number, rule) in enumerate(
                (number, rule)
                for number, rule in enumerate(rules)
                if leads_to(rule, hook)
            )
        )

    def is_held(self, hook: Hook) -> bool:
        """Return whether a rule leads to our chain that no text of ours names."""
        return any(
            hook.chain in rule.tokens and not leads_to(rule, hook)
            for name, rules in self.chains.items()
            if name != hook.chain
            for rule in rules
        )

    @property
    def walkable(self) -> Mapping[str, Chain]:
        """The chains as they are, ours among them."""
        return _walkable(
            tuple(
                (name, _walked(name, rules), name in self.dropping, name)
                for name, rules in self.chains.items()
            )
        )

    def others(self, hook: Hook) -> Mapping[str, Chain]:
        """Return the chains as they would be without ours."""
        return _walkable(self._content(hook, with_ours=False))

    def with_ours(self, hook: Hook) -> Mapping[str, Chain]:
        """Return them as they are for what a rule in our chain accepts."""
        accepts = Chain((ChainRule("", (Branch((), Action.ACCEPT),)),))
        chains = _walkable(self._content(hook, with_ours=True))
        return {**chains, hook.chain: accepts}

    def _content(self, hook: Hook, *, with_ours: bool) -> _Content:
        """Return all chains but ours, as a value."""
        return tuple(
            (
                name,
                tuple(
                    rule
                    for rule in _walked(name, rules)
                    if with_ours or not leads_to(rule, hook)
                ),
                name in self.dropping,
                hook.chain,
            )
            for name, rules in self.chains.items()
            if name != hook.chain
        )


type _Content = tuple[tuple[str, tuple[Rule, ...], bool, str], ...]


def _walked(name: str, rules: tuple[Rule, ...]) -> tuple[Rule, ...]:
    """Return the rules of a chain that decide about a forward that is on."""
    return () if name == CUT.chain else rules


def leads_to(rule: Rule, hook: Hook) -> bool:
    """Return whether it is a rule of ours that enters our chain at a hook."""
    return rule.value("-j") == hook.chain and rule.writable


def is_writable(chain: str) -> bool:
    """Return whether a chain's name is one that is safe to hand back."""
    return bool(_NAME.fullmatch(chain))


@lru_cache(_KEPT)
def _walkable(content: _Content) -> Mapping[str, Chain]:
    """Return chains as a packet meets them."""
    names = {name for name, *_ in content} | {ours for *_, ours in content}
    return {
        name: Chain(tuple(chain_rule(rule, name, names) for rule in rules), drops)
        for name, rules, drops, _ in content
    }


def rule_of(text: str) -> Rule:
    """Return the rule of a text, whatever it is."""
    try:
        return Rule.of(text)
    except ValueError:
        # Not one of ours, but it takes its place in the order.
        return Rule((text,), frozenset({(text,)}))


@lru_cache(_KEPT)
def read_table(listing: str) -> Table:
    """Return the table of which `iptables -S` prints this."""
    chains: dict[str, list[Rule]] = {}
    dropping = set()
    for line in listed(listing):
        command, _, rest = line.partition(" ")
        name, _, text = rest.partition(" ")
        match command:
            case "-P":
                chains.setdefault(name, [])
                if text.strip() != "ACCEPT":
                    dropping.add(name)
            case "-N":
                chains.setdefault(name, [])
            case "-A":
                chains.setdefault(name, []).append(rule_of(text))
    return Table(
        {name: tuple(rules) for name, rules in chains.items()}, frozenset(dropping)
    )
