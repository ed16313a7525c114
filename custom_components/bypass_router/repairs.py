"""Repairs that a user can have done with one button."""

from collections.abc import Callable
import logging
from typing import Any, override

from homeassistant.components.repairs import RepairsFlow, RepairsFlowResult
from homeassistant.config_entries import ConfigEntryState
from homeassistant.const import CONF_HOST, CONF_PORT
from homeassistant.core import HomeAssistant
from homeassistant.data_entry_flow import AbortFlow
from homeassistant.exceptions import HomeAssistantError
from homeassistant.helpers import issue_registry as ir
from homeassistant.helpers.selector import (
    SelectOptionDict,
    SelectSelector,
    SelectSelectorConfig,
    SelectSelectorMode,
)
import voluptuous as vol

from .const import CONF_HOST_KEY, CONF_MAIN_ROUTER_ADDRESS, DOMAIN
from .coordinator import BypassRouterConfigEntry
from .errors import english_of
from .flows.main_router import MAIN_ROUTER_FIELD, main_router_in
from .issues import Issues
from .router.errors import ConnectionLost, RouterError
from .router.router import Router
from .router.ssh.credentials import HostKey
from .router.ssh.session import fetch_host_key
from .rule_import import Offer, async_import, async_offers, commands_of
from .sync.connection import router_of
from .sync.identity import pinned_key

_LOGGER = logging.getLogger(__name__)


class ConfirmedRepair(RepairsFlow):
    """Does one thing on a router, after the user has agreed to it."""

    _failed: str
    """The reason to give when it could not be done."""

    def __init__(self, entry_id: str) -> None:
        """Take which router it is."""
        self._entry_id = entry_id

    async def async_step_init(
        self, _: dict[str, str] | None = None
    ) -> RepairsFlowResult:
        """Ask first."""
        return await self.async_step_confirm()

    async def async_step_confirm(
        self, user_input: dict[str, str] | None = None
    ) -> RepairsFlowResult:
        """Do it when the user agrees."""
        if user_input is None:
            return self.async_show_form(step_id="confirm", data_schema=vol.Schema({}))
        try:
            entry = _loaded(self.hass, self._entry_id)
            if (
                entry is None
                or (router := entry.runtime_data.connection.router) is None
            ):
                raise ConnectionLost(message="closed")
            coordinator = entry.runtime_data
            await self._repair(router)
            await coordinator.async_reconcile()
        except RouterError as err:
            _LOGGER.warning("%s was not mended: %s", self.issue_id, english_of(err))
            return self.async_abort(reason=self._failed)
        return self.async_create_entry(data={})

    async def _repair(self, router: Router) -> None:
        """Do it. Raises RouterError."""
        raise NotImplementedError


class RemoveForeignRules(ConfirmedRepair):
    """Removes the rules of a Home Assistant that is no more."""

    _failed = "not_removed"

    def __init__(self, entry_id: str, owner: str) -> None:
        """Take whose rules they are, and on which router."""
        super().__init__(entry_id)
        self._owner = owner

    @override
    async def _repair(self, router: Router) -> None:
        """Remove them."""
        if self._owner in router.probe.boot_files:
            await router.forget_boot_file(self._owner)
        await router.rules.remove_owner(self._owner)


class EnableForwarding(ConfirmedRepair):
    """Has the router's kernel pass packets on."""

    _failed = "not_enabled"

    @override
    async def _repair(self, router: Router) -> None:
        """Switch it on."""
        await router.enable_forwarding()


class FreeBridge(ConfirmedRepair):
    """Has the router's bridges leave the firewall alone."""

    _failed = "not_freed"

    @override
    async def _repair(self, router: Router) -> None:
        """Switch it off, and see what that has changed."""
        await router.free_bridge()


class CloseWithoutSwitch(ConfirmedRepair):
    """Turns forwards off whose switch was disabled while they were on."""

    _failed = "not_closed"

    @override
    async def _repair(self, _: Router) -> None:
        """Turn them off."""
        if entry := _loaded(self.hass, self._entry_id):
            await entry.runtime_data.async_close_without_switch()


