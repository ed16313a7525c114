"""A main router that is a Linux box, and another router of ours: both halves by us."""

import asyncio
from collections.abc import Mapping
from typing import Any, Final

from homeassistant.config_entries import ConfigEntryState, ConfigSubentry
from homeassistant.const import STATE_OFF, STATE_ON
from homeassistant.core import HomeAssistant
from homeassistant.helpers import entity_registry as er
import pytest
from pytest_homeassistant_custom_component.common import MockConfigEntry

from custom_components.bypass_router.const import DOMAIN
from custom_components.bypass_router.main_router.half import MainHalf, MainState
from custom_components.bypass_router.main_router.linux_router import (
    half_of,
)
from custom_components.bypass_router.router.doctor.report import Cause, Reason
from tests.lab.disk import REAL_COMMANDS
from tests.lab.linux_main_router import LinuxMainRouter
from tests.lab.network import Lab
from tests.lab.options import RouterOptions
from tests.lab.waiting import until

from .sentences import said
from .setup import WEB, forward_id, passes, set_up, switch_of, turn

CLIENT: Final = "198.51.100.7"
"""Of someone farther away than the main router's provider."""


@pytest.fixture
def router_options() -> RouterOptions:
    """Both routers are Linux."""
    return RouterOptions(linux_main=True)


@pytest.fixture
def main_router(at_home: Lab) -> LinuxMainRouter:
    """The main router, and behind it an internet of more than one network."""
    at_home.internet.ip(f"address add {CLIENT}/32 dev wan")
    at_home.main.ip(f"route add default via {at_home.internet.address}")
    assert isinstance(at_home.main, LinuxMainRouter)
    return at_home.main


def main_entry(
    hass: HomeAssistant, router: LinuxMainRouter, **changed: Any
) -> MockConfigEntry:
    """Add the main router, by its public address unless told otherwise."""
    entry = MockConfigEntry(
        domain=DOMAIN,
        title="main",
        unique_id="main",
        data={
            "host": router.wan_address,
            "port": 22,
            "username": "root",
            "host_key": router.host_key("ed25519"),
            "password": router.root_password,
            **changed,
        },
    )
    entry.add_to_hass(hass)
    return entry


@pytest.fixture
async def main(hass: HomeAssistant, main_router: LinuxMainRouter) -> MockConfigEntry:
    """The main router in Home Assistant."""
    entry = main_entry(hass, main_router)
    assert await hass.config_entries.async_setup(entry.entry_id)
    await hass.async_block_till_done()
    return entry


def naming(main: MockConfigEntry, forward: Mapping[str, Any] = WEB) -> dict[str, Any]:
    """Return a forward whose half is on the main router."""
    return {**forward, "main_router_switch": f"entry:{main.entry_id}"}


def ports_of(router: LinuxMainRouter) -> str:
    """Return what our table on the main router translates."""
    return router.run("nft", "list", "table", "ip", "ha_bypass", check=False).stdout


class Halves:
    """Both halves of a forward, which one switch turns."""

    def __init__(self, hass: HomeAssistant, entry: MockConfigEntry) -> None:
        """Take whose forward it is."""
        self._hass = hass
        self._entry = entry
        self.switch = switch_of(hass, entry, "Web")
        self.key = forward_id(entry, "Web")

    @property
    def half(self) -> MainHalf:
        """What is known of the main router's."""
        half = self._entry.runtime_data.halves.half(self.key)
        assert isinstance(half, MainHalf)
        return half

    async def on(self) -> None:
        """Turn it on."""
        await turn(self._hass, "on", self.switch)

    async def off(self) -> None:
        """Turn it off."""
        await turn(self._hass, "off", self.switch)


def own_half(main: MockConfigEntry, entry: MockConfigEntry) -> ConfigSubentry:
    """Return the half of the forward Web."""
    found = half_of(main, forward_id(entry, "Web"))
    assert found
    return found


