"""The picture of a forward's path: a value goes in, the text of an SVG comes out.

It brings its own ground, for a page does not tell an image whether it is light or
dark, and it goes down rather than across, so that it can be read on a phone. Each state
is a colour, a sign, a kind of line and a word: no one has to tell red from green.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum
from itertools import pairwise
from typing import Final
from xml.sax.saxutils import escape, quoteattr

from .text_layout import fitted, width_of, wrapped


class State(StrEnum):
    """How something stands; the word for it comes with the scene."""

    OK = "ok"
    FAILED = "failed"
    UNKNOWN = "unknown"


class Role(StrEnum):
    """Who stands on the path."""

    CLIENT = "client"
    MAIN = "main_router"
    BYPASS = "bypass_router"
    TARGET = "target"


@dataclass(frozen=True, slots=True)
class Node:
    """Someone on the path."""

    role: Role
    name: str
    address: str
    state: State


@dataclass(frozen=True, slots=True)
class Segment:
    """The way from one node to the next."""

    label: str
    state: State
    word: str
    """The state in the user's language."""


@dataclass(frozen=True, slots=True)
class PathModel:
    """All that is to be drawn."""

    title: str
    state: State
    word: str
    """The state of the whole in the user's language."""
    nodes: tuple[Node, ...]
    segments: tuple[Segment, ...]
    """One less than there are nodes."""
    remark: str = ""
    """What is wrong, in one sentence, if anything is."""
    language: str = "en"
    """Chinese and Japanese draw the same letters differently."""


_WIDTH: Final = 400
_EDGE: Final = 16
_HEADER: Final = 70
_TITLE_SIZE: Final = 21
_CARD: Final = 64
_GAP: Final = 54
_LINE: Final = 21
_AXIS: Final = _EDGE + 38
_TEXT: Final = _EDGE + 74
_RIGHT: Final = _WIDTH - _EDGE - 18
_REMARK_SIZE: Final = 14.5
_REMARK_LINES: Final = 5

_COLOURS: Final = {
    State.OK: "#3ddc97",
    State.FAILED: "#ff7a85",
    State.UNKNOWN: "#a3b3c6",
}
# The same, dimmed, for what lies beneath a sign or an icon.
_SHADES: Final = {
    State.OK: "#174a3c",
    State.FAILED: "#5a2731",
    State.UNKNOWN: "#37475b",
}
_DASHES: Final = {State.OK: "", State.FAILED: "5 5", State.UNKNOWN: "0.1 7"}
# Each within 20 by 20, its middle at 0 0.
_SIGNS: Final = {
    State.OK: "M-4.2 .3-1.3 3.2 4.4-2.9",
    State.FAILED: "M-3.4-3.4 3.4 3.4M3.4-3.4-3.4 3.4",
    State.UNKNOWN: "M-3.8 0H3.8",
}
# Each within 24 by 24, its middle at 0 0.
_ICONS: Final = {
    Role.CLIENT: (
        "M-9 0A9 9 0 1 0 9 0 9 9 0 1 0-9 0M-9 0H9M0-9C-5.2-4-5.2 4 0 9 5.2 4 5.2-4 0-9"
    ),
    Role.MAIN: (
        "M-7.5 1.5H7.5Q9.5 1.5 9.5 3.5V6Q9.5 8 7.5 8H-7.5Q-9.5 8-9.5 6V3.5"
        "Q-9.5 1.5-7.5 1.5ZM-5.5 4.75H-5.4M-1.8 4.75H-1.7M6 1.5V-3"
        "M3-5.6A4.2 4.2 0 0 1 9-5.6M.8-8.2A7.4 7.4 0 0 1 11.2-8.2"
    ),
    Role.BYPASS: (
        "M-10-4.5H-6.5C-1.5-4.5-2.5 5 2.5 5H9.5M6.2 1.7 9.5 5 6.2 8.3"
        "M-10 5H-6.5C-4.9 5-4 4.1-3.2 2.9M-.6-2.4C.1-3.6 1-4.5 2.5-4.5H9.5"
        "M6.2-7.8 9.5-4.5 6.2-1.2"
    ),
    Role.TARGET: (
        "M-7.5-8H7.5Q9.5-8 9.5-6V2.5Q9.5 4.5 7.5 4.5H-7.5Q-9.5 4.5-9.5 2.5V-6"
        "Q-9.5-8-7.5-8ZM0 4.5V8.5M-4.5 8.5H4.5"
    ),
}
_FONTS: Final = (
    "system-ui,-apple-system,'Segoe UI',Roboto,'Noto Sans','Hiragino Sans',"
    "'PingFang SC','Noto Sans CJK JP',sans-serif"
)


def draw(model: PathModel) -> str:
    """Return the picture."""
    remark = wrapped(model.remark, _WIDTH - 2 * _EDGE - 36, _REMARK_SIZE, _REMARK_LINES)
    header = _HEADER if _title_fits(model) else 2 * _HEADER - 32
    height = header + len(model.nodes) * (_CARD + _GAP) - _GAP + _EDGE
    if remark:
        height += len(remark) * _LINE + 28
    return "".join(_parts(model, remark, header, height))


