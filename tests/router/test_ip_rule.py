"""What is told of a proxy from the text that a router prints."""

from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import IPv4Address
import time
from typing import Literal

from hypothesis import given, strategies as st
import pytest

from custom_components.bypass_router.router.forward import PortRange
from custom_components.bypass_router.router.iptables.proxy_places import ProxyPlaces
from custom_components.bypass_router.router.iptables.table import read_table
from custom_components.bypass_router.router.routing.ip_rule import (
    RouteRule,
    route_rules,
)
from tests.lab.hijacks import Hijack, Redirect, Tproxy
from tests.lab.network import Lab
from tests.lab.proxies import Proxy
from tests.lab.requirements import LabUnavailable

from .client import WEB
from .rules import SITE

CLASH = """\
-P PREROUTING ACCEPT
-P INPUT ACCEPT
-N CLASH
-N CLASH_TAKE
-A PREROUTING -j CLASH
-A CLASH -d 10.0.0.0/8 -j RETURN
-A CLASH -p tcp -g CLASH_TAKE
-A CLASH_TAKE -p tcp -j TPROXY --on-port 7893 --on-ip 0.0.0.0 \
--tproxy-mark 0x1/0xffffffff
"""
OURS = "8000:	from 192.168.50.10 ipproto tcp sport 443 lookup main proto 217\n"
OUR_REQUESTS = (
    "8000:	from all to 192.168.50.10 ipproto udp dport 53 lookup main proto 217"
)
TUNNEL = """\
0:	from all lookup local
9000:	from all to 198.18.0.0/30 lookup 2022
9002:	not from all dport 53 lookup main suppress_prefixlength 0
9002:	from all iif Meta goto 9010
9003:	not from all iif lo lookup 2022
9010:	from all nop
32766:	from all lookup main
32767:	from all lookup default
"""


@contextmanager
def running(hijack: Hijack, lab: Lab) -> Iterator[None]:
    """Let a proxy run on the bypass router."""
    proxy = Proxy(hijack)
    try:
        proxy.start(lab.bypass)
        yield
    except LabUnavailable as error:
        pytest.skip(str(error))
    finally:
        proxy.stop()


def tproxy_in_iptables(listing: str) -> bool:
    """Return whether a rule of ours is needed in a mangle table."""
    return bool(ProxyPlaces(read_table(listing), SITE, "lan").transports(WEB))


listing = st.lists(
    st.sampled_from([*CLASH.splitlines(), *TUNNEL.splitlines(), OURS])
    | st.text(max_size=40),
    max_size=12,
).map("\n".join)


def test_a_tproxy_is_found_through_the_chains_that_lead_to_it() -> None:
    """By a jump or a goto, in whatever order they are listed."""
    assert tproxy_in_iptables(CLASH)
    backwards = "\n".join(reversed(CLASH.splitlines()))
    assert tproxy_in_iptables(backwards)


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("-A PREROUTING -j CLASH", "-A OUTPUT -j CLASH"),
        ("-A PREROUTING -j CLASH", '-A PREROUTING -m comment --comment "-j CLASH"'),
        ("-g CLASH_TAKE", "-j RETURN"),
        ("-j TPROXY", "-j MARK"),
        ("-j TPROXY", '-m comment --comment "a -j TPROXY" -j MARK'),
    ],
)
def test_a_tproxy_that_no_packet_comes_to_is_none(old: str, new: str) -> None:
    """A chain that nothing enters, or words in a comment."""
    assert old in CLASH
    assert not tproxy_in_iptables(CLASH.replace(old, new))


def test_chains_that_lead_in_circles_or_nowhere_end() -> None:
    """Also where there are many of them."""
    circle = "".join(f"-A C{n} -j C{n + 1}\n" for n in range(20_000))
    circle += "-A C20000 -j C0\n-A PREROUTING -j C0\n-A PREROUTING -j GONE\n"
    started = time.thread_time()
    assert not tproxy_in_iptables(circle)
    assert tproxy_in_iptables(f"{circle}-A C9 -j TPROXY --on-port 1\n")
    assert time.thread_time() - started < 5


