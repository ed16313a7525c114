"""Forwards that were made by hand on the router, and become switches here."""

import asyncio
from typing import Any

from homeassistant.const import STATE_OFF, STATE_ON
from homeassistant.core import HomeAssistant
from homeassistant.helpers import issue_registry as ir
from homeassistant.setup import async_setup_component
import pytest
from pytest_homeassistant_custom_component.common import MockConfigEntry
from pytest_homeassistant_custom_component.typing import ClientSessionGenerator

from tests.lab.network import Lab
from tests.lab.options import RouterOptions
from tests.lab.waiting import until

from .router.test_rule_import import (
    ARTICLE,
    DNAT,
    REFUSING,
    Client,
    by_hand,
    replace_restore,
)
from .sentences import said, translations
from .setup import WEB, set_up, switch_of, turn

SECTION = "issues.hand_made.fix_flow"
ROUTERS = pytest.mark.parametrize(
    ("router_options", "firewall"),
    [
        (RouterOptions(), "auto"),
        (RouterOptions(), "iptables"),
        (RouterOptions(iptables="legacy"), "iptables"),
    ],
    ids=["nftables", "iptables-nft", "iptables-legacy"],
)


def offered(hass: HomeAssistant) -> ir.IssueEntry | None:
    """Return the repair that offers it."""
    for issue in ir.async_get(hass).issues.values():
        if issue.issue_id.startswith("hand_made_"):
            return issue
    return None


class Repair:
    """The repair, as a user goes through it."""

    def __init__(
        self, hass: HomeAssistant, hass_client: ClientSessionGenerator
    ) -> None:
        """Take where it is."""
        self._hass = hass
        self._client = hass_client
        self.step: dict[str, Any] = {}

    async def open(self) -> dict[str, Any]:
        """Open it, and return its first page."""
        assert await async_setup_component(self._hass, "repairs", {})
        await until(lambda: offered(self._hass) is not None)
        issue = offered(self._hass)
        assert translations()["issues.hand_made.title"].format(
            **(issue.translation_placeholders or {})
        )
        return await self._post(
            "", {"handler": "bypass_router", "issue_id": issue.issue_id}
        )

    async def submit(self, *chosen: str) -> dict[str, Any]:
        """Choose these, and return what comes next."""
        return await self._post(f"/{self.step['flow_id']}", {"forwards": list(chosen)})

    async def _post(self, path: str, data: dict[str, Any]) -> dict[str, Any]:
        """Send what the browser would."""
        client = await self._client()
        answer = await client.post(f"/api/repairs/issues/fix{path}", json=data)
        self.step = await answer.json()
        return self.step

    @property
    def options(self) -> dict[str, str]:
        """What there is to choose from: the labels, by value."""
        (field,) = self.step["data_schema"]
        return {
            it["value"]: it["label"] for it in field["selector"]["select"]["options"]
        }


@pytest.fixture
def repair(hass: HomeAssistant, hass_client: ClientSessionGenerator) -> Repair:
    """The repair."""
    return Repair(hass, hass_client)


async def with_firewall(
    hass: HomeAssistant, lab: Lab, firewall: str, *forwards: Any
) -> MockConfigEntry:
    """Set up the router, which is to use this firewall."""
    entry = await set_up(hass, lab, *forwards)
    if firewall != "auto":
        hass.config_entries.async_update_entry(entry, options={"firewall": firewall})
        await hass.config_entries.async_reload(entry.entry_id)
        await hass.async_block_till_done()
    return entry


@ROUTERS
async def test_the_articles_rules_become_a_switch_that_is_on(
    at_home: Lab, hass: HomeAssistant, repair: Repair, firewall: str
) -> None:
    """With one choice, under the hands of a client, of whom no exchange fails."""
    others = by_hand(at_home)
    entry = await with_firewall(hass, at_home, firewall)
    form = await repair.open()
    assert form["step_id"] == "adopt"
    words = said(form, SECTION)
    assert DNAT in words["description"]
    assert ARTICLE in words["description"]
    assert list(repair.options.values()) == ["TCP 8443 → 192.168.50.10:443"]
    client = Client(at_home)
    with client.using():
        await asyncio.sleep(0.2)
        done = await repair.submit(*repair.options)
        await asyncio.sleep(0.2)
    assert done["type"] == "create_entry"
    assert client.outcomes
    assert all(client.outcomes)
    (subentry,) = entry.subentries.values()
    assert subentry.data == {**WEB, "name": "TCP 8443"}
    await hass.async_block_till_done()
    switch = switch_of(hass, entry, "TCP 8443")
    assert hass.states.get(switch).state == STATE_ON
    assert offered(hass) is None
    left = at_home.bypass.iptables_save().splitlines()
    assert [line for line in left if "HA-BYPASS" not in line] == others
    await turn(hass, "off", switch)
    assert at_home.bypass.iptables_save().splitlines() == others


@ROUTERS
async def test_a_router_that_refuses_leaves_all_as_it_was(
    at_home: Lab, hass: HomeAssistant, repair: Repair, firewall: str
) -> None:
    """No forward is there, no rule has changed, and the repair stays."""
    by_hand(at_home)
    entry = await with_firewall(hass, at_home, firewall)
    before = at_home.bypass.iptables_save()
    await repair.open()
    replace_restore(at_home, REFUSING)
    client = Client(at_home)
    with client.using():
        refused = await repair.submit(*repair.options)
    assert (refused["type"], refused["reason"]) == ("abort", "not_adopted")
    await hass.async_block_till_done()
    assert all(client.outcomes)
    assert not entry.subentries
    assert not entry.runtime_data.desired
    assert at_home.bypass.iptables_save() == before
    assert "bypass_router:" not in at_home.bypass.real("nft", "list", "ruleset").stdout
    assert offered(hass) is not None


