"""Datagrams that a script sends, by whatever the router has for that."""

from ipaddress import IPv4Address
from pathlib import Path
import shutil
import time

from hypothesis import given, strategies as st
import pytest
import pytest_socket

from custom_components.bypass_router.router.port_mapping.base import Answer
from custom_components.bypass_router.router.port_mapping.udp import (
    LONGEST,
    ask,
    read_answers,
)
from custom_components.bypass_router.router.ssh.script import Result
from tests.lab.waiting import soon

from .local_shell import LocalShell
from .test_script import SHELLS
from .udp_gateway import Reply, udp_gateway

# Each byte, and what a shell or `printf` could make something else of.
EVERY_BYTE = bytes(range(256))
AWKWARD = [EVERY_BYTE, b"\n\n\n", b"%s%d\\n$HOME`id`'\"", b"\0", b"--help", b"\x0a\0"]


@pytest.fixture(autouse=True)
def _sockets() -> None:
    """Let the gateway be reached; Home Assistant's plugin forbids all sockets."""
    pytest_socket.enable_socket()


def path_with(folder: Path, *commands: str) -> Path:
    """Return a PATH that has these commands alone, busybox's where it has a colon."""
    for command in commands:
        name, _, kind = command.partition(":")
        found = shutil.which(kind or name)
        if found is None:
            pytest.skip(f"{kind or name} is not installed")
        (folder / name).symlink_to(found)
    return folder


@pytest.mark.parametrize("shell", SHELLS, ids=" ".join)
async def test_each_byte_arrives_and_comes_back(shell: list[str]) -> None:
    """In one datagram each, also where a line ends in its midst."""
    async with udp_gateway(lambda asked: asked[::-1]) as gateway:
        answers = await ask(LocalShell(shell=shell), gateway.address, AWKWARD)
    assert gateway.asked == AWKWARD
    assert answers == [datagram[::-1] for datagram in AWKWARD]
    assert len(gateway.ports) == len(AWKWARD)


@pytest.mark.parametrize(
    "commands",
    [
        ("bash", "dd", "sleep", "od"),
        ("bash", "dd:busybox", "sleep:busybox", "hexdump:busybox"),
        ("bash", "dd:busybox", "sleep:busybox", "xxd:busybox"),
        ("socat", "dd", "sleep", "od"),
        ("socat", "dd:busybox", "sleep:busybox", "hexdump:busybox"),
    ],
    ids=", ".join,
)
async def test_little_is_needed_on_the_router(
    tmp_path: Path, commands: tuple[str, ...]
) -> None:
    """As on an OpenWrt, where hexdump is all that tells bytes."""
    sh = "sh:busybox" if "busybox" in " ".join(commands) else "sh"
    path = path_with(tmp_path, sh, *commands)
    async with udp_gateway(lambda asked: asked) as gateway:
        answers = await ask(LocalShell(path), gateway.address, AWKWARD)
    assert answers == AWKWARD


@pytest.mark.parametrize(
    "commands", [("dd", "sleep", "od"), ("bash", "dd", "sleep")], ids=", ".join
)
async def test_a_router_that_cannot_send_says_so(
    tmp_path: Path, commands: tuple[str, ...]
) -> None:
    """Or one that can't tell what came back."""
    path = path_with(tmp_path, "sh", *commands)
    run = LocalShell(path)
    async with udp_gateway(lambda asked: asked) as gateway:
        answers = await ask(run, gateway.address, [b"one", b"two"])
    assert answers == [Answer.UNSUPPORTED] * 2
    assert not gateway.asked


