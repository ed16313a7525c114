"""One switch for both halves: the main router is asked for its own."""

from typing import Any, override

from homeassistant.const import STATE_OFF, STATE_ON, STATE_UNKNOWN
from homeassistant.core import HomeAssistant, State
from homeassistant.helpers import entity_registry as er
from homeassistant.setup import async_setup_component
from homeassistant.util.dt import now
import pytest
from pytest_homeassistant_custom_component.common import (
    MockConfigEntry,
    setup_test_component_platform,
)

from custom_components.bypass_router.const import DOMAIN
from custom_components.bypass_router.diagnostics import (
    async_get_config_entry_diagnostics,
)
from custom_components.bypass_router.flows import main_router as flow
from custom_components.bypass_router.main_router import hints, manager
from custom_components.bypass_router.router.errors import ConnectionLost
from tests.benchmark.traffic import Traffic
from tests.lab import soap_by_hand as soap
from tests.lab.fixtures import having
from tests.lab.miniupnpd import PUBLIC_ADDRESS, Miniupnpd, MiniupnpdOptions
from tests.lab.network import Lab
from tests.lab.waiting import until

from .setup import (
    GAME,
    WEB,
    choose,
    forward_id,
    issue,
    lose_rules,
    ours,
    passes,
    set_up,
    switch_of,
    turn,
)
from .test_diagnose import diagnose
from .test_other_switch import MainSwitch


@pytest.fixture
def main(at_home: Lab, miniupnpd: Miniupnpd) -> Miniupnpd:
    """The main router's own daemon, and a target that answers."""
    at_home.target.serve("tcp", 443)
    return miniupnpd


def state_of(
    hass: HomeAssistant, entry: MockConfigEntry, domain: str, unique: str
) -> State:
    """Return the state of one of our entities."""
    entity_id = er.async_get(hass).async_get_entity_id(domain, DOMAIN, unique)
    assert entity_id
    state = hass.states.get(entity_id)
    assert state
    return state


def entity_of(hass: HomeAssistant, entry: MockConfigEntry, name: str) -> State:
    """Return the state of the main router's half of a forward."""
    unique = f"{forward_id(entry, name)}_main_router"
    return state_of(hass, entry, "binary_sensor", unique)


def status_of(hass: HomeAssistant, entry: MockConfigEntry, name: str) -> State:
    """Return a forward's status."""
    return state_of(hass, entry, "sensor", f"{forward_id(entry, name)}_status")


async def connected(
    hass: HomeAssistant, lab: Lab, *forwards: Any, **options: Any
) -> MockConfigEntry:
    """Set up the router, whose main router is asked."""
    return await set_up(
        hass, lab, *(forwards or (WEB,)), **{"main_router": "upnp", **options}
    )


async def test_one_switch_opens_the_whole_way_and_closes_it(
    hass: HomeAssistant, at_home: Lab, main: Miniupnpd
) -> None:
    """On a main router that starts with nothing."""
    entry = await connected(hass, at_home)
    web = switch_of(hass, entry, "Web")
    assert not await passes(at_home)
    assert entity_of(hass, entry, "Web").state == STATE_OFF
    await turn(hass, "on", web)
    assert main.mappings() == {("tcp", 8443): (at_home.bypass.address, 8443)}
    assert entity_of(hass, entry, "Web").state == STATE_ON
    assert await passes(at_home)
    await turn(hass, "off", web)
    assert main.mappings() == {}
    assert entity_of(hass, entry, "Web").state == STATE_OFF
    assert not await passes(at_home)


