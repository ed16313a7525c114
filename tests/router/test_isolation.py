"""What a router refuses of many changes is found in few, and the rest is done."""

from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from custom_components.bypass_router.router import transactions
from custom_components.bypass_router.router.backend import Backend
from custom_components.bypass_router.router.forward import Forward
from custom_components.bypass_router.router.isolation import MOST_ATTEMPTS
from custom_components.bypass_router.router.live_rules import LiveRules
from tests.lab.bypass import RouterOptions
from tests.lab.network import Lab
from tests.lab.refusing import MESSAGE, refuse

from .client import connect

EXTRA = 12
"""How many more changes one refused forward among a thousand may take: log2(n) + 2."""


def forward(port: int) -> Forward:
    """Return a forward of this external port."""
    return Forward.parse(
        f"01F{port}",
        protocol="tcp",
        external_port=str(port),
        target="192.168.50.10",
        target_port="443",
    )


THOUSAND = [forward(port) for port in range(20000, 21000)]


@pytest.fixture(
    params=[
        (RouterOptions(), Backend.NFTABLES),
        (RouterOptions(), Backend.IPTABLES),
        (RouterOptions(iptables="legacy"), Backend.IPTABLES),
    ],
    ids=["nft", "iptables-nft", "iptables-legacy"],
)
def router_options(request: pytest.FixtureRequest) -> RouterOptions:
    """A router for each backend."""
    options: RouterOptions = request.param[0]
    return options


@pytest.fixture
async def rules(
    request: pytest.FixtureRequest, at_home: Lab, monkeypatch: pytest.MonkeyPatch
) -> AsyncIterator[LiveRules]:
    """The rules of the router, with all changes in its log."""
    monkeypatch.setattr(transactions, "TRANSACTIONS_KEPT", 2 * MOST_ATTEMPTS)
    firewall = request.node.callspec.params["router_options"][1]
    router = await connect(at_home, firewall=firewall)
    yield router.rules
    await router.close()


@pytest.mark.parametrize("nth", [0, 617, 999])
async def test_one_among_a_thousand_takes_some_ten_more(
    rules: LiveRules, at_home: Lab, nth: int
) -> None:
    """Wherever it stands; all others are live, and it is named."""
    refused = THOUSAND[nth]
    refuse(at_home.bypass, refused.external.first)
    await rules.read()
    applied = await rules.apply_each(THOUSAND)
    assert applied.refused.keys() == {refused.id}
    assert MESSAGE in str(applied.refused[refused.id])
    assert applied.live.forwards == {f.id: f for f in THOUSAND if f != refused}
    assert len(rules.transactions) - 1 <= EXTRA


async def test_what_goes_does_not_wait_for_what_comes(
    rules: LiveRules, at_home: Lab
) -> None:
    """Though all of what comes is refused, and a change is one of both."""
    first, second, third = (forward(port) for port in (8001, 8002, 8003))
    await rules.apply([first, second])
    refuse(at_home.bypass, 8003)
    moved = replace(second, external=third.external)
    applied = await rules.apply_each([moved])
    assert applied.live.forwards == {}
    assert applied.refused.keys() == {moved.id}


async def test_a_router_that_refuses_all_is_asked_only_so_often(
    rules: LiveRules, at_home: Lab
) -> None:
    """The rest of them waits, and is told the reason."""
    many = [forward(port) for port in range(9000, 9100)]
    refuse(at_home.bypass, r"90[0-9][0-9]")
    applied = await rules.apply_each(many)
    assert applied.live.forwards == {}
    assert applied.refused.keys() == {f.id for f in many}
    assert len(rules.transactions) <= MOST_ATTEMPTS + EXTRA
