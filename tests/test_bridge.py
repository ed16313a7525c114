"""A LAN that is a bridge which hands its packets to the firewall, as Docker has it."""

from collections.abc import Callable
from datetime import timedelta
from ipaddress import IPv4Interface

from homeassistant.core import HomeAssistant
from homeassistant.setup import async_setup_component
from homeassistant.util import dt as dt_util
import pytest
from pytest_homeassistant_custom_component.common import async_fire_time_changed
from pytest_homeassistant_custom_component.typing import ClientSessionGenerator

from custom_components.bypass_router.router.bridge import Bridge
from custom_components.bypass_router.router.forward import Forward
from custom_components.bypass_router.router.rules.base import RouterContext
from custom_components.bypass_router.router.rules.obstacles import Hindrance
from custom_components.bypass_router.router.ssh.script import Result
from tests.lab.network import Lab
from tests.lab.waiting import until

from .setup import WEB, issue, passes, set_up, switch_of, turn
from .test_diagnose import diagnose

# One port, to which all others of the LAN are connected.
BRIDGE = """\
ip link set lan down; ip link set lan name eth0; ip link add lan type bridge
ip link set lan address $(cat /sys/class/net/eth0/address)
ip addr flush dev eth0; ip link set eth0 master lan
ip link set eth0 up; ip link set lan up
ip addr add 192.168.50.2/24 dev lan; ip route add default via 192.168.50.1"""
SECOND_PORT = """
ip link add eth1 type veth peer name eth1p; ip link set eth1 master lan
ip link set eth1 up; ip link set eth1p up
busybox ping -c 1 -W 2 192.168.50.1; busybox ping -c 1 -W 2 192.168.50.10"""
ALL = "net.bridge.bridge-nf-call-iptables"


def lan_of(lab: Lab, more: str = "", calls: str = "1") -> None:
    """Make the router's LAN a bridge."""
    lab.bypass.run("sh", "-ec", BRIDGE + more)
    lab.bypass.sysctl(ALL, calls)
    lab.target.serve("tcp", 443)


@pytest.mark.parametrize("firewall", ["nftables", "iptables"])
@pytest.mark.parametrize("more", ["", SECOND_PORT], ids=["one port", "two"])
async def test_it_is_named_and_the_repair_lets_packets_pass(
    hass: HomeAssistant,
    at_home: Lab,
    hass_client: ClientSessionGenerator,
    firewall: str,
    more: str,
) -> None:
    """By switch, doctor and repair, for as long as it is so."""
    assert await async_setup_component(hass, "repairs", {})
    lan_of(at_home, more)
    entry = await set_up(hass, at_home, WEB, firewall=firewall)
    switch = switch_of(hass, entry, "Web")
    await turn(hass, "on", switch)
    assert not await passes(at_home)
    state = hass.states.get(switch)
    assert state
    assert "bridge" in state.attributes["obstacles"][0]
    assert issue(hass, "kept_out") is None
    assert (await diagnose(hass, switch))["causes"] == ["bridged"]
    found = issue(hass, "bridged_")
    assert found
    client = await hass_client()
    started = await client.post(
        "/api/repairs/issues/fix",
        json={"handler": "bypass_router", "issue_id": found.issue_id},
    )
    flow = await started.json()
    done = await client.post(f"/api/repairs/issues/fix/{flow['flow_id']}", json={})
    assert (await done.json())["type"] == "create_entry"
    assert await passes(at_home)
    await until(lambda: issue(hass, "bridged_") is None)
    assert (await diagnose(hass, switch))["causes"] == []


async def test_a_bridge_that_is_set_so_by_itself_is_freed_as_well(
    hass: HomeAssistant, at_home: Lab
) -> None:
    """It has a setting of its own."""
    lan_of(at_home, "\nip link set dev lan type bridge nf_call_iptables 1", "0")
    entry = await set_up(hass, at_home, WEB)
    await turn(hass, "on", switch_of(hass, entry, "Web"))
    assert issue(hass, "bridged_")
    await entry.runtime_data.connection.router.free_bridge()
    assert await passes(at_home)
    await entry.runtime_data.async_reconcile()
    assert issue(hass, "bridged_") is None


async def test_nothing_is_said_any_more_once_someone_has_mended_it_by_hand(
    hass: HomeAssistant, at_home: Lab
) -> None:
    """Though no router reports that; a bridge that is so is none of our business."""
    lan_of(at_home)
    entry = await set_up(hass, at_home, WEB)
    switch = switch_of(hass, entry, "Web")
    await turn(hass, "on", switch)
    # By then, what was seen of our own change has been read as well.
    assert not await passes(at_home)
    assert issue(hass, "bridged_")
    at_home.bypass.sysctl(ALL, "0")
    assert await passes(at_home)
    async_fire_time_changed(hass, dt_util.utcnow() + timedelta(seconds=61))
    await until(lambda: issue(hass, "bridged_") is None)
    state = hass.states.get(switch)
    assert state
    assert "obstacles" not in state.attributes


async def test_a_router_without_a_bridge_is_asked_nothing(
    hass: HomeAssistant, at_home: Lab
) -> None:
    """Whatever others have in the same kernel."""
    entry = await set_up(hass, at_home, WEB)
    rules = entry.runtime_data.connection.router.rules
    await rules.read()
    assert not [command for command in rules.printed if "brforward" in command]


LINES = (
    "calls 1 0\nport 0x1\nport 0x2\n"
    "neighbour 192.168.50.1 02:00:c0:a8:32:01\n"
    "neighbour 192.168.50.10 02:00:c0:a8:32:0a\n"
    "gateway 0132A8C0\n"
    " 02 00 c0 a8 32 02 01 01 00 00 00 00 00 00 00 00\n"
    " 02 00 c0 a8 32 01 01 00 9f 0b 00 00 00 00 00 00\n"
    " 02 00 c0 a8 32 0a 01 00 00 00 00 00 00 00 00 00"
)


@pytest.mark.parametrize(
    ("change", "stopped"),
    [
        (lambda text: text, True),
        # As `hexdump` of OpenWrt's busybox prints it.
        (lambda text: text.replace("\n 02", "\n02"), True),
        (lambda text: text.replace("32 0a 01", "32 0a 02"), False),
        (lambda text: text.replace("calls 1 0", "calls 0 0"), False),
        (lambda text: text.replace("calls 1 0", "calls 0 1"), True),
        (lambda text: text.replace("port 0x2\n", "").replace("0a 01", "0a 03"), True),
        # No one knows where the device is, or who the main router is.
        (lambda text: text.replace("192.168.50.10 ", "192.168.50.11 "), False),
        (lambda text: text.replace("gateway", "nothing"), False),
        (lambda _: "sh: can't open /proc/sys/net/bridge", False),
        (lambda text: text.replace("192.168.50.10 ", "999.168.50.10 "), False),
    ],
)
def test_it_stops_what_goes_back_by_the_port_that_it_came_by(
    change: Callable[[str], str], *, stopped: bool
) -> None:
    """And nothing else is blamed."""
    bridge = Bridge(RouterContext("ab12", IPv4Interface("192.168.50.2/24")), "lan")
    forward = Forward.parse(
        "01WEB", protocol="tcp", external_port="8443", target="192.168.50.10"
    )
    state = bridge.read({"bridge": Result(change(LINES), 0)})
    found = [one.kind for one in bridge.obstacles(forward, state)]
    assert found == ([Hindrance.BRIDGED] if stopped else [])
    elsewhere = Forward.parse(
        "01WEB", protocol="tcp", external_port="8443", target="10.0.0.10"
    )
    assert not list(bridge.obstacles(elsewhere, state))
