"""A forward that is to be on from the start comes on: once in its life."""

from typing import Any

from homeassistant.const import STATE_OFF, STATE_ON, STATE_UNAVAILABLE
from homeassistant.core import HomeAssistant
from homeassistant.data_entry_flow import FlowResultType
from pytest_homeassistant_custom_component.common import MockConfigEntry

from custom_components.bypass_router.const import DOMAIN
from tests.lab.network import Lab
from tests.lab.waiting import until

from .setup import WEB, add_entry, issue, passes, set_up, subentry, switch_of, turn
from .small_disk import small_disk

NEW = {**WEB, "enabled": True}


async def add(hass: HomeAssistant, entry: MockConfigEntry, **fields: Any) -> Any:
    """Fill in the form for a forward, and return its last page."""
    flows = hass.config_entries.subentries
    form = await flows.async_init(
        (entry.entry_id, "forward"), context={"source": "user"}
    )
    done = await flows.async_configure(form["flow_id"], {**WEB, **fields})
    assert done["type"] is FlowResultType.CREATE_ENTRY
    await hass.async_block_till_done()
    return done


def stored(entry: MockConfigEntry) -> dict[str, Any]:
    """Return what the entry has of its only forward."""
    (found,) = entry.subentries.values()
    return dict(found.data)


async def until_state(hass: HomeAssistant, entry: MockConfigEntry, state: str) -> None:
    """Wait until the switch has a state."""
    switch = switch_of(hass, entry, "Web")
    await until(lambda: hass.states.is_state(switch, state))


async def restored(
    hass: HomeAssistant, entry: MockConfigEntry, data: dict[str, Any]
) -> None:
    """Start anew with what Home Assistant had written down of the forward before."""
    await hass.config_entries.async_unload(entry.entry_id)
    (found,) = entry.subentries.values()
    hass.config_entries.async_update_subentry(entry, found, data=data)
    await hass.config_entries.async_setup(entry.entry_id)
    await until(lambda: stored(entry) == WEB)
    await hass.async_block_till_done()


async def test_a_new_forward_comes_on_by_itself(
    hass: HomeAssistant, at_home: Lab
) -> None:
    """That it was to do so is not kept; it can be switched as any other."""
    at_home.target.serve("tcp", 443)
    entry = await set_up(hass, at_home)
    done = await add(hass, entry)
    assert done.get("description") is None
    await until_state(hass, entry, STATE_ON)
    assert await passes(at_home)
    await until(lambda: stored(entry) == WEB)
    await turn(hass, "off", switch_of(hass, entry, "Web"))
    for _ in range(2):
        await hass.config_entries.async_reload(entry.entry_id)
        await until_state(hass, entry, STATE_OFF)
    assert not await passes(at_home)


async def test_who_does_not_want_that_switches_it_on_later(
    hass: HomeAssistant, at_home: Lab
) -> None:
    """Nothing is left with the forward then."""
    entry = await set_up(hass, at_home)
    assert (await add(hass, entry, enabled=False))["description"] == "off"
    assert stored(entry) == WEB
    await until_state(hass, entry, STATE_OFF)


async def test_what_was_not_begun_before_the_end_is_begun_with_the_start(
    hass: HomeAssistant, at_home: Lab
) -> None:
    """As when Home Assistant is killed right after it has written the forward down."""
    at_home.target.serve("tcp", 443)
    entry = await set_up(hass, at_home, NEW)
    await until_state(hass, entry, STATE_ON)
    assert await passes(at_home)
    await until(lambda: stored(entry) == WEB)


async def test_what_was_switched_off_since_stays_off(
    hass: HomeAssistant, at_home: Lab
) -> None:
    """Killed before Home Assistant has written down that it is done."""
    entry = await set_up(hass, at_home, NEW)
    await until_state(hass, entry, STATE_ON)
    await turn(hass, "off", switch_of(hass, entry, "Web"))
    await restored(hass, entry, NEW)
    await until_state(hass, entry, STATE_OFF)
    assert entry.runtime_data.desired == frozenset()