async def test_both_halves_lead_from_the_internet_to_the_device(
    hass: HomeAssistant, at_home: Lab, main: MockConfigEntry
) -> None:
    """And nothing passes where one is off; each is read back from its own kernel."""
    at_home.target.serve("tcp", 443)
    entry = await set_up(hass, at_home, naming(main))
    halves = Halves(hass, entry)
    half = own_half(main, entry)
    assert half.title == "Web (bypass)"
    assert {**half.data} == {
        "name": "Web (bypass)",
        "protocol": "tcp",
        "external_port": "8443",
        "target": at_home.bypass.address,
        "target_port": "",
        "sources": [],
        "keep_client_address": True,
    }
    assert not await passes(at_home)
    await halves.on()
    assert halves.half.state is MainState.ON
    assert await passes(at_home)
    await turn(hass, "off", switch_of(hass, main, "Web (bypass)"))
    await until(lambda: halves.half.state is MainState.OFF)
    assert not await passes(at_home)
    assert hass.states.is_state(halves.switch, "on")
    await turn(hass, "on", switch_of(hass, main, "Web (bypass)"))
    assert await passes(at_home)
    await halves.off()
    await until(lambda: halves.half.state is MainState.OFF)
    assert not await passes(at_home)


async def test_the_bypass_router_sees_the_clients(
    hass: HomeAssistant, at_home: Lab, main: MockConfigEntry
) -> None:
    """So it can let in some of them, and show the device who they are."""
    at_home.target.serve("tcp", 443)
    fields = {"sources": [f"{CLIENT}/32"], "keep_client_address": True}
    entry = await set_up(hass, at_home, {**naming(main), **fields})
    halves = Halves(hass, entry)
    await halves.on()
    exchange = await asyncio.to_thread(
        at_home.internet.exchange,
        "tcp",
        at_home.main.wan_address,
        8443,
        source=CLIENT,
    )
    assert exchange.passed
    assert exchange.peer_seen == CLIENT
    assert not await passes(at_home)


async def test_the_half_changes_and_goes_with_its_forward(
    hass: HomeAssistant,
    at_home: Lab,
    main: MockConfigEntry,
    main_router: LinuxMainRouter,
) -> None:
    """Its ports, its name, and all of it."""
    at_home.target.serve("tcp", 443)
    entry = await set_up(hass, at_home, naming(main))
    halves = Halves(hass, entry)
    await halves.on()
    subentry = entry.subentries[halves.key]
    hass.config_entries.async_update_subentry(
        entry,
        subentry,
        title="Site",
        data={**subentry.data, "name": "Site", "external_port": "9443"},
    )
    await until(lambda: "9443" in ports_of(main_router))
    assert "8443" not in ports_of(main_router)
    assert own_title(main) == ["Site (bypass)"]
    assert await passes(at_home, 9443)
    hass.config_entries.async_remove_subentry(entry, halves.key)
    await until(lambda: "9443" not in ports_of(main_router))
    assert not main.subentries
    assert entry.runtime_data.halves.half(halves.key) is None


def own_title(main: MockConfigEntry) -> list[str]:
    """Return what the main router's forwards are called."""
    return [it.title for it in main.subentries.values()]


async def test_the_half_goes_where_nothing_names_it_any_more(
    hass: HomeAssistant,
    at_home: Lab,
    main: MockConfigEntry,
    main_router: LinuxMainRouter,
) -> None:
    """As the field is empty, also while the bypass router is away; or it is removed."""
    entry = await set_up(hass, at_home, naming(main))
    subentry = entry.subentries[forward_id(entry, "Web")]
    for away in (False, True):
        if away:
            await hass.config_entries.async_unload(entry.entry_id)
        assert main.subentries
        hass.config_entries.async_update_subentry(entry, subentry, data=dict(WEB))
        assert not main.subentries
        hass.config_entries.async_update_subentry(entry, subentry, data=naming(main))
        if away:
            assert await hass.config_entries.async_setup(entry.entry_id)
    halves = Halves(hass, entry)
    await halves.on()
    assert "8443" in ports_of(main_router)
    await hass.config_entries.async_remove(entry.entry_id)
    assert not main.subentries
    await until(lambda: "8443" not in ports_of(main_router))


async def test_the_half_is_closed_though_its_router_is_not_set_up(
    hass: HomeAssistant,
    at_home: Lab,
    main: MockConfigEntry,
    main_router: LinuxMainRouter,
) -> None:
    """As any forward of that router is."""
    entry = await set_up(hass, at_home, naming(main))
    halves = Halves(hass, entry)
    await halves.on()
    await hass.config_entries.async_unload(main.entry_id)
    assert "8443" in ports_of(main_router)
    hass.config_entries.async_remove_subentry(entry, halves.key)
    await until(lambda: "8443" not in ports_of(main_router))


