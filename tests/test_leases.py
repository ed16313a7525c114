"""Open for a while: the router's kernel ends it, whoever is there to see it."""

import asyncio
from datetime import datetime
from functools import partial
import time
from typing import Any

from homeassistant.const import STATE_OFF, STATE_ON, STATE_UNKNOWN
from homeassistant.core import HomeAssistant
from homeassistant.exceptions import ServiceValidationError
from homeassistant.helpers import entity_registry as er
import pytest
from pytest_homeassistant_custom_component.common import MockConfigEntry
import voluptuous as vol

from custom_components.bypass_router.const import DOMAIN
from custom_components.bypass_router.diagnostics import (
    async_get_config_entry_diagnostics,
)
from custom_components.bypass_router.sync import reconciler
from tests.lab.bypass import RouterOptions
from tests.lab.disk import REAL_COMMANDS
from tests.lab.network import Lab
from tests.lab.waiting import until, until_told

from .client import Connection
from .sentences import translations
from .setup import (
    GAME,
    WEB,
    choose,
    forward_id,
    lose_rules,
    ours,
    passes,
    set_up,
    switch_of,
    turn,
)

NFTABLES, IPTABLES = "nftables", "iptables"
LEGACY = RouterOptions(iptables="legacy")
# Each kind of router, and by what it translates.
KINDS = pytest.mark.parametrize(
    ("router_options", "firewall"),
    [
        pytest.param(RouterOptions(), NFTABLES, id="nftables"),
        pytest.param(RouterOptions(), IPTABLES, id="iptables-nft"),
        pytest.param(LEGACY, IPTABLES, id="iptables-legacy"),
        pytest.param(RouterOptions(system="openwrt"), "auto", id="openwrt"),
    ],
)
SHORTEST = 10
MONITOR = "^nft monitor"
TIMELESS = f"""#!/bin/sh
[ "$*" != "-m time -h" ] || exit 2
exec {REAL_COMMANDS}/sbin/iptables "$@"
"""


async def open_for(
    hass: HomeAssistant, switch: str, seconds: float = SHORTEST, **more: Any
) -> None:
    """Open a forward for a while."""
    await hass.services.async_call(
        DOMAIN,
        "open_for",
        {"entity_id": switch, "duration": {"seconds": seconds}, **more},
        blocking=True,
    )


def is_on(hass: HomeAssistant, switch: str) -> bool:
    """Return whether a switch shows that its forward is on."""
    state = hass.states.get(switch)
    assert state
    assert state.state in (STATE_ON, STATE_OFF)
    return state.state == STATE_ON


def closes_at(
    hass: HomeAssistant, entry: MockConfigEntry, name: str = "Web"
) -> float | None:
    """Return what the sensor shows, in Unix time; None for unknown."""
    unique = f"{forward_id(entry, name)}_closes_at"
    entity_id = er.async_get(hass).async_get_entity_id("sensor", DOMAIN, unique)
    assert entity_id
    state = hass.states.get(entity_id)
    assert state
    if state.state == STATE_UNKNOWN:
        return None
    return datetime.fromisoformat(state.state).timestamp()


async def opened(
    hass: HomeAssistant, lab: Lab, firewall: str, **options: Any
) -> tuple[MockConfigEntry, str]:
    """Open a forward for a while, beside one that is on for good."""
    lab.target.serve("tcp", 443)
    lab.target.serve("udp", 7001)
    entry = await set_up(hass, lab, WEB, GAME, firewall=firewall, **options)
    web = switch_of(hass, entry, "Web")
    await turn(hass, "on", switch_of(hass, entry, "Game"))
    await open_for(hass, web)
    assert await passes(lab)
    return entry, web


@KINDS
async def test_the_router_ends_it_by_itself_and_cuts_who_is_connected(
    hass: HomeAssistant, at_home: Lab, firewall: str
) -> None:
    """Home Assistant is not there to see it; a neighbour notices nothing."""
    entry, _ = await opened(hass, at_home, firewall)
    end = closes_at(hass, entry)
    assert end
    assert SHORTEST - 4 < end - time.time() < SHORTEST + 2
    assert closes_at(hass, entry, "Game") is None
    user, neighbour = Connection(at_home), Connection(at_home, "udp", 6001)
    await hass.config_entries.async_unload(entry.entry_id)
    assert user.lives()
    await asyncio.sleep(max(end + 2 - time.time(), 0))
    assert not user.lives()
    assert not await passes(at_home)
    assert neighbour.lives()
    # Nor is it put back when Home Assistant is there again.
    await hass.config_entries.async_setup(entry.entry_id)
    assert not is_on(hass, switch_of(hass, entry, "Web"))
    assert closes_at(hass, entry) is None
    assert not await passes(at_home)
    assert not user.lives()
    assert neighbour.lives()


@KINDS
async def test_home_assistant_shows_the_end_and_leaves_nothing(
    hass: HomeAssistant, at_home: Lab, firewall: str
) -> None:
    """No rule, where it can end connections by `conntrack`."""
    entry, web = await opened(hass, at_home, firewall)
    user = Connection(at_home)
    await until(lambda: not is_on(hass, web))
    assert closes_at(hass, entry) is None
    assert not await passes(at_home)
    await until(lambda: not user.lives())


