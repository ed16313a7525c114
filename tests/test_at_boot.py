"""Forwards come back with their router, before Home Assistant is there."""

import asyncio
from collections.abc import Collection
from datetime import datetime
import subprocess
import time
from types import SimpleNamespace
from typing import Any
from unittest.mock import create_autospec

from homeassistant.core import HomeAssistant
import pytest
from pytest_homeassistant_custom_component.common import MockConfigEntry

from custom_components.bypass_router.const import DOMAIN
from custom_components.bypass_router.issues import Issues
from custom_components.bypass_router.router.at_boot.files import BootFile
from custom_components.bypass_router.router.forward import Forward
from custom_components.bypass_router.sync import at_boot
from custom_components.bypass_router.sync.at_boot import AtBoot
from custom_components.bypass_router.sync.retry import Retry
from tests.lab.bypass import RouterOptions
from tests.lab.disk import REAL_COMMANDS
from tests.lab.init_system import start_services
from tests.lab.network import Lab
from tests.lab.waiting import until

from .setup import (
    GAME,
    WEB,
    Held,
    add_entry,
    choose,
    issue,
    ours,
    passes,
    set_up,
    switch_of,
    turn,
)

FOLDER = "/etc/bypass_router"
MONTH = 30 * 86400
KINDS = pytest.mark.parametrize(
    ("router_options", "firewall"),
    [
        pytest.param(RouterOptions(firewall="drop"), "nftables", id="nftables"),
        pytest.param(RouterOptions(firewall="drop"), "iptables", id="iptables-nft"),
        pytest.param(
            RouterOptions(iptables="legacy", firewall="docker"),
            "iptables",
            id="iptables-legacy",
        ),
        pytest.param(RouterOptions(system="openwrt"), "auto", id="openwrt"),
    ],
)


def files(lab: Lab) -> list[str]:
    """Return the names of what is there for the router's start, of anyone's."""
    folder = lab.bypass.disk.path(FOLDER)
    return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


def text(lab: Lab) -> str:
    """Return the only file, though another is being written to take its place."""
    (name,) = (name for name in files(lab) if name.endswith(".sh"))
    return lab.bypass.disk.path(f"{FOLDER}/{name}").read_text()


def set_clock(lab: Lab, now: float) -> None:
    """Have the router think that it is another time."""
    lab.bypass.commands.replace("date", f"#!/bin/sh\necho {now:.0f}\n")


def mount(lab: Lab, *words: str) -> None:
    """Mount something at the folder, as the router sees it."""
    enter = ("nsenter", f"--target={lab.bypass.process}", "--mount")
    argv = (*enter, f"{REAL_COMMANDS}/bin/mount", *words, FOLDER)
    subprocess.run(argv, check=True)


async def away(hass: HomeAssistant, lab: Lab, entry: MockConfigEntry) -> None:
    """Restart the router while Home Assistant is not there."""
    await hass.config_entries.async_unload(entry.entry_id)
    await asyncio.to_thread(lab.bypass.reboot)


async def with_file(
    hass: HomeAssistant, lab: Lab, **options: Any
) -> tuple[MockConfigEntry, str, str]:
    """Set up a router with one forward that is on for good, and one for a while."""
    lab.target.serve("tcp", 443)
    lab.target.serve("tcp", 7001)
    entry = await set_up(hass, lab, WEB, GAME, at_boot=True, **options)
    web, game = (switch_of(hass, entry, name) for name in ("Web", "Game"))
    await turn(hass, "on", web)
    await hass.services.async_call(
        DOMAIN,
        "open_for",
        {"entity_id": game, "duration": {"hours": 1}},
        blocking=True,
    )
    await until(lambda: len(files(lab)) == 1 and "8443" in text(lab))
    assert await passes(lab)
    return entry, web, game


@KINDS
async def test_what_is_on_for_good_comes_back_before_home_assistant_is_there(
    hass: HomeAssistant, at_home: Lab, firewall: str
) -> None:
    """And nothing that is open for a while, nor after thirty days, nor off."""
    lab = at_home
    entry, web, _ = await with_file(hass, lab, firewall=firewall)
    await away(hass, lab, entry)
    assert await passes(lab)
    assert not await passes(lab, 6001)
    # Once more changes nothing.
    before = ours(lab)
    await asyncio.to_thread(start_services, lab.bypass)
    assert ours(lab) == before
    for now in (time.time() + MONTH, 3600):
        set_clock(lab, now)
        await asyncio.to_thread(lab.bypass.reboot)
        assert ours(lab) == []
    lab.bypass.commands.restore()
    await hass.config_entries.async_setup(entry.entry_id)
    await hass.async_block_till_done()
    await turn(hass, "off", web)
    assert "8443" not in text(lab)
    await away(hass, lab, entry)
    assert ours(lab) == []
    await hass.config_entries.async_remove(entry.entry_id)
    assert files(lab) == []


