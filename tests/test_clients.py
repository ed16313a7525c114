"""Who came: each client is told or counted, and kept by nobody who has not asked."""

from datetime import timedelta
from ipaddress import IPv4Address
import json
import logging
from types import SimpleNamespace
from typing import Any

from homeassistant.components.event import EventEntity
from homeassistant.core import (
    Event,
    EventStateChangedData,
    HomeAssistant,
    State,
    callback,
)
from homeassistant.helpers import device_registry as dr, entity_registry as er
from homeassistant.util import dt as dt_util
import pytest
from pytest_homeassistant_custom_component.common import (
    MockConfigEntry,
    MockEntityPlatform,
    async_fire_time_changed,
)

from custom_components.bypass_router import event as event_module
from custom_components.bypass_router.const import DOMAIN
from custom_components.bypass_router.coordinator import BypassRouterCoordinator
from custom_components.bypass_router.counters import counters as counters_module
from custom_components.bypass_router.counters.counters import Counters
from custom_components.bypass_router.diagnostics import (
    async_get_config_entry_diagnostics,
)
from custom_components.bypass_router.entity import BypassRouterForwardEntity
from custom_components.bypass_router.event import BypassRouterClientEvent
from custom_components.bypass_router.router.monitor import NewConnection
from custom_components.bypass_router.router.own_connections import OwnConnections
from custom_components.bypass_router.sensor import BypassRouterLastConnectionSensor
from custom_components.bypass_router.subentry import read_forwards
from tests.lab.exchange import Transport
from tests.lab.network import INTERNET_ADDRESS, Lab
from tests.lab.waiting import at_once, until, until_told

from .setup import GAME, WEB, add_entry, forward_id, passes, subentry, switch_of, turn
from .test_sensor import sensor

VISITOR, OTHER = IPv4Address("198.51.100.7"), IPv4Address("198.51.100.8")
OURS = IPv4Address("192.168.50.3")

pytestmark = pytest.mark.usefixtures("states_seldom")


def enable(hass: HomeAssistant, domain: str, unique_id: str) -> str:
    """Have an entity that is disabled at first enabled; return its id."""
    registry = er.async_get(hass)
    return registry.async_get_or_create(domain, DOMAIN, unique_id).entity_id


class Gate:
    """A forward that is on, on a router in memory, and what is shown of who comes."""

    def __init__(self, hass: HomeAssistant) -> None:
        """Nobody has come yet."""
        self._hass, self._came, self._readings = hass, 0, 0
        self.entry = MockConfigEntry(
            domain=DOMAIN, title="bypass", subentries_data=[subentry(WEB).as_dict()]
        )
        self.entry.add_to_hass(hass)
        self.web = forward_id(self.entry, "Web")
        self.forwards = read_forwards(self.entry)
        self.router: Any = SimpleNamespace(
            probe=SimpleNamespace(is_own=OURS.__eq__, boot_id="1"),
            hears_connections=True,
            own_connections=OwnConnections(),
            rules=SimpleNamespace(count=self._count),
        )
        self.counters = self._new()
        self.told = self._heard("event")
        self.noted = self._heard("sensor")

    def _new(self) -> Counters:
        """Return what counts, as when Home Assistant has started."""
        return Counters(
            self._hass,
            self.entry,
            router=lambda: self.router,
            forwards=lambda: self.forwards,
            public_ports=lambda forward: forward.external,
        )

    async def _count(self) -> dict[str, int]:
        """Return what the rules have counted."""
        self._readings += 1
        return {self.web: self._came}

    def _heard(self, domain: str) -> list[State]:
        """Return a list that fills with the states of an entity, the only one."""
        states: list[State] = []

        @callback
        def note(event: Event[EventStateChangedData]) -> None:
            state = event.data["new_state"]
            if state and state.domain == domain:
                states.append(state)

        self._hass.bus.async_listen("state_changed", note)
        return states

    async def show(self) -> None:
        """Add the entities."""
        await self.counters.async_start()
        coordinator = BypassRouterCoordinator(self._hass, self.entry)
        coordinator.counters, coordinator.forwards = self.counters, self.forwards
        vars(coordinator)["forward"] = self.forwards.get
        device = dr.async_get(self._hass).async_get_or_create(
            config_entry_id=self.entry.entry_id,
            identifiers={(DOMAIN, self.entry.entry_id)},
        )
        coordinator.device_id = device.id
        event = BypassRouterClientEvent(coordinator, self.web)
        assert not event.entity_registry_enabled_default
        await self._add(event)
        await self._add(BypassRouterLastConnectionSensor(coordinator, self.web))
        self.told.clear()
        self.noted.clear()

    async def _add(self, entity: BypassRouterForwardEntity) -> None:
        """Add an entity, which the user has enabled."""
        domain = "event" if isinstance(entity, EventEntity) else "sensor"
        enable(self._hass, domain, str(entity.unique_id))
        platform = MockEntityPlatform(self._hass, domain=domain, platform_name=DOMAIN)
        platform.config_entry = self.entry
        await platform.async_add_entities([entity], config_subentry_id=self.web)

    def come(
        self, client: IPv4Address = VISITOR, port: int = 8443, *, heard: bool = True
    ) -> None:
        """Have someone come, and the router tell of it."""
        self._came += port == 8443
        if heard:
            self.counters.async_connected(NewConnection("tcp", port, client, 40000))
        else:
            self.counters.async_read_soon()

    async def counted(self) -> None:
        """Wait until all who have come are counted."""
        tally = self.counters.tally
        await until(lambda: tally(self.web).seen == self._came)

    async def read(self) -> None:
        """Have the rules read, once and to the end."""
        enough = self._readings + 2

        def read() -> bool:
            self.counters.async_read_soon()
            return self._readings >= enough

        await until(read)

    async def later(self, seconds: float) -> None:
        """Have so much time pass."""
        when = dt_util.utcnow() + timedelta(seconds=seconds)
        async_fire_time_changed(self._hass, when)
        await self._hass.async_block_till_done()


