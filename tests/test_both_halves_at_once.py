"""One switch for both halves, where much is asked at once, or is cut in the middle."""

import asyncio
from collections.abc import Iterator
from typing import Any

from homeassistant.const import STATE_ON
from homeassistant.core import HomeAssistant
import pytest
from pytest_homeassistant_custom_component.common import MockConfigEntry

from custom_components.bypass_router.const import DOMAIN
from tests.lab import soap_by_hand as soap
from tests.lab.gateway import GATEWAYS, Gateway, GatewayOptions
from tests.lab.network import Lab
from tests.lab.waiting import until

from .setup import WEB, choose, forward_id, issue, ours, passes, switch_of, turn
from .test_both_halves import cause_of, connected, entity_of, look, status_of

SLOW = GatewayOptions(seconds=0.2)


@pytest.fixture
def options() -> GatewayOptions:
    """How the main router answers; parametrize it by its name."""
    return SLOW


@pytest.fixture
def gateway(at_home: Lab, options: GatewayOptions) -> Iterator[Gateway]:
    """The main router, which takes its time."""
    with Gateway(options, at_home.main) as gateway:
        yield gateway


def having(options: GatewayOptions) -> pytest.MarkDecorator:
    """Let it answer otherwise."""
    return pytest.mark.parametrize("options", [options])


async def adding(gateway: Gateway, before: int = 0) -> None:
    """Wait until it is being asked to open a port."""
    await until(lambda: gateway.count("AddPortMapping") > before)


async def leads(gateway: Gateway, port: int, way: tuple[str, int]) -> None:
    """Wait until one port alone leads in, this way."""
    await until(lambda: gateway.table.kernel.ways() == {("tcp", port): way})


def opened(gateway: Gateway) -> list[int]:
    """Return the ports that it has."""
    return sorted(port for _, port in gateway.mappings)


def recorded(stored: dict[str, Any], entry: MockConfigEntry) -> list[object]:
    """Return what is written down of what the main router was asked for."""
    file = stored.get(f"{DOMAIN}.{entry.entry_id}.main_router")
    mappings: list[object] = file["data"]["mappings"] if file else []
    return mappings


@pytest.mark.parametrize("last", ["on", "off"])
async def test_the_last_turn_of_a_switch_counts(
    hass: HomeAssistant, at_home: Lab, gateway: Gateway, last: str
) -> None:
    """Whatever was asked for before the main router had answered."""
    entry = await connected(hass, at_home)
    web = switch_of(hass, entry, "Web")
    turns = ["on", "off", "on"] if last == "on" else ["on", "off", "on", "off"]
    async with asyncio.TaskGroup() as group:
        for state in turns:
            group.create_task(turn(hass, state, web))
            await asyncio.sleep(0.15)
    expected = [8443] if last == "on" else []
    await until(lambda: opened(gateway) == expected)
    assert hass.states.get(web).state == last
    await until(lambda: entity_of(hass, entry, "Web").state == last)
    await asyncio.sleep(0.5)
    assert opened(gateway) == expected


@pytest.mark.parametrize(
    "options", [GATEWAYS["PCP"], GATEWAYS["NAT-PMP, runs on"], SLOW]
)
async def test_a_public_port_can_be_another_forwards_by_now(
    hass: HomeAssistant, at_home: Lab, gateway: Gateway
) -> None:
    """Two change theirs with each other; and one leads to another port inside."""
    bypass = at_home.bypass.address
    forwards = {
        name: {**WEB, "name": name, "external_port": port, "public_port": public}
        for name, port, public in (("A", "8441", "9001"), ("B", "8442", "9002"))
    }
    entry = await connected(hass, at_home, *forwards.values())
    switches = [switch_of(hass, entry, name) for name in forwards]

    async def lead(first: int, second: int) -> None:
        """Wait until both public ports lead there."""
        ways = {("tcp", 9001): (bypass, first), ("tcp", 9002): (bypass, second)}
        await until(lambda: gateway.table.kernel.ways() == ways)

    def change(name: str, **fields: str) -> None:
        """Change a forward, as the form does."""
        forwards[name] = {**forwards[name], **fields}
        subentry = entry.subentries[forward_id(entry, name)]
        hass.config_entries.async_update_subentry(entry, subentry, data=forwards[name])

    await turn(hass, "on", *switches)
    await lead(8441, 8442)
    change("A", public_port="9002")
    change("B", public_port="9001")
    await lead(8442, 8441)
    change("A", external_port="8443")
    await lead(8442, 8443)
    await until(lambda: entity_of(hass, entry, "A").state == STATE_ON)
    await turn(hass, "off", *switches)
    assert opened(gateway) == []


