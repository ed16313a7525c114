"""A router's options: what is chosen holds at once, and closes no forward."""

import asyncio
from functools import partial

from homeassistant.config_entries import ConfigEntryState
from homeassistant.const import STATE_OFF, STATE_ON
from homeassistant.core import HomeAssistant
from homeassistant.data_entry_flow import FlowResultType
import pytest

from custom_components.bypass_router.router.backend import Backend
from tests.lab.bypass import RouterOptions
from tests.lab.network import Lab
from tests.lab.waiting import until

from .client import User
from .sentences import said, translations, typed
from .setup import WEB, choose, ours, passes, rules, set_up, switch_of, turn

OURS = {
    Backend.NFTABLES: "table ip ha_bypass",
    Backend.IPTABLES: "HA-BYPASS-PRE",
}


def holds(lab: Lab, words: str) -> bool:
    """Return whether the router's rules have these words."""
    return words in rules(lab)


async def test_the_form_shows_what_is_chosen(hass: HomeAssistant, at_home: Lab) -> None:
    """All is as most people want it at first; what was chosen stands there later."""
    entry = await set_up(hass, at_home, WEB)
    form = await hass.config_entries.options.async_init(entry.entry_id)
    usual = {
        "restore": True,
        "firewall": "auto",
        "close_connections": True,
        "at_boot": False,
        "main_router": "manual",
    }
    schema = form["data_schema"]
    assert schema is not None
    assert schema({}) == usual
    chosen = {
        "restore": False,
        "firewall": "iptables",
        "close_connections": False,
        "at_boot": True,
        "main_router": "upnp",
    }
    assert (await choose(hass, entry, **chosen))["type"] is FlowResultType.CREATE_ENTRY
    assert entry.options == chosen
    form = await hass.config_entries.options.async_init(entry.entry_id)
    assert typed(form) == chosen


@pytest.mark.parametrize("language", ["en", "ja", "zh-Hans"])
def test_each_firewall_has_a_name(language: str) -> None:
    """In the list to choose from."""
    prefix = "selector.firewall.options."
    found = {key for key in translations(language) if key.startswith(prefix)}
    assert found == {f"{prefix}{backend}" for backend in Backend}


@pytest.mark.parametrize(
    ("router_options", "lacking"),
    [
        (RouterOptions(iptables=None), "iptables"),
        (RouterOptions(), "nftables"),
    ],
    ids=["no iptables", "no nft"],
)
async def test_a_firewall_that_the_router_lacks_is_refused(
    hass: HomeAssistant, at_home: Lab, lacking: str
) -> None:
    """In the form, with what to do; nothing changes."""
    at_home.target.serve("tcp", 443)
    if lacking == "nftables":
        at_home.bypass.commands.hide("nft")
    entry = await set_up(hass, at_home, WEB)
    switch = switch_of(hass, entry, "Web")
    await turn(hass, "on", switch)
    answer = await choose(hass, entry, firewall=lacking)
    assert answer["type"] is FlowResultType.FORM
    assert f"no {lacking}" in said(answer, "options")["base"]
    assert typed(answer)["firewall"] == lacking
    assert entry.options == {}
    assert hass.states.get(switch).state == STATE_ON
    assert await passes(at_home)


async def test_a_firewall_that_is_gone_is_told_and_can_be_chosen_anew(
    hass: HomeAssistant, at_home: Lab
) -> None:
    """As when it was removed from the router, or chosen while that was away."""
    at_home.target.serve("tcp", 443)
    at_home.bypass.commands.hide("nft")
    entry = await set_up(hass, at_home, WEB, firewall="nftables")
    assert entry.state is ConfigEntryState.SETUP_RETRY
    assert entry.error_reason_translation_key == "firewall_not_there"
    assert entry.error_reason_translation_placeholders == {"firewall": "nftables"}
    await choose(hass, entry, firewall="auto")
    await until(lambda: entry.state is ConfigEntryState.LOADED)
    await turn(hass, "on", switch_of(hass, entry, "Web"))
    assert await passes(at_home)


@pytest.mark.parametrize("restore", [True, False], ids=["restoring", "not restoring"])
@pytest.mark.parametrize(
    "router_options",
    [
        RouterOptions(),
        RouterOptions(firewall="drop"),
        RouterOptions(iptables="legacy", firewall="drop"),
    ],
    ids=["open", "drop", "legacy drop"],
)
async def test_the_rules_move_to_another_firewall_under_whoever_uses_them(
    hass: HomeAssistant, at_home: Lab, *, restore: bool
) -> None:
    """There and back: no connection fails, and nothing of the old is left."""
    before = at_home.bypass.iptables_save()
    at_home.target.serve("tcp", 443)
    entry = await set_up(hass, at_home, WEB, restore=restore, firewall="nftables")
    switch = switch_of(hass, entry, "Web")
    await turn(hass, "on", switch)
    user = await asyncio.to_thread(User, at_home)
    try:
        for chosen, other in (("iptables", "nftables"), ("nftables", "iptables")):
            rounds = user.times
            await choose(hass, entry, restore=restore, firewall=chosen)
            await until(partial(holds, at_home, OURS[Backend(chosen)]))
            assert OURS[Backend(other)] not in rules(at_home)
            assert entry.state is ConfigEntryState.LOADED
            assert hass.states.get(switch).state == STATE_ON
            assert hass.states.get("event.bypass_rules").state == "unknown"
            await until(partial(user.went_on, rounds + 5))
    finally:
        await asyncio.to_thread(user.leave)
    assert user.failures == []
    await turn(hass, "off", switch)
    assert hass.states.get(switch).state == STATE_OFF
    assert not await passes(at_home)
    assert at_home.bypass.iptables_save() == before
    assert not ours(at_home)


async def test_what_needs_no_new_connection_makes_none(
    hass: HomeAssistant, at_home: Lab
) -> None:
    """The router is signed in to once more only for another firewall."""
    entry = await set_up(hass, at_home, WEB)

    def logins() -> int:
        return at_home.bypass.ssh.log().count("Accepted password")

    assert logins() == 1
    await choose(hass, entry, restore=False, close_connections=False)
    await choose(hass, entry, restore=True, close_connections=True, at_boot=True)
    assert logins() == 1
    await choose(hass, entry, firewall="iptables")
    await until(lambda: logins() == 2)
