"""Tables that tests fill, printed after all tests, whichever process ran them.

A line travels with the report of its test: where tests run in several processes, none
of these prints a summary.
"""

from collections.abc import Callable, Iterator, Sequence
from pkgutil import resolve_name
from typing import Final, Protocol
import warnings

import pytest

type Layout = Callable[[Sequence[Sequence[str]]], Iterator[str]]
"""Makes a table's lines of all that was noted; a function of a module."""

_PROPERTY: Final = "line of a table"


class Note(Protocol):
    """Takes what is to stand in a table."""

    def __call__(self, *fields: str) -> None:
        """Take one thing; what its fields are, the table's layout knows."""


class Summary:
    """A plugin of pytest: what was noted for all tables, by their titles."""

    def __init__(self) -> None:
        """Begin without any."""
        self._noted: dict[tuple[str, str], list[list[str]]] = {}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Take what was noted out of a test's report."""
        if report.when != "call":
            return
        for name, value in report.user_properties:
            if name == _PROPERTY:
                assert isinstance(value, list)
                title, layout, *fields = map(str, value)
                self._noted.setdefault((title, layout), []).append(fields)

    def pytest_terminal_summary(
        self, terminalreporter: pytest.TerminalReporter
    ) -> None:
        """Print the tables."""
        for (title, name), noted in self._noted.items():
            # Where the tests ran in other processes, all that it needs is imported
            # here; who is warned of that, was not asked for anything.
            with warnings.catch_warnings(action="ignore"):
                layout: Layout = resolve_name(name)
            terminalreporter.section(title)
            for line in layout(noted):
                terminalreporter.write_line(line)


def crosstab(noted: Sequence[Sequence[str]]) -> Iterator[str]:
    """Yield the lines of rows, columns and cells; what is not there is a dash."""
    table: dict[str, dict[str, str]] = {}
    for name, column, cell in noted:
        table.setdefault(name, {})[column] = cell
    columns = sorted({column for row in table.values() for column in row})
    rows = [["", *columns]]
    rows += [
        [name, *(row.get(it, "-") for it in columns)] for name, row in table.items()
    ]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        fields = (text.ljust(width) for text, width in zip(row, widths, strict=True))
        yield " | ".join(fields).rstrip()


def pytest_configure(config: pytest.Config) -> None:
    """Begin to listen."""
    config.pluginmanager.register(Summary())


@pytest.fixture
def note(request: pytest.FixtureRequest) -> Callable[[str, Layout], Note]:
    """Give what takes the fields of the table with a title and a layout."""

    def of_table(title: str, layout: Layout) -> Note:
        name = f"{layout.__module__}:{layout.__qualname__}"

        def take(*fields: str) -> None:
            noted = (_PROPERTY, [title, name, *fields])
            request.node.user_properties.append(noted)

        return take

    return of_table
