"""By which protocol a main router can be asked."""

from collections.abc import Collection
from ipaddress import IPv4Address

from ..router.port_mapping.base import PortMapper, Refusal
from ..router.port_mapping.upnp import find_upnp
from ..router.router import Router


async def find_mapper(
    router: Router, gateway: IPv4Address, locations: Collection[str]
) -> PortMapper | Refusal:
    """Return what asks it: by UPnP, which alone lists what there is.

    Raises RouterError.
    """
    client = router.context.address.ip
    return await find_upnp(router.run, client, gateway, locations)
