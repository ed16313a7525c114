"""The form's field by which a forward follows its device."""

from collections.abc import Mapping
from typing import Any

from homeassistant.config_entries import SOURCE_USER, SubentryFlowResult
from homeassistant.core import HomeAssistant
from homeassistant.data_entry_flow import FlowResultType
import pytest
from pytest_homeassistant_custom_component.common import MockConfigEntry

from custom_components.bypass_router.flows import follow
from custom_components.bypass_router.flows.follow import offers_following
from custom_components.bypass_router.router.errors import TimedOut
from tests.lab.network import Lab

from .sentences import translations
from .setup import WEB, forward_id, set_up
from .test_follow import HERE, MAC, speak
from .test_forward_flow import CAMERA, add, router

FOLLOWED = {"follow": True, "mac": MAC}
TYPED = {"external_port": "9000", "target_port": "", "enabled": False}


async def reconfigure(
    hass: HomeAssistant, entry: MockConfigEntry, name: str, **fields: Any
) -> SubentryFlowResult:
    """Change a forward by its form, which is filled in with what it was."""
    form = await entry.start_subentry_reconfigure_flow(hass, forward_id(entry, name))
    shown = {
        str(field): field.description["suggested_value"]
        for field in form["data_schema"].schema
        if field.description and "suggested_value" in field.description
    }
    flows = hass.config_entries.subentries
    return await flows.async_configure(form["flow_id"], {**shown, **fields})


def follows(entry: MockConfigEntry, name: str) -> Mapping[str, Any]:
    """Return what is stored of the device that a forward follows."""
    data = entry.subentries[forward_id(entry, name)].data
    return {key: data[key] for key in ("follow", "mac", "taken") if key in data}


async def test_what_the_router_can_not_see_is_not_followed(hass: HomeAssistant) -> None:
    """While it is away, a typed address is just that, unless it was to be followed."""
    entry = router(hass)
    await add(hass, entry, name="One")
    assert follows(entry, "One") == {}
    refused = await add(hass, entry, name="Two", follow=True, **TYPED)
    assert refused["errors"] == {"follow": "follow_unknown"}
    await add(hass, entry, name="Three", follow=False, **TYPED)
    assert follows(entry, "Three") == {}


async def test_a_forward_goes_on_following_when_something_else_is_changed(
    hass: HomeAssistant,
) -> None:
    """Also while its device is away; it ends with the device, or where one says so."""
    entry = router(hass, {**CAMERA, **FOLLOWED, "taken": True})
    for fields in ({}, {"external_port": "8444"}):
        done = await reconfigure(hass, entry, "Camera", **fields)
        assert done["reason"] == "reconfigure_successful"
        assert follows(entry, "Camera") == {**FOLLOWED, "taken": True}
    elsewhere = await reconfigure(hass, entry, "Camera", target="192.168.50.20")
    assert elsewhere["errors"] == {"follow": "follow_unknown"}
    await reconfigure(hass, entry, "Camera", follow=False)
    assert follows(entry, "Camera") == {}


async def test_a_field_that_is_left_out_leaves_it_as_it_was(
    hass: HomeAssistant,
) -> None:
    """As a forward was made, unless it leads elsewhere."""
    for number, more in enumerate(({}, FOLLOWED)):
        entry = router(hass, {**CAMERA, **more, "name": f"Camera {number}"})
        subentry_id = forward_id(entry, f"Camera {number}")
        form = await entry.start_subentry_reconfigure_flow(hass, subentry_id)
        fields = {**CAMERA, "name": f"Camera {number}"}
        await hass.config_entries.subentries.async_configure(form["flow_id"], fields)
        assert follows(entry, f"Camera {number}") == more


async def test_a_device_of_the_list_is_followed_and_a_random_one_never(
    hass: HomeAssistant, at_home: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By the MAC address that it answers with; and a typed one if one says so."""
    lab = at_home
    lab.target.ip(f"link set {lab.target.interface} address {MAC}")
    speak(lab.target)
    speak(lab.other)
    entry = await set_up(hass, lab, {**WEB, "external_port": "1"})
    flows = hass.config_entries.subentries
    form = await flows.async_init(
        (entry.entry_id, "forward"), context={"source": SOURCE_USER}
    )
    [shown] = [field for field in form["data_schema"].schema if field == "follow"]
    assert shown.description == {"suggested_value": True}

    await add(hass, entry, name="Listed")
    assert follows(entry, "Listed") == FOLLOWED
    random = {**TYPED, "target": "192.168.50.20"}
    await add(hass, entry, name="Random", **random)
    assert follows(entry, "Random") == {}
    random["external_port"] = "9001"
    refused = await add(hass, entry, name="Other", follow=True, **random)
    assert refused["errors"] == {"follow": "follow_random"}
    # Nobody is there; and it is no device of this network.
    for target in ("192.168.50.99", "10.1.2.3", lab.main.address):
        typed = {**TYPED, "external_port": "9002", "target": target}
        refused = await add(hass, entry, name="Typed", follow=True, **typed)
        assert refused["type"] is FlowResultType.FORM
    section = "config_subentries.forward.error"
    assert translations()[f"{section}.follow_unknown"]

    def fail(_: object) -> None:
        raise TimedOut(seconds="5")

    monkeypatch.setattr(follow, "target_macs_script", fail)
    typed = {**TYPED, "external_port": "9003", "target": HERE}
    refused = await add(hass, entry, name="Typed", follow=True, **typed)
    assert refused["errors"] == {"follow": "follow_unknown"}


def test_the_form_suggests_it_only_where_it_can_be() -> None:
    """Where a device has a MAC address that its maker gave it."""
    assert offers_following([MAC])
    assert offers_following(["", "02:00:00:00:00:01", MAC])
    assert not offers_following(["", "02:00:00:00:00:01", "nonsense"])
    assert not offers_following([])
