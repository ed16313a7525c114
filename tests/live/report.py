"""What the demo prints: steps, what was seen in each, and how long it took."""

from collections.abc import Iterator
from contextlib import contextmanager
import io
import os
import sys
import textwrap
import time
from typing import Final, TextIO

_GREEN: Final = "32"
_RED: Final = "31"
_BOLD: Final = "1"
_FAINT: Final = "2"
_WIDTH: Final = 100


class Report:
    """Writes to a stream, in colours if that is a terminal."""

    def __init__(self, stream: TextIO | None = None) -> None:
        """Begin to count the time."""
        self._stream = stream or sys.stdout
        self._colours = self._stream.isatty() and "NO_COLOR" not in os.environ
        if isinstance(self._stream, io.TextIOWrapper):
            # What the terminal can't draw is no reason to fail.
            self._stream.reconfigure(errors="replace")
        self._began = time.perf_counter()
        self._steps = 0

    @contextmanager
    def step(self, title: str) -> Iterator[None]:
        """Print a step's title before it, and its time after it."""
        self._steps += 1
        began = time.perf_counter()
        self._print("")
        self._print(self._in(_BOLD, f"{self._steps}. {title}"))
        yield
        self._print(self._in(_FAINT, f"   {time.perf_counter() - began:.2f} s"))

    def say(self, text: str) -> None:
        """Print something to know."""
        self._print(textwrap.indent(text, "   "))

    def code(self, text: str) -> None:
        """Print a line as a router has it, in several lines if it is long."""
        self._print(
            textwrap.fill(
                text,
                _WIDTH,
                initial_indent="     ",
                subsequent_indent="         ",
                break_long_words=False,
                break_on_hyphens=False,
            )
        )

    def good(self, text: str) -> None:
        """Print what is as it was promised."""
        self._print(f"   {self._in(_GREEN, '✓')} {text}")

    def fail(self, text: str) -> None:
        """Print what is not, where errors go."""
        print(f"   {self._in(_RED, '✗')} {text}", file=sys.stderr, flush=True)

    def end(self, text: str) -> None:
        """Print the last line, with the time of all."""
        seconds = time.perf_counter() - self._began
        self._print("")
        self._print(self._in(_BOLD, f"{text} {seconds:.1f} s in all."))

    def _in(self, colour: str, text: str) -> str:
        return f"\x1b[{colour}m{text}\x1b[0m" if self._colours else text

    def _print(self, text: str) -> None:
        # At once, also into a pipe: whoever reads along sees each step begin.
        print(text, file=self._stream, flush=True)
