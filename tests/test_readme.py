"""The READMEs: what they name is there, by that name, in each language."""

from collections.abc import Iterator
from functools import cache
import json
from pathlib import Path
import re
from typing import Final

import homeassistant.components as core
import pytest

from custom_components.bypass_router.router.doctor.report import Cause

from .readmes import (
    GUIDES,
    READMES,
    ROOT,
    anchors,
    blocks,
    bold,
    codes,
    first_column,
    links,
    marks,
    prose,
    read,
    sections,
    yaml_blocks,
)
from .sentences import FOLDER, translations

PAGES: Final = (READMES, GUIDES)
DOCUMENTS: Final = (
    *(name for page in PAGES for name in page.values()),
    "CONTRIBUTING.md",
    "SECURITY.md",
)
OTHERS: Final = [language for language in READMES if language != "en"]
# What we are called, and what HACS says, which has no Japanese.
KNOWN: Final = {"Bypass Router", "Custom repositories", "自定义存储库", "Integration"}
# Those that people who have a bypass router have most often.
MAIN_ROUTERS: Final = (
    "OpenWrt",
    "FRITZ!Box",
    "ASUS",
    "TP-Link",
    "Xiaomi",
    "MikroTik",
    "iKuai",
)


def section_below(anchor: str, name: str = "README.md") -> int:
    """Return the number of a page's section that a link to it leads to."""
    return list(anchors(read(name))).index(anchor) + 1


ADD_FORWARD: Final = section_below("add-a-port-forward")
MAIN_ROUTER: Final = section_below("set-the-main-routers-half")
SPEED: Final = section_below("how-fast-it-is")
BY_ITSELF: Final = section_below("by-itself", GUIDES["en"])
FAULTS: Final = section_below("what-is-shown", GUIDES["en"])


def test_each_language_has_its_readme() -> None:
    """And each README is found from every other."""
    assert sorted(READMES) == sorted(path.stem for path in FOLDER.glob("*.json"))
    assert list(GUIDES) == list(READMES)
    for page in PAGES:
        for name in page.values():
            assert links(read(name))[: len(OTHERS)] == [
                Path(other).name for other in page.values() if other != name
            ]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page["en"])
@pytest.mark.parametrize("language", OTHERS)
def test_each_language_tells_the_same(page: dict[str, str], language: str) -> None:
    """Section by section: its lists, tables and pictures; the figures are English."""
    english, other = (sections(read(page[each])) for each in ("en", language))
    assert len(other) == len(english)
    for number, (here, there) in enumerate(zip(other, english, strict=True)):
        if number != SPEED:
            assert marks(here) == marks(there), here.strip()[:80]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page["en"])
@pytest.mark.parametrize("language", OTHERS)
def test_each_language_names_the_same(page: dict[str, str], language: str) -> None:
    """Section by section, what is to be typed, or is named as a program does."""
    english, other = (sections(read(page[each])) for each in ("en", language))
    for number, (here, there) in enumerate(zip(other, english, strict=True)):
        if number != SPEED:
            assert codes(here) == codes(there), here.strip()[:80]


@pytest.mark.parametrize("language", OTHERS)
def test_each_readme_has_the_same_code(language: str) -> None:
    """Whatever is copied; only what people call an automation is theirs."""
    english, other = read("README.md"), read(READMES[language])
    for kind in ("", "sh"):
        assert blocks(other, kind) == blocks(english, kind)
    same = [{**block, "alias": None} for block in yaml_blocks(other)]
    assert same == [{**block, "alias": None} for block in yaml_blocks(english)]


@pytest.mark.parametrize("language", OTHERS)
def test_each_readme_shows_the_pictures_of_its_language(language: str) -> None:
    """The same ones; those without words are all readers'."""
    english, shown = (
        [link for link in links(read(READMES[each])) if link.endswith(".png")]
        for each in ("en", language)
    )
    assert shown == [link.replace(".en.png", f".{language}.png") for link in english]


@pytest.mark.parametrize("document", DOCUMENTS)
def test_each_link_leads_somewhere(document: str) -> None:
    """To a file of ours, and to a heading in it."""
    for link in links(read(document)):
        name, _, anchor = link.partition("#")
        target = (ROOT / document).parent / name if name else ROOT / document
        target = target.resolve()
        assert target.is_file(), link
        path = target.relative_to(ROOT).as_posix()
        assert not anchor or anchor in anchors(read(path)), link