def test_our_rules_are_found_among_others() -> None:
    """With what is needed to remove each."""
    found = route_rules(TUNNEL + OURS + OUR_REQUESTS)
    target = IPv4Address("192.168.50.10")
    assert found == (
        RouteRule(8000, target, "tcp", PortRange(443, 443)),
        RouteRule(8000, target, "udp", PortRange(53, 53), answers=False),
    )
    assert str(found[0]) == (
        "pref 8000 from 192.168.50.10 ipproto tcp sport 443 lookup main protocol 217"
    )


@pytest.mark.parametrize(
    ("old", "new"),
    [
        ("proto 217", "proto 218"),
        (" proto 217", ""),
        ("lookup main", "lookup 2022"),
        ("from 192.168.50.10", "from all"),
        ("from 192.168.50.10", "from 192.168.50.0/24"),
        ("from 192.168.50.10", "from 192.168.50.10 iif lan"),
        ("from 192.168.50.10", "from 192.168.50.999"),
        ("8000:\t", "8000:\tnot "),
        ("sport 443", "dport 443"),
        ("sport 443", "sport 443 dport 5"),
        ("sport 443", "sport 0"),
        ("sport 443", "sport 2-1"),
        ("sport 443", "sport -"),
        (" sport 443", ""),
    ],
)
def test_a_rule_that_says_anything_else_is_not_ours(old: str, new: str) -> None:
    """It would be taken for one that carries a forward."""
    assert old in OURS
    assert route_rules(OURS.replace(old, new)) == ()


@given(
    st.integers(0, 2**32 - 1),
    st.ip_addresses(v=4),
    st.sampled_from(["tcp", "udp"]),
    st.tuples(st.integers(1, 65535), st.integers(1, 65535)).map(sorted),
    st.booleans(),
)
def test_what_is_added_is_what_is_found(
    preference: int,
    target: IPv4Address,
    transport: str,
    ports: list[int],
    answers: bool,
) -> None:
    """As the kernel would list it."""
    rule = RouteRule(
        preference,
        target,
        "tcp" if transport == "tcp" else "udp",
        PortRange(*ports),
        answers,
    )
    text = str(rule).replace(f"pref {preference} ", "").replace("protocol", "proto")
    text = text if answers else f"from all {text}"
    assert route_rules(f"{preference}:\t{text}") == (rule,)


@pytest.mark.parametrize("variant", ["nft", "legacy"])
def test_a_real_tproxy_is_told(lab: Lab, variant: Literal["nft", "legacy"]) -> None:
    """And REDIRECT is none."""
    command = f"iptables-{variant} -t mangle -S"
    for hijack, expected in ((Redirect(), False), (Tproxy(variant=variant), True)):
        with running(hijack, lab):
            listed = lab.bypass.run(*command.split()).stdout
            assert tproxy_in_iptables(listed) is expected


def test_real_rules_are_listed_as_they_were_added_and_go_one_by_one(lab: Lab) -> None:
    """By iproute2; a second `ip rule add` of one says that it exists."""
    target = IPv4Address(lab.target.address)
    rules = (
        RouteRule(8000, target, "tcp", PortRange(443, 443)),
        RouteRule(8000, target, "udp", PortRange(7000, 7010)),
        RouteRule(8000, target, "udp", PortRange(53, 53), answers=False),
    )
    for rule in rules:
        lab.bypass.run(*f"ip rule add {rule}".split())
    again = lab.bypass.run(*f"ip rule add {rules[0]}".split(), check=False)
    assert "File exists" in again.stderr
    assert route_rules(lab.bypass.run("ip", "-4", "rule", "show").stdout) == rules
    lab.bypass.run(*f"ip rule del {rules[1]}".split())
    left = lab.bypass.run("ip", "-4", "rule", "show").stdout
    assert route_rules(left) == (rules[0], rules[2])


@given(listing)
def test_no_text_is_too_strange(one: str) -> None:
    """Whatever a router prints, it is an answer."""
    tproxy_in_iptables(one)
    route_rules(one)
