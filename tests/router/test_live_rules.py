"""What is live of ours on a router: promises of each backend, and of the fake."""

from collections.abc import AsyncIterator
from dataclasses import replace
from ipaddress import IPv4Address

import pytest

from custom_components.bypass_router.router.backend import Backend
from custom_components.bypass_router.router.live_rules import LiveRules
from tests.lab.network import Lab

from .client import WEB, connect
from .fake import FakeRules, Kernel
from .test_router import GAME

type Rules = LiveRules | FakeRules

ELSEWHERE = replace(WEB, target=IPv4Address("192.168.50.11"))


@pytest.fixture(
    params=[
        "fake",
        pytest.param("nftables", marks=pytest.mark.lab),
        pytest.param("iptables", marks=pytest.mark.lab),
    ]
)
async def both(request: pytest.FixtureRequest) -> AsyncIterator[tuple[Rules, Rules]]:
    """The rules of one router, over two connections: the other one changes them too."""
    if request.param == "fake":
        kernel = Kernel()
        yield FakeRules(kernel), FakeRules(kernel)
        return
    lab: Lab = request.getfixturevalue("at_home")
    routers = [await connect(lab, firewall=Backend(request.param)) for _ in range(2)]
    yield routers[0].rules, routers[1].rules
    for router in routers:
        await router.close()


async def test_what_is_applied_is_read_back(both: tuple[Rules, Rules]) -> None:
    """By who applied it, and by whoever else asks."""
    rules, other = both
    for desired in ([WEB], [WEB, GAME], [ELSEWHERE, GAME], [GAME], []):
        forwards = {forward.id: forward for forward in desired}
        live = await rules.apply(desired)
        assert live.forwards == forwards
        assert not live.damaged
        assert live.foreign == frozenset()
        assert (await other.read()).forwards == forwards


async def test_what_was_read_last_is_compared(both: tuple[Rules, Rules]) -> None:
    """With what is desired, in each field of it."""
    rules, other = both
    assert rules.differs([WEB])
    await rules.read()
    assert not rules.differs([])
    assert rules.differs([WEB])
    await rules.apply([WEB])
    assert not rules.differs([WEB])
    assert rules.differs([ELSEWHERE])
    assert rules.differs([])
    await other.apply([])
    assert not rules.differs([WEB])
    await rules.read()
    assert rules.differs([WEB])


async def test_what_turns_out_to_be_lost_is_put_back_and_named_once(
    both: tuple[Rules, Rules],
) -> None:
    """Only what was expected to be live."""
    rules, other = both
    await rules.apply([WEB, GAME])
    await other.apply([GAME])
    await rules.read()
    live = (await rules.apply_each([WEB, GAME], {WEB, GAME})).live
    assert live.forwards == {WEB.id: WEB, GAME.id: GAME}
    assert rules.take_lost() == {WEB.id}
    assert rules.take_lost() == frozenset()
    await rules.apply([])
    await rules.apply_each([WEB, GAME], {WEB})
    assert rules.take_lost() == {WEB.id}


async def test_what_is_lost_and_given_up_stays_away(both: tuple[Rules, Rules]) -> None:
    """And is named; what is given up and not lost stays."""
    rules, other = both
    await rules.apply([WEB, GAME])
    await other.apply([GAME])
    await rules.read()
    live = (await rules.apply_each([WEB, GAME], {WEB, GAME}, {WEB.id, GAME.id})).live
    assert live.forwards == {GAME.id: GAME}
    assert rules.take_lost() == {WEB.id}
    live = (await rules.apply_each([WEB, GAME], {GAME}, {GAME.id})).live
    assert live.forwards == {WEB.id: WEB, GAME.id: GAME}


async def test_what_leads_elsewhere_by_now_is_lost_too(
    both: tuple[Rules, Rules],
) -> None:
    """It is not as it was expected to be."""
    rules, other = both
    await rules.apply([WEB])
    await other.apply([ELSEWHERE])
    await rules.read()
    live = (await rules.apply_each([WEB], {WEB})).live
    assert live.forwards == {WEB.id: WEB}
    assert rules.take_lost() == {WEB.id}
