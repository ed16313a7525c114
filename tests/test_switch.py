"""A forward's switch: what it shows is what the router's kernel does."""

import asyncio
from collections.abc import Callable, Mapping
import json
from pathlib import Path
from typing import Any

from homeassistant.const import STATE_OFF, STATE_ON, STATE_UNAVAILABLE
from homeassistant.core import Event, EventStateChangedData, HomeAssistant, callback
from homeassistant.exceptions import HomeAssistantError
from homeassistant.helpers import device_registry as dr, entity_registry as er
import pytest

from custom_components.bypass_router import PLATFORMS
from tests.lab.network import Lab
from tests.lab.waiting import until

from .setup import (
    GAME,
    WEB,
    forward_id,
    iptables_version,
    ours,
    passes,
    rules,
    set_up,
    subentry,
    switch_of,
    turn,
)

TOLD = ("protocol", "external_port", "target", "target_port", "sources")
FAILING = "#!/bin/sh\ncat >/dev/null; echo 'no such luck' >&2; exit 2\n"


async def test_packets_pass_while_the_switch_is_on(
    hass: HomeAssistant, at_home: Lab
) -> None:
    """A new forward is off: what the internet reaches at home is a choice."""
    at_home.target.serve("tcp", 443)
    entry = await set_up(hass, at_home, WEB)
    switch = switch_of(hass, entry, "Web")
    for _ in range(2):
        assert hass.states.get(switch).state == STATE_OFF
        assert not await passes(at_home)
        await turn(hass, "on", switch)
        assert hass.states.get(switch).state == STATE_ON
        assert await passes(at_home)
        await turn(hass, "off", switch)


@pytest.mark.parametrize(
    ("firewall", "named"),
    [("auto", lambda _: "nftables"), ("iptables", iptables_version)],
)
async def test_a_forward_is_a_device_of_its_own_behind_the_router(
    hass: HomeAssistant, at_home: Lab, firewall: str, named: Callable[[Lab], str]
) -> None:
    """Named by the user; its switch is the device's main entity."""
    release = 'NAME="Debian GNU/Linux"\nVERSION="12 (bookworm)"\n'
    at_home.bypass.disk.write("/etc/os-release", release, 0o644)
    entry = await set_up(hass, at_home, WEB, firewall=firewall)
    switch = er.async_get(hass).async_get(switch_of(hass, entry, "Web"))
    assert switch.entity_id == "switch.web"
    assert switch.config_subentry_id == forward_id(entry, "Web")
    devices = dr.async_get(hass)
    device = devices.async_get(switch.device_id or "")
    assert device is not None
    router = devices.async_get(device.via_device_id or "")
    assert router is not None
    assert (device.name, device.model) == ("Web", "TCP 8443 → 192.168.50.10:443")
    assert router.name == "bypass"
    assert (router.model, router.sw_version) == ("Debian GNU/Linux", "12 (bookworm)")
    (connected,) = hass.states.async_all("binary_sensor")
    assert connected.attributes["firewall"] == named(at_home)
    assert router.connections == {("mac", entry_mac(at_home))}


def entry_mac(lab: Lab) -> str:
    """Return the MAC address of the router's LAN interface."""
    return lab.bypass.run("cat", "/sys/class/net/lan/address").stdout.strip()


async def test_what_goes_where_is_told_and_kept_up_to_date(
    hass: HomeAssistant, at_home: Lab
) -> None:
    """By the device, which is found by its model, and by the switch."""
    entry = await set_up(hass, at_home, WEB)
    switch = switch_of(hass, entry, "Web")
    attributes = hass.states.get(switch).attributes
    told = {name: attributes[name] for name in TOLD}
    assert told == {**{name: WEB[name] for name in TOLD}, "target_port": "443"}
    changed = {
        **GAME,
        "external_port": "6000-6002",
        "target_port": "",
        "sources": ["198.51.100.0/24"],
    }
    web = entry.subentries[forward_id(entry, "Web")]
    hass.config_entries.async_update_subentry(entry, web, data=changed)
    await hass.async_block_till_done()
    entity = er.async_get(hass).async_get(switch)
    device = dr.async_get(hass).async_get(entity.device_id or "")
    assert device.model == "TCP/UDP 6000-6002 → 192.168.50.10:6000-6002"
    attributes = hass.states.get(switch).attributes
    told = {name: attributes[name] for name in TOLD}
    expected = {name: changed[name] for name in TOLD}
    assert told == {**expected, "target_port": "6000-6002"}


