"""How a forward stands: by what was seen last, and never better than that."""

from dataclasses import replace
from ipaddress import IPv4Address
import time

import pytest

from custom_components.bypass_router.counters.visits import Visit
from custom_components.bypass_router.diagnosis.run import Finding, Progress
from custom_components.bypass_router.diagnosis.status import (
    ForwardStatus,
    Known,
    standing_of,
)
from custom_components.bypass_router.diagnosis.status_texts import attributes_of
from custom_components.bypass_router.router.doctor.doctor import PROOF_LASTS
from custom_components.bypass_router.router.doctor.report import (
    Cause,
    Check,
    Diagnosis,
    Reason,
    Step,
    failed,
    ok,
    skipped,
    unknown,
)
from custom_components.bypass_router.router.errors import PortTaken
from custom_components.bypass_router.router.forward import Forward
from custom_components.bypass_router.router.rules.obstacles import Hindrance, Obstacle

from .test_diagnose import texts_in
from .test_translations import LANGUAGES

WEB = Forward.parse(
    "01WEB", protocol="tcp", external_port="8443", target="192.168.50.10"
)
BOTH = Forward.parse(
    "02BOTH", protocol="both", external_port="6000", target="192.168.50.10"
)
NOW = time.time()
THROUGH = ok(Step.THROUGH)
WORDS = {"seconds": "60", "ports": "8443", "public": "443", "router": "R"}
NOBODY = unknown(Step.ARRIVAL, Reason.NOBODY, **WORDS)
CLOSED = failed(Step.PORT, Cause.PORT_CLOSED, address="192.168.50.10", port="8443")
AWAY = failed(Step.CONNECTION, Cause.UNREACHABLE, message="x")
LOCKED = failed(Step.PRIVILEGES, Cause.NOT_PRIVILEGED, command="nft", message="x")
DROPPED = Obstacle(Hindrance.DENIED, {"chain": "c", "rule": "r"})
LISTED = Obstacle(Hindrance.ALLOW_LIST, {"chain": "c", "rule": "r"})


def found(*checks: Check, ago: float = 10) -> Finding:
    """Return what the doctor said so many seconds ago."""
    return Finding(WEB, True, WEB.external, Diagnosis(checks), NOW - ago)


def visit(ago: float) -> Visit:
    """Return a visitor who was answered so many seconds ago."""
    return Visit(NOW - ago, IPv4Address("203.0.113.10"))


ON = Known(on=True)
CASES = {
    "off": (Known(on=False), ForwardStatus.OFF),
    "away": (Known(on=None), None),
    "away, as the doctor found": (
        Known(on=None, finding=found(AWAY)),
        ForwardStatus.FAILS,
    ),
    "away since he found a fault": (Known(on=None, finding=found(CLOSED)), None),
    "not to be asked, as the doctor found": (
        Known(on=None, finding=found(LOCKED)),
        ForwardStatus.FAILS,
    ),
    "back since he found it away": (
        replace(ON, finding=found(AWAY)),
        ForwardStatus.UNTESTED,
    ),
    "refused": (
        Known(on=False, refusal=PortTaken(message="Another Home Assistant has it.")),
        ForwardStatus.REFUSED,
    ),
    "no one has looked": (ON, ForwardStatus.UNTESTED),
    "being looked at": (replace(ON, progress=Progress()), ForwardStatus.CHECKING),
    "waiting for a client": (replace(ON, progress=Progress(9)), ForwardStatus.TRY_NOW),
    "looked at while off": (
        Known(on=False, progress=Progress()),
        ForwardStatus.CHECKING,
    ),
    "a test passes": (replace(ON, finding=found(THROUGH)), ForwardStatus.WORKS_AT_HOME),
    "a test passes, and nobody came": (
        replace(ON, finding=found(THROUGH, NOBODY)),
        ForwardStatus.WORKS_AT_HOME,
    ),
    "nothing wrong, and no test": (
        replace(ON, finding=found(ok(Step.RULES))),
        ForwardStatus.UNTESTED,
    ),
    "a fault": (replace(ON, finding=found(THROUGH, CLOSED)), ForwardStatus.FAILS),
    "a visitor": (replace(ON, visits={"tcp": visit(5)}), ForwardStatus.WORKS),
    "a visitor over another transport": (
        replace(ON, visits={"udp": visit(5)}),
        ForwardStatus.UNTESTED,
    ),
    "a visitor of long ago": (
        replace(ON, visits={"tcp": visit(PROOF_LASTS + 60)}),
        ForwardStatus.UNTESTED,
    ),
    "a fault after a visitor": (
        replace(ON, finding=found(CLOSED), visits={"tcp": visit(20)}),
        ForwardStatus.FAILS,
    ),
    "a visitor after a fault": (
        replace(ON, finding=found(CLOSED), visits={"tcp": visit(5)}),
        ForwardStatus.WORKS,
    ),
    "the doctor saw one answered": (
        replace(ON, finding=found(THROUGH, ok(Step.VISIT))),
        ForwardStatus.WORKS,
    ),
    "it is for home alone": (
        replace(ON, finding=found(THROUGH, skipped(Step.VISIT, Reason.NOT_CONCERNED))),
        ForwardStatus.WORKS,
    ),
    "he did, long ago": (
        replace(ON, finding=found(THROUGH, ok(Step.VISIT), ago=PROOF_LASTS + 60)),
        ForwardStatus.WORKS_AT_HOME,
    ),
    "he was told of one that is too long ago by now": (
        replace(ON, finding=found(THROUGH, ok(Step.VISIT, ago=str(PROOF_LASTS - 5)))),
        ForwardStatus.WORKS_AT_HOME,
    ),
    "all are kept out": (
        replace(ON, obstacles=(DROPPED,), obstacles_since=NOW - 9),
        ForwardStatus.FAILS,
    ),
    "all were kept out before": (
        replace(
            ON,
            obstacles=(DROPPED,),
            obstacles_since=NOW - 9,
            visits={"tcp": visit(5)},
        ),
        ForwardStatus.WORKS,
    ),
    "all are kept out by a rule, and a test passes since": (
        replace(
            ON, finding=found(THROUGH), obstacles=(DROPPED,), obstacles_since=NOW - 20
        ),
        ForwardStatus.WORKS_AT_HOME,
    ),
    "all are kept out since a test has passed": (
        replace(
            ON, finding=found(THROUGH), obstacles=(DROPPED,), obstacles_since=NOW - 9
        ),
        ForwardStatus.FAILS,
    ),
    "all are kept out since a test passed, and one was waited for": (
        replace(
            ON,
            finding=replace(found(THROUGH, NOBODY), took=60),
            obstacles=(DROPPED,),
            obstacles_since=NOW - 20,
        ),
        ForwardStatus.FAILS,
    ),
    "some are kept out": (
        replace(ON, obstacles=(LISTED,), obstacles_since=NOW - 9),
        ForwardStatus.UNTESTED,
    ),
}


