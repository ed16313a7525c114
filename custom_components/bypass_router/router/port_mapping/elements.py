"""The elements of XML, be it well-formed or not.

What gateways say in XML is flat, and much of it is not well-formed: tags that don't
match, control characters, bytes in no encoding. So no tree is made of it: each start
of an element is taken with the text that follows. `html.parser` reads it, which
forgives all that, and knows no entities but characters: none expands, none is a file.
"""

from dataclasses import dataclass
from html.parser import HTMLParser
import re
from typing import Final, override

_CDATA: Final = "CDATA["
_CONTROLS: Final = re.compile(r"[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]")


@dataclass(frozen=True, slots=True)
class Element:
    """The beginning of one."""

    name: str
    """Without its prefix, in lower case."""
    text: str
    """Up to the next tag, without the white space around it."""


class _Reader(HTMLParser):
    """Takes notes of what it is fed."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[str, list[str]]] = []
        self._inside = False

    @override
    def handle_starttag(self, tag: str, attrs: object) -> None:
        self.found.append((tag.rpartition(":")[2], []))
        self._inside = True

    @override
    def handle_endtag(self, tag: str) -> None:
        self._inside = False

    @override
    def handle_data(self, data: str) -> None:
        if self._inside:
            self.found[-1][1].append(data)

    @override
    def unknown_decl(self, data: str) -> None:
        if data.startswith(_CDATA):
            self.handle_data(data.removeprefix(_CDATA))


def elements(text: str) -> list[Element]:
    """Return the elements, in their order; it never raises."""
    reader = _Reader()
    try:
        reader.feed(_CONTROLS.sub("", text))
        reader.close()
    except AssertionError, ValueError:
        # What came before it counts: the parser says so of some broken declarations.
        pass
    return [Element(name, "".join(parts).strip()) for name, parts in reader.found]


def texts(text: str) -> dict[str, str]:
    """Return the text of the first element of each name."""
    found: dict[str, str] = {}
    for element in elements(text):
        found.setdefault(element.name, element.text)
    return found
