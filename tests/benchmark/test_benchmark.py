"""The benchmark runs, and its numbers are all there."""

import json
import subprocess
import sys

import pytest

from tests.live.instance import REPOSITORY

from . import __main__ as command
from .outage import outage

ROWS = {
    "switch off, call to state read back": 2,
    "switch on, call to state read back": 2,
    "switch on, the main router's half": 1,
    "switch on, main router's round trips": 1,
    "flush, until packets pass again": 1,
    "0.5 quiet seconds, processes started": 1,
    "set up 5 forwards": 1,
    "set up 5 forwards, round trips": 1,
    "reboot, 20 forwards: transactions": 1,
    "reboot, 20 forwards: restore to packets": 1,
    "reboot, 20 forwards: connected to all on": 1,
}
"""What is measured, and in how many rows for each way to have rules."""


def benchmark(*arguments: str) -> subprocess.CompletedProcess[str]:
    """Run it to its end."""
    return subprocess.run(
        [REPOSITORY / "scripts/benchmark", *arguments],
        check=False,
        capture_output=True,
        cwd="/",
        stdin=subprocess.DEVNULL,
        text=True,
    )


@pytest.mark.lab
@pytest.mark.long
def test_each_number_is_measured_and_judged() -> None:
    """One round gives all rows of each variant; counts are right at any speed."""
    done = benchmark("--quick", "--json", "-")
    assert done.returncode == 0, done.stderr
    rows = json.loads(done.stdout)["rows"]
    for variant in ("nftables", "iptables-nft", "iptables-legacy"):
        found = [row["what"] for row in rows if row["variant"] == variant]
        assert {what: found.count(what) for what in found} == ROWS
    for row in rows:
        assert row["measured"]["samples"] >= 1
        if row["measured"]["unit"] == "ms":
            assert row["measured"]["median"] > 0
            assert row["name"] == "setup" or row["compared_with"]["median"] > 0
        elif row["name"] == "setup":
            # A report that comes amid a look, on a busy machine, is one more look.
            assert row["measured"]["median"] <= 4, row
        elif row["aim"]:
            assert row["met"], row


def test_what_it_does_not_know_is_refused(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A wrong name ends it before anything is built."""
    monkeypatch.setattr(sys, "argv", ["benchmark", "--only", "nonsense"])
    monkeypatch.delattr(command, "Lab")
    with pytest.raises(SystemExit) as ended:
        command.main()
    assert ended.value.code == 2
    assert "nonsense" in capsys.readouterr().err


def test_an_outage_lasts_until_flows_pass_for_good() -> None:
    """One that slips through in between does not end it."""
    passed = [True, True, False, False, True, False, *[True] * 9]
    flows = [(float(at), came) for at, came in enumerate(passed)]
    assert outage(flows, began=1) == (2, 6)
