"""What a test that failed says: the end of each log, and the rules on the router."""

from collections.abc import Generator
from typing import Final

import pytest

from tests.lab.witness import Witness

_LINES: Final = 40
"""Of each text; it is the end that tells."""


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Ask what the test was given, while that is still there."""
    report = yield
    if report.failed and call.when != "teardown":
        told: dict[str, str] = {}
        for given in getattr(item, "funcargs", {}).values():
            if isinstance(given, Witness):
                told.update(given.witness())
        for title, text in told.items():
            end = text.splitlines()[-_LINES:]
            report.sections.append((title, "\n".join(end)))
    return report
