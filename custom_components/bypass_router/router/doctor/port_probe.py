"""Knocking at a port: from Home Assistant, and from the router.

A probe connects and exchanges data where the service answers: it waits for a banner,
and sends two empty lines if there is none. UDP gets the two empty lines at once. A
printer would print them, so the ports of printers are only connected to.
"""

import asyncio
from contextlib import suppress
from enum import StrEnum
import errno
from ipaddress import IPv4Address
from shlex import quote
from typing import Final, override

from ..forward import PortRange, Transport
from ..ssh.script import Result, Script

# Seconds: for a connection, a second SYN and its answer included; for a banner; and
# for the answer to what was sent.
PATIENCE: Final = 3
_BANNER = 0.3
_REPLY = 0.7
_PAYLOAD = b"\r\n\r\n"
_PRINTERS = (PortRange(515, 515), PortRange(9100, 9109))
# For a whole script with a probe for each transport.
PORT_PROBE_TIMEOUT: Final = 20


class Answer(StrEnum):
    """What a probe was answered by."""

    DATA = "data"
    CONNECTED = "connected"
    """TCP: it listens, and said nothing."""
    REFUSED = "refused"
    UNREACHABLE = "unreachable"
    """In the words of an ICMP error, or of the kernel that finds no one by ARP."""
    SILENT = "silent"
    UNKNOWN = "unknown"
    """The router has nothing to probe with."""

    @property
    def is_service(self) -> bool:
        """Whether a service is there."""
        return self in (Answer.DATA, Answer.CONNECTED)

    @property
    def is_host(self) -> bool:
        """Whether the host is there, or a firewall that answers for it."""
        return self.is_service or self is Answer.REFUSED


async def probe_port(transport: Transport, address: IPv4Address, port: int) -> Answer:
    """Knock from Home Assistant."""
    try:
        async with asyncio.timeout(PATIENCE):
            if transport == "udp":
                return await _probe_udp(address, port)
            reader, writer = await asyncio.open_connection(str(address), port)
    except TimeoutError:
        return Answer.SILENT
    except OSError as err:
        return _meaning(err)
    try:
        return await _exchange(reader, writer, port)
    finally:
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()


async def _exchange(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, port: int
) -> Answer:
    """See whether a service says anything."""
    for seconds in (_BANNER, _REPLY):
        with suppress(TimeoutError, OSError):
            async with asyncio.timeout(seconds):
                return Answer.DATA if await reader.read(1) else Answer.CONNECTED
        if _is_printer(port):
            break
        with suppress(OSError):
            writer.write(_PAYLOAD)
    return Answer.CONNECTED


class _Datagrams(asyncio.DatagramProtocol):
    """Waits for the first thing that comes back."""

    def __init__(self) -> None:
        self.answer: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()

    @override
    def datagram_received(self, data: bytes, addr: object) -> None:
        if not self.answer.done():
            self.answer.set_result(Answer.DATA)

    @override
    def error_received(self, exc: Exception) -> None:
        if isinstance(exc, OSError) and not self.answer.done():
            self.answer.set_result(_meaning(exc))


async def _probe_udp(address: IPv4Address, port: int) -> Answer:
    """Send one datagram. Raises TimeoutError, OSError."""
    transport, protocol = await asyncio.get_running_loop().create_datagram_endpoint(
        _Datagrams, remote_addr=(str(address), port)
    )
    try:
        transport.sendto(_PAYLOAD)
        async with asyncio.timeout(_BANNER + _REPLY):
            return await protocol.answer
    finally:
        transport.close()


def _meaning(err: OSError) -> Answer:
    """Return what an error of the network means."""
    if err.errno == errno.ECONNREFUSED:
        return Answer.REFUSED
    if err.errno in (errno.EHOSTUNREACH, errno.ENETUNREACH):
        return Answer.UNREACHABLE
    return Answer.SILENT if err.errno == errno.ETIMEDOUT else Answer.UNKNOWN


# bash alone can tell on its own; any `nc` leaves it to the kernel's list of sockets.
# `$1` to `$3`: address, port, what to send. `$4` is how the kernel writes both.
_BASH = r"""
exec 3<>"/dev/tcp/$1/$2" || exit 1
heard() { LC_ALL=C IFS= read -r -d "" -n 1 -t "$1" _ <&3; }
heard 0.3; status=$?
if [ $status -gt 128 ] && [ "$3" ]; then
  printf "$3" >&3 2>/dev/null; heard 0.7; status=$?
fi
if [ $status = 0 ]; then echo data; else echo connected; fi
"""
_BASH_UDP = r"""
exec 3<>"/dev/udp/$1/$2" || exit 1
printf "$3" >&3
LC_ALL=C IFS= read -r -d "" -n 1 -t 1 _ <&3; status=$?
if [ $status = 0 ]; then echo data; elif [ $status -gt 128 ]; then echo silent; fi
"""
# What is background has no stdin but by a number of its own. The guard ends with us,
# but for its `sleep`, which holds nothing open.
_WATCHED = r"""
if command -v bash >/dev/null; then
  bash=$5; probe() { exec bash --norc -c "$bash" bash "$@"; }
  lines() { :; }
elif [ "$6" = tcp ] && command -v nc >/dev/null; then
  probe() { exec nc "$1" "$2"; }
  lines() { sleep 1; printf "$1"; sleep 1; }
else
  echo unknown; exit
fi
lines "$3" | {
  exec 3<&0
  probe "$1" "$2" "$3" <&3 3<&- 2>&1 &
  pid=$!
  exec 3<&-
  (
    sleep 3 </dev/null >/dev/null 2>&1
    if grep -Eq " ($4) 02 " /proc/net/tcp; then echo silent; else echo connected; fi
    kill "$pid"
  ) </dev/null 2>/dev/null &
  guard=$!
  wait "$pid" 2>/dev/null
  echo "status $?"
  kill "$guard" 2>/dev/null
} | dd bs=200 count=1 2>/dev/null
"""


def add_port_probe(
    script: Script, transport: Transport, address: IPv4Address, port: int
) -> None:
    """Add a probe from the router; `read_port_probe` understands what it prints."""
    text = address.packed.hex().upper()
    swapped = address.packed[::-1].hex().upper()
    sockets = f"{text}:{port:04X}|{swapped}:{port:04X}"
    payload = "" if _is_printer(port) else r"\r\n\r\n"
    bash = _BASH if transport == "tcp" else _BASH_UDP
    words = (str(address), str(port), payload, sockets, bash, transport)
    quoted = " ".join(map(quote, ("sh", *words)))
    script.run(f"probe.{transport}", f"sh -c {quote(_WATCHED)} {quoted}")


_COMPLAINTS = ("bash: ", "nc: ", "(UNKNOWN) ")
_MEANINGS: Final = {
    "refused": Answer.REFUSED,
    "No route to host": Answer.UNREACHABLE,
    "unreachable": Answer.UNREACHABLE,
    "timed out": Answer.SILENT,
}
_NONE = Answer.UNKNOWN


def read_port_probe(result: Result) -> Answer:
    """Return what a probe from the router was answered by."""
    output = result.output
    if output.startswith(_COMPLAINTS):
        return next(
            (meaning for words, meaning in _MEANINGS.items() if words in output), _NONE
        )
    word, _, rest = output.partition("\n")[0].partition(" ")
    if word in Answer:
        return Answer(word)
    if word == "status":
        return Answer.CONNECTED if rest == "0" else _NONE
    return Answer.DATA if output else _NONE


def _is_printer(port: int) -> bool:
    """Return whether what is sent to a port may be printed."""
    return any(span.first <= port <= span.last for span in _PRINTERS)
