"""Which way answers take, and what of ours leads them."""

from collections.abc import Iterable
from dataclasses import dataclass, replace
from ipaddress import IPv4Address, IPv4Network
from typing import Final

from ..forward import Forward, PortRange
from .judge import ANYWHERE, Service
from .others import EVERY_PORT

TAG: Final = 217
"""The protocol by which rules of routing and routes say whose they are; 0 to 255."""
LAST_PREFERENCE: Final = 32765
"""Where our rule stands at the latest: before main's.

No lower than need be: whoever adds a rule without a preference, as wg-quick does, gets
the one before the lowest that is there.
"""


@dataclass(frozen=True, slots=True)
class OurRule:
    """A rule of routing of ours: `mark` leads to our table, `bans` stands before it."""

    preference: int
    kind: str


@dataclass(frozen=True, slots=True)
class OurRoute:
    """A route in our table, by the LAN's interface."""

    network: IPv4Network
    gateway: IPv4Address | None


@dataclass(frozen=True, slots=True)
class Ways:
    """Which way answers take, and what of ours leads them."""

    diverted: frozenset[Service] = frozenset()
    """Of which targets, and from which of their ports, answers are led away."""
    by: str = ""
    """The interface that takes them."""
    requests: frozenset[PortRange] = frozenset()
    """The ports in the LAN to which requests are led away as well.

    Proxies have rules of their own for port 53, say.
    """
    refused: frozenset[tuple[IPv4Network, str]] = frozenset()
    """Where targets are whose packets a rule of routing stops, and the rule."""
    gateway: IPv4Address | None = None
    """The main router; None where nothing tells it."""
    found: IPv4Address | None = None
    """The one that the router itself tells."""
    disputed: bool = False
    """Whether another Home Assistant has been told of another main router."""
    preference: int = LAST_PREFERENCE
    """Where our rule is to stand: before all others'."""
    bans: bool = False
    """Whether main keeps some out by routes that lead nowhere."""
    rules: frozenset[OurRule] = frozenset()
    routes: frozenset[OurRoute] = frozenset()
    misled: bool = False
    """Whether even what has our mark is led away, by a rule that stands before ours."""
    capable: bool = True
    """Whether this `ip` knows marks, and tables of such numbers: busybox's does not."""
    by_rules: bool = False
    """Whether other rules of routing are there, and not main alone leads away."""

    def beside_others(self) -> Ways:
        """Return the same where another Home Assistant has answers led by our table.

        Its default is theirs as well. Who was told of a main router goes before who has
        found it out; of two that were told, the first one does.
        """
        standing = default_of(self.routes)
        told = self.gateway != self.found
        if standing in (None, self.gateway) or (told and standing == self.found):
            return self
        return replace(self, gateway=standing, disputed=told)

    def divert(self, forward: Forward) -> bool:
        """Return whether a forward's answers are led away."""
        return any(
            forward.target in service.network
            and forward.target_ports.overlaps(service.ports)
            for service in self.diverted
        )

    def divert_all(self, target: IPv4Address) -> bool:
        """Return whether whatever a target answers is led away."""
        return any(
            target in service.network and service.ports == EVERY_PORT
            for service in self.diverted
        )

    def divert_requests(self, forward: Forward) -> bool:
        """Return whether what a forward sends to the LAN is led away."""
        return any(map(forward.target_ports.overlaps, self.requests))


def default_of(routes: Iterable[OurRoute]) -> IPv4Address | None:
    """Return the gateway of all that has no other route."""
    return next((it.gateway for it in routes if it.network == ANYWHERE), None)
