"""The form for where a router is, and what is typed there."""

from collections.abc import Mapping
from typing import Any, Final

from homeassistant.const import CONF_HOST, CONF_PORT, CONF_USERNAME
from homeassistant.helpers.selector import (
    NumberSelector,
    NumberSelectorConfig,
    NumberSelectorMode,
    TextSelector,
    TextSelectorConfig,
)
import voluptuous as vol

from ..const import DEFAULT_PORT, DEFAULT_USERNAME
from .text_input import Form, is_username, parse_host

ROUTER_SCHEMA: Final = vol.Schema(
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


def corrected(
    account: dict[str, Any], user_input: Mapping[str, Any], form: Form
) -> dict[str, Any]:
    """Return an account with the user name of a later form, if there is one.

    That it was mistyped shows only where one signs in.
    """
    username = user_input.get(CONF_USERNAME, "").strip()
    if not username:
        return account
    if not is_username(username):
        form.errors[CONF_USERNAME] = "invalid_username"
        return account
    return {**account, CONF_USERNAME: username}


def account_in(user_input: dict[str, Any], form: Form) -> dict[str, Any] | None:
    """Return what an entry holds of an account; none with a mistake in the form."""
    host = parse_host(user_input[CONF_HOST])
    username = user_input[CONF_USERNAME].strip()
    if host is None:
        form.errors[CONF_HOST] = "invalid_host"
    if not is_username(username):
        form.errors[CONF_USERNAME] = "invalid_username"
    if form.errors:
        return None
    return {
        CONF_HOST: host,
        CONF_PORT: user_input[CONF_PORT],
        CONF_USERNAME: username,
    }
