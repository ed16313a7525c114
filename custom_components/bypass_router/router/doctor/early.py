"""Rules that stop a forward's packets before anything of ours is asked."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Final

from ..forward import Forward
from ..iptables.legacy import NAMES
from ..iptables.table import read_table
from ..nftables.chain_rules import ANONYMOUS
from ..nftables.foreign_tables import has_native_rules, read_foreign_tables
from ..nftables.listing import Base
from ..passage.chains import Chains
from ..passage.early import Stop, stops_of
from ..probe.probe import Probe
from ..rules.base import RouterContext
from ..rules.obstacles import Hindrance, Obstacle
from ..ssh.script import Result, Script
from ..ssh.sudo import as_root

# Of chains at `prerouting`, by priority: what is before the kernel tracks, and before
# anyone translates for us.
_TRACKING = -200
_TRANSLATING = -105
_FIRST = -(2**31)
_TABLES: Final[Mapping[str, int]] = {"raw": -300, "mangle": -150}
_FAMILIES = ("ip", "inet", "netdev")


def add_early(script: Script, probe: Probe) -> None:
    """Add the commands whose output `read_early` understands."""
    tools = probe.tools
    if tools.nft_rules:
        nft = as_root("nft", sudo=tools.sudo)
        script.run("early.nft", f"{nft} -t -s -a list ruleset")
    # What an account may do by sudo is of other tables; what nft shows is known.
    if tools.sudo:
        return
    commands = {"nft": "iptables-nft", "legacy": "iptables-legacy"}
    for known in (tools.iptables, tools.other):
        if known:
            name = "legacy" if known.variant == "legacy" else "nft"
            commands[name] = known.command
    for table in _TABLES:
        listing = f"--wait 5 -t {table} -S"
        if tools.iptables:
            # An old one makes the table to look at it.
            there = f"nft list table ip {table} >/dev/null 2>&1"
            look = f"{commands['nft']} {listing}"
            if tools.nft_rules:
                look = f"sh -c '{there} && {look}'"
            script.run(f"early.nft.{table}", look)
        look = f"grep -qsx {table} {NAMES} && {commands['legacy']} {listing}"
        script.run(f"early.legacy.{table}", f"sh -c '{look}'")


def read_early(
    sections: Mapping[str, Result], forward: Forward, probe: Probe
) -> tuple[Obstacle, ...]:
    """Return what stops a forward's packets that early."""
    context = RouterContext("", probe.address)
    found: dict[Obstacle, None] = {}
    for early in (*_of_nft(sections), *_of_iptables(sections)):
        for stop in stops_of(
            early.base,
            early.chains,
            forward,
            context,
            probe.interface,
            tracked=early.priority >= _TRACKING,
        ):
            if stop.names_router or not early.anywhere:
                found[early.obstacle(stop)] = None
    return tuple(found)


@dataclass(frozen=True, slots=True)
class _Early:
    """A chain that the kernel enters before it translates."""

    table: str
    base: str
    chains: Chains
    priority: int
    anywhere: bool = False
    """Whether it may stand at another device than the forward's packets come by."""

    def obstacle(self, stop: Stop) -> Obstacle:
        """Return what is in the way, in words that are safe to show."""
        kind = Hindrance.UNTRACKED if stop.untracks else Hindrance.DROPPED_EARLY
        chain = self.base if stop.chain.startswith(ANONYMOUS) else stop.chain
        rule = stop.rule.text if stop.rule else "policy drop"
        return Obstacle(kind, {"chain": f"{self.table} {chain}", "rule": rule})


def _of_nft(sections: Mapping[str, Result]) -> Iterator[_Early]:
    """Yield those that nft lists, and iptables does not print or takes for others."""
    listing = sections.get("early.nft")
    if not listing or not listing.ok:
        return
    printed = {f"ip {table}" for table in _TABLES if _printed(sections, "nft", table)}
    for table in read_foreign_tables(listing.output, "", printed, _FAMILIES):
        for chain in table.chains:
            if chain.base and (early := _priority(table.name, chain.base)) is not None:
                at_device = table.name.startswith("netdev ")
                yield _Early(table.name, chain.name, table.walkable, early, at_device)


def _priority(table: str, base: Base) -> int | None:
    """Return when the kernel enters a chain; None if not before it translates."""
    hook = "ingress" if table.startswith("netdev ") else "prerouting"
    if (base.type, base.hook) != ("filter", hook):
        return None
    # One that makes no sense is taken for a late one.
    priority = _FIRST if hook == "ingress" else base.number or 0
    return priority if priority < _TRANSLATING else None


def _of_iptables(sections: Mapping[str, Result]) -> Iterator[_Early]:
    """Yield those that iptables prints, in either variant."""
    for table, priority in _TABLES.items():
        for variant in ("nft", "legacy"):
            if printed := _printed(sections, variant, table):
                chains = read_table(printed.output).walkable
                yield _Early(table, "PREROUTING", chains, priority)


def _printed(sections: Mapping[str, Result], variant: str, table: str) -> Result | None:
    """Return what a variant of iptables prints of a table, if that is all of it."""
    printed = sections.get(f"early.{variant}.{table}")
    if printed is None or not printed.ok:
        return None
    listing = sections.get("early.nft")
    shown = variant == "nft" and listing is not None and listing.ok
    misread = shown and listing and has_native_rules(listing.output, table)
    return None if misread else printed
