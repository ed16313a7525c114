"""Marks that tell clients decide by who asks; others do not."""

from ipaddress import IPv4Interface

import pytest

from custom_components.bypass_router.router.iptables.forward_places import ForwardPlaces
from custom_components.bypass_router.router.iptables.marks import marks_of
from custom_components.bypass_router.router.iptables.rules import FWD, MANGLE
from custom_components.bypass_router.router.iptables.table import read_table
from custom_components.bypass_router.router.rules.base import RouterContext

from .client import WEB

SITE = RouterContext("ab12", IPv4Interface("192.168.50.2/24"))
FRIEND = "-s 203.0.113.10/32"
GIVES = "-j MARK --set-xmark 0x10/0xf0"
ACCEPTS = "-m mark --mark 0x10/0xf0 -j ACCEPT"

LISTS = {
    "before": (f"-A PREROUTING {FRIEND} {GIVES}", ACCEPTS),
    "in the same chain": ("", f"{FRIEND} {GIVES}", ACCEPTS),
    "by a set": (f"-A PREROUTING -m set --match-set a src {GIVES}", ACCEPTS),
    "by a chain": (
        f"-N A\n-N B\n-A PREROUTING {FRIEND} -j A\n-A A -g B\n-A B {GIVES}",
        ACCEPTS,
    ),
    "of the connection": (
        f"-A FORWARD {FRIEND} -j CONNMARK --set-xmark 0x1/0xffffffff",
        "-m connmark --mark 0x1/0x1 -j ACCEPT",
    ),
    "restored": (
        f"-A PREROUTING {FRIEND} -j CONNMARK --restore-mark --nfmask 0x1",
        ACCEPTS,
    ),
    "to some of the LAN": (f"-A PREROUTING -s 192.168.50.20/32 {GIVES}", ACCEPTS),
    "who has any": (
        f"-A PREROUTING {FRIEND} {GIVES}",
        "-m mark ! --mark 0x0/0xf0 -j ACCEPT",
    ),
    "who has none is dropped": (
        f"-A PREROUTING {FRIEND} {GIVES}",
        "-m mark --mark 0x0/0xf0 -j DROP",
    ),
    "whoever has none is dropped": (
        f"-A PREROUTING {FRIEND} {GIVES}",
        "-m mark ! --mark 0x10/0xf0 -j DROP",
    ),
}
OTHERS = {
    "nobody gives it": ("", ACCEPTS),
    "by interface": ("", f"-i tailscale0 {GIVES}", ACCEPTS),
    "other bits": (
        f"-A PREROUTING {FRIEND} -j MARK --set-xmark 0x4000/0x4000",
        ACCEPTS,
    ),
    "another value": (
        f"-A PREROUTING {FRIEND} -j MARK --set-xmark 0x20/0xf0",
        ACCEPTS,
    ),
    "to whom is banned": (
        f"-A PREROUTING {FRIEND} {GIVES}",
        "-m mark --mark 0x10/0xf0 -j DROP",
    ),
}


def places(mangle: str, *rules: str) -> ForwardPlaces:
    """Return what forwards need beside these rules, and a policy that drops."""
    lines = "".join(f"-A FORWARD {rule}\n" for rule in rules)
    table = read_table(f"-P FORWARD DROP\n{lines}")
    marking = read_table(f"-P PREROUTING ACCEPT\n{mangle}")
    marks = marks_of({FWD: table, MANGLE: marking}, SITE, "lan")
    return ForwardPlaces(table, SITE, "lan", marks)


@pytest.mark.parametrize("rules", LISTS.values(), ids=LISTS)
def test_a_mark_that_tells_friends_is_a_list(rules: tuple[str, ...]) -> None:
    """It is named."""
    assert {it.kind for it in places(*rules).obstacles(WEB)} == {"allow_list"}


@pytest.mark.parametrize("rules", OTHERS.values(), ids=OTHERS)
def test_any_other_mark_is_none(rules: tuple[str, ...]) -> None:
    """Ours stands behind what asks for it."""
    found = places(*rules)
    assert not list(found.obstacles(WEB))
    assert [it.first for it in found.places([WEB])] == [len(rules) - 1]


def test_chains_of_any_depth_are_read() -> None:
    """The kernel has none that are so deep, but a router may print anything."""
    deep = "".join(f"-A C{number} -j C{number + 1}\n" for number in range(2000))
    named = "".join(f"-N C{number}\n" for number in range(2001))
    mangle = f"{named}-A PREROUTING {FRIEND} -j C0\n{deep}-A C2000 {GIVES}"
    assert not list(places(mangle, ACCEPTS).obstacles(WEB))


def test_what_ours_accept_makes_no_mark_a_list() -> None:
    """Of a forward for some sources: whoever else comes is marked behind that."""
    ours = f"-A HA-BYPASS-FWD -m conntrack {FRIEND.replace('-s', '--ctorigsrc')}"
    listing = (
        f"-P FORWARD DROP\n-N HA-BYPASS-FWD\n-A FORWARD -j HA-BYPASS-FWD\n"
        f"-A FORWARD {GIVES}\n-A FORWARD {ACCEPTS}\n{ours} -j ACCEPT\n"
    )
    assert not marks_of({FWD: read_table(listing)}, SITE, "lan")