async def test_the_state_is_what_is_read_back(
    hass: HomeAssistant, at_home: Lab
) -> None:
    """A router that says all is well, and has no rule, leaves the switch off."""
    entry = await set_up(hass, at_home, WEB, firewall="iptables")
    switch = switch_of(hass, entry, "Web")
    at_home.bypass.commands.replace("iptables-restore", "#!/bin/sh\ncat >/dev/null\n")
    with pytest.raises(HomeAssistantError):
        await turn(hass, "on", switch)
    assert hass.states.get(switch).state == STATE_OFF


@pytest.mark.parametrize(
    ("firewall", "command", "argument"),
    [("nftables", "nft", "-f"), ("iptables", "iptables-restore", "--noflush")],
    ids=["nftables", "iptables"],
)
async def test_fifty_at_once_are_at_most_two_changes(
    hass: HomeAssistant, at_home: Lab, firewall: str, command: str, argument: str
) -> None:
    """Counted on the router."""
    many = [
        {**WEB, "name": f"N{n}", "external_port": str(20000 + n)} for n in range(50)
    ]
    entry = await set_up(hass, at_home, *many, firewall=firewall)
    switches = [switch_of(hass, entry, forward["name"]) for forward in many]
    real = at_home.bypass.run("sh", "-c", f"command -v {command}").stdout.strip()
    at_home.bypass.run("cp", "-L", real, "/tmp/real")
    at_home.bypass.run("ln", "-s", "real", f"/tmp/{command}")
    at_home.bypass.commands.replace(
        command,
        f'#!/bin/sh\n[ "$1" = {argument} ] && echo change >>/tmp/changes\n'
        f'exec /tmp/{command} "$@"\n',
    )
    await turn(hass, "on", *switches)
    assert {hass.states.get(switch).state for switch in switches} == {STATE_ON}
    changes = at_home.bypass.run("cat", "/tmp/changes").stdout.split()
    assert 1 <= len(changes) <= 2


async def test_a_refused_forward_is_told_and_harms_no_other(
    hass: HomeAssistant, at_home: Lab
) -> None:
    """The wish is dropped, in the router's words; what was on stays on."""
    at_home.target.serve("tcp", 443)
    entry = await set_up(hass, at_home, WEB, GAME, firewall="iptables")
    web, game = switch_of(hass, entry, "Web"), switch_of(hass, entry, "Game")
    await turn(hass, "on", web)
    at_home.bypass.commands.replace("iptables-restore", FAILING)
    with pytest.raises(HomeAssistantError, match="no such luck"):
        await turn(hass, "on", game)
    assert hass.states.get(web).state == STATE_ON
    assert hass.states.get(game).state == STATE_OFF
    at_home.bypass.commands.restore()
    await turn(hass, "off", web)
    await turn(hass, "on", web)
    assert hass.states.get(game).state == STATE_OFF
    assert await passes(at_home)


async def test_a_wish_is_on_disk_before_the_router_is_asked(
    hass: HomeAssistant, at_home: Lab, hass_storage: dict[str, Any]
) -> None:
    """Whatever happens then, it is known afterwards."""
    entry = await set_up(hass, at_home, WEB, firewall="iptables")
    at_home.bypass.commands.replace("iptables-restore", "#!/bin/sh\nsleep 3\n")
    asking = asyncio.create_task(turn(hass, "on", switch_of(hass, entry, "Web")))
    await until(lambda: "sleep" in at_home.bypass.run("ps", "-e", check=False).stdout)
    stored = hass_storage[f"bypass_router.{entry.entry_id}"]["data"]
    assert stored["wished"] == [forward_id(entry, "Web")]
    at_home.bypass.commands.restore()
    at_home.bypass.run("pkill", "sleep")
    await asking


