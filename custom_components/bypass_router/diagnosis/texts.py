"""What a diagnosis says, in the user's language.

The sentences stand among the integration's `exceptions`: of the categories that a
custom integration's translations may have, it is the one that is read on this side as
well, takes keys of our own with placeholders, and is no part of some other form. That
of `issues` is filled in by the frontend alone, and that of `selector` has no
placeholders.
"""

from collections.abc import Mapping
import re
from typing import Any

from homeassistant.core import HomeAssistant
from homeassistant.helpers.translation import async_get_translations

from ..const import DOMAIN
from ..router.doctor.report import Cause, Check, Diagnosis, Status
from ..router.rules.obstacles import Obstacle

MARKS: Mapping[Status, str] = {
    Status.OK: "✓",
    Status.FAILED: "✗",
    Status.UNKNOWN: "–",
    Status.SKIPPED: "–",
}
# What could make a link, a picture or a heading of a router's words.
_MARKDOWN = re.compile(r"([\\`*_{}\[\]()<>#|!:~&])")


class _Words(dict[str, str]):
    """Words for placeholders; what no one has told is a question mark."""

    def __missing__(self, key: str) -> str:
        return "?"


class Texts:
    """The sentences in one language."""

    def __init__(self, sentences: Mapping[str, str]) -> None:
        """Take the sentences by key."""
        self._sentences = sentences

    def get(self, key: str, **words: str) -> str:
        """Return a sentence; nothing where there is none."""
        return self._sentences.get(key, "").format_map(_Words(words))

    def title(self, check: Check) -> str:
        """Return what was looked at."""
        return self.get(f"check_{check.name}")

    def sentences(self, check: Check) -> dict[str, str]:
        """Return what was `seen`, what it `means`, and what to `do`."""
        if check.cause:
            return self._of_cause(check.cause, check.seen)
        reason = check.seen.get("reason")
        seen = self.get(f"reason_{reason}", **check.seen) if reason else ""
        return {"seen": seen, "means": "", "do": ""}

    def obstacle(self, obstacle: Obstacle, *, markdown: bool = False) -> str:
        """Return what is in a forward's way, what it means, and what to do."""
        words = dict(obstacle.seen)
        if markdown:
            words = escaped(words)
        said = " ".join(self._of_cause(Cause(obstacle.kind.value), words).values())
        # After such a stop there is no space.
        return said.replace("。 ", "。")

    def _of_cause(self, cause: Cause, seen: Mapping[str, str]) -> dict[str, str]:
        """Return the three sentences of a cause."""
        # Not every router can tell a visitor's address.
        words = {"source": self.get("diagnosis_somebody"), **seen}
        return {
            part: self.get(f"cause_{cause}_{part}", **words)
            for part in ("seen", "means", "do")
        }


async def async_texts(hass: HomeAssistant) -> Texts:
    """Return the sentences in Home Assistant's language."""
    prefix, suffix = f"component.{DOMAIN}.exceptions.", ".message"
    found = await async_get_translations(
        hass, hass.config.language, "exceptions", {DOMAIN}
    )
    return Texts(
        {
            key.removeprefix(prefix).removesuffix(suffix): text
            for key, text in found.items()
        }
    )


def response(diagnosis: Diagnosis, texts: Texts) -> dict[str, Any]:
    """Return what the action answers."""
    return {
        "healthy": not diagnosis.causes,
        "causes": [cause.value for cause in diagnosis.causes],
        "checks": [
            {
                "name": check.name.value,
                "title": texts.title(check),
                "status": check.status.value,
                "cause": check.cause.value if check.cause else None,
                **texts.sentences(check),
            }
            for check in diagnosis.checks
        ],
    }


def report(diagnosis: Diagnosis, texts: Texts) -> str:
    """Return what a person reads, in markdown: the first fault, then all checks."""
    failed = [check for check in diagnosis.checks if check.cause]
    parts = [texts.get("diagnosis_healthy")]
    if failed:
        said = texts.sentences(_escaped(failed[0]))
        parts = [
            f"**{said['seen']}**",
            f"**{texts.get('diagnosis_what_it_means')}**: {said['means']}",
            f"**{texts.get('diagnosis_what_to_do')}**: {said['do']}",
        ]
    lines = [_line(_escaped(check), texts) for check in diagnosis.checks]
    parts += [f"**{texts.get('diagnosis_checks')}**", "  \n".join(lines)]
    return "\n\n".join(parts)


def _line(check: Check, texts: Texts) -> str:
    """Return a check's line of the list."""
    line = f"{MARKS[check.status]} {texts.title(check)}"
    seen = texts.sentences(check)["seen"]
    shown = check.status in (Status.FAILED, Status.UNKNOWN)
    return f"{line}: *{seen}*" if seen and shown else line


def _escaped(check: Check) -> Check:
    """Return a check whose words from outside mean nothing to markdown."""
    seen = escaped(check.seen)
    if reason := check.seen.get("reason"):
        seen["reason"] = reason
    return Check(check.name, check.status, check.cause, seen)


def escaped(words: Mapping[str, str]) -> dict[str, str]:
    """Return words from outside as they mean nothing to markdown."""
    return {key: _MARKDOWN.sub(r"\\\1", word) for key, word in words.items()}
