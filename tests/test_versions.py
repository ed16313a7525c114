"""What the tests run with: the newest that users have, and the oldest that may be."""

import subprocess
import sys

import pytest

from .plugin import MOVED, PLUGIN


@pytest.mark.parametrize(
    ("first", "complaint"),
    [
        ("", "httpx was already imported"),
        ("import homeassistant;", f"cannot import name '{MOVED}'"),
    ],
    ids=["the alias of httpx", "the name that moved"],
)
def test_the_test_plugin_still_needs_what_is_done_for_it(
    first: str, complaint: str
) -> None:
    """Without it, it can't be imported beside the newest Home Assistant."""
    done = subprocess.run(
        [sys.executable, "-c", f"{first} import {PLUGIN}.plugins"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert complaint in done.stderr, (
        "This can go: the part of tests/plugin.py that was needed for it, with it"
        " -p no:respx and override-dependencies in pyproject.toml. Importing said:"
        f" {done.stderr.strip()[-300:] or 'nothing'}"
    )
