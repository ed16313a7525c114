"""What stands in one variant of iptables, as it prints it and as a value."""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from functools import lru_cache
import time

from ..errors import BadOutput, NewerFormat
from ..nftables.foreign_tables import has_native_rules
from ..rules.base import RouterContext, incompatible, unreadable
from ..ssh.script import Result, Script
from .commands import Commands
from .created_chains import LISTING, Traces
from .forward_places import ForwardPlaces, OpaquePlaces
from .gate import Clock, as_meant
from .guards import guard_of
from .legacy import NO_TABLE
from .marks import marks_of
from .places import Places
from .proxy_places import ProxyPlaces
from .rule import Rule
from .rules import ADMITTING, CUT, FORMAT, FWD, MANGLE, PRE, Hook, newest_format
from .state import Entrance, Gate, IptablesState, entrance_of, listed_rules, tag_of
from .table import Jump, Table, read_table

_KEPT = 8


class Reader:
    """Reads the chains at some hooks: those that translate one by one, tables else."""

    def __init__(
        self,
        commands: Commands,
        hooks: Sequence[Hook],
        context: RouterContext,
        interface: str,
        *,
        beside_nft: bool,
    ) -> None:
        """Take the commands, and what forwards' packets depend on."""
        self._commands = commands
        self._hooks = tuple(hooks)
        self._context = context
        self._interface = interface
        self._beside_nft = beside_nft
        self._translates = PRE in hooks

    @property
    def _listed_hooks(self) -> list[Hook]:
        """The hooks whose chains are read one by one."""
        return [hook for hook in self._hooks if hook not in (*ADMITTING, CUT)]

    def add_to(self, script: Script) -> None:
        """Add the commands that print the rules.

        Chain by chain, where that will do: `iptables-save` prints nothing of a table
        in which anyone has put a native nft rule.
        """
        commands = self._commands
        for hook in self._listed_hooks:
            label = commands.label(hook)
            script.run(f"entrance.{label}", commands.look(hook.table, hook.builtin))
            script.otherwise(f"jump.{label}", self._check(hook))
            script.run(f"chain.{label}", commands.look(hook.table, hook.chain))
        # Perhaps another part of the rules has asked for it.
        if self._filters and self._label(FWD) not in script:
            label = commands.label(FWD)
            script.run(self._label(FWD), commands.look(FWD.table))
            script.otherwise(
                f"jump.{label}",
                self._check(FWD),
                (f"chain.{label}", commands.look(FWD.table, FWD.chain)),
                *self._looks_at_cut,
            )
        if CUT in self._hooks and f"clock{commands.suffix}" not in script:
            script.run(f"clock{commands.suffix}", "date +%s")
        if MANGLE in self._hooks:
            script.run(self._label(MANGLE), commands.look(MANGLE.table))

    @property
    def _filters(self) -> bool:
        """Whether the whole of the filter table is read."""
        return FWD in self._hooks or CUT in self._hooks

    @property
    def _looks_at_cut(self) -> list[tuple[str, str]]:
        """Commands for what the whole table tells else."""
        if CUT not in self._hooks:
            return []
        label = self._commands.label(CUT)
        return [
            (f"cut.{label}", self._check(CUT)),
            (f"chain.{label}", self._commands.look(CUT.table, CUT.chain)),
        ]

    def _check(self, hook: Hook) -> str:
        """Return the command that tells whether a jump stands."""
        return f"{self._commands.on(hook.table)} -C {hook.builtin} {hook.jump}"

    def _label(self, hook: Hook) -> str:
        """Return the label of a whole table's section."""
        return f"{hook.table}{self._commands.suffix}"

    def looks(self) -> list[str]:
        """Return the commands whose output changes when our rules do."""
        looks = [
            self._commands.look(hook.table, chain)
            for hook in self._listed_hooks
            for chain in (hook.builtin, hook.chain)
        ]
        whole = [FWD.table] * self._filters + [MANGLE.table] * (MANGLE in self._hooks)
        return looks + [self._commands.look(table) for table in whole]

    def read(self, sections: Mapping[str, Result]) -> IptablesState:
        """Return the rules that those commands printed.

        Raises FirewallFailed, NotPrivileged, NewerFormat and BadOutput.
        """
        chains = {hook: self._read_chain(hook, sections) for hook in self._listed_hooks}
        entrances = {
            hook: self._read_entrance(hook, sections) for hook in self._listed_hooks
        }
        needed = frozenset(
            hook
            for hook in self._listed_hooks
            if self._translates or entrances[hook].blocking
        )
        gates = {
            hook: self._read_gate(hook, sections)
            for hook in (FWD, MANGLE)
            if hook in self._hooks
        }
        tables = dict(gates)
        if CUT in self._hooks:
            tables[CUT] = gates.get(FWD) or self._read_gate(FWD, sections)
        for hook, gate in tables.items():
            entrances[hook] = _entrance_at(hook, gate)
            chains[hook] = (
                self._read_chain(hook, sections)
                if gate.table is None
                else gate.table.chains.get(hook.chain)
            )
        if CUT in tables and tables[CUT].table is None:
            entered = sections[f"cut.{self._commands.label(CUT)}"].ok
            jumps = (CUT.jump,) if entered else ()
            entrances[CUT] = Entrance(jumps, first=entered, blocking=True)
        if (found := newest_format(chains.get(PRE) or ())) > FORMAT:
            raise NewerFormat(found=str(found), known=str(FORMAT))
        clock = Clock.read(sections.get(f"clock{self._commands.suffix}"), time.time())
        chains = {
            hook: rules and tuple(as_meant(rule, clock) for rule in rules)
            for hook, rules in chains.items()
        }
        nft = self._commands.variant == "nf_tables"
        listing = sections.get(LISTING) if nft else None
        return IptablesState(
            {hook: chains[hook] for hook in self._hooks},
            {hook: entrances[hook] for hook in self._hooks},
            gates,
            needed,
            Traces.read(listing, self._hooks),
            {
                hook: guard
                for hook, rules in chains.items()
                if (guard := self._guard(hook, rules or (), sections))
            },
            clock,
        )

    def _guard(
        self, hook: Hook, rules: Collection[Rule], sections: Mapping[str, Result]
    ) -> str | None:
        """Return what makes sure of the numbers of rules, where any may go by it."""
        whole = hook in (*ADMITTING, CUT)
        result = sections.get(self._label(hook)) if whole else None
        if result and result.ok and result.output != NO_TABLE:
            return guard_of(self._commands.look(hook.table), result.output)
        if all(rule.writable or not tag_of(rule) for rule in rules):
            return None
        look = self._commands.look(hook.table, hook.chain)
        label = self._commands.label(hook)
        return guard_of(look, sections[f"chain.{label}"].output)

    def _read_gate(self, hook: Hook, sections: Mapping[str, Result]) -> Gate:
        """Return how a whole table leads to our chain."""
        result = sections[self._label(hook)]
        if hook is MANGLE:
            return _gate(hook, result.output if result.ok else "", "", *self._where)
        marking = sections.get(self._label(MANGLE))
        beside = marking.output if marking and marking.ok else ""
        if result.output == NO_TABLE:
            return _gate(hook, "", beside, *self._where)
        if result.ok:
            if f"-P {hook.builtin} " not in result.output:
                # Taken for an empty table, it would show as off what may be open.
                raise BadOutput(output=result.message)
            gate = _gate(hook, result.output, beside, *self._where)
            if not self._is_misread(hook, sections):
                return gate
            places = OpaquePlaces(left_to_nft=True, entered=bool(gate.jumps))
            return replace(gate, places=places)
        if not incompatible(result):
            command = f"{self._commands.command} -t {hook.table} -S"
            raise unreadable(command, result)
        # A native nft rule stands somewhere in the table. iptables can tell then
        # whether the jump is there, and not where.
        entered = sections[f"jump.{self._commands.label(hook)}"].ok
        jumps = (Jump(hook.builtin, 0, hook.jump),) if entered else ()
        places = OpaquePlaces(left_to_nft=self._beside_nft, entered=entered)
        # Another one may stand where it is not found.
        return Gate(places, None, jumps, held=True)

    def _is_misread(self, hook: Hook, sections: Mapping[str, Result]) -> bool:
        """Return whether nft shows a rule there that iptables takes for another."""
        listing = sections.get(LISTING)
        if listing is None or not listing.ok:
            return False
        shown = self._beside_nft and self._commands.variant == "nf_tables"
        return shown and has_native_rules(listing.output, hook.table)

    @property
    def _where(self) -> tuple[RouterContext, str]:
        """What forwards' packets depend on."""
        return self._context, self._interface

    def _read_chain(
        self, hook: Hook, sections: Mapping[str, Result]
    ) -> tuple[Rule, ...] | None:
        """Return the rules of our chain."""
        result = sections[f"chain.{self._commands.label(hook)}"]
        if result.output == NO_TABLE:
            return None
        if result.ok:
            return tuple(listed_rules(hook.chain, result))
        # The nft variant calls an absent chain incompatible.
        output = result.output
        if "No chain/target/match" in output or "is incompatible" in output:
            return None
        command = f"{self._commands.command} -t {hook.table} -S {hook.chain}"
        raise unreadable(command, result)

    def _read_entrance(self, hook: Hook, sections: Mapping[str, Result]) -> Entrance:
        """Return how the kernel's chain enters ours."""
        label = self._commands.label(hook)
        result = sections[f"entrance.{label}"]
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
            if sections[f"jump.{label}"].ok:
                return Entrance((hook.jump,), first=True, blocking=True)
            return Entrance(blocking=True)
        command = f"{self._commands.command} -t {hook.table} -S {hook.builtin}"
        raise unreadable(command, result)


def _entrance_at(hook: Hook, gate: Gate) -> Entrance:
    """Return how the kernel's chain enters ours, where more chains may."""
    if gate.table is None:
        return Entrance(blocking=True)
    entrance = entrance_of(hook, list(gate.table.chains.get(hook.builtin, ())))
    blocking = entrance.blocking or hook.builtin in gate.table.dropping
    return Entrance(entrance.jumps, entrance.first, blocking, entrance.held)


@lru_cache(_KEPT)
def _gate(
    hook: Hook, listing: str, beside: str, context: RouterContext, interface: str
) -> Gate:
    """Return how a table leads to our chain, of which this is printed.

    And beside it one whose rules may mark packets before they come there.
    """
    table: Table = read_table(listing)
    places: Places
    if hook is MANGLE:
        places = ProxyPlaces(table, context, interface)
    else:
        tables = {hook: table, MANGLE: read_table(beside)}
        marks = marks_of(tables, context, interface)
        places = ForwardPlaces(table, context, interface, marks)
    return Gate(places, table, table.jumps(hook), table.is_held(hook))
