"""What was seen of visitors: who was answered proves the way, and is no one of ours."""

import asyncio
from collections.abc import Mapping
from ipaddress import IPv4Address
import time

from homeassistant.core import HomeAssistant
import pytest
from pytest_homeassistant_custom_component.common import MockConfigEntry

from custom_components.bypass_router.coordinator import BypassRouterCoordinator
from custom_components.bypass_router.counters.visits import Visit, Visits, visits_in
from custom_components.bypass_router.router.forward import Transport
from custom_components.bypass_router.router.monitor import Answered, NewConnection
from tests.lab.network import INTERNET_ADDRESS, Lab
from tests.lab.waiting import until

from .setup import GAME, WEB, forward_id, passes, set_up, switch_of, turn
from .test_diagnose import diagnose
from .test_sensor import come, total

CLIENT = IPv4Address(INTERNET_ADDRESS)
BOTH = {**GAME, "external_port": "6000", "target_port": "7000"}


def visits(
    hass: HomeAssistant, entry: MockConfigEntry, name: str = "Web"
) -> Mapping[Transport, Visit]:
    """Return who is known to have been answered."""
    coordinator: BypassRouterCoordinator = entry.runtime_data
    return coordinator.counters.visits(coordinator.forwards[forward_id(entry, name)])


async def test_who_was_answered_is_kept_with_when_and_from_where(
    hass: HomeAssistant, at_home: Lab
) -> None:
    """And how many; also when Home Assistant starts again."""
    at_home.target.serve("tcp", 443)
    entry = await set_up(hass, at_home, WEB)
    await turn(hass, "on", switch_of(hass, entry, "Web"))
    assert visits(hass, entry) == {}
    before = time.time()
    await come(at_home, 3)
    await until(lambda: sum(it.number for it in visits(hass, entry).values()) == 3)
    (visit,) = visits(hass, entry).values()
    assert visit.client == CLIENT
    assert before <= visit.when <= time.time()
    await hass.config_entries.async_unload(entry.entry_id)
    await hass.config_entries.async_setup(entry.entry_id)
    assert visits(hass, entry) == {"tcp": visit}


async def test_one_transport_proves_nothing_for_the_other(
    hass: HomeAssistant, at_home: Lab
) -> None:
    """Each has a service, and visitors, of its own."""
    at_home.target.serve("udp", 7000)
    entry = await set_up(hass, at_home, BOTH)
    await turn(hass, "on", switch_of(hass, entry, "Game"))
    assert not await passes(at_home, 6000)
    assert await passes(at_home, 6000, "udp")
    await until(lambda: "udp" in visits(hass, entry, "Game"))
    assert set(visits(hass, entry, "Game")) == {"udp"}


async def test_a_client_that_has_a_port_of_its_own_is_seen_each_time(
    hass: HomeAssistant, at_home: Lab
) -> None:
    """As WireGuard does, and games; once a connection."""
    at_home.target.serve("udp", 7000)
    entry = await set_up(hass, at_home, BOTH)
    await turn(hass, "on", switch_of(hass, entry, "Game"))
    heard = entry.runtime_data.counters.async_connected
    new = NewConnection("udp", 6000, CLIENT, 51820)
    for number in (1, 2):
        heard(new)
        # Once by its first answer, and once when it goes on.
        for _ in range(2):
            heard(new.answered_by(IPv4Address(BOTH["target"])))
        assert visits(hass, entry, "Game")["udp"].number == number


async def test_another_way_is_not_proved_by_who_came_before(
    hass: HomeAssistant, at_home: Lab
) -> None:
    """It may end at another device, or be another port of the main router's."""
    at_home.target.serve("tcp", 443)
    entry = await set_up(hass, at_home, WEB)
    await turn(hass, "on", switch_of(hass, entry, "Web"))
    await come(at_home)
    await until(lambda: "tcp" in visits(hass, entry))
    subentry = entry.subentries[forward_id(entry, "Web")]
    changed = {**subentry.data, "target": "192.168.50.20"}
    hass.config_entries.async_update_subentry(entry, subentry, data=changed)
    await hass.async_block_till_done()
    assert visits(hass, entry) == {}


