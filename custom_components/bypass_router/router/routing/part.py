"""Answers go back the way the request came, whatever else leads packets away.

A proxy's tunnel, a VPN or a policy for one device has the kernel route what a target
answers elsewhere than to the main router, from where the request came. Where the kernel
says so, the answers of our forwards are marked, and a rule of routing in front of all
others leads what has the mark to a table of ours: to the main router. Elsewhere nothing
of ours is there.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping, Set as AbstractSet
from dataclasses import dataclass, field
from typing import Protocol
from zlib import crc32

from ..forward import Forward, PortRange
from ..rules.base import Phase, PlanStep, Problem, RouterContext, Tag
from ..rules.obstacles import Hindrance, Obstacle
from ..ssh.script import Result, Script
from ..ssh.sudo import as_root
from .ip_rule import RouteRule, route_rules
from .judge import ANYWHERE, Service
from .marks import Marked, MarksState, marked_of
from .others import EVERY_PORT
from .questions import question
from .reading import read_ways
from .shared import Shared
from .ways import Ways

# Before what proxies, VPNs and the like take, from 1000 on.
_FIRST_PREFERENCE = 200
_PREFERENCES = 800
_DNS = PortRange(53, 53)


class Marks(Protocol):
    """Where a forward's answers are marked."""

    def add_read(self, script: Script) -> None:
        """Add the command that prints what is marked."""

    def read(self, sections: Mapping[str, Result]) -> MarksState:
        """Return what it printed. Raises FirewallFailed, NotPrivileged, BadOutput."""

    def steps(self, wanted: AbstractSet[Marked], state: MarksState) -> list[PlanStep]:
        """Return the change after which the owner has exactly these marked."""

    def looks(self, *, heard: bool) -> list[str]:
        """Return commands whose output changes when the marks do."""

    def rules(self, wanted: Collection[Marked]) -> list[str]:
        """Return what marks, for people to read."""


@dataclass(frozen=True, slots=True)
class RoutingState:
    """Which way answers take, what is marked, and rules by the flow."""

    ways: Ways = field(default=Ways())
    marks: MarksState = field(default=MarksState())
    flows: frozenset[RouteRule] = frozenset()
    """Of this owner's."""


