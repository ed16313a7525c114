"""What the tests run with: the newest that users have, and the oldest that may be."""

import json
from pathlib import Path
import subprocess
import sys

from packaging.requirements import Requirement
import pytest

from .plugin import MOVED, PLUGIN

ROOT = Path(__file__).parents[1]
MANIFEST = ROOT / "custom_components/bypass_router/manifest.json"


def pinned(name: str) -> dict[str, str]:
    """Return the version of each package that a file of requirements has."""
    lines = (ROOT / "scripts" / name).read_text().splitlines()
    return dict(line.split("==") for line in lines)


def test_tests_run_with_what_is_required() -> None:
    """The oldest asyncssh that the manifest admits, and one that it admits."""
    (required,) = json.loads(MANIFEST.read_text())["requirements"]
    asyncssh = Requirement(required)
    bounds = {part.operator: part.version for part in asyncssh.specifier}
    # It keeps without bound what a router says faster than it is read.
    assert bounds.pop("!=") == "2.24.1"
    assert bounds.keys() == {">=", "<"}
    # The next major version may be anything.
    assert int(bounds["<"]) == int(bounds[">="].partition(".")[0]) + 1
    assert pinned("requirements-oldest.txt")[asyncssh.name] == bounds[">="]
    assert pinned("requirements.txt")[asyncssh.name] in asyncssh.specifier


@pytest.mark.long
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
