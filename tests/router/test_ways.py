"""Which way answers take is told from what a router prints."""

from collections.abc import Mapping
from dataclasses import replace
from ipaddress import IPv4Address, IPv4Interface, IPv4Network
from typing import override

from hypothesis import given, strategies as st
import pytest

from custom_components.bypass_router.router.forward import Forward, PortRange
from custom_components.bypass_router.router.routing.judge import Service
from custom_components.bypass_router.router.routing.marks import Marked, MarksState
from custom_components.bypass_router.router.routing.nft_marks import NftMarks
from custom_components.bypass_router.router.routing.others import EVERY_PORT
from custom_components.bypass_router.router.routing.part import Routing
from custom_components.bypass_router.router.routing.questions import question
from custom_components.bypass_router.router.routing.reading import read_ways
from custom_components.bypass_router.router.routing.ways import (
    OurRoute,
    OurRule,
    Ways,
)
from custom_components.bypass_router.router.rules.base import (
    Problem,
    RouterContext,
    Tag,
)
from custom_components.bypass_router.router.rules.obstacles import Hindrance, Obstacle
from custom_components.bypass_router.router.ssh.script import Result
from tests.lab.led_away import AWAY
from tests.lab.network import Lab
from tests.lab.proxies import Proxy

from .client import WEB

SERVED = Forward.parse(
    "01SERVED", protocol="both", external_port="9000", target="192.168.50.10"
)
LAN = IPv4Interface("192.168.50.2/24")
MAIN = IPv4Address("192.168.50.1")
OTHER = IPv4Address("192.168.50.9")
ANYWHERE = frozenset({Service(IPv4Network("0.0.0.0/0"), EVERY_PORT)})
KERNELS = """\
0:	from all lookup local
32766:	from all lookup main
32767:	from all lookup default
"""
PLAIN = f"#rules\n{KERNELS}#default\ndefault via 192.168.50.1 dev lan proto dhcp\n"
KINDS = """\
#kinds
/sys/class/net/lan/type:1
/sys/class/net/eth1/type:1
/sys/class/net/ppp0/type:512
/sys/class/net/tun0/type:65534
"""
ASKED = "route get 1.1.1.1 from 192.168.50.254 iif lan"
STRAIGHT = "1.1.1.1 from 192.168.50.254 via 192.168.50.1 dev lan"
AWAY_BY_TUN = "1.1.1.1 from 192.168.50.254 dev tun0"
WAY = "way main 192.168.50.1 0"


def printed(
    *asked: tuple[str, str], rules: str = "", found: str = WAY, failed: str = ""
) -> str:
    """Return what a router prints that is asked so, and answers so."""
    questions = "\n".join(question for question, _ in asked)
    answers = "\n".join(answer for _, answer in asked if answer)
    return (
        f"#rules\n0:	from all lookup local\n{rules}32766:	from all lookup main\n"
        f"#found\n{found}\n{questions}\n{KINDS}#answers\n{answers}\n#failed\n{failed}\n"
    )


def ways(text: str, chosen: IPv4Address | None = None) -> Ways:
    """Return what a router has said."""
    return read_ways(text, LAN, "lan", chosen)


def test_a_plain_router_is_asked_nothing() -> None:
    """Its main router is the one of its default route."""
    assert ways(PLAIN) == Ways(gateway=MAIN, found=MAIN)


@pytest.mark.parametrize(
    ("answer", "diverted"),
    [
        (STRAIGHT, False),
        (AWAY_BY_TUN, True),
        ("1.1.1.1 from 192.168.50.254 via 192.168.50.3 dev lan", True),
        ("1.1.1.1 from 192.168.50.254 via 192.168.50.1 dev eth1", True),
        ("1.1.1.1 from 192.168.50.254 dev tun0 table 201 mark 0x20000", True),
        ("", False),
        ("rubbish", False),
    ],
)
def test_an_answer_is_led_away_if_it_goes_elsewhere_than_to_the_main_router(
    answer: str, *, diverted: bool
) -> None:
    """Into a tunnel, to another gateway, or by another interface."""
    found = ways(printed((ASKED, answer)))
    assert found.diverted == (ANYWHERE if diverted else frozenset())


def test_what_a_tproxy_takes_by_its_mark_is_not_led_away() -> None:
    """It is kept from the proxy elsewhere."""
    local = "local 1.1.1.1 from 192.168.50.254 dev lo table 100 mark 0x1"
    assert not ways(printed((f"{ASKED} mark 0x1", local))).diverted


