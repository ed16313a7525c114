"""A router that is broken or hostile: an error with a name, in time, and no harm."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from contextvars import ContextVar, copy_context
import dataclasses
import logging
from pathlib import Path
import re
import shlex
import socket
import time
from typing import Any, override

import asyncssh
from homeassistant.const import STATE_OFF, STATE_ON
from homeassistant.core import HomeAssistant
import pytest

from custom_components.bypass_router.router.errors import (
    BadOutput,
    ConnectionFailed,
    ConnectionLost,
    FirewallFailed,
    NoAnswer,
    NotApplied,
    NotSSH,
    RouterError,
    TimedOut,
)
from custom_components.bypass_router.router.forward import PortRange
from custom_components.bypass_router.router.iptables.rules import (
    HOOKS,
    PRE,
    Hook,
    rules_of,
)
from custom_components.bypass_router.router.monitor import Change
from custom_components.bypass_router.router.router import Router
from custom_components.bypass_router.router.ssh import (
    login as login_module,
    process as process_module,
    session as session_module,
)
from custom_components.bypass_router.router.ssh.credentials import Credentials, HostKey
from custom_components.bypass_router.router.ssh.script import Script
from custom_components.bypass_router.router.ssh.session import Session, fetch_host_key
from tests.lab.network import Lab
from tests.lab.waiting import at_once, soon, until
from tests.setup import WEB as TYPED_WEB, passes, set_up, switch_of, turn

from .client import BOTH_VARIANTS, WEB, WITHOUT_TABLES, connect, open_session
from .rules import FAR

HELLO = Script().run("said", "echo hello")
CANARY = "/tmp/canary"
# Megabytes that Home Assistant may need for a while, and seconds.
MEMORY = 150
SOON = 20.0


@contextmanager
def bounded(seconds: float = SOON, megabytes: int = MEMORY) -> Iterator[None]:
    """Fail if this process takes long over something, or much of its memory."""
    status = Path("/proc/self/status")

    def size(name: str) -> int:
        (line,) = (x for x in status.read_text().splitlines() if x.startswith(name))
        return int(line.split()[1]) // 1024

    # Makes the kernel forget the peak so far.
    Path("/proc/self/clear_refs").write_text("5")
    before = size("VmRSS")
    started = time.monotonic()
    yield
    assert time.monotonic() - started < soon(seconds)
    assert size("VmHWM") - before < megabytes


@pytest.fixture
async def router(at_home: Lab) -> AsyncIterator[Router]:
    """The bypass router, connected."""
    router = await connect(at_home)
    yield router
    await router.close()


@pytest.fixture
def short_scripts(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give a script on the router half a second."""
    monkeypatch.setattr(Session.run, "__defaults__", (0.5,))


def replace(lab: Lab, name: str, *lines: str, only: str = "") -> None:
    """Put a script in a command's place, or in that of some of its uses only."""
    real = lab.bypass.commands.replace(name, "")
    head = ["#!/bin/sh"]
    if only:
        head.append(f'case "$*" in *"{only}"*) ;; *) exec {real} "$@" ;; esac')
    lab.bypass.commands.replace(name, "\n".join([*head, *lines, ""]))


def harmed(lab: Lab) -> bool:
    """Return whether the router ran what it was only told as text."""
    return (lab.bypass.root / CANARY.lstrip("/")).exists()


async def is_well(lab: Lab, router: Router) -> bool:
    """Return whether the same router is of use again, over the same connection."""
    lab.bypass.commands.restore()
    lab.bypass.use_iptables(lab.options.iptables)
    if "443" not in lab.target.run("ss", "-Htln", "sport = 443").stdout:
        lab.target.serve("tcp", 443)
    live = await router.rules.apply([WEB])
    return live.forwards == {WEB.id: WEB} and await passes(lab)


# Floods


@pytest.mark.parametrize(
    "text", ["x", "\\360\\237\\222\\251", "\\377"], ids=["ASCII", "emoji", "no text"]
)
async def test_a_login_profile_that_never_ends_is_cut_off(
    at_home: Lab, text: str
) -> None:
    """Be it a gigabyte; the connection stays of use for whoever else is on it."""
    at_home.bypass.users.add("chatty", "secret", "/bin/bash")
    flood = f"word=$(printf '{text}%.0s' $(seq 100)); yes \"$word\" | head -c 1G\n"
    for name in (".profile", ".bashrc", ".bash_profile"):
        at_home.bypass.run("sh", "-c", f'printf %s "$0" >~chatty/{name}', flood)
    session = await open_session(at_home, Credentials("chatty", "secret"))
    for _ in range(2):
        with bounded(), pytest.raises(BadOutput):
            await session.run(HELLO)
    await session.close()


