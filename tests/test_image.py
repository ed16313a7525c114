"""The picture of a forward, as Home Assistant serves it."""

from xml.etree import ElementTree as ET

from homeassistant.components.image import async_get_image
from homeassistant.core import HomeAssistant
from homeassistant.helpers import entity_registry as er
from pytest_homeassistant_custom_component.common import MockConfigEntry

from custom_components.bypass_router.const import DOMAIN
from tests.lab.network import Lab
from tests.lab.waiting import until

from .setup import GAME, WEB, forward_id, set_up, switch_of, turn
from .test_diagnose import diagnose


def picture_of(hass: HomeAssistant, entry: MockConfigEntry, name: str) -> str:
    """Return the entity id of a forward's picture."""
    found = er.async_get(hass).async_get_entity_id(
        "image", DOMAIN, f"{forward_id(entry, name)}_path"
    )
    assert found
    return found


async def texts(hass: HomeAssistant, entity_id: str) -> list[str]:
    """Return the texts of the picture that is served."""
    image = await async_get_image(hass, entity_id)
    assert image.content_type == "image/svg+xml"
    root = ET.fromstring(image.content)  # noqa: S314 - our own
    return ["".join(node.itertext()) for node in root.iter()][1:]


async def test_it_follows_the_switch_the_diagnosis_and_the_link(
    hass: HomeAssistant, at_home: Lab
) -> None:
    """Each change is drawn; a router that is away leaves it available."""
    entry = await set_up(hass, at_home, WEB)
    picture, switch = picture_of(hass, entry, "Web"), switch_of(hass, entry, "Web")
    assert "Off" in await texts(hass, picture)
    await turn(hass, "on", switch)
    assert "On" in await texts(hass, picture)
    await diagnose(hass, switch)
    shown = await texts(hass, picture)
    assert "Does not work" in shown
    assert "refuses connections" in " ".join(shown)
    at_home.target.serve("tcp", 443)
    await diagnose(hass, switch)
    assert "Does not work" not in await texts(hass, picture)
    at_home.bypass.stop_ssh()
    await until(lambda: hass.states.get(switch).state == "unavailable")
    assert "Not reachable" in await texts(hass, picture)


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
