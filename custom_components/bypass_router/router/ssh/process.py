"""A shell on the router, from the login shell's profile until it reads a script.

What a profile prints, on either stream, is not ours, and nor is what it reads: nothing
is sent to a shell before it has said a word, and what it said before that is forgotten.
A profile that waits for a line gets one after a while.

What is printed on stderr, as by a login shell that lacks its locale, stays apart: its
place amid what is printed on stdout would be chance.
"""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
import re
import secrets
from typing import Any, cast, override

import asyncssh

from ..errors import BadOutput, PasswordExpired, TimedOut, printable
from .login import CONNECT_TIMEOUT
from .sudo import SUDO

# Seconds between tries to open a session. sshd has noticed after the first that another
# is over; dropbear before 2024.86 now and then refuses one because another ends.
_PAUSES = (0.05, 0.1, 0.2)
# Seconds after which a shell is asked for its word, if it does not say it unasked. A
# profile that reads a line gets the question, and is asked again.
_NUDGE = 2.0
# In the words of sshd, which opens no shell then; and of PAM's and others' programs.
_CHANGE_FIRST = re.compile(
    r"password (?:change required|has expired)|change your password", re.IGNORECASE
)
# Seconds until a shell is closed that does not end with its stdin, or whose profile has
# left a job behind that holds its stdout open.
_LINGERING = 2.0
# Bytes of what a profile prints.
_MOST_NOISE = 8 * 1024 * 1024
# Bytes of each stream that are kept, for an error's message.
_KEPT = 2048

# The login shell says the word, which may be a csh or a fish.
_BY_ACCOUNT = "echo {word}; exec sh -s"
# What sshd says of the connection is kept for those who ask for it.
_BY_SUDO = (
    f"exec {SUDO}sh -c"
    """ 'echo {word}; export SSH_CONNECTION="$1"; exec sh -s' sh"""
    """ "$SSH_CONNECTION\""""
)


class Shell(asyncssh.SSHClientProcess[bytes]):
    """A shell that reads scripts. What it says on stderr is kept apart, in part."""

    _before = b""
    """The end of what was printed before the word."""
    _complaints = b""
    """The end of what was printed on stderr."""
    _giving_up: asyncio.TimerHandle | None = None

    def __init__(self) -> None:
        """Begin."""
        super().__init__()
        self.gone = asyncio.Event()
        """Set when it has ended, or was given up."""
        self.stays = False
        """Whether its script ends only with the connection, or after minutes."""
        self.yields = False
        """Whether that script is the first to make room for others."""
        self.displaced = False
        """Whether it had to."""

    @override
    def data_received(self, data: bytes, datatype: asyncssh.DataType) -> None:
        """Take what was printed: stderr at once, so that it never holds stdout up."""
        if datatype == asyncssh.EXTENDED_DATA_STDERR:
            self._complaints = (self._complaints + data)[-_KEPT:]
        else:
            super().data_received(data, datatype)

    def write(self, text: str) -> None:
        """Send text, unless the shell has gone; whoever reads hears of that."""
        with suppress(BrokenPipeError):
            self.stdin.write(text.encode(errors="replace"))

    def finish(self) -> None:
        """Let the shell end by itself, and give it up if it does not soon."""
        if self.gone.is_set():
            return
        with suppress(BrokenPipeError):
            self.stdin.write_eof()
        self._giving_up = asyncio.get_running_loop().call_later(_LINGERING, self._end)

    @override
    def exit_status_received(self, status: int) -> None:
        """Take note of the end, though a job of the profile may hold stdout open."""
        super().exit_status_received(status)
        if self._giving_up:
            self._end()

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        """Take note that the channel has ended."""
        self._has_gone()
        super().connection_lost(exc)

    def _end(self) -> None:
        """Close the channel."""
        self._has_gone()
        self.close()

    def _has_gone(self) -> None:
        """Tell whoever waits for the end."""
        if self._giving_up:
            self._giving_up.cancel()
        self.gone.set()

    async def said(self, word: str) -> None:
        """Read until a line is this word. Raises EOFError."""
        await self.stdout.readuntil(f"{word}\n".encode())

    @property
    def message(self) -> str:
        """What a shell that is none, or that has gone, said last on either stream."""
        said = (self._before, self._complaints)
        texts = (text.decode(errors="replace").rstrip() for text in said)
        return printable(" ".join(text.rpartition("\n")[2] for text in texts))

    async def greet(self, word: str) -> None:
        """Wait until the shell says the word, and reads what it is sent.

        Raises BadOutput, with its words, if it ends without, and PasswordExpired if it
        says that the password has to be changed.
        """
        while await self._asked(word):
            # It may have been heard more often than it answered until now.
            word = _new_word()
            self._ask(word)

    async def _asked(self, word: str) -> int:
        """Wait for the word, and return how often it was asked for."""
        end = f"{word}\n".encode()
        size = times = 0
        heard = b""
        while end not in heard:
            try:
                async with asyncio.timeout(_NUDGE):
                    part = await self.stdout.read(65536)
            except TimeoutError:
                self._ask(word)
                times += 1
                continue
            size += len(part)
            heard = heard[-len(end) :] + part
            self._before = (self._before + part)[-_KEPT:]
            if not part and _CHANGE_FIRST.search(self.message):
                raise PasswordExpired
            if not part or size > _MOST_NOISE:
                raise BadOutput(output=self.message)
        self._before = b""
        return times

    def _ask(self, word: str) -> None:
        """Ask for the word, in words that are no answer where they are echoed."""
        self.write(f"echo {word[:4]}''{word[4:]}\n")


