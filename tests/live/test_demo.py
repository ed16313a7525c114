"""The demo does what it says, and says so if it can't."""

from http.client import HTTPConnection
from io import StringIO
import re
import signal
import subprocess

import pytest

from tests.lab.network import Lab
from tests.lab.waiting import LIMIT

from . import main_half
from .client import LOOPBACK
from .demo import NotAsPromised, walk
from .instance import PASSWORD, REPOSITORY, USERNAME
from .report import Report

pytestmark = [pytest.mark.live, pytest.mark.lab]

STEPS = (
    "Build the network",
    "The problem",
    "no data",
    "Home Assistant boots",
    "Add the bypass router",
    "the same host key",
    "Add a port forward",
    "the switch is off",
    "Switch it on",
    "the switch is on",
    "What stands in the router's kernel",
    "map translated",
    "snat to",
    "Switch it off",
    "the switch is off",
    "One switch for both halves",
    "takes such requests (UPnP)",
    "forwards nothing any more",
    "Switch it on again",
    "the switch is on",
    "dnat ip to 192.168.50.2:8443",
    "the main router's half as on",
    "Switch it off again",
    "nothing is left in the main router's kernel",
    "the main router's half as off",
    "Switch it on for the last time",
    "the switch is on",
    "Remove the forward",
    "iptables-save and nft on the router say the same",
    "no warning and no error",
    "All as promised",
)
"""What the output has, in this order."""


def get_page(port: int) -> str:
    """Return the page that a browser gets first."""
    connection = HTTPConnection(LOOPBACK, port, timeout=LIMIT)
    try:
        connection.request("GET", "/")
        return connection.getresponse().read().decode()
    finally:
        connection.close()


def test_the_demo_walks_through_it_all_without_a_question() -> None:
    """It exits with 0, and its output tells each step, in plain text."""
    done = subprocess.run(
        [REPOSITORY / "scripts/demo"],
        check=False,
        capture_output=True,
        cwd="/",
        stdin=subprocess.DEVNULL,
        text=True,
    )
    assert (done.returncode, done.stderr) == (0, "")
    found = 0
    for step in STEPS:
        found = done.stdout.find(step, found)
        assert found >= 0, f"{step}\n{done.stdout}"
    assert "\x1b" not in done.stdout


def test_the_router_is_left_as_it_was(lab: Lab, socket_enabled: None) -> None:
    """With the switch on, and only then, packets pass; no rule is left behind."""
    rules, keys = lab.bypass.iptables_save(), lab.bypass.users.authorized_keys()
    output = StringIO()
    walk(lab, Report(output))
    assert lab.bypass.iptables_save() == rules
    assert lab.bypass.users.authorized_keys() == keys
    passed = re.findall("(──.) (?:TCP|UDP)", output.getvalue())
    alone, off, on = ["──x"] * 2, ["──x"] * 4, ["──>"] * 4
    by_hand, by_the_switch = [*off, *on, *off], [*off, *on, *off, *on, *off]
    assert passed == [*alone, *by_hand, *by_the_switch]


def test_where_miniupnpd_is_missing_it_says_what_can_not_be_shown(
    monkeypatch: pytest.MonkeyPatch, lab: Lab, socket_enabled: None
) -> None:
    """And shows the rest, with the main router as it was set by hand."""
    monkeypatch.setattr(main_half, "find_command", {}.get)
    output = StringIO()
    walk(lab, Report(output))
    said = output.getvalue()
    assert "miniupnpd is missing on this machine" in said
    assert "`scripts/setup lab` installs miniupnpd" in said
    passed = re.findall("(──.) (?:TCP|UDP)", said)
    alone, off, on = ["──x"] * 2, ["──x"] * 4, ["──>"] * 4
    assert passed == [*alone, *off, *on, *off, *on, *off, *on, *off]


def test_what_is_not_as_promised_ends_the_demo_in_a_sentence(
    lab: Lab, socket_enabled: None
) -> None:
    """A router that drops UDP after all is noticed, however well the rules read."""
    lab.bypass.run(
        *["iptables", "-t", "mangle", "-A", "POSTROUTING", "-p", "udp", "-j", "DROP"]
    )
    with pytest.raises(NotAsPromised, match="UDP was to pass, but: no data"):
        walk(lab, Report(StringIO()))


@pytest.mark.usefixtures("socket_enabled")
def test_with_serve_a_browser_gets_in_until_a_signal_comes() -> None:
    """It prints where, is taken down by SIGTERM, and exits with 0."""
    demo = subprocess.Popen(
        [REPOSITORY / "scripts/demo", "--serve"],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert demo.stdout is not None
    with demo:
        try:
            said = ""
            while "Ctrl-C" not in said and (line := demo.stdout.readline()):
                said += line
            (port,) = re.findall(r"Open http://127\.0\.0\.1:(\d+)/ ", said)
            assert "<title>Home Assistant</title>" in get_page(int(port))
            assert f"User: {USERNAME}" in said
            assert f"Password: {PASSWORD}" in said
        finally:
            demo.send_signal(signal.SIGTERM)
        assert "all taken down" in demo.stdout.read()
    assert demo.returncode == 0
    with pytest.raises(OSError, match="refused"):
        get_page(int(port))
