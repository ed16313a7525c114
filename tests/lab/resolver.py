"""A name server that is asked and never answers."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
import socket
from typing import Final

from .network import Lab

_QUESTIONS: Final = (b"\0\1\0\1", b"\0\x0c\0\1")
"""The ends of the queries for an IPv4 address and for a name; a look-up has one."""


class SilentResolver:
    """Counts what it is asked."""

    def __init__(self, server: socket.socket) -> None:
        """Take the socket that the queries come to."""
        self._server = server
        self._seen = 0

    @property
    def lookups(self) -> int:
        """How many names were looked up so far."""
        with suppress(BlockingIOError):
            while query := self._server.recv(4096):
                self._seen += query.endswith(_QUESTIONS)
        return self._seen


@contextmanager
def dead_resolver(lab: Lab, seconds: int = 1) -> Iterator[SilentResolver]:
    """Let the bypass router rely on a name server that is silent.

    Its own name is not in `/etc/hosts` any more. It waits for so long each time, and
    sudo looks twice.
    """
    with lab.other.enter():
        server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        server.bind((lab.other.address, 53))
    server.setblocking(False)
    disk = lab.bypass.disk
    switch = disk.path("/etc/nsswitch.conf").read_text()
    disk.write("/etc/nsswitch.conf", f"{switch}hosts: files dns\n")
    options = f"options timeout:{seconds} attempts:1"
    disk.write("/etc/resolv.conf", f"nameserver {lab.other.address}\n{options}\n")
    disk.write("/etc/hosts", "127.0.0.1 localhost\n")
    with server:
        yield SilentResolver(server)
