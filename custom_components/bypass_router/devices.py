"""The devices that a forward may go to, as people know them."""

from collections.abc import Mapping

from homeassistant.core import HomeAssistant
from homeassistant.helpers import device_registry as dr

from .router.errors import RouterError, printable
from .router.neighbours import Neighbour
from .router.router import Router


async def async_devices(
    hass: HomeAssistant, router: Router | None
) -> Mapping[str, str]:
    """Return what the router's neighbours are called, by their addresses.

    None while it is away, or does not tell: the address can be typed.
    """
    if router is None:
        return {}
    try:
        found = await router.neighbours()
    except RouterError:
        return {}
    names = _names(hass)
    return {str(it.address): _label(it, names) for it in found}


def _names(hass: HomeAssistant) -> Mapping[str, str]:
    """Return what the user calls devices, by their hardware addresses."""
    return {
        address: name
        for device in dr.async_get(hass).devices
        for kind, address in device.connections
        if kind == dr.CONNECTION_NETWORK_MAC
        and (name := printable(device.name_by_user or device.name or ""))
    }


def _label(neighbour: Neighbour, names: Mapping[str, str]) -> str:
    """Return a name with the address, or what there is of it."""
    hardware = neighbour.hardware_address
    name = names.get(hardware) or neighbour.name or hardware
    return f"{name} ({neighbour.address})" if name else str(neighbour.address)