async def test_a_silent_gateway_is_asked_three_times_and_no_more() -> None:
    """And nothing else is asked behind that: a script ends in 3 s."""
    async with udp_gateway(lambda asked: asked if asked == b"one" else None) as gateway:
        started = time.monotonic()
        answers = await ask(LocalShell(), gateway.address, [b"one", b"two", b"three"])
        took = time.monotonic() - started
    assert answers == [b"one", Answer.SILENT, Answer.SILENT]
    assert gateway.asked == [b"one", b"two"]
    assert [datagram for _, datagram in gateway.sent].count(b"two") == 3
    assert len(gateway.ports) == 2
    assert took < soon(3)


async def test_a_closed_port_is_silence_at_once() -> None:
    """The refusal that comes back by ICMP is not waited for."""
    async with udp_gateway(lambda asked: asked) as gateway:
        gateway.close()
        started = time.monotonic()
        answers = await ask(LocalShell(), gateway.address, [b"one", b"two"])
        took = time.monotonic() - started
    assert answers == [Answer.SILENT] * 2
    assert took < soon(1)


async def test_a_closed_port_is_taken_by_no_other_test() -> None:
    """Tests run beside each other, and an address is one test's until its end."""
    async with udp_gateway(lambda asked: asked) as gateway:
        gateway.close()
        async with udp_gateway(lambda asked: asked) as other:
            assert other.address != gateway.address


async def test_what_is_lost_is_sent_again() -> None:
    """The first answer here comes to the second attempt."""
    replies: list[Reply] = [None, b"one", None, None, b"two"]
    async with udp_gateway(replies) as gateway:
        answers = await ask(LocalShell(), gateway.address, [b"1", b"2"])
    assert answers == [b"one", b"two"]
    sent = [datagram for _, datagram in gateway.sent]
    assert sent.count(b"1") >= 2
    assert sent.count(b"2") >= 3


async def test_a_late_answer_is_not_taken_for_the_next_ones() -> None:
    """Though both attempts are answered at once in the end."""
    late: list[bytes] = []

    def answer(asked: bytes) -> Reply:
        late.append(asked)
        return None if late == [b"1"] else asked

    async with udp_gateway(answer) as gateway:
        answers = await ask(LocalShell(), gateway.address, [b"1", b"2", b"3"])
    assert answers == [b"1", b"2", b"3"]
    assert gateway.asked == [b"1", b"2", b"3"]
    assert len(gateway.sent) > len(gateway.ports) == 3


async def test_no_more_is_taken_than_the_longest_message() -> None:
    """Whatever is sent."""
    async with udp_gateway(lambda _: bytes(9000)) as gateway:
        assert await ask(LocalShell(), gateway.address, [b"1"]) == [bytes(LONGEST)]


async def test_nothing_is_run_for_nothing() -> None:
    """No script where there is no datagram."""
    run = LocalShell()
    assert await ask(run, IPv4Address("127.0.0.1"), []) == []
    assert len(run.scripts) == 0


@given(st.text(), st.integers(0, 255), st.integers(0, 5))
def test_whatever_is_printed_is_so_many_answers(
    text: str, status: int, count: int
) -> None:
    """Each of them bytes, and no more than a message has, or why there are none."""
    answers = read_answers(Result(text, status), count)
    assert len(answers) == count
    assert all(isinstance(it, Answer) or len(it) <= LONGEST for it in answers)


def test_what_else_is_printed_is_no_answer() -> None:
    """A shell complains where it can't set the language, say."""
    printed = "bash: warning: setlocale\nis 01 02\nis what\nsilent\n"
    answers = read_answers(Result(printed, 0), 4)
    assert answers == [b"\1\2", Answer.NONSENSE, Answer.SILENT, Answer.SILENT]


@given(st.binary(min_size=1, max_size=2 * LONGEST), st.booleans())
def test_bytes_are_read_as_each_tool_prints_them(data: bytes, spaces: bool) -> None:
    """With or without spaces; what is longer than any message is no answer."""
    printed = data.hex(" ") if spaces else data.hex()
    (answer,) = read_answers(Result(f"is {printed}", 0), 1)
    assert answer == (data if len(data) <= LONGEST else Answer.NONSENSE)
