"""The main router: the way to the internet, and forwards from there."""

from typing import Final, override

from .exchange import Transport
from .node import LAN_PREFIX, Node

WAN_ADDRESS: Final = "203.0.113.1"
FORWARDED: Final = ("80", "443", "1024-65535")
"""The ports, TCP and UDP, that are forwarded to the bypass router at first."""


_RULES: Final = f"""
table ip nat {{
    chain forwards {{
        type nat hook prerouting priority dstnat;
        ip daddr {WAN_ADDRESS} meta l4proto {{ tcp, udp }} \
            th dport {{ {", ".join(FORWARDED)} }} dnat to {LAN_PREFIX}2
    }}
    chain out {{
        type nat hook postrouting priority srcnat;
        oifname "wan" masquerade
    }}
}}
"""


class MainRouter(Node):
    """A router as providers hand them out. `address` is its LAN address."""

    wan_address: Final = WAN_ADDRESS

    @override
    def connect(self) -> None:
        """Connect both sides, masquerade what goes out, set the static forward."""
        super().connect()
        self._plug_in("uplink", "wan", WAN_ADDRESS)
        self.sysctl("net.ipv4.ip_forward", "1")
        self.run("nft", "-f", "-", input=_RULES)

    def forward(
        self, protocol: Transport, ports: str, to: str, to_port: int | None = None
    ) -> None:
        """Forward a port or range, such as `6000-6010`, from the WAN address.

        Without `to_port` the ports stay as they are. Of several forwards of one
        port the first counts: `clear_forwards` removes the static one.
        """
        target = to if to_port is None else f"{to}:{to_port}"
        match = f"ip daddr {WAN_ADDRESS} {protocol} dport {ports}"
        self.run("nft", f"add rule ip nat forwards {match} dnat to {target}")

    def clear_forwards(self) -> None:
        """Forward no new connections any more."""
        self.run("nft", "flush chain ip nat forwards")
