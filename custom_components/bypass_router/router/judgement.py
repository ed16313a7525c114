"""The judgement: from facts to the steps of the path. Nothing is asked here.

Each step is judged by itself as far as it can be, so that two faults are both named.
What a fault hides is `unknown` or `skipped`, and never blamed: while our rules are
missing, nothing else of ours counts; while the table of connections is full, or the
target is gone, no silence of the target's means anything.

A probe of Home Assistant's own, which our rules have translated and the target has
answered, proves the path for clients of the LAN. No rule is blamed against that proof.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from ipaddress import IPv4Address

from .diagnosis import Cause, Check, Diagnosis, Reason, Status, Step
from .facts import Facts, internet_client
from .firewall import Lack
from .forward import Forward, Transport
from .knocks import Answer
from .probe import Probe


def judge(
    facts: Facts, forward: Forward, probe: Probe, remembered: str | None = None
) -> Diagnosis:
    """Return what the facts mean."""
    checks = tuple(_Case(facts, forward, probe, remembered).checks())
    there = _best(facts) in (Answer.DATA, Answer.CONNECTED)
    return Diagnosis(checks, facts.hardware if there else remembered)


def has_service(facts: Facts) -> bool:
    """Tell whether the target's service has answered the router."""
    return _best(facts).is_service


_FULL = 0.99


def is_there(facts: Facts) -> bool:
    """Tell whether the target may be there, for all that is known."""
    answered = facts.pinged or any(it.is_host for it in facts.service.values())
    return answered or bool(facts.hardware) or not facts.on_link


def is_worth_it(facts: Facts) -> bool:
    """Tell whether a probe through the forward can tell more than the target has."""
    silent = (Answer.SILENT, Answer.UNREACHABLE)
    return is_there(facts) and any(
        transport == "udp" or answer not in silent
        for transport, answer in facts.service.items()
    )


def is_full(facts: Facts) -> bool:
    """Tell whether the kernel's table of connections is full.

    The kernel then drops new connections, or old ones for them, now and then, so the
    table is never quite full when it is looked at.
    """
    return 0 < facts.limit * _FULL <= facts.count


def _ok(step: Step, **seen: str) -> Check:
    return Check(step, Status.OK, seen=seen)


def _failed(step: Step, cause: Cause, **seen: str) -> Check:
    return Check(step, Status.FAILED, cause, seen)


def _unknown(step: Step, reason: Reason) -> Check:
    return Check(step, Status.UNKNOWN, seen={"reason": reason})


def _skipped(step: Step, reason: Reason) -> Check:
    return Check(step, Status.SKIPPED, seen={"reason": reason})


# The best first: a forward of both transports works if one of them has a service.
_RANK = (
    Answer.DATA,
    Answer.CONNECTED,
    Answer.SILENT,
    Answer.UNREACHABLE,
    Answer.UNKNOWN,
    Answer.REFUSED,
)


def _best(facts: Facts) -> Answer:
    """Return the best that the target has answered the router."""
    return min(facts.service.values(), key=_RANK.index, default=Answer.UNKNOWN)


