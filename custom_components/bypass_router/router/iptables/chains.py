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
from ..rules.base import (
    Claim,
    Cut,
    Phase,
    PlanStep,
    Problem,
    RouterContext,
    Tag,
    Way,
)
from ..rules.obstacles import Obstacle
from ..ssh.script import Result, Script
from .changes import blocks_of, changes_of, leftovers_of
from .commands import Commands
from .empty_table import removal_of
from .gate import as_written, closes_at, cut_rule, is_cut, read_cut, way_of
from .reading import Reader
from .rule import Rule, listed
from .rules import (
    CUT,
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
        commands: Commands,
        *,
        interface: str,
        hooks: Sequence[Hook] = HOOKS,
        beside_nft: bool = False,
        timed: bool = True,
    ) -> None:
        """Take the context, and what looks at the chains and changes them.

        The router's address stands on the interface. What iptables can't show is left
        to nft where that is there. Without rules that are `timed`, no forward ends by
        itself here.
        """
        self._timed = timed
        self._context = context
        self._hooks = tuple(hooks)
        self._translates = PRE in hooks
        self._cut = (CUT,) if CUT in hooks else ()
        self._commands = commands
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
        return {tag for tag, rules in state.tagged.items() if any(_carry_out(rules))}

    def forwards(self, state: IptablesState) -> Mapping[Tag, Forward]:
        """Return what is translated, and let through by these very chains."""
        found = {
            tag: self._translated(tag, rules) for tag, rules in state.tagged.items()
        }
        return {
            tag: forward
            for tag, forward in found.items()
            if forward
            and not self._is_over(tag, state)
            and self._holds(forward, tag, state)
            and self._is_entered(forward, tag, state)
        }

    def _translated(
        self, tag: Tag, rules: Counter[tuple[Hook, Rule]]
    ) -> Forward | None:
        """Return the forward that rules translate."""
        return forward_of_rules(
            tag,
            Counter({item: n for item, n in rules.items() if item[0] in TRANSLATING}),
            replace(self._context, owner=tag.owner),
        )

    def ended(self, state: IptablesState) -> Mapping[Tag, Forward]:
        """Return the forwards whose time is over, and whose rules are still here."""
        found = {
            tag: self._translated(tag, rules)
            for tag, rules in state.tagged.items()
            if self._is_over(tag, state)
        }
        return {tag: forward for tag, forward in found.items() if forward}

    def closes_at(self, state: IptablesState) -> Mapping[Tag, float]:
        """Return when the kernel ends forwards, in Unix time of Home Assistant's."""
        found = {tag: self._closes_at(tag, state) for tag in state.tagged}
        return {tag: when for tag, when in found.items() if when is not None}

    def _closes_at(self, tag: Tag, state: IptablesState) -> float | None:
        """Return when it ends a forward; None: never."""
        ends = (
            closes_at(rule, state.clock)
            for hook, rule in state.tagged[tag]
            if hook is PRE
        )
        return min((when for when in ends if when is not None), default=None)

    def _is_over(self, tag: Tag, state: IptablesState) -> bool:
        """Return whether the time of a forward is over."""
        when = self._closes_at(tag, state)
        return when is not None and when < state.clock.now

    def claims(self, state: IptablesState) -> Iterator[Claim]:
        """Yield what each rule leads away, in the order in which the kernel asks."""
        for rule in state.chains.get(PRE) or ():
            if tag := tag_of(rule):
                yield from claims_of(tag, rule, self._context)

    def carries(self, forward: Forward, state: IptablesState) -> bool:
        """Return whether all that the forward needs here is active, and no more."""
        forward = self._as_it_can_be(forward)
        tag = Tag(self._context.owner, forward.id)
        return self._holds(forward, tag, state) and self._is_entered(
            forward, tag, state
        )

    def _as_it_can_be(self, forward: Forward) -> Forward:
        """Return a forward as these rules can carry it out: perhaps without its end."""
        if self._timed or forward.until is None:
            return forward
        return replace(forward, until=None)

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
        if hook is CUT:
            wanted = Counter(rule for _, rule in rules_of(forward, context, (hook,)))
            ends = Counter({rule: n for rule, n in here.items() if not is_cut(rule)})
            return ends == wanted and (not ends or state.entrances[hook].first)
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
        forward = self._as_it_can_be(forward)
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

    def ways(self, state: IptablesState) -> Iterator[tuple[Tag, Way]]:
        """Yield who reaches what by each rule that translates."""
        for rule in state.chains.get(PRE) or ():
            if (tag := tag_of(rule)) and (way := way_of(rule)):
                yield tag, way

    def cuts(self, state: IptablesState) -> Iterator[Cut]:
        """Yield what cuts connections."""
        for rule in state.chains.get(CUT) or ():
            if cut := read_cut(rule, self._context):
                yield cut

    def steps(
        self,
        desired: Collection[Forward],
        state: IptablesState,
        cuts: Collection[Cut] = (),
        over: Collection[Cut] = (),
    ) -> list[PlanStep]:
        """Return the smallest change after which exactly these are here."""
        desired = [self._as_it_can_be(forward) for forward in desired]
        rules: Counter[tuple[Hook, Rule]] = Counter(
            item
            for forward in desired
            for item in rules_of(forward, self._context, (*state.needed, *self._cut))
        )
        rules.update((CUT, cut_rule(cut, self._context)) for cut in cuts)
        places = {}
        for hook, gate in state.gates.items():
            for forward in desired:
                admitting = admitting_rules(forward, self._context, hook)
                needed = gate.places.transports(forward)
                rules.update((hook, admitting[transport]) for transport in needed)
            places[hook] = gate.places.places(desired)
        rules = Counter(
            {(hook, as_written(it, state.clock)): n for (hook, it), n in rules.items()}
        )
        goes = [
            (CUT, rule)
            for rule in state.chains.get(CUT) or ()
            if read_cut(rule, self._context) in over
        ]
        owner = self._context.owner
        changes = changes_of(self._hooks, rules, places, state, owner, goes)
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


def _carry_out(rules: Collection[tuple[Hook, Rule]]) -> Iterator[bool]:
    """Yield of each rule whether it is there to carry out a forward."""
    for hook, rule in rules:
        yield hook is not CUT or not is_cut(rule)


_PROBLEMS = {FWD: Problem.DROPPED, MANGLE: Problem.INTERCEPTED}
