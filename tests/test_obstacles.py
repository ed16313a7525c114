"""What keeps a forward's packets out, and is not ours to take away: it is named."""

from collections.abc import Callable
from datetime import timedelta
import json
from typing import Any

from homeassistant.const import STATE_ON
from homeassistant.core import HomeAssistant
from homeassistant.data_entry_flow import FlowResultType
from homeassistant.util import dt as dt_util
import pytest
from pytest_homeassistant_custom_component.common import (
    MockConfigEntry,
    async_fire_time_changed,
)

from custom_components.bypass_router.diagnostics import (
    async_get_config_entry_diagnostics,
)
from custom_components.bypass_router.router.doctor.report import Cause
from custom_components.bypass_router.router.forward import Forward
from custom_components.bypass_router.router.rules.obstacles import Hindrance, Obstacle
from custom_components.bypass_router.router.rules.ruleset import Snapshot
from tests.lab.network import Lab
from tests.lab.waiting import until

from .sentences import said
from .setup import (
    GAME,
    WEB,
    forward_id,
    issue,
    passes,
    set_up,
    switch_of,
    turn,
)
from .test_diagnose import diagnose, texts_in
from .test_forward_flow import SECTION, add

LIST = Obstacle(
    Hindrance.ALLOW_LIST,
    {"chain": "inet fw forward", "rule": "ip saddr @friends accept"},
)
DENY = Obstacle(
    Hindrance.DENIED, {"chain": "FORWARD", "rule": "-d 192.168.50.10 -j DROP"}
)
TELL = 'nft "add table ip something; delete table ip something"'


class InTheWay:
    """What a part of the router's rules reports, as a test wants it."""

    def __init__(self) -> None:
        """Begin with nothing."""
        self.found: list[Obstacle] = []
        self.concerns: Callable[[Forward], bool] = lambda forward: (
            forward.external.first == 8443
        )

    def of(self, forward: Forward) -> list[Obstacle]:
        """Return what is in this forward's way."""
        return list(self.found) if self.concerns(forward) else []


@pytest.fixture
def in_the_way(monkeypatch: pytest.MonkeyPatch) -> InTheWay:
    """A router on which something may be in the way of port 8443."""
    way = InTheWay()
    monkeypatch.setattr(Snapshot, "obstacles", lambda _, forward: way.of(forward))
    return way


async def shown(hass: HomeAssistant, entry: MockConfigEntry, name: str) -> Any:
    """Return what a forward's switch says is in its way."""
    state = hass.states.get(switch_of(hass, entry, name))
    assert state
    assert state.state == STATE_ON
    return state.attributes.get("obstacles")


async def both_on(hass: HomeAssistant, lab: Lab) -> MockConfigEntry:
    """Set up two forwards that are on, of which one has something in its way."""
    lab.target.serve("tcp", 443)
    entry = await set_up(hass, lab, WEB, GAME)
    await turn(hass, "on", *(switch_of(hass, entry, n) for n in ("Web", "Game")))
    return entry


@pytest.mark.parametrize("kind", Hindrance)
def test_each_kind_is_a_cause_of_the_doctor(kind: Hindrance) -> None:
    """Its sentences are said wherever it is met, in the words that it has."""
    assert Cause(kind.value)
    assert "?" not in texts_in("ja").obstacle(
        Obstacle(
            kind,
            dict.fromkeys(("chain", "rule", "table", "program", "interface"), "x"),
        )
    )


@pytest.mark.parametrize("kind", Hindrance)
def test_what_is_said_is_true_of_a_forward_that_is_not_there_yet(
    kind: Hindrance,
) -> None:
    """The form says it before the forward is saved, and then it is off."""
    told = texts_in().obstacle(Obstacle(kind))
    assert "forward is on" not in told.replace("hile the forward is on", "")


