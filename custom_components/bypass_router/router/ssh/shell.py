"""A shell on the router that reads a script from its stdin; a spare one waits for it.

To open one takes two round trips, and of the router a process of its SSH server, a
login shell with its profile, and `sh`. So after each script, a spare is opened for the
next one. It waits for a line, and goes on to read a script as any other shell does.

A spare ends when its stdin does. Where the link is cut, that end is not heard; the
spare therefore also ends when `HEARTBEAT_LIMIT` seconds bring no line at all,
where a shell can wait for so long and no longer: dash can't, but bash, if there is
one. The lines that we send meanwhile start no process on the router.
"""

import asyncio
from collections.abc import Coroutine
from contextlib import suppress
import secrets
from typing import Any

import asyncssh

from .login import BROKEN, CONNECT_TIMEOUT
from .sudo import SUDO

HEARTBEAT_INTERVAL = 20.0
"""Seconds between the lines that we send."""

HEARTBEAT_LIMIT = 60
"""Seconds after which the router's end gives us up."""

type Shell = asyncssh.SSHClientProcess[str]

# Seconds for which a script waits for a spare that is on its way.
_PATIENCE = 0.5
# Seconds between tries to open a session. sshd has noticed after the first that another
# is over; dropbear before 2024.86 now and then refuses one because another ends.
_PAUSES = (0.05, 0.1, 0.2)

# Of root's shells, as many as wait at the most: for a script, and for one beside it.
_MOST = 2

# What sshd says of the connection is kept for those who ask for it.
_BY_SUDO = (
    f"""exec {SUDO}sh -c 'export SSH_CONNECTION="$1"; exec sh -s' sh"""
    """ "$SSH_CONNECTION\""""
)
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


async def open_shell(
    connection: asyncssh.SSHClientConnection, *, root: bool = False
) -> Shell:
    """Start a shell that reads its script from stdin; root's, by sudo, if asked to.

    Raises what asyncssh does.
    """
    command = _BY_SUDO if root else "exec sh -s"
    for pause in _PAUSES:
        try:
            return await _open(connection, command)
        except asyncssh.ChannelOpenError:
            if connection.is_closed():
                raise
        await asyncio.sleep(pause)
    return await _open(connection, command)


async def _open(connection: asyncssh.SSHClientConnection, command: str) -> Shell:
    """Try once.

    asyncssh would leave a session open whose caller is cancelled meanwhile, and a
    server allows only so many.
    """
    opening = asyncio.ensure_future(
        connection.create_process(command, stderr=asyncssh.STDOUT, errors="replace")
    )
    try:
        await asyncio.wait([opening])
    except asyncio.CancelledError:
        opening.add_done_callback(_close)
        raise
    return opening.result()


def _close(opening: asyncio.Future[Shell]) -> None:
    """Close what no one waits for any more."""
    if not opening.cancelled() and not opening.exception():
        opening.result().close()


