"""Connections that go on although their forward is off, and how they are ended.

The kernel keeps a connection's translation for as long as the connection lives.
`conntrack` takes it away; the rule has to be gone first, or the connection comes back.
"""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address
import re

from .forward import Forward, Transport
from .script import Result, Script

# The original direction first, then the answers'.
_CONNECTION = re.compile(
    r"(tcp|udp)\s.*?\ssrc=([0-9.]{7,15}) dst=([0-9.]{7,15}) sport=[0-9]{1,5}"
    r" dport=([0-9]{1,5})\s.*?src=([0-9.]{7,15}) dst="
)


@dataclass(frozen=True, order=True, slots=True)
class Flow:
    """Connections that one command ends: those of one port, to one target."""

    transport: Transport
    port: int
    target: IPv4Address


def list_script(address: IPv4Address, *, sudo: bool) -> Script:
    """Return the script whose output `flows_of` understands."""
    script = Script()
    for transport in ("tcp", "udp"):
        script.run(transport, f"{_conntrack(sudo=sudo)} -L -p {transport} -d {address}")
    return script


def flows_of(
    forwards: Collection[Forward], sections: Mapping[str, Result], address: IPv4Address
) -> list[Flow]:
    """Return what is alive of these forwards."""
    found = {flow for result in sections.values() for flow in _flows(result, address)}
    return sorted(
        flow
        for flow in found
        if any(
            flow.target == forward.target
            and flow.transport in forward.protocol.transports
            and forward.external.first <= flow.port <= forward.external.last
            for forward in forwards
        )
    )


def _flows(result: Result, address: IPv4Address) -> Iterator[Flow]:
    """Yield what was listed."""
    for line in result.lines:
        if not (found := _CONNECTION.match(line)):
            continue
        transport, _, destination, port, target = found.groups()
        try:
            if IPv4Address(destination) == address:
                yield Flow(
                    "tcp" if transport == "tcp" else "udp",
                    int(port),
                    IPv4Address(target),
                )
        except ValueError:
            continue


def close_script(
    flows: Collection[Flow], address: IPv4Address, *, sudo: bool
) -> Script:
    """Return the script that ends connections; of those gone by then it says so."""
    script = Script()
    for number, flow in enumerate(flows):
        script.run(
            f"close.{number}",
            f"{_conntrack(sudo=sudo)} -D -p {flow.transport} -d {address}"
            f" --dport {flow.port} --reply-src {flow.target}",
        )
    return script


def _conntrack(*, sudo: bool) -> str:
    """Return the command."""
    return "sudo -n conntrack" if sudo else "conntrack"
