"""How much of a text there is room for, where no one knows the letters' true widths.

Each viewer has other fonts. A text is taken to be as wide as in the widest of those
that are usual, bold ones (Verdana, DejaVu Sans) and those with letters of one width: it
fits with any, and with most there is a little room left.
"""

from collections.abc import Iterator
from typing import Final
from unicodedata import category, east_asian_width, normalize

# A stop or a comma does not begin a line, and a bracket that opens does not end it.
_NO_BEGINNING: Final = "。、，；：）」』”！？ー…"
_NO_END: Final = "（「『“"

# Letters by their width in the widest bold fonts, in em.
_BY_WIDTH: Final = {
    " ijl|'/\\": 0.36,
    "ft.,:;-!": 0.48,
    "rIJ()[]": 0.56,
    'csz"_`': 0.6,
    "aekovxyL": 0.69,
    "mwMW%@": 1.13,
    "#&+<=>^~": 0.88,
}
_EMS: Final = {
    letter: width for letters, width in _BY_WIDTH.items() for letter in letters
}
_SMALL, _CAPITAL, _FULL, _PICTURE = 0.72, 0.86, 1.0, 1.4
# Of each letter, where all have one width.
_EVEN: Final = 0.61


def width_of(text: str, size: float) -> float:
    """Return how wide a text is in the fonts in which it is widest."""
    ems = [_em(letter) for letter in text]
    even = sum(em if em in (0, _FULL, _PICTURE) else _EVEN for em in ems)
    return max(sum(ems), even) * size


def _em(letter: str) -> float:
    """Return how wide a letter is at the most."""
    if letter in _EMS:
        return _EMS[letter]
    if letter.isascii():
        return _CAPITAL if letter.isupper() else _SMALL
    match category(letter):
        case "Mn" | "Me" | "Cf":
            # Stands over another one, or nowhere.
            return 0
        case "So":
            return _PICTURE
    base = normalize("NFD", letter)[0]
    if base.isascii():
        return _em(base)
    # Some others have two columns in Chinese and Japanese fonts alone.
    wide = east_asian_width(letter) in "WF" or not letter.isupper()
    return _FULL if wide else _PICTURE


def fitted(text: str, room: float, size: float) -> str:
    """Return as much of a text as there is room for."""
    if width_of(text, size) <= room:
        return text
    while text and width_of(f"{text}…", size) > room:
        text = text[:-1]
    return f"{text.rstrip()}…"


def wrapped(text: str, room: float, size: float, most: int) -> list[str]:
    """Return a text in lines: broken at spaces, or anywhere in wide letters."""
    lines = [""]
    for word in _words(text):
        for piece in _pieces(word, room, size):
            if width_of(f"{lines[-1]}{piece}".rstrip(), size) > room:
                lines.append("")
            lines[-1] = f"{lines[-1]}{piece}".lstrip()
    if len(lines) > most:
        lines = [*lines[: most - 1], "".join(lines[most - 1 :])]
    return [fitted(line.rstrip(), room, size) for line in lines if line.strip()]


def _words(text: str) -> Iterator[str]:
    """Yield what must stay on one line."""
    word = ""
    for letter in text:
        if word and _breaks(word[-1], letter):
            yield word
            word = ""
        word += letter
    if word:
        yield word


def _breaks(before: str, after: str) -> bool:
    """Return whether a line may end between two letters."""
    if after in _NO_BEGINNING or before in _NO_END:
        return False
    return before.isspace() or any(
        east_asian_width(letter) in "WF" for letter in (before, after)
    )


def _pieces(word: str, room: float, size: float) -> Iterator[str]:
    """Yield a word in as many pieces as it takes for each to fit on a line."""
    piece = ""
    for letter in word:
        if piece and width_of(f"{piece}{letter}".rstrip(), size) > room:
            yield piece
            piece = ""
        piece += letter
    yield piece
