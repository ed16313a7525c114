"""An entry's set-up, unload and removal."""

import asyncio
from collections.abc import Callable

from homeassistant.config_entries import ConfigEntryState
from homeassistant.const import STATE_OFF, STATE_ON, STATE_UNAVAILABLE
from homeassistant.core import HomeAssistant
from homeassistant.helpers import issue_registry as ir
import pytest

from custom_components.bypass_router.router.ssh.authorized_keys import (
    authorized_line,
    generate_key,
)
from custom_components.bypass_router.sync import connection, lifecycle
from tests.lab.bypass import RouterOptions
from tests.lab.network import Lab
from tests.lab.waiting import until

from .setup import (
    GAME,
    WEB,
    add_entry,
    iptables_version,
    issue,
    lose_rules,
    ours,
    passes,
    rules,
    set_up,
    switch_of,
    turn,
)

FIREWALLS = pytest.mark.parametrize("firewall", ["nftables", "iptables"])


async def test_unloading_leaves_the_rules_in_force(
    hass: HomeAssistant, at_home: Lab
) -> None:
    """Home Assistant may restart without anyone being cut off."""
    at_home.target.serve("tcp", 443)
    entry = await set_up(hass, at_home, WEB)
    switch = switch_of(hass, entry, "Web")
    await turn(hass, "on", switch)
    assert await hass.config_entries.async_unload(entry.entry_id)
    assert entry.state is ConfigEntryState.NOT_LOADED
    assert await passes(at_home)
    assert await hass.config_entries.async_setup(entry.entry_id)
    assert hass.states.get(switch).state == STATE_ON


async def test_what_was_desired_is_applied_at_set_up(
    hass: HomeAssistant, at_home: Lab
) -> None:
    """The rules were lost while Home Assistant was away, or others came."""
    at_home.target.serve("tcp", 443)
    entry = await set_up(hass, at_home, WEB, GAME)
    web, game = switch_of(hass, entry, "Web"), switch_of(hass, entry, "Game")
    await turn(hass, "on", web, game)
    await turn(hass, "off", game)
    await hass.config_entries.async_unload(entry.entry_id)
    lose_rules(at_home)
    await hass.config_entries.async_setup(entry.entry_id)
    assert hass.states.get(web).state == STATE_ON
    assert hass.states.get(game).state == STATE_OFF
    assert await passes(at_home)


async def test_rules_of_a_forward_that_is_no_more_are_removed(
    hass: HomeAssistant, at_home: Lab
) -> None:
    """Removed while the entry was not loaded, say."""
    entry = await set_up(hass, at_home, WEB, GAME)
    await turn(
        hass, "on", switch_of(hass, entry, "Web"), switch_of(hass, entry, "Game")
    )
    await hass.config_entries.async_unload(entry.entry_id)
    (game,) = (s for s in entry.subentries.values() if s.title == "Game")
    hass.config_entries.async_remove_subentry(entry, game.subentry_id)
    assert "6000-6010" in rules(at_home)
    await hass.config_entries.async_setup(entry.entry_id)
    assert "6000-6010" not in rules(at_home)
    assert "8443" in rules(at_home)


@FIREWALLS
async def test_removing_the_entry_leaves_nothing_on_the_router(
    hass: HomeAssistant, at_home: Lab, firewall: str
) -> None:
    """No rule, no chain, no key of ours; the user's own key stays."""
    before = at_home.bypass.iptables_save()
    key = generate_key(await connection.async_owner(hass))
    theirs = authorized_line(generate_key("cd34"))
    at_home.bypass.users.authorize(theirs, authorized_line(key))
    entry = add_entry(hass, at_home, WEB, firewall=firewall)
    data = {k: v for k, v in entry.data.items() if k != "password"}
    hass.config_entries.async_update_entry(entry, data={**data, "private_key": key})
    await hass.config_entries.async_setup(entry.entry_id)
    await turn(hass, "on", switch_of(hass, entry, "Web"))
    await hass.config_entries.async_remove(entry.entry_id)
    assert at_home.bypass.iptables_save() == before
    assert not ours(at_home)
    assert at_home.bypass.users.authorized_keys() == f"{theirs}\n"


@FIREWALLS
async def test_an_entry_can_be_removed_while_the_router_is_away(
    hass: HomeAssistant, at_home: Lab, firewall: str
) -> None:
    """What is left there is told, with the commands that remove it."""
    before = at_home.bypass.iptables_save()
    entry = await set_up(hass, at_home, WEB, GAME, firewall=firewall)
    for name in ("Web", "Game"):
        await turn(hass, "on", switch_of(hass, entry, name))
    at_home.bypass.stop_ssh()
    await hass.config_entries.async_remove(entry.entry_id)
    issue = ir.async_get(hass).async_get_issue(
        "bypass_router", f"left_behind_{entry.entry_id}"
    )
    assert issue is not None
    assert issue.is_persistent
    words = issue.translation_placeholders
    assert words is not None
    assert words["router"] == "bypass"
    assert ours(at_home)
    at_home.bypass.run("sh", "-ec", words["commands"])
    assert not ours(at_home)
    assert at_home.bypass.iptables_save() == before


async def test_a_router_that_is_away_at_set_up_is_tried_again(
    hass: HomeAssistant, at_home: Lab
) -> None:
    """The reason stands on the entry."""
    entry = add_entry(hass, at_home, WEB)
    at_home.bypass.stop_ssh()
    await hass.config_entries.async_setup(entry.entry_id)
    assert entry.state is ConfigEntryState.SETUP_RETRY
    assert entry.error_reason_translation_key == "port_closed"


