"""A walk that fails says by which command it is walked again."""

from pathlib import Path
import subprocess
import sys

import pytest

REPOSITORY = Path(__file__).parents[1]
WALK = """
def test_it_goes(journey):
    assert (journey.seed, list(journey.steps())) == (7, [0, 1, 2])
    assert list(journey.steps(2)) == [0]

def test_it_ends(journey):
    for number in journey.steps():
        assert number < 1
"""


@pytest.mark.long
@pytest.mark.parametrize("processes", ["0", "2"])
def test_the_command_line_says_which_walk_and_how_far(
    tmp_path: Path, processes: str
) -> None:
    """In one process and in several; the error says where it ended."""
    (tmp_path / "test_walks.py").write_text(WALK)
    done = subprocess.run(
        [
            *(sys.executable, "-m", "pytest", "-n", processes, "-p", "tests.conftest"),
            *("-c", "pyproject.toml", "-p", "no:cacheprovider", "--no-header"),
            *("--seed", "7", "--steps", "3", tmp_path / "test_walks.py"),
        ],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
    )
    assert "1 failed, 1 passed" in done.stdout, done.stdout + done.stderr
    assert "test_it_ends' --seed 7 --steps 2" in done.stdout
