"""How a router tells that its rules may have changed.

A script stays on the router and prints a line when something happens. What it
prints is taken for a hint alone: whoever hears it reads the rules.

- `nft monitor` hears all that `nft` and `iptables-nft` do, and names the program
  that did it. It starts no process while nothing happens.
- Changes by `iptables-legacy` reach no one. There, a loop looks at our chains and the
  kernel's that enter them once a second, beside `nft monitor` or alone.
- `ip monitor` hears of rules of routing, of routes, and of interfaces that go down,
  beside `nft monitor`. Of the routes that go with an interface the kernel says nothing.
- `ip monitor` hears of the devices that forwards follow, and a shell there keeps all
  others to itself.
- `conntrack -E` hears of each connection that was translated, and whether it was
  answered.

A part that has ended is told by the others, and whoever hears of it begins them anew.
"""

from collections.abc import Collection, Iterator, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address
import re
import secrets

from .forward import Transport
from .network.private import PRIVATE
from .network.whereabouts import Followed
from .routing.others import network_of
from .routing.questions import TABLE
from .watch_script import watch_script

_TRAILER = re.compile(r"# new generation \d+ by process \d+ \((.+)\)")
# Of `ip monitor`; no line of nft's begins so.
_ROUTE_RULE = re.compile(r"(?:Deleted )?[0-9]+:\s+(?:not )?from ")
# The request's addresses first, then those of the answer that is waited for.
_CONNECTION = re.compile(
    r"\s*\[(NEW|UPDATE)\]\s+(tcp|udp)\s+[0-9]+\s+[0-9]+\s+(?:([A-Z_0-9]{3,12})\s+)?"
    r"src=([0-9.]{7,15}) dst=[0-9.]{7,15} sport=([0-9]{1,5}) dport=([0-9]{1,5})\s+"
    r"(?:packets=[0-9]+ bytes=[0-9]+ )?(\[UNREPLIED\] )?src=([0-9.]{7,15}) "
)
# Routes to the internet, and those of ours.
_ROUTE = re.compile(
    r"(?:Deleted )?(?:(?:unreachable|blackhole|prohibit) )?"
    r"(default|[0-9]{1,3}(?:\.[0-9]{1,3}){3}(?:/[0-9]{1,2})?) (.{0,400})"
)
# Not one that is new, which has no queue yet.
_DOWN = re.compile(
    r"[0-9]+: \S{1,64} <(?!(?:[^>]*,)?UP[,>])[^>]{0,400}> (?!.* qdisc noop )"
)
# Of `nft monitor` and `ip monitor`: more happened than the kernel keeps for them.
_OVERRUN = re.compile(r"# ERROR: |netlink receive error ")
_OF_ROUTING = (_ROUTE_RULE, _DOWN, _OVERRUN)
# A process may call itself anything; this is shown, where links can be made.
_NO_NAME = re.compile(r"[^A-Za-z0-9_.:+/@-]")
# Chains and rules may hold ours, or decide over them; elements are ours in one table.
_RELEVANT = re.compile(
    r"table ip |(?:chain|rule) (?:ip|inet) "
    r"|(?:element|set|map) ip ha_bypass(?:_answers)? "
)


@dataclass(frozen=True, slots=True)
class Change:
    """The rules may have changed; `cause` is the program that did it, if known."""

    cause: str | None = None


@dataclass(frozen=True, slots=True)
class NewConnection:
    """A connection to the router was translated: perhaps by a forward."""

    transport: Transport
    port: int
    """The external one."""
    client: IPv4Address
    client_port: int

    def answered_by(self, target: IPv4Address) -> Answered:
        """Return what is heard if it is answered."""
        return Answered(
            self.transport, self.port, self.client, self.client_port, target
        )


@dataclass(frozen=True, slots=True)
class Answered:
    """A client was answered: over TCP, it has got the answer as well.

    Whoever hears it may hear it more than once of a connection.
    """

    transport: Transport
    port: int
    """The external one."""
    client: IPv4Address
    client_port: int
    target: IPv4Address
    """Who has answered."""


@dataclass(frozen=True, slots=True)
class Met:
    """A device that is followed may have moved, or another may be where it was."""


@dataclass(frozen=True, slots=True)
class Unheard:
    """Connections may have come of which no one has told."""


@dataclass(frozen=True, slots=True)
class Seen:
    """What the loop sees: a digest of what its commands print, if it can make one."""

    digest: str | None
    changed: bool
    """Whether it is not what the loop has seen before."""


