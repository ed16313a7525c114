"""No repair outlives its cause or its router."""

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Final

from homeassistant.config_entries import ConfigEntryState
from homeassistant.core import HomeAssistant
from homeassistant.helpers import issue_registry as ir
import pytest
from pytest_homeassistant_custom_component.common import MockConfigEntry

from custom_components.bypass_router.const import DOMAIN
from custom_components.bypass_router.issues import Issues
from custom_components.bypass_router.router.errors import (
    BootFileLeft,
    BootFileRefused,
    BootNeedsRoot,
    ClosingRefused,
    HostKeyChanged,
    NoInitSystem,
    NotApplied,
)
from custom_components.bypass_router.router.rules.base import Tag
from custom_components.bypass_router.router.ssh.authorized_keys import (
    authorized_line,
    generate_key,
)
from custom_components.bypass_router.router.ssh.rights import Rights
from custom_components.bypass_router.storage import DiskFull, DiskReadOnly, NotSaved
from custom_components.bypass_router.sync.connection import async_owner
from tests.lab.network import Lab

from .sentences import translations
from .setup import WEB, add_entry, issue, ours, rules, set_up, switch_of, turn

_SLOW: Final = Rights(nameless=True, delay=9)
# By the key of each sentence, what has it said.
RAISED: Final[Mapping[str, Callable[[Issues], None]]] = {
    "both_variants": lambda issues: issues.both_variants("nftables"),
    "closing_refused": lambda issues: issues.closing_refused(
        ClosingRefused(command="conntrack -D")
    ),
    "at_boot_refused": lambda issues: issues.at_boot(BootFileRefused(message="full")),
    "at_boot_left": lambda issues: issues.at_boot(
        BootFileLeft(message="read-only"), "2026-12-31"
    ),
    "at_boot_no_init": lambda issues: issues.at_boot(NoInitSystem()),
    "at_boot_needs_root": lambda issues: issues.at_boot(BootNeedsRoot()),
    "fight": lambda issues: issues.conflict(None),
    "fight_with": lambda issues: issues.conflict("clash"),
    "fight_copy": lambda issues: issues.conflict("nft"),
    "refused_one": lambda issues: issues.refused([("Web", NotApplied())]),
    "refused": lambda issues: issues.refused([("Web", NotApplied())] * 2),
    "refused_many": lambda issues: issues.refused(
        [(str(number), NotApplied()) for number in range(99)]
    ),
    "bridged": lambda issues: issues.bridged("br-lan"),
    "kept_out_one": lambda issues: issues.kept_out([("Web", ["A rule drops it."])]),
    "kept_out": lambda issues: issues.kept_out([("Web", ["A rule drops it."])] * 2),
    "kept_out_many": lambda issues: issues.kept_out(
        [(str(number), ["A rule drops it."]) for number in range(99)]
    ),
    "main_router_one": lambda issues: issues.main_router([("Web", "It says no.")]),
    "main_router": lambda issues: issues.main_router([("Web", "It says no.")] * 2),
    "main_router_many": lambda issues: issues.main_router(
        [(str(number), "It says no.") for number in range(99)]
    ),
    "unresolved": lambda issues: issues.unresolved({"home.example.org": []}),
    "no_public_address": lambda issues: issues.no_public_address("100.64.0.7"),
    "main_router_left": lambda issues: issues.main_router_left(["TCP 443"], "12:00"),
    "main_router_left_for_good": lambda issues: issues.main_router_left(
        ["TCP 443"], None
    ),
    "state_lost": lambda issues: issues.state_lost(lost=True),
    "not_saved": lambda issues: issues.not_saved(NotSaved()),
    "not_saved_full": lambda issues: issues.not_saved(DiskFull()),
    "not_saved_read_only": lambda issues: issues.not_saved(DiskReadOnly()),
    "foreign": lambda issues: issues.foreign([Tag("cd34", "A")]),
    "foreign_others": lambda issues: issues.foreign(
        [Tag(f"cd{number}", "A") for number in range(9)]
    ),
    "waiting": lambda issues: issues.waiting(["iptables"]),
    "waiting_many": lambda issues: issues.waiting(["iptables"] * 99),
    "waiting_unattended": lambda issues: issues.waiting_unattended(["Web"]),
    "disabled": lambda issues: issues.disabled(["Web"]),
    "without_switch": lambda issues: issues.without_switch(["Web"]),
    "host_key_changed": lambda issues: issues.host_key_changed(
        HostKeyChanged(
            host="a",
            expected="b",
            found="c",
            openssh_command="d",
            dropbear_command="e",
        )
    ),
    "ip_forward": lambda issues: issues.forwarding(enabled=False),
    "main_router_unknown": lambda issues: issues.main_router_unknown({"Web": "tun0"}),
    "hand_made": lambda issues: issues.manual_forwards(3),
    "sudo_waits": lambda issues: issues.sudo_waits(replace(_SLOW, all=True)),
    "sudo_waits_always": lambda issues: issues.sudo_waits(_SLOW),
}
# Of these, something else is known than a first read tells, such as what is installed.
DECIDED_LATER: Final = {
    "hand_made",
    "closing_refused",
    "at_boot_refused",
    "at_boot_left",
    "at_boot_no_init",
    "at_boot_needs_root",
}
LEFT: Final = {"left_behind"}


