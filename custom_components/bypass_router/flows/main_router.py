"""The main router: its address, where a user has to say it, and what it can do."""

from ipaddress import IPv4Address
from typing import Any

from homeassistant.config_entries import ConfigEntry
from homeassistant.helpers.selector import TextSelector
import voluptuous as vol

from ..const import CONF_MAIN_ROUTER_ADDRESS
from ..diagnosis.texts import Texts
from ..main_router.plan import MOST_PORTS
from ..main_router.search import find_mapper, is_asked, main_router_of
from ..router.errors import RouterError
from ..router.forward import PortRange
from ..router.port_mapping.base import Refusal
from ..router.router import Router
from ..sync.connection import router_of

# As people write them.
_PROTOCOLS = {"upnp": "UPnP", "nat_pmp": "NAT-PMP", "pcp": "PCP"}
MAIN_ROUTER_FIELD = {vol.Optional(CONF_MAIN_ROUTER_ADDRESS): TextSelector()}


def main_router_in(text: str, router: Router | None) -> tuple[str, str | None]:
    """Return the address of a text, and which sentence says why it can be none.

    Nothing is as good as no address: it is found out then. Whether it is in the LAN,
    only a router tells that is connected.
    """
    text = text.strip()
    if not text:
        return "", None
    try:
        address = IPv4Address(text)
    except ValueError:
        return text, "invalid_main_router"
    if router:
        lan = router.context.address
        hosts = lan.network.network_address, lan.network.broadcast_address, lan.ip
        if address not in lan.network or address in hosts:
            return text, "main_router_elsewhere"
    return str(address), None


async def async_found(entry: ConfigEntry[Any], texts: Texts) -> str:
    """Return whether the main router takes requests, as a sentence."""
    if (router := router_of(entry)) is None:
        return texts.get("main_router_not_asked")
    locations = entry.runtime_data.halves.asked.locations
    try:
        gateway = await main_router_of(router)
        found = await find_mapper(router, gateway, locations) if gateway else None
    except RouterError:
        return texts.get("main_router_not_asked")
    if found is None or isinstance(found, Refusal):
        return texts.get("main_router_not_found", main_router=str(gateway or "?"))
    return texts.get(
        "main_router_found",
        name=found.model or str(gateway),
        main_router=str(gateway),
        protocol=_PROTOCOLS[found.name],
    )


def who_sets(entry: ConfigEntry[Any], public: PortRange, switch: str) -> str:
    """Return the key of the sentence that says who sets a forward's other half.

    It has these ports at the main router; a `switch` may stand for it there.
    """
    if switch:
        return "main_half_by_switch"
    if is_asked(entry) and len(public) <= MOST_PORTS:
        return "main_half_by_itself"
    return "main_half_by_hand"