class StandbyShells:
    """Shells that wait for a script, if there are any. Nothing relies on them.

    Those of root's are had by `sudo`, which may take long, so they are used again:
    whoever has run a script to its end gives its shell back.
    """

    def __init__(self, connection: asyncssh.SSHClientConnection) -> None:
        """Take the connection that they are opened on; there is none yet."""
        self._connection = connection
        self._waiting: list[_Waiting] = []
        self._refused = False
        # Set when one has come to wait, or to nothing.
        self._news = asyncio.Event()
        self.root = False
        """Whether an ordinary account's shells are root's."""

    @property
    def ready(self) -> bool:
        """Whether a shell waits."""
        return any(shell.settled.is_set() for shell in self._there())

    async def use_root(self, patience: float) -> None:
        """Have root's shells from now on, if `sudo` gives one within so many seconds.

        Two at once, as both wait for the same: for scripts, and for the watcher.
        """
        await self.end()
        self.root = True
        for further in (0, 1):
            self.prepare(patience, further=further)
        for waiting in self._waiting:
            await waiting.settled.wait()
        if not self.ready:
            await self.end()
            self.root = self._refused = False

    def prepare(self, patience: float = 0, *, further: int = 0) -> None:
        """Begin to open one, unless there is one, or so many further ones."""
        if len(self._there()) <= further and not self._refused:
            self._add(self._open(), CONNECT_TIMEOUT + patience)

    def give_back(self, shell: Shell) -> None:
        """Take a shell that waits for the next script already."""
        if len(self._there()) < _MOST:
            self._add(_same(shell), CONNECT_TIMEOUT)
        else:
            shell.close()

    async def take(self) -> Shell | None:
        """Return a shell, which is the caller's from now on; None if there is none.

        One that is on its way is waited for: the account's own for a moment, and
        root's as long as it takes, or until another is given back. It may have died
        since.
        """
        with suppress(TimeoutError):
            async with asyncio.timeout(None if self.root else _PATIENCE):
                while there := self._there():
                    if shell := there[0].take():
                        return shell
                    self._news.clear()
                    await self._news.wait()
        return None

    async def end(self) -> None:
        """End the shells, and leave their places to others.

        One that is given up while it is opened would keep its place at the server
        until it is there.
        """
        for waiting in self._waiting:
            await waiting.settled.wait()
        await self.close()

    async def close(self) -> None:
        """End the shells, if there are any, at once."""
        tasks = [waiting.task for waiting in self._waiting]
        for waiting in self._waiting:
            waiting.give_up()
        if tasks:
            await asyncio.wait(tasks)

    def _add(self, coming: Coroutine[Any, Any, Shell], limit: float) -> None:
        """Let a shell wait that comes within so many seconds."""
        self._waiting.append(_Waiting(coming, limit, self._news))

    def _there(self) -> list[_Waiting]:
        """Return those that wait or are on their way, and forget the others."""
        self._waiting = [shell for shell in self._waiting if not shell.task.done()]
        there = [shell for shell in self._waiting if not shell.taken]
        return sorted(there, key=lambda shell: not shell.settled.is_set())

    async def _open(self) -> Shell:
        """Open one, and have it wait."""
        shell = await open_shell(self._connection, root=self.root)
        word, script = waiting_script()
        try:
            shell.stdin.write(script)
            await shell.stdout.readuntil(f"{word}\n")
        except BaseException as err:
            # A sudo that refuses logs each try.
            if self.root and isinstance(err, EOFError):
                self._refused = True
            shell.close()
            raise
        return shell


class _Waiting:
    """A shell that waits for a script, or is on its way to do so."""

    def __init__(
        self, coming: Coroutine[Any, Any, Shell], limit: float, news: asyncio.Event
    ) -> None:
        """Take where it comes from, in how many seconds, and what to set then."""
        self._shell: Shell | None = None
        self._coming = coming
        self._news = news
        self.taken = False
        self.settled = asyncio.Event()
        """Set when it waits, or has come to nothing."""
        # Eagerly: what it holds is closed, however early it is given up.
        self.task = asyncio.create_task(self._keep(limit), eager_start=True)

    def take(self) -> Shell | None:
        """Return the shell, if it waits; it is the caller's from now on."""
        if not self.settled.is_set() or self._shell is None or self.task.done():
            return None
        shell, self._shell = self._shell, None
        self.give_up()
        with suppress(BrokenPipeError):
            shell.stdin.write(f"{_GO}\n")
            return shell
        return None

    def give_up(self) -> None:
        """End it, unless it was taken."""
        self.taken = True
        self.task.cancel()

    def _settle(self) -> None:
        """Tell that it waits, or has come to nothing."""
        self.settled.set()
        self._news.set()

    async def _keep(self, limit: float) -> None:
        """Wait for the shell and keep it, until it is taken or ends."""
        shell = None
        try:
            async with asyncio.timeout(limit):
                shell = self._shell = await self._coming
            self._settle()
            await _beat(shell)
        except (EOFError, *BROKEN):
            # The next script opens a shell for itself.
            pass
        finally:
            self._settle()
            if shell is not None and self._shell is shell:
                self._shell = None
                shell.close()


async def _same(shell: Shell) -> Shell:
    """Return a shell that is there already."""
    return shell


async def _beat(shell: Shell) -> None:
    """Show a shell that we are still there, until it ends."""
    while True:
        with suppress(TimeoutError):
            async with asyncio.timeout(HEARTBEAT_INTERVAL):
                await shell.wait_closed()
                return
        shell.stdin.write("\n")


def waiting_script() -> tuple[str, str]:
    """Return a word, and a script that says it and ends when it is told to go on."""
    word = f"bypass-router-{secrets.token_hex(8)}"
    limited = _WAIT.format(word=word, limit=f"-t {HEARTBEAT_LIMIT}", go=_GO)
    unlimited = _WAIT.format(word=word, limit="", go=_GO)
    return word, _SPARE.format(limited=limited, unlimited=unlimited)
