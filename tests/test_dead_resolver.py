"""A router that waits for a silent name server, as its user sees it."""

from homeassistant.config_entries import ConfigEntryState
from homeassistant.core import HomeAssistant
from pytest_homeassistant_custom_component.common import MockConfigEntry

from tests.lab.network import Lab
from tests.lab.resolver import dead_resolver

from .setup import WEB, add_entry, issue, passes, switch_of, turn


async def set_up(hass: HomeAssistant, lab: Lab) -> MockConfigEntry:
    """Set the router up with an account that may do all by sudo."""
    entry = add_entry(hass, lab, WEB)
    data = {**entry.data, "username": "alice", "password": "the password"}
    hass.config_entries.async_update_entry(entry, data=data)
    await hass.config_entries.async_setup(entry.entry_id)
    await hass.async_block_till_done()
    return entry


async def test_a_router_that_does_not_know_its_name_is_switched(
    hass: HomeAssistant, at_home: Lab
) -> None:
    """And a repair tells why it takes long to connect, until it is mended."""
    at_home.bypass.users.add("alice", "the password", sudo="all")
    at_home.target.serve("tcp", 443)
    with dead_resolver(at_home):
        entry = await set_up(hass, at_home)
        assert entry.state is ConfigEntryState.LOADED
        told = issue(hass, "sudo_waits_")
        assert told is not None
        assert told.translation_key == "sudo_waits"
        assert told.translation_placeholders is not None
        assert int(told.translation_placeholders["seconds"]) >= 1
        await turn(hass, "on", switch_of(hass, entry, "Web"))
        assert await passes(at_home)
        await turn(hass, "off", switch_of(hass, entry, "Web"))
        assert not await passes(at_home)
        # As the repair says.
        at_home.bypass.run(
            "sh", "-c", 'echo "127.0.1.1 $(hostname)" | tee -a /etc/hosts'
        )
        await hass.config_entries.async_reload(entry.entry_id)
        assert entry.state is ConfigEntryState.LOADED
        assert issue(hass, "sudo_waits_") is None


async def test_a_router_that_knows_its_name_is_nothing_to_tell_of(
    hass: HomeAssistant, at_home: Lab
) -> None:
    """As any other."""
    at_home.bypass.users.add("alice", "the password", sudo="all")
    entry = await set_up(hass, at_home)
    assert entry.state is ConfigEntryState.LOADED
    assert issue(hass, "sudo_waits_") is None
