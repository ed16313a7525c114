"""A rule of iptables as text, and what two texts of one rule have in common.

Versions and variants of iptables print one rule differently: in the order of
its options, with `/32` behind a host or not, with or without `-m tcp`. Rules
are therefore compared by what they say.
"""

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import lru_cache
import re
from typing import Self, override

_SAFE = re.compile(r"[A-Za-z0-9_.,:/+=@!-]+")
# iptables puts quotes around a whole value, never within one.
_WORD = re.compile(
    r'[ \t\n]*+(?:"([^"\\]*+(?:\\.[^"\\]*+)*+)"(?![^ \t\n])|([^" \t\n][^ \t\n]*+))',
    re.DOTALL,
)
_BREAK = re.compile(r'(?<= )"[^"\\]*+(?:\\.[^"\\]*+)*+"|\n', re.DOTALL)
_ADDRESSES = frozenset({"-s", "-d", "--ctorigdst", "--ctorigsrc", "--ctreplsrc"})
# How many values these take, whatever the values look like.
_FIXED = {"--comment": 1, "-c": 2}
# What other options tell already. Others count: a bare `-m socket` is a condition.
_IMPLIED = frozenset(("-m", name) for name in ("tcp", "udp", "comment", "conntrack"))
_IP = r"[0-9]{1,3}(?:\.[0-9]{1,3}){3}"
_PORT = "[0-9]{1,5}"
_MOMENT = "[0-9]{4}(?:-[0-9]{2}){2}T[0-9]{2}(?::[0-9]{2}){2}"
# What a forward's rules are made of. All else is written by no one here, so that none
# of it is ever written back: what runs a program least of all.
_SHAPES = {
    "-s": f"{_IP}(?:/[0-9]{{1,2}})?",
    "-d": f"{_IP}(?:/[0-9]{{1,2}})?",
    "-p": "tcp|udp",
    "-m": "tcp|udp|comment|conntrack|time",
    "--dport": f"{_PORT}(?::{_PORT})?",
    "--ctstate": "DNAT",
    "--ctproto": "6|17",
    "--ctdir": "ORIGINAL|REPLY",
    "--ctorigsrc": f"{_IP}(?:/[0-9]{{1,2}})?",
    "--ctorigdst": f"{_IP}(?:/32)?",
    "--ctreplsrc": f"{_IP}(?:/32)?",
    "--datestart": _MOMENT,
    "--datestop": _MOMENT,
    "--ctorigdstport": f"{_PORT}(?::{_PORT})?",
    "--ctreplsrcport": f"{_PORT}(?::{_PORT})?",
    # Letters that a router could not tell us are among what makes no sense.
    "--comment": r"(?![-!])[^\x00-\x1f\x7f-\x9f\u2028\u2029\ufffd]{1,255}",
    "-j": "ACCEPT|DNAT|DROP|MASQUERADE|REJECT|SNAT"
    "|HA-BYPASS-(?:PRE|POST|FWD|CUT|MANGLE)",
    "--reject-with": "tcp-reset",
    "--to-destination": f"{_IP}(?::{_PORT}(?:-{_PORT}(?:/{_PORT})?)?)?",
    "--to-source": _IP,
}
_WRITABLE = {name: re.compile(shape) for name, shape in _SHAPES.items()}
_INTERFACE = re.compile("[A-Za-z0-9_][A-Za-z0-9_.-]{0,14}")
_LONGEST = 1000
# Those of five thousand forwards, two times.
_KEPT = 32768

