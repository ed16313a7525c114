"""An SSH server on this machine that has another host key, and notes all it gets."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import cache
from typing import override

import asyncssh

from custom_components.bypass_router.router.ssh.credentials import HostKey

ADDRESS = "127.0.0.1"


@cache
def key(kind: str, number: int = 0) -> asyncssh.SSHKey:
    """Return one of the keys of a kind, always the same."""
    return asyncssh.generate_private_key(kind)


class Stranger:
    """Whoever answers in the router's place."""

    def __init__(self) -> None:
        """Nothing has come yet."""
        self.got: list[str] = []
        """Passwords, answers in a dialog, keys that were offered or have signed."""
        self.port = 0
        self.keys: tuple[asyncssh.SSHKey, ...] = ()
        self.connections = 0
        self._server: asyncssh.SSHAcceptor | None = None

    @property
    def host_key(self) -> HostKey:
        """The first of its keys."""
        return HostKey.of(self.keys[0].convert_to_public())

    async def answer_by(self, *keys: asyncssh.SSHKey) -> None:
        """Answer at the same port, by these host keys, from now on."""
        await self.leave()
        self.keys = keys
        self._server = await asyncssh.create_server(
            lambda: _Server(self),
            *(ADDRESS, self.port),
            server_host_keys=list(keys),
            gss_host=None,
            reuse_address=True,
        )
        self.port = self._server.sockets[0].getsockname()[1]

    async def leave(self) -> None:
        """Answer no more."""
        if self._server:
            self._server.close()
            await self._server.wait_closed()
            self._server = None


@asynccontextmanager
async def stranger(*keys: asyncssh.SSHKey) -> AsyncIterator[Stranger]:
    """Let someone answer by these keys."""
    found = Stranger()
    await found.answer_by(*keys)
    try:
        yield found
    finally:
        await found.leave()
        await asyncio.sleep(0)


class _Server(asyncssh.SSHServer):
    """One connection to it: refuses passwords, and asks for them in each way."""

    def __init__(self, stranger: Stranger) -> None:
        """Take who notes what comes."""
        self._stranger = stranger

    @override
    def connection_made(self, conn: asyncssh.SSHServerConnection) -> None:
        self._stranger.connections += 1

    @override
    def begin_auth(self, username: str) -> bool:
        return True

    @override
    def password_auth_supported(self) -> bool:
        return True

    @override
    def validate_password(self, username: str, password: str) -> bool:
        self._stranger.got.append(password)
        return False

    @override
    def kbdint_auth_supported(self) -> bool:
        return True

    @override
    def get_kbdint_challenge(
        self, username: str, lang: str, submethods: str
    ) -> tuple[str, str, str, list[tuple[str, bool]]]:
        return "", "", "", [("Password:", False)]

    @override
    def validate_kbdint_response(self, username: str, responses: Sequence[str]) -> bool:
        self._stranger.got += responses
        return False

    @override
    def public_key_auth_supported(self) -> bool:
        return True

    @override
    def validate_public_key(self, username: str, key: asyncssh.SSHKey) -> bool:
        # Asked for an offer, and once more for the signature, which is looked for.
        self._stranger.got.append(key.get_fingerprint())
        return True
