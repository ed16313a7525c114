"""Which firewall programs a router has, and which of them this account may use."""

from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import IPv4Interface
import re

from .errors import BadOutput, FirewallFailed, FirewallMissing, NotPrivileged
from .firewall import Site
from .nft_table import check_lines
from .script import Result, Script

# What the account must be allowed to do at the least; none of it changes anything.
_LOOK_TEST = "iptables --wait 5 -t nat -S PREROUTING"
_CHANGE_TEST = "iptables-restore --noflush --wait 5"
_MANGLE_TEST = "iptables --wait 5 -t mangle -S"
_NFT_LOOK_TEST = "nft -t -s -a list ruleset"
_NFT_CHANGE_TEST = "nft -c -f -"
_NOT_FOUND = 127
# How iptables says that it can't show the rules of a chain, which it may change
# all the same.
_INCOMPATIBLE = ("is incompatible, use 'nft' tool", "Parsing nftables rule failed")

_IPTABLES = re.compile(
    r"iptables v([0-9]{1,4}(?:\.[0-9]{1,4}){0,3})(?: \((legacy|nf_tables)\))?"
)
# To see whether nft knows all that our table is made of; no router's real address.
_ANY_SITE = Site("check", IPv4Interface("192.0.2.2/24"))


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
    mangle: bool = False
    """Whether the account may look at the mangle table."""
    nft: bool = False
    """Whether `nft` takes our table."""
    listens: bool = False
    """Whether the account may listen to `nft monitor`."""
    conntrack: bool = False
    """Whether the account may end connections."""


def add_tools(script: Script) -> None:
    """Add the commands whose output `read_tools` understands."""
    script.run("iptables", "iptables -V")
    script.run("restore", "sh -c 'command -v iptables-restore'")
    script.run("direct", _LOOK_TEST)
    script.otherwise("sudo", f"sudo -n {_LOOK_TEST}")
    # Its empty input changes nothing. Root has no need to ask sudo.
    script.run("sudochange", _unless_root(_CHANGE_TEST))
    # Only asked whether it may: to look would make the table where it is none.
    script.run("sudomangle", _unless_root(f"-l {_MANGLE_TEST}"))
    for variant in ("legacy", "nft"):
        command = f"iptables-{variant}"
        script.run(f"version.{variant}", f"{command} -V")
        look = f"{command} --wait 5 -t nat -S"
        if variant == "legacy":
            look = f"grep -qsx nat /proc/net/ip_tables_names && {look}"
        script.run(f"nat.{variant}", f"""sh -c '[ "$(id -u)" = 0 ] && {look}'""")
    script.run("names", "cat /proc/net/ip_tables_names")
    script.run("nft", "nft list tables")
    script.otherwise("sudonft", "sudo -n -l nft monitor")
    lines = check_lines(_ANY_SITE)
    script.feed("nftcheck", _NFT_CHANGE_TEST, lines)
    # Asked first: sudo logs what it refuses.
    allowed = f"sudo -n -l {_NFT_CHANGE_TEST} >/dev/null && sudo -n {_NFT_CHANGE_TEST}"
    script.feed(
        "sudonftcheck", f"""sh -c '[ "$(id -u)" = 0 ] || {{ {allowed}; }}'""", lines
    )
    script.run("sudonftlook", _unless_root(f"-l {_NFT_LOOK_TEST}"))
    script.run("sudonftchange", _unless_root("-l nft -f -"))
    script.run("conntrack", "sh -c 'command -v conntrack'")
    script.run("sudoconntrack", _unless_root("-l conntrack -L -p tcp"))


def _unless_root(command: str) -> str:
    """Return a command that is run by sudo, and not at all as root."""
    return f"""sh -c '[ "$(id -u)" = 0 ] || sudo -n {command}'"""


def read_tools(sections: Mapping[str, Result], uid: int) -> Tools:
    """Return what those sections tell.

    Raises FirewallMissing, FirewallFailed, NotPrivileged and BadOutput: if neither
    program can be used, for the reason that the first has.
    """
    root = uid == 0
    refused: FirewallMissing | FirewallFailed | NotPrivileged | BadOutput | None = None
    iptables: Iptables | None = None
    sudo = False
    try:
        iptables = _version(sections)
        sudo = _needs_sudo(sections, root=root)
    except (FirewallMissing, FirewallFailed, NotPrivileged, BadOutput) as err:
        iptables, refused = None, err
    nft = sections["nftcheck"].ok
    if not nft and not root and sections["sudonftcheck"].ok:
        nft = sections["sudonftlook"].ok and sections["sudonftchange"].ok
        sudo = sudo or nft
    if refused and not nft:
        raise _because_of_nft(sections, refused)
    main, other = _variants(sections, iptables)
    conntrack = sections["conntrack"].ok and (root or sections["sudoconntrack"].ok)
    return Tools(
        sudo=sudo,
        iptables=main,
        other=other,
        both_translate=_translates(sections, "legacy") and _translates(sections, "nft"),
        mangle=root or sections["sudomangle"].ok,
        nft=nft,
        listens=sections["nft"].ok or (sudo and sections["sudonft"].ok),
        conntrack=conntrack,
    )


def _because_of_nft(
    sections: Mapping[str, Result],
    refused: FirewallMissing | FirewallFailed | NotPrivileged | BadOutput,
) -> FirewallMissing | FirewallFailed | NotPrivileged | BadOutput:
    """Return why nothing can be used: for nft's reason, where there is no iptables."""
    check = sections["nftcheck"]
    if not isinstance(refused, FirewallMissing) or check.status == _NOT_FOUND:
        return refused
    kind = (
        NotPrivileged if "Operation not permitted" in check.output else FirewallFailed
    )
    return kind(command=_NFT_CHANGE_TEST, message=check.message)


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
        else _translates(sections, name)
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


def incompatible(result: Result) -> bool:
    """Tell whether iptables may read the chain, and can't show its rules.

    So it is when a native nft rule stands in the chain, or one beyond what
    iptables can parse at all.
    """
    return any(words in result.output for words in _INCOMPATIBLE)