def shown(hass: HomeAssistant) -> set[str]:
    """Return what is said of routers, by the keys of the sentences."""
    return {
        str(issue.translation_key)
        for (domain, _), issue in ir.async_get(hass).issues.items()
        if domain == DOMAIN and issue.active
    }


@pytest.fixture
def entry() -> MockConfigEntry:
    """A router that is not connected."""
    return MockConfigEntry(domain=DOMAIN, title="bypass", data={"host_key": "x y"})


def test_these_are_all_that_can_be_said() -> None:
    """A new repair has its place here, and what ends it."""
    said = {key.split(".")[1] for key in translations() if key.startswith("issues.")}
    assert said == RAISED.keys() | LEFT


@pytest.mark.parametrize("key", RAISED)
def test_what_has_no_cause_any_more_is_over_once_the_router_is_read(
    hass: HomeAssistant, entry: MockConfigEntry, key: str
) -> None:
    """Also where it was said before the entry was loaded anew."""
    RAISED[key](Issues(hass, entry))
    assert shown(hass)
    Issues(hass, entry).settle()
    assert shown(hass) == ({key} & DECIDED_LATER)


@pytest.mark.parametrize("key", RAISED)
def test_what_is_ignored_and_has_its_cause_stays_ignored(
    hass: HomeAssistant, entry: MockConfigEntry, key: str
) -> None:
    """It is not taken away and said again."""
    RAISED[key](Issues(hass, entry))
    before = dict(ir.async_get(hass).issues)
    for domain, issue_id in before:
        ir.async_ignore_issue(hass, domain, issue_id, True)
    issues = Issues(hass, entry)
    RAISED[key](issues)
    issues.settle()
    after = ir.async_get(hass).issues
    assert after.keys() == before.keys()
    assert all(issue.dismissed_version for issue in after.values())


@pytest.mark.parametrize("key", RAISED)
def test_what_was_said_of_a_router_goes_with_it(
    hass: HomeAssistant, entry: MockConfigEntry, key: str
) -> None:
    """And what is said of another one stays."""
    other = MockConfigEntry(domain=DOMAIN, title="other", data={"host_key": "z"})
    RAISED[key](Issues(hass, entry))
    RAISED[key](Issues(hass, other))
    of_both = len(ir.async_get(hass).issues)
    Issues(hass, entry).forget()
    assert len(ir.async_get(hass).issues) == of_both / 2
    Issues(hass, entry).settle()
    assert len(ir.async_get(hass).issues) == of_both / 2