async def test_what_is_open_for_a_while_is_so_on_the_main_router_too(
    hass: HomeAssistant, at_home: Lab, main: Miniupnpd
) -> None:
    """By a lease of its own, whether Home Assistant sees the end or not."""
    entry = await connected(hass, at_home)
    web = switch_of(hass, entry, "Web")

    async def open_for(seconds: int) -> int:
        data = {"entity_id": web, "duration": {"seconds": seconds}}
        await hass.services.async_call(DOMAIN, "open_for", data, blocking=True)
        await entry.runtime_data.halves.asked.settle()
        assert entity_of(hass, entry, "Web").state == STATE_ON
        return lease()

    def lease() -> int:
        listed = soap.get(at_home.other, main.control, 8443)
        return int(listed.values["NewLeaseDuration"])

    assert 550 < await open_for(600) <= 601
    assert 1000 < await open_for(1200) <= 1201
    # Turned on by its switch, it is there for good, and so is that.
    await turn(hass, "on", web)
    await entry.runtime_data.halves.asked.settle()
    assert lease() > 1300
    assert await open_for(10) <= 11
    await hass.config_entries.async_unload(entry.entry_id)
    await until(lambda: not main.mappings())
    await hass.config_entries.async_setup(entry.entry_id)
    await until(lambda: hass.states.is_state(web, STATE_OFF))
    assert not await passes(at_home)


