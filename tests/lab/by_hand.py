"""A forward made by hand on the bypass router, by the tools that it has."""

from dataclasses import dataclass
from typing import Final, Literal

from .exchange import Exchange, Transport
from .network import Lab

PORT: Final = 8443
TARGET_PORT: Final = 443
DNAT: Final = "by-hand-dnat"
ACCEPT: Final = "by-hand-accept"
"""The comments of the rules, to find them again."""

PROTOCOLS: Final[tuple[Transport, ...]] = ("tcp", "udp")


@dataclass(frozen=True)
class ByHand:
    """The commands' names, and where in nftables an accept must stand."""

    tool: Literal["iptables", "nft"] = "iptables"
    accept_in: str = ""
    """Chain of an nftables table; empty: FORWARD of iptables."""

    def forward(self, lab: Lab) -> None:
        """Translate, for TCP and UDP; nothing is accepted by that."""
        to, own = f"{lab.target.address}:{TARGET_PORT}", lab.bypass.address
        if self.tool == "nft":
            rules = (
                "table ip by_hand {\n"
                "chain pre { type nat hook prerouting priority -105;\n"
                f"ip daddr {own} meta l4proto {{ tcp, udp }} th dport {PORT}"
                f' dnat to {to} comment "{DNAT}"\n}}\n'
                "chain post { type nat hook postrouting priority 95;\n"
                f"ct status dnat ct original ip daddr {own} snat to {own}\n}}\n}}\n"
            )
            lab.bypass.run("nft", "-f", "-", input=rules)
            return
        rules = "".join(
            f"-I PREROUTING -p {protocol} -d {own} --dport {PORT} -m comment"
            f" --comment {DNAT} -j DNAT --to-destination {to}\n"
            f"-I POSTROUTING -p {protocol} {_of_forward(own)} -j SNAT --to {own}\n"
            for protocol in PROTOCOLS
        )
        restore = ("iptables-restore", "--noflush", "--wait")
        lab.bypass.run(*restore, input=f"*nat\n{rules}COMMIT\n")

    def accept(self, lab: Lab) -> None:
        """Accept what the forward translates, where it would be dropped."""
        if self.accept_in:
            rule = f"insert rule {self.accept_in} ct status dnat accept"
            lab.bypass.run("nft", f'{rule} comment "{ACCEPT}"')
            return
        rules = "".join(
            f"-I FORWARD -p {protocol} {_of_forward(lab.bypass.address)}"
            f" -m comment --comment {ACCEPT} -j ACCEPT\n"
            for protocol in PROTOCOLS
        )
        restore = ("iptables-restore", "--noflush", "--wait")
        lab.bypass.run(*restore, input=f"*filter\n{rules}COMMIT\n")


def _of_forward(own: str) -> str:
    """What matches both directions of the forward's connections."""
    return f"-m conntrack --ctstate DNAT --ctorigdst {own} --ctorigdstport {PORT}"


def from_internet(lab: Lab, timeout: float = 1.5) -> list[Exchange]:
    """Use the forward over TCP and UDP, from the internet."""
    address = lab.main.wan_address
    return [
        lab.internet.exchange(protocol, address, PORT, timeout=timeout)
        for protocol in PROTOCOLS
    ]


def from_lan(lab: Lab, timeout: float = 1.5) -> list[Exchange]:
    """Use the forward over TCP and UDP, from the LAN by the router's address."""
    address = lab.bypass.address
    return [
        lab.other.exchange(protocol, address, PORT, timeout=timeout)
        for protocol in PROTOCOLS
    ]


def all_rules(lab: Lab) -> str:
    """All rules of the router, of nftables and both variants of iptables."""
    listed = lab.bypass.real("nft", "--stateless", "list", "ruleset").stdout
    return f"{listed}\n{lab.bypass.iptables_save()}"
