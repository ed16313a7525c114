"""What the README gives to copy into automations works as it stands there."""

from datetime import datetime
from ipaddress import IPv4Address
import time
from typing import Any, Final

from homeassistant.components.automation.config import async_validate_config_item
from homeassistant.components.logger import CONFIG_SCHEMA as LOGGER_SCHEMA
from homeassistant.core import HomeAssistant
from homeassistant.helpers import config_validation as cv
from homeassistant.helpers.script import async_validate_actions_config
from homeassistant.helpers.template import Template
from homeassistant.helpers.trigger import async_validate_trigger_config
from homeassistant.setup import async_setup_component
import pytest

from custom_components.bypass_router.const import (
    CONF_CLOSE_CONNECTIONS,
    CONF_FIREWALL,
    CONF_RESTORE,
)
from custom_components.bypass_router.router.doctor.report import Status
from custom_components.bypass_router.sync import source_names
from custom_components.bypass_router.sync.events import RulesEventType
from tests.lab.network import Lab
from tests.lab.waiting import until

from .readmes import READMES, read, yaml_blocks
from .setup import GAME, WEB, set_up, switch_of, turn

BLOCKS: Final = yaml_blocks(read("README.md"))


def block(key: str, words: str = "") -> dict[str, Any]:
    """Return the README's only block of YAML that has this key, with these words."""
    (found,) = (each for each in BLOCKS if key in each and words in str(each[key]))
    return found


AT_HOME: Final = block("alias", "nobody is at home")
TECHNICIAN: Final = block("alias", "technician")
OTHER_HOME: Final = block("alias", "other home")
AUTOMATIONS: Final = [AT_HOME, TECHNICIAN, OTHER_HOME]


def entities(node: Any, domain: str) -> set[str]:
    """Return the entities of a domain that are named somewhere in a block."""
    if isinstance(node, list):
        return set().union(*(entities(child, domain) for child in node))
    if not isinstance(node, dict):
        return set()
    found = set().union(*(entities(child, domain) for child in node.values()))
    entity_id = str(node.get("entity_id"))
    return found | {entity_id} if entity_id.startswith(f"{domain}.") else found


async def test_home_assistant_takes_it(hass: HomeAssistant) -> None:
    """Each block is what it says: an automation, a trigger, an action, a setting."""
    assert await async_setup_component(hass, "automation", {})
    kinds = [next(iter(each)) for each in BLOCKS]
    others = ["action", "logger", "trigger", "type"]
    assert sorted(kinds) == sorted(["alias"] * len(AUTOMATIONS) + others)
    for automation in AUTOMATIONS:
        valid = await async_validate_config_item(hass, "readme", automation)
        assert valid
        assert valid.validation_error is None
    triggers = cv.TRIGGER_SCHEMA([block("trigger")])
    assert await async_validate_trigger_config(hass, triggers)
    actions = cv.SCRIPT_SCHEMA([block("action")])
    assert await async_validate_actions_config(hass, actions)
    LOGGER_SCHEMA(block("logger"))


async def test_what_it_names_is_there(
    hass: HomeAssistant, at_home: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    """For a router that is called as in the README, and its camera's forward."""
    at_home.target.serve("tcp", 443)
    entry = await set_up(hass, at_home, {**WEB, "name": "Camera"})
    hass.states.async_set("zone.home", "1")
    assert await async_setup_component(hass, "automation", {"automation": AUTOMATIONS})
    (switch,) = entities(BLOCKS, "switch")
    (event,) = entities(BLOCKS, "event")
    types = hass.states.get(event).attributes["event_types"]
    assert set(block("trigger")["options"]["event_type"]) <= set(types)
    assert hass.states.get(switch).state == "off"
    hass.states.async_set("zone.home", "0")
    await until(lambda: hass.states.get(switch).state == "on")

    action = block("action")
    domain, _, name = action["action"].partition(".")
    found: Any = await hass.services.async_call(
        domain,
        name,
        # All of it but the time, in which no one would come.
        action["data"] | {"watch": 0},
        target=action["target"],
        blocking=True,
        return_response=True,
    )
    told = found[switch]
    # Nobody has tried from outside.
    assert told["healthy"] is None
    words = {*told, *told["checks"][0], *Status, *RulesEventType, "forwards", "cause"}
    words |= {CONF_RESTORE, CONF_CLOSE_CONNECTIONS, CONF_FIREWALL}
    for readme in READMES.values():
        for word in words:
            assert f"`{word}`" in read(readme), word

    hass.states.async_set("zone.home", "1")
    await until(lambda: hass.states.get(switch).state == "off")
    hass.states.async_set("input_button.technician", "2026-11-30T12:00:00+00:00")
    await until(lambda: hass.states.get(switch).state == "on")
    closes = hass.states.get("sensor.camera_closes_at").state
    left = datetime.fromisoformat(closes).timestamp() - time.time()
    assert left == pytest.approx(3600, abs=60)

    async def resolve(_: HomeAssistant, name: str) -> tuple[IPv4Address, ...]:
        assert name == "home.example.org"
        return (IPv4Address("203.0.113.9"),)

    monkeypatch.setattr(source_names, "addresses_of", resolve)
    (camera,) = entry.subentries
    hass.states.async_set("input_button.other_home", "2026-11-30T12:00:00+00:00")
    named = set(OTHER_HOME["actions"][0]["data"]["sources"])
    await until(lambda: set(entry.subentries[camera].data["sources"]) == named)


async def test_the_dashboard_lists_each_forward(
    hass: HomeAssistant, at_home: Lab
) -> None:
    """With its port map, its switch and its status, also one that no one has named."""
    entry = await set_up(hass, at_home, {**WEB, "name": "Camera"}, GAME)
    listing, switches = block("type")["cards"]
    for switch in switches["entities"]:
        assert hass.states.get(switch)
    await turn(hass, "on", switch_of(hass, entry, "Camera"))

    lines = [
        line
        for line in Template(listing["content"], hass).async_render().splitlines()
        if line
    ]
    names, ways, states = lines[::3], lines[1::3], lines[2::3]
    assert [name.partition("]")[0] for name in names] == ["**[Camera", "**[Game"]
    assert ways == [
        "TCP 8443 → 192.168.50.10:443",
        "TCP/UDP 6000-6010 → 192.168.50.10:7000-7010",
    ]
    assert states == ["On · On, not tried from outside", "Off · Off"]