async def test_a_switch_asks_for_its_own_port_alone_and_at_once_where_it_is_free(
    hass: HomeAssistant,
    at_home: Lab,
    main: Miniupnpd,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Each question takes time, and another forward may have many ports."""
    # On a busy machine, these looks would come between.
    monkeypatch.setattr(manager, "_SECOND_LOOK", 3600.0)
    monkeypatch.setattr(hints, "_PAUSE", 3600.0)
    entry = await connected(hass, at_home, WEB, GAME)
    web, game = (switch_of(hass, entry, name) for name in ("Web", "Game"))
    await turn(hass, "on", game)
    traffic = Traffic()
    for state, trips in (("on", 1), ("off", 2)):
        with traffic.noted():
            await turn(hass, state, web)
        asked = [call.text for call in traffic.calls if call.asks]
        assert len(asked) == trips
        assert all("8443" in text and "6000" not in text for text in asked)
        traffic.forget()


def cause_of(hass: HomeAssistant, entry: MockConfigEntry, name: str) -> Any:
    """Return the cause that a forward's status gives."""
    return status_of(hass, entry, name).attributes["cause"]


async def look(entry: MockConfigEntry) -> None:
    """Have it looked what the main router has, as it is every few minutes."""
    await entry.runtime_data.halves.asked.settle()


def take(main: Miniupnpd, lab: Lab, port: int) -> None:
    """Let another device have a port."""
    soap.add(lab.other, main.control, port, lab.other.address, description="nas")


async def test_what_another_device_has_stays_and_is_named(
    hass: HomeAssistant, at_home: Lab, main: Miniupnpd
) -> None:
    """The switch is on, for the forward is of use from the LAN."""
    take(main, at_home, 8443)
    entry = await connected(hass, at_home)
    web = switch_of(hass, entry, "Web")
    await turn(hass, "on", web)
    assert hass.states.get(web).state == STATE_ON
    assert entity_of(hass, entry, "Web").state == STATE_OFF
    status = status_of(hass, entry, "Web")
    assert (status.state, status.attributes["cause"]) == ("fails", "main_port_taken")
    assert f"{at_home.other.address}:8443 (nas)" in status.attributes["seen"]
    told = issue(hass, "main_router")
    assert at_home.other.address in (told.translation_placeholders or {})["forwards"]
    await turn(hass, "off", web)
    assert main.mappings() == {("tcp", 8443): (at_home.other.address, 8443)}
    assert issue(hass, "main_router") is None


@having(MiniupnpdOptions(lowest=9000))
async def test_a_port_that_no_one_may_open_is_told(
    hass: HomeAssistant, at_home: Lab, main: Miniupnpd
) -> None:
    """By what the main router answers."""
    entry = await connected(hass, at_home)
    await turn(hass, "on", switch_of(hass, entry, "Web"))
    assert cause_of(hass, entry, "Web") == "main_not_allowed"
    assert "606" in status_of(hass, entry, "Web").attributes["seen"]


@pytest.mark.parametrize(
    "miniupnpd_options", [MiniupnpdOptions(), MiniupnpdOptions(only_version_1=True)]
)
async def test_a_low_port_is_told_as_such(
    hass: HomeAssistant, at_home: Lab, main: Miniupnpd
) -> None:
    """Whatever code stands for it."""
    entry = await connected(hass, at_home, {**WEB, "public_port": "443"})
    await turn(hass, "on", switch_of(hass, entry, "Web"))
    assert cause_of(hass, entry, "Web") == "main_port_refused"


@having(MiniupnpdOptions(public_address=None))
async def test_a_main_router_without_a_public_address_is_told(
    hass: HomeAssistant, at_home: Lab, main: Miniupnpd
) -> None:
    """It gives no reason of its own."""
    entry = await connected(hass, at_home)
    await turn(hass, "on", switch_of(hass, entry, "Web"))
    assert cause_of(hass, entry, "Web") == "no_public_address"
    assert issue(hass, "no_public_address")
    assert issue(hass, "main_router") is None


async def test_what_a_reloaded_firewall_has_lost_is_set_again_by_a_diagnosis(
    hass: HomeAssistant, at_home: Lab, main: Miniupnpd
) -> None:
    """The main router still lists it, and agrees to the same once more for nothing."""
    entry = await connected(hass, at_home)
    web = switch_of(hass, entry, "Web")
    await turn(hass, "on", web)
    main.flush()
    assert not await passes(at_home)
    await look(entry)
    assert not await passes(at_home)
    halves = entry.runtime_data.halves
    await halves.look(forward_id(entry, "Web"), anew=True)
    assert await passes(at_home)


async def test_what_a_restarted_main_router_has_forgotten_is_asked_for_again(
    hass: HomeAssistant, at_home: Lab, main: Miniupnpd
) -> None:
    """At the next look at the latest."""
    entry = await connected(hass, at_home)
    await turn(hass, "on", switch_of(hass, entry, "Web"))
    main.restart(forget=True)
    assert main.mappings() == {}
    await look(entry)
    # On a busy machine, it may have taken it for silent.
    await until(main.mappings)
    assert await passes(at_home)


async def test_a_main_router_that_is_away_holds_up_no_switch(
    hass: HomeAssistant, at_home: Lab, main: Miniupnpd
) -> None:
    """What it was to close is closed when it is back."""
    entry = await connected(hass, at_home)
    web = switch_of(hass, entry, "Web")
    await turn(hass, "on", web)
    main.kill()
    await turn(hass, "off", web)
    assert hass.states.get(web).state == STATE_OFF
    assert entity_of(hass, entry, "Web").state == STATE_UNKNOWN
    assert main.mappings()
    main.start()
    await look(entry)
    assert main.mappings() == {}
    assert entity_of(hass, entry, "Web").state == STATE_OFF


async def test_a_main_router_without_upnp_is_told(
    hass: HomeAssistant, at_home: Lab
) -> None:
    """It is on all the same, and nothing is known of the main router's half."""
    entry = await connected(hass, at_home)
    web = switch_of(hass, entry, "Web")
    await turn(hass, "on", web)
    assert hass.states.get(web).state == STATE_ON
    assert entity_of(hass, entry, "Web").state == STATE_UNKNOWN
    assert cause_of(hass, entry, "Web") == "main_silent"
    assert issue(hass, "main_router")


async def test_a_visitor_disproves_what_the_main_router_says(
    hass: HomeAssistant, at_home: Lab
) -> None:
    """The forward was set there by hand."""
    at_home.target.serve("tcp", 443)
    entry = await connected(hass, at_home)
    await turn(hass, "on", switch_of(hass, entry, "Web"))
    assert status_of(hass, entry, "Web").state == "fails"
    assert await passes(at_home)
    await until(lambda: status_of(hass, entry, "Web").state == "works")


async def test_what_leads_to_us_by_hand_serves_as_well(
    hass: HomeAssistant, at_home: Lab, main: Miniupnpd
) -> None:
    """It is not ours, and stays when the forward goes off."""
    soap.add(at_home.bypass, main.control, 8443, at_home.bypass.address)
    entry = await connected(hass, at_home)
    web = switch_of(hass, entry, "Web")
    await turn(hass, "on", web)
    assert entity_of(hass, entry, "Web").state == STATE_ON
    assert await passes(at_home)
    await turn(hass, "off", web)
    assert main.mappings()


async def test_a_short_range_is_asked_for_port_by_port_and_a_long_one_left_by_hand(
    hass: HomeAssistant, at_home: Lab, main: Miniupnpd
) -> None:
    """Over both transports."""
    long = {**WEB, "name": "Long", "external_port": "7000-7016", "target_port": ""}
    entry = await connected(hass, at_home, GAME, long)
    switches = [switch_of(hass, entry, name) for name in ("Game", "Long")]
    await turn(hass, "on", *switches)
    assert main.mappings() == {
        (transport, port): (at_home.bypass.address, port)
        for transport in ("tcp", "udp")
        for port in range(6000, 6011)
    }
    assert entity_of(hass, entry, "Game").state == STATE_ON
    assert entity_of(hass, entry, "Long").state == STATE_UNKNOWN
    await turn(hass, "off", *switches)
    assert main.mappings() == {}


async def test_another_port_outside_leads_to_the_forward(
    hass: HomeAssistant, at_home: Lab, main: Miniupnpd
) -> None:
    """And a change of it moves the mapping."""
    entry = await connected(hass, at_home, {**WEB, "public_port": "9443"})
    await turn(hass, "on", switch_of(hass, entry, "Web"))
    assert main.mappings() == {("tcp", 9443): (at_home.bypass.address, 8443)}
    assert await passes(at_home, 9443)
    (subentry,) = entry.subentries.values()
    changed = {**WEB, "public_port": "9444"}
    hass.config_entries.async_update_subentry(entry, subentry, data=changed)
    await until(lambda: list(main.mappings()) == [("tcp", 9444)])


async def test_a_forward_that_is_removed_leaves_nothing(
    hass: HomeAssistant, at_home: Lab, main: Miniupnpd
) -> None:
    """Nor does the option that is taken back."""
    entry = await connected(hass, at_home, WEB, GAME)
    web, game = (switch_of(hass, entry, name) for name in ("Web", "Game"))
    await turn(hass, "on", web, game)
    hass.config_entries.async_remove_subentry(entry, forward_id(entry, "Web"))
    await until(lambda: ("tcp", 8443) not in main.mappings())
    await choose(hass, entry, main_router="manual")
    await until(lambda: main.mappings() == {})
    await hass.async_block_till_done()
    found = er.async_get(hass).async_get_entity_id(
        "binary_sensor", DOMAIN, f"{forward_id(entry, 'Game')}_main_router"
    )
    assert found is None


async def test_a_lost_forward_that_is_put_back_keeps_its_half_of_the_main_router(
    hass: HomeAssistant, at_home: Lab, main: Miniupnpd
) -> None:
    """It is a matter of a moment."""
    entry = await connected(hass, at_home)
    web = switch_of(hass, entry, "Web")
    await turn(hass, "on", web)
    before = main.mappings()
    lose_rules(at_home)
    await until(lambda: ours(at_home) and hass.states.get(web).state == STATE_ON)
    assert main.mappings() == before
    assert await passes(at_home)


async def test_one_that_is_not_put_back_loses_it(
    hass: HomeAssistant, at_home: Lab, main: Miniupnpd
) -> None:
    """Else the internet would be led to whatever the bypass router has there."""
    entry = await connected(hass, at_home, restore=False)
    web = switch_of(hass, entry, "Web")
    await turn(hass, "on", web)
    lose_rules(at_home)
    await until(lambda: hass.states.get(web).state == STATE_OFF)
    await until(lambda: main.mappings() == {})


async def test_it_is_looked_again_and_again_by_itself(
    hass: HomeAssistant,
    at_home: Lab,
    main: Miniupnpd,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """For a main router may forget, and tells nobody."""
    monkeypatch.setattr(manager, "_SECOND_LOOK", 0.2)
    monkeypatch.setattr(manager, "_LOOK_INTERVAL", 0.2)
    entry = await connected(hass, at_home)
    await turn(hass, "on", switch_of(hass, entry, "Web"))
    main.restart(forget=True)
    await until(lambda: main.mappings() != {})


async def test_a_main_router_that_was_away_is_asked_again_by_itself(
    hass: HomeAssistant,
    at_home: Lab,
    main: Miniupnpd,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """And is told of until then."""
    monkeypatch.setattr(manager, "_FIRST_DELAY", 0.2)
    main.stop()
    entry = await connected(hass, at_home)
    await turn(hass, "on", switch_of(hass, entry, "Web"))
    assert cause_of(hass, entry, "Web") == "main_silent"
    main.start()
    await until(lambda: entity_of(hass, entry, "Web").state == STATE_ON)
    assert issue(hass, "main_router") is None


@having(MiniupnpdOptions(upnp=False))
async def test_where_upnp_is_off_it_is_asked_by_pcp(
    hass: HomeAssistant, at_home: Lab, main: Miniupnpd
) -> None:
    """It lists nothing, so what it was asked for is what is known."""
    entry = await connected(hass, at_home)
    web = switch_of(hass, entry, "Web")
    await turn(hass, "on", web)
    assert main.mappings() == {("tcp", 8443): (at_home.bypass.address, 8443)}
    assert entity_of(hass, entry, "Web").state == STATE_ON
    assert await passes(at_home)
    await look(entry)
    assert entity_of(hass, entry, "Web").state == STATE_ON
    await turn(hass, "off", web)
    assert main.mappings() == {}


async def test_what_was_asked_for_before_a_kill_is_closed_after_it(
    hass: HomeAssistant,
    at_home: Lab,
    main: Miniupnpd,
    hass_storage: dict[str, Any],
) -> None:
    """Also where the forward is off by then: the record tells."""
    entry = await connected(hass, at_home)
    web = switch_of(hass, entry, "Web")
    await turn(hass, "on", web)
    key = f"{DOMAIN}.{entry.entry_id}.main_router"
    assert hass_storage[key]["data"]["mappings"]
    assert await hass.config_entries.async_unload(entry.entry_id)
    hass_storage[f"{DOMAIN}.{entry.entry_id}"]["data"]["wished"] = []
    assert main.mappings()
    assert await hass.config_entries.async_setup(entry.entry_id)
    await until(lambda: main.mappings() == {})
    await until(lambda: hass_storage[key]["data"]["mappings"] == [])


async def test_the_public_address_is_shown(
    hass: HomeAssistant, at_home: Lab, main: Miniupnpd
) -> None:
    """To those who have switched that on, be any forward on or not."""
    entry = await connected(hass, at_home)
    registry = er.async_get(hass)
    unique_id = f"{entry.entry_id}_public_address"
    sensor = registry.async_get_entity_id("sensor", DOMAIN, unique_id)
    assert sensor
    entity = registry.async_get(sensor)
    assert entity
    assert entity.disabled
    registry.async_update_entity(sensor, disabled_by=None)
    await hass.config_entries.async_reload(entry.entry_id)
    await until(lambda: hass.states.get(sensor).state == PUBLIC_ADDRESS)


async def test_the_options_say_which_main_router_was_found(
    hass: HomeAssistant, at_home: Lab, main: Miniupnpd
) -> None:
    """By its own name, and how it can be asked; or that it can't be."""
    entry = await set_up(hass, at_home, WEB)
    options = hass.config_entries.options
    form = await options.async_init(entry.entry_id)
    found = (form["description_placeholders"] or {})["found"]
    assert at_home.main.address in found
    assert "(UPnP)" in found
    main.stop()
    form = await options.async_init(entry.entry_id)
    found = (form["description_placeholders"] or {})["found"]
    assert found == (
        f"The main router at {at_home.main.address} takes no such requests now: switch"
        " UPnP on there first."
    )
    await hass.config_entries.async_unload(entry.entry_id)
    form = await options.async_init(entry.entry_id)
    found = (form["description_placeholders"] or {})["found"]
    assert "not known" in found


async def test_the_options_open_though_the_bypass_router_breaks_off(
    hass: HomeAssistant, at_home: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Just while it is asked; then they say that it is not known."""
    entry = await set_up(hass, at_home, WEB)

    async def breaks_off(*_: object) -> None:
        """Break off, as a router does that is switched off in this moment."""
        raise ConnectionLost(message="closed")

    monkeypatch.setattr(flow, "main_router_of", breaks_off)
    form = await hass.config_entries.options.async_init(entry.entry_id)
    assert "not known" in (form["description_placeholders"] or {})["found"]


async def test_the_doctor_says_what_the_main_router_says(
    hass: HomeAssistant, at_home: Lab, main: Miniupnpd
) -> None:
    """Among his checks, and as the cause where that is it."""
    entry = await connected(hass, at_home)
    web = switch_of(hass, entry, "Web")
    await turn(hass, "on", web)
    said = await diagnose(hass, web)
    (check,) = (it for it in said["checks"] if it["name"] == "main_router")
    assert check["status"] == "ok"
    await turn(hass, "off", web)
    take(main, at_home, 8443)
    await turn(hass, "on", web)
    said = await diagnose(hass, web)
    assert said["causes"] == ["main_port_taken"]
    assert said["healthy"] is False
    soap.delete(at_home.other, main.control, 8443)
    await look(entry)
    assert status_of(hass, entry, "Web").state != "fails"
    assert await passes(at_home)


async def test_a_diagnosis_sets_anew_what_is_listed_and_not_there(
    hass: HomeAssistant, at_home: Lab, main: Miniupnpd
) -> None:
    """Before it waits for a client from outside, who then comes through."""
    entry = await connected(hass, at_home)
    web = switch_of(hass, entry, "Web")
    await turn(hass, "on", web)
    main.flush()
    said = await diagnose(hass, web, watch=1)
    assert await passes(at_home)
    (arrival,) = (it for it in said["checks"] if it["name"] == "arrival")
    assert "says that it forwards 8443 to" in arrival["seen"]


async def test_the_diagnostics_tell_of_the_main_router(
    hass: HomeAssistant, at_home: Lab, main: Miniupnpd
) -> None:
    """And not where the home is."""
    entry = await connected(hass, at_home)
    await turn(hass, "on", switch_of(hass, entry, "Web"))
    told = await async_get_config_entry_diagnostics(hass, entry)
    found = told["main_router"]
    assert (found["asked"], found["protocol"]) == (True, "upnp")
    assert found["halves"][forward_id(entry, "Web")]["state"] == "on"
    assert [it["public_port"] for it in found["mappings"]] == [8443]
    assert PUBLIC_ADDRESS not in str(told)


NAMED = {**WEB, "main_router_switch": "switch.main_web"}


class Named(MainSwitch):
    """A switch of another integration, which notes how ours is when it is asked."""

    def __init__(self) -> None:
        """Be off."""
        super().__init__()
        self.order: list[tuple[bool, str]] = []

    @override
    async def _turn(self, *, on: bool) -> None:
        """Note it, and do it."""
        switches = self.hass.states.async_all("switch")
        ours = (it.state for it in switches if it.entity_id != self.entity_id)
        self.order.append((on, " ".join(ours)))
        await super()._turn(on=on)


@pytest.fixture
async def named(hass: HomeAssistant) -> Named:
    """The switch that stands for the main router's forward."""
    switch = Named()
    setup_test_component_platform(hass, "switch", [switch])
    assert await async_setup_component(hass, "switch", {"switch": {"platform": "test"}})
    await hass.async_block_till_done()
    return switch


async def test_a_switch_that_a_forward_names_goes_with_it(
    hass: HomeAssistant, at_home: Lab, main: Miniupnpd, named: Named
) -> None:
    """After it and before it; and the main router is not asked besides."""
    entry = await connected(hass, at_home, NAMED)
    web = switch_of(hass, entry, "Web")
    await turn(hass, "on", web)
    assert entity_of(hass, entry, "Web").state == STATE_ON
    assert main.mappings() == {}
    await turn(hass, "off", web)
    assert named.order == [(True, STATE_ON), (False, STATE_ON)]
    assert hass.states.get(web).state == STATE_OFF


async def test_it_follows_what_comes_on_and_goes_off_by_itself(
    hass: HomeAssistant, at_home: Lab, named: Named
) -> None:
    """As a forward that is on from the start, and one that others take away."""
    entry = await set_up(hass, at_home, {**NAMED, "enabled": True}, restore=False)
    web = switch_of(hass, entry, "Web")
    await until(lambda: named.order == [(True, STATE_ON)])
    lose_rules(at_home)
    await until(lambda: hass.states.get(web).state == STATE_OFF)
    await until(lambda: named.order[1:] == [(False, STATE_OFF)])


async def test_it_goes_off_with_a_forward_or_a_router_that_is_removed(
    hass: HomeAssistant, at_home: Lab, named: Named
) -> None:
    """Else it would lead the internet to the bypass router's own services."""
    entry = await set_up(hass, at_home, NAMED, {**GAME, "enabled": True})
    await turn(hass, "on", switch_of(hass, entry, "Web"))
    hass.config_entries.async_remove_subentry(entry, forward_id(entry, "Web"))
    await until(lambda: hass.states.is_state("switch.main_web", STATE_OFF))
    (game,) = entry.subentries.values()
    data = {**game.data, "main_router_switch": "switch.main_web"}
    hass.config_entries.async_update_subentry(entry, game, data=data)
    await until(lambda: hass.states.is_state("switch.main_web", STATE_ON))
    await hass.config_entries.async_remove(entry.entry_id)
    assert hass.states.is_state("switch.main_web", STATE_OFF)


async def test_one_that_was_turned_by_hand_stays_so_over_a_restart(
    hass: HomeAssistant, at_home: Lab, named: Named
) -> None:
    """The hand has the last word, and the forward says what that means."""
    entry = await set_up(hass, at_home, NAMED)
    await turn(hass, "on", switch_of(hass, entry, "Web"))
    named.show(on=False)
    assert cause_of(hass, entry, "Web") == "main_switch_off"
    await hass.config_entries.async_reload(entry.entry_id)
    await until(lambda: cause_of(hass, entry, "Web") == "main_switch_off")
    assert [on for on, _ in named.order] == [True]


async def test_a_router_that_is_removed_leaves_nothing_on_the_main_router(
    hass: HomeAssistant, at_home: Lab, main: Miniupnpd, hass_storage: dict[str, Any]
) -> None:
    """Nor in Home Assistant."""
    entry = await connected(hass, at_home)
    await turn(hass, "on", switch_of(hass, entry, "Web"))
    assert await hass.config_entries.async_remove(entry.entry_id)
    assert main.mappings() == {}
    assert f"{DOMAIN}.{entry.entry_id}.main_router" not in hass_storage
    assert issue(hass, "main_router") is None


async def test_what_a_silent_main_router_keeps_is_told_when_the_router_is_removed(
    hass: HomeAssistant, at_home: Lab, main: Miniupnpd
) -> None:
    """With the time when it ends."""
    entry = await connected(hass, at_home)
    await turn(hass, "on", switch_of(hass, entry, "Web"))
    main.kill()
    assert await hass.config_entries.async_remove(entry.entry_id)
    told = issue(hass, "main_router_left")
    assert told
    assert told.translation_key == "main_router_left"
    words = told.translation_placeholders or {}
    assert words["ports"] == "- TCP 8443"
    # In the time of where Home Assistant is.
    assert words["until"] > f"{now():%F}"


async def test_a_forward_that_is_removed_while_the_main_router_is_silent_is_told(
    hass: HomeAssistant, at_home: Lab, main: Miniupnpd
) -> None:
    """And closed when it is back, of which is told as well."""
    entry = await connected(hass, at_home)
    await turn(hass, "on", switch_of(hass, entry, "Web"))
    main.kill()
    hass.config_entries.async_remove_subentry(entry, forward_id(entry, "Web"))
    await until(lambda: issue(hass, "main_router_left"))
    main.start()
    await look(entry)
    await until(lambda: main.mappings() == {})
    await until(lambda: issue(hass, "main_router_left") is None)
