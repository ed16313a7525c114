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
from ..router.doctor.report import Cause, Check, Diagnosis, Status, Step
from ..router.rules.obstacles import Obstacle

MARKS: Mapping[Status, str] = {
    Status.OK: "✓",
    Status.FAILED: "✗",
    Status.UNKNOWN: "–",
    Status.SKIPPED: "–",
}
# In minutes.
_HOUR = 60
# A sentence, up to its stop in any language.
_FIRST = re.compile(r".+?(?:\.(?= |$)|。)")
# Of what was seen, the names of sentences.
_KEYS = ("reason", "error")
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
        if reason := check.seen.get("reason"):
            return self._of_reason(reason, check.seen)
        return {"seen": self._of_visitor(check.seen), "means": "", "do": ""}

    def _of_reason(self, reason: str, seen: Mapping[str, str]) -> dict[str, str]:
        """Return the sentence of a reason, and what more there is to say of it."""
        words = {"source": self.get("diagnosis_somebody"), **seen}
        return {
            part: self.get(f"reason_{reason}{key}", **words)
            for part, key in (("seen", ""), ("means", "_means"), ("do", "_do"))
        }

    def _of_visitor(self, seen: Mapping[str, str]) -> str:
        """Return who came, or how long that is ago."""
        if "ago" not in seen:
            return self.get("diagnosis_visitor", **seen) if "source" in seen else ""
        minutes = int(seen["ago"]) // 60
        if minutes < _HOUR:
            return self.get("diagnosis_minutes_ago", number=str(max(minutes, 1)))
        return self.get("diagnosis_hours_ago", number=str(minutes // _HOUR))

    def obstacle(self, obstacle: Obstacle, *, markdown: bool = False) -> str:
        """Return what is in a forward's way, what it means, and what to do."""
        return self.fault(Cause(obstacle.kind.value), obstacle.seen, markdown=markdown)

    def fault(
        self, cause: Cause, seen: Mapping[str, str], *, markdown: bool = False
    ) -> str:
        """Return what is wrong, what it means, and what to do."""
        words = escaped(seen) if markdown else seen
        said = " ".join(self._of_cause(cause, words).values())
        # After such a stop there is no space.
        return said.replace("。 ", "。")

    def _of_cause(self, cause: Cause, seen: Mapping[str, str]) -> dict[str, str]:
        """Return the three sentences of a cause."""
        # Not every router can tell a visitor's address.
        words = {"source": self.get("diagnosis_somebody"), **seen}
        said = {
            part: self.get(f"cause_{cause}_{part}", **words)
            for part in ("seen", "means", "do")
        }
        if error := seen.get("error"):
            said["seen"] = self.what_failed(error, **words)
        return said

    def what_failed(self, key: str, **words: str) -> str:
        """Return of an error's text the first sentence, which says what failed."""
        sentence = _FIRST.match(self._sentences.get(key, ""))
        return sentence[0].format_map(_Words(words)) if sentence else ""


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
        "healthy": diagnosis.healthy,
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
    parts = [] if failed else [f"**{texts.get(_headline(diagnosis))}**"]
    # Where nothing is wrong, there may be something to say of what is not known.
    for check in failed[:1] or diagnosis.checks[-2:]:
        said = texts.sentences(_escaped(check))
        if said["means"] and said["do"]:
            parts += [
                f"**{said['seen']}**" if failed else said["seen"],
                f"**{texts.get('diagnosis_what_it_means')}**: {said['means']}",
                f"**{texts.get('diagnosis_what_to_do')}**: {said['do']}",
            ]
            break
    lines = [_line(_escaped(check), texts) for check in diagnosis.checks]
    parts += [f"**{texts.get('diagnosis_checks')}**", "  \n".join(lines)]
    return "\n\n".join(parts)


def _headline(diagnosis: Diagnosis) -> str:
    """Return the key of what is said of a forward of which nothing is wrong."""
    if diagnosis.healthy:
        return "diagnosis_healthy"
    through = [it.status for it in diagnosis.checks if it.name is Step.THROUGH]
    return "diagnosis_at_home" if through == [Status.OK] else "diagnosis_not_known"


def _line(check: Check, texts: Texts) -> str:
    """Return a check's line of the list."""
    line = f"{MARKS[check.status]} {texts.title(check)}"
    seen = texts.sentences(check)["seen"]
    shown = check.status is not Status.SKIPPED
    return f"{line}: *{seen}*" if seen and shown else line


def _escaped(check: Check) -> Check:
    """Return a check whose words from outside mean nothing to markdown."""
    seen = escaped(check.seen)
    seen |= {key: check.seen[key] for key in _KEYS if key in check.seen}
    return Check(check.name, check.status, check.cause, seen)


def escaped(words: Mapping[str, str]) -> dict[str, str]:
    """Return words from outside as they mean nothing to markdown."""
    return {key: _MARKDOWN.sub(r"\\\1", word) for key, word in words.items()}
