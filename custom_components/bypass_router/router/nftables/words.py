"""The words of a rule as nft prints it, taken one after the other."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
import re
from typing import Self

_WORD = re.compile(r'"[^"]*"?|[{}(),;|]|[^\s{}(),;"|]+')
MASKS = frozenset({"&", "|", "^", "<<", ">>", "and", "or", "xor"})
_COMPARISONS = frozenset({"==", "!=", "!", "<", ">", "<=", ">="})
_CLOSED_BY = {"{": "}", "(": ")"}


@dataclass(frozen=True, slots=True)
class Comparison:
    """What something is compared with."""

    items: tuple[str, ...] = ()
    """Values and ranges, any of which may be it; none where that is not told."""
    operator: str = "=="
    is_set: bool = False
    """Whether the items stood in braces."""
    bits: tuple[str, tuple[str, ...]] | None = None
    """A mask, and what is left by it is compared with, where that is told."""

    @property
    def negated(self) -> bool:
        """Return whether it is to be none of the items."""
        return self.operator in ("!=", "!")


class Words:
    """Words from one place to another."""

    def __init__(self, words: Sequence[str], start: int, end: int) -> None:
        """Begin at the start."""
        self._words = words
        self._at = start
        self._end = end

    @classmethod
    def of(cls, text: str) -> Self:
        """Return the words of a text."""
        words = _WORD.findall(text)
        return cls(words, 0, len(words))

    def __bool__(self) -> bool:
        """Return whether any is left."""
        return self._at < self._end

    @property
    def next(self) -> str:
        """The next word; nothing at the end."""
        return self._words[self._at] if self else ""

    def take(self, count: int = 1) -> str:
        """Go on behind so many words, and return the last of them."""
        self._at = min(self._at + count, self._end)
        return self._words[self._at - 1] if self._at else ""

    def took(self, *words: str) -> bool:
        """Go on behind these words, if they come next."""
        after = self._at + len(words)
        if after > self._end or tuple(self._words[self._at : after]) != words:
            return False
        self._at = after
        return True

    def took_any(self, words: frozenset[str]) -> bool:
        """Go on behind the next word, if it is one of these."""
        if self.next not in words:
            return False
        self._at += 1
        return True

    def group(self) -> Self:
        """Return what stands in the brackets that open here, and go on behind them."""
        opens = self.take()
        closes = _CLOSED_BY[opens]
        start, depth = self._at, 1
        while self and depth:
            word = self.take()
            depth += (word == opens) - (word == closes)
        return type(self)(self._words, start, self._at - (not depth))

    def skip(self) -> None:
        """Go on behind the next word, or all that stands in its brackets."""
        if self.next in _CLOSED_BY:
            self.group()
        else:
            self.take()

    def parts(self, separator: str) -> Iterator[Self]:
        """Yield what stands between separators that are in no brackets."""
        start = self._at
        while self:
            if self.next == separator:
                yield type(self)(self._words, start, self._at)
                start = self._at + 1
            self.skip()
        if start < self._end:
            yield type(self)(self._words, start, self._end)

    def rest(self) -> list[str]:
        """Return all that are left."""
        return list(self._words[self._at : self._end])

    def masked_for(self, word: str) -> bool:
        """Go on behind a mask, if this word comes next then."""
        at = self._at
        while self.took_any(MASKS):
            self.skip()
        if at < self._at and self.next == word:
            return True
        self._at = at
        return False

    def comparison(self) -> Comparison:
        """Take what comes behind something that is compared."""
        masks: list[str] = []
        while self.next in MASKS:
            masks.append(self.take())
            masks.append(self.next)
            self.skip()
        masked = bool(masks)
        operator = self.take() if self.next in _COMPARISONS else "=="
        is_set = self.next == "{"
        if is_set:
            items = ["".join(part.rest()) for part in self.group().parts(",")]
        else:
            items = list(self._items())
        if self.took("/"):
            # Flags, and of which of them it is said.
            masked = True
            list(self._items())
        if masked or not items or not all(items) or items[0].startswith("@"):
            bits = None
            if masks[:-1] == ["&"] and all(items):
                bits = masks[-1], tuple(items)
            return Comparison((), operator, bits=bits)
        return Comparison(tuple(items), operator, is_set)

    def _items(self) -> Iterator[str]:
        """Take a value, or several without braces."""
        yield self._item()
        while self.took(",") or self.took("|"):
            yield self._item()

    def _item(self) -> str:
        """Take a value, or a range."""
        item = self.take() if self else ""
        if self.took("-") and self:
            item += f"-{self.take()}"
        return item