@KINDS
async def test_what_is_left_of_the_time_outlives_a_flush_and_restarts(
    hass: HomeAssistant, at_home: Lab, firewall: str
) -> None:
    """And no more than that."""
    entry, web = await opened(hass, at_home, firewall)
    await open_for(hass, web, 3600)
    end = closes_at(hass, entry)
    assert end
    told = await async_get_config_entry_diagnostics(hass, entry)
    leased = {forward_id(entry, "Web")}
    assert (
        told["desired"]["leases"].keys() == told["live"]["closes_at"].keys() == leased
    )
    flush(at_home, firewall)
    await until_told(partial(passes, at_home))
    assert is_on(hass, web)
    again = closes_at(hass, entry)
    assert again
    assert abs(again - end) < 2
    await asyncio.to_thread(at_home.bypass.reboot)
    await until_told(partial(passes, at_home))
    await until(lambda: hass.states.is_state(web, STATE_ON))
    again = closes_at(hass, entry)
    assert again
    assert abs(again - end) < 2
    await hass.config_entries.async_unload(entry.entry_id)
    flush(at_home, firewall)
    await hass.config_entries.async_setup(entry.entry_id)
    assert await passes(at_home)
    again = closes_at(hass, entry)
    assert again
    assert abs(again - end) < 2


def flush(lab: Lab, firewall: str) -> None:
    """Remove what translates, as something on the router may."""
    if firewall == IPTABLES:
        lab.bypass.run("iptables", "-t", "nat", "-F")
        lab.bypass.run("iptables", "-F")
    else:
        lose_rules(lab)


@KINDS
async def test_it_is_given_more_time_or_made_permanent_without_a_blink(
    hass: HomeAssistant, at_home: Lab, firewall: str
) -> None:
    """Who is connected stays so; turned off, it ends at once."""
    entry, web = await opened(hass, at_home, firewall)
    user = Connection(at_home)
    first = closes_at(hass, entry)
    await open_for(hass, web, 3600)
    later = closes_at(hass, entry)
    assert first
    assert later
    assert 3500 < later - first < 3700
    assert user.lives()
    await open_for(hass, web)
    sooner = closes_at(hass, entry)
    assert sooner
    assert sooner < later - 3500
    await turn(hass, "on", web)
    assert closes_at(hass, entry) is None
    assert user.lives()
    await asyncio.sleep(max(sooner + 1 - time.time(), 0))
    assert user.lives()
    assert await passes(at_home)
    await open_for(hass, web, 3600)
    assert closes_at(hass, entry)
    await turn(hass, "off", web)
    assert closes_at(hass, entry) is None
    assert not await passes(at_home)
    await until(lambda: not user.lives())


@KINDS
async def test_other_sources_hold_for_as_long_as_it_lasts(
    hass: HomeAssistant, at_home: Lab, firewall: str
) -> None:
    """Turned on for good, it lets in whom it always does."""
    at_home.target.serve("tcp", 443)
    entry = await set_up(hass, at_home, WEB, firewall=firewall)
    web = switch_of(hass, entry, "Web")
    await open_for(hass, web, 3600, sources=["192.0.2.77"])
    assert is_on(hass, web)
    assert not await passes(at_home)
    state = hass.states.get(web)
    assert state
    assert state.attributes["sources"] == ["192.0.2.77/32"]
    await open_for(hass, web, 3600, sources=at_home.internet.address)
    assert await passes(at_home)
    await open_for(hass, web, 3600, sources=["192.0.2.77"])
    assert not await passes(at_home)
    await turn(hass, "on", web)
    assert await passes(at_home)
    state = hass.states.get(web)
    assert state
    assert state.attributes["sources"] == []


@KINDS
async def test_without_conntrack_connections_are_cut_by_a_rule(
    hass: HomeAssistant, at_home: Lab, firewall: str
) -> None:
    """Of a forward that was turned off, and of no other; until it is on again."""
    at_home.bypass.commands.hide("conntrack")
    at_home.target.serve("tcp", 443)
    at_home.target.serve("udp", 7001)
    entry = await set_up(
        hass,
        at_home,
        WEB,
        {**WEB, "name": "Side", "external_port": "9443"},
        GAME,
        firewall=firewall,
    )
    web, side, game = (switch_of(hass, entry, it) for it in ("Web", "Side", "Game"))
    await turn(hass, "on", web, side, game)
    user, beside = Connection(at_home), Connection(at_home, port=9443)
    player = Connection(at_home, "udp", 6001)
    await turn(hass, "off", web, game)
    assert not user.lives()
    assert not player.lives()
    assert beside.lives()
    await turn(hass, "on", web, game)
    assert Connection(at_home).lives()
    assert player.lives()
    assert beside.lives()
    again = Connection(at_home)
    await hass.config_entries.async_reload(entry.entry_id)
    assert again.lives()
    watched = at_home.bypass.run("pgrep", "-f", MONITOR, check=False).stdout
    # What leads to another port of the device is another forward.
    at_home.target.serve("tcp", 444)
    subentry = entry.subentries[forward_id(entry, "Side")]
    elsewhere = {**subentry.data, "target_port": "444"}
    hass.config_entries.async_update_subentry(entry, subentry, data=elsewhere)
    await until(lambda: not beside.lives())
    assert Connection(at_home, port=9443).lives()
    assert again.lives()
    await turn(hass, "off", web, side, game)
    # What tells of changes has told of all of these.
    assert at_home.bypass.run("pgrep", "-f", MONITOR, check=False).stdout == watched
    assert not again.lives()
    assert not beside.lives()
    assert not player.lives()
    await choose(hass, entry, close_connections=False)
    await until(lambda: not ours(at_home))
    await turn(hass, "on", web)
    again = Connection(at_home)
    await turn(hass, "off", web)
    assert again.lives()
    assert not ours(at_home)
    await choose(hass, entry, close_connections=True)
    await turn(hass, "on", web)
    await turn(hass, "off", web)
    assert not again.lives()
    await hass.config_entries.async_remove(entry.entry_id)
    assert not ours(at_home)


