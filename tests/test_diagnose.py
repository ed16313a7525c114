"""Why a forward does not work, as the user is told."""

import asyncio
import re
from typing import Any

from homeassistant.components import persistent_notification
from homeassistant.components.persistent_notification import UpdateType
from homeassistant.core import HomeAssistant, callback
from homeassistant.exceptions import ServiceValidationError
from homeassistant.helpers import device_registry as dr, entity_registry as er
import pytest
from pytest_homeassistant_custom_component.common import MockConfigEntry
import voluptuous as vol

from custom_components.bypass_router.const import DOMAIN
from custom_components.bypass_router.diagnosis.texts import Texts, report, response
from custom_components.bypass_router.router.doctor.report import (
    Cause,
    Check,
    Diagnosis,
    Reason,
    Status,
    Step,
    failed,
    ok,
    skipped,
    unknown,
)
from tests.lab.network import Lab
from tests.lab.waiting import LIMIT, until

from .router.faults import MOVED
from .sentences import translations
from .setup import GAME, WEB, add_entry, forward_id, passes, set_up, switch_of, turn
from .test_translations import LANGUAGES, words

MORE = ("", "_means", "_do")
# What the doctor says in each case, beside the cause itself.
SEEN = {
    Cause.UNREACHABLE: {"message"},
    Cause.NOT_PRIVILEGED: {"command", "message"},
    Cause.FIREWALL_UNUSABLE: {"message"},
    Cause.CONNTRACK_FULL: {"count", "limit"},
    Cause.OTHER_BACKEND_FIRST: {"other"},
    Cause.RP_FILTER: {"interface"},
    Cause.TARGET_DOWN: {"address"},
    Cause.TARGET_MOVED: {"address", "new_address", "hardware"},
    Cause.PORT_CLOSED: {"address", "port"},
    Cause.TARGET_REFUSES: {"address", "port", "source"},
    Cause.NO_ANSWER: {"address", "port"},
    Cause.GATEWAY_BYPASSES: {"address"},
    Cause.HIJACKED_BY_TUNNEL: set(),
    Cause.ALLOW_LIST: {"chain", "rule"},
    Cause.DENIED: {"chain", "rule"},
    Cause.OWNED: {"table", "program"},
    Cause.QUEUED: {"chain", "rule"},
    Cause.UNTRACKED: {"chain", "rule"},
    Cause.DROPPED_EARLY: {"chain", "rule"},
    Cause.NO_GATEWAY: {"interface"},
    Cause.BRIDGED: {"interface"},
    Cause.EARLIER_FLOW: {"source"},
    Cause.SOURCE_EXCLUDED: {"source"},
    Cause.MAIN_SWITCH_OFF: {"entity", "name"},
    Cause.MAIN_SWITCH_GONE: {"entity", "name"},
    Cause.MAIN_SWITCH_FAILED: {"entity", "name", "message"},
    Cause.DIED_ON_THE_WAY: {"source"},
    Cause.MAIN_SILENT: {"main_router"},
    Cause.MAIN_NOT_ALLOWED: {"main_router", "port", "answer"},
    Cause.MAIN_PORT_TAKEN: {"main_router", "port", "holder"},
    Cause.MAIN_DISABLED: {"main_router", "port", "holder"},
    Cause.MAIN_PORT_HELD: {"main_router", "port", "answer"},
    Cause.MAIN_PORT_REFUSED: {"main_router", "port", "answer"},
    Cause.MAIN_FULL: {"main_router", "port", "answer"},
    Cause.MAIN_FAILED: {"main_router", "port", "answer"},
    Cause.MAIN_NOT_SET: {"main_router", "port"},
    Cause.NO_PUBLIC_ADDRESS: {"main_router", "address"},
}


def texts_in(language: str = "en") -> Texts:
    """Return the sentences in a language."""
    start, end = "exceptions.", ".message"
    found = translations(language).items()
    return Texts(
        {
            key.removeprefix(start).removesuffix(end): text
            for key, text in found
            if key.startswith(start)
        }
    )


