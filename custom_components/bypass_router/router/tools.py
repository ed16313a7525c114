"""Which firewall programs a router has, and which of them this account may use."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Interface
import re

from .connections import uses
from .errors import BadOutput, FirewallFailed, FirewallMissing, NotPrivileged
from .firewall import Site
from .legacy import NAMES, is_absent
from .nft_table import check_lines
from .nftables import TABLE
from .privilege import asking, refused_by_sudo, refused_of
from .script import Result, Script

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
_NFT_TESTS = (_NFT_LOOK_TEST, f"nft list table {TABLE}", "nft -f -")
_NOT_FOUND = 127
VARIANTS = ("legacy", "nft")
"""What the name of a variant's own command ends in."""
# How iptables says that it can't show the rules of a chain, which it may change
# all the same.
_INCOMPATIBLE = ("is incompatible, use 'nft' tool", "Parsing nftables rule failed")

_IPTABLES = re.compile(
    r"iptables v([0-9]{1,4}(?:\.[0-9]{1,4}){0,3})(?: \((legacy|nf_tables)\))?"
)
# To see whether nft knows all that our table is made of; no router's real address.
_ANY_SITE = Site("check", IPv4Interface("192.0.2.2/24"))
_CONNTRACK_TESTS = tuple(uses(_ANY_SITE.address.ip, IPv4Address("192.0.2.1")))


@dataclass(frozen=True, slots=True)
class Denied:
    """A command that is there, and that the account is not let run."""

    command: str
    message: str
    """In the router's words."""


@dataclass(frozen=True, slots=True)
class Iptables:
    """A variant of iptables, by the command that is it."""

    version: str
    variant: str
    command: str = "iptables"

    @property
    def label(self) -> str:
        """Version and variant as `iptables -V` prints them."""
        return f"iptables {self.version} ({self.variant})"


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
    nft: bool = False
    """Whether `nft` takes our table."""
    listens: bool = False
    """Whether the account may listen to `nft monitor`."""
    conntrack: bool = False
    """Whether the account may hear of connections, and end them."""
    denied: Mapping[str, Denied] = field(default_factory=dict, compare=False)
    """What keeps us from `iptables`, `nftables` and `conntrack`, by that word."""


def add_nat_looks(script: Script) -> None:
    """Add a command that prints the NAT rules of each variant: `nat.legacy`, `nat.nft`.

    Only root is asked: what an account may not look at, `sudo` would report.
    """
    for variant in VARIANTS:
        look = f"iptables-{variant} --wait 5 -t nat -S"
        if variant == "legacy":
            look = f"grep -qsx nat {NAMES} && {look}"
        script.run(f"nat.{variant}", f"""sh -c '[ "$(id -u)" = 0 ] && {look}'""")


def add_tools(script: Script) -> None:
    """Add the commands whose output `read_tools` understands."""
    script.run("iptables", "iptables -V")
    script.run("restore", "sh -c 'command -v iptables-restore'")
    script.run("direct", _DIRECT_TEST)
    script.otherwise("sudo", asking(_LOOK_TEST, run=_LOOK_TEST))
    # Its empty input changes nothing. Root has no need to ask sudo.
    script.run("sudochange", asking(_CHANGE_TEST, run=_CHANGE_TEST))
    # Only asked whether it may: to look would make the table where it is none.
    script.run("sudomangle", asking(_MANGLE_TEST))
    for variant in VARIANTS:
        script.run(f"version.{variant}", f"iptables-{variant} -V")
    add_nat_looks(script)
    script.run("names", f"cat {NAMES}")
    script.run("nft", "nft list tables")
    script.otherwise("sudonft", "sudo -n -l nft monitor")
    lines = check_lines(_ANY_SITE)
    script.feed("nftcheck", _NFT_CHECK_TEST, lines)
    script.feed("sudonftcheck", asking(_NFT_CHECK_TEST, run=_NFT_CHECK_TEST), lines)
    script.run("sudonftuse", asking(*_NFT_TESTS))
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
        iptables = _version(sections)
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
    if not nft and (found := _denied_nft(sections)):
        denied["nftables"] = found
    if refused and not nft:
        raise _because_of_nft(sections, denied.get("nftables"), refused, root=root)
    main, other = _variants(sections, iptables)
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
        iptables=main,
        other=other,
        both_translate=_translates(sections, "legacy") and _translates(sections, "nft"),
        left_in_other=other is not None and _holds_ours(sections, _name_of(other)),
        absent=_absent_tables(sections["names"]),
        mangle=root or sections["sudomangle"].ok,
        nft=nft,
        listens=sections["nft"].ok or (sudo and sections["sudonft"].ok),
        conntrack=conntrack,
        denied=denied,
    )


