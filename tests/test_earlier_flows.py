"""A peer that was sending before its forward came on: it gets through soon."""

import asyncio
import socket
from typing import Any
import weakref

from homeassistant.const import STATE_ON, STATE_UNAVAILABLE
from homeassistant.core import HomeAssistant
import pytest
from pytest_homeassistant_custom_component.common import MockConfigEntry

from tests.lab.network import Lab
from tests.lab.waiting import LIMIT, soon, until, until_told, wait_until

from .client import Connection
from .setup import GAME, WEB, lose_rules, set_up, switch_of, turn
from .test_diagnose import diagnose

# Seconds: what is promised of a peer that sends once a second.
PROMISED = 2
# Seconds from one datagram to the next.
INTERVAL = 0.4
VOICE = {**WEB, "name": "Voice", "protocol": "both", "external_port": "9000"}
MANY = {**GAME, "name": "Many", "external_port": "6000-6099", "target_port": ""}
FIREWALLS = pytest.mark.parametrize("firewall", ["nftables", "iptables"])


class Peer:
    """Someone in the internet who sends datagrams from one port, answered or not."""

    def __init__(self, lab: Lab, port: int = 9000) -> None:
        """Send nothing yet."""
        with lab.internet.enter():
            self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        weakref.finalize(self, self._socket.close)
        # It sends again, however busy the machine is: an answer may come to that.
        self._socket.settimeout(INTERVAL)
        self._socket.bind(("203.0.113.10", 0))
        self._to = (lab.main.wan_address, port)
        self.port = self._socket.getsockname()[1]

    def ask(self) -> bool:
        """Send a datagram, and return whether it is answered."""
        self._socket.sendto(b"hello\n", self._to)
        try:
            return b"hello" in self._socket.recv(65535)
        except OSError:
            return False

    async def asks(self) -> bool:
        """Do so while others run."""
        return await asyncio.to_thread(self.ask)


async def goes_on(peer: Peer) -> None:
    """Go on sending."""
    while True:
        await peer.asks()


def flows(lab: Lab, port: int) -> str:
    """Return what the router's kernel knows of flows that came to a port."""
    return lab.bypass.real(
        *f"conntrack -L -p udp -d {lab.bypass.address} --dport {port}".split()
    ).stdout


def flush(lab: Lab, firewall: str) -> None:
    """Remove our rules, and none by which the router translates for others."""
    if firewall == "nftables":
        lose_rules(lab)
    else:
        lab.bypass.run("iptables", "-t", "nat", "-F", "HA-BYPASS-PRE")


async def sending(lab: Lab, port: int = 9000) -> Peer:
    """Return a peer that has been sending in vain, as the kernel remembers."""
    peer = Peer(lab, port)

    async def remembered() -> bool:
        assert not await peer.asks()
        return f"sport={peer.port}" in flows(lab, port)

    await until_told(remembered)
    return peer


async def gets_through(peer: Peer) -> None:
    """See that it does so in the time that is promised."""
    await until_told(peer.asks, soon(PROMISED))


async def home(hass: HomeAssistant, lab: Lab, **options: Any) -> MockConfigEntry:
    """Set up the router with two forwards over UDP that are off."""
    lab.target.serve("udp", 443)
    lab.target.serve("udp", 6050)
    lab.target.serve("tcp", 443)
    return await set_up(hass, lab, VOICE, MANY, WEB, **options)


@FIREWALLS
@pytest.mark.parametrize("kept", [False, True])
async def test_it_gets_through_when_the_forward_comes_on(
    hass: HomeAssistant, at_home: Lab, firewall: str, *, kept: bool
) -> None:
    """Whatever address the device is to see."""
    at_home.target.serve("udp", 443)
    voice = {**VOICE, "keep_client_address": kept}
    entry = await set_up(hass, at_home, voice, firewall=firewall)
    peer = await sending(at_home)
    await turn(hass, "on", switch_of(hass, entry, "Voice"))
    await gets_through(peer)


@FIREWALLS
async def test_so_it_does_at_any_port_of_a_range(
    hass: HomeAssistant, at_home: Lab, firewall: str
) -> None:
    """However many ports there are."""
    entry = await home(hass, at_home, firewall=firewall)
    peer = await sending(at_home, 6050)
    await turn(hass, "on", switch_of(hass, entry, "Many"))
    await gets_through(peer)


@FIREWALLS
async def test_so_it_does_when_a_flush_is_mended(
    hass: HomeAssistant, at_home: Lab, firewall: str
) -> None:
    """It began to send while the forward was away."""
    entry = await home(hass, at_home, firewall=firewall, restore=False)
    await turn(hass, "on", switch_of(hass, entry, "Voice"))
    flush(at_home, firewall)
    await until(lambda: not entry.runtime_data.data.forwards)
    peer = await sending(at_home)
    hass.config_entries.async_update_entry(entry, options={"firewall": firewall})
    await turn(hass, "on", switch_of(hass, entry, "Voice"))
    await gets_through(peer)


