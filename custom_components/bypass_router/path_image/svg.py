"""The picture of a forward's path: a value goes in, the text of an SVG comes out.

It goes down rather than across, so that it can be read on a phone. Each text has lines
of its own: however wide a viewer's font is, none runs into another.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import Final
from xml.sax.saxutils import escape, quoteattr

from .look import (
    CARD,
    CARD_EDGE,
    COLOURS,
    DASHES,
    EDGE,
    GROUND,
    ICONS,
    INK,
    NEXT,
    SHADES,
    SIGNS,
    SOFT,
    TEXT,
    Role,
    State,
    fonts,
)
from .text_layout import wrapped


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
    """The state of the whole in the user's language: a word, or what is wrong."""
    nodes: tuple[Node, ...]
    segments: tuple[Segment, ...]
    """One less than there are nodes."""
    advice: str = ""
    """What to do, if there is anything to do."""
    language: str = "en"


@dataclass(frozen=True, slots=True)
class _Font:
    """A kind of text: its letters, its lines, and how many of them at the most."""

    size: float
    line: float
    most: int
    weight: int = 400


_TITLE: Final = _Font(21, 27, 2, 700)
_WORD: Final = _Font(15.5, 21, 12, 600)
_NAME: Final = _Font(16.5, 22, 1, 600)
_ADDRESS: Final = _Font(15, 21, 2)
_LABEL: Final = _Font(14.5, 20, 1)
_STATE: Final = _Font(14.5, 20, 1, 600)
_ADVICE: Final = _Font(14.5, 20.5, 16)

_WIDTH: Final = 400
_MARGIN: Final = 16
_INNER: Final = _WIDTH - 2 * _MARGIN
_AXIS: Final = _MARGIN + 38
# Where the text of a card begins, that beside a sign, and where all text ends.
_TEXT: Final = _MARGIN + 74
_BESIDE: Final = _MARGIN + 40
_RIGHT: Final = _WIDTH - _MARGIN - 14
_RADIUS: Final = 16


type _Piece = tuple[str, float]
"""A part of the picture, as drawn from its own top, and how high it is."""


def draw(model: PathModel) -> str:
    """Return the picture."""
    parts, top = [], 12.0
    for drawn, height in _pieces(model):
        parts.append(f'<g transform="translate(0 {top:g})">{drawn}</g>')
        top += height
    height = top + _MARGIN
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {_WIDTH} {height:g}"'
        f' width="{_WIDTH}" height="{height:g}" role="img"'
        f' xml:lang={quoteattr(model.language)} font-family="{fonts(model.language)}">'
        f"<title>{_clean(f'{model.title}: {model.word}')}</title>"
        f'<defs><linearGradient id="g" x2="0" y2="1"><stop stop-color="{GROUND[0]}"/>'
        f'<stop offset="1" stop-color="{GROUND[1]}"/></linearGradient>'
        # A font that is wider than any known one is cut off here.
        f'<clipPath id="c"><path d="M{_MARGIN - 1} 0h{_INNER + 2}v{height:g}'
        f'h-{_INNER + 2}z"/></clipPath></defs>'
        f'<rect x=".75" y=".75" width="{_WIDTH - 1.5}" height="{height - 1.5:g}"'
        f' rx="22" fill="url(#g)" stroke="{EDGE}" stroke-width="1.5"/>'
        f'<g clip-path="url(#c)">{"".join(parts)}</g></svg>'
    )


def _pieces(model: PathModel) -> Iterator[_Piece]:
    """Yield the picture from the top to the bottom."""
    yield _title(model.title)
    yield _headline(model)
    for node, segment in zip_longest(model.nodes, model.segments):
        yield _node(node)
        if segment:
            yield _segment(segment)
    if model.advice:
        yield _advice(model.advice)


def _title(title: str) -> _Piece:
    """Return the forward's name."""
    lines = _lines(title, _MARGIN + 6, _TITLE)
    return _texts(lines, _MARGIN + 6, 0, _TITLE), len(lines) * _TITLE.line + 8


def _headline(model: PathModel) -> _Piece:
    """Return how the whole stands."""
    lines = _lines(model.word, _BESIDE, _WORD)
    height = len(lines) * _WORD.line + 16
    drawn = (
        _box(height, SHADES[model.state])
        + _sign(model.state, _MARGIN + 21, height / 2 if len(lines) == 1 else 19)
        + _texts(lines, _BESIDE, 8, _WORD, COLOURS[model.state])
    )
    return drawn, height + 14