@pytest.mark.parametrize("language", ["en", "ja"])
async def test_the_switch_and_a_repair_name_it_for_as_long_as_it_is_there(
    hass: HomeAssistant, at_home: Lab, in_the_way: InTheWay, language: str
) -> None:
    """In the user's language; what it does not concern says nothing of it."""
    hass.config.language = language
    entry = await both_on(hass, at_home)
    assert await shown(hass, entry, "Web") is None
    assert issue(hass, "kept_out") is None
    in_the_way.found = [LIST, DENY]
    at_home.bypass.run("sh", "-c", TELL)
    await until(lambda: issue(hass, "kept_out"))
    texts = texts_in(language)
    assert await shown(hass, entry, "Web") == [
        texts.obstacle(LIST),
        texts.obstacle(DENY),
    ]
    assert await shown(hass, entry, "Game") is None
    assert issue_lines(hass) == [
        f"- Web: {texts.obstacle(one, markdown=True)}" for one in (LIST, DENY)
    ]
    in_the_way.found = [DENY]
    at_home.bypass.run("sh", "-c", TELL)
    await until(lambda: len(issue_lines(hass)) == 1)
    assert await shown(hass, entry, "Web") == [texts.obstacle(DENY)]
    in_the_way.found = []
    at_home.bypass.run("sh", "-c", TELL)
    await until(lambda: issue(hass, "kept_out") is None)
    assert await shown(hass, entry, "Web") is None


def issue_lines(hass: HomeAssistant) -> list[str]:
    """Return what the repair lists."""
    found = issue(hass, "kept_out")
    words = (found.translation_placeholders if found else None) or {}
    return words.get("forwards", "").splitlines()


async def test_the_end_of_a_table_is_seen_that_no_router_reports(
    hass: HomeAssistant, at_home: Lab, in_the_way: InTheWay
) -> None:
    """As when the program ends that owns it."""
    in_the_way.found = [Obstacle(Hindrance.OWNED, {"table": "inet firewalld"})]
    await both_on(hass, at_home)
    # By then, what was seen of our own change has been read as well.
    assert await passes(at_home)
    in_the_way.found = []
    assert issue(hass, "kept_out")
    async_fire_time_changed(hass, dt_util.utcnow() + timedelta(seconds=61))
    await until(lambda: issue(hass, "kept_out") is None)


async def test_nothing_is_said_of_a_forward_that_is_off(
    hass: HomeAssistant, at_home: Lab, in_the_way: InTheWay
) -> None:
    """It is said when it comes on, and no longer when it goes off."""
    in_the_way.found = [LIST]
    entry = await set_up(hass, at_home, WEB)
    assert issue(hass, "kept_out") is None
    await turn(hass, "on", switch_of(hass, entry, "Web"))
    assert issue(hass, "kept_out")
    await turn(hass, "off", switch_of(hass, entry, "Web"))
    assert issue(hass, "kept_out") is None
    assert await diagnostics_of(hass, entry) == {}


async def diagnostics_of(hass: HomeAssistant, entry: MockConfigEntry) -> Any:
    """Return what the file for those who help says of it."""
    return (await async_get_config_entry_diagnostics(hass, entry))["obstacles"]


async def test_the_file_for_those_who_help_has_it(
    hass: HomeAssistant, at_home: Lab, in_the_way: InTheWay
) -> None:
    """With the rule, by the forward's id."""
    in_the_way.found = [LIST]
    entry = await both_on(hass, at_home)
    (found,) = (await diagnostics_of(hass, entry)).values()
    assert found == [{"kind": "allow_list", **LIST.seen}]


@pytest.mark.parametrize("kind", [Hindrance.NO_GATEWAY, Hindrance.BRIDGED])
async def test_what_has_a_repair_of_its_own_is_in_no_other(
    hass: HomeAssistant, at_home: Lab, in_the_way: InTheWay, kind: Hindrance
) -> None:
    """The switch names it all the same."""
    in_the_way.found = [Obstacle(kind, {"interface": "lan"})]
    entry = await both_on(hass, at_home)
    assert await shown(hass, entry, "Web")
    assert issue(hass, "kept_out") is None


