"""What an earlier entry for the same router has left there, and what is said of it."""

import logging
from typing import Any

from homeassistant.config_entries import ConfigEntry
from homeassistant.core import HomeAssistant

from ..const import CONF_PRIVATE_KEY
from ..issues import Issues
from ..router.errors import RouterError
from ..router.ssh.authorized_keys import made_here

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
    key = entry.data.get(CONF_PRIVATE_KEY)
    try:
        owner = router.context.owner
        await router.forget_keys(key if key and made_here(key, owner) else None)
    except RouterError as err:
        _LOGGER.warning("Keys that are not used stay on the router: %s", err)
        return
    issues.nothing_left_behind(found)