class Routing:
    """Our rules of routing, and what marks the packets that they are for."""

    def __init__(
        self,
        context: RouterContext,
        interface: str,
        *,
        sudo: bool,
        marks: Marks | None,
    ) -> None:
        """Take the context, and the interface that its address stands on.

        Without anything that marks, answers are led by rules for each flow.
        """
        self._context = context
        self._interface = interface
        self._marks = marks
        self._ip = as_root("ip", sudo=sudo)
        self._shared = Shared(context, interface, sudo=sudo)
        self._question = question(context.address, interface, context.main_router)
        self._preference = (
            _FIRST_PREFERENCE + crc32(context.owner.encode()) % _PREFERENCES
        )

    def add_read(self, script: Script) -> None:
        """Add the commands that print the rules, and the way that answers take."""
        script.run("routing", self._question)
        if self._marks:
            self._marks.add_read(script)

    def read(self, sections: Mapping[str, Result]) -> RoutingState:
        """Return what those commands printed.

        Raises FirewallFailed, NotPrivileged and BadOutput.
        """
        marks = self._marks.read(sections) if self._marks else MarksState()
        result = sections["routing"]
        if not result.ok:
            return RoutingState(marks=marks)
        ways = read_ways(
            result.output,
            self._context.address,
            self._interface,
            self._context.main_router,
        )
        if any(it.tag.owner != self._context.owner for it in marks.marked):
            ways = ways.beside_others()
        return RoutingState(
            ways,
            marks,
            frozenset(
                rule
                for rule in route_rules(result.output)
                if rule.preference == self._preference
            ),
        )

    def tags(self, state: RoutingState) -> AbstractSet[Tag]:
        """Return the tags of what is marked; a rule by the flow has none."""
        return {marked.tag for marked in state.marks.marked}

    def carries(self, forward: Forward, state: RoutingState) -> bool:
        """Return whether all that can be done for its answers is.

        Where nothing is needed any more, what is marked does no harm.
        """
        if self._marks is None:
            return state.flows.issuperset(self._flows_of(forward, state))
        tag = Tag(self._context.owner, forward.id)
        wanted = self._marked_of(forward, state)
        here = {it for it in state.marks.marked if it.tag == tag}
        others = any(
            it.ports != forward.external
            or it.transport not in forward.protocol.transports
            for it in here
        )
        if others or not wanted <= here:
            return False
        return not wanted or (state.marks.sound and self._shared.stands(state.ways))

    def problems(self, forward: Forward, state: RoutingState) -> AbstractSet[Problem]:
        """Return whether its answers would go into a tunnel."""
        if self._is_lost(forward, state) or not self.carries(forward, state):
            return {Problem.MISROUTED}
        return set()

    def _is_lost(self, forward: Forward, state: RoutingState) -> bool:
        """Return whether its answers are led away though all that can be done is."""
        ways = state.ways
        if not ways.divert(forward):
            return False
        if not ways.capable:
            return True
        if self._marks is None:
            return not self._helps(forward, ways)
        return ways.gateway is None or ways.misled or ways.disputed

    def steps(
        self, desired: Collection[Forward], state: RoutingState
    ) -> list[PlanStep]:
        """Return the smallest change after which exactly `desired` is here."""
        ways = state.ways
        flows = frozenset(
            rule for forward in desired for rule in self._flows_of(forward, state)
        )
        steps = [
            PlanStep(Phase.ALLOW, f"{self._ip} rule add {rule}", ())
            for rule in sorted(flows - state.flows, key=str)
        ]
        if self._marks:
            owner = self._context.owner
            wanted = {
                marked
                for forward in desired
                for marked in self._marked_of(forward, state)
            }
            others = any(it.tag.owner != owner for it in state.marks.marked)
            if wanted:
                steps += self._shared.additions(ways)
            steps += self._marks.steps(wanted, state.marks)
            if wanted or not others:
                steps += self._shared.losses(ways, needed=bool(wanted))
        steps += [
            PlanStep(Phase.REVOKE, f"{self._ip} rule del {rule}", ())
            for rule in sorted(state.flows - flows, key=str)
        ]
        return steps

    def rules(self, forward: Forward) -> list[str]:
        """Return the rules that a forward may have here, for people to read."""
        if self._marks is None:
            return [f"ip rule add {rule}" for rule in self._rules_of(forward)]
        anywhere = Ways(frozenset({Service(ANYWHERE, EVERY_PORT)}))
        lan = self._context.address.network
        marked = list(marked_of(forward, self._context.owner, lan, anywhere))
        return [*self._marks.rules(marked), *self._shared.commands(anywhere)]

    def obstacles(self, forward: Forward, state: RoutingState) -> Iterable[Obstacle]:
        """Yield what stops its answers, or that no one knows where they belong."""
        ways = state.ways
        for network, rule in sorted(ways.refused, key=str):
            if forward.target in network:
                yield Obstacle(Hindrance.DENIED, {"chain": "ip rule", "rule": rule})
        asks = self._marks is not None and ways.capable and ways.gateway is None
        if asks and self._is_lost(forward, state):
            seen = {"interface": ways.by or self._interface}
            yield Obstacle(Hindrance.NO_GATEWAY, seen)

    def looks(self, *, heard: bool) -> list[str]:
        """Return commands whose output changes when our rules do."""
        marks = self._marks.looks(heard=heard) if self._marks else []
        return marks if heard else [self._question, *marks]

    def _marked_of(self, forward: Forward, state: RoutingState) -> set[Marked]:
        """Return what has to be marked of a forward."""
        if state.ways.gateway is None or not state.ways.capable:
            return set()
        lan = self._context.address.network
        return set(marked_of(forward, self._context.owner, lan, state.ways))

    def _flows_of(self, forward: Forward, state: RoutingState) -> Iterator[RouteRule]:
        """Yield the rules by the flow that a forward needs."""
        ways = state.ways
        if self._marks is None and self._helps(forward, ways):
            yield from self._rules_of(forward)

    def _helps(self, forward: Forward, ways: Ways) -> bool:
        """Return whether rules by the flow do.

        What another rule says of just these ports is not told beside ours.
        """
        return ways.by_rules and ways.capable and ways.divert_all(forward.target)

    def _rules_of(self, forward: Forward) -> Iterator[RouteRule]:
        """Yield the rules by the flow that a forward may need."""
        ports = forward.target_ports
        for transport in forward.protocol.transports:
            yield RouteRule(self._preference, forward.target, transport, ports)
            if ports.overlaps(_DNS):
                # Proxies take requests for names with rules of their own.
                yield RouteRule(
                    self._preference, forward.target, transport, ports, answers=False
                )
