"""Which router an entry is about: another address, another card, a copy of its disk."""

import asyncio
from typing import Any

from homeassistant.config_entries import ConfigEntryDisabler, ConfigEntryState
from homeassistant.const import STATE_ON
from homeassistant.core import HomeAssistant
from homeassistant.helpers import device_registry as dr
import pytest
from pytest_homeassistant_custom_component.common import MockConfigEntry

from custom_components.bypass_router.const import DOMAIN
from custom_components.bypass_router.router.probe.place import Place
from custom_components.bypass_router.router.router import Router
from tests.lab.network import Lab
from tests.lab.waiting import until

from .sentences import translations
from .setup import MAC_ADDRESS, WEB, add_entry, ours, passes, set_up, switch_of, turn

SECOND = "192.168.50.4"
NEW_MAC = "02:00:00:00:00:99"


def second_address(lab: Lab) -> None:
    """Give the router another interface in the LAN, with an address of its own."""
    lab.bypass.ip("link add second link lan type macvlan mode bridge")
    lab.bypass.ip(f"address add {SECOND}/24 dev second")
    lab.bypass.ip("link set second up")


def new_card(lab: Lab) -> None:
    """Give the router another network card, while nobody looks."""
    lab.bypass.ip(f"link set lan address {NEW_MAC}")
    for machine in (lab.home, lab.main, lab.target):
        machine.ip("neigh flush all")


async def give(hass: HomeAssistant, form: Any, **given: Any) -> Any:
    """Submit a form, and return what comes next."""
    return await hass.config_entries.flow.async_configure(form["flow_id"], given)


async def add_again(hass: HomeAssistant, lab: Lab, host: str) -> Any:
    """Add a router at an address, as far as it gets."""
    form = await hass.config_entries.flow.async_init(DOMAIN, context={"source": "user"})
    form = await give(hass, form, host=host, port=22, username="root")
    password = lab.bypass.root_password
    return await give(hass, form, password=password, install_key=True)


def refused(done: Any, reason: str) -> bool:
    """Return whether a form ends with a reason that names the router's entry."""
    text = translations()[f"config.abort.{reason}"]
    said = text.format(**(done["description_placeholders"] or {}))
    return (done["type"], done["reason"]) == ("abort", reason) and "bypass" in said


@pytest.mark.parametrize("loaded", [True, False])
async def test_two_interfaces_of_a_router_are_one_router(
    hass: HomeAssistant, at_home: Lab, loaded: bool
) -> None:
    """It can't be added by the other one, nor is anything left on it by trying."""
    second_address(at_home)
    entry = await set_up(hass, at_home, WEB)
    await turn(hass, "on", switch_of(hass, entry, "Web"))
    if not loaded:
        await hass.config_entries.async_unload(entry.entry_id)
    before = ours(at_home)
    assert refused(await add_again(hass, at_home, SECOND), "already_configured")
    assert ours(at_home) == before
    assert at_home.bypass.users.authorized_keys() == ""


@pytest.mark.parametrize("state", ["loaded", "unloaded", "away"])
async def test_a_router_with_another_network_card_is_not_added_again(
    hass: HomeAssistant, at_home: Lab, state: str
) -> None:
    """Whether its entry is connected, or its address is gone as well."""
    entry = await set_up(hass, at_home, WEB)
    if state != "loaded":
        await hass.config_entries.async_unload(entry.entry_id)
    host = at_home.bypass.address
    if state == "away":
        data = {**entry.data, "host": "192.168.50.77"}
        hass.config_entries.async_update_entry(entry, data=data)
    new_card(at_home)
    reason = "same_host_key" if state == "away" else "already_configured"
    assert refused(await add_again(hass, at_home, host), reason)
    assert len(hass.config_entries.async_entries(DOMAIN)) == 1
    assert at_home.bypass.users.authorized_keys() == ""


async def test_an_entry_moves_with_the_network_card_of_its_router(
    hass: HomeAssistant, at_home: Lab
) -> None:
    """At the next start, and its forwards stay as they are."""
    at_home.target.serve("tcp", 443)
    entry = await set_up(hass, at_home, WEB)
    switch = switch_of(hass, entry, "Web")
    await turn(hass, "on", switch)
    new_card(at_home)
    await hass.config_entries.async_reload(entry.entry_id)
    assert entry.state is ConfigEntryState.LOADED
    assert entry.unique_id == NEW_MAC
    assert hass.states.is_state(switch, STATE_ON)
    assert await passes(at_home)
    (device,) = (
        device
        for device in dr.async_get(hass).devices
        if (DOMAIN, entry.entry_id) in device.identifiers
    )
    assert {mac for _, mac in device.connections} == {NEW_MAC}


