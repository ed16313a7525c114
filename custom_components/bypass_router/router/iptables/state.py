"""What stands in our chains of iptables, and how the kernel enters them."""

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property

from ..errors import BadOutput
from ..rules.base import Tag
from ..rules.ends import read_ending
from ..ssh.script import Result
from .created_chains import Traces
from .gate import Clock
from .places import Places
from .rule import Rule, listed
from .rules import Hook
from .table import Jump, Table, rule_of


@dataclass(frozen=True, slots=True)
class Entrance:
    """How a chain of the kernel enters ours."""

    jumps: tuple[Rule, ...] = ()
    """Every rule that does."""
    first: bool = False
    """Whether the first rule of the kernel's chain is one of them."""
    blocking: bool = False
    """Whether the kernel's chain may keep a packet that does not enter ours."""
    held: bool = False
    """Whether a rule enters ours that stays, as no text of ours names it."""


@dataclass(frozen=True)
class Gate:
    """How chains of one table lead to ours, where that is to let packets pass."""

    places: Places
    """Where they have to."""
    table: Table | None = None
    """None for one that can't be shown."""
    jumps: tuple[Jump, ...] = ()
    """Every rule that does, wherever it stands."""
    held: bool = False
    """Whether a rule leads to ours that stays, as no text of ours names it."""


@dataclass(frozen=True)
class IptablesState:
    """Our chains and the jumps to them; None stands for a chain that is absent."""

    chains: Mapping[Hook, tuple[Rule, ...] | None]
    entrances: Mapping[Hook, Entrance]
    """Of the kernel's chains at all hooks."""
    gates: Mapping[Hook, Gate]
    """At those hooks where ours let packets pass."""
    needed: frozenset[Hook]
    """Those of the others where a forward has rules."""
    traces: Traces = field(default=Traces())
    """Which of the kernel's chains are there for our sake alone."""
    guards: Mapping[Hook, str] = field(default_factory=dict)
    """Lines for sh, which end it unless a chain is still what was read."""
    clock: Clock = field(default=Clock(), compare=False)

    def _tag(self, hook: Hook, rule: Rule) -> Tag | None:
        """Return the tag of a rule that we are able to take away."""
        return tag_of(rule) if rule.writable or hook in self.guards else None

    @cached_property
    def tagged(self) -> Mapping[Tag, Counter[tuple[Hook, Rule]]]:
        """The rules that carry a tag, whoever's it is.

        Of those that no text of ours names, only what can go by its number.
        """
        tagged: dict[Tag, Counter[tuple[Hook, Rule]]] = {}
        for hook, rules in self.chains.items():
            for rule in rules or ():
                if tag := self._tag(hook, rule):
                    tagged.setdefault(tag, Counter())[hook, rule] += 1
        return tagged

    def shadowed(self, hook: Hook, owner: str) -> list[Rule]:
        """Return the owner's rules that stand behind someone's in our own chain."""
        behind = self._behind[hook]
        return [
            rule
            for tag, rules in behind.items()
            if tag.owner == owner
            for rule in rules
        ]

    def is_shadowed(self, hook: Hook, tag: Tag) -> bool:
        """Return whether a rule with this tag does."""
        return tag in self._behind[hook]

    @cached_property
    def _behind(self) -> Mapping[Hook, Mapping[Tag, list[Rule]]]:
        """The rules with a tag that stand behind one without, in our chains.

        Looked at once: a thousand forwards ask for it.
        """
        found: dict[Hook, dict[Tag, list[Rule]]] = {}
        for hook, rules in self.chains.items():
            tags = [self._tag(hook, rule) for rule in rules or ()]
            behind = tags.index(None) if None in tags else len(tags)
            found[hook] = {}
            for rule, tag in zip((rules or ())[behind:], tags[behind:], strict=True):
                if tag:
                    found[hook].setdefault(tag, []).append(rule)
        return found

    def enters(self, tag: Tag) -> bool:
        """Return whether every packet is translated by a forward's rules first."""
        return all(
            self.entrances[hook].first and not self.is_shadowed(hook, tag)
            for hook in self.needed
        )


def entrance_of(hook: Hook, rules: list[Rule]) -> Entrance:
    """Return how the kernel's chain, which has these rules, enters ours."""
    jumps = tuple(
        rule for rule in rules if rule.value("-j") == hook.chain and rule.writable
    )
    return Entrance(
        jumps,
        first=rules[:1] == [hook.jump],
        blocking=any(rule not in jumps for rule in rules),
        held=any(hook.chain in rule.tokens and rule not in jumps for rule in rules),
    )


def listed_rules(chain: str, result: Result) -> Iterator[Rule]:
    """Return the rules of a chain's listing. Raises BadOutput if it is none."""
    lines = set(result.lines)
    if f"-N {chain}" not in lines and not any(
        line.startswith((f"-P {chain} ", f"-A {chain} ")) for line in lines
    ):
        # Taken for an empty chain, it would show as off what may be open.
        raise BadOutput(output=result.message)
    return rules_in(chain, result.output)


def rules_in(chain: str, listing: str) -> Iterator[Rule]:
    """Yield the rules of a chain, in order."""
    for line in listed(listing):
        if line.startswith(f"-A {chain} "):
            yield rule_of(line.removeprefix(f"-A {chain} "))


def tag_of(rule: Rule) -> Tag | None:
    """Return the tag that a rule carries."""
    return next(filter(None, map(_tag_in, rule.values("--comment"))), None)


def _tag_in(comment: str) -> Tag | None:
    """Return the tag that a comment is, or begins with where something ends."""
    if tag := Tag.parse(comment):
        return tag
    end = read_ending(comment)
    return end[0] if end else None
