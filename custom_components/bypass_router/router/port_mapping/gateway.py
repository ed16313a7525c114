"""Which host is the main router, as the bypass router's routes name it."""

from ipaddress import AddressValueError, IPv4Address, IPv4Interface
from itertools import pairwise

from ..ssh.script import Script
from .base import RunFor

_SECONDS = 10


async def gateway_of(run: RunFor, lan: IPv4Interface) -> IPv4Address | None:
    """Return the default gateway in the LAN; None where there is none.

    Raises RouterError.
    """
    script = Script().run("routes", "ip -4 route show default")
    return read_gateway((await run(script, _SECONDS))["routes"].lines, lan)


def read_gateway(lines: list[str], lan: IPv4Interface) -> IPv4Address | None:
    """Return the first gateway of the LAN in what `ip route` prints."""
    for line in lines:
        words = line.split()
        for word, address in pairwise(words):
            if word == "via" and (found := _host(address, lan)):
                return found
    return None


def _host(text: str, lan: IPv4Interface) -> IPv4Address | None:
    """Return an address of another host of the LAN, if it is one."""
    try:
        address = IPv4Address(text)
    except AddressValueError:
        return None
    return address if address in lan.network and address != lan.ip else None