@FIREWALLS
async def test_so_it_does_when_the_router_has_restarted(
    hass: HomeAssistant, at_home: Lab, firewall: str
) -> None:
    """It goes on sending from before the restart until the rules are back."""
    entry = await home(hass, at_home, firewall=firewall)
    switch = switch_of(hass, entry, "Voice")
    await turn(hass, "on", switch)
    at_home.bypass.stop_ssh()
    await asyncio.to_thread(at_home.bypass.reboot)
    await until(lambda: hass.states.get(switch).state == STATE_UNAVAILABLE)
    # As a router with a firewall of its own does.
    at_home.bypass.run("sh", "-c", "iptables -t nat -A POSTROUTING -j MASQUERADE")
    peer = await sending(at_home)
    at_home.bypass.start_ssh()
    # What is promised counts from the rules on, not from the reconnection.
    await until(lambda: hass.states.get(switch).state == STATE_ON)
    await gets_through(peer)


@FIREWALLS
async def test_so_it_does_when_the_entry_is_reloaded_at_once(
    hass: HomeAssistant, at_home: Lab, firewall: str
) -> None:
    """As it is by whoever saves another option just then."""
    entry = await home(hass, at_home, firewall=firewall)
    peer = await sending(at_home)
    await turn(hass, "on", switch_of(hass, entry, "Voice"))
    assert await hass.config_entries.async_reload(entry.entry_id)
    await gets_through(peer)


@FIREWALLS
async def test_so_it_does_through_rules_that_are_there_when_home_assistant_starts(
    hass: HomeAssistant, at_home: Lab, firewall: str
) -> None:
    """It was killed when it had just set them."""
    entry = await home(hass, at_home, firewall=firewall)
    await turn(hass, "on", switch_of(hass, entry, "Voice"))
    await hass.config_entries.async_unload(entry.entry_id)
    listing = {
        "nftables": "nft list table ip ha_bypass",
        "iptables": "iptables-save -t nat",
    }[firewall]
    rules = at_home.bypass.run(*listing.split()).stdout
    flush(at_home, firewall)
    peer = await sending(at_home)
    restoring = {"nftables": "nft -f -", "iptables": "iptables-restore"}[firewall]
    at_home.bypass.run(*restoring.split(), input=rules)
    assert not await peer.asks()
    await hass.config_entries.async_setup(entry.entry_id)
    await gets_through(peer)


@FIREWALLS
async def test_what_is_connected_already_is_let_be(
    hass: HomeAssistant, at_home: Lab, firewall: str
) -> None:
    """By other forwards, and to the router's own service at a port over TCP."""
    at_home.bypass.spawn("busybox", "nc", "-ll", "-p", "9000", "-e", "cat")
    entry = await home(hass, at_home, firewall=firewall)
    await turn(hass, "on", switch_of(hass, entry, "Web"))
    web = Connection(at_home)
    own = await asyncio.to_thread(connected, at_home)
    try:
        await turn(hass, "on", *(switch_of(hass, entry, n) for n in ("Voice", "Many")))
        user = Connection(at_home, "udp", 9000)
        flush(at_home, firewall)
        await until_told(Peer(at_home).asks)
        assert await asyncio.to_thread(web.lives)
        assert await asyncio.to_thread(user.lives)
        own.sendall(b"still\n")
        assert await asyncio.to_thread(own.recv, 100) == b"still\n"
    finally:
        own.close()


def connected(lab: Lab) -> socket.socket:
    """Return a connection from the internet to the router's own service."""
    with lab.internet.enter():
        own = socket.socket()
    own.settimeout(LIMIT)

    def reached() -> bool:
        try:
            own.connect((lab.main.wan_address, 9000))
        except ConnectionRefusedError:
            return False
        return True

    wait_until(reached)
    return own


async def test_without_conntrack_nothing_goes_wrong(
    hass: HomeAssistant, at_home: Lab
) -> None:
    """New peers are answered, and the doctor names the one that is not."""
    at_home.bypass.commands.hide("conntrack")
    entry = await home(hass, at_home)
    peer = await sending(at_home)
    switch = switch_of(hass, entry, "Voice")
    await turn(hass, "on", switch)
    await gets_through(Peer(at_home))
    assert not await peer.asks()
    sends = hass.async_create_background_task(goes_on(peer), "a peer")
    found = await diagnose(hass, switch)
    sends.cancel()
    assert found["causes"] == ["earlier_flow"]
    (check,) = (it for it in found["checks"] if it["cause"])
    assert "203.0.113.10" in check["seen"]
