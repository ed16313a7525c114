"""What an earlier entry for the same router has left there, and what is said of it."""

import logging
from typing import Any

from homeassistant.config_entries import ConfigEntry
from homeassistant.core import HomeAssistant

from ..const import CONF_PRIVATE_KEY
from ..errors import english_of
from ..issues import Issues
from ..router.errors import RouterError
from ..router.router import Router

_LOGGER = logging.getLogger(__name__)


async def async_clear_left_behind(hass: HomeAssistant, entry: ConfigEntry[Any]) -> None:
    """Take back what was said of an earlier entry, now that this one was read.

    Its rules are those of no forward, and are gone with the first change; its keys let
    no one in who still has one.
    """
    issues = Issues(hass, entry)
    if not (found := issues.left_behind_here()):
        return
    router = entry.runtime_data.connection.router
    if router is None or entry.runtime_data.data.forwards.keys() - entry.subentries:
        return
    if await async_forget_keys(router, entry.data.get(CONF_PRIVATE_KEY)):
        issues.nothing_left_behind(found)


async def async_forget_keys(router: Router, keep: str | None) -> bool:
    """Remove the keys that we have made before, as far as the router lets us.

    Those of this entry but the one to keep, and of earlier ones for this account that
    were removed while the router was away.
    """
    try:
        await router.forget_keys(keep)
    except RouterError as err:
        _LOGGER.warning(
            "Keys that are not used stay on the router: %s", english_of(err)
        )
        return False
    return True
