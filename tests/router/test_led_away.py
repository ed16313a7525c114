"""Answers go back the way the request came, whatever leads packets elsewhere."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from difflib import unified_diff
from ipaddress import IPv4Address
from itertools import product
import re
from zlib import crc32

import pytest

from custom_components.bypass_router.router.backend import Backend
from custom_components.bypass_router.router.forward import Forward
from custom_components.bypass_router.router.monitor import Change
from custom_components.bypass_router.router.router import Router
from custom_components.bypass_router.router.rules.base import Problem
from custom_components.bypass_router.router.rules.obstacles import Hindrance, Obstacle
from tests.lab.by_hand import all_rules
from tests.lab.exchange import Exchange, Outcome, Transport
from tests.lab.led_away import (
    AWAY,
    NO_GATEWAY,
    OPENVPN,
    PBR,
    PBR_BY_RULE,
    SING_TUN,
    LedAway,
)
from tests.lab.network import Lab
from tests.lab.options import RouterOptions
from tests.lab.proxies import Proxy, was_hijacked
from tests.lab.waiting import soon

from .client import connect
from .test_monitor import listening

PLAIN = Forward.parse(
    "01PLAIN", protocol="both", external_port="9000", target="192.168.50.10"
)
KEPT = Forward.parse(
    "02KEPT",
    protocol="both",
    external_port="9001-9003",
    target="192.168.50.10",
    keep_client_address=True,
)
FORWARDS = {forward.id: forward for forward in (PLAIN, KEPT)}
OURS = re.compile(r"HA-BYPASS|bypass_router:|ha_bypass|proto 217|table 7077")
PORTS = (9000, 9002)
PROTOCOLS: tuple[Transport, ...] = ("tcp", "udp")


def everything(lab: Lab) -> str:
    """Return all rules of the router, of routing as well, and its routes."""
    rules = lab.bypass.real("ip", "rule").stdout
    routes = lab.bypass.real("ip", "-4", "route", "show", "table", "all").stdout
    return f"{all_rules(lab)}\n{rules}\n{routes}"


def difference(before: str, after: str) -> list[str]:
    """Return the lines that differ."""
    return list(unified_diff(before.splitlines(), after.splitlines(), lineterm="", n=0))


def serve(lab: Lab) -> None:
    """Let the target answer where the forwards lead to."""
    for port, protocol in product(PORTS, PROTOCOLS):
        lab.target.serve(protocol, port)


def tried(lab: Lab, *, timeout: float = 2.0) -> dict[str, Exchange]:
    """Use both forwards, over both transports, from the internet and from the LAN."""
    places = {
        "internet": (lab.internet, lab.main.wan_address),
        "LAN": (lab.other, lab.bypass.address),
    }
    return {
        f"{port} over {protocol} from the {name}": node.exchange(
            protocol, address, port, timeout=timeout
        )
        for (name, (node, address)), port, protocol in product(
            places.items(), PORTS, PROTOCOLS
        )
    }


def lost(lab: Lab, *, timeout: float = 2.0) -> list[str]:
    """Return what did not pass."""
    found = tried(lab, timeout=timeout)
    return [f"{name}: {one}" for name, one in found.items() if not one.passed]


@contextmanager
def led_away(lab: Lab, how: LedAway) -> Iterator[Proxy]:
    """Lead packets away on the bypass router."""
    proxy = Proxy(how)
    proxy.start(lab.bypass)
    try:
        yield proxy
    finally:
        proxy.stop()


def ways_of(lab: Lab, without: tuple[str, ...]) -> Iterator[LedAway]:
    """Yield all ways of a router: where it has no nft, those by iptables."""
    for how in AWAY:
        if "nft" not in without:
            yield how
        elif (variant := lab.options.iptables) and not (
            other := how.by_iptables(variant)
        ).nft:
            yield other


@pytest.mark.long
@pytest.mark.parametrize(
    ("router_options", "without", "backend"),
    [
        (RouterOptions(), (), Backend.AUTO),
        (RouterOptions(), (), Backend.IPTABLES),
        (RouterOptions(), ("nft",), Backend.AUTO),
        (RouterOptions("legacy"), ("nft",), Backend.AUTO),
    ],
    ids=["nft", "iptables-nft", "no nft, iptables-nft", "no nft, legacy"],
)
async def test_answers_reach_the_main_router(
    at_home: Lab, without: tuple[str, ...], backend: Backend
) -> None:
    """However they are led away; and nothing is left of what leads them back."""
    lab = at_home
    lab.bypass.commands.hide(*without)
    serve(lab)
    router = await connect(lab, firewall=backend)
    flaws: list[str] = []
    # The kernel's own chains are made by the first rule, and never go.
    await router.rules.apply(FORWARDS.values())
    await router.rules.apply([])
    for how in ways_of(lab, without):
        with led_away(lab, how) as proxy:
            flaws += [f"{how}: {flaw}" for flaw in await used(lab, router, proxy)]
    await router.close()
    assert not flaws, "\n".join(flaws)


async def used(lab: Lab, router: Router, proxy: Proxy) -> list[str]:
    """Return what is wrong of the forwards, there and after a restart of the proxy."""
    flaws: list[str] = []
    bare = everything(lab)
    live = await router.rules.apply(FORWARDS.values())
    if live.forwards != FORWARDS:
        flaws.append(f"not live: {live}")
    flaws += await asyncio.to_thread(lost, lab)
    if (await router.rules.read()).forwards != FORWARDS:
        flaws.append("not live after a look")
    await router.rules.apply([])
    if (left := everything(lab)) != bare:
        flaws.append("left:\n" + "\n".join(difference(bare, left)))
    await router.rules.apply(FORWARDS.values())
    proxy.reinsert()
    await router.rules.apply(FORWARDS.values())
    flaws += [f"again, {flaw}" for flaw in await asyncio.to_thread(lost, lab)]
    await router.rules.apply([])
    if ours := OURS.search(everything(lab)):
        flaws.append(f"left: {ours}")
    return flaws


async def test_other_traffic_of_the_target_is_left_alone(at_home: Lab) -> None:
    """What it sends by itself goes into the tunnel as before, by that very service."""
    lab = at_home
    serve(lab)
    router = await connect(lab)

    def own() -> bool:
        return was_hijacked(
            lab.target.exchange("udp", lab.internet.address, 5000, timeout=2.0)
        )

    with led_away(lab, PBR):
        assert await asyncio.to_thread(own)
        await router.rules.apply(FORWARDS.values())
        assert await asyncio.to_thread(own)
        assert not await asyncio.to_thread(lost, lab)
    await router.close()


async def test_whom_a_route_keeps_out_stays_out(at_home: Lab) -> None:
    """As fail2ban bans by routes; all others are let in."""
    lab = at_home
    serve(lab)
    router = await connect(lab)
    ban = f"blackhole {lab.internet.address}/32"
    with led_away(lab, OPENVPN):
        await router.rules.apply(FORWARDS.values())
        lab.bypass.ip(f"route add {ban}")
        await router.rules.apply(FORWARDS.values())
        found = await asyncio.to_thread(tried, lab, timeout=0.4)
        passed = {name.rpartition(" ")[2] for name, one in found.items() if one.passed}
        assert passed == {"LAN"}
        lab.bypass.ip(f"route del {ban}")
        await router.rules.apply(FORWARDS.values())
        assert not await asyncio.to_thread(lost, lab)
        await router.rules.apply([])
        assert not OURS.search(everything(lab))
    await router.close()


@pytest.mark.parametrize(
    "taken",
    [
        "ip rule del fwmark 0x10d9 lookup 7077",
        "ip route flush table 7077",
        "nft delete table ip ha_bypass_answers",
        "nft flush chain ip ha_bypass_answers lead_back",
    ],
)
async def test_a_tunnel_that_comes_later_is_heard_of_and_so_is_what_is_lost(
    at_home: Lab, taken: str
) -> None:
    """At once, by what the router reports."""
    lab = at_home
    serve(lab)
    router = await connect(lab, firewall=Backend.AUTO)
    await router.rules.apply(FORWARDS.values())
    async with listening(router) as listener:
        await listener.quiet()
        with led_away(lab, OPENVPN):
            assert await listener.next(soon(3)) == Change()
            assert (await router.rules.read()).damaged == FORWARDS.keys()
            await router.rules.apply(FORWARDS.values())
            assert not await asyncio.to_thread(lost, lab)
            await listener.quiet()
            lab.bypass.run(*taken.split())
            assert isinstance(await listener.next(soon(3)), Change)
            assert (await router.rules.read()).damaged == FORWARDS.keys()
            await router.rules.apply(FORWARDS.values())
            assert not await asyncio.to_thread(lost, lab)
            await listener.quiet()
        assert isinstance(await listener.next(soon(3)), Change)
        await router.rules.apply(FORWARDS.values())
        assert "7077" not in everything(lab)
    await router.close()


async def test_where_nothing_tells_the_main_router_that_is_said(at_home: Lab) -> None:
    """And all is well with what the user says."""
    lab = at_home
    serve(lab)
    with led_away(lab, NO_GATEWAY):
        router = await connect(lab)
        live = await router.rules.apply(FORWARDS.values())
        assert live.forwards == FORWARDS
        assert router.rules.obstacles(KEPT) == [
            Obstacle(Hindrance.NO_GATEWAY, {"interface": "Meta"})
        ]
        assert await router.rules.problems(KEPT) == {Problem.MISROUTED}
        assert "7077" not in everything(lab)
        await router.close()
        router = await connect(lab, main_router=IPv4Address(lab.main.address))
        assert (await router.rules.read()).damaged == FORWARDS.keys()
        await router.rules.apply(FORWARDS.values())
        assert router.rules.obstacles(KEPT) == []
        assert not await asyncio.to_thread(lost, lab)
        await router.rules.apply([])
        await router.close()


async def test_what_stands_before_our_rule_is_no_success(at_home: Lab) -> None:
    """Where nothing can be put before it."""
    lab = at_home
    serve(lab)
    router = await connect(lab)
    first = replace(
        PBR_BY_RULE,
        do=PBR_BY_RULE.do.replace("pref 29997", "pref 1"),
        undo=PBR_BY_RULE.undo.replace("pref 29997", "pref 1"),
    )
    with led_away(lab, first):
        await router.rules.apply(FORWARDS.values())
        assert await router.rules.problems(PLAIN) == {Problem.MISROUTED}
        await router.rules.apply([])
    await router.close()


async def test_rules_by_the_flow_go_when_there_is_something_better(
    at_home: Lab,
) -> None:
    """As an earlier version has left them."""
    lab = at_home
    serve(lab)
    router = await connect(lab)
    preference = 200 + crc32(b"ab12") % 800
    old = f"pref {preference} from {lab.target.address} ipproto tcp sport 9000"
    with led_away(lab, SING_TUN):
        lab.bypass.ip(f"rule add {old} lookup main protocol 217")
        await router.rules.apply(FORWARDS.values())
        assert "sport" not in everything(lab)
        assert not await asyncio.to_thread(lost, lab)
        await router.rules.apply([])
        assert not OURS.search(everything(lab))
    await router.close()


@pytest.mark.parametrize("router_options", [RouterOptions(), RouterOptions("legacy")])
@pytest.mark.parametrize("without", [(), ("nft",)], ids=["nft", "no nft"])
async def test_two_home_assistants_share_what_leads_back(
    at_home: Lab, without: tuple[str, ...]
) -> None:
    """The one that goes takes its own, and the last one all."""
    lab = at_home
    serve(lab)
    lab.bypass.commands.hide(*without)
    one = await connect(lab, firewall=Backend.AUTO)
    other = await connect(lab, "cd34", firewall=Backend.AUTO)
    with led_away(lab, OPENVPN):
        await one.rules.apply([PLAIN])
        await other.rules.apply([KEPT])
        await one.rules.apply([PLAIN])
        assert not await asyncio.to_thread(lost, lab)
        # Nothing serves there, and ICMP tells the client.
        closed = lab.internet.exchange("udp", lab.main.wan_address, 9001, timeout=2.0)
        assert closed.outcome is Outcome.REFUSED
        await one.rules.apply([])
        assert (await other.rules.read()).forwards == {KEPT.id: KEPT}
        assert "7077" in everything(lab)
        found = await asyncio.to_thread(tried, lab, timeout=0.4)
        assert all(one.passed for name, one in found.items() if name.startswith("9002"))
        await other.rules.apply([])
        assert not re.search("7077|ha_bypass|HA-BYPASS-ANSWER", everything(lab))
    await one.close()
    await other.close()


async def test_a_route_of_others_in_our_table_stays(at_home: Lab) -> None:
    """Whoever has put it there."""
    lab = at_home
    serve(lab)
    router = await connect(lab)
    lab.bypass.ip("route add 10.9.0.0/16 dev lan table 7077")
    with led_away(lab, OPENVPN):
        await router.rules.apply(FORWARDS.values())
        assert not await asyncio.to_thread(lost, lab)
        await router.rules.apply([])
        assert re.findall(".*7077.*", everything(lab)) == [
            "10.9.0.0/16 dev lan table 7077 scope link "
        ]
    await router.close()
