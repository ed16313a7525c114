"""Whom fail2ban bans stays out of forwards, wherever its rules stand."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace

import pytest

from custom_components.bypass_router.router.backend import Backend
from custom_components.bypass_router.router.router import Router
from tests.lab.bypass import RouterOptions
from tests.lab.fail2ban import Fail2ban
from tests.lab.network import Lab
from tests.lab.requirements import LabUnavailable
from tests.lab.waiting import wait_until

from .beside import FORWARDS, all_rules, expected, measured, passed, prepare
from .client import connect
from .situations import BANNED, Situation

_EVERYWHERE = 'port="443,447,449", protocol="tcp,udp", name=web'


@dataclass(frozen=True)
class Case:
    """Where fail2ban's rules stand, and who is kept out there."""

    options: RouterOptions
    action: str
    situation: Situation


_CASES = {
    "nft": Case(
        RouterOptions(None, masquerade=False),
        f"nftables[type=multiport, chain_hook=forward, {_EVERYWHERE}]",
        Situation("banned by nft", ""),
    ),
    "drop": Case(
        RouterOptions("legacy", masquerade=False, firewall="drop"),
        f"iptables-multiport[chain=FORWARD, {_EVERYWHERE}]",
        Situation("banned in FORWARD", "", "C B L", "C L"),
    ),
    "docker": Case(
        RouterOptions("nft", masquerade=False, firewall="docker-28"),
        f"iptables[type=multiport, chain=DOCKER-USER, {_EVERYWHERE}]",
        Situation("banned in DOCKER-USER", "", "C B L", "C L"),
    ),
}


@pytest.fixture(params=_CASES.values(), ids=list(_CASES))
def case(request: pytest.FixtureRequest) -> Case:
    """A router."""
    found: Case = request.param
    return found


@pytest.fixture
def router_options(case: Case) -> RouterOptions:
    """Its own."""
    return case.options


@pytest.fixture
def fail2ban(case: Case, at_home: Lab) -> Iterator[Fail2ban]:
    """fail2ban as it runs there, with a client banned."""
    prepare(at_home)
    found = Fail2ban(at_home.bypass, case.action)
    try:
        found.start()
    except LabUnavailable as error:
        pytest.skip(str(error))
    found.ban(BANNED)
    wait_until(lambda: BANNED in "\n".join(all_rules(at_home)))
    yield found
    found.stop()


@asynccontextmanager
async def connected(lab: Lab) -> AsyncIterator[Router]:
    """The router, by a connection."""
    router = await connect(lab, firewall=Backend.AUTO)
    try:
        yield router
    finally:
        await router.close()


async def test_whom_fail2ban_bans_stays_out(
    case: Case, at_home: Lab, fail2ban: Fail2ban
) -> None:
    """Also after it has set its rules anew; and whom it lets in again gets in."""
    bare = await asyncio.to_thread(all_rules, at_home)
    async with connected(at_home) as router:
        await router.rules.apply(FORWARDS)
        await asyncio.to_thread(_holds, at_home, case.situation)
        fail2ban.restart()
        fail2ban.ban(BANNED)
        await asyncio.to_thread(
            wait_until, lambda: BANNED in "\n".join(all_rules(at_home))
        )
        live = await router.rules.apply(FORWARDS)
        assert set(live.forwards) == {forward.id for forward in FORWARDS}
        await asyncio.to_thread(_holds, at_home, case.situation)
        fail2ban.unban(BANNED)
        everybody = replace(case.situation, stopped="", let_in="")
        await asyncio.to_thread(_holds, at_home, everybody)
        fail2ban.ban(BANNED)
        await asyncio.to_thread(
            wait_until, lambda: BANNED in "\n".join(all_rules(at_home))
        )
        await router.rules.apply([])
        assert await asyncio.to_thread(all_rules, at_home) == bare


def _holds(lab: Lab, situation: Situation) -> None:
    """Let each client get through ours who is to, and no one else."""
    seen = measured(lab, situation, ours=True)
    got = {who: passed(it) for who, it in seen.got.items()}
    assert got == expected(situation)
