"""Networks that no address on the internet is of."""

from ipaddress import IPv4Address, IPv4Network
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


def is_from_internet(client: IPv4Address, lan: IPv4Network) -> bool:
    """Return whether a client has come by the main router, through its forward.

    `lan` may have addresses of the internet. What a main router has given an address of
    its own comes from the LAN, for all that anyone can tell.
    """
    return client not in lan and not any(client in network for network in PRIVATE)
