"""UPnP in the lab: a real gateway lets packets in, asked by real routers over SSH."""

from ipaddress import IPv4Address
import shutil
from typing import Final

import pytest

from custom_components.bypass_router.router.backend import Backend
from custom_components.bypass_router.router.port_mapping.base import (
    Answer,
    Entry,
    Opening,
    PortMapping,
    PublicPort,
    Refusal,
)
from custom_components.bypass_router.router.port_mapping.upnp import Upnp, find_upnp
from custom_components.bypass_router.router.router import Router
from tests.lab.bypass import RouterOptions
from tests.lab.gateway import GATEWAYS, Gateway, GatewayOptions
from tests.lab.miniupnpd import PUBLIC_ADDRESS, Miniupnpd, MiniupnpdOptions
from tests.lab.network import Lab

from .client import WEB as FORWARD, connect

WEB: Final = PublicPort("tcp", 8443)
MAPPING: Final = PortMapping(WEB, 8443)
OPENING: Final = Opening(MAPPING, "bypass_router:ab12:01WEB:1")
TOOLS: Final = ("bash", "nc*", "busybox", "socat", "curl", "wget")
OPENWRT: Final = RouterOptions(system="openwrt")
ON_OPENWRT: Final = pytest.mark.parametrize("router_options", [OPENWRT])


@pytest.fixture
def miniupnpd(at_home: Lab) -> Miniupnpd:
    """The daemon on the main router, as most have it."""
    daemon = Miniupnpd(at_home.main, MiniupnpdOptions())
    daemon.start()
    return daemon


async def found(router: Router, lab: Lab, *locations: str) -> Upnp | Refusal:
    """Find the main router."""
    client, gateway = IPv4Address(lab.bypass.address), IPv4Address(lab.main.address)
    return await find_upnp(router.run, client, gateway, locations)


async def opened(lab: Lab, daemon: Miniupnpd) -> None:
    """See that a port is opened, lets packets through both halves in, and is closed."""
    firewall = Backend.IPTABLES if lab.bypass.iptables else Backend.NFTABLES
    router = await connect(lab, firewall=firewall)
    try:
        upnp = await found(router, lab, daemon.location)
        assert isinstance(upnp, Upnp), upnp
        assert upnp.model == "The lab's main router"
        assert await upnp.public_address() == IPv4Address(PUBLIC_ADDRESS)
        await router.rules.apply([FORWARD])
        outcome = (await upnp.apply([OPENING], []))[WEB]
        assert outcome.refusal is None
        assert isinstance(outcome.listed, Entry)
        assert str(outcome.listed.client) == lab.bypass.address
        assert outcome.listed.description == OPENING.description
        assert daemon.mappings() == {("tcp", 8443): (lab.bypass.address, 8443)}
        lab.target.serve("tcp", 443)
        assert lab.internet.exchange("tcp", lab.main.wan_address, 8443).passed
        assert (await upnp.apply([], [MAPPING]))[WEB].listed is None
        assert daemon.mappings() == {}
    finally:
        await router.close()


@pytest.mark.parametrize(
    "tool", ["bash", "busybox", "nc.openbsd", "nc.traditional", "socat", "curl", "wget"]
)
async def test_a_port_is_opened_by_whatever_there_is(
    at_home: Lab, miniupnpd: Miniupnpd, tool: str
) -> None:
    """On Debian, and whatever is not there."""
    if not shutil.which(tool):
        pytest.skip(f"{tool} is not installed")
    commands = at_home.bypass.commands
    commands.hide(*(name for name in TOOLS if name != tool))
    if tool.startswith("nc"):
        commands.link("nc", f"bin/{tool}")
    await opened(at_home, miniupnpd)


@ON_OPENWRT
async def test_a_port_is_opened_by_an_openwrt(
    at_home: Lab, miniupnpd: Miniupnpd
) -> None:
    """With what its busybox has."""
    await opened(at_home, miniupnpd)


async def test_a_main_router_is_found_that_no_one_has_heard_of(
    at_home: Lab, miniupnpd: Miniupnpd
) -> None:
    """Or that is elsewhere by now."""
    router = await connect(at_home)
    try:
        for locations in ([], [f"{miniupnpd.location}.gone"]):
            assert isinstance(await found(router, at_home, *locations), Upnp)
        miniupnpd.stop()
        assert await found(router, at_home) == Refusal(Answer.SILENT)
    finally:
        await router.close()


async def test_one_that_is_at_an_ipv6_address_too_is_found_at_the_other(
    at_home: Lab,
) -> None:
    """Row 5, whichever it tells first; and that one is not asked for anything."""
    router = await connect(at_home)
    options = GATEWAYS["SFR Neufbox, started again"]
    try:
        with Gateway(options, at_home.main) as gateway:
            upnp = await found(router, at_home)
            assert isinstance(upnp, Upnp), upnp
            assert gateway.count("search", at_home.bypass.address) == 1
            assert (await upnp.apply([OPENING], []))[WEB].refusal is None
    finally:
        await router.close()


async def test_one_that_answers_from_elsewhere_is_not_heard(at_home: Lab) -> None:
    """Home Assistant hears it, and says where it is."""
    router = await connect(at_home)
    try:
        with Gateway(GatewayOptions(ssdp_port=0), at_home.main) as gateway:
            assert await found(router, at_home) == Refusal(Answer.SILENT)
            assert gateway.count("search", at_home.bypass.address) == 4
            assert isinstance(await found(router, at_home, gateway.location), Upnp)
    finally:
        await router.close()


async def test_what_a_main_router_refuses_is_told(
    at_home: Lab, miniupnpd: Miniupnpd
) -> None:
    """By its own code, as a port below 1024 is refused; and there, nothing is."""
    low, ours = PublicPort("tcp", 80), OPENING.description
    router = await connect(at_home)
    try:
        upnp = await found(router, at_home, miniupnpd.location)
        assert isinstance(upnp, Upnp)
        outcome = (await upnp.apply([Opening(PortMapping(low, 80), ours)], []))[low]
        assert outcome.refusal
        assert outcome.refusal.kind is Answer.NOT_ALLOWED
        assert outcome.listed is None
    finally:
        await router.close()
