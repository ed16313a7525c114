"""The READMEs, and what of their Markdown the tests look at."""

from collections.abc import Iterator
from functools import cache
from pathlib import Path
import re
from typing import Any, Final

from homeassistant.util.yaml import parse_yaml

ROOT: Final = Path(__file__).parents[1]
READMES: Final = {
    "en": "README.md",
    "ja": "README.ja.md",
    "zh-Hans": "README.zh-Hans.md",
}
"""The READMEs, by their languages."""
GUIDES: Final = {
    "en": "docs/main-router.md",
    "ja": "docs/main-router.ja.md",
    "zh-Hans": "docs/main-router.zh-Hans.md",
}
"""The pages about the main router, which the READMEs lead to."""

_BLOCK: Final = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_HEADING: Final = re.compile(r"^#+ (.*)$", re.MULTILINE)
# Whatever else begins a line is part of a paragraph, or goes on with the line before.
_MARK: Final = re.compile(r"^(#+ |\||- |  - |\d\. |```\w*|!\[)", re.MULTILINE)


@cache
def read(name: str) -> str:
    """Return the text of a file, by its path from the repository's root."""
    return (ROOT / name).read_text(encoding="utf-8")


def blocks(text: str, language: str) -> list[str]:
    """Return a text's blocks of code in a language; an empty one for drawings."""
    return [code for found, code in _BLOCK.findall(text) if found == language]


def yaml_blocks(text: str) -> list[dict[str, Any]]:
    """Return what the blocks of YAML say."""
    found = [parse_yaml(code) for code in blocks(text, "yaml")]
    assert all(isinstance(block, dict) for block in found)
    return [block for block in found if isinstance(block, dict)]


def prose(text: str) -> str:
    """Return a text without its blocks of code."""
    return _BLOCK.sub("```", text)


def sections(text: str) -> list[str]:
    """Return the parts of a text below its headings; the first is its beginning."""
    return re.split(r"^#+ .*$", prose(text), flags=re.MULTILINE)


def marks(text: str) -> list[str]:
    """Return how the lines begin that are a list's, a table's or a picture's."""
    return [re.sub(r"\d", "1", mark) for mark in _MARK.findall(text)]


def anchors(text: str) -> Iterator[str]:
    """Yield what a link to each heading is called, as GitHub makes it."""
    for heading in _HEADING.findall(prose(text)):
        yield re.sub(r"[^\w\- ]", "", heading.replace("`", "").lower()).replace(
            " ", "-"
        )


def links(text: str) -> list[str]:
    """Return where links and pictures lead."""
    return re.findall(r"\]\(([^)\s]+)\)", prose(text))


def bold(text: str) -> list[str]:
    """Return what is called by its name, such as a menu; not what is a sentence."""
    found = (
        " ".join(words.split())
        for words in re.findall(r"\*\*(.+?)\*\*", prose(text), re.DOTALL)
    )
    return [words for words in found if words[-1] not in ".?。？"]


def codes(text: str) -> set[str]:
    """Return what is set as code within sentences: names, and what is to be typed."""
    found = re.findall(r"`([^`]+)`", prose(text).replace("```", ""))
    return {" ".join(words.split()) for words in found}


def first_column(section: str) -> list[str]:
    """Return the first cells of a section's first table, without its head."""
    table = section[section.index("\n|") :].strip().split("\n\n")[0]
    return [line.split("|")[1].strip() for line in table.splitlines()[2:]]
