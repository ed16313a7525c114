"""One switch for both halves, on the gateways that people have: what becomes of it.

Those of which it matters what the kernel does are asked by a whole Home Assistant, in
the lab; all of those that speak UPnP, by a shell alone.
"""

import asyncio
from collections.abc import Iterable, Mapping
from dataclasses import replace
from ipaddress import IPv4Address
import math
from pathlib import Path
from typing import Any, Final

from homeassistant.const import STATE_OFF, STATE_ON, STATE_UNKNOWN
from homeassistant.core import HomeAssistant
import pytest
from pytest_homeassistant_custom_component.common import MockConfigEntry

from custom_components.bypass_router.main_router import hints, manager
from custom_components.bypass_router.main_router.asking import Asking
from custom_components.bypass_router.main_router.findings import halves_of
from custom_components.bypass_router.main_router.half import MainHalf
from custom_components.bypass_router.main_router.plan import Desired, Owner
from custom_components.bypass_router.router.port_mapping.base import (
    PortMapping,
    PublicPort,
)
from custom_components.bypass_router.router.port_mapping.upnp import Upnp, find_upnp
from tests.lab.gateway import GATEWAYS, Gateway
from tests.lab.gateway.table import Wanted
from tests.lab.network import Lab
from tests.lab.waiting import until

from .memory_main_router import MemoryFile, records_in
from .router.local_shell import LocalShell
from .setup import WEB as WEB_FORWARD, forward_id, passes, switch_of, turn
from .test_both_halves import connected, entity_of, status_of
from .test_main_router_heard import listen

HERE: Final = IPv4Address("127.0.0.1")
WEB: Final = PublicPort("tcp", 8443)
MAPPING: Final = PortMapping(WEB, 8443)
_TAKEN: Final = (
    {**WEB_FORWARD, "name": "Nas", "external_port": "8444"},
    {**WEB_FORWARD, "name": "Hand", "external_port": "8445"},
)
WANTED: Final[Desired] = {WEB: ("WEB", MAPPING)}

# What becomes of a port there, if it is not simply opened: why not, and what the
# entity says. Nobody can tell of the second one that it is open, but who comes in.
_ELSE: Final[Mapping[str, tuple[str, str]]] = {
    "SFR Neufbox": (STATE_UNKNOWN, "main_silent"),
    "ASUS RT-AC87U": (STATE_OFF, "main_not_set"),
    "Huawei, yes to all": (STATE_OFF, "main_not_set"),
    "FRITZ!Box, without the tick": (STATE_OFF, "main_not_allowed"),
    "Huawei HG531 behind CGNAT": (STATE_OFF, "no_public_address"),
    "miniupnpd behind CGNAT": (STATE_OFF, "no_public_address"),
    "repeater": (STATE_OFF, "no_public_address"),
    "says that it is connected": (STATE_OFF, "no_public_address"),
    "RomPager": (STATE_OFF, "main_failed"),
    "-911": (STATE_OFF, "main_failed"),
    "Huawei ONT": (STATE_OFF, "main_failed"),
    "ZTE F670L": (STATE_OFF, "main_port_held"),
    "729": (STATE_OFF, "main_port_held"),
    "NAT-PMP, low byte": (STATE_OFF, "main_port_held"),
    "NAT-PMP, another port": (STATE_OFF, "main_port_held"),
    "PCP, full every time": (STATE_OFF, "main_full"),
    "FRITZ!Box, by TR-064": (STATE_OFF, "main_not_allowed"),
    "FRITZ!Box, by TR-064, internal error": (STATE_OFF, "main_failed"),
    "knows no action": (STATE_OFF, "main_silent"),
    "not there": (STATE_UNKNOWN, "main_silent"),
}
# No one finds the first one; the other one is silent for so long.
_NOT_BY_SHELL: Final = {"OPNsense, one of a pair", "SFR Neufbox"}
# It says that it is open.
_IN_VAIN: Final = {"listed, and not open"}
# It does not say so.
_OPEN_ALL_THE_SAME: Final = {"ASUS RT-AC87U"}


def truth(name: str) -> tuple[str, str | None]:
    """Return what is to be seen of a gateway: the entity's state, and the cause."""
    return _ELSE.get(name, (STATE_ON, None))


def is_open(name: str) -> bool:
    """Return whether packets get in."""
    is_on = truth(name)[0] == STATE_ON or name in _OPEN_ALL_THE_SAME
    return is_on and name not in _IN_VAIN


