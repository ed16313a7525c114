"""Our chains in one variant of iptables: read, judged, and changed."""

from collections import Counter
from collections.abc import (
    Collection,
    Iterator,
    Mapping,
    Sequence,
    Set as AbstractSet,
)
from dataclasses import replace
import re
from typing import ClassVar

from ..forward import Forward, Transport
from ..rules.base import Claim, Phase, PlanStep, Problem, RouterContext, Tag
from ..rules.obstacles import Obstacle
from ..ssh.script import Result, Script
from .changes import blocks_of, changes_of, leftovers_of
from .commands import Commands, Variant
from .empty_table import removal_of
from .reading import Reader
from .rule import Rule, listed
from .rules import (
    FWD,
    HOOKS,
    MANGLE,
    PRE,
    TRANSLATING,
    Hook,
    admitting_rules,
    claims_of,
    earlier_form,
    forward_of_rules,
    rules_of,
)
from .state import IptablesState, tag_of
from .table import rule_of

_COUNTED = re.compile(r" -c ([0-9]{1,20}) [0-9]{1,20}(?= |$)")


class Chains:
    """Our chains in one variant of iptables.

    Of these hooks, `FWD` and `MANGLE` are used only as far as the kernel's chains
    would keep a forward's packets.
    """

    priority: ClassVar = -100

    def __init__(
        self,
        context: RouterContext,
        *,
        interface: str,
        sudo: bool,
        command: str = "iptables",
        variant: Variant = "nf_tables",
        hooks: Sequence[Hook] = HOOKS,
        absent: Collection[str] = (),
        beside_nft: bool = False,
    ) -> None:
        """Take the context, and whether the commands need `sudo -n` in front.

        The router's address stands on the interface. Of the tables that may be
        `absent`, only what is there is looked at. What iptables can't show is left to
        nft where that is there.
        """
        self._context = context
        self._hooks = tuple(hooks)
        self._translates = PRE in hooks
        legacy = variant == "legacy"
        tables = frozenset(absent) if legacy else frozenset[str]()
        self._commands = Commands(command, variant, sudo, tables)
        self._reader = Reader(
            self._commands, hooks, context, interface, beside_nft=beside_nft
        )

    def add_read(self, script: Script) -> None:
        """Add the commands that print the rules."""
        self._reader.add_to(script)

    def read(self, sections: Mapping[str, Result]) -> IptablesState:
        """Return the rules that those commands printed.

        Raises FirewallFailed, NotPrivileged and BadOutput.
        """
        return self._reader.read(sections)

    def tags(self, state: IptablesState) -> AbstractSet[Tag]:
        """Return the tags that stand here, whoever's they are."""
        return state.tagged.keys()

    def forwards(self, state: IptablesState) -> Mapping[Tag, Forward]:
        """Return what is translated, and let through by these very chains."""
        found = {
            tag: forward_of_rules(
                tag,
                Counter(
                    {item: n for item, n in rules.items() if item[0] in TRANSLATING}
                ),
                replace(self._context, owner=tag.owner),
            )
            for tag, rules in state.tagged.items()
        }
        return {
            tag: forward
            for tag, forward in found.items()
            if forward
            and self._holds(forward, tag, state)
            and self._is_entered(forward, tag, state)
        }

    def claims(self, state: IptablesState) -> Iterator[Claim]:
        """Yield what each rule leads away, in the order in which the kernel asks."""
        for rule in state.chains.get(PRE) or ():
            if tag := tag_of(rule):
                yield from claims_of(tag, rule, self._context)

    def carries(self, forward: Forward, state: IptablesState) -> bool:
        """Return whether all that the forward needs here is active, and no more."""
        tag = Tag(self._context.owner, forward.id)
        return self._holds(forward, tag, state) and self._is_entered(
            forward, tag, state
        )

    def _holds(self, forward: Forward, tag: Tag, state: IptablesState) -> bool:
        """Return whether the chains hold exactly the rules of a forward."""
        return all(self._holds_at(hook, forward, tag, state) for hook in self._hooks)

    def _holds_at(
        self, hook: Hook, forward: Forward, tag: Tag, state: IptablesState
    ) -> bool:
        """Return whether one of the chains does.

        Where none are needed any more, they do no harm.
        """
        context = replace(self._context, owner=tag.owner)
        found = state.tagged.get(tag, Counter())
        here = Counter({rule: n for (at, rule), n in found.items() if at is hook})
        if hook not in state.gates:
            wanted = Counter(rule for _, rule in rules_of(forward, context, (hook,)))
            return here == wanted or not (here or hook in state.needed)
        transports: set[Transport] = set()
        for transport, rule in admitting_rules(forward, context, hook).items():
            is_earlier = rule not in here and hook is FWD and here
            found_as = earlier_form(rule, transport) if is_earlier else rule
            if here.pop(found_as, 0) == 1:
                transports.add(transport)
        return not here and state.gates[hook].places.transports(forward) <= transports

    def _is_entered(self, forward: Forward, tag: Tag, state: IptablesState) -> bool:
        """Return whether its packets come by its rules before anything keeps them."""
        return (tag not in state.tagged or state.enters(tag)) and all(
            self._is_open(hook, forward, tag, state) for hook in state.gates
        )

    def _is_open(
        self, hook: Hook, forward: Forward, tag: Tag, state: IptablesState
    ) -> bool:
        """Return whether they do at a hook where that lets them pass."""
        places = state.gates[hook].places
        return all(
            places.opens(forward, transport) and not state.is_shadowed(hook, tag)
            for transport in places.transports(forward)
        )

    def problems(self, forward: Forward, state: IptablesState) -> AbstractSet[Problem]:
        """Return what keeps it from being carried."""
        tag = Tag(self._context.owner, forward.id)
        problems = set()
        for hook in self._hooks:
            if not self._holds_at(hook, forward, tag, state):
                problems.add(self._absence(hook))
            elif hook in state.gates:
                if not self._is_open(hook, forward, tag, state):
                    problems.add(_PROBLEMS[hook])
            elif hook in state.needed:
                entrance = state.entrances[hook]
                if not entrance.jumps:
                    problems.add(self._absence(hook))
                elif not entrance.first or state.is_shadowed(hook, tag):
                    problems.add(Problem.SHADOWED)
        return problems

    def _absence(self, hook: Hook) -> Problem:
        """Return what a forward lacks that has no rules at a hook."""
        return _PROBLEMS.get(
            hook, Problem.MISSING if self._translates else Problem.SHADOWED
        )

    def steps(
        self, desired: Collection[Forward], state: IptablesState
    ) -> list[PlanStep]:
        """Return the smallest change after which exactly `desired` is here."""
        rules: Counter[tuple[Hook, Rule]] = Counter(
            item
            for forward in desired
            for item in rules_of(forward, self._context, tuple(state.needed))
        )
        places = {}
        for hook, gate in state.gates.items():
            for forward in desired:
                admitting = admitting_rules(forward, self._context, hook)
                needed = gate.places.transports(forward)
                rules.update((hook, admitting[transport]) for transport in needed)
            places[hook] = gate.places.places(desired)
        changes = changes_of(self._hooks, rules, places, state, self._context.owner)
        leftovers = leftovers_of(changes, state)
        guards = (state.guards.get(one.hook) for one in changes if one.by_number)
        steps = [PlanStep(Phase.ALLOW, "sh", tuple(filter(None, guards)))]
        for phase, lines in blocks_of(changes):
            steps.append(PlanStep(phase, self._commands.restore, lines))
        steps.append(PlanStep(Phase.CLEAN_UP, self._commands.restore, leftovers.lines))
        for table in leftovers.tables:
            lines = removal_of(table, self._commands.as_root("nft"))
            steps.append(PlanStep(Phase.CLEAN_UP, "sh", lines))
        return [step for step in steps if step.lines]

    def add_count(self, script: Script) -> None:
        """Add the command that prints how many connections were translated."""
        script.run("count", f"{self._commands.on(PRE.table)} -v -S {PRE.chain}")

    def read_counts(self, sections: Mapping[str, Result]) -> Mapping[Tag, int]:
        """Return that number for each tag, since its rules were set.

        The nat table sees the first packet of each connection, and no other.
        """
        counts: Counter[Tag] = Counter()
        result = sections["count"]
        for text in listed(result.output) if result.ok else ():
            # What names the chain is no part of a rule.
            line = text.removeprefix(f"-A {PRE.chain} ")
            if (counted := _COUNTED.search(line)) and (
                tag := tag_of(rule_of(line[: counted.start()] + line[counted.end() :]))
            ):
                counts[tag] += int(counted[1])
        return counts

    def rules(self, forward: Forward) -> list[str]:
        """Return the rules that a forward may have here, for people to read."""
        return [
            f"{self._commands.command} -t {hook.table} -A {hook.chain} {rule}"
            for hook, rule in rules_of(forward, self._context, self._hooks)
        ]

    def removal_commands(self, forward: Forward) -> list[str]:
        """Return the commands by which a person takes a forward's rules away."""
        return [
            f"{self._commands.command} -t {hook.table} -D {hook.chain} {rule}"
            # Without these, what accepts lets nothing pass any more.
            for hook, rule in rules_of(forward, self._context, TRANSLATING)
        ]

    def obstacles(self, forward: Forward, state: IptablesState) -> Iterator[Obstacle]:
        """Yield what keeps its packets out here that is not ours to take away."""
        for gate in state.gates.values():
            yield from gate.places.obstacles(forward)

    def looks(self, *, heard: bool) -> list[str]:
        """Return commands whose output changes when our rules do."""
        if heard and self._commands.variant == "nf_tables":
            return []
        return self._reader.looks()


_PROBLEMS = {FWD: Problem.DROPPED, MANGLE: Problem.INTERCEPTED}