async def test_a_forward_that_is_opened_to_the_internet_has_had_no_visitor(
    hass: HomeAssistant, at_home: Lab
) -> None:
    """Clients of a VPN proved the way as long as it was for them alone."""
    entry = await set_up(hass, at_home, {**WEB, "sources": ["10.8.0.0/24"]})
    await turn(hass, "on", switch_of(hass, entry, "Web"))
    client, target = IPv4Address("10.8.0.2"), IPv4Address(WEB["target"])
    heard = entry.runtime_data.counters.async_connected
    heard(Answered("tcp", 8443, client, 40000, target))
    assert visits(hass, entry)["tcp"].client == client
    subentry = entry.subentries[forward_id(entry, "Web")]
    changed = {**subentry.data, "sources": []}
    hass.config_entries.async_update_subentry(entry, subentry, data=changed)
    await hass.async_block_till_done()
    assert visits(hass, entry) == {}


async def test_who_comes_from_home_is_no_visitor(
    hass: HomeAssistant, at_home: Lab
) -> None:
    """A device of the LAN is counted and proves nothing; Home Assistant is neither."""
    at_home.target.serve("tcp", 443)
    entry = await set_up(hass, at_home, WEB)
    await turn(hass, "on", switch_of(hass, entry, "Web"))
    await until(lambda: total(hass, entry) == "0")
    address = at_home.bypass.address
    for _ in range(3):
        done = await asyncio.to_thread(at_home.home.exchange, "tcp", address, 8443)
        assert done.passed
    await asyncio.to_thread(at_home.other.exchange, "tcp", address, 8443)
    await until(lambda: total(hass, entry) == "1")
    await come(at_home)
    await until(lambda: total(hass, entry) == "2")
    assert visits(hass, entry)["tcp"].number == 1


@pytest.mark.parametrize(
    ("firewall", "tool", "service"),
    [
        ("nftables", "conntrack", "serves"),
        ("iptables", "counters alone", "serves"),
        ("nftables", "counters alone", "refuses"),
        ("nftables", "conntrack", "is dropped"),
        ("iptables", "counters alone", "is dropped"),
    ],
)
async def test_a_diagnosis_counts_for_nothing(
    hass: HomeAssistant, at_home: Lab, firewall: str, tool: str, service: str
) -> None:
    """Nor is it the last connection; whatever becomes of its tests."""
    if tool == "counters alone":
        at_home.bypass.commands.hide("conntrack")
    if service != "refuses":
        at_home.target.serve("tcp", 443)
    if service == "is dropped":
        drop = "-p tcp --dport 443 -m length --length 0:65535 -j DROP"
        at_home.bypass.run("iptables", "-t", "mangle", "-I", "FORWARD", *drop.split())
    entry = await set_up(hass, at_home, WEB, firewall=firewall)
    switch = switch_of(hass, entry, "Web")
    await turn(hass, "on", switch)
    await until(lambda: total(hass, entry) == "0")
    for _ in range(2):
        await diagnose(hass, switch)
    coordinator, web = entry.runtime_data, forward_id(entry, "Web")
    counted = await coordinator.connection.router.rules.count()
    assert counted[web] >= 2
    coordinator.counters.async_read_soon()
    await until(lambda: coordinator.counters.tally(web).seen == counted[web])
    assert total(hass, entry) == "0"
    assert visits(hass, entry) == {}
    assert coordinator.counters.tally(web).last is None


@pytest.mark.parametrize(
    "line",
    [
        None,
        [],
        {"of": 1, "visits": {}},
        {"of": "x", "visits": []},
        {"of": "x", "visits": {"tcp": {"when": "1", "client": "8.8.8.8", "number": 1}}},
        {"of": "x", "visits": {"tcp": {"when": 1, "client": "8.8.8", "number": 1}}},
        {
            "of": "x",
            "visits": {"tcp": {"when": 1e99, "client": "8.8.8.8", "number": 1}},
        },
        {"of": "x", "visits": {"sctp": {"when": 1, "client": "8.8.8.8", "number": 1}}},
    ],
)
def test_a_file_that_makes_no_sense_proves_nothing(line: object) -> None:
    """Whoever wrote it."""
    assert visits_in(line).by_transport == {}


def test_who_came_by_another_way_is_forgotten_with_it() -> None:
    """His number too."""
    one = Visits().with_one("a", "tcp", CLIENT, 1.0).with_one("a", "tcp", CLIENT, 2.0)
    assert one.to("a") == {"tcp": Visit(2.0, CLIENT, 2)}
    assert one.to("b") == {}
    assert one.with_one("b", "udp", CLIENT, 3.0).to("b") == {"udp": Visit(3.0, CLIENT)}