@dataclass(frozen=True)
class _Case:
    """One forward, and the facts about it."""

    facts: Facts
    forward: Forward
    probe: Probe
    remembered: str | None

    def checks(self) -> Iterator[Check]:
        """Yield the steps, in the order of the path."""
        yield _ok(Step.CONNECTION)
        yield _ok(Step.PRIVILEGES)
        yield self._forwarding()
        yield self._connections()
        yield self._rules()
        yield self._proxy()
        yield self._passage()
        yield self._reverse_path()
        target = self._target()
        yield target
        port = self._port(target)
        yield port
        yield self._answers(port)
        yield self._through()

    @cached_property
    def _full(self) -> bool:
        return is_full(self.facts)

    @cached_property
    def _missing(self) -> bool:
        return Lack.MISSING in self.facts.lacks

    @cached_property
    def _passed(self) -> bool:
        """Whether the whole path is proved for clients of the LAN.

        Where the target refuses, so does the path, and proves itself by that.
        """
        service = self.facts.service
        return self._served or (
            self.facts.counted is True
            and Lack.BLOCKED not in self.facts.lacks
            and any(
                answer is service[transport] is Answer.REFUSED
                for transport, answer in self.facts.through.items()
            )
        )

    @cached_property
    def _served(self) -> bool:
        """Whether the target's service has answered through our rules."""
        return self.facts.counted is True and any(
            answer.is_service for answer in self.facts.through.values()
        )

    @cached_property
    def _lost(self) -> bool:
        """Whether a probe got no answer that the target gives the router itself.

        What explains it is an earlier step's.
        """
        return (
            bool(self.facts.through)
            and not self._passed
            and not self._full
            and self.facts.ip_forward is not False
            and any(self._is_lost(transport) for transport in self.facts.through)
        )

    def _is_lost(self, transport: Transport) -> bool:
        """Tell whether an answer did not come back that the target has given us.

        A host refuses UDP once a second at most, and is silent in between.
        """
        given = self.facts.service[transport]
        answer = self.facts.through[transport]
        has_given = given.is_service if transport == "udp" else given.is_host
        return has_given and not answer.is_service and answer is not given

    @cached_property
    def _untouched(self) -> bool:
        """Whether a probe reached the router, and not our rules."""
        return self.facts.counted is False

    def _forwarding(self) -> Check:
        match self.facts.ip_forward:
            case None:
                return _unknown(Step.FORWARDING, Reason.NO_TOOL)
            case False:
                return _failed(Step.FORWARDING, Cause.IP_FORWARD_OFF)
        return _ok(Step.FORWARDING)

    def _connections(self) -> Check:
        if not self.facts.limit:
            return _unknown(Step.CONNECTIONS, Reason.NO_TOOL)
        seen = {"count": str(self.facts.count), "limit": str(self.facts.limit)}
        if self._full:
            return _failed(Step.CONNECTIONS, Cause.CONNTRACK_FULL, **seen)
        return _ok(Step.CONNECTIONS, **seen)

    def _rules(self) -> Check:
        if self._missing:
            return _failed(Step.RULES, Cause.RULE_MISSING)
        if Lack.SHADOWED in self.facts.lacks:
            return self._unless_proved(Step.RULES, Cause.RULE_SHADOWED)
        if self._untouched and self._lost and Lack.TAKEN not in self.facts.lacks:
            return _failed(Step.RULES, Cause.RULE_SHADOWED)
        return _ok(Step.RULES)

    def _proxy(self) -> Check:
        if self._missing:
            return _skipped(Step.PROXY, Reason.EARLIER)
        if Lack.TAKEN in self.facts.lacks:
            return self._unless_proved(Step.PROXY, Cause.HIJACKED_BY_TPROXY)
        return _ok(Step.PROXY)

    def _passage(self) -> Check:
        if self._missing:
            return _skipped(Step.PASSAGE, Reason.EARLIER)
        if Lack.BLOCKED in self.facts.lacks:
            return self._unless_proved(Step.PASSAGE, Cause.DROPPED_IN_FORWARD)
        hijacked = {Lack.TAKEN, Lack.SHADOWED} & self.facts.lacks
        if self._lost and self.facts.counted and not hijacked:
            return _failed(Step.PASSAGE, Cause.DROPPED_IN_FORWARD)
        return _ok(Step.PASSAGE)

    def _unless_proved(self, step: Step, cause: Cause) -> Check:
        """Blame rules by their text, unless packets pass all the same."""
        if self._served:
            return _unknown(step, Reason.NOT_PROVED)
        return _failed(step, cause)

    def _reverse_path(self) -> Check:
        if internet_client(self.forward) is None:
            return _skipped(Step.REVERSE_PATH, Reason.NOT_CONCERNED)
        if not self.facts.way_back:
            # Every filter needs a route to compare with.
            return _skipped(Step.REVERSE_PATH, Reason.EARLIER)
        if self.facts.filtered:
            seen = {"interface": self.probe.interface}
            return _failed(Step.REVERSE_PATH, Cause.RP_FILTER, **seen)
        return _ok(Step.REVERSE_PATH)

    def _target(self) -> Check:
        facts, address = self.facts, str(self.forward.target)
        hardware = facts.hardware
        if not has_service(facts) and (new := self._moved_to()):
            return _failed(
                Step.TARGET,
                Cause.TARGET_MOVED,
                address=address,
                new_address=str(new),
                hardware=self.remembered or "",
            )
        if facts.on_link and is_there(facts):
            return _ok(Step.TARGET, **({"hardware": hardware} if hardware else {}))
        if facts.pinged or _best(facts).is_host:
            return _ok(Step.TARGET)
        if not facts.on_link:
            return _unknown(Step.TARGET, Reason.SILENCE)
        if self._full:
            # Our own packets were dropped, so nobody was asked by ARP.
            return _unknown(Step.TARGET, Reason.EARLIER)
        return _failed(Step.TARGET, Cause.TARGET_DOWN, address=address)

    def _moved_to(self) -> IPv4Address | None:
        """Return where the device is now that an earlier diagnosis found here."""
        if self.remembered is None or self.remembered == self.facts.hardware:
            return None
        return self.facts.elsewhere.get(self.remembered)

    def _port(self, target: Check) -> Check:
        if has_service(self.facts):
            return _ok(Step.PORT, answer=_best(self.facts))
        if target.status is Status.FAILED:
            return _skipped(Step.PORT, Reason.EARLIER)
        seen = {
            "address": str(self.forward.target),
            "port": str(self.forward.target_ports.first),
        }
        direct = self.facts.direct.get("tcp", Answer.UNKNOWN)
        if Lack.TAKEN in self.facts.lacks:
            # What answers the router's own knock may be taken as well.
            return (
                self._closed_port(direct, seen)
                if direct is Answer.REFUSED
                else (_unknown(Step.PORT, Reason.EARLIER))
            )
        if not self._full and direct.is_service:
            source = str(self.probe.address.ip)
            return _failed(Step.PORT, Cause.TARGET_REFUSES, **seen, source=source)
        return self._closed_port(_best(self.facts), seen)

    def _closed_port(self, answer: Answer, seen: dict[str, str]) -> Check:
        """Judge a target that has a service for nobody."""
        if answer is Answer.REFUSED and len(self.forward.external) == 1:
            return _failed(Step.PORT, Cause.PORT_CLOSED, **seen)
        if answer is Answer.REFUSED:
            return _unknown(Step.PORT, Reason.RANGE)
        if self._full:
            return _unknown(Step.PORT, Reason.EARLIER)
        if answer is Answer.UNKNOWN:
            return _unknown(Step.PORT, Reason.NO_TOOL)
        if "udp" in self.forward.protocol.transports:
            return _unknown(Step.PORT, Reason.SILENCE)
        return _failed(Step.PORT, Cause.NO_ANSWER, **seen)

    def _answers(self, port: Check) -> Check:
        client = internet_client(self.forward)
        if client is None:
            return _skipped(Step.ANSWERS, Reason.NOT_CONCERNED)
        if not self.facts.way_back:
            return _failed(Step.ANSWERS, Cause.NO_ROUTE)
        if self._missing:
            return _skipped(Step.ANSWERS, Reason.EARLIER)
        if Lack.DIVERTED in self.facts.lacks:
            return _failed(Step.ANSWERS, Cause.HIJACKED_BY_TUNNEL)
        if not self.forward.keep_client_address:
            return _ok(Step.ANSWERS)
        return self._kept(port)

    def _kept(self, port: Check) -> Check:
        """Judge by clients whose own address the target sees."""
        visitors = self.facts.visitors
        if visitors.answered or (visitors.leaves_here and not visitors.unanswered):
            return _ok(Step.ANSWERS)
        if not visitors.known:
            return _unknown(Step.ANSWERS, Reason.NO_TOOL)
        if visitors.unanswered is None:
            return _unknown(Step.ANSWERS, Reason.NO_VISITOR)
        if port.status is not Status.OK or self._full or self.facts.filtered:
            return _unknown(Step.ANSWERS, Reason.EARLIER)
        seen = {
            "address": str(self.forward.target),
            "port": str(self.forward.target_ports.first),
            "source": str(visitors.unanswered),
        }
        if visitors.leaves_here:
            return _failed(Step.ANSWERS, Cause.TARGET_REFUSES, **seen)
        return _failed(Step.ANSWERS, Cause.GATEWAY_BYPASSES, **seen)

    def _through(self) -> Check:
        if self._passed:
            return _ok(Step.THROUGH)
        if not self.facts.through:
            return _skipped(Step.THROUGH, self._untried())
        if self._lost or not has_service(self.facts):
            return _unknown(Step.THROUGH, Reason.EARLIER)
        return _unknown(Step.THROUGH, Reason.SILENCE)

    def _untried(self) -> Reason:
        """Return why Home Assistant has not tried the forward."""
        if self.facts.home is None:
            return Reason.ON_ROUTER
        if not admits(self.forward, self.facts.home):
            return Reason.EXCLUDED
        if not may_ask(self.facts, self.forward, self.probe):
            return Reason.NOT_CONCERNED
        return Reason.EARLIER


def may_ask(facts: Facts, forward: Forward, probe: Probe) -> bool:
    """Tell whether a probe by Home Assistant has to pass a forward that works."""
    return (
        facts.home is not None
        and admits(forward, facts.home)
        # From elsewhere, it is a client whose own address the target sees.
        and (not forward.keep_client_address or facts.home in probe.address.network)
    )


def admits(forward: Forward, client: IPv4Address) -> bool:
    """Tell whether a forward lets a client in."""
    return not forward.sources or any(client in network for network in forward.sources)
