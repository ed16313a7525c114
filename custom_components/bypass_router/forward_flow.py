"""Adding a port forward to a router, and changing one."""

from collections.abc import Collection, Iterator, Mapping
import logging
from typing import TYPE_CHECKING, Any
import unicodedata

from homeassistant.config_entries import (
    ConfigEntryState,
    ConfigSubentry,
    ConfigSubentryFlow,
    SubentryFlowResult,
)
from homeassistant.const import (
    CONF_HOST,
    CONF_NAME,
    CONF_PORT,
    CONF_PROTOCOL,
    CONF_TARGET,
)
from homeassistant.helpers.selector import (
    BooleanSelector,
    SelectSelector,
    SelectSelectorConfig,
    SelectSelectorMode,
    TextSelector,
    TextSelectorConfig,
)
import voluptuous as vol

from .const import (
    CONF_EXTERNAL_PORT,
    CONF_KEEP_CLIENT_ADDRESS,
    CONF_SOURCES,
    CONF_TARGET_PORT,
    SUBENTRY_FORWARD,
)
from .router.errors import RouterError
from .router.forward import Forward, InvalidForward, Protocol
from .router.listeners import Listener

if TYPE_CHECKING:
    from .coordinator import BypassRouterConfigEntry

_LOGGER = logging.getLogger(__name__)

_MAX_NAME = 100
# Emoji and some scripts join their letters with these; other marks that can't
# be seen, such as those that turn the direction of writing, only deceive.
_JOINERS = "\u200c\u200d"
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


def forward_of(subentry: ConfigSubentry) -> Forward:
    """Return the forward that a subentry holds.

    Raises InvalidForward for data that this flow did not write.
    """
    data = {
        CONF_TARGET_PORT: "",
        CONF_SOURCES: [],
        CONF_KEEP_CLIENT_ADDRESS: False,
        **subentry.data,
    }
    texts = (CONF_PROTOCOL, CONF_EXTERNAL_PORT, CONF_TARGET, CONF_TARGET_PORT)
    malformed = [field for field in texts if not isinstance(data.get(field), str)]
    if not isinstance(data.get(CONF_SOURCES), list) or not all(
        isinstance(source, str) for source in data[CONF_SOURCES]
    ):
        malformed.append(CONF_SOURCES)
    if not isinstance(data.get(CONF_KEEP_CLIENT_ADDRESS), bool):
        malformed.append(CONF_KEEP_CLIENT_ADDRESS)
    if malformed:
        raise InvalidForward(dict.fromkeys(malformed, "malformed"))
    return _parse(subentry.subentry_id, data)


def _parse(forward_id: str, fields: Mapping[str, Any]) -> Forward:
    """Make a forward of the form's fields. Raises InvalidForward."""
    return Forward.parse(
        forward_id,
        protocol=fields[CONF_PROTOCOL],
        external_port=fields[CONF_EXTERNAL_PORT],
        target=fields[CONF_TARGET],
        target_port=fields.get(CONF_TARGET_PORT, ""),
        # The form sends an empty line for a row that was added and not filled.
        sources=[text for text in fields.get(CONF_SOURCES, []) if text.strip()],
        keep_client_address=fields[CONF_KEEP_CLIENT_ADDRESS],
    )


def _data(name: str, forward: Forward) -> dict[str, Any]:
    """Return what is stored of a forward: each field written in one way."""
    return {
        CONF_NAME: name,
        CONF_PROTOCOL: forward.protocol.value,
        CONF_EXTERNAL_PORT: str(forward.external),
        CONF_TARGET: str(forward.target),
        CONF_TARGET_PORT: str(forward.target_ports) if forward.shifted else "",
        CONF_SOURCES: [str(network) for network in forward.sources],
        CONF_KEEP_CLIENT_ADDRESS: forward.keep_client_address,
    }


def _is_name(text: str) -> bool:
    """Tell whether people can read the text, and read it as what it is."""
    return (
        len(text) <= _MAX_NAME
        and any(char.isprintable() and not char.isspace() for char in text)
        and all(map(_is_readable, text))
    )


def _is_readable(char: str) -> bool:
    """Tell whether a character is neither a control nor a format nor a line's end."""
    kind = unicodedata.category(char)
    return char in _JOINERS or not (kind.startswith("C") or kind in ("Zl", "Zp"))


