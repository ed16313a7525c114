"""What the kernel's table of connections tells of a forward's clients.

`conntrack` prints it; where there is none, most kernels show it as a file. A line names
the request's addresses first, and then those of the answer that is waited for:

    tcp 6 117 SYN_SENT src=CLIENT dst=ROUTER sport=… dport=8443 [UNREPLIED] src=TARGET …

A connection that goes on is told by how much of its time is left, which begins anew
with each packet. TCP has the whole of it only while all that was sent is acknowledged;
what is not has five minutes. UDP's begins anew with packets of either side, so one that
was answered once, and goes on, is taken for one that is answered.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Interface
import re

from ..forward import Forward, Transport
from ..probe.probe import Probe
from ..ssh.script import Result, Script
from ..ssh.sudo import as_root, if_allowed
from .visitors import is_outside

_FILE = "/proc/net/nf_conntrack"
# As many lines as a target's own connections may take up, and more than enough.
_MOST = "head -n 400"
# Leaves out what others use, who may be many; what is no connection is a complaint.
_OF_PORTS = (
    "awk '/^(ipv4|tcp|udp|icmp|unknown)/ {"
    " if (!match($0, / dport=[0-9]+/)) next; port = substr($0, RSTART + 7) + 0;"
    " if (port < %(first)d || port > %(last)d) next } { print }' | "
)
_ESTABLISHED = "/proc/sys/net/netfilter/nf_conntrack_tcp_timeout_established"
_FLOW = re.compile(
    r"(?:ipv4\s+2\s+)?(tcp|udp)\s+(?:6|17)\s+([0-9]{1,7})\s+(?:([A-Z_]{3,12})\s+)?"
    r"src=([0-9.]{7,15}) dst=([0-9.]{7,15}) sport=([0-9]{1,5}) dport=([0-9]{1,5})\s"
    r"(?:packets=[0-9]+ bytes=[0-9]+ )?(\[UNREPLIED\] )?"
    r"src=([0-9.]{7,15}) dst="
)
_LIMIT = re.compile(r"established ?([0-9]{0,7})\n?")
# Seconds: of the kernel's own for a SYN that no one answers, and how fresh one is.
_SYN_TIMEOUT = 120
_FRESH = 12
# Of a flow over UDP, without and with an answer: the kernel's, and those of OpenWrt.
_UDP_TIMEOUTS = (30, 60, 120, 180)
# Who sends once a second has done so lately.
_LATELY = 4
# Of a connection over TCP, where the kernel does not say; all that was sent is
# acknowledged, and a minute without a word is no end.
_TCP_TIMEOUT = 432_000
_QUIET = 60
# Of one that waits for an acknowledgement, as a stream does at any moment.
_UNACKNOWLEDGED = 300
_STREAMING = 1


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
    source_port: int
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
    visitors: Mapping[Transport, IPv4Address] = field(default_factory=dict, hash=False)
    """Who from outside is being answered at this moment; see `visitors`."""
    acknowledged: bool = False
    """Whether both ends of such a connection over TCP have heard all that was sent."""
    waiting: frozenset[tuple[IPv4Address, int]] = frozenset()
    """Those whose request over TCP has no answer at this moment, each with its port."""
    earlier: IPv4Address | None = None
    """One that has been sending over UDP since before it would have been translated."""
    leaves_here: bool = False
    """Whether the target sends what it has for the internet by this router."""

    @property
    def unanswered(self) -> IPv4Address | None:
        """One whose request goes unanswered, while no one else is surely answered."""
        if self.acknowledged or not self.waiting:
            return None
        return min(self.waiting)[0]


def add_flows(script: Script, forward: Forward, probe: Probe) -> None:
    """Add the command that prints the connections that concern a forward.

    The target's own tell something only where it sees the clients' addresses.
    """
    words = {"first": forward.external.first, "last": forward.external.last}
    listing = f"{_listing(probe, 'd', probe.address.ip)} | {_OF_PORTS % words}{_MOST}"
    if forward.keep_client_address:
        listing += f"; {_listing(probe, 's', forward.target)} | {_MOST}"
    if not probe.tools.conntrack:
        listing = f"ls {_FILE} >/dev/null && {{ {listing}; }}"
    limit = f"echo established $(cat {_ESTABLISHED} 2>/dev/null)"
    script.feed("flows", "sh -s", [f"{limit}; {listing}"])


def _listing(probe: Probe, end: str, address: IPv4Address) -> str:
    """Return the command that prints the connections from or to an address."""
    sudo = probe.tools.sudo
    if probe.tools.conntrack:
        return f"{as_root(f'conntrack -L -{end} {address}', sudo=sudo)} 2>&1"
    look = if_allowed(f"cat {_FILE}") if sudo else f"cat {_FILE}"
    name = "dst" if end == "d" else "src"
    return f"{look} 2>&1 | grep -F '{name}={address} '"


def read_flows(result: Result) -> Iterator[Flow]:
    """Yield the connections of such a listing."""
    for line in result.lines:
        if not (found := _FLOW.match(line)):
            continue
        kind, left, state, source, destination, source_port, port, lacking, answerer = (
            found.groups()
        )
        try:
            yield Flow(
                "tcp" if kind == "tcp" else "udp",
                int(left),
                state or "",
                IPv4Address(source),
                IPv4Address(destination),
                int(source_port),
                int(port),
                answered=not lacking,
                answerer=IPv4Address(answerer),
            )
        except ValueError:
            continue


def clients_of(
    result: Result, forward: Forward, probe: Probe, home: IPv4Address | None = None
) -> Clients:
    """Return what the table tells of a forward's clients from outside of the LAN.

    `home` is Home Assistant's address, whose own tests are no visits.
    """
    flows = list(read_flows(result))
    router = probe.address
    ours = [
        flow
        for flow in flows
        if flow.destination == router.ip
        and flow.source not in router.network
        and flow.source not in probe.addresses
        and flow.source != home
        and forward.takes(flow.transport, flow.port)
    ]
    translated = [flow for flow in ours if flow.answerer == forward.target]
    limit = _LIMIT.match(result.output)
    longest = int(limit[1]) if limit and limit[1] else _TCP_TIMEOUT
    listed = result.output[limit.end() :] if limit else result.output
    return Clients(
        known=bool(flows) or "flow entries" in listed or not listed.strip(),
        answered=any(flow.answered for flow in translated),
        visitors={
            flow.transport: flow.source
            for flow in translated
            if (_goes_on(flow) or _is_acknowledged(flow, longest))
            and is_outside(flow.source, forward, router)
        },
        acknowledged=any(_is_acknowledged(flow, longest) for flow in translated),
        # UDP is often left unanswered, and rightly so.
        waiting=frozenset(
            (flow.source, flow.source_port)
            for flow in translated
            if flow.state == "SYN_SENT"
            and not flow.answered
            and flow.left >= _SYN_TIMEOUT - _FRESH
        ),
        earlier=next((flow.source for flow in ours if _is_earlier(flow, router)), None),
        leaves_here=any(_leaves(flow, forward, router) for flow in flows),
    )


def _goes_on(flow: Flow) -> bool:
    """Return whether a connection was answered, and goes on at this moment."""
    if flow.transport == "udp":
        return flow.answered and _is_lately(flow)
    streams = 0 <= _UNACKNOWLEDGED - flow.left <= _STREAMING
    return flow.state == "ESTABLISHED" and flow.answered and streams


def _is_acknowledged(flow: Flow, longest: int) -> bool:
    """Return whether both ends of a connection over TCP have heard all, just now."""
    lately = 0 <= longest - flow.left <= _QUIET
    return flow.state == "ESTABLISHED" and flow.answered and lately


def _is_lately(flow: Flow) -> bool:
    """Return whether a flow over UDP has had a packet a moment ago."""
    return any(0 <= most - flow.left <= _LATELY for most in _UDP_TIMEOUTS)


def _is_earlier(flow: Flow, router: IPv4Interface) -> bool:
    """Return whether it is one of UDP that is not translated, and goes on."""
    return flow.transport == "udp" and flow.answerer == router.ip and _is_lately(flow)


def _leaves(flow: Flow, forward: Forward, router: IPv4Interface) -> bool:
    """Return whether it is a connection that the target itself has made elsewhere."""
    return (
        flow.source == forward.target
        and flow.destination not in router.network
        and not flow.destination.is_multicast
        and flow.destination != IPv4Address("255.255.255.255")
    )
