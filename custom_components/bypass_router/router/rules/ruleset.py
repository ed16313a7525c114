"""All rules of ours on a router, wherever they stand.

One part translates; others let the translated packets pass, where something
would stop them. A forward is live if all of them carry it.
"""

from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from itertools import batched, groupby
import time
from typing import Any

from ..forward import Forward
from ..ssh.script import Result, Script
from ..ssh.sudo import SUDO
from .base import (
    Cut,
    Live,
    Part,
    Phase,
    PlanStep,
    Problem,
    RouterContext,
    Tag,
    Translator,
    Way,
)
from .claims import Claims
from .ends import Ways, cuts_of, ways_of
from .obstacles import Obstacle

# The kernel cuts a process's name after 15 characters.
_NAME_LENGTH = 15


@dataclass(frozen=True)
class Snapshot:
    """What was read of each part, at one moment."""

    ruleset: Ruleset
    states: tuple[Any, ...]

    @cached_property
    def live(self) -> Live:
        """What the rules amount to."""
        owner = self.ruleset.context.owner
        parts = list(zip(self.ruleset.parts, self.states, strict=True))
        tags = {tag for part, state in parts for tag in part.tags(state)}
        ours = {tag for tag in tags if tag.owner == owner}
        forwards = {
            tag.forward: forward
            for tag, forward in self._translated.items()
            if tag in ours
            and not self._claims.is_behind(tag, forward)
            and all(
                part.carries(forward, state)
                for part, state in parts
                if part not in self.ruleset.translators
            )
        }
        return Live(
            forwards=forwards,
            damaged=frozenset(tag.forward for tag in ours).difference(forwards),
            foreign=frozenset(tags - ours),
            foreign_forwards={
                tag: forward
                for tag, forward in self._translated.items()
                if tag.owner != owner
            },
            closes_at={
                tag.forward: when
                for translator, state in self._in_order
                for tag, when in translator.closes_at(state).items()
                if tag.owner == owner and tag.forward in forwards
            },
            ended={
                tag.forward: forward
                for translator, state in self._in_order
                for tag, forward in translator.ended(state).items()
                if tag.owner == owner
            },
        )

    def problems(self, forward: Forward) -> frozenset[Problem]:
        """Return what keeps a forward from working; nothing if it is live."""
        stale = self.ruleset.translators[1:]
        return frozenset(
            problem
            for part, state in zip(self.ruleset.parts, self.states, strict=True)
            if part not in stale
            for problem in part.problems(forward, state)
        )

    def obstacles(self, forward: Forward) -> list[Obstacle]:
        """Return what keeps a forward's packets out that is not ours to take away."""
        found = (
            obstacle
            for part, state in zip(self.ruleset.parts, self.states, strict=True)
            for obstacle in part.obstacles(forward, state)
        )
        return list(dict.fromkeys(found))

    def without_stale(self) -> Snapshot:
        """Return the same without what is no longer in use, and holds nothing."""
        ruleset = self.ruleset
        count = len(ruleset.translators)
        kept = [
            number
            for number in range(count)
            if number == 0 or _holds(ruleset.translators[number], self.states[number])
        ]
        if len(kept) == count:
            return self
        translators = [ruleset.translators[number] for number in kept]
        return Snapshot(
            Ruleset(ruleset.context, translators, ruleset.parts[count:]),
            (*(self.states[number] for number in kept), *self.states[count:]),
        )

    def rival(self, forward: Forward) -> Tag | None:
        """Return which forward of another Home Assistant has a port of this one."""
        return self._claims.rival(forward)

    @cached_property
    def _claims(self) -> Claims:
        """Who has which port."""
        claims = (
            claim
            for translator, state in self._in_order
            for claim in translator.claims(state)
        )
        return Claims(claims, self.ruleset.context.owner)

    @property
    def _in_order(self) -> list[tuple[Translator[Any], Any]]:
        """What translates, and what it holds, in the order in which the kernel asks."""
        found = zip(self.ruleset.translators, self.states, strict=False)
        return sorted(found, key=lambda pair: pair[0].priority)

    @cached_property
    def _translated(self) -> Mapping[Tag, Forward]:
        """What is translated by any part that does so."""
        translated: dict[Tag, Forward] = {}
        for translator, state in self._in_order:
            translated |= {
                tag: forward
                for tag, forward in translator.forwards(state).items()
                if tag not in translated
            }
        return translated