class AcceptHostKey(RepairsFlow):
    """Lets the user accept the key that the router proves now, or not."""

    def __init__(self, entry_id: str, placeholders: dict[str, str]) -> None:
        """Take which router it is, and what the user has seen."""
        self._entry_id = entry_id
        self._placeholders = placeholders

    async def async_step_init(
        self, _: dict[str, str] | None = None
    ) -> RepairsFlowResult:
        """Show both fingerprints."""
        return self.async_show_menu(
            step_id="init",
            menu_options=["accept", "refuse"],
            description_placeholders=self._placeholders,
        )

    async def async_step_accept(
        self, _: dict[str, str] | None = None
    ) -> RepairsFlowResult:
        """Pin the new key, if it is the one that the user has seen."""
        entry = self.hass.config_entries.async_get_entry(self._entry_id)
        if entry is None:
            return self.async_abort(reason="entry_gone")
        asked = entry.data
        try:
            found = await fetch_host_key(
                asked[CONF_HOST], asked[CONF_PORT], pinned_key(entry)
            )
        except RouterError as err:
            _LOGGER.warning(
                "The host key of %s is not known: %s", entry.title, english_of(err)
            )
            return self.async_abort(reason="not_reached")
        if self.hass.config_entries.async_get_entry(self._entry_id) is None:
            return self.async_abort(reason="entry_gone")
        if found.fingerprint != self._placeholders["found"] or entry.data != asked:
            return self.async_abort(reason="changed_again")
        unique_id = entry.unique_id
        if unique_id == HostKey(entry.data[CONF_HOST_KEY]).fingerprint:
            unique_id = found.fingerprint
        self.hass.config_entries.async_update_entry(
            entry, data={**entry.data, CONF_HOST_KEY: found.text}, unique_id=unique_id
        )
        self.hass.config_entries.async_schedule_reload(entry.entry_id)
        return self.async_create_entry(data={})

    async def async_step_refuse(
        self, _: dict[str, str] | None = None
    ) -> RepairsFlowResult:
        """Leave all as it is: nothing is sent to that router."""
        return self.async_abort(reason="refused")


class ImportManualForwards(RepairsFlow):
    """Makes forwards of those that were made by hand, as many as the user chooses."""

    def __init__(self, entry_id: str) -> None:
        """Take which router it is."""
        self._entry_id = entry_id

    async def async_step_init(
        self, _: dict[str, Any] | None = None
    ) -> RepairsFlowResult:
        """Show them first."""
        return await self.async_step_adopt()

    async def async_step_adopt(
        self, user_input: dict[str, Any] | None = None
    ) -> RepairsFlowResult:
        """Import those that the user has chosen, if they still stand as they were."""
        entry = self._entry()
        offers = await self._offers(entry)
        if not user_input or not user_input["forwards"]:
            return self._form(entry, offers, refused=user_input is not None)
        if not offers.keys() >= set(user_input["forwards"]):
            return self.async_abort(reason="changed")
        try:
            chosen = [offers[key] for key in user_input["forwards"]]
            await async_import(self.hass, entry, chosen)
        except HomeAssistantError as err:
            _LOGGER.warning("%s was not mended: %s", self.issue_id, err)
            return self.async_abort(reason="not_adopted")
        return self.async_create_entry(data={})

    def _entry(self) -> BypassRouterConfigEntry:
        """Return the entry, which must be there and set up."""
        if (entry := _loaded(self.hass, self._entry_id)) is None:
            raise AbortFlow("not_connected")
        return entry

    async def _offers(self, entry: BypassRouterConfigEntry) -> dict[str, Offer]:
        """Return what there is to import, of which there must be something."""
        try:
            if (router := entry.runtime_data.connection.router) is None:
                raise ConnectionLost(message="closed")
            offers = await async_offers(entry, router)
        except RouterError as err:
            _LOGGER.warning(
                "The rules of %s are not known: %s", entry.title, english_of(err)
            )
            raise AbortFlow("not_connected") from err
        if not offers:
            Issues(self.hass, entry).manual_forwards(0)
            raise AbortFlow("none_left")
        return offers

    def _form(
        self,
        entry: BypassRouterConfigEntry,
        offers: dict[str, Offer],
        *,
        refused: bool,
    ) -> RepairsFlowResult:
        """Show them, at first all of them chosen."""
        options = [
            SelectOptionDict(value=key, label=offer.label)
            for key, offer in offers.items()
        ]
        chooser = SelectSelector(
            SelectSelectorConfig(
                options=options, multiple=True, mode=SelectSelectorMode.LIST
            )
        )
        field = vol.Required("forwards", default=list(offers))
        return self.async_show_form(
            step_id="adopt",
            data_schema=vol.Schema({field: chooser}),
            errors={"forwards": "none_chosen"} if refused else {},
            description_placeholders={
                "router": entry.title,
                "rules": commands_of(offers),
            },
        )