async def half_at(asking: Asking) -> MainHalf:
    """Have the port opened; return what is known of it then."""
    outcomes = await asking.bring_about(WANTED, (), {})
    address = await asking.mapper.public_address()
    (half,) = halves_of(WANTED, outcomes, asking.owner.client, address, HERE).values()
    return half


def let_others_have(gateway: Gateway, bypass: str, other: str) -> set[int]:
    """Let another host have a port, and another program of the bypass router one.

    Return those that are left alone. Where the gateway does not tell what it has, it is
    itself that does not give the first one away, and no one could know of the second.
    """
    options = gateway.options
    gateway.table.put(Wanted(("tcp", 8444), other, 5000, "nas"))
    if not options.upnp or not options.lists:
        return set()
    gateway.table.put(Wanted(("tcp", 8445), bypass, 5000, "by hand"))
    return {8444, 8445}


def touched(gateway: Gateway, ports: Iterable[int], source: str) -> list[str]:
    """Return how a bypass router has changed what others have."""
    return [
        asked.what
        for asked in gateway.asked
        if asked.source == source
        and asked.what in {"AddPortMapping", "DeletePortMapping"}
        and int(asked.arguments["NewExternalPort"]) in ports
    ]


@pytest.mark.usefixtures("socket_enabled")
@pytest.mark.parametrize(
    "name",
    [
        it
        for it, options in GATEWAYS.items()
        if options.upnp and it not in _NOT_BY_SHELL
    ],
)
async def test_what_becomes_of_a_port(name: str, tmp_path: Path) -> None:
    """At once, at the second look, and when it is to be closed."""
    shell = LocalShell(tmp_path)
    shell.has("bash", "base64")
    options = GATEWAYS[name]
    if options.leased_last:
        options = replace(options, leased_last=0.2)
    with Gateway(options) as gateway:
        mapper = await find_upnp(shell, HERE, HERE, gateway.locations)
        assert isinstance(mapper, Upnp)
        asking = Asking(mapper, Owner("0a1b2c3d", HERE), records_in(MemoryFile()))
        first = gateway.count()
        half = await half_at(asking)
        for _ in range(2):
            if options.leased_last:
                await asyncio.sleep(0.3)
            half = await half_at(asking)
        cause = half.check.cause
        assert (half.state, cause and str(cause)) == truth(name)
        assert gateway.table.kernel.ways() == (
            {("tcp", 8443): ("127.0.0.1", 8443)} if is_open(name) else {}
        )
        assert gateway.count() - first <= 25
        assert await asking.bring_about({}, (), {}) == {}
        assert gateway.mappings == {}


# In the lab.

_OPENING: Final = (
    # Heard of by multicast alone, and found by a search.
    "TP-Link ER605",
    "eero",
    "Sagemcom FAST3890V3",
    "MikroTik",
    "FRITZ!Box",
    "DD-WRT",
    "never for good",
    "Technicolor",
    "miniupnpd",
    "delete first",
    "Huawei HG531",
    "ASUS RT-AC87U",
    "listed, and not open",
    "SFR Neufbox, started again",
    "Orange",
    "TP-Link Archer C8",
)
_REFUSING: Final = (
    "FRITZ!Box, without the tick",
    "Huawei ONT",
    "ZTE F670L",
    "miniupnpd behind CGNAT",
    "Huawei, yes to all",
    "FRITZ!Box, by TR-064",
    "SFR Neufbox",
    "not there",
)
_BY_UDP: Final = tuple(
    name
    for name, options in GATEWAYS.items()
    if not options.upnp and (options.nat_pmp or options.pcp)
)


async def serving(
    hass: HomeAssistant, lab: Lab, *more: Mapping[str, Any]
) -> MockConfigEntry:
    """Set up a forward to a device that answers, and more beside it."""
    lab.target.serve("tcp", 443)
    return await connected(hass, lab, WEB_FORWARD, *more)


@pytest.mark.parametrize(
    "names", [_OPENING, _REFUSING, _BY_UDP], ids=["opening", "refusing", "by udp"]
)
async def test_one_switch_on_gateways_that_people_have(
    hass: HomeAssistant,
    at_home: Lab,
    subtests: pytest.Subtests,
    monkeypatch: pytest.MonkeyPatch,
    names: tuple[str, ...],
) -> None:
    """It is on whatever they answer, tells what that is, and leaves nothing there."""
    monkeypatch.setattr(manager, "_SECOND_LOOK", 0.3)
    monkeypatch.setattr(hints, "_PAUSE", 0.1)
    entry = await serving(hass, at_home, *_TAKEN)
    await listen(hass, at_home)
    for name in names:
        with subtests.test(name):
            await tried(hass, at_home, entry, name)


