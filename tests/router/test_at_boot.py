"""The file that brings forwards back when a router starts, as the router runs it."""

import os
from pathlib import Path
import shutil
import subprocess
import time

import pytest

from custom_components.bypass_router.router.at_boot import files
from custom_components.bypass_router.router.backend import Backend
from custom_components.bypass_router.router.errors import (
    BootFileLeft,
    BootFileRefused,
    NoInitSystem,
)
from custom_components.bypass_router.router.forward import Forward
from custom_components.bypass_router.router.router import Router
from tests.lab.bypass import RouterOptions
from tests.lab.disk import REAL_COMMANDS
from tests.lab.init_system import start_services
from tests.lab.network import Lab
from tests.lab.waiting import until

from .client import WEB, connect

GAME = Forward.parse(
    "01GAME",
    protocol="tcp",
    external_port="6000-6010",
    target="192.168.50.10",
    target_port="443-453",
)
NATIVE = RouterOptions(iptables=None, firewall="reject")


async def with_file(
    lab: Lab, *forwards: Forward, owner: str = "ab12", by: Backend = Backend.AUTO
) -> Router:
    """Have forwards on, and come back."""
    router = await connect(lab, owner=owner, firewall=by)
    await router.rules.apply(forwards)
    await router.write_boot_file(forwards, int(time.time()))
    return router


def passes(lab: Lab, port: int = 8443) -> bool:
    """Return whether payload goes from the internet to the target and back."""
    address = lab.main.wan_address
    return lab.internet.exchange("tcp", address, port, timeout=0.4).passed


def folder(lab: Lab) -> Path:
    """Return where the files are."""
    return lab.bypass.disk.path(files.FOLDER)


def mount(lab: Lab, *words: str) -> None:
    """Mount something at the folder."""
    enter = ("nsenter", f"--target={lab.bypass.process}", "--mount")
    argv = (*enter, f"{REAL_COMMANDS}/bin/mount", *words, files.FOLDER)
    subprocess.run(argv, check=True)


@pytest.mark.parametrize(
    ("router_options", "by"),
    [
        pytest.param(NATIVE, Backend.AUTO, id="nftables alone"),
        pytest.param(RouterOptions(firewall="reject"), Backend.IPTABLES, id="iptables"),
        pytest.param(RouterOptions(firewall="ufw"), Backend.AUTO, id="ufw"),
        pytest.param(
            RouterOptions(firewall="firewalld-strict"), Backend.AUTO, id="firewalld"
        ),
    ],
)
async def test_it_comes_after_a_firewall_however_often_that_is_loaded(
    at_home: Lab, by: Backend
) -> None:
    """Two Home Assistants have one each, and neither takes anything of the other."""
    lab = at_home
    lab.target.serve("tcp", 443)
    for forward, owner in ((WEB, "ab12"), (GAME, "cd34")):
        await (await with_file(lab, forward, owner=owner, by=by)).close()
    lab.bypass.reboot()
    assert passes(lab)
    assert passes(lab, 6000)
    lab.bypass.firewall.reload()
    start_services(lab.bypass)
    assert passes(lab)
    assert passes(lab, 6000)
    # Home Assistant takes what stands there for its own.
    router = await connect(lab, firewall=by)
    assert (await router.rules.read()).forwards == {WEB.id: WEB}
    await router.forget_boot_file()
    assert [path.name for path in folder(lab).iterdir()] == ["cd34.sh"]
    await router.forget_boot_file("cd34")
    for name in (files.FOLDER, files.UNIT, files.WANTED):
        assert not lab.bypass.disk.path(name).exists(follow_symlinks=False)
    await router.close()


@pytest.mark.parametrize(
    ("router_options", "ban"),
    [
        pytest.param(
            NATIVE, "nft insert rule inet filter forward", id="nftables alone"
        ),
        pytest.param(
            RouterOptions(firewall="drop"), "iptables -A FORWARD", id="iptables"
        ),
        pytest.param(
            RouterOptions(system="openwrt"),
            "nft insert rule inet fw4 forward_lan",
            id="openwrt",
        ),
    ],
)
async def test_whom_others_keep_out_by_now_it_does_not_let_in(
    at_home: Lab, ban: str
) -> None:
    """Where a table does not read as it did, no one knows where an accept belongs."""
    lab = at_home
    lab.target.serve("tcp", 443)
    await (await with_file(lab, WEB)).close()
    (file,) = folder(lab).iterdir()
    kept = file.rename(folder(lab) / "later")
    lab.bypass.reboot()
    assert not passes(lab)
    who = "ip saddr 203.0.113.9 drop" if "nft" in ban else "-s 203.0.113.9 -j DROP"
    lab.bypass.run("sh", "-c", f"{ban} {who}")
    kept.rename(file)
    start_services(lab.bypass)
    assert not passes(lab)