# By how much it prints; or by the time, on a machine that is busy with other work.
CUT_OFF = (BadOutput, TimedOut)


async def test_an_iptables_that_prints_without_end_is_cut_off(
    at_home: Lab, router: Router
) -> None:
    """A million rules in our chain are no answer, and not taken for none."""
    rule = "-A HA-BYPASS-PRE -m comment --comment bypass_router:ab12:01WEB -j DROP"
    await router.rules.apply([WEB])
    for flood in (
        "yes",
        "yes -- '-A HA-BYPASS-PRE -j ACCEPT' | head -n 1000000",
        f"yes -- '{rule}' | head -n 1000000",
        "tr '\\0' '\\n' </dev/zero",
        "cat /dev/zero",
        "cat /dev/urandom",
    ):
        replace(at_home, "iptables", flood, only="-S HA-BYPASS-PRE")
        with bounded(), pytest.raises(CUT_OFF):
            await router.rules.read()
        with bounded(), pytest.raises(CUT_OFF):
            await router.rules.apply([])
    assert await is_well(at_home, router)


async def test_an_nft_that_prints_without_end_is_cut_off(
    at_home: Lab, router: Router
) -> None:
    """Its chains, or the maps that are asked for where a chain decides by any."""
    await router.rules.apply([WEB])
    for flood, only in (
        ("yes", "list ruleset"),
        ("cat /dev/zero", "list ruleset"),
        ("case $* in *maps*) yes;; esac; echo 'iifname vmap @m'", "list "),
    ):
        replace(at_home, "nft", flood, only=only)
        with bounded(), pytest.raises((*CUT_OFF, FirewallFailed)):
            await router.rules.read()
    assert await is_well(at_home, router)


async def test_as_many_rules_as_are_taken_are_read_in_time(
    at_home: Lab, router: Router
) -> None:
    """Thousands of rules with tags of ours, each for a forward that is not desired."""
    rule = "-A HA-BYPASS-PRE -p tcp -m comment --comment bypass_router:ab12:N%d -j DROP"
    flood = f"echo '-N HA-BYPASS-PRE'; seq -f '{rule}' 20000 | sed 's/%d//'"
    replace(at_home, "iptables", flood.replace("%d", "%.0f"), only="-S HA-BYPASS-PRE")
    with bounded():
        live = await router.rules.read()
    assert len(live.damaged) == 20000


async def test_a_watcher_whose_line_never_ends_is_cut_off(
    at_home: Lab, router: Router
) -> None:
    """A megabyte is no line of `nft monitor`."""
    replace(at_home, "nft", "tr '\\0' x </dev/zero", only="monitor")

    async def hear() -> None:
        async for change in router.watch():
            assert change == Change()

    with bounded(), pytest.raises(BadOutput):
        await hear()
    assert await is_well(at_home, router)


# What is no text, or another


async def test_a_router_that_speaks_in_no_known_letters_is_still_a_router(
    at_home: Lab,
) -> None:
    """Its name, its system's, and rules of others, in Latin-1 and in nothing."""
    at_home.bypass.run("hostname", "b")
    (at_home.bypass.root / "etc/os-release").write_bytes(
        b'PRETTY_NAME="R\xe9seau\xff\xfe \x1b[2J \xe2\x80\xae1.0"\n'
    )
    at_home.bypass.run(
        "sh",
        "-c",
        "iptables -t nat -A PREROUTING -m comment --comment"
        """ "$(printf 'na\\357ve \\377\\376 "')" -j RETURN""",
    )
    router = await connect(at_home)
    try:
        assert router.probe.system.isprintable()
        assert await is_well(at_home, router)
        await router.rules.apply([])
    finally:
        await router.close()
    left = at_home.bypass.run("sh", "-c", "iptables-save | grep -c HA-", check=False)
    assert left.stdout == "0\n"


# Rules of ours, edited by hand


