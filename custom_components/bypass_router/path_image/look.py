"""How things look in the picture: colours, lines, signs and icons.

It brings its own ground, for a page does not tell an image whether it is light or
dark. Each text stands out from what is beneath it by 4.5 to 1, and each sign and line
of the path by 3 to 1. Each state is a colour and a sign, and on the way also a kind of
line and a word: no one has to tell red from green.
"""

from enum import StrEnum
from typing import Final


class State(StrEnum):
    """How something stands; the word for it comes with the scene."""

    OK = "ok"
    FAILED = "failed"
    UNKNOWN = "unknown"
    PENDING = "pending"
    """Nothing is wrong, and something is yet to be seen."""


class Role(StrEnum):
    """Who stands on the path."""

    CLIENT = "client"
    MAIN = "main_router"
    BYPASS = "bypass_router"
    TARGET = "target"


GROUND: Final = ("#1d2a3b", "#141d2a")
"""From the top to the bottom."""
EDGE: Final = "#34465c"
CARD: Final = "#263548"
CARD_EDGE: Final = "#3a4d65"
TEXT: Final = "#f6f9fc"
SOFT: Final = "#c3d0df"
INK: Final = "#121b27"
"""Of a sign on its disc."""

COLOURS: Final = {
    State.OK: "#3ddc97",
    State.FAILED: "#ff8a93",
    State.UNKNOWN: "#b4c2d3",
    State.PENDING: "#7cc4ff",
}
# The same, dimmed, for what lies beneath a sign, an icon or a text.
SHADES: Final = {
    State.OK: "#174a3c",
    State.FAILED: "#532530",
    State.UNKNOWN: "#334255",
    State.PENDING: "#1d4468",
}
DASHES: Final = {
    State.OK: "",
    State.FAILED: "5 5",
    State.UNKNOWN: "0.1 7",
    State.PENDING: "0.1 7",
}
# Each within 20 by 20, its middle at 0 0.
SIGNS: Final = {
    State.OK: "M-4.2 .3-1.3 3.2 4.4-2.9",
    State.FAILED: "M-3.4-3.4 3.4 3.4M3.4-3.4-3.4 3.4",
    State.UNKNOWN: "M-3.8 0H3.8",
    State.PENDING: "M-4.3 0H-4.2M-.1 0H.1M4.2 0H4.3",
}
# What to do: an arrow that leads on.
NEXT: Final = "M-4.4 0H4M.6-3.6 4.2 0 .6 3.6"
# Each within 24 by 24, its middle at 0 0.
ICONS: Final = {
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

# Chinese and Japanese draw the same letters differently.
_OF_LANGUAGE: Final = {
    "ja": "'Hiragino Sans','Yu Gothic UI',Meiryo,'Noto Sans CJK JP','Noto Sans JP'",
    "zh": "'PingFang SC','Microsoft YaHei','Noto Sans CJK SC','Noto Sans SC'",
}


def fonts(language: str) -> str:
    """Return the fonts to choose from."""
    others = _OF_LANGUAGE.get(language.partition("-")[0], "")
    named = "system-ui,-apple-system,'Segoe UI',Roboto,'Noto Sans'"
    return ",".join(part for part in (named, others, "sans-serif") if part)
