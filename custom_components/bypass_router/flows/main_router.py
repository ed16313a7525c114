"""The main router's address, where a user has to say it."""

from ipaddress import IPv4Address

from homeassistant.helpers.selector import TextSelector
import voluptuous as vol

from ..const import CONF_MAIN_ROUTER_ADDRESS
from ..router.router import Router

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