async def test_it_never_holds_more_than_what_is_on(
    hass: HomeAssistant, at_home: Lab
) -> None:
    """Off is written before the kernel is changed, and on after."""
    lab = at_home
    entry, web, game = await with_file(hass, lab)
    old = text(lab)
    held = Held(lab, "nft", '"-f -"')
    turned = hass.async_create_task(turn(hass, "off", web))
    await held.begun()
    assert "8443" not in text(lab)
    assert await passes(lab)
    held.let_go()
    await turned
    # One that is out of date is run while Home Assistant is there.
    (name,) = files(lab)
    lab.bypass.disk.write(f"{FOLDER}/{name}", old)
    await asyncio.to_thread(start_services, lab.bypass)
    await until(lambda: not any("8443" in line for line in ours(lab)))
    assert not await passes(lab)
    # What was open for a while, and is so for good now, comes into it.
    await turn(hass, "on", game)
    await until(lambda: "6010" in text(lab))
    await choose(hass, entry, at_boot=False)
    await until(lambda: files(lab) == [])


async def test_a_forward_is_off_also_where_the_file_can_not_be_written(
    hass: HomeAssistant, at_home: Lab
) -> None:
    """It is said until when it may open what is off; not any more once it can be."""
    lab = at_home
    entry, web, _ = await with_file(hass, lab)
    (name,) = files(lab)
    mount(lab, "--bind", FOLDER)
    mount(lab, "-o", "remount,bind,ro")
    await turn(hass, "off", web)
    assert not await passes(lab)
    told = issue(hass, "at_boot_")
    assert told
    assert told.translation_key == "at_boot_left"
    assert told.translation_placeholders
    until_when = told.translation_placeholders["until"]
    left = datetime.fromisoformat(f"{until_when}T00:00Z").timestamp() - time.time()
    assert MONTH - 86400 <= left <= MONTH
    mount(lab, "-o", "remount,bind,rw")
    entry.runtime_data.async_forwards_changed()
    await until(lambda: issue(hass, "at_boot_") is None)
    assert "8443" not in lab.bypass.disk.path(f"{FOLDER}/{name}").read_text()


@pytest.mark.parametrize("sudo", ["all", ("/usr/sbin/nft",)], ids=["all", "some"])
async def test_an_account_that_may_do_all_can_have_it(
    hass: HomeAssistant, at_home: Lab, sudo: Any
) -> None:
    """Of one that may not, it is said."""
    lab = at_home
    lab.bypass.users.add("ha", "secret", sudo=sudo)
    entry = add_entry(hass, lab, WEB, at_boot=True)
    data = {**entry.data, "username": "ha", "password": "secret"}
    hass.config_entries.async_update_entry(entry, data=data)
    await hass.config_entries.async_setup(entry.entry_id)
    await hass.async_block_till_done()
    await turn(hass, "on", switch_of(hass, entry, "Web"))
    if sudo == "all":
        await until(lambda: files(lab) != [] and "8443" in text(lab))
        assert issue(hass, "at_boot_") is None
        return
    await until(lambda: issue(hass, "at_boot_") is not None)
    told = issue(hass, "at_boot_")
    assert told
    assert told.translation_key == "at_boot_needs_root"
    assert files(lab) == []
    await choose(hass, entry, at_boot=False)
    await until(lambda: issue(hass, "at_boot_") is None)


class Flash:
    """A router that takes note of what is written."""

    has_boot_file = True

    def __init__(self) -> None:
        """Begin with a file that holds nothing that is known."""
        self.file: BootFile | None = BootFile("unknown", 0)
        self.written: list[list[str]] = []

    def boot_digest(self, forwards: Collection[Forward]) -> str:
        """Return what tells a file apart."""
        return " ".join(sorted(forward.id for forward in forwards))

    async def boot_file(self) -> BootFile | None:
        """Return what is there."""
        return self.file

    async def write_boot_file(
        self, forwards: Collection[Forward], now: int, *, off: bool = False
    ) -> BootFile:
        """Take note."""
        del off
        self.file = BootFile(self.boot_digest(forwards), now)
        self.written.append(sorted(forward.id for forward in forwards))
        return self.file

    async def forget_boot_file(self) -> None:
        """Take note."""
        self.file = None


async def test_flash_memory_is_written_once_a_day(
    hass: HomeAssistant, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And when something else is to come back, however often we connect."""
    now = 1_800_000_000
    clock = SimpleNamespace(time=lambda: float(now))
    monkeypatch.setattr(at_boot, "time", clock)
    flash = Flash()
    issues, renewal = (create_autospec(it, instance=True) for it in (Issues, Retry))
    file = AtBoot("router", issues, lambda: True, renewal)
    one, other = (
        Forward.parse(name, protocol="tcp", external_port=port, target="192.168.50.10")
        for name, port in (("A", "1001"), ("B", "1002"))
    )
    active = {one.id: one}

    async def look() -> None:
        if file.is_due(active):
            await file.write(active)

    file.opened(flash)
    await look()
    assert flash.written == [["A"]]
    for _ in range(3):
        file.opened(flash)
        await look()
        await look()
    now += 86_000
    await look()
    assert flash.written == [["A"]]
    now += 1_000
    await look()
    assert flash.written == [["A"], ["A"]]
    active["B"] = other
    # Nothing comes into it before it is on.
    await file.leave_out([one, other], [one])
    assert flash.written == [["A"], ["A"]]
    await look()
    assert flash.written[2:] == [["A", "B"]]
    del active["A"]
    await file.leave_out([other], [one, other])
    assert flash.written[3:] == [["B"]]
    await look()
    assert flash.written[4:] == []
