"""A forward that the main router has at another port than the bypass router."""

import asyncio
from ipaddress import IPv4Address
import re

from homeassistant.components import persistent_notification
from homeassistant.components.persistent_notification import UpdateType
from homeassistant.core import (
    Event,
    EventStateChangedData,
    HomeAssistant,
    callback,
)
from homeassistant.helpers.event import async_track_state_change_event
import pytest
from pytest_homeassistant_custom_component.common import MockConfigEntry

from custom_components.bypass_router.counters.visits import identity
from custom_components.bypass_router.router.forward import Forward, PortRange
from tests.lab.network import Lab
from tests.lab.waiting import until

from .setup import WEB, forward_id, ours, passes, set_up, switch_of, turn
from .test_diagnose import diagnose
from .test_evidence import visits
from .test_image import picture_of, texts
from .test_status_sensor import history, press, status

OUTSIDE = 443
BEHIND = {**WEB, "public_port": str(OUTSIDE)}
HALF = "forward 443 to 192.168.50.2, port 8443"


@pytest.fixture
async def lab(at_home: Lab) -> Lab:
    """A home whose main router forwards nothing but 443, to 8443."""
    at_home.main.clear_forwards()
    at_home.main.forward("tcp", str(OUTSIDE), at_home.bypass.address, 8443)
    at_home.target.serve("tcp", 443)
    return at_home


async def change(hass: HomeAssistant, entry: MockConfigEntry, **fields: str) -> None:
    """Change the forward as its form does."""
    web = entry.subentries[forward_id(entry, "Web")]
    hass.config_entries.async_update_subentry(entry, web, data={**web.data, **fields})
    await hass.async_block_till_done()


async def hops(hass: HomeAssistant, entry: MockConfigEntry) -> list[str]:
    """Return the ports of the picture's hops."""
    served = await texts(hass, picture_of(hass, entry, "Web"))
    return [text for text in served if re.fullmatch(r"TCP \d+", text)]


@pytest.mark.parametrize("firewall", ["nftables", "iptables"])
async def test_it_works_and_each_port_is_named_where_it_is_used(
    hass: HomeAssistant, lab: Lab, firewall: str
) -> None:
    """From outside one comes by the main router's, and the doctor sees it."""
    entry = await set_up(hass, lab, BEHIND, firewall=firewall)
    await turn(hass, "on", switch_of(hass, entry, "Web"))
    assert "port 443 at the public address" in status(hass, entry).attributes["do"]
    shown: list[str] = []

    @callback
    def note(
        _: UpdateType, notices: dict[str, persistent_notification.Notification]
    ) -> None:
        shown.extend(notice["message"] for notice in notices.values())

    persistent_notification.async_register_callback(hass, note)
    pressed = press(hass, entry)
    await until(lambda: status(hass, entry).state == "try_now")
    assert "port 443 at the public address" in status(hass, entry).attributes["do"]
    await until(lambda: any("443 at the public address" in text for text in shown))
    assert not any("8443 at the public address" in text for text in shown)
    assert not await passes(lab, 8443)
    assert await passes(lab, OUTSIDE)
    await pressed
    await until(lambda: status(hass, entry).state == "works")
    assert await hops(hass, entry) == ["TCP 443", "TCP 8443", "TCP 443"]


async def test_where_nobody_came_it_is_said_what_to_set_on_the_main_router(
    hass: HomeAssistant, lab: Lab
) -> None:
    """Both ports; and so it is where only somebody from home came."""
    entry = await set_up(hass, lab, BEHIND)
    switch = switch_of(hass, entry, "Web")
    await turn(hass, "on", switch)
    found = await diagnose(hass, switch, watch=1)
    (arrival,) = (it for it in found["checks"] if it["name"] == "arrival")
    assert "port 8443 of 192.168.50.2" in arrival["seen"]
    assert HALF in arrival["do"]
    assert HALF in status(hass, entry).attributes["do"]

    watched = hass.async_create_task(diagnose(hass, switch, watch=2))
    await until(lambda: status(hass, entry).state == "try_now")
    await asyncio.to_thread(lab.other.exchange, "tcp", lab.bypass.address, 8443)
    (arrival,) = (it for it in (await watched)["checks"] if it["name"] == "arrival")
    assert "own networks" in arrival["seen"]
    assert HALF in arrival["do"]


