"""Which firewall programs a router has, and which of them this account may use."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Interface
import re

from ..conntrack import uses
from ..errors import (
    BadOutput,
    FirewallFailed,
    FirewallMissing,
    FirewallTooOld,
    NotPrivileged,
)
from ..iptables.legacy import is_absent
from ..iptables.variants import (
    Iptables,
    add_variants,
    is_older,
    read_variants,
    read_version,
)
from ..nftables.elements import TABLE
from ..nftables.table import check_lines
from ..routing.nft_marks import LISTING
from ..routing.shared import commands
from ..rules.base import RouterContext, incompatible
from ..ssh.script import Result, Script
from ..ssh.sudo import SUDO, asking, refused_by_sudo, refused_of

# What the account must be allowed to do at the least; none of it changes anything.
_LOOK_TEST = "iptables --wait 5 -t nat -S PREROUTING"
# Where nft may do it all, a table of the legacy variant is not made for it.
_IS_LEGACY = "! iptables -V | grep -q nf_tables"
_NEEDLESS = f"command -v nft >/dev/null && {is_absent('nat')} && {_IS_LEGACY}"
_DIRECT_TEST = (
    f"""sh -c '[ "$(id -u)" = 0 ] && {_NEEDLESS} && exit; exec {_LOOK_TEST}'"""
)
_CHANGE_TEST = "iptables-restore --noflush --wait 5"
_MANGLE_TEST = "iptables --wait 5 -t mangle -S"
_NFT_LOOK_TEST = "nft -t -s -a list ruleset"
_NFT_CHECK_TEST = "nft -c -f -"
# What an older nft takes as well; the version tells what it lacks.
_NFT_PLAIN_TEST = (
    f"sh -c 'nft -v; {_NFT_LOOK_TEST} >/dev/null && exec {_NFT_CHECK_TEST}'"
)
_NFT_VERSION = re.compile(r"^nftables v([0-9]{1,4}(?:\.[0-9]{1,4}){1,3})", re.MULTILINE)
_LEAST_NFT = "1.0.2"
_FLOW = "ct original ip daddr 192.0.2.2 meta l4proto tcp ct original proto-dst 80-81"
_PLAIN_LINES = [
    "add table ip ha_bypass_check",
    "add chain ip ha_bypass_check f { type filter hook forward priority 0; }",
    f'add rule ip ha_bypass_check f {_FLOW} accept comment "check"',
]
_NFT_TESTS = (_NFT_LOOK_TEST, f"nft list table {TABLE}", "nft -f -")
# To see whether nft knows all that our table is made of; no router's real address.
_ANY_SITE = RouterContext("check", IPv4Interface("192.0.2.2/24"))
_MARKS_TEST = LISTING
_ROUTES_TESTS = tuple(commands(_ANY_SITE, "lan"))
_CONNTRACK_TESTS = tuple(uses(_ANY_SITE.address.ip, IPv4Address("192.0.2.1")))


@dataclass(frozen=True, slots=True)
class Denied:
    """A command that is there, and that the account is not let run."""

    command: str
    message: str
    """In the router's words."""


@dataclass(frozen=True, slots=True)
class Tools:
    """The firewall programs that we may use."""

    sudo: bool = False
    """Whether the commands need `sudo -n` in front."""
    iptables: Iptables | None = None
    """The one that holds the host's own rules."""
    other: Iptables | None = None
    """The other variant, where it holds rules as well."""
    both_translate: bool = False
    """Whether both variants hold NAT rules."""
    left_in_other: bool = False
    """Whether the other may hold rules of ours that translate, from before."""
    absent: frozenset[str] = field(default=frozenset(), compare=False)
    """The tables that the legacy variant would make if one looked at them."""
    mangle: bool = False
    """Whether the account may look at the mangle table."""
    timed: bool = False
    """Whether iptables knows rules that hold until a moment."""
    nft: bool = False
    """Whether `nft` takes our table."""
    nft_rules: bool = False
    """Whether it can at least show rules, and put accepts into others' chains."""
    nft_marks: bool = False
    """Whether the account may look at the table that marks answers."""
    routes: bool = False
    """Whether the account may set the rule of routing for what is marked."""
    listens: bool = False
    """Whether the account may listen to `nft monitor`."""
    conntrack: bool = False
    """Whether the account may hear of connections, and end them."""
    denied: Mapping[str, Denied] = field(default_factory=dict, compare=False)
    """What keeps us from `iptables`, `nftables` and `conntrack`, by that word."""


def add_tools(script: Script) -> None:
    """Add the commands whose output `read_tools` understands."""
    script.run("direct", _DIRECT_TEST)
    script.otherwise("sudo", asking(_LOOK_TEST, run=_LOOK_TEST))
    # Its empty input changes nothing. Root has no need to ask sudo.
    script.run("sudochange", asking(_CHANGE_TEST, run=_CHANGE_TEST))
    # Only asked whether it may: to look would make the table where it is none.
    script.run("sudomangle", asking(_MANGLE_TEST))
    add_variants(script)
    script.run("time", "iptables -m time -h")
    script.run("nft", "nft list tables")
    script.otherwise("sudonft", f"{SUDO}-l nft monitor")
    lines = check_lines(_ANY_SITE)
    script.feed("nftcheck", _NFT_CHECK_TEST, lines)
    script.feed("nftplain", _NFT_PLAIN_TEST, _PLAIN_LINES, otherwise=True)
    check = asking(_NFT_CHECK_TEST, run=_NFT_CHECK_TEST)
    script.feed("sudonftcheck", check, lines)
    script.feed("sudonftplain", check, _PLAIN_LINES, otherwise=True)
    script.run("sudonftuse", asking(*_NFT_TESTS))
    script.run("sudomarks", asking(_MARKS_TEST))
    script.run("sudoroutes", asking(*_ROUTES_TESTS))
    script.run("conntrack", "sh -c 'command -v conntrack'")
    script.run("sudoconntrack", asking(*_CONNTRACK_TESTS))