type _Opening = asyncio.Task[
    tuple[asyncssh.SSHClientChannel[Any], asyncssh.SSHClientSession[Any]]
]


def _new_word() -> str:
    """Return a word that no profile prints."""
    return f"hello-{secrets.token_hex(8)}"


@asynccontextmanager
async def _limited(seconds: float | None) -> AsyncIterator[None]:
    """Raise TimedOut after so many seconds, if there is a limit."""
    try:
        async with asyncio.timeout(seconds):
            yield
    except TimeoutError:
        raise TimedOut(seconds=f"{seconds:g}") from None


class Shells:
    """The shells on one connection: opened, and let go of, but never both at once.

    A server may allow few sessions. dropbear before 2024.86 dies, or ends a shell that
    has just begun, where another one ends at that moment.
    """

    def __init__(self, connection: asyncssh.SSHClientConnection) -> None:
        """Take the connection."""
        self._connection = connection
        self._opening = 0
        self._finished: list[Shell] = []
        self._ending: set[Shell] = set()
        self._open: set[Shell] = set()
        self.single = False
        """Whether the server has refused a shell beside a single one."""

    async def open(self, seconds: float | None, *, root: bool = False) -> Shell:
        """Start a shell that reads its script from stdin; root's, by sudo, if asked to.

        Its profile may take so many seconds, if there is a limit. Raises what asyncssh
        does, TimedOut, and BadOutput where it is no shell.
        """
        word = _new_word()
        command = (_BY_SUDO if root else _BY_ACCOUNT).format(word=word)
        async with _limited(CONNECT_TIMEOUT):
            shell = await self._begin(command)
        try:
            async with _limited(seconds):
                await shell.greet(word)
        except BaseException:
            shell.close()
            raise
        return shell

    def finish(self, shell: Shell) -> None:
        """Let a shell end that has run its script."""
        self._finished.append(shell)
        self._let_go()

    @property
    def staying(self) -> bool:
        """Whether a script is running that stays."""
        return any(shell.stays for shell in self._there())

    @property
    def some(self) -> bool:
        """Whether any are open, which may leave their place to another."""
        return bool(self._there())

    def make_room(self) -> None:
        """Have a script that stays end, if only such keep the server from more."""
        there = self._there()
        if there and all(shell.stays for shell in there):
            shell = max(there, key=lambda one: one.yields)
            shell.displaced = True
            shell.close()

    def _there(self) -> set[Shell]:
        """Return the shells that are open."""
        self._open = {shell for shell in self._open if not shell.gone.is_set()}
        return self._open

    def _let_go(self) -> None:
        """Have those end that are to, unless one is being opened."""
        while self._finished and not self._opening:
            shell = self._finished.pop()
            self._ending.add(shell)
            shell.finish()

    async def _begin(self, command: str) -> Shell:
        """Have the router begin a command, as soon as it allows a session for it."""
        for pause in _PAUSES:
            try:
                return await self._try(command)
            except asyncssh.ChannelOpenError:
                if self._connection.is_closed():
                    raise
            await asyncio.sleep(pause)
        try:
            return await self._try(command)
        except asyncssh.ChannelOpenError:
            self.single = self.single or len(self._there()) == 1
            raise

    async def _try(self, command: str) -> Shell:
        """Try once, when no shell is about to end."""
        while self._ending:
            shell = next(iter(self._ending))
            await shell.gone.wait()
            self._ending.discard(shell)
        self._opening += 1
        try:
            shell = await _open(self._connection, command)
            self._open.add(shell)
            return shell
        finally:
            self._opening -= 1
            self._let_go()


async def _open(connection: asyncssh.SSHClientConnection, command: str) -> Shell:
    """Try once.

    asyncssh would leave a session open whose caller is cancelled meanwhile, and a
    server allows only so many.
    """
    opening = asyncio.create_task(
        connection.create_session(Shell, command, encoding=None)
    )
    try:
        await asyncio.wait([opening])
    except asyncio.CancelledError:
        opening.add_done_callback(_close)
        raise
    return _shell_of(opening)


def _close(opening: _Opening) -> None:
    """Close what no one waits for any more."""
    if not opening.cancelled() and not opening.exception():
        _shell_of(opening).close()


def _shell_of(opening: _Opening) -> Shell:
    """Return what was opened. Raises what asyncssh does."""
    _, session = opening.result()
    return cast("Shell", session)
