"""Whether the main router is asked, where it is, and by which protocol it can be."""

from collections.abc import Collection
from ipaddress import IPv4Address
from typing import Any

from homeassistant.config_entries import ConfigEntry

from ..const import CONF_MAIN_ROUTER, MAIN_ROUTER_UPNP
from ..router.port_mapping.base import PortMapper, Refusal
from ..router.port_mapping.gateway import gateway_of
from ..router.port_mapping.nat_pmp import find_nat_pmp
from ..router.port_mapping.pcp import find_pcp
from ..router.port_mapping.upnp import find_upnp
from ..router.router import Router


def is_asked(entry: ConfigEntry[Any]) -> bool:
    """Return whether the user has the main router asked for what is on."""
    return entry.options.get(CONF_MAIN_ROUTER) == MAIN_ROUTER_UPNP


async def main_router_of(router: Router) -> IPv4Address | None:
    """Return the main router's address: as the user says, or the routes.

    Raises RouterError.
    """
    context = router.context
    return context.main_router or await gateway_of(router.run, context.address)


async def find_mapper(
    router: Router, gateway: IPv4Address, locations: Collection[str]
) -> PortMapper | Refusal:
    """Return what asks it: by UPnP, which alone lists what there is, or else by others.

    Raises RouterError.
    """
    run, context = router.run, router.context
    client = context.address.ip
    found = await find_upnp(run, client, gateway, locations)
    if not isinstance(found, Refusal):
        return found
    by_pcp = await find_pcp(run, client, gateway, context.owner)
    if not isinstance(by_pcp, Refusal):
        return by_pcp
    if by_pcp.code is None:
        # What knows NAT-PMP alone says so, to a request of the other as well.
        return found
    by_nat_pmp = await find_nat_pmp(run, client, gateway)
    return found if isinstance(by_nat_pmp, Refusal) else by_nat_pmp
