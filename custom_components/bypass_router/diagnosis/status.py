"""How a forward stands, for all that is known: by its rules, the doctor, and visitors.

What was seen last counts. That clients are answered since the doctor has found a fault
speaks against him, over each transport that the forward has; what he finds while they
are, for him, as he looks at that himself.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
import time

from ..counters.visits import Visit
from ..main_router.half import MainHalf
from ..router.doctor.doctor import PROOF_LASTS
from ..router.doctor.report import (
    Cause,
    Check,
    Diagnosis,
    Reason,
    Status,
    Step,
    failed,
)
from ..router.errors import RouterError
from ..router.forward import Forward, Transport
from ..router.rules.obstacles import Hindrance, Obstacle
from .run import Finding, Progress

# Of these, some are let in.
_FOR_SOME = (Hindrance.ALLOW_LIST,)
# With one of these, no one can ask the router what is on.
_UNASKED = frozenset({Cause.UNREACHABLE, Cause.NOT_PRIVILEGED, Cause.FIREWALL_UNUSABLE})
# What a look without a fault may have to say that helps on, the most telling first.
_TELLING = (
    Reason.UNHEARD,
    Reason.PARTLY,
    Reason.FROM_HOME,
    Reason.MAIN_SET_AND_SILENT,
    Reason.NOBODY,
)


class ForwardStatus(StrEnum):
    """How a forward stands; the names are translation keys."""

    OFF = "off"
    REFUSED = "refused"
    """It is to be on, and the router does not take it."""
    CHECKING = "checking"
    TRY_NOW = "try_now"
    """Whoever tries it from outside is seen."""
    UNTESTED = "untested"
    WORKS_AT_HOME = "works_at_home"
    """A test passes; nothing is known of the main router's half."""
    WORKS = "works"
    """Someone from outside was answered."""
    FAILS = "fails"


@dataclass(frozen=True, slots=True)
class Known:
    """What is known of a forward."""

    on: bool | None
    """Whether its rules are in the kernel; None while the router is away."""
    progress: Progress | None = None
    """How far a diagnosis is that is under way."""
    refusal: RouterError | None = None
    """Why the router does not take it."""
    finding: Finding | None = None
    """What the doctor said of it as it is now."""
    obstacles: Sequence[Obstacle] = ()
    obstacles_since: float = 0.0
    """When they were found, in Unix time."""
    visits: Mapping[Transport, Visit] = field(default_factory=dict)
    main: MainHalf | None = None
    """The main router's half, where anyone can tell of it."""


@dataclass(frozen=True, slots=True)
class Standing:
    """A forward's status, and by what it is known."""

    status: ForwardStatus | None
    """None where the router can't be asked."""
    check: Check | None = None
    """The one that tells why."""
    when: float | None = None
    """When that was seen, in Unix time."""
    answered: float | None = None
    """When someone from outside was answered last, over each transport."""

    def shown_of(self, known: Known) -> Diagnosis | None:
        """Return the checks that speak for it: none that were disproved since."""
        diagnosis = known.finding.diagnosis if known.finding else None
        if known.main and (diagnosis or self.status is ForwardStatus.FAILS):
            # As it is now, whatever it was when the doctor looked.
            half = known.main.check
            told = half if half.cause is None or half is self.check else None
            diagnosis = (diagnosis or Diagnosis(())).beside(told)
        if diagnosis is None or not diagnosis.causes:
            checks = diagnosis.checks if diagnosis else ()
            fault = (self.check,) if self.check and self.check.cause else ()
            return Diagnosis((*checks, *fault)) if checks or fault else None
        if self.check in diagnosis.checks:
            return diagnosis
        return Diagnosis((self.check,)) if self.check else None