def read_tools(sections: Mapping[str, Result], uid: int) -> Tools:
    """Return what those sections tell.

    Raises FirewallMissing, FirewallFailed, NotPrivileged and BadOutput: if neither
    program can be used, for the reason that the first has.
    """
    root = uid == 0
    denied: dict[str, Denied] = {}
    refused: FirewallMissing | FirewallFailed | NotPrivileged | BadOutput | None = None
    iptables: Iptables | None = None
    sudo = False
    try:
        iptables = read_version(sections)
        sudo = _needs_sudo(sections, root=root)
    except NotPrivileged as err:
        iptables, refused = None, err
        denied["iptables"] = Denied(err.details["command"], err.details["message"])
    except (FirewallMissing, FirewallFailed, BadOutput) as err:
        iptables, refused = None, err
    nft = sections["nftcheck"].ok
    if not nft and not root:
        sudo_nft = sections["sudonftcheck"].ok and sections["sudonftuse"].ok
        nft, sudo = sudo_nft, sudo or sudo_nft
    plain = _allows_plain(sections, root=root)
    if not nft and (found := _denied_nft(sections)):
        denied["nftables"] = found
    if refused and not nft:
        raise _because_of_nft(sections, denied.get("nftables"), refused, root=root)
    variants = read_variants(sections, iptables)
    conntrack = sections["conntrack"].ok
    if conntrack and not (root or (sudo and sections["sudoconntrack"].ok)):
        asked = sections["sudoconntrack"]
        command = refused_of(asked, _CONNTRACK_TESTS) or _CONNTRACK_TESTS[0]
        # The rest is only an example.
        use = " ".join(command.split()[:2])
        denied["conntrack"] = Denied(use, asked.message)
        conntrack = False
    return Tools(
        sudo=sudo,
        iptables=variants.main,
        other=variants.other,
        both_translate=variants.both_translate,
        left_in_other=variants.left_in_other,
        absent=_absent_tables(sections["names"]),
        mangle=root or sections["sudomangle"].ok,
        timed=sections["time"].ok,
        nft=nft,
        nft_rules=nft or plain,
        nft_marks=root or not sudo or sections["sudomarks"].ok,
        routes=root or sections["sudoroutes"].ok,
        listens=sections["nft"].ok or (sudo and sections["sudonft"].ok),
        conntrack=conntrack,
        denied=denied,
    )


def _allows_plain(sections: Mapping[str, Result], *, root: bool) -> bool:
    """Return whether an nft that does not take our table can do the rest."""
    if (direct := sections.get("nftplain")) and direct.ok:
        return True
    by_sudo = sections.get("sudonftplain")
    allowed = by_sudo is not None and by_sudo.ok and sections["sudonftuse"].ok
    return allowed and not root


def _denied_nft(sections: Mapping[str, Result]) -> Denied | None:
    """Return what keeps the account from nft, where the router has it."""
    direct = sections["nftcheck"]
    if direct.not_found or "Operation not permitted" not in direct.output:
        return None
    command = refused_of(sections["sudonftcheck"], [_NFT_CHECK_TEST]) or refused_of(
        sections["sudonftuse"], _NFT_TESTS
    )
    return Denied(command, direct.message) if command else None


def _because_of_nft(
    sections: Mapping[str, Result],
    denied: Denied | None,
    refused: FirewallMissing | FirewallFailed | NotPrivileged | BadOutput,
    *,
    root: bool,
) -> FirewallMissing | FirewallFailed | NotPrivileged | BadOutput:
    """Return why nothing can be used.

    For nft's reason, where there is no iptables, or where the account may do part
    of what nft needs: someone has meant it to.
    """
    direct, by_sudo = sections["nftcheck"], sections["sudonftcheck"]
    if direct.not_found:
        return refused
    meant = not root and (by_sudo.ok or sections["sudonftuse"].ok)
    if not (meant or isinstance(refused, FirewallMissing)):
        return refused
    if denied:
        return NotPrivileged(command=denied.command, message=denied.message)
    check = direct if root or by_sudo.ok or refused_by_sudo(by_sudo) else by_sudo
    plain = sections.get("nftplain")
    version = _NFT_VERSION.search(plain.output) if plain else None
    if version and is_older(version[1], _LEAST_NFT):
        return FirewallTooOld(firewall="nftables", found=version[1], least=_LEAST_NFT)
    if "Operation not permitted" in check.output:
        return NotPrivileged(command=_NFT_CHECK_TEST, message=check.message)
    return FirewallFailed(command=_NFT_CHECK_TEST, message=check.message)


def _needs_sudo(sections: Mapping[str, Result], *, root: bool) -> bool:
    """Return whether the account changes the firewall through sudo."""
    direct = sections["direct"]
    if direct.ok or incompatible(direct):
        return False
    if root:
        raise FirewallFailed(command=_LOOK_TEST, message=direct.message)
    if not (sections["sudo"].ok or incompatible(sections["sudo"])):
        raise NotPrivileged(command=_LOOK_TEST, message=direct.message)
    if not (change := sections["sudochange"]).ok:
        raise NotPrivileged(command=_CHANGE_TEST, message=change.message)
    return True


def _absent_tables(names: Result) -> frozenset[str]:
    """Return which of the tables that we look at the legacy variant has not made."""
    if not (names.ok or "No such file" in names.output):
        return frozenset()
    return frozenset({"filter", "nat"}.difference(names.lines if names.ok else ()))
