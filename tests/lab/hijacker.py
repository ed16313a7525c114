"""The program behind a transparent proxy: answers what it was given to take.

A program of its own. It answers each line, or datagram, in place of whoever was
meant, and says `hijacked <port meant> …`, so that what was hijacked can be told
from what was lost. Called as `redirect PORT`, `tproxy PORT` or `tun INTERFACE`, it
prints `ok` when it is ready and runs until it is killed.
"""

from collections.abc import Callable
from contextlib import suppress
import fcntl
import os
import socket
import struct
import sys
import threading

HIJACKED = "hijacked"

_LONGEST = 65535
_BACKLOG = 128
_UDP = 17
# Of <linux/in.h>, <linux/netfilter_ipv4.h> and <linux/if_tun.h>; socket has not all.
_IP_TRANSPARENT = 19
_IP_RECVORIGDSTADDR = 20
_SO_ORIGINAL_DST = 80
_TUNSETIFF = 0x400454CA
_IFF_TUN_NO_PI = 0x1001

type Address = tuple[str, int]


def banner(port: int) -> bytes:
    """What is answered for a connection that was meant for this port."""
    return f"{HIJACKED} {port} by the proxy\n".encode()


def is_banner(payload: bytes) -> bool:
    """Return whether it is an answer of ours, which an echo service sent back.

    Such a reply may be hijacked as well; who answers it answers for ever.
    """
    return HIJACKED.encode() in payload


def serve_tcp(port: int, meant: Callable[[socket.socket], int], *, ours: bool) -> None:
    """Take connections; `meant` tells the port that one was made to."""
    server = socket.socket()
    server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    if not ours:
        server.setsockopt(socket.SOL_IP, _IP_TRANSPARENT, 1)
    server.bind(("0.0.0.0", port))
    server.listen(_BACKLOG)

    def answer(connection: socket.socket) -> None:
        with suppress(OSError), connection, connection.makefile("rb") as lines:
            for _ in lines:
                connection.sendall(banner(meant(connection)))

    def accept() -> None:
        while True:
            connection, _ = server.accept()
            threading.Thread(target=answer, args=(connection,), daemon=True).start()

    threading.Thread(target=accept).start()


def serve_udp(port: int) -> None:
    """Take datagrams, and answer from the address that they were sent to."""
    server = socket.socket(type=socket.SOCK_DGRAM)
    server.setsockopt(socket.SOL_IP, _IP_TRANSPARENT, 1)
    server.setsockopt(socket.SOL_IP, _IP_RECVORIGDSTADDR, 1)
    server.bind(("0.0.0.0", port))

    def answer() -> None:
        payload, ((_, _, original),), _, peer = server.recvmsg(_LONGEST, 64)
        if is_banner(payload):
            return
        meant = _address(original)
        with suppress(OSError), socket.socket(type=socket.SOCK_DGRAM) as back:
            back.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            back.setsockopt(socket.SOL_IP, _IP_TRANSPARENT, 1)
            back.bind(meant)
            back.sendto(banner(meant[1]), peer)

    def serve() -> None:
        while True:
            answer()

    threading.Thread(target=serve).start()


def port_before_redirect(connection: socket.socket) -> int:
    """Return the port that a redirected connection was made to."""
    return _address(connection.getsockopt(socket.SOL_IP, _SO_ORIGINAL_DST, 16))[1]


def port_of_socket(connection: socket.socket) -> int:
    """Return the port of a transparent socket, which is the one that was meant."""
    port = connection.getsockname()[1]
    assert isinstance(port, int)
    return port


def _address(raw: bytes) -> Address:
    """Read the kernel's sockaddr_in."""
    port, address = struct.unpack_from("!2xH4s", raw)
    return socket.inet_ntoa(address), port


def serve_tun(name: str) -> None:
    """Swallow the packets that are routed into an interface; answer those of UDP."""
    file = os.open("/dev/net/tun", os.O_RDWR)
    request = struct.pack("16sH22x", name.encode(), _IFF_TUN_NO_PI)
    fcntl.ioctl(file, _TUNSETIFF, request)

    def serve() -> None:
        while True:
            packet = os.read(file, _LONGEST)
            if packet[0] >> 4 == 4 and packet[9] == _UDP and not is_banner(packet):
                with suppress(OSError):
                    os.write(file, udp_answer(packet))

    threading.Thread(target=serve).start()


def udp_answer(packet: bytes) -> bytes:
    """Return the packet that answers one of UDP over IPv4."""
    length = (packet[0] & 15) * 4
    source, destination = packet[12:16], packet[16:20]
    from_port, to_port = struct.unpack_from("!HH", packet, length)
    payload = banner(to_port)
    size = 8 + len(payload)
    # A checksum of 0 is none.
    udp = struct.pack("!HHHH", to_port, from_port, size, 0) + payload
    header = struct.pack("!BBHHHBB", 0x45, 0, 20 + size, 0, 0, 64, _UDP)
    addresses = destination + source
    words = struct.unpack("!9H", header + addresses)
    total = sum(words)
    while total > 0xFFFF:
        total = (total & 0xFFFF) + (total >> 16)
    return header + struct.pack("!H", total ^ 0xFFFF) + addresses + udp


def main() -> None:
    """Serve as told."""
    how, what = sys.argv[1:]
    try:
        match how:
            case "redirect":
                serve_tcp(int(what), port_before_redirect, ours=True)
            case "tproxy":
                serve_tcp(int(what), port_of_socket, ours=False)
                serve_udp(int(what))
            case "tun":
                serve_tun(what)
    except OSError as error:
        sys.exit(str(error))
    print("ok", flush=True)


if __name__ == "__main__":
    main()