async def test_rules_that_vanish_and_are_listed_still_are_set_anew_by_a_diagnosis(
    hass: HomeAssistant, at_home: Lab
) -> None:
    """Row 67: nothing tells of it but who does not come in."""
    entry = await serving(hass, at_home)
    halves = entry.runtime_data.halves
    with Gateway(GATEWAYS["OpenWrt, whose rules vanish"], at_home.main) as gateway:
        await turn(hass, "on", switch_of(hass, entry, "Web"))
        assert await passes(at_home)
        gateway.pass_time(301)
        await until(lambda: not gateway.table.kernel.ways())
        await halves.look(forward_id(entry, "Web"))
        assert not await passes(at_home)
        await halves.look(forward_id(entry, "Web"), anew=True)
        assert await passes(at_home)
        assert seen(hass, entry) == (STATE_ON, None)


async def test_what_no_clock_tells_is_seen_at_the_next_look(
    hass: HomeAssistant, at_home: Lab
) -> None:
    """Row 75: another address, and here mappings that are forgotten as well."""
    entry = await serving(hass, at_home)
    halves = entry.runtime_data.halves
    with Gateway(GATEWAYS["NAT-PMP, runs on"], at_home.main) as gateway:
        await turn(hass, "on", switch_of(hass, entry, "Web"))
        await until(lambda: str(halves.asked.public_address) == gateway.options.address)
        gateway.options = replace(gateway.options, address="45.32.7.10")
        gateway.restart()
        assert not await passes(at_home)
        await halves.look(forward_id(entry, "Web"))
        assert await passes(at_home)
        assert seen(hass, entry) == (STATE_ON, None)
        assert str(halves.asked.public_address) == "45.32.7.10"


async def tried(
    hass: HomeAssistant, lab: Lab, entry: MockConfigEntry, name: str
) -> None:
    """Try one gateway."""
    options = GATEWAYS[name]
    if options.leased_last:
        options = replace(options, leased_last=0.2)
    bypass = lab.bypass.address
    switches = [switch_of(hass, entry, name) for name in ("Web", "Nas", "Hand")]
    with Gateway(options, lab.main) as gateway:
        others = let_others_have(gateway, bypass, lab.other.address)
        theirs = dict(gateway.mappings)
        asked = entry.runtime_data.halves.asked
        if options.upnp:
            # One that answers seldom may have told it all to the bypass router by then,
            # which asks as well, and be silent to Home Assistant.
            last = options.answers_only or math.inf
            await until(
                lambda: (
                    gateway.location in asked.locations or gateway.requests() >= last
                )
            )
        first = gateway.count(source=bypass)
        await turn(hass, "on", *switches)
        assert {hass.states.get(switch).state for switch in switches} == {STATE_ON}
        assert gateway.count(source=bypass) - first <= 40
        # Of one that did not answer lately, a switch does not wait for an answer; and
        # what is not kept is asked for by another lease at the second look.
        await until(lambda: is_settled(entry) and seen(hass, entry) == truth(name))
        way = gateway.table.kernel.ways().get(("tcp", 8443))
        assert way == ((bypass, 8443) if is_open(name) else None)
        assert await passes(lab) is is_open(name)
        await turn(hass, "off", *switches)
        assert gateway.mappings == theirs
        assert touched(gateway, others, bypass) == []
        assert not await passes(lab)


def seen(hass: HomeAssistant, entry: MockConfigEntry) -> tuple[str, str | None]:
    """Return what is to be seen of the main router's half."""
    half = entry.runtime_data.halves.half(forward_id(entry, "Web"))
    cause = half.check.cause and str(half.check.cause)
    status = status_of(hass, entry, "Web")
    assert status.attributes.get("cause") == cause
    # What came in by another gateway is remembered.
    assert status.state in ({"fails"} if cause else {"untested", "works"})
    return entity_of(hass, entry, "Web").state, cause


def is_settled(entry: MockConfigEntry) -> bool:
    """Whether it was looked at all that the main router has agreed to."""
    asked = entry.runtime_data.halves.asked
    acting = asked._acting.locked() or asked._next  # noqa: SLF001
    return not acting and not asked._looks._unproven  # noqa: SLF001
