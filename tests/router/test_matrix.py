"""Every kind of router, by every path and protocol, with every option of a forward.

Proved by payload both ways. The table of all cells is printed after the tests.
"""

import asyncio
from collections.abc import (
    AsyncIterator,
    Callable,
    Collection,
    Iterable,
    Iterator,
    Mapping,
)
from contextlib import asynccontextmanager
from difflib import unified_diff
import re

import pytest

from custom_components.bypass_router.router.backend import Backend
from custom_components.bypass_router.router.router import Router
from custom_components.bypass_router.router.rules.base import Live
from tests.lab.bypass import RouterOptions
from tests.lab.network import Lab
from tests.summary import Layout, Note

from .client import connect
from .kinds import KINDS, Kind, Running
from .matrix import (
    CELLS,
    FORWARDS,
    GATEWAYS,
    OURS,
    PASSING,
    Cell,
    Gateway,
    Reason,
    flaws_of,
    foreign,
    kernels_chains,
    rules,
    serve,
    without_kernels_chains,
)
from .matrix_table import Row, lines_of


@pytest.fixture
def table(note: Callable[[str, Layout], Note]) -> Note:
    """The table, which is printed after all tests."""
    return note("Forwards on every kind of router", lines_of)


@pytest.fixture(params=KINDS, ids=str)
def kind(request: pytest.FixtureRequest) -> Kind:
    """Each kind of router."""
    found: Kind = request.param
    return found


@pytest.fixture
def router_options(kind: Kind) -> RouterOptions:
    """Its own."""
    return kind.options


@pytest.fixture
def running(kind: Kind, at_home: Lab) -> Iterator[Running]:
    """A router of that kind, with its proxy; and a target that answers."""
    serve(at_home)
    with kind.running(at_home) as running:
        yield running


@asynccontextmanager
async def connected(
    running: Running, kind: Kind, backend: Backend
) -> AsyncIterator[Router]:
    """The router, by a new connection."""
    router = await connect(running.lab, account=kind.account, firewall=backend)
    try:
        yield router
    finally:
        await router.close()


async def test_forwards_work_and_leave_no_trace(
    kind: Kind, running: Running, table: Note
) -> None:
    """Also after a reload; and they move when another firewall is chosen."""
    flaws: list[str] = []
    bare = rules(running.lab)
    for backend in kind.backends:
        async with connected(running, kind, backend) as router:
            row = Row(kind.name, re.sub(r"iptables \S+ ", "", router.rules.firewall))
            try:
                await use(router, running, row)
                await take_away(router, running, row, bare)
                await disturb(router, running, row)
            finally:
                table(*row.cells())
            await router.rules.apply([])
            # What a reload does to other rules, and to their order, is its own.
            bare = rules(running.lab)
            if backend is not kind.backends[-1]:
                await router.rules.apply(FORWARDS.values())
        flaws += row.flaws
    if ours := OURS.search(rules(running.lab)):
        flaws.append(f"left: {ours}")
    assert not flaws, "\n".join(flaws)


async def use(router: Router, running: Running, row: Row) -> None:
    """Note what becomes of each cell while the forwards are on.

    The choice before had them; nothing of it may be left.
    """
    lab = running.lab
    before = foreign(rules(lab))
    live = await router.rules.apply(FORWARDS.values())
    assert live.forwards == FORWARDS
    other = "HA-BYPASS-PRE" if row.firewall == "nftables" else "table ip ha_bypass {"
    assert other not in rules(lab)
    for gateway in GATEWAYS:
        row.tried(await tried(lab, CELLS, FORWARDS, gateway))
    row.promise("foreign", difference(before, foreign(rules(lab))))


async def take_away(router: Router, running: Running, row: Row, bare: str) -> None:
    """Note whether nothing but what was there at first is there without forwards."""
    await router.rules.apply([])
    after = rules(running.lab)
    left = difference(bare.splitlines(), after.splitlines())
    reason = leftover(router, bare)
    if reason:
        assert without_kernels_chains(after) == without_kernels_chains(bare)
    row.promise("removed", left, reason)


async def disturb(router: Router, running: Running, row: Row) -> None:
    """Note whether we know what a reload does to the forwards, and can mend it."""
    lab = running.lab
    await router.rules.apply(FORWARDS.values())
    running.disturb()
    live = await router.rules.read()
    row.promise("truth", untrue(live, await tried(lab, PASSING, live.forwards)))
    before = foreign(rules(lab))
    await router.rules.apply(FORWARDS.values())
    row.promise("mended", said(await tried(lab, PASSING, FORWARDS)))
    row.promise("foreign", difference(before, foreign(rules(lab))))


async def tried(
    lab: Lab, cells: Iterable[Cell], on: Collection[str], gateway: Gateway = "bypass"
) -> dict[Cell, str | None]:
    """Try those of the cells that have this gateway; these forwards are to work."""
    lab.target.use_gateway(getattr(lab, gateway).address)
    chosen = [cell for cell in cells if cell.gateway == gateway]
    return await asyncio.to_thread(flaws_of, lab, chosen, on)


def said(flaws: Mapping[Cell, str | None]) -> str:
    """Return what is wrong, as one text."""
    return "; ".join(f"{cell}: {flaw}" for cell, flaw in flaws.items() if flaw)


def untrue(live: Live, flaws: Mapping[Cell, str | None]) -> str:
    """Return what passes otherwise than is said.

    A damaged forward may pass some of what it should.
    """
    return said(
        {
            cell: flaw
            for cell, flaw in flaws.items()
            if cell.forward.id not in live.damaged
        }
    )


def leftover(router: Router, before: str) -> Reason | None:
    """Return why more than before is left by this firewall, if that can't be helped."""
    hooks = "nat PREROUTING", "nat POSTROUTING", "filter FORWARD"
    if router.rules.firewall.endswith("(legacy)"):
        made, reason = {"legacy nat", "legacy filter"}, Reason.LEGACY_TABLES
    elif router.rules.firewall.endswith("(nf_tables)") and not router.probe.tools.nft:
        made, reason = {f"nft ip {hook}" for hook in hooks}, Reason.UNSEEN_CHAINS
    else:
        return None
    return None if made <= kernels_chains(before) else reason


def difference(before: list[str], after: list[str]) -> str:
    """Return what differs, or nothing."""
    return "\n".join(unified_diff(before, after, lineterm="", n=0))
