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
    # ssh-ed25519, ecdsa-sha2-nistp256, ssh-rsa: files are named after the kind.
    kind = host_key.text.split()[0].removeprefix("ssh-").partition("-")[0]
    return {
        "fingerprint": host_key.fingerprint,
        "openssh_command": f"ssh-keygen -lf /etc/ssh/ssh_host_{kind}_key.pub",
        "dropbear_command": f"dropbearkey -y -f /etc/dropbear/dropbear_{kind}_host_key",
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
            host=host, expected=host_key.fingerprint, found=found.fingerprint
        )