def _node(node: Node) -> _Piece:
    """Return a card with an icon, a name and an address; one at fault stands out."""
    names = _lines(node.name, _TEXT, _NAME)
    addresses = _lines(node.address, _TEXT, _ADDRESS)
    height = max(64, _NAME.line + len(addresses) * _ADDRESS.line + 20)
    middle = height / 2
    colour, failed = COLOURS[node.state], node.state is State.FAILED
    top = middle - (_NAME.line + len(addresses) * _ADDRESS.line) / 2
    drawn = (
        _box(height, SHADES[node.state], colour, 2.5)
        if failed
        else _box(height, CARD, CARD_EDGE)
    )
    drawn += (
        f'<circle cx="{_AXIS}" cy="{middle:g}" r="22" fill="{SHADES[node.state]}"'
        f' stroke="{colour}" stroke-width="1.5"/>'
        f'<path transform="translate({_AXIS} {middle:g})" d="{ICONS[node.role]}"'
        ' fill="none" stroke="#fff" stroke-width="1.8" stroke-linecap="round"'
        ' stroke-linejoin="round"/>'
        + _sign(node.state, _AXIS + 17, middle + 16, 0.8)
        + _texts(names, _TEXT, top, _NAME)
        + _texts(addresses, _TEXT, top + _NAME.line, _ADDRESS, SOFT)
    )
    return drawn, height


def _segment(segment: Segment) -> _Piece:
    """Return an arrow with a sign on it, what passes there, and how that went."""
    colour, height = COLOURS[segment.state], _LABEL.line + _STATE.line + 18
    middle, end, dashes = height / 2, height - 6, DASHES[segment.state]
    dashed = f' stroke-dasharray="{dashes}"' if dashes else ""
    failed, shade = segment.state is State.FAILED, SHADES[segment.state]
    ground = f'<g transform="translate(0 4)">{_box(height - 8, shade)}</g>'
    drawn = (
        f"{ground if failed else ''}"
        f'<g fill="none" stroke="{colour}" stroke-width="3" stroke-linecap="round"'
        f' stroke-linejoin="round"><path d="M{_AXIS} 5V{end:g}"{dashed}/>'
        f'<path d="M{_AXIS - 6} {end - 6:g}l6 6 6-6"/></g>'
        f'<circle cx="{_AXIS}" cy="{middle - 2:g}" r="12.5"'
        f' fill="{shade if failed else GROUND[0]}"/>'
        + _sign(segment.state, _AXIS, middle - 2)
        + _texts(_lines(segment.label, _TEXT, _LABEL), _TEXT, 9, _LABEL, SOFT)
        + _texts(
            _lines(segment.word, _TEXT, _STATE),
            _TEXT,
            9 + _LABEL.line,
            _STATE,
            colour,
        )
    )
    return drawn, height


def _advice(advice: str) -> _Piece:
    """Return what to do."""
    lines = _lines(advice, _BESIDE, _ADVICE)
    height = len(lines) * _ADVICE.line + 20
    drawn = (
        _box(height, CARD, CARD_EDGE)
        + _disc(NEXT, TEXT, _MARGIN + 21, 20)
        + _texts(lines, _BESIDE, 10, _ADVICE)
    )
    return f'<g transform="translate(0 14)">{drawn}</g>', height + 14


def _box(height: float, fill: str, edge: str = "none", width: float = 1) -> str:
    """Return a frame from one margin to the other."""
    return (
        f'<rect x="{_MARGIN}" y="0" width="{_INNER}" height="{height:g}"'
        f' rx="{_RADIUS}" fill="{fill}" stroke="{edge}" stroke-width="{width}"/>'
    )


def _sign(state: State, x: float, y: float, scale: float = 1) -> str:
    """Return a disc with a tick, a cross, a dash or dots."""
    return _disc(SIGNS[state], COLOURS[state], x, y, scale)


def _disc(sign: str, colour: str, x: float, y: float, scale: float = 1) -> str:
    """Return a disc with a sign on it."""
    return (
        f'<g transform="translate({x:g} {y:g}) scale({scale:g})"><circle r="9.5"'
        f' fill="{colour}"/><path d="{sign}" fill="none" stroke="{INK}"'
        ' stroke-width="2.4" stroke-linecap="round" stroke-linejoin="round"/></g>'
    )


def _lines(text: str, left: float, font: _Font) -> list[str]:
    """Return a text in the lines that it takes from here to the right."""
    return wrapped(text, _RIGHT - left, font.size, font.most)


def _texts(
    lines: Sequence[str], x: float, top: float, font: _Font, colour: str = TEXT
) -> str:
    """Return lines of text."""
    # Letters have more above the line that they stand on than below.
    first = top + font.line / 2 + font.size * 0.35
    return "".join(
        f'<text x="{x:g}" y="{first + number * font.line:g}" font-size="{font.size}"'
        f' font-weight="{font.weight}" fill="{colour}">{_clean(line)}</text>'
        for number, line in enumerate(lines)
    )


def _clean(text: str) -> str:
    """Return text that means nothing to XML, and has nothing that can't be seen."""
    return escape("".join(c if c.isprintable() else " " for c in text))
