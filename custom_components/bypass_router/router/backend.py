"""Where a router's forwards have their rules: the choice among what it has."""

from enum import StrEnum
from functools import partial
from typing import Any

from .bridge import Bridge
from .errors import FirewallNotThere, NotPrivileged
from .iptables.chains import Chains
from .iptables.commands import Commands, Variant
from .iptables.rules import CUT, FWD, HOOKS, MANGLE, POST, PRE, RETIRED, Hook
from .iptables.variants import Iptables
from .nftables.foreign_chains import ForeignChains
from .nftables.table import Nftables
from .probe.firewalls import Tools
from .routing.iptables_marks import IptablesMarks
from .routing.nft_marks import NftMarks
from .routing.part import Marks, Routing
from .rules.base import Part, RouterContext, Translator
from .rules.ruleset import Ruleset


class Backend(StrEnum):
    """Which firewall is to translate, as the user may choose."""

    AUTO = "auto"
    IPTABLES = "iptables"
    NFTABLES = "nftables"


def chosen_backend(tools: Tools, asked: Backend) -> Backend:
    """Return what translates on a router with these tools.

    By itself nftables, where `nft` takes our table: a map finds any number of
    forwards at once, and stands before a proxy's catch-all whatever the order.
    Raises FirewallNotThere for one that the router can't fulfil, and NotPrivileged
    for one that the account is not let.
    """
    there = {Backend.NFTABLES: tools.nft, Backend.IPTABLES: tools.iptables is not None}
    if asked is Backend.AUTO:
        return Backend.NFTABLES if tools.nft else Backend.IPTABLES
    if not there[asked]:
        if denied := tools.denied.get(asked.value):
            raise NotPrivileged(command=denied.command, message=denied.message)
        raise FirewallNotThere(firewall=asked.value)
    return asked


def choose(
    context: RouterContext,
    interface: str,
    tools: Tools,
    asked: Backend,
    *,
    bridge: bool = False,
) -> Ruleset:
    """Return all the places where a forward has rules on a router.

    The address stands on the interface, which may be a bridge.

    The translator that is not chosen is there too, as one that is to hold nothing:
    what it held before moves over. Raises FirewallNotThere.
    """
    backend = chosen_backend(tools, asked)
    chains = partial(_chains, context, interface, tools)
    translators: list[Translator[Any]] = []
    others: list[Part[Any]] = []
    admitting: tuple[Hook, ...] = (MANGLE, FWD) if tools.mangle else (FWD,)
    if tools.nft:
        translators.append(Nftables(context, sudo=tools.sudo))
    if tools.nft or tools.nft_rules:
        # An nft that is too old for our table still has others' tables to show.
        by_iptables = "nf_tables" in {
            found.variant for found in (tools.iptables, tools.other) if found
        }
        others.append(
            ForeignChains(
                context,
                interface,
                sudo=tools.sudo,
                iptables=by_iptables,
                translated_there=backend is Backend.IPTABLES,
            )
        )
    if tools.iptables and backend is Backend.IPTABLES:
        hooks = (*admitting[:-1], *HOOKS)
        translators.insert(0, chains(tools.iptables, hooks))
    elif tools.iptables:
        translators.append(chains(tools.iptables, RETIRED))
        others.append(chains(tools.iptables, admitting))
    if tools.other:
        hooks, stale = admitting, tuple[Hook, ...](RETIRED)
        if tools.both_translate and backend is Backend.IPTABLES:
            # What iptables accepts in one variant, the other may still masquerade.
            hooks, stale = (*admitting, POST), (CUT, PRE)
        if tools.left_in_other or tools.both_translate:
            # What we had there moves over as well, when the host's rules have moved.
            translators.append(chains(tools.other, stale))
        others.append(chains(tools.other, hooks))
    marks = _marks(context, tools)
    others.append(Routing(context, interface, sudo=tools.sudo, marks=marks))
    if bridge:
        others.append(Bridge(context, interface))
    return Ruleset(context, translators, others)


def _marks(context: RouterContext, tools: Tools) -> Marks | None:
    """Return where answers are marked; None where the account is not let."""
    if not tools.routes:
        return None
    if tools.nft and tools.nft_marks:
        return NftMarks(context, sudo=tools.sudo)
    if tools.iptables and tools.mangle:
        found = tools.iptables
        commands = Commands(found.command, _variant(found), tools.sudo)
        return IptablesMarks(context, commands)
    return None


def _variant(iptables: Iptables) -> Variant:
    """Return the variant, by its name."""
    return "legacy" if iptables.variant == "legacy" else "nf_tables"


def _chains(
    context: RouterContext,
    interface: str,
    tools: Tools,
    iptables: Iptables,
    hooks: tuple[Hook, ...],
) -> Chains:
    """Return our chains in a variant of iptables."""
    variant = _variant(iptables)
    # Of the tables that may be absent, only what is there is looked at.
    absent = tools.absent if variant == "legacy" else frozenset[str]()
    return Chains(
        context,
        Commands(iptables.command, variant, tools.sudo, absent),
        interface=interface,
        hooks=hooks,
        beside_nft=tools.nft_rules,
        timed=tools.timed,
    )
