"""Our texts, as a person reads them in one language."""

from functools import cache
import json
import re
from typing import Any, Final

from tests.live.instance import DOMAIN, REPOSITORY

_TRANSLATIONS: Final = REPOSITORY / "custom_components" / DOMAIN / "translations"
_MARKUP: Final = re.compile(r"[*`]")


class Words:
    """The texts of a language, by their keys."""

    def __init__(self, language: str) -> None:
        """Read them."""
        self._texts = _read(language)

    def part(self, key: str) -> dict[str, Any]:
        """Return the texts below a key such as `config.step.user`."""
        found = self._texts
        for name in key.split("."):
            found = found[name]
        return found

    def __call__(self, key: str, **words: str) -> str:
        """Return a text with its words put in; a text without a key is an error."""
        above, _, name = key.rpartition(".")
        text: str = self.part(above)[name]
        return text.format(**words)

    def message(self, key: str, **words: str) -> str:
        """Return a sentence that no form has."""
        return self(f"exceptions.{key}.message", **words)


@cache
def _read(language: str) -> dict[str, Any]:
    texts: dict[str, Any] = json.loads(
        (_TRANSLATIONS / f"{language}.json").read_text(encoding="utf-8")
    )
    return texts


def paragraphs(text: str) -> list[str]:
    """Return what is to be read of a text with Markdown, paragraph by paragraph."""
    return _MARKUP.sub("", text).split("\n\n")
