"""Forwards of a router that no one works on: its entry is disabled, or not set up.

Their rules stay live there. Who disables the router is told so; and a forward that is
removed meanwhile is closed at once, or is said to be open until it is.
"""

from collections.abc import Mapping
from dataclasses import dataclass
import logging
from typing import Any

from homeassistant.config_entries import (
    SIGNAL_CONFIG_ENTRY_CHANGED,
    ConfigEntry,
    ConfigEntryChange,
    ConfigEntryState,
)
from homeassistant.core import HomeAssistant, callback
from homeassistant.helpers.dispatcher import async_dispatcher_connect

from ..const import CONF_CLOSE_CONNECTIONS, DOMAIN
from ..errors import english_of
from ..issues import Issues
from ..router.errors import RouterError
from .at_boot import async_forget
from .closing import Closing
from .connection import connect_router
from .desired_state import DesiredState, file_of

_LOGGER = logging.getLogger(__name__)

# In all others, someone connects and applies what is desired, or is about to.
_UNATTENDED = frozenset(
    {
        ConfigEntryState.NOT_LOADED,
        ConfigEntryState.SETUP_ERROR,
        ConfigEntryState.SETUP_RETRY,
        ConfigEntryState.FAILED_UNLOAD,
    }
)


@dataclass(frozen=True, slots=True)
class _Seen:
    """What was known of an entry when it changed last."""

    titles: Mapping[str, str]
    """Of its forwards, by their ids."""
    disabled: bool

    @classmethod
    def of(cls, entry: ConfigEntry[Any]) -> _Seen:
        """Look at an entry."""
        titles = {key: forward.title for key, forward in entry.subentries.items()}
        return cls(titles, entry.disabled_by is not None)


@callback
def async_watch_unattended(hass: HomeAssistant) -> None:
    """Hear of what is changed in entries, also while they are not loaded."""
    entries = hass.config_entries.async_entries(DOMAIN)
    seen = {entry.entry_id: _Seen.of(entry) for entry in entries}

    @callback
    def changed(change: ConfigEntryChange, entry: ConfigEntry[Any]) -> None:
        """Compare an entry with what it was."""
        if entry.domain != DOMAIN:
            return
        before = seen.pop(entry.entry_id, None)
        if change is ConfigEntryChange.REMOVED:
            return
        now = seen[entry.entry_id] = _Seen.of(entry)
        if before is None:
            return
        gone = {k: v for k, v in before.titles.items() if k not in now.titles}
        if gone and entry.state in _UNATTENDED:
            hass.async_create_task(_close(hass, entry, gone), f"{entry.title} close")
        if before.disabled != now.disabled:
            hass.async_create_task(_tell(hass, entry), f"{entry.title} disabled")

    async_dispatcher_connect(hass, SIGNAL_CONFIG_ENTRY_CHANGED, changed)


async def _on(
    hass: HomeAssistant, entry: ConfigEntry[Any], titles: Mapping[str, str]
) -> list[str]:
    """Return which of these forwards are to be on; all where that is not known."""
    desired = DesiredState(file_of(hass, entry.entry_id))
    try:
        await desired.load()
    except RouterError:
        return list(titles)
    return [key for key in titles if not desired.known or key in desired.saved]


async def _tell(hass: HomeAssistant, entry: ConfigEntry[Any]) -> None:
    """Say which forwards are open on a router that is disabled here."""
    titles = _Seen.of(entry).titles
    on = await _on(hass, entry, titles)
    names = [titles[key] for key in on] if entry.disabled_by else []
    Issues(hass, entry).disabled(names)


async def _close(
    hass: HomeAssistant, entry: ConfigEntry[Any], gone: Mapping[str, str]
) -> None:
    """Close forwards that were removed, or say that they are open until they are."""
    on = await _on(hass, entry, gone)
    if not on:
        return
    issues = Issues(hass, entry)
    try:
        await _take_off(hass, entry, gone, issues)
    except RouterError as err:
        _LOGGER.warning(
            "%s: removed forwards are still open: %s", entry.title, english_of(err)
        )
        if entry.state in _UNATTENDED:
            issues.waiting_unattended([gone[key] for key in on])
    if entry.disabled_by:
        await _tell(hass, entry)


async def _take_off(
    hass: HomeAssistant,
    entry: ConfigEntry[Any],
    gone: Mapping[str, str],
    issues: Issues,
) -> None:
    """Take forwards from a router, and leave all others. Raises RouterError."""
    router = await connect_router(hass, entry.data, entry.options)
    try:
        live = (await router.rules.read()).forwards
        if entry.state not in _UNATTENDED:
            # Whoever works on it now has read that they are gone.
            return
        # Whoever works on it later writes it anew, with all others.
        not_forgotten = await async_forget(router, entry.title)
        await router.rules.apply([fwd for key, fwd in live.items() if key not in gone])
        if entry.options.get(CONF_CLOSE_CONNECTIONS, True):
            removed = [forward for key, forward in live.items() if key in gone]
            await Closing(entry.title, issues).close(router, removed)
        if not_forgotten:
            raise not_forgotten
    finally:
        await router.close()
