"""A router that can't look up its own name, as Debian's sudo does each time."""

import asyncio
from functools import partial

import pytest

from custom_components.bypass_router.router.backend import Backend
from custom_components.bypass_router.router.errors import (
    BadOutput,
    NotPrivileged,
    RouterError,
    TimedOut,
)
from custom_components.bypass_router.router.router import Router
from custom_components.bypass_router.router.ssh import login, rights
from custom_components.bypass_router.router.ssh.authorized_keys import generate_key
from custom_components.bypass_router.router.ssh.script import Script
from custom_components.bypass_router.router.ssh.session import Session
from tests.lab.bypass import RouterOptions
from tests.lab.disk import REAL_COMMANDS
from tests.lab.network import Lab
from tests.lab.resolver import dead_resolver
from tests.lab.waiting import soon, until, until_told

from . import test_sudo
from .client import WEB, connect, give_up_after, open_session
from .test_monitor import listening
from .test_shell import SERVERS, allow_sessions, shells
from .test_sudo import (
    ALL,
    BY_NFT,
    FOR_NFT,
    LOG,
    NAME,
    SUDOERS,
    allow,
    as_account,
    connected,
    does_the_rest,
    hears,
    passes,
    works,
)

own = test_sudo.own
SLEEP = Script().run("sleep", "sh -c 'echo $PPID >/tmp/ran; exec sleep 2'")


@SERVERS
async def test_an_account_that_may_do_all_switches_without_a_look_up(own: Lab) -> None:
    """Names are looked up while it connects, and never again."""
    allow(own, ALL)
    with dead_resolver(own) as resolver:
        assert as_account(own, "sudo -n true")[0] == 0
        once = resolver.lookups
        assert once
        async with connected(own, firewall=Backend.AUTO) as router:
            assert router.probe.rights.all
            assert router.probe.rights.slow
            assert router.probe.rights.nameless
            assert resolver.lookups
            await router.rules.read()
            async with listening(router):
                for _ in range(8):
                    await router.rules.apply([WEB])
                    assert await passes(own)
                    await router.rules.apply([])
                    await router.close_connections([WEB])
                    await router.rules.count()
        # Once to ask what it may; and for a shell of the watcher, one that runs the
        # scripts, and one that waits beside it. dropbear now and then ends one of them
        # with another, so a few more; but none for each of these scripts.
        assert resolver.lookups < 8 * once


@pytest.mark.parametrize(
    ("lines", "firewall"),
    [(SUDOERS, Backend.IPTABLES), (FOR_NFT, Backend.NFTABLES)],
    ids=["iptables", "nft"],
)
async def test_an_account_with_the_documented_lines_looks_nothing_up(
    own: Lab, lines: str, firewall: Backend
) -> None:
    """For any of its commands."""
    allow(own, lines)
    with dead_resolver(own) as resolver:
        async with connected(own, firewall=firewall) as router:
            assert router.probe.sudo
            await hears(own, router)
            assert router.reports
            await does_the_rest(own, router)
        assert resolver.lookups == 0


@SERVERS
async def test_root_looks_nothing_up(own: Lab) -> None:
    """Nor does the SSH server for it."""
    with dead_resolver(own) as resolver:
        router = await connect(own)
        await works(own, router)
        await router.close()
        assert resolver.lookups == 0


