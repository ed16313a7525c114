"""A switch of another integration, named as the main router's half of a forward."""

import asyncio
from collections.abc import Callable, Iterator
from typing import Any, Final, override

from homeassistant.components.switch import SwitchEntity
from homeassistant.const import STATE_ON
from homeassistant.core import CoreState, HomeAssistant
from homeassistant.exceptions import HomeAssistantError
from homeassistant.helpers import entity_registry as er
from homeassistant.setup import async_setup_component
import pytest
from pytest_homeassistant_custom_component.common import (
    MockConfigEntry,
    setup_test_component_platform,
)

from custom_components.bypass_router.const import DOMAIN
from custom_components.bypass_router.main_router import other_switch
from custom_components.bypass_router.main_router.half import MainState
from custom_components.bypass_router.main_router.other_switch import OtherSwitch
from custom_components.bypass_router.router.doctor.report import (
    Cause,
    Reason,
    Status,
    Step,
)

from .lab.waiting import at_once, until
from .setup import GAME, WEB, forward_id, subentry

NAMED: Final = "switch.main_web"
ON, OFF, UNKNOWN = MainState.ON, MainState.OFF, MainState.UNKNOWN


class MainSwitch(SwitchEntity):
    """The main router's forward, as another integration shows it."""

    _attr_name = "Main web"
    _attr_unique_id = "main_web"
    _attr_should_poll = False

    def __init__(self) -> None:
        """Be off."""
        self._attr_is_on = False
        self.asked: list[bool] = []
        self.fails: Exception | None = None
        self.works = True
        self.free = asyncio.Event()
        self.free.set()

    async def _turn(self, *, on: bool) -> None:
        """Do as the main router pleases."""
        self.asked.append(on)
        await self.free.wait()
        if self.fails:
            raise self.fails
        if self.works:
            self.show(on=on)

    def show(self, *, on: bool) -> None:
        """Be on or off, whoever did that."""
        self._attr_is_on = on
        self.async_write_ha_state()

    def reach(self, *, there: bool) -> None:
        """Be reached, or not."""
        self._attr_available = there
        self.async_write_ha_state()

    @override
    async def async_turn_on(self, **kwargs: Any) -> None:
        """Forward."""
        await self._turn(on=True)

    @override
    async def async_turn_off(self, **kwargs: Any) -> None:
        """Forward no more."""
        await self._turn(on=False)


@pytest.fixture
def entry(hass: HomeAssistant) -> MockConfigEntry:
    """A bypass router, not connected, with two forwards that name the switch."""
    entry = MockConfigEntry(
        domain=DOMAIN,
        subentries_data=[
            subentry({**forward, "main_router_switch": NAMED}).as_dict()
            for forward in (WEB, GAME)
        ],
    )
    entry.add_to_hass(hass)
    return entry


@pytest.fixture
async def main(hass: HomeAssistant) -> MainSwitch:
    """The switch of the main router."""
    switch = MainSwitch()
    setup_test_component_platform(hass, "switch", [switch])
    assert await async_setup_component(hass, "switch", {"switch": {"platform": "test"}})
    await hass.async_block_till_done()
    assert hass.states.get(NAMED)
    return switch


class Follower:
    """Who holds the main router's half of a forward, and hears of it."""

    def __init__(self, hass: HomeAssistant, entry: MockConfigEntry, name: str) -> None:
        """Follow the switch."""
        self.heard = 0
        self.forward_id = forward_id(entry, name)
        self.other = OtherSwitch(hass, entry, self.forward_id, NAMED, self._hear)

    def _hear(self) -> None:
        """Take note."""
        self.heard += 1

    def told(self) -> tuple[MainState, Cause | Reason | None]:
        """What is known, and what is wrong with it."""
        half = self.other.half
        assert half.check.name is Step.MAIN_ROUTER
        reason = half.check.seen.get("reason")
        return half.state, half.check.cause or (Reason(reason) if reason else None)


type Follow = Callable[..., Follower]


@pytest.fixture
def follow(hass: HomeAssistant, entry: MockConfigEntry) -> Iterator[Follow]:
    """Follow the switch for a forward, until the test is over."""
    followers: list[Follower] = []

    def begin(name: str = "Web") -> Follower:
        followers.append(Follower(hass, entry, name))
        return followers[-1]

    yield begin
    for follower in followers:
        follower.other.async_stop()


