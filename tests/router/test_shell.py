"""A shell waits on the router for the next script, and nothing depends on it."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing, asynccontextmanager
import logging
import signal
import subprocess
import sys
import time

import pytest

from custom_components.bypass_router.router.errors import BadOutput, RouterError
from custom_components.bypass_router.router.ssh import shell
from custom_components.bypass_router.router.ssh.script import Script
from custom_components.bypass_router.router.ssh.session import Session
from tests.lab.bypass import RouterOptions
from tests.lab.disk import REAL_COMMANDS
from tests.lab.network import Lab
from tests.lab.waiting import at_once, soon, until

from .client import give_up_after, open_session

SERVERS = pytest.mark.parametrize(
    "router_options",
    [RouterOptions(ssh="openssh"), RouterOptions(ssh="dropbear")],
    ids=["openssh", "dropbear"],
)
# The command that is `sh`, and whether there is a bash beside it.
PATIENT = {
    "dash": ("dash", True),
    "busybox": ("busybox sh", False),
    "bash": ("bash --posix", True),
}
ALL = PATIENT | {"dash alone": ("dash", False)}
SHELLS, PATIENT_SHELLS = (
    pytest.mark.parametrize(("sh", "bash"), kinds.values(), ids=kinds)
    for kinds in (ALL, PATIENT)
)
WHO = Script().run("pid", "echo $$")


def use_shell(lab: Lab, sh: str, *, bash: bool) -> None:
    """Let `sh` on the router be this one."""
    # Looks like one in a list of processes, too.
    lab.bypass.commands.replace(
        "sh", f'#!{REAL_COMMANDS}/bin/dash\nexec {REAL_COMMANDS}/bin/{sh} "$@"\n'
    )
    if not bash:
        lab.bypass.commands.hide("bash")


def shells(lab: Lab) -> dict[int, str]:
    """Return the shells that run on the router for us, by their process ids."""
    found = {}
    for line in lab.bypass.run("ps", "-eo", "pid=,args=").stdout.splitlines():
        process, command = line.split(maxsplit=1)
        if command.endswith(" -s") or "--norc -c" in command:
            found[int(process)] = command
    return found


async def standby(lab: Lab, session: Session) -> int:
    """Return the process id of the shell that waits, as soon as it has said so."""
    await until(lambda: session.ready)
    return next(pid for pid, command in shells(lab).items() if command.endswith(" -s"))


async def who(session: Session) -> int:
    """Run a script, and return the process id of the shell that ran it."""
    return int((await session.run(WHO))["pid"].output)


@asynccontextmanager
async def ready(lab: Lab) -> AsyncIterator[Session]:
    """Have a session on which one script has run."""
    session = await open_session(lab)
    try:
        await session.run(WHO)
        yield session
    finally:
        await session.close()


@SERVERS
@SHELLS
async def test_the_next_script_finds_a_shell_that_waits(
    at_home: Lab, sh: str, bash: bool
) -> None:
    """Whatever shell the router has, and however long the script is."""
    use_shell(at_home, sh, bash=bash)
    long = Script().feed("lines", "wc -l", ["a line"] * 20_000)
    long.run("pid", "echo $$")
    async with ready(at_home) as session:
        for script in (WHO, long, WHO):
            waiting = await standby(at_home, session)
            answer = await session.run(script)
            assert int(answer["pid"].output) == waiting
            if script is long:
                assert answer["lines"].output == "20000"


async def test_a_slow_profile_is_not_waited_for_again(at_home: Lab) -> None:
    """It has been read by the time that a switch is turned."""
    real = at_home.bypass.commands.replace("sh", "")
    at_home.bypass.commands.replace(
        "sh", f'#!{REAL_COMMANDS}/bin/dash\necho Welcome\nsleep 0.8\nexec {real} "$@"\n'
    )
    async with ready(at_home) as session:
        await asyncio.sleep(soon(2))
        began = time.monotonic()
        await session.run(WHO)
        assert time.monotonic() - began < soon(0.5)


@SERVERS
async def test_scripts_one_after_the_other_and_at_once_all_run(at_home: Lab) -> None:
    """Each has a shell to itself, and its own answer."""
    async with ready(at_home) as session:
        for _ in range(10):
            await session.run(WHO)
        found = await at_once(*(who(session) for _ in range(8)))
        assert len(set(found)) == 8


@SERVERS
@pytest.mark.parametrize("noticed", [True, False])
async def test_a_waiting_shell_that_is_killed_is_no_loss(
    at_home: Lab, noticed: bool
) -> None:
    """Whether we hear of it in time, or send it a script; that runs just once."""
    once = Script().run("pid", "sh -c 'echo ran >>/tmp/ran; echo $PPID'")
    async with ready(at_home) as session:
        waiting = await standby(at_home, session)
        if noticed:
            at_home.bypass.run("kill", "-9", str(waiting))
            await until(lambda: not shells(at_home))
            await asyncio.sleep(0.1)
            answer = await session.run(once)
        else:
            server = at_home.bypass.run("ps", "-o", "ppid=", "-p", str(waiting)).stdout
            # No one tells us of the death before the script is there.
            at_home.bypass.run("kill", "-STOP", server.strip())
            at_home.bypass.run("sh", "-c", "kill -9 $0; pkill -9 bash", str(waiting))
            running = asyncio.create_task(session.run(once))
            await asyncio.sleep(0.3)
            assert not running.done()
            at_home.bypass.run("kill", "-CONT", server.strip())
            answer = await running
        assert int(answer["pid"].output) != waiting
        assert at_home.bypass.run("cat", "/tmp/ran").stdout == "ran\n"
        again = await standby(at_home, session)
        assert await who(session) == again


@SERVERS
async def test_a_script_that_is_killed_half_way_is_not_run_again(at_home: Lab) -> None:
    """What it has done, no one knows."""
    script = Script().run("hang", "sh -c 'echo ran >>/tmp/ran; exec sleep 99'")
    async with ready(at_home) as session:
        waiting = await standby(at_home, session)
        running = asyncio.create_task(session.run(script))
        await until((at_home.bypass.root / "tmp/ran").exists)
        at_home.bypass.run("sh", "-c", f"kill -9 {waiting}; pkill -f '^sleep 99'")
        with pytest.raises(BadOutput):
            await running
        await asyncio.sleep(0.3)
        assert at_home.bypass.run("cat", "/tmp/ran").stdout == "ran\n"


async def test_a_shell_that_can_not_be_opened_ahead_is_no_error(
    at_home: Lab, caplog: pytest.LogCaptureFixture
) -> None:
    """Nor is it tried again before the next script, nor told to anyone."""
    async with ready(at_home) as session:
        waiting = await standby(at_home, session)
        at_home.bypass.commands.replace(
            "sh", f"#!{REAL_COMMANDS}/bin/dash\necho x >>/tmp/tried\nexit 1\n"
        )
        assert await who(session) == waiting
        await until((at_home.bypass.root / "tmp/tried").exists)
        await asyncio.sleep(0.5)
        assert at_home.bypass.run("cat", "/tmp/tried").stdout == "x\n"
        at_home.bypass.commands.restore()
        assert await who(session) != waiting
    assert [x for x in caplog.records if x.levelno >= logging.WARNING] == []


async def test_a_shell_that_never_says_that_it_waits_is_given_up(
    at_home: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And holds no script for long."""
    seconds = soon(6)
    monkeypatch.setattr(shell, "CONNECT_TIMEOUT", seconds)
    async with ready(at_home) as session:
        waiting = await standby(at_home, session)
        at_home.bypass.commands.replace(
            "sh", f"#!{REAL_COMMANDS}/bin/dash\ncat >/dev/null\n"
        )
        assert await who(session) == waiting
        # It is given up soon, whatever else takes its time here.
        (mute,) = await until(lambda: shells(at_home).keys() - {waiting})
        at_home.bypass.commands.restore()
        await until(lambda: waiting not in shells(at_home))
        async with asyncio.timeout(seconds - 1):
            assert await who(session) != mute
        await until(lambda: mute not in shells(at_home))


