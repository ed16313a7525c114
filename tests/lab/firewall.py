"""What keeps a router's rules, and the kind that any router has: the owner's own."""

from abc import ABC, abstractmethod
from typing import TYPE_CHECKING, Final, override

from .disk import REAL_COMMANDS
from .node import LAN_PREFIX
from .options import IptablesKind

if TYPE_CHECKING:
    from .bypass import Bypass

LAN: Final = f"{LAN_PREFIX}0/24"
GATEWAY: Final = (
    f"-s {LAN} ! -d {LAN} -j ACCEPT",
    f"-d {LAN} ! -s {LAN} -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT",
)
"""What a side gateway that drops the rest accepts, so that the LAN gets out."""


class Firewall(ABC):
    """A firewall on the router's disk. Its rules are in the kernel after `start`."""

    def __init__(self, router: Bypass) -> None:
        """Install it on the disk, before the first boot; may raise LabUnavailable."""
        self.router: Final = router
        self.options: Final = router.options

    @abstractmethod
    def start(self) -> None:
        """Do what it does at each boot."""

    @abstractmethod
    def reload(self) -> None:
        """Do what its owner does after a change of its settings."""


class SavedRules(Firewall):
    """Rules that iptables-persistent loads; what else there was is gone then."""

    @override
    def start(self) -> None:
        """Load them."""
        for kind in self.options.rules_in or (self.router.iptables or "nft",):
            self._restore(kind)

    @override
    def reload(self) -> None:
        """Load them again, as `netfilter-persistent reload` does."""
        self.start()

    def _restore(self, kind: IptablesKind) -> None:
        """Load them in one variant of iptables."""
        # By its own name, as a test may have hidden or replaced `iptables`.
        restore = f"{REAL_COMMANDS}/sbin/iptables-{kind}-restore"
        self.router.run(restore, "--wait", input=self._text())

    def _text(self) -> str:
        """As iptables-save writes them, with all tables that it lists."""
        rules = []
        if self.options.drop_invalid:
            rules.append("-m conntrack --ctstate INVALID -j DROP")
        if self.options.firewall != "open":
            rules += GATEWAY
        if self.options.firewall == "reject":
            rules.append("-j REJECT --reject-with icmp-port-unreachable")
        lines = [
            "*filter",
            f":FORWARD {'DROP' if self.options.firewall == 'drop' else 'ACCEPT'} [0:0]",
            *(f"-A FORWARD {rule}" for rule in rules),
            "COMMIT",
            "*nat",
            *["-A POSTROUTING -o lan -j MASQUERADE"] * self.options.masquerade,
            "COMMIT",
        ]
        return "\n".join([*lines, ""])


class NativeRules(Firewall):
    """/etc/nftables.conf on a router without iptables; it begins with a flush."""

    def __init__(self, router: Bypass) -> None:
        """Write it."""
        super().__init__(router)
        options = self.options
        policy = "drop" if options.firewall == "drop" else "accept"
        rules = ["ct state invalid drop"] * options.drop_invalid
        if options.firewall != "open":
            rules.append(f"ip saddr {LAN} ip daddr != {LAN} accept")
            rules.append(
                f"ip daddr {LAN} ip saddr != {LAN} ct state related,established accept"
            )
        if options.firewall == "reject":
            rules.append("reject with icmp type port-unreachable")
        nat = ['oifname "lan" masquerade'] * options.masquerade
        router.disk.write(
            "/etc/nftables.conf",
            "flush ruleset\n"
            "table inet filter {\n"
            f"chain forward {{ type filter hook forward priority 0; policy {policy};\n"
            + "\n".join([*rules, "}\n}", ""])
            + "table ip nat {\n"
            "chain postrouting { type nat hook postrouting priority 100;\n"
            + "\n".join([*nat, "}\n}", ""]),
        )

    @override
    def start(self) -> None:
        """Load it, as nftables.service does."""
        self.router.run(f"{REAL_COMMANDS}/sbin/nft", "-f", "/etc/nftables.conf")

    @override
    def reload(self) -> None:
        """Load it again, as `systemctl reload nftables` does."""
        self.start()
