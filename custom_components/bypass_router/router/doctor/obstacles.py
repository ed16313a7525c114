"""The judgement of what is in a forward's way and is not ours to take away."""

from collections.abc import Mapping
from typing import Final

from ..rules.obstacles import Hindrance
from .evidence import Analysis
from .report import Cause, Check, Reason, Step, failed, unknown

# Where on its path each stops a forward.
_STEPS: Final[Mapping[Hindrance, Step]] = {
    Hindrance.UNTRACKED: Step.RULES,
    Hindrance.DROPPED_EARLY: Step.RULES,
    Hindrance.ALLOW_LIST: Step.PASSAGE,
    Hindrance.DENIED: Step.PASSAGE,
    Hindrance.OWNED: Step.PASSAGE,
    Hindrance.QUEUED: Step.PASSAGE,
    Hindrance.BRIDGED: Step.PASSAGE,
    Hindrance.NO_GATEWAY: Step.ANSWERS,
}


def in_the_way(case: Analysis, step: Step) -> Check | None:
    """Return the check of a step where something is in the way, or may be."""
    here = [found for found in case.facts.obstacles if _STEPS[found.kind] is step]
    for found in here:
        if not case.is_disproved(found):
            return failed(step, Cause(found.kind.value), **found.seen)
    return unknown(step, Reason.NOT_PROVED) if here else None
