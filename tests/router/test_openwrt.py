"""All that we run on an OpenWrt works there, with busybox's applets and little else."""

import asyncio
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from pathlib import Path
import re
import shlex
import subprocess
import sys
from typing import Any

import pytest

from custom_components.bypass_router.router.backend import Backend
from custom_components.bypass_router.router.errors import (
    AuthenticationFailed,
)
from custom_components.bypass_router.router.monitor import Change
from custom_components.bypass_router.router.router import Router
from custom_components.bypass_router.router.ssh.authorized_keys import (
    authorized_line,
    generate_key,
)
from custom_components.bypass_router.router.ssh.credentials import Credentials
from custom_components.bypass_router.router.ssh.script import Result, Script
from custom_components.bypass_router.router.ssh.session import Session
from tests.lab.bypass import RouterOptions
from tests.lab.network import Lab
from tests.lab.waiting import soon, until, until_told

from .client import WEB, connect
from .matrix import FORWARDS
from .test_monitor import Listener as Ear

FW4, FW3 = RouterOptions(system="openwrt"), RouterOptions(system="openwrt-fw3")
KINDS = pytest.mark.parametrize("router_options", [FW4, FW3], ids=["fw4", "fw3"])
# Programs of other systems that scripts ask for first, and do without.
OPTIONAL = {
    *("nft", "iptables", "iptables-nft", "iptables-legacy", "iptables-restore"),
    *("ss", "sudo", "conntrack", "bash"),
}
# What busybox has elsewhere, and not here.
ABSENT = re.compile(
    r"(?<![/.\w-])(?:cksum|stat|timeout|printenv|nohup|setsid|od|realpath|install"
    r"|whoami|tty|pkill|sha1sum|paste|comm|diff|lsof|tac|dirname -z)(?![\w.:-])"
)
# Empty variables in one line; one that not every watcher needs; a loop over commands,
# where there is but one; and `read -t`, which is tried before it is used.
EXCLUDED = "--exclude=SC1007,SC2034,SC2043,SC3045"


@pytest.fixture
async def router(at_home: Lab) -> AsyncIterator[Router]:
    """The router, connected with what it has."""
    router = await connect(at_home, firewall=Backend.AUTO)
    yield router
    await router.close()


@KINDS
async def test_it_is_known_for_what_it_is(at_home: Lab, router: Router) -> None:
    """Its name and version, its address, its firewall, and that it is root."""
    probe = router.probe
    version = "24.10.4" if at_home.options is FW4 else "21.02.7"
    assert (probe.system, probe.system_version) == ("OpenWrt", version)
    assert (probe.uid, probe.sudo, probe.ip_forward) == (0, False, True)
    assert f"{probe.address}" == f"{at_home.bypass.address}/24"
    assert probe.interface == "lan"
    assert probe.mac_address == "02:00:c0:a8:32:02"
    assert probe.boot_id == at_home.bypass.boot_id
    fw4 = at_home.options is FW4
    assert (probe.tools.nft, probe.tools.listens) == (fw4, fw4)
    assert not probe.tools.conntrack
    assert ("nftables" if fw4 else "legacy") in router.rules.firewall


@KINDS
async def test_a_change_is_heard_and_nothing_runs_on_after_us(
    at_home: Lab, router: Router
) -> None:
    """Within two seconds: a reload, a chain that is emptied."""

    def running() -> set[str]:
        lines = at_home.bypass.run("ps", "-o", "pid,args").stdout.splitlines()
        return {
            line for line in lines if "dropbear" not in line and "ps -o" not in line
        }

    before = running()
    ear = Ear(router)
    assert await ear.next() == Change()
    await router.rules.apply([WEB])
    await ear.quiet()
    at_home.bypass.firewall.reload()
    if at_home.options is FW4:
        assert await ear.next(soon(2)) == Change("nft")
        await ear.quiet()
        at_home.bypass.run("nft", "delete", "table", "ip", "ha_bypass")
    else:
        at_home.bypass.run("iptables", "-t", "nat", "-F", "HA-BYPASS-PRE")
    assert await ear.next(soon(2))
    ear.task.cancel()
    await asyncio.gather(ear.task, return_exceptions=True)
    await router.close()
    await until(lambda: running() <= before)


@KINDS
async def test_our_key_goes_in_and_out(at_home: Lab, router: Router) -> None:
    """Beside the owner's, which stays as it is."""
    theirs = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIA== the owner's key"
    at_home.bypass.users.authorize(theirs)
    key = generate_key("ab12")
    account = Credentials("root", private_key=key)
    for _ in range(2):
        await router.install_key(key)
    keys = at_home.bypass.users.authorized_keys()
    assert keys == f"{theirs}\n{authorized_line(key)}\n"
    second = await connect(at_home, account=account, firewall=Backend.AUTO)
    assert (await second.rules.read()).forwards == {}
    await second.close()
    for _ in range(2):
        await router.remove_key(key)
    assert at_home.bypass.users.authorized_keys() == f"{theirs}\n"
    with pytest.raises(AuthenticationFailed):
        await connect(at_home, account=account, firewall=Backend.AUTO)


