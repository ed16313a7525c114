"""Who counts as somebody from outside: whose being answered proves a forward's path.

Not the clients of the LAN, and not Home Assistant or the router, who try the forward
themselves. Where the internet may come in, no client with a private address either: it
comes by a VPN or from another network of the home's, past what the main router does.
"""

from functools import lru_cache
from ipaddress import IPv4Address, IPv4Interface, IPv4Network, collapse_addresses

from ..forward import Forward
from ..network.private import PRIVATE

# Any internet client: a network for documentation, where no one is.
_CLIENT = IPv4Address("192.0.2.1")


def internet_client(forward: Forward) -> IPv4Address | None:
    """Return someone on the internet who may come in, or None if no one may."""
    if not forward.sources:
        return _CLIENT
    for network in forward.sources:
        if not any(network.overlaps(private) for private in PRIVATE):
            return network.network_address
    return None


def is_for_home(forward: Forward, lan: IPv4Network) -> bool:
    """Return whether no one from outside of the LAN may come in."""
    return bool(forward.sources) and all(it.subnet_of(lan) for it in forward.sources)


@lru_cache
def home_networks(forward: Forward, router: IPv4Interface) -> tuple[IPv4Network, ...]:
    """Return the networks whose clients prove nothing of the way from outside."""
    private = PRIVATE if internet_client(forward) else ()
    return tuple(collapse_addresses((router.network, *private)))


def is_outside(client: IPv4Address, forward: Forward, router: IPv4Interface) -> bool:
    """Return whether a client that was answered proves the way from outside."""
    return not any(client in network for network in home_networks(forward, router))