async def diagnose(hass: HomeAssistant, entity_id: str, **fields: Any) -> Any:
    """Call the action, and return what it answers for this switch."""
    answer = await hass.services.async_call(
        DOMAIN,
        "diagnose",
        {"entity_id": entity_id, **fields},
        blocking=True,
        return_response=True,
    )
    assert answer
    return answer[entity_id]


def button_of(hass: HomeAssistant, entry: MockConfigEntry, name: str) -> str:
    """Return the entity id of a forward's button."""
    found = er.async_get(hass).async_get_entity_id(
        "button", DOMAIN, f"{forward_id(entry, name)}_diagnose"
    )
    assert found
    return found


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("cause", Cause)
def test_each_cause_has_its_sentences(cause: Cause, language: str) -> None:
    """What was seen, what it means, what to do: with words that the doctor gives."""
    texts = texts_in(language)
    said = [texts.get(f"cause_{cause}_{part}") for part in ("seen", "means", "do")]
    assert all(said)
    assert len(set(said)) == 3
    for part in ("seen", "means", "do"):
        text = translations(language)[f"exceptions.cause_{cause}_{part}.message"]
        assert words(text) <= SEEN.get(cause, set())


@pytest.mark.parametrize("language", LANGUAGES)
def test_each_check_and_each_reason_has_its_words(language: str) -> None:
    """And no two of them the same."""
    texts = texts_in(language)
    found = [texts.get(f"check_{step}") for step in Step]
    found += [texts.get(f"reason_{reason}") for reason in Reason]
    assert all(found)
    assert len(set(found)) == len(found)


# The words of reasons that say no more than why, and of those that say more.
SHORT = {
    Reason.PARTLY: {"proved", "open"},
    Reason.MAIN_BY_HAND: {"most"},
    Reason.MAIN_UNTOLD: {"main_router"},
}
TOLD = {
    Reason.NOBODY: {"seconds", "ports", "public", "router"},
    Reason.FROM_HOME: {"seconds", "ports", "public", "router", "source"},
    Reason.UNHEARD: {"source"},
    Reason.MAIN_SET_AND_SILENT: {"seconds", "ports", "public", "router", "main_router"},
    Reason.MAIN_SWITCH_UNAVAILABLE: {"entity", "name"},
}


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("reason", Reason)
def test_a_reason_that_is_explained_also_has_what_to_do(
    reason: Reason, language: str
) -> None:
    """With words that the doctor gives."""
    keys = [f"exceptions.reason_{reason}{part}.message" for part in MORE]
    said = [translations(language).get(key, "") for key in keys]
    assert bool(said[1]) == bool(said[2]) == (reason in TOLD)
    assert all(words(text) <= (SHORT | TOLD).get(reason, set()) for text in said)


def test_nothing_is_said_of_what_there_is_not() -> None:
    """No text was left behind by a cause, a check or a reason that is gone."""
    kinds = {"cause": Cause, "check": Step, "reason": Reason}
    for key in translations():
        kind, _, name = key.removeprefix("exceptions.").partition("_")
        if key.startswith("exceptions.") and kind in kinds:
            name = name.removesuffix(".message")
            if kind == "cause":
                name = name.rsplit("_", 1)[0]
            if kind == "reason":
                name = name.removesuffix("_means").removesuffix("_do")
            assert name in set(kinds[kind]), key


def test_the_first_fault_comes_first_and_then_all_checks() -> None:
    """With marks that need no colour."""
    seen = {"address": "192.168.50.10", "port": "443"}
    found = Diagnosis(
        (
            Check(Step.CONNECTION, Status.OK),
            Check(Step.PORT, Status.FAILED, Cause.PORT_CLOSED, seen),
            Check(Step.THROUGH, Status.SKIPPED, None, {"reason": "earlier"}),
            Check(Step.ANSWERS, Status.UNKNOWN, None, {"reason": "no_visitor"}),
        )
    )
    said = report(found, texts_in())
    assert said.splitlines()[0] == (
        "**The device 192.168.50.10 refuses connections at port 443.**"
    )
    assert "**What to do**: Start the service" in said
    lines = [line.strip() for line in said.splitlines()]
    assert "✓ Home Assistant reaches the router" in lines
    assert any(line.startswith("✗ The device answers at its port: ") for line in lines)
    assert "– A test passes through the whole forward" in lines
    assert any(line.endswith("so this is not known.*") for line in lines)


