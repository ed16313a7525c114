"""Forwards that are open, and that nobody sees: it is said, or they are closed."""

from homeassistant.config_entries import ConfigEntryDisabler, ConfigEntryState
from homeassistant.core import HomeAssistant
from homeassistant.helpers import device_registry as dr, entity_registry as er
from homeassistant.setup import async_setup_component
import pytest
from pytest_homeassistant_custom_component.common import MockConfigEntry
from pytest_homeassistant_custom_component.typing import ClientSessionGenerator

from custom_components.bypass_router.const import DOMAIN
from tests.lab.network import Lab
from tests.lab.waiting import until

from .setup import GAME, WEB, forward_id, issue, passes, rules, set_up, switch_of, turn


async def with_web_on(hass: HomeAssistant, lab: Lab) -> MockConfigEntry:
    """Set up a router with two forwards that are on."""
    lab.target.serve("tcp", 443)
    entry = await set_up(hass, lab, WEB, GAME)
    for name in ("Web", "Game"):
        await turn(hass, "on", switch_of(hass, entry, name))
    assert await passes(lab)
    return entry


def device_of(hass: HomeAssistant, entry: MockConfigEntry, name: str) -> str:
    """Return the id of a forward's device."""
    entity = er.async_get(hass).async_get(switch_of(hass, entry, name))
    assert entity is not None
    assert entity.device_id
    return entity.device_id


@pytest.mark.parametrize("what", ["device", "switch"])
async def test_a_forward_that_is_on_without_a_switch_is_told_of_and_can_be_closed(
    hass: HomeAssistant,
    at_home: Lab,
    hass_client: ClientSessionGenerator,
    what: str,
) -> None:
    """It is not closed unasked: a switch may be disabled so that nobody touches it."""
    assert await async_setup_component(hass, "repairs", {})
    entry = await with_web_on(hass, at_home)
    switch = switch_of(hass, entry, "Web")
    if what == "device":
        dr.async_get(hass).async_update_device(
            device_of(hass, entry, "Web"), disabled_by=dr.DeviceEntryDisabler.USER
        )
    else:
        er.async_get(hass).async_update_entity(
            switch, disabled_by=er.RegistryEntryDisabler.USER
        )
    await hass.async_block_till_done()
    assert hass.states.get(switch) is None
    told = issue(hass, "without_switch_")
    assert told is not None
    assert told.translation_placeholders == {"router": "bypass", "forwards": "- Web"}
    await hass.config_entries.async_reload(entry.entry_id)
    assert issue(hass, "without_switch_") is not None
    assert await passes(at_home)

    client = await hass_client()
    path = "/api/repairs/issues/fix"
    body = {"handler": DOMAIN, "issue_id": told.issue_id}
    form = await (await client.post(path, json=body)).json()
    assert form["step_id"] == "confirm"
    done = await (await client.post(f"{path}/{form['flow_id']}", json={})).json()
    assert done["type"] == "create_entry"
    assert not await passes(at_home)
    assert "6000-6010" in rules(at_home)
    assert issue(hass, "without_switch_") is None


async def test_a_switch_that_is_enabled_again_ends_what_was_said(
    hass: HomeAssistant, at_home: Lab
) -> None:
    """And one that is disabled while its forward is off is nothing to tell of."""
    entry = await with_web_on(hass, at_home)
    await turn(hass, "off", switch_of(hass, entry, "Game"))
    registry = er.async_get(hass)
    for name in ("Web", "Game"):
        registry.async_update_entity(
            switch_of(hass, entry, name), disabled_by=er.RegistryEntryDisabler.USER
        )
    await hass.async_block_till_done()
    told = issue(hass, "without_switch_")
    assert told is not None
    assert told.translation_placeholders == {"router": "bypass", "forwards": "- Web"}
    registry.async_update_entity(switch_of(hass, entry, "Web"), disabled_by=None)
    await hass.async_block_till_done()
    assert issue(hass, "without_switch_") is None


async def disable(hass: HomeAssistant, entry: MockConfigEntry) -> None:
    """Disable a router's entry."""
    await hass.config_entries.async_set_disabled_by(
        entry.entry_id, ConfigEntryDisabler.USER
    )
    await hass.async_block_till_done()


async def test_a_router_that_is_disabled_with_forwards_on_is_told_of(
    hass: HomeAssistant, at_home: Lab
) -> None:
    """Until it is enabled again; also after a restart of Home Assistant."""
    entry = await with_web_on(hass, at_home)
    await turn(hass, "off", switch_of(hass, entry, "Game"))
    await disable(hass, entry)
    told = issue(hass, "disabled_")
    assert told is not None
    assert told.is_persistent
    assert told.translation_placeholders == {"router": "bypass", "forwards": "- Web"}
    assert await passes(at_home)
    await hass.config_entries.async_set_disabled_by(entry.entry_id, None)
    await hass.async_block_till_done()
    assert entry.state is ConfigEntryState.LOADED
    assert issue(hass, "") is None
    await turn(hass, "off", switch_of(hass, entry, "Web"))
    await disable(hass, entry)
    assert issue(hass, "") is None


@pytest.mark.parametrize("how", ["disabled", "unloaded"])
async def test_a_forward_that_is_removed_while_nobody_works_on_its_router_is_closed(
    hass: HomeAssistant, at_home: Lab, how: str
) -> None:
    """And no other one is."""
    entry = await with_web_on(hass, at_home)
    if how == "disabled":
        await disable(hass, entry)
    else:
        await hass.config_entries.async_unload(entry.entry_id)
    hass.config_entries.async_remove_subentry(entry, forward_id(entry, "Web"))
    await hass.async_block_till_done()
    assert not await passes(at_home)
    assert "8443" not in rules(at_home)
    assert "6000-6010" in rules(at_home)
    told = issue(hass, "")
    if how == "disabled":
        assert told is not None
        words = {"router": "bypass", "forwards": "- Game"}
        assert told.translation_placeholders == words
    else:
        assert told is None


async def test_one_that_can_not_be_closed_is_said_to_be_open_until_it_is(
    hass: HomeAssistant, at_home: Lab
) -> None:
    """The router is away, and its entry is tried again and again."""
    entry = await with_web_on(hass, at_home)
    await hass.config_entries.async_unload(entry.entry_id)
    at_home.bypass.stop_ssh()
    await hass.config_entries.async_setup(entry.entry_id)
    assert entry.state is ConfigEntryState.SETUP_RETRY
    for name in ("Web", "Game"):
        hass.config_entries.async_remove_subentry(entry, forward_id(entry, name))
        await hass.async_block_till_done()
    assert await passes(at_home)
    told = issue(hass, "waiting_")
    assert told is not None
    assert told.is_persistent
    assert told.translation_key == "waiting_unattended"
    assert told.translation_placeholders == {
        "router": "bypass",
        "forwards": "- Web\n- Game",
    }
    at_home.bypass.start_ssh()
    await hass.config_entries.async_reload(entry.entry_id)
    await until(lambda: entry.state is ConfigEntryState.LOADED)
    assert not await passes(at_home)
    assert issue(hass, "waiting_") is None
