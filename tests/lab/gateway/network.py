"""Where a fake gateway is asked: its sockets, in a thread of their own."""

import asyncio
from collections.abc import Callable, Coroutine
from concurrent.futures import Future
from contextlib import ExitStack, nullcontext, suppress
import socket
import threading
from typing import TYPE_CHECKING, Any, Final, override

from ..main_router import MainRouter
from ..ssdp import GROUP, PORT as SSDP_PORT
from . import ssdp
from .http import Refused, receive
from .sending import message, pieces

if TYPE_CHECKING:
    from .server import Gateway

NAT_PMP_PORT: Final = 5351
_OFTEN: Final = 0.05
"""Seconds between two looks at what has come to its end."""

type Address = tuple[str, int]


class Network:
    """The thread, which is in the main router's network."""

    def __init__(self, gateway: Gateway, router: MainRouter | None) -> None:
        """Begin without one."""
        self._gateway = gateway
        self._router = router
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._end = asyncio.Event()
        self._goodbye = True
        self._tasks: set[asyncio.Task[None]] = set()
        self._connections: set[asyncio.StreamWriter] = set()

    def start(self) -> None:
        """Start it, and wait until all sockets are open."""
        ready: Future[None] = Future()
        self._end = asyncio.Event()
        self._thread = threading.Thread(target=self._run, args=(ready,))
        self._thread.start()
        ready.result()

    def stop(self, *, goodbye: bool) -> None:
        """End it, with all connections."""
        if self._thread is None:
            return
        self._goodbye = goodbye
        if self._loop is not None and self._thread.is_alive():
            with suppress(RuntimeError):
                self._loop.call_soon_threadsafe(self._end.set)
        self._thread.join()
        self._thread = None

    def _tell(self, *only: str) -> None:
        """Send events."""
        self._do(self._gateway.events.tell(self._gateway.state(), *only))

    def _do(self, work: Coroutine[Any, Any, None]) -> None:
        """Let something be done beside the rest."""
        task = asyncio.get_running_loop().create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _run(self, ready: Future[None]) -> None:
        """Serve, until it is to end."""
        try:
            with nullcontext() if self._router is None else self._router.enter():
                asyncio.run(self._serve(ready))
        except OSError as error:
            if ready.done():
                raise
            ready.set_exception(error)

    async def _serve(self, ready: Future[None]) -> None:
        """Open all sockets, and have them served."""
        self._loop = asyncio.get_running_loop()
        options = self._gateway.options
        with ExitStack() as sockets:
            if options.upnp:
                await self._open_http(sockets)
            if options.nat_pmp or options.pcp:
                await self._open_udp(sockets)
            found = self._router is not None and options.upnp and options.ssdp
            answering = await self._open_ssdp(sockets) if found else None
            self._do(self._watch())
            self._announce(answering, alive=True)
            ready.set_result(None)
            await self._end.wait()
            if self._goodbye:
                self._announce(answering, alive=False)
            while self._connections:
                self._connections.pop().transport.abort()
            # What is sent is on its way with the next turn of the loop, and what is
            # closed is gone.
            await asyncio.sleep(0)

    @property
    def _host(self) -> str:
        """Where it listens: at all addresses of the main router, perhaps several."""
        return "127.0.0.1" if self._router is None else "0.0.0.0"

    async def _watch(self) -> None:
        """Let go what has come to its end, and tell of it."""
        table = self._gateway.table
        while True:
            await asyncio.sleep(_OFTEN)
            before = table.changes
            table.end()
            if table.changes != before:
                self._tell()

    async def _talk(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        """Serve one connection."""
        source = writer.get_extra_info("peername")[0]
        self._connections.add(writer)
        try:
            while await self._answer(reader, writer, source):
                pass
        except ConnectionError:
            pass
        finally:
            writer.close()

    async def _answer(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, source: str
    ) -> bool:
        """Answer one request, and return whether the connection stays open."""
        gateway, options = self._gateway, self._gateway.options
        try:
            request = await receive(reader, options)
        except Refused as error:
            gateway.note("refused", source)
            head, body = message(error.status, b"", "plain", options, {}, stays=False)
            writer.write(head + body)
            await writer.drain()
            return False
        if request is None:
            return False
        answer = gateway.web.answer(request, source)
        await asyncio.sleep(options.seconds)
        asked_to_close = request.headers.get("CONNECTION", "").lower() == "close"
        stays = options.http_version == "1.1" and not asked_to_close
        way = answer.way
        head, body = message(
            answer.status,
            answer.body.encode(),
            way,
            options,
            answer.headers,
            stays=stays,
        )
        async for piece in pieces(head, body, way):
            writer.write(piece)
            await writer.drain()
        if answer.tells is not None:
            self._tell(*answer.tells)
        return stays and way in {"plain", "chunked", "two_segments", "drip"}

    async def _open_http(self, sockets: ExitStack) -> None:
        """Listen for UPnP, perhaps at two ports."""
        gateway = self._gateway
        gateway.http_port = await self._listen(sockets, gateway.http_port)
        if gateway.control_port is not None:
            gateway.control_port = await self._listen(sockets, gateway.control_port)

    async def _listen(self, sockets: ExitStack, port: int) -> int:
        """Listen at a port, and return which it is."""
        server = await asyncio.start_server(self._talk, self._host, port)
        sockets.callback(server.close)
        own: int = server.sockets[0].getsockname()[1]
        return own

    async def _open_udp(self, sockets: ExitStack) -> None:
        """Listen for NAT-PMP and PCP."""
        gateway = self._gateway
        server = _udp(self._host, gateway.udp_port)
        gateway.udp_port = server.getsockname()[1]

        def answer(asked: bytes, peer: Address) -> None:
            name, said = gateway.udp.answer(asked, peer[0])
            gateway.note(name, peer[0])
            if said:
                transport.sendto(said, peer)

        transport = await self._datagrams(sockets, server, answer)

    async def _open_ssdp(self, sockets: ExitStack) -> asyncio.DatagramTransport:
        """Listen for searches, and return what they are answered by."""
        gateway, options = self._gateway, self._gateway.options

        def ignore(question: bytes, peer: Address) -> None:
            pass

        def answer(question: bytes, peer: Address) -> None:
            gateway.note("search", peer[0])
            for described in gateway.descriptions:
                location = gateway.location_of(described)
                for said in ssdp.answers(question, described, location):
                    answering.sendto(said, peer)

        group = _udp(GROUP, SSDP_PORT)
        membership = socket.inet_aton(GROUP) + socket.inet_aton(gateway.address)
        group.setsockopt(socket.SOL_IP, socket.IP_ADD_MEMBERSHIP, membership)
        await self._datagrams(sockets, group, answer)
        own = options.ssdp_host or gateway.address
        usual = (own, options.ssdp_port) == (gateway.address, SSDP_PORT)
        alone = options.ssdp_multicast_only
        server = _udp(own, options.ssdp_port)
        server.setsockopt(
            socket.SOL_IP, socket.IP_MULTICAST_IF, socket.inet_aton(gateway.address)
        )
        answering = await self._datagrams(
            sockets, server, answer if usual and not alone else ignore
        )
        if not usual and not alone:
            unicast = _udp(gateway.address, SSDP_PORT)
            await self._datagrams(sockets, unicast, answer)
        return answering

    async def _datagrams(
        self,
        sockets: ExitStack,
        server: socket.socket,
        receive: Callable[[bytes, Address], None],
    ) -> asyncio.DatagramTransport:
        """Have what comes to a socket received."""
        loop = asyncio.get_running_loop()
        transport, _ = await loop.create_datagram_endpoint(
            lambda: _Receiver(receive), sock=server
        )
        sockets.callback(transport.close)
        return transport

    def _announce(self, by: asyncio.DatagramTransport | None, *, alive: bool) -> None:
        """Tell all that it is there, or is not any more."""
        gateway = self._gateway
        if by is None:
            return
        for described in gateway.descriptions:
            location = gateway.location_of(described)
            for said in ssdp.announcements(
                described, location, gateway.boot, alive=alive
            ):
                by.sendto(said, (GROUP, SSDP_PORT))


class _Receiver(asyncio.DatagramProtocol):
    """Gives what comes to a function."""

    def __init__(self, receive: Callable[[bytes, Address], None]) -> None:
        """Take the function."""
        self._receive = receive

    @override
    def datagram_received(self, data: bytes, addr: Address) -> None:
        """Give it one."""
        self._receive(data, addr)


def _udp(host: str, port: int) -> socket.socket:
    """Return a socket for datagrams."""
    server = socket.socket(type=socket.SOCK_DGRAM)
    server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    server.bind((host, port))
    server.setblocking(False)
    return server
