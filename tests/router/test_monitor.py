"""A router tells of changes of its rules, and keeps nothing running after us."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
import re
import time

import pytest

from custom_components.bypass_router.router import watch, watch_script
from custom_components.bypass_router.router.errors import ConnectionLost
from custom_components.bypass_router.router.forward import Forward
from custom_components.bypass_router.router.monitor import Change, Monitor
from custom_components.bypass_router.router.router import Router
from tests.lab.bypass import RouterOptions
from tests.lab.disk import REAL_COMMANDS
from tests.lab.network import Lab
from tests.lab.user_namespace import rules_the_host
from tests.lab.waiting import LIMIT, soon, until

from .client import connect, give_up_after

WEB = Forward.parse("01WEB", protocol="tcp", external_port="80", target="192.168.50.10")
LEGACY = RouterOptions(iptables="legacy")
BOTH = pytest.mark.parametrize(
    "router_options", [RouterOptions(), LEGACY], ids=["nft", "legacy"]
)


class Listener:
    """Hears the changes of a router in the background."""

    def __init__(self, router: Router) -> None:
        """Start to listen."""
        self._changes: asyncio.Queue[Change | None] = asyncio.Queue()
        self.task = asyncio.create_task(self._listen(router))

    async def _listen(self, router: Router) -> None:
        try:
            async for told in router.watch():
                if isinstance(told, Change):
                    self._changes.put_nowait(told)
        finally:
            self._changes.put_nowait(None)

    async def next(self, seconds: float = LIMIT) -> Change | None:
        """Return the next change; None if the watcher has ended."""
        return await asyncio.wait_for(self._changes.get(), seconds)

    async def silence(self, seconds: float) -> bool:
        """Return whether nothing is heard for so long."""
        try:
            await self.next(seconds)
        except TimeoutError:
            return True
        return False

    async def quiet(self) -> None:
        """Wait until what was said so far has been heard."""
        while not await self.silence(soon(0.3)):
            pass


@asynccontextmanager
async def listening(router: Router) -> AsyncIterator[Listener]:
    """A listener that has heard that it hears."""
    listener = Listener(router)
    assert await listener.next() == Change()
    try:
        yield listener
    finally:
        listener.task.cancel()
        await asyncio.gather(listener.task, return_exceptions=True)


@asynccontextmanager
async def watching(lab: Lab) -> AsyncIterator[tuple[Router, Listener]]:
    """A router that was connected just now, and one who listens to it."""
    router = await connect(lab)
    try:
        async with listening(router) as listener:
            yield router, listener
    finally:
        await router.close()


@pytest.fixture
def idle(at_home: Lab) -> list[str]:
    """What runs on the bypass router before anyone connects."""
    return processes(at_home)


@pytest.fixture
async def router(at_home: Lab) -> AsyncIterator[Router]:
    """The bypass router, connected."""
    router = await connect(at_home)
    yield router
    await router.close()


@pytest.fixture
async def listener(router: Router) -> AsyncIterator[Listener]:
    """A listener that has heard that it hears."""
    async with listening(router) as listener:
        yield listener


def processes(lab: Lab) -> list[str]:
    """Return the commands that run on the router, but for its SSH server."""
    listing = lab.bypass.run("ps", "-eo", "pid=,args=").stdout.splitlines()
    return [
        line
        for line in listing
        if not any(word in line for word in ("sshd", "ps -eo", " sleep inf", "kthread"))
    ]


@pytest.mark.parametrize(
    ("command", "cause"),
    [
        ("iptables -t nat -A POSTROUTING -j RETURN", "iptables"),
        ("iptables -t nat -F", "iptables"),
        ("iptables -I FORWARD -j DROP", "iptables"),
        ("nft flush ruleset", "nft"),
        ("nft add rule ip nat PREROUTING counter", "nft"),
        ("iptables-restore </dev/stdin", "iptables-restor"),
    ],
)
async def test_the_program_that_changed_the_rules_is_named(
    at_home: Lab, router: Router, listener: Listener, command: str, cause: str
) -> None:
    """Within a fraction of a second."""
    await router.rules.apply([WEB])
    await listener.quiet()
    router.rules.cause_of([])
    started = time.monotonic()
    at_home.bypass.run("sh", "-c", command, input="*nat\nCOMMIT\n")
    heard = await listener.next()
    assert heard == Change(cause)
    assert router.rules.cause_of([heard]) == cause
    assert time.monotonic() - started < soon(0.5)


@pytest.mark.parametrize("router_options", [RouterOptions(firewall="drop")])
async def test_our_own_changes_are_nobodys_fault(
    router: Router, listener: Listener
) -> None:
    """They are reported, one for each table, and known as ours."""
    for desired in ([WEB], []):
        await router.rules.apply(desired)
        own = [Change("iptables-restor")] * 2
        assert [await listener.next() for _ in own] == own
        assert router.rules.cause_of([*own, Change("nft")]) == "nft"
        assert router.rules.cause_of([Change("iptables-restor")]) == "iptables-restor"


async def test_what_does_not_concern_us_is_not_heard(
    at_home: Lab, listener: Listener
) -> None:
    """Other families' tables change all the time on some routers."""
    at_home.bypass.run("nft", "add table inet fw4")
    at_home.bypass.run("nft", "add set inet fw4 seen { type ipv4_addr; }")
    at_home.bypass.run("nft", "add element inet fw4 seen { 192.0.2.1 }")
    assert await listener.silence(0.5)


