"""The walk of forward chains, held against what the kernel does with a packet."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from ipaddress import IPv4Interface

from hypothesis import HealthCheck, given, settings, strategies as st
import pytest

from custom_components.bypass_router.router.passage.chains import Chains
from custom_components.bypass_router.router.passage.packet import packets_of
from custom_components.bypass_router.router.passage.walk import (
    Passage,
    passage,
    spots_of,
)
from custom_components.bypass_router.router.rules.base import RouterContext
from tests.lab.bypass import RouterOptions
from tests.lab.network import Lab

from .beside import by_hand, prepare
from .client import WEB
from .kernels_chains import (
    TEXTS,
    Tool,
    for_kernel,
    passes,
    with_ours,
    without_queues,
)
from .random_chains import random_chains
from .readers import read_chains
from .situations import BANNED, CLIENT

SITE = RouterContext("ab12", IPv4Interface("192.168.50.2/24"))
REQUEST, ANSWER, _, _ = packets_of(WEB, SITE, "lan")
_PATIENCE = {True: 4.0, False: 0.12}
_CLIENTS = {CLIENT: False, BANNED: True}


@pytest.fixture(
    params=[
        ("nft", RouterOptions(None, masquerade=False, ssh=None)),
        ("iptables", RouterOptions("nft", masquerade=False, ssh=None)),
        ("iptables", RouterOptions("legacy", masquerade=False, ssh=None)),
    ],
    ids=["nft", "iptables-nft", "iptables-legacy"],
)
def case(request: pytest.FixtureRequest) -> tuple[Tool, RouterOptions]:
    """A tool, and a router that has it."""
    found: tuple[Tool, RouterOptions] = request.param
    return found


@pytest.fixture
def router_options(case: tuple[Tool, RouterOptions]) -> RouterOptions:
    """The router's."""
    return case[1]


@pytest.mark.long
def test_the_walk_knows_what_the_kernel_does(
    lab: Lab, case: tuple[Tool, RouterOptions]
) -> None:
    """By hand, and with an accept at its place; of chains that the kernel lists."""
    tool, _ = case
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
            if not any(it.refused for it in expected):
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
