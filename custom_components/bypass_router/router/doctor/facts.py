"""What a diagnosis asks of the router, and how the answers are read.

Two scripts of fixed text. `looks` goes always, and starts few processes; `recheck` goes
only where the target's service did not answer, and takes seconds: it makes the kernel
ask by ARP again, since what it remembers of a neighbour may be old. Two diagnoses at
once may so make it forget what the other is about to read; who finds no one there
asks once more, and leaves to the kernel what it remembers.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field, replace
from ipaddress import IPv4Address
import re
from shlex import quote

from ..forward import Forward, Transport
from ..network.neighbours import Neighbour, mac_of
from ..probe.probe import Probe
from ..routing.questions import MARK
from ..rules.base import Problem
from ..rules.obstacles import Obstacle
from ..ssh.script import Result, Script
from ..ssh.sudo import if_allowed
from .clients import Clients, add_flows, clients_of
from .early import add_early, read_early
from .port_probe import Answer, add_port_probe, read_port_probe
from .visitors import internet_client

_NUMBER = re.compile(r"[0-9]{1,12}")
_COUNTS = "/proc/sys/net/netfilter/nf_conntrack_"
# As the kernel words it: EXDEV. 6.18 says EINVAL.
_NOT_BY_THIS_WAY = ("Invalid cross-device link", "Invalid argument")


@dataclass(frozen=True, slots=True)
class Facts:
    """What was found out, before anyone judges. None: it could not be."""

    problems: frozenset[Problem] = frozenset()
    """What our rules lack, by their text."""
    obstacles: tuple[Obstacle, ...] = ()
    """What is in the way that is not ours to take away, by its text."""
    ip_forward: bool | None = None
    count: int = 0
    """Of connections, and `limit` is how many the kernel remembers at most."""
    limit: int = 0
    """0 where no one counts."""
    filtered: bool = False
    """Whether rp_filter drops what internet clients send."""
    way_back: bool = True
    """Whether there is a route for what the target answers to internet clients."""
    home: IPv4Address | None = None
    """Home Assistant, as the router sees it; None if that is not by the LAN address."""
    on_link: bool = False
    """Whether the target is a neighbour, whom ARP has to find."""
    mac: str | None = None
    """The target's MAC address, in small letters."""
    elsewhere: Mapping[str, IPv4Address] = field(default_factory=dict, hash=False)
    """The other devices that the router knows, by MAC address."""
    pinged: bool = False
    """Whether the target answered a ping."""
    service: Mapping[Transport, Answer] = field(default_factory=dict, hash=False)
    """What the target answered the router."""
    direct: Mapping[Transport, Answer] = field(default_factory=dict, hash=False)
    """What it answered Home Assistant, where the router got nothing."""
    through: Mapping[Transport, Answer] = field(default_factory=dict, hash=False)
    """What Home Assistant was answered at the router's address, where it asked."""
    counted: bool | None = None
    """Whether our rules have translated what Home Assistant sent there; where a part of
    it was not answered, that part."""
    other_backend: str | None = None
    """Another backend of the firewall that translates, where that explains something.
    """
    clients: Clients = field(default_factory=Clients)
    visited: Mapping[Transport, int] = field(default_factory=dict, hash=False)
    """How many seconds ago a client from the internet was answered, as Home Assistant
    knows it."""


def looks(forward: Forward, probe: Probe) -> Script:
    """Return the script whose output `read_looks` understands."""
    address, interface = probe.address.ip, quote(probe.interface)
    script = Script().run("forward", "cat /proc/sys/net/ipv4/ip_forward")
    script.run("connections", f"cat {_COUNTS}count {_COUNTS}max")
    script.run("home", """sh -c 'echo "$SSH_CONNECTION"'""")
    settings = (f"/proc/sys/net/ipv4/conf/{at}/rp_filter" for at in ("all", interface))
    script.run("filter", f"cat {' '.join(settings)}")
    if client := internet_client(forward):
        way = f"ip -4 route get {address} from {client} iif {interface}"
        script.run("way", way)
        if forward.target in probe.address.network:
            back = f"ip -4 route get {client} from {forward.target} iif {interface}"
            # As what we mark goes; busybox's `ip` knows no marks.
            script.run("back", f"{back} mark {MARK}").otherwise("back.bare", back)
    script.run("target", f"ip -4 route get {forward.target}")
    _add_probes(script, forward)
    script.run("neighbours", "ip -4 neigh")
    add_flows(script, forward, probe)
    add_early(script, probe)
    # Again, after what takes time: a table that is full is so now and then.
    script.run("connections.later", f"cat {_COUNTS}count {_COUNTS}max")
    return script


