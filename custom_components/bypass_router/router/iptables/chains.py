"""Our chains in one variant of iptables: read, judged, and changed."""

from collections import Counter
from collections.abc import (
    Collection,
    Iterable,
    Iterator,
    Mapping,
    Sequence,
    Set as AbstractSet,
)
from dataclasses import replace
import re
from typing import ClassVar, Literal

from ..forward import Forward
from ..rules.base import (
    Claim,
    Phase,
    PlanStep,
    Problem,
    RouterContext,
    Tag,
    unreadable,
)
from ..rules.obstacles import Obstacle
from ..ssh.script import Result, Script
from ..ssh.sudo import as_root
from .changes import blocks_of, changes_of, leftovers_of
from .created_chains import LISTING, Traces
from .empty_table import removal_of
from .guards import guard_of
from .legacy import NAMES, NO_TABLE, guarded
from .rule import Rule, listed
from .rules import (
    FWD,
    HOOKS,
    MANGLE,
    PRE,
    Hook,
    claims_of,
    forward_of_rules,
    rules_of,
)
from .state import (
    Entrance,
    IptablesState,
    entrance_of,
    listed_rules,
    rule_of,
    rules_in,
    tag_of,
    tproxy_in_iptables,
)
from .variants import incompatible

type Variant = Literal["nf_tables", "legacy"]

_WAIT = "--wait 5"
_COUNTED = re.compile(r" -c ([0-9]{1,20}) [0-9]{1,20}(?= |$)")