async def test_the_doctor_names_it_though_a_test_from_home_passes(
    hass: HomeAssistant, at_home: Lab, in_the_way: InTheWay
) -> None:
    """Who keeps some out says nothing to Home Assistant."""
    in_the_way.found = [LIST]
    entry = await both_on(hass, at_home)
    assert await passes(at_home)
    found = await diagnose(hass, switch_of(hass, entry, "Web"))
    assert not found["healthy"]
    assert found["causes"] == ["allow_list"]
    (check,) = (it for it in found["checks"] if it["cause"])
    assert check["name"] == "passage"
    assert LIST.seen["rule"] in check["seen"]


async def test_what_keeps_all_out_is_not_blamed_where_packets_pass(
    hass: HomeAssistant, at_home: Lab, in_the_way: InTheWay
) -> None:
    """A proof is more than the text of a rule."""
    in_the_way.found = [DENY]
    entry = await both_on(hass, at_home)
    found = await diagnose(hass, switch_of(hass, entry, "Web"))
    assert found["causes"] == []
    at_home.target.stop_serving()
    assert "denied" in (await diagnose(hass, switch_of(hass, entry, "Web")))["causes"]


async def test_whoever_adds_such_a_forward_is_told_first(
    hass: HomeAssistant, at_home: Lab, in_the_way: InTheWay
) -> None:
    """It is saved if the user says so, and asked again where more is in the way."""
    entry = await set_up(hass, at_home)
    flows = hass.config_entries.subentries
    in_the_way.found = [LIST]
    asked = await add(hass, entry)
    assert asked["step_id"] == "obstacles"
    told = said(asked, SECTION)["description"]
    assert "ip saddr @friends accept" in told
    assert told.count("left as it is") == 1
    assert not entry.subentries
    in_the_way.found = [LIST, DENY]
    asked = await flows.async_configure(asked["flow_id"], {})
    assert asked["step_id"] == "obstacles"
    assert "DROP" in said(asked, SECTION)["description"]
    done = await flows.async_configure(asked["flow_id"], {})
    assert done["type"] is FlowResultType.CREATE_ENTRY
    # What it does not concern is not asked for.
    done = await add(hass, entry, name="Other", external_port="9000")
    assert done["type"] is FlowResultType.CREATE_ENTRY


async def test_whoever_changes_a_forward_to_such_a_one_is_told_first(
    hass: HomeAssistant, at_home: Lab, in_the_way: InTheWay
) -> None:
    """The forward stays as it was until then."""
    entry = await set_up(hass, at_home, {**WEB, "external_port": "9000"})
    in_the_way.found = [LIST]
    form = await entry.start_subentry_reconfigure_flow(hass, forward_id(entry, "Web"))
    flows = hass.config_entries.subentries
    asked = await flows.async_configure(form["flow_id"], dict(WEB))
    assert asked["step_id"] == "obstacles"
    (before,) = entry.subentries.values()
    assert before.data["external_port"] == "9000"
    done = await flows.async_configure(asked["flow_id"], {})
    assert done["reason"] == "reconfigure_successful"


def test_a_rules_text_is_nothing_but_text() -> None:
    """No link, no markup, no line of its own, and no more than can be read."""
    rule = 'comment "[x](https://evil.example) <b>\n# **y**"' + "z" * 5000
    hostile = Obstacle(Hindrance.DENIED, {"chain": "c\x1b[2J", "rule": rule})
    text = texts_in().obstacle(hostile, markdown=True)
    assert "\n" not in text
    assert "](" not in text
    assert "https:" not in text
    assert "**" not in text
    assert "\x1b" not in text
    assert len(text) < 1000


async def test_many_of_them_are_no_more_than_can_be_kept(
    hass: HomeAssistant, at_home: Lab, in_the_way: InTheWay
) -> None:
    """A switch and a repair say as much as fits."""
    in_the_way.concerns = lambda _: True
    in_the_way.found = [
        Obstacle(Hindrance.DENIED, {"chain": "鏡" * 200, "rule": f"{n}" + "鏡" * 999})
        for n in range(200)
    ]
    entry = await both_on(hass, at_home)
    sentences = await shown(hass, entry, "Web")
    assert sentences
    assert len(json.dumps(sentences, ensure_ascii=False).encode()) < 14000
    assert len(issue_lines(hass)) <= 10
    assert {line.partition(":")[0] for line in issue_lines(hass)} == {"- Web", "- Game"}
