"""Networks that no address on the internet is of."""

from ipaddress import IPv4Network
from typing import Final

PRIVATE: Final = tuple(
    map(
        IPv4Network,
        (
            "10.0.0.0/8",
            "100.64.0.0/10",
            "127.0.0.0/8",
            "169.254.0.0/16",
            "172.16.0.0/12",
            "192.168.0.0/16",
        ),
    )
)
"""Clients from there may come by another interface than the LAN's, such as a VPN's."""