class Chains:
    """Our chains in one variant of iptables.

    Of these hooks, `FWD` alone is used where something else translates, and only
    as long as the kernel's chain might drop packets.
    """

    priority: ClassVar = -100

    def __init__(
        self,
        context: RouterContext,
        *,
        sudo: bool,
        command: str = "iptables",
        variant: Variant = "nf_tables",
        hooks: Sequence[Hook] = HOOKS,
        absent: Collection[str] = (),
    ) -> None:
        """Take the context, and whether the commands need `sudo -n` in front.

        Of the tables that may be `absent`, only what is there is looked at.
        """
        self._context = context
        self._sudo = sudo
        self._command = command
        self._variant = variant
        self._hooks = tuple(hooks)
        self._absent = frozenset(absent) if variant == "legacy" else frozenset[str]()
        self._translates = PRE in hooks
        self._suffix = "" if command == "iptables" else f".{variant.partition('_')[0]}"

    def add_read(self, script: Script) -> None:
        """Add the commands that print the rules.

        Chain by chain: `iptables-save` prints nothing of a table in which
        anyone has put a native nft rule.
        """
        for hook in self._listed_hooks:
            label = self._label(hook)
            script.run(f"entrance.{label}", self._look(hook.table, hook.builtin))
            script.otherwise(
                f"jump.{label}",
                f"{self._in(hook.table)} -C {hook.builtin} {hook.jump}",
            )
            script.run(f"chain.{label}", self._look(hook.table, hook.chain))
        if MANGLE in self._hooks:
            script.run(f"mangle{self._suffix}", self._mangle)

    def read(self, sections: Mapping[str, Result]) -> IptablesState:
        """Return the rules that those commands printed.

        Raises FirewallFailed, NotPrivileged and BadOutput.
        """
        chains = {hook: self._read_chain(hook, sections) for hook in self._listed_hooks}
        entrances = {
            hook: self._read_entrance(hook, sections) for hook in self._listed_hooks
        }
        needed = {
            hook
            for hook in self._listed_hooks
            if self._translates or entrances[hook].blocking
        }
        if MANGLE in self._hooks:
            result = sections[f"mangle{self._suffix}"]
            text = result.output if result.ok else ""
            entrances[MANGLE] = entrance_of(
                MANGLE, list(rules_in(MANGLE.builtin, text))
            )
            chains[MANGLE] = (
                tuple(rules_in(MANGLE.chain, text))
                if f"-N {MANGLE.chain}" in text.splitlines()
                else None
            )
            if tproxy_in_iptables(text):
                needed.add(MANGLE)
        listing = sections.get(LISTING) if self._variant == "nf_tables" else None
        traces = Traces.read(listing, self._hooks)
        return IptablesState(
            chains,
            entrances,
            frozenset(needed),
            traces,
            {
                hook: guard
                for hook, rules in chains.items()
                if (guard := self._guard(hook, rules or (), sections))
            },
        )

    def _guard(
        self, hook: Hook, rules: Collection[Rule], sections: Mapping[str, Result]
    ) -> str | None:
        """Return what makes sure of the numbers of rules, where any goes by it."""
        if all(rule.writable or not tag_of(rule) for rule in rules):
            return None
        if hook is MANGLE:
            return guard_of(self._mangle, sections[f"mangle{self._suffix}"].output)
        look = self._look(hook.table, hook.chain)
        return guard_of(look, sections[f"chain.{self._label(hook)}"].output)

    def tags(self, state: IptablesState) -> AbstractSet[Tag]:
        """Return the tags that stand here, whoever's they are."""
        return state.tagged.keys()

    def forwards(self, state: IptablesState) -> Mapping[Tag, Forward]:
        """Return what is translated, and let through by these very chains."""
        found = {
            tag: forward_of_rules(
                tag,
                Counter({item: n for item, n in rules.items() if item[0] in _NAT}),
                replace(self._context, owner=tag.owner),
            )
            for tag, rules in state.tagged.items()
        }
        return {
            tag: forward
            for tag, forward in found.items()
            if forward and state.enters(tag) and self._holds(forward, tag, state)
        }

    def claims(self, state: IptablesState) -> Iterator[Claim]:
        """Yield what each rule leads away, in the order in which the kernel asks."""
        for rule in state.chains.get(PRE) or ():
            if tag := tag_of(rule):
                yield from claims_of(tag, rule, self._context)

    def carries(self, forward: Forward, state: IptablesState) -> bool:
        """Return whether all that the forward needs here is active, and no more."""
        tag = Tag(self._context.owner, forward.id)
        return self._holds(forward, tag, state) and (
            tag not in state.tagged or state.enters(tag)
        )

    def _holds(self, forward: Forward, tag: Tag, state: IptablesState) -> bool:
        """Return whether the chains hold exactly the rules of a forward.

        Where none are needed any more, they do no harm.
        """
        wanted = Counter(
            rules_of(forward, replace(self._context, owner=tag.owner), _ALL)
        )
        found = state.tagged.get(tag, Counter())
        for hook in self._hooks:
            here = {item: n for item, n in found.items() if item[0] is hook}
            if (hook in state.needed or here) and here != {
                item: n for item, n in wanted.items() if item[0] is hook
            }:
                return False
        return True

    def problems(self, forward: Forward, state: IptablesState) -> AbstractSet[Problem]:
        """Return what keeps it from being carried."""
        tag = Tag(self._context.owner, forward.id)
        wanted = Counter(rules_of(forward, self._context, _ALL))
        found = state.tagged.get(tag, Counter())
        problems = set()
        for hook in self._hooks:
            here = {item: n for item, n in found.items() if item[0] is hook}
            if not (hook in state.needed or here):
                continue
            entrance = state.entrances[hook]
            if here != {item: n for item, n in wanted.items() if item[0] is hook} or (
                hook in state.needed and not entrance.jumps
            ):
                problems.add(self._absence(hook))
            elif hook in state.needed and (
                not entrance.first or state.is_shadowed(hook, tag)
            ):
                problems.add(_PROBLEMS.get(hook, Problem.SHADOWED))
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
        rules = Counter(
            item
            for forward in desired
            for item in rules_of(forward, self._context, tuple(state.needed))
        )
        changes = changes_of(self._hooks, rules, state, self._context.owner)
        command = self._as_root(f"{self._command}-restore --noflush {_WAIT}")
        leftovers = leftovers_of(changes, state)
        guards = tuple(state.guards[one.hook] for one in changes if one.by_number)
        steps = [PlanStep(Phase.ALLOW, "sh", guards)]
        for phase, lines in blocks_of(changes):
            steps.append(PlanStep(phase, command, lines))
        steps.append(PlanStep(Phase.CLEAN_UP, command, leftovers.lines))
        for table in leftovers.tables:
            lines = removal_of(table, self._as_root("nft"))
            steps.append(PlanStep(Phase.CLEAN_UP, "sh", lines))
        return [step for step in steps if step.lines]

    def add_count(self, script: Script) -> None:
        """Add the command that prints how many connections were translated."""
        script.run("count", f"{self._in(PRE.table)} -v -S {PRE.chain}")

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
            f"{self._command} -t {hook.table} -A {hook.chain} {rule}"
            for hook, rule in rules_of(forward, self._context, self._hooks)
        ]

    def removal_commands(self, forward: Forward) -> list[str]:
        """Return the commands by which a person takes a forward's rules away."""
        return [
            f"{self._command} -t {hook.table} -D {hook.chain} {rule}"
            for hook, rule in rules_of(forward, self._context)
        ]

    def obstacles(self, _: Forward, __: IptablesState) -> Iterable[Obstacle]:
        """Return nothing: what is in the way here goes, or is let be."""
        return ()

    def looks(self, *, heard: bool) -> list[str]:
        """Return commands whose output changes when our rules do."""
        if heard and self._variant == "nf_tables":
            return []
        looks = [
            self._look(hook.table, chain)
            for hook in self._listed_hooks
            for chain in (hook.builtin, hook.chain)
        ]
        return looks + ([self._mangle] if MANGLE in self._hooks else [])

    @property
    def _listed_hooks(self) -> list[Hook]:
        """The hooks whose chains are read one by one."""
        return [hook for hook in self._hooks if hook is not MANGLE]

    @property
    def _mangle(self) -> str:
        """The command that prints the mangle table: our rules, and a proxy's.

        To look at a table of the legacy variant would make it, with all its hooks.
        """
        command = f"{self._in('mangle')} -S"
        if self._variant == "nf_tables":
            return command
        return f"sh -c 'grep -qsx mangle {NAMES} && exec {command}'"

    def _look(self, table: str, chain: str) -> str:
        """Return the command that prints a chain."""
        command = f"{self._in(table)} -S {chain}"
        return guarded(table, command) if table in self._absent else command

    def _in(self, table: str) -> str:
        """Return the start of a command on a table."""
        return self._as_root(f"{self._command} {_WAIT} -t {table}")

    def _as_root(self, command: str) -> str:
        """Return how the account runs a command."""
        return as_root(command, sudo=self._sudo)

    def _label(self, hook: Hook) -> str:
        """Return the end of the labels of a hook's sections."""
        return f"{hook.chain}{self._suffix}"

    def _read_chain(
        self, hook: Hook, sections: Mapping[str, Result]
    ) -> tuple[Rule, ...] | None:
        """Return the rules of our chain."""
        result = sections[f"chain.{self._label(hook)}"]
        if result.output == NO_TABLE:
            return None
        if result.ok:
            return tuple(listed_rules(hook.chain, result))
        # The nft variant calls an absent chain incompatible.
        output = result.output
        if "No chain/target/match" in output or "is incompatible" in output:
            return None
        raise unreadable(f"{self._command} -t {hook.table} -S {hook.chain}", result)

    def _read_entrance(self, hook: Hook, sections: Mapping[str, Result]) -> Entrance:
        """Return how the kernel's chain enters ours."""
        result = sections[f"entrance.{self._label(hook)}"]
        if result.output == NO_TABLE:
            return Entrance()
        if result.ok:
            entrance = entrance_of(hook, list(listed_rules(hook.builtin, result)))
            if f"-P {hook.builtin} ACCEPT" in result.lines:
                return entrance
            return Entrance(entrance.jumps, entrance.first, blocking=True)
        # A native nft rule stands in the kernel's chain. iptables can tell then
        # whether the jump is there, and not where.
        if incompatible(result):
            if sections[f"jump.{self._label(hook)}"].ok:
                return Entrance((hook.jump,), first=True, blocking=True)
            return Entrance(blocking=True)
        raise unreadable(f"{self._command} -t {hook.table} -S {hook.builtin}", result)


_ALL = (MANGLE, *HOOKS)
_PROBLEMS = {FWD: Problem.DROPPED, MANGLE: Problem.INTERCEPTED}
_NAT = frozenset(hook for hook in HOOKS if hook is not FWD)
