"""Answers go back the way the request came, whatever leads packets elsewhere."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from difflib import unified_diff
from itertools import product
import re

import pytest

from custom_components.bypass_router.router.backend import Backend
from custom_components.bypass_router.router.forward import Forward
from custom_components.bypass_router.router.router import Router
from tests.lab.by_hand import all_rules
from tests.lab.exchange import Exchange, Transport
from tests.lab.led_away import AWAY, LedAway
from tests.lab.network import Lab
from tests.lab.options import RouterOptions
from tests.lab.proxies import Proxy

from .client import connect

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


@pytest.mark.parametrize(
    ("router_options", "without", "backend"),
    [
        (RouterOptions(), (), Backend.AUTO),
        (RouterOptions(), (), Backend.IPTABLES),
        (RouterOptions(), ("nft",), Backend.AUTO),
        (RouterOptions("legacy"), ("nft",), Backend.AUTO),
        (RouterOptions("legacy"), (), Backend.IPTABLES),
    ],
    ids=["nft", "iptables-nft", "no nft, iptables-nft", "no nft, legacy", "legacy"],
)
async def test_answers_reach_the_main_router(
    at_home: Lab, without: tuple[str, ...], backend: Backend
) -> None:
    """However they are led away; and nothing is left of what leads them back."""
    lab = at_home
    lab.bypass.commands.hide(*without)
    for port, protocol in product(PORTS, PROTOCOLS):
        lab.target.serve(protocol, port)
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
