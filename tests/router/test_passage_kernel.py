"""The walk of forward chains, held against what the kernel does with a packet."""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from ipaddress import IPv4Interface

from hypothesis import HealthCheck, given, settings, strategies as st
import pytest

from custom_components.bypass_router.router.backend import Backend
from custom_components.bypass_router.router.passage.chains import Chain, Chains
from custom_components.bypass_router.router.passage.packet import packets_of
from custom_components.bypass_router.router.passage.spot import Passage, spots_of
from custom_components.bypass_router.router.passage.walk import passage
from custom_components.bypass_router.router.rules.base import RouterContext
from tests.lab.bypass import RouterOptions
from tests.lab.network import Lab

from .beside import all_rules, by_hand, prepare
from .client import WEB, connect
from .kernels_chains import (
    TEXTS,
    Tool,
    fate_of,
    for_kernel,
    passes,
    with_ours,
    without_queues,
)
from .random_chains import decided, random_chains
from .readers import read_chains
from .situations import BANNED, CLIENT

SITE = RouterContext("ab12", IPv4Interface("192.168.50.2/24"))
REQUEST, ANSWER, _, _ = packets_of(WEB, SITE, "lan")
_PATIENCE = {True: 4.0, False: 0.12}
_CLIENTS = {CLIENT: False, BANNED: True}


@dataclass(frozen=True)
class Case:
    """A tool, and a router that has it."""

    tool: Tool
    options: RouterOptions


_CASES = {
    "nft": Case("nft", RouterOptions(None, masquerade=False)),
    "iptables-nft": Case("iptables", RouterOptions("nft", masquerade=False)),
    "iptables-legacy": Case("iptables", RouterOptions("legacy", masquerade=False)),
}


@pytest.fixture(params=_CASES.values(), ids=list(_CASES))
def case(request: pytest.FixtureRequest) -> Case:
    """Each of them."""
    found: Case = request.param
    return found


@pytest.fixture
def router_options(case: Case) -> RouterOptions:
    """The router's."""
    return case.options


@pytest.mark.long
def test_the_walk_knows_what_the_kernel_does(lab: Lab, case: Case) -> None:
    """By hand, and with an accept at its place; of chains that the kernel lists."""
    tool = case.tool
    prepare(lab)
    by_hand(lab, on=True)

    @settings(
        max_examples=20,
        suppress_health_check=[HealthCheck.too_slow],
        database=None,
    )
    @given(st.data())
    def holds(data: st.DataObject) -> None:
        chains = for_kernel(without_queues(data.draw(random_chains())), tool)
        judge(lab, tool, chains)

    holds()


def judge(lab: Lab, tool: Tool, chains: Chains) -> None:
    """Let the kernel have the chains, by hand and with ours."""
    texts = TEXTS[tool]
    try:
        lab.bypass.run(*texts.load, input=texts.text(chains))
        assert kernels_answer(lab, chains) == models_answer(chains)
        read = read_chains(tool, lab.bypass.run(*texts.list).stdout)
        base = "base" if tool == "nft" else "FORWARD"
        found = [passage(base, read, packet) for packet in (REQUEST, ANSWER)]
        expected = [passage("base", chains, packet) for packet in (REQUEST, ANSWER)]
        assert [comparable(it) for it in found] == [comparable(it) for it in expected]
        spots = spots_of(expected)
        if spots:
            lab.bypass.run(*texts.load, input=texts.unload)
            opened = with_ours(chains, spots)
            lab.bypass.run(*texts.load, input=texts.text(opened))
            assert kernels_answer(lab, opened) == models_answer(opened)
            if not any(it.keeping_out for it in expected):
                assert models_answer(opened)[CLIENT]
    finally:
        lab.bypass.run(*texts.load, input=texts.unload)


def comparable(found: Passage) -> object:
    """Return what is the same in any words: rules are printed in the tool's own."""
    spot, refused = found.spot, found.refused
    if spot and spot.chain == "FORWARD":
        spot = replace(spot, chain="base")
    return spot, refused and refused.kind


def models_answer(chains: Chains) -> dict[str, bool]:
    """Return whether each client's payload is to pass."""
    return {
        client: passes(chains, (REQUEST, ANSWER), banned=banned)
        for client, banned in _CLIENTS.items()
    }


def kernels_answer(lab: Lab, chains: Chains) -> dict[str, bool]:
    """Return whether it does."""
    expected = models_answer(chains)

    def ask(client: str) -> bool:
        return lab.internet.exchange(
            "tcp",
            lab.main.wan_address,
            WEB.external.first,
            lines=(b"hello",),
            timeout=_PATIENCE[expected[client]],
            source=client,
        ).passed

    with ThreadPoolExecutor(len(expected)) as threads:
        return dict(zip(expected, threads.map(ask, expected), strict=True))


def drawn(tool: Tool, count: int) -> list[dict[str, Chain]]:
    """Return some chains, all different."""
    found: list[dict[str, Chain]] = []

    @settings(max_examples=count, database=None)
    @given(random_chains())
    def keep(chains: dict[str, Chain]) -> None:
        found.append(for_kernel(without_queues(chains), tool))

    keep()
    return found


@pytest.mark.long
async def test_ours_lets_pass_whom_nobody_keeps_out(at_home: Lab, case: Case) -> None:
    """In any chains: who passes by hand, and who was dropped without a reason."""
    prepare(at_home)
    texts = TEXTS[case.tool]
    backend = Backend.NFTABLES if case.tool == "nft" else Backend.IPTABLES
    router = await connect(at_home, firewall=backend)
    try:
        await router.rules.apply([WEB])
        await router.rules.apply([])
        for chains in drawn(case.tool, 15):
            at_home.bypass.run(*texts.load, input=texts.text(chains))
            bare = all_rules(at_home)
            await router.rules.apply([WEB])
            got = await asyncio.to_thread(kernels_answer, at_home, chains)
            by_hand = models_answer(chains)
            named = router.rules.obstacles(WEB)
            assert got[CLIENT] or (named and not by_hand[CLIENT])
            assert got[BANNED] >= by_hand[BANNED]
            if any(
                decided(chains, packet, fate_of(chains, packet, banned=True))
                for packet in (REQUEST, ANSWER)
            ):
                assert not got[BANNED]
            await router.rules.apply([])
            assert all_rules(at_home) == bare
            at_home.bypass.run(*texts.load, input=texts.unload)
    finally:
        await router.close()
