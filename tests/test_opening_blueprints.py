"""The blueprints that open forwards, and close them: when, for whom, and how long."""

import asyncio
from collections.abc import Callable, Mapping
from datetime import timedelta
from typing import Any, Final

from freezegun.api import FrozenDateTimeFactory
from homeassistant.components.blueprint.models import DomainBlueprints
from homeassistant.const import (
    STATE_HOME,
    STATE_NOT_HOME,
    STATE_OFF,
    STATE_ON,
    STATE_UNAVAILABLE,
    STATE_UNKNOWN,
)
from homeassistant.core import CoreState, HomeAssistant, ServiceCall, callback
from homeassistant.exceptions import HomeAssistantError
from homeassistant.helpers import device_registry as dr
from homeassistant.setup import async_setup_component
from homeassistant.util import dt as dt_util
import pytest
from pytest_homeassistant_custom_component.common import (
    MockConfigEntry,
    MockUser,
    async_fire_time_changed,
    async_mock_service,
)

from custom_components.bypass_router.const import DOMAIN
from custom_components.bypass_router.services import async_set_up_services

from .test_blueprints import ASKED, FOLDER, THERE, WHERE, automate

CAMERA: Final = "switch.camera"
GAME: Final = "switch.game"
SWITCHES: Final = [CAMERA, GAME]
SENSOR: Final = "sensor.where_i_am"
ME: Final = "person.me"
SERVER: Final = "device_tracker.server"
HERE: Final = "203.0.113.7"
ELSEWHERE: Final = "198.51.100.9"
# The packages of the phone's app are not there for the oldest Home Assistant.
WITH_APP: Final = pytest.mark.long
PRESSED: Final = "mobile_app_notification_action"


