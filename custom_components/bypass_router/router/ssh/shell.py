"""A spare shell on the router, which waits for the next script.

To open a shell takes two round trips, and of the router a process of its SSH server, a
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

from ..errors import BadOutput, RouterError
from .login import BROKEN, CONNECT_TIMEOUT
from .process import Shell, Shells
from .script import HEARTBEAT_LIMIT, WHOLE

HEARTBEAT_INTERVAL = 20.0
"""Seconds between the lines that we send."""

# Seconds for which a script waits for a spare that is on its way.
_PATIENCE = 0.5
# Of root's shells, as many as wait at the most: for a script, and for one beside it.
_MOST = 2

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


class StandbyShells:
    """Shells that wait for a script, if there are any. Nothing relies on them.

    Those of root's are had by `sudo`, which may take long, so they are used again:
    whoever has run a script to its end gives its shell back.
    """

    def __init__(self, shells: Shells) -> None:
        """Take what opens them; there is none yet."""
        self._shells = shells
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
        """Have a shell that has run a script wait for the next one."""
        shell.write(WHOLE)
        if len(self._there()) < _MOST:
            self._add(_waiting(shell), CONNECT_TIMEOUT)
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
        try:
            # How long it may take in all is `prepare`'s to say.
            shell = await self._shells.open(None, root=self.root)
            return await _waiting(shell)
        except EOFError, BadOutput:
            # A sudo that refuses logs each try.
            self._refused = self.root
            raise


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
        shell.write(f"{_GO}\n")
        return shell

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
        except (EOFError, RouterError, *BROKEN):
            # The next script opens a shell for itself.
            pass
        finally:
            self._settle()
            if shell is not None and self._shell is shell:
                self._shell = None
                shell.close()


async def _waiting(shell: Shell) -> Shell:
    """Have a shell wait for a script, and return it when it does."""
    word, script = _waiting_script()
    try:
        shell.write(script)
        await shell.said(word)
    except BaseException:
        shell.close()
        raise
    return shell


async def _beat(shell: Shell) -> None:
    """Show a shell that we are still there, until it ends."""
    while True:
        with suppress(TimeoutError):
            async with asyncio.timeout(HEARTBEAT_INTERVAL):
                await shell.wait_closed()
                return
        shell.write("\n")


def _waiting_script() -> tuple[str, str]:
    """Return a word, and a script that says it and ends when it is told to go on."""
    word = f"bypass-router-{secrets.token_hex(8)}"
    limited = _WAIT.format(word=word, limit=f"-t {HEARTBEAT_LIMIT}", go=_GO)
    unlimited = _WAIT.format(word=word, limit="", go=_GO)
    return word, _SPARE.format(limited=limited, unlimited=unlimited)
