"""Rules of routing, where a proxy's tunnel would take a target's answers.

A proxy with a tunnel has the kernel route by rules of its own, before the main table.
What a forward's target answers is led into the tunnel then. A rule of ours, one a
transport, stands before them and leaves those answers to the main table. They bear no
tag that could tell a forward; a preference of each owner's own tells whose they are.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping, Set as AbstractSet
from dataclasses import dataclass
from shlex import quote
from zlib import crc32

from ..forward import Forward, PortRange
from ..rules.base import Phase, PlanStep, Problem, RouterContext, Tag
from ..rules.obstacles import Obstacle
from ..ssh.script import Result, Script
from ..ssh.sudo import as_root
from .ip_rule import RouteRule, has_policy_routing, reply_is_diverted, route_rules

# Before what proxies, VPNs and the like take, from 1000 on.
_FIRST_PREFERENCE = 200
_PREFERENCES = 800
_DNS = PortRange(53, 53)
# Only asked for the way there: no packet is sent.
_INTERNET = "192.0.2.1"


@dataclass(frozen=True, slots=True)
class RoutingState:
    """Whether answers are led astray, and the rules of ours against it."""

    diverted: bool = False
    rules: frozenset[RouteRule] = frozenset()


class Routing:
    """Our rules of routing."""

    def __init__(self, context: RouterContext, interface: str, *, sudo: bool) -> None:
        """Take the context, and the interface that its address stands on."""
        self._ip = as_root("ip", sudo=sudo)
        self._preference = (
            _FIRST_PREFERENCE + crc32(context.owner.encode()) % _PREFERENCES
        )
        self._interface = interface
        hosts = context.address.network
        # Any host of the LAN but the router; what it is routed by goes for all.
        last = hosts.broadcast_address - 1
        self._host = last if last != context.address.ip else last - 1

    def add_read(self, script: Script) -> None:
        """Add the commands that print the rules, and the way that answers take."""
        script.run("routing.rules", "ip -4 rule show")
        script.run(
            "routing.answer",
            f"ip -4 route get {_INTERNET} from {self._host}"
            f" iif {quote(self._interface)}",
        )
        script.run("routing.main", "ip -4 route show table main")

    def read(self, sections: Mapping[str, Result]) -> RoutingState:
        """Return what those commands printed.

        Nothing where `ip` is busybox's, which has no rules for ports.
        """
        rules, answer, main = (
            sections[f"routing.{name}"] for name in ("rules", "answer", "main")
        )
        if not rules.ok:
            return RoutingState()
        return RoutingState(
            diverted=has_policy_routing(rules.output)
            and answer.ok
            and main.ok
            and reply_is_diverted(answer.output, main.output),
            rules=frozenset(
                rule
                for rule in route_rules(rules.output)
                if rule.preference == self._preference
            ),
        )

    def tags(self, _: RoutingState) -> AbstractSet[Tag]:
        """Return nothing: a rule serves every forward that needs the same."""
        return frozenset()

    def carries(self, forward: Forward, state: RoutingState) -> bool:
        """Return whether the target's answers leave by the main table."""
        return not state.diverted or state.rules.issuperset(self._rules_of(forward))

    def problems(self, forward: Forward, state: RoutingState) -> AbstractSet[Problem]:
        """Return whether its answers would go into a tunnel."""
        return set() if self.carries(forward, state) else {Problem.MISROUTED}

    def steps(
        self, desired: Collection[Forward], state: RoutingState
    ) -> list[PlanStep]:
        """Return the smallest change after which exactly `desired` is here."""
        wanted = frozenset(
            rule
            for forward in (desired if state.diverted else ())
            for rule in self._rules_of(forward)
        )
        return [
            *(
                PlanStep(Phase.ALLOW, f"{self._ip} rule add {rule}", ())
                for rule in sorted(wanted - state.rules, key=str)
            ),
            *(
                PlanStep(Phase.REVOKE, f"{self._ip} rule del {rule}", ())
                for rule in sorted(state.rules - wanted, key=str)
            ),
        ]

    def rules(self, forward: Forward) -> list[str]:
        """Return the rules that a forward may have here, for people to read."""
        return [f"ip rule add {rule}" for rule in self._rules_of(forward)]

    def obstacles(self, _: Forward, __: RoutingState) -> Iterable[Obstacle]:
        """Return nothing: what is in the way here goes, or is let be."""
        return ()

    def looks(self, *, heard: bool) -> list[str]:
        """Return commands whose output changes when our rules do."""
        return [] if heard else ["ip -4 rule show"]

    def _rules_of(self, forward: Forward) -> Iterator[RouteRule]:
        """Yield the rules that a forward needs."""
        ports = forward.target_ports
        for transport in forward.protocol.transports:
            yield RouteRule(self._preference, forward.target, transport, ports)
            if ports.overlaps(_DNS):
                # Proxies take requests for names with rules of their own.
                yield RouteRule(
                    self._preference, forward.target, transport, ports, answers=False
                )