@KINDS
async def test_its_services_are_known(at_home: Lab, router: Router) -> None:
    """By busybox's netstat, also by one that does not know their programs."""
    at_home.bypass.spawn("nc", "-l", "-p", "9000")
    expected = {("tcp", 22), ("tcp", 9000)}

    async def known() -> bool:
        found = await router.listeners()
        return {(service.transport, service.port) for service in found} == expected

    await until_told(known)


@KINDS
async def test_packets_are_passed_on_once_that_is_asked_for(
    at_home: Lab, router: Router
) -> None:
    """Where someone has switched it off."""
    at_home.bypass.sysctl("net.ipv4.ip_forward", "0")
    await router.enable_forwarding()
    assert at_home.bypass.run("cat", "/proc/sys/net/ipv4/ip_forward").stdout == "1\n"


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The text of each script that is sent to a router."""
    texts: list[str] = []
    run, stream = Session.run, Session.stream

    async def note_run(
        self: Session, script: Script, *rest: float, as_account: bool = False
    ) -> Mapping[str, Result]:
        texts.append(script.text)
        sections = await run(self, script, *rest, as_account=as_account)
        for label, result in sections.items():
            absent = re.findall(r"(\S+): not found", result.output)
            assert OPTIONAL.issuperset(absent), (label, result)
            # Of netstat, Debian's busybox knows less than OpenWrt's.
            if "netstat" not in label:
                for complaint in ("unrecognized option", "invalid option"):
                    assert complaint not in result.output, (label, result)
        return sections

    def note_stream(
        self: Session, text: str, heartbeat: float, **more: Any
    ) -> AsyncGenerator[str]:
        texts.append(text)
        return stream(self, text, heartbeat, **more)

    monkeypatch.setattr(Session, "run", note_run)
    monkeypatch.setattr(Session, "stream", note_stream)
    return texts


async def use_all(router: Router) -> None:
    """Have the router do all that it can be asked for."""
    ear = Ear(router)
    await ear.next()
    await router.rules.apply(FORWARDS.values())
    await router.rules.read()
    await router.listeners()
    await router.enable_forwarding()
    key = generate_key("ab12")
    await router.install_key(key)
    await router.remove_key(key)
    await router.rules.remove_owner("cd34")
    await router.rules.apply([])
    if router.probe.tools.conntrack:
        await router.close_connections([WEB])
    ear.task.cancel()
    await asyncio.gather(ear.task, return_exceptions=True)


@pytest.mark.parametrize(
    "router_options",
    [FW4, FW3, RouterOptions(), RouterOptions("legacy")],
    ids=["fw4", "fw3", "debian", "legacy"],
)
async def test_every_script_is_one_that_busybox_can_run(
    at_home: Lab, sent: list[str], check_script: Callable[[str], None]
) -> None:
    """By its shell, by dash, and by the words of shellcheck; without what it lacks."""
    for backend in (Backend.AUTO, Backend.IPTABLES):
        if at_home.options.system == "debian" or backend is Backend.AUTO:
            router = await connect(at_home, firewall=backend)
            await use_all(router)
            await router.close()
    assert len(sent) > 10
    assert any("while sleep 1" in text or "nft monitor" in text for text in sent)
    for text in dict.fromkeys(re.sub(r"[0-9a-f]{16}", "0" * 16, text) for text in sent):
        check_script(text)


@pytest.fixture
def check_script() -> Callable[[str], None]:
    """Check a script, and the scripts in it."""

    def check(text: str) -> None:
        # Their labels, which shellcheck takes for commands.
        text = re.sub(r"^(.*\|\| )?run \S+", r"\1run it", text, flags=re.MULTILINE)
        # A word of nft's.
        words = re.sub(r"flags interval, timeout|\btimeout [0-9]+s", "", text)
        assert not ABSENT.search(words), ABSENT.search(words)
        for shell in (["busybox", "sh"], ["dash"]):
            done = run([*shell, "-n"], text)
            assert done.returncode == 0, f"{shell}: {done.stdout}\n{text}"
        for dialect in ("busybox", "dash"):
            done = run(
                [
                    str(Path(sys.executable).with_name("shellcheck")),
                    *(
                        f"--shell={dialect}",
                        "--severity=warning",
                        EXCLUDED,
                        "--norc",
                        "-",
                    ),
                ],
                text,
            )
            assert done.returncode == 0, f"{dialect}: {done.stdout}\n{text}"
        for inner in re.findall(r"\bsh -c ('(?:[^']|'\"'\"')*')", text):
            (script,) = shlex.split(inner)
            check(script)

    return check


def run(argv: list[str], text: str) -> subprocess.CompletedProcess[str]:
    """Give a script to a program."""
    return subprocess.run(
        argv,
        input=text,
        check=False,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