def standing_of(forward: Forward, known: Known) -> Standing:
    """Return how a forward stands now."""
    answered = _answered_at(forward, known.visits)
    if progress := known.progress:
        trying = progress.left is not None
        status = ForwardStatus.TRY_NOW if trying else ForwardStatus.CHECKING
        return Standing(status, answered=answered)
    away = known.on is None
    finding = known.finding
    causes = finding.diagnosis.causes if finding else ()
    if _UNASKED.isdisjoint(causes) if away else Cause.UNREACHABLE in causes:
        # Of a router that is back, or not away by then.
        finding = None
    if away:
        return _by_fault(finding, None) or Standing(None)
    if known.refusal:
        return Standing(ForwardStatus.REFUSED)
    if not known.on:
        return Standing(ForwardStatus.OFF)
    proved = answered if answered and answered > time.time() - PROOF_LASTS else None
    return (
        _by_fault(finding, proved, answered)
        or _by_obstacle(known, proved, answered)
        or _by_main_router(known, proved, answered)
        or _by_proof(finding, proved, answered)
    )


def _answered_at(forward: Forward, visits: Mapping[Transport, Visit]) -> float | None:
    """Return until when all of the way is proved, over each of its transports."""
    transports = forward.protocol.transports
    if not set(visits).issuperset(transports):
        return None
    return min(visits[transport].when for transport in transports)


def _by_fault(
    finding: Finding | None, proved: float | None, answered: float | None = None
) -> Standing | None:
    """Return what the doctor has found to be wrong, unless it is disproved since."""
    if finding is None or not finding.diagnosis.causes:
        return None
    if proved is not None and proved > finding.when:
        return None
    check = next(check for check in finding.diagnosis.checks if check.cause)
    return Standing(ForwardStatus.FAILS, check, finding.when, answered)


def _by_obstacle(
    known: Known, proved: float | None, answered: float | None
) -> Standing | None:
    """Return what keeps everyone out by the rules' text, unless someone came in.

    The doctor judges it as well, and has found no fault in it if he was asked since.
    """
    found = next((it for it in known.obstacles if it.kind not in _FOR_SOME), None)
    looked = known.finding.when - known.finding.took if known.finding else 0.0
    if found is None or max(proved or 0.0, looked) > known.obstacles_since:
        return None
    check = failed(Step.PASSAGE, Cause(found.kind.value), **found.seen)
    return Standing(ForwardStatus.FAILS, check, known.obstacles_since, answered)


def _by_main_router(
    known: Known, proved: float | None, answered: float | None
) -> Standing | None:
    """Return what the main router says against it, unless someone came through it."""
    half = known.main
    if half is None or not _stands(half, proved):
        return None
    return Standing(ForwardStatus.FAILS, half.check, half.since, answered)


def _stands(half: MainHalf, proved: float | None) -> bool:
    """Return whether the main router says no, and no one came through it since."""
    return half.check.cause is not None and (proved or 0.0) <= half.since


def main_fault(forward: Forward, known: Known) -> Check | None:
    """Return what the main router says against a forward that is on, if that stands."""
    half = known.main
    stands = half and _stands(half, _answered_at(forward, known.visits))
    return half.check if half and stands else None


def _by_proof(
    finding: Finding | None, proved: float | None, answered: float | None
) -> Standing:
    """Return how far the way is proved, where nothing is known to be wrong."""
    if proved is not None:
        return Standing(ForwardStatus.WORKS, None, proved, answered)
    if finding is None:
        return Standing(ForwardStatus.UNTESTED, answered=answered)
    diagnosis = finding.diagnosis
    checks = {check.name: check for check in diagnosis.checks}
    visit = checks.get(Step.VISIT)
    # He may have been told of one who was answered some time before.
    when = finding.when - int(visit.seen.get("ago", 0) if visit else 0)
    if diagnosis.healthy and when > time.time() - PROOF_LASTS:
        return Standing(ForwardStatus.WORKS, visit, when, answered)
    through = checks.get(Step.THROUGH)
    at_home = through is not None and through.status is Status.OK
    status = ForwardStatus.WORKS_AT_HOME if at_home else ForwardStatus.UNTESTED
    by_reason = {check.seen.get("reason"): check for check in diagnosis.checks}
    telling = (by_reason[it] for it in _TELLING if it in by_reason)
    return Standing(status, next(telling, None), finding.when, answered)
