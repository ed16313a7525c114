"""Adding a port forward to a router, and changing one."""

from collections.abc import Mapping
from typing import Any

from homeassistant.config_entries import (
    ConfigSubentryFlow,
    SubentryFlowResult,
)
from homeassistant.const import CONF_HOST, CONF_NAME, CONF_PROTOCOL, CONF_TARGET
from homeassistant.helpers.selector import (
    BooleanSelector,
    SelectOptionDict,
    SelectSelector,
    SelectSelectorConfig,
    SelectSelectorMode,
    TextSelector,
    TextSelectorConfig,
)
import voluptuous as vol

from ..const import (
    CONF_EXTERNAL_PORT,
    CONF_KEEP_CLIENT_ADDRESS,
    CONF_SOURCES,
    CONF_TARGET_PORT,
)
from ..devices import async_devices
from ..diagnosis.texts import async_texts
from ..router.forward import Forward, InvalidForward, Protocol
from ..subentry import fields_of, forward_or_none, parse_fields, placeholders_of
from ..sync.connection import router_of
from .forward_checks import (
    check_name,
    check_ports,
    check_rivals,
    check_size,
    check_target,
    conflicting_services,
    named,
    told_obstacles,
)

# Stands in for the id of a forward that has none yet.
_NEW = "new"

SCHEMA = vol.Schema(
    {
        vol.Required(CONF_NAME): TextSelector(),
        vol.Required(CONF_PROTOCOL, default=Protocol.TCP.value): SelectSelector(
            SelectSelectorConfig(
                options=[protocol.value for protocol in Protocol],
                mode=SelectSelectorMode.LIST,
                translation_key=CONF_PROTOCOL,
            )
        ),
        vol.Required(CONF_EXTERNAL_PORT): TextSelector(),
        vol.Required(CONF_TARGET): TextSelector(),
        vol.Optional(CONF_TARGET_PORT): TextSelector(),
        vol.Optional(CONF_SOURCES): TextSelector(TextSelectorConfig(multiple=True)),
        vol.Required(CONF_KEEP_CLIENT_ADDRESS, default=False): BooleanSelector(),
    }
)


def _schema(devices: Mapping[str, str]) -> vol.Schema:
    """Return the form's fields, with these devices to choose from, by address."""
    if not devices:
        return SCHEMA
    chooser = SelectSelector(
        SelectSelectorConfig(
            options=[
                SelectOptionDict(value=address, label=label)
                for address, label in devices.items()
            ],
            mode=SelectSelectorMode.DROPDOWN,
            # A device that is switched off just now can be typed.
            custom_value=True,
        )
    )
    # In the place of the field that it replaces.
    return vol.Schema(
        {
            field: chooser if field == CONF_TARGET else selector
            for field, selector in SCHEMA.schema.items()
        }
    )


