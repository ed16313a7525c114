"""Talks to a Home Assistant from within its own network, for callers outside of it."""

import asyncio
from collections.abc import Coroutine
import socket
import threading
from typing import Any, Final

import aiohttp

from tests.lab.node import Node
from tests.lab.waiting import LIMIT, at_once

LOOPBACK: Final = "127.0.0.1"

_TIMEOUT: Final = aiohttp.ClientTimeout(total=LIMIT)
_CHUNK: Final = 65536


class RequestRefused(Exception):
    """Home Assistant answered, and said no."""

    def __init__(self, what: str, status: int | str, message: str) -> None:
        """Say what was asked and what the answer was."""
        super().__init__(f"{what}: {status} {message}".strip())
        self.status = status
        self.message = message


class Client:
    """A client on the loopback of one node; its calls block the caller.

    A thread of its own lives in that node's network, with the event loop that all
    connections belong to. The caller's thread stays where it is.
    """

    def __init__(self, node: Node, port: int) -> None:
        """Start the thread; nothing is connected yet."""
        self.token: str | None = None
        self._node = node
        self._port = port
        self._loop: asyncio.AbstractEventLoop | None = None
        self._relays: list[asyncio.Server] = []
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._live, name="client", daemon=True)
        self._thread.start()
        self._ready.wait()

    def _live(self) -> None:
        """Serve the callers, from within the node's network."""
        with self._node.enter(), asyncio.Runner() as runner:
            self._loop = runner.get_loop()
            self._loop.call_soon(self._ready.set)
            self._loop.run_forever()

    def _call[T](self, work: Coroutine[Any, Any, T]) -> T:
        """Do it in the node's network, and wait."""
        assert self._loop is not None
        try:
            return asyncio.run_coroutine_threadsafe(work, self._loop).result()
        except aiohttp.ClientError as err:
            raise ConnectionError(str(err)) from err

    def request(
        self,
        method: str,
        path: str,
        json: object = None,
        form: dict[str, str] | None = None,
    ) -> Any:
        """Send a request, and return the answer's JSON.

        Raises RequestRefused, and OSError where no one answers.
        """
        return self._call(self._request(method, path, json, form))

    def command(self, kind: str, **fields: object) -> Any:
        """Send a websocket command on a connection of its own; return its result.

        Raises RequestRefused, and OSError where no one answers.
        """
        return self._call(self._command(kind, fields))

    def relay(self, listening: socket.socket) -> None:
        """Pass on what connects to this socket, from now on.

        The socket may belong to another network: that is what a relay is for.
        """
        self._call(self._relay(listening))

    def close(self) -> None:
        """End all connections, and the thread."""
        assert self._loop is not None
        self._call(self._end_relays())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()

    async def _request(
        self, method: str, path: str, json: object, form: dict[str, str] | None
    ) -> Any:
        async with (
            self._session() as session,
            session.request(method, path, json=json, data=form) as response,
        ):
            if not response.ok:
                text = (await response.text())[:500]
                raise RequestRefused(f"{method} {path}", response.status, text)
            return await response.json(content_type=None)

    async def _command(self, kind: str, fields: dict[str, object]) -> Any:
        async with (
            self._session() as session,
            session.ws_connect("/api/websocket") as websocket,
        ):
            await websocket.receive_json()
            await websocket.send_json({"type": "auth", "access_token": self.token})
            accepted = await websocket.receive_json()
            if accepted["type"] != "auth_ok":
                raise RequestRefused(kind, accepted["type"], str(accepted))
            await websocket.send_json({"id": 1, "type": kind, **fields})
            answer = await websocket.receive_json()
        if not answer["success"]:
            error = answer["error"]
            raise RequestRefused(kind, error["code"], error["message"])
        return answer.get("result")

    def _session(self) -> aiohttp.ClientSession:
        """Return a session with the token, if there is one."""
        return aiohttp.ClientSession(
            f"http://{LOOPBACK}:{self._port}",
            headers={"Authorization": f"Bearer {self.token}"} if self.token else None,
            timeout=_TIMEOUT,
        )

    async def _relay(self, listening: socket.socket) -> None:
        self._relays.append(await asyncio.start_server(self._pass_on, sock=listening))

    async def _end_relays(self) -> None:
        for relay in self._relays:
            relay.close()
            relay.abort_clients()
            await relay.wait_closed()

    async def _pass_on(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        """Connect to Home Assistant, and copy both ways until both have ended."""
        try:
            inner = await asyncio.open_connection(LOOPBACK, self._port)
        except OSError:
            writer.close()
            return
        try:
            await at_once(_copy(reader, inner[1]), _copy(inner[0], writer))
        except* OSError:
            # One side is gone, so the other has to go.
            pass
        finally:
            inner[1].close()
            writer.close()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Copy until the end, and pass that on as well."""
    while data := await reader.read(_CHUNK):
        writer.write(data)
        await writer.drain()
    writer.write_eof()
