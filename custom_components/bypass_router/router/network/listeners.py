"""Which services of the router itself listen at its address.

A forward takes its external ports away from them, for everyone: our rule stands
before the router's own sockets.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address
import re
from typing import override

from ..errors import printable
from ..forward import MAX_PORT, Forward, PortRange, Transport
from ..ssh.script import Result, Script

# Of `ss -H -n -t -l -p`, and of busybox's `netstat -n -t -l -p`, the local address
# is the first word that ends in a port.
_LOCAL = re.compile(r"(?:^|\s)(\S+):([0-9]{1,5})(?=\s)")
_SS_PROGRAM = re.compile(r'users:\(\("([^"]+)"')
_NETSTAT_PROGRAM = re.compile(r"\s[0-9]+/(\S+)\s*$")
_ANYWHERE = frozenset({"*", "0.0.0.0", "::", "[::]"})  # noqa: S104 - only read
_SSH_SERVERS = frozenset({"sshd", "dropbear"})


@dataclass(frozen=True, slots=True)
class Listener:
    """A service that listens; `program` is empty where the account can't see it."""

    transport: Transport
    port: int
    program: str = ""

    @property
    def is_ssh(self) -> bool:
        """Whether it is what Home Assistant comes in by."""
        return self.program in _SSH_SERVERS

    @property
    def is_unknown(self) -> bool:
        """Whether it may be an SSH server, for all that the account can see."""
        return self.transport == "tcp" and not self.program

    @override
    def __str__(self) -> str:
        """Return the service as people know it, such as `dnsmasq (UDP 53)`."""
        place = f"{self.transport.upper()} {self.port}"
        return f"{self.program} ({place})" if self.program else place

    def conflicts_with(self, forward: Forward) -> bool:
        """Return whether a forward would take the port away from the service."""
        return self.transport in forward.protocol.transports and PortRange(
            self.port, self.port
        ).overlaps(forward.external)


def listeners_script() -> Script:
    """Return the script whose output `read_listeners` understands."""
    script = Script()
    for transport in ("tcp", "udp"):
        flag = transport[0]
        script.run(f"{transport}.ss", f"ss -H -n -{flag} -l -p")
        script.otherwise(f"{transport}.netstat", f"netstat -n -{flag} -l -p")
        # Some of busybox's don't know -p.
        script.otherwise(f"{transport}.bare", f"netstat -n -{flag} -l")
    return script


def read_listeners(
    sections: Mapping[str, Result], address: IPv4Address
) -> frozenset[Listener]:
    """Return the services that listen at this address, or at every one.

    Nothing for a router that has neither `ss` nor `netstat`.
    """
    return frozenset(_read(sections, address))


def _read(sections: Mapping[str, Result], address: IPv4Address) -> Iterator[Listener]:
    """Return each service, as often as it is listed."""
    places = _ANYWHERE | {str(address), f"::ffff:{address}", f"[::ffff:{address}]"}
    transports: tuple[Transport, ...] = ("tcp", "udp")
    for transport in transports:
        for tool in ("ss", "netstat", "bare"):
            result = sections.get(f"{transport}.{tool}")
            for line in result.lines if result and result.ok else ():
                local = _LOCAL.search(line)
                if local and local[1].partition("%")[0] in places:
                    port = int(local[2])
                    if 1 <= port <= MAX_PORT:
                        yield Listener(transport, port, _program(line))


def _program(line: str) -> str:
    """Return the name of the program that a line names, if it does."""
    found = _SS_PROGRAM.search(line) or _NETSTAT_PROGRAM.search(line)
    return printable(found[1], 40) if found else ""
