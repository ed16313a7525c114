"""What users may do who may only look, or whom no one knows."""

from typing import Any

from homeassistant.auth.models import User
from homeassistant.auth.permissions.const import POLICY_READ
from homeassistant.core import Context, HomeAssistant
from homeassistant.exceptions import Unauthorized, UnknownUser
from homeassistant.setup import async_setup_component
import pytest
from pytest_homeassistant_custom_component.common import MockConfigEntry, MockUser
from pytest_homeassistant_custom_component.typing import ClientSessionGenerator

from custom_components.bypass_router.const import DOMAIN
from tests.lab.network import Lab

from .setup import WEB, ours, set_up, switch_of, turn
from .test_diagnose import button_of


@pytest.fixture
async def entry(hass: HomeAssistant, at_home: Lab) -> MockConfigEntry:
    """A router with a forward that is on."""
    entry = await set_up(hass, at_home, WEB)
    await turn(hass, "on", switch_of(hass, entry, "Web"))
    return entry


def user_who(hass: HomeAssistant, policy: Any) -> User:
    """Return a user with a policy for all entities."""
    user = MockUser().add_to_hass(hass)
    user.mock_policy({"entities": {"all": policy}})
    return user


async def act(
    hass: HomeAssistant, domain: str, action: str, entity_id: str, user_id: str
) -> Any:
    """Have a user call an action on an entity."""
    return await hass.services.async_call(
        domain,
        action,
        {"entity_id": entity_id},
        blocking=True,
        context=Context(user_id=user_id),
        return_response=action == "diagnose",
    )


async def test_whoever_may_only_look_changes_nothing_on_the_router(
    hass: HomeAssistant, at_home: Lab, entry: MockConfigEntry
) -> None:
    """By the action as little as by a button or a switch."""
    user = user_who(hass, {POLICY_READ: True})
    switch, button = switch_of(hass, entry, "Web"), button_of(hass, entry, "Web")
    log = at_home.bypass.ssh.log()
    before = ours(at_home)
    for domain, action, entity_id in (
        (DOMAIN, "diagnose", switch),
        ("button", "press", button),
        ("switch", "turn_off", switch),
    ):
        with pytest.raises(Unauthorized):
            await act(hass, domain, action, entity_id, user.id)
    with pytest.raises(UnknownUser):
        await act(hass, DOMAIN, "diagnose", switch, "nobody")
    assert ours(at_home) == before
    assert at_home.bypass.ssh.log() == log


async def test_whoever_may_control_a_forward_may_ask_about_it(
    hass: HomeAssistant, entry: MockConfigEntry
) -> None:
    """An administrator need not be asked."""
    user = user_who(hass, True)
    switch = switch_of(hass, entry, "Web")
    answer = await act(hass, DOMAIN, "diagnose", switch, user.id)
    assert answer[switch]["checks"]


async def test_only_administrators_get_at_forms_repairs_and_diagnostics(
    hass: HomeAssistant,
    entry: MockConfigEntry,
    hass_client: ClientSessionGenerator,
    hass_read_only_access_token: str,
) -> None:
    """Home Assistant holds that; nothing of ours goes past it."""
    for component in ("config", "diagnostics"):
        assert await async_setup_component(hass, component, {})
    assert await async_setup_component(hass, "repairs", {})
    client = await hass_client(hass_read_only_access_token)
    flows = "/api/config/config_entries"
    for path, body in (
        (f"{flows}/flow", {"handler": DOMAIN}),
        (f"{flows}/options/flow", {"handler": entry.entry_id}),
        (f"{flows}/subentries/flow", {"handler": [entry.entry_id, "forward"]}),
        ("/api/repairs/issues/fix", {"handler": DOMAIN, "issue_id": "x"}),
    ):
        assert (await client.post(path, json=body)).status == 401
    path = f"/api/diagnostics/config_entry/{entry.entry_id}"
    assert (await client.get(path)).status == 401
