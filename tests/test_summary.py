"""What tests note is printed after all of them, as tables."""

import os
from pathlib import Path
import subprocess
import sys
from typing import Final

ROOT: Final = Path(__file__).parents[1]
_LAYOUT: Final = """
import warnings

warnings.warn("what this imports is old", DeprecationWarning)

def lines_of(rows):
    for first, second in rows:
        yield f"{first} and {second}"
"""
_TESTS: Final = """
import sys
import warnings

from tests.summary import note

def test_that_notes(note):
    with warnings.catch_warnings(action="ignore"):
        from layout import lines_of
    note("A table", lines_of)("one", "another")
    # As in the process that prints it, where no test has run.
    del sys.modules["layout"]
"""


def test_a_table_is_printed_though_its_layout_imports_what_warns(
    tmp_path: Path,
) -> None:
    """Where a warning is an error to tests, it is none to what is printed of them."""
    (tmp_path / "layout.py").write_text(_LAYOUT)
    (tmp_path / "test_noting.py").write_text(_TESTS)
    alone = {"PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1", "PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [
            *(sys.executable, "-m", "pytest", "--noconftest", "-c", os.devnull),
            *("-W", "error", "-p", "tests.summary", f"--rootdir={tmp_path}"),
            str(tmp_path / "test_noting.py"),
        ],
        env={**os.environ, **alone},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "one and another" in done.stdout
