"""Adding a router: its address first, then, its key being known, the secrets."""

from collections.abc import Mapping
import logging
from typing import Any, override

from homeassistant.config_entries import (
    SOURCE_REAUTH,
    SOURCE_RECONFIGURE,
    SOURCE_USER,
    ConfigEntry,
    ConfigEntryState,
    ConfigFlow,
    ConfigFlowResult,
    ConfigSubentryFlow,
    FlowType,
    OptionsFlow,
    SubentryFlowContext,
)
from homeassistant.const import CONF_HOST, CONF_PASSWORD, CONF_PORT, CONF_USERNAME
from homeassistant.core import callback
from homeassistant.data_entry_flow import FlowResultType
import voluptuous as vol

from .const import (
    CONF_HOST_KEY,
    CONF_INSTALL_KEY,
    CONF_PASSPHRASE,
    CONF_PRIVATE_KEY,
    DOMAIN,
    SUBENTRY_FORWARD,
)
from .flows.address import ROUTER_SCHEMA, account_in, corrected
from .flows.forward import ForwardFlow
from .flows.host_key import async_check, words_of
from .flows.identify import async_identify
from .flows.options import BypassRouterOptionsFlow
from .flows.sign_in import CredentialsSchema, credentials_in, schema_for
from .flows.ssh_key import install_key
from .flows.text_input import Form
from .issues import Issues
from .router.errors import HostKeyChanged
from .router.ssh.credentials import Credentials, HostKey
from .router.ssh.session import fetch_host_key
from .sync.connection import connect_router
from .sync.identity import others, pinned_key
from .sync.left_behind import async_forget_keys

_LOGGER = logging.getLogger(__name__)


