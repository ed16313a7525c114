"""What stands in our chains of iptables, and how the kernel enters them."""

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property

from ..errors import BadOutput
from ..rules.base import Tag
from ..ssh.script import Result
from .created_chains import Traces
from .rule import Rule, listed
from .rules import HOOKS, Hook


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
class IptablesState:
    """Our chains and the jumps to them; None stands for a chain that is absent."""

    chains: Mapping[Hook, tuple[Rule, ...] | None]
    entrances: Mapping[Hook, Entrance]
    needed: frozenset[Hook] = field(default=frozenset(HOOKS))
    """Where a forward has rules."""
    traces: Traces = field(default=Traces())
    """Which of the kernel's chains are there for our sake alone."""
    guards: Mapping[Hook, str] = field(default_factory=dict)
    """Lines for sh, which end it unless a chain is still what was read."""

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
        """Return whether every packet comes by a forward's rules before any other."""
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


def rule_of(text: str) -> Rule:
    """Return the rule of a text, whatever it is."""
    try:
        return Rule.of(text)
    except ValueError:
        # Not one of ours, but it takes its place in the order.
        return Rule((text,), frozenset({(text,)}))


def tag_of(rule: Rule) -> Tag | None:
    """Return the tag that a rule carries."""
    tags = filter(None, map(Tag.parse, rule.values("--comment")))
    return next(tags, None)


def tproxy_in_iptables(listing: str) -> bool:
    """Return whether a TPROXY can take packets at PREROUTING.

    The listing is that of `iptables -t mangle -S`. What a rule matches is not looked
    at: a proxy that takes only some packets counts as well.
    """
    jumps: defaultdict[str, set[str]] = defaultdict(set)
    for line in listed(listing):
        command, _, rest = line.partition(" ")
        chain, _, text = rest.partition(" ")
        if command != "-A":
            continue
        try:
            rule = Rule.of(text)
        except ValueError:
            continue
        jumps[chain].update(rule.values("-j"), rule.values("-g"))
    seen: set[str] = set()
    waiting = ["PREROUTING"]
    while waiting:
        chain = waiting.pop()
        if chain not in seen:
            seen.add(chain)
            waiting += jumps.get(chain, ())
    return "TPROXY" in seen