@pytest.mark.parametrize(
    ("visit", "through", "healthy", "headline"),
    [
        (Check(Step.VISIT, Status.OK), Status.OK, True, "It works."),
        (unknown(Step.VISIT, Reason.NO_VISITOR), Status.OK, None, "It works at home."),
        (unknown(Step.VISIT, Reason.NO_VISITOR), Status.SKIPPED, None, "Nothing wrong"),
        (skipped(Step.VISIT, Reason.NOT_CONCERNED), Status.OK, True, "It works."),
        (failed(Step.VISIT, Cause.DIED_ON_THE_WAY), Status.OK, False, "A client came"),
    ],
)
def test_the_headline_says_no_more_than_is_known(
    visit: Check, through: Status, healthy: bool | None, headline: str
) -> None:
    """And an automation is told the same."""
    found = Diagnosis((Check(Step.THROUGH, through), visit))
    assert report(found, texts_in()).startswith(f"**{headline}")
    assert response(found, texts_in())["healthy"] is healthy


def test_that_nobody_came_is_no_fault_and_comes_with_what_it_may_mean() -> None:
    """Whoever has tried is told where to look."""
    words = {
        "seconds": "60",
        "ports": "8443",
        "public": "443",
        "router": "192.168.50.2",
    }
    nobody = unknown(Step.ARRIVAL, Reason.NOBODY, **words)
    visit = skipped(Step.VISIT, Reason.NO_VISITOR)
    found = Diagnosis((Check(Step.THROUGH, Status.OK), nobody, visit))
    assert found.causes == ()
    said = report(found, texts_in())
    assert said.startswith("**It works at home.")
    assert "**What it means**: If you did not try, nothing." in said
    assert "forward 443 to 192.168.50.2, port 8443" in said
    (_, told, _) = response(found, texts_in())["checks"]
    assert (told["status"], told["cause"]) == ("unknown", None)
    assert "forward 443 to 192.168.50.2, port 8443" in told["do"]


@pytest.mark.parametrize(
    ("seen", "said"),
    [
        ({"source": "203.0.113.10"}, "seen: 203.0.113.10"),
        ({"ago": "5"}, "seen 1 min ago"),
        ({"ago": "2400"}, "seen 40 min ago"),
        ({"ago": "7300"}, "seen 2 h ago"),
    ],
)
def test_an_answered_client_is_told_with_the_age_of_that(
    seen: dict[str, str], said: str
) -> None:
    """Or with the address, if it is there now."""
    found = Diagnosis((ok(Step.VISIT, **seen),))
    assert f"✓ The client from outside is answered: *{said}*" in report(
        found, texts_in()
    )


def test_what_a_router_says_is_shown_and_does_nothing() -> None:
    """A notification is markdown: no picture is fetched, no link is made."""
    bad = "![x](http://203.0.113.9/?) <img src=x> **loud** {address} \\"
    check = Check(Step.CONNECTION, Status.FAILED, Cause.UNREACHABLE, {"message": bad})
    said = report(Diagnosis((check,)), texts_in())
    said = said.splitlines()[0].removeprefix("**").removesuffix("**")
    assert not re.search(r"(?<!\\)(?:\\\\)*[!\[\]()<*{}]", said)
    assert "http:" not in said
    answer = response(Diagnosis((check,)), texts_in())
    assert bad in answer["checks"][0]["seen"]


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("cause", [Cause.SOURCE_EXCLUDED, Cause.DIED_ON_THE_WAY])
def test_of_a_visitor_whose_address_is_not_known_it_is_said_why(
    cause: Cause, language: str
) -> None:
    """Without nft, the router only counts."""
    found = Diagnosis((Check(Step.ARRIVAL, Status.FAILED, cause, {"packets": "1"}),))
    assert "nftables" in report(found, texts_in(language)).splitlines()[0]