def allow_sessions(lab: Lab, number: int) -> None:
    """Have the router's SSH server allow so many at once on one connection."""
    settings = lab.bypass.disk.path("/etc/ssh/sshd_config")
    settings.write_text(f"{settings.read_text()}MaxSessions {number}\n")
    lab.bypass.ssh.stop()
    lab.bypass.ssh.start()


@pytest.mark.parametrize("allowed", [1, 2])
async def test_a_server_that_allows_few_sessions_runs_every_script(
    at_home: Lab, allowed: int
) -> None:
    """One at a time, beside the watcher if two are allowed; with any pause between."""
    allow_sessions(at_home, allowed)

    async def runs(session: Session) -> None:
        for pause in (0, 0.003, 0.01, 0.03) * 8:
            await session.run(WHO)
            await asyncio.sleep(pause)
        for _ in range(8):
            await asyncio.sleep(0.1)
            before = shells(at_home)
            assert await who(session) in before

    async with ready(at_home) as session:
        if allowed == 1:
            await runs(session)
        else:
            async with aclosing(session.stream("echo on; cat\n", 5)) as lines:
                assert await anext(lines) == "on"
                await runs(session)


async def test_a_script_waits_a_moment_for_a_server_that_refuses_its_session(
    at_home: Lab,
) -> None:
    """The server allows one, and another is not over yet."""
    allow_sessions(at_home, 1)
    session = await open_session(at_home)
    async with aclosing(session.stream("echo on; sleep 0.2; exit\n", 5)) as lines:
        assert await anext(lines) == "on"
        await session.run(WHO)
    await session.close()


