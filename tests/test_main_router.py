"""The main router's address: found out by itself, or asked for by a repair."""

from typing import Any

from homeassistant.const import STATE_ON
from homeassistant.core import HomeAssistant
from homeassistant.data_entry_flow import FlowResultType
from homeassistant.setup import async_setup_component
import pytest
from pytest_homeassistant_custom_component.typing import ClientSessionGenerator

from tests.lab.led_away import MAIN_ROUTER, NO_GATEWAY
from tests.lab.network import Lab
from tests.lab.proxies import Proxy
from tests.lab.waiting import until

from .sentences import said, translations
from .setup import WEB, choose, issue, ours, passes, set_up, switch_of, turn

ISSUE = "main_router_unknown_"
SECTION = "issues.main_router_unknown.fix_flow"


class Repair:
    """The repair, as a user goes through it."""

    def __init__(self, client: Any) -> None:
        """Take how the browser asks."""
        self._client = client
        self._flow = ""

    async def open(self, issue_id: str) -> dict[str, Any]:
        """Open it, and return its page."""
        data = {"handler": "bypass_router", "issue_id": issue_id}
        return await self._post("", data)

    async def submit(self, **fields: str) -> dict[str, Any]:
        """Fill it in, and return what comes next."""
        return await self._post(f"/{self._flow}", fields)

    async def _post(self, path: str, data: dict[str, str]) -> dict[str, Any]:
        """Send what the browser would."""
        answer = await self._client.post(f"/api/repairs/issues/fix{path}", json=data)
        step: dict[str, Any] = await answer.json()
        self._flow = step["flow_id"]
        return step


async def test_the_repair_asks_for_it_where_nothing_tells_it(
    hass: HomeAssistant, at_home: Lab, hass_client: ClientSessionGenerator
) -> None:
    """While a forward is on; then all is well, and the message is gone."""
    assert await async_setup_component(hass, "repairs", {})
    at_home.target.serve("tcp", 443)
    proxy = Proxy(NO_GATEWAY)
    proxy.start(at_home.bypass)
    entry = await set_up(hass, at_home, WEB)
    switch = switch_of(hass, entry, "Web")
    assert issue(hass, ISSUE) is None
    await turn(hass, "on", switch)
    assert hass.states.get(switch).state == STATE_ON
    assert not await passes(at_home)
    found = issue(hass, ISSUE)
    assert found is not None
    assert found.translation_placeholders == {
        "router": "bypass",
        "forwards": "- Web",
        "interface": "Meta",
    }
    repair = Repair(await hass_client())
    page = await repair.open(found.issue_id)
    text = translations()[f"{SECTION}.step.address.description"]
    assert "- Web" in text.format(**page["description_placeholders"])
    for wrong, sentence in (
        ("", "no IPv4 address"),
        ("main", "no IPv4 address"),
        ("192.168.1.1", "can't have this address"),
        (at_home.bypass.address, "can't have this address"),
    ):
        page = await repair.submit(main_router_address=wrong)
        assert sentence in said(page, SECTION)["main_router_address"]
    done = await repair.submit(main_router_address=f" {MAIN_ROUTER} ")
    assert done["type"] == FlowResultType.CREATE_ENTRY
    assert entry.options["main_router_address"] == MAIN_ROUTER
    await until(lambda: issue(hass, ISSUE) is None)
    await until(lambda: any("7077" in line for line in ours(at_home)))
    assert await passes(at_home)
    await hass.config_entries.async_remove(entry.entry_id)
    assert not ours(at_home)
    proxy.stop()


async def test_the_repair_is_over_when_no_forward_needs_it(
    hass: HomeAssistant, at_home: Lab
) -> None:
    """As it is off, or the tunnel is gone."""
    at_home.target.serve("tcp", 443)
    entry = await set_up(hass, at_home, WEB)
    switch = switch_of(hass, entry, "Web")
    await turn(hass, "on", switch)
    assert issue(hass, ISSUE) is None
    proxy = Proxy(NO_GATEWAY)
    proxy.start(at_home.bypass)
    await until(lambda: issue(hass, ISSUE) is not None)
    await turn(hass, "off", switch)
    assert issue(hass, ISSUE) is None
    await turn(hass, "on", switch)
    assert issue(hass, ISSUE) is not None
    proxy.stop()
    await until(lambda: issue(hass, ISSUE) is None)
    assert await passes(at_home)


async def test_the_repair_does_nothing_for_a_router_that_is_not_connected(
    hass: HomeAssistant, at_home: Lab, hass_client: ClientSessionGenerator
) -> None:
    """And says so."""
    assert await async_setup_component(hass, "repairs", {})
    proxy = Proxy(NO_GATEWAY)
    proxy.start(at_home.bypass)
    entry = await set_up(hass, at_home, WEB)
    await turn(hass, "on", switch_of(hass, entry, "Web"))
    found = issue(hass, ISSUE)
    assert found is not None
    repair = Repair(await hass_client())
    await repair.open(found.issue_id)
    await hass.config_entries.async_unload(entry.entry_id)
    done = await repair.submit(main_router_address=MAIN_ROUTER)
    assert done["type"] == FlowResultType.ABORT
    assert done["reason"] == "not_connected"
    proxy.stop()


async def test_the_options_have_it_as_well(hass: HomeAssistant, at_home: Lab) -> None:
    """Checked in the form; empty again, it is found out by itself."""
    entry = await set_up(hass, at_home, WEB)
    for wrong, sentence in (
        ("main", "no IPv4 address"),
        ("192.168.50.255", "can't have this address"),
    ):
        answer = await choose(hass, entry, main_router_address=wrong)
        assert answer["type"] is FlowResultType.FORM
        assert sentence in said(answer, "options")["main_router_address"]
    answer = await choose(hass, entry, main_router_address=MAIN_ROUTER)
    assert answer["type"] is FlowResultType.CREATE_ENTRY
    assert entry.options["main_router_address"] == MAIN_ROUTER
    await choose(hass, entry)
    assert "main_router_address" not in entry.options
    await hass.config_entries.async_unload(entry.entry_id)
    answer = await choose(hass, entry, main_router_address="10.0.0.1")
    assert answer["type"] is FlowResultType.CREATE_ENTRY


@pytest.mark.parametrize("language", ["en", "ja", "zh-Hans"])
def test_both_forms_say_the_same(language: str) -> None:
    """Of a mistake."""
    found = translations(language)
    for error in ("invalid_main_router", "main_router_elsewhere"):
        assert found[f"options.error.{error}"] == found[f"{SECTION}.error.{error}"]
