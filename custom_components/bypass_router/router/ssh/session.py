"""One SSH connection to a router: run a script, read what it prints."""

import asyncio
from codecs import getincrementaldecoder
from collections.abc import AsyncGenerator, Mapping
from contextlib import suppress
import time
from typing import Self

import asyncssh

from ..errors import (
    BadOutput,
    ConnectionLost,
    FewSessions,
    HostKeyChanged,
    NotSSH,
    TimedOut,
    printable,
)
from .answer import Unheard, run_script
from .credentials import HOST_KEY_ALGORITHMS, Credentials, HostKey
from .login import BROKEN, CONNECT_TIMEOUT, connecting, log_in, reached
from .process import Shell, Shells
from .script import Result, Script
from .shell import StandbyShells
from .sudo import SUDO

# Seconds.
SCRIPT_TIMEOUT = 30
# For each `sudo`, before it is known how long it takes: two name servers that do not
# answer hold it for so long, where it looks up the router's name.
PATIENCE = 30.0
# Of a line that tells of a change, the beginning is enough; one that does not end at
# all tells nothing.
_LINE_KEPT = 64 * 1024
_LINE_LIMIT = 8 * 1024 * 1024
# Letters a second that are heard of a script that stays. A router that has more to
# say waits for us; 10,000 rules that change at once do not make it.
_HEARD = 2 * 1024 * 1024


async def fetch_host_key(
    host: str, port: int, pinned: HostKey | None = None
) -> HostKey:
    """Return the host key that the router proves, before any secret is sent.

    Of several, that of the pinned one's kind. Raises ConnectionFailed, in one of its
    kinds.
    """
    first = pinned.algorithms if pinned else ()
    others = tuple(kind for kind in HOST_KEY_ALGORITHMS if kind not in first)
    with connecting(host, port):
        async with asyncio.timeout(CONNECT_TIMEOUT), reached(host, port) as connected:
            key = await asyncssh.get_server_host_key(
                host,
                port,
                sock=connected,
                config=None,
                server_host_key_algs=(*first, *others),
            )
    if key is None:
        raise NotSSH(host=host, port=str(port))
    return HostKey.of(key)


