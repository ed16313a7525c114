"""Connections that go on although their forward is off, and how they are ended.

The kernel keeps a connection's translation for as long as the connection lives.
`conntrack` takes it away; the rule has to be gone first, or the connection comes back.
"""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address
import re
from typing import Final

from .errors import ClosingRefused
from .forward import Forward, Transport
from .ssh.script import Result, Run, Script
from .ssh.sudo import as_root, refused_by_sudo

# The original direction first, then the answers'.
_CONNECTION = re.compile(
    r"(tcp|udp)\s.*?\ssrc=([0-9.]{7,15}) dst=([0-9.]{7,15}) sport=[0-9]{1,5}"
    r" dport=([0-9]{1,5})\s.*?src=([0-9.]{7,15}) dst="
)
_TRANSPORTS: Final[tuple[Transport, ...]] = ("tcp", "udp")
# Of a TCP connection, as it is listed.
_BEGUN = re.compile(r"tcp\s.*?\sSYN_SENT\s")
# Ports for each of which a command is run at once, rather than asking which have any.
_FEW_PORTS = 16


@dataclass(frozen=True, order=True, slots=True)
class ConnectionGroup:
    """Connections that one command ends: those of one port, to one target."""

    transport: Transport
    port: int
    target: IPv4Address


async def close_connections(
    run: Run, forwards: Collection[Forward], address: IPv4Address, *, sudo: bool
) -> int:
    """End what is still connected by these forwards, which are no longer live.

    Returns how many ports had connections. Raises ClosingRefused.
    """
    sections = await run(list_script(address, sudo=sudo))
    if flows := flows_of(forwards, sections, address):
        script = close_script(flows, address, sudo=sudo)
        check_closed(flows, address, await run(script))
    return len(flows)


def list_script(address: IPv4Address, *, sudo: bool) -> Script:
    """Return the script whose output `flows_of` understands."""
    script = Script()
    for transport in _TRANSPORTS:
        script.run(transport, as_root(_listing(transport, address), sudo=sudo))
    return script


def flows_of(
    forwards: Collection[Forward], sections: Mapping[str, Result], address: IPv4Address
) -> list[ConnectionGroup]:
    """Return what is alive of these forwards. Raises ClosingRefused."""
    for transport in _TRANSPORTS:
        _check(sections[transport], _listing(transport, address))
    found = {flow for result in sections.values() for flow in _flows(result, address)}
    return sorted(
        flow
        for flow in found
        if any(
            flow.target == forward.target and forward.takes(flow.transport, flow.port)
            for forward in forwards
        )
    )


def _flows(
    result: Result, address: IPv4Address, *, begun: bool = False
) -> Iterator[ConnectionGroup]:
    """Yield what was listed; of TCP perhaps only what was not answered yet."""
    for line in result.lines:
        if not (found := _CONNECTION.match(line)):
            continue
        if begun and found[1] == "tcp" and not _BEGUN.match(line):
            continue
        transport, _, destination, port, target = found.groups()
        try:
            if IPv4Address(destination) == address:
                yield ConnectionGroup(
                    "tcp" if transport == "tcp" else "udp",
                    int(port),
                    IPv4Address(target),
                )
        except ValueError:
            continue


def close_script(
    flows: Collection[ConnectionGroup], address: IPv4Address, *, sudo: bool
) -> Script:
    """Return the script that ends connections; of those gone by then it says so."""
    script = Script()
    for number, flow in enumerate(flows):
        script.run(f"close.{number}", as_root(_ending(flow, address), sudo=sudo))
    return script


def check_closed(
    flows: Collection[ConnectionGroup],
    address: IPv4Address,
    sections: Mapping[str, Result],
) -> None:
    """See that the account was let end them. Raises ClosingRefused."""
    for number, flow in enumerate(flows):
        _check(sections[f"close.{number}"], _ending(flow, address))


async def forget_untranslated(
    run: Run,
    forwards: Collection[Forward],
    address: IPv4Address,
    *,
    sudo: bool,
    transports: Collection[Transport] = _TRANSPORTS,
) -> int:
    """Forget flows that were there before these forwards, which have just come on.

    The kernel decides with a flow's first packet whether it is translated. A peer that
    keeps sending over UDP keeps its flow as it was, and never reaches the target. What
    is translated is let be, and so are connections over TCP that are established.

    Returns for how many ports that was done.
    """
    ports = [
        (transport, port)
        for forward in forwards
        for transport in forward.protocol.transports
        if transport in transports
        for port in range(forward.external.first, forward.external.last + 1)
    ]
    if len(ports) > _FEW_PORTS:
        script = Script()
        for transport in sorted({transport for transport, _ in ports}):
            script.run(transport, as_root(_listing(transport, address), sudo=sudo))
        sections = await run(script)
        found = {
            (flow.transport, flow.port)
            for result in sections.values()
            for flow in _flows(result, address, begun=True)
            if flow.target == address
        }
        ports = [port for port in ports if port in found]
    if ports:
        script = Script()
        for number, (transport, port) in enumerate(ports):
            command = _ending(ConnectionGroup(transport, port, address), address)
            if transport == "tcp":
                command += " --state SYN_SENT"
            script.run(f"forget.{number}", as_root(command, sudo=sudo))
        await run(script)
    return len(ports)


def hearing(address: IPv4Address) -> str:
    """Return the command that tells of each connection that was translated.

    When it is new, and whenever its state changes, as when it is answered.
    """
    return f"conntrack -E -e NEW,UPDATES -d {address} --dst-nat"


def uses(address: IPv4Address, target: IPv4Address) -> list[str]:
    """Return each kind of command that an account has to be allowed."""
    return [
        *(_listing(transport, address) for transport in _TRANSPORTS),
        *(
            _ending(ConnectionGroup(transport, 443, target), address)
            for transport in _TRANSPORTS
        ),
        hearing(address),
    ]


def _listing(transport: Transport, address: IPv4Address) -> str:
    """Return the command that prints what is connected to an address."""
    return f"conntrack -L -p {transport} -d {address}"


def _ending(flow: ConnectionGroup, address: IPv4Address) -> str:
    """Return the command that ends connections."""
    return (
        f"conntrack -D -p {flow.transport} -d {address}"
        f" --dport {flow.port} --reply-src {flow.target}"
    )


def _check(result: Result, command: str) -> None:
    """Raise ClosingRefused if the account was not let run the command."""
    if refused_by_sudo(result):
        raise ClosingRefused(command=command)
