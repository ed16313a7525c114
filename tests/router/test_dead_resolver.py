"""A router that can't look up its own name, as Debian's sudo does each time."""

import pytest

from custom_components.bypass_router.router import login
from custom_components.bypass_router.router.choice import Backend
from custom_components.bypass_router.router.errors import NotPrivileged
from custom_components.bypass_router.router.session import Session
from tests.lab.bypass import RouterOptions
from tests.lab.network import Lab
from tests.lab.resolver import dead_resolver
from tests.lab.waiting import soon, until

from . import test_sudo
from .client import WEB, connect
from .test_shell import SERVERS, shells
from .test_sudo import (
    ALL,
    BY_IPTABLES,
    BY_NFT,
    FOR_NFT,
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
from .test_watch import listening

own = test_sudo.own


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
            await router.read()
            async with listening(router):
                for _ in range(8):
                    await router.apply([WEB])
                    assert await passes(own)
                    await router.apply([])
                    await router.close_connections([WEB])
                    await router.count()
        # Once to ask what it may; and for a shell of the watcher, one that runs the
        # scripts, and one that waits beside it.
        assert resolver.lookups <= 5 * once


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
            assert not router.probe.rights.slow
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
    """However often a script needs sudo; a refusal is told as what it is."""
    # Less than sudo needs for a script, and more than a router does.
    monkeypatch.setattr(Session.run, "__defaults__", (3,))
    allow(own, BY_NFT)
    with dead_resolver(own):
        async with connected(own, firewall=Backend.AUTO) as router:
            assert router.probe.sudo
            assert not router.probe.rights.all
            assert (await router.apply([WEB])).forwards == {WEB.id: WEB}
            assert await passes(own)
            own.bypass.sysctl("net.ipv4.ip_forward", "0")
            with pytest.raises(NotPrivileged, match="sysctl"):
                await router.enable_forwarding()


async def test_an_account_that_gets_no_shell_of_roots_uses_sudo_for_each(
    own: Lab,
) -> None:
    """Though it may do all else."""
    shells = "/bin/sh, /usr/bin/sh, /bin/dash, /usr/bin/dash"
    allow(own, f"{ALL}{NAME} ALL = (root) PASSWD: {shells}\n")
    async with connected(own) as router:
        assert router.probe.sudo
        await works(own, router)
    allow(own, f"{NAME} ALL = (root) NOEXEC: NOPASSWD: ALL\n{BY_IPTABLES}")
    async with connected(own) as router:
        assert router.probe.sudo
        await router.apply([WEB])


@SERVERS
@pytest.mark.parametrize("dropped", [False, True])
async def test_nothing_is_left_of_roots_shells(own: Lab, dropped: bool) -> None:
    """When the connection is closed, or breaks."""
    allow(own, ALL)
    async with connected(own) as router, listening(router):
        await router.apply([WEB])
        await router.apply([])
        assert shells(own)
        if dropped:
            own.bypass.stop_ssh()
        else:
            await router.close()
        await until(lambda: not shells(own))
