"""What the kernel's table of connections tells of a forward's clients.

`conntrack` prints it; where there is none, most kernels show it as a file. A line names
the request's addresses first, and then those of the answer that is waited for:

    tcp 6 117 SYN_SENT src=CLIENT dst=ROUTER sport=… dport=8443 [UNREPLIED] src=TARGET …
"""

from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Interface
import re

from ..forward import Forward, Transport
from ..ssh.script import Result, Script
from ..ssh.sudo import as_root, if_allowed

_FILE = "/proc/net/nf_conntrack"
# As many lines as a target's own connections may take up, and more than enough.
_MOST = 400
_FLOW = re.compile(
    r"(?:ipv4\s+2\s+)?(tcp|udp)\s+(?:6|17)\s+([0-9]{1,7})\s+(?:([A-Z_]{3,12})\s+)?"
    r"src=([0-9.]{7,15}) dst=([0-9.]{7,15}) sport=([0-9]{1,5}) dport=([0-9]{1,5})\s"
    r"(?:packets=[0-9]+ bytes=[0-9]+ )?(\[UNREPLIED\] )?"
    r"src=([0-9.]{7,15}) dst="
)
# Seconds: of the kernel's own for a SYN that no one answers, and how fresh one is.
_SYN_TIMEOUT = 120
_FRESH = 12
# Of a flow over UDP, without and with an answer: the kernel's, and those of OpenWrt.
_UDP_TIMEOUTS = (30, 60, 120, 180)
# Who sends once a second has done so lately.
_LATELY = 4


@dataclass(frozen=True, slots=True)
class Flow:
    """A connection that the router's kernel knows."""

    transport: Transport
    left: int
    """Seconds until it is forgotten."""
    state: str
    """Of TCP's; empty for UDP."""
    source: IPv4Address
    destination: IPv4Address
    port: int
    answered: bool
    answerer: IPv4Address
    """Who is to answer: the target, if it was translated."""


@dataclass(frozen=True, slots=True)
class Clients:
    """What became of clients from outside of the LAN."""

    known: bool = False
    """Whether the table could be read at all."""
    answered: bool = False
    """Whether one was answered lately."""
    unanswered: IPv4Address | None = None
    """One whose request goes unanswered at this moment."""
    earlier: IPv4Address | None = None
    """One that has been sending over UDP since before it would have been translated."""
    leaves_here: bool = False
    """Whether the target sends what it has for the internet by this router."""


def add_flows(
    script: Script, forward: Forward, address: IPv4Address, *, sudo: bool, tool: bool
) -> None:
    """Add the command that prints the connections that concern a forward."""
    if tool:
        listing = "; ".join(
            f"{as_root(f'conntrack -L {match}', sudo=sudo)} 2>&1"
            for match in (f"-d {address}", f"-s {forward.target}")
        )
    else:
        patterns = f"-e 'dst={address} ' -e 'src={forward.target} '"
        look = if_allowed(f"cat {_FILE}") if sudo else f"cat {_FILE}"
        listing = f"ls {_FILE} >/dev/null && {look} 2>&1 | grep -F {patterns}"
    script.feed("flows", "sh -s", [f"{{ {listing}; }} | head -n {_MOST}"])


def read_flows(result: Result) -> Iterator[Flow]:
    """Yield the connections of such a listing."""
    for line in result.lines:
        if not (found := _FLOW.match(line)):
            continue
        kind, left, state, source, destination, _, port, lacking, answerer = (
            found.groups()
        )
        try:
            yield Flow(
                "tcp" if kind == "tcp" else "udp",
                int(left),
                state or "",
                IPv4Address(source),
                IPv4Address(destination),
                int(port),
                answered=not lacking,
                answerer=IPv4Address(answerer),
            )
        except ValueError:
            continue


def clients_of(result: Result, forward: Forward, router: IPv4Interface) -> Clients:
    """Return what the table tells of a forward's clients from outside of the LAN."""
    flows = list(read_flows(result))
    lan = router.network
    ours = [
        flow
        for flow in flows
        if flow.destination == router.ip
        and flow.source not in lan
        and flow.transport in forward.protocol.transports
        and forward.external.first <= flow.port <= forward.external.last
    ]
    translated = [flow for flow in ours if flow.answerer == forward.target]
    # UDP is often left unanswered, and rightly so.
    waiting = [
        flow.source
        for flow in translated
        if flow.state == "SYN_SENT"
        and not flow.answered
        and flow.left >= _SYN_TIMEOUT - _FRESH
    ]
    return Clients(
        known=bool(flows) or "flow entries" in result.output or result.output == "",
        answered=any(flow.answered for flow in translated),
        unanswered=waiting[-1] if waiting else None,
        earlier=next((flow.source for flow in ours if _is_earlier(flow, router)), None),
        leaves_here=any(_leaves(flow, forward, router) for flow in flows),
    )


def _is_earlier(flow: Flow, router: IPv4Interface) -> bool:
    """Return whether it is one of UDP that is not translated, and goes on."""
    return (
        flow.transport == "udp"
        and flow.answerer == router.ip
        and any(0 <= most - flow.left <= _LATELY for most in _UDP_TIMEOUTS)
    )


def _leaves(flow: Flow, forward: Forward, router: IPv4Interface) -> bool:
    """Return whether it is a connection that the target itself has made elsewhere."""
    return (
        flow.source == forward.target
        and flow.destination not in router.network
        and not flow.destination.is_multicast
        and flow.destination != IPv4Address("255.255.255.255")
    )