@pytest.mark.parametrize("router_options", [LEGACY], ids=["legacy"])
@pytest.mark.parametrize(
    "command",
    [
        "iptables -t nat -F",
        "iptables -t nat -I PREROUTING -j RETURN",
        "iptables -I FORWARD -j DROP",
        "iptables -t nat -F HA-BYPASS-PRE",
    ],
)
async def test_changes_by_legacy_iptables_are_noticed_by_looking(
    at_home: Lab, router: Router, listener: Listener, command: str
) -> None:
    """Within two seconds; and what we have done ourselves is no news."""
    await router.rules.apply([WEB])
    assert await listener.silence(2.5)
    at_home.bypass.run("sh", "-c", command)
    assert await listener.next(soon(2)) == Change()
    assert await listener.silence(1.5)


async def test_a_router_without_nft_is_watched_all_the_same(at_home: Lab) -> None:
    """By looking."""
    at_home.bypass.commands.hide("nft")
    async with watching(at_home) as (_, listener):
        at_home.bypass.run("iptables", "-t", "nat", "-F")
        assert await listener.next(soon(2)) == Change()


def late(name: str, first: str) -> str:
    """Return a script for a command which does something else before it listens."""
    real = f"{REAL_COMMANDS}/replaced/{name}"
    return f"""#!/bin/sh
case "$*" in *monitor*) {first} ;; esac
exec {real} "$@"
"""


async def test_one_who_is_slow_to_listen_misses_nothing(at_home: Lab) -> None:
    """Though others begin to listen to something else, and end, in the meantime."""
    bypass = at_home.bypass
    # One of an earlier connection, which ends only now.
    bypass.run("sh", "-c", "nft monitor >/dev/null 2>&1 & echo $! >/run/earlier")
    bypass.commands.replace(
        "nft", late("nft", "sleep 0.2; kill $(cat /run/earlier); sleep 0.3")
    )
    async with watching(at_home) as (_, listener):
        bypass.run("iptables", "-t", "nat", "-F")
        assert await listener.next() == Change("iptables")


async def test_a_rule_of_routing_is_heard_of_from_the_beginning(at_home: Lab) -> None:
    """Though `ip` is slow to listen."""
    bypass = at_home.bypass
    bypass.commands.replace("ip", late("ip", "sleep 0.5"))
    async with watching(at_home) as (_, listener):
        bypass.run("sh", "-c", "ip rule add pref 900 from 192.0.2.1 lookup main")
        assert await listener.next() == Change()


async def test_changes_that_the_router_has_lost_count_as_changes(
    at_home: Lab, listener: Listener
) -> None:
    """More happened than the kernel keeps for one who is slow to listen."""
    bypass = at_home.bypass
    # In a container with a root of its own, the kernel takes and keeps less.
    count, times = (80_000, 2) if rules_the_host() else (1_500, 60)
    many = ", ".join(f"10.{n >> 16}.{n >> 8 & 255}.{n & 255}" for n in range(count))
    bypass.run("nft", "add table inet others")
    bypass.run("nft", "add set inet others many { type ipv4_addr; }")
    bypass.run("pkill", "-STOP", "-x", "nft")
    for _ in range(times):
        bypass.run("nft", "-f", "-", input=f"add element inet others many {{{many}}}")
        bypass.run("nft", "flush set inet others many")
    bypass.run("iptables", "-t", "nat", "-I", "PREROUTING", "-j", "RETURN")
    bypass.run("pkill", "-CONT", "-x", "nft")
    # All that was kept comes before it.
    assert await listener.next() == Change()


