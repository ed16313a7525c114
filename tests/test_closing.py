"""Connections end with their forward, if the user wants it, and no others do."""

import asyncio
from collections.abc import Mapping
import logging
from typing import Any

from homeassistant.config_entries import ConfigEntryState
from homeassistant.const import STATE_OFF, STATE_ON, STATE_UNAVAILABLE
from homeassistant.core import HomeAssistant
from homeassistant.helpers import issue_registry as ir
import pytest
from pytest_homeassistant_custom_component.common import MockConfigEntry

from tests.lab.network import Lab
from tests.lab.ssh import logins_of
from tests.lab.waiting import until, until_told

from .client import Connection
from .setup import (
    GAME,
    WEB,
    Held,
    choose,
    forward_id,
    ours,
    passes,
    set_up,
    switch_of,
    turn,
)

# The same device and port as WEB's, by another port of the router.
SIDE = {**WEB, "name": "Side", "external_port": "9443"}
FIREWALLS = pytest.mark.parametrize("firewall", ["nftables", "iptables"])

type Users = dict[str, Connection]


async def connected(
    hass: HomeAssistant, lab: Lab, **options: Any
) -> tuple[MockConfigEntry, Users]:
    """Set up three forwards that are on; return someone who uses each of them."""
    lab.target.serve("tcp", 443)
    lab.target.serve("tcp", 7001)
    lab.target.serve("udp", 7001)
    entry = await set_up(hass, lab, WEB, SIDE, GAME, **options)
    switches = [switch_of(hass, entry, name) for name in ("Web", "Side", "Game")]
    await turn(hass, "on", *switches)
    return entry, {
        "web": Connection(lab),
        "side": Connection(lab, port=9443),
        "game": Connection(lab, port=6001),
        "game's voice": Connection(lab, "udp", 6001),
    }


async def alive(users: Users) -> set[str]:
    """Return whose payload still passes."""
    found = set()
    for name, connection in users.items():
        if await asyncio.to_thread(connection.lives):
            found.add(name)
    return found


async def loses(users: Users, *names: str) -> None:
    """See that exactly these users are cut off, soon."""
    rest = users.keys() - set(names)

    async def lost() -> bool:
        return not await alive({name: users[name] for name in names})

    await until_told(lost)
    assert await alive(users) == rest


@FIREWALLS
async def test_turning_off_cuts_connections_of_this_forward_alone(
    hass: HomeAssistant, at_home: Lab, firewall: str
) -> None:
    """Of TCP and UDP; one to the same device by another forward lives on."""
    entry, users = await connected(hass, at_home, firewall=firewall)
    web, game = switch_of(hass, entry, "Web"), switch_of(hass, entry, "Game")
    await turn(hass, "off", web)
    await loses(users, "web")
    await turn(hass, "off", game)
    await loses(users, "web", "game", "game's voice")
    assert not ir.async_get(hass).issues
    await turn(hass, "on", web, game)
    assert Connection(at_home).lives()
    assert Connection(at_home, "udp", 6001).lives()


@FIREWALLS
async def test_they_end_also_when_the_entry_is_reloaded_at_once(
    hass: HomeAssistant, at_home: Lab, firewall: str
) -> None:
    """As it is by whoever saves another option just then."""
    entry, users = await connected(hass, at_home, firewall=firewall)
    await turn(hass, "off", switch_of(hass, entry, "Web"))
    assert await hass.config_entries.async_reload(entry.entry_id)
    assert await alive(users) == users.keys() - {"web"}


async def test_they_end_though_a_reload_overtakes_the_change(
    hass: HomeAssistant, at_home: Lab
) -> None:
    """The router is still at it."""
    entry, users = await connected(hass, at_home)
    held = Held(at_home, "nft", '"-f -"')
    change = asyncio.create_task(turn(hass, "off", switch_of(hass, entry, "Web")))
    await held.begun()
    reloading = asyncio.create_task(hass.config_entries.async_reload(entry.entry_id))
    await until(lambda: entry.runtime_data.stopped)
    held.let_go()
    assert await reloading
    await change
    assert await alive(users) == users.keys() - {"web"}


async def test_without_the_option_connections_go_on(
    hass: HomeAssistant, at_home: Lab
) -> None:
    """The forward is off for whoever comes new."""
    entry, users = await connected(hass, at_home, close_connections=False)
    await turn(hass, "off", switch_of(hass, entry, "Web"))
    assert not await passes(at_home)
    await asyncio.sleep(0.5)
    assert await alive(users) == users.keys()
    await choose(hass, entry, close_connections=True)
    assert await alive(users) == users.keys()
    await turn(hass, "off", switch_of(hass, entry, "Game"))
    await loses(users, "game", "game's voice")


async def test_removing_or_changing_a_forward_cuts_its_connections(
    hass: HomeAssistant, at_home: Lab
) -> None:
    """One that leads elsewhere now is another forward."""
    entry, users = await connected(hass, at_home)
    hass.config_entries.async_remove_subentry(entry, forward_id(entry, "Game"))
    await loses(users, "game", "game's voice")
    at_home.target.serve("tcp", 444)
    changed: Mapping[str, Any] = {**WEB, "target_port": "444"}
    subentry = entry.subentries[forward_id(entry, "Web")]
    hass.config_entries.async_update_subentry(entry, subentry, data=changed)
    await loses(users, "web", "game", "game's voice")
    assert await passes(at_home)