def show_forward(hass: HomeAssistant, key: str, name: str, *, on: bool) -> None:
    """Have a forward's own switch be on or off."""
    known = er.async_get(hass).async_get_or_create(
        "switch", DOMAIN, key, suggested_object_id=name
    )
    hass.states.async_set(known.entity_id, "on" if on else "off")


async def test_the_switch_is_turned_and_its_state_is_that_of_the_half(
    main: MainSwitch, follow: Follow
) -> None:
    """On and off; once is enough."""
    web = follow()
    assert web.told() == (OFF, Cause.MAIN_SWITCH_OFF)
    await web.other.async_turn_on()
    assert web.told() == (ON, None)
    assert web.other.half.check.status is Status.OK
    await web.other.async_turn_on()
    assert main.asked == [True]
    await web.other.async_turn_off()
    assert web.told()[0] is OFF
    assert main.asked == [True, False]
    assert web.heard == 2


async def test_who_turns_it_off_by_hand_has_the_last_word(
    hass: HomeAssistant, main: MainSwitch, follow: Follow
) -> None:
    """It is not turned on again, and what that means is said."""
    web = follow()
    await web.other.async_turn_on()
    main.show(on=False)
    await hass.async_block_till_done()
    half = web.other.half
    assert web.told() == (OFF, Cause.MAIN_SWITCH_OFF)
    assert half.check.seen == {"entity": NAMED, "name": "Main web"}
    assert half.since > 0
    assert main.asked == [True]
    main.show(on=True)
    await hass.async_block_till_done()
    assert web.told() == (ON, None)


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (HomeAssistantError("The main router\nrefuses"), "The main router refuses"),
        (HomeAssistantError(), "HomeAssistantError"),
        (ZeroDivisionError("secret"), "ZeroDivisionError"),
    ],
)
async def test_its_failure_is_kept_and_fails_nobody(
    hass: HomeAssistant,
    main: MainSwitch,
    follow: Follow,
    error: Exception,
    message: str,
) -> None:
    """Until it works, by whomever."""
    web = follow()
    main.fails = error
    await web.other.async_turn_on()
    assert web.told() == (OFF, Cause.MAIN_SWITCH_FAILED)
    assert web.other.half.check.seen["message"] == message
    main.show(on=True)
    await hass.async_block_till_done()
    assert web.told() == (ON, None)
    await web.other.async_turn_off()
    assert web.told() == (ON, Cause.MAIN_SWITCH_FAILED)
    main.fails = None
    await web.other.async_turn_off()
    assert web.told()[0] is OFF


