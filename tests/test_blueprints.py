"""The blueprints: automations from them do what their names say, and only then."""

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from freezegun.api import FrozenDateTimeFactory
from homeassistant.components.automation import EVENT_AUTOMATION_TRIGGERED
from homeassistant.components.automation.config import AUTOMATION_BLUEPRINT_SCHEMA
from homeassistant.components.blueprint.models import Blueprint, DomainBlueprints
from homeassistant.components.persistent_notification import (
    Notification,
    UpdateType,
    async_register_callback,
)
from homeassistant.const import (
    STATE_OFF,
    STATE_ON,
    STATE_UNAVAILABLE,
    STATE_UNKNOWN,
)
from homeassistant.core import (
    CoreState,
    Event,
    HomeAssistant,
    ServiceCall,
    State,
    callback,
)
from homeassistant.helpers import device_registry as dr, entity_registry as er
from homeassistant.setup import async_setup_component
from homeassistant.util import dt as dt_util
from homeassistant.util.yaml import load_yaml_dict
import pytest
from pytest_homeassistant_custom_component.common import (
    MockConfigEntry,
    async_capture_events,
    async_fire_time_changed,
    async_mock_service,
    mock_restore_cache_with_extra_data,
)

from custom_components.bypass_router.const import DOMAIN
from tests.lab.network import Lab
from tests.lab.waiting import until

from .plugin import find_restored
from .setup import GAME, WEB, add_entry, passes, set_up, switch_of, turn

FOLDER = Path(__file__).parents[1] / "blueprints/automation"
BLUEPRINTS = sorted(FOLDER.rglob("*.yaml"))
TURN_ON = "bypass_router/turn_on_after_restart.yaml"
TELL = "bypass_router/tell_when_removed.yaml"
LATER = "bypass_router/turn_when_reachable.yaml"
WHO = "bypass_router/tell_who_connects.yaml"
ASKED = "bypass_router/open_when_asked.yaml"
THERE = "bypass_router/open_while_there.yaml"
WHERE = "bypass_router/let_me_in_where_i_am.yaml"
EVENT = "event.bypass_rules"
LONG_AGO = "2026-01-01T00:00:00.000+00:00"