async def test_a_new_name_cuts_nobody(hass: HomeAssistant, at_home: Lab) -> None:
    """It leads where it led."""
    entry, users = await connected(hass, at_home)
    subentry = entry.subentries[forward_id(entry, "Web")]
    hass.config_entries.async_update_subentry(
        entry, subentry, data={**WEB, "name": "RouterContext"}, title="RouterContext"
    )
    await hass.async_block_till_done()
    await asyncio.sleep(0.5)
    assert await alive(users) == users.keys()


async def test_a_forward_that_is_on_again_at_once_is_left_alone(
    hass: HomeAssistant, at_home: Lab
) -> None:
    """Whoever was connected stays so, though the router turned it off meanwhile."""
    at_home.home.worsen_link(delay=0.1)
    entry, users = await connected(hass, at_home)
    web = switch_of(hass, entry, "Web")
    off = hass.async_create_task(turn(hass, "off", web))
    # The router is at it, and takes longer for its answer.
    await asyncio.sleep(0.05)
    await turn(hass, "on", web)
    await off
    await asyncio.sleep(1)
    assert hass.states.get(web).state == STATE_ON
    assert await alive(users) == users.keys()


async def test_what_was_removed_while_the_router_was_away_is_cut_when_it_is_back(
    hass: HomeAssistant, at_home: Lab
) -> None:
    """Its rules go then, and its connections with them."""
    entry, users = await connected(hass, at_home)
    web = switch_of(hass, entry, "Web")
    at_home.bypass.stop_ssh()
    await until(lambda: hass.states.get(web).state == STATE_UNAVAILABLE)
    hass.config_entries.async_remove_subentry(entry, forward_id(entry, "Web"))
    assert await alive(users) == users.keys()
    at_home.bypass.start_ssh()
    await loses(users, "web")


async def test_what_was_removed_while_nobody_looked_is_cut_at_set_up(
    hass: HomeAssistant, at_home: Lab
) -> None:
    """As the router tells what had been active."""
    entry, users = await connected(hass, at_home)
    await hass.config_entries.async_unload(entry.entry_id)
    hass.config_entries.async_remove_subentry(entry, forward_id(entry, "Web"))
    assert await alive(users) == users.keys()
    await hass.config_entries.async_setup(entry.entry_id)
    await loses(users, "web")


async def test_removing_the_router_cuts_all_of_its_forwards(
    hass: HomeAssistant, at_home: Lab
) -> None:
    """And nothing of ours is left."""
    entry, users = await connected(hass, at_home)
    await hass.config_entries.async_remove(entry.entry_id)
    await loses(users, *users)
    assert not ours(at_home)


async def test_disabling_or_stopping_cuts_nobody(
    hass: HomeAssistant, at_home: Lab
) -> None:
    """The rules stay as well, and what a reboot of Home Assistant finds is left."""
    entry, users = await connected(hass, at_home)
    await hass.config_entries.async_reload(entry.entry_id)
    assert entry.state is ConfigEntryState.LOADED
    await asyncio.sleep(0.5)
    assert await alive(users) == users.keys()


async def test_a_failure_to_close_hides_nothing(
    hass: HomeAssistant, at_home: Lab, caplog: pytest.LogCaptureFixture
) -> None:
    """The forward is off and stays off; the log says the rest."""
    entry, _ = await connected(hass, at_home)
    web = switch_of(hass, entry, "Web")
    at_home.bypass.commands.replace(
        "conntrack",
        # Not where a forward that has come on asks for flows of before.
        '#!/bin/sh\n[ "$1" = -L ] && ! nft list ruleset | grep -q "tcp . 8443"'
        f" && pkill -9 -f '{logins_of('root')}'\n",
    )
    await turn(hass, "off", web)
    await until(lambda: "may go on" in caplog.text)
    await until(lambda: hass.states.get(web).state == STATE_OFF)
    assert not await passes(at_home)


async def test_who_removes_the_router_is_not_warned(
    hass: HomeAssistant, at_home: Lab, caplog: pytest.LogCaptureFixture
) -> None:
    """Connections were being closed when we hung up ourselves."""
    caplog.set_level(logging.DEBUG, "custom_components.bypass_router.sync.closing")
    entry, _ = await connected(hass, at_home)
    web = switch_of(hass, entry, "Web")
    at_home.bypass.commands.replace(
        "conntrack", '#!/bin/sh\n[ "$1" = -L ] && touch /run/asked && sleep 5\n'
    )
    await turn(hass, "off", web)
    await until(
        lambda: (
            not at_home.bypass.run("test", "-e", "/run/asked", check=False).returncode
        )
    )
    await hass.config_entries.async_unload(entry.entry_id)
    await until(lambda: "may go on" in caplog.text)
    said = [it for it in caplog.records if "may go on" in it.getMessage()]
    assert {it.levelname for it in said} == {"DEBUG"}
