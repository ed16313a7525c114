"""The client where our nft table translates: what is that table's own."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import replace
from ipaddress import IPv4Network
from itertools import cycle, islice
import random
import re
import threading

import pytest

from custom_components.bypass_router.router.backend import Backend
from custom_components.bypass_router.router.errors import (
    FirewallNotThere,
    PortTaken,
)
from custom_components.bypass_router.router.forward import Forward, PortRange, Protocol
from custom_components.bypass_router.router.router import Router
from custom_components.bypass_router.router.rules.base import Tag
from tests.lab.bypass import RouterOptions
from tests.lab.exchange import Exchange, Transport
from tests.lab.network import Lab
from tests.lab.user_namespace import rules_the_host

from .client import connect
from .test_router import GAME, WEB, passes, ruleset

INTERNET = (IPv4Network("203.0.113.0/24"),)
LAN = (IPv4Network("192.168.50.0/24"),)
NATIVE = RouterOptions(iptables=None)


@pytest.fixture
async def router(at_home: Lab) -> AsyncIterator[Router]:
    """The bypass router, connected."""
    router = await connect(at_home, firewall=Backend.NFTABLES)
    yield router
    await router.close()


FORWARD = "type filter hook forward priority 9;"
PRE = "ip ha_bypass pre"
RELOAD = f"nft delete chain {PRE}; nft -f /tmp/x"
FLUSH = "nft flush map ip ha_bypass translated"
PUT = "nft add element ip ha_bypass translated"
ELSEWHERE = 'comment "bypass_router:ab12:01WEB" : 192.168.50.10 . 444'


@pytest.mark.parametrize(
    "harm",
    [
        "nft flush ruleset",
        "nft delete table ip ha_bypass",
        "nft flush table ip ha_bypass",
        "nft flush chain ip ha_bypass pre",
        "nft flush chain ip ha_bypass post",
        FLUSH,
        "nft flush set ip ha_bypass rewritten_tcp",
        "nft delete element ip ha_bypass translated '{ tcp . 8443 }'",
        "nft delete element ip ha_bypass rewritten_tcp '{ 8443 }'",
        f"{FLUSH}; {PUT} '{{ tcp . 8443 {ELSEWHERE} }}'",
        f"{PUT} '{{ tcp . 8444 {ELSEWHERE} }}'",
        "nft insert rule ip ha_bypass pre accept",
        "nft insert rule ip ha_bypass post tcp dport 443 accept",
        "nft add rule ip ha_bypass pre counter",
        f"nft -s list chain {PRE} | sed 's/dstnat - 5/dstnat + 9/' >/tmp/x;{RELOAD}",
        "nft add chain ip ha_bypass pre '{ policy drop; }'",
        f"nft add chain ip ha_bypass more '{{ {FORWARD} policy drop; }}'",
    ],
)
async def test_whatever_harmed_a_forward_is_seen_and_mended(
    at_home: Lab, router: Router, harm: str
) -> None:
    """By the next look, and the next change, with traffic to prove it."""
    at_home.target.serve("tcp", 443)
    await router.rules.apply([WEB])
    whole = ruleset(at_home)
    at_home.bypass.run("sh", "-c", harm)
    assert ruleset(at_home) != whole
    assert (await router.rules.read()).forwards.get(WEB.id) != WEB
    assert (await router.rules.apply([WEB])).forwards == {WEB.id: WEB}
    assert await asyncio.to_thread(passes, at_home, "tcp", 8443)
    await router.rules.apply([])
    assert "ha_bypass" not in ruleset(at_home)


async def test_counters_of_a_forward_that_stays_live_on(
    at_home: Lab, router: Router
) -> None:
    """Whatever comes and goes beside it."""

    def counters() -> list[str]:
        listing = at_home.bypass.run("nft", "list map ip ha_bypass translated")
        return re.findall(r". 8443 counter packets ([0-9]+)", listing.stdout)

    at_home.target.serve("tcp", 443)
    await router.rules.apply([WEB])
    assert await asyncio.to_thread(passes, at_home, "tcp", 8443)
    assert counters() == ["1"]
    for desired in ([WEB, GAME], [GAME, WEB], [WEB]):
        await router.rules.apply(desired)
    assert counters() == ["1"]


@pytest.mark.parametrize("router_options", [RouterOptions(), NATIVE], ids=["", "alone"])
async def test_the_clients_address_is_kept_beside_any_masquerade(
    at_home: Lab, router: Router
) -> None:
    """Of iptables, and of any table that comes after ours."""
    at_home.bypass.run(
        "nft",
        "add table ip late; add chain ip late post"
        " { type nat hook postrouting priority srcnat + 20; };"
        " add rule ip late post masquerade",
    )
    transports: tuple[Transport, ...] = ("tcp", "udp")
    for protocol in transports:
        at_home.target.serve(protocol, "7000-7010")
    kept = replace(GAME, keep_client_address=True)
    await router.rules.apply([kept])
    for protocol in transports:
        seen = await asyncio.to_thread(
            at_home.internet.exchange,
            protocol,
            at_home.main.wan_address,
            6003,
            timeout=0.5,
        )
        assert (seen.peer_seen, seen.port_seen) == (at_home.internet.address, 7003)
        assert await asyncio.to_thread(passes, at_home, protocol, 6003, host="lan")


@pytest.mark.parametrize(
    "theirs",
    [WEB, replace(WEB, target_ports=PortRange(80, 80)), replace(WEB, sources=INTERNET)],
    ids=["the same", "another port", "some clients"],
)
async def test_a_port_that_another_holds_is_refused_and_nothing_is_half_done(
    at_home: Lab, router: Router, theirs: Forward
) -> None:
    """Whose it is, is said; not what nft would say."""
    at_home.target.serve("tcp", 80)
    at_home.target.serve("tcp", 443)
    other = await connect(at_home, owner="cd34", firewall=Backend.NFTABLES)
    try:
        await other.rules.apply([replace(theirs, id="01THEIRS")])
        await router.rules.apply([GAME])
        before = ruleset(at_home)
        # Where they forward for some clients, we do for others.
        sources = LAN if theirs.sources else ()
        span = replace(WEB, protocol=Protocol.BOTH, sources=sources)
        with pytest.raises(PortTaken, match="cd34"):
            await router.rules.apply([GAME, span])
        assert ruleset(at_home) == before
        assert (await router.rules.read()).forwards == {GAME.id: GAME}
        assert await asyncio.to_thread(passes, at_home, "tcp", 8443)
        await other.rules.apply([])
        assert (await router.rules.apply([span])).forwards == {span.id: span}
    finally:
        await other.close()


async def test_a_table_that_is_made_anew_keeps_what_others_have_in_it(
    at_home: Lab, router: Router
) -> None:
    """Another Home Assistant, and whoever added something by hand."""
    other = await connect(at_home, owner="cd34", firewall=Backend.NFTABLES)
    try:
        at_home.target.serve("tcp", 443)
        theirs = replace(WEB, id="01THEIRS")
        await other.rules.apply([theirs])
        at_home.bypass.run("nft", "flush chain ip ha_bypass pre")
        assert (await other.rules.read()).damaged == {theirs.id}
        live = await router.rules.apply([GAME])
        assert live.forwards == {GAME.id: GAME}
        assert live.foreign == {Tag("cd34", theirs.id)}
        assert (await other.rules.read()).forwards == {theirs.id: theirs}
        assert await asyncio.to_thread(passes, at_home, "tcp", 8443)
    finally:
        await other.close()
    at_home.bypass.run("nft", "add element ip ha_bypass kept_tcp { 9 }")
    await router.rules.remove_owner("cd34")
    assert (await router.rules.apply([])).foreign == frozenset()
    assert "elements = { 9 }" in ruleset(at_home)


@asynccontextmanager
async def clients(lab: Lab) -> AsyncIterator[list[Exchange]]:
    """Connect again and again from the internet; yields what became of each."""
    done = threading.Event()
    exchanges: list[Exchange] = []

    def connect_on() -> None:
        while not done.is_set():
            exchanges.append(
                lab.internet.exchange("tcp", lab.main.wan_address, 8443, timeout=0.9)
            )

    task = asyncio.create_task(asyncio.to_thread(connect_on))
    try:
        yield exchanges
    finally:
        done.set()
        await task


@pytest.mark.parametrize(
    "router_options",
    [RouterOptions(iptables="nft"), RouterOptions(iptables="legacy")],
    ids=["nft", "legacy"],
)
@pytest.mark.parametrize("drops", [False, True], ids=["open", "drop"])
async def test_forwards_move_from_one_firewall_to_the_other_under_traffic(
    at_home: Lab, drops: bool
) -> None:
    """No connection fails, and nothing is left behind."""
    at_home.target.serve("tcp", 443)
    if drops:
        at_home.bypass.run("iptables", "-P", "FORWARD", "DROP")
    before = at_home.bypass.iptables_save()
    first = await connect(at_home)
    await first.rules.apply([WEB, GAME])
    await first.close()
    desired = {WEB.id: WEB, GAME.id: GAME}
    backends = [Backend.NFTABLES, Backend.IPTABLES]
    async with clients(at_home) as exchanges:
        for backend in islice(cycle(backends), 6):
            router = await connect(at_home, firewall=backend)
            # What the other one does is done all the same.
            assert (await router.rules.read()).forwards == desired
            assert (await router.rules.apply(desired.values())).forwards == desired
            await router.close()
            rules = ruleset(at_home) + at_home.bypass.iptables_save()
            assert ("ip ha_bypass" in rules) == (backend is Backend.NFTABLES)
            assert ("HA-BYPASS-PRE" in rules) == (backend is Backend.IPTABLES)
            seen = len(exchanges)
            while len(exchanges) < seen + 3:
                await asyncio.sleep(0.01)
    assert all(exchange.passed for exchange in exchanges)
    last = await connect(at_home, firewall=Backend.NFTABLES)
    await last.rules.apply([])
    await last.close()
    assert at_home.bypass.iptables_save() == before
    assert "ha_bypass" not in ruleset(at_home)


async def test_a_forward_can_change_while_it_moves(at_home: Lab) -> None:
    """Or be gone."""
    at_home.target.serve("tcp", 443)
    before = at_home.bypass.iptables_save()
    first = await connect(at_home)
    await first.rules.apply([replace(WEB, target=WEB.target + 50), GAME])
    await first.close()
    router = await connect(at_home, firewall=Backend.NFTABLES)
    assert (await router.rules.apply([WEB])).forwards == {WEB.id: WEB}
    assert await asyncio.to_thread(passes, at_home, "tcp", 8443)
    await router.close()
    assert at_home.bypass.iptables_save() == before
    assert GAME.id not in ruleset(at_home)


@pytest.mark.parametrize("router_options", [NATIVE])
async def test_a_firewall_that_is_not_there_can_not_be_chosen(at_home: Lab) -> None:
    """And is named."""
    with pytest.raises(FirewallNotThere, match="iptables"):
        await connect(at_home, firewall=Backend.IPTABLES)


async def test_an_nft_that_does_not_take_our_table_is_passed_over(at_home: Lab) -> None:
    """By itself, iptables is taken then; whoever insists is told."""
    real = at_home.bypass.commands.replace("nft", "")
    at_home.bypass.commands.replace(
        "nft",
        f'#!/bin/sh\ncase "$*" in *-f*) echo "syntax error" >&2; exit 1;; esac\n'
        f'exec {real} "$@"\n',
    )
    router = await connect(at_home, firewall=Backend.AUTO)
    assert router.rules.firewall.startswith("iptables")
    assert (await router.rules.apply([WEB])).forwards == {WEB.id: WEB}
    await router.close()
    with pytest.raises(FirewallNotThere, match="nftables"):
        await connect(at_home, firewall=Backend.NFTABLES)


async def test_a_thousand_forwards_are_one_transaction(
    at_home: Lab, router: Router
) -> None:
    """All there, and the last of them passes; in a container, they may be several."""
    at_home.target.serve("tcp", 20999)
    many = {
        f"01N{number}": Forward.parse(
            f"01N{number}",
            protocol="both",
            external_port=str(20000 + number),
            target="192.168.50.10",
        )
        for number in range(1000)
    }
    assert (await router.rules.apply(many.values())).forwards == many
    outcomes = [change.outcome for change in router.rules.transactions]
    assert outcomes == ["done"] or not rules_the_host()
    assert await asyncio.to_thread(passes, at_home, "tcp", 20999)
    assert (await router.rules.apply([])).forwards == {}
    assert len(router.rules.transactions) == len(outcomes) + 1


def draws(seed: int, count: int) -> Iterator[list[Forward]]:
    """Yield sets of forwards that crowd into a few ports, side by side."""
    chance = random.Random(seed)
    sources: list[list[str]] = [[], ["203.0.113.0/24"], ["10.0.0.0/8", "203.0.113.7"]]
    for _ in range(count):
        desired: list[Forward] = []
        for name in chance.sample("ABCDEFGH", chance.randint(0, 8)):
            first = chance.randint(1, 12)
            last = first + chance.choice([0, 0, 1, 4])
            drawn = Forward.parse(
                name,
                protocol=chance.choice(["tcp", "udp", "both"]),
                external_port=f"{first}-{last}",
                target=f"192.168.50.{chance.randint(10, 12)}",
                target_port=chance.choice(["", "", "1", "7000"]),
                sources=chance.choice(sources),
                keep_client_address=chance.random() < 0.3,
            )
            if not any(map(drawn.conflicts, desired)):
                desired.append(drawn)
        yield desired


@pytest.mark.parametrize("seed", range(3))
async def test_any_change_is_one_that_the_kernel_takes(
    at_home: Lab, router: Router, seed: int
) -> None:
    """Ports that go from range to range, in one transaction, with neighbours."""
    for desired in draws(seed, 40):
        live = await router.rules.apply(desired)
        assert live.forwards == {forward.id: forward for forward in desired}
        assert not live.damaged
    assert {change.outcome for change in router.rules.transactions} == {"done"}