@pytest.fixture(autouse=True)
def _blueprints(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let Home Assistant find the blueprints here, and not in its own folder."""
    monkeypatch.setattr(DomainBlueprints, "blueprint_folder", FOLDER)


@pytest.fixture(autouse=True)
def calls(hass: HomeAssistant) -> list[ServiceCall]:
    """What is asked of forwards, in order; and two of them, that are off."""
    asked: list[ServiceCall] = []

    @callback
    def note(call: ServiceCall) -> None:
        asked.append(call)

    async_set_up_services(hass)
    ours = hass.services.async_services_for_domain(DOMAIN)["open_for"]
    # It is asked for as the action takes it.
    hass.services.async_register(DOMAIN, "open_for", note, ours.schema)
    for service in ("turn_on", "turn_off"):
        hass.services.async_register("switch", service, note)
    for switch in SWITCHES:
        show(hass, switch, STATE_OFF)
    return asked


def show(hass: HomeAssistant, switch: str, state: str) -> None:
    """Have a forward's switch show this."""
    name = switch.partition(".")[2].capitalize()
    hass.states.async_set(switch, state, {"friendly_name": name})


def said(calls: list[ServiceCall]) -> list[tuple[str, list[str], object]]:
    """Take what was asked for: what, of which forwards, and who may come in."""
    told = [
        (call.service, call.data["entity_id"], call.data.get("sources"))
        for call in calls
    ]
    calls.clear()
    return told


async def settle() -> None:
    """Let the automation go on, which may wait for something."""
    for _ in range(100):
        await asyncio.sleep(0)


async def see(hass: HomeAssistant, entity_id: str, state: str, **more: Any) -> None:
    """Set a state, and let the automation go on."""
    hass.states.async_set(entity_id, state, more)
    await settle()


async def test_only_the_address_where_i_am_is_let_in(
    hass: HomeAssistant, calls: list[ServiceCall]
) -> None:
    """For half a day, and anew with each other one; not with other attributes."""
    await automate(hass, WHERE, sensor=SENSOR, switches=SWITCHES)
    await see(hass, SENSOR, HERE)
    assert [call.data["duration"] for call in calls] == [timedelta(hours=12)]
    assert said(calls) == [("open_for", SWITCHES, [HERE])]
    await see(hass, SENSOR, HERE, ttl=7)
    assert said(calls) == []
    await see(hass, SENSOR, ELSEWHERE)
    assert said(calls) == [("open_for", SWITCHES, [ELSEWHERE])]


async def test_nobody_is_let_in_by_what_is_no_address(
    hass: HomeAssistant, calls: list[ServiceCall]
) -> None:
    """A network or a name might be everyone's."""
    await automate(hass, WHERE, sensor=SENSOR, switches=SWITCHES)
    for state in (
        *(STATE_UNKNOWN, STATE_UNAVAILABLE, "", "none", "12", "[]", "home.example.org"),
        *("0.0.0.0", "0.0.0.0/0", "203.0.113.0/24", "203.0.113.7/0", "2001:db8::7"),
        *("203.0.113.256", "203.0.113", "203.0.113.07", "203.0.113.7.1"),
        *(f"{HERE}, 0.0.0.0/0", f"{HERE}\n0.0.0.0/0", f"0.0.0.0/0\n{HERE}"),
    ):
        await see(hass, SENSOR, state)
        assert said(calls) == [], state
    await see(hass, SENSOR, HERE)
    assert said(calls) == [("open_for", SWITCHES, [HERE])]
    hass.states.async_remove(SENSOR)
    await settle()
    assert said(calls) == []


async def test_at_home_nobody_is_let_in(
    hass: HomeAssistant, calls: list[ServiceCall]
) -> None:
    """What was open is closed, also when the sensor says nothing."""
    hass.states.async_set(ME, STATE_NOT_HOME)
    await automate(hass, WHERE, sensor=SENSOR, switches=SWITCHES, person=ME)
    await see(hass, SENSOR, HERE)
    assert said(calls) == [("open_for", SWITCHES, [HERE])]
    await see(hass, SENSOR, STATE_UNAVAILABLE)
    await see(hass, ME, STATE_HOME)
    assert said(calls) == [("turn_off", SWITCHES, None)]
    # What is opened by hand, as for somebody else, is left alone.
    await see(hass, SENSOR, ELSEWHERE)
    await see(hass, ME, STATE_UNAVAILABLE)
    assert said(calls) == []
    # The sensor was there first.
    await see(hass, ME, STATE_NOT_HOME)
    assert said(calls) == [("open_for", SWITCHES, [ELSEWHERE])]


async def test_the_last_address_is_let_in_as_soon_as_the_router_is_there(
    hass: HomeAssistant, calls: list[ServiceCall]
) -> None:
    """Those whose router is there do not wait for the others."""
    await automate(hass, WHERE, sensor=SENSOR, switches=SWITCHES)
    show(hass, GAME, STATE_UNAVAILABLE)
    await see(hass, SENSOR, HERE)
    await see(hass, SENSOR, ELSEWHERE)
    assert said(calls) == [
        ("open_for", [CAMERA], [HERE]),
        ("open_for", [CAMERA], [ELSEWHERE]),
    ]
    show(hass, GAME, STATE_OFF)
    await settle()
    assert said(calls) == [("open_for", [GAME], [ELSEWHERE])]
    # What it was is no longer so.
    show(hass, GAME, STATE_UNAVAILABLE)
    await see(hass, SENSOR, HERE)
    assert said(calls) == [("open_for", [CAMERA], [HERE])]
    await see(hass, SENSOR, STATE_UNAVAILABLE)
    show(hass, GAME, STATE_OFF)
    await settle()
    assert said(calls) == []


type Wait = Callable[[int], Any]


@pytest.fixture
def wait(hass: HomeAssistant, freezer: FrozenDateTimeFactory) -> Wait:
    """Let so many seconds pass."""

    async def until_over(seconds: int) -> None:
        freezer.tick(seconds)
        async_fire_time_changed(hass, dt_util.utcnow())
        await settle()

    return until_over


@pytest.mark.parametrize(
    ("device", "there", "away"),
    [
        (SERVER, STATE_HOME, STATE_NOT_HOME),
        ("binary_sensor.console", STATE_ON, STATE_OFF),
    ],
)
async def test_forwards_are_on_while_the_device_is_there(
    hass: HomeAssistant,
    calls: list[ServiceCall],
    wait: Wait,
    device: str,
    there: str,
    away: str,
) -> None:
    """Off when it has been away for a while, wherever; a restart of it is shorter."""
    hass.states.async_set(device, away)
    await automate(hass, THERE, device=device, switches=SWITCHES)
    await see(hass, device, there)
    assert said(calls) == [("turn_on", SWITCHES, None)]
    await see(hass, device, away)
    await wait(290)
    await see(hass, device, there)
    assert said(calls) == [("turn_on", SWITCHES, None)]
    await wait(60)
    await see(hass, device, away)
    await wait(200)
    await see(hass, device, "Work" if device == SERVER else away)
    await wait(90)
    assert said(calls) == []
    await wait(20)
    assert said(calls) == [("turn_off", SWITCHES, None)]


async def test_while_nobody_knows_where_the_device_is_nothing_changes(
    hass: HomeAssistant, calls: list[ServiceCall], wait: Wait
) -> None:
    """Nor is it away for that time."""
    hass.states.async_set(SERVER, STATE_HOME)
    await automate(hass, THERE, device=SERVER, switches=SWITCHES)
    for state in (STATE_UNAVAILABLE, STATE_UNKNOWN):
        await see(hass, SERVER, state)
        await wait(3600)
    await see(hass, SERVER, STATE_NOT_HOME)
    await wait(200)
    await see(hass, SERVER, STATE_UNAVAILABLE)
    await wait(200)
    await see(hass, SERVER, STATE_NOT_HOME)
    await wait(200)
    hass.states.async_remove(SERVER)
    await wait(200)
    assert said(calls) == []


@pytest.mark.parametrize(
    ("before", "after", "meanwhile", "later"),
    [
        (STATE_HOME, STATE_HOME, ["turn_on"], []),
        (STATE_NOT_HOME, STATE_NOT_HOME, [], ["turn_off"]),
        (STATE_NOT_HOME, STATE_HOME, ["turn_on"], []),
        (STATE_NOT_HOME, STATE_UNAVAILABLE, [], []),
        (STATE_UNAVAILABLE, STATE_UNAVAILABLE, [], []),
        (STATE_UNAVAILABLE, STATE_HOME, ["turn_on"], []),
        (STATE_UNAVAILABLE, STATE_NOT_HOME, [], ["turn_off"]),
    ],
)
async def test_after_a_start_forwards_are_as_the_device_is(
    hass: HomeAssistant,
    calls: list[ServiceCall],
    wait: Wait,
    before: str,
    after: str,
    meanwhile: list[str],
    later: list[str],
) -> None:
    """As soon as their router is there, and it is known; it may have gone meanwhile."""
    hass.states.async_set(SERVER, before)
    for switch in SWITCHES:
        show(hass, switch, STATE_UNAVAILABLE)
    hass.set_state(CoreState.not_running)
    await automate(hass, THERE, device=SERVER, switches=SWITCHES)
    await hass.async_start()
    await settle()
    await see(hass, SERVER, after)
    assert said(calls) == []
    for switch in SWITCHES:
        show(hass, switch, STATE_OFF)
    await settle()
    assert said(calls) == [(service, SWITCHES, None) for service in meanwhile]
    await wait(310)
    assert said(calls) == [(service, SWITCHES, None) for service in later]


@pytest.fixture
async def phone(hass: HomeAssistant, hass_admin_user: MockUser) -> str:
    """Return the device of a phone with the app."""
    assert await async_setup_component(hass, "mobile_app", {})
    app = {"push_token": "token", "push_url": "https://push.example.org"}
    data = {
        "app_id": "app",
        "app_name": "App",
        "app_version": "1",
        "app_data": app,
        "device_id": "phone",
        "device_name": "Phone",
        "manufacturer": "Maker",
        "model": "Phone",
        "os_name": "OS",
        "os_version": "1",
        "secret": "secret",
        "supports_encryption": False,
        "user_id": hass_admin_user.id,
        "webhook_id": "webhook",
    }
    entry = MockConfigEntry(domain="mobile_app", title="Phone", data=data)
    entry.add_to_hass(hass)
    assert await hass.config_entries.async_setup(entry.entry_id)
    await hass.async_block_till_done()
    (device,) = dr.async_entries_for_config_entry(dr.async_get(hass), entry.entry_id)
    return device.id


@pytest.fixture
def sent(hass: HomeAssistant, phone: str) -> list[ServiceCall]:
    """What is sent to the phone."""
    assert phone
    return async_mock_service(hass, "notify", "mobile_app_phone")


def press(hass: HomeAssistant, button: str = "BYPASS_ROUTER_OPEN") -> None:
    """Press a notification's button."""
    hass.bus.async_fire(PRESSED, {"action": button})


def messages(sent: list[ServiceCall]) -> list[tuple[str, list[Mapping[str, Any]]]]:
    """Return what was sent: the words, and the buttons."""
    return [
        (call.data["message"], call.data["data"].get("actions", [])) for call in sent
    ]


@pytest.mark.freeze_time("2026-12-01 12:00:00+00:00")
@WITH_APP
async def test_the_button_opens_forwards_for_an_hour(
    hass: HomeAssistant, phone: str, calls: list[ServiceCall], sent: list[ServiceCall]
) -> None:
    """It is sent when it was chosen, and opens nothing before it is pressed."""
    await hass.config.async_set_time_zone("UTC")
    leave = {"trigger": "event", "event_type": "leave"}
    await automate(hass, ASKED, phone=phone, switches=SWITCHES, when=[leave])
    hass.bus.async_fire("leave")
    await settle()
    ((message, (button,)),) = messages(sent)
    assert message == "Open Camera, Game for 1:00:00?"
    assert button["title"] == "Open"
    press(hass, "ANOTHER")
    await settle()
    assert calls == []
    for switch in SWITCHES:
        show(hass, switch, STATE_ON)
    press(hass, button["action"])
    await settle()
    assert [call.data["duration"] for call in calls] == [timedelta(hours=1)]
    # To those who may come in anyway.
    assert said(calls) == [("open_for", SWITCHES, None)]
    assert messages(sent)[1:] == [("Open until 2026-12-01 13:00: Camera, Game.", [])]
    # It takes the other's place.
    assert len({call.data["data"]["tag"] for call in sent}) == 1


@WITH_APP
async def test_run_by_hand_it_asks_and_opens_nothing(
    hass: HomeAssistant, phone: str, calls: list[ServiceCall], sent: list[ServiceCall]
) -> None:
    """In words of one's own, and with a button of one's own."""
    await automate(
        hass,
        ASKED,
        phone=phone,
        switches=[CAMERA],
        duration={"days": 1, "minutes": 30},
        question="{{ names }}? {{ lasts }}",
        label="打开",
        button="MINE",
        confirm=False,
    )
    (automation,) = hass.states.async_entity_ids("automation")
    await hass.services.async_call(
        "automation", "trigger", {"entity_id": automation}, blocking=True
    )
    await settle()
    assert calls == []
    ((message, (button,)),) = messages(sent)
    assert message == "Camera? 1 day, 0:30:00"
    assert (button["action"], button["title"]) == ("MINE", "打开")
    opened = asyncio.Event()

    async def open_slowly(call: ServiceCall) -> None:
        calls.append(call)
        await opened.wait()

    hass.services.async_register(DOMAIN, "open_for", open_slowly)
    press(hass)
    press(hass, "MINE")
    press(hass, "MINE")
    await settle()
    opened.set()
    await settle()
    # Each time anew, one after the other.
    assert said(calls) == [("open_for", [CAMERA], None)] * 2
    assert len(sent) == 1


@WITH_APP
async def test_what_could_not_be_opened_is_said(
    hass: HomeAssistant, phone: str, sent: list[ServiceCall]
) -> None:
    """As its router can't be reached, or has refused it."""
    await automate(hass, ASKED, phone=phone, switches=SWITCHES)
    gone = HomeAssistantError("gone")
    async_mock_service(hass, DOMAIN, "open_for", raise_exception=gone)
    show(hass, GAME, STATE_UNAVAILABLE)
    press(hass)
    await settle()
    show(hass, CAMERA, STATE_ON)
    press(hass)
    await settle()
    (neither, _), (one, _) = messages(sent)
    assert neither == "Not open: Camera, Game."
    assert one.startswith("Open until ")
    assert one.endswith(": Camera. Not open: Game.")
