"""Beside what others have at the hook `forward`: who is kept out there stays out."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from itertools import batched
import re

import pytest

from custom_components.bypass_router.router.backend import Backend
from custom_components.bypass_router.router.forward import Forward, Protocol
from custom_components.bypass_router.router.nftables.listing import read_tables
from custom_components.bypass_router.router.router import Router
from tests.lab.bypass import RouterOptions
from tests.lab.network import INTERNET_ADDRESS, Lab
from tests.lab.waiting import at_once

from .client import connect
from .test_router import WEB, ruleset

BOTH = replace(WEB, protocol=Protocol.BOTH)
NATIVE = pytest.mark.parametrize("router_options", [RouterOptions(iptables=None)])
SET = "set b { type ipv4_addr; }"
BAN = "ip saddr @b drop;"
KEPT = "ct state established,related accept;"


def hook(policy: str, *rules: str, priority: str = "0") -> str:
    """Return a chain that the kernel enters."""
    base = f"type filter hook forward priority {priority}; policy {policy};"
    return f"chain f {{ {base} {' '.join(rules)} }}"


def inet(*blocks: str, name: str = "inet t") -> str:
    """Return a table that has the set."""
    return f"table {name} {{ {SET} {' '.join(blocks)} }}"


TPROXY = (
    f"type filter hook prerouting priority mangle; {BAN}"
    " meta l4proto { tcp, udp } ip daddr != 127.0.0.0/8 meta mark set 7"
    " tproxy ip to 127.0.0.1:7893 accept;"
)
MAP = 'map m { type ifname : verdict; elements = { "lan" : jump z, "lo" : accept }; }'
Z = f"chain z {{ {BAN} drop; }}"
LISTS = {
    "in front of all": inet(hook("accept", KEPT, BAN, priority="-100")),
    "policy": inet(hook("drop", KEPT, "ct state invalid drop;", BAN)),
    "no established": inet(hook("drop", BAN)),
    "catch-all": inet(hook("accept", BAN, "log;", "counter reject;")),
    "ip": inet(hook("drop", BAN, "counter;"), name="ip t"),
    "jump": inet(
        "chain r { log; reject; }",
        f"chain z {{ {BAN} jump r; }}",
        hook("accept", 'iifname "lan" jump z;', "drop;"),
    ),
    "goto": inet(
        f"chain z {{ {BAN} log; }}",
        hook("drop", KEPT, 'iifname "lan" goto z;', "accept;"),
    ),
    "map": inet(Z, hook("accept", 'iifname vmap { "lan" : jump z, "lo" : accept };')),
    "named map": inet(Z, MAP, hook("accept", "iifname vmap @m;")),
    "nameless chain": inet(
        hook("accept", BAN, 'iifname "lan" jump { ct state invalid drop; drop; };')
    ),
    "banned in a nameless chain": inet(
        hook("drop", f'iifname "lan" jump {{ {BAN} }};')
    ),
    "two": inet(hook("drop", BAN))
    + " "
    + inet(hook("drop", KEPT, "tcp dport 22 accept;", priority="10"), name="ip u"),
    "sample of Arch": inet(hook("drop"))
    + " "
    + inet(hook("accept", BAN, priority="5"), name="inet v"),
    "answers": inet(
        hook("drop", "ip daddr @b drop;", "ct direction reply accept;", BAN)
    ),
    "before translation": inet(f"chain p {{ {TPROXY} }}"),
}
"""By name, what keeps those out who are in a set."""


@pytest.fixture
async def router(at_home: Lab) -> AsyncIterator[Router]:
    """The bypass router, connected."""
    at_home.target.serve("tcp", 443)
    at_home.target.serve("udp", 443)
    router = await connect(at_home, firewall=Backend.NFTABLES)
    yield router
    await router.close()


async def passing(lab: Lab, *, lan: bool = False, blocked: bool = False) -> set[str]:
    """Return by which protocols payload goes there and back.

    An answer takes two milliseconds; one that is to be `blocked` is not waited for.
    """
    node = lab.other if lan else lab.internet
    address = lab.bypass.address if lan else lab.main.wan_address
    exchanged = await at_once(
        *(
            asyncio.to_thread(
                node.exchange, protocol, address, 8443, timeout=0.1 if blocked else 0.4
            )
            for protocol in ("tcp", "udp")
        )
    )
    return {
        protocol
        for protocol, it in zip(("tcp", "udp"), exchanged, strict=True)
        if it.passed
    }


def load(lab: Lab, text: str) -> None:
    """Have nft load tables, in one line for a block."""
    lines = re.sub(r"\} (?=chain|table|map|set|\})", "}\n", text)
    lab.bypass.run("nft", "-f", "-", input=f"{lines}\n")


def ban(lab: Lab, text: str, verb: str = "add") -> None:
    """Put the client on the internet into each set, or take it out."""
    for name in re.findall(r"table (\S+ \S+) ", text):
        element = f"{verb} element {name} b {{ {INTERNET_ADDRESS} }}"
        lab.bypass.run("nft", element)


def last_of_ours(lab: Lab) -> dict[str, int]:
    """Return the handle of the last rule of ours in each chain of others."""
    listing = lab.bypass.run("nft", "-t", "-s", "-a", "list", "ruleset").stdout
    return {
        str(chain): rule.handle
        for table in read_tables(listing)
        for chain in table.chains
        if table.name != "ha_bypass"
        for rule in chain.rules
        if "bypass_router:" in rule.comment
    }


def unload(lab: Lab, text: str) -> None:
    """Take the tables away again."""
    for table in re.findall(r"table (\S+ \S+) ", text):
        lab.bypass.run("nft", f"delete table {table}")


ALL = {"tcp", "udp"}


@NATIVE
@pytest.mark.parametrize("names", batched(LISTS, 4, strict=False), ids=" and ".join)
async def test_who_is_banned_stays_out_and_others_get_in(
    at_home: Lab, router: Router, names: tuple[str, ...]
) -> None:
    """Whoever adds a ban later, behind our rules, is heard; nothing stays behind."""
    for name in names:
        text = LISTS[name]
        load(at_home, text)
        before = ruleset(at_home)
        for keep in (False, True):
            forward = replace(BOTH, keep_client_address=keep)
            await bans_hold(at_home, router, name, forward)
            # As its owner reloads it.
            unload(at_home, text)
            load(at_home, text)
            await router.rules.apply([forward])
            await router.rules.apply([])
            assert ruleset(at_home) == before, name
        unload(at_home, text)


async def bans_hold(lab: Lab, router: Router, name: str, forward: Forward) -> None:
    """See who gets in, whether a ban was there before the forward or comes later."""
    text, active = LISTS[name], {WEB.id: forward}
    for _ in range(2):
        assert (await router.rules.apply([forward])).forwards == active, name
        assert not router.rules.obstacles(forward), name
        assert await passing(lab) == ALL, name
        if not forward.keep_client_address:
            assert await passing(lab, lan=True) == ALL, name
        ban(lab, text)
        assert await passing(lab, blocked=True) == set(), name
        ban(lab, text, "delete")
        assert await passing(lab) == ALL, name
        places = last_of_ours(lab)
        assert bool(places) == (name != "in front of all"), name
        for chain, handle in places.items():
            later = f"add rule {chain} handle {handle} ip saddr {INTERNET_ADDRESS} drop"
            lab.bypass.run("nft", later)
        if places:
            assert (await router.rules.read()).forwards == active, name
            assert (await router.rules.apply([forward])).forwards == active, name
            assert await passing(lab, blocked=True) == set(), name
        unload(lab, text)
        load(lab, text)


@NATIVE
async def test_what_else_the_chains_of_others_do_is_done_to_a_forward(
    at_home: Lab, router: Router
) -> None:
    """Clamped, marked and counted, in a chain that drops too."""
    clamp = "tcp flags & (fin|syn|rst) == syn counter tcp option maxseg size set 1360;"
    marks = "counter meta mark set 0x7 ct mark set mark;"
    text = (
        f"table inet t {{ {hook('accept', clamp, marks, priority='mangle')} }}"
        f" table inet u {{ {hook('drop', clamp, marks, KEPT, 'counter reject;')} }}"
    )
    load(at_home, text)
    await router.rules.apply([BOTH])
    assert await passing(at_home) == ALL
    listing = at_home.bypass.run("nft", "list ruleset").stdout
    counts = re.findall(r"counter packets ([0-9]+)", listing)
    *seen, rejected = map(int, counts[:5])
    assert all(seen)
    assert rejected == 0


@NATIVE
async def test_errors_about_a_forwards_connections_pass_with_it(
    at_home: Lab, router: Router
) -> None:
    """A link behind it takes no large packets, and the sender is to hear of it."""
    at_home.main.ip("route replace 203.0.113.0/24 dev wan mtu lock 1300")
    load(at_home, f"table inet t {{ {hook('drop')} }}")
    await router.rules.apply([BOTH])
    assert await passing(at_home) == ALL
    # It would not pass without.
    at_home.target.ip("route flush cache")
    listing = at_home.bypass.run("nft", "-a", "list chain inet t f").stdout
    handle = re.search(r"l4proto icmp .* handle ([0-9]+)", listing)
    assert handle
    at_home.bypass.run("nft", f"delete rule inet t f handle {handle[1]}")
    assert await passing(at_home) == {"udp"}
    assert (await router.rules.read()).damaged == {WEB.id}


@NATIVE
@pytest.mark.parametrize(
    ("rules", "kind", "named"),
    [
        (("limit rate 5/second accept;",), "allow_list", "limit rate 5/second"),
        (("ip saddr @b accept;", "drop;"), "allow_list", "ip saddr @b accept"),
        (("ip daddr 192.168.50.10 reject;",), "denied", "ip daddr 192.168.50.10"),
    ],
)
async def test_what_lets_in_only_some_is_named_and_not_undone(
    at_home: Lab, router: Router, rules: tuple[str, ...], kind: str, named: str
) -> None:
    """The switch is on, as all of ours is there."""
    load(at_home, f"table inet t {{ {SET} {hook('drop', KEPT, *rules)} }}")
    assert (await router.rules.apply([BOTH])).forwards == {WEB.id: BOTH}
    (obstacle,) = router.rules.obstacles(BOTH)
    assert obstacle.kind == kind
    assert named in obstacle.seen["rule"]
    assert obstacle.seen["chain"] == "inet t f"
    assert not last_of_ours(at_home)
    if "@b" in named:
        assert await passing(at_home) == set()
        ban(at_home, "table inet t ")
        assert await passing(at_home) == ALL


@NATIVE
@pytest.mark.parametrize("policy", ["drop", "accept"])
async def test_a_table_that_its_program_owns_is_named_only_where_it_drops(
    at_home: Lab, router: Router, policy: str
) -> None:
    """Here the program is nft itself, as long as it runs."""
    text = f"table inet own {{ flags owner; {hook(policy, KEPT)}; }};"
    owner = at_home.bypass.spawn("sh", "-c", f"(echo '{text}'; cat) | nft -i", stdin=-1)
    try:
        while "table inet own" not in ruleset(at_home):
            await asyncio.sleep(0)
        assert (await router.rules.apply([BOTH])).forwards == {WEB.id: BOTH}
        assert bool(await passing(at_home)) == (policy == "accept")
        found = [(it.kind, dict(it.seen)) for it in router.rules.obstacles(BOTH)]
        named = ("owned", {"table": "inet own", "program": "nft"})
        assert found == ([named] if policy == "drop" else [])
    finally:
        at_home.bypass.stop(owner)