async def test_a_router_whose_clock_is_set_meanwhile_keeps_it_open(
    hass: HomeAssistant, at_home: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As one that has started without a network; nobody reports it."""
    monkeypatch.setattr(reconciler, "_CLOCK_LOOK", 0.5)
    behind = "#!/bin/sh\nexec echo $(($(cat /proc/uptime | cut -d. -f1)))\n"
    real = at_home.bypass.commands.replace("date", behind)
    at_home.target.serve("tcp", 443)
    entry = await set_up(hass, at_home, WEB, firewall=IPTABLES)
    web = switch_of(hass, entry, "Web")
    await open_for(hass, web, 3600)
    # To the kernel, it has ended long ago.
    assert not await passes(at_home)
    # What its own change has brought about is read again by then.
    await asyncio.sleep(1)
    at_home.bypass.commands.replace("date", f'#!/bin/sh\nexec {real} "$@"\n')
    await until_told(partial(passes, at_home))
    assert is_on(hass, web)
    end = closes_at(hass, entry)
    assert end
    assert 3500 < end - time.time() < 3700


@pytest.mark.parametrize(
    ("duration", "sources"),
    [({"seconds": 9}, ["203.0.113.7"]), ({"days": 7, "seconds": 1}, ["203.0.113.7"])],
)
async def test_no_longer_and_no_shorter_is_taken(
    hass: HomeAssistant, at_home: Lab, duration: Any, sources: list[str]
) -> None:
    """Ten seconds to seven days."""
    entry = await set_up(hass, at_home, WEB)
    data = {"entity_id": switch_of(hass, entry, "Web"), "duration": duration}
    with pytest.raises(vol.Invalid):
        await hass.services.async_call(DOMAIN, "open_for", data, blocking=True)
    assert not ours(at_home)


@pytest.mark.parametrize("sources", [[], ["everybody"], ["203.0.113.7", ""]])
async def test_what_names_nobody_opens_nothing(
    hass: HomeAssistant, at_home: Lab, sources: list[str]
) -> None:
    """As of a template that has found no address."""
    entry = await set_up(hass, at_home, WEB)
    with pytest.raises(ServiceValidationError) as raised:
        await open_for(hass, switch_of(hass, entry, "Web"), sources=sources)
    assert raised.value.translation_key == "invalid_sources"
    assert not ours(at_home)


async def test_a_switch_opens_for_as_long_as_its_number_says(
    hass: HomeAssistant, at_home: Lab
) -> None:
    """Nothing there is until it is turned off."""
    entry = await set_up(hass, at_home, WEB)
    web = switch_of(hass, entry, "Web")
    unique = f"{forward_id(entry, 'Web')}_open_for"
    number = er.async_get(hass).async_get_entity_id("number", DOMAIN, unique)
    assert number
    for minutes in (15, 0):
        await hass.services.async_call(
            "number",
            "set_value",
            {"entity_id": number, "value": minutes},
            blocking=True,
        )
        await hass.async_block_till_done()
        state = hass.states.get(number)
        assert state
        assert float(state.state) == minutes
        await turn(hass, "on", web)
        end = closes_at(hass, entry)
        if minutes:
            assert end
            assert 14 * 60 < end - time.time() < 16 * 60
            await hass.config_entries.async_reload(entry.entry_id)
        else:
            assert end is None


async def test_where_iptables_knows_no_time_home_assistant_ends_it(
    hass: HomeAssistant, at_home: Lab
) -> None:
    """As long as it runs, which the form says."""
    at_home.bypass.commands.replace("iptables", TIMELESS)
    entry, web = await opened(hass, at_home, IPTABLES)
    form = await hass.config_entries.subentries.async_init(
        (entry.entry_id, "forward"), context={"source": "user"}
    )
    note = translations()["exceptions.ends_with_home_assistant.message"]
    assert note in (form["description_placeholders"] or {})["note"]
    assert closes_at(hass, entry)
    user = Connection(at_home)
    await until(lambda: not is_on(hass, web))
    assert not await passes(at_home)
    await until(lambda: not user.lives())