def _denied_nft(sections: Mapping[str, Result]) -> Denied | None:
    """Return what keeps the account from nft, where the router has it."""
    direct = sections["nftcheck"]
    if direct.status == _NOT_FOUND or "Operation not permitted" not in direct.output:
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
    of what nft needs: somebody has meant it to.
    """
    direct, by_sudo = sections["nftcheck"], sections["sudonftcheck"]
    if direct.status == _NOT_FOUND:
        return refused
    meant = not root and (by_sudo.ok or sections["sudonftuse"].ok)
    if not (meant or isinstance(refused, FirewallMissing)):
        return refused
    if denied:
        return NotPrivileged(command=denied.command, message=denied.message)
    check = direct if root or by_sudo.ok or refused_by_sudo(by_sudo) else by_sudo
    if "Operation not permitted" in check.output:
        return NotPrivileged(command=_NFT_CHECK_TEST, message=check.message)
    return FirewallFailed(command=_NFT_CHECK_TEST, message=check.message)


def _version(sections: Mapping[str, Result]) -> Iptables:
    """Return which `iptables` the router has."""
    version = sections["iptables"]
    if version.status == _NOT_FOUND or not sections["restore"].ok:
        raise FirewallMissing
    if not version.ok:
        raise FirewallFailed(command="iptables -V", message=version.message)
    return _parsed(version, "iptables")


def _parsed(version: Result, command: str) -> Iptables:
    """Return what `-V` printed. Raises BadOutput."""
    if not (found := _IPTABLES.search(version.output)):
        raise BadOutput(output=version.message)
    # Before 1.8 there was one variant, and no word for it.
    return Iptables(found[1], found[2] or "legacy", command)


def _needs_sudo(sections: Mapping[str, Result], *, root: bool) -> bool:
    """Tell whether the account changes the firewall through sudo."""
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


def _variants(
    sections: Mapping[str, Result], iptables: Iptables | None
) -> tuple[Iptables | None, Iptables | None]:
    """Return the variant that holds the host's rules, and the other if it is in use.

    Both act on one host, and neither sees the other's rules.
    """
    if iptables is None:
        return None, None
    name = "nft" if iptables.variant == "legacy" else "legacy"
    version = sections[f"version.{name}"]
    in_use = (
        sections["names"].ok and bool(sections["names"].lines)
        if name == "legacy"
        else _translates(sections, name) or _holds_ours(sections, name)
    )
    if not (version.ok and in_use):
        return iptables, None
    try:
        other = _parsed(version, f"iptables-{name}")
    except BadOutput:
        return iptables, None
    if other.variant == iptables.variant:
        return iptables, None
    mine = "legacy" if name == "nft" else "nft"
    if _translates(sections, name) and not _translates(sections, mine):
        return other, iptables
    return iptables, other


def _translates(sections: Mapping[str, Result], name: str) -> bool:
    """Tell whether a variant holds NAT rules of anybody but us."""
    result = sections[f"nat.{name}"]
    if incompatible(result):
        return True
    return result.ok and any(
        line.startswith("-A ") and "HA-BYPASS" not in line for line in result.lines
    )


def _holds_ours(sections: Mapping[str, Result], name: str) -> bool:
    """Tell whether a variant may hold rules of ours that translate."""
    result = sections[f"nat.{name}"]
    return incompatible(result) or (
        result.ok and any(line.startswith("-N HA-BYPASS-") for line in result.lines)
    )


def _name_of(iptables: Iptables) -> str:
    """Return what a variant's sections are called."""
    return "legacy" if iptables.variant == "legacy" else "nft"


def _absent_tables(names: Result) -> frozenset[str]:
    """Return which of the tables that we look at the legacy variant has not made."""
    if not (names.ok or "No such file" in names.output):
        return frozenset()
    return frozenset({"filter", "nat"}.difference(names.lines if names.ok else ()))


def incompatible(result: Result) -> bool:
    """Tell whether iptables may read the chain, and can't show its rules.

    So it is when a native nft rule stands in the chain, or one beyond what
    iptables can parse at all.
    """
    return any(words in result.output for words in _INCOMPATIBLE)
