"""The login to a router over SSH, and a name for each way in which it fails."""

import asyncio
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager, contextmanager
import errno
import os
import re
import socket
from typing import Any, override

import aiohappyeyeballs
import asyncssh

from ..errors import (
    AccountRefused,
    AuthenticationFailed,
    CannotReach,
    ConnectionFailed,
    CutOff,
    LoginEnded,
    NameServerSilent,
    NameUnknown,
    NetworkUnreachable,
    NoAnswer,
    NoRoute,
    NotSSH,
    PasswordExpired,
    PortClosed,
    RouterError,
    printable,
)
from .credentials import Credentials, HostKey

# Seconds until the router has proved its host key.
CONNECT_TIMEOUT = 15
# Seconds more for the login. With `UseDNS`, sshd looks up the client's name before it;
# three name servers that do not answer hold it for half a minute.
LOGIN_TIMEOUT = 45
# A dead router is found within KEEPALIVE_INTERVAL * (KEEPALIVE_COUNT + 1) seconds.
KEEPALIVE_INTERVAL = 4
KEEPALIVE_COUNT = 3
# As PAM asks for a new password, and tells of an account that has had its time.
_NEW_PASSWORD = re.compile(
    r"\b(?:new|current|change)\b.{0,80}password|password.{0,80}\b(?:expired|change)",
    re.IGNORECASE,
)
_OF_ACCOUNT = re.compile(
    r"\baccount\b.{0,80}\b(?:expired|locked|disabled|suspended)\b", re.IGNORECASE
)
# Seconds until the next address is tried as well.
_STAGGER = 0.25
_ERROR = re.compile(r"\[Errno ([0-9]{1,4})\]")
# As the kernel says that no one has an address, or that no network leads there.
_NO_HOST = frozenset({errno.EHOSTUNREACH, errno.EHOSTDOWN})
_NO_NETWORK = frozenset({errno.ENETUNREACH, errno.ENETDOWN, errno.EADDRNOTAVAIL})
# That there is no such name, or that it has no address.
_NO_NAME = frozenset({socket.EAI_NONAME, socket.EAI_NODATA, socket.EAI_ADDRFAMILY})
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
    except ConnectionResetError, BrokenPipeError:
        raise CutOff(**where) from None
    except (socket.gaierror, UnicodeError) as err:
        raise _unnamed(err, where) from None
    except OSError as err:
        raise _unreached(err, where) from None
    except BROKEN:
        raise NotSSH(**where) from None


def _unnamed(err: socket.gaierror | UnicodeError, where: dict[str, str]) -> RouterError:
    """Return why a host's name leads nowhere."""
    if isinstance(err, UnicodeDecodeError):
        # What answers there is no text, and the name is good.
        return NotSSH(**where)
    if isinstance(err, UnicodeError) or err.errno in _NO_NAME:
        return NameUnknown(**where)
    return NameServerSilent(**where)


def _unreached(err: OSError, where: dict[str, str]) -> ConnectionFailed:
    """Return why no address of a host could be reached.

    Of several, aiohappyeyeballs has made one text; asyncio's own words are for
    programmers.
    """
    numbers = [err.errno] if err.errno else map(int, _ERROR.findall(str(err)))
    reasons = frozenset(numbers)
    # Of several, what says most.
    if errno.ECONNREFUSED in reasons:
        return PortClosed(**where)
    if errno.ETIMEDOUT in reasons:
        return NoAnswer(**where)
    if reasons & _NO_HOST:
        return NoRoute(**where)
    if reasons & _NO_NETWORK:
        return NetworkUnreachable(**where)
    message = ", ".join(map(os.strerror, reasons)) or printable(str(err))
    return CannotReach(**where, message=message)


async def _reach(host: str, port: int) -> socket.socket:
    """Return a connection to the first of the host's addresses that takes one.

    All are tried, a quarter of a second after each other at the latest: the way to one,
    such as one of IPv6, may swallow what is sent there. Raises OSError.
    """
    loop = asyncio.get_running_loop()
    found = await loop.getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return await aiohappyeyeballs.start_connection(found, happy_eyeballs_delay=_STAGGER)


