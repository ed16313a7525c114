"""Forwards come back with their router, before Home Assistant is there."""

import asyncio
import time
from typing import Any

from homeassistant.core import HomeAssistant
import pytest
from pytest_homeassistant_custom_component.common import MockConfigEntry

from custom_components.bypass_router.const import DOMAIN
from tests.lab.bypass import RouterOptions
from tests.lab.init_system import start_services
from tests.lab.network import Lab
from tests.lab.waiting import until

from .setup import GAME, WEB, ours, passes, set_up, switch_of, turn

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
    """Return the only file."""
    (name,) = files(lab)
    return lab.bypass.disk.path(f"{FOLDER}/{name}").read_text()


def set_clock(lab: Lab, now: float) -> None:
    """Have the router think that it is another time."""
    lab.bypass.commands.replace("date", f"#!/bin/sh\necho {now:.0f}\n")


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
