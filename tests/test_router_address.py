"""Which of the router's addresses forwards answer at, and that a virtual one works."""

import asyncio

from homeassistant.core import HomeAssistant
import pytest
from pytest_homeassistant_custom_component.common import MockConfigEntry

from tests.lab.exchange import Transport
from tests.lab.network import Lab

from .sentences import said
from .setup import WEB, add_entry, set_up, switch_of, turn
from .test_diagnose import diagnose
from .test_forward_flow import SECTION

VIRTUAL = "192.168.50.9"
# As keepalived adds its address: on the interface, or on one with VRRP's MAC address.
ON_LAN = "ip addr add 192.168.50.9/32 dev lan"
ON_ITS_OWN = (
    "ip link add vrrp.51 link lan address 00:00:5e:00:01:33 type macvlan mode private"
    " && ip link set vrrp.51 up && ip addr add 192.168.50.9/32 dev vrrp.51"
    " && sysctl -qw net.ipv4.conf.lan.arp_ignore=1"
)
BOTH = {**WEB, "protocol": "both"}


@pytest.mark.parametrize("firewall", ["nftables", "iptables"])
@pytest.mark.parametrize("kept", [False, True], ids=["", "kept"])
@pytest.mark.parametrize("comes", [ON_LAN, ON_ITS_OWN], ids=["lan", "macvlan"])
async def test_a_virtual_address_works_as_any(
    hass: HomeAssistant, at_home: Lab, comes: str, firewall: str, *, kept: bool
) -> None:
    """From the internet and from the LAN, over both transports."""
    lab = at_home
    lab.bypass.run("sh", "-ec", comes)
    lab.main.clear_forwards()
    transports: tuple[Transport, ...] = ("tcp", "udp")
    for transport in transports:
        lab.target.serve(transport, 443)
        lab.main.forward(transport, "8443", VIRTUAL)
    entry = await at_address(hass, lab, firewall=firewall, kept=kept)
    await turn(hass, "on", switch_of(hass, entry, "Web"))
    for transport in transports:
        outside = await exchanged(lab, transport, lab.main.wan_address, inside=False)
        assert outside == (lab.internet.address if kept else VIRTUAL)
        assert await exchanged(lab, transport, VIRTUAL, inside=True)
    # At the other address no forward was asked for.
    assert await exchanged(lab, "tcp", lab.bypass.address, inside=True) is None
    switch = switch_of(hass, entry, "Web")
    state = hass.states.get(switch)
    assert state
    assert state.attributes["router_address"] == VIRTUAL
    assert (await diagnose(hass, switch))["causes"] == []


async def at_address(
    hass: HomeAssistant, lab: Lab, *, firewall: str, kept: bool
) -> MockConfigEntry:
    """Set up the router by its virtual address."""
    entry = add_entry(
        hass, lab, {**BOTH, "keep_client_address": kept}, firewall=firewall
    )
    hass.config_entries.async_update_entry(entry, data={**entry.data, "host": VIRTUAL})
    await hass.config_entries.async_setup(entry.entry_id)
    await hass.async_block_till_done()
    return entry


async def exchanged(
    lab: Lab, protocol: Transport, address: str, *, inside: bool
) -> str | None:
    """Return whom the target saw; None where nothing came back."""
    client = lab.other if inside else lab.internet
    done = await asyncio.to_thread(
        client.exchange, protocol, address, 8443, timeout=0.6
    )
    return done.peer_seen if done.passed else None


async def test_each_place_names_the_address(hass: HomeAssistant, at_home: Lab) -> None:
    """The switch, the form before and after, and the doctor's advice."""
    at_home.target.serve("tcp", 443)
    entry = await set_up(hass, at_home, WEB)
    switch = switch_of(hass, entry, "Web")
    await turn(hass, "on", switch)
    state = hass.states.get(switch)
    assert state
    address = at_home.bypass.address
    assert state.attributes["router_address"] == address
    form = await hass.config_entries.subentries.async_init(
        (entry.entry_id, "forward"), context={"source": "user"}
    )
    assert f"forward the same port to {address}" in said(form, SECTION)["description"]
    found = await diagnose(hass, switch, watch=1)
    (check,) = (it for it in found["checks"] if it["name"] == "arrival")
    assert f"forward 8443 to {address}" in check["do"]
    await hass.config_entries.async_unload(entry.entry_id)
