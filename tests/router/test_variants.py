"""A router whose owner moves the host's rules to the other variant of iptables.

Both variants act on one host, and neither sees the other's rules: what stays behind of
ours would keep a port open that is shown as closed.
"""

import asyncio

import pytest

from custom_components.bypass_router.router.backend import Backend
from tests.lab.bypass import IptablesKind, RouterOptions
from tests.lab.network import Lab

from .client import WEB, connect
from .test_router import GAME, passes
from .test_router_nft import clients

WISHED = {WEB.id: WEB, GAME.id: GAME}


def in_variant(lab: Lab, kind: IptablesKind, *, saved: bool = False) -> str:
    """Return the rules in a variant; `saved` are those that others have made."""
    lines = lab.bypass.real(f"iptables-{kind}-save").stdout.splitlines()
    kept = (line for line in lines if not (saved and "HA-BYPASS" in line))
    return "\n".join([*kept, ""])


def move(lab: Lab, kind: IptablesKind) -> None:
    """Load the host's rules in a variant, take them out of the other, and choose it.

    As its owner does who has heard that the other should not be used any more, and
    does not touch what is not his.
    """
    old: IptablesKind = "nft" if kind == "legacy" else "legacy"
    rules = in_variant(lab, old, saved=True)
    lab.bypass.run(f"iptables-{kind}-restore", "--noflush", input=rules)
    table = ""
    for line in rules.splitlines():
        if line.startswith("*"):
            table = line[1:]
        elif line.startswith("-A "):
            rule = line.replace("-A", "-D", 1).split()
            lab.bypass.run(f"iptables-{old}", "-t", table, *rule)
    lab.bypass.use_iptables(kind)


async def test_forwards_move_with_the_hosts_rules_under_traffic(at_home: Lab) -> None:
    """There and back, and to nftables: no connection fails, and nothing is left."""
    at_home.target.serve("tcp", 443)
    router = await connect(at_home)
    await router.rules.apply(WISHED.values())
    await router.close()
    moves: list[tuple[IptablesKind, Backend]] = [
        ("legacy", Backend.IPTABLES),
        ("nft", Backend.IPTABLES),
        ("legacy", Backend.NFTABLES),
    ]
    async with clients(at_home) as exchanges:
        for new, backend in moves:
            old: IptablesKind = "nft" if new == "legacy" else "legacy"
            move(at_home, new)
            assert "HA-BYPASS-PRE" in in_variant(at_home, old)
            router = await connect(at_home, firewall=backend)
            assert (await router.rules.apply(WISHED.values())).forwards == WISHED
            assert "HA-BYPASS" not in in_variant(at_home, old)
            by_iptables = "HA-BYPASS-PRE" in in_variant(at_home, new)
            assert by_iptables == (backend is Backend.IPTABLES)
            await router.close()
        seen = len(exchanges)
        while len(exchanges) < seen + 3:
            await asyncio.sleep(0.01)
    assert all(exchange.passed for exchange in exchanges)


@pytest.mark.parametrize(
    "router_options",
    [RouterOptions("nft"), RouterOptions("legacy")],
    ids=["nft", "legacy"],
)
async def test_what_is_off_is_off_where_it_was_before_too(at_home: Lab) -> None:
    """It would pass through the old rules otherwise, whatever its switch shows."""
    at_home.target.serve("tcp", 443)
    router = await connect(at_home)
    await router.rules.apply([WEB])
    await router.close()
    old = at_home.options.iptables
    assert old
    move(at_home, "nft" if old == "legacy" else "legacy")
    assert await asyncio.to_thread(passes, at_home, "tcp", 8443)
    router = await connect(at_home)
    live = await router.rules.read()
    assert WEB.id in live.damaged | live.forwards.keys()
    assert (await router.rules.apply([])).forwards == {}
    await router.close()
    assert not await asyncio.to_thread(passes, at_home, "tcp", 8443)
    assert "HA-BYPASS" not in at_home.bypass.iptables_save()
