"""A shell on the router that reads a script from its stdin; a spare one waits for it.

To open one takes two round trips, and of the router a process of its SSH server, a
login shell with its profile, and `sh`. So after each script, a spare is opened for the
next one. It waits for a line, and goes on to read a script as any other shell does.

A spare ends when its stdin does. Where the link is cut, that end is not heard; the
spare therefore also ends when `watch.HEARTBEAT_LIMIT` seconds bring no line at all,
where a shell can wait for so long and no longer: dash can't, but bash, if there is
one. The lines that we send meanwhile start no process on the router.
"""

import asyncio
from contextlib import suppress
import secrets

import asyncssh

from . import watch
from .login import BROKEN, CONNECT_TIMEOUT

type Shell = asyncssh.SSHClientProcess[str]

# Seconds for which a script waits for a spare that is on its way.
_PATIENCE = 0.5
# Seconds between tries to open a session. sshd has noticed after the first that another
# is over; dropbear before 2024.86 now and then refuses one because another ends.
_PAUSES = (0.05, 0.1, 0.2)

_GO = "go"
_WAIT = """\
echo {word}; while read -r {limit} go && [ -z "$go" ]; do :; done; [ "$go" = {go} ]"""
# One function, so that all of it is read before `read` takes a line. That fails with
# 2 in a shell that does not know `-t`. Under sshd, bash would read a `.bashrc`.
_SPARE = """\
main() {{
(read -r -t 1 _ </dev/null) 2>/dev/null
if [ "$?" != 2 ]; then
  {limited}
elif command -v bash >/dev/null; then
  bash --norc -c '{limited}'
else
  {unlimited}
fi || exit 0
}}
main
"""


async def open_shell(connection: asyncssh.SSHClientConnection) -> Shell:
    """Start a shell that reads its script from stdin. Raises what asyncssh does."""
    for pause in _PAUSES:
        try:
            return await _open(connection)
        except asyncssh.ChannelOpenError:
            if connection.is_closed():
                raise
        await asyncio.sleep(pause)
    return await _open(connection)


async def _open(connection: asyncssh.SSHClientConnection) -> Shell:
    """Try once."""
    return await connection.create_process(
        "exec sh -s", stderr=asyncssh.STDOUT, errors="replace"
    )


class Spare:
    """A shell that was opened ahead, if there is one. Nothing relies on it."""

    def __init__(self, connection: asyncssh.SSHClientConnection) -> None:
        """Take the connection that it is opened on; there is none yet."""
        self._connection = connection
        self._task: asyncio.Task[None] | None = None
        self._shell: Shell | None = None
        self._settled = asyncio.Event()
        self._settled.set()

    def prepare(self) -> None:
        """Begin to open one, unless there is one."""
        if self._task is None or self._task.done():
            self._settled.clear()
            self._task = asyncio.create_task(self._keep())

    async def take(self) -> Shell | None:
        """Return the shell, which is the caller's from now on; None if there is none.

        One that is on its way is waited for, for a moment. It may have died since.
        """
        with suppress(TimeoutError):
            async with asyncio.timeout(_PATIENCE):
                await self._settled.wait()
        if not self._settled.is_set() or self._shell is None or self._task is None:
            return None
        shell, self._shell = self._shell, None
        self._task.cancel()
        with suppress(BrokenPipeError):
            shell.stdin.write(f"{_GO}\n")
            return shell
        return None

    async def close(self) -> None:
        """End the shell, if there is one."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    async def _keep(self) -> None:
        """Open a shell and keep it, until it is taken or ends."""
        word = f"bypass-router-{secrets.token_hex(8)}"
        shell = None
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT):
                shell = self._shell = await open_shell(self._connection)
                shell.stdin.write(_spare(word))
                await shell.stdout.readuntil(f"{word}\n")
            self._settled.set()
            await _beat(shell)
        except (EOFError, *BROKEN):
            # The next script opens a shell for itself.
            pass
        finally:
            self._settled.set()
            if shell is not None and self._shell is shell:
                self._shell = None
                shell.close()


async def _beat(shell: Shell) -> None:
    """Show a shell that we are still there, until it ends."""
    while True:
        with suppress(TimeoutError):
            async with asyncio.timeout(watch.HEARTBEAT_INTERVAL):
                await shell.wait_closed()
                return
        shell.stdin.write("\n")


def _spare(word: str) -> str:
    """Return a script that says a word, and ends when it is told to go on."""
    limited = _WAIT.format(word=word, limit=f"-t {watch.HEARTBEAT_LIMIT}", go=_GO)
    unlimited = _WAIT.format(word=word, limit="", go=_GO)
    return _SPARE.format(limited=limited, unlimited=unlimited)
