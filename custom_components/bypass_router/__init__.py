"""Port forwards on a bypass router, as switches."""

import logging

from homeassistant.const import Platform
from homeassistant.core import HomeAssistant
from homeassistant.helpers import config_validation as cv
from homeassistant.helpers.typing import ConfigType

from .const import CONF_CLOSE_CONNECTIONS, CONF_PRIVATE_KEY, DOMAIN
from .coordinator import (
    BypassRouterConfigEntry,
    BypassRouterCoordinator,
)
from .counters.store import Totals
from .diagnosis.target_store import TargetMacStore
from .errors import english_of
from .issues import Issues
from .main_router.linux_router import async_arrange_halves, async_watch_halves
from .main_router.other_switch import async_follow_renamed
from .main_router.records import Record
from .main_router.removal import async_close_all, async_turn_off_named, tell_left
from .router.errors import RouterError
from .router.ssh.authorized_keys import made_here
from .rule_import import async_offer_import
from .services import async_set_up_services
from .sync.at_boot import async_forget
from .sync.closing import Closing
from .sync.connection import async_owner, connect_router
from .sync.desired_state import DesiredState, file_of
from .sync.identity import others
from .sync.left_behind import async_clear_left_behind
from .sync.source_names import names_file
from .sync.unattended import async_watch_unattended

_LOGGER = logging.getLogger(__name__)

CONFIG_SCHEMA = cv.config_entry_only_config_schema(DOMAIN)

PLATFORMS = [
    Platform.BINARY_SENSOR,
    Platform.BUTTON,
    Platform.EVENT,
    Platform.IMAGE,
    Platform.NUMBER,
    Platform.SENSOR,
    Platform.SWITCH,
]


async def async_setup(hass: HomeAssistant, config: ConfigType) -> bool:
    """Offer the action, and watch the entries, whatever becomes of them."""
    async_set_up_services(hass)
    async_watch_unattended(hass)
    async_follow_renamed(hass)
    async_watch_halves(hass)
    return True


async def async_setup_entry(
    hass: HomeAssistant, entry: BypassRouterConfigEntry
) -> bool:
    """Connect to the router, and show its forwards."""
    coordinator = BypassRouterCoordinator(hass, entry)
    modified_at = entry.modified_at
    await coordinator.async_start()
    entry.runtime_data = coordinator
    entry.async_on_unload(entry.add_update_listener(_async_updated))
    if entry.modified_at != modified_at:
        # It took a while to connect, and until now no one has listened.
        await _async_updated(hass, entry)
    await hass.config_entries.async_forward_entry_setups(entry, PLATFORMS)
    async_offer_import(hass, entry)
    await async_clear_left_behind(hass, entry)
    return True


async def async_unload_entry(
    hass: HomeAssistant, entry: BypassRouterConfigEntry
) -> bool:
    """Let go of the router; the rules stay active."""
    unloaded = await hass.config_entries.async_unload_platforms(entry, PLATFORMS)
    if unloaded:
        await entry.runtime_data.async_stop()
    return unloaded


async def async_remove_entry(
    hass: HomeAssistant, entry: BypassRouterConfigEntry
) -> None:
    """Take our rules, and a key that was made here, from the router."""
    async_arrange_halves(hass, entry)
    desired = DesiredState(file_of(hass, entry.entry_id))
    await async_turn_off_named(hass, entry, desired)
    await desired.remove()
    await Totals(hass, entry.entry_id).remove()
    await TargetMacStore(hass, entry.entry_id).remove()
    await names_file(hass, entry.entry_id).async_remove()
    issues = Issues(hass, entry)
    left: list[Record] = []
    try:
        await _take_off(hass, entry, issues, left)
    except RouterError as err:
        _LOGGER.warning(
            "%s: its rules may be left on the router: %s", entry.title, english_of(err)
        )
        issues.forget()
        issues.left_behind()
        left += await async_close_all(hass, entry, None)
    else:
        issues.forget()
    tell_left(issues, left)


async def _take_off(
    hass: HomeAssistant,
    entry: BypassRouterConfigEntry,
    issues: Issues,
    left: list[Record],
) -> None:
    """Take all that an entry has on its router away, and on the main router before.

    What may be `left` there is added. Raises RouterError.
    """
    # No rule stays, not even for a while, which nobody would be there to take away.
    options = {**entry.options, CONF_CLOSE_CONNECTIONS: False}
    router = await connect_router(hass, entry.data, options)
    try:
        left += await async_close_all(hass, entry, router)
        not_forgotten = await async_forget(router, entry.title)
        live = await router.rules.read()
        # An earlier version has let one router be added twice.
        theirs = {key for other in others(hass, entry) for key in other.subentries}
        await router.rules.apply(
            [forward for key, forward in live.forwards.items() if key in theirs]
        )
        if entry.options.get(CONF_CLOSE_CONNECTIONS, True):
            await Closing(entry.title, issues).close(
                router,
                [fwd for key, fwd in live.forwards.items() if key not in theirs],
            )
        key = entry.data.get(CONF_PRIVATE_KEY)
        if key and made_here(key, await async_owner(hass)):
            await router.remove_key(key)
        if not_forgotten:
            raise not_forgotten
    finally:
        await router.close()


async def _async_updated(hass: HomeAssistant, entry: BypassRouterConfigEntry) -> None:
    """Follow a change of the entry, its options or its forwards."""
    if entry.runtime_data.outdated:
        hass.config_entries.async_schedule_reload(entry.entry_id)
    else:
        entry.runtime_data.async_forwards_changed()
