"""What `scripts/setup` does to a checkout, as far as nothing has to be fetched."""

from pathlib import Path
import shutil
import subprocess
import sys

import pytest

ROOT = Path(__file__).parents[1]
# A Python that is good enough, and makes no .venv.
_PYTHON = '#!/bin/sh\n[ "$1" != -m ]\n'


def new_checkout(folder: Path) -> Path:
    """Return a checkout with what set-up needs, and nothing of it done."""
    scripts = folder / "scripts"
    scripts.mkdir(parents=True)
    for name in ("setup", "requirements.txt"):
        shutil.copy(ROOT / "scripts" / name, scripts)
    return folder


def set_up(checkout: Path, *needs: str) -> subprocess.CompletedProcess[str]:
    """Run its set-up, which finds a Python that can do nothing for it."""
    programs = checkout / "programs"
    programs.mkdir(exist_ok=True)
    python = programs / "python3.14"
    python.write_text(_PYTHON)
    python.chmod(0o755)
    return subprocess.run(
        [checkout / "scripts/setup", *needs],
        env={"PATH": f"{programs}:/usr/bin:/bin"},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.fixture
def others(tmp_path: Path) -> Path:
    """A checkout of someone else, set up without a browser."""
    checkout = new_checkout(tmp_path / "others")
    programs = checkout / ".venv/bin"
    programs.mkdir(parents=True)
    (programs / "python").symlink_to(sys.executable)
    # As set-up itself marks it, but for what it fetches.
    script = (checkout / "scripts/setup").read_text()
    head, _ = script.split("if [[ $(cat")
    (checkout / "scripts/stamp").write_text(f'{head}echo "$wanted" >"$stamp"\n')
    subprocess.run(["bash", checkout / "scripts/stamp"], check=True)
    assert set_up(checkout).returncode == 0
    return checkout


def content(folder: Path) -> dict[str, bytes]:
    """Return what stands in a folder."""
    return {
        str(path): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and not path.is_symlink()
    }


def test_a_linked_venv_is_used_as_it_is(others: Path, tmp_path: Path) -> None:
    """Where it has what both want."""
    own = new_checkout(tmp_path / "own")
    (own / ".venv").symlink_to(others / ".venv")
    before = content(others)
    done = set_up(own)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert (own / ".venv").is_symlink()
    assert content(others) == before


def test_a_linked_venv_is_not_changed_for_its_other_checkout(
    others: Path, tmp_path: Path
) -> None:
    """One that wants something else gets its own, and is told."""
    own = new_checkout(tmp_path / "own")
    (own / ".venv").symlink_to(others / ".venv")
    with (own / "scripts/requirements.txt").open("a") as requirements:
        requirements.write("something-else==1.0\n")
    before = content(others)
    done = set_up(own)
    assert ".venv is a link" in done.stdout
    assert done.stderr.endswith("could not make .venv\n")
    assert not (own / ".venv").is_symlink()
    assert content(others) == before
    assert set_up(others).stdout == ""


def test_what_is_needed_is_fetched_and_nothing_else(tmp_path: Path) -> None:
    """What set-up does not know, it does not take for something that it knows."""
    done = set_up(new_checkout(tmp_path / "own"), "laboratory")
    assert done.returncode == 1
    assert done.stderr == "setup: only lab and browser are known, not: laboratory\n"
