"""Adding a port forward to a router, and changing one."""

from collections.abc import Collection, Mapping
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
)
import voluptuous as vol

from ..const import (
    CONF_ENABLED,
    CONF_EXTERNAL_PORT,
    CONF_FOLLOW,
    CONF_KEEP_CLIENT_ADDRESS,
    CONF_MAIN_ROUTER_SWITCH,
    CONF_OPEN_FOR,
    CONF_PUBLIC_PORT,
    CONF_SOURCES,
    CONF_TARGET_PORT,
)
from ..devices import Device, async_devices
from ..diagnosis.texts import async_texts
from ..main_router.linux_router import whose_half
from ..router.forward import Forward, InvalidForward, PortRange, Protocol
from ..subentry import fields_of, forward_or_none, parse_fields, placeholders_of
from ..sync.connection import router_of
from .follow import FOLLOW_SELECTOR, CannotFollow, follow_fields, offers_following
from .forward_checks import (
    check_name,
    check_ports,
    check_public_ports,
    check_rivals,
    check_size,
    check_target,
    conflicting_services,
    named,
    told_obstacles,
)
from .main_router import who_sets
from .main_router_switch import (
    SWITCH_SELECTOR,
    check_main_router,
    chosen,
    main_router_selector,
)
from .networks import NetworksSelector, as_typed
from .presets import CONF_SERVICE, SERVICE_SELECTOR, with_service

# Stands in for the id of a forward that has none yet.
_NEW = "new"
# What is asked where the user may not want the forward after all.
_ANSWER = "answer"
_AGREED = "go_on"
_BACK = "back"

_FIELDS = {
    vol.Required(CONF_PROTOCOL, default=Protocol.TCP.value): SelectSelector(
        SelectSelectorConfig(
            options=[protocol.value for protocol in Protocol],
            mode=SelectSelectorMode.LIST,
            translation_key=CONF_PROTOCOL,
        )
    ),
    # A service has one.
    vol.Optional(CONF_EXTERNAL_PORT): TextSelector(),
    vol.Required(CONF_TARGET): TextSelector(),
    # Left as it came, it goes by the device.
    vol.Optional(CONF_FOLLOW): FOLLOW_SELECTOR,
    vol.Optional(CONF_TARGET_PORT): TextSelector(),
    vol.Optional(CONF_PUBLIC_PORT): TextSelector(),
    vol.Optional(CONF_SOURCES): NetworksSelector(),
    vol.Required(CONF_KEEP_CLIENT_ADDRESS, default=False): BooleanSelector(),
    vol.Optional(CONF_MAIN_ROUTER_SWITCH): SWITCH_SELECTOR,
}
SCHEMA = vol.Schema({vol.Required(CONF_NAME): TextSelector(), **_FIELDS})
NEW_SCHEMA = vol.Schema(
    {
        vol.Required(CONF_NAME): TextSelector(),
        vol.Optional(CONF_SERVICE): SERVICE_SELECTOR,
        **_FIELDS,
        vol.Required(CONF_ENABLED, default=True): BooleanSelector(),
    }
)
QUESTION_SCHEMA = vol.Schema(
    {
        # Whoever submits it as it is, agrees.
        vol.Required(_ANSWER, default=_AGREED): SelectSelector(
            SelectSelectorConfig(
                options=[_AGREED, _BACK],
                mode=SelectSelectorMode.LIST,
                translation_key=_ANSWER,
            )
        )
    }
)


def _device_selector(devices: Mapping[str, Device]) -> SelectSelector:
    """Return the field for these devices, by address."""
    return SelectSelector(
        SelectSelectorConfig(
            options=[
                SelectOptionDict(value=address, label=device.label)
                for address, device in devices.items()
            ],
            mode=SelectSelectorMode.DROPDOWN,
            # A device that is switched off just now can be typed.
            custom_value=True,
        )
    )