async def test_a_switch_that_is_mute_holds_nobody_up(
    hass: HomeAssistant,
    main: MainSwitch,
    follow: Follow,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """What it does later is seen later."""
    monkeypatch.setattr(other_switch, "_LIMIT", 0.1)
    web = follow()
    main.free.clear()
    await web.other.async_turn_on()
    assert web.told() == (OFF, Cause.MAIN_SWITCH_FAILED)
    main.free.set()
    await until(lambda: web.told() == (ON, None))


async def test_a_switch_that_does_nothing_is_said_to_be_off(
    main: MainSwitch, follow: Follow, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Though it has not said that it failed."""
    monkeypatch.setattr(other_switch, "_SETTLES", 0.1)
    web = follow()
    main.works = False
    await web.other.async_turn_on()
    assert web.told() == (OFF, Cause.MAIN_SWITCH_OFF)


async def test_what_could_not_be_asked_is_made_up_for(
    hass: HomeAssistant, main: MainSwitch, follow: Follow
) -> None:
    """As soon as the switch is back, and only the last of it."""
    web = follow()
    main.reach(there=False)
    await hass.async_block_till_done()
    assert web.told() == (UNKNOWN, Reason.MAIN_SWITCH_UNAVAILABLE)
    await web.other.async_turn_off()
    await web.other.async_turn_on()
    assert main.asked == []
    main.reach(there=True)
    await until(lambda: web.told() == (ON, None))
    main.show(on=False)
    main.reach(there=False)
    main.reach(there=True)
    await hass.async_block_till_done()
    assert web.told() == (OFF, Cause.MAIN_SWITCH_OFF)
    assert main.asked == [True]


async def test_a_switch_that_is_not_known_yet_is_no_switch_that_is_gone(
    hass: HomeAssistant, follow: Follow
) -> None:
    """While Home Assistant starts, it may come yet."""
    hass.set_state(CoreState.starting)
    web = follow()
    assert web.told() == (UNKNOWN, Reason.MAIN_SWITCH_UNAVAILABLE)
    hass.set_state(CoreState.running)
    hass.bus.async_fire("homeassistant_started")
    await hass.async_block_till_done()
    assert web.told() == (UNKNOWN, Cause.MAIN_SWITCH_GONE)
    hass.states.async_set(NAMED, STATE_ON)
    await hass.async_block_till_done()
    assert web.told() == (ON, None)


async def test_a_switch_that_is_removed_or_disabled_is_gone(
    hass: HomeAssistant, main: MainSwitch, follow: Follow
) -> None:
    """And comes back."""
    web, registry = follow(), er.async_get(hass)
    by = er.RegistryEntryDisabler.USER
    registry.async_update_entity(NAMED, disabled_by=by)
    await hass.async_block_till_done()
    assert web.told() == (UNKNOWN, Cause.MAIN_SWITCH_GONE)
    assert web.other.half.check.seen["name"] == "Main web"
    registry.async_remove(NAMED)
    await hass.async_block_till_done()
    assert web.told() == (UNKNOWN, Cause.MAIN_SWITCH_GONE)
    await web.other.async_turn_on()
    assert web.told() == (UNKNOWN, Cause.MAIN_SWITCH_GONE)


async def test_a_switch_is_followed_when_it_is_renamed(
    hass: HomeAssistant, entry: MockConfigEntry, main: MainSwitch, follow: Follow
) -> None:
    """By whoever follows it, and in what is stored, also of routers that are away."""
    assert await async_setup_component(hass, DOMAIN, {})
    web = follow()
    renamed = "switch.porch"
    er.async_get(hass).async_update_entity(NAMED, new_entity_id=renamed)
    await hass.async_block_till_done()
    assert web.other.named == renamed
    stored = [it.data["main_router_switch"] for it in entry.subentries.values()]
    assert stored == [renamed, renamed]
    await web.other.async_turn_on()
    assert web.told() == (ON, None)
    assert main.asked == [True]
    assert web.other.half.check.seen["entity"] == renamed


async def test_a_switch_of_several_forwards_is_on_as_long_as_one_of_them_is(
    hass: HomeAssistant, entry: MockConfigEntry, main: MainSwitch, follow: Follow
) -> None:
    """Also where they go off at once."""
    web, game = follow("Web"), follow("Game")
    for each, name in ((web, "web"), (game, "game")):
        show_forward(hass, each.forward_id, name, on=True)
        await each.other.async_turn_on()
    await web.other.async_turn_off()
    show_forward(hass, web.forward_id, "web", on=False)
    assert main.asked == [True]
    await web.other.async_turn_on()
    show_forward(hass, web.forward_id, "web", on=True)
    await at_once(web.other.async_turn_off(), game.other.async_turn_off())
    assert not main.is_on
    assert main.asked == [True, False]


async def test_nothing_is_heard_after_the_end(
    hass: HomeAssistant, entry: MockConfigEntry, main: MainSwitch
) -> None:
    """Nor done."""
    web = Follower(hass, entry, "Web")
    main.reach(there=False)
    await web.other.async_turn_on()
    web.other.async_stop()
    heard = web.heard
    main.reach(there=True)
    await hass.async_block_till_done()
    assert (web.heard, main.asked) == (heard, [])


async def test_what_is_under_way_at_the_end_goes_on(
    hass: HomeAssistant, entry: MockConfigEntry, main: MainSwitch
) -> None:
    """Whoever waited for it hears no more of it; nor does one who has given up."""
    web = Follower(hass, entry, "Web")
    main.free.clear()
    turning = hass.async_create_task(web.other.async_turn_on())
    await until(lambda: main.asked == [True])
    turning.cancel()
    web.other.async_stop()
    main.free.set()
    await until(lambda: main.is_on)
    assert web.heard == 0


async def test_the_last_request_is_the_one_that_counts(
    main: MainSwitch, follow: Follow
) -> None:
    """Also where the one before it fails."""
    web = follow()
    main.free.clear()
    main.fails = HomeAssistantError("too late")
    first = asyncio.create_task(web.other.async_turn_on())
    await until(lambda: main.asked == [True])
    second = asyncio.create_task(web.other.async_turn_off())
    main.free.set()
    await first
    await second
    assert web.told() == (OFF, Cause.MAIN_SWITCH_OFF)
    assert main.asked == [True]
