"""The sensors: how many connections there were, and when the last one came."""

import asyncio
from datetime import timedelta
import time
from typing import Any

from homeassistant.const import STATE_UNAVAILABLE, STATE_UNKNOWN
from homeassistant.core import Event, EventStateChangedData, HomeAssistant, callback
from homeassistant.helpers import entity_registry as er
from homeassistant.util import dt as dt_util
import pytest
from pytest_homeassistant_custom_component.common import (
    MockConfigEntry,
    async_fire_time_changed,
)

from custom_components.bypass_router.const import DOMAIN
from custom_components.bypass_router.counters import counters
from tests.lab.network import Lab
from tests.lab.waiting import soon, until

from .setup import GAME, WEB, forward_id, passes, set_up, switch_of, turn


def sensor(hass: HomeAssistant, entry: MockConfigEntry, name: str, key: str) -> str:
    """Return the entity id of a forward's sensor."""
    unique_id = f"{forward_id(entry, name)}_{key}"
    found = er.async_get(hass).async_get_entity_id("sensor", DOMAIN, unique_id)
    assert found
    return found


def total(hass: HomeAssistant, entry: MockConfigEntry, name: str = "Web") -> str:
    """Return how many connections a forward is said to have had."""
    return hass.states.get(sensor(hass, entry, name, "connections")).state


async def come(lab: Lab, times: int = 1) -> None:
    """Use the forward from the internet."""
    for _ in range(times):
        assert await passes(lab)


def restored_of(hass: HomeAssistant) -> list[str]:
    """Return a list of what will happen to the rules from now on."""
    happened: list[str] = []

    @callback
    def note(event: Event[EventStateChangedData]) -> None:
        if state := event.data["new_state"]:
            happened.append(str(state.attributes.get("event_type")))

    hass.bus.async_listen("state_changed", note)
    return happened


async def test_each_connection_is_counted_soon_after_it_came(
    hass: HomeAssistant, at_home: Lab
) -> None:
    """With its time; what came by another forward is that one's."""
    at_home.target.serve("tcp", 443)
    entry = await set_up(hass, at_home, WEB, GAME)
    await turn(hass, "on", switch_of(hass, entry, "Web"))
    await until(lambda: total(hass, entry) == "0")
    last = sensor(hass, entry, "Web", "last_connection")
    assert hass.states.get(last).state == STATE_UNKNOWN
    before = dt_util.utcnow() - timedelta(seconds=1)
    await come(at_home, 3)
    await until(lambda: total(hass, entry) == "3")
    when = dt_util.parse_datetime(hass.states.get(last).state)
    assert when is not None
    assert before <= when <= dt_util.utcnow()
    assert total(hass, entry, "Game") == "0"


async def test_the_sensors_make_statistics(hass: HomeAssistant, at_home: Lab) -> None:
    """Long-term ones, of numbers that only grow."""
    entry = await set_up(hass, at_home, WEB)
    state = hass.states.get(sensor(hass, entry, "Web", "connections"))
    assert state.attributes["state_class"] == "total_increasing"
    last = hass.states.get(sensor(hass, entry, "Web", "last_connection"))
    assert last.attributes["device_class"] == "timestamp"


