"""A forward as a subentry stores it, and as people type it into the form."""

from collections.abc import Mapping
import logging
from typing import Any

from homeassistant.components.switch.const import DOMAIN as SWITCH_DOMAIN
from homeassistant.config_entries import ConfigEntry, ConfigSubentry
from homeassistant.const import CONF_MAC, CONF_NAME, CONF_PROTOCOL, CONF_TARGET
from homeassistant.core import split_entity_id, valid_entity_id

from .const import (
    CONF_EXTERNAL_PORT,
    CONF_FOLLOW,
    CONF_KEEP_CLIENT_ADDRESS,
    CONF_MAIN_ROUTER_SWITCH,
    CONF_OPEN_FOR,
    CONF_PUBLIC_PORT,
    CONF_SOURCES,
    CONF_TAKEN,
    CONF_TARGET_PORT,
    SUBENTRY_FORWARD,
)
from .router.errors import RouterError, TargetTaken
from .router.forward import (
    NOBODY,
    Forward,
    InvalidForward,
    PortRange,
    parse_public_port,
)
from .router.network.whereabouts import Followed, is_random, parse_mac

_LOGGER = logging.getLogger(__name__)

# What people write between the ends of a range. Not the colon: `80:8080` may as well
# mean one port and that of the device.
_DASHES = str.maketrans(dict.fromkeys("‐‑‒–—−~〜～－", "-"))


MOST_MINUTES = 7 * 24 * 60
"""For which a forward may be open, unless it is until it is turned off."""

# What names a router of ours where else a switch is named; then the entry's id.
_ENTRY = "entry:"


def forward_in(subentry: ConfigSubentry) -> Forward:
    """Return the forward that a subentry holds.

    Raises InvalidForward for data that was not written here.
    """
    return _parsed(subentry)[0]


def public_ports_in(subentry: ConfigSubentry) -> PortRange:
    """Return the main router's ports that lead to a subentry's forward.

    Raises InvalidForward for data that was not written here.
    """
    return _parsed(subentry)[1]


def _parsed(subentry: ConfigSubentry) -> tuple[Forward, PortRange]:
    """Return what a subentry holds. Raises InvalidForward."""
    data = {
        CONF_TARGET_PORT: "",
        CONF_PUBLIC_PORT: "",
        CONF_SOURCES: [],
        CONF_KEEP_CLIENT_ADDRESS: False,
        **subentry.data,
    }
    ports = (CONF_EXTERNAL_PORT, CONF_TARGET_PORT, CONF_PUBLIC_PORT)
    texts = (CONF_PROTOCOL, CONF_TARGET, *ports)
    malformed = [field for field in texts if not isinstance(data.get(field), str)]
    if not isinstance(data.get(CONF_SOURCES), list) or not all(
        isinstance(source, str) for source in data[CONF_SOURCES]
    ):
        malformed.append(CONF_SOURCES)
    if not isinstance(data.get(CONF_KEEP_CLIENT_ADDRESS), bool):
        malformed.append(CONF_KEEP_CLIENT_ADDRESS)
    if malformed:
        raise InvalidForward(dict.fromkeys(malformed, "malformed"))
    return parse_fields(subentry.subentry_id, data)


def read_forwards(entry: ConfigEntry[Any]) -> dict[str, Forward]:
    """Return an entry's forwards by their ids, and log those whose data are damaged."""
    forwards: dict[str, Forward] = {}
    for subentry in entry.subentries.values():
        if subentry.subentry_type == SUBENTRY_FORWARD:
            try:
                forwards[subentry.subentry_id] = forward_in(subentry)
            except InvalidForward as err:
                _LOGGER.warning(
                    "The forward %s is stored with nonsense and is left out: %s",
                    subentry.title,
                    err,
                )
    return forwards


def read_public_ports(
    entry: ConfigEntry[Any], forwards: Mapping[str, Forward]
) -> dict[str, PortRange]:
    """Return the main router's ports that lead to each of these forwards, by their ids.

    They stand beside the forwards, since none of their rules depends on them.
    """
    subentries = entry.subentries
    return {
        key: public_ports_in(subentries[key])
        if CONF_PUBLIC_PORT in subentries[key].data
        else forward.external
        for key, forward in forwards.items()
    }


def forward_or_none(subentry: ConfigSubentry) -> Forward | None:
    """Return a subentry's forward; none for damaged data, which takes no port."""
    try:
        return forward_in(subentry)
    except InvalidForward:
        return None


def parse_fields(
    forward_id: str, fields: Mapping[str, Any]
) -> tuple[Forward, PortRange]:
    """Make a forward of the form's fields, and read its ports at the main router.

    Raises InvalidForward, which names every field that is wrong.
    """
    errors: dict[str, str] = {}
    forward = public = None
    try:
        forward = Forward.parse(
            forward_id,
            protocol=fields[CONF_PROTOCOL],
            external_port=fields[CONF_EXTERNAL_PORT].translate(_DASHES),
            target=fields[CONF_TARGET],
            target_port=fields.get(CONF_TARGET_PORT, "").translate(_DASHES),
            # The form sends an empty line for a row that was added and not filled.
            sources=[text for text in fields.get(CONF_SOURCES, []) if text.strip()],
            keep_client_address=fields[CONF_KEEP_CLIENT_ADDRESS],
        )
    except InvalidForward as err:
        errors |= err.errors
    try:
        public = parse_public_port(
            forward.external if forward else None,
            fields.get(CONF_PUBLIC_PORT, "").translate(_DASHES),
        )
    except InvalidForward as err:
        errors |= err.errors
    if forward is None or public is None:
        raise InvalidForward(errors)
    return forward, public


