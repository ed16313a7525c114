"""Beside rules of others, a forward of ours does to everybody what one by hand does.

By hand means DNAT and SNAT alone: who is banned stays out, what is clamped, marked,
counted and logged is so through ours as well. Where by hand nobody got through, as a
catch-all drops what no rule lets pass, ours lets pass all but those who are banned.
"""

import asyncio
from contextlib import AsyncExitStack
from difflib import unified_diff

import pytest

from custom_components.bypass_router.router.backend import Backend
from custom_components.bypass_router.router.router import Router
from tests.lab.bypass import RouterOptions
from tests.lab.network import Lab

from .beside import (
    FORWARDS,
    HASTE,
    PATIENCE,
    Seen,
    all_rules,
    by_hand,
    expected,
    large,
    loaded,
    measured,
    passed,
    prepare,
    use_up,
)
from .client import connect
from .situations import BY_NFT, DROPS_BY_NFT, Situation
from .situations_iptables import BY_IPTABLES, DROPS_BY_IPTABLES

pytestmark = pytest.mark.long

_ROUTERS = {
    "nft": RouterOptions("nft", masquerade=False),
    "legacy": RouterOptions("legacy", masquerade=False),
    "alone": RouterOptions(None, masquerade=False),
}


@pytest.mark.parametrize("router_options", _ROUTERS.values(), ids=_ROUTERS)
async def test_ours_does_to_each_what_one_by_hand_does(at_home: Lab) -> None:
    """Whoever set the rules, and whichever firewall translates for us."""
    await asyncio.to_thread(prepare, at_home)
    backends = [Backend.AUTO]
    chosen = {True: backends, False: backends}
    situations = [*BY_NFT]
    if at_home.options.iptables:
        # Legacy's tables are there from their first use on.
        for table in ("mangle", "filter", "nat"):
            at_home.bypass.run("iptables", "-t", table, "-S")
        backends.append(Backend.IPTABLES)
        chosen[True] = backends[at_home.options.iptables == "nft" :][:1]
        situations += BY_IPTABLES
    flaws: list[str] = []
    async with AsyncExitStack() as closing:
        routers = {}
        for backend in backends:
            routers[backend] = await connect(at_home, firewall=backend)
            closing.push_async_callback(routers[backend].close)
            # Others' rules may stand in the same tables and chains of the kernel's.
            await routers[backend].rules.apply(FORWARDS)
            await routers[backend].rules.apply([])
        for situation in situations:
            # Beside rules of nft's own, it is one part that lets packets pass.
            those = {it: routers[it] for it in chosen[situation.native]}
            with loaded(at_home, situation) as able:
                if able:
                    flaws += await _flaws(at_home, situation, those)
    assert not flaws, "\n".join(flaws)


@pytest.mark.parametrize(
    ("router_options", "backend"),
    [
        (options, backend)
        for options in _ROUTERS.values()
        for backend in (Backend.AUTO, Backend.IPTABLES)[: 1 + bool(options.iptables)]
    ],
)
async def test_errors_about_a_forwards_packets_pass_with_it(
    at_home: Lab, backend: Backend
) -> None:
    """Such as of the main router's, for which an answer is too large."""
    await asyncio.to_thread(prepare, at_home)
    at_home.main.ip("link set wan mtu 1300")
    situations = [DROPS_BY_NFT, *([DROPS_BY_IPTABLES] * bool(at_home.options.iptables))]
    router = await connect(at_home, firewall=backend)
    try:
        for situation in situations:
            with loaded(at_home, situation):
                await router.rules.apply(FORWARDS)
                assert await asyncio.to_thread(large, at_home) == {"passed"}
                await router.rules.apply([])
    finally:
        await router.close()


async def _flaws(
    lab: Lab, situation: Situation, routers: dict[Backend, Router]
) -> list[str]:
    """Return what differs from by hand, and from what was there before.

    A busy machine may have no answer in the time of a first look.
    """
    if found := await _seen_flaws(lab, situation, routers, HASTE):
        found = await _seen_flaws(lab, situation, routers, PATIENCE)
    return [f"{situation}: {flaw}" for flaw in found]


async def _seen_flaws(
    lab: Lab,
    situation: Situation,
    routers: dict[Backend, Router],
    unexpected: float,
) -> list[str]:
    """Return what differs where unexpected answers are waited for so many seconds."""
    hand = await asyncio.to_thread(_by_hand, lab, situation, unexpected)
    bare = await asyncio.to_thread(all_rules, lab)
    found = [
        f"by hand, {who}: {got}"
        for who, got in hand.got.items()
        if passed(got) != situation.passes(*who.split()[:2], ours=False)
    ]
    for backend, router in routers.items():
        live = await router.rules.apply(FORWARDS)
        if set(live.forwards) != {forward.id for forward in FORWARDS}:
            found.append(f"{backend}: live {sorted(live.forwards)}")
        seen = await asyncio.to_thread(
            measured, lab, situation, ours=True, unexpected=unexpected
        )
        differing = [*_differences(situation, hand, seen)]
        named = {it.kind for it in router.rules.obstacles(FORWARDS[0])}
        if named != {situation.hindrance} - {None}:
            differing.append(f"names {sorted(named)}")
        await router.rules.apply([])
        after = await asyncio.to_thread(all_rules, lab)
        differing += unified_diff(bare, after, lineterm="", n=0)
        found += [f"{backend}: {flaw}" for flaw in differing]
    return found


def _by_hand(lab: Lab, situation: Situation, unexpected: float) -> Seen:
    """Return what comes of forwards by hand."""
    by_hand(lab, on=True)
    try:
        if situation.spent:
            use_up(lab)
        return measured(lab, situation, ours=False, unexpected=unexpected)
    finally:
        by_hand(lab, on=False)


def _differences(situation: Situation, hand: Seen, seen: Seen) -> list[str]:
    """Return what ours does otherwise, and should not."""
    found = []
    for who, passes in expected(situation).items():
        got, by_them = seen.got[who], hand.got[who]
        if passes != passed(got):
            found.append(f"{who}: {got}; by hand: {by_them}")
        elif not situation.let_in and got != by_them:
            found.append(f"{who}: {got}, which is not as by hand: {by_them}")
    if situation.clamped and seen.mss != 1348:
        found.append(f"MSS {seen.mss}; by hand: {hand.mss}")
    if situation.let_in:
        missed = [name for name, number in seen.counted.items() if not number]
        # The first rules see even those who are dropped.
        found += [f"{name} counts nothing" for name in missed if name != "udp_behind"]
    elif (seen.counted, seen.remembered) != (hand.counted, hand.remembered):
        found.append(f"{seen}, which is not as by hand: {hand}")
    return found