def test_a_word_that_nobody_told_is_no_accident() -> None:
    """A doctor that forgets a word does not take the diagnosis with it."""
    check = Check(Step.TARGET, Status.FAILED, Cause.TARGET_DOWN)
    assert "address ?" in report(Diagnosis((check,)), texts_in())


async def test_a_healthy_forward_is_called_so(
    hass: HomeAssistant, at_home: Lab
) -> None:
    """With all checks in the order of the path, and no cause."""
    at_home.target.serve("tcp", 443)
    entry = await set_up(hass, at_home, WEB)
    switch = switch_of(hass, entry, "Web")
    await turn(hass, "on", switch)
    found = await diagnose(hass, switch)
    assert found["healthy"] is None
    assert found["causes"] == []
    names = [check["name"] for check in found["checks"]]
    assert names == [step for step in Step if step in names]
    by_name = {check["name"]: check for check in found["checks"]}
    assert by_name["port"]["status"] == "ok"
    assert by_name["port"]["title"] == "The device answers at its port"


async def test_a_fault_is_named_with_what_to_do_in_the_users_language(
    hass: HomeAssistant, at_home: Lab
) -> None:
    """Nothing listens on the device."""
    hass.config.language = "ja"
    entry = await set_up(hass, at_home, WEB)
    switch = switch_of(hass, entry, "Web")
    await turn(hass, "on", switch)
    found = await diagnose(hass, switch)
    assert found["causes"] == ["port_closed"]
    (wrong,) = (check for check in found["checks"] if check["status"] == "failed")
    assert wrong["cause"] == "port_closed"
    assert wrong["seen"] == (
        "機器 192.168.50.10 がポート 443 への接続を拒否しています。"
    )
    assert wrong["means"]
    assert wrong["do"]


async def test_a_router_that_is_away_is_the_first_failed_check(
    hass: HomeAssistant, at_home: Lab
) -> None:
    """Whether it was there before or never: nothing is raised."""
    entry = await set_up(hass, at_home, WEB)
    switch = switch_of(hass, entry, "Web")
    at_home.bypass.stop_ssh()
    await until(lambda: hass.states.get(switch).state == "unavailable")
    assert (await diagnose(hass, switch))["causes"] == ["unreachable"]
    await hass.config_entries.async_unload(entry.entry_id)
    found = await diagnose(hass, switch)
    assert found["causes"] == ["unreachable"]
    assert found["checks"][0]["status"] == "failed"
    assert found["checks"][0]["seen"]


async def test_only_forwards_can_be_diagnosed(
    hass: HomeAssistant, at_home: Lab
) -> None:
    """By their switch, or by their device."""
    at_home.target.serve("tcp", 443)
    entry = await set_up(hass, at_home, WEB)
    switch = switch_of(hass, entry, "Web")
    with pytest.raises(ServiceValidationError, match="No forward's switch"):
        await diagnose(hass, "button.bypass_reapply_forwards")
    with pytest.raises(vol.Invalid):
        await diagnose(hass, switch, watch=121)
    device = dr.async_get(hass).async_get_device_by_identifier(
        (DOMAIN, forward_id(entry, "Web")), entry.entry_id
    )
    assert device
    answer = await hass.services.async_call(
        DOMAIN,
        "diagnose",
        {"device_id": device.id},
        blocking=True,
        return_response=True,
    )
    assert answer is not None
    assert list(answer) == [switch]


async def test_the_button_tells_how_far_it_is_and_what_came_of_it(
    hass: HomeAssistant, at_home: Lab
) -> None:
    """It asks to try from outside, and ends as soon as someone was answered."""
    at_home.target.serve("tcp", 443)
    entry = await set_up(hass, at_home, WEB)
    await turn(hass, "on", switch_of(hass, entry, "Web"))
    shown: list[str] = []

    @callback
    def note(
        _: UpdateType, notices: dict[str, persistent_notification.Notification]
    ) -> None:
        shown.extend(notice["message"] for notice in notices.values())

    persistent_notification.async_register_callback(hass, note)
    button = button_of(hass, entry, "Web")
    press = {"entity_id": button}
    pressed = asyncio.create_task(
        hass.services.async_call("button", "press", press, blocking=True)
    )
    await until(lambda: any("from outside" in text for text in shown))
    with pytest.raises(ServiceValidationError, match="already"):
        await hass.services.async_call("button", "press", press, blocking=True)
    with pytest.raises(ServiceValidationError, match="already"):
        await diagnose(hass, switch_of(hass, entry, "Web"))
    assert await passes(at_home)
    await asyncio.wait_for(pressed, LIMIT)
    page = er.async_get(hass).async_get(button).device_id
    assert all(text.endswith(f"(/config/devices/device/{page})") for text in shown)
    assert shown[0].startswith("Looking")
    assert shown[-1].startswith("**It works.**")
    assert "✓ The client from outside is answered: *seen: 203" in shown[-1]