def edited(options: list[str]) -> Iterator[str]:
    """Return what a person, or a program, may make of a rule: each option changed."""
    others = {
        "-d": ["192.168.50.3/32", "192.168.50.0/24"],
        "-p": ["udp"],
        "--dport": ["7", "1:65535"],
        "--ctorigdstport": ["7", "1:65535"],
        "--ctorigdst": ["192.168.50.3", "192.168.50.0/24"],
        "--ctstate": ["SNAT", "DNAT,SNAT", "NEW", "DNAT,ESTABLISHED"],
        "--comment": [
            "bypass_router:ab12:01OTHER",
            "{tag}:",
            '" {tag}"',
            '"{tag} "',
            "bypass_router:AB12:01OTHER",
            f'"$(touch {CANARY})"',
            '""',
        ],
        "-j": ["ACCEPT", "DROP", "RETURN", "OTHER"],
        "--to-destination": [
            "192.168.50.11:443",
            "192.168.50.10:444",
            "192.168.50.10",
            "192.168.50.10-192.168.50.11:443",
            "192.168.50.10:443-444",
            "192.168.50.10:443 --random",
            "192.168.50.10:443 --persistent",
        ],
        "--datestart": ["2001-01-01T00:00:00", "2037-01-01T00:00:00"],
        "--datestop": ["2001-01-01T00:00:00", "2037-01-01T00:00:00"],
        "--to-source": ["192.168.50.3", "192.168.50.2:1024-65535", "192.168.50.5"],
    }
    for place, option in enumerate(options):
        before, after = options[:place], options[place + 1 :]
        name, value = option.split(maxsplit=1)
        changed = [f"{name} {other}" for other in others.get(name, ())]
        if name == "-j":
            # A target's own options go with it.
            changed, after = [*changed, "-g OTHER"], []
        elif name != "-m":
            changed += ["", f"! {option}"]
        for text in changed:
            yield " ".join([*before, text.replace("{tag}", value), *after])
    head, jump = " ".join(options).split(" -j ")
    for condition in (
        "-i lan",
        "! -i lan",
        "-o lan",
        "-s 203.0.113.0/24",
        "! -s 203.0.113.0/24",
        "! -f",
        "-m socket",
        "-m mark --mark 1",
        "-m limit --limit 1/hour",
        "-m statistic --mode random --probability 0",
        "-m time --datestop 2001-01-01T00:00:00",
        "-m conntrack --ctdir ORIGINAL",
        "-m conntrack --ctdir REPLY",
        "-m comment --comment another",
        "-m comment --comment bypass_router:ab12:01OTHER",
        f'-m comment --comment "; touch {CANARY} #"',
        f'-m comment --comment "--modprobe={CANARY}"',
        '-m comment --comment "it\'s \\"q\\" \\\\ `id`"',
        "-m string --string x --algo bm",
        '-m string --string "-j" --algo bm',
    ):
        yield f"{head} {condition} -j {jump}"


@BOTH_VARIANTS
async def test_rules_of_ours_that_were_edited_are_not_live_and_are_mended(
    at_home: Lab, router: Router
) -> None:
    """Each rule, in each of its words; what is not ours any more is left alone."""
    at_home.bypass.run("iptables", "-P", "FORWARD", "DROP")
    web = dataclasses.replace(WEB, until=FAR)
    kinds = [
        (hook, number)
        for hook, rule in rules_of(web, router.context)
        for number, _ in enumerate(edited([" ".join(option) for option in rule.words]))
    ]
    forwards = [
        dataclasses.replace(web, id=f"01N{number}", external=PortRange(port, port))
        for number, port in enumerate(range(20000, 20000 + len(kinds)))
    ]
    await router.rules.apply([web, *forwards])
    sound = [rules(at_home, hook) for hook in HOOKS]
    for table in ("nat", "filter"):
        at_home.bypass.run("iptables", "-t", table, "-N", "OTHER")
    for place, (forward, (hook, number)) in enumerate(
        zip(forwards, kinds, strict=True), start=2
    ):
        ((_, rule),) = [x for x in rules_of(forward, router.context) if x[0] is hook]
        text = list(edited([" ".join(option) for option in rule.words]))[number]
        # Not every kernel and table takes each of them.
        at_home.bypass.run(
            *("iptables-restore", "--noflush"),
            input=f"*{hook.table}\n-R {hook.chain} {place} {text}\nCOMMIT\n",
            check=False,
        )
    edits = sum(
        line not in before
        for hook, before in zip(HOOKS, sound, strict=True)
        for line in rules(at_home, hook)
    )
    assert edits > 100
    live = await router.rules.read()
    lost = "\n".join(
        line
        for hook, before in zip(HOOKS, sound, strict=True)
        for line in set(before) - set(rules(at_home, hook))
    )
    # Those whose rules were left alone stand behind some that are no one's now.
    touched = {f.id for f in forwards if re.search(rf":{f.id}\b", lost)}
    assert len(touched) == edits
    assert touched.isdisjoint(live.forwards)
    live = await router.rules.apply([web, *forwards])
    assert live.forwards == {forward.id: forward for forward in [web, *forwards]}
    assert not live.damaged
    for hook, before in zip(HOOKS, sound, strict=True):
        after = rules(at_home, hook)
        assert set(before) <= set(after)
        for line in set(after) - set(before):
            # No one's, since its comment was changed: who did that, wants it so.
            assert not any(
                re.search(f'"bypass_router:ab12:{f.id}(?: until [^ ]+)?"', line)
                for f in forwards
            )
    assert not harmed(at_home)
    assert await is_well(at_home, router)


