"""A router's options."""

from typing import Any

from homeassistant.config_entries import (
    ConfigEntryState,
    ConfigFlowResult,
    OptionsFlow,
)
from homeassistant.helpers.selector import (
    BooleanSelector,
    SelectSelector,
    SelectSelectorConfig,
    SelectSelectorMode,
)
import voluptuous as vol

from ..const import (
    CONF_AT_BOOT,
    CONF_CLOSE_CONNECTIONS,
    CONF_FIREWALL,
    CONF_MAIN_ROUTER,
    CONF_MAIN_ROUTER_ADDRESS,
    CONF_RESTORE,
    MAIN_ROUTER_MANUAL,
    MAIN_ROUTER_UPNP,
)
from ..diagnosis.texts import async_texts
from ..router.backend import Backend, chosen_backend
from ..sync.connection import router_of
from .main_router import MAIN_ROUTER_FIELD, async_found, main_router_in
from .text_input import Form

OPTIONS_SCHEMA = vol.Schema(
    {
        vol.Required(CONF_RESTORE, default=True): BooleanSelector(),
        vol.Required(CONF_CLOSE_CONNECTIONS, default=True): BooleanSelector(),
        vol.Required(CONF_AT_BOOT, default=False): BooleanSelector(),
        vol.Required(CONF_FIREWALL, default=Backend.AUTO.value): SelectSelector(
            SelectSelectorConfig(
                options=[backend.value for backend in Backend],
                mode=SelectSelectorMode.DROPDOWN,
                translation_key=CONF_FIREWALL,
            )
        ),
        vol.Required(CONF_MAIN_ROUTER, default=MAIN_ROUTER_MANUAL): SelectSelector(
            SelectSelectorConfig(
                options=[MAIN_ROUTER_MANUAL, MAIN_ROUTER_UPNP],
                mode=SelectSelectorMode.DROPDOWN,
                translation_key=CONF_MAIN_ROUTER,
            )
        ),
        **MAIN_ROUTER_FIELD,
    }
)


class BypassRouterOptionsFlow(OptionsFlow):
    """The form of a router's options."""

    _found: str | None = None
    """What was found out about the main router, for the form."""

    async def async_step_init(
        self, user_input: dict[str, Any] | None = None
    ) -> ConfigFlowResult:
        """Ask for the options; refuse a firewall that the router lacks."""
        form = Form()
        if user_input is not None:
            backend = Backend(user_input[CONF_FIREWALL])
            with form.told():
                if router := router_of(self.config_entry):
                    chosen_backend(router.probe.tools, backend)
            said, error = main_router_in(
                user_input.pop(CONF_MAIN_ROUTER_ADDRESS, ""),
                router_of(self.config_entry),
            )
            if said:
                user_input[CONF_MAIN_ROUTER_ADDRESS] = said
            if error:
                form.errors[CONF_MAIN_ROUTER_ADDRESS] = error
            if not form.errors:
                return self._finish(user_input)
        if self._found is None:
            texts = await async_texts(self.hass)
            self._found = await async_found(self.config_entry, texts)
        return self.async_show_form(
            step_id="init",
            data_schema=self.add_suggested_values_to_schema(
                OPTIONS_SCHEMA, user_input or self.config_entry.options
            ),
            errors=form.errors,
            description_placeholders={**form.placeholders, "found": self._found},
        )

    def _finish(self, options: dict[str, Any]) -> ConfigFlowResult:
        """Keep the options."""
        entry = self.config_entry
        if entry.state in (ConfigEntryState.SETUP_ERROR, ConfigEntryState.SETUP_RETRY):
            # One that is loaded sees the change by itself.
            self.hass.config_entries.async_schedule_reload(entry.entry_id)
        return self.async_create_entry(data=options)
