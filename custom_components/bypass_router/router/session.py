"""One SSH connection to a router: run a script, read what it prints.

The only module that touches the network.
"""

import asyncio
from collections.abc import AsyncGenerator, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
import socket
from typing import Self, override

import asyncssh

from .credentials import HOST_KEY_ALGORITHMS, Credentials, HostKey
from .errors import (
    AuthenticationFailed,
    BadOutput,
    CannotReach,
    ConnectionLost,
    HostKeyChanged,
    NoAnswer,
    NotSSH,
    PortClosed,
    TimedOut,
    printable,
)
from .script import Result, Script

# Seconds. A connection includes the login, and sshd's reverse look-up of the
# client's name can take five of them.
CONNECT_TIMEOUT = 15
SCRIPT_TIMEOUT = 30
# A dead router is found within KEEPALIVE_INTERVAL * (KEEPALIVE_COUNT + 1) seconds.
KEEPALIVE_INTERVAL = 4
KEEPALIVE_COUNT = 3
# Ten thousand rules are 2 MB; what is longer is no answer to our scripts.
OUTPUT_LIMIT = 8 * 1024 * 1024

_LINE_LIMIT = 1024 * 1024
# Letters a second that are heard of a script that stays. A router that has more to
# say waits for us; 10,000 rules that change at once do not make it.
_HEARD = 2 * 1024 * 1024
# What asyncssh raises; the last five for packets of a router that make no sense.
_BROKEN = (
    OSError,
    asyncssh.Error,
    ArithmeticError,
    AssertionError,
    LookupError,
    TypeError,
    ValueError,
)


@contextmanager
def _connecting(host: str, port: int) -> Iterator[None]:
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
    except _BROKEN:
        raise NotSSH(**where) from None


async def fetch_host_key(host: str, port: int) -> HostKey:
    """Return the host key that the router proves, before any secret is sent.

    Raises ConnectionFailed, in one of its kinds.
    """
    with _connecting(host, port):
        async with asyncio.timeout(CONNECT_TIMEOUT):
            key = await asyncssh.get_server_host_key(
                host, port, config=None, server_host_key_algs=HOST_KEY_ALGORITHMS
            )
    if key is None:
        raise NotSSH(host=host, port=str(port))
    return HostKey.of(key)


class Session:
    """An open connection; scripts run on it one after the other or at once."""

    def __init__(self, connection: asyncssh.SSHClientConnection) -> None:
        """Wrap a connection that has been authenticated."""
        self._connection = connection

    @classmethod
    async def open(
        cls, host: str, port: int, host_key: HostKey, credentials: Credentials
    ) -> Self:
        """Connect to the router that has this host key, and log in.

        Raises ConnectionFailed, in one of its kinds, and what
        `Credentials.load_key` raises. No secret leaves before the router has
        proved the key.
        """
        loop = asyncio.get_running_loop()
        client_key = await loop.run_in_executor(None, credentials.load_key)
        try:
            with _connecting(host, port):
                async with asyncio.timeout(CONNECT_TIMEOUT):
                    return cls(
                        await _connect(host, port, host_key, credentials, client_key)
                    )
        except NotSSH:
            # Another kind of key shows as a failed exchange: look which it is.
            found = await fetch_host_key(host, port)
            if found == host_key:
                raise
            raise HostKeyChanged(
                host=host, expected=host_key.fingerprint, found=found.fingerprint
            ) from None

    async def run(
        self, script: Script, seconds: float = SCRIPT_TIMEOUT
    ) -> Mapping[str, Result]:
        """Run a script and return its sections.

        Raises ConnectionLost and TimedOut, after which nobody knows how far
        the script came, and BadOutput.
        """
        try:
            async with asyncio.timeout(seconds):
                output = await self._output(script.text)
        except TimeoutError:
            raise TimedOut(seconds=f"{seconds:g}") from None
        except _BROKEN as err:
            raise ConnectionLost(message=printable(str(err))) from None
        if self.closed:
            raise ConnectionLost(message="closed")
        return script.read(output)

    async def _output(self, text: str) -> str:
        """Feed a shell on the router, and return all that it prints."""
        process = await self._begin()
        # Not awaited when it closes: a command that hangs on the router would
        # hold us as well.
        try:
            with suppress(BrokenPipeError):
                # A shell that is none has gone by now; it says why.
                process.stdin.write(text)
                process.stdin.write_eof()
            parts: list[str] = []
            size = 0
            while part := await process.stdout.read(65536):
                parts.append(part)
                size += len(part)
                if size > OUTPUT_LIMIT:
                    raise BadOutput(output=printable(parts[0]))
            return "".join(parts)
        finally:
            process.close()

    async def stream(self, text: str, heartbeat: float) -> AsyncGenerator[str]:
        """Run a script that stays, and yield each line that it prints.

        Its stdin gets an empty line every `heartbeat` seconds, and ends when
        the caller stops listening. Ends when the script does; raises
        ConnectionLost, TimedOut if it does not begin, and BadOutput.
        """
        try:
            process = await self._begin()
            beating = asyncio.create_task(_beat(process, text, heartbeat))
            try:
                begun: list[str] = []
                size = 0
                while part := await process.stdout.read(65536):
                    *lines, rest = part.split("\n")
                    if lines:
                        lines[0] = "".join((*begun, lines[0]))
                        begun, size = [], 0
                    begun.append(rest)
                    size += len(rest)
                    if size > _LINE_LIMIT:
                        raise BadOutput(output=printable(begun[0]))
                    for line in lines:
                        yield line
                    await asyncio.sleep(len(part) / _HEARD)
            finally:
                beating.cancel()
                process.close()
        except _BROKEN as err:
            raise ConnectionLost(message=printable(str(err))) from None
        if self.closed:
            raise ConnectionLost(message="closed")

    async def _begin(self) -> asyncssh.SSHClientProcess[str]:
        """Start a shell on the router that reads its script from stdin."""
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT):
                return await self._connection.create_process(
                    "exec sh -s", stderr=asyncssh.STDOUT, errors="replace"
                )
        except TimeoutError:
            raise TimedOut(seconds=f"{CONNECT_TIMEOUT:g}") from None

    @property
    def closed(self) -> bool:
        """Whether the connection is gone."""
        return self._connection.is_closed()

    async def wait_closed(self) -> None:
        """Wait until the connection is gone, whoever closed it."""
        await self._connection.wait_closed()

    async def close(self) -> None:
        """End the connection."""
        self._connection.close()
        try:
            async with asyncio.timeout(2):
                await self._connection.wait_closed()
        except TimeoutError:
            # The router is gone: nobody is there to say goodbye to.
            self._connection.abort()


async def _beat(
    process: asyncssh.SSHClientProcess[str], text: str, heartbeat: float
) -> None:
    """Feed a script to a shell, and then show it that we are still there."""
    process.stdin.write(text)
    while True:
        await asyncio.sleep(heartbeat)
        process.stdin.write("\n")


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


async def _connect(
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