@pytest.mark.parametrize("document", DOCUMENTS)
def test_each_file_and_command_of_ours_is_there(document: str) -> None:
    """Also in commands to copy, and the tests that hold a promise."""
    text = read(document)
    paths = (
        r"(?:scripts|tests|docs|blueprints|custom_components|\.ci|\.github)/[\w./-]*\w"
    )
    for path in re.findall(rf"(?<![\w/]){paths}(?![\w*])", text):
        assert (ROOT / path).exists(), path
    modules = {path.name for path in ROOT.glob("custom_components/**/*.py")}
    modules |= {path.name for path in ROOT.glob("tests/**/*.py")}
    named = {path.rpartition("/")[2] for path in re.findall(r"[\w/]+\.py\b", text)}
    assert named <= modules


@pytest.mark.parametrize("document", DOCUMENTS)
def test_each_option_of_a_command_of_ours_is_known_to_it(document: str) -> None:
    """As its own first lines tell it."""
    for script, option in re.findall(r"(scripts/\w+) (--\w+)", read(document)):
        assert option in (ROOT / script).read_text(encoding="utf-8")


@pytest.mark.parametrize("language", READMES)
def test_the_fields_of_a_forward_are_called_as_in_the_form(language: str) -> None:
    """Each of them, in that order."""
    form = "config_subentries.forward.step.user.data."
    texts = translations(language).items()
    assert first_column(sections(read(READMES[language]))[ADD_FORWARD]) == [
        text for key, text in texts if key.startswith(form)
    ]


@pytest.mark.parametrize("language", READMES)
def test_the_page_of_each_common_main_router_is_told(language: str) -> None:
    """What it is called there, and where UPnP is allowed."""
    for section in (
        sections(read(READMES[language]))[MAIN_ROUTER],
        sections(read(GUIDES[language]))[BY_ITSELF],
    ):
        table = [
            line.strip("|").split("|")
            for line in section.splitlines()
            if line.startswith("|")
        ]
        for brand in MAIN_ROUTERS:
            (row,) = (row for row in table if brand in row[0])
            assert all(cell.strip() for cell in row)


@pytest.mark.parametrize("language", GUIDES)
def test_each_fault_of_the_main_router_is_told(language: str) -> None:
    """What it means, and what to do about it."""
    faults = sections(read(GUIDES[language]))[FAULTS]
    told = [cell.strip("`") for cell in first_column(faults)]
    assert sorted(told) == sorted(
        cause
        for cause in Cause
        if cause.startswith("main_") or cause == "no_public_address"
    )


@cache
def home_assistants(language: str) -> frozenset[str]:
    """Return all that Home Assistant itself says in a language, and in its triggers."""
    # Not installed beside the oldest Home Assistant.
    import hass_frontend  # noqa: PLC0415

    folder = hass_frontend.where() / "static/translations"
    files = [
        path
        for path in folder.rglob(f"{language}-*.json")
        if re.fullmatch(rf"{language}-[0-9a-f]{{32}}", path.stem)
    ]
    assert files
    triggers = Path(core.__file__).parent / "event/translations"
    files += [triggers / f"{each}.json" for each in {language, "en"}]
    return frozenset(
        text
        for path in files
        for text in _texts(json.loads(path.read_text(encoding="utf-8")))
    )


def _texts(node: object) -> Iterator[str]:
    if isinstance(node, dict):
        for child in node.values():
            yield from _texts(child)
    elif isinstance(node, str):
        yield node


# The frontend is among what a running Home Assistant needs.
@pytest.mark.live
@pytest.mark.parametrize("language", READMES)
def test_each_menu_and_field_is_called_as_it_is_shown(language: str) -> None:
    """In that language, by Home Assistant or by us."""
    known = KNOWN | home_assistants(language) | set(translations(language).values())
    named = [
        name
        for page in PAGES
        for words in bold(read(page[language]))
        for name in words.split(" → ")
    ]
    assert len(named) > 20
    assert set(named) <= known


@pytest.mark.parametrize("name", [name for page in PAGES for name in page.values()])
def test_a_readme_has_no_word_of_markdown_left(name: str) -> None:
    """Each mark that opens something is closed, or it would be shown as it stands."""
    for paragraph in prose(read(name)).split("\n\n"):
        assert paragraph.count("**") % 2 == 0, paragraph
        assert paragraph.count("`") % 2 == 0 or "```" in paragraph, paragraph
        # A sign beside the stars needs a space or a sign on their other side, or they
        # are no marks: CommonMark, 6.2.
        for found in re.finditer(r"(.?)\*\*(.+?)\*\*(.?)", paragraph, re.DOTALL):
            before, words, behind = found.groups()
            assert words[0].isalnum() or not before.isalnum(), words
            assert words[-1].isalnum() or not behind.isalnum(), words