async def test_a_router_that_is_away_is_waited_for(
    hass: HomeAssistant, at_home: Lab
) -> None:
    """The page says so, and so does the form that changes the forward meanwhile."""
    at_home.target.serve("tcp", 443)
    entry = add_entry(hass, at_home)
    at_home.bypass.ssh.stop()
    await hass.config_entries.async_setup(entry.entry_id)
    assert (await add(hass, entry))["description"] == "later"
    (forward,) = entry.subentries
    form = await entry.start_subentry_reconfigure_flow(hass, forward)
    fields = {**WEB, "name": "Door"}
    await hass.config_entries.subentries.async_configure(form["flow_id"], fields)
    assert stored(entry) == {**fields, "enabled": True}
    at_home.bypass.start_ssh()
    await hass.config_entries.async_reload(entry.entry_id)
    switch = switch_of(hass, entry, "Door")
    await until(lambda: hass.states.is_state(switch, STATE_ON))
    assert await passes(at_home)


async def test_a_router_that_is_lost_meanwhile_has_it_when_it_is_back(
    hass: HomeAssistant, at_home: Lab
) -> None:
    """The wish is on disk until then."""
    entry = await set_up(hass, at_home)
    at_home.bypass.stop_ssh()
    await until(lambda: not entry.runtime_data.last_update_success)
    await add(hass, entry)
    await until_state(hass, entry, STATE_UNAVAILABLE)
    await until(lambda: stored(entry) == WEB)
    at_home.bypass.start_ssh()
    await until_state(hass, entry, STATE_ON)


async def test_one_that_the_router_refuses_is_off_and_a_repair_says_why(
    hass: HomeAssistant, at_home: Lab
) -> None:
    """Once it is possible, it is switched on by hand."""
    entry = await set_up(hass, at_home)
    # As another Home Assistant's, which came since this one has looked.
    at_home.bypass.commands.replace("nft", REFUSES)
    await add(hass, entry)
    await until(lambda: issue(hass, "refused") is not None)
    await until_state(hass, entry, STATE_OFF)
    await until(lambda: stored(entry) == WEB)


REFUSES = """#!/bin/sh
[ "$*" = "-f -" ] || exec /mnt/sbin/nft "$@"
asked=$(cat)
case $asked in *'8443'*) echo 'Error: no room for this' >&2; exit 1;; esac
printf '%s\\n' "$asked" | /mnt/sbin/nft "$@"
"""


async def test_a_full_disk_loses_nothing_and_turns_nothing_on_again(
    hass: HomeAssistant, at_home: Lab
) -> None:
    """It comes on with the disk; what is asked for meanwhile goes before it."""
    with small_disk(at_home, hass) as disk:
        entry = await set_up(hass, at_home)
        disk.fill()
        hass.config_entries.async_add_subentry(entry, subentry(NEW))
        await until(lambda: issue(hass, "not_saved") is not None)
        hass.config_entries.async_update_entry(entry, title="renamed")
        assert stored(entry) == NEW
        disk.empty()
        await until_state(hass, entry, STATE_ON)
        await turn(hass, "off", switch_of(hass, entry, "Web"))
        await restored(hass, entry, NEW)
        await until_state(hass, entry, STATE_OFF)


async def test_a_damaged_forward_waits_until_it_is_mended(
    hass: HomeAssistant, at_home: Lab
) -> None:
    """It is none of those that can come on."""
    damaged = {**NEW, "external_port": "0"}
    entry = await set_up(hass, at_home, damaged)
    assert stored(entry) == damaged
    (found,) = entry.subentries.values()
    hass.config_entries.async_update_subentry(entry, found, data=NEW)
    await until(lambda: stored(entry) == WEB)
    assert entry.runtime_data.desired == set(entry.subentries)


async def test_what_the_file_says_of_it_is_not_trusted(
    hass: HomeAssistant, at_home: Lab, hass_storage: dict[str, Any]
) -> None:
    """Nonsense there is as good as nothing."""
    entry = add_entry(hass, at_home, NEW)
    (key,) = entry.subentries
    for begun, state in ((7, STATE_ON), ([7, key], STATE_OFF)):
        hass_storage[f"{DOMAIN}.{entry.entry_id}"] = {
            "version": 1,
            "minor_version": 1,
            "key": f"{DOMAIN}.{entry.entry_id}",
            "data": {"wished": [], "boot_id": "", "begun": begun},
        }
        await restored(hass, entry, NEW)
        await until_state(hass, entry, state)
