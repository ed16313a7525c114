"""The field of a forward for what stands for its half on the main router."""

from collections.abc import Mapping
from typing import Any, Final

from homeassistant.core import HomeAssistant
from homeassistant.data_entry_flow import FlowResultType
from homeassistant.helpers import entity_registry as er
from homeassistant.setup import async_setup_component
import pytest
from pytest_homeassistant_custom_component.common import MockConfigEntry

from custom_components.bypass_router.const import DOMAIN
from custom_components.bypass_router.subentry import forward_in, main_router_switch_of

from .sentences import said, typed
from .setup import GAME, WEB, forward_id, subentry

FIELD: Final = "main_router_switch"
NAMED: Final = "switch.main_web"
SECTION: Final = "config_subentries.forward"


def router(
    hass: HomeAssistant, title: str, *forwards: dict[str, Any]
) -> MockConfigEntry:
    """Return a router that has these forwards, and is not connected."""
    entry = MockConfigEntry(
        domain=DOMAIN,
        title=title,
        data={"host": f"{title}.example", "port": 22, "username": "root"},
        subentries_data=[subentry(forward).as_dict() for forward in forwards],
    )
    entry.add_to_hass(hass)
    return entry


def naming(named: object, forward: Any = WEB) -> dict[str, Any]:
    """Return a forward that names this."""
    return {**forward, FIELD: named}


async def change(
    hass: HomeAssistant, entry: MockConfigEntry, **fields: Any
) -> dict[str, Any]:
    """Fill in the form of the forward Web with these fields."""
    form = await entry.start_subentry_reconfigure_flow(hass, forward_id(entry, "Web"))
    if form["type"] is FlowResultType.ABORT:
        return dict(form)
    result = await hass.config_entries.subentries.async_configure(
        form["flow_id"], {**WEB, **fields}
    )
    return dict(result)


def named_by(entry: MockConfigEntry) -> str:
    """Return what the forward Web names."""
    return main_router_switch_of(entry.subentries[forward_id(entry, "Web")])


def own_switch(hass: HomeAssistant, entry: MockConfigEntry, name: str) -> str:
    """Return the switch of a forward of ours."""
    key = forward_id(entry, name)
    return (
        er.async_get(hass)
        .async_get_or_create(
            "switch",
            DOMAIN,
            key,
            config_entry=entry,
            config_subentry_id=key,
            suggested_object_id=f"{entry.title}_{name}",
        )
        .entity_id
    )


def mistake(result: dict[str, Any]) -> str:
    """Return the sentence below the field."""
    assert result["type"] is FlowResultType.FORM
    assert list(result["errors"] or {}) == [FIELD]
    return said(result, SECTION)[FIELD]


async def test_a_forward_names_a_switch_and_no_longer(hass: HomeAssistant) -> None:
    """By its entity id, also where the form is sent the registry's."""
    hass.states.async_set(NAMED, "off")
    entry = router(hass, "bypass", dict(WEB))
    before = forward_in(entry.subentries[forward_id(entry, "Web")])
    await change(hass, entry, main_router_switch=NAMED)
    web = entry.subentries[forward_id(entry, "Web")]
    assert web.data == naming(NAMED)
    # What its rules are made of does not change with it.
    assert forward_in(web) == before
    form = await entry.start_subentry_reconfigure_flow(hass, web.subentry_id)
    assert typed(form)[FIELD] == NAMED
    await change(hass, entry)
    assert FIELD not in web.data
    known = er.async_get(hass).async_get_or_create("switch", "unifi", "7")
    await change(hass, entry, main_router_switch=known.id)
    assert named_by(entry) == known.entity_id


async def test_what_is_no_switch_is_refused(hass: HomeAssistant) -> None:
    """With a sentence, and what was typed is still there."""
    entry = router(hass, "bypass", dict(WEB))
    result = await change(hass, entry, main_router_switch=NAMED)
    assert "no such switch" in mistake(result)
    assert typed(result)[FIELD] == NAMED
    light = er.async_get(hass).async_get_or_create("light", "hue", "1")
    result = await change(hass, entry, main_router_switch=light.id)
    assert "no such switch" in mistake(result)
    result = await change(hass, entry, main_router_switch="0" * 32)
    assert "no such switch" in mistake(result)


