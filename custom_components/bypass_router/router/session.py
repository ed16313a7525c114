"""One SSH connection to a router: run a script, read what it prints."""

import asyncio
from collections.abc import AsyncGenerator, Mapping
from contextlib import suppress
from typing import Self

import asyncssh

from .credentials import HOST_KEY_ALGORITHMS, Credentials, HostKey
from .errors import (
    BadOutput,
    ConnectionLost,
    HostKeyChanged,
    NotSSH,
    TimedOut,
    printable,
)
from .login import BROKEN, CONNECT_TIMEOUT, connect, connecting
from .script import Result, Script
from .shell import Shell, Spare, open_shell

# Seconds.
SCRIPT_TIMEOUT = 30
# Ten thousand rules are 2 MB; what is longer is no answer to our scripts.
OUTPUT_LIMIT = 8 * 1024 * 1024

_LINE_LIMIT = 1024 * 1024
# Letters a second that are heard of a script that stays. A router that has more to
# say waits for us; 10,000 rules that change at once do not make it.
_HEARD = 2 * 1024 * 1024


async def fetch_host_key(host: str, port: int) -> HostKey:
    """Return the host key that the router proves, before any secret is sent.

    Raises ConnectionFailed, in one of its kinds.
    """
    with connecting(host, port):
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
        self._spare = Spare(connection)

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
            with connecting(host, port):
                async with asyncio.timeout(CONNECT_TIMEOUT):
                    return cls(
                        await connect(host, port, host_key, credentials, client_key)
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
        except BROKEN as err:
            raise ConnectionLost(message=printable(str(err))) from None
        if self.closed:
            raise ConnectionLost(message="closed")
        sections = script.read(output)
        self._spare.prepare()
        return sections

    async def _output(self, text: str) -> str:
        """Run a script, and return all that it prints."""
        spare = await self._spare.take()
        if spare and ((output := await _feed(spare, text)) or self.closed):
            return output
        # There is none, or it has just died, with all of the script unheard: the
        # first thing that each one does is to print a mark.
        return await _feed(await self._open(), text)

    async def stream(self, text: str, heartbeat: float) -> AsyncGenerator[str]:
        """Run a script that stays, and yield each line that it prints.

        Its stdin gets an empty line every `heartbeat` seconds, and ends when
        the caller stops listening. Ends when the script does; raises
        ConnectionLost, TimedOut if it does not begin, and BadOutput.
        """
        try:
            shell = await self._spare.take() or await self._open()
            beating = asyncio.create_task(_beat(shell, text, heartbeat))
            try:
                begun: list[str] = []
                size = 0
                while part := await shell.stdout.read(65536):
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
                shell.close()
        except BROKEN as err:
            raise ConnectionLost(message=printable(str(err))) from None
        if self.closed:
            raise ConnectionLost(message="closed")

    async def _open(self) -> Shell:
        """Start a shell on the router that reads its script from stdin."""
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT):
                return await open_shell(self._connection)
        except TimeoutError:
            raise TimedOut(seconds=f"{CONNECT_TIMEOUT:g}") from None

    @property
    def closed(self) -> bool:
        """Whether the connection is gone."""
        return self._connection.is_closed()

    async def close(self) -> None:
        """End the connection."""
        self._connection.close()
        try:
            async with asyncio.timeout(2):
                await self._connection.wait_closed()
        except TimeoutError:
            # The router is gone: nobody is there to say goodbye to.
            self._connection.abort()
        # Last: a script that was on its way has prepared one until now.
        await self._spare.close()


async def _feed(shell: Shell, text: str) -> str:
    """Feed a shell on the router, and return all that it prints."""
    # Not awaited when it closes: a command that hangs on the router would hold us
    # as well.
    try:
        with suppress(BrokenPipeError):
            # A shell that is none has gone by now; it says why.
            shell.stdin.write(text)
            shell.stdin.write_eof()
        parts: list[str] = []
        size = 0
        while part := await shell.stdout.read(65536):
            parts.append(part)
            size += len(part)
            if size > OUTPUT_LIMIT:
                raise BadOutput(output=printable(parts[0]))
        return "".join(parts)
    finally:
        shell.close()


async def _beat(shell: Shell, text: str, heartbeat: float) -> None:
    """Feed a script to a shell, and then show it that we are still there."""
    # One that has ended just now is nothing to say here: whoever reads hears of it.
    with suppress(BrokenPipeError):
        shell.stdin.write(text)
        while True:
            await asyncio.sleep(heartbeat)
            shell.stdin.write("\n")