@pytest.mark.parametrize("door", ["reconfigure", "reauth"])
async def test_whoever_signs_in_again_finds_the_router_with_another_card(
    hass: HomeAssistant, at_home: Lab, door: str
) -> None:
    """The pinned key says that it is the same; it is reached by another address too."""
    entry = add_entry(hass, at_home, WEB)
    second_address(at_home)
    new_card(at_home)
    if door == "reauth":
        entry.async_start_reauth(hass)
        await hass.async_block_till_done()
        (form,) = hass.config_entries.flow.async_progress_by_handler(DOMAIN)
    else:
        form = await entry.start_reconfigure_flow(hass)
        form = await give(hass, form, host=SECOND, port=22, username="root")
        assert form["step_id"] == "reconfigure_credentials"
    password = at_home.bypass.root_password
    done = await give(hass, form, password=password, install_key=False)
    assert done["reason"] == f"{door}_successful"
    await until(lambda: entry.state is ConfigEntryState.LOADED)
    assert entry.unique_id not in (None, MAC_ADDRESS)


async def test_two_entries_for_one_router_do_not_wipe_each_others_forwards(
    hass: HomeAssistant, at_home: Lab
) -> None:
    """As an earlier version let them be added: the first is used, the other says so."""
    at_home.target.serve("tcp", 443)
    second_address(at_home)
    entry = await set_up(hass, at_home, WEB)
    await turn(hass, "on", switch_of(hass, entry, "Web"))
    twin = MockConfigEntry(
        domain=DOMAIN,
        title="twin",
        unique_id="02:00:00:00:00:77",
        data={**entry.data, "host": SECOND},
    )
    twin.add_to_hass(hass)
    await hass.config_entries.async_setup(twin.entry_id)
    assert twin.state is ConfigEntryState.SETUP_RETRY
    assert twin.error_reason_translation_key == "same_router"
    assert twin.error_reason_translation_placeholders == {"entry": "bypass"}
    assert await passes(at_home)
    await hass.config_entries.async_unload(entry.entry_id)
    await asyncio.gather(
        hass.config_entries.async_setup(entry.entry_id),
        hass.config_entries.async_reload(twin.entry_id),
        return_exceptions=True,
    )
    states = {entry.state, twin.state}
    assert states == {ConfigEntryState.LOADED, ConfigEntryState.SETUP_RETRY}


async def test_the_second_entry_for_a_router_can_be_deleted(
    hass: HomeAssistant, at_home: Lab
) -> None:
    """As its message advises; the forwards of the first stay as they are."""
    at_home.target.serve("tcp", 443)
    entry = await set_up(hass, at_home, WEB, restore=False)
    await turn(hass, "on", switch_of(hass, entry, "Web"))
    twin = MockConfigEntry(domain=DOMAIN, title="twin", data=dict(entry.data))
    twin.add_to_hass(hass)
    await hass.config_entries.async_setup(twin.entry_id)
    before = ours(at_home)
    await hass.config_entries.async_remove(twin.entry_id)
    assert ours(at_home) == before
    assert await passes(at_home)


@pytest.fixture
def copies(monkeypatch: pytest.MonkeyPatch) -> dict[str, Place]:
    """Say which router is where; the lab has one, which poses as several."""
    places: dict[str, Place] = {}

    async def place(router: Router) -> Place:
        return places[str(router.probe.interface)]

    monkeypatch.setattr(Router, "place", place)
    return places


@pytest.mark.parametrize("loaded", [True, False])
async def test_a_copy_of_a_routers_disk_is_another_router(
    hass: HomeAssistant, at_home: Lab, copies: dict[str, Place], loaded: bool
) -> None:
    """It has the same host key, and runs beside the first."""
    second_address(at_home)
    copies["lan"] = Place("a" * 36, "4026531840", frozenset({MAC_ADDRESS}))
    copies["second"] = Place("b" * 36, "4026531840", frozenset({"02:00:00:00:00:02"}))
    entry = await set_up(hass, at_home, WEB)
    if not loaded:
        await hass.config_entries.async_set_disabled_by(
            entry.entry_id, ConfigEntryDisabler.USER
        )
    done = await add_again(hass, at_home, SECOND)
    assert done["type"] == "create_entry"
    await hass.async_block_till_done()
    assert done["result"].state is ConfigEntryState.LOADED


async def test_a_connected_entry_is_not_moved_onto_a_copy_of_its_router(
    hass: HomeAssistant, at_home: Lab, copies: dict[str, Place]
) -> None:
    """Though that proves the pinned key."""
    second_address(at_home)
    copies["lan"] = Place("a" * 36, "4026531840", frozenset({MAC_ADDRESS}))
    copies["second"] = Place("b" * 36, "4026531840", frozenset({"02:00:00:00:00:02"}))
    entry = await set_up(hass, at_home, WEB)
    form = await entry.start_reconfigure_flow(hass)
    form = await give(hass, form, host=SECOND, port=22, username="root")
    done = await give(hass, form, install_key=True)
    assert (done["type"], done["reason"]) == ("abort", "another_router")
    assert entry.data["host"] == at_home.bypass.address


def test_containers_on_one_machine_are_routers_of_their_own() -> None:
    """They share the boot, and where they tell, not the network."""
    one = Place("a", "1", frozenset({"x"}))
    assert one.is_also(Place("a", "1", frozenset()))
    assert not one.is_also(Place("a", "2", frozenset({"x"})))
    assert not one.is_also(Place("b", "1", frozenset({"x"})))
    assert one.is_also(Place("a", "", frozenset({"x", "y"})))
    assert not one.is_also(Place("a", "", frozenset({"y"})))
    assert not Place("", "1", frozenset({"x"})).is_also(one)