async def test_a_target_is_known_again_by_its_hardware_address(
    hass: HomeAssistant, at_home: Lab, hass_storage: dict[str, Any]
) -> None:
    """It is remembered when all is well, and forgotten with the entry."""
    at_home.target.serve("tcp", 443)
    entry = await set_up(hass, at_home, WEB)
    switch = switch_of(hass, entry, "Web")
    await turn(hass, "on", switch)
    await diagnose(hass, switch)
    key = f"{DOMAIN}.{entry.entry_id}.targets"
    stored = hass_storage[key]["data"][forward_id(entry, "Web")]
    assert stored == {"address": "192.168.50.10", "hardware": "02:00:c0:a8:32:0a"}
    await hass.config_entries.async_remove(entry.entry_id)
    assert key not in hass_storage


async def test_a_target_that_moves_is_found_again_without_an_earlier_diagnosis(
    hass: HomeAssistant, at_home: Lab, hass_storage: dict[str, Any]
) -> None:
    """Which device it is, was learnt when the forward was switched on."""
    at_home.target.serve("tcp", 443)
    entry = await set_up(hass, at_home, WEB)
    switch = switch_of(hass, entry, "Web")
    await turn(hass, "on", switch)
    await until(lambda: f"{DOMAIN}.{entry.entry_id}.targets" in hass_storage)
    await asyncio.to_thread(MOVED.seed, at_home)
    found = await diagnose(hass, switch)
    assert found["causes"] == ["target_moved"]
    (wrong,) = (check for check in found["checks"] if check["status"] == "failed")
    assert "192.168.50.11" in wrong["do"]
    assert "(02:00:c0:a8:32:0a)" in wrong["seen"]


async def test_another_device_at_the_targets_address_is_not_learnt(
    hass: HomeAssistant, at_home: Lab, hass_storage: dict[str, Any]
) -> None:
    """What was known stays, also when Home Assistant starts again."""
    entry = await set_up(hass, at_home, WEB, GAME)
    await turn(hass, "on", switch_of(hass, entry, "Web"))
    key = f"{DOMAIN}.{entry.entry_id}.targets"
    await until(lambda: key in hass_storage)
    at_home.target.cut_link()
    at_home.other.ip("address add 192.168.50.10/24 dev lan")
    at_home.bypass.ip("neigh del 192.168.50.10 dev lan")
    await hass.config_entries.async_reload(entry.entry_id)
    await turn(hass, "on", switch_of(hass, entry, "Game"))
    await until(lambda: len(hass_storage[key]["data"]) == 2)
    stored = hass_storage[key]["data"]
    web, game = (stored[forward_id(entry, name)] for name in ("Web", "Game"))
    assert web["hardware"] == "02:00:c0:a8:32:0a"
    assert game["hardware"] == "02:00:c0:a8:32:14"


async def test_an_entry_that_was_never_set_up_can_be_asked(
    hass: HomeAssistant, at_home: Lab
) -> None:
    """Its forward's switch is known from before."""
    entry = add_entry(hass, at_home, WEB)
    at_home.bypass.stop_ssh()
    await hass.config_entries.async_setup(entry.entry_id)
    web = forward_id(entry, "Web")
    switch = er.async_get(hass).async_get_or_create(
        "switch", DOMAIN, web, config_entry=entry, config_subentry_id=web
    )
    assert (await diagnose(hass, switch.entity_id))["causes"] == ["unreachable"]