class ForwardFlow(ConfigSubentryFlow):
    """The form for one port forward."""

    _confirmed: tuple[str, str, dict[str, Any]]
    _services: list[str]

    async def async_step_user(
        self, user_input: dict[str, Any] | None = None
    ) -> SubentryFlowResult:
        """Add a forward."""
        return await self._step("user", _NEW, user_input, {})

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
            return self._store(*self._confirmed)
        return self.async_show_form(
            step_id="confirm",
            data_schema=vol.Schema({}),
            description_placeholders={
                CONF_NAME: self._confirmed[1],
                "services": ", ".join(self._services),
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
        errors: dict[str, str] = {}
        placeholders: dict[str, str] = {}
        if user_input is not None:
            name = user_input[CONF_NAME].strip()
            errors = self._check_name(name, forward_id)
            try:
                forward = _parse(forward_id, user_input)
            except InvalidForward as err:
                errors |= err.errors
            else:
                losers = [
                    listener
                    for listener in await self._listeners()
                    if listener.taken_by(forward)
                ]
                found, placeholders = self._check_place(forward, losers)
                errors |= found
                if not errors:
                    self._confirmed = (forward_id, name, _data(name, forward))
                    if losers:
                        self._services = sorted(map(str, losers))
                        return await self.async_step_confirm()
                    return self._store(*self._confirmed)
        return self.async_show_form(
            step_id=step_id,
            data_schema=self.add_suggested_values_to_schema(
                SCHEMA, stored if user_input is None else user_input
            ),
            errors=errors,
            description_placeholders=placeholders,
        )

    def _store(
        self, forward_id: str, name: str, data: dict[str, Any]
    ) -> SubentryFlowResult:
        """Add the forward to the router, or change the one that it was."""
        if forward_id == _NEW:
            return self.async_create_entry(title=name, data=data)
        return self.async_update_and_abort(
            self._get_entry(),
            self._get_reconfigure_subentry(),
            title=name,
            data=data,
        )

    def _check_name(self, name: str, forward_id: str) -> dict[str, str]:
        """Return what is wrong with a forward's name."""
        if not _is_name(name):
            return {CONF_NAME: "invalid_name"}
        if any(
            other.title.casefold() == name.casefold()
            for other in self._others(forward_id)
        ):
            return {CONF_NAME: "name_taken"}
        return {}

    async def _listeners(self) -> frozenset[Listener]:
        """Return the router's own services; none of a router that is away."""
        entry: BypassRouterConfigEntry = self._get_entry()
        if entry.state is not ConfigEntryState.LOADED:
            return frozenset()
        if (router := entry.runtime_data.link.router) is None:
            return frozenset()
        try:
            return await router.listeners()
        except RouterError as err:
            _LOGGER.debug("The services of %s are not known: %s", entry.title, err)
            return frozenset()

    def _check_place(
        self, forward: Forward, losers: Collection[Listener]
    ) -> tuple[dict[str, str], dict[str, str]]:
        """Return what stands in the way on this router, and the words for it."""
        entry = self._get_entry()
        errors: dict[str, str] = {}
        taken = [
            other.title
            for other in self._others(forward.id)
            if (parsed := _forward_or_none(other)) and forward.conflicts(parsed)
        ]
        if taken:
            errors[CONF_EXTERNAL_PORT] = "port_taken"
        ssh = Listener("tcp", entry.data[CONF_PORT], "sshd")
        servers = [listener for listener in (ssh, *losers) if listener.is_ssh]
        port = next((it.port for it in servers if it.taken_by(forward)), ssh.port)
        if any(it.taken_by(forward) for it in servers):
            # Nobody would get at the router any more to take it back.
            errors[CONF_EXTERNAL_PORT] = "port_is_ssh"
        if str(forward.target) == entry.data[CONF_HOST]:
            errors[CONF_TARGET] = "target_is_router"
        return errors, {"other": ", ".join(taken), "port": str(port)}

    def _others(self, forward_id: str) -> Iterator[ConfigSubentry]:
        """Return the router's forwards beside this one."""
        return (
            subentry
            for subentry in self._get_entry().subentries.values()
            if subentry.subentry_type == SUBENTRY_FORWARD
            and subentry.subentry_id != forward_id
        )


def _forward_or_none(subentry: ConfigSubentry) -> Forward | None:
    """Return a subentry's forward; none for damaged data, which takes no port."""
    try:
        return forward_of(subentry)
    except InvalidForward:
        return None