@having(GatewayOptions())
async def test_fifty_switches_of_a_scene_are_a_few_acts(
    hass: HomeAssistant, at_home: Lab, gateway: Gateway
) -> None:
    """On, and off."""
    ports = list(range(8000, 8050))
    forwards = [
        {**WEB, "name": f"Web {port}", "external_port": str(port)} for port in ports
    ]
    entry = await connected(hass, at_home, *forwards)
    switches = [switch_of(hass, entry, forward["name"]) for forward in forwards]
    await turn(hass, "on", *switches)
    await until(lambda: opened(gateway) == ports)
    assert gateway.count("AddPortMapping") == len(ports)
    assert gateway.count("GetSpecificPortMappingEntry") <= 5 * len(ports)
    await turn(hass, "off", *switches)
    await until(lambda: opened(gateway) == [])
    assert gateway.count("DeletePortMapping") == len(ports)
    assert ours(at_home) == []


async def test_what_is_reloaded_in_the_middle_is_set_all_the_same(
    hass: HomeAssistant, at_home: Lab, gateway: Gateway
) -> None:
    """By what is recorded and by what is there."""
    at_home.target.serve("tcp", 443)
    entry = await connected(hass, at_home)
    web = switch_of(hass, entry, "Web")
    turning = hass.async_create_task(turn(hass, "on", web))
    await adding(gateway)
    assert await hass.config_entries.async_reload(entry.entry_id)
    await asyncio.wait([turning])
    await until(lambda: hass.states.get(web).state == STATE_ON)
    await until(lambda: entity_of(hass, entry, "Web").state == STATE_ON)
    assert await passes(at_home)
    await turn(hass, "off", web)
    assert opened(gateway) == []


@having(GatewayOptions(seconds=1.0))
async def test_what_is_removed_in_the_middle_leaves_nothing(
    hass: HomeAssistant, at_home: Lab, gateway: Gateway, hass_storage: dict[str, Any]
) -> None:
    """Though the main router is still being asked to open a port."""
    entry = await connected(hass, at_home)
    turning = hass.async_create_task(turn(hass, "on", switch_of(hass, entry, "Web")))
    await until(lambda: gateway.count("GetSpecificPortMappingEntry"))
    await until(lambda: recorded(hass_storage, entry))
    assert await hass.config_entries.async_remove(entry.entry_id)
    await asyncio.wait([turning])
    # What the bypass router was about to ask by then is over.
    await asyncio.sleep(3)
    assert opened(gateway) == []
    assert ours(at_home) == []


async def test_a_forward_that_is_removed_in_the_middle_leaves_nothing(
    hass: HomeAssistant, at_home: Lab, gateway: Gateway
) -> None:
    """And the others stay."""
    other = {**WEB, "name": "Other", "external_port": "8444"}
    entry = await connected(hass, at_home, WEB, other)
    switches = [switch_of(hass, entry, name) for name in ("Web", "Other")]
    turning = hass.async_create_task(turn(hass, "on", *switches))
    await adding(gateway)
    hass.config_entries.async_remove_subentry(entry, forward_id(entry, "Web"))
    await asyncio.wait([turning])
    await until(lambda: opened(gateway) == [8444])


