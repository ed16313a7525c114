"""Make a skipped test a failure where CI=true: there, nothing may be left out."""

from collections.abc import Generator
import os

import pytest

type _Report = pytest.TestReport | pytest.CollectReport


def _refuse_skip[R: _Report](report: R) -> R:
    """Turn the report of a skip, but not of an expected failure, into a failure."""
    if (
        os.environ.get("CI") == "true"
        and report.skipped
        and not hasattr(report, "wasxfail")
    ):
        reason = report.longrepr[2] if isinstance(report.longrepr, tuple) else ""
        report.outcome = "failed"
        report.longrepr = f"{reason} (CI=true allows no skipped test)"
    return report


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_runtest_makereport() -> Generator[
    None, pytest.TestReport, pytest.TestReport
]:
    """Look at the report of each phase of a test."""
    return _refuse_skip((yield))


@pytest.hookimpl(wrapper=True, tryfirst=True)
def pytest_make_collect_report() -> Generator[
    None, pytest.CollectReport, pytest.CollectReport
]:
    """Look at the report of each module's collection."""
    return _refuse_skip((yield))