class Session:
    """An open connection; scripts run on it one after the other or at once."""

    def __init__(self, connection: asyncssh.SSHClientConnection) -> None:
        """Wrap a connection that has been authenticated."""
        self._connection = connection
        self._shells = Shells(connection)
        self._standby = StandbyShells(self._shells)
        self.by_sudo = False
        """Whether the account is an ordinary one."""
        self.patience = 0.0
        """Seconds that each `sudo` may take beside what it runs."""

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
                return cls(await log_in(host, port, host_key, credentials, client_key))
        except NotSSH:
            # Another kind of key shows as a failed exchange: look which it is.
            found = await fetch_host_key(host, port, host_key)
            if found == host_key:
                raise
            raise HostKeyChanged(
                host=host,
                expected=host_key.fingerprint,
                found=found.fingerprint,
                openssh_command=found.openssh_command,
                dropbear_command=found.dropbear_command,
            ) from None

    @property
    def ready(self) -> bool:
        """Whether a shell waits for the next script."""
        return self._standby.ready

    async def use_root(self) -> bool:
        """Run scripts as root from now on, by one `sudo` for each shell, if it lets us.

        For an account that may do all: whoever is refused stands in the router's log.
        """
        await self._standby.use_root(self.patience)
        return self._standby.root

    async def run(
        self,
        script: Script,
        seconds: float = SCRIPT_TIMEOUT,
        *,
        as_account: bool = False,
    ) -> Mapping[str, Result]:
        """Run a script and return its sections; as the account even if root's are used.

        Raises ConnectionLost and TimedOut, after which no one knows how far
        the script came, and BadOutput.
        """
        seconds += self.patience_with(script.text)
        try:
            async with asyncio.timeout(seconds):
                sections = await self._sections(script, as_account=as_account)
        except TimeoutError:
            if self.by_sudo:
                # If it is sudo that waits, whoever connects again will see that.
                self._connection.close()
            raise TimedOut(seconds=f"{seconds:g}") from None
        except BROKEN as err:
            raise ConnectionLost(message=printable(str(err))) from None
        except BadOutput:
            if self.closed:
                raise ConnectionLost(message="closed") from None
            if self._standby.root:
                # Perhaps a refusal: whoever connects again asks what is allowed now.
                self._connection.close()
            raise
        self._standby.prepare(self.patience)
        return sections

    def patience_with(self, text: str) -> float:
        """Return how many seconds `sudo` may add to a script."""
        shells = 1 if self._standby.root else 0
        return self.patience * (text.count(SUDO) + shells)

    async def _sections(
        self, script: Script, *, as_account: bool
    ) -> Mapping[str, Result]:
        """Run a script, and return its sections."""
        root = self._standby.root and not as_account
        if root == self._standby.root:
            standby = await self._standby.take()
        else:
            # A server may allow few sessions.
            standby = None
            await self._standby.end()
        if root:
            # Who comes meanwhile need not wait for `sudo`.
            self._standby.prepare(self.patience)
        if standby:
            with suppress(Unheard):
                return await self._run_in(standby, script, root=root)
            if self.closed:
                raise ConnectionLost(message="closed")
        # There is none, or it has just died, with all of the script unheard.
        shell = await self._open(root=root)
        try:
            return await self._run_in(shell, script, root=root)
        except Unheard:
            raise BadOutput(output=shell.message) from None

    async def _run_in(
        self, shell: Shell, script: Script, *, root: bool
    ) -> Mapping[str, Result]:
        """Run a script in a shell, which is used again if it is root's by sudo."""
        if not root:
            return await run_script(shell, script, script.text, self._shells.finish)
        # Nothing of it, such as a variable, is to be there for the next one; and where
        # the link is cut meanwhile, it is not waited for without end.
        text = f"(\n{script.text}) || exit\n"
        return await run_script(shell, script, text, self._standby.give_back)

    @property
    def single(self) -> bool:
        """Whether the server allows one script at a time."""
        return self._shells.single

    @property
    def staying(self) -> bool:
        """Whether a script is running that stays."""
        return self._shells.staying

    async def stream(
        self,
        text: str,
        heartbeat: float,
        *,
        root: bool = False,
        asks: asyncio.Queue[str] | None = None,
        silence: float | None = None,
        yields: bool = False,
    ) -> AsyncGenerator[str]:
        """Run a script that stays, by `sudo` if it is to be `root`; yield its lines.

        Of a line that is too long, only the beginning. Its stdin gets a line each
        `heartbeat` seconds, which is empty, and those that are put into `asks`; it ends
        when the caller stops listening. Ends when the script does; raises
        ConnectionLost, TimedOut if it does not begin, or says nothing for so many
        seconds of `silence`, and BadOutput. Where the server allows few at once, others
        may need its place, first that of one that `yields`; then it raises FewSessions.
        """
        try:
            shell = await self._shell_of(root=root)
            shell.stays, shell.yields = True, yields
            beating = _beating(shell, text, heartbeat, asks or asyncio.Queue())
            try:
                begun, size = "", 0
                decoder = getincrementaldecoder("utf-8")("replace")
                while part := await _heard(shell, silence):
                    *lines, rest = decoder.decode(part).split("\n")
                    if lines:
                        lines[0] = begun + lines[0]
                        begun, size = "", 0
                    begun += rest[: _LINE_KEPT - len(begun)]
                    size += len(rest)
                    if size > _LINE_LIMIT:
                        raise BadOutput(output=printable(begun))
                    for line in lines:
                        yield line
                    await asyncio.sleep(len(part) / _HEARD)
                if beating.done():
                    beating.result()
            finally:
                beating.cancel()
                shell.close()
        except BROKEN as err:
            raise ConnectionLost(message=printable(str(err))) from None
        if self.closed:
            raise ConnectionLost(message="closed")
        if shell.displaced:
            raise FewSessions

    async def _shell_of(self, *, root: bool) -> Shell:
        """Return a shell for a script that stays."""
        if root and not self._standby.root:
            # No shell of the account's is of use.
            return await self._open(root=True, waits=True)
        standby = await self._standby.take()
        shell = standby or await self._open(root=self._standby.root, waits=True)
        if self._standby.root:
            self._standby.prepare(self.patience)
        return shell

    async def _open(self, *, root: bool, waits: bool = False) -> Shell:
        """Start a shell on the router that reads its script from stdin.

        A server may allow few at once: then it is one that another script leaves, or in
        the place of one that stays, unless that is waited for.
        """
        patience = self.patience if root else 0
        while True:
            try:
                return await self._shells.open(SCRIPT_TIMEOUT + patience, root=root)
            except asyncssh.ChannelOpenError:
                if self.closed or not self._shells.some:
                    raise
                if not waits:
                    self._shells.make_room()
            if root == self._standby.root and (spare := await self._standby.take()):
                return spare

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
            # The router is gone: no one is there to say goodbye to.
            self._connection.abort()
        # Last: a script that was on its way has prepared one until now.
        await self._standby.close()


def _beating(
    shell: Shell, text: str, heartbeat: float, asks: asyncio.Queue[str]
) -> asyncio.Task[None]:
    """Begin to do as `_beat`; the shell is closed if that fails."""

    def stopped(beat: asyncio.Task[None]) -> None:
        # Else it would go on for a while, or for ever, and no one would know.
        if not beat.cancelled() and beat.exception():
            shell.close()

    task = asyncio.create_task(_beat(shell, text, heartbeat, asks))
    task.add_done_callback(stopped)
    return task


async def _heard(shell: Shell, silence: float | None) -> bytes:
    """Return what a shell says next; nothing at its end. Raises TimedOut."""
    deadline = time.monotonic() + (silence or 0)
    reading = asyncio.ensure_future(shell.stdout.read(65536))
    try:
        # More than once if need be: Home Assistant's tests have time pass at will.
        while not reading.done():
            if silence and time.monotonic() >= deadline:
                raise TimedOut(seconds=f"{silence:g}")
            await asyncio.wait({reading}, timeout=silence)
        return reading.result()
    finally:
        reading.cancel()


async def _beat(
    shell: Shell, text: str, heartbeat: float, asks: asyncio.Queue[str]
) -> None:
    """Feed a script to a shell, ask what is to be asked, and show that we are there."""
    shell.write(text)
    while True:
        line = ""
        with suppress(TimeoutError):
            async with asyncio.timeout(heartbeat):
                line = await asks.get()
        shell.write(f"{line}\n")
