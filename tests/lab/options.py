"""What kind of box the bypass router is."""

from dataclasses import dataclass
from typing import Literal

from .ssh import SshKind

type IptablesKind = Literal["nft", "legacy"]
type SystemKind = Literal["debian", "openwrt", "openwrt-fw3"]
type FirewallKind = Literal[
    "open",
    "drop",
    "reject",
    "docker",
    "docker-28",
    "shorewall",
    "ufw",
    "firewalld",
    "firewalld-iptables",
    "firewalld-strict",
    "firewalld-strict-iptables",
]
type ShellKind = Literal["sh", "chatty", "fish", "zsh"]

OWN_RULES: tuple[FirewallKind, ...] = ("open", "drop", "reject")
"""The firewalls that are nothing but the owner's saved rules."""


@dataclass(frozen=True)
class RouterOptions:
    """How the bypass router is set up.

    `iptables` is what the command of that name is; None for a router that has
    none, whose rules are nftables' own. `masquerade` is what a side gateway
    usually does to all it passes on; `ssh` may be None for a router that can't be
    reached.

    `firewall` is what keeps the rules (see `firewalls.py`). Each but `open` and
    the plain `firewalld` keeps a forward from passing until it is accepted, and
    lets the LAN out to the internet all the same. `drop_invalid` drops what
    belongs to no connection. `rules_in` says in which variants of iptables the
    owner's saved rules are, if not in that of the command.

    `linux_main` is not of this router: the main one is a Linux box as well then, and
    has an SSH server.

    An OpenWrt (see `openwrt.py`) has its own firewall, SSH server and shell,
    whatever else is said.
    """

    iptables: IptablesKind | None = "nft"
    masquerade: bool = True
    ssh: SshKind | None = "openssh"
    host_keys: tuple[str, ...] = ("ed25519", "ecdsa", "rsa")
    ssh_port: int = 22
    system: SystemKind = "debian"
    firewall: FirewallKind = "open"
    rules_in: tuple[IptablesKind, ...] = ()
    drop_invalid: bool = False
    strict_rp_filter: bool = False
    shell: ShellKind = "sh"
    linux_main: bool = False

    def __post_init__(self) -> None:
        """Make an OpenWrt one, and refuse what there is no such router of."""
        if self.system != "debian":
            fixed = {
                "iptables": "legacy" if self.system == "openwrt-fw3" else None,
                "ssh": self.ssh and "dropbear",
                "host_keys": ("ed25519",),
            }
            for name, value in fixed.items():
                object.__setattr__(self, name, value)
            if self.firewall != "open" or self.shell != "sh":
                raise ValueError("An OpenWrt has its own firewall and shell.")
        owned = self.system == "debian" and self.firewall in OWN_RULES
        if self.drop_invalid and not owned:
            raise ValueError("Only the owner's own rules can drop INVALID.")
        if self.rules_in and not (owned and self.iptables):
            raise ValueError("Only the owner's own rules can be in another variant.")
        needs_iptables = self.firewall in {"docker", "docker-28", "shorewall", "ufw"}
        if needs_iptables and not self.iptables:
            raise ValueError(f"There is no {self.firewall} without iptables here.")
