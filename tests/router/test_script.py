"""Scripts, run by the shells that routers have."""

from collections.abc import Mapping
from pathlib import Path
from shlex import quote
import shutil
import subprocess

import pytest

from custom_components.bypass_router.router.errors import BadOutput
from custom_components.bypass_router.router.ssh.script import (
    AGAIN,
    Garbled,
    Result,
    Script,
)
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


def printed_bytes(shell: list[str], text: str) -> str:
    """Return what a shell prints on stdout, each byte of no letter as a surrogate."""
    done = subprocess.run(
        [*shell, "-s"],
        input=text.encode(),
        capture_output=True,
        timeout=LIMIT,
        check=False,
    )
    return done.stdout.decode(errors="surrogateescape")


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


@pytest.mark.parametrize(
    "output", ["hello", "", "caf\\303\\251", "\\377\\200x", "a\\n\\nb"]
)
def test_an_answer_has_the_length_that_the_shell_says(
    shell: list[str], output: str
) -> None:
    """In bytes, be they letters or none; whatever else is amid it shows."""
    script = Script().run("one", f"printf '{output}'").run("two", "echo end")
    answer = printed_bytes(shell, script.text)
    sections = script.read(answer)
    assert sections["two"] == Result("end", 0)
    assert not any("\ud800" <= letter <= "\udfff" for letter in sections["one"].output)
    begin, end = answer.index(" answer\n") + 8, answer.index(" done ")
    for place in range(begin, end - len("bypass-router-0123456789abcdef")):
        for foreign in ("mail\n", ".", "\udc80"):
            with pytest.raises(Garbled):
                script.read(answer[:place] + foreign + answer[place:])
    for foreign in ("mail\n", "."):
        assert script.read(f"{foreign}{answer}{foreign}") == sections


def test_an_answer_is_printed_again_and_nothing_is_run_again(
    shell: list[str], tmp_path: Path
) -> None:
    """As often as it is asked for."""
    script = Script().run("one", f"sh -c 'echo ran >>{tmp_path}/ran; echo said'")
    with subprocess.Popen(
        [*shell, "-s"], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin
        assert process.stdout
        # Not at once: a shell may have read on.
        for line in (script.text, AGAIN, AGAIN):
            process.stdin.write(line)
            process.stdin.flush()
            text = ""
            while not script.ended(text):
                text += process.stdout.readline()
            assert script.read(text) == {"one": Result("said", 0)}
    assert (tmp_path / "ran").read_text() == "ran\n"


def test_a_long_answer_is_whole_and_soon_there(shell: list[str]) -> None:
    """A thousand forwards and more; what would take the router's memory is not."""
    script = Script().run("long", "seq 700000").run("after", "echo here")
    sections = run(shell, script)
    assert len(sections["long"].lines) == 700000
    assert sections["after"].output == "here"
    endless = Script().run("endless", "yes without end")
    with pytest.raises(BadOutput):
        run(shell, endless)


def test_a_command_is_not_bound_by_what_an_answer_is(shell: list[str]) -> None:
    """Its memory and its time are what they were."""
    limits = "ulimit -S -d; ulimit -S -t; ulimit -H -d"
    script = Script().run("limits", f"sh -c '{limits}'")
    alone = subprocess.check_output(["sh", "-c", limits], text=True)
    assert run(shell, script)["limits"].output == alone.strip()
