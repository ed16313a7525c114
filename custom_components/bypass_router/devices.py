"""Devices: those of the router and its forwards, and those a forward may go to."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address
from typing import Any, Final

from homeassistant.components.switch.const import DOMAIN as SWITCH_DOMAIN
from homeassistant.config_entries import ConfigEntry
from homeassistant.const import STATE_HOME, Platform
from homeassistant.core import HomeAssistant, callback
from homeassistant.helpers import device_registry as dr, entity_registry as er

from .const import DOMAIN
from .router.errors import RouterError, printable
from .router.forward import Forward
from .router.network.neighbours import Neighbour, is_device
from .router.router import Router
from .subentry import port_map_of

# What a device tracker tells. By its package, one would import a web server as well.
_IP, _MAC, _HOST_NAME = "ip", "mac", "host_name"
_HOME: Final = "Home Assistant"
# Letters of a device's name, in a list to choose from.
_LONGEST: Final = 60


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


@dataclass(frozen=True, slots=True)
class Device:
    """A device to choose."""

    label: str
    mac_address: str
    """Empty where it is not known."""


async def async_devices(
    hass: HomeAssistant, router: Router | None
) -> Mapping[str, Device]:
    """Return what the devices of the router's LAN are called, by their addresses.

    In the order in which people look for them. None while it is away, or does not
    tell: the address can be typed.
    """
    if router is None:
        return {}
    try:
        found = await router.neighbours()
    except RouterError:
        return {}
    lan, home = router.probe.address, router.probe.home
    known = {device.address: device for device in found}
    names = _Names(hass)
    for address in (*names.addresses, *((home,) if home else ())):
        if address not in known and is_device(address, lan):
            known[address] = Neighbour(address)
    labels = {
        str(device.address): _HOME if device.address == home else names.of(device)
        for device in known.values()
    }
    ranked = sorted(
        known,
        key=lambda address: (
            address != home,
            not labels[str(address)],
            labels[str(address)].casefold(),
            address,
        ),
    )
    return {
        text: Device(
            _label(labels[text] or known[address].mac_address, text),
            known[address].mac_address,
        )
        for address in ranked
        if (text := str(address))
    }


def name_of(hass: HomeAssistant, address: IPv4Address, mac: str) -> str:
    """Return what a device is called; its MAC address, where it has no name."""
    return _Names(hass).of(Neighbour(address, mac_address=mac)) or mac


class _Names:
    """What devices are called in Home Assistant, by MAC address and by address.

    What the user has called one comes first, then what Home Assistant calls it, and
    then the name that it gave itself.
    """

    def __init__(self, hass: HomeAssistant) -> None:
        """Read the device registry, and what device trackers tell."""
        self._ranked: tuple[dict[str | IPv4Address, str], ...] = ({}, {}, {})
        self.addresses: list[IPv4Address] = []
        """Those that device trackers tell of devices which are there now."""
        for device in dr.async_get(hass).devices:
            for kind, key in device.connections:
                if kind == dr.CONNECTION_NETWORK_MAC:
                    self._note(key, device.name_by_user, device.name)
        registry = er.async_get(hass)
        for state in hass.states.async_all(Platform.DEVICE_TRACKER):
            entity = registry.async_get(state.entity_id)
            said = entity.name if entity else None
            told = state.attributes.get(_HOST_NAME)
            address = _address(state.attributes.get(_IP))
            if address and state.state == STATE_HOME:
                self.addresses.append(address)
                self._note(address, said, state.name, told)
            if isinstance(mac := state.attributes.get(_MAC), str):
                self._note(dr.format_mac(mac), said, state.name, told)

    def _note(self, key: str | IPv4Address, *names: object) -> None:
        """Keep the first name of each rank that can be shown."""
        for rank, name in zip(self._ranked, names, strict=False):
            if isinstance(name, str) and (shown := printable(name, _LONGEST)):
                rank.setdefault(key, shown)

    def of(self, device: Neighbour) -> str:
        """Return a device's name; empty where it has none."""
        keys = (device.mac_address, device.address)
        user, ours, told = (
            next((rank[key] for key in keys if key in rank), "")
            for rank in self._ranked
        )
        return user or ours or device.name or told


def _address(text: object) -> IPv4Address | None:
    """Return the address that an attribute tells."""
    try:
        return IPv4Address(text) if isinstance(text, str) else None
    except ValueError:
        return None


def _label(name: str, address: str) -> str:
    """Return a name with the address, or what there is of it."""
    return f"{name} ({address})" if name else address