def recheck(forward: Forward, probe: Probe, *, forget: bool) -> Script:
    """Return the script whose output `read_recheck` understands."""
    target = forward.target
    script = Script()
    if forget:
        flush = f"ip -4 neigh flush to {target} dev {quote(probe.interface)}"
        script.run("flush", if_allowed(flush) if probe.sudo else flush)
    script.run("ping", f"ping -c 1 -W 1 {target}")
    _add_probes(script, forward)
    return script.run("neighbours", "ip -4 neigh")


def _add_probes(script: Script, forward: Forward) -> None:
    """Add a probe at the target for each transport."""
    for transport in forward.protocol.transports:
        add_port_probe(script, transport, forward.target, forward.target_ports.first)


def read_looks(sections: Mapping[str, Result], forward: Forward, probe: Probe) -> Facts:
    """Return what was found out by `looks`."""
    count, limit = max(
        _counts(sections["connections"]), _counts(sections["connections.later"])
    )
    way = sections.get("way")
    back = sections.get("back.bare") or sections.get("back")
    flows = sections.get("flows")
    forwarding = sections["forward"]
    home = _home(sections["home"], probe)
    return Facts(
        ip_forward=forwarding.output == "1" if forwarding.ok else None,
        count=count,
        limit=limit,
        filtered=way is not None and _is_filtered(way, sections["filter"]),
        way_back=back is None or back.ok or "unreachable" not in back.output,
        home=home,
        on_link=_is_on_link(sections["target"]),
        mac=mac_of(sections["neighbours"], forward.target),
        service=_read_probes(sections, forward),
        clients=clients_of(flows, forward, probe, home) if flows else Clients(),
        obstacles=read_early(sections, forward, probe),
    )


def read_recheck(
    sections: Mapping[str, Result], facts: Facts, forward: Forward
) -> Facts:
    """Return the facts with what was found out by `recheck`."""
    return replace(
        facts,
        pinged=sections["ping"].ok,
        mac=mac_of(sections["neighbours"], forward.target),
        service=_read_probes(sections, forward),
    )


def look_again(forward: Forward, probe: Probe) -> Script:
    """Return the script whose output `read_again` understands."""
    script = Script()
    add_flows(script, forward, probe)
    return script


def read_again(
    sections: Mapping[str, Result], facts: Facts, probe: Probe, forward: Forward
) -> Facts:
    """Return the facts, with who waits for an answer still, of those who did."""
    later = clients_of(sections["flows"], forward, probe, facts.home)
    still = facts.clients.waiting & later.waiting
    return replace(facts, clients=replace(later, waiting=still))


def with_neighbours(
    facts: Facts, found: Collection[Neighbour], at: IPv4Address
) -> Facts:
    """Return the facts with where the other devices are."""
    elsewhere = {
        entry.mac_address: entry.address for entry in found if entry.address != at
    }
    return replace(facts, elsewhere=elsewhere)


def _counts(result: Result) -> tuple[int, int]:
    """Return how many connections there are, and may be; 0 where no one counts."""
    match _NUMBER.findall(result.output) if result.ok else []:
        case [count, limit]:
            return int(count), int(limit)
    return 0, 0


def _read_probes(
    sections: Mapping[str, Result], forward: Forward
) -> dict[Transport, Answer]:
    """Return the answers to the probes from the router."""
    return {
        transport: read_port_probe(sections[f"probe.{transport}"])
        for transport in forward.protocol.transports
    }


def _is_filtered(way: Result, settings: Result) -> bool:
    """Return whether the kernel would drop what comes that way.

    Where it names no reason, a filter has to be there.
    """
    return (
        not way.ok
        and any(words in way.output for words in _NOT_BY_THIS_WAY)
        and any(line in ("1", "2") for line in settings.lines)
    )


def _home(connection: Result, probe: Probe) -> IPv4Address | None:
    """Return Home Assistant's address, if it reaches the router by its LAN address."""
    words = connection.output.split()
    try:
        client, server = IPv4Address(words[0]), IPv4Address(words[2])
    except IndexError, ValueError:
        return None
    if server != probe.address.ip or client in probe.addresses:
        return None
    return client


def _is_on_link(route: Result) -> bool:
    """Return whether a route leads to a neighbour."""
    first = route.output.partition("\n")[0]
    return route.ok and " via " not in first and not first.startswith("local")