async def test_a_router_that_never_listens_is_looked_at(
    at_home: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its `nft` runs, and hears nothing."""
    monkeypatch.setattr(watch_script, "LISTEN_TRIES", 10)
    at_home.bypass.commands.replace("nft", late("nft", "exec sleep 60"))
    async with watching(at_home) as (router, listener):
        assert not router.reports
        at_home.bypass.run("iptables", "-t", "nat", "-I", "PREROUTING", "-j", "RETURN")
        assert await listener.next(soon(2)) == Change()


@BOTH
@pytest.mark.parametrize("end", ["closed", "killed", "dropped"])
async def test_no_process_stays_on_the_router(
    at_home: Lab, idle: list[str], router: Router, end: str
) -> None:
    """Whether we close the connection, are killed, or sshd's process is."""
    listener = Listener(router)
    assert await listener.next() == Change()
    assert len(processes(at_home)) > len(idle)
    if end == "closed":
        await router.close()
    elif end == "killed":
        router._session._connection._transport.abort()  # noqa: SLF001 - as the kernel does for a process that is killed
    else:
        at_home.bypass.drop_logins()
    await until(lambda: processes(at_home) == idle)
    listener.task.cancel()
    await asyncio.gather(listener.task, return_exceptions=True)


async def test_a_router_that_hears_no_more_of_us_gives_up(
    at_home: Lab, idle: list[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """A link that is cut brings no end of stdin; the silence tells."""
    give_up_after(monkeypatch, 1)
    router = await connect(at_home)
    listener = Listener(router)
    assert await listener.next() == Change()
    at_home.bypass.cut_link()
    await until(lambda: processes(at_home) == idle)
    listener.task.cancel()
    at_home.bypass.restore_link()
    await router.close()


async def test_a_router_that_hears_of_us_goes_on(
    at_home: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As long as we are there."""
    give_up_after(monkeypatch, 4)
    monkeypatch.setattr(watch, "HEARTBEAT", 0.3)
    async with watching(at_home) as (_, listener):
        assert await listener.silence(6)
        at_home.bypass.run("iptables", "-t", "nat", "-F")
        heard = await listener.next()
        assert heard is not None
        assert heard.cause == "iptables"


async def test_a_quiet_minute_starts_no_process(
    at_home: Lab, listener: Listener
) -> None:
    """Where `nft monitor` tells; seen by the kernel's count, for a while."""

    def forks() -> int:
        stat = at_home.bypass.run("sh", "-c", "cat /proc/stat; ls -d /proc/[0-9]*")
        return max(
            int(line.removeprefix("/proc/"))
            for line in stat.stdout.splitlines()
            if line.startswith("/proc/") and line[6:].isdecimal()
        )

    assert await listener.silence(0.3)
    before = forks()
    assert await listener.silence(3)
    # Those that looked: a shell, cat and ls.
    assert forks() - before <= 6


async def test_a_watcher_that_is_killed_ends_and_can_be_started_anew(
    at_home: Lab, router: Router, listener: Listener
) -> None:
    """The connection is good all the while."""
    at_home.bypass.run("pkill", "-9", "-f", "nft monitor")
    assert await listener.next() is None
    assert (await router.rules.read()).forwards == {}
    again = Listener(router)
    assert await again.next() == Change()
    again.task.cancel()


async def test_a_lost_connection_is_an_error_to_who_listens(
    at_home: Lab, listener: Listener
) -> None:
    """And no end without a reason."""
    at_home.bypass.stop_ssh()
    assert await listener.next() is None
    with pytest.raises(ConnectionLost):
        await listener.task


UP = "9: tun0: <POINTOPOINT,MULTICAST,NOARP,UP,LOWER_UP> mtu 1500 qdisc noqueue state"
DOWN = UP.replace("NOARP,UP,LOWER_UP", "NOARP")


@pytest.mark.parametrize(
    ("line", "heard"),
    [
        ("default dev tun0 scope link ", True),
        ("default ", True),
        ("Deleted 203.0.113.0/24 via 10.8.0.1 dev tun0 ", True),
        ("0.0.0.0/1 dev tun0 scope link ", True),
        ("blackhole 198.51.100.7 ", True),
        ("10.8.0.0/24 dev tun0 scope link ", False),
        ("192.0.2.0/24 dev tun0 proto kernel scope link src 192.0.2.1 ", False),
        ("local 192.0.2.1 dev tun0 table local proto kernel scope host ", False),
        ("10.0.0.0/8 dev lan table 7077 proto 217 ", True),
        (f"{DOWN} DOWN group default ", True),
        (DOWN.replace("tun0", "veth1@if2") + " DOWN group default ", True),
        (f"{UP} UP group default ", False),
        (UP.replace("NOARP,", "").replace(",LOWER_UP", "") + " DOWN ", False),
        (DOWN.replace("noqueue", "noop") + " DOWN group default ", False),
        ("    link/ether aa:cd:f0:3b:ab:7a brd ff:ff:ff:ff:ff:ff", False),
        ("999.0.0.0/8 dev tun0 ", False),
    ],
)
def test_what_may_lead_answers_elsewhere_is_heard(line: str, *, heard: bool) -> None:
    """Of an interface that goes down as well: the kernel names no route of its own."""
    monitor = Monitor([], sudo=False, by_report=True)
    word = re.search(r"bypass-router-[0-9a-f]+", monitor.text)
    assert word
    assert list(monitor.heard(f"{word[0]} ready")) == [Change()]
    assert list(monitor.heard(line)) == [Change()] * heard
