"""A forward follows its device to another address, and leads to no other device."""

import asyncio

from homeassistant.const import EVENT_LOGBOOK_ENTRY, STATE_OFF, STATE_ON
from homeassistant.core import Event, HomeAssistant
from homeassistant.exceptions import HomeAssistantError
import pytest
from pytest_homeassistant_custom_component.common import (
    MockConfigEntry,
    async_capture_events,
)

from custom_components.bypass_router.const import DOMAIN
from custom_components.bypass_router.router import watch_script
from tests.lab.bypass import RouterOptions
from tests.lab.network import Lab
from tests.lab.node import Node
from tests.lab.waiting import soon, until, until_told

from .router.test_monitor import processes
from .sentences import translations
from .setup import GAME, WEB, forward_id, issue, passes, set_up, switch_of, turn

HERE, THERE, ELSEWHERE = "192.168.50.10", "192.168.50.77", "192.168.50.78"
MAC, STRANGER = "00:16:3e:32:00:0a", "00:16:3e:32:00:14"
FOLLOWING = {**WEB, "follow": True, "mac": MAC}
KINDS = pytest.mark.parametrize(
    "router_options",
    [RouterOptions(), RouterOptions(system="openwrt")],
    ids=["nftables", "openwrt"],
)
# It is asked for four seconds whether the device is still where it was.
SECONDS = 10.0


@pytest.fixture(autouse=True)
def _looks_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Look often where nothing tells of neighbours, as with busybox's `ip`."""
    monkeypatch.setattr(watch_script, "NEIGHBOURS_EVERY", 1)


def be_at(node: Node, *addresses: str) -> None:
    """Have a machine these addresses and no others, and say something to the router."""
    interface = node.interface
    node.ip(
        f"address flush dev {interface}",
        *(f"address add {address}/24 dev {interface}" for address in addresses),
        "route add default via 192.168.50.2",
    )
    speak(node)


def speak(node: Node) -> None:
    """Say something to the router, which hears where the machine is."""
    node.exchange("udp", "192.168.50.2", 9, timeout=0.05)


def target_of(entry: MockConfigEntry) -> str:
    """Return where the forward leads."""
    target: str = entry.subentries[forward_id(entry, "Web")].data["target"]
    return target


def state_of(hass: HomeAssistant, switch: str) -> str:
    """Return what the switch shows."""
    state = hass.states.get(switch)
    assert state
    return state.state


async def following(hass: HomeAssistant, lab: Lab) -> tuple[MockConfigEntry, str]:
    """Set up a forward that follows, and is on; return its switch too."""
    lab.target.serve("tcp", 443)
    lab.target.ip(f"link set {lab.target.interface} address {MAC}")
    lab.other.ip(f"link set {lab.other.interface} address {STRANGER}")
    speak(lab.target)
    entry = await set_up(hass, lab, FOLLOWING, GAME)
    switch = switch_of(hass, entry, "Web")
    await turn(hass, "on", switch)
    assert await passes(lab)
    return entry, switch


@KINDS
async def test_a_device_that_gets_another_address_is_followed(
    hass: HomeAssistant, at_home: Lab
) -> None:
    """Within seconds of what it says first, as the activity tells; a lease goes on."""
    lab = at_home
    entry, switch = await following(hass, lab)
    await hass.services.async_call(
        DOMAIN,
        "open_for",
        {"entity_id": switch, "duration": {"minutes": 10}},
        blocking=True,
    )
    lease = entry.runtime_data.lease_of(forward_id(entry, "Web"))
    told: list[Event] = async_capture_events(hass, EVENT_LOGBOOK_ENTRY)
    be_at(lab.target, THERE)
    await until_told(lambda: passes(lab), soon(SECONDS))
    assert target_of(entry) == THERE
    assert lease
    assert entry.runtime_data.lease_of(forward_id(entry, "Web")) == lease
    assert entry.runtime_data.closes_at(forward_id(entry, "Web")) == pytest.approx(
        lease.until, abs=2
    )
    text = translations()["exceptions.followed.message"]
    [event] = told
    assert event.data["entity_id"] == switch
    assert event.data["message"] == text.format(device=MAC, before=HERE, after=THERE)

    # Another device has the old address, and gets nothing: who is answered is the right
    # one, and the forward stays there.
    be_at(lab.other, HERE)
    for _ in range(3):
        assert await passes(lab)
    assert target_of(entry) == THERE


async def test_a_stranger_at_the_devices_address_gets_nothing(
    hass: HomeAssistant, at_home: Lab
) -> None:
    """The forward is closed, and says why, until its device is back."""
    lab = at_home
    entry, switch = await following(hass, lab)
    lab.target.ip(f"address flush dev {lab.target.interface}")
    be_at(lab.other, HERE)
    await until(lambda: state_of(hass, switch) == STATE_OFF, soon(SECONDS))
    state = hass.states.get(switch)
    assert state
    text = translations()["exceptions.target_taken.message"]
    assert state.attributes["refused"] == text.format(target=HERE)
    assert issue(hass, "refused")
    with pytest.raises(HomeAssistantError) as refused:
        await turn(hass, "on", switch)
    assert refused.value.translation_key == "target_taken"

    # Also after a restart, from the first moment on.
    assert await hass.config_entries.async_reload(entry.entry_id)
    await hass.async_block_till_done()
    assert state_of(hass, switch) == STATE_OFF

    be_at(lab.target, THERE)
    await until_told(lambda: passes(lab), soon(SECONDS))
    assert target_of(entry) == THERE
    await until(lambda: state_of(hass, switch) == STATE_ON)
    assert not issue(hass, "refused")


async def test_a_device_with_two_addresses_stays_and_one_that_flaps_settles(
    hass: HomeAssistant, at_home: Lab
) -> None:
    """As long as it answers where it was, it is there."""
    lab = at_home
    entry, _ = await following(hass, lab)
    be_at(lab.target, HERE, THERE)
    lab.target.ip(f"route replace default via 192.168.50.2 src {THERE}")
    speak(lab.target)
    for _ in range(10):
        await asyncio.sleep(0.2)
        assert await passes(lab)
        assert target_of(entry) == HERE
    for address in (THERE, HERE, THERE, HERE, ELSEWHERE):
        be_at(lab.target, address)
    await until_told(lambda: passes(lab), soon(3 * SECONDS))
    assert target_of(entry) == ELSEWHERE


@KINDS
async def test_nothing_listens_for_devices_that_no_forward_follows(
    hass: HomeAssistant, at_home: Lab
) -> None:
    """It begins with the first that does, and ends with the last, or the connection."""
    lab = at_home
    entry = await set_up(hass, lab, WEB, GAME)

    def listening() -> bool:
        """Return whether something on the router looks at neighbours."""
        return any(" neigh" in line for line in processes(lab))

    def follow(**more: object) -> None:
        """Change the forward."""
        subentry = entry.subentries[forward_id(entry, "Web")]
        data = {**WEB, **more}
        hass.config_entries.async_update_subentry(entry, subentry, data=data)

    assert not listening()
    follow(follow=True, mac=MAC)
    await until(listening)
    follow()
    await until(lambda: not listening())
    follow(follow=True, mac=MAC)
    await until(listening)
    # What is not a device's address, or a random one, is not followed.
    follow(follow=True, mac="02:16:3e:00:00:01")
    await until(lambda: not listening())
    follow(follow=True, mac=MAC)
    await until(listening)
    await hass.config_entries.async_unload(entry.entry_id)
    await until(lambda: not listening())