@PATIENT_SHELLS
async def test_a_waiting_shell_whose_link_is_cut_ends(
    at_home: Lab, sh: str, bash: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The silence tells it, where a shell can wait for so long and no longer."""
    give_up_after(monkeypatch, 3)
    use_shell(at_home, sh, bash=bash)
    session = await open_session(at_home)
    await session.run(WHO)
    await standby(at_home, session)
    at_home.bypass.cut_link()
    await until(lambda: not shells(at_home))
    at_home.bypass.restore_link()
    await session.close()


@SHELLS
async def test_a_waiting_shell_that_hears_of_us_stays(
    at_home: Lab, sh: str, bash: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For a script that may come much later; no process is started meanwhile."""
    give_up_after(monkeypatch, 4)
    monkeypatch.setattr(shell, "HEARTBEAT_INTERVAL", 0.3)
    use_shell(at_home, sh, bash=bash)
    async with ready(at_home) as session:
        waiting = await standby(at_home, session)
        before = shells(at_home)
        await asyncio.sleep(6)
        assert shells(at_home) == before
        assert await who(session) == waiting


async def closed(session: Session, lab: Lab) -> None:
    """Close the session."""
    await session.close()


async def dropped(session: Session, lab: Lab) -> None:
    """Kill the server's side of it."""
    lab.bypass.stop_ssh()


@SERVERS
@pytest.mark.parametrize("end", [closed, dropped])
@pytest.mark.parametrize("pause", [0, 0.004, 0.5])
async def test_nothing_is_left_of_a_session(
    at_home: Lab, end: Callable[[Session, Lab], Awaitable[None]], pause: float
) -> None:
    """No shell on the router and no task of ours, however far the spare one was."""
    before = asyncio.all_tasks()
    session = await open_session(at_home)
    await session.run(WHO)
    await asyncio.sleep(pause)
    await end(session, at_home)
    if end is closed:
        assert asyncio.all_tasks() == before
    await until(lambda: asyncio.all_tasks() == before)
    await until(lambda: not shells(at_home))
    with pytest.raises(RouterError):
        await session.run(WHO)


async def test_nothing_is_left_of_a_session_that_is_closed_amid_scripts(
    at_home: Lab,
) -> None:
    """Also where one comes to its end at that moment."""
    before = asyncio.all_tasks()
    for _ in range(12):
        async with ready(at_home) as session:
            running = [asyncio.create_task(session.run(WHO)) for _ in range(6)]
            await asyncio.wait(running, return_when=asyncio.FIRST_COMPLETED)
        await asyncio.gather(*running, return_exceptions=True)
        assert asyncio.all_tasks() == before
    await until(lambda: not shells(at_home))


_CLIENT = """
import asyncio, sys
from custom_components.bypass_router.router.ssh.credentials import Credentials
from custom_components.bypass_router.router.ssh.script import Script
from custom_components.bypass_router.router.ssh.session import Session, fetch_host_key

async def main(host, password):
    key = await fetch_host_key(host, 22)
    session = await Session.open(host, 22, key, Credentials("root", password))
    await session.run(Script().run("hello", "true"))
    print("ready", flush=True)
    await asyncio.sleep(60)

asyncio.run(main(*sys.argv[1:]))
"""


@SERVERS
async def test_nothing_is_left_of_a_client_that_is_killed(at_home: Lab) -> None:
    """As Home Assistant may be, with -9."""
    router = at_home.bypass
    client = subprocess.Popen(  # noqa: ASYNC220 - short
        [sys.executable, "-c", _CLIENT, router.address, router.root_password],
        stdout=subprocess.PIPE,
        text=True,
    )
    with client:
        assert client.stdout
        assert await asyncio.to_thread(client.stdout.readline) == "ready\n"
        await until(lambda: shells(at_home))
        client.send_signal(signal.SIGKILL)
    await until(lambda: not shells(at_home))