@dataclass(frozen=True, slots=True)
class Ended:
    """A part of the watcher is no more, or `hears` nothing: the others are to end."""

    part: str
    hears: bool = True


@dataclass(frozen=True, slots=True)
class There:
    """The watcher answers."""


type ConnectionEvent = NewConnection | Answered | Unheard
type Told = Change | ConnectionEvent | Met | Seen | Ended | There


class Monitor:
    """A watching script, and what its lines mean."""

    def __init__(
        self,
        looks: Sequence[str],
        *,
        sudo: bool,
        by_report: bool,
        routes: bool = True,
        patience: float = 0,
        connections_at: IPv4Address | None = None,
        followed: Collection[Followed] = (),
    ) -> None:
        """Choose how to watch: by what the router reports, by looking, or both.

        `looks` are commands whose output changes when rules do that are not reported.
        `routes` are reported as well, where `ip` can. With `connections_at`, the
        router's address, `conntrack` tells of connections. `followed` are the devices
        whose moves are told. `patience` is how many seconds `sudo` may take before it
        runs a command.
        """
        self._uses_nft = by_report
        self._word = f"bypass-router-{secrets.token_hex(8)}"
        self._own = re.compile(
            rf"{self._word} (?:(ready|there)|(deaf|ended) ([a-z]+)"
            r"|(sees|changed) (?:([0-9a-f]{32,64}) .*)?)"
        )
        self._follows = bool(followed)
        self._met = f"{self._word} met "
        self._awaited = by_report + bool(looks)
        self._listed = self._relevant = False
        self._before = ""
        self.text = watch_script(
            self._word,
            looks,
            sudo=sudo,
            by_report=by_report,
            routes=routes,
            connections_at=connections_at,
            followed=followed,
            patience=patience,
        )

    def heard(self, line: str) -> Iterator[Told]:
        """Return what a line tells of.

        The first change says that from now on nothing is missed: the rules are to
        be read now, and whenever another comes.
        """
        before, self._before = self._before, line
        if own := self._own.fullmatch(line):
            # Into a line of another part's, of which no one can tell what it was.
            if before and not self._awaited:
                yield Change()
            yield from self._said(*own.groups())
        elif line.startswith(self._met):
            # Also of what came before we looked for the first time: it is a hint alone.
            yield Met()
        elif self._awaited:
            # The login profile's, or a change before we looked for the first time.
            return
        elif trailer := _TRAILER.fullmatch(line):
            # One that came alone: nft could not print what changed.
            if self._relevant or not self._listed:
                yield Change(_NO_NAME.sub("?", trailer[1])[:40])
            self._relevant = self._listed = False
        elif connection := _CONNECTION.match(line):
            yield from _connection(*connection.groups())
        elif any(it.match(line) for it in _OF_ROUTING) or _leads_away(line):
            yield Change()
        elif not line.startswith("#"):
            self._listed = True
            self._relevant = self._relevant or bool(_RELEVANT.search(line))

    def _said(
        self,
        word: str | None,
        end: str | None,
        part: str,
        sight: str | None,
        digest: str | None,
    ) -> Iterator[Told]:
        """Return what the script says for itself."""
        if word == "there":
            yield There()
        elif word:
            self._awaited -= 1
            if not self._awaited:
                yield Change()
                if self._follows:
                    # They may have moved while no one listened.
                    yield Met()
        elif end:
            yield Ended(part, hears=end == "ended")
        elif sight:
            yield Seen(digest, changed=sight == "changed")


def _connection(
    event: str,
    protocol: str,
    state: str | None,
    source: str,
    source_port: str,
    port: str,
    waiting: str | None,
    answerer: str,
) -> Iterator[NewConnection | Answered]:
    """Yield what an event of `conntrack` tells of a connection."""
    transport: Transport = "tcp" if protocol == "tcp" else "udp"
    try:
        client, target = IPv4Address(source), IPv4Address(answerer)
    except ValueError:
        return
    if event == "NEW":
        yield NewConnection(transport, int(port), client, int(source_port))
    elif not waiting and (transport == "udp" or state == "ESTABLISHED"):
        yield Answered(transport, int(port), client, int(source_port), target)


def _leads_away(line: str) -> bool:
    """Return whether a route has come or gone by which answers may be led away."""
    if not (found := _ROUTE.match(line)):
        return False
    to, rest = found.groups()
    if to == "default" or f" table {TABLE}" in rest:
        return True
    network = network_of(to)
    return (
        network is not None
        and " proto kernel" not in rest
        and not network.is_multicast
        and not any(map(network.subnet_of, PRIVATE))
    )