def rules(lab: Lab, hook: Hook) -> list[str]:
    """Return what a chain of ours holds."""
    listing = lab.bypass.run("iptables", "-t", hook.table, "-S", hook.chain).stdout
    # By its own clock, of which no more is known than that.
    return re.sub(r"(--datest\S+ \S+):\d\d ", r"\1 ", listing).splitlines()


@BOTH_VARIANTS
async def test_a_comment_can_not_tell_of_rules_that_are_not_there(
    at_home: Lab, router: Router
) -> None:
    """It may hold a line break, and then all that we look for."""
    for hook, rule in rules_of(WEB, router.context):
        for chain, command in (
            (hook.chain, ("-N", hook.chain)),
            (hook.builtin, ("-I", hook.builtin, "-j", hook.chain)),
        ):
            at_home.bypass.run("iptables", "-t", hook.table, *command)
            forged = f"-A {hook.chain} {rule}"
            for break_ in ("\n", "\u2028", "\r", "\x0b", "\x1e", "\x85"):
                comment = f"x{break_}{forged}{break_}"
                if chain == hook.chain and len(comment.encode()) < 256:
                    at_home.bypass.run(
                        *("iptables", "-t", hook.table, "-A", hook.chain),
                        *("-m", "comment", "--comment", comment, "-j", "RETURN"),
                    )
    live = await router.rules.read()
    assert live.forwards == {}
    assert live.damaged == frozenset()
    assert not await passes(at_home)


@BOTH_VARIANTS
async def test_a_rule_of_ours_can_not_make_the_firewall_run_a_program(
    at_home: Lab, router: Router
) -> None:
    """Whatever its comments, prefixes and line breaks say, when it is removed.

    Even where iptables-legacy would look for such a program, as after a boot.
    """
    (at_home.bypass.root / "tmp/run").write_text(f"#!/bin/sh\ntouch {CANARY}\n")
    (at_home.bypass.root / "tmp/run").chmod(0o755)
    for name in ("iptables", "iptables-restore"):
        real = f"/mnt/replaced/{name}"
        hidden = f'{WITHOUT_TABLES} && exec {real} "$@"'
        replace(at_home, name, f"exec unshare --mount sh -c '{hidden}' sh \"$@\"")
    # What it needs a module for, as far as it can see.
    load = "--modprobe=/tmp/run -m connmark --mark 1"
    trap = f"*filter\n-A FORWARD {load}\nCOMMIT\n"
    at_home.bypass.run("iptables-restore", "--noflush", input=trap, check=False)
    assert harmed(at_home) == (at_home.options.iptables == "legacy")
    at_home.bypass.run("rm", "-f", CANARY)
    await router.rules.apply([WEB])
    tag = ("-m", "comment", "--comment", "bypass_router:ab12:01WEB")
    forged = f"-A {PRE.chain} {load} {shlex.join(tag)} -j RETURN"
    for text in (
        "--modprobe=/tmp/run",
        "--mod",
        "-M",
        "x -M /tmp/run",
        "-t",
        "$(/tmp/run)",
        '" --modprobe=/tmp/run "',
        f"x\n{forged}\n",
        "\\",
        '\\"',
        "'",
    ):
        at_home.bypass.run(
            *("iptables", "-t", "nat", "-A", PRE.chain, *tag),
            *("-m", "comment", "--comment", text, "-j", "RETURN"),
        )
    with suppress(FirewallFailed):
        await router.rules.apply([WEB])
    assert not harmed(at_home)
    assert (await router.rules.read()).forwards == {WEB.id: WEB}
    assert await is_well(at_home, router)


