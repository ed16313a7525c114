"""A rule of iptables as text, and what two texts of one rule have in common.

Versions and variants of iptables print one rule differently: in the order of
its options, with `/32` behind a host or not, with or without `-m tcp`. Rules
are therefore compared by what they say.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
import re
import shlex
from typing import Self, override

_SAFE = re.compile(r"[A-Za-z0-9_.,:/+=@!-]+")
_ADDRESSES = frozenset({"-s", "-d", "--ctorigdst"})
# How many values these take, whatever the values look like.
_FIXED = {"--comment": 1, "-c": 2}

type Option = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Rule:
    """What follows `-A CHAIN`; equal if it says the same."""

    tokens: tuple[str, ...] = field(compare=False)
    options: frozenset[Option]

    @classmethod
    def of(cls, text: str) -> Self:
        """Return the rule of this text. Raises ValueError for unbalanced quotes."""
        tokens = tuple(shlex.split(text))
        options = frozenset(
            _normal(option)
            for option in _options(tokens)
            if option[0] not in ("-m", "-c")
        )
        return cls(tokens, options)

    def value(self, option: str) -> str | None:
        """Return what follows the option, or None where it is absent or negated."""
        for name, *values in self.options:
            if name == option and values:
                return values[0]
        return None

    @override
    def __str__(self) -> str:
        """Return the text as iptables-restore takes it, without counters."""
        return " ".join(
            _quoted(token)
            for option in _options(self.tokens)
            if option[0] != "-c"
            for token in option
        )


def _options(tokens: tuple[str, ...]) -> Iterator[Option]:
    """Return each option with its values; a `!` goes with the option after it."""
    option: list[str] = []
    values = 0
    for token in tokens:
        if values:
            values -= 1
            option.append(token)
        elif option == ["!"]:
            option.append(token)
        elif token == "!" or token.startswith("-"):
            if option:
                yield tuple(option)
            option = [token]
            values = _FIXED.get(token, 0)
        else:
            option.append(token)
    if option:
        yield tuple(option)


def _normal(option: Option) -> Option:
    """Return an address option without the `/32` that some versions print."""
    if _ADDRESSES.isdisjoint(option):
        return option
    return tuple(part.removesuffix("/32") for part in option)


def _quoted(token: str) -> str:
    """Return a token as iptables-restore reads it back."""
    if _SAFE.fullmatch(token):
        return token
    return '"' + re.sub(r'(["\\])', r"\\\1", token) + '"'
