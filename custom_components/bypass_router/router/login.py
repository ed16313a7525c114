"""The login to a router over SSH, and a name for each way in which it fails."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
import socket
from typing import override

import asyncssh

from .credentials import Credentials, HostKey
from .errors import (
    AuthenticationFailed,
    CannotReach,
    NoAnswer,
    NotSSH,
    PortClosed,
    printable,
)

# Seconds. A connection includes the login, and sshd's reverse look-up of the
# client's name can take five of them.
CONNECT_TIMEOUT = 15
# A dead router is found within KEEPALIVE_INTERVAL * (KEEPALIVE_COUNT + 1) seconds.
KEEPALIVE_INTERVAL = 4
KEEPALIVE_COUNT = 3
# What asyncssh raises; the last five for packets of a router that make no sense.
BROKEN = (
    OSError,
    asyncssh.Error,
    ArithmeticError,
    AssertionError,
    LookupError,
    TypeError,
    ValueError,
)


@contextmanager
def connecting(host: str, port: int) -> Iterator[None]:
    """Turn what a connection can raise into our own errors."""
    where = {"host": host, "port": str(port)}
    try:
        yield
    except asyncssh.PermissionDenied:
        raise AuthenticationFailed(**where) from None
    except TimeoutError:
        raise NoAnswer(**where) from None
    except ConnectionRefusedError:
        raise PortClosed(**where) from None
    except ConnectionResetError, BrokenPipeError, UnicodeDecodeError:
        raise NotSSH(**where) from None
    except (socket.gaierror, UnicodeError) as err:
        raise CannotReach(**where, message=printable(str(err))) from None
    except OSError as err:
        message = printable(err.strerror or str(err))
        raise CannotReach(**where, message=message) from None
    except BROKEN:
        raise NotSSH(**where) from None


class _Client(asyncssh.SSHClient):
    """Tries a password once, though a server may take it in two ways.

    Each way counts as a failed login where the password is wrong.
    """

    def __init__(self, password: str | None) -> None:
        """Take the password."""
        self._password = password
        self._tried = False

    @override
    def password_auth_requested(self) -> str | None:
        """Give the password to a server that asks for one, the first time."""
        tried, self._tried = self._tried, True
        return None if tried else self._password

    @override
    def kbdint_auth_requested(self) -> str | None:
        """Take part in a dialog, unless the password was refused already."""
        return None if self._tried or self._password is None else ""

    @override
    def kbdint_challenge_received(
        self,
        name: str,
        instructions: str,
        lang: str,
        prompts: Sequence[tuple[str, bool]],
    ) -> list[str] | None:
        """Answer the one question for the password, the first time."""
        if not prompts:
            return []
        if self._tried or self._password is None or len(prompts) > 1:
            return None
        self._tried = True
        return [self._password]


async def connect(
    host: str,
    port: int,
    host_key: HostKey,
    credentials: Credentials,
    client_key: asyncssh.SSHKey | None,
) -> asyncssh.SSHClientConnection:
    """Open a connection that uses what we were given, and nothing of this host.

    Neither an agent, nor the keys or the configuration of whoever runs Home
    Assistant take part.
    """
    return await asyncssh.connect(
        host,
        port,
        config=None,
        known_hosts=([host_key.key], [], []),
        server_host_key_algs=host_key.algorithms,
        username=credentials.username,
        client_factory=lambda: _Client(credentials.password),
        preferred_auth="publickey,password,keyboard-interactive",
        client_keys=[client_key] if client_key else None,
        public_key_auth=client_key is not None,
        password_auth=credentials.password is not None,
        kbdint_auth=credentials.password is not None,
        host_based_auth=False,
        gss_host=None,
        agent_path=None,
        connect_timeout=CONNECT_TIMEOUT,
        login_timeout=CONNECT_TIMEOUT,
        keepalive_interval=KEEPALIVE_INTERVAL,
        keepalive_count_max=KEEPALIVE_COUNT,
    )
