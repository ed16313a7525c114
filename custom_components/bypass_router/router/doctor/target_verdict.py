"""The judgement of the target: is it there, does it serve, and answer through us?"""

from ipaddress import IPv4Address

from ..rules.base import Problem
from .evidence import Analysis, best, has_service, is_there
from .obstacles import in_the_way
from .port_probe import Answer
from .report import (
    Cause,
    Check,
    Reason,
    Status,
    Step,
    by_transport,
    failed,
    ok,
    skipped,
    unknown,
)
from .visitors import internet_client


def evaluate_target(case: Analysis) -> Check:
    """Judge whether someone is at the target's address, and the right one."""
    facts, address = case.facts, str(case.forward.target)
    mac = facts.mac
    if not has_service(facts) and (new := _moved_to(case)):
        return failed(
            Step.TARGET,
            Cause.TARGET_MOVED,
            address=address,
            new_address=str(new),
            hardware=case.remembered or "",
        )
    if facts.on_link and is_there(facts):
        return ok(Step.TARGET, **({"hardware": mac} if mac else {}))
    if facts.pinged or best(facts).is_host:
        return ok(Step.TARGET)
    if not facts.on_link:
        return unknown(Step.TARGET, Reason.SILENCE)
    if case.full:
        # Our own packets were dropped, so no one was asked by ARP.
        return unknown(Step.TARGET, Reason.EARLIER)
    return failed(Step.TARGET, Cause.TARGET_DOWN, address=address)


def _moved_to(case: Analysis) -> IPv4Address | None:
    """Return where the device is now that an earlier diagnosis found here."""
    if case.remembered is None or case.remembered == case.facts.mac:
        return None
    return case.facts.elsewhere.get(case.remembered)


def evaluate_port(case: Analysis, target: Check) -> Check:
    """Judge whether the target's service answers the router."""
    if has_service(case.facts):
        return _served(case)
    if target.status is Status.FAILED:
        return skipped(Step.PORT, Reason.EARLIER)
    seen = {
        "address": str(case.forward.target),
        "port": str(case.forward.target_ports.first),
    }
    direct = case.facts.direct.get("tcp", Answer.UNKNOWN)
    if Problem.INTERCEPTED in case.facts.problems:
        # What answers the router's own probe may be taken as well.
        return (
            _closed_port(case, direct, seen)
            if direct is Answer.REFUSED
            else unknown(Step.PORT, Reason.EARLIER)
        )
    if not case.full and direct.is_service:
        source = str(case.probe.address.ip)
        return failed(Step.PORT, Cause.TARGET_REFUSES, **seen, source=source)
    return _closed_port(case, best(case.facts), seen)


def _served(case: Analysis) -> Check:
    """Return the check of a service that has answered the router."""
    service, transports = case.facts.service, case.forward.protocol.transports
    proved = [it for it, answer in service.items() if answer.is_service]
    return by_transport(Step.PORT, proved, transports, answer=best(case.facts))


def _closed_port(case: Analysis, answer: Answer, seen: dict[str, str]) -> Check:
    """Judge a target that has a service for no one."""
    if answer is Answer.REFUSED and len(case.forward.external) == 1:
        return failed(Step.PORT, Cause.PORT_CLOSED, **seen)
    if answer is Answer.REFUSED:
        return unknown(Step.PORT, Reason.RANGE)
    if case.full:
        return unknown(Step.PORT, Reason.EARLIER)
    if answer is Answer.UNKNOWN:
        return unknown(Step.PORT, Reason.NO_PROBE)
    if "udp" in case.forward.protocol.transports:
        return unknown(Step.PORT, Reason.SILENCE)
    return failed(Step.PORT, Cause.NO_ANSWER, **seen)


def evaluate_answers(case: Analysis) -> Check:
    """Judge whether what the target answers to the internet comes back by us."""
    client = internet_client(case.forward)
    if client is None:
        return skipped(Step.ANSWERS, Reason.NOT_CONCERNED)
    if case.missing or not case.facts.way_back:
        return skipped(Step.ANSWERS, Reason.EARLIER)
    # Which says what is missing, where both are so.
    if found := in_the_way(case, Step.ANSWERS):
        return found
    if Problem.MISROUTED in case.facts.problems:
        return failed(Step.ANSWERS, Cause.HIJACKED_BY_TUNNEL)
    return _kept(case) if case.forward.keep_client_address else ok(Step.ANSWERS)


def _kept(case: Analysis) -> Check:
    """Judge by clients whose own address the target sees."""
    clients = case.facts.clients
    settled = clients.answered or clients.leaves_here
    if settled and not clients.unanswered:
        return ok(Step.ANSWERS)
    if not clients.known:
        return unknown(Step.ANSWERS, Reason.NO_FLOWS)
    if clients.unanswered is None:
        return unknown(Step.ANSWERS, Reason.NO_VISITOR)
    if not has_service(case.facts) or case.full or case.facts.filtered:
        return unknown(Step.ANSWERS, Reason.EARLIER)
    seen = {
        "address": str(case.forward.target),
        "port": str(case.forward.target_ports.first),
        "source": str(clients.unanswered),
    }
    if clients.leaves_here:
        return failed(Step.ANSWERS, Cause.TARGET_REFUSES, **seen)
    return failed(Step.ANSWERS, Cause.GATEWAY_BYPASSES, **seen)