def test_a_mark_whose_table_leads_nowhere_is_led_away() -> None:
    """As where a VPN is down, and its kill switch is not."""
    marked = (ASKED, STRAIGHT), (f"{ASKED} mark 0x20000", "")
    failed = "RTNETLINK answers: Network is unreachable\nCommand failed -:2"
    rule = "29998:	from all fwmark 0x20000/0xff0000 lookup 201\n"
    assert ways(printed(*marked, rules=rule, failed=failed)).diverted == ANYWHERE
    # mwan3 has such rules for policies that no one uses.
    rule = "2061:	from all fwmark 0x3d00/0x3f00 blackhole\n"
    marked = (ASKED, STRAIGHT), (f"{ASKED} mark 0x3d00", "")
    assert not ways(printed(*marked, rules=rule, failed=failed)).diverted


def test_one_device_may_be_led_away_and_no_other() -> None:
    """By a rule for where it comes from."""
    device = ASKED.replace(".254", ".10")
    rule = "29998:	from 192.168.50.10 lookup 201\n"
    text = printed(
        (ASKED, STRAIGHT), (device, AWAY_BY_TUN.replace(".254", ".10")), rules=rule
    )
    assert ways(text).diverted == {Service(IPv4Network("192.168.50.10/32"), EVERY_PORT)}


@pytest.mark.parametrize(
    ("found", "gateway"),
    [
        ("way main 192.168.50.1 0", MAIN),
        ("way main 192.168.50.3 200\nway main 192.168.50.1 100", MAIN),
        ("way host 192.168.50.3 0\nway table 192.168.50.1 0", MAIN),
        ("way host 192.168.50.1 0\nway host 192.168.50.1 5", MAIN),
        ("way host 192.168.50.1 0\nway host 192.168.50.3 0", None),
        ("way host 192.168.50.2 0", None),
        ("way host 10.0.0.1 0", None),
        ("", None),
    ],
)
def test_the_main_router_is_the_gateway_in_the_lan_if_there_is_one(
    found: str, gateway: IPv4Address | None
) -> None:
    """By main's default, any other table's, or a route to one host, as a VPN's is."""
    text = printed((ASKED, AWAY_BY_TUN), found=found)
    assert ways(text).gateway == gateway
    assert ways(text).diverted == ANYWHERE
    assert ways(text).by == "tun0"


def test_what_the_user_has_said_goes_if_it_can_be() -> None:
    """An address that is not of the LAN any more is of no use."""
    text = printed((ASKED, AWAY_BY_TUN))
    assert ways(text, IPv4Address("192.168.50.9")).gateway == IPv4Address(
        "192.168.50.9"
    )
    assert ways(text, IPv4Address("10.0.0.9")).gateway == MAIN
    assert ways(text, LAN.ip).gateway == MAIN


@pytest.mark.parametrize("interface", ["eth1", "ppp0"])
def test_a_router_that_is_the_main_router_itself_leads_nothing_away(
    interface: str,
) -> None:
    """It has a way of its own to the internet, which is no tunnel."""
    answer = AWAY_BY_TUN.replace("tun0", interface)
    assert not ways(printed((ASKED, answer), found="way host 192.168.50.9 0")).diverted
    assert not ways(printed((ASKED, answer), found="")).diverted


def test_requests_are_told_from_answers() -> None:
    """And those for names from others."""
    back = "route get 192.168.50.254 from 1.1.1.1 iif lan"
    away = "192.168.50.254 from 1.1.1.1 dev tun0"
    here = "192.168.50.254 from 1.1.1.1 dev lan"
    dns = f"{back} ipproto udp dport 53"
    rules = "9002:	not from all dport 53 lookup main suppress_prefixlength 0\n"
    found = ways(printed((ASKED, STRAIGHT), (back, away), (dns, here), rules=rules))
    assert found.requests == {EVERY_PORT}
    found = ways(printed((ASKED, STRAIGHT), (back, here), (dns, away), rules=rules))
    assert found.requests == {PortRange(53, 53)}