async def test_only_what_is_chosen_is_adopted(
    at_home: Lab, hass: HomeAssistant, repair: Repair
) -> None:
    """What the person has written beside a rule is its name."""
    named = [
        *DNAT.replace("8443", "9443").split(),
        "-m",
        "comment",
        "--comment",
        "My NAS",
    ]
    for rule in (DNAT.split(), named):
        at_home.bypass.run("iptables", "-t", "nat", "-A", "PREROUTING", *rule)
    entry = await set_up(hass, at_home)
    await repair.open()
    nothing = await repair.submit()
    assert nothing["errors"] == {"forwards": "none_chosen"}
    assert said(nothing, SECTION)["forwards"]
    (key,) = [key for key, label in repair.options.items() if "My NAS" in label]
    assert (await repair.submit(key))["type"] == "create_entry"
    assert [it.title for it in entry.subentries.values()] == ["My NAS"]
    rules = at_home.bypass.iptables_save()
    assert "9443" not in rules
    assert "--dport 8443" in rules


async def test_forwards_that_are_adopted_have_names_of_their_own(
    at_home: Lab, hass: HomeAssistant, repair: Repair
) -> None:
    """However often the person has written the same; and all come in one change."""
    for port in ("9000", "9001"):
        rule = DNAT.replace("8443", port).split()
        words = [*rule, "-m", "comment", "--comment", "web"]
        at_home.bypass.run("iptables", "-t", "nat", "-A", "PREROUTING", *words)
    entry = await set_up(hass, at_home, WEB)
    await repair.open()
    changes = len(entry.runtime_data.connection.router.rules.transactions)
    assert (await repair.submit(*repair.options))["type"] == "create_entry"
    titles = [subentry.title for subentry in entry.subentries.values()]
    assert titles == ["Web", "web (2)", "web (3)"]
    assert len(entry.runtime_data.connection.router.rules.transactions) == changes + 1


async def test_rules_that_come_back_go_again_and_the_forward_stays(
    at_home: Lab, hass: HomeAssistant, repair: Repair
) -> None:
    """A script may set them at each start of the router."""
    at_home.target.serve("tcp", 443)
    at_home.bypass.run("iptables", "-t", "nat", "-A", "PREROUTING", *DNAT.split())
    entry = await set_up(hass, at_home, WEB)
    switch = switch_of(hass, entry, "Web")
    assert hass.states.get(switch).state == STATE_OFF
    await repair.open()
    assert (await repair.submit(*repair.options))["type"] == "create_entry"
    assert len(entry.subentries) == 1
    assert hass.states.get(switch).state == STATE_ON
    assert "-A PREROUTING -d" not in at_home.bypass.iptables_save()


@pytest.mark.parametrize("port", ["22", "8440:8450"])
async def test_a_port_that_is_taken_is_not_offered(
    at_home: Lab, hass: HomeAssistant, port: str
) -> None:
    """By SSH, or by another forward of ours: the form would refuse it as well."""
    rule = DNAT.replace("8443", port).replace(":443", "")
    limited = f"-s 203.0.113.77/32 {rule}".split()
    at_home.bypass.run("iptables", "-t", "nat", "-A", "PREROUTING", *limited)
    entry = await set_up(hass, at_home, WEB)
    assert len(await entry.runtime_data.connection.router.rules.manual_forwards()) == 1
    await asyncio.sleep(0.3)
    assert offered(hass) is None


async def test_what_has_changed_meanwhile_is_not_done(
    at_home: Lab, hass: HomeAssistant, repair: Repair
) -> None:
    """The user is to see what it is about; and when it is gone, there is nothing."""
    at_home.bypass.run("iptables", "-t", "nat", "-A", "PREROUTING", *DNAT.split())
    entry = await set_up(hass, at_home)
    await repair.open()
    chosen = list(repair.options)
    at_home.bypass.run("iptables", "-t", "nat", "-F", "PREROUTING")
    other = DNAT.replace("50.10", "50.20").split()
    at_home.bypass.run("iptables", "-t", "nat", "-A", "PREROUTING", *other)
    assert (await repair.submit(*chosen))["reason"] == "changed"
    await repair.open()
    at_home.bypass.run("iptables", "-t", "nat", "-F", "PREROUTING")
    assert (await repair.submit(*repair.options))["reason"] == "none_left"
    assert offered(hass) is None
    assert not entry.subentries


async def test_a_router_that_is_away_can_not_be_asked(
    at_home: Lab, hass: HomeAssistant, repair: Repair
) -> None:
    """Nothing is changed here either."""
    at_home.bypass.run("iptables", "-t", "nat", "-A", "PREROUTING", *DNAT.split())
    entry = await set_up(hass, at_home)
    await repair.open()
    at_home.bypass.stop_ssh()
    await until(lambda: entry.runtime_data.connection.router is None)
    assert (await repair.submit(*repair.options))["reason"] == "not_connected"
    assert not entry.subentries
    assert offered(hass) is not None