@asynccontextmanager
async def reached(host: str, port: int) -> AsyncIterator[socket.socket]:
    """Give a connection to a host, and close it if nothing comes of it."""
    connected = await _reach(host, port)
    try:
        yield connected
    except BaseException:
        connected.close()
        raise


class _Client(asyncssh.SSHClient):
    """Tries a password once, though a server may take it in two ways.

    Each way counts as a failed login where the password is wrong.
    """

    def __init__(self, password: str | None) -> None:
        """Take the password."""
        self._password = password
        self._tried = False
        self._told = ""
        self.must_change = False
        """Whether the router wants another password first."""
        self._connection: asyncssh.SSHClientConnection | None = None

    @property
    def knows_router(self) -> bool:
        """Whether the router has shown its host key."""
        return bool(self._connection and self._connection.get_server_host_key())

    @override
    def connection_made(self, conn: asyncssh.SSHClientConnection) -> None:
        """Take the connection, before anything is said on it."""
        self._connection = conn

    @property
    def refusal(self) -> str:
        """What the router has said of an account that it does not let in, if it has."""
        return self._told if _OF_ACCOUNT.search(self._told) else ""

    @override
    def auth_banner_received(self, msg: str, lang: str) -> None:
        """Take what a router tells while one logs in, the latest."""
        self._told = printable(msg)

    @override
    def password_change_requested(self, prompt: str, lang: str) -> Any:
        """Choose no new password: that is for a person to do."""
        self.must_change = True
        return NotImplemented

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
        if self._tried:
            text = " ".join((instructions, *(prompt for prompt, _ in prompts)))
            self.must_change = self.must_change or bool(_NEW_PASSWORD.search(text))
            self._told = printable(instructions) or self._told
        if not prompts:
            return []
        if self._tried or self._password is None or len(prompts) > 1:
            return None
        self._tried = True
        return [self._password]


async def log_in(
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
    client = _Client(credentials.password)
    async with _limited(client), reached(host, port) as connected:
        with _signing_in(host, port, client):
            return await asyncssh.connect(
                host,
                port,
                sock=connected,
                config=None,
                known_hosts=([host_key.key], [], []),
                server_host_key_algs=host_key.algorithms,
                username=credentials.username,
                client_factory=lambda: client,
                preferred_auth="publickey,password,keyboard-interactive",
                client_keys=[client_key] if client_key else None,
                public_key_auth=client_key is not None,
                password_auth=credentials.password is not None,
                kbdint_auth=credentials.password is not None,
                host_based_auth=False,
                gss_host=None,
                agent_path=None,
                # Its limits are for all of it, or for the login: `_limited` has both.
                connect_timeout=None,
                login_timeout=0,
                keepalive_interval=KEEPALIVE_INTERVAL,
                keepalive_count_max=KEEPALIVE_COUNT,
            )


@contextmanager
def _signing_in(host: str, port: int, client: _Client) -> Iterator[None]:
    """Tell an account that is refused for its own sake from a router that is none."""
    try:
        yield
    except asyncssh.PermissionDenied:
        if client.must_change:
            raise PasswordExpired from None
        if not client.refusal:
            raise
    except asyncssh.ConnectionLost, asyncssh.ProtocolError, ConnectionError:
        if not client.knows_router:
            raise
    else:
        return
    if client.refusal:
        raise AccountRefused(host=host, port=str(port), message=client.refusal)
    raise LoginEnded(host=host, port=str(port))


@asynccontextmanager
async def _limited(client: _Client) -> AsyncIterator[None]:
    """Raise TimeoutError where a router is silent, or a login never ends."""
    loop = asyncio.get_running_loop()
    async with asyncio.timeout(None) as limit:

        def expire() -> None:
            more = LOGIN_TIMEOUT if client.knows_router else 0
            limit.reschedule(loop.time() + more)

        timer = loop.call_later(CONNECT_TIMEOUT, expire)
        try:
            yield
        finally:
            timer.cancel()
