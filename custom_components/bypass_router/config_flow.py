"""Adding a router: its address first, then, its key being known, the secrets."""

from collections.abc import Mapping
from typing import Any, override

from homeassistant.config_entries import (
    SOURCE_REAUTH,
    SOURCE_USER,
    ConfigEntry,
    ConfigEntryState,
    ConfigFlow,
    ConfigFlowResult,
    ConfigSubentryFlow,
    OptionsFlow,
)
from homeassistant.const import CONF_HOST, CONF_PASSWORD, CONF_PORT, CONF_USERNAME
from homeassistant.core import callback
from homeassistant.helpers.device_registry import format_mac
from homeassistant.helpers.selector import (
    BooleanSelector,
    NumberSelector,
    NumberSelectorConfig,
    NumberSelectorMode,
    TextSelector,
    TextSelectorConfig,
    TextSelectorType,
)
import voluptuous as vol

from .const import (
    CONF_HOST_KEY,
    CONF_INSTALL_KEY,
    CONF_PASSPHRASE,
    CONF_PRIVATE_KEY,
    DEFAULT_PORT,
    DEFAULT_USERNAME,
    DOMAIN,
    SUBENTRY_FORWARD,
)
from .flows.forward import ForwardFlow
from .flows.options import BypassRouterOptionsFlow
from .flows.ssh_key import forget_key, install_key
from .flows.text_input import Form, is_password, is_username, parse_host
from .router.ssh.credentials import Credentials, HostKey
from .router.ssh.session import fetch_host_key
from .sync.connection import connect_router

ROUTER_SCHEMA = vol.Schema(
    {
        vol.Required(CONF_HOST): TextSelector(),
        vol.Required(CONF_PORT, default=DEFAULT_PORT): vol.All(
            NumberSelector(
                NumberSelectorConfig(
                    min=1, max=65535, step=1, mode=NumberSelectorMode.BOX
                )
            ),
            vol.Coerce(int),
        ),
        vol.Required(CONF_USERNAME, default=DEFAULT_USERNAME): TextSelector(
            TextSelectorConfig(autocomplete="username")
        ),
    }
)
_SECRET = TextSelectorConfig(
    type=TextSelectorType.PASSWORD, autocomplete="current-password"
)
CREDENTIALS_SCHEMA = vol.Schema(
    {
        vol.Optional(CONF_PASSWORD): TextSelector(_SECRET),
        vol.Required(CONF_INSTALL_KEY, default=True): BooleanSelector(),
        vol.Optional(CONF_PRIVATE_KEY): TextSelector(
            TextSelectorConfig(multiline=True)
        ),
        vol.Optional(CONF_PASSPHRASE): TextSelector(_SECRET),
    }
)