@pytest.fixture(autouse=True)
def _blueprints(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let Home Assistant find the blueprints here, and not in its own folder."""
    monkeypatch.setattr(DomainBlueprints, "blueprint_folder", FOLDER)


async def automate(hass: HomeAssistant, blueprint: str, **inputs: Any) -> None:
    """Make an automation from a blueprint."""
    rules = {"rules": EVENT} if blueprint in (TELL, TURN_ON) else {}
    use = {"path": blueprint, "input": {**rules, **inputs}}
    config = {"automation": {"use_blueprint": use}}
    assert await async_setup_component(hass, "automation", config)
    await hass.async_block_till_done()
    assert len(hass.states.async_entity_ids("automation")) == 1


async def with_forwards(
    hass: HomeAssistant, lab: Lab, **options: Any
) -> tuple[MockConfigEntry, str, str]:
    """Set up a router with two forwards that are off; return their switches."""
    lab.target.serve("tcp", 443)
    # Their changes are always reported with the program's name.
    entry = await set_up(hass, lab, WEB, GAME, firewall="iptables", **options)
    return entry, switch_of(hass, entry, "Web"), switch_of(hass, entry, "Game")


def triggered(hass: HomeAssistant) -> list[Event[Mapping[str, Any]]]:
    """Return a list that fills with the runs of automations."""
    return async_capture_events(hass, EVENT_AUTOMATION_TRIGGERED)


async def notifications(hass: HomeAssistant) -> list[tuple[str | None, str]]:
    """Return a list that fills with the titles and messages of notifications."""
    shown: list[tuple[str | None, str]] = []

    @callback
    def note(_: UpdateType, changed: dict[str, Notification]) -> None:
        shown.extend((each["title"], each["message"]) for each in changed.values())

    assert await async_setup_component(hass, "persistent_notification", {})
    async_register_callback(hass, note)
    return shown


@pytest.mark.parametrize("path", BLUEPRINTS, ids=lambda path: path.stem)
def test_home_assistant_takes_it(path: Path) -> None:
    """It is well formed, this version will do, and each input says what it is."""
    blueprint = Blueprint(
        load_yaml_dict(str(path)),
        expected_domain="automation",
        path=path.name,
        schema=AUTOMATION_BLUEPRINT_SCHEMA,
    )
    assert blueprint.validate() is None
    assert blueprint.metadata["author"] == "Bypass Router"
    assert blueprint.metadata["homeassistant"] == {"min_version": "2026.10.0"}
    for shown in blueprint.inputs.values():
        assert shown.keys() >= {"name", "description", "selector"}


def test_these_are_all_the_blueprints() -> None:
    """None goes untested."""
    assert [str(path.relative_to(FOLDER)) for path in BLUEPRINTS] == [
        *(WHERE, ASKED, THERE, TELL, WHO, TURN_ON, LATER)
    ]


async def test_forwards_are_turned_on_again_after_a_restart(
    at_home: Lab, hass: HomeAssistant
) -> None:
    """Those that were on, and no others; traffic passes again."""
    _, web, game = await with_forwards(hass, at_home, restore=False)
    await turn(hass, STATE_ON, web)
    await automate(hass, TURN_ON)
    runs = triggered(hass)
    await asyncio.to_thread(at_home.bypass.reboot)
    assert not await passes(at_home)
    await until(lambda: hass.states.get(web).state == STATE_UNAVAILABLE)
    await until(lambda: hass.states.get(web).state == STATE_ON)
    assert await passes(at_home)
    assert hass.states.get(game).state == STATE_OFF
    assert len(runs) == 1


async def test_only_the_chosen_forwards_are_turned_on_again(
    at_home: Lab, hass: HomeAssistant
) -> None:
    """The others stay off."""
    _, web, game = await with_forwards(hass, at_home, restore=False)
    await turn(hass, STATE_ON, web, game)
    await automate(hass, TURN_ON, switches=[game])
    await asyncio.to_thread(at_home.bypass.reboot)
    await until(lambda: hass.states.get(game).state == STATE_UNAVAILABLE)
    await until(lambda: hass.states.get(game).state == STATE_ON)
    assert hass.states.get(web).state == STATE_OFF
    assert not await passes(at_home)


async def test_without_a_restart_nothing_is_turned_on(
    at_home: Lab, hass: HomeAssistant
) -> None:
    """A flush is none, nor is a lost connection; with nothing on, a restart is void."""
    _, web, game = await with_forwards(hass, at_home, restore=False)
    await turn(hass, STATE_ON, web)
    await automate(hass, TURN_ON)
    runs = triggered(hass)
    at_home.bypass.run("iptables", "-t", "nat", "-F")
    await until(lambda: hass.states.get(web).state == STATE_OFF)
    at_home.bypass.stop_ssh()
    await until(lambda: hass.states.get(web).state == STATE_UNAVAILABLE)
    at_home.bypass.start_ssh()
    await until(lambda: hass.states.get(web).state == STATE_OFF)
    await asyncio.to_thread(at_home.bypass.reboot)
    await until(lambda: hass.states.get(web).state == STATE_UNAVAILABLE)
    await until(lambda: hass.states.get(web).state == STATE_OFF)
    await asyncio.sleep(0.3)
    assert hass.states.get(web).state == STATE_OFF
    assert hass.states.get(game).state == STATE_OFF
    assert runs == []


@pytest.mark.parametrize("blueprint", [TURN_ON, TELL])
async def test_what_happened_before_a_restart_of_home_assistant_is_over(
    at_home: Lab, hass: HomeAssistant, blueprint: str
) -> None:
    """The event entity gets its last event back, and nothing runs for it again."""
    kind = "router_restarted" if blueprint == TURN_ON else "rules_removed"
    past = {"forwards": ["switch.web"]}
    entry = add_entry(hass, at_home, WEB, GAME)
    er.async_get(hass).async_get_or_create(
        "event",
        "bypass_router",
        f"{entry.entry_id}_rules",
        config_entry=entry,
        suggested_object_id="bypass_rules",
    )
    mock_restore_cache_with_extra_data(
        hass,
        [
            (
                State(EVENT, LONG_AGO, {"event_type": kind, **past}),
                {"last_event_type": kind, "last_event_attributes": past},
            )
        ],
    )
    find_restored(hass)
    await automate(hass, blueprint)
    runs = triggered(hass)
    await hass.config_entries.async_setup(entry.entry_id)
    switch = switch_of(hass, entry, "Web")
    assert hass.states.get(EVENT).attributes["event_type"] == kind
    await hass.config_entries.async_reload(entry.entry_id)
    at_home.bypass.stop_ssh()
    await until(lambda: hass.states.get(switch).state == STATE_UNAVAILABLE)
    at_home.bypass.start_ssh()
    await until(lambda: hass.states.get(switch).state == STATE_OFF)
    await asyncio.sleep(0.3)
    assert hass.states.get(EVENT).state == LONG_AGO
    assert runs == []


async def test_a_restart_while_home_assistant_was_away_is_not_missed(
    at_home: Lab, hass: HomeAssistant
) -> None:
    """It is told when the automations are there to hear it."""
    entry, web, _ = await with_forwards(hass, at_home, restore=False)
    await turn(hass, STATE_ON, web)
    await hass.config_entries.async_unload(entry.entry_id)
    await asyncio.to_thread(at_home.bypass.reboot)
    hass.set_state(CoreState.not_running)
    await hass.config_entries.async_setup(entry.entry_id)
    assert hass.states.get(EVENT).state == STATE_UNKNOWN
    await automate(hass, TURN_ON)
    await hass.async_start()
    await until(lambda: hass.states.get(web).state == STATE_ON)
    assert await passes(at_home)


@pytest.mark.parametrize("restore", [True, False])
async def test_a_removed_forward_is_told(
    at_home: Lab, hass: HomeAssistant, restore: bool
) -> None:
    """By its name, with the router and the program that removed it."""
    _, web, _ = await with_forwards(hass, at_home, restore=restore)
    await turn(hass, STATE_ON, web)
    await automate(hass, TELL)
    shown = await notifications(hass)
    at_home.bypass.run("iptables", "-t", "nat", "-F")
    await until(lambda: shown != [])
    assert shown == [("bypass", "Web was removed on the router bypass by iptables.")]


async def test_several_forwards_are_told_in_one_sentence(
    at_home: Lab, hass: HomeAssistant
) -> None:
    """They are named as the user renamed them, and so is the router's device."""
    _, web, game = await with_forwards(hass, at_home)
    await turn(hass, STATE_ON, web, game)
    er.async_get(hass).async_update_entity(game, name="Chess")
    await hass.async_block_till_done()
    await automate(hass, TELL)
    shown = await notifications(hass)
    at_home.bypass.run("nft", "flush", "ruleset")
    await until(lambda: shown != [])
    ((_, message),) = shown
    # From 2026.11 on, an entity's own name stands behind its device's.
    assert message.replace("Game Chess", "Chess") in {
        "Web, Chess were removed on the router bypass by nft.",
        "Chess, Web were removed on the router bypass by nft.",
    }


async def test_the_user_chooses_what_is_done_and_said(
    at_home: Lab, hass: HomeAssistant
) -> None:
    """Such as a message to a phone, in words of one's own; each removal is told."""
    sent: list[ServiceCall] = async_mock_service(hass, "notify", "phone")
    _, web, _ = await with_forwards(hass, at_home)
    await turn(hass, STATE_ON, web)
    words = "{{ router }}: {{ names }}, {{ cause }}"
    await automate(
        hass, TELL, tell=[{"action": "notify.phone", "data": {"message": words}}]
    )
    at_home.bypass.run("iptables", "-t", "nat", "-F")
    await until(lambda: len(sent) == 1)
    assert "8443" in at_home.bypass.iptables_save()
    at_home.bypass.run("iptables", "-t", "nat", "-F")
    await until(lambda: len(sent) == 2)
    assert [call.data["message"] for call in sent] == ["bypass: Web, iptables"] * 2


async def test_a_removal_while_the_router_was_away_is_told_too(
    at_home: Lab, hass: HomeAssistant
) -> None:
    """No one saw which program it was, so none is named."""
    _, web, _ = await with_forwards(hass, at_home)
    await turn(hass, STATE_ON, web)
    await automate(hass, TELL)
    shown = await notifications(hass)
    at_home.bypass.stop_ssh()
    await until(lambda: hass.states.get(web).state == STATE_UNAVAILABLE)
    at_home.bypass.run("iptables", "-t", "nat", "-F")
    at_home.bypass.start_ssh()
    await until(lambda: shown != [])
    assert shown == [("bypass", "Web was removed on the router bypass.")]


async def test_what_is_asked_for_at_the_start_is_done_when_the_router_is_there(
    at_home: Lab, hass: HomeAssistant
) -> None:
    """Else, Home Assistant drops it, as the switch is unavailable by then."""
    entry, web, game = await with_forwards(hass, at_home)
    await turn(hass, STATE_ON, web, game)
    await hass.config_entries.async_unload(entry.entry_id)
    at_home.bypass.stop_ssh()
    hass.set_state(CoreState.not_running)
    await hass.config_entries.async_setup(entry.entry_id)
    await automate(hass, LATER, switches=[web])
    runs = triggered(hass)
    await hass.async_start()
    await until(lambda: len(runs) == 1)
    assert hass.states.get(web).state == STATE_UNAVAILABLE
    # As any automation does it.
    await turn(hass, STATE_OFF, game)
    assert await passes(at_home)
    at_home.bypass.start_ssh()
    await hass.config_entries.async_reload(entry.entry_id)
    await until(lambda: hass.states.get(web).state == STATE_OFF)
    assert not await passes(at_home)
    assert hass.states.get(game).state == STATE_ON


async def test_each_forward_is_turned_when_it_can_be_and_the_last_wish_counts(
    at_home: Lab, hass: HomeAssistant
) -> None:
    """Also one that is not set up yet; and what is over is not done again."""
    _, web, game = await with_forwards(hass, at_home)
    await turn(hass, STATE_ON, web)
    await automate(
        hass,
        LATER,
        switches=["switch.away", web],
        action="turn_off",
        when=[{"trigger": "event", "event_type": "leave"}],
    )
    hass.bus.async_fire("leave")
    await until(lambda: hass.states.get(web).state == STATE_OFF)
    await turn(hass, STATE_ON, web, game)
    at_home.bypass.stop_ssh()
    await until(lambda: hass.states.get(web).state == STATE_UNAVAILABLE)
    hass.bus.async_fire("leave")
    at_home.bypass.start_ssh()
    await until(lambda: hass.states.get(web).state == STATE_OFF)
    assert hass.states.get(game).state == STATE_ON
    turned: list[ServiceCall] = async_mock_service(hass, "switch", "turn_off")
    hass.states.async_set("switch.away", STATE_ON)
    await until(lambda: turned != [])
    assert [call.data["entity_id"] for call in turned] == [["switch.away"]]


def client_of(hass: HomeAssistant, name: str) -> str:
    """Return the event entity of a forward of this name, to whom nobody came yet."""
    entry = MockConfigEntry(domain=DOMAIN)
    entry.add_to_hass(hass)
    device = dr.async_get(hass).async_get_or_create(
        config_entry_id=entry.entry_id, identifiers={(DOMAIN, name)}, name=name
    )
    entity = er.async_get(hass).async_get_or_create(
        "event", DOMAIN, name, config_entry=entry, device_id=device.id
    )
    hass.states.async_set(entity.entity_id, STATE_UNKNOWN, {"event_type": None})
    return entity.entity_id


async def test_who_connects_is_told_and_then_there_is_quiet(
    hass: HomeAssistant, freezer: FrozenDateTimeFactory
) -> None:
    """Nobody is lost: who comes meanwhile is told when it is over, with how many."""
    client = client_of(hass, "Camera")
    shown = await notifications(hass)
    await automate(hass, WHO, client=client, quiet=2)
    (automation,) = hass.states.async_entity_ids("automation")

    async def settle() -> None:
        """Let the automation go on, as the time stands still."""
        for _ in range(100):
            await asyncio.sleep(0)

    async def come(address: str, left_out: int = 0) -> None:
        freezer.tick(1)
        told = {"source": address, "port": 8443, "left_out": left_out}
        now = dt_util.utcnow().isoformat()
        hass.states.async_set(client, now, {"event_type": "connected", **told})
        await settle()

    async def wait(seconds: int) -> None:
        for _ in range(seconds // 15):
            freezer.tick(15)
            async_fire_time_changed(hass)
            await settle()

    await come("203.0.113.7")
    assert len(shown) == 1
    await wait(45)
    await come("203.0.113.8", 3)
    # A router that went away, and is back with what it has told last.
    state = hass.states.get(client)
    hass.states.async_set(client, STATE_UNAVAILABLE)
    await settle()
    hass.states.async_set(client, state.state, state.attributes)
    await wait(30)
    await come("203.0.113.9")
    await wait(15)
    assert len(shown) == 1
    await wait(60)
    assert len(shown) == 2
    await wait(180)
    assert hass.states.get(automation).attributes["current"] == 0
    await come("203.0.113.7")
    more = "and 4 more since you were told last"
    assert {title for title, _ in shown} == {"Camera"}
    assert [message for _, message in shown] == [
        "203.0.113.7 has connected to Camera at port 8443.",
        f"203.0.113.9 has connected to Camera at port 8443, {more}.",
        "203.0.113.7 has connected to Camera at port 8443.",
    ]
    await hass.services.async_call(
        "automation", "turn_off", {"entity_id": automation}, blocking=True
    )