# A firewall command that lies


async def test_an_iptables_that_prints_nonsense_is_not_taken_for_an_empty_one(
    at_home: Lab, router: Router
) -> None:
    """A switch would show off while the port is open."""
    await router.rules.apply([WEB])
    for lie in (
        "echo 'Guru Meditation'",
        "true",
        "echo; echo; echo",
        "echo '-A PREROUTING -j ACCEPT'",
        "printf '\\377\\376\\0'",
        "echo '-N HA-BYPASS-PREFIX'",
    ):
        for only in ("-S HA-BYPASS-PRE", "-S POSTROUTING"):
            replace(at_home, "iptables", lie, only=only)
            with pytest.raises(BadOutput):
                await router.rules.read()
            with pytest.raises(BadOutput):
                await router.rules.apply([])
    replace(at_home, "iptables", "kill -9 $$", only="-S HA-BYPASS-PRE")
    with pytest.raises(FirewallFailed):
        await router.rules.read()
    assert await is_well(at_home, router)


async def test_an_iptables_that_always_says_that_all_is_well_is_not_believed(
    at_home: Lab, router: Router
) -> None:
    """It answers every question with an empty chain."""
    replace(
        at_home,
        "iptables",
        'while [ "$1" != -S ]; do shift; done',
        'case "$2" in HA-*) echo "-N $2" ;; *) echo "-P ${2:-FORWARD} ACCEPT" ;; esac',
        only="-S",
    )
    replace(at_home, "iptables-restore", "cat >/dev/null")
    assert (await router.rules.read()).forwards == {}
    with pytest.raises(NotApplied):
        await router.rules.apply([WEB])
    assert await is_well(at_home, router)


@pytest.mark.usefixtures("short_scripts")
async def test_an_iptables_that_hangs_hangs_nobody(
    at_home: Lab, router: Router
) -> None:
    """Nor does one that will not be told to stop."""
    for hang in ("sleep 60", "trap '' TERM HUP INT; sleep 60"):
        replace(at_home, "iptables", hang, only="-S HA-BYPASS-PRE")
        for work in (router.rules.read, lambda: router.rules.apply([WEB])):
            with bounded(2), pytest.raises(TimedOut):
                await work()
    assert await is_well(at_home, router)


async def test_an_iptables_that_guesses_our_marks_says_nothing(
    at_home: Lab, router: Router
) -> None:
    """The word in them is another each time, and not to be seen among processes."""
    rules = [f"-A {hook.chain} {rule}" for hook, rule in rules_of(WEB, router.context)]
    (at_home.bypass.root / "tmp/rules").write_text("\n".join(rules))
    word = "bypass-router-0123456789abcdef"
    replace(
        at_home,
        "iptables",
        "ps -eo args= >>/tmp/seen; cat /proc/$PPID/environ >>/tmp/seen",
        f"for word in {word} $(grep -ao 'bypass-router-[0-9a-f]*' /tmp/seen); do",
        '  printf "\\n%s begin chain.HA-BYPASS-PRE\\n" "$word"; cat /tmp/rules',
        '  printf "\\n%s end 0\\n\\n%s done\\n" "$word" "$word"',
        "done",
        "echo '-N HA-BYPASS-PRE'",
        only="-S HA-BYPASS-PRE",
    )
    live = await router.rules.read()
    assert live.forwards == {}
    seen = (at_home.bypass.root / "tmp/seen").read_text(errors="replace")
    assert "bypass-router-" not in seen
    assert await is_well(at_home, router)


async def test_tags_of_others_by_the_thousand_are_theirs(
    at_home: Lab, router: Router
) -> None:
    """They make no forward of ours live, none dead, and are not touched."""
    await router.rules.apply([WEB])
    rule = "-p tcp -m comment --comment bypass_router:x%.0f:A -j ACCEPT"
    replace(
        at_home,
        "iptables",
        f"seq -f '-A HA-BYPASS-PRE {rule}' 5000; exec /mnt/sbin/xtables-nft-multi"
        ' iptables "$@"',
        only="-S HA-BYPASS-PRE",
    )
    with bounded():
        live = await router.rules.read()
        assert len(live.foreign) == 5000
        assert live.forwards == {WEB.id: WEB}
        assert not router.rules.differs([WEB])
    assert await is_well(at_home, router)


# An SSH server that is none