class ForwardFlow(ConfigSubentryFlow):
    """The form for one port forward."""

    _name: str
    _typed: tuple[str, str, dict[str, Any], Mapping[str, Any]]
    _services: str
    _confirmed = ""
    _obstacles: str
    _accepted = ""
    _devices: Mapping[str, str] | None = None

    async def async_step_user(
        self, user_input: dict[str, Any] | None = None
    ) -> SubentryFlowResult:
        """Add a forward."""
        # Without it, the frontend fills in the first device that can be chosen.
        return await self._step("user", _NEW, user_input, {CONF_TARGET: ""})

    async def async_step_reconfigure(
        self, user_input: dict[str, Any] | None = None
    ) -> SubentryFlowResult:
        """Change a forward; it stays the same one to its entities."""
        subentry = self._get_reconfigure_subentry()
        # The title is what the user sees, and may have changed.
        stored = {**subentry.data, CONF_NAME: subentry.title}
        return await self._step("reconfigure", subentry.subentry_id, user_input, stored)

    async def async_step_confirm(
        self, user_input: dict[str, Any] | None = None
    ) -> SubentryFlowResult:
        """Have the user say that a service of the router may lose its port."""
        if user_input is not None:
            # Others may have taken the port or the name since it was asked for.
            self._confirmed = self._services
            return await self._step(*self._typed)
        return self.async_show_form(
            step_id="confirm",
            data_schema=vol.Schema({}),
            description_placeholders={
                CONF_NAME: self._name,
                "services": self._services,
            },
        )

    async def async_step_obstacles(
        self, user_input: dict[str, Any] | None = None
    ) -> SubentryFlowResult:
        """Have the user say that something on the router may keep clients out."""
        if user_input is not None:
            self._accepted = self._obstacles
            return await self._step(*self._typed)
        return self.async_show_form(
            step_id="obstacles",
            data_schema=vol.Schema({}),
            description_placeholders={
                CONF_NAME: self._name,
                "obstacles": self._obstacles,
            },
        )

    async def _step(
        self,
        step_id: str,
        forward_id: str,
        user_input: dict[str, Any] | None,
        stored: Mapping[str, Any],
    ) -> SubentryFlowResult:
        """Show the form until it holds a forward, and store that."""
        entry = self._get_entry()
        errors: dict[str, str] = {}
        placeholders: dict[str, str] = {}
        if user_input is not None:
            name = user_input[CONF_NAME].strip()
            errors = check_name(entry, name, forward_id)
            try:
                forward = parse_fields(forward_id, user_input)
            except InvalidForward as err:
                errors |= err.errors
            else:
                router = router_of(self._get_entry())
                before = self._before(forward_id)
                conflicts = (
                    await conflicting_services(router, forward, before)
                    if router
                    else ()
                )
                for found, details in (
                    check_rivals(forward, router),
                    check_ports(entry, forward, conflicts),
                    check_target(entry, forward.target, router),
                    check_size(forward),
                ):
                    errors |= found
                    placeholders |= details
                if not errors:
                    self._name = name
                    self._typed = (step_id, forward_id, user_input, stored)
                    self._services = named(sorted(map(str, conflicts)))
                    if self._services not in ("", self._confirmed):
                        return await self.async_step_confirm()
                    self._obstacles = told_obstacles(
                        forward, router, await async_texts(self.hass)
                    )
                    if self._obstacles not in ("", self._accepted):
                        return await self.async_step_obstacles()
                    return self._store(name, forward)
        if self._devices is None:
            self._devices = await async_devices(self.hass, router_of(self._get_entry()))
        return self.async_show_form(
            step_id=step_id,
            data_schema=self.add_suggested_values_to_schema(
                _schema(self._devices), stored if user_input is None else user_input
            ),
            errors=errors,
            description_placeholders={**placeholders, "router": self._address},
        )

    def _store(self, name: str, forward: Forward) -> SubentryFlowResult:
        """Add the forward to the router, or change the one that it was.

        The last page says what comes of it, and what the main router needs.
        """
        placeholders = {**placeholders_of(forward), "router": self._address}
        data = fields_of(name, forward)
        if forward.id == _NEW:
            return self.async_create_entry(
                title=name, data=data, description_placeholders=placeholders
            )
        self.hass.config_entries.async_update_subentry(
            self._get_entry(),
            self._get_reconfigure_subentry(),
            title=name,
            data=data,
        )
        # `async_update_and_abort` takes no placeholders.
        return self.async_abort(
            reason="reconfigure_successful", description_placeholders=placeholders
        )

    @property
    def _address(self) -> str:
        """The router's address that its forwards answer at, as far as it is known."""
        if router := router_of(self._get_entry()):
            return str(router.context.address.ip)
        return str(self._get_entry().data[CONF_HOST])

    def _before(self, forward_id: str) -> Forward | None:
        """Return the forward as it was; None for a new one."""
        subentry = self._get_entry().subentries.get(forward_id)
        return forward_or_none(subentry) if subentry else None
