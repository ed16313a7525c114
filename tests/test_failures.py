"""A test that fails in the lab says why, without being run again."""

from pathlib import Path
import subprocess
import sys

import pytest

REPOSITORY = Path(__file__).parents[1]
FAILING = """
import pytest

def test_a_command_fails(lab):
    lab.bypass.run("sh", "-c", "echo went wrong >&2; exit 7")

def test_a_command_hangs(lab):
    lab.bypass.run("sh", "-c", "echo so far; sleep 99", timeout=0.3)

def test_something_is_not_so(lab):
    lab.bypass.run("iptables", "-N", "MINE")
    lab.bypass.disk.write("/var/log/firewalld.out", "the daemon has stumbled")
    assert lab.target is None
"""
IN_A_CHROOT = """
import sys
from tests.lab.network import Lab
from tests.lab.requirements import LabUnavailable
try:
    Lab()
except LabUnavailable as error:
    sys.exit(str(error))
"""
CHROOT = """
cd "$1"; shift
for folder in bin etc lib lib64 proc sys usr dev tmp root home opt; do
    [ ! -e /$folder ] || { mkdir -p $folder; mount --rbind /$folder $folder; }
done
mkdir -p ".$0"; mount --rbind "$0" ".$0"
exec chroot . sh -c 'cd "$0"; exec "$@"' "$0" "$@"
"""


@pytest.mark.lab
def test_a_failure_in_the_lab_tells_what_was_said_and_what_was_so(
    tmp_path: Path,
) -> None:
    """Exit status and stderr, the ends of the logs, and the rules."""
    (tmp_path / "test_failing.py").write_text(FAILING)
    done = subprocess.run(
        [
            *(sys.executable, "-m", "pytest", "-n", "2", "-p", "tests.conftest"),
            *("-c", "pyproject.toml", "-p", "no:cacheprovider"),
            tmp_path / "test_failing.py",
        ],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        check=False,
    )
    assert "3 failed" in done.stdout, done.stdout + done.stderr
    for said in (
        "exit status 7",
        "bypass: went wrong",
        "timed out after 0.3 seconds",
        "bypass: so far",
        "the daemon has stumbled",
        "nft: :MINE",
        "Server listening on",
        "from all lookup main",
    ):
        assert said in done.stdout, said


@pytest.mark.lab
def test_a_plain_chroot_is_told_that_it_is_one(tmp_path: Path) -> None:
    """In which the lab can't be; `scripts/test` says it as well."""
    for command in (
        [sys.executable, "-c", IN_A_CHROOT],
        ["scripts/test", "--collect-only", "-q", "tests/test_failures.py"],
    ):
        done = subprocess.run(
            [
                *("unshare", "--mount", "sh", "-ec", CHROOT),
                *(str(REPOSITORY), str(tmp_path), *command),
            ],
            cwd="/",
            capture_output=True,
            text=True,
            check=False,
        )
        assert "this is a plain chroot" in (done.stdout + done.stderr).lower()