class AskMainRouter(RepairsFlow):
    """Lets the user say the main router's address, where nothing else tells it."""

    def __init__(self, entry_id: str) -> None:
        """Take which router it is."""
        self._entry_id = entry_id

    async def async_step_init(
        self, _: dict[str, Any] | None = None
    ) -> RepairsFlowResult:
        """Ask first."""
        return await self.async_step_address()

    async def async_step_address(
        self, user_input: dict[str, Any] | None = None
    ) -> RepairsFlowResult:
        """Keep the address as an option, with which the router is connected anew."""
        if (entry := _loaded(self.hass, self._entry_id)) is None:
            return self.async_abort(reason="not_connected")
        errors: dict[str, str] = {}
        if user_input is not None:
            text = user_input.get(CONF_MAIN_ROUTER_ADDRESS, "")
            said, error = main_router_in(text, router_of(entry))
            if said and not error:
                options = {**entry.options, CONF_MAIN_ROUTER_ADDRESS: said}
                self.hass.config_entries.async_update_entry(entry, options=options)
                return self.async_create_entry(data={})
            errors[CONF_MAIN_ROUTER_ADDRESS] = error or "invalid_main_router"
        return self.async_show_form(
            step_id="address",
            data_schema=self.add_suggested_values_to_schema(
                vol.Schema(MAIN_ROUTER_FIELD), user_input
            ),
            errors=errors,
            description_placeholders={"router": entry.title, **self._words()},
        )

    def _words(self) -> dict[str, str]:
        """Return what the repair was said of."""
        issue = ir.async_get(self.hass).async_get_issue(DOMAIN, self.issue_id)
        return {**((issue and issue.translation_placeholders) or {})}


def _loaded(hass: HomeAssistant, entry_id: str) -> BypassRouterConfigEntry | None:
    """Return an entry, if it is still there and set up."""
    entry: BypassRouterConfigEntry | None
    entry = hass.config_entries.async_get_entry(entry_id)
    return entry if entry and entry.state is ConfigEntryState.LOADED else None


_FLOWS: dict[str, Callable[[str], RepairsFlow]] = {
    "ip_forward_": EnableForwarding,
    "bridged_": FreeBridge,
    "without_switch_": CloseWithoutSwitch,
    "main_router_unknown_": AskMainRouter,
    "hand_made_": ImportManualForwards,
}
"""By how an issue's id begins, what needs to know no more than the router's entry."""


async def async_create_fix_flow(
    hass: HomeAssistant, issue_id: str, data: dict[str, Any] | None
) -> RepairsFlow:
    """Return the flow that mends this issue."""
    if data is None:
        raise ValueError(f"{issue_id} can't be fixed by a button")
    if issue_id.startswith("host_key_"):
        return AcceptHostKey(data["entry_id"], data)
    for start, flow in _FLOWS.items():
        if issue_id.startswith(start):
            return flow(data["entry_id"])
    return RemoveForeignRules(data["entry_id"], data["owner"])