def test_our_rule_is_to_stand_before_all_others() -> None:
    """Ours don't count, nor do those of an earlier version."""
    ours = (
        "8998:	from all fwmark 0x10d9 lookup main suppress_prefixlength 32 proto 217\n"
        "8999:	from all fwmark 0x10d9 lookup 7077 proto 217\n"
    )
    old = "300:	from 192.168.50.10 ipproto tcp sport 443 lookup main proto 217\n"
    found = ways(printed(rules=f"{old}{ours}9000:	from all lookup 2022\n"))
    assert found.preference == 8999
    assert found.rules == {OurRule(8998, "bans"), OurRule(8999, "mark")}
    assert ways(printed(rules=old + ours)).preference == 32765
    for first in (0, 1):
        rules = f"{first}:	from all lookup 7\n"
        assert ways(printed(rules=rules)).preference == 2


@pytest.mark.parametrize(
    ("rules", "found", "preference", "diverted"),
    [
        ("300:	from all to 203.0.113.7 prohibit\n", "", 8999, True),
        ("300:	from all lookup 99\n", "refusing 99\n", 8999, True),
        ("300:	from all lookup 99\n", "", 299, True),
        ("300:	from 192.168.50.254 unreachable\n", "", 8999, False),
    ],
)
def test_rules_that_only_refuse_stay_before_ours(
    rules: str, found: str, preference: int, *, diverted: bool
) -> None:
    """They ban clients, or keep a device from the internet; that is named."""
    answer = AWAY_BY_TUN if diverted else ""
    failed = "" if diverted else "Command failed -:1"
    rules += "9000:	from all lookup 2022\n"
    seen = ways(printed((ASKED, answer), rules=rules, found=found + WAY, failed=failed))
    assert seen.preference == preference
    assert seen.diverted == (ANYWHERE if diverted else frozenset())
    assert seen.refused == (
        frozenset()
        if diverted
        else {
            (IPv4Network("192.168.50.254/32"), "from 192.168.50.254 unreachable"),
        }
    )


def test_a_route_with_several_hops_leads_away_by_any_of_them() -> None:
    """Whichever the kernel would take for the clients that were asked for."""
    several = f"split 192.168.50.1,lan ,tun0\n{WAY}"
    assert ways(printed((ASKED, STRAIGHT), found=several)).diverted == ANYWHERE
    others = f"split 192.168.50.3,lan ,tun0\n{WAY}"
    assert not ways(printed((ASKED, STRAIGHT), found=others)).diverted


def test_a_rule_for_some_ports_leads_away_what_is_served_there() -> None:
    """And nothing else."""
    rules = "500:	from all ipproto tcp sport 9000-9010 lookup 201\n"
    asked = (f"{ASKED} ipproto tcp sport 9010", AWAY_BY_TUN)
    found = ways(printed((ASKED, STRAIGHT), asked, rules=rules))
    assert found.divert(SERVED)
    assert not found.divert(WEB)
    assert not found.divert_all(SERVED.target)


@pytest.mark.parametrize(
    ("chosen", "standing", "gateway", "disputed"),
    [
        (None, "192.168.50.9", "192.168.50.9", False),
        ("192.168.50.8", "192.168.50.9", "192.168.50.9", True),
        ("192.168.50.9", "192.168.50.9", "192.168.50.9", False),
        ("192.168.50.9", "192.168.50.1", "192.168.50.9", False),
        ("192.168.50.9", "", "192.168.50.9", False),
        (None, "", "192.168.50.1", False),
    ],
)
def test_two_home_assistants_agree_on_a_main_router(
    chosen: str | None, standing: str, gateway: str, *, disputed: bool
) -> None:
    """Neither puts back its own for ever: there is one table for both."""
    own = f"own default via {standing} dev lan table 7077 proto 217\n" * bool(standing)
    text = printed((ASKED, AWAY_BY_TUN), found=own + WAY)
    found = ways(text, IPv4Address(chosen) if chosen else None).beside_others()
    assert (str(found.gateway), found.disputed) == (gateway, disputed)


def test_our_table_is_read() -> None:
    """What is not by the LAN's interface is no route of ours."""
    own = (
        "own default via 192.168.50.1 dev lan table 7077 proto 217\n"
        "own 192.168.50.0/24 dev lan table 7077 proto 217 scope link\n"
        "own 10.0.0.0/8 dev eth1 table 7077 proto 217\n"
        "own 10.1.0.0/16 dev lan table 7077 scope link\n"
    )
    assert ways(printed(found=own)).routes == {
        OurRoute(IPv4Network("0.0.0.0/0"), MAIN),
        OurRoute(LAN.network, None),
    }
    marked = f"{ASKED} mark 0x10d9"
    assert not ways(printed((marked, STRAIGHT), found=own)).misled
    assert ways(printed((marked, AWAY_BY_TUN), found=own)).misled
    assert not ways(printed((marked, AWAY_BY_TUN), found=WAY)).misled


