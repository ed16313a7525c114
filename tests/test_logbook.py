"""What a person reads in the logbook of what happened to the rules."""

import asyncio
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import quote

from homeassistant.components.recorder.core import Recorder
from homeassistant.const import STATE_ON, STATE_UNAVAILABLE
from homeassistant.core import HomeAssistant
from homeassistant.setup import async_setup_component
import pytest
from pytest_homeassistant_custom_component.components.recorder.common import (
    async_wait_recording_done,
)
from pytest_homeassistant_custom_component.typing import ClientSessionGenerator

from tests.lab.network import Lab
from tests.lab.waiting import until

from .setup import GAME, WEB, set_up, switch_of, turn

EVENT = "event.bypass_rules"


@pytest.fixture(autouse=True)
async def _custom_integrations(
    recorder_mock: Recorder, hass: HomeAssistant, enable_custom_integrations: None
) -> None:
    """Record from the start, and let Home Assistant see the integration."""
    assert await async_setup_component(hass, "logbook", {})


async def lines(
    hass: HomeAssistant, hass_client: ClientSessionGenerator, entity_id: str
) -> list[tuple[str, str]]:
    """Return what the logbook says of an entity: who, and what."""
    await async_wait_recording_done(hass)
    begin = quote((datetime.now(UTC) - timedelta(hours=1)).isoformat())
    client = await hass_client()
    answer = await client.get(f"/api/logbook/{begin}?entity={entity_id}")
    entries: list[dict[str, Any]] = await answer.json()
    return [
        (
            entry["name"],
            entry.get("message")
            or entry.get("attributes", {}).get("event_type")
            or entry["state"],
        )
        for entry in entries
    ]


@pytest.mark.parametrize(
    ("language", "removed", "restored"),
    [
        (
            "en",
            "Forwards were removed on the router (iptables)",
            "Forwards were put back",
        ),
        ("zh-Hans", "路由器上的转发被删除 (iptables)", "转发已恢复"),
    ],
)
async def test_a_forward_tells_what_happened_to_it(
    at_home: Lab,
    hass: HomeAssistant,
    hass_client: ClientSessionGenerator,
    language: str,
    removed: str,
    restored: str,
) -> None:
    """By whom, and that it is back, though its switch was on all the time."""
    await hass.config.async_update(language=language)
    entry = await set_up(hass, at_home, WEB, GAME, firewall="iptables")
    web, game = switch_of(hass, entry, "Web"), switch_of(hass, entry, "Game")
    await turn(hass, STATE_ON, web)
    at_home.bypass.run("iptables", "-t", "nat", "-F")
    await until(
        lambda: hass.states.get(EVENT).attributes["event_type"] == "rules_restored"
    )
    assert await lines(hass, hass_client, web) == [
        ("Web", "on"),
        ("Web", removed),
        ("Web", restored),
    ]
    assert await lines(hass, hass_client, game) == []
    rules = hass.states.get(EVENT).name
    assert await lines(hass, hass_client, EVENT) == [
        (rules, "rules_removed"),
        (rules, "rules_restored"),
    ]


async def test_the_router_tells_of_a_restart_and_nothing_twice(
    at_home: Lab, hass: HomeAssistant, hass_client: ClientSessionGenerator
) -> None:
    """A connection that is back is no event, and repeats none."""
    entry = await set_up(hass, at_home, WEB)
    web = switch_of(hass, entry, "Web")
    await turn(hass, STATE_ON, web)
    await asyncio.to_thread(at_home.bypass.reboot)
    await until(lambda: hass.states.get(web).state == STATE_UNAVAILABLE)
    await until(lambda: hass.states.get(web).state == STATE_ON)
    at_home.bypass.stop_ssh()
    await until(lambda: hass.states.get(web).state == STATE_UNAVAILABLE)
    at_home.bypass.start_ssh()
    await until(lambda: hass.states.get(web).state == STATE_ON)
    assert await lines(hass, hass_client, EVENT) == [
        ("bypass Rules", "router_restarted"),
        ("bypass Rules", "rules_restored"),
    ]
    assert ("Web", "The router restarted") in await lines(hass, hass_client, web)
