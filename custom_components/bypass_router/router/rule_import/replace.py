"""Rules that a person has put into the kernel's chains, and how they go.

They go in the same change by which forwards come in their place: what translates
already when they go leaves no moment in which the port is closed.
"""

from collections.abc import (
    Collection,
    Iterable,
    Iterator,
    Mapping,
    Sequence,
    Set as AbstractSet,
)
from dataclasses import dataclass
from typing import override

from ..forward import Forward
from ..iptables.legacy import guarded
from ..iptables.rule import Rule, listed
from ..iptables.rules import POST, PRE
from ..probe.firewalls import Tools
from ..rules.base import Phase, PlanStep, Problem, Tag
from ..rules.obstacles import Obstacle
from ..ssh.script import Result, Script
from ..ssh.sudo import as_root

type Chain = tuple[str, str]
"""A variant of iptables by its command, and one of the kernel's chains."""


@dataclass(frozen=True, slots=True)
class Listing:
    """A variant of iptables, and how it prints what stands in its nat table."""

    command: str
    sudo: bool = False
    absent: bool = False
    """Whether printing might make the table, and is left where it would."""

    def add_to(self, script: Script) -> None:
        """Add the commands that print the chains."""
        for hook in (PRE, POST):
            words = f"--wait 5 -t {hook.table} -S {hook.builtin}"
            look = as_root(f"{self.command} {words}", sudo=self.sudo)
            script.run(
                self._label(hook.builtin),
                guarded(hook.table, look) if self.absent else look,
            )

    def read(self, sections: Mapping[str, Result], chain: str) -> tuple[Rule, ...]:
        """Return the rules of a chain; none where they can't be shown."""
        result = sections[self._label(chain)]
        return tuple(_rules(chain, result)) if result.ok else ()

    def _label(self, chain: str) -> str:
        """Return the label of a chain's section."""
        return f"old.{chain}.{self.command}"

    @property
    def restore(self) -> str:
        """The command that changes the rules."""
        command = f"{self.command}-restore --noflush --wait 5"
        return as_root(command, sudo=self.sudo)


def listings(tools: Tools) -> list[Listing]:
    """Return how to look at each variant of iptables that is in use on a router."""
    return [
        Listing(
            found.command,
            tools.sudo,
            absent=found.variant == "legacy" and PRE.table in tools.absent,
        )
        for found in (tools.iptables, tools.other)
        if found
    ]


@dataclass(frozen=True, slots=True)
class OldRule:
    """A rule that a person has made, and where it stands."""

    command: str
    chain: str
    rule: Rule

    @override
    def __str__(self) -> str:
        """Return the rule as the person may have typed it."""
        return f"{self.command} -t nat -A {self.chain} {self.rule}"


@dataclass(frozen=True, slots=True)
class ManualForward:
    """A forward, and the rules that carry it out, which go when it is imported."""

    forward: Forward
    """Its id is made of the rules."""
    translations: tuple[OldRule, ...]
    rewrites: tuple[OldRule, ...] = ()
    comment: str = ""
    """What the person has written beside the rules."""

    @property
    def rules(self) -> tuple[OldRule, ...]:
        """All rules."""
        return (*self.translations, *self.rewrites)


class Replaced:
    """The rules of forwards that are imported, as a part of the ruleset."""

    def __init__(
        self, found: Sequence[Listing], replaced: Mapping[str, ManualForward]
    ) -> None:
        """Take what goes, by the id of the forward that comes in its place."""
        self._listings = found
        self._replaced = replaced

    def add_read(self, script: Script) -> None:
        """Add the commands that print the chains."""
        for listing in self._listings:
            listing.add_to(script)

    def read(self, sections: Mapping[str, Result]) -> Mapping[Chain, tuple[Rule, ...]]:
        """Return what stands in the chains."""
        return {
            (listing.command, hook.builtin): listing.read(sections, hook.builtin)
            for listing in self._listings
            for hook in (PRE, POST)
        }

    def tags(self, _: Mapping[Chain, tuple[Rule, ...]]) -> AbstractSet[Tag]:
        """Return nothing: no one has marked these rules."""
        return frozenset()

    def carries(self, _: Forward, __: Mapping[Chain, tuple[Rule, ...]]) -> bool:
        """Tell that no forward needs them."""
        return True

    def problems(
        self, _: Forward, __: Mapping[Chain, tuple[Rule, ...]]
    ) -> AbstractSet[Problem]:
        """Return nothing: what a person has made keeps no forward from working."""
        return frozenset()

    def steps(
        self, desired: Collection[Forward], state: Mapping[Chain, tuple[Rule, ...]]
    ) -> list[PlanStep]:
        """Return how those of them go that desired forwards replace, if they stand."""
        ids = {forward.id for forward in desired}
        going = [it for key, it in self._replaced.items() if key in ids]
        steps = []
        for listing in self._listings:
            lines = tuple(_removals(listing.command, going, state))
            if lines:
                block = ("*nat", *lines, "COMMIT")
                steps.append(PlanStep(Phase.TRANSLATE, listing.restore, block))
        return steps

    def rules(self, _: Forward) -> list[str]:
        """Return nothing: no forward has rules here."""
        return []

    def obstacles(
        self, _: Forward, __: Mapping[Chain, tuple[Rule, ...]]
    ) -> Iterable[Obstacle]:
        """Return nothing: what is looked at here translates."""
        return ()

    def looks(self, *, heard: bool) -> list[str]:  # noqa: ARG002 - as every part
        """Return nothing: no switch depends on them."""
        return []


def _removals(
    command: str,
    going: Collection[ManualForward],
    state: Mapping[Chain, tuple[Rule, ...]],
) -> Iterator[str]:
    """Yield a line for each rule that goes, as often as it stands."""
    translations = {rule.rule for forward in going for rule in forward.translations}
    pre, post = state[command, PRE.builtin], state[command, POST.builtin]
    for rule in pre:
        if rule in translations:
            yield f"-D {PRE.builtin} {rule}"
    # What another translation, whoever's it is, may need stays.
    needed = [
        rule.value("--to-destination") or "" for rule in pre if rule not in translations
    ]
    rewrites = {
        rule.rule
        for forward in going
        for rule in forward.rewrites
        if not any(
            text.partition(":")[0] == str(forward.forward.target) for text in needed
        )
    }
    for rule in post:
        if rule in rewrites:
            yield f"-D {POST.builtin} {rule}"


def _rules(chain: str, result: Result) -> Iterator[Rule]:
    """Yield the rules of a chain's listing, in order."""
    start = f"-A {chain} "
    for line in listed(result.output):
        if line.startswith(start):
            try:
                yield Rule.of(line.removeprefix(start))
            except ValueError:
                # Whatever it is, it may stand in the way.
                yield Rule.of("-j ACCEPT")
