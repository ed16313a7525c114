"""Forwards for tests to draw, and a model of what iptables-restore does."""

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from ipaddress import IPv4Address, IPv4Interface, IPv4Network
import time

from hypothesis import strategies as st

from custom_components.bypass_router.router.forward import (
    Forward,
    PortRange,
    Protocol,
    is_host,
    normal_sources,
)
from custom_components.bypass_router.router.iptables.chains import Chains
from custom_components.bypass_router.router.iptables.commands import Commands
from custom_components.bypass_router.router.iptables.guards import guard_of
from custom_components.bypass_router.router.iptables.rule import Rule
from custom_components.bypass_router.router.iptables.rules import (
    HOOKS,
    Hook,
)
from custom_components.bypass_router.router.iptables.state import IptablesState
from custom_components.bypass_router.router.rules.base import (
    PlanStep,
    RouterContext,
    Way,
)
from custom_components.bypass_router.router.rules.ends import Ways
from custom_components.bypass_router.router.rules.ruleset import Plan, Ruleset, Snapshot
from custom_components.bypass_router.router.ssh.script import Result, Script

SITE = RouterContext("ab12", IPv4Interface("192.168.50.2/24"))
OTHER_SITE = RouterContext("cd34", SITE.address)

FAR = 2_000_000_000
"""A moment that tests live to see none of."""
IPTABLES = Commands("iptables", "nf_tables", sudo=False)
LAN = "lan"
"""The interface on which the router's address stands."""


_OF_THE_KERNEL = ("INPUT", "FORWARD", "OUTPUT", "PREROUTING", "POSTROUTING")


@dataclass(frozen=True)
class Kernel:
    """What iptables holds: rules by table and chain, and which chains drop."""

    tables: Mapping[str, Mapping[str, tuple[Rule, ...]]]
    dropping: frozenset[tuple[str, str]] = field(default=frozenset())

    def rules(self, hook: Hook) -> tuple[Rule, ...] | None:
        """Return the rules of our chain; None where it is not there."""
        return self.tables[hook.table].get(hook.chain)

    def tagged(self) -> list[tuple[str, Rule]]:
        """Return all that has a tag, and what leads to our chains."""
        return [
            (name, rule)
            for table in self.tables.values()
            for name, rules in table.items()
            for rule in rules
            if "bypass_router:" in str(rule) or "HA-BYPASS" in str(rule)
        ]

    def with_rules(
        self, table: str, chain: str, rules: Sequence[Rule | str] | None
    ) -> Kernel:
        """Return the same with these rules in a chain, or without the chain."""
        chains = dict(self.tables[table])
        chains.pop(chain, None)
        if rules is not None:
            chains[chain] = tuple(
                Rule.of(rule) if isinstance(rule, str) else rule for rule in rules
            )
        return replace(self, tables={**self.tables, table: chains})

    def with_policy(self, table: str, chain: str, *, drops: bool) -> Kernel:
        """Return the same with another policy."""
        one = frozenset({(table, chain)})
        return replace(
            self, dropping=self.dropping | one if drops else self.dropping - one
        )

    def listing(self, table: str, only: str = "") -> str | None:
        """Return what `iptables -S` prints of a table, or one chain; None for none."""
        chains = self.tables[table]
        if only and only not in chains:
            return None
        names = [only] if only else list(chains)
        heads = [
            f"-P {name} {'DROP' if (table, name) in self.dropping else 'ACCEPT'}"
            if name in _OF_THE_KERNEL
            else f"-N {name}"
            for name in names
        ]
        return "\n".join(
            (*heads, *(f"-A {name} {it}" for name in names for it in chains[name]))
        )

    def sections(self, chains: Chains) -> dict[str, Result]:
        """Return what the commands of a part print."""
        script = Script()
        chains.add_read(script)
        return {
            label: self._printed(command) for label, command in script.commands.items()
        }

    def _printed(self, command: str) -> Result:
        """Return what a look prints."""
        if command == "date +%s":
            return Result(str(int(time.time())), 0)
        before, _, chain = command.partition(" -S")
        text = self.listing(before.split()[-1], chain.strip())
        if text is None:
            return Result("iptables: No chain/target/match by that name.", 1)
        return Result(text, 0)


EMPTY = Kernel(
    {
        "filter": {"INPUT": (), "FORWARD": (), "OUTPUT": ()},
        "nat": {"PREROUTING": (), "OUTPUT": (), "POSTROUTING": ()},
        "mangle": {"PREROUTING": (), "FORWARD": (), "POSTROUTING": ()},
    },
    frozenset({("filter", "FORWARD")}),
)
"""A router that drops what is forwarded, with none of our chains."""
CALM = EMPTY.with_policy("filter", "FORWARD", drops=False)
"""One that does not."""
PROXIED = EMPTY.with_rules(
    "mangle",
    "PREROUTING",
    [
        "-s 192.0.2.7/32 -j DROP",
        "-p tcp -j TPROXY --on-port 7893 --on-ip 127.0.0.1",
        "-p udp -j TPROXY --on-port 7893 --on-ip 127.0.0.1",
    ],
)
"""One with a proxy as well, and a ban in front of it."""


def with_ends(forwards: Iterable[Forward]) -> dict[str, tuple[Forward, int | None]]:
    """Return forwards by their id, each with its end, which is no part of its value."""
    return {forward.id: (forward, forward.until) for forward in forwards}


def ways_without(ways: Iterable[Way], others: Iterable[Way]) -> list[Way]:
    """Return what of the first is in none of the others."""
    return Ways(others).without(ways)


