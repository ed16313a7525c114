"""The evidence: what the facts about a forward prove, and what they leave open.

A probe of Home Assistant's own, which our rules have translated and the target has
answered, proves the path for clients of the LAN.
"""

from dataclasses import dataclass
from functools import cached_property
from ipaddress import IPv4Address

from ..forward import Forward, Transport
from ..probe.probe import Probe
from ..rules.base import Problem
from ..rules.obstacles import Hindrance, Obstacle
from .facts import Facts
from .port_probe import Answer

_FULL = 0.99
# A client of the LAN that passes tells nothing of what keeps out some, or just the
# answers to the internet.
_OF_OTHERS = (Hindrance.ALLOW_LIST, Hindrance.NO_GATEWAY)
# The best first: a forward of both transports works if one of them has a service.
_RANK = (
    Answer.DATA,
    Answer.CONNECTED,
    Answer.SILENT,
    Answer.UNREACHABLE,
    Answer.UNKNOWN,
    Answer.REFUSED,
)


def best(facts: Facts) -> Answer:
    """Return the best that the target has answered the router."""
    return min(facts.service.values(), key=_RANK.index, default=Answer.UNKNOWN)


def has_service(facts: Facts) -> bool:
    """Return whether the target's service has answered the router."""
    return best(facts).is_service


def is_there(facts: Facts) -> bool:
    """Return whether the target may be there, for all that is known."""
    answered = facts.pinged or any(answer.is_host for answer in facts.service.values())
    return answered or bool(facts.mac) or not facts.on_link


def is_worth_it(facts: Facts) -> bool:
    """Return whether a probe through the forward can tell more than the target has."""
    silent = (Answer.SILENT, Answer.UNREACHABLE)
    return is_there(facts) and any(
        transport == "udp" or answer not in silent
        for transport, answer in facts.service.items()
    )


def is_full(facts: Facts) -> bool:
    """Return whether the kernel's table of connections is full.

    The kernel then drops new connections, or old ones for them, now and then, so the
    table is never quite full when it is looked at.
    """
    return 0 < facts.limit * _FULL <= facts.count


def may_ask(facts: Facts, forward: Forward, probe: Probe) -> bool:
    """Return whether a probe by Home Assistant has to pass a forward that works."""
    return (
        facts.home is not None
        and admits(forward, facts.home)
        # From elsewhere, it is a client whose own address the target sees.
        and (not forward.keep_client_address or facts.home in probe.address.network)
    )


def admits(forward: Forward, client: IPv4Address) -> bool:
    """Return whether a forward lets a client in."""
    return not forward.sources or any(client in network for network in forward.sources)


@dataclass(frozen=True)
class Analysis:
    """One forward, and the facts about it."""

    facts: Facts
    forward: Forward
    probe: Probe
    remembered: str | None
    """The target's MAC address, as an earlier look found it."""

    @cached_property
    def full(self) -> bool:
        """Whether the kernel has no room for further connections."""
        return is_full(self.facts)

    @cached_property
    def missing(self) -> bool:
        """Whether none of our rules translates."""
        return Problem.MISSING in self.facts.problems

    @cached_property
    def passed(self) -> bool:
        """Whether the whole path is proved for clients of the LAN.

        Where the target refuses, so does the path, and proves itself by that.
        """
        service = self.facts.service
        return self.served or (
            self.facts.counted is True
            and Problem.DROPPED not in self.facts.problems
            and not self._any_lost
            and any(
                answer is service[transport] is Answer.REFUSED
                for transport, answer in self.facts.through.items()
            )
        )

    @cached_property
    def served(self) -> bool:
        """Whether the target's service has answered through our rules.

        Over one transport, that proves nothing for another one that is missed.
        """
        return (
            self.facts.counted is True
            and not self._any_lost
            and any(answer.is_service for answer in self.facts.through.values())
        )

    @cached_property
    def proved(self) -> frozenset[Transport]:
        """The transports over which the target's service has answered our probe."""
        if not self.served:
            return frozenset()
        through = self.facts.through.items()
        return frozenset(it for it, answer in through if answer.is_service)

    @cached_property
    def _any_lost(self) -> bool:
        """Whether an answer is missed, over whichever transport."""
        return any(self._is_lost(transport) for transport in self.facts.through)

    def is_disproved(self, obstacle: Obstacle) -> bool:
        """Return whether packets pass what is said to stop all of them."""
        return self.served and obstacle.kind not in _OF_OTHERS

    @cached_property
    def lost(self) -> bool:
        """Whether a probe got no answer that the target gives the router itself.

        What explains it is an earlier step's.
        """
        return (
            bool(self.facts.through)
            and not self.passed
            and not self.full
            and self.facts.ip_forward is not False
            and self._any_lost
        )

    def _is_lost(self, transport: Transport) -> bool:
        """Return whether an answer did not come back that the target has given us.

        A host refuses UDP once a second at most, and is silent in between.
        """
        given = self.facts.service[transport]
        answer = self.facts.through[transport]
        has_given = given.is_service if transport == "udp" else given.is_host
        return has_given and not answer.is_service and answer is not given

    @cached_property
    def taken(self) -> bool:
        """Whether a probe reached the router and not our rules, and is missed.

        Or was answered nevertheless: by someone else, to whom other rules sent it.
        """
        answered = any(answer.is_service for answer in self.facts.through.values())
        return self.facts.counted is False and (self.lost or answered)
