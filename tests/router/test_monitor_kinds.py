"""Whatever decides over a forward: when it changes, a router of any kind tells us."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from typing import override

import pytest

from custom_components.bypass_router.router.backend import Backend
from custom_components.bypass_router.router.router import Router
from tests.lab.bypass import RouterOptions
from tests.lab.network import Lab

from .client import connect
from .kinds import KINDS, Kind, Running
from .matrix import FORWARDS, PASSING, flaws_of, serve
from .test_monitor import Listener, listening

HEARD_WITHIN = 2.0
AUTO, IPTABLES = Backend.AUTO, Backend.IPTABLES
# A shell's words for all handles of our rules in a chain.
GATES = "nft -a list chain {chain} | sed -n '/bypass_router:/s/.*handle //p'"


@dataclass(frozen=True)
class Loss:
    """What takes forwards out of force, on a kind of router."""

    kind: str
    what: str
    command: str = ""
    """For a shell; empty: the firewall's own reload, or the proxy's watchdog."""
    backend: Backend = AUTO

    @override
    def __str__(self) -> str:
        """What pytest calls it."""
        return f"{self.kind}, {self.backend}: {self.what}"


def gate_deleted(kind: str, chain: str) -> Loss:
    """Return the loss of one of our rules in another program's chain."""
    first = GATES.format(chain=chain) + " | head -n1"
    command = f"nft delete rule {chain} handle $({first})"
    return Loss(kind, "a gate is deleted", command)


DELETED = "nft delete table ip ha_bypass"
FLUSHED = "iptables -t nat -F HA-BYPASS-PRE"
# As a proxy makes it: narrower routes of the main table go first.
TUNNEL = """
ip link add far type veth peer name away
ip link set far up
ip route add default dev far table 77
ip rule add pref 5000 lookup main suppress_prefixlength 0
ip rule add pref 5001 iif lan lookup 77
"""
VPN = """
ip link add far type veth peer name away
ip link set far up
ip route add 0.0.0.0/1 dev far
ip route add 128.0.0.0/1 dev far
"""
LOSSES = (
    Loss("Debian, iptables-nft", "our table is deleted", DELETED),
    Loss("Debian, iptables-nft", "reload", backend=IPTABLES),
    Loss("Debian, iptables-nft", "our chain is flushed", FLUSHED, IPTABLES),
    Loss("Debian, iptables-legacy", "our table is deleted", DELETED),
    Loss("Debian, iptables-legacy", "reload", backend=IPTABLES),
    Loss("Debian, iptables-legacy", "our chain is flushed", FLUSHED, IPTABLES),
    Loss("Debian, nftables", "reload"),
    Loss("without nft, iptables-nft", "our chain is flushed", FLUSHED),
    Loss(
        "Debian, nftables",
        "an element is deleted",
        "nft flush set ip ha_bypass rewritten_tcp",
    ),
    gate_deleted("drop, nftables", "inet filter forward"),
    Loss("drop, iptables-nft", "our accept goes", "iptables -F HA-BYPASS-FWD"),
    Loss("drop, iptables-legacy", "our accept goes", "iptables -F HA-BYPASS-FWD"),
    *(
        Loss(
            "drop in both variants, iptables-nft",
            f"our chain in {variant} is flushed",
            f"iptables-{variant} -F HA-BYPASS-FWD",
            backend,
        )
        for variant in ("nft", "legacy")
        for backend in (AUTO, IPTABLES)
    ),
    Loss("firewalld-strict, nftables", "reload"),
    Loss("firewalld-strict-iptables, iptables-legacy", "reload"),
    Loss("OpenWrt fw4", "reload"),
    gate_deleted("OpenWrt fw4", "inet fw4 forward_lan"),
    Loss("OpenWrt fw3", "our chain is flushed", FLUSHED),
    Loss("REDIRECT, iptables-legacy", "the watchdog", backend=IPTABLES),
    Loss("TPROXY, iptables-nft", "the watchdog"),
    Loss("TPROXY, iptables-legacy", "the watchdog"),
    gate_deleted("TPROXY, nftables", "inet clash prerouting"),
    *(
        Loss(kind, "an ip rule is deleted", "ip rule del protocol 217")
        for kind in ("TUN, iptables-nft", "TUN, nftables", "TUN, OpenWrt fw4")
    ),
    Loss("TUN, nftables", "our routes are flushed", "ip route flush table 7077"),
    *(
        Loss(kind, "a VPN comes", VPN)
        for kind in ("Debian, nftables", "without nft, iptables-legacy")
    ),
    *(
        Loss(kind, "a tunnel comes", TUNNEL)
        for kind in ("Debian, nftables", "by sudo, iptables-legacy")
    ),
)


@pytest.fixture(params=LOSSES, ids=str)
def loss(request: pytest.FixtureRequest) -> Loss:
    """Each loss."""
    found: Loss = request.param
    return found


@pytest.fixture
def kind(loss: Loss) -> Kind:
    """The kind of router that it happens to."""
    return next(kind for kind in KINDS if kind.name == loss.kind)


@pytest.fixture
def router_options(kind: Kind) -> RouterOptions:
    """Its own."""
    return kind.options


@pytest.fixture
def running(kind: Kind, at_home: Lab) -> Iterator[Running]:
    """A router of that kind."""
    serve(at_home)
    with kind.running(at_home) as running:
        yield running


@pytest.fixture
async def router(loss: Loss, kind: Kind, running: Running) -> AsyncIterator[Router]:
    """The router, connected, with all forwards on."""
    router = await connect(running.lab, account=kind.account, firewall=loss.backend)
    assert (await router.rules.apply(FORWARDS.values())).forwards == FORWARDS
    yield router
    await router.close()


@pytest.fixture
async def listener(router: Router) -> AsyncIterator[Listener]:
    """A listener that has heard that it hears."""
    async with listening(router) as listener:
        await listener.quiet()
        yield listener


async def test_a_loss_is_heard_known_and_mended(
    loss: Loss, running: Running, router: Router, listener: Listener
) -> None:
    """Heard within two seconds; then payload passes again."""
    if loss.command:
        running.lab.bypass.run("sh", "-ec", loss.command)
    else:
        running.disturb()
    assert await listener.next(HEARD_WITHIN)
    assert (await router.rules.read()).forwards != FORWARDS
    assert (await router.rules.apply(FORWARDS.values())).forwards == FORWARDS
    cells = [cell for cell in PASSING if cell.gateway == "bypass"]
    flaws = await asyncio.to_thread(flaws_of, running.lab, cells, FORWARDS)
    assert not {cell: flaw for cell, flaw in flaws.items() if flaw}
