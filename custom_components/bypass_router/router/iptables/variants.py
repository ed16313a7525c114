"""The two variants of iptables: which a router has, and what they hold.

Both act on one host, and neither sees the other's rules. A tool of the host's own uses
one of them, and a forward's rules belong where the host's own are.
"""

from collections.abc import Mapping
from dataclasses import dataclass
import re

from ..errors import BadOutput, FirewallFailed, FirewallMissing, FirewallTooOld
from ..rules.base import incompatible
from ..ssh.script import Result, Script
from .legacy import NAMES

VARIANTS = ("legacy", "nft")
"""What the name of a variant's own command ends in."""
# Its `iptables-restore` is the first that waits for another program.
_LEAST = "1.6.2"
_IPTABLES = re.compile(
    r"iptables v([0-9]{1,4}(?:\.[0-9]{1,4}){0,3})(?: \((legacy|nf_tables)\))?"
)


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
class Variants:
    """Which variants are in use, and for what."""

    main: Iptables | None = None
    """The one that holds the host's own rules."""
    other: Iptables | None = None
    """The other one, where it holds rules as well."""
    both_translate: bool = False
    """Whether both hold NAT rules that are not ours."""
    left_in_other: bool = False
    """Whether the other may hold rules of ours that translate, from before."""


def add_nat_looks(script: Script) -> None:
    """Add a command that prints the NAT rules of each variant: `nat.legacy`, `nat.nft`.

    Only root is asked: what an account may not look at, `sudo` would report.
    """
    for variant in VARIANTS:
        look = f"iptables-{variant} --wait 5 -t nat -S"
        if variant == "legacy":
            look = f"grep -qsx nat {NAMES} && {look}"
        script.run(f"nat.{variant}", f"""sh -c '[ "$(id -u)" = 0 ] && {look}'""")


def add_variants(script: Script) -> None:
    """Add the commands whose output `read_version` and `read_variants` understand."""
    script.run("iptables", "iptables -V")
    script.run("restore", "sh -c 'command -v iptables-restore'")
    for variant in VARIANTS:
        script.run(f"version.{variant}", f"iptables-{variant} -V")
    add_nat_looks(script)
    script.run("names", f"cat {NAMES}")


def read_version(sections: Mapping[str, Result]) -> Iptables:
    """Return which `iptables` the router has."""
    version = sections["iptables"]
    if version.not_found or not sections["restore"].ok:
        raise FirewallMissing
    if not version.ok:
        raise FirewallFailed(command="iptables -V", message=version.message)
    found = _parsed(version, "iptables")
    if is_older(found.version, _LEAST):
        raise FirewallTooOld(firewall="iptables", found=found.version, least=_LEAST)
    return found


def is_older(version: str, least: str) -> bool:
    """Return whether a version comes before another one."""
    found, needed = (tuple(map(int, text.split("."))) for text in (version, least))
    return found < needed


def _parsed(version: Result, command: str) -> Iptables:
    """Return what `-V` printed. Raises BadOutput."""
    if not (found := _IPTABLES.search(version.output)):
        raise BadOutput(output=version.message)
    # Before 1.8 there was one variant, and no word for it.
    return Iptables(found[1], found[2] or "legacy", command)


def read_variants(
    sections: Mapping[str, Result], iptables: Iptables | None
) -> Variants:
    """Return what those sections tell, where `iptables` is the one of that name."""
    main, other = _main_and_other(sections, iptables)
    return Variants(
        main,
        other,
        both_translate=_translates(sections, "legacy") and _translates(sections, "nft"),
        left_in_other=other is not None and _holds_ours(sections, _name_of(other)),
    )


def _main_and_other(
    sections: Mapping[str, Result], iptables: Iptables | None
) -> tuple[Iptables | None, Iptables | None]:
    """Return the variant that holds the host's rules, and the other if it is in use."""
    if iptables is None:
        return None, None
    name = "nft" if _name_of(iptables) == "legacy" else "legacy"
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
    if _translates(sections, name) and not _translates(sections, _name_of(iptables)):
        return other, iptables
    return iptables, other


def _translates(sections: Mapping[str, Result], name: str) -> bool:
    """Return whether a variant holds NAT rules of anyone but us."""
    result = sections[f"nat.{name}"]
    if incompatible(result):
        return True
    return result.ok and any(
        line.startswith("-A ") and "HA-BYPASS" not in line for line in result.lines
    )


def _holds_ours(sections: Mapping[str, Result], name: str) -> bool:
    """Return whether a variant may hold rules of ours that translate."""
    result = sections[f"nat.{name}"]
    return incompatible(result) or (
        result.ok and any(line.startswith("-N HA-BYPASS-") for line in result.lines)
    )


def _name_of(iptables: Iptables) -> str:
    """Return what a variant's sections are called."""
    return "legacy" if iptables.variant == "legacy" else "nft"
