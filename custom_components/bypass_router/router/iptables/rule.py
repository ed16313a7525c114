"""A rule of iptables as text, and what two texts of one rule have in common.

Versions and variants of iptables print one rule differently: in the order of
its options, with `/32` behind a host or not, with or without `-m tcp`. Rules
are therefore compared by what they say.
"""

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
_ADDRESSES = frozenset({"-s", "-d", "--ctorigdst"})
# How many values these take, whatever the values look like.
_FIXED = {"--comment": 1, "-c": 2}
# What other options tell already. Others count: a bare `-m socket` is a condition.
_IMPLIED = frozenset(("-m", name) for name in ("tcp", "udp", "comment", "conntrack"))
# What iptables-restore does not take, or has lost on the way here.
_UNWRITABLE = re.compile("[\\n\\0\ufffd]")
_LONGEST = 1000
# Those of five thousand forwards, two times.
_KEPT = 32768
_SHORT = frozenset({"!", "-s", "-d", "-i", "-o", "-p", "-m", "-j", "-g", "-f", "-c"})

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
        """Whether the text makes iptables-restore find this rule, and do no more.

        Whoever may change the firewall can give a rule any text. What comes out
        of a comment must not be taken for an option of the command.
        """
        return _is_writable(self.tokens)

    @override
    def __str__(self) -> str:
        """Return the text as iptables-restore takes it, without counters."""
        return _text(self.tokens)


# What was parsed is kept: a router prints the same rules at each look.
@lru_cache(_KEPT)
def _parsed(text: str) -> tuple[tuple[str, ...], frozenset[Option]]:
    """Return a rule's words, and what they say."""
    words = tuple(_words(text))
    options = frozenset(
        _normal(option)
        for option in _options(words)
        if option[0] != "-c" and option not in _IMPLIED
    )
    return words, options


@lru_cache(_KEPT)
def _is_writable(words: tuple[str, ...]) -> bool:
    """Return whether iptables-restore finds the rule of these words, and no more."""
    return not any(
        len(word) > _LONGEST or _UNWRITABLE.search(word) for word in words
    ) and all(map(_is_of_rules, (option[0] for option in _options(words))))


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


def _is_of_rules(name: str) -> bool:
    """Return whether an option belongs to a rule.

    `--modprobe`, which may be abbreviated, would run a program.
    """
    if name.startswith("--"):
        return not "--modprobe".startswith(name.partition("=")[0])
    return name in _SHORT


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