@pytest.mark.parametrize("firewall", ["nftables", "iptables"])
async def test_another_port_of_the_main_router_changes_no_rule(
    hass: HomeAssistant, lab: Lab, firewall: str
) -> None:
    """The switch stays on all the time, and says it where it is another one."""
    entry = await set_up(hass, lab, BEHIND, firewall=firewall)
    switch = switch_of(hass, entry, "Web")
    await turn(hass, "on", switch)
    before, coordinator = ours(lab), entry.runtime_data
    done = len(coordinator.history.transactions)
    states: list[str] = []

    @callback
    def note(event: Event[EventStateChangedData]) -> None:
        states.append(event.data["new_state"].state)

    async_track_state_change_event(hass, switch, note)
    for port, told in (("444", "444"), ("", None), ("443", "443")):
        await change(hass, entry, public_port=port)
        assert hass.states.get(switch).attributes.get("public_port") == told
        assert (await hops(hass, entry))[0] == f"TCP {told or 8443}"
        assert f"port {told or 8443} at the" in status(hass, entry).attributes["do"]
    await coordinator.async_reconcile()
    assert set(states) == {"on"}
    assert ours(lab) == before
    assert len(coordinator.history.transactions) == done
    assert await passes(lab, OUTSIDE)


async def test_what_was_seen_by_another_port_proves_nothing_any_more(
    hass: HomeAssistant, lab: Lab
) -> None:
    """Neither a visitor nor what the doctor said; the first way is not forgotten."""
    entry = await set_up(hass, lab, BEHIND)
    await turn(hass, "on", switch_of(hass, entry, "Web"))
    assert await passes(lab, OUTSIDE)
    await until(lambda: status(hass, entry).state == "works")
    await change(hass, entry, public_port="444")
    assert visits(hass, entry) == {}
    assert status(hass, entry).state == "untested"
    assert "port 444 at the public" in status(hass, entry).attributes["do"]
    await diagnose(hass, switch_of(hass, entry, "Web"))
    assert status(hass, entry).state == "works_at_home"
    await change(hass, entry, public_port="445")
    assert status(hass, entry).state == "untested"
    await change(hass, entry, public_port=str(OUTSIDE))
    await until(lambda: status(hass, entry).state == "works")


async def test_a_change_while_it_is_diagnosed_leaves_no_word_of_the_old_port(
    hass: HomeAssistant, lab: Lab
) -> None:
    """What the doctor says in the end is of before."""
    entry = await set_up(hass, lab, BEHIND)
    switch = switch_of(hass, entry, "Web")
    await turn(hass, "on", switch)
    watched = hass.async_create_task(diagnose(hass, switch, watch=1))
    await until(lambda: status(hass, entry).state == "try_now")
    states = history(hass, entry)
    await change(hass, entry, public_port="444")
    assert HALF in str(await watched)
    assert status(hass, entry).state == "untested"
    assert all("port 444 at" in state.attributes["do"] for state in states)


def test_what_earlier_versions_have_seen_counts_on() -> None:
    """They wrote of no other port, since there was none."""
    forward = Forward.parse(
        "01WEB",
        protocol="tcp",
        external_port="8443",
        target="192.168.50.10",
        target_port="443",
    )
    router = IPv4Address("192.168.50.2")
    same = identity(forward, forward.external, router)
    assert same == "192.168.50.2:8443 192.168.50.10:443"
    assert identity(forward, PortRange(443, 443), router) != same