async def test_who_chooses_by_hand_and_back_has_what_he_chose_last(
    hass: HomeAssistant, at_home: Lab, gateway: Gateway
) -> None:
    """However quickly."""
    entry = await connected(hass, at_home)
    turning = hass.async_create_task(turn(hass, "on", switch_of(hass, entry, "Web")))
    await adding(gateway)
    for value in ("manual", "upnp", "manual"):
        await choose(hass, entry, main_router=value)
    await turning
    await until(lambda: opened(gateway) == [])
    for value in ("upnp", "manual", "upnp"):
        await choose(hass, entry, main_router=value)
    await until(lambda: opened(gateway) == [8443])
    await until(lambda: entity_of(hass, entry, "Web").state == STATE_ON)


async def test_a_bypass_router_that_is_lost_in_the_middle_goes_on_when_it_is_back(
    hass: HomeAssistant, at_home: Lab, gateway: Gateway
) -> None:
    """With whatever was done by then, or not."""
    at_home.target.serve("tcp", 443)
    entry = await connected(hass, at_home)
    web = switch_of(hass, entry, "Web")
    turning = hass.async_create_task(turn(hass, "on", web))
    await adding(gateway)
    at_home.bypass.stop_ssh()
    await asyncio.wait([turning])
    at_home.bypass.start_ssh()
    await until(lambda: hass.states.get(web).state == STATE_ON)
    await until(lambda: entity_of(hass, entry, "Web").state == STATE_ON)
    assert opened(gateway) == [8443]
    assert await passes(at_home)
    await turn(hass, "off", web)
    assert opened(gateway) == []


async def test_a_forward_that_is_changed_while_it_is_on_moves_with_its_ports(
    hass: HomeAssistant, at_home: Lab, gateway: Gateway
) -> None:
    """And what is only called otherwise stays as it is."""
    at_home.target.serve("tcp", 443)
    entry = await connected(hass, at_home)
    await turn(hass, "on", switch_of(hass, entry, "Web"))
    added = gateway.count("AddPortMapping")
    (subentry,) = entry.subentries.values()
    update = hass.config_entries.async_update_subentry
    update(entry, subentry, data={**WEB, "name": "Site"}, title="Site")
    await hass.async_block_till_done()
    await look(entry)
    assert gateway.count("AddPortMapping") == added
    for external, public in (("9443", ""), ("9444", "9443"), ("8443", "")):
        changed = {**WEB, "name": "Site", "external_port": external}
        if public:
            changed["public_port"] = public
        update(entry, entry.subentries[subentry.subentry_id], data=changed)
        port = int(public or external)
        await leads(gateway, port, (at_home.bypass.address, int(external)))
        assert await passes(at_home, port)


@having(GatewayOptions())
@pytest.mark.parametrize("same_host", [False, True])
async def test_another_home_assistant_that_has_the_port_is_named(
    hass: HomeAssistant, at_home: Lab, gateway: Gateway, *, same_host: bool
) -> None:
    """Of which nothing is touched, though its mappings are called as ours are."""
    theirs = at_home.bypass if same_host else at_home.other
    name = "bypass_router:ffffffff:01OTHER:3"
    soap.add(
        theirs, gateway.control, 8443, theirs.address, to_port=9000, description=name
    )
    before = gateway.mappings
    entry = await connected(hass, at_home)
    web = switch_of(hass, entry, "Web")
    await turn(hass, "on", web)
    assert cause_of(hass, entry, "Web") == "main_port_taken"
    seen = status_of(hass, entry, "Web").attributes["seen"]
    assert f"{theirs.address}:9000 ({name})" in seen
    assert issue(hass, "main_router")
    await turn(hass, "off", web)
    assert gateway.mappings == before
    assert gateway.count("AddPortMapping", at_home.bypass.address) == same_host
    assert gateway.count("DeletePortMapping") == 0
