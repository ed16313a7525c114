"""Port forwards on a bypass router, as switches."""

import logging

from homeassistant.const import Platform
from homeassistant.core import HomeAssistant

from .const import CONF_PRIVATE_KEY
from .coordinator import (
    BypassRouterConfigEntry,
    BypassRouterCoordinator,
)
from .issues import left_behind
from .link import async_owner, connect
from .router.account_key import made_here
from .router.errors import RouterError
from .wishes import Wishes

_LOGGER = logging.getLogger(__name__)

PLATFORMS = [
    Platform.BINARY_SENSOR,
    Platform.BUTTON,
    Platform.EVENT,
    Platform.SWITCH,
]


async def async_setup_entry(
    hass: HomeAssistant, entry: BypassRouterConfigEntry
) -> bool:
    """Connect to the router, and show its forwards."""
    coordinator = BypassRouterCoordinator(hass, entry)
    await coordinator.async_start()
    entry.runtime_data = coordinator
    await hass.config_entries.async_forward_entry_setups(entry, PLATFORMS)
    entry.async_on_unload(entry.add_update_listener(_async_updated))
    return True


async def async_unload_entry(
    hass: HomeAssistant, entry: BypassRouterConfigEntry
) -> bool:
    """Let go of the router; the rules stay in force."""
    unloaded = await hass.config_entries.async_unload_platforms(entry, PLATFORMS)
    if unloaded:
        await entry.runtime_data.async_stop()
    return unloaded


async def async_remove_entry(
    hass: HomeAssistant, entry: BypassRouterConfigEntry
) -> None:
    """Take our rules, and a key that was made here, from the router."""
    await Wishes(hass, entry.entry_id).remove()
    try:
        router = await connect(hass, entry.data)
        try:
            await router.apply([])
            key = entry.data.get(CONF_PRIVATE_KEY)
            if key and made_here(key, await async_owner(hass)):
                await router.remove_key(key)
        finally:
            await router.close()
    except RouterError as err:
        _LOGGER.warning("%s: its rules may be left on the router: %s", entry.title, err)
        left_behind(hass, entry)


async def _async_updated(hass: HomeAssistant, entry: BypassRouterConfigEntry) -> None:
    """Follow a change of the entry or of its forwards."""
    if entry.runtime_data.link.data == entry.data:
        entry.runtime_data.async_forwards_changed()
    else:
        hass.config_entries.async_schedule_reload(entry.entry_id)
