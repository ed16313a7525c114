"""The judgement: from facts to the steps of the path. Nothing is asked here.

Each step is judged by itself as far as it can be, so that two faults are both named.
What a fault hides is `unknown` or `skipped`, and never blamed: while our rules are
missing, nothing else of ours counts; while the table of connections is full, or the
target is gone, no silence of the target's means anything.

No rule is blamed against the proof that a probe is; see `evidence`.
"""

from collections.abc import Iterator

from ..forward import Forward
from ..probe.probe import Probe
from ..rules.base import Problem
from .evidence import Analysis, admits, best, has_service, may_ask
from .facts import Facts
from .obstacles import in_the_way
from .port_probe import Answer
from .report import (
    Cause,
    Check,
    Diagnosis,
    Reason,
    Step,
    by_transport,
    failed,
    ok,
    skipped,
    told_by_visit,
    unknown,
)
from .target_verdict import evaluate_answers, evaluate_port, evaluate_target
from .visit_verdict import evaluate_visit
from .visitors import internet_client


def evaluate(
    facts: Facts, forward: Forward, probe: Probe, remembered: str | None = None
) -> Diagnosis:
    """Return what the facts mean."""
    case = Analysis(facts, forward, probe, remembered)
    path = tuple(_checks(case))
    checks = told_by_visit((*path, *evaluate_visit(case, path)))
    there = best(facts) in (Answer.DATA, Answer.CONNECTED)
    return Diagnosis(checks, facts.mac if there else remembered)


def _checks(case: Analysis) -> Iterator[Check]:
    """Yield the steps, in the order of the path."""
    yield ok(Step.CONNECTION)
    yield ok(Step.PRIVILEGES)
    yield _forwarding(case)
    yield _connections(case)
    yield _rules(case)
    yield _proxy(case)
    yield _passage(case)
    yield _reverse_path(case)
    target = evaluate_target(case)
    yield target
    yield evaluate_port(case, target)
    yield evaluate_answers(case)
    yield _through(case)


def _forwarding(case: Analysis) -> Check:
    match case.facts.ip_forward:
        case None:
            return unknown(Step.FORWARDING, Reason.NO_TOOL)
        case False:
            return failed(Step.FORWARDING, Cause.IP_FORWARD_OFF)
    return ok(Step.FORWARDING)


def _connections(case: Analysis) -> Check:
    if not case.facts.limit:
        return unknown(Step.CONNECTIONS, Reason.NO_TOOL)
    seen = {"count": str(case.facts.count), "limit": str(case.facts.limit)}
    if case.full:
        return failed(Step.CONNECTIONS, Cause.CONNTRACK_FULL, **seen)
    return ok(Step.CONNECTIONS, **seen)


def _rules(case: Analysis) -> Check:
    if case.missing:
        return failed(Step.RULES, Cause.RULE_MISSING)
    if Problem.SHADOWED in case.facts.problems:
        return _unless_proved(case, Step.RULES, Cause.RULE_SHADOWED)
    if found := in_the_way(case, Step.RULES) or _earlier_flow(case):
        return found
    if not case.taken or Problem.INTERCEPTED in case.facts.problems:
        return ok(Step.RULES)
    if other := case.facts.other_backend:
        return failed(Step.RULES, Cause.OTHER_BACKEND_FIRST, other=other)
    return failed(Step.RULES, Cause.RULE_SHADOWED)


def _earlier_flow(case: Analysis) -> Check | None:
    """Return the check of our rules where they are not asked for a flow of before."""
    if (source := case.facts.clients.earlier) is None:
        return None
    return failed(Step.RULES, Cause.EARLIER_FLOW, source=str(source))


def _proxy(case: Analysis) -> Check:
    if case.missing:
        return skipped(Step.PROXY, Reason.EARLIER)
    if Problem.INTERCEPTED in case.facts.problems:
        return _unless_proved(case, Step.PROXY, Cause.HIJACKED_BY_TPROXY)
    return ok(Step.PROXY)


def _passage(case: Analysis) -> Check:
    if case.missing:
        return skipped(Step.PASSAGE, Reason.EARLIER)
    if Problem.DROPPED in case.facts.problems:
        return _unless_proved(case, Step.PASSAGE, Cause.DROPPED_IN_FORWARD)
    if found := in_the_way(case, Step.PASSAGE):
        return found
    hijacked = {Problem.INTERCEPTED, Problem.SHADOWED} & case.facts.problems
    if case.lost and case.facts.counted and not hijacked:
        return failed(Step.PASSAGE, Cause.DROPPED_IN_FORWARD)
    return ok(Step.PASSAGE)


def _unless_proved(case: Analysis, step: Step, cause: Cause) -> Check:
    """Blame rules by their text, unless packets pass all the same."""
    if case.served:
        return unknown(step, Reason.NOT_PROVED)
    return failed(step, cause)


def _reverse_path(case: Analysis) -> Check:
    if internet_client(case.forward) is None:
        return skipped(Step.REVERSE_PATH, Reason.NOT_CONCERNED)
    if not case.facts.way_back:
        # Every filter needs a route to compare with.
        return failed(Step.REVERSE_PATH, Cause.NO_ROUTE)
    if case.facts.filtered:
        seen = {"interface": case.probe.interface}
        return failed(Step.REVERSE_PATH, Cause.RP_FILTER, **seen)
    return ok(Step.REVERSE_PATH)


def _through(case: Analysis) -> Check:
    if case.proved:
        return by_transport(Step.THROUGH, case.proved, case.forward.protocol.transports)
    if not case.facts.through:
        return skipped(Step.THROUGH, _untried(case))
    if case.lost or not has_service(case.facts):
        return unknown(Step.THROUGH, Reason.EARLIER)
    return unknown(Step.THROUGH, Reason.SILENCE)


def _untried(case: Analysis) -> Reason:
    """Return why Home Assistant has not tried the forward."""
    if case.facts.home is None:
        return Reason.ON_ROUTER
    if not admits(case.forward, case.facts.home):
        return Reason.EXCLUDED
    if not may_ask(case.facts, case.forward, case.probe):
        return Reason.NOT_CONCERNED
    return Reason.EARLIER
