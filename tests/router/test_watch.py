"""What watches a router is watched itself: what ends is noticed and replaced."""

from collections import Counter
from collections.abc import AsyncIterator
import re
import time

import pytest

from custom_components.bypass_router.router import watch
from custom_components.bypass_router.router.backend import Backend
from custom_components.bypass_router.router.monitor import Change
from custom_components.bypass_router.router.router import Router
from tests.lab.bypass import RouterOptions
from tests.lab.network import Lab
from tests.lab.waiting import soon, until

from .client import WEB, connect
from .test_monitor import Listener, listening, processes

NFT, LEGACY = RouterOptions(), RouterOptions(iptables="legacy")
# What is so long that it is taken for the sign that something hangs.
SECONDS = 8.0


@pytest.fixture
async def router(at_home: Lab) -> AsyncIterator[Router]:
    """The bypass router, connected."""
    router = await connect(at_home)
    yield router
    await router.close()


def parts(lab: Lab) -> dict[str, str]:
    """Return the process of each part of the watcher, as the guard is told them."""
    for line in lab.bypass.run("ps", "-eo", "pid=,args=").stdout.splitlines():
        if " main=" in line:
            found = dict(re.findall(r" ([a-z]+)=([0-9]+)(?= |$)", line))
            return {"guard": line.split()[0], **found}
    return {}


def left(lab: Lab) -> list[str]:
    """Return what runs on the router but for shells that wait for a script."""
    return [line for line in processes(lab) if not line.endswith("sh -s")]


async def ends(listener: Listener, within: float = SECONDS) -> None:
    """Wait until the watcher is over."""
    deadline = time.monotonic() + soon(within)
    while await listener.next(deadline - time.monotonic()) is not None:
        pass


@pytest.mark.parametrize("signal", ["KILL", "TERM", "SEGV"])
@pytest.mark.parametrize(
    ("router_options", "part"),
    [
        *((NFT, part) for part in ("nft", "routes", "connections", "main")),
        *((LEGACY, part) for part in ("nft", "looks", "connections", "main")),
    ],
    ids=lambda it: it if isinstance(it, str) else it.iptables,
)
async def test_a_part_that_ends_takes_the_others_with_it(
    at_home: Lab, router: Router, part: str, signal: str
) -> None:
    """Within seconds, and all is begun again: nothing stays, and nothing is missed."""
    idle = left(at_home)
    async with listening(router) as listener:
        at_home.bypass.run("kill", f"-{signal}", parts(at_home)[part])
        await ends(listener)
    await until(lambda: not Counter(left(at_home)) - Counter(idle))
    async with listening(router) as listener:
        at_home.bypass.run("iptables", "-t", "nat", "-I", "PREROUTING", "-j", "RETURN")
        assert await listener.next(soon(3))


@pytest.mark.parametrize("router_options", [NFT, LEGACY], ids=["nft", "legacy"])
@pytest.mark.parametrize(
    "harm", ["kill -STOP {guard}", "kill -KILL {guard}", "kill -KILL {guard} {main}"]
)
async def test_a_watcher_that_answers_no_more_is_begun_again(
    at_home: Lab, router: Router, harm: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Though nothing is left there to tell it."""
    monkeypatch.setattr(watch, "HEARTBEAT", 0.3)
    monkeypatch.setattr(watch, "SILENCE", 2.0)
    async with listening(router) as listener:
        at_home.bypass.run("sh", "-c", harm.format_map(parts(at_home)))
        await ends(listener)
    async with listening(router) as listener:
        at_home.bypass.run("iptables", "-t", "nat", "-I", "PREROUTING", "-j", "RETURN")
        assert await listener.next(soon(3))


@pytest.mark.parametrize("router_options", [LEGACY], ids=["legacy"])
@pytest.mark.parametrize("times", [1, 4])
async def test_a_loop_whose_sleep_fails_goes_on(
    at_home: Lab, router: Router, times: int
) -> None:
    """It looks on, a little sooner."""
    real = at_home.bypass.commands.replace("sleep", "")
    at_home.bypass.commands.replace(
        "sleep",
        "#!/bin/sh\n"
        f"[ $(echo >>/tmp/slept; wc -l </tmp/slept) -gt {times} ] && exec {real} $@\n"
        "exit 1\n",
    )
    async with listening(router) as listener:
        path = at_home.bypass.root / "tmp/slept"
        await until(lambda: path.exists() and path.read_text().count("\n") > times + 1)
        at_home.bypass.run("iptables", "-t", "nat", "-F")
        assert await listener.next(soon(3)) == Change()


@pytest.mark.parametrize("router_options", [LEGACY], ids=["legacy"])
async def test_a_loop_whose_sleep_always_fails_does_not_spin(
    at_home: Lab, router: Router
) -> None:
    """It ends, and that is heard of."""
    at_home.bypass.commands.hide("nft")
    router = await connect(at_home)
    async with listening(router) as listener:
        at_home.bypass.commands.replace("sleep", "#!/bin/sh\nexit 1\n")
        await ends(listener)
    await router.close()


CRASHES = """#!/bin/sh
[ "$*" = monitor ] || exec {real} "$@"
{real} monitor | while read -r line; do
  printf '%s\\n' "$line"
  case $line in *ha_bypass*) pkill -f '{real} monitor'; exit ;; esac