async def test_a_half_is_found_again(
    hass: HomeAssistant, at_home: Lab, main: MockConfigEntry
) -> None:
    """It is not made twice, keeps the name that the user gave it, and is made anew."""
    entry = await set_up(hass, at_home, naming(main))
    before = own_half(main, entry)
    hass.config_entries.async_update_subentry(main, before, title="Mine")
    assert await hass.config_entries.async_reload(entry.entry_id)
    assert own_half(main, entry) is before
    assert own_title(main) == ["Mine"]
    # As after a kill: it was not written down, or what it is of was not.
    hass.config_entries.async_remove_subentry(main, before.subentry_id)
    assert not main.subentries
    assert await hass.config_entries.async_reload(entry.entry_id)
    assert own_title(main) == ["Web (bypass)"]


async def test_what_the_main_router_could_not_be_asked_is_made_up_for(
    hass: HomeAssistant, at_home: Lab, main: MockConfigEntry
) -> None:
    """As soon as its entry is back."""
    at_home.target.serve("tcp", 443)
    entry = await set_up(hass, at_home, naming(main))
    halves = Halves(hass, entry)
    await hass.config_entries.async_unload(main.entry_id)
    await halves.on()
    half = halves.half
    assert half.state is MainState.UNKNOWN
    assert half.check.seen["reason"] == Reason.MAIN_SWITCH_UNAVAILABLE
    assert half.check.seen["name"] == "Web (bypass)"
    assert await hass.config_entries.async_setup(main.entry_id)
    await until(lambda: halves.half.state is MainState.ON)
    assert await passes(at_home)


async def test_a_half_that_the_main_router_refuses_says_why(
    hass: HomeAssistant,
    at_home: Lab,
    main: MockConfigEntry,
    main_router: LinuxMainRouter,
) -> None:
    """And the bypass router's is on."""
    entry = await set_up(hass, at_home, naming(main))
    halves = Halves(hass, entry)
    main_router.commands.replace(
        "nft",
        '#!/bin/sh\ncase "$*" in *-f*) echo no room >&2; exit 1;; esac\n'
        f'exec {REAL_COMMANDS}/replaced/nft "$@"\n',
    )
    await halves.on()
    half = halves.half
    assert hass.states.is_state(halves.switch, STATE_ON)
    assert half.check.cause is Cause.MAIN_SWITCH_FAILED
    assert "no room" in half.check.seen["message"]


async def test_a_main_router_that_is_removed_is_gone(
    hass: HomeAssistant, at_home: Lab, main: MockConfigEntry
) -> None:
    """And so is a half whose switch is disabled."""
    entry = await set_up(hass, at_home, naming(main))
    halves = Halves(hass, entry)
    half = own_half(main, entry)
    found = er.async_get(hass).async_get_entity_id("switch", DOMAIN, half.subentry_id)
    assert found
    assert hass.states.is_state(found, STATE_OFF)
    by = er.RegistryEntryDisabler.USER
    er.async_get(hass).async_update_entity(found, disabled_by=by)
    await hass.async_block_till_done()
    assert halves.half.check.cause is Cause.MAIN_SWITCH_GONE
    await hass.config_entries.async_remove(main.entry_id)
    await hass.async_block_till_done()
    assert halves.half.check.cause is Cause.MAIN_SWITCH_GONE
    await halves.on()
    assert hass.states.is_state(halves.switch, STATE_ON)


async def test_a_main_router_known_by_its_address_at_home_is_refused(
    hass: HomeAssistant, at_home: Lab, main_router: LinuxMainRouter
) -> None:
    """Its forwards answer there, where no one comes by from the internet."""
    main = main_entry(hass, main_router, host=main_router.address)
    assert await hass.config_entries.async_setup(main.entry_id)
    assert main.state is ConfigEntryState.LOADED
    entry = await set_up(hass, at_home, WEB)
    form = await entry.start_subentry_reconfigure_flow(hass, forward_id(entry, "Web"))
    result = await hass.config_entries.subentries.async_configure(
        form["flow_id"], naming(main)
    )
    told = said(result, "config_subentries.forward")["main_router_switch"]
    assert "The forwards of main answer at 192.168.50.1" in told
