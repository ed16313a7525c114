"""Forwards for tests to draw, and a model of what iptables-restore does."""

from dataclasses import replace
from ipaddress import IPv4Address, IPv4Interface, IPv4Network

from hypothesis import strategies as st

from custom_components.bypass_router.router.firewall import Site
from custom_components.bypass_router.router.forward import (
    Forward,
    PortRange,
    Protocol,
    is_host,
    normal_sources,
)
from custom_components.bypass_router.router.iptables import (
    HOOKS,
    Entrance,
    IptablesPlan,
    IptablesSnapshot,
)
from custom_components.bypass_router.router.rule import Rule

SITE = Site("ab12", IPv4Interface("192.168.50.2/24"))
OTHER_SITE = Site("cd34", SITE.address)

EMPTY = IptablesSnapshot(SITE, dict.fromkeys(HOOKS), dict.fromkeys(HOOKS, Entrance()))

_NETWORKS = st.builds(
    lambda address, prefix: IPv4Network((address, prefix), strict=False),
    st.integers(0, 2**32 - 1),
    st.integers(1, 32),
)


@st.composite
def port_ranges(draw: st.DrawFn) -> tuple[PortRange, PortRange]:
    """Draw external ports, and as many of a target."""
    length = draw(st.just(1) | st.integers(1, 200))
    firsts = st.integers(1, 65536 - length)
    external, target = draw(firsts), draw(firsts)
    if draw(st.booleans()):
        target = external
    return (
        PortRange(external, external + length - 1),
        PortRange(target, target + length - 1),
    )


@st.composite
def forwards(draw: st.DrawFn, name: str = "01JX") -> Forward:
    """Draw any forward."""
    external, target_ports = draw(port_ranges())
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
def forward_sets(draw: st.DrawFn) -> list[Forward]:
    """Draw a few forwards with ids from a small stock."""
    ids = draw(st.lists(st.sampled_from("ABCDE"), unique=True))
    return [draw(forwards(name)) for name in ids]


class Refused(Exception):
    """iptables-restore would refuse the input, and change nothing of the table."""


def restored(snapshot: IptablesSnapshot, plan: IptablesPlan) -> IptablesSnapshot:
    """Return what a plan's text makes of a router with just the kernel's chains.

    A model apart from the code under test: it goes by the text alone.
    """
    chains: dict[str, list[Rule]] = {}
    for hook in HOOKS:
        jumps = list(snapshot.entrances[hook].jumps)
        if jumps and not snapshot.entrances[hook].first:
            jumps.insert(0, Rule.of("-p tcp -j REDIRECT --to-ports 7892"))
        chains[hook.builtin] = jumps
        if (rules := snapshot.chains[hook]) is not None:
            chains[hook.chain] = list(rules)
    for line in plan.lines:
        if line != "COMMIT" and not line.startswith("*"):
            _carry_out(chains, line)
    return replace_rules(snapshot, chains)


def replace_rules(
    snapshot: IptablesSnapshot, chains: dict[str, list[Rule]]
) -> IptablesSnapshot:
    """Return a snapshot of these chains."""
    entrances = {}
    for hook in HOOKS:
        rules = chains[hook.builtin]
        jumps = tuple(rule for rule in rules if rule.value("-j") == hook.chain)
        entrances[hook] = Entrance(jumps, first=rules[:1] == [hook.jump])
    ours = {
        hook: tuple(chains[hook.chain]) if hook.chain in chains else None
        for hook in HOOKS
    }
    return replace(snapshot, chains=ours, entrances=entrances)


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
