"""What was measured, what it is compared with, and whether that meets its aim."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import count
import statistics
import textwrap
import time
from typing import Any, Final

_MILLISECONDS: Final = 1000
_GAP: Final = "  "
_NOTE_WIDTH: Final = 100


class MeasurementFailed(Exception):
    """Something could not be measured; the message is one plain sentence."""


@dataclass(frozen=True)
class Sample:
    """Several measurements of one thing: seconds, unless the unit says otherwise."""

    values: Sequence[float]
    unit: str = "s"

    @property
    def median(self) -> float:
        """The one in the middle."""
        return statistics.median(self.values)

    @property
    def p90(self) -> float:
        """What nine of ten do not exceed."""
        ordered = sorted(self.values)
        return ordered[max(0, round(0.9 * len(ordered)) - 1)]

    @property
    def text(self) -> str:
        """Median and p90 for people, or the one number if all are the same."""
        if self.unit == "s":
            return f"{milliseconds(self.median)} [{milliseconds(self.p90)}] ms"
        spread = "" if self.median == self.p90 else f" [{self.p90:g}]"
        return f"{self.median:g}{spread} {self.unit}".strip()

    @property
    def stored(self) -> dict[str, Any]:
        """The same for a program; times are in milliseconds."""
        scale = _MILLISECONDS if self.unit == "s" else 1
        return {
            "median": round(self.median * scale, 3),
            "p90": round(self.p90 * scale, 3),
            "unit": "ms" if self.unit == "s" else self.unit,
            "samples": len(self.values),
        }


class Lists(dict[str, list[float]]):
    """Measurements by what was measured, in the order of their first appearance."""

    def add(self, name: str, value: float) -> None:
        """Add one."""
        self.setdefault(name, []).append(value)

    def samples(self) -> dict[str, Sample]:
        """Return them all."""
        return {name: Sample(values) for name, values in self.items()}


@dataclass(frozen=True)
class Row:
    """A line of the table."""

    name: str
    """Of the measurement, as `--only` takes it."""
    variant: str
    what: str
    measured: Sample
    figure: str
    """The number that the aim is about, for people."""
    value: float
    """The same number: a ratio, seconds or a count."""
    aim: str
    met: bool | None
    """None where there is no aim."""
    against: str = ""
    """What it is compared with, if with anything."""
    compared: Sample | None = None
    parts: dict[str, Sample] = field(default_factory=dict)
    """Where the time went, or what else was seen."""

    @property
    def cells(self) -> list[str]:
        """The line's texts."""
        compared = f"{self.compared.text} {self.against}" if self.compared else ""
        met = "" if self.met is None else "yes" if self.met else "NO"
        return [
            self.what,
            self.variant,
            self.measured.text,
            compared,
            self.figure,
            self.aim,
            met,
        ]

    @property
    def stored(self) -> dict[str, Any]:
        """The line for a program."""
        compared = self.compared and {"what": self.against, **self.compared.stored}
        return {
            "name": self.name,
            "variant": self.variant,
            "what": self.what,
            "measured": self.measured.stored,
            "compared_with": compared,
            "figure": self.figure,
            "value": self.value,
            "aim": self.aim,
            "met": self.met,
            "parts": {name: part.stored for name, part in self.parts.items()},
        }


def milliseconds(seconds: float) -> str:
    """Return a time with as many digits as say something."""
    value = seconds * _MILLISECONDS
    return f"{value:.1f}" if abs(value) < 100 else f"{value:.0f}"


def ratio(measured: Sample, compared: Sample) -> float:
    """Return how many times as long it takes."""
    return measured.median / compared.median


def table(rows: Iterable[Row], *, markdown: bool = False) -> Iterator[str]:
    """Return the lines of the table."""
    head = ["what", "rules by", "median [p90]", "compared with", "", "aim", "met"]
    cells = [head, *(row.cells for row in rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    for line in (cells[0], ["-" * width for width in widths], *cells[1:]):
        padded = [text.ljust(width) for text, width in zip(line, widths, strict=True)]
        yield f"| {' | '.join(padded)} |" if markdown else _GAP.join(padded).rstrip()


def details(rows: Iterable[Row]) -> Iterator[str]:
    """Return where the time went, line by line."""
    for row in rows:
        if row.parts:
            parts = "; ".join(f"{name} {part.text}" for name, part in row.parts.items())
            yield from textwrap.wrap(
                f"{row.what}, {row.variant}: {parts}",
                _NOTE_WIDTH,
                subsequent_indent="    ",
                break_on_hyphens=False,
            )


def rounds(
    most: int, seconds: float, clock: Callable[[], float] = time.monotonic
) -> Iterator[int]:
    """Count rounds, as many as asked for unless they take too long; never one alone.

    Where a single round is asked for, there is one.
    """
    began = clock()
    for number in count():
        if number >= most or (number > 1 and clock() - began > seconds):
            return
        yield number
