"""Whether a router that we have signed in to is the one that a form is about."""

import asyncio
from typing import Any

from homeassistant.config_entries import ConfigEntry
from homeassistant.core import HomeAssistant
from homeassistant.data_entry_flow import AbortFlow

from ..router.errors import RouterError
from ..router.probe.place import Place
from ..router.router import Router
from ..router.ssh.credentials import HostKey
from ..sync.connection import connect_router
from ..sync.identity import (
    async_is_live_on,
    names,
    others,
    pinned_key,
    unique_id_of,
)

# Seconds for another entry's router to show that it is another one.
_PATIENCE = 10


async def async_identify(
    hass: HomeAssistant,
    router: Router,
    host_key: HostKey,
    entry: ConfigEntry[Any] | None,
) -> str:
    """Return the unique id for the entry of a router that has proved a host key.

    Raises AbortFlow if it is not the router of the entry, or that of another one.
    """
    place = await router.place()
    unique_id = unique_id_of(router, host_key)
    if entry and not await _is_of(hass, entry, router, place, host_key):
        raise AbortFlow("another_router")
    for other in others(hass, entry):
        same = await async_is_live_on(hass, other, router, host_key)
        if same is None and names(other, router, place, host_key):
            same = True
        if same is None and entry is None and pinned_key(other) == host_key:
            # It may have got another network card, or be a copy of the same disk.
            same = await _is_there(hass, other, place)
            if same is None:
                raise AbortFlow("same_host_key", {"router": other.title})
        if same or other.unique_id == unique_id:
            raise AbortFlow("already_configured", {"router": other.title})
    return unique_id


async def _is_of(
    hass: HomeAssistant,
    entry: ConfigEntry[Any],
    router: Router,
    place: Place,
    host_key: HostKey,
) -> bool:
    """Return whether a router is the one that an entry is about.

    It is, where it has proved the pinned key, unless the entry is connected to another
    one that has proved it as well.
    """
    live = await async_is_live_on(hass, entry, router, host_key)
    if live is not None:
        return live
    pinned = pinned_key(entry)
    # The user has accepted another key: of the same network card, or of none.
    known = {unique_id_of(router, host_key), pinned.fingerprint, *place.mac_addresses}
    return pinned == host_key or entry.unique_id in known


async def _is_there(
    hass: HomeAssistant, entry: ConfigEntry[Any], place: Place
) -> bool | None:
    """Return whether an entry that is not connected leads to a place; None if nowhere.

    Its secrets are for whoever has its pinned key.
    """
    try:
        async with asyncio.timeout(_PATIENCE):
            router = await connect_router(hass, entry.data, entry.options)
            try:
                return place.is_also(await router.place())
            finally:
                await router.close()
    except RouterError, TimeoutError:
        return None
