"""A router whose SSH server allows few sessions at once, as its user sees it."""

from typing import cast

from homeassistant.config_entries import SOURCE_USER, ConfigEntryState
from homeassistant.const import STATE_OFF, STATE_ON
from homeassistant.core import HomeAssistant
from homeassistant.data_entry_flow import FlowResultType
import pytest
from pytest_homeassistant_custom_component.common import MockConfigEntry

from custom_components.bypass_router.const import DOMAIN
from tests.lab.bypass import RouterOptions
from tests.lab.network import Lab
from tests.lab.waiting import at_once, until, until_told
from tests.router.test_shell import allow_sessions

from .setup import GAME, WEB, passes, subentry, switch_of, turn
from .test_diagnose import diagnose

FLUSH = "nft flush ruleset; iptables -t nat -F; iptables -F"


async def add_router(hass: HomeAssistant, lab: Lab) -> None:
    """Add it, as a person does."""
    flows = hass.config_entries.flow
    form = await flows.async_init(DOMAIN, context={"source": SOURCE_USER})
    address = {"host": lab.bypass.address, "port": 22, "username": "root"}
    form = await flows.async_configure(form["flow_id"], address)
    secret = {"password": lab.bypass.root_password, "install_key": True}
    form = await flows.async_configure(form["flow_id"], secret)
    assert form["type"] is FlowResultType.CREATE_ENTRY
    await hass.async_block_till_done()


def is_state(hass: HomeAssistant, entity_id: str, state: str) -> bool:
    """Return whether an entity is in this state."""
    found = hass.states.get(entity_id)
    return found is not None and found.state == state


@pytest.mark.parametrize("allowed", [1, 2, 3])
@pytest.mark.parametrize(
    "router_options",
    [RouterOptions(iptables="nft"), RouterOptions(iptables="legacy")],
    ids=["nft", "legacy"],
)
async def test_a_router_that_allows_few_sessions_is_as_any_other(
    hass: HomeAssistant, at_home: Lab, allowed: int
) -> None:
    """Added, switched, and put right: with one, it is looked at now and then."""
    allow_sessions(at_home, allowed)
    at_home.target.serve("tcp", 443)
    await add_router(hass, at_home)
    [entry] = cast("list[MockConfigEntry]", hass.config_entries.async_entries(DOMAIN))
    assert entry.state is ConfigEntryState.LOADED
    for forward in (WEB, GAME):
        hass.config_entries.async_add_subentry(entry, subentry(forward))
    await hass.async_block_till_done()
    web, game = (switch_of(hass, entry, name) for name in ("Web", "Game"))
    await at_once(*(turn(hass, "on", one) for one in (web, game)))
    assert await passes(at_home)
    for _ in range(2):
        at_home.bypass.run("sh", "-c", FLUSH)
        await until_told(lambda: passes(at_home))
        await until(lambda: is_state(hass, web, STATE_ON))
    await diagnose(hass, web)
    await turn(hass, "off", web)
    assert not await passes(at_home)
    assert is_state(hass, web, STATE_OFF)
    assert is_state(hass, game, STATE_ON)
