"""Scripts, run by the shells that routers have."""

from collections.abc import Mapping
from shlex import quote
import shutil
import subprocess

import pytest

from custom_components.bypass_router.router.errors import BadOutput
from custom_components.bypass_router.router.ssh.script import Result, Script
from tests.lab.waiting import LIMIT

SHELLS = [["sh"], ["bash", "--posix"], ["dash"], ["busybox", "sh"]]


@pytest.fixture(params=SHELLS, ids=" ".join)
def shell(request: pytest.FixtureRequest) -> list[str]:
    """A POSIX shell; those that are not installed are tested where they are."""
    command: list[str] = request.param
    if not shutil.which(command[0]):
        pytest.skip(f"{command[0]} is not installed")
    return command


def printed(shell: list[str], text: str, before: str = "") -> str:
    """Return what a shell prints that reads this text on its stdin."""
    done = subprocess.run(
        [*shell, "-s"],
        input=text,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        timeout=LIMIT,
        check=False,
    )
    return before + done.stdout


def run(shell: list[str], script: Script) -> Mapping[str, Result]:
    """Return the sections of what a script prints."""
    return script.read(printed(shell, script.text))


def test_each_command_has_its_output_and_status(shell: list[str]) -> None:
    """Stdout and stderr together, and no line break of ours."""
    script = Script()
    script.run("one", "echo hello")
    script.run("two", "sh -c 'echo bad >&2; exit 3'")
    script.run("three", "true")
    script.run("four", "no-such-command")
    sections = run(shell, script)
    assert sections["one"] == Result("hello", 0)
    assert sections["two"] == Result("bad", 3)
    assert sections["three"] == Result("", 0)
    assert sections["four"].status == 127


def test_a_command_gets_its_lines_to_the_letter(shell: list[str]) -> None:
    """Nothing in them is expanded."""
    lines = ["*nat", "$HOME `id` $(id) \\ \" '", "", "  COMMIT  ", "EOF"]
    sections = run(shell, Script().feed("fed", "cat", lines))
    assert sections["fed"].output == "\n".join(lines)


def test_values_are_quoted(shell: list[str]) -> None:
    """Whatever they hold, it is one word."""
    value = "a b; echo \"$(id)\" '`id`' \\ *"
    assert run(shell, Script().run("said", f"echo {quote(value)}"))[
        "said"
    ].output.startswith("a b; echo \"$(id)\" '`id`'")


def test_a_second_command_runs_if_the_first_fails(shell: list[str]) -> None:
    """And only then."""
    script = Script()
    script.run("good", "true").otherwise("unneeded", "true")
    script.run("bad", "false").otherwise("needed", "true")
    assert set(run(shell, script)) == {"good", "bad", "needed"}


def test_a_command_that_reads_eats_nothing_of_the_script(shell: list[str]) -> None:
    """Its stdin is empty."""
    sections = run(shell, Script().run("reader", "cat").run("after", "echo here"))
    assert sections["reader"].output == ""
    assert sections["after"].output == "here"


def test_half_a_script_runs_nothing(shell: list[str]) -> None:
    """As a connection leaves it that breaks on the way."""
    text = Script().run("one", "echo ran").text
    for length in range(0, len(text) - 1, 7):
        assert "ran" not in printed(shell, text[:length]).splitlines()


def test_a_chatty_profile_is_no_answer(shell: list[str]) -> None:
    """What is printed before the script does not count."""
    banner = "Welcome!\nbypass-router-0 begin one\nfake\nbypass-router-0 end 0\n"
    script = Script().run("one", "echo real")
    sections = script.read(printed(shell, script.text, before=banner))
    assert sections == {"one": Result("real", 0)}


def test_a_command_can_not_speak_for_another() -> None:
    """The marks hold a word that the router can't know before."""
    first, second = Script().run("one", "true"), Script().run("one", "true")
    with pytest.raises(BadOutput):
        first.read(printed(["sh"], second.text))


@pytest.mark.parametrize(
    "output", ["", "This account is currently not available.\n", "\0\ufffd" * 9]
)
def test_what_is_no_answer_is_an_error(output: str) -> None:
    """Never an empty result."""
    with pytest.raises(BadOutput):
        Script().run("one", "true").read(output)


def test_what_would_break_the_script_is_refused_when_it_is_made() -> None:
    """A line break in a line, a label with a space."""
    with pytest.raises(ValueError, match="line break"):
        Script().feed("fed", "cat", ["*nat\nCOMMIT"])
    with pytest.raises(ValueError, match="label"):
        Script().run("a b", "true")


def test_a_result_is_one_line_for_people() -> None:
    """Without control characters, and not longer than they read."""
    assert Result("a\x1b[31m\n\n b\t c\u202e", 1).message == "a[31m b c"
    assert len(Result("x" * 9999, 1).message) == 200
    assert Result("", 4).message == "exit status 4"