async def test_a_switch_that_leads_back_is_refused(hass: HomeAssistant) -> None:
    """A forward of this router, a group with one, and one of another that names one."""
    entry = router(hass, "bypass", dict(WEB), dict(GAME))
    web, game = own_switch(hass, entry, "Web"), own_switch(hass, entry, "Game")
    hass.states.async_set("switch.all", "off", {"entity_id": [game, "switch.all"]})
    other = router(hass, "other", naming("switch.all"), naming(NAMED, GAME))
    far, fine = own_switch(hass, other, "Web"), own_switch(hass, other, "Game")
    for circle in (web, game, "switch.all", far):
        result = await change(hass, entry, main_router_switch=circle)
        assert "leads back" in mistake(result)
    await change(hass, entry, main_router_switch=fine)
    assert named_by(entry) == fine


def choices(form: Mapping[str, Any]) -> dict[str, Any]:
    """Return what can be chosen, by its kind, as the frontend gets it."""
    (field,) = (v for k, v in form["data_schema"].schema.items() if k == FIELD)
    found: dict[str, Any] = field.serialize()["selector"]["choose"]["choices"]
    return found


def kinds(form: Mapping[str, Any]) -> list[str]:
    """Return the kinds of what can be chosen, in their order."""
    return list(choices(form))


async def test_another_router_of_ours_is_offered_in_the_same_field(
    hass: HomeAssistant,
) -> None:
    """As the frontend sends it, and as it is stored."""
    hass.states.async_set(NAMED, "off")
    entry, main = router(hass, "bypass", dict(WEB)), router(hass, "main")
    named = f"entry:{main.entry_id}"
    form = await entry.start_subentry_reconfigure_flow(hass, forward_id(entry, "Web"))
    offered = choices(form)["router"]["selector"]["select"]["options"]
    assert offered == [{"value": named, "label": "main"}]
    for sent, stored in (
        ({"active_choice": "router", "router": named}, named),
        ({"active_choice": "switch", "router": named}, ""),
        (named, named),
        ({"active_choice": "router"}, ""),
        ({"active_choice": "switch", "switch": NAMED}, NAMED),
        (NAMED, NAMED),
    ):
        await change(hass, entry, main_router_switch=sent)
        assert named_by(entry) == stored
    web = forward_id(entry, "Web")
    form = await entry.start_subentry_reconfigure_flow(hass, web)
    assert typed(form)[FIELD] == NAMED
    assert kinds(form) == ["switch", "router"]
    await change(hass, entry, main_router_switch=named)
    form = await entry.start_subentry_reconfigure_flow(hass, web)
    # The frontend shows what is suggested under the first of them, whatever it is.
    assert typed(form)[FIELD] == named
    assert kinds(form) == ["router", "switch"]
    await hass.config_entries.async_remove(main.entry_id)
    form = await entry.start_subentry_reconfigure_flow(hass, web)
    assert not typed(form).get(FIELD)


async def test_a_port_that_the_main_router_needs_is_refused(
    hass: HomeAssistant,
) -> None:
    """As another forward has it there, or one signs in there by SSH."""
    main = router(hass, "main", {**GAME, "external_port": "8443", "target_port": ""})
    entry = router(hass, "bypass", dict(WEB))
    named = f"entry:{main.entry_id}"
    taken = mistake(await change(hass, entry, main_router_switch=named))
    assert "main can't forward this port" in taken
    assert "Game" in taken
    hass.config_entries.async_update_entry(main, data={**main.data, "port": 2222})
    ssh = mistake(
        await change(hass, entry, main_router_switch=named, external_port="2222")
    )
    assert "At port 2222, main is signed in to" in ssh


async def test_a_half_is_changed_where_its_forward_is(hass: HomeAssistant) -> None:
    """Its own form says where that is; one that belongs to none is like any other."""
    assert await async_setup_component(hass, DOMAIN, {})
    main = router(hass, "main", dict(WEB))
    entry = router(hass, "bypass", naming(f"entry:{main.entry_id}", GAME))
    half = main.subentries[forward_id(main, "Web")]
    hass.config_entries.async_update_subentry(
        main, half, unique_id=f"main_half_{forward_id(entry, 'Game')}"
    )
    result = await change(hass, main)
    assert result["reason"] == "main_half"
    assert result["description_placeholders"] == {"name": "Game", "router": "bypass"}
    hass.config_entries.async_update_subentry(main, half, unique_id=None)
    result = await change(hass, main)
    assert result["reason"] == "reconfigure_successful"


@pytest.mark.parametrize("nonsense", [7, None, "", "light.lamp", "switch.", "entry:"])
async def test_nonsense_in_the_field_is_nothing(
    hass: HomeAssistant, nonsense: object
) -> None:
    """And no reason to leave the forward out."""
    entry = router(hass, "bypass", naming(nonsense))
    [web] = entry.subentries.values()
    assert main_router_switch_of(web) == ""
    forward_in(web)
