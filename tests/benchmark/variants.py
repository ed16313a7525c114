"""What holds the rules on the router, and how each is flushed and loaded by hand."""

from dataclasses import dataclass
from typing import Final, Literal

from tests.lab.bypass import IptablesKind
from tests.lab.network import Lab

from .home import FIRST_PORT, TARGET_PORT

# One that no forward of ours has.
_SHELL_PORT: Final = FIRST_PORT - 1
_JUMPS: Final = (
    ("nat", "PREROUTING", "HA-BYPASS-PRE"),
    ("nat", "POSTROUTING", "HA-BYPASS-POST"),
)


@dataclass(frozen=True)
class Variant:
    """One of the ways to have rules."""

    name: str
    firewall: Literal["iptables", "nftables"]
    """The integration's option."""
    iptables: IptablesKind
    """Which iptables the router has."""
    loader: str
    """The command that takes rules from its stdin."""
    counted: str
    """The arguments with which that command changes rules, as the shell's pattern."""
    flush: str
    """How someone else takes all rules away."""
    clean: str
    """Takes our rules away, so that the router is as after a boot."""
    monitored: bool
    """Whether the router says at once what changed; else it is looked at."""

    def by_hand(self, lab: Lab) -> dict[str, str]:
        """Return the commands that people have in a `shell_command`, by the state."""
        if self.firewall == "nftables":
            return {
                "on": f'printf "{_nft(lab)}" | nft -f -',
                "off": "nft delete table ip by_hand",
            }
        return {"on": _iptables(lab, "-I"), "off": _iptables(lab, "-D")}


def _iptables(lab: Lab, change: str) -> str:
    """Return the three rules of a forward, to be inserted or deleted."""
    router, target = lab.bypass.address, lab.target.address
    service = f"{target}:{TARGET_PORT}"
    asked = f"-d {router} -p tcp --dport {_SHELL_PORT}"
    forwarded = f"-d {target} -p tcp --dport {TARGET_PORT}"
    return " && ".join(
        f"iptables {command}"
        for command in (
            f"-t nat {change} PREROUTING {asked} -j DNAT --to-destination {service}",
            f"-t nat {change} POSTROUTING {forwarded} -j SNAT --to-source {router}",
            f"{change} FORWARD {forwarded} -j ACCEPT",
        )
    )


def _nft(lab: Lab) -> str:
    """Return a table with the two rules of a forward, for the shell's printf."""
    router, target = lab.bypass.address, lab.target.address
    service = f"{target}:{TARGET_PORT}"
    return (
        "table ip by_hand {"
        " chain pre { type nat hook prerouting priority -100;"
        f" ip daddr {router} tcp dport {_SHELL_PORT} dnat to {service}; }};"
        " chain post { type nat hook postrouting priority 100;"
        f" ip daddr {target} tcp dport {TARGET_PORT} snat to {router}; }}; }}\\n"
    )


def _of_iptables(name: str, kind: IptablesKind) -> Variant:
    """Return what the two variants of iptables have in common."""
    return Variant(
        name=name,
        firewall="iptables",
        iptables=kind,
        loader="iptables-restore --noflush --wait 5",
        counted="*",
        flush="iptables -t nat -F",
        clean="\n".join(
            f"iptables -t {table} -D {builtin} -j {chain};"
            f" iptables -t {table} -F {chain}; iptables -t {table} -X {chain}"
            for table, builtin, chain in _JUMPS
        ),
        monitored=kind == "nft",
    )


VARIANTS: Final = (
    Variant(
        name="nftables",
        firewall="nftables",
        iptables="nft",
        loader="nft -f -",
        counted='"-f -"',
        flush="nft flush ruleset",
        clean="nft delete table ip ha_bypass",
        monitored=True,
    ),
    _of_iptables("iptables-nft", "nft"),
    _of_iptables("iptables-legacy", "legacy"),
)
