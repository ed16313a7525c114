"""The key that Home Assistant makes, on its way to the router and back."""

from collections.abc import Mapping
import logging
from typing import Any

from homeassistant.const import CONF_USERNAME
from homeassistant.core import HomeAssistant

from ..const import CONF_PRIVATE_KEY
from ..errors import english_of
from ..router.errors import AuthenticationFailed, KeyRefused, RouterError
from ..router.router import Router
from ..router.ssh.authorized_keys import generate_key
from ..router.ssh.credentials import Credentials
from ..sync.connection import async_owner, connect_router

_LOGGER = logging.getLogger(__name__)


async def install_key(
    hass: HomeAssistant, router: Router, account: Mapping[str, Any]
) -> Credentials:
    """Make a key and give it to the router; return it once it logs in.

    `account` is what an entry holds, without what lets us in. Raises RouterError, such
    as KeyNotInstalled, and leaves no key behind then.
    """
    private_key = generate_key(await async_owner(hass))
    try:
        await router.install_key(private_key)
        data = {**account, CONF_PRIVATE_KEY: private_key}
        await (await connect_router(hass, data)).close()
    except Exception as err:
        await _take_back(router, private_key)
        if type(err) is AuthenticationFailed:
            raise KeyRefused from err
        raise
    return Credentials(account[CONF_USERNAME], private_key=private_key)


async def _take_back(router: Router, private_key: str) -> None:
    """Remove a key that is of no use, as far as the router lets us."""
    try:
        await router.remove_key(private_key)
    except RouterError as err:
        _LOGGER.warning(
            "A key that is not used stays on the router: %s", english_of(err)
        )
