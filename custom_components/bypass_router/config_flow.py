"""Adding a router: its address first, then, its key being known, the secrets."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from ipaddress import IPv6Address, ip_address
import logging
import re
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
from homeassistant.data_entry_flow import AbortFlow
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
    CONF_RESTORE,
    DEFAULT_PORT,
    DEFAULT_USERNAME,
    DOMAIN,
    SUBENTRY_FORWARD,
)
from .forward_flow import ForwardFlow
from .link import async_owner, connect
from .router.account_key import generate_key, made_here
from .router.credentials import Credentials, HostKey
from .router.errors import AuthenticationFailed, KeyNotInstalled, RouterError
from .router.router import Router
from .router.session import fetch_host_key

_LOGGER = logging.getLogger(__name__)

_MAX_HOST_NAME = 253
_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
# The last label has a letter, or it would be an address gone wrong.
_HOST_NAME = re.compile(rf"(?:{_LABEL}\.)*(?=[^.]*[A-Za-z]){_LABEL}\.?")
_SCOPE = re.compile(r"[A-Za-z0-9._-]{1,15}")
_USERNAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.@+-]{0,63}")

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


OPTIONS_SCHEMA = vol.Schema(
    {vol.Required(CONF_RESTORE, default=True): BooleanSelector()}
)


@dataclass(slots=True)
class _Form:
    """What a form tells beside its fields."""

    errors: dict[str, str] = field(default_factory=dict)
    placeholders: dict[str, str] = field(default_factory=dict)

    @contextmanager
    def told(self) -> Iterator[None]:
        """Turn what goes wrong into the form's sentence about it."""
        try:
            yield
        except AbortFlow:
            raise
        except RouterError as err:
            self.errors["base"] = err.key
            self.placeholders |= err.details
        except Exception:
            _LOGGER.exception("Unexpected error while adding a router")
            self.errors["base"] = "unknown"


def _parse_host(text: str) -> str | None:
    """Return a host's name or address as the network takes it, or None."""
    host = text.strip()
    if len(host) <= _MAX_HOST_NAME and _HOST_NAME.fullmatch(host):
        return host
    if host.startswith("[") and host.endswith("]"):
        host = host[1:-1]
    try:
        address = ip_address(host)
    except ValueError:
        return None
    if address.is_unspecified or address.is_multicast:
        return None
    if isinstance(address, IPv6Address) and not _SCOPE.fullmatch(
        address.scope_id or "0"
    ):
        return None
    return str(address)


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
        """Sign in anew to the router whose key is pinned."""
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
        form = _Form()
        if user_input is not None:
            host = _parse_host(user_input[CONF_HOST])
            username = user_input[CONF_USERNAME].strip()
            if host is None:
                form.errors[CONF_HOST] = "invalid_host"
            if not _USERNAME.fullmatch(username):
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
        form = _Form(placeholders=self._placeholders())
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
            if password and private_key:
                form.errors["base"] = "credentials_ambiguous"
            elif credentials is None:
                form.errors["base"] = "credentials_missing"
            else:
                install_key = bool(password and user_input[CONF_INSTALL_KEY])
                with form.told():
                    return await self._finish(credentials, install_key=install_key)
        return self._show(step_id, CREDENTIALS_SCHEMA, user_input, form)

    def _show(
        self,
        step_id: str,
        schema: vol.Schema,
        user_input: Mapping[str, Any] | None,
        form: _Form,
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

    def _data(self, credentials: Credentials) -> dict[str, Any]:
        """Return what an entry holds of a router."""
        data = {
            **self._account,
            CONF_HOST_KEY: self._host_key.text,
            CONF_PASSWORD: credentials.password,
            CONF_PRIVATE_KEY: credentials.private_key,
            CONF_PASSPHRASE: credentials.passphrase,
        }
        return {name: value for name, value in data.items() if value is not None}

    async def _finish(
        self, credentials: Credentials, *, install_key: bool
    ) -> ConfigFlowResult:
        """Keep what lets us into the router, if we can work with it."""
        router = await connect(self.hass, self._data(credentials))
        try:
            hardware_address = router.probe.hardware_address
            await self.async_set_unique_id(
                format_mac(hardware_address)
                if hardware_address
                else self._host_key.fingerprint,
                # A form left open somewhere must not stand in the way.
                raise_on_progress=False,
            )
            if self.source == SOURCE_USER:
                self._abort_if_unique_id_configured()
            else:
                self._abort_if_unique_id_mismatch(reason="another_router")
            if install_key:
                credentials = await self._install_key(router, credentials.username)
            await self._forget_key(router, credentials)
        finally:
            await router.close()
        data = self._data(credentials)
        if self.source == SOURCE_USER:
            title = router.probe.hostname or self._account[CONF_HOST]
            return self.async_create_entry(title=title, data=data)
        entry = self._changed_entry
        done = self.async_update_and_abort(entry, data=data)
        if entry.state is not ConfigEntryState.LOADED:
            # One that is loaded sees the change by itself.
            self.hass.config_entries.async_schedule_reload(entry.entry_id)
        return done

    @property
    def _changed_entry(self) -> ConfigEntry:
        """The entry that the flow is about."""
        if self.source == SOURCE_REAUTH:
            return self._get_reauth_entry()
        return self._get_reconfigure_entry()

    async def _forget_key(self, router: Router, credentials: Credentials) -> None:
        """Remove a key that we made before, and that another one replaces."""
        if self.source == SOURCE_USER:
            return
        old = self._changed_entry.data
        key = old.get(CONF_PRIVATE_KEY)
        if (
            key
            and key != credentials.private_key
            and old[CONF_USERNAME] == credentials.username
            and made_here(key, await async_owner(self.hass))
        ):
            await _take_back(router, key)

    async def _install_key(self, router: Router, username: str) -> Credentials:
        """Make a key and give it to the router; return it once it logs in.

        Raises KeyNotInstalled, and leaves no key behind then.
        """
        private_key = generate_key(await async_owner(self.hass))
        credentials = Credentials(username, private_key=private_key)
        try:
            await router.install_key(private_key)
            await (await connect(self.hass, self._data(credentials))).close()
        except Exception as err:
            await _take_back(router, private_key)
            if isinstance(err, RouterError):
                raise KeyNotInstalled(message=_reason(err)) from err
            raise
        return credentials


async def _take_back(router: Router, private_key: str) -> None:
    """Remove a key that is of no use, as far as the router lets us."""
    try:
        await router.remove_key(private_key)
    except RouterError as err:
        _LOGGER.warning("A key that is not used stays on the router: %s", err)


def _reason(err: RouterError) -> str:
    """Return in the router's own words why a key can't be used."""
    if isinstance(err, AuthenticationFailed):
        return "Permission denied (publickey)"
    return err.details.get("message") or str(err)


class BypassRouterOptionsFlow(OptionsFlow):
    """The form of a router's options."""

    async def async_step_init(
        self, user_input: dict[str, Any] | None = None
    ) -> ConfigFlowResult:
        """Ask for the options; they hold from the next change on the router."""
        if user_input is not None:
            return self.async_create_entry(data=user_input)
        return self.async_show_form(
            step_id="init",
            data_schema=self.add_suggested_values_to_schema(
                OPTIONS_SCHEMA, self.config_entry.options
            ),
        )