def _parts(
    model: PathModel, remark: list[str], header: int, height: int
) -> Iterator[str]:
    """Yield the picture bit by bit."""
    yield (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height}"'
        f' width="{_WIDTH}" height="{height}" role="img"'
        f' xml:lang={quoteattr(model.language)} font-family="{_FONTS}">'
        f"<title>{_clean(f'{model.title}: {model.word}')}</title>"
        '<defs><linearGradient id="g" x2="0" y2="1"><stop stop-color="#1d2a3b"/>'
        '<stop offset="1" stop-color="#141d2a"/></linearGradient></defs>'
        f'<rect x=".75" y=".75" width="{_WIDTH - 1.5}" height="{height - 1.5}" rx="22"'
        ' fill="url(#g)" stroke="#34465c" stroke-width="1.5"/>'
    )
    yield from _header(model)
    tops = [header + number * (_CARD + _GAP) for number in range(len(model.nodes))]
    for segment, (above, below) in zip(model.segments, pairwise(tops), strict=True):
        yield from _segment(segment, above + _CARD, below)
    for node, top in zip(model.nodes, tops, strict=True):
        yield from _node(node, top)
    if remark:
        yield from _remark(remark, tops[-1] + _CARD + 14, model.state)
    yield "</svg>"


def _header(model: PathModel) -> Iterator[str]:
    """Yield the forward's name, and how it stands."""
    colour, width = _COLOURS[model.state], _pill(model)
    room, left, top = _WIDTH - 2 * _EDGE - 12, _WIDTH - _EDGE - width, 20
    if not _title_fits(model):
        left, top = _EDGE, 60
    yield _text(model.title, _EDGE + 6, 44, _TITLE_SIZE, room, weight=700)
    yield (
        f'<rect x="{left:g}" y="{top}" width="{width:g}" height="34" rx="17"'
        f' fill="{_SHADES[model.state]}"/>'
    )
    yield _sign(model.state, left + 19, top + 17)
    yield _text(
        model.word, left + 34, top + 22.2, 14.5, width, weight=600, colour=colour
    )


def _pill(model: PathModel) -> float:
    """Return how wide the word for the whole is, with what is around it."""
    return width_of(model.word, 14.5) + 48


def _title_fits(model: PathModel) -> bool:
    """Return whether the name leaves room for that word beside it."""
    room = _WIDTH - 2 * _EDGE - 18 - _pill(model)
    return width_of(model.title, _TITLE_SIZE) <= room


def _node(node: Node, top: int) -> Iterator[str]:
    """Yield a card with an icon, a name and an address."""
    middle = top + _CARD / 2
    yield (
        f'<rect x="{_EDGE}" y="{top}" width="{_WIDTH - 2 * _EDGE}" height="{_CARD}"'
        ' rx="16" fill="#263548" stroke="#3a4d65"/>'
        f'<circle cx="{_AXIS}" cy="{middle:g}" r="22" fill="{_SHADES[node.state]}"'
        f' stroke="{_COLOURS[node.state]}" stroke-width="1.5"/>'
        f'<path transform="translate({_AXIS} {middle:g})" d="{_ICONS[node.role]}"'
        ' fill="none" stroke="#fff" stroke-width="1.8" stroke-linecap="round"'
        ' stroke-linejoin="round"/>'
    )
    room = _RIGHT - _TEXT
    yield _text(node.name, _TEXT, middle - 4, 16.5, room, weight=600)
    yield _text(node.address, _TEXT, middle + 18, 15, room, colour="#c3d0df")


def _segment(segment: Segment, top: int, bottom: int) -> Iterator[str]:
    """Yield an arrow with a sign on it, and what passes there."""
    colour, middle = _COLOURS[segment.state], (top + bottom) / 2
    dashes = _DASHES[segment.state]
    dashed = f' stroke-dasharray="{dashes}"' if dashes else ""
    yield (
        f'<g fill="none" stroke="{colour}" stroke-width="3" stroke-linecap="round"'
        f' stroke-linejoin="round"><path d="M{_AXIS} {top + 4}V{bottom - 6}"{dashed}/>'
        f'<path d="M{_AXIS - 6} {bottom - 10}l6 6 6-6"/></g>'
        f'<circle cx="{_AXIS}" cy="{middle - 3:g}" r="13" fill="#192433"/>'
    )
    yield _sign(segment.state, _AXIS, middle - 3)
    room = width_of(segment.word, 14.5)
    yield _text(
        segment.label,
        _TEXT,
        middle + 3,
        14.5,
        _RIGHT - _TEXT - room - 12,
        colour="#c3d0df",
    )
    yield _text(
        segment.word,
        _RIGHT - room,
        middle + 3,
        14.5,
        room + 1,
        weight=600,
        colour=colour,
    )


def _remark(lines: list[str], top: int, state: State) -> Iterator[str]:
    """Yield what is wrong, or what to do."""
    height = len(lines) * _LINE + 18
    yield (
        f'<rect x="{_EDGE}" y="{top}" width="{_WIDTH - 2 * _EDGE}" height="{height}"'
        f' rx="16" fill="{_SHADES[state]}" fill-opacity=".55"/>'
    )
    for number, line in enumerate(lines, 1):
        y = top + 3 + number * _LINE
        yield _text(line, _EDGE + 18, y, _REMARK_SIZE, _WIDTH, colour="#f1f5fa")


def _sign(state: State, x: float, y: float) -> str:
    """Return a disc with a tick, a cross or a dash."""
    return (
        f'<g transform="translate({x:g} {y:g})"><circle r="9.5" fill="'
        f'{_COLOURS[state]}"/><path d="{_SIGNS[state]}" fill="none" stroke="#121b27"'
        ' stroke-width="2.4" stroke-linecap="round" stroke-linejoin="round"/></g>'
    )


def _text(
    text: str,
    x: float,
    y: float,
    size: float,
    room: float,
    *,
    weight: int = 400,
    colour: str = "#f6f9fc",
) -> str:
    """Return a line of text, as much of it as fits."""
    return (
        f'<text x="{x:g}" y="{y:g}" font-size="{size}" font-weight="{weight}"'
        f' fill="{colour}">{_clean(fitted(text, room, size))}</text>'
    )


def _clean(text: str) -> str:
    """Return text that means nothing to XML, and has nothing that can't be seen."""
    return escape("".join(c if c.isprintable() else " " for c in text))
