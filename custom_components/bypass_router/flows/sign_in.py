"""The form for what lets us into a router, and what is typed there."""

from typing import Any, Final

from homeassistant.const import CONF_PASSWORD
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

_SECRET = TextSelectorConfig(
    type=TextSelectorType.PASSWORD, autocomplete="current-password"
)
CREDENTIALS_SCHEMA: Final = vol.Schema(
    {
        vol.Optional(CONF_PASSWORD): TextSelector(_SECRET),
        vol.Required(CONF_INSTALL_KEY, default=True): BooleanSelector(),
        vol.Optional(CONF_PRIVATE_KEY): TextSelector(
            TextSelectorConfig(multiline=True)
        ),
        vol.Optional(CONF_PASSPHRASE): TextSelector(_SECRET),
    }
)


def credentials_in(
    user_input: dict[str, Any],
    username: str,
    stored: Credentials | None,
    form: Form,
) -> Credentials | None:
    """Return what was typed, or else what is stored; none with a mistake in the form.

    `stored` is given only where the router is to prove the key that goes with it.
    """
    password = user_input.get(CONF_PASSWORD)
    private_key = user_input.get(CONF_PRIVATE_KEY, "").strip()
    given = Credentials(
        username,
        password=password or None,
        private_key=private_key or None,
        passphrase=(private_key and user_input.get(CONF_PASSPHRASE)) or None,
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
