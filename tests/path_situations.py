"""What can be known of a forward whose picture is drawn."""

from collections.abc import Iterator, Mapping
from dataclasses import replace
from functools import cache
from typing import Final

from custom_components.bypass_router.diagnosis.status import ForwardStatus
from custom_components.bypass_router.diagnosis.texts import Texts
from custom_components.bypass_router.path_image.labels import Labels, labels_of
from custom_components.bypass_router.path_image.model import Situation
from custom_components.bypass_router.router.doctor.report import (
    Cause,
    Check,
    Diagnosis,
    Status,
    Step,
)
from custom_components.bypass_router.router.forward import Forward

from .sentences import translations

WEB: Final = Forward.parse(
    "web",
    protocol="tcp",
    external_port="8443",
    target="192.168.50.10",
    target_port="443",
)
LONG: Final = Forward.parse(
    "long",
    protocol="both",
    external_port="60000-60010",
    target="192.168.250.210",
    target_port="61000",
    sources=["198.51.100.0/24", "203.0.113.128/25", "192.0.2.7", "100.64.0.0/10"],
)
NOW: Final = 1_800_000_000.0
HOUR: Final = 3600
DAY: Final = 24 * HOUR

_RULE = "tcp dport { 8443, 60000-60010 } ip saddr != @friends limit rate over 5/second"
WORDS: Final[Mapping[str, str]] = {
    "address": "192.168.250.210",
    "new_address": "192.168.250.211",
    "router": "192.168.250.200",
    "source": "198.51.100.207",
    "hardware": "02:00:c0:a8:32:0a",
    "interface": "wlan0.guest-5",
    "port": "60000",
    "ports": "60000-60010",
    "chain": "inet firewalld filter_FORWARD",
    "rule": f"{_RULE} burst 20 packets counter packets 12345 bytes 67890 drop",
    "message": "iptables-restore v1.8.11 (legacy): line 12 failed: Invalid argument",
}
"""Those that a router says, rather long ones; any other is a short word."""


@cache
def texts_of(language: str) -> Texts:
    """Return the sentences in a language."""
    start, end = "exceptions.", ".message"
    return Texts(
        {
            key.removeprefix(start).removesuffix(end): text
            for key, text in translations(language).items()
            if key.startswith(start)
        }
    )


def labels(language: str) -> Labels:
    """Return the labels in a language."""
    return labels_of(texts_of(language).get)


def situation(
    status: ForwardStatus = ForwardStatus.UNTESTED, language: str = "en"
) -> Situation:
    """Return what is known of a forward of which little is known."""
    return Situation(
        "Web",
        WEB,
        WEB.external,
        "192.168.50.2",
        connected=True,
        status=status,
        labels=labels(language),
        now=NOW,
        language=language,
    )


def diagnosed(**statuses: str) -> Diagnosis:
    """Return a diagnosis: of each step its status, or the cause for which it failed."""
    return Diagnosis(
        tuple(
            Check(Step(name), Status(word))
            if word in set(Status)
            else Check(Step(name), Status.FAILED, Cause(word))
            for name, word in statuses.items()
        )
    )


def failing(cause: Cause, language: str = "en", **statuses: str) -> Situation:
    """Return what is known where the doctor has found a cause.

    `statuses` are of the steps that came off or were not looked at.
    """
    seen = {name: WORDS.get(name, "iptables") for name in _PLACEHOLDERS}
    # At which step it was found is of no matter.
    check = Check(Step.CONNECTIONS, Status.FAILED, cause, seen)
    said = texts_of(language).sentences(check)
    found = diagnosed(**statuses)
    return replace(
        situation(ForwardStatus.FAILS, language),
        diagnosis=replace(found, checks=(*found.checks, check)),
        seen=said["seen"],
        do=said["do"],
    )


_PLACEHOLDERS: Final = {
    *WORDS,
    *("command", "count", "limit", "other", "seconds", "table", "program"),
}


def situations(language: str) -> Iterator[Situation]:
    """Yield each kind of what can be known, in a language."""
    for status in ForwardStatus:
        yield situation(status, language)
    away = texts_of(language).get("cause_unreachable_do")
    yield replace(situation(language=language), connected=False, do=away)
    yield replace(situation(ForwardStatus.REFUSED, language), seen=WORDS["message"] * 5)
    for age in (0, 599, 23 * HOUR, 400 * DAY):
        yield replace(situation(ForwardStatus.WORKS, language), answered_at=NOW - age)
    for cause in Cause:
        yield failing(cause, language, rules="ok", port="ok")
