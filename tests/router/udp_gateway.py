"""A main router that is asked by UDP, for answers that no real one is made to give."""

import asyncio
from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from ipaddress import IPv4Address
import itertools
import socket
from typing import Any, Final, override

from custom_components.bypass_router.router.port_mapping.base import (
    LASTS,
    Answer,
    Entry,
    Opening,
    Outcome,
    PortMapping,
    PublicPort,
    Refusal,
)
from custom_components.bypass_router.router.port_mapping.udp import PORT

CLIENT: Final = IPv4Address("192.168.50.2")
WEB: Final = PortMapping(PublicPort("tcp", 8443), 8443)
SHIFTED: Final = PortMapping(PublicPort("udp", 6000), 5000)

_HOLDING_PORT: Final = PORT + 1

type Reply = bytes | None
"""None: silence."""


def opening(mapping: PortMapping, lease: int = LASTS) -> Opening:
    """Return a mapping as it is asked for."""
    return Opening(mapping, "bypass_router:ab12:01WEB:1", lease)


def was_opened(mapping: PortMapping, lease: int = LASTS) -> Outcome:
    """Return what became of a mapping that was granted."""
    return Outcome(None, Entry(CLIENT, mapping.port, lease=lease))


def was_refused(kind: Answer, code: int | None = None) -> Outcome:
    """Return what became of one that was not."""
    return Outcome(Refusal(kind, code), Refusal(kind, code))


class UdpGateway(asyncio.DatagramProtocol):
    """Answers each datagram as it is told, and again as before; remembers them all."""

    def __init__(self, answer: Callable[[bytes], Reply]) -> None:
        """Take what answers."""
        self.answer = answer
        self.sent: list[tuple[int, bytes]] = []
        """All that came, and from which port."""
        self.address = IPv4Address("127.0.0.1")
        self._transport: asyncio.DatagramTransport | None = None
        self._held: socket.socket | None = None
        self._closed = asyncio.Event()
        self._replies: dict[tuple[int, bytes], bytes] = {}

    @property
    def asked(self) -> list[bytes]:
        """What came, without what was sent again."""
        return [datagram for _, datagram in dict.fromkeys(self.sent)]

    @property
    def ports(self) -> set[int]:
        """From which ports."""
        return {port for port, _ in self.sent}

    async def open(self) -> None:
        """Take an address of this machine that no other test has until it is freed."""
        loop = asyncio.get_running_loop()
        self._held = _hold_address()
        self.address = IPv4Address(self._held.getsockname()[0])
        self._transport, _ = await loop.create_datagram_endpoint(
            lambda: self, local_addr=(str(self.address), PORT)
        )

    async def free(self) -> None:
        """Leave the address to other tests."""
        self.close()
        await self._closed.wait()
        assert self._held is not None
        self._held.close()

    def close(self) -> None:
        """Leave the port closed."""
        assert self._transport is not None
        self._transport.close()

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        """Tell that the port is free: asyncio closes it a little later."""
        self._closed.set()

    @override
    def datagram_received(self, data: bytes, addr: tuple[str | Any, int]) -> None:
        """Answer."""
        assert self._transport is not None
        sender = (addr[1], data)
        self.sent.append(sender)
        # On a busy machine, what is answered may be sent again all the same.
        reply = self._replies.get(sender) or self.answer(data)
        if reply is not None:
            self._replies[sender] = reply
            self._transport.sendto(reply, addr)


@asynccontextmanager
async def udp_gateway(
    answer: Callable[[bytes], Reply] | Iterable[Reply],
) -> AsyncIterator[UdpGateway]:
    """Open one that answers by this, or with these, one after the other."""
    if callable(answer):
        gateway = UdpGateway(answer)
    else:
        replies = iter(answer)
        gateway = UdpGateway(lambda _: next(replies))
    await gateway.open()
    try:
        yield gateway
    finally:
        await gateway.free()


def _hold_address() -> socket.socket:
    """Return what keeps an address for one test, also while its port is closed.

    Tests that run at the same time share this machine: were the gateway's own port what
    tells that an address is taken, another test would get it as soon as it is closed.
    """
    for number in itertools.count(int(IPv4Address("127.5.3.51"))):
        held = socket.socket(type=socket.SOCK_DGRAM)
        try:
            held.bind((str(IPv4Address(number)), _HOLDING_PORT))
        except OSError:
            held.close()
        else:
            return held
    raise AssertionError