@pytest.fixture
def local(socket_enabled: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a test serve on this machine, and be quick about what is silent."""
    for module in (login_module, process_module, session_module):
        monkeypatch.setattr(module, "CONNECT_TIMEOUT", soon(0.4))
    monkeypatch.setattr(login_module, "LOGIN_TIMEOUT", soon(0.4))
    logging.getLogger("asyncssh").setLevel(logging.CRITICAL)


KEY = asyncssh.generate_private_key("ssh-ed25519")
PINNED = HostKey.of(KEY)
ACCOUNT = Credentials("root", "secret")


class Server(asyncssh.SSHServer):
    """A server that lets everyone in, and then does something to them."""

    def __init__(
        self, then: Callable[[asyncssh.SSHServerConnection], None] | None = None
    ) -> None:
        """Take what is done to a client that is in."""
        self._then = then
        self._connection: asyncssh.SSHServerConnection | None = None

    @override
    def connection_made(self, conn: asyncssh.SSHServerConnection) -> None:
        self._connection = conn

    @override
    def password_auth_supported(self) -> bool:
        return True

    @override
    def validate_password(self, username: str, password: str) -> bool:
        return True

    @override
    def auth_completed(self) -> None:
        if self._then and self._connection:
            asyncio.get_running_loop().call_later(0.01, self._then, self._connection)


async def answer(process: asyncssh.SSHServerProcess[str]) -> None:
    """Run what a client sends, in a real shell."""
    assert process.command
    pipe, nothing = asyncio.subprocess.PIPE, asyncio.subprocess.DEVNULL
    shell = await asyncio.create_subprocess_exec(
        "sh", "-c", process.command, stdin=pipe, stdout=pipe, stderr=nothing
    )
    assert shell.stdin
    assert shell.stdout

    async def hear(stdin: asyncio.StreamWriter) -> None:
        with suppress(asyncssh.Error, OSError):
            while text := await process.stdin.read(65536):
                stdin.write(text.encode())
        stdin.close()

    hearing = asyncio.create_task(hear(shell.stdin))
    while part := await shell.stdout.read(65536):
        with suppress(OSError):
            process.stdout.write(part.decode())
    await shell.wait()
    hearing.cancel()
    process.exit(0)


async def silence(process: asyncssh.SSHServerProcess[str]) -> None:
    """Take a script, and say nothing about it."""
    await process.wait_closed()


_SERVER: ContextVar[object] = ContextVar("server")


@asynccontextmanager
async def running(
    start: Coroutine[Any, Any, asyncio.Server | asyncssh.SSHAcceptor],
) -> AsyncIterator[int]:
    """Start a server, and give its port; close it, and wait until it is all over.

    What it has begun for whoever came has its context, and is no other server's.
    """
    own = object()
    context = copy_context()
    context.run(_SERVER.set, own)
    server = await asyncio.create_task(start, context=context)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        await until(lambda: all(of_server(task) != own for task in asyncio.all_tasks()))


def of_server(task: asyncio.Task[Any]) -> object:
    """Return for which server a task works, if for one."""
    return task.get_context().get(_SERVER)


async def serve(
    server: Callable[[], asyncssh.SSHServer],
    script: Callable[[asyncssh.SSHServerProcess[str]], object] | None = answer,
) -> asyncssh.SSHAcceptor:
    """Start an SSH server on this machine, which does not ask for its own name."""
    return await asyncssh.create_server(
        server,
        *("127.0.0.1", 0),
        server_host_keys=[KEY],
        process_factory=script,
        gss_host=None,
    )


@pytest.mark.usefixtures("local")
async def test_a_server_here_asks_for_no_name_and_waits_for_no_others_clients(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Each ends by itself, be this machine's name known to anyone or not."""

    def ask(*_: object) -> str:
        raise AssertionError("somebody asks for this machine's name")

    monkeypatch.setattr(socket, "getfqdn", ask)
    async with running(serve(Server, silence)) as port:
        session = await Session.open("127.0.0.1", port, PINNED, ACCOUNT)
        async with running(serve(Server)) as other:
            assert await say_hello(other) == "hello"
        assert not session.closed
        await session.close()


async def say_hello(port: int) -> str:
    """Fetch the server's key, log in, and run a script."""
    await fetch_host_key("127.0.0.1", port)
    session = await Session.open("127.0.0.1", port, PINNED, ACCOUNT)
    try:
        return (await session.run(HELLO, soon(0.5)))["said"].output
    finally:
        await session.close()


@pytest.mark.usefixtures("local")
@pytest.mark.parametrize(
    ("said", "error"),
    [
        (b"", NoAnswer),
        (b"SSH-2.0-x\r\n", NoAnswer),
        (b"x" * 100_000, NotSSH),
        (b"HTTP/1.1 400 Bad Request\r\n\r\n" * 1000, NotSSH),
        (b"SSH-1.5-old\r\n", NotSSH),
        (b"SSH-2.0-\xff\xfe\r\n" + b"\0" * 100, NotSSH),
        # So long a packet that it never ends; asyncssh 2.24.0 waits for it.
        (
            b"SSH-2.0-x\r\n" + b"\xff" * 100,
            NoAnswer if asyncssh.__version__ == "2.24.0" else NotSSH,
        ),
        (b"SSH-2.0-x\r\n\0\0\0\x0c\x0a\x14" + b"\0" * 10, NotSSH),
        (b"\0" * 2_000_000, NotSSH),
    ],
    ids=lambda value: repr(value[:16]) if isinstance(value, bytes) else None,
)
async def test_what_listens_and_speaks_no_ssh_is_told_in_time(
    said: bytes, error: type[ConnectionFailed]
) -> None:
    """It may say nothing, too much, or things that make no sense."""

    async def speak(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(said)
        with suppress(OSError):
            await reader.read()
        writer.close()

    async with running(asyncio.start_server(speak, "127.0.0.1", 0)) as port:
        with bounded(2), pytest.raises(error):
            await fetch_host_key("127.0.0.1", port)
        with bounded(2), pytest.raises(error):
            await Session.open("127.0.0.1", port, PINNED, ACCOUNT)


class Wire:
    """A wire to a server, that ends or garbles what the server says."""

    def __init__(self, port: int) -> None:
        """Take the server's port."""
        self._port = port
        self.length: int | None = None
        """How much passes until it is cut."""
        self.garbled: tuple[int, int] | None = None
        """A place, and the bits that are changed there."""
        self.longest = 0
        """How much passed at the most."""

    async def connect(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        """Carry both ways until one ends."""
        theirs, ours = await asyncio.open_connection("127.0.0.1", self._port)
        ways = [
            asyncio.create_task(way)
            for way in (self._listen(theirs, writer), _carry(reader, ours))
        ]
        await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        for end in (ours, writer):
            end.transport.abort()
        for way in ways:
            way.cancel()
        await asyncio.gather(*ways, return_exceptions=True)

    async def _listen(
        self, theirs: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        """Pass on what the server says, or what becomes of it."""
        said = 0
        while said != self.length and (part := await theirs.read(65536)):
            changed = bytearray(part)
            if self.length is not None:
                del changed[self.length - said :]
            if self.garbled and 0 <= self.garbled[0] - said < len(part):
                changed[self.garbled[0] - said] ^= self.garbled[1]
            writer.write(changed)
            await writer.drain()
            said += len(changed)
            self.longest = max(self.longest, said)


async def _carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while part := await reader.read(65536):
            writer.write(part)


@asynccontextmanager
async def wired() -> AsyncIterator[tuple[Wire, int]]:
    """Give the wire to a server that works, and the port at its near end."""
    async with running(serve(Server)) as far:
        wire = Wire(far)
        start = asyncio.start_server(wire.connect, "127.0.0.1", 0)
        async with running(start) as near:
            assert await say_hello(near) == "hello"
            yield wire, near


@pytest.mark.usefixtures("local")
async def test_a_server_that_goes_away_is_told_whatever_it_had_said_until_then() -> (
    None
):
    """At each stage: greeting, keys, login, shell, and in the middle of an answer."""
    async with wired() as (wire, port):
        whole = wire.longest
        for wire.length in range(0, whole - 200, 67):
            with bounded(3), pytest.raises(RouterError):
                await say_hello(port)


@pytest.mark.usefixtures("local")
async def test_a_server_whose_words_are_garbled_is_told() -> None:
    """At any place: most bytes matter before the encryption begins, and all after."""
    async with wired() as (wire, port):
        for place in (*range(0, 1200, 23), *range(1200, wire.longest, 97)):
            wire.garbled = (place, 0xFF if place % 2 else 0x01)
            with bounded(3), suppress(RouterError):
                assert await say_hello(port) == "hello"


@pytest.mark.usefixtures("local")
async def test_a_login_that_never_ends_is_given_up() -> None:
    """The server has proved its key, and then says no more."""

    class Endless(Server):
        @override
        async def begin_auth(self, username: str) -> bool:
            assert self._connection
            await self._connection.wait_closed()
            return True

    async with running(serve(Endless)) as port:
        with pytest.raises(NoAnswer):
            await Session.open("127.0.0.1", port, PINNED, ACCOUNT)


@pytest.mark.usefixtures("local")
@pytest.mark.parametrize("content", [b"", b"\0\0\0\0\0", b"\xff" * 40, b"\0" * 40])
async def test_a_server_that_breaks_its_own_protocol_is_told(
    content: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each kind of message there is once we are logged in, and it makes no sense."""
    # All at once, logging in takes longer.
    for module in (login_module, process_module, session_module):
        monkeypatch.setattr(module, "CONNECT_TIMEOUT", 10)

    async def breaks(kind: int) -> None:
        def send(connection: asyncssh.SSHServerConnection) -> None:
            connection.send_packet(kind, content)

        async with running(serve(lambda: Server(send), silence)) as port:
            session = await Session.open("127.0.0.1", port, PINNED, ACCOUNT)
            with bounded(2), pytest.raises((ConnectionLost, TimedOut, BadOutput)):
                await session.run(HELLO, 0.1)
            with suppress(RouterError, TimeoutError):
                async with asyncio.timeout(0.1):
                    await anext(session.stream("true", 9), None)
            await session.close()

    kinds = [1, 2, 3, 4, 20, 21, 50, 52, 80, 81, 82, *range(90, 101), 192]
    await at_once(*map(breaks, kinds))


@pytest.mark.usefixtures("local")
async def test_a_server_that_opens_no_shell_is_told() -> None:
    """Neither whoever asks nor whoever watches waits for ever."""
    never = asyncio.Event()

    class Mute(Server):
        @override
        async def session_requested(self) -> bool:
            await never.wait()
            return False

    async with running(serve(Mute, None)) as port:
        session = await Session.open("127.0.0.1", port, PINNED, ACCOUNT)
        with bounded(2), pytest.raises(TimedOut):
            await session.run(HELLO)
        with bounded(2), pytest.raises(TimedOut):
            await anext(session.stream("true", 9))
        never.set()
        await session.close()


# A watcher that lies, seen from a switch


LOOKS = "/tmp/looks"


def count_looks(lab: Lab) -> None:
    """Count how often the rules are looked at."""
    real = lab.bypass.commands.replace("iptables", "")
    lab.bypass.commands.replace(
        "iptables",
        "#!/bin/sh\n"
        f'case "$*" in *"-S HA-BYPASS-FWD"*) echo >>{LOOKS};; esac\n'
        f'exec {real} "$@"\n',
    )


def looks(lab: Lab) -> int:
    """Return how often that was."""
    path = lab.bypass.root / LOOKS.lstrip("/")
    return path.read_text().count("\n") if path.exists() else 0


TELLING = "add rule ip nat PREROUTING counter\\n# new generation 9 by process 9 (x)\\n"


@pytest.mark.parametrize(
    "monitor",
    [
        f"yes \"$(printf '{TELLING}')\"",
        f"while printf '{TELLING}'; do sleep 0.05; done",
        "cat /dev/urandom",
        "true",
    ],
    ids=["flood", "trickle", "no text", "no word"],
)
async def test_a_watcher_that_lies_wears_nobody_out_and_hides_nothing(
    hass: HomeAssistant, at_home: Lab, monitor: str
) -> None:
    """A few looks a second, a part of the time; the switch works, and is right."""
    at_home.target.serve("tcp", 443)
    # It joins the kernel's listeners as well, which the watcher waits for.
    real = "/mnt/replaced/nft"
    replace(at_home, "nft", f"{real} monitor >/dev/null &", monitor, only="monitor")
    count_looks(at_home)
    with bounded(30):
        entry = await set_up(hass, at_home, TYPED_WEB)
        switch = switch_of(hass, entry, "Web")
        await turn(hass, "on", switch)
        assert hass.states.get(switch).state == STATE_ON
        assert await passes(at_home)
        before, busy, began = looks(at_home), time.thread_time(), time.monotonic()
        await asyncio.sleep(1.5)
        looked, seconds = looks(at_home) - before, time.monotonic() - began
        assert looked <= 10 * seconds
        assert time.thread_time() - busy < seconds / 2
        await turn(hass, "off", switch)
        assert hass.states.get(switch).state == STATE_OFF
        assert not await passes(at_home)
        await hass.config_entries.async_unload(entry.entry_id)
