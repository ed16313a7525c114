"""The picture of a forward, as Home Assistant serves it."""

from datetime import timedelta
from time import time
from xml.etree import ElementTree as ET

from homeassistant.components.image import async_get_image
from homeassistant.const import EntityCategory
from homeassistant.core import HomeAssistant
from homeassistant.helpers import entity_registry as er
from homeassistant.util import dt as dt_util
import pytest
from pytest_homeassistant_custom_component.common import (
    MockConfigEntry,
    async_fire_time_changed,
)

from custom_components.bypass_router import image
from custom_components.bypass_router.const import DOMAIN
from tests.lab.network import Lab
from tests.lab.waiting import until

from .setup import GAME, WEB, forward_id, passes, set_up, switch_of, turn
from .test_diagnose import diagnose
from .test_sensor import sensor


def picture_of(hass: HomeAssistant, entry: MockConfigEntry, name: str) -> str:
    """Return the entity id of a forward's picture."""
    found = er.async_get(hass).async_get_entity_id(
        "image", DOMAIN, f"{forward_id(entry, name)}_path"
    )
    assert found
    return found


async def texts(hass: HomeAssistant, entity_id: str) -> list[str]:
    """Return the texts of the picture that is served."""
    served = await async_get_image(hass, entity_id)
    assert served.content_type == "image/svg+xml"
    root = ET.fromstring(served.content)  # noqa: S314 - our own
    return ["".join(node.itertext()) for node in root.iter()][1:]


async def test_it_follows_the_switch_the_diagnosis_and_the_link(
    hass: HomeAssistant, at_home: Lab
) -> None:
    """Each change is drawn; a router that is away leaves it available."""
    entry = await set_up(hass, at_home, WEB)
    picture, switch = picture_of(hass, entry, "Web"), switch_of(hass, entry, "Web")
    registered = er.async_get(hass).async_get(picture)
    assert registered
    assert registered.entity_category is EntityCategory.DIAGNOSTIC
    assert "Off" in await texts(hass, picture)
    await turn(hass, "on", switch)
    assert "On, not tried from outside" in await texts(hass, picture)
    await diagnose(hass, switch)
    shown = " ".join(await texts(hass, picture))
    assert "refuses connections" in shown
    assert "Start the service" in shown
    at_home.target.serve("tcp", 443)
    await diagnose(hass, switch)
    assert "Works at home" in await texts(hass, picture)
    at_home.bypass.stop_ssh()
    await until(lambda: hass.states.get(switch).state == "unavailable")
    shown = " ".join(await texts(hass, picture))
    assert "Bypass router not reachable" in shown
    assert "See that the router is on" in shown


async def test_who_was_answered_is_told_with_an_age_that_grows(
    hass: HomeAssistant, at_home: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It is looked at each minute, and drawn anew only where another age is told."""
    at_home.target.serve("tcp", 443)
    entry = await set_up(hass, at_home, WEB)
    picture, switch = picture_of(hass, entry, "Web"), switch_of(hass, entry, "Web")
    await turn(hass, "on", switch)
    assert await passes(at_home)
    web = entry.runtime_data.forwards[forward_id(entry, "Web")]
    await until(lambda: entry.runtime_data.counters.visits(web))
    a_minute_later(hass)
    shown = await texts(hass, picture)
    assert "Works" in shown
    assert "Answered just now" in shown
    now = time()
    for hours in (3, 3.5):
        monkeypatch.setattr(image, "time", lambda hours=hours: now + hours * 3600)
        before = hass.states.get(picture).state
        a_minute_later(hass)
        assert "Answered 3 h ago" in await texts(hass, picture)
        assert (hass.states.get(picture).state != before) is (hours == 3)


def a_minute_later(hass: HomeAssistant) -> None:
    """Have the clock strike."""
    async_fire_time_changed(hass, dt_util.utcnow() + timedelta(seconds=61))


async def test_it_is_drawn_anew_only_if_something_is_to_be_seen(
    hass: HomeAssistant, at_home: Lab
) -> None:
    """What happens to others is none of its business."""
    entry = await set_up(hass, at_home, WEB, GAME)
    picture = picture_of(hass, entry, "Web")
    drawn = hass.states.get(picture).state
    await turn(hass, "on", switch_of(hass, entry, "Game"))
    assert hass.states.get(picture).state == drawn
    await turn(hass, "on", switch_of(hass, entry, "Web"))
    assert hass.states.get(picture).state > drawn


async def test_a_router_that_does_not_tell_what_is_on_has_nothing_called_off(
    hass: HomeAssistant, at_home: Lab
) -> None:
    """It is there, and its firewall can't be asked; the doctor says why."""
    entry = await set_up(hass, at_home, WEB)
    picture, switch = picture_of(hass, entry, "Web"), switch_of(hass, entry, "Web")
    await turn(hass, "on", switch)
    for command in ("nft", "iptables"):
        at_home.bypass.commands.replace(command, "#!/bin/sh\nexit 1\n")
    await entry.runtime_data.async_refresh()
    assert "Off" not in await texts(hass, picture)
    await diagnose(hass, switch)
    shown = hass.states.get(sensor(hass, entry, "Web", "status"))
    assert shown
    assert shown.attributes["cause"] == "firewall_unusable"
    assert shown.attributes["seen"][:20] in " ".join(await texts(hass, picture))