def chains(
    context: RouterContext | None = None, hooks: Sequence[Hook] = HOOKS
) -> Chains:
    """Return the part."""
    return Chains(context or SITE, IPTABLES, interface=LAN, hooks=hooks)


_NETWORKS = st.builds(
    lambda address, prefix: IPv4Network((address, prefix), strict=False),
    st.integers(0, 2**32 - 1),
    st.integers(1, 32),
)


@st.composite
def port_ranges(draw: st.DrawFn, longest: int = 200) -> tuple[PortRange, PortRange]:
    """Draw external ports, and as many of a target."""
    length = draw(st.just(1) | st.integers(1, longest))
    firsts = st.integers(1, 65536 - length)
    external, target = draw(firsts), draw(firsts)
    if draw(st.booleans()):
        target = external
    return (
        PortRange(external, external + length - 1),
        PortRange(target, target + length - 1),
    )


@st.composite
def forwards(draw: st.DrawFn, name: str = "01JX", longest: int = 200) -> Forward:
    """Draw any forward."""
    external, target_ports = draw(port_ranges(longest))
    return Forward(
        id=name,
        protocol=draw(st.sampled_from(Protocol)),
        external=external,
        target=draw(st.ip_addresses(v=4).map(IPv4Address).filter(is_host)),
        target_ports=target_ports,
        sources=normal_sources(draw(st.lists(_NETWORKS, max_size=3))),
        keep_client_address=draw(st.booleans()),
        until=draw(st.none() | st.integers(FAR, FAR + 9)),
    )


@st.composite
def forward_sets(draw: st.DrawFn, longest: int = 200) -> list[Forward]:
    """Draw a few forwards with ids from a small stock."""
    ids = draw(st.lists(st.sampled_from("ABCD"), unique=True, max_size=3))
    return [draw(forwards(name, longest)) for name in ids]


def state_of(
    kernel: Kernel, context: RouterContext = SITE, hooks: Sequence[Hook] = HOOKS
) -> IptablesState:
    """Return what is read of these chains."""
    part = chains(context, hooks)
    return part.read(kernel.sections(part))


def seen(found: Kernel | IptablesState, context: RouterContext = SITE) -> Snapshot:
    """Return what an owner sees of our chains, where nothing else is."""
    state = state_of(found, context) if isinstance(found, Kernel) else found
    return Snapshot(Ruleset(context, [chains(context)]), (state,))


def planned(
    desired: Collection[Forward],
    found: Kernel | IptablesState,
    context: RouterContext = SITE,
) -> Plan:
    """Return an owner's plan."""
    snapshot = seen(found, context)
    return snapshot.ruleset.plan(desired, snapshot)


def changed(
    kernel: Kernel, desired: Collection[Forward], context: RouterContext = SITE
) -> Kernel:
    """Return what an owner's plan makes of our chains."""
    return restored(kernel, planned(desired, kernel, context).steps)


class Refused(Exception):
    """iptables-restore would refuse the input, and change nothing of the table."""


def restored(kernel: Kernel, steps: Iterable[PlanStep]) -> Kernel:
    """Return what the text of a plan makes of a router.

    A model apart from the code under test: it goes by the text alone.
    """
    tables = {
        name: {chain: list(rules) for chain, rules in table.items()}
        for name, table in kernel.tables.items()
    }
    now: dict[str, list[Rule]] = {}
    for step in steps:
        if step.command == "sh":
            _compare(kernel, step.lines)
            continue
        assert step.command == "iptables-restore --noflush --wait 5"
        assert step.lines[0].startswith("*")
        assert step.lines[-1] == "COMMIT"
        for line in step.lines:
            if line.startswith("*"):
                now = tables[line[1:]]
            elif line != "COMMIT":
                _carry_out(now, line)
    return replace(
        kernel,
        tables={
            name: {chain: tuple(rules) for chain, rules in table.items()}
            for name, table in tables.items()
        },
    )


def _compare(kernel: Kernel, lines: Iterable[str]) -> None:
    """Refuse what goes by numbers, unless what was read is there."""
    for line in lines:
        look = line.partition('$(printf %s "$(')[2].partition(" 2>&1)")[0]
        words = look.split()
        table = words[words.index("-t") + 1]
        only = words[words.index("-S") + 1 :]
        printed = kernel.listing(table, *only)
        if line != guard_of(look, printed or ""):
            raise Refused(line)


def _carry_out(now: dict[str, list[Rule]], line: str) -> None:
    """Carry out one line, or refuse it as iptables-restore does."""
    command, chain, *rest = line.split(" ", 2)
    if (chain in now) == (command == "-N"):
        raise Refused(line)
    match command:
        case "-N":
            now[chain] = []
        case "-X":
            entered = any(
                rule.value("-j") == chain for rules in now.values() for rule in rules
            )
            if now.pop(chain) or entered:
                raise Refused(line)
        case "-A":
            now[chain].append(Rule.of(rest[0]))
        case "-D":
            _delete(now[chain], rest[0])
        case "-I":
            place, text = rest[0].split(" ", 1)
            if int(place) > len(now[chain]) + 1:
                raise Refused(line)
            now[chain].insert(int(place) - 1, Rule.of(text))
        case _:
            raise Refused(line)


def _delete(rules: list[Rule], which: str) -> None:
    """Take a rule away, by its number or its text."""
    if which.isdigit():
        del rules[int(which) - 1]
        return
    try:
        rules.remove(Rule.of(which))
    except ValueError:
        raise Refused(which) from None
