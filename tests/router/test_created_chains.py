"""What iptables makes of the kernel's chains for our sake, and that it goes again."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest

from custom_components.bypass_router.router.iptables.created_chains import Traces
from custom_components.bypass_router.router.iptables.rules import PRE
from custom_components.bypass_router.router.router import Router
from custom_components.bypass_router.router.ssh.script import Result
from tests.lab.bypass import RouterOptions
from tests.lab.network import Lab

from .client import WEB, connect
from .test_router import GAME, ruleset

# Its rules are no more than a policy, in one table.
NOTHING = pytest.mark.parametrize("router_options", [RouterOptions(masquerade=False)])
THEIRS = "iptables -t nat -A PREROUTING -p tcp --dport 1 -j ACCEPT"
PREROUTING = ("nat", "PREROUTING")
TABLE = ("nat", "")


@asynccontextmanager
async def connected(lab: Lab, owner: str = "ab12") -> AsyncIterator[Router]:
    """The router, where iptables translates."""
    router = await connect(lab, owner)
    try:
        yield router
    finally:
        await router.close()


def do(lab: Lab, command: str) -> None:
    """Have another program do something on the router."""
    lab.bypass.run("sh", "-c", command)


DELETE = "nft delete table ip nat"
# What happens while a forward is on; what is left of it afterwards; what undoes that.
MEANWHILE = {
    "nothing": ("", "", ""),
    "a chain of theirs": ("iptables -t nat -N X", "chain X {", DELETE),
    "a rule in the chain": (THEIRS, "chain PREROUTING {", DELETE),
    "a policy": (
        "iptables -P FORWARD DROP",
        "policy drop",
        "iptables -P FORWARD ACCEPT",
    ),
    "a flush": ("iptables -t nat -F", "", ""),
    # The note is gone with all chains, and the table is whose it may be.
    "a flush of all": (
        "iptables -t nat -F; iptables -t nat -X; iptables -F",
        "table ip nat {\n}",
        DELETE,
    ),
    "all is lost": ("nft flush ruleset; iptables -P FORWARD ACCEPT", "", ""),
}


@NOTHING
async def test_what_was_not_there_before_is_gone_after_the_last_forward(
    at_home: Lab,
) -> None:
    """Whatever happened meanwhile; and what others put in stays, with all it needs."""
    before = ruleset(at_home)
    assert "table ip nat" not in before
    async with connected(at_home) as router:
        for name, (meanwhile, left, undo) in MEANWHILE.items():
            await router.rules.read()
            await router.rules.apply([WEB])
            assert "chain HA-BYPASS-MADE-PREROUTING" in ruleset(at_home)
            do(at_home, meanwhile)
            await router.rules.read()
            await router.rules.apply([WEB])
            await router.rules.apply([])
            after = ruleset(at_home)
            assert "HA-BYPASS" not in after, name
            assert "POSTROUTING" not in after, name
            assert left in after, name
            do(at_home, undo)
            assert ruleset(at_home) == before, name
        assert {done.outcome for done in router.rules.transactions} == {"done"}


@NOTHING
async def test_what_was_there_before_stays(at_home: Lab) -> None:
    """Though it is of no use to anyone."""
    do(at_home, f"{THEIRS}; {THEIRS.replace('-A', '-D')}")
    before = ruleset(at_home)
    assert "chain PREROUTING {" in before
    async with connected(at_home) as router, connected(at_home, "cd34") as other:
        await router.rules.apply([WEB])
        await other.rules.apply([])
        await router.rules.apply([])
        assert ruleset(at_home) == before
        # Of two, the last one tidies up for both.
        do(at_home, "nft delete table ip nat")
        before = ruleset(at_home)
        await router.rules.read()
        await router.rules.apply([WEB])
        await other.rules.apply([GAME])
        await router.rules.read()
        await router.rules.apply([])
        assert "HA-BYPASS-MADE-PREROUTING" in ruleset(at_home)
        await other.rules.read()
        await other.rules.apply([])
        assert ruleset(at_home) == before


@NOTHING
async def test_an_iptables_that_can_not_take_a_chain_of_the_kernels_away_is_forgiven(
    at_home: Lab,
) -> None:
    """Nothing else is left, and no one hears of it."""
    real = at_home.bypass.commands.replace("iptables-restore", "")
    at_home.bypass.commands.replace(
        "iptables-restore",
        f"#!/bin/sh\nsed '/-X PREROUTING/,$d' | {real} \"$@\"\n",
    )
    async with connected(at_home) as router:
        await router.rules.apply([WEB])
        assert (await router.rules.apply([])).forwards == {}
        assert [done.outcome for done in router.rules.transactions] == ["done", "done"]
    after = ruleset(at_home)
    assert "chain PREROUTING {" in after
    assert "HA-BYPASS" not in after


@NOTHING
async def test_nothing_is_lost_that_comes_while_a_table_is_taken_away(
    at_home: Lab,
) -> None:
    """Another program puts a chain in after we have looked, just before it would go."""
    before = ruleset(at_home)
    real = at_home.bypass.commands.replace("nft", "")
    at_home.bypass.commands.replace(
        "nft",
        f'#!/bin/sh\n[ "$*" = "-f -" ] || exec {real} "$@"\ncat >/tmp/in\n'
        f'grep -q "delete table ip nat" /tmp/in && {real} add chain ip nat THEIRS\n'
        f'exec {real} "$@" </tmp/in\n',
    )
    async with connected(at_home) as router:
        await router.rules.apply([WEB])
        await router.rules.apply([])
    left = "table ip nat {\n\tchain THEIRS {\n\t}\n}\n"
    assert sorted(ruleset(at_home)) == sorted(before + left)


def test_only_what_nft_shows_is_known() -> None:
    """And a chain that someone has put a rule into is no note."""
    hooks = (PRE,)
    assert Traces.read(None, hooks) == Traces()
    assert Traces.read(Result("table ip nat {\n}", 1), hooks) == Traces()
    assert Traces.read(Result("", 0), hooks) == Traces(frozenset({PREROUTING, TABLE}))
    table = "table ip nat {{\n\tchain PREROUTING {{\n\t}}\n\tchain {} {{\n{}\t}}\n}}"
    name = "HA-BYPASS-MADE-PREROUTING"
    noted = Traces.read(Result(table.format(name, ""), 0), hooks)
    assert noted == Traces(noted=frozenset({PREROUTING}))
    used = Traces.read(Result(table.format(name, "\t\tcounter accept\n"), 0), hooks)
    assert used == Traces()
    # Nor could one be made where it stands.
    alone = "table ip nat {\n\tchain HA-BYPASS-MADE-PREROUTING {\n\t\treturn\n\t}\n}"
    assert Traces.read(Result(alone, 0), hooks) == Traces()
    elsewhere = table.replace("table ip ", "table inet ").format(name, "")
    assert not Traces.read(Result(elsewhere, 0), hooks).noted