async def test_nothing_is_asked_while_nobody_comes(
    hass: HomeAssistant, at_home: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And in a crowd, the router is asked every few seconds only."""
    at_home.target.serve("tcp", 443)
    entry = await set_up(hass, at_home, WEB)
    await turn(hass, "on", switch_of(hass, entry, "Web"))
    await until(lambda: total(hass, entry) == "0")
    router = entry.runtime_data.connection.router
    await asyncio.sleep(soon(3.5))
    asked = 0
    count = router.rules.count

    async def counted() -> Any:
        nonlocal asked
        asked += 1
        return await count()

    monkeypatch.setattr(router.rules, "count", counted)
    async_fire_time_changed(hass, dt_util.utcnow() + timedelta(minutes=2))
    await asyncio.sleep(0.5)
    assert asked == 0
    await come(at_home, 20)
    await until(lambda: total(hass, entry) == "20")
    assert asked <= 2


@pytest.mark.parametrize(
    ("firewall", "flush"),
    [
        ("iptables", ("iptables", "-t", "nat", "-F", "HA-BYPASS-PRE")),
        ("nftables", ("nft", "delete", "table", "ip", "ha_bypass")),
    ],
)
async def test_the_total_outlives_a_flush_a_restart_and_a_reboot(
    hass: HomeAssistant, at_home: Lab, firewall: str, flush: tuple[str, ...]
) -> None:
    """The router counts from nothing each time."""
    at_home.target.serve("tcp", 443)
    entry = await set_up(hass, at_home, WEB, firewall=firewall)
    switch = switch_of(hass, entry, "Web")
    await turn(hass, "on", switch)
    await come(at_home, 2)
    await until(lambda: total(hass, entry) == "2")

    restored = restored_of(hass)
    at_home.bypass.run(*flush)
    await until(lambda: "rules_restored" in restored)
    await come(at_home)
    await until(lambda: total(hass, entry) == "3")

    await hass.config_entries.async_unload(entry.entry_id)
    await come(at_home)
    await hass.config_entries.async_setup(entry.entry_id)
    await until(lambda: total(hass, entry) == "4")

    await asyncio.to_thread(at_home.bypass.reboot)
    await until(lambda: total(hass, entry) == STATE_UNAVAILABLE)
    await until(lambda: hass.states.get(switch).state == "on")
    assert int(total(hass, entry)) >= 4
    await come(at_home)
    await until(lambda: total(hass, entry) == "5")


async def test_without_conntrack_it_is_looked_once_a_minute(
    hass: HomeAssistant, at_home: Lab
) -> None:
    """While a forward is on."""
    at_home.bypass.commands.hide("conntrack")
    at_home.target.serve("tcp", 443)
    entry = await set_up(hass, at_home, WEB)
    await turn(hass, "on", switch_of(hass, entry, "Web"))
    started = time.monotonic()
    await until(lambda: total(hass, entry) == "0")
    # What was asked for when the rules changed is over then.
    await asyncio.sleep(soon(4))
    await come(at_home)
    await asyncio.sleep(soon(4))
    # On a machine that is very busy, that was the minute.
    assert total(hass, entry) == "0" or time.monotonic() > started + 50
    async_fire_time_changed(hass, dt_util.utcnow() + timedelta(seconds=61))
    await until(lambda: total(hass, entry) == "1")


@pytest.mark.usefixtures("states_seldom")
async def test_a_busy_forward_writes_a_state_a_minute(
    hass: HomeAssistant, at_home: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The first is told at once; nothing is lost of what comes then."""
    entry = await set_up(hass, at_home, WEB)
    coordinator, web = entry.runtime_data, forward_id(entry, "Web")
    await turn(hass, "on", switch_of(hass, entry, "Web"))
    await until(lambda: total(hass, entry) == "0")
    counts = {web: 0}

    async def count() -> dict[str, int]:
        return dict(counts)

    monkeypatch.setattr(counters, "_PAUSE", 0.0)
    monkeypatch.setattr(counters, "_LAG", 0.0)
    monkeypatch.setattr(coordinator.connection.router.rules, "count", count)
    written: list[str] = []

    @callback
    def note(event: Event[EventStateChangedData]) -> None:
        if event.data["entity_id"].startswith("sensor.web_conn"):
            written.append(str(event.data["new_state"].state))

    hass.bus.async_listen("state_changed", note)
    while counts[web] < 39:
        counts[web] += 1
        coordinator.counters.async_read_soon()
        await until(lambda: coordinator.counters.tally(web).seen == counts[web])
    await hass.async_block_till_done()
    assert written == ["1"]
    async_fire_time_changed(hass, dt_util.utcnow() + timedelta(seconds=61))
    await until(lambda: total(hass, entry) == "39")


async def test_the_router_tells_how_many_are_on(
    hass: HomeAssistant, at_home: Lab
) -> None:
    """As the switches do."""
    entry = await set_up(hass, at_home, WEB, GAME)
    found = er.async_get(hass).async_get_entity_id(
        "sensor", DOMAIN, f"{entry.entry_id}_forwards_active"
    )
    assert found
    assert hass.states.get(found).state == "0"
    await turn(hass, "on", switch_of(hass, entry, "Web"))
    assert hass.states.get(found).state == "1"
    await turn(hass, "on", switch_of(hass, entry, "Game"))
    assert hass.states.get(found).state == "2"
