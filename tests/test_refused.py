"""A forward that the router refuses: it is told why, and stands in no one's way."""

import asyncio
from collections.abc import Mapping
from typing import Any

from homeassistant.const import STATE_OFF, STATE_ON
from homeassistant.core import HomeAssistant
from homeassistant.exceptions import HomeAssistantError
from homeassistant.helpers import entity_registry as er
import pytest
from pytest_homeassistant_custom_component.common import MockConfigEntry

from custom_components.bypass_router.const import DOMAIN
from custom_components.bypass_router.sync import refusals
from tests.lab.bypass import RouterOptions
from tests.lab.network import Lab
from tests.lab.refusing import MESSAGE, refuse, take_all
from tests.lab.waiting import until

from .setup import (
    GAME,
    WEB,
    forward_id,
    issue,
    passes,
    set_up,
    subentry,
    switch_of,
    turn,
)

NINE: Mapping[str, Any] = {**WEB, "name": "Nine", "external_port": "9001"}
EVERYWHERE = pytest.mark.parametrize(
    ("router_options", "options"),
    [
        pytest.param(RouterOptions(), {}, id="nft"),
        pytest.param(RouterOptions(), {"firewall": "iptables"}, id="iptables-nft"),
        pytest.param(RouterOptions(iptables="legacy"), {}, id="iptables-legacy"),
    ],
)
FLUSH = """\
nft flush ruleset
for iptables in iptables-nft iptables-legacy; do
  for table in nat filter; do $iptables -t $table -F; $iptables -t $table -X; done
done
true"""


class Home:
    """Forwards of which the router refuses one."""

    def __init__(self, hass: HomeAssistant, lab: Lab, entry: MockConfigEntry) -> None:
        """Take where they are."""
        self.hass = hass
        self.lab = lab
        self.entry = entry

    def state(self, name: str) -> str:
        """Return the state of a forward's switch."""
        state = self.hass.states.get(switch_of(self.hass, self.entry, name))
        assert state
        return state.state

    async def turn(self, to: str, *names: str) -> None:
        """Turn forwards on or off."""
        await turn(
            self.hass, to, *(switch_of(self.hass, self.entry, name) for name in names)
        )

    async def is_on(self, name: str, port: int = 8443) -> None:
        """Wait until a forward is on, and carries payload."""
        await until(lambda: self.state(name) == STATE_ON)
        assert await passes(self.lab, port)

    async def is_off(self, name: str, port: int = 8443) -> None:
        """Wait until a forward is off, and carries nothing."""
        await until(lambda: self.state(name) == STATE_OFF)
        assert not await passes(self.lab, port)

    def refused(self, name: str) -> object:
        """Return why a switch says that it is refused."""
        state = self.hass.states.get(switch_of(self.hass, self.entry, name))
        assert state
        return state.attributes.get("refused")


async def at_work(
    hass: HomeAssistant, lab: Lab, options: Mapping[str, Any], *on: str
) -> Home:
    """Set up a router with three forwards, some of which are on."""
    for transport in ("tcp", "udp"):
        lab.target.serve(transport, 443)
        lab.target.serve(transport, 7000)
    home = Home(hass, lab, await set_up(hass, lab, WEB, GAME, NINE, **options))
    if on:
        await home.turn("on", *on)
    return home


@EVERYWHERE
async def test_it_keeps_no_other_from_being_switched(
    hass: HomeAssistant, at_home: Lab, options: Mapping[str, Any]
) -> None:
    """In one scene, and each by itself; whoever asked for it hears why."""
    home = await at_work(hass, at_home, options)
    refuse(at_home.bypass, 9001)
    with pytest.raises(HomeAssistantError, match=MESSAGE):
        await home.turn("on", "Web", "Nine", "Game")
    await home.is_on("Web")
    await home.is_on("Game", 6000)
    await home.is_off("Nine", 9001)
    await home.turn("off", "Web")
    await home.is_off("Web")
    await home.is_on("Game", 6000)
    # Its caller was told: it is off, as it was, and can be seen to have been refused.
    assert issue(hass, "refused")
    assert f"said “{MESSAGE}”. " in str(home.refused("Nine"))
    take_all(at_home.bypass)
    await home.turn("on", "Web")
    await home.is_on("Web")
    await home.is_off("Nine", 9001)
    await home.turn("on", "Nine")
    await home.is_on("Nine", 9001)
    assert issue(hass, "refused") is None
    assert home.refused("Nine") is None


