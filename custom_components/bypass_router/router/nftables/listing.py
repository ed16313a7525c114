"""What `nft list` prints, as values: chains and their rules, sets and their elements.

Only the frame is understood: which table and chain a rule stands in, its handle and
its comment. What a rule does stays text.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from functools import lru_cache
import re
from typing import override

_BLOCK = re.compile(
    r"(.*) \{(?: #(?: handle [0-9]+)?(?: progname (.+?))?(?: handle [0-9]+)?)?"
)
_END = re.compile(r"\}(?: # handle ([0-9]+))?")
_HANDLE = re.compile(r"(.*?)(?: # handle ([0-9]+))?", re.DOTALL)
_COMMENT = re.compile(r'(?:^| )comment "([^"]*)"$')
_OPEN = re.compile(r'\b(?:comment|prefix|[io]ifname) "[^"]*$')
# No rule has so long a comment: it is broken then.
_LONGEST = 4096
_BASE = re.compile(
    r"type (\S+) hook (\S+) (?:devices? .*? )?"
    r"priority ([^; ]+(?: [+-] [0-9]+)?);(?: policy (\w+);)?"
)
_PRIORITY = re.compile(r"(-?[0-9]{1,10}|[a-z]+)(?: ([+-]) ([0-9]{1,10}))?")
_NAMED = {"raw": -300, "mangle": -150, "dstnat": -100, "srcnat": 100}
# Names that need no quotes; those of all others are left out.
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_./-]{0,127}")
_ELEMENTS = "elements = {"
# Between elements, and not within a comment.
_SEPARATOR = re.compile(r'((?:[^",]|"[^"]*")+)')


@dataclass(frozen=True, slots=True)
class NftRule:
    """A rule, or a whole block of them that stands in a rule's place."""

    text: str
    """Without handle and comment."""
    handle: int
    """0 where none was printed."""
    comment: str = ""


@dataclass(frozen=True, slots=True)
class Base:
    """Where the kernel enters a chain."""

    type: str
    hook: str
    priority: str
    policy: str

    @property
    def number(self) -> int | None:
        """The priority as a number, the lowest first; None for what is none."""
        if not (found := _PRIORITY.fullmatch(self.priority)):
            return None
        name, sign, more = found.groups()
        number = _NAMED.get(name, 0) if name.isalpha() else int(name)
        return number + int(f"{sign}{more}" if sign else 0)


@dataclass(frozen=True, slots=True)
class NftChain:
    """A chain, with its rules in order."""

    family: str
    table: str
    name: str
    base: Base | None = None
    rules: tuple[NftRule, ...] = ()

    @override
    def __str__(self) -> str:
        """Return how commands name it."""
        return f"{self.family} {self.table} {self.name}"


@dataclass(frozen=True, slots=True)
class NftTable:
    """A table; `sets` are its sets and maps, with their elements as text."""

    family: str
    name: str
    chains: tuple[NftChain, ...] = ()
    sets: dict[str, tuple[str, ...]] = field(default_factory=dict, hash=False)
    flags: frozenset[str] = frozenset()
    program: str = ""
    """Which owns it, where one does: no other may change anything in it."""


@lru_cache(4)
def read_tables(text: str) -> tuple[NftTable, ...]:
    """Return the tables of a listing; what makes no sense is left out."""
    return tuple(_tables(_lines(text)))


def _lines(text: str) -> Iterator[str]:
    """Yield the lines without their indentation, remarks and empty ones.

    A comment may have line breaks in it, which end no line.
    """
    parts: list[str] = []
    size = 0
    for part in text.split("\n"):
        _, quote, rest = part.partition('"') if parts else ("", '"', part)
        parts.append(part)
        size += len(part)
        if (not quote or _OPEN.search(rest)) and size < _LONGEST:
            continue
        line = " ".join(parts).strip()
        parts.clear()
        size = 0
        if line and not line.startswith("#"):
            yield line
    # What is never closed was broken off.
    yield from (line for part in parts if (line := part.strip()))


def _tables(lines: Iterator[str]) -> Iterator[NftTable]:
    """Yield each table."""
    for line in lines:
        block = _BLOCK.fullmatch(line)
        match block[1].split() if block else []:
            case ["table", family, name]:
                pass
            case _:
                continue
        chains: list[NftChain] = []
        sets: dict[str, tuple[str, ...]] = {}
        flags = frozenset[str]()
        for kind, label, body in _blocks(lines):
            if kind == "chain" and _NAME.fullmatch(label) and _NAME.fullmatch(name):
                chains.append(_chain(family, name, label, body))
            elif kind in ("set", "map"):
                sets[label] = tuple(_elements(body))
            elif kind == "flags":
                flags = frozenset(label.split(","))
        program = (block[2] or "") if block else ""
        yield NftTable(family, name, tuple(chains), sets, flags, program)


def _blocks(lines: Iterator[str]) -> Iterator[tuple[str, str, list[str]]]:
    """Yield the blocks of a table: their kind, name and lines; and its flags."""
    for line in lines:
        if _END.fullmatch(line):
            return
        if block := _BLOCK.fullmatch(line):
            kind, _, name = block[1].rpartition(" ")
            yield kind, name, list(_body(lines))
        elif line.startswith("flags "):
            yield "flags", line.removeprefix("flags ").rstrip(";"), []


def _body(lines: Iterator[str]) -> Iterator[str]:
    """Yield the lines of a block; one within it becomes one line, with semicolons."""
    for line in lines:
        if _END.fullmatch(line):
            return
        if (block := _BLOCK.fullmatch(line)) and not line.startswith(_ELEMENTS):
            yield _in_one_line(block[1], _body_and_end(lines))
        else:
            yield line


def _in_one_line(start: str, lines: Iterable[str]) -> str:
    """Return a block as one line, its rules with semicolons between them."""
    parts = [f"{start} {{"]
    for line in lines:
        if not (_END.fullmatch(line) or parts[-1].endswith("{")):
            parts[-1] += ";"
        parts.append(line)
    return " ".join(parts)


def _body_and_end(lines: Iterator[str]) -> Iterator[str]:
    """Yield the lines of a block within a block, to its end."""
    depth = 1
    for line in lines:
        yield line
        if _END.fullmatch(line):
            depth -= 1
        elif _BLOCK.fullmatch(line):
            depth += 1
        if not depth:
            return


def _chain(family: str, table: str, name: str, body: list[str]) -> NftChain:
    """Return a chain of what stands between its braces."""
    base: Base | None = None
    rules: list[NftRule] = []
    for line in body:
        if found := _BASE.fullmatch(line):
            base = Base(found[1], found[2], found[3], found[4] or "accept")
        elif not line.startswith(("comment ", "policy ")):
            rules.append(_rule(line))
    return NftChain(family, table, name, base, tuple(rules))


def _rule(line: str) -> NftRule:
    """Return a rule of its line."""
    found = _HANDLE.fullmatch(line)
    text, handle = (found[1], found[2]) if found else (line, None)
    comment = _COMMENT.search(text)
    if comment:
        text = text[: comment.start()]
    return NftRule(text.strip(), int(handle or 0), comment[1] if comment else "")


def _elements(body: list[str]) -> Iterator[str]:
    """Yield the elements of a set or map, each with what belongs to it."""
    text = " ".join(body)
    _, found, rest = text.partition(_ELEMENTS)
    if found:
        for element in _SEPARATOR.findall(rest.rpartition("}")[0]):
            yield " ".join(element.split())