def test_bans_by_routes_are_told_from_a_default_that_leads_nowhere() -> None:
    """Which is a kill switch, and would keep all out."""
    assert ways(printed(found="ban")).bans
    assert not ways(printed(found="ban\nshut")).bans
    # Where anything leads somewhere, that one is not what counts.
    assert ways(printed((ASKED, AWAY_BY_TUN), found="ban\nshut")).bans
    rules = "9000:	from all lookup 2022\n"
    found = ways(printed((ASKED, AWAY_BY_TUN), found="ban\nshut", rules=rules))
    assert not found.bans


@given(st.lists(st.sampled_from([PLAIN, printed((ASKED, AWAY_BY_TUN))]) | st.text()))
def test_no_text_is_too_strange(texts: list[str]) -> None:
    """Whatever a router prints, it is an answer."""
    ways("".join(texts))
    ways("#found\n".join(texts), MAIN)
    for text in texts:
        ways(text[: len(text) // 2])


HARMLESS = {
    "Tailscale": """
ip rule add pref 5210 fwmark 0x80000/0xff0000 lookup main
ip rule add pref 5230 fwmark 0x80000/0xff0000 lookup default
ip rule add pref 5250 fwmark 0x80000/0xff0000 type unreachable
ip rule add pref 5270 lookup 52
ip route add 100.100.100.100 dev lo table 52
""",
    "mwan3 with one WAN": """
ip rule add pref 1001 iif lan lookup 1
ip rule add pref 2001 fwmark 0x100/0x3f00 lookup 1
ip rule add pref 2061 fwmark 0x3d00/0x3f00 blackhole
ip rule add pref 2062 fwmark 0x3e00/0x3f00 unreachable
ip route add default via 192.168.50.1 dev lan table 1
ip route add 192.168.50.0/24 dev lan table 1
""",
    "a guest net": """
ip link add guest type veth peer name guests
ip address add 192.168.60.1/24 dev guest
ip link set guest up
ip rule add pref 700 from 192.168.60.0/24 lookup 200
ip rule add pref 701 iif guest lookup 200
ip route add default dev guest table 200
""",
    "a proxy that takes by TPROXY": """
ip rule add fwmark 1 lookup 100
ip route add local default dev lo table 100
""",
    "bans by routes": """
ip route add blackhole 203.0.113.77
ip route add unreachable 198.51.100.0/24
""",
}


@pytest.mark.parametrize("shell", ["dash", "busybox sh"])
def test_real_rules_that_lead_nothing_of_ours_away_are_none(
    lab: Lab, shell: str
) -> None:
    """A forward in the LAN needs nothing beside them."""
    ask = question(LAN, "lan")
    bypass = lab.bypass

    def seen() -> Ways:
        return ways(bypass.run(*shell.split(), "-c", ask).stdout)

    assert seen() == Ways(gateway=MAIN, found=MAIN)
    for name, commands in HARMLESS.items():
        bypass.run("sh", "-ec", commands)
        found = seen()
        assert not found.divert(WEB), name
        assert found.gateway == MAIN, name
        assert not found.requests, name


@pytest.mark.parametrize("ip", ["ip", "busybox ip"])
def test_real_ways_that_lead_away_are_told(lab: Lab, ip: str) -> None:
    """By both kinds of `ip`; busybox's can ask of no mark."""
    real = lab.bypass.commands.replace("ip", "")
    command = real if ip == "ip" else ip
    lab.bypass.commands.replace("ip", f'#!/bin/sh\nexec {command} "$@"\n')
    ask = question(LAN, "lan")
    by_mark = ("ShellCrash", "pbr by device", "mwan3", "saved", "OpenClash")
    for how in AWAY:
        if how.listener[0] != "tun":
            continue
        lab.bypass.commands.replace("ip", f'#!/bin/sh\nexec {real} "$@"\n')
        proxy = Proxy(how)
        proxy.start(lab.bypass)
        lab.bypass.commands.replace("ip", f'#!/bin/sh\nexec {command} "$@"\n')
        found = ways(lab.bypass.run("sh", "-c", ask).stdout)
        lab.bypass.commands.replace("ip", f'#!/bin/sh\nexec {real} "$@"\n')
        proxy.stop()
        if ip == "ip" or not any(word in str(how) for word in by_mark):
            assert found.diverted, how
            assert found.by == "Meta", how
        assert found.gateway == MAIN, how


RULES = {
    "one port of a device": "from 192.168.50.10 ipproto tcp sport 9000",
    "a range of ports": "ipproto udp sport 8999-9001",
    "any port of a client": "iif lan ipproto tcp dport 1024-65000",
    "requests to one port": "iif lan ipproto tcp dport 9000",
    "a type of service": "tos 0x10",
    "any bit of a mark": "not fwmark 0/0xff",
    "all but some": "not from 192.168.50.128/25",
    "all but the one that is asked for": "iif lan not from 192.168.50.254",
}
ROUTES = {
    "one client in two hundred": "replace default nexthop via 192.168.50.1 dev lan"
    " weight 200 nexthop dev tunnel weight 1",
    "a tunnel that is down": "replace blackhole default",
}


def test_real_rules_that_lead_some_away_are_told(lab: Lab) -> None:
    """They say of a packet what only another rule says."""
    run = lab.bypass.run
    run(
        *["sh", "-ec"],
        """
ip link add tunnel type veth peer name far
ip link set tunnel up
ip route add default dev tunnel table 203
ip route add 198.51.100.7 via 192.168.50.1
""",
    )

    def told() -> bool:
        found = ways(run("sh", "-c", question(LAN, "lan")).stdout)
        assert found.gateway == MAIN
        return found.divert(SERVED) or found.divert_requests(SERVED)

    assert not told()
    found = ways(run("sh", "-c", question(LAN, "lan", OTHER)).stdout, OTHER)
    assert found.divert(SERVED)
    for name, rule in RULES.items():
        run(*f"ip rule add pref 500 {rule} lookup 203".split())
        assert told(), name
        run(*["ip", "rule", "del", "pref", "500"])
    run(
        *["sh", "-ec"],
        """
ip link add second type veth peer name devices
ip address add 192.168.60.1/24 dev second
ip link set second up
sysctl -w net.ipv4.conf.all.rp_filter=1
""",
    )
    for rule in ("iif second", "from 192.168.60.10"):
        run(*f"ip rule add pref 500 {rule} lookup 203".split())
        found = ways(run("sh", "-c", question(LAN, "lan")).stdout)
        assert found.divert(replace(SERVED, target=IPv4Address("192.168.60.10"))), rule
        assert not found.divert(SERVED), rule
        run(*["ip", "rule", "del", "pref", "500"])
    run(*["sysctl", "-w", "net.ipv4.conf.all.rp_filter=0"])
    for name, route in ROUTES.items():
        run(*f"ip route {route}".split())
        assert told(), name
        run("sh", "-c", "while ip route del default; do :; done")
    lab.bypass.ip("route add default via 192.168.50.1")


class OthersMarks(NftMarks):
    """What another Home Assistant has marked."""

    @override
    def read(self, sections: Mapping[str, Result]) -> MarksState:
        """Return one forward of its."""
        other = Marked(Tag("cd34", "01OTHER"), "tcp", PortRange(443, 443))
        return MarksState(present=True, sound=True, marked=frozenset({other}))


def test_what_stops_answers_for_good_is_said() -> None:
    """A rule that refuses the device; another main router than others were told."""
    context = RouterContext("ab12", LAN, OTHER)
    marks = OthersMarks(context, sudo=False)
    routing = Routing(context, "lan", sudo=False, marks=marks)
    own = "own default via 192.168.50.7 dev lan table 7077 proto 217\n"
    device = ASKED.replace(".254", ".10")
    refusal = "300:	from 192.168.50.10 prohibit\n"
    text = printed(
        (ASKED, AWAY_BY_TUN), (device, ""), rules=refusal, found=own + WAY, failed="-:2"
    ).replace("-:2", "Command failed -:2")
    state = routing.read({"routing": Result(text, 0)})
    assert routing.problems(SERVED, state) == {Problem.MISROUTED}
    assert list(routing.obstacles(SERVED, state)) == [
        Obstacle(
            Hindrance.DENIED,
            {"chain": "ip rule", "rule": "from 192.168.50.10 prohibit"},
        )
    ]
    # What stands is left to whom it is for.
    assert not [
        step for step in routing.steps([SERVED], state) if "default" in step.command
    ]
