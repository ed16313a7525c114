"""The form for what lets us into a router, and what is typed there."""

from collections.abc import Mapping
from typing import Any, Final, override

from homeassistant.const import CONF_PASSWORD, CONF_USERNAME
from homeassistant.data_entry_flow import section
from homeassistant.helpers.selector import (
    BooleanSelector,
    TextSelector,
    TextSelectorConfig,
    TextSelectorType,
)
import voluptuous as vol

from ..const import CONF_INSTALL_KEY, CONF_PASSPHRASE, CONF_PRIVATE_KEY
from ..router.ssh.credentials import Credentials
from .text_input import Form, is_password

SECTION_KEY: Final = "own_key"

_SECRET = TextSelectorConfig(
    type=TextSelectorType.PASSWORD, autocomplete="current-password"
)
_KEY_FIELDS: Final = {
    vol.Optional(CONF_PRIVATE_KEY): TextSelector(TextSelectorConfig(multiline=True)),
    vol.Optional(CONF_PASSPHRASE): TextSelector(_SECRET),
}


class CredentialsSchema(vol.Schema):
    """Takes the fields of the closed part also beside it, as other clients send them.

    The frontend draws what is in the part, and sends it there.
    """

    @override
    def __call__(self, data: Any, **others: Any) -> Any:
        """Validate what was sent."""
        if isinstance(data, dict) and isinstance(data.get(SECTION_KEY, {}), dict):
            beside = {name: data[name] for name in _KEY_FIELDS if name in data}
            rest = {name: data[name] for name in data if name not in beside}
            data = {**rest, SECTION_KEY: {**beside, **data.get(SECTION_KEY, {})}}
        return super().__call__(data, **others)


def _schema(*, collapsed: bool) -> CredentialsSchema:
    """Return the form, whose part for a key of one's own is closed or open."""
    return CredentialsSchema(
        {
            vol.Optional(CONF_USERNAME): TextSelector(
                TextSelectorConfig(autocomplete="username")
            ),
            vol.Optional(CONF_PASSWORD): TextSelector(_SECRET),
            vol.Required(CONF_INSTALL_KEY, default=True): BooleanSelector(),
            vol.Optional(SECTION_KEY): section(
                vol.Schema(_KEY_FIELDS), {"collapsed": collapsed}
            ),
        }
    )


CREDENTIALS_SCHEMA: Final = _schema(collapsed=True)
_OPEN: Final = _schema(collapsed=False)


def schema_for(typed: Mapping[str, Any]) -> vol.Schema:
    """Return the form for what was typed, all of which is to be seen."""
    return _OPEN if typed.get(SECTION_KEY) else CREDENTIALS_SCHEMA


def credentials_in(
    user_input: Mapping[str, Any],
    username: str,
    stored: Credentials | None,
    form: Form,
) -> Credentials | None:
    """Return what was typed, or else what is stored; none with a mistake in the form.

    `stored` is given only where the router is to prove the key that goes with it.
    """
    key = user_input.get(SECTION_KEY, {})
    password = user_input.get(CONF_PASSWORD)
    private_key = key.get(CONF_PRIVATE_KEY, "").strip()
    given = Credentials(
        username,
        password=password or None,
        private_key=private_key or None,
        passphrase=(private_key and key.get(CONF_PASSPHRASE)) or None,
    )
    if not is_password(password or ""):
        form.errors[CONF_PASSWORD] = "invalid_password"
    elif password and private_key:
        form.errors["base"] = "credentials_ambiguous"
    elif password or private_key:
        return given
    elif stored is None:
        form.errors["base"] = "credentials_missing"
    return None if form.errors else stored