@pytest.mark.parametrize("case", CASES)
def test_a_forward_stands_as_was_seen_last(case: str) -> None:
    """Better only by a proof, and unknown while the router is away."""
    known, status = CASES[case]
    assert standing_of(WEB, known).status is status


def test_one_transport_proves_nothing_for_the_other() -> None:
    """Both have to be."""
    one = replace(ON, visits={"tcp": visit(5)})
    assert standing_of(BOTH, one).status is ForwardStatus.UNTESTED
    both = replace(ON, visits={"tcp": visit(5), "udp": visit(50)})
    assert standing_of(BOTH, both).status is ForwardStatus.WORKS
    faulty = replace(both, finding=found(CLOSED))
    assert standing_of(BOTH, faulty).status is ForwardStatus.FAILS


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("case", CASES)
def test_each_status_says_what_was_seen_and_what_to_do(
    case: str, language: str
) -> None:
    """In sentences, in each language; nothing of a router that is away."""
    known, status = CASES[case]
    texts = texts_in(language)
    told = attributes_of(standing_of(WEB, known), known, "8443", texts)
    assert bool(told["seen"]) is (status is not None)
    if status not in (None, ForwardStatus.WORKS, ForwardStatus.OFF):
        assert told["do"]
    assert "{" not in str(told["do"]) + told["seen"] + told["means"]
    assert bool(told["cause"]) is (status is ForwardStatus.FAILS)


def test_no_one_from_outside_is_said_to_be_answered_where_none_may() -> None:
    """What was seen is a test."""
    known, _ = CASES["it is for home alone"]
    told = attributes_of(standing_of(WEB, known), known, "8443", texts_in())
    assert "test" in told["seen"]
    assert "outside" not in told["seen"] + told["means"]


def test_nobody_came_is_said_with_what_that_may_mean() -> None:
    """And not only that it works at home."""
    known = replace(ON, finding=found(THROUGH, NOBODY))
    told = attributes_of(standing_of(WEB, known), known, "8443", texts_in())
    assert "60" in told["seen"]
    assert "forward 443 to R, port 8443" in told["do"]
    assert told["checks"] == [
        "✓ A test passes through the whole forward",
        f"– {texts_in().title(NOBODY)}",
    ]


def test_a_fault_that_was_disproved_is_shown_nowhere() -> None:
    """Neither beside what works, nor in place of what is wrong since."""
    known = replace(ON, finding=found(CLOSED, ago=30), visits={"tcp": visit(20)})
    standing = standing_of(WEB, known)
    assert standing.shown_of(known) is None
    assert attributes_of(standing, known, "8443", texts_in())["checks"] == []
    known = replace(known, obstacles=(DROPPED,), obstacles_since=NOW - 10)
    shown = standing_of(WEB, known).shown_of(known)
    assert shown
    assert shown.causes == (Cause.DENIED,)