@pytest.fixture
async def gate(hass: HomeAssistant, monkeypatch: pytest.MonkeyPatch) -> Gate:
    """A forward that is on, and its entities."""
    monkeypatch.setattr(counters_module, "_PAUSE", 0.0)
    monkeypatch.setattr(counters_module, "_LAG", 0.0)
    gate = Gate(hass)
    await gate.show()
    return gate


def told(state: State) -> tuple[str, int, int]:
    """Return what an event tells."""
    return tuple(state.attributes[key] for key in ("source", "port", "left_out"))


async def test_of_a_thousand_in_a_second_two_are_told_and_none_is_lost(
    gate: Gate,
) -> None:
    """The first at once, and the last when the second is over, with how many more."""
    for _ in range(999):
        gate.come()
    gate.come(OTHER)
    await gate.counted()
    assert [told(it) for it in gate.told] == [(str(VISITOR), 8443, 0)]
    await gate.later(1.1)
    assert told(gate.told[-1]) == (str(OTHER), 8443, 998)
    await gate.later(120)
    assert len(gate.told) == 2
    assert len(gate.noted) <= 2
    assert gate.noted[-1].attributes["source"] == str(OTHER)


async def test_who_comes_alone_is_told_at_once(
    gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each by himself."""
    monkeypatch.setattr(event_module, "CLIENT_INTERVAL", 0.0)
    for client in (VISITOR, OTHER, VISITOR):
        gate.come(client)
    assert [told(it) for it in gate.told] == [
        (str(client), 8443, 0) for client in (VISITOR, OTHER, VISITOR)
    ]
    assert {it.attributes["event_type"] for it in gate.told} == {"connected"}


async def test_who_tries_it_himself_has_not_come(gate: Gate) -> None:
    """Nor has who came by a port of no forward's."""
    gate.come(OURS)
    gate.come(VISITOR, 9999)
    await gate.counted()
    assert gate.told == gate.noted == []


async def test_whom_nobody_has_told_of_is_not_taken_for_the_one_before(
    gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As without `conntrack`: there it is known that one came, and not who."""
    monkeypatch.setattr("custom_components.bypass_router.sensor.STATE_INTERVAL", 0.0)
    gate.come()
    await gate.counted()
    await until(lambda: len(gate.noted) == 1)
    assert gate.noted[-1].attributes["source"] == str(VISITOR)
    gate.come(heard=False)
    await gate.counted()
    await until(lambda: len(gate.noted) == 2)
    assert "source" not in gate.noted[-1].attributes


async def test_who_is_told_of_only_after_he_was_counted_is_known(
    hass: HomeAssistant, gate: Gate, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The rules may be read for another reason, between one and the other."""
    monkeypatch.setattr(counters_module, "_LAG", 0.1)
    counts = gate.router.rules.count

    async def count() -> dict[str, int]:
        found: dict[str, int] = await counts()
        if not gate.told:
            gate.counters.async_connected(NewConnection("tcp", 8443, VISITOR, 40000))
        return found

    monkeypatch.setattr(gate.router.rules, "count", count)
    gate.come(heard=False)
    await gate.counted()
    await until(lambda: gate.noted != [])
    assert gate.noted[-1].attributes["source"] == str(VISITOR)


async def test_who_is_told_of_late_is_known_then(gate: Gate) -> None:
    """On a router that has much to do."""
    gate.come(heard=False)
    await gate.read()
    assert "source" not in gate.noted[-1].attributes
    gate.counters.async_connected(NewConnection("tcp", 8443, VISITOR, 40000))
    await gate.read()
    assert gate.noted[-1].attributes["source"] == str(VISITOR)


async def test_who_comes_while_the_forward_is_tried_is_known_after_that(
    gate: Gate,
) -> None:
    """Until then, nobody knows whose what was counted is."""
    own = gate.router.own_connections
    with own.testing(gate.web):
        gate.come()
        await gate.read()
    assert gate.noted == []
    await gate.read()
    assert gate.noted[-1].attributes["source"] == str(VISITOR)


async def test_no_address_is_kept_where_nobody_has_asked_for_it(
    gate: Gate, hass_storage: dict[str, Any]
) -> None:
    """Not on the disk, and by no recorder."""
    gate.come()
    await gate.counted()
    await gate.counters.async_stop()
    assert hass_storage
    assert str(VISITOR) not in json.dumps(hass_storage)
    info = gate.noted[-1].state_info
    assert info
    assert "source" in info["unrecorded_attributes"]


async def test_who_comes_from_the_internet_is_named(
    hass: HomeAssistant, at_home: Lab, caplog: pytest.LogCaptureFixture
) -> None:
    """Over TCP and UDP, also where the device sees him; and to no one else."""
    logged = ("asyncssh", "custom_components")
    for name in logged:
        caplog.set_level(logging.DEBUG, name)
    at_home.target.serve("tcp", 443)
    at_home.target.serve("udp", 7001)
    kept = {**WEB, "name": "Kept", "external_port": "8444", "keep_client_address": True}
    entry = add_entry(hass, at_home, WEB, kept, GAME)
    ways: tuple[tuple[str, int, Transport], ...] = (
        ("Web", 8443, "tcp"),
        ("Kept", 8444, "tcp"),
        ("Game", 6001, "udp"),
    )
    events = {
        name: enable(hass, "event", f"{forward_id(entry, name)}_client")
        for name, *_ in ways
    }
    await hass.config_entries.async_setup(entry.entry_id)
    await turn(hass, "on", *(switch_of(hass, entry, name) for name, *_ in ways))

    async def comes(name: str, port: int, protocol: Transport) -> None:
        """See who comes by a forward named; `conntrack` may listen a moment later."""

        async def told() -> bool:
            assert await passes(at_home, port, protocol)
            return hass.states.get(events[name]).attributes["event_type"] is not None

        await until_told(told)
        event = hass.states.get(events[name]).attributes
        assert (event["source"], event["port"]) == (INTERNET_ADDRESS, port)
        last = sensor(hass, entry, name, "last_connection")
        await until(lambda: "source" in hass.states.get(last).attributes)
        assert hass.states.get(last).attributes["source"] == INTERNET_ADDRESS

    await at_once(*(comes(*way) for way in ways))
    found = await async_get_config_entry_diagnostics(hass, entry)
    assert INTERNET_ADDRESS not in json.dumps(found, default=str)
    lines = [it.getMessage() for it in caplog.records if it.name.startswith(logged)]
    assert lines
    assert not any(INTERNET_ADDRESS in line for line in lines)