async def test_a_router_whose_firewall_fails_is_tried_again(
    hass: HomeAssistant, at_home: Lab
) -> None:
    """And the connection is not left open."""
    entry = add_entry(hass, at_home, WEB)
    at_home.bypass.commands.replace(
        "iptables",
        "#!/bin/sh\n"
        'case "$*" in *-V) echo iptables v1.8.9 \\(nf_tables\\);; '
        "*filter*|*HA-BYPASS*) echo no luck; exit 3;; esac\n",
    )
    await hass.config_entries.async_setup(entry.entry_id)
    assert entry.state is ConfigEntryState.SETUP_RETRY
    assert entry.error_reason_translation_key == "firewall_failed"
    await until(lambda: not at_home.bypass.logins())


async def test_a_router_that_says_nothing_is_given_up(
    hass: HomeAssistant, at_home: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A command of it hangs; the set-up does not."""
    monkeypatch.setattr(lifecycle, "_FIRST_LOOK", 1.0)
    entry = add_entry(hass, at_home, WEB)
    at_home.bypass.commands.replace(
        "iptables",
        "#!/bin/sh\n"
        'case "$*" in *-V) echo iptables v1.8.9 \\(nf_tables\\);; '
        "*filter*) sleep 9;; esac\n",
    )
    await hass.config_entries.async_setup(entry.entry_id)
    assert entry.state is ConfigEntryState.SETUP_RETRY
    assert entry.error_reason_translation_key == "timed_out"


async def test_a_refused_password_is_not_tried_again(
    hass: HomeAssistant, at_home: Lab
) -> None:
    """A router that bans who keeps failing would lock us out."""
    entry = add_entry(hass, at_home, WEB)
    hass.config_entries.async_update_entry(
        entry, data={**entry.data, "password": "wrong"}
    )
    await hass.config_entries.async_setup(entry.entry_id)
    assert entry.state is ConfigEntryState.SETUP_ERROR
    assert entry.error_reason_translation_key == "authentication_failed"
    assert at_home.bypass.ssh.log().count("Failed password") == 1


async def test_a_router_that_comes_back_with_another_key_is_not_trusted(
    hass: HomeAssistant, at_home: Lab
) -> None:
    """The entry stops, and says both fingerprints."""
    entry = await set_up(hass, at_home, WEB)
    switch = switch_of(hass, entry, "Web")
    at_home.bypass.renew_host_keys()
    at_home.bypass.ssh.stop()
    at_home.bypass.ssh.start()
    await until(lambda: entry.state is ConfigEntryState.SETUP_ERROR)
    await hass.async_block_till_done()
    assert entry.error_reason_translation_key == "host_key_changed"
    assert hass.states.get(switch).state == STATE_UNAVAILABLE
    assert at_home.bypass.ssh.log().count("Accepted") == 1


async def test_a_lost_router_is_asked_ever_more_seldom(
    hass: HomeAssistant, at_home: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    """From a second to a minute, never twice at the same pace."""
    delays: list[float] = []
    real_sleep = asyncio.sleep

    async def sleep(seconds: float) -> None:
        # A shorter one is none of the pauses between attempts.
        if seconds >= 0.5:
            delays.append(seconds)
        await real_sleep(0)

    entry = await set_up(hass, at_home, WEB)
    monkeypatch.setattr(asyncio, "sleep", sleep)
    at_home.bypass.stop_ssh()
    await until(lambda: len(delays) >= 10)
    await hass.config_entries.async_unload(entry.entry_id)
    assert 0.5 <= delays[0] <= 1
    assert all(30 <= delay <= 60 for delay in delays[7:10])
    assert len(set(delays)) == len(delays)


@pytest.mark.parametrize(
    "router_options", [RouterOptions(rules_in=("nft", "legacy"))], ids=["both"]
)
@pytest.mark.parametrize(
    ("firewall", "named"),
    [("auto", lambda _: "nftables"), ("iptables", iptables_version)],
)
async def test_both_variants_of_iptables_on_one_router_are_told_of(
    hass: HomeAssistant, at_home: Lab, firewall: str, named: Callable[[Lab], str]
) -> None:
    """And where our rules are; until one of them is empty."""
    entry = await set_up(hass, at_home, WEB, firewall=firewall)
    told = issue(hass, "both_variants_")
    assert told is not None
    where = {"router": "bypass", "ours": named(at_home)}
    assert told.translation_placeholders == where
    assert not told.is_fixable
    await turn(hass, "on", switch_of(hass, entry, "Web"))
    await hass.config_entries.async_reload(entry.entry_id)
    assert issue(hass, "both_variants_") is not None
    at_home.bypass.real("iptables-legacy", "-t", "nat", "-F")
    await hass.config_entries.async_reload(entry.entry_id)
    assert issue(hass, "both_variants_") is None


async def test_one_variant_is_nothing_to_tell_of(
    hass: HomeAssistant, at_home: Lab
) -> None:
    """Nor are the rules of ours in it."""
    entry = await set_up(hass, at_home, WEB, firewall="iptables")
    await turn(hass, "on", switch_of(hass, entry, "Web"))
    await hass.config_entries.async_reload(entry.entry_id)
    assert issue(hass, "both_variants_") is None


async def test_what_was_told_of_a_router_goes_with_it(
    hass: HomeAssistant, at_home: Lab
) -> None:
    """A repair of a router that is not here any more helps no one."""
    at_home.bypass.sysctl("net.ipv4.ip_forward", "0")
    entry = await set_up(hass, at_home, WEB)
    assert issue(hass, "ip_forward_") is not None
    await hass.config_entries.async_remove(entry.entry_id)
    assert issue(hass, "") is None
