"""What a person reads of a forward's status, beside its word."""

from datetime import datetime
from typing import Any

from homeassistant.util.dt import utc_from_timestamp

from ..attributes import fitting
from ..router.doctor.report import Reason
from .status import ForwardStatus, Known, Standing
from .texts import MARKS, Texts

# Seconds. What goes on all the time is no news each time.
_MINUTE = 60


def attributes_of(
    standing: Standing, known: Known, ports: str, texts: Texts
) -> dict[str, Any]:
    """Return by what a status is known, and what to do, in the user's language."""
    check = standing.check
    told: dict[str, Any] = {
        "cause": check.cause.value if check and check.cause else None,
        **sentences(standing, known, ports, texts),
        "checks": _checks(standing, known, texts),
        "checked_at": _minute(standing.when),
    }
    progress = known.progress
    if progress and progress.left is not None:
        told["seconds_left"] = progress.left
    return told


def sentences(
    standing: Standing, known: Known, ports: str, texts: Texts
) -> dict[str, str]:
    """Return what was seen, what it means, and what to do."""
    key: str = standing.status or ""
    if standing.check and standing.check.seen.get("reason") == Reason.NOT_CONCERNED:
        key = "works_for_home"
    said = {
        part: texts.get(f"status_{key}_{part}", ports=ports)
        for part in ("seen", "means", "do")
    }
    if standing.status is ForwardStatus.REFUSED and known.refusal:
        refusal = known.refusal
        said["seen"] = fitting(texts.get(refusal.key, **refusal.details))
    elif standing.check and standing.status is not ForwardStatus.WORKS:
        said |= {
            part: text for part, text in texts.sentences(standing.check).items() if text
        }
    return said


def _checks(standing: Standing, known: Known, texts: Texts) -> list[str]:
    """Return all that the doctor has looked at and that still counts, a line each."""
    shown = standing.shown_of(known)
    if shown is None or known.progress:
        return []
    return [f"{MARKS[check.status]} {texts.title(check)}" for check in shown.checks]


def _minute(when: float | None) -> datetime | None:
    """Return the minute of a moment."""
    return None if when is None else utc_from_timestamp(when // _MINUTE * _MINUTE)
