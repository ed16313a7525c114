"""A table of iptables in which a rule of nft's stands."""

import pytest

from custom_components.bypass_router.router.backend import Backend
from tests.lab.network import INTERNET_ADDRESS, Lab

from .client import connect
from .test_forward_hook import BOTH, passing
from .test_router import WEB, ruleset


@pytest.mark.parametrize("firewall", [Backend.NFTABLES, Backend.IPTABLES])
async def test_where_iptables_can_not_read_its_own_table_nft_does(
    at_home: Lab, firewall: Backend
) -> None:
    """And who is banned there stays out."""
    at_home.target.serve("tcp", 443)
    at_home.target.serve("udp", 443)
    run = at_home.bypass.run
    run("iptables", "-P", "FORWARD", "DROP")
    run(
        "iptables",
        "-A",
        "FORWARD",
        "-m",
        "conntrack",
        "--ctstate",
        "INVALID",
        "-j",
        "DROP",
    )
    run("nft", "add set ip filter b { type ipv4_addr; }")
    run("nft", "add rule ip filter FORWARD ip saddr @b drop")
    before = ruleset(at_home)
    router = await connect(at_home, firewall=firewall)
    try:
        live = await router.rules.apply([BOTH])
        assert live.forwards == {WEB.id: BOTH}
        assert await passing(at_home) == {"tcp", "udp"}
        run("nft", f"add element ip filter b {{ {INTERNET_ADDRESS} }}")
        assert await passing(at_home) == set()
        run("nft", f"delete element ip filter b {{ {INTERNET_ADDRESS} }}")
        assert not router.rules.differs([BOTH])
        await router.rules.apply([])
        assert ruleset(at_home) == before
    finally:
        await router.close()