def fields_of(
    name: str,
    forward: Forward,
    public: PortRange | None = None,
    main_router_switch: str = "",
) -> dict[str, Any]:
    """Return what is stored of a forward: each field written in one way.

    `public` are its ports at the main router, where they may be others.
    """
    named = {CONF_MAIN_ROUTER_SWITCH: main_router_switch}
    return {
        CONF_NAME: name,
        CONF_PROTOCOL: forward.protocol.value,
        CONF_EXTERNAL_PORT: str(forward.external),
        CONF_TARGET: str(forward.target),
        CONF_TARGET_PORT: str(forward.target_ports) if forward.shifted else "",
        CONF_SOURCES: sources_of(forward),
        CONF_KEEP_CLIENT_ADDRESS: forward.keep_client_address,
        **_public_port_of(forward, public),
        **(named if main_router_switch else {}),
    }


def sources_of(forward: Forward) -> list[str]:
    """Return who may come in, as it is stored: networks, and names of hosts."""
    networks = [network for network in forward.sources if network != NOBODY]
    return [*map(str, networks), *forward.names]


def _public_port_of(forward: Forward, public: PortRange | None) -> dict[str, str]:
    """Return the field for ports that are others at the main router; else none."""
    differs = public not in (None, forward.external)
    return {CONF_PUBLIC_PORT: str(public)} if differs else {}


def main_router_switch_of(subentry: ConfigSubentry) -> str:
    """Return what stands for a forward's half on the main router; empty: nothing.

    It is the entity id of a switch, or a router of ours as `named_entry` reads it. No
    part of the Forward: whatever it is, the bypass router's rules are the same.
    """
    named = subentry.data.get(CONF_MAIN_ROUTER_SWITCH)
    if not isinstance(named, str):
        return ""
    if named_entry(named):
        return named
    is_switch = valid_entity_id(named) and split_entity_id(named)[0] == SWITCH_DOMAIN
    return named if is_switch else ""


def open_for_of(subentry: ConfigSubentry) -> int:
    """Return for how many minutes a forward is on that is turned on; 0: until off."""
    minutes = subentry.data.get(CONF_OPEN_FOR)
    # A truth value is a number to Python.
    if type(minutes) is not int or not 0 <= minutes <= MOST_MINUTES:
        return 0
    return minutes


def followed_mac_of(subentry: ConfigSubentry) -> str:
    """Return the MAC address of the device that a forward follows; empty: none."""
    data = subentry.data
    mac = parse_mac(data.get(CONF_MAC)) if data.get(CONF_FOLLOW) is True else None
    return mac if mac and not is_random(mac) else ""


def read_followed(
    entry: ConfigEntry[Any], forwards: Mapping[str, Forward]
) -> dict[str, Followed]:
    """Return which devices these forwards follow, by the forwards' ids."""
    return {
        key: Followed(mac, forward.target)
        for key, forward in forwards.items()
        if (mac := followed_mac_of(entry.subentries[key]))
    }


def read_withheld(
    entry: ConfigEntry[Any], followed: Mapping[str, Followed]
) -> dict[str, RouterError]:
    """Return why those of these forwards are kept closed that lead to a stranger."""
    return {
        key: TargetTaken(target=str(it.target))
        for key, it in followed.items()
        if entry.subentries[key].data.get(CONF_TAKEN) is True
    }


def naming_entry(entry_id: str) -> str:
    """Return what names a router of ours in the place of a switch."""
    return f"{_ENTRY}{entry_id}"


def named_entry(named: str) -> str:
    """Return the id of the entry that is named so; empty: it is none, but a switch."""
    return named.removeprefix(_ENTRY) if named.startswith(_ENTRY) else ""


def port_map_of(forward: Forward) -> str:
    """Return what goes where, as people look for it: `TCP 8443 → 192.168.1.10:443`."""
    transports = "/".join(forward.protocol.transports).upper()
    return f"{transports} {forward.external} → {forward.target}:{forward.target_ports}"


def attributes_of(forward: Forward, public: PortRange) -> dict[str, Any]:
    """Return what an entity tells of its forward, each as the form has it."""
    return {
        CONF_PROTOCOL: forward.protocol.value,
        CONF_EXTERNAL_PORT: str(forward.external),
        CONF_TARGET: str(forward.target),
        CONF_TARGET_PORT: str(forward.target_ports),
        CONF_SOURCES: [str(network) for network in forward.sources],
        **_public_port_of(forward, public),
    }


def placeholders_of(forward: Forward) -> dict[str, str]:
    """Return the words for a sentence about a forward, in any language."""
    return {
        "protocol": "/".join(forward.protocol.transports).upper(),
        "external_port": str(forward.external),
        "target": str(forward.target),
        "target_port": str(forward.target_ports),
    }