def answer(lab: Lab, command: str, words: str, answer: float) -> None:
    """Have a command say something else if it is called with these words."""
    real = f"{REAL_COMMANDS}/replaced/{command}"
    lab.bypass.commands.replace(
        command,
        "#!/bin/sh\n"
        f'if [ "$*" = {words} ]; then echo {answer:.0f}; else exec {real} "$@"; fi\n',
    )


def hear_ntp(lab: Lab, action: str) -> None:
    """Have OpenWrt's ntpd tell that something has happened to the clock."""
    lab.bypass.run("sh", "-c", f"ACTION={action}; . {files.NTP}")


@pytest.mark.parametrize(
    "router_options", [RouterOptions(system="openwrt")], ids=["openwrt"]
)
async def test_an_openwrt_without_a_clock_waits_for_ntp(at_home: Lab) -> None:
    """Its clock goes on from when the newest file in /etc was written."""
    lab = at_home
    lab.bypass.disk.write("/etc/init.d/sysfixtime", "")
    lab.target.serve("tcp", 443)
    await (await with_file(lab, WEB)).close()
    kept = lab.bypass.disk.path(files.KEPT)
    assert files.NTP in kept.read_text().splitlines()
    up = time.clock_gettime(time.CLOCK_BOOTTIME)
    answer(lab, "date", "+%s", time.time() + up)
    lab.bypass.reboot()
    # What is written after the start hides nothing.
    lab.bypass.disk.write("/etc/later", "")
    later = time.time() + up
    os.utime(lab.bypass.disk.path("/etc/later"), (later, later))
    start_services(lab.bypass)
    for action in ("periodic", "step", "unsync"):
        hear_ntp(lab, action)
    assert not passes(lab)
    hear_ntp(lab, "stratum")
    assert passes(lab)
    # Once: who has taken it away since is not to find it there again.
    lab.bypass.run("nft", "flush", "ruleset")
    hear_ntp(lab, "stratum")
    assert not passes(lab)
    router = await connect(lab, firewall=Backend.AUTO)
    await router.forget_boot_file()
    assert not lab.bypass.disk.path(files.NTP).exists()
    assert "bypass_router" not in kept.read_text()
    await router.close()


@pytest.mark.parametrize("router_options", [NATIVE], ids=["nftables alone"])
async def test_a_clock_that_a_stamp_has_set_waits_for_ntp(at_home: Lab) -> None:
    """Unless a clock of the hardware, with a battery, says the same."""
    lab = at_home
    lab.target.serve("tcp", 443)
    await (await with_file(lab, WEB)).close()
    lab.bypass.disk.write("/etc/fake-hwclock.data", "")
    hardware = "/sys/class/rtc/rtc0/since_epoch"
    answer(lab, "cat", hardware, 1_400_000_000)
    lab.bypass.reboot()
    assert not passes(lab)
    lab.bypass.run("mkdir", "/run/systemd/timesync")
    lab.bypass.run("touch", "/run/systemd/timesync/synchronized")
    await until(lambda: passes(lab))
    answer(lab, "cat", hardware, time.time() + 3600)
    lab.bypass.reboot()
    assert passes(lab)


async def test_where_it_can_not_be_written_that_is_said(at_home: Lab) -> None:
    """What holds a forward that is off goes then, if that can be."""
    lab = at_home
    router = await with_file(lab, WEB)
    (file,) = folder(lab).iterdir()
    assert file.stat().st_mode & 0o777 == 0o600
    before = file.read_text()
    mount(lab, "-t", "tmpfs", "-o", "size=4k", "tmpfs")
    path = lab.bypass.root / f"{files.FOLDER.removeprefix('/')}/ab12.sh"
    path.write_text("echo")
    now = int(time.time())
    with pytest.raises(BootFileRefused, match="No space left"):
        await router.write_boot_file([WEB], now)
    assert path.read_text() == "echo"
    with pytest.raises(BootFileRefused, match="No space left"):
        await router.write_boot_file([], now + 10**9, off=True)
    assert not path.exists()
    path.write_text("echo")
    mount(lab, "-o", "remount,ro")
    with pytest.raises(BootFileLeft, match="Read-only"):
        await router.write_boot_file([], now, off=True)
    with pytest.raises(BootFileLeft):
        await router.forget_boot_file()
    lab.bypass.run(f"{REAL_COMMANDS}/bin/umount", files.FOLDER)
    assert file.read_text() == before
    lab.bypass.run("rmdir", "/run/systemd/system")
    with pytest.raises(NoInitSystem):
        await router.write_boot_file([WEB], now)
    await router.close()


def test_systemd_takes_the_unit(tmp_path: Path) -> None:
    """Nothing in it is unknown, and it comes after the firewalls."""
    unit = tmp_path / Path(files.UNIT).name
    unit.write_text(files.UNIT_TEXT)
    program = shutil.which("systemd-analyze")
    assert program
    done = subprocess.run(
        [program, "verify", "--man=no", unit],
        check=True,
        capture_output=True,
        text=True,
    )
    assert unit.name not in done.stderr