done
exit 139
"""


@pytest.mark.parametrize("router_options", [NFT, LEGACY], ids=["nft", "legacy"])
async def test_an_nft_that_crashes_again_and_again_is_done_without(
    at_home: Lab,
) -> None:
    """As 1.0.2 does when our table comes. Then the rules are looked at."""
    real = at_home.bypass.commands.replace("nft", "")
    at_home.bypass.commands.replace("nft", CRASHES.format(real=real))
    router = await connect(at_home, firewall=Backend.NFTABLES)
    for _ in range(3):
        assert router.reports
        async with listening(router) as listener:
            await router.rules.apply([WEB])
            await ends(listener)
        await router.rules.apply([])
    await router.rules.apply([WEB])
    async with listening(router) as listener:
        assert not router.reports
        await router.rules.read()
        assert await listener.silence(2)
        at_home.bypass.run("nft", "delete", "table", "ip", "ha_bypass")
        assert await listener.next(soon(3)) == Change()
    await router.close()


async def test_an_ip_that_hears_nothing_is_done_without(at_home: Lab) -> None:
    """Rules of routing are looked at."""
    real = at_home.bypass.commands.replace("ip", "")
    at_home.bypass.commands.replace(
        "ip", f'#!/bin/sh\ncase "$*" in *monitor*) exit 1 ;; esac\nexec {real} "$@"\n'
    )
    router = await connect(at_home)
    async with listening(router) as listener:
        await router.rules.read()
        assert router.reports
        at_home.bypass.run("ip", "rule", "add", "pref", "900", "lookup", "main")
        assert await listener.next(soon(3)) == Change()
    await router.close()


async def test_a_conntrack_that_ends_again_and_again_is_done_without(
    at_home: Lab,
) -> None:
    """Changes are heard of as before."""
    at_home.bypass.commands.replace("conntrack", "#!/bin/sh\nexit 1\n")
    router = await connect(at_home)
    for _ in range(3):
        assert router.hears_connections
        async with listening(router) as listener:
            await ends(listener)
    assert not router.hears_connections
    async with listening(router) as listener:
        at_home.bypass.run("iptables", "-t", "nat", "-F")
        assert await listener.next() == Change("iptables")
    await router.close()


async def test_a_line_that_is_very_long_deafens_no_one(
    at_home: Lab, router: Router
) -> None:
    """A rule of someone else's that names each address there is, say."""
    many = ", ".join(f"10.{n >> 16}.{n >> 8 & 255}.{n & 255}" for n in range(90_000))
    bypass = at_home.bypass
    async with listening(router) as listener:
        watched = router.watched_since
        bypass.run("nft", "add table inet other; add chain inet other c")
        await listener.quiet()
        bypass.run(
            "nft", "-f", "-", input=f"add rule inet other c ip saddr {{ {many} }}"
        )
        assert await listener.next() == Change("nft")
        bypass.run("iptables", "-t", "nat", "-I", "PREROUTING", "-j", "RETURN")
        assert await listener.next() == Change("iptables")
        assert router.watched_since == watched
    assert (await router.rules.read()).forwards == {}
