"""What is said and searched by SSDP, as a machine of the lab hears it."""

from collections.abc import Iterator
from contextlib import contextmanager
import socket
from typing import Final

from .node import Node
from .waiting import tries

GROUP: Final = "239.255.255.250"
PORT: Final = 1900
GATEWAY: Final = "urn:schemas-upnp-org:device:InternetGatewayDevice:1"

type Heard = tuple[str, int, dict[str, str]]
"""From which address and port something came, and its headers in capitals."""


def headers(datagram: bytes) -> dict[str, str]:
    """Read what was said; the first line is under the empty name."""
    first, *lines = datagram.decode(errors="replace").splitlines()
    pairs = (line.partition(":") for line in lines if line)
    return {"": first, **{name.upper(): value.strip() for name, _, value in pairs}}


def search(
    node: Node, target: str = GATEWAY, to: str = GROUP, within: float | None = None
) -> Heard | None:
    """Search from a machine, and return the first answer; None if there is none."""
    question = (
        f"M-SEARCH * HTTP/1.1\r\nHOST: {GROUP}:{PORT}\r\n"
        f'MAN: "ssdp:discover"\r\nMX: 1\r\nST: {target}\r\n\r\n'
    )
    with node.enter(), socket.socket(type=socket.SOCK_DGRAM) as asking:
        asking.setsockopt(socket.SOL_IP, socket.IP_MULTICAST_IF, _address(node))
        asking.settimeout(0.2)
        for _ in tries() if within is None else tries(within):
            asking.sendto(question.encode(), (to, PORT))
            try:
                said, (address, port) = asking.recvfrom(65535)
            except TimeoutError:
                continue
            return address, port, headers(said)
    return None


@contextmanager
def listening(node: Node) -> Iterator[Iterator[Heard]]:
    """Hear what is announced to a machine, from now on, as it comes."""
    with node.enter():
        server = socket.socket(type=socket.SOCK_DGRAM)
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        server.bind((GROUP, PORT))
        group = socket.inet_aton(GROUP) + _address(node)
        server.setsockopt(socket.SOL_IP, socket.IP_ADD_MEMBERSHIP, group)
    server.settimeout(0.2)
    with server:
        yield _heard(server)


def _heard(server: socket.socket) -> Iterator[Heard]:
    """Yield what comes, until nothing has for as long as any test waits."""
    for _ in tries():
        try:
            said, (address, port) = server.recvfrom(65535)
        except TimeoutError:
            continue
        yield address, port, headers(said)


def _address(node: Node) -> bytes:
    """Return a machine's own address, by which the interface is named."""
    return socket.inet_aton(node.address)
