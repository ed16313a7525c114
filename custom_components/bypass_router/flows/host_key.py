"""What a form says of a router's host key, before anything is sent to it."""

import asyncio
from collections.abc import Mapping
from typing import Any

from homeassistant.const import CONF_HOST, CONF_PORT

from ..router.errors import HostKeyChanged, RouterError
from ..router.ssh.credentials import HostKey
from ..router.ssh.session import fetch_host_key

# Seconds. A form waits for it.
_LOOK = 5


def words_of(host_key: HostKey) -> dict[str, str]:
    """Return the fingerprint, and the commands that print it on the router."""
    return {
        "fingerprint": host_key.fingerprint,
        "openssh_command": host_key.openssh_command,
        "dropbear_command": host_key.dropbear_command,
    }


async def async_check(account: Mapping[str, Any], host_key: HostKey) -> None:
    """Look who answers there now, before a form asks for a secret.

    Raises HostKeyChanged. That no one answers is said when the form is submitted.
    """
    host = account[CONF_HOST]
    try:
        async with asyncio.timeout(_LOOK):
            found = await fetch_host_key(host, account[CONF_PORT], host_key)
    except RouterError, TimeoutError:
        return
    if found != host_key:
        raise HostKeyChanged(
            host=host,
            expected=host_key.fingerprint,
            found=found.fingerprint,
            openssh_command=found.openssh_command,
            dropbear_command=found.dropbear_command,
        )
