"""Tables that tests fill, printed after all tests, whichever process ran them.

A cell travels with the report of its test: where tests run in several processes, none
of these prints a summary.
"""

from collections.abc import Callable, Iterator
from typing import Final

import pytest

type Note = Callable[[str, str, str], None]
"""Takes the row, the column, and what is to stand there."""

_PROPERTY: Final = "cell of a table"
type _Table = dict[str, dict[str, str]]


class Summary:
    """A plugin of pytest: all tables, by their titles."""

    def __init__(self) -> None:
        """Begin without any."""
        self._tables: dict[str, _Table] = {}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Take the cells out of a test's report."""
        if report.when != "call":
            return
        for name, value in report.user_properties:
            if name == _PROPERTY:
                title, row, column, cell = map(str, value)  # type: ignore[call-overload]
                self._tables.setdefault(title, {}).setdefault(row, {})[column] = cell

    def pytest_terminal_summary(
        self, terminalreporter: pytest.TerminalReporter
    ) -> None:
        """Print them."""
        for title, table in self._tables.items():
            terminalreporter.section(title)
            for line in lines_of(table):
                terminalreporter.write_line(line)


def lines_of(table: _Table) -> Iterator[str]:
    """Yield a table's lines; what is not there is a dash."""
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
def note(request: pytest.FixtureRequest) -> Callable[[str], Note]:
    """Give what takes the cells of the table with a title."""

    def titled(title: str) -> Note:
        def take(row: str, column: str, cell: str) -> None:
            properties = request.node.user_properties
            properties.append((_PROPERTY, [title, row, column, cell]))

        return take

    return titled