type Option = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Rule:
    """What follows `-A CHAIN`; equal if it says the same."""

    tokens: tuple[str, ...] = field(compare=False)
    options: frozenset[Option]

    @classmethod
    def of(cls, text: str) -> Self:
        """Return the rule of this text. Raises ValueError for unbalanced quotes."""
        read = _parsed if len(text) <= _LONGEST else _parsed.__wrapped__
        return cls(*read(text))

    def value(self, option: str) -> str | None:
        """Return what follows the option, or None where it is absent or negated."""
        return next(iter(self.values(option)), None)

    def values(self, option: str) -> list[str]:
        """Return what follows the option, for each time that it is given."""
        return sorted(
            values[0] for name, *values in self.options if name == option and values
        )

    @property
    def words(self) -> list[Option]:
        """The options in order, each with its values, without counters."""
        return [option for option in _options(self.tokens) if option[0] != "-c"]

    @property
    def writable(self) -> bool:
        """Whether it is made of what a forward's rules have, each as it can be there.

        Whoever may change the firewall can give a rule any text, and iptables prints
        names of interfaces and the like as they are: with blanks in it, one looks like
        options of the command. A rule that has any is named by no text.
        """
        return _is_writable(self.tokens, "")

    def writable_at(self, interface: str) -> bool:
        """Whether it is so but for this interface's name, which it may have."""
        return _is_writable(self.tokens, interface)

    @override
    def __str__(self) -> str:
        """Return the text as iptables-restore takes it, without counters."""
        return _text(self.tokens)


# What was parsed is kept: a router prints the same rules at each look.
@lru_cache(_KEPT)
def _parsed(text: str) -> tuple[tuple[str, ...], frozenset[Option]]:
    """Return a rule's words, and what they say."""
    words = tuple(_words(text))
    # What stands there twice is another rule, also where it says the same.
    counts = Counter(_normal(option) for option in _options(words) if option[0] != "-c")
    options = frozenset(
        option if count == 1 else (*option, f"{count} times")
        for option, count in counts.items()
        if count > 1 or option not in _IMPLIED
    )
    return words, options


@lru_cache(_KEPT)
def _is_writable(words: tuple[str, ...], interface: str) -> bool:
    """Return whether each of these options can be a forward's, and is there once."""
    options = list(_options(words))
    names = [option[0] for option in options if option[0] not in ("-m", "!")]
    return len(set(names)) == len(names) and all(
        _has_shape(option, interface) for option in options
    )


def _has_shape(option: Option, interface: str) -> bool:
    """Return whether an option can be one of a forward's rule."""
    match option:
        case ("!", "-s" | "--ctorigsrc", value):
            return bool(_WRITABLE["-s"].fullmatch(value))
        case ("-i" | "-o", value):
            return value == interface and bool(_INTERFACE.fullmatch(value))
        case (name, value) if name in _WRITABLE:
            return bool(_WRITABLE[name].fullmatch(value))
        case _:
            return False


@lru_cache(_KEPT)
def _text(words: tuple[str, ...]) -> str:
    """Return the text of these words, without counters."""
    return " ".join(
        _quoted(word)
        for option in _options(words)
        if option[0] != "-c"
        for word in option
    )


def listed(text: str) -> Iterator[str]:
    """Return the lines of a listing; a line break within quotes ends none."""
    start = 0
    for found in _BREAK.finditer(text):
        if found[0] == "\n":
            yield text[start : found.start()]
            start = found.end()
    yield text[start:]


def _words(text: str) -> Iterator[str]:
    """Return the words of a rule, as iptables-restore would take them."""
    text = text.rstrip(" \t\n")
    place = 0
    while place < len(text):
        if not (found := _WORD.match(text, place)):
            raise ValueError("unbalanced quotes")
        place = found.end()
        quoted, plain = found.groups()
        yield plain if quoted is None else re.sub(r"(?s)\\(.)", r"\1", quoted)


def _options(words: tuple[str, ...]) -> Iterator[Option]:
    """Return each option with its values; a `!` goes with the option after it."""
    option: list[str] = []
    values = 0
    for word in words:
        if values:
            values -= 1
            option.append(word)
        elif option == ["!"]:
            option.append(word)
            values = _FIXED.get(word, 0)
        elif word == "!" or word.startswith("-"):
            if option:
                yield tuple(option)
            option = [word]
            values = _FIXED.get(word, 0)
        else:
            option.append(word)
    if option:
        yield tuple(option)


def _normal(option: Option) -> Option:
    """Return an address option without the `/32` that some versions print."""
    if _ADDRESSES.isdisjoint(option):
        return option
    return tuple(part.removesuffix("/32") for part in option)


def _quoted(word: str) -> str:
    """Return a word as iptables-restore reads it back."""
    if _SAFE.fullmatch(word):
        return word
    return '"' + re.sub(r'(["\\])', r"\\\1", word) + '"'
