"""Forwards for tests to draw, and a model of what iptables-restore does."""

from collections.abc import Collection, Iterable
from ipaddress import IPv4Address, IPv4Interface, IPv4Network

from hypothesis import strategies as st

from custom_components.bypass_router.router.forward import (
    Forward,
    PortRange,
    Protocol,
    is_host,
    normal_sources,
)
from custom_components.bypass_router.router.iptables.chains import Chains
from custom_components.bypass_router.router.iptables.rule import Rule
from custom_components.bypass_router.router.iptables.rules import HOOKS
from custom_components.bypass_router.router.iptables.state import (
    Entrance,
    IptablesState,
)
from custom_components.bypass_router.router.rules.base import PlanStep, RouterContext
from custom_components.bypass_router.router.rules.ruleset import Plan, Ruleset, Snapshot

SITE = RouterContext("ab12", IPv4Interface("192.168.50.2/24"))
OTHER_SITE = RouterContext("cd34", SITE.address)

EMPTY = IptablesState(dict.fromkeys(HOOKS), dict.fromkeys(HOOKS, Entrance()))
"""A router with none of our chains."""

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
    )


@st.composite
def forward_sets(draw: st.DrawFn, longest: int = 200) -> list[Forward]:
    """Draw a few forwards with ids from a small stock."""
    ids = draw(st.lists(st.sampled_from("ABCD"), unique=True, max_size=3))
    return [draw(forwards(name, longest)) for name in ids]


def seen(state: IptablesState, context: RouterContext = SITE) -> Snapshot:
    """Return what an owner sees of our chains, where nothing else is."""
    return Snapshot(Ruleset(context, [Chains(context, sudo=False)]), (state,))


def planned(
    desired: Collection[Forward], state: IptablesState, context: RouterContext = SITE
) -> Plan:
    """Return an owner's plan."""
    snapshot = seen(state, context)
    return snapshot.ruleset.plan(desired, snapshot)


def changed(
    state: IptablesState, desired: Collection[Forward], context: RouterContext = SITE
) -> IptablesState:
    """Return what an owner's plan makes of our chains."""
    return restored(state, planned(desired, state, context).steps)


class Refused(Exception):
    """iptables-restore would refuse the input, and change nothing of the table."""


def restored(state: IptablesState, steps: Iterable[PlanStep]) -> IptablesState:
    """Return what the text of a plan makes of a router with just the kernel's chains.

    A model apart from the code under test: it goes by the text alone.
    """
    tables: dict[str, dict[str, list[Rule]]] = {}
    for hook in state.chains:
        chains = tables.setdefault(hook.table, {})
        jumps = list(state.entrances[hook].jumps)
        if jumps and not state.entrances[hook].first:
            jumps.insert(0, Rule.of("-p tcp -j REDIRECT --to-ports 7892"))
        chains[hook.builtin] = jumps
        if (rules := state.chains[hook]) is not None:
            chains[hook.chain] = list(rules)
    chains = {}
    for step in steps:
        assert step.command == "iptables-restore --noflush --wait 5"
        assert step.lines[0].startswith("*")
        assert step.lines[-1] == "COMMIT"
        for line in step.lines:
            if line.startswith("*"):
                chains = tables[line[1:]]
            elif line != "COMMIT":
                _carry_out(chains, line)
    return _state(tables, state)


def _state(
    tables: dict[str, dict[str, list[Rule]]], before: IptablesState
) -> IptablesState:
    """Return these chains, as they are read."""
    entrances = {}
    for hook in before.chains:
        rules = tables[hook.table][hook.builtin]
        jumps = tuple(rule for rule in rules if rule.value("-j") == hook.chain)
        entrances[hook] = Entrance(
            jumps,
            first=rules[:1] == [hook.jump],
            blocking=before.entrances[hook].blocking,
        )
    ours = {
        hook: tuple(chain)
        if (chain := tables[hook.table].get(hook.chain)) is not None
        else None
        for hook in before.chains
    }
    return IptablesState(ours, entrances, before.needed)


def _carry_out(chains: dict[str, list[Rule]], line: str) -> None:
    """Carry out one line, or refuse it as iptables-restore does."""
    command, chain, *rest = line.split(" ", 2)
    if command == "-N":
        if chain in chains:
            raise Refused(line)
        chains[chain] = []
        return
    if chain not in chains:
        raise Refused(line)
    match command:
        case "-X":
            entered = any(
                rule.value("-j") == chain for rules in chains.values() for rule in rules
            )
            if chains[chain] or entered:
                raise Refused(line)
            del chains[chain]
        case "-A":
            chains[chain].append(Rule.of(rest[0]))
        case "-D":
            try:
                chains[chain].remove(Rule.of(rest[0]))
            except ValueError:
                raise Refused(line) from None
        case "-I":
            place, text = rest[0].split(" ", 1)
            chains[chain].insert(int(place) - 1, Rule.of(text))
        case _:
            raise Refused(line)
