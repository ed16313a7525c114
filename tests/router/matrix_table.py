"""The table of all cells, for people: a row a router, a column a path and option."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import product
from typing import Final

from .matrix import GATEWAYS, OPTIONS, PATHS, PROTOCOLS, Cell, Column, Reason

PROMISES: Final = {
    "foreign": "nobody else's rule was changed",
    "truth": "after the firewall's reload, or after the proxy put itself first again,"
    " what is said to be live passes payload, and what is said not to be does not",
    "mended": "after that, the same again brings the traffic back",
    "removed": "without forwards, all rules read as before the first one",
}
_FAILED: Final = "FAILED"
_REASONS: Final = list(Reason)


@dataclass
class Row:
    """What became of one kind of router, with one firewall in use."""

    router: str
    firewall: str
    flaws: list[str] = field(default_factory=list)
    """What is wrong, in words."""
    _cells: dict[Column, dict[str, str]] = field(default_factory=dict)
    _promises: dict[str, str] = field(default_factory=dict)

    def tried(self, flaws: Mapping[Cell, str | None]) -> None:
        """Note what became of cells."""
        for cell, flaw in flaws.items():
            found = self._cells.setdefault(cell.column, {})
            if flaw:
                found[cell.protocol] = _FAILED
                self.flaws.append(f"{cell}: {flaw}")
            elif cell.impossible:
                found[cell.protocol] = _number(cell.impossible)
            else:
                found.setdefault(cell.protocol, "ok")

    def promise(self, name: str, broken: str, reason: Reason | None = None) -> None:
        """Note whether a promise was kept; `broken` is how it was not.

        With a reason, it can't be kept: if it is, the reason is none.
        """
        if reason and broken:
            said = _number(reason)
        elif reason or broken:
            said = _FAILED
            self.flaws.append(f"{name}: {broken or f'kept, in spite of: {reason}'}")
        else:
            said = "ok"
        if self._promises.get(name) != _FAILED:
            self._promises[name] = said

    def cells(self) -> Iterator[str]:
        """Yield the row's fields."""
        yield from (self.router, self.firewall)
        for column in product(GATEWAYS, PATHS, OPTIONS):
            found = self._cells.get(column, {})
            said = [found.get(protocol, "-") for protocol in PROTOCOLS]
            yield said[0] if len(set(said)) == 1 else "/".join(said)
        for name in PROMISES:
            yield self._promises.get(name, "-")


def _number(reason: Reason) -> str:
    """Return what stands for a reason."""
    return str(_REASONS.index(reason) + 1)


def lines_of(rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Yield the table's lines, of rows' cells in any order; and what they mean."""
    options = {option: option[:2] for option in OPTIONS}
    header = ["router", "firewall", *list(options.values()) * 4, *PROMISES]
    table = [header, *sorted(map(list, rows))]
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    groups = [f"{path}, {gateway}" for gateway, path in product(GATEWAYS, PATHS)]
    span = sum(widths[2 : 2 + len(options)]) + len(options) - 1
    start = widths[0] + widths[1] + 3
    yield " " * start + " | ".join(group.ljust(span) for group in groups)
    for fields in table:
        padded = [text.ljust(width) for text, width in zip(fields, widths, strict=True)]
        blocks = [padded[:2]]
        blocks += [padded[at : at + len(options)] for at in range(2, 22, len(options))]
        blocks.append(padded[22:])
        yield " | ".join(" ".join(block) for block in blocks).rstrip()
    yield ""
    yield "From the internet or the LAN; the target's gateway: one router or the other."
    yield "Each with payload both ways, over TCP/UDP where the two differ."
    letters = ", ".join(f"{letter}: {option}" for option, letter in options.items())
    yield f"{letters}."
    for name, meaning in PROMISES.items():
        yield f"{name}: {meaning}."
    for reason in _REASONS:
        yield f"{_number(reason)}: {reason}"
