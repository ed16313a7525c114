"""Devices: those of the router and its forwards, and those a forward may go to."""

from collections.abc import Iterable, Mapping
from typing import Any

from homeassistant.components.switch.const import DOMAIN as SWITCH_DOMAIN
from homeassistant.config_entries import ConfigEntry
from homeassistant.core import HomeAssistant, callback
from homeassistant.helpers import device_registry as dr, entity_registry as er

from .const import DOMAIN
from .router.errors import RouterError, printable
from .router.forward import Forward
from .router.network.neighbours import Neighbour
from .router.router import Router
from .subentry import port_map_of


@callback
def async_register_router(
    hass: HomeAssistant, entry: ConfigEntry[Any], router: Router
) -> str:
    """Register the router's device, and return its id.

    Before the forwards' devices, which name it.
    """
    probe = router.probe
    mac = probe.mac_address
    registry = dr.async_get(hass)
    connections = {(dr.CONNECTION_NETWORK_MAC, mac)} if mac else set()
    device = registry.async_get_or_create(
        config_entry_id=entry.entry_id,
        identifiers={(DOMAIN, entry.entry_id)},
        connections=connections,
        name=entry.title,
        model=probe.system,
        sw_version=probe.system_version,
    )
    # Without those of a network card that it had before.
    registry.async_update_device(device.id, new_connections=connections)
    return device.id


@callback
def async_name_forwards(
    hass: HomeAssistant, entry: ConfigEntry[Any], forwards: Mapping[str, Forward]
) -> None:
    """Have the forwards' devices called and described as their forwards are now."""
    registry = dr.async_get(hass)
    for forward_id, forward in forwards.items():
        if device := registry.async_get_device_by_identifier(
            (DOMAIN, forward_id), entry.entry_id
        ):
            title = entry.subentries[forward_id].title
            registry.async_update_device(
                device.id, name=title, model=port_map_of(forward)
            )


@callback
def async_disabled_switches(
    hass: HomeAssistant, forward_ids: Iterable[str]
) -> list[str]:
    """Return the forwards whose switch is disabled, by itself or with its device."""
    registry = er.async_get(hass)
    disabled = []
    for forward_id in forward_ids:
        entity_id = registry.async_get_entity_id(SWITCH_DOMAIN, DOMAIN, forward_id)
        entity = registry.async_get(entity_id) if entity_id else None
        if entity and entity.disabled:
            disabled.append(forward_id)
    return disabled


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
    return {str(device.address): _label(device, names) for device in found}


def _names(hass: HomeAssistant) -> Mapping[str, str]:
    """Return what the user calls devices, by their MAC addresses."""
    return {
        address: name
        for device in dr.async_get(hass).devices
        for kind, address in device.connections
        if kind == dr.CONNECTION_NETWORK_MAC
        and (name := printable(device.name_by_user or device.name or ""))
    }


def _label(neighbour: Neighbour, names: Mapping[str, str]) -> str:
    """Return a name with the address, or what there is of it."""
    mac = neighbour.mac_address
    name = names.get(mac) or neighbour.name or mac
    return f"{name} ({neighbour.address})" if name else str(neighbour.address)