class ForwardFlow(ConfigSubentryFlow):
    """The form for one port forward."""

    _typed: tuple[str, str, dict[str, Any]]
    _words: Mapping[str, str]
    _asked: frozenset[str]
    _agreed: frozenset[str] = frozenset()
    """What the user knows of, and wants the forward all the same."""
    _devices: Mapping[str, Device] | None = None
    _follows: Mapping[str, Any]

    async def async_step_user(
        self, user_input: dict[str, Any] | None = None
    ) -> SubentryFlowResult:
        """Add a forward."""
        if user_input is None:
            # Without it, the frontend fills in the first device that can be chosen.
            return await self._show("user", {CONF_TARGET: ""})
        return await self._submit("user", _NEW, user_input)

    async def async_step_reconfigure(
        self, user_input: dict[str, Any] | None = None
    ) -> SubentryFlowResult:
        """Change a forward; it stays the same one to its entities."""
        subentry = self._get_reconfigure_subentry()
        if whose := whose_half(self.hass, subentry):
            # The next change of that forward would undo this one.
            words = {"name": whose[1].title, "router": whose[0].title}
            return self.async_abort(reason="main_half", description_placeholders=words)
        if user_input is None:
            # The title is what the user sees, and may have changed.
            stored = {**subentry.data, CONF_NAME: subentry.title}
            return await self._show("reconfigure", stored)
        return await self._submit("reconfigure", subentry.subentry_id, user_input)

    async def async_step_confirm(
        self, user_input: dict[str, Any] | None = None
    ) -> SubentryFlowResult:
        """Have the user say that a service of the router may lose its port."""
        return await self._question("confirm", user_input)

    async def async_step_obstacles(
        self, user_input: dict[str, Any] | None = None
    ) -> SubentryFlowResult:
        """Have the user say that something on the router may keep clients out."""
        return await self._question("obstacles", user_input)

    async def _question(
        self, step_id: str, user_input: dict[str, Any] | None
    ) -> SubentryFlowResult:
        """Ask whether to go on, and do so; or go back to what was typed."""
        if user_input is None:
            return self.async_show_form(
                step_id=step_id,
                data_schema=QUESTION_SCHEMA,
                description_placeholders=self._words,
            )
        typed_in, _, typed = self._typed
        if user_input[_ANSWER] == _BACK:
            return await self._show(typed_in, typed)
        self._agreed |= self._asked
        # Others may have taken the port or the name since it was asked for.
        return await self._submit(*self._typed)

    async def _submit(
        self, step_id: str, forward_id: str, user_input: dict[str, Any]
    ) -> SubentryFlowResult:
        """Store what is a forward, and show the form again for what is none."""
        entry, router = self._get_entry(), router_of(self._get_entry())
        name = user_input[CONF_NAME].strip()
        errors = check_name(entry, name, forward_id)
        placeholders: dict[str, str] = {}
        try:
            forward, public = parse_fields(forward_id, with_service(user_input))
        except InvalidForward as err:
            return await self._show(step_id, user_input, errors | err.errors)
        before = self._before(forward_id)
        conflicts = (
            await conflicting_services(router, forward, before) if router else ()
        )
        for found, details in (
            check_rivals(forward, router),
            check_ports(entry, forward, conflicts),
            check_public_ports(entry, forward, public),
            check_target(entry, forward.target, router),
            check_size(forward),
            check_main_router(
                self.hass, entry, forward, public, chosen(self.hass, user_input)
            ),
        ):
            errors |= found
            placeholders |= details
        if errors:
            return await self._show(step_id, user_input, errors, placeholders)
        try:
            self._follows = await follow_fields(
                router,
                forward.target,
                user_input,
                self._devices or {},
                entry.subentries.get(forward_id),
            )
        except CannotFollow as err:
            errors = {CONF_FOLLOW: str(err)}
            return await self._show(step_id, user_input, errors)
        self._typed = step_id, forward_id, user_input
        # What it takes or meets already is no news.
        services = {
            str(service)
            for service in conflicts
            if not (before and service.conflicts_with(before))
        } - self._agreed
        if services:
            self._ask(services, name, services=named(sorted(services)))
            return await self.async_step_confirm()
        texts = await async_texts(self.hass)
        known = self._agreed.union(told_obstacles(before, router, texts))
        told = told_obstacles(forward, router, texts)
        if obstacles := [sentence for sentence in told if sentence not in known]:
            listed = "\n".join(f"- {sentence}" for sentence in obstacles)
            self._ask(obstacles, name, obstacles=listed)
            return await self.async_step_obstacles()
        return await self._store(name, forward, public, user_input)

    def _ask(self, what: Collection[str], name: str, **words: str) -> None:
        """Keep what is asked next, and the words for it."""
        self._asked = frozenset(what)
        self._words = {CONF_NAME: name, **words}

    async def _show(
        self,
        step_id: str,
        shown: Mapping[str, Any],
        errors: dict[str, str] | None = None,
        placeholders: Mapping[str, str] | None = None,
    ) -> SubentryFlowResult:
        """Show the form with this in its fields."""
        if self._devices is None:
            self._devices = await async_devices(self.hass, router_of(self._get_entry()))
        if step_id == "user" and CONF_FOLLOW not in shown and CONF_NAME not in shown:
            macs = [device.mac_address for device in self._devices.values()]
            shown = {**shown, CONF_FOLLOW: offers_following(macs)}
        entry = self._get_entry()
        named = shown.get(CONF_MAIN_ROUTER_SWITCH, "")
        selector, named = main_router_selector(self.hass, entry, named)
        here = {CONF_MAIN_ROUTER_SWITCH: selector}
        if self._devices:
            here[CONF_TARGET] = _device_selector(self._devices)
        fields = (NEW_SCHEMA if step_id == "user" else SCHEMA).schema
        # Each in the place of the one that it replaces.
        schema = vol.Schema({field: here.get(field, fields[field]) for field in fields})
        if CONF_SOURCES in shown:
            shown = {**shown, CONF_SOURCES: as_typed(shown[CONF_SOURCES])}
        if CONF_MAIN_ROUTER_SWITCH in shown:
            shown = {**shown, CONF_MAIN_ROUTER_SWITCH: named}
        return self.async_show_form(
            step_id=step_id,
            data_schema=self.add_suggested_values_to_schema(schema, shown),
            errors=errors,
            description_placeholders={
                **(placeholders or {}),
                "router": self._address,
                "note": await self._note(),
            },
        )

    async def _note(self) -> str:
        """Return what has to be known of the router; mostly nothing."""
        router = router_of(self._get_entry())
        if router is None or router.rules.ends_forwards:
            return ""
        texts = await async_texts(self.hass)
        return f"\n\n{texts.get('ends_with_home_assistant')}"

    async def _store(
        self,
        name: str,
        forward: Forward,
        public: PortRange,
        user_input: Mapping[str, Any],
    ) -> SubentryFlowResult:
        """Add the forward to the router, or change the one that it was.

        The last page says what comes of it, and what the main router needs.
        """
        entry = self._get_entry()
        switch = chosen(self.hass, user_input)
        words = {
            **placeholders_of(forward),
            CONF_PUBLIC_PORT: str(public),
            "router": self._address,
        }
        texts = await async_texts(self.hass)
        who = who_sets(entry, public, switch)
        placeholders = {**words, "main_router": texts.get(who, **words)}
        data = {**fields_of(name, forward, public, switch), **self._follows}
        if forward.id == _NEW:
            on, reached = user_input[CONF_ENABLED], router_of(entry)
            return self.async_create_entry(
                title=name,
                data={**data, CONF_ENABLED: True} if on else data,
                description=(None if reached else "later") if on else "off",
                description_placeholders=placeholders,
            )
        subentry = self._get_reconfigure_subentry()
        # The first waits for the router yet; the other has an entity of its own.
        for field in (CONF_ENABLED, CONF_OPEN_FOR):
            if field in subentry.data:
                data[field] = subentry.data[field]
        self.hass.config_entries.async_update_subentry(
            entry, subentry, title=name, data=data
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
