"""Nothing that changes on a router goes unseen, however short or in which place."""

import asyncio

from homeassistant.const import STATE_OFF, STATE_ON
from homeassistant.core import HomeAssistant
import pytest
from pytest_homeassistant_custom_component.common import MockConfigEntry

from custom_components.bypass_router.router import watch
from custom_components.bypass_router.router.backend import Backend
from tests.lab.bypass import RouterOptions
from tests.lab.network import Lab
from tests.lab.waiting import soon, until, until_told
from tests.router.client import WEB as FORWARD, connect

from .setup import WEB, choose, ours, passes, set_up, switch_of, turn
from .test_sensor import total

LEGACY, NFT = RouterOptions(iptables="legacy"), RouterOptions(iptables="nft")
VARIANTS = pytest.mark.parametrize(
    "router_options", [NFT, LEGACY], ids=["nft", "legacy"]
)
LOOKED_AT = pytest.mark.parametrize(
    ("router_options", "hidden"),
    [
        (LEGACY, ()),
        (LEGACY, ("nft",)),
        (NFT, ("nft",)),
        (LEGACY, ("md5sum",)),
        (LEGACY, ("md5sum", "sha256sum")),
        (NFT, ("nft", "md5sum", "sha256sum")),
    ],
    ids=[
        "legacy",
        "legacy without nft",
        "nft without nft",
        "legacy by sha256",
        "legacy without digests",
        "nft without digests",
    ],
)


async def with_web(
    hass: HomeAssistant, lab: Lab, *hidden: str, firewall: str = "iptables"
) -> tuple[MockConfigEntry, str]:
    """Set up a router without these commands, and a forward; return its switch."""
    lab.bypass.commands.hide(*hidden)
    lab.target.serve("tcp", 443)
    entry = await set_up(hass, lab, WEB, firewall=firewall)
    return entry, switch_of(hass, entry, "Web")


@LOOKED_AT
@pytest.mark.parametrize("desired", [STATE_OFF, STATE_ON])
async def test_what_is_undone_between_two_looks_is_seen(
    at_home: Lab, hass: HomeAssistant, hidden: tuple[str, ...], desired: str
) -> None:
    """Within two seconds: someone loads what was saved just before."""
    _, switch = await with_web(hass, at_home, *hidden)
    if desired == STATE_OFF:
        await turn(hass, STATE_ON, switch)
    for _ in range(3):
        saved = at_home.bypass.run("iptables-save").stdout
        # At all times between two looks.
        await turn(hass, desired, switch)
        at_home.bypass.run("iptables-restore", input=saved)

        async def is_right() -> bool:
            return await passes(at_home) is (desired == STATE_ON)

        await until_told(is_right, soon(2))
        await until(lambda: hass.states.get(switch).state == desired)
        await turn(hass, STATE_OFF if desired == STATE_ON else STATE_ON, switch)


@LOOKED_AT
async def test_what_alternates_faster_than_one_can_look_is_seen_in_the_end(
    at_home: Lab, hass: HomeAssistant, hidden: tuple[str, ...]
) -> None:
    """The last state counts."""
    _, switch = await with_web(hass, at_home, *hidden)
    without = at_home.bypass.run("iptables-save").stdout
    await turn(hass, STATE_ON, switch)
    live = at_home.bypass.run("iptables-save").stdout
    await turn(hass, STATE_OFF, switch)
    for number in range(14):
        at_home.bypass.run("iptables-restore", input=without if number % 2 else live)
        await asyncio.sleep(0.05 * number)
    at_home.bypass.run("iptables-restore", input=live)

    async def is_shut() -> bool:
        return not await passes(at_home)

    await until_told(is_shut)


@VARIANTS
@pytest.mark.parametrize(
    ("before", "after", "save", "load"),
    [
        ("iptables", "nftables", "iptables-save", "iptables-restore"),
        ("nftables", "iptables", "nft list table ip ha_bypass", "nft -f -"),
    ],
    ids=["to nftables", "to iptables"],
)
async def test_rules_in_a_place_that_is_no_longer_chosen_are_seen(
    at_home: Lab, hass: HomeAssistant, before: str, after: str, save: str, load: str
) -> None:
    """Someone loads what was saved when the firewall was another."""
    entry, switch = await with_web(hass, at_home, firewall=before)
    await turn(hass, STATE_ON, switch)
    saved = at_home.bypass.run(*save.split()).stdout
    await choose(hass, entry, firewall=after)
    await until(lambda: hass.states.get(switch).state == STATE_ON)
    await turn(hass, STATE_OFF, switch)
    assert not await passes(at_home)
    at_home.bypass.run(*load.split(), input=saved)

    async def is_shut() -> bool:
        return not await passes(at_home)

    await until_told(is_shut, soon(3))
    await until(lambda: not any("8443" in line for line in ours(at_home)))
    assert hass.states.get(switch).state == STATE_OFF


async def test_rules_in_a_place_that_is_no_longer_chosen_are_seen_when_asked_for(
    at_home: Lab,
) -> None:
    """By whoever applies what is desired, without a hint."""
    before = await connect(at_home)
    await before.rules.apply([FORWARD])
    saved = at_home.bypass.run("iptables-save").stdout
    await before.close()
    router = await connect(at_home, firewall=Backend.NFTABLES)
    await router.rules.apply([])
    at_home.bypass.run("iptables-restore", input=saved)
    await router.rules.apply([])
    await router.close()
    assert "8443" not in at_home.bypass.iptables_save()


@pytest.mark.parametrize(
    "harm",
    ["pkill -KILL conntrack", "pkill -KILL -f ' main[=]'", "pkill -KILL -x nft"],
    ids=["conntrack", "guard", "nft"],
)
async def test_who_comes_is_counted_though_a_part_of_the_watcher_ends(
    at_home: Lab, hass: HomeAssistant, harm: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also who comes while no one listens."""
    monkeypatch.setattr(watch, "HEARTBEAT", 1.0)
    monkeypatch.setattr(watch, "SILENCE", 3.0)
    entry, switch = await with_web(hass, at_home)
    await turn(hass, STATE_ON, switch)
    await until(lambda: total(hass, entry) == "0")
    at_home.bypass.run("sh", "-c", harm)
    assert await passes(at_home)
    await until(lambda: total(hass, entry) == "1", soon(20))
    # By now, all is as it was.
    assert await passes(at_home)
    await until(lambda: total(hass, entry) == "2", soon(20))
