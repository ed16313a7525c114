"""Repairs that a user can have done with one button."""

import logging
from typing import Any

from homeassistant.components.repairs import RepairsFlow, RepairsFlowResult
from homeassistant.core import HomeAssistant
import voluptuous as vol

from .coordinator import BypassRouterConfigEntry
from .router.errors import ConnectionLost, RouterError

_LOGGER = logging.getLogger(__name__)


class RemoveForeignRules(RepairsFlow):
    """Removes the rules of a Home Assistant that is no more."""

    def __init__(self, entry_id: str, owner: str) -> None:
        """Take whose rules they are, and on which router."""
        self._entry_id = entry_id
        self._owner = owner

    async def async_step_init(
        self, _: dict[str, str] | None = None
    ) -> RepairsFlowResult:
        """Ask first."""
        return await self.async_step_confirm()

    async def async_step_confirm(
        self, user_input: dict[str, str] | None = None
    ) -> RepairsFlowResult:
        """Remove them when the user agrees."""
        if user_input is None:
            return self.async_show_form(step_id="confirm", data_schema=vol.Schema({}))
        try:
            await self._remove()
        except RouterError as err:
            _LOGGER.warning("The rules of %s were not removed: %s", self._owner, err)
            return self.async_abort(reason="not_removed")
        return self.async_create_entry(data={})

    async def _remove(self) -> None:
        """Remove the rules, and look at what is left. Raises RouterError."""
        entry: BypassRouterConfigEntry | None
        entry = self.hass.config_entries.async_get_entry(self._entry_id)
        router = entry.runtime_data.link.router if entry else None
        if entry is None or router is None:
            raise ConnectionLost(message="closed")
        await router.remove_owner(self._owner)
        await entry.runtime_data.async_reconcile()


async def async_create_fix_flow(
    hass: HomeAssistant, issue_id: str, data: dict[str, Any] | None
) -> RepairsFlow:
    """Return the flow that mends this issue."""
    if data is None:
        raise ValueError(f"{issue_id} can't be fixed by a button")
    return RemoveForeignRules(data["entry_id"], data["owner"])
