"""What CONTRIBUTING tells a developer to type is there, and does something."""

from pathlib import Path
import re
import shlex
import subprocess
import sys

import pytest

ROOT = Path(__file__).parents[1]
TEXT = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
COMMANDS = [
    # Of a table's first column, and of a block's lines, without their comments.
    *re.findall(r"^\| `([^`]+)` \|", TEXT, re.MULTILINE),
    *(
        line.partition("  #")[0].strip()
        for block in re.findall(r"```sh\n(.*?)```", TEXT, re.DOTALL)
        for line in block.splitlines()
    ),
]
OWN = {"--fast", "--oldest", "--newest-asyncssh"}
OF_TESTS = [it for it in COMMANDS if it.startswith("scripts/test ")]
IN_THE_LAB = [it for it in COMMANDS if "tests.lab" in it]


def test_there_is_something_to_try() -> None:
    """Or nothing below says anything."""
    assert len(COMMANDS) >= 10
    assert len(OF_TESTS) >= 4
    assert len(IN_THE_LAB) >= 2


@pytest.mark.parametrize("command", COMMANDS)
def test_each_program_is_there(command: str) -> None:
    """By the path that is written."""
    program, *arguments = shlex.split(command)
    assert program == ".venv/bin/python" or (ROOT / program).stat().st_mode & 0o100
    for path in arguments:
        assert (ROOT / path).exists() or "/" not in path


@pytest.mark.long
@pytest.mark.parametrize("command", OF_TESTS)
def test_each_example_finds_a_test(command: str) -> None:
    """What is no word of `scripts/test` itself goes to pytest."""
    words = [it for it in shlex.split(command)[1:] if it not in OWN]
    script = (ROOT / "scripts/test").read_text(encoding="utf-8")
    assert all(it in script for it in shlex.split(command) if it not in words)
    if not words:
        return
    found = subprocess.run(
        [sys.executable, "-m", "pytest", "--collect-only", "-q", *words],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert found.returncode == 0, found.stdout + found.stderr


@pytest.mark.lab
@pytest.mark.parametrize("command", IN_THE_LAB)
def test_each_example_of_the_lab_builds_one(command: str) -> None:
    """And ends with what reads its input."""
    words = [sys.executable, *shlex.split(command)[1:]]
    done = subprocess.run(
        words, cwd=ROOT, input="\n", capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