@dataclass(frozen=True, slots=True)
class Plan:
    """A change of the rules; false if there is nothing to change.

    What is left over is tidied up in the wake of a change, and else is let be.
    """

    steps: tuple[PlanStep, ...]

    def __bool__(self) -> bool:
        """Return whether there is anything to change."""
        return any(step.phase is not Phase.CLEAN_UP for step in self.steps)

    @property
    def size(self) -> int:
        """How many lines the firewall's commands get."""
        return sum(len(step.lines) or 1 for step in self.steps)

    @property
    def reports(self) -> list[str]:
        """The names under which `nft monitor` reports it: one a transaction."""
        return [name for step in self.steps for name in _reports(step)]

    def in_parts(self, most: int) -> Plan:
        """Return the same change, in transactions of so many lines at the most."""
        return Plan(tuple(part for step in self.steps for part in _parts(step, most)))

    def add_to(self, script: Script) -> None:
        """Add the commands that carry out the change, one after the other.

        None is run after one that failed.
        """
        for number, step in enumerate(self.steps):
            script.feed(
                f"apply.{number}", step.command, list(step.lines), follows=number > 0
            )

    def failed(self, sections: Mapping[str, Result]) -> tuple[str, Result] | None:
        """Return the command that failed, and what it said, if one that matters did."""
        for number, step in enumerate(self.steps):
            if step.phase is Phase.CLEAN_UP:
                break
            result = sections[f"apply.{number}"]
            if not result.ok:
                return step.command, result
        return None


def _holds(translator: Translator[Any], state: Any) -> bool:
    """Return whether there is anything that it is for."""
    return bool(translator.tags(state)) or any(True for _ in translator.cuts(state))


def _parts(step: PlanStep, most: int) -> Iterator[PlanStep]:
    """Yield a step, or smaller ones to be taken in its place, in this order."""
    if len(step.lines) <= most or step.phase is Phase.CLEAN_UP:
        yield step
        return
    table, lines = "", list[str]()
    for line in (*step.lines, "COMMIT"):
        if line.startswith("*"):
            table = line
        elif line != "COMMIT":
            lines.append(line)
        else:
            for part in batched(lines, most, strict=False):
                yield replace(step, lines=(table, *part, line) if table else part)
            lines.clear()


def _reports(step: PlanStep) -> Iterator[str]:
    """Yield the name of the process, for each transaction of a step."""
    name = step.command.removeprefix(SUDO).split()[0]
    transactions = step.lines.count("COMMIT") if "iptables" in name else name == "nft"
    # Of a link's target; the variant's own name is not seen.
    for _ in range(transactions):
        yield name[:_NAME_LENGTH]


