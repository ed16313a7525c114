"""What a gateway is asked with: each shell, each command that a router may have."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, closing
from dataclasses import replace
from ipaddress import IPv4Address
import os
from pathlib import Path
import shutil
import socket
import time
from typing import Final, cast, override

import pytest

from custom_components.bypass_router.router.port_mapping import (
    transport as transport_,
)
from custom_components.bypass_router.router.port_mapping.base import Answer, Refusal
from custom_components.bypass_router.router.port_mapping.http import (
    Request,
    Response,
    Url,
)
from custom_components.bypass_router.router.port_mapping.transport import (
    PATIENCE,
    add_requests,
    add_searches,
    read_answer,
    read_answers,
)
from custom_components.bypass_router.router.ssh.script import Script
from tests.lab.waiting import at_once, soon

from .local_shell import LocalShell

HERE: Final = IPv4Address("127.0.0.1")
# All that quotes could be lost on.
BODY: Final = """<a b="c">'$HOME' `id` $(id) \\ \\n %s * ~ @</a>\r\n"""
ANY_BYTES: Final = bytes(range(256)) * 4

SHELLS = [("sh",), ("bash", "--posix"), ("busybox", "sh")]
TOOLS = [
    "bash",
    "busybox",
    "nc=nc.traditional",
    "nc=nc.openbsd",
    "socat",
    "curl",
    "wget",
]
WAYS = [
    *((SHELLS[0], tool) for tool in TOOLS),
    (SHELLS[1], "bash"),
    (SHELLS[1], "socat"),
    (SHELLS[2], "busybox"),
]
TCP_ALONE = ("busybox", "curl", "wget")
ALL_WAYS = [(shell, tool) for shell in SHELLS for tool in TOOLS]
CODES = ["base64", "od", "hexdump"]

pytestmark = pytest.mark.usefixtures("socket_enabled")

type Way = tuple[tuple[str, ...], str]


def named(value: object) -> str:
    """Return how a way is called."""
    shell, tool = cast("Way", value)
    return f"{shell[0]}-{tool.rpartition('=')[2]}"


@pytest.fixture(params=WAYS, ids=named)
def shell(request: pytest.FixtureRequest, tmp_path: Path) -> LocalShell:
    """A shell with something to ask by; what is not installed is tested where it is."""
    way: Way = request.param
    name, tool = way
    if not shutil.which(tool.rpartition("=")[2]):
        pytest.skip(f"{tool} is not installed")
    shell = LocalShell(tmp_path, name)
    shell.has(tool, "base64")
    return shell


@pytest.fixture
def shells(tmp_path: Path) -> list[LocalShell]:
    """All of these that are installed, for what takes seconds of waiting with each."""
    found = []
    for way in WAYS:
        shell, tool = way
        if shutil.which(tool.rpartition("=")[2]):
            path = tmp_path / named(way)
            path.mkdir()
            found.append(LocalShell(path, shell))
            found[-1].has(tool, "base64")
    return found


@pytest.fixture
def by_bash(tmp_path: Path) -> LocalShell:
    """A shell that has bash, and nothing to code bytes by."""
    shell = LocalShell(tmp_path)
    shell.has("bash")
    return shell


type Answering = Callable[[bytes], bytes | None]


@asynccontextmanager
async def server(
    answering: Answering, *, stays: bool = False
) -> AsyncIterator[tuple[Url, list[bytes]]]:
    """Serve: what is answered to the first piece that comes, and all that came."""
    heard: list[bytes] = []
    serving: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        heard.append(await reader.read(65536))
        answer = answering(heard[-1])
        if answer is not None:
            writer.write(answer)
        if answer is None or stays:
            # Until the other end closes.
            await reader.read()
        writer.close()

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        serving.add(asyncio.ensure_future(serve(reader, writer)))

    listener = await asyncio.start_server(accept, str(HERE), 0)
    async with listener:
        port = listener.sockets[0].getsockname()[1]
        yield Url(HERE, port, "/a'b?c=$d&e"), heard
        listener.close()
        for task in serving:
            task.cancel()
        await asyncio.gather(*serving, return_exceptions=True)


def message(body: bytes) -> bytes:
    """Return an answer."""
    return b"HTTP/1.1 500 No\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)


async def asked(shell: LocalShell, *requests: Request) -> list[Response | Refusal]:
    """Return what is answered to requests, all of them in one script."""
    script = Script()
    labels = [f"request.{number}" for number in range(len(requests))]
    add_requests(script, zip(labels, requests, strict=True))
    answers = read_answers(await shell(script))
    return [read_answer(answers.get(label)) for label in labels]


@pytest.mark.parametrize("shell", ALL_WAYS, ids=named, indirect=True)
async def test_bytes_go_there_and_come_back(shell: LocalShell) -> None:
    """To the letter, both ways, in one piece; a fault is an answer as well."""
    async with server(lambda _: message(ANY_BYTES)) as (url, heard):
        action = Request(url, "urn:x#A", BODY)
        said = await asked(shell, action, Request(url))
    for response in said:
        assert isinstance(response, Response)
        assert (response.status, response.body) == (500, ANY_BYTES)
    first, second = heard
    assert first.startswith(b"POST /a'b?c=$d&e HTTP/1.1\r\n")
    assert second.startswith(b"GET /a'b?c=$d&e HTTP/1.1\r\n")
    for wanted in (*action.headers, f"Content-Length: {len(BODY)}"):
        assert f"\r\n{wanted}\r\n".encode() in first
    assert b"Expect" not in first


async def test_a_request_is_in_one_piece(shell: LocalShell) -> None:
    """Row 22. By wget alone it is not, which is the last to be taken."""
    # After its last line break, a shell may begin anew.
    body = BODY + "<last/>"
    async with server(lambda _: message(b"")) as (url, heard):
        await asked(shell, *[Request(url, "urn:x#A", body)] * 8)
    whole = [piece.endswith(b"\r\n\r\n" + body.encode()) for piece in heard]
    assert len(whole) == 8
    assert all(whole) or shell.command("wget").exists()


@pytest.mark.parametrize("shell", ALL_WAYS, ids=named, indirect=True)
async def test_the_action_is_not_named_by_the_last_header(shell: LocalShell) -> None:
    """Row 24: some read on behind it, into the body."""
    async with server(lambda _: message(b"")) as (url, heard):
        await asked(shell, Request(url, "urn:x#A", BODY))
    head, _, _ = heard[0].partition(b"\r\n\r\n")
    _, *headers = [line.partition(b":")[0].lower() for line in head.splitlines()]
    assert headers.count(b"soapaction") == 1
    assert headers[-1] != b"soapaction"


async def test_the_end_of_what_is_asked_is_no_end_of_the_connection(
    shell: LocalShell,
) -> None:
    """As some take that for the end of it all."""
    ended: list[bool] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(65536)
        try:
            async with asyncio.timeout(0.1):
                ended.append(not await reader.read(1))
        except TimeoutError:
            ended.append(False)
        writer.write(message(b"x"))
        writer.close()

    listener = await asyncio.start_server(serve, str(HERE), 0)
    async with listener:
        url = Url(HERE, listener.sockets[0].getsockname()[1], "/")
        await asked(shell, Request(url))
    assert False in ended


@pytest.mark.long
async def test_silence_takes_seconds_once(shells: list[LocalShell]) -> None:
    """And no more is asked then."""

    async def ask(shell: LocalShell) -> None:
        async with server(lambda _: None) as (url, heard):
            started = time.monotonic()
            said = await asked(shell, *[Request(url)] * 16)
            assert time.monotonic() - started < soon(2 * PATIENCE), shell
        assert said == [Refusal(Answer.SILENT)] * 16, shell
        assert len(heard) == 1, shell

    await at_once(*map(ask, shells))


async def test_who_keeps_the_connection_is_not_waited_for(
    shells: list[LocalShell],
) -> None:
    """All has come that was promised."""

    async def ask(shell: LocalShell) -> None:
        async with server(lambda _: message(ANY_BYTES), stays=True) as (url, _):
            started = time.monotonic()
            said = await asked(shell, *[Request(url)] * 4)
            assert time.monotonic() - started < soon(PATIENCE), shell
        bodies = [isinstance(each, Response) and each.body for each in said]
        assert bodies == [ANY_BYTES] * 4, shell

    await at_once(*map(ask, shells))


@pytest.mark.long
async def test_who_says_that_it_closes_is_believed_once(by_bash: LocalShell) -> None:
    """Sixteen ports do not take sixteen times the time, though it does not close.

    Of one that does, bash reads much at once, and misses NULs, which no text has.
    """
    by_bash.has("bash", "base64")
    answer = message(ANY_BYTES).replace(b"\r\n", b"\r\nConnection: close\r\n", 1)
    async with server(lambda _: answer, stays=True) as (url, _):
        started = time.monotonic()
        said = await asked(by_bash, *[Request(url)] * 8)
        assert time.monotonic() - started < soon(2 * PATIENCE)
    bodies = [isinstance(each, Response) and each.body for each in said]
    assert bodies == [ANY_BYTES.replace(b"\0", b""), *[ANY_BYTES] * 7]


async def test_no_connection_is_silence(shell: LocalShell) -> None:
    """At once."""
    async with server(lambda _: None) as (url, _):
        pass
    assert await asked(shell, *[Request(url)] * 2) == [Refusal(Answer.SILENT)] * 2


@pytest.mark.long
async def test_who_takes_no_connection_is_waited_for_once(
    shells: list[LocalShell],
) -> None:
    """As where something on the way drops what is sent."""
    with closing(socket.create_server((str(HERE), 0), backlog=0)) as full:
        url = Url(HERE, full.getsockname()[1], "/")
        waiting = [socket.socket() for _ in range(3)]
        for one in waiting:
            one.setblocking(False)
            one.connect_ex((str(HERE), url.port))

        async def ask(shell: LocalShell) -> None:
            started = time.monotonic()
            said = await asked(shell, *[Request(url)] * 4)
            assert time.monotonic() - started < soon(2 * PATIENCE), shell
            assert said == [Refusal(Answer.SILENT)] * 4, shell

        await at_once(*map(ask, shells))
        for one in waiting:
            one.close()


async def test_no_more_is_read_than_an_answer_has(shell: LocalShell) -> None:
    """Of one that has no end."""
    async with server(lambda _: b"HTTP/1.1 200 OK\r\n\r\n" + b"x" * 10**6) as (url, _):
        (response,) = await asked(shell, Request(url))
    assert isinstance(response, Response)
    assert 60_000 < len(response.body) < 64 * 1024


@pytest.mark.parametrize("end", ["", "\n", "\r\n\n\n", " ", "é\n", "\0"])
async def test_text_comes_back_to_the_letter(shell: LocalShell, end: str) -> None:
    """Whatever a shell might make of it."""
    body = f"-n %s \\ \\n 'a' \"$HOME\" `id` \x01\x7f\t\n\nx 0\nascii\n{end}".encode()
    async with server(lambda _: message(body)) as (url, _):
        responses = await asked(shell, Request(url), Request(url))
    bodies = [isinstance(it, Response) and it.body for it in responses]
    assert bodies == [body, body]


@pytest.mark.parametrize(
    "does",
    [
        "case $3 in *VERSINFO*) exit 2 ;; esac",
        "case $3 in *VERSINFO*) set -- -c '>(' ;; esac",
        'set -- --posix "$@"',
    ],
)
async def test_a_bash_of_another_kind_asks_as_well(
    by_bash: LocalShell, does: str
) -> None:
    """As one of old, which could do less."""
    by_bash.has("base64")
    other = by_bash.command("bash")
    real = shutil.which("bash")
    other.write_text(f'#!/bin/sh\n{does}\nexec {real} "$@"\n')
    other.chmod(0o755)
    async with server(lambda _: message(ANY_BYTES)) as (url, heard):
        (response,) = await asked(by_bash, Request(url))
    assert isinstance(response, Response)
    assert response.body == ANY_BYTES
    assert len(heard) == 1
    assert await asked(by_bash, *[Request(url)] * 2) == [Refusal(Answer.SILENT)] * 2


_FREE: Final = b"<errorCode>714</errorCode>"


@pytest.mark.parametrize(
    ("answer", "follows"),
    [
        (message(_FREE), True),
        (message(b"<errorCode>713</errorCode>"), False),
        # A description may say anything.
        (b"HTTP/1.1 200 OK\r\n\r\n<a>%b</a>" % _FREE, False),
        (b"HTTP/1.1 200 OK\r\n\r\n<a>\0HTTP/1.1 500 No\r\n\r\n" + _FREE, False),
        (b"HTTP/1.1 404 500 No\r\n\r\n" + _FREE, False),
        (b"500 " + _FREE, False),
        (b"", False),
    ],
)
async def test_what_needs_an_answer_is_asked_after_just_that(
    shell: LocalShell, answer: bytes, follows: bool
) -> None:
    """And by bash alone: it is for who asks to go on without."""
    follows = follows and shell.command("bash").exists()
    script = Script()
    async with server(lambda said: answer if b" /get" in said else message(b"x")) as (
        url,
        heard,
    ):
        get, add = (replace(url, path=path) for path in ("/get", "/add"))
        requests = {"get": get, "add": add, "again": add, "other": get}
        needs = dict.fromkeys(("add", "again"), _FREE.decode())
        add_requests(
            script, [(label, Request(url)) for label, url in requests.items()], needs
        )
        answers = read_answers(await shell(script))
    asked = ["get", "add", "again", "other"] if follows else ["get", "other"]
    assert list(answers) == asked
    assert len(heard) == len(asked)


@pytest.mark.parametrize("code", CODES)
async def test_bytes_come_back_by_any_code(by_bash: LocalShell, code: str) -> None:
    """Of those that a router may have."""
    by_bash.has("bash", code)
    async with server(lambda _: message(ANY_BYTES)) as (url, _):
        (response,) = await asked(by_bash, Request(url))
    assert isinstance(response, Response)
    assert response.body == ANY_BYTES


async def test_text_comes_back_without_any_code(by_bash: LocalShell) -> None:
    """What is no text is lost, and nothing else."""
    async with server(lambda _: message("aé".encode() + b"\0\xffb")) as (url, _):
        (response,) = await asked(by_bash, Request(url))
    assert isinstance(response, Response)
    assert response.text == "aé \ufffdb"


class _Device(asyncio.DatagramProtocol):
    """Answers a search for what it is."""

    def __init__(self, wanted: str) -> None:
        self._wanted = f"\r\nST: {wanted}\r\n".encode()
        self.heard: list[bytes] = []

    @override
    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast("asyncio.DatagramTransport", transport)

    @override
    def datagram_received(self, data: bytes, addr: tuple[str | int, ...]) -> None:
        self.heard.append(data)
        if self._wanted in data:
            here = self._transport.get_extra_info("sockname")[0]
            for host in ("[fe80::1]", f"{here}.x", here):
                answer = f"HTTP/1.1 200 OK\r\nLOCATION: http://{host}:5/x\r\n\r\n"
                self._transport.sendto(answer.encode(), addr)


@pytest.mark.long
@pytest.mark.parametrize(
    "shell",
    [way for way in WAYS if way[1] not in TCP_ALONE],
    ids=named,
    indirect=True,
)
async def test_a_search_goes_on_until_something_is_found(shell: LocalShell) -> None:
    """By UDP, from one kind of device to the next, and to where the gateway is."""
    # A place of this process's own.
    here = IPv4Address("127.128.0.0") + os.getpid() % 2**22
    searches = {"search.1": "urn:a", "search.2": "urn:b", "search.3": "urn:c"}
    transport, device = await asyncio.get_running_loop().create_datagram_endpoint(
        lambda: _Device("urn:b"), local_addr=(str(here), 1900)
    )
    script = Script()
    add_searches(script, here, searches.items())
    try:
        sections = await shell(script)
    finally:
        transport.close()
    assert read_answer(sections.get("search.1")) == Refusal(Answer.SILENT)
    found = read_answer(sections.get("search.2"))
    assert isinstance(found, Response)
    assert found.headers["location"] == "http://[fe80::1]:5/x"
    assert f"LOCATION: http://{here}:5/x\r\n" in found.text
    assert "search.3" not in sections
    assert [data.count(b"M-SEARCH") for data in device.heard] == [1, 1]


@pytest.mark.parametrize("tool", [*TCP_ALONE, "nothing"])
async def test_a_search_needs_something_to_search_by(
    by_bash: LocalShell, tool: str
) -> None:
    """What speaks TCP alone is none, as busybox on Debian and OpenWrt."""
    by_bash.has(*() if tool == "nothing" else (tool,))
    script = Script()
    add_searches(script, HERE, [("search", "urn:a")])
    refusal = read_answer((await by_bash(script))["search"])
    assert isinstance(refusal, Refusal)
    assert refusal.kind is Answer.UNSUPPORTED


async def test_a_script_has_its_time(
    by_bash: LocalShell, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is not asked by then is not asked at all."""
    monkeypatch.setattr(transport_, "BUDGET", 0)
    async with server(lambda _: message(b"")) as (url, heard):
        assert await asked(by_bash, Request(url)) == [Refusal(Answer.SILENT)]
    assert not heard
