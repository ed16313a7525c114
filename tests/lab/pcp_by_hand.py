"""What a gateway is asked by NAT-PMP and PCP, as one writes it by hand."""

from dataclasses import dataclass
from ipaddress import IPv4Address
import socket
import struct
from typing import Final

from .exchange import Transport
from .node import Node
from .waiting import LIMIT

NONCE: Final = bytes(range(12))
PREFER_FAILURE: Final = b"\2\0\0\0"
"""That port or none, as an option of PCP."""

_NUMBERS: Final[dict[Transport, int]] = {"tcp": 6, "udp": 17}
_OPCODES: Final[dict[Transport, int]] = {"udp": 1, "tcp": 2}


@dataclass(frozen=True)
class Told:
    """What was answered; 0 is what was not."""

    code: int
    inside: int = 0
    public: int = 0
    lease: int = 0


def nat_pmp(
    port: int, inside: int, lease: int = 7200, transport: Transport = "tcp"
) -> bytes:
    """Return a question for a mapping, by NAT-PMP."""
    return struct.pack("!BBxxHHI", 0, _OPCODES[transport], inside, port, lease)


def pcp(
    client: str,
    port: int,
    inside: int,
    lease: int = 7200,
    *,
    transport: Transport = "tcp",
    nonce: bytes = NONCE,
    options: bytes = b"",
) -> bytes:
    """Return a question for a mapping, by PCP."""
    head = struct.pack("!BBHI16s", 2, 1, 0, lease, _mapped(client))
    number = _NUMBERS[transport]
    any_address = _mapped("0.0.0.0")
    body = struct.pack("!12sB3xHH16s", nonce, number, inside, port, any_address)
    return head + body + options


def told(answer: bytes) -> Told:
    """Read an answer for a mapping."""
    if answer[0] == 2:
        code, lease = struct.unpack_from("!3xBI", answer)
        inside, public = struct.unpack_from("!HH", answer, 40)
    else:
        (code,) = struct.unpack_from("!H", answer, 2)
        inside, public, lease = struct.unpack_from("!HHI", answer, 8)
    return Told(code, inside, public, lease)


def ask(asker: Node | str, question: bytes, host: str, port: int = 5351) -> bytes:
    """Send a question from a machine of the lab, or an address of this one's."""
    if isinstance(asker, Node):
        with asker.enter():
            return ask(asker.address, question, host, port)
    with socket.socket(type=socket.SOCK_DGRAM) as asking:
        asking.settimeout(LIMIT)
        asking.bind((asker, 0))
        asking.sendto(question, (host, port))
        return asking.recv(2048)


def _mapped(address: str) -> bytes:
    """Return an IPv4 address as one of IPv6."""
    return bytes(10) + b"\xff\xff" + IPv4Address(address).packed
