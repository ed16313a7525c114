"""What ends a forward by itself, and what cuts connections: as text and as values."""

from ipaddress import IPv4Network
import re
import time

from hypothesis import given, strategies as st
import pytest

from custom_components.bypass_router.router.forward import PortRange
from custom_components.bypass_router.router.nftables.gate import (
    TRANSPORTS,
    Open,
    element_text,
    seconds_of,
)
from custom_components.bypass_router.router.rules.base import Tag, Way
from custom_components.bypass_router.router.rules.ends import (
    EVERYWHERE,
    cuts_of,
    ending,
    moment,
    read_ending,
    read_moment,
)
from tests.lab.waiting import soon

from .rules import ways_without

MOMENTS = st.integers(0, 2**32)
ADDRESSES = st.ip_addresses(v=4)
# Few, so that they meet.
NETWORKS = st.sampled_from(
    ["0.0.0.0/0", "10.0.0.0/8", "10.1.0.0/16", "10.1.2.3/32", "203.0.113.0/24"]
).map(IPv4Network)
PORTS = st.tuples(st.integers(1, 9), st.integers(0, 5)).map(
    lambda drawn: PortRange(drawn[0], drawn[0] + drawn[1])
)
WAYS = st.builds(
    Way,
    NETWORKS,
    st.sampled_from(["tcp", "udp"]),
    PORTS,
    st.sampled_from([IPv4Network("192.0.2.1").network_address]),
)


def packets(ways: list[Way]) -> set[tuple[str, str, int]]:
    """Return which packets of a few go some way."""
    clients = ["10.1.2.3", "10.1.9.9", "10.9.9.9", "203.0.113.7", "198.51.100.1"]
    return {
        (client, way.transport, port)
        for way in ways
        for client in clients
        for port in range(way.ports.first, way.ports.last + 1)
        if IPv4Network(client).subnet_of(way.source)
    }


@given(st.lists(WAYS, max_size=4), st.lists(WAYS, max_size=4))
def test_what_is_cut_is_all_that_goes_and_nothing_that_stays(
    gone: list[Way], stays: list[Way]
) -> None:
    """Whatever part of a network and of ports stays."""
    left = ways_without(gone, stays)
    assert packets(left) == packets(gone) - packets(stays)
    # Nothing is left to be taken away by the same once more.
    assert ways_without(left, stays) == left


def test_what_a_thousand_forwards_leave_is_soon_told() -> None:
    """At each look at the router, while Home Assistant does nothing else."""
    target = IPv4Network("192.0.2.1").network_address
    gone = {
        Tag("ab12", f"{port}"): [
            Way(EVERYWHERE, transport, PortRange(port, port), target)
            for transport in TRANSPORTS
        ]
        for port in range(10000, 11000)
    }
    started = time.perf_counter()
    cuts = list(cuts_of(gone, [], [], 0))
    assert len(cuts) == 2000
    assert set(cuts_of({}, [], cuts, 1)) == set(cuts)
    assert time.perf_counter() - started < soon(0.2)


@given(st.integers(0, 2**31 - 1))
def test_a_moment_is_read_as_it_was_written(seconds: int) -> None:
    """By either kind of rule."""
    assert read_moment(moment(seconds)) == seconds
    tag = Tag("ab12", "01JX")
    for word in ("until", "cut until"):
        assert read_ending(ending(tag, word, seconds)) == (tag, word, seconds)


@given(st.integers(1, 10**8))
def test_what_is_left_is_written_as_nft_takes_it(left: int) -> None:
    """Of each unit it takes what fits into 31 bits; in milliseconds, to be exact."""
    now = 1_800_000_000.0
    element = Open("tcp", PortRange(80, 80), int(now) + left)
    text = element_text(Tag("ab12", "01JX"), element, now - 0.002)
    found = re.search("timeout ([0-9a-z]+) ", text)
    assert found
    assert all(int(number) < 2**31 for number in re.findall("[0-9]+", found[1]))
    assert seconds_of(found[1]) == pytest.approx(left + 0.002, abs=1e-6)


@given(st.text(max_size=60))
def test_whatever_a_comment_says_it_is_an_end_or_none(text: str) -> None:
    """It may be anyone's."""
    for comment in (text, f"bypass_router:ab12:01JX until {text}"):
        found = read_ending(comment)
        assert found is None or ending(*found) == comment


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("", 0),
        ("5ms", 0.005),
        ("10s8ms", 10.008),
        ("59m59s", 3599),
        ("29d23h59m59s996ms", 30 * 86400 - 0.004),
        ("1h1x", 0),
        ("-1s", 0),
    ],
)
def test_a_time_is_read_as_nft_prints_it(text: str, seconds: float) -> None:
    """And what is none is over."""
    assert seconds_of(text) == pytest.approx(seconds)