class BypassRouterConfigFlow(ConfigFlow, domain=DOMAIN):
    """The forms that add a router."""

    _account: dict[str, Any]
    _host_key: HostKey
    _shown = False
    """Whether the form for secrets was made before."""

    @classmethod
    @callback
    @override
    def async_get_supported_subentry_types(
        cls, config_entry: ConfigEntry
    ) -> dict[str, type[ConfigSubentryFlow]]:
        """Return what a router can have: forwards."""
        return {SUBENTRY_FORWARD: ForwardFlow}

    @staticmethod
    @callback
    @override
    def async_get_options_flow(config_entry: ConfigEntry) -> OptionsFlow:
        """Return the form of a router's options."""
        return BypassRouterOptionsFlow()

    @override
    async def async_step_user(
        self, user_input: dict[str, Any] | None = None
    ) -> ConfigFlowResult:
        """Ask where the router is, and look whether one is there."""
        return await self._ask_address("user", user_input)

    async def async_step_reconfigure(
        self, user_input: dict[str, Any] | None = None
    ) -> ConfigFlowResult:
        """Ask where the router is now, and look whether one is there."""
        return await self._ask_address("reconfigure", user_input)

    async def async_step_reauth(
        self, entry_data: Mapping[str, Any]
    ) -> ConfigFlowResult:
        """Sign in again to the router whose key is pinned."""
        self._account = {
            name: entry_data[name] for name in (CONF_HOST, CONF_PORT, CONF_USERNAME)
        }
        self._host_key = HostKey(entry_data[CONF_HOST_KEY])
        return await self.async_step_reauth_confirm()

    async def async_step_reauth_confirm(
        self, user_input: dict[str, Any] | None = None
    ) -> ConfigFlowResult:
        """Ask for what lets us in again."""
        return await self._ask_secrets("reauth_confirm", user_input)

    async def async_step_credentials(
        self, user_input: dict[str, Any] | None = None
    ) -> ConfigFlowResult:
        """Show who the router says it is, and ask for what it wants to see."""
        return await self._ask_secrets("credentials", user_input)

    async def async_step_reconfigure_credentials(
        self, user_input: dict[str, Any] | None = None
    ) -> ConfigFlowResult:
        """The same; nothing given means what is stored for the pinned key."""
        return await self._ask_secrets("reconfigure_credentials", user_input)

    async def async_step_reconfigure_host_key(
        self, _: dict[str, Any] | None = None
    ) -> ConfigFlowResult:
        """Say that another key is proved there, before anything else is asked."""
        return self.async_show_menu(
            step_id="reconfigure_host_key",
            menu_options=["new_host_key", "reconfigure"],
            description_placeholders=self._placeholders(),
        )

    async def async_step_new_host_key(
        self, user_input: dict[str, Any] | None = None
    ) -> ConfigFlowResult:
        """Ask for what is sent to a router whose new key was accepted; all of it."""
        return await self._ask_secrets("new_host_key", user_input)

    async def _ask_address(
        self, step_id: str, user_input: dict[str, Any] | None
    ) -> ConfigFlowResult:
        """Show the form for the address; go on when a router is there."""
        form = Form()
        entry = self._changed_entry
        if user_input is not None and (account := account_in(user_input, form)):
            with form.told():
                self._host_key = await fetch_host_key(
                    account[CONF_HOST],
                    account[CONF_PORT],
                    *((pinned_key(entry),) if entry else ()),
                )
                self._account = account
                return await self._step_after_address()
        shown = user_input or (entry.data if entry else {})
        schema = self.add_suggested_values_to_schema(ROUTER_SCHEMA, shown)
        return self._show(step_id, schema, form, last_step=False)

    async def _step_after_address(self) -> ConfigFlowResult:
        """Ask for secrets, which are sent to whoever has the key that is shown."""
        if (entry := self._changed_entry) is None:
            return await self.async_step_credentials()
        if self._is_pinned:
            return await self.async_step_reconfigure_credentials()
        if any(
            pinned_key(other) == self._host_key for other in others(self.hass, entry)
        ):
            return self.async_abort(reason="another_router")
        return await self.async_step_reconfigure_host_key()

    async def _ask_secrets(
        self, step_id: str, user_input: dict[str, Any] | None
    ) -> ConfigFlowResult:
        """Show the form for the secrets; go on when they let us in."""
        form = Form(placeholders=self._placeholders())
        if user_input is not None:
            self._account = corrected(self._account, user_input, form)
            username = self._account[CONF_USERNAME]
            stored = self._stored if step_id == "reconfigure_credentials" else None
            credentials = credentials_in(user_input, username, stored, form)
            if credentials is not None and not form.errors:
                password = user_input.get(CONF_PASSWORD)
                make_key = bool(password and user_input[CONF_INSTALL_KEY])
                with form.told():
                    return await self._finish(credentials, make_key=make_key)
        elif self.source == SOURCE_REAUTH and self._shown:
            # It was made when the router refused us, which may be long ago.
            try:
                await async_check(self._account, self._host_key)
            except HostKeyChanged as err:
                return self._stop(err)
        self._shown = True
        shown = {CONF_USERNAME: self._account[CONF_USERNAME], **(user_input or {})}
        schema = self.add_suggested_values_to_schema(schema_for(shown), shown)
        return self._show(step_id, CredentialsSchema(schema.schema), form)

    def _stop(self, err: HostKeyChanged) -> ConfigFlowResult:
        """End signing in again to a router that has another key; a repair asks."""
        Issues(self.hass, self._get_reauth_entry()).host_key_changed(err)
        return self.async_abort(
            reason="host_key_changed", description_placeholders=err.details
        )

    def _show(
        self,
        step_id: str,
        schema: vol.Schema,
        form: Form,
        *,
        last_step: bool | None = None,
    ) -> ConfigFlowResult:
        """Show a form, and what is wrong with what was typed."""
        return self.async_show_form(
            step_id=step_id,
            data_schema=schema,
            errors=form.errors,
            description_placeholders=form.placeholders,
            last_step=last_step,
        )

    def _placeholders(self) -> dict[str, str]:
        """Return the words that tell the user which router this is."""
        words = {
            CONF_HOST: self._account[CONF_HOST],
            CONF_USERNAME: self._account[CONF_USERNAME],
            **words_of(self._host_key),
        }
        if (entry := self._changed_entry) and not self._is_pinned:
            words["expected"] = pinned_key(entry).fingerprint
        return words

    @property
    def _router_data(self) -> dict[str, Any]:
        """What an entry holds of a router, but for what lets us in."""
        return {**self._account, CONF_HOST_KEY: self._host_key.text}

    def _data(self, credentials: Credentials) -> dict[str, Any]:
        """Return what an entry holds of a router."""
        data = {
            **self._router_data,
            CONF_PASSWORD: credentials.password,
            CONF_PRIVATE_KEY: credentials.private_key,
            CONF_PASSPHRASE: credentials.passphrase,
        }
        return {name: value for name, value in data.items() if value is not None}

    async def _finish(
        self, credentials: Credentials, *, make_key: bool
    ) -> ConfigFlowResult:
        """Keep what lets us into the router, if we can work with it."""
        entry = self._changed_entry
        try:
            router = await connect_router(self.hass, self._data(credentials))
        except HostKeyChanged as err:
            if self.source != SOURCE_REAUTH:
                raise
            return self._stop(err)
        try:
            unique_id = await async_identify(self.hass, router, self._host_key, entry)
            # A form left open somewhere must not stand in the way.
            await self.async_set_unique_id(unique_id, raise_on_progress=False)
            if make_key:
                credentials = await install_key(self.hass, router, self._router_data)
            await async_forget_keys(router, credentials.private_key)
        finally:
            await router.close()
        data = self._data(credentials)
        if entry is None:
            title = router.probe.hostname or self._account[CONF_HOST]
            return self.async_create_entry(title=title, data=data)
        # One that is loaded sees the change by itself, and begins to reload at once.
        sees = entry.state is ConfigEntryState.LOADED
        done = self.async_update_and_abort(entry, data=data, unique_id=unique_id)
        if not sees:
            self.hass.config_entries.async_schedule_reload(entry.entry_id)
        return done

    @override
    async def async_on_create_entry(self, result: ConfigFlowResult) -> ConfigFlowResult:
        """Lead on from a new router to its first forward.

        The router is there, whether that form can be shown or not.
        """
        entry = result["result"]
        try:
            form = await self.hass.config_entries.subentries.async_init(
                (entry.entry_id, SUBENTRY_FORWARD),
                context=SubentryFlowContext(source=SOURCE_USER),
            )
        except Exception:
            _LOGGER.exception("No form for the first forward of %s", entry.title)
            return result
        if form["type"] is FlowResultType.FORM:
            result["next_flow"] = FlowType.CONFIG_SUBENTRIES_FLOW, form["flow_id"]
        return result

    @property
    def _changed_entry(self) -> ConfigEntry | None:
        """The entry that the flow is about, if there is one."""
        if self.source == SOURCE_REAUTH:
            return self._get_reauth_entry()
        if self.source == SOURCE_RECONFIGURE:
            return self._get_reconfigure_entry()
        return None

    @property
    def _is_pinned(self) -> bool:
        """Whether the router is to prove the key that the entry knows."""
        entry = self._changed_entry
        return entry is not None and pinned_key(entry) == self._host_key

    @property
    def _stored(self) -> Credentials | None:
        """What the entry has for whoever proves its pinned key, and no one else."""
        if (entry := self._changed_entry) is None or not self._is_pinned:
            return None
        return Credentials(
            self._account[CONF_USERNAME],
            entry.data.get(CONF_PASSWORD),
            entry.data.get(CONF_PRIVATE_KEY),
            entry.data.get(CONF_PASSPHRASE),
        )