class Ruleset:
    """Reads and plans the parts together."""

    def __init__(
        self,
        context: RouterContext,
        translators: Sequence[Translator[Any]],
        others: Sequence[Part[Any]] = (),
    ) -> None:
        """Take the parts; the first translator is in use, further ones no longer."""
        self.context = context
        self.translators = tuple(translators)
        self.parts: tuple[Part[Any], ...] = (*translators, *others)

    def add_read(self, script: Script) -> None:
        """Add the commands that print the rules."""
        for part in self.parts:
            part.add_read(script)

    def read(self, sections: Mapping[str, Result]) -> Snapshot:
        """Return the rules that those commands printed.

        Raises FirewallFailed, NotPrivileged and BadOutput.
        """
        return Snapshot(self, tuple(part.read(sections) for part in self.parts))

    def plan(self, desired: Collection[Forward], snapshot: Snapshot) -> Plan:
        """Return the smallest change after which exactly `desired` is live."""
        first, *stale = self.translators
        hits = self._hits(desired, snapshot)
        cuts = self._cuts(desired, snapshot, hits)
        steps = first.steps(desired, snapshot.states[0], cuts, hits)
        others = snapshot.states[1:]
        for translator, state in zip(stale, others, strict=False):
            steps += translator.steps((), state, over=hits)
        for part, state in zip(self.parts[1:], others, strict=True):
            if part not in stale:
                steps += part.steps(desired, state)
        return Plan(tuple(_merged(sorted(steps, key=lambda step: step.phase))))

    def _hits(self, desired: Collection[Forward], snapshot: Snapshot) -> frozenset[Cut]:
        """Return what another Home Assistant has cut, and would cut of these forwards.

        It may be gone, and would do so for a month.
        """
        found = [
            cut
            for translator, state in zip(
                self.translators, snapshot.states, strict=False
            )
            for cut in translator.cuts(state)
            if cut.tag.owner != self.context.owner
        ]
        if not found:
            return frozenset()
        stays = Ways(way for forward in desired for way in ways_of(forward))
        return frozenset(cut for cut in found if stays.meeting(cut.way))

    def _cuts(
        self,
        desired: Collection[Forward],
        snapshot: Snapshot,
        hits: Collection[Cut],
    ) -> list[Cut]:
        """Return what is to cut connections by what goes, wherever that was.

        And the rest of what others have cut, where it is not to hit what comes.
        """
        if not self.context.cuts:
            return []
        wanted = frozenset(desired)
        stays = [way for forward in desired for way in ways_of(forward)]
        gone: dict[Tag, list[Way]] = {}
        there: list[Cut] = []
        for translator, state in zip(self.translators, snapshot.states, strict=False):
            forwards = translator.forwards(state)
            for tag, way in translator.ways(state):
                if tag.owner != self.context.owner:
                    stays.append(way)
                elif forwards.get(tag) not in wanted:
                    gone.setdefault(tag, []).append(way)
            for cut in translator.cuts(state):
                if cut.tag.owner == self.context.owner:
                    there.append(cut)
                elif cut in hits:
                    tag = replace(cut.tag, owner=self.context.owner)
                    there.append(replace(cut, tag=tag))
                else:
                    stays.append(cut.way)
        return list(cuts_of(gone, stays, there, time.time()))

    def add_count(self, script: Script) -> None:
        """Add the command that prints how many connections were translated."""
        self.translators[0].add_count(script)

    def read_counts(self, sections: Mapping[str, Result]) -> Mapping[str, int]:
        """Return that number for each forward, by its id, since its rules were set."""
        counts = self.translators[0].read_counts(sections)
        owner = self.context.owner
        return {tag.forward: n for tag, n in counts.items() if tag.owner == owner}

    def removal_commands(self, forward: Forward) -> list[str]:
        """Return the commands by which a person takes a forward's rules away."""
        return self.translators[0].removal_commands(forward)

    def rules(self, forward: Forward) -> list[str]:
        """Return the rules that a forward may have, for people to read."""
        stale = self.translators[1:]
        return [
            rule
            for part in self.parts
            if part not in stale
            for rule in part.rules(forward)
        ]

    def looks(self, *, heard: bool) -> list[str]:
        """Return commands whose output changes when our rules do.

        Where `nft monitor` is heard, only of what it does not report.
        """
        looks = (look for part in self.parts for look in part.looks(heard=heard))
        return list(dict.fromkeys(looks))


def _merged(steps: Sequence[PlanStep]) -> Iterator[PlanStep]:
    """Yield the steps; of neighbours with one command, their lines go to it at once.

    A step that may fail stays by itself.
    """
    for (command, tidies), group in groupby(
        steps, key=lambda step: (step.command, step.phase is Phase.CLEAN_UP)
    ):
        same = list(group)
        if tidies:
            yield from same
        else:
            yield PlanStep(same[0].phase, command, tuple(_joined(same)))


def _joined(steps: Sequence[PlanStep]) -> list[str]:
    """Return the lines of steps; blocks of one table become one transaction."""
    lines: list[str] = []
    table = ""
    for line in (line for step in steps for line in step.lines):
        if line.startswith("*") and line == table:
            # The end of the block before.
            lines.pop()
            continue
        if line.startswith("*"):
            table = line
        lines.append(line)
    return lines