async def test_a_forward_that_comes_or_goes_blinks_no_other(
    hass: HomeAssistant, at_home: Lab
) -> None:
    """No reload: the others' switches do not change at all."""
    at_home.target.serve("tcp", 443)
    entry = await set_up(hass, at_home, WEB)
    web = switch_of(hass, entry, "Web")
    await turn(hass, "on", web)
    changes: list[str] = []

    @callback
    def note(event: Event[EventStateChangedData]) -> None:
        if event.data["entity_id"] == web:
            changes.append(str(event.data["new_state"]))

    hass.bus.async_listen("state_changed", note)
    hass.config_entries.async_add_subentry(entry, subentry(GAME))
    await hass.async_block_till_done()
    game = switch_of(hass, entry, "Game")
    await turn(hass, "on", game)
    assert hass.states.get(game).state == STATE_ON
    hass.config_entries.async_remove_subentry(entry, forward_id(entry, "Game"))
    await hass.async_block_till_done()
    await until(lambda: "6000-6010" not in rules(at_home))
    assert hass.states.get(game) is None
    assert await passes(at_home)
    assert changes == []


async def test_a_changed_forward_leads_to_its_new_target_at_once(
    hass: HomeAssistant, at_home: Lab
) -> None:
    """While it is on; and its device has the new name."""
    at_home.target.serve("tcp", 444)
    entry = await set_up(hass, at_home, WEB)
    switch = switch_of(hass, entry, "Web")
    await turn(hass, "on", switch)
    assert not await passes(at_home)
    changed: Mapping[str, Any] = {**WEB, "name": "RouterContext", "target_port": "444"}
    hass.config_entries.async_update_subentry(
        entry,
        entry.subentries[forward_id(entry, "Web")],
        data=changed,
        title="RouterContext",
    )
    await hass.async_block_till_done()
    await until(lambda: ". 444" in rules(at_home) and ". 443" not in rules(at_home))
    await until(lambda: hass.states.get(switch).state == STATE_ON)
    assert await passes(at_home)
    registry = er.async_get(hass).async_get(switch)
    device = dr.async_get(hass).async_get(registry.device_id or "")
    assert device is not None
    assert device.name == "RouterContext"


async def test_a_wish_outlives_a_lost_connection(
    hass: HomeAssistant, at_home: Lab, caplog: pytest.LogCaptureFixture
) -> None:
    """The switch is unavailable in between, and the loss is told once."""
    at_home.target.serve("tcp", 443)
    entry = await set_up(hass, at_home, WEB)
    switch = switch_of(hass, entry, "Web")
    await turn(hass, "on", switch)
    at_home.bypass.stop_ssh()
    await until(lambda: hass.states.get(switch).state == STATE_UNAVAILABLE)
    assert await passes(at_home)
    at_home.bypass.start_ssh()
    await until(lambda: hass.states.get(switch).state == STATE_ON)
    await until(lambda: "bypass is back" in caplog.text)
    told = [record for record in caplog.records if record.name.startswith("custom_")]
    assert [record.levelname for record in told if record.levelno > 10] == [
        "ERROR",
        "INFO",
    ]


async def test_forwards_come_back_after_the_router_restarted(
    hass: HomeAssistant, at_home: Lab
) -> None:
    """Its rules are lost, and the requests are not."""
    at_home.target.serve("tcp", 443)
    entry = await set_up(hass, at_home, WEB)
    switch = switch_of(hass, entry, "Web")
    await turn(hass, "on", switch)
    await asyncio.to_thread(at_home.bypass.reboot)
    assert not ours(at_home)
    await until(lambda: hass.states.get(switch).state == STATE_UNAVAILABLE)
    await until(lambda: hass.states.get(switch).state == STATE_ON)
    assert await passes(at_home)


async def test_a_forward_stored_with_nonsense_is_left_out_and_told(
    hass: HomeAssistant, at_home: Lab, caplog: pytest.LogCaptureFixture
) -> None:
    """The others work."""
    bad = {**GAME, "name": "Bad", "target": "$(reboot)"}
    entry = await set_up(hass, at_home, WEB, bad)
    assert "The forward Bad is stored with nonsense" in caplog.text
    await turn(hass, "on", switch_of(hass, entry, "Web"))
    assert len(hass.states.async_all("switch")) == 1


def test_the_icons_and_the_manifest_are_well_formed() -> None:
    """Home Assistant would not say so until someone looks."""
    folder = Path("custom_components/bypass_router")
    manifest = json.loads((folder / "manifest.json").read_text())
    keys = list(manifest)
    assert keys[:2] == ["domain", "name"]
    assert keys[2:] == sorted(keys[2:])
    icons = json.loads((folder / "icons.json").read_text())["entity"]
    assert icons.keys() >= {"binary_sensor", "button", "event", "switch"}
    assert icons.keys() <= set(PLATFORMS)