async def test_an_ssh_server_that_looks_its_client_up_is_waited_for(
    own: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With `UseDNS`: it has proved its host key by then."""
    settings = own.bypass.disk.path("/etc/ssh/sshd_config")
    settings.write_text(f"{settings.read_text()}UseDNS yes\n")
    own.bypass.ssh.stop()
    own.bypass.ssh.start()
    with dead_resolver(own, seconds=3) as resolver:
        # Less than that, on a machine that is not busy.
        monkeypatch.setattr(login, "CONNECT_TIMEOUT", soon(1.5))
        router = await connect(own)
        await router.close()
        assert resolver.lookups


@pytest.mark.parametrize("router_options", [RouterOptions(iptables=None)])
async def test_an_account_whose_every_command_waits_is_waited_for(
    own: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However often a script needs sudo."""
    # Less than sudo needs for a script, and more than a router does.
    monkeypatch.setattr(Session.run, "__defaults__", (3,))
    allow(own, BY_NFT)
    with dead_resolver(own):
        async with connected(own, firewall=Backend.AUTO) as router:
            assert router.probe.sudo
            assert not router.probe.rights.all
            assert (await router.rules.apply([WEB])).forwards == {WEB.id: WEB}
            assert await passes(own)


@pytest.fixture
def slow(own: Lab, monkeypatch: pytest.MonkeyPatch) -> Lab:
    """The lab, with an account that may do all by a sudo that is taken for slow."""
    allow(own, ALL)
    monkeypatch.setattr(rights, "_SHORT", -1)
    return own


async def test_an_account_that_gets_no_shell_of_roots_uses_sudo_for_each(
    slow: Lab,
) -> None:
    """Though it may do all else."""
    shells = "/bin/sh, /usr/bin/sh, /bin/dash, /usr/bin/dash"
    allow(slow, f"{ALL}{NAME} ALL = (root) PASSWD: {shells}\n")
    slow.bypass.disk.write(LOG, "")
    async with connected(slow) as router:
        assert router.probe.sudo
        assert (await router.rules.apply([WEB])).forwards == {WEB.id: WEB}
    assert "a password is required" not in slow.bypass.run("cat", LOG).stdout


async def test_a_sudo_that_does_not_wait_is_used_for_each_command(own: Lab) -> None:
    """So what it says of an account counts at once."""
    allow(own, ALL)
    async with connected(own) as router:
        await router.rules.apply([WEB])
        allow(own, "")
        with pytest.raises(NotPrivileged):
            await router.rules.apply([])


@SERVERS
@pytest.mark.parametrize("dropped", [False, True])
async def test_nothing_is_left_of_roots_shells(slow: Lab, dropped: bool) -> None:
    """When the connection is closed, or breaks."""
    async with connected(slow) as router, listening(router):
        await router.rules.apply([WEB])
        await router.rules.apply([])
        assert shells(slow)
        if dropped:
            slow.bypass.stop_ssh()
        else:
            await router.close()
        await until(lambda: not shells(slow))


async def test_nothing_is_left_of_a_script_of_roots_whose_link_is_cut(
    slow: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It comes to its end, and the shell waits for no other one for long."""
    give_up_after(monkeypatch, 3)
    async with connected(slow) as router:
        running = asyncio.create_task(router.run(SLEEP))
        await until((slow.bypass.root / "tmp/ran").exists)
        slow.bypass.cut_link()
        await until(lambda: not shells(slow))
        slow.bypass.restore_link()
        running.cancel()


async def test_a_script_of_roots_that_is_killed_is_told_at_once(slow: Lab) -> None:
    """By the shell around it, which lives on; no one knows what it has done."""
    async with connected(slow) as router:
        running = asyncio.create_task(router.run(SLEEP))
        await until((slow.bypass.root / "tmp/ran").exists)
        slow.bypass.run("sh", "-c", "kill -9 $(cat /tmp/ran)")
        with pytest.raises(BadOutput):
            await running


async def is_told(router: Router) -> bool:
    """Return whether a look at the router fails."""
    try:
        await router.rules.read()
    except RouterError:
        return True
    return False


async def test_who_loses_sudo_is_told_as_soon_as_its_shells_are_gone(
    slow: Lab,
) -> None:
    """The connection ends: the next one asks what is allowed now."""
    async with connected(slow) as router:
        await router.rules.apply([WEB])
        allow(slow, "")
        await until(lambda: len(shells(slow)) >= 2)
        slow.bypass.disk.write(LOG, "")
        slow.bypass.run("pkill", "-9", "-f", "^sh -s", check=False)
        slow.bypass.run("pkill", "-9", "bash", check=False)
        await until_told(partial(is_told, router))
        await until(lambda: router.closed)
    with pytest.raises(NotPrivileged):
        async with connected(slow) as router:
            await router.rules.read()


async def test_a_sudo_that_comes_to_wait_is_noticed(
    own: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A script that is not through in time ends the connection."""
    allow(own, ALL)
    async with connected(own) as router:
        with dead_resolver(own):
            monkeypatch.setattr(Session.run, "__defaults__", (3,))
            with pytest.raises(TimedOut):
                await router.rules.read()
            await until(lambda: router.closed)
    with dead_resolver(own):
        async with connected(own) as router:
            assert router.probe.rights.slow
            assert (await router.rules.apply([WEB])).forwards == {WEB.id: WEB}


async def test_a_script_waits_for_no_sudo_where_a_shell_is_given_back(
    slow: Lab,
) -> None:
    """Another one is on its way meanwhile, and takes its time."""
    async with connected(slow) as router, listening(router):
        await until(lambda: len(shells(slow)) >= 2)
        slow.bypass.commands.replace(
            "sudo", f'#!{REAL_COMMANDS}/bin/sh\nsleep 600; exec /usr/bin/sudo "$@"\n'
        )
        await router.rules.read()
        running = [asyncio.create_task(router.rules.read()) for _ in range(6)]
        await asyncio.wait(running)
        assert all(task.result().forwards == {} for task in running)


async def test_one_who_is_cancelled_holds_no_session(own: Lab) -> None:
    """A server allows ten, and none is left after so many that no one waits for."""
    session = await open_session(own)
    hello = Script().run("said", "echo hello")
    for turn in range(40):
        running = asyncio.create_task(session.run(hello))
        await asyncio.sleep(turn / 4000)
        running.cancel()
        await asyncio.wait([running])
    # The one that waits is two processes: dash can't wait for so long and no longer.
    await until(lambda: len(shells(own)) <= 2)
    assert (await session.run(hello))["said"].ok
    await session.close()


@pytest.mark.parametrize("allowed", [2, 3])
async def test_a_server_that_allows_few_sessions_gives_root_enough(
    slow: Lab, allowed: int
) -> None:
    """For a change beside the watcher, and for the account's key."""
    allow_sessions(slow, allowed)
    key = generate_key("ab12")
    async with connected(slow) as router, listening(router):
        for _ in range(3):
            assert (await router.rules.apply([WEB])).forwards == {WEB.id: WEB}
            await router.rules.apply([])
        await router.install_key(key)
        await router.rules.apply([WEB])