@EVERYWHERE
@pytest.mark.parametrize("loss", ["flush", "reboot"])
async def test_all_others_come_back_without_it(
    hass: HomeAssistant,
    at_home: Lab,
    options: Mapping[str, Any],
    loss: str,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It is told by its switch and by a repair, logged once, and comes in the end."""
    monkeypatch.setattr(refusals, "LAST_DELAY", 1.0)
    home = await at_work(hass, at_home, options, "Web", "Game", "Nine")
    refuse(at_home.bypass, 9001)
    if loss == "reboot":
        await asyncio.to_thread(at_home.bypass.reboot)
    else:
        at_home.bypass.run("sh", "-c", FLUSH)
    await until(lambda: issue(hass, "refused"))
    await home.is_on("Web")
    await home.is_on("Game", 6000)
    await home.is_off("Nine", 9001)
    assert f"said “{MESSAGE}”. " in str(home.refused("Nine"))
    found = issue(hass, "refused")
    assert found
    assert found.translation_placeholders
    assert found.translation_placeholders["forward"] == "Nine"
    told = found.translation_placeholders["forwards"]
    assert told.startswith("- Nine: ")
    assert f"said “`{MESSAGE}`”. " in told
    times = len(tries(home))
    await until(lambda: len(tries(home)) >= times + 3)
    # All that changes needs no one who waits for the other.
    await home.turn("off", "Web")
    await home.is_off("Web")
    logged = [r for r in caplog.records if MESSAGE in r.getMessage()]
    assert len([r for r in logged if r.levelname == "WARNING"]) == 1
    take_all(at_home.bypass)
    await home.is_on("Nine", 9001)
    await until(lambda: not issue(hass, "refused"))
    assert home.refused("Nine") is None
    await home.is_off("Web")


def tries(home: Home) -> list[float]:
    """Return when the router was asked in vain."""
    log = home.entry.runtime_data.connection.router.rules.transactions
    return [one.started for one in log if one.outcome != "done"]


@EVERYWHERE
async def test_one_that_was_changed_to_it_keeps_no_other_open(
    hass: HomeAssistant, at_home: Lab, options: Mapping[str, Any]
) -> None:
    """What it was before is closed; to add and to remove others goes on."""
    home = await at_work(hass, at_home, options, "Web", "Nine")
    await home.is_on("Nine", 9001)
    refuse(at_home.bypass, 9000)
    entry = home.entry
    hass.config_entries.async_update_subentry(
        entry,
        entry.subentries[forward_id(entry, "Nine")],
        data={**NINE, "external_port": "9000"},
    )
    await until(lambda: issue(hass, "refused"))
    await home.is_off("Nine", 9001)
    await home.turn("off", "Web")
    await home.is_off("Web")
    await home.turn("on", "Web")
    await home.is_on("Web")
    hass.config_entries.async_add_subentry(
        entry, subentry({**WEB, "name": "New", "external_port": "8444"})
    )
    await hass.async_block_till_done()
    await home.turn("on", "New")
    await home.is_on("New", 8444)
    hass.config_entries.async_remove_subentry(entry, forward_id(entry, "Web"))
    await until(
        lambda: "8443" not in at_home.bypass.real("nft", "list", "ruleset").stdout
    )
    assert not await passes(at_home)
    await home.is_on("New", 8444)
    # Removed, it is no one's business any more.
    hass.config_entries.async_remove_subentry(entry, forward_id(entry, "Nine"))
    await until(lambda: not issue(hass, "refused"))


@EVERYWHERE
async def test_it_can_be_turned_off(
    hass: HomeAssistant, at_home: Lab, options: Mapping[str, Any]
) -> None:
    """Nothing is to be done on the router for it, and the repair goes."""
    home = await at_work(hass, at_home, options, "Web", "Nine")
    refuse(at_home.bypass, 9001)
    at_home.bypass.run("sh", "-c", FLUSH)
    await until(lambda: issue(hass, "refused"))
    await home.turn("off", "Nine")
    await until(lambda: not issue(hass, "refused"))
    await home.is_on("Web")
    assert home.refused("Nine") is None


@pytest.mark.parametrize("by", ["switch", "button"])
async def test_whoever_asks_for_it_has_it_tried_at_once(
    hass: HomeAssistant, at_home: Lab, by: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """By its switch, and by the button; else that takes an hour here."""
    monkeypatch.setattr(refusals, "FIRST_DELAY", 3600)
    home = await at_work(hass, at_home, {}, "Web", "Nine")
    refuse(at_home.bypass, 9001)
    at_home.bypass.run("sh", "-c", FLUSH)
    await until(lambda: issue(hass, "refused"))
    if by == "switch":
        with pytest.raises(HomeAssistantError, match=MESSAGE):
            await home.turn("on", "Nine")
    # What others ask for does not try it again.
    times = len(tries(home))
    await home.turn("off", "Web")
    await home.turn("on", "Web")
    assert len(tries(home)) == times
    take_all(at_home.bypass)
    if by == "switch":
        await home.turn("on", "Nine")
    else:
        button = er.async_get(hass).async_get_entity_id(
            "button", DOMAIN, f"{home.entry.entry_id}_reapply"
        )
        assert button
        await hass.services.async_call(
            "button", "press", {"entity_id": button}, blocking=True
        )
    await home.is_on("Nine", 9001)
    assert not issue(hass, "refused")


async def test_what_someone_has_put_there_by_hand_is_in_no_others_way(
    hass: HomeAssistant, at_home: Lab
) -> None:
    """A real nft refuses: the port stands in our map, and no one knows for whom."""
    home = await at_work(hass, at_home, {}, "Web", "Nine")
    await home.turn("off", "Nine")
    table = at_home.bypass.real("nft", "list", "table", "ip", "ha_bypass").stdout
    assert "9001" not in table
    at_home.bypass.run(
        "nft",
        "add element ip ha_bypass translated"
        ' { tcp . 9001 comment "mine" : 192.168.50.11 . 443 }',
    )
    with pytest.raises(HomeAssistantError):
        await home.turn("on", "Nine", "Game")
    await home.is_on("Game", 6000)
    await home.is_on("Web")
    await home.turn("off", "Web")
    await home.is_off("Web")
