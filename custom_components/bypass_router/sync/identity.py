"""Which router an entry is about; no two entries work on one.

They would take each other's forwards for those of removed ones. What tells routers
apart, from the surest to what has to do while an entry is not connected:

- its kernel and the namespace of its network, read over both connections at once;
- the hardware address of the interface by which an entry reaches it, its unique id;
- the pinned host key. Copies of one disk image share it, so it counts for the entry
  whose key was proved, which may have another network card by now; for another entry,
  it counts unless that one's own address shows another router.
"""

import asyncio
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

from homeassistant.config_entries import ConfigEntry
from homeassistant.core import HomeAssistant, callback
from homeassistant.helpers.device_registry import format_mac
from homeassistant.util.hass_dict import HassKey

from ..const import CONF_HOST_KEY, DOMAIN
from ..router.errors import RouterError
from ..router.probe.place import Place
from ..router.router import Router
from ..router.ssh.credentials import HostKey


class SameRouter(RouterError):
    """Another entry works on this router already."""

    key = "same_router"


@dataclass(slots=True)
class _Claims:
    """The router that each entry is connected to, and who is looking at that."""

    routers: dict[str, Router] = field(default_factory=dict)
    turn: asyncio.Lock = field(default_factory=asyncio.Lock)

    def live(self, entry_id: str) -> Router | None:
        """Return the router of an entry while it is connected."""
        router = self.routers.get(entry_id)
        return None if router is None or router.closed else router


_KEY: HassKey[_Claims] = HassKey(f"{DOMAIN}_claims")


def pinned_key(entry: ConfigEntry[Any]) -> HostKey:
    """Return the host key by which an entry knows its router."""
    return HostKey(entry.data.get(CONF_HOST_KEY, ""))


def unique_id_of(router: Router, host_key: HostKey) -> str:
    """Return the id of the entry for a router that has proved a key."""
    mac = router.probe.mac_address
    return format_mac(mac) if mac else host_key.fingerprint


def others(
    hass: HomeAssistant, entry: ConfigEntry[Any] | None
) -> Iterator[ConfigEntry[Any]]:
    """Yield all entries of ours but this one."""
    for other in hass.config_entries.async_entries(DOMAIN):
        if entry is None or other.entry_id != entry.entry_id:
            yield other


async def async_claim(
    hass: HomeAssistant, entry: ConfigEntry[Any], router: Router
) -> None:
    """Have an entry work on a router that has proved its pinned key.

    Its unique id follows the router's hardware address. Raises SameRouter if another
    entry is connected to the same router.
    """
    claims = hass.data.setdefault(_KEY, _Claims())
    # Two that are set up at once must not both be the first.
    async with claims.turn:
        for other in others(hass, entry):
            if await async_is_live_on(hass, other, router, pinned_key(entry)):
                raise SameRouter(entry=other.title)
        claims.routers[entry.entry_id] = router
    _follow(hass, entry, unique_id_of(router, pinned_key(entry)))


async def async_is_live_on(
    hass: HomeAssistant, entry: ConfigEntry[Any], router: Router, host_key: HostKey
) -> bool | None:
    """Return whether an entry is connected to this router; None if that is not known.

    `host_key` is what the router has proved.
    """
    claims = hass.data.setdefault(_KEY, _Claims())
    live = claims.live(entry.entry_id)
    if live is None or live is router:
        return None
    if pinned_key(entry) != host_key and live.probe.boot_id != router.probe.boot_id:
        # Not worth asking.
        return None
    try:
        place = await live.place()
    except RouterError:
        # The connection is gone, and no one has noticed yet.
        return None
    return place.is_also(await router.place())


def names(
    entry: ConfigEntry[Any], router: Router, place: Place, host_key: HostKey
) -> bool:
    """Return whether what is stored of an entry says that it is about this router."""
    if entry.unique_id == unique_id_of(router, host_key):
        return True
    return pinned_key(entry) == host_key and entry.unique_id in place.mac_addresses


@callback
def _follow(hass: HomeAssistant, entry: ConfigEntry[Any], unique_id: str) -> None:
    """Let an entry's unique id be that of its router, unless another entry has it."""
    taken = {other.unique_id for other in others(hass, entry)}
    if unique_id != entry.unique_id and unique_id not in taken:
        hass.config_entries.async_update_entry(entry, unique_id=unique_id)