def test_only_a_later_entry_for_the_same_router_takes_back_what_was_left(
    hass: HomeAssistant,
) -> None:
    """By its network card or its host key; a copy that was there before does not."""

    def another(unique_id: str, host_key: str) -> MockConfigEntry:
        return MockConfigEntry(
            domain=DOMAIN,
            title="bypass",
            unique_id=unique_id,
            data={"host_key": host_key},
        )

    copy = another("02:00:00:00:00:02", "a key")
    removed = another("02:00:00:00:00:01", "a key")
    Issues(hass, removed).left_behind()
    found = [f"left_behind_{removed.entry_id}"]
    assert Issues(hass, copy).left_behind_here() == []
    assert Issues(hass, another("3", "b key")).left_behind_here() == []
    assert Issues(hass, another("3", "a key")).left_behind_here() == found
    later = Issues(hass, another("02:00:00:00:00:01", "b key"))
    assert later.left_behind_here() == found
    later.nothing_left_behind(found)
    assert shown(hass) == set()


async def test_rules_of_another_home_assistant_that_go_while_unloaded(
    hass: HomeAssistant, at_home: Lab
) -> None:
    """Their repair goes when the entry is loaded."""
    entry = await set_up(hass, at_home, WEB, firewall="iptables")
    await turn(hass, "on", switch_of(hass, entry, "Web"))
    theirs = (
        "HA-BYPASS-PRE -p tcp -m comment --comment bypass_router:cd34ef56:A -j RETURN"
    )
    at_home.bypass.run("iptables", "-t", "nat", "-A", *theirs.split())
    await hass.config_entries.async_reload(entry.entry_id)
    assert issue(hass, "foreign_") is not None
    await hass.config_entries.async_unload(entry.entry_id)
    at_home.bypass.run("iptables", "-t", "nat", "-D", *theirs.split())
    await hass.config_entries.async_setup(entry.entry_id)
    assert entry.state is ConfigEntryState.LOADED
    assert issue(hass, "foreign_") is None


async def test_a_router_that_is_removed_while_it_is_off_and_added_again(
    hass: HomeAssistant, at_home: Lab
) -> None:
    """What was left behind is cleared: rules, keys, and what was said of them."""
    owner = await async_owner(hass)
    keys = [generate_key(owner) for _ in range(3)]
    theirs = authorized_line(generate_key("cd34"))
    lines = [authorized_line(key) for key in keys]
    at_home.bypass.users.authorize(lines[0], theirs, *lines[1:])
    entry = add_entry(hass, at_home, WEB)
    data = {k: v for k, v in entry.data.items() if k != "password"}
    hass.config_entries.async_update_entry(entry, data={**data, "private_key": keys[0]})
    await hass.config_entries.async_setup(entry.entry_id)
    await turn(hass, "on", switch_of(hass, entry, "Web"))
    at_home.bypass.stop_ssh()
    await hass.config_entries.async_remove(entry.entry_id)
    assert issue(hass, "left_behind_") is not None
    assert "8443" in rules(at_home)
    at_home.bypass.start_ssh()

    flow = hass.config_entries.flow
    form = await flow.async_init(DOMAIN, context={"source": "user"})
    form = await flow.async_configure(
        form["flow_id"],
        {"host": at_home.bypass.address, "port": 22, "username": "root"},
    )
    done = await flow.async_configure(
        form["flow_id"],
        {"password": at_home.bypass.root_password, "install_key": True},
    )
    await hass.async_block_till_done()
    again = done["result"]
    assert again.state is ConfigEntryState.LOADED
    assert not ours(at_home)
    kept = authorized_line(again.data["private_key"])
    found = at_home.bypass.users.authorized_keys().splitlines()
    assert sorted(found) == sorted([theirs, kept])
    assert issue(hass, "") is None


async def test_connections_that_stay_are_said_of_no_router_that_is_removed(
    hass: HomeAssistant, at_home: Lab
) -> None:
    """The advice would be of no use."""
    at_home.bypass.commands.hide("conntrack")
    entry = await set_up(hass, at_home, WEB)
    await turn(hass, "on", switch_of(hass, entry, "Web"))
    await hass.config_entries.async_remove(entry.entry_id)
    assert not ours(at_home)
    assert issue(hass, "") is None
