"""How much of a text there is room for, where no one knows the letters' true widths."""

from collections.abc import Iterator
from typing import Final
from unicodedata import east_asian_width

# A stop or a comma does not begin a line.
_NO_BEGINNING: Final = "。、，；：）」』”！？ー"


def width_of(text: str, size: float) -> float:
    """Return about how wide a text is; no two devices have the same letters."""
    wide = sum(1.0 if east_asian_width(c) in "WF" else _em(c) for c in text)
    return wide * size


def _em(letter: str) -> float:
    """Return about how wide a letter is that is not wide."""
    if letter in " .,:;'|!-ijlIt()[]/":
        return 0.34
    return 0.74 if letter.isupper() or letter in "mw@%—…→" else 0.58


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
        if width_of(f"{lines[-1]}{word}".rstrip(), size) > room and lines[-1]:
            lines.append("")
        lines[-1] = f"{lines[-1]}{word}".lstrip()
    if len(lines) > most:
        lines = [*lines[: most - 1], " ".join(lines[most - 1 :])]
    return [fitted(line.rstrip(), room, size) for line in lines if line.strip()]


def _words(text: str) -> Iterator[str]:
    """Yield what must stay on one line."""
    word = ""
    for letter in text:
        if word and letter not in _NO_BEGINNING and _breaks(word[-1], letter):
            yield word
            word = ""
        word += letter
    if word:
        yield word


def _breaks(before: str, after: str) -> bool:
    """Return whether a line may end between two letters."""
    return before.isspace() or any(
        east_asian_width(letter) in "WF" for letter in (before, after)
    )
