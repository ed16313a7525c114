"""The form's field by which a forward follows its device to another address."""

from collections.abc import Collection, Mapping
from ipaddress import IPv4Address
from typing import Any, Final

from homeassistant.config_entries import ConfigSubentry
from homeassistant.const import CONF_MAC, CONF_TARGET
from homeassistant.helpers.selector import BooleanSelector

from ..const import CONF_FOLLOW, CONF_TAKEN
from ..router.errors import RouterError
from ..router.network.neighbours import is_device
from ..router.network.target_macs import read_target_macs, target_macs_script
from ..router.network.whereabouts import is_random, parse_mac
from ..router.router import Router
from ..subentry import followed_mac_of

FOLLOW_SELECTOR: Final = BooleanSelector()
# What stands for a device that is followed.
_FIELDS: Final = (CONF_FOLLOW, CONF_MAC, CONF_TAKEN)


class CannotFollow(Exception):
    """The device can't be followed, for the reason of this key."""


async def follow_fields(
    router: Router | None,
    target: IPv4Address,
    fields: Mapping[str, Any],
    listed: Collection[str],
    before: ConfigSubentry | None,
) -> Mapping[str, Any]:
    """Return what is stored of the device that a forward follows; nothing for none.

    Where the field is left as it came, a device of the list is followed if that can be,
    and one that was followed still is. Raises CannotFollow.
    """
    wanted: bool | None = fields.get(CONF_FOLLOW)
    same = before is not None and before.data[CONF_TARGET] == str(target)
    if wanted is None and before and same:
        wanted = bool(followed_mac_of(before))
    if wanted is False or (wanted is None and str(target) not in listed):
        return {}
    if before and same and followed_mac_of(before):
        return {key: before.data[key] for key in _FIELDS if key in before.data}
    mac = await _mac_of(router, target)
    if mac and not is_random(mac):
        return {CONF_FOLLOW: True, CONF_MAC: mac}
    if wanted is None:
        return {}
    raise CannotFollow("follow_random" if mac else "follow_unknown")


def offers_following(macs: Collection[str]) -> bool:
    """Return whether there is a device in the list that can be followed."""
    return any(not is_random(mac) for text in macs if (mac := parse_mac(text)))


async def _mac_of(router: Router | None, target: IPv4Address) -> str | None:
    """Return the MAC address that a device of the LAN answers with now."""
    if router is None or not is_device(target, router.probe.address):
        return None
    try:
        sections = await router.run(target_macs_script([target]))
    except RouterError:
        return None
    return parse_mac(read_target_macs(sections, [target]).get(target))
