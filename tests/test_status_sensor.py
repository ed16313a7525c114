"""A forward's status on its page: before, while and after it is diagnosed there."""

import asyncio
from typing import Any

from homeassistant.core import (
    Event,
    EventStateChangedData,
    HomeAssistant,
    State,
    callback,
)
from homeassistant.exceptions import ServiceValidationError
import pytest
from pytest_homeassistant_custom_component.common import MockConfigEntry

from custom_components.bypass_router.router.doctor.report import (
    Cause,
    Diagnosis,
    Step,
    failed,
)
from tests.lab.network import Lab
from tests.lab.waiting import until

from .setup import WEB, Held, forward_id, passes, set_up, switch_of, turn
from .test_diagnose import button_of
from .test_sensor import sensor


def status(hass: HomeAssistant, entry: MockConfigEntry) -> State:
    """Return the status of the forward Web."""
    state = hass.states.get(sensor(hass, entry, "Web", "status"))
    assert state is not None
    return state


def history(hass: HomeAssistant, entry: MockConfigEntry) -> list[State]:
    """Return a list of the states that come from now on."""
    states: list[State] = []
    entity_id = sensor(hass, entry, "Web", "status")

    @callback
    def note(event: Event[EventStateChangedData]) -> None:
        if event.data["entity_id"] == entity_id and (state := event.data["new_state"]):
            states.append(state)

    hass.bus.async_listen("state_changed", note)
    return states


def press(hass: HomeAssistant, entry: MockConfigEntry) -> asyncio.Task[Any]:
    """Press Diagnose, and go on."""
    pressed = {"entity_id": button_of(hass, entry, "Web")}
    call = hass.services.async_call("button", "press", pressed, blocking=True)
    return hass.async_create_task(call)


async def test_pressing_diagnose_shows_there_what_goes_on(
    hass: HomeAssistant, at_home: Lab
) -> None:
    """At once that it looks; then to try now; in the end that it works, and how."""
    at_home.target.serve("tcp", 443)
    entry = await set_up(hass, at_home, WEB)
    assert status(hass, entry).state == "off"
    await turn(hass, "on", switch_of(hass, entry, "Web"))
    assert status(hass, entry).state == "untested"
    states = history(hass, entry)
    pressed = press(hass, entry)
    await until(lambda: status(hass, entry).state == "checking")
    await until(lambda: status(hass, entry).state == "try_now")
    shown = status(hass, entry).attributes
    assert "8443" in shown["do"]
    assert 0 < shown["seconds_left"] <= 60
    assert await passes(at_home)
    await pressed
    await until(lambda: status(hass, entry).state == "works")
    assert len(status(hass, entry).attributes["checks"]) > 10
    order = list(dict.fromkeys(state.state for state in states))
    assert order[0] == "checking"
    assert set(order) <= {"checking", "try_now", "works"}
    left = [it.attributes.get("seconds_left", 0) for it in states]
    assert all(seconds % 5 == 0 for seconds in left)


async def test_a_fault_is_told_there_with_its_cause(
    hass: HomeAssistant, at_home: Lab
) -> None:
    """And is forgotten once someone from outside is answered again."""
    entry = await set_up(hass, at_home, WEB)
    await turn(hass, "on", switch_of(hass, entry, "Web"))
    await press(hass, entry)
    state = status(hass, entry)
    assert (state.state, state.attributes["cause"]) == ("fails", "port_closed")
    assert "443" in state.attributes["seen"]
    assert state.attributes["do"]
    assert any(line.startswith("✗") for line in state.attributes["checks"])
    at_home.target.serve("tcp", 443)
    assert await passes(at_home)
    await until(lambda: status(hass, entry).state == "works")
    assert status(hass, entry).attributes["cause"] is None


@pytest.mark.parametrize("tool", ["conntrack", "nft alone"])
async def test_who_was_answered_while_it_was_watched_is_remembered(
    hass: HomeAssistant, at_home: Lab, tool: str
) -> None:
    """Also where nothing else tells of him."""
    if tool != "conntrack":
        at_home.bypass.commands.hide("conntrack")
    at_home.target.serve("tcp", 443)
    entry = await set_up(hass, at_home, WEB)
    await turn(hass, "on", switch_of(hass, entry, "Web"))
    pressed = press(hass, entry)
    await until(lambda: status(hass, entry).state == "try_now")
    assert await passes(at_home)
    await pressed
    await until(lambda: status(hass, entry).state == "works")
    coordinator, web = entry.runtime_data, forward_id(entry, "Web")
    await until(lambda: bool(coordinator.counters.tally(web).visits.by_transport))
    await hass.config_entries.async_reload(entry.entry_id)
    await until(lambda: status(hass, entry).state == "works")


async def test_a_router_that_is_away_is_not_known_about(
    hass: HomeAssistant, at_home: Lab
) -> None:
    """Until the doctor has found that out; and then until it is back."""
    entry = await set_up(hass, at_home, WEB)
    await turn(hass, "on", switch_of(hass, entry, "Web"))
    await asyncio.to_thread(at_home.bypass.turn_off)
    await until(lambda: status(hass, entry).state == "unavailable")
    await press(hass, entry)
    state = status(hass, entry)
    assert (state.state, state.attributes["cause"]) == ("fails", "unreachable")


async def test_what_was_seen_before_it_came_on_is_not_told_after_that(
    hass: HomeAssistant, at_home: Lab
) -> None:
    """Its rules were missing when the doctor began, and rightly so."""
    at_home.target.serve("tcp", 443)
    entry = await set_up(hass, at_home, WEB)
    held = Held(at_home, "conntrack", "*-L*")
    pressed = press(hass, entry)
    await held.begun()
    turning = hass.async_create_task(turn(hass, "on", switch_of(hass, entry, "Web")))
    held.let_go()
    await turning
    await pressed
    assert status(hass, entry).state == "untested"


async def test_rules_that_are_put_back_are_not_missing_any_more(
    hass: HomeAssistant, at_home: Lab
) -> None:
    """The doctor may see them missing first, and for less than a second."""
    entry = await set_up(hass, at_home, WEB)
    await turn(hass, "on", switch_of(hass, entry, "Web"))
    coordinator = entry.runtime_data
    forward = coordinator.forwards[forward_id(entry, "Web")]
    missing = Diagnosis((failed(Step.RULES, Cause.RULE_MISSING),))
    coordinator.async_diagnosed(forward, missing, on=True, public=forward.external)
    assert status(hass, entry).state == "untested"


@pytest.mark.parametrize("shown", ["checking", "try_now"])
async def test_a_diagnosis_that_a_reload_ends_blames_no_one(
    hass: HomeAssistant, at_home: Lab, shown: str
) -> None:
    """The router was there all the time, and the next diagnosis may begin."""
    at_home.target.serve("tcp", 443)
    entry = await set_up(hass, at_home, WEB)
    await turn(hass, "on", switch_of(hass, entry, "Web"))
    states = history(hass, entry)
    pressed = press(hass, entry)
    await until(lambda: status(hass, entry).state == shown)
    await hass.config_entries.async_reload(entry.entry_id)
    with pytest.raises(ServiceValidationError, match="ended early"):
        await pressed
    await until(lambda: status(hass, entry).state == "untested")
    assert "fails" not in {state.state for state in states}
    again = press(hass, entry)
    await until(lambda: status(hass, entry).state == "try_now")
    assert await passes(at_home)
    await again