class BypassRouterConfigFlow(ConfigFlow, domain=DOMAIN):
    """The forms that add a router."""

    _account: dict[str, Any]
    _host_key: HostKey

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
        return await self._ask_address("user", user_input, None)

    async def async_step_reconfigure(
        self, user_input: dict[str, Any] | None = None
    ) -> ConfigFlowResult:
        """Ask where the router is now, and look whether one is there."""
        entry = self._get_reconfigure_entry()
        return await self._ask_address("reconfigure", user_input, entry.data)

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
        """The same; nothing given means what is stored."""
        stored = self._get_reconfigure_entry().data
        return await self._ask_secrets(
            "reconfigure_credentials",
            user_input,
            Credentials(
                self._account[CONF_USERNAME],
                stored.get(CONF_PASSWORD),
                stored.get(CONF_PRIVATE_KEY),
                stored.get(CONF_PASSPHRASE),
            ),
        )

    async def _ask_address(
        self,
        step_id: str,
        user_input: dict[str, Any] | None,
        stored: Mapping[str, Any] | None,
    ) -> ConfigFlowResult:
        """Show the form for the address; go on when a router is there."""
        form = Form()
        if user_input is not None:
            host = parse_host(user_input[CONF_HOST])
            username = user_input[CONF_USERNAME].strip()
            if host is None:
                form.errors[CONF_HOST] = "invalid_host"
            if not is_username(username):
                form.errors[CONF_USERNAME] = "invalid_username"
            if host is not None and not form.errors:
                port = user_input[CONF_PORT]
                with form.told():
                    self._host_key = await fetch_host_key(host, port)
                    self._account = {
                        CONF_HOST: host,
                        CONF_PORT: port,
                        CONF_USERNAME: username,
                    }
                    if stored is None:
                        return await self.async_step_credentials()
                    return await self.async_step_reconfigure_credentials()
        return self._show(step_id, ROUTER_SCHEMA, user_input or stored, form)

    async def _ask_secrets(
        self,
        step_id: str,
        user_input: dict[str, Any] | None,
        stored: Credentials | None = None,
    ) -> ConfigFlowResult:
        """Show the form for the secrets; go on when they let us in."""
        form = Form(placeholders=self._placeholders())
        if user_input is not None:
            password = user_input.get(CONF_PASSWORD)
            private_key = user_input.get(CONF_PRIVATE_KEY, "").strip()
            given = Credentials(
                self._account[CONF_USERNAME],
                password=password or None,
                private_key=private_key or None,
                passphrase=(private_key and user_input.get(CONF_PASSPHRASE)) or None,
            )
            credentials = given if password or private_key else stored
            if not is_password(password or ""):
                form.errors[CONF_PASSWORD] = "invalid_password"
            elif password and private_key:
                form.errors["base"] = "credentials_ambiguous"
            elif credentials is None:
                form.errors["base"] = "credentials_missing"
            else:
                make_key = bool(password and user_input[CONF_INSTALL_KEY])
                with form.told():
                    return await self._finish(credentials, make_key=make_key)
        return self._show(step_id, CREDENTIALS_SCHEMA, user_input, form)

    def _show(
        self,
        step_id: str,
        schema: vol.Schema,
        user_input: Mapping[str, Any] | None,
        form: Form,
    ) -> ConfigFlowResult:
        """Show a form, with what was typed and what is wrong with it."""
        return self.async_show_form(
            step_id=step_id,
            data_schema=self.add_suggested_values_to_schema(schema, user_input),
            errors=form.errors,
            description_placeholders=form.placeholders,
        )

    def _placeholders(self) -> dict[str, str]:
        """Return the words that tell the user which router this is."""
        # ssh-ed25519, ecdsa-sha2-nistp256, ssh-rsa: files are named after the kind.
        kind = self._host_key.text.split()[0].removeprefix("ssh-").partition("-")[0]
        return {
            CONF_HOST: self._account[CONF_HOST],
            CONF_USERNAME: self._account[CONF_USERNAME],
            "fingerprint": self._host_key.fingerprint,
            "openssh_command": f"ssh-keygen -lf /etc/ssh/ssh_host_{kind}_key.pub",
            "dropbear_command": (
                f"dropbearkey -y -f /etc/dropbear/dropbear_{kind}_host_key"
            ),
        }

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
        router = await connect_router(self.hass, self._data(credentials))
        try:
            mac_address = router.probe.mac_address
            await self.async_set_unique_id(
                format_mac(mac_address) if mac_address else self._host_key.fingerprint,
                # A form left open somewhere must not stand in the way.
                raise_on_progress=False,
            )
            if self.source == SOURCE_USER:
                self._abort_if_unique_id_configured()
            else:
                self._abort_if_unique_id_mismatch(reason="another_router")
            if make_key:
                credentials = await install_key(self.hass, router, self._router_data)
            if self.source != SOURCE_USER:
                old = self._changed_entry.data
                await forget_key(self.hass, router, old, credentials)
        finally:
            await router.close()
        data = self._data(credentials)
        if self.source == SOURCE_USER:
            title = router.probe.hostname or self._account[CONF_HOST]
            return self.async_create_entry(title=title, data=data)
        entry = self._changed_entry
        # One that is loaded sees the change by itself, and begins to reload at once.
        sees = entry.state is ConfigEntryState.LOADED
        done = self.async_update_and_abort(entry, data=data)
        if not sees:
            self.hass.config_entries.async_schedule_reload(entry.entry_id)
        return done

    @property
    def _changed_entry(self) -> ConfigEntry:
        """The entry that the flow is about."""
        if self.source == SOURCE_REAUTH:
            return self._get_reauth_entry()
        return self._get_reconfigure_entry()
