"""Rules of others as nft prints them, read as what becomes of a packet."""

import time

from hypothesis import given, strategies as st
import pytest

from custom_components.bypass_router.router.forward import Forward
from custom_components.bypass_router.router.nftables.chain_rules import read_chain_rule
from custom_components.bypass_router.router.passage.chains import Action, ChainRule
from custom_components.bypass_router.router.passage.packet import (
    Match,
    Packet,
    packets_of,
)
from tests.share import SHARE

from .rules import SITE
from .test_foreign_chains import LISTING

WEB = Forward.parse(
    "01WEB",
    protocol="both",
    external_port="8443",
    target="192.168.50.10",
    target_port="443",
)
PACKETS = list(packets_of(WEB, SITE, "lan"))
REQUEST, ANSWER = PACKETS[:2]
YES, MAYBE, NO = Match.YES, Match.MAYBE, Match.NO


def read(text: str, **elements: tuple[str, ...]) -> ChainRule:
    """Return a rule."""
    return read_chain_rule(text, "c 0", elements)[0]


def met(rule: ChainRule, packet: Packet) -> list[tuple[Match, Action, str]]:
    """Return what may become of a packet, without what surely does not."""
    return [
        (match, branch.action, branch.chain)
        for branch in rule.branches
        if (match := branch.match(packet)) is not NO
    ]


@pytest.mark.parametrize(
    ("condition", "asking", "answering"),
    [
        ("", YES, YES),
        ('iifname "lan"', YES, YES),
        ('iif "lan"', YES, YES),
        ("iif 7", MAYBE, MAYBE),
        ('meta iifname "lan"', YES, YES),
        ('iifname { "eth0", "la*" }', YES, YES),
        ('oifname != "lan"', NO, NO),
        ("oifname @wan", MAYBE, MAYBE),
        ("iifgroup 3", MAYBE, MAYBE),
        ("meta l4proto { tcp, udp }", YES, YES),
        ("meta l4proto { 6, 17 }", YES, YES),
        ("meta l4proto 17", NO, NO),
        ("meta l4proto 1-16", MAYBE, MAYBE),
        ("meta l4proto != tcp", NO, NO),
        ("ip protocol tcp", YES, YES),
        ("ip protocol icmp", NO, NO),
        ("meta nfproto ipv4", YES, YES),
        ("meta nfproto ipv6", NO, NO),
        ("meta protocol ip", YES, YES),
        ("ether type ip6", NO, NO),
        ("ip6 daddr ::1", NO, NO),
        ("icmpv6 type { echo-request }", NO, NO),
        ("icmp type echo-request", NO, NO),
        ("udp dport 443", NO, NO),
        ("tcp dport 443", YES, MAYBE),
        ("tcp sport 443", MAYBE, YES),
        ("th dport { 80, 400-500 }", YES, MAYBE),
        ("th dport != { 80, 400-500 }", NO, MAYBE),
        ("tcp dport > 1023", NO, MAYBE),
        ("tcp dport <= 443", YES, MAYBE),
        ("tcp dport < 443", NO, MAYBE),
        ("tcp dport >= 0x1bb", YES, MAYBE),
        ("tcp dport https", MAYBE, MAYBE),
        ("tcp dport @open", MAYBE, MAYBE),
        ("ct state new", YES, NO),
        ("ct state new,established", YES, YES),
        ("ct state { established, related }", NO, YES),
        ("ct state 0x8", YES, NO),
        ("ct state invalid", NO, NO),
        ("ct state ! invalid", YES, YES),
        ("ct state != established", YES, NO),
        ("ct state != established | related", MAYBE, MAYBE),
        ("ct state & (established | related) == 0x0", MAYBE, MAYBE),
        ("ct status dnat", YES, YES),
        ("ct status dnat,snat", YES, YES),
        ("ct status snat", MAYBE, MAYBE),
        ("ct status ! dnat", NO, NO),
        ("ct status != dnat", MAYBE, MAYBE),
        ("ct direction original", YES, NO),
        ("ct direction 1", NO, YES),
        ("ct original ip daddr 192.168.50.2", YES, YES),
        ("ct original daddr 192.168.50.3", NO, NO),
        ("ct original proto-dst 8443", YES, YES),
        ("ct original proto-dst 9000-9001", NO, NO),
        ("ct original proto-src 9000", MAYBE, MAYBE),
        ("ct original ip saddr 10.0.0.0/8", NO, NO),
        ("ct reply ip saddr 192.168.50.10", MAYBE, MAYBE),
        ("ct mark 0x1", MAYBE, MAYBE),
        ("ct count over 5", MAYBE, MAYBE),
        ("meta mark & 0xff == 0x1", MAYBE, MAYBE),
        ("meta pkttype unicast", YES, YES),
        ("meta pkttype { broadcast, multicast }", NO, NO),
        ("fib daddr type local", NO, NO),
        ("fib daddr . iif type { local, broadcast }", NO, NO),
        ("fib saddr . iif oif missing", MAYBE, MAYBE),
        ("ip daddr 192.168.50.10", YES, NO),
        ("ip daddr 192.168.50.0/24", YES, NO),
        ("ip daddr 192.168.50.1-192.168.50.9", NO, NO),
        ("ip daddr != { 10.0.0.0/8, 192.168.0.0/16 }", NO, YES),
        ("ip daddr & 0.0.0.255 == 0.0.0.10", MAYBE, MAYBE),
        ("ip saddr @banned", MAYBE, MAYBE),
        ("ip saddr 192.168.0.0/16", NO, YES),
        ("ip saddr . tcp dport { 10.0.0.1 . 443 }", NO, NO),
        ("ip saddr . tcp dport { 203.0.113.9 . 443 }", MAYBE, NO),
        ("tcp flags syn / fin,syn,rst", MAYBE, MAYBE),
        ("tcp flags & (fin | syn) == syn", MAYBE, MAYBE),
        ("tcp option maxseg size > 1000", MAYBE, MAYBE),
        ('meta hour "08:00"-"10:00"', MAYBE, MAYBE),
        ("numgen random mod 10 < 5", MAYBE, MAYBE),
        ("jhash ip saddr mod 2 1", MAYBE, MAYBE),
        ("@th,16,16 0x50", MAYBE, MAYBE),
        ("limit rate over 1 mbytes/second burst 2 kbytes", MAYBE, MAYBE),
        ("quota over 25 mbytes used 3 bytes", MAYBE, MAYBE),
        ('xt match "recent"', MAYBE, MAYBE),
        ("xt match recent", MAYBE, MAYBE),
        ("words of tomorrow 1", MAYBE, MAYBE),
        ("add @s { ip saddr }", YES, YES),
        ("add @s { ip saddr limit rate over 3/minute }", MAYBE, MAYBE),
        ("meter m size 9 { ip saddr limit rate 3/minute }", MAYBE, MAYBE),
        ("counter packets 5 bytes 7", YES, YES),
        ('counter name "x" last used 3s', YES, YES),
        ('log prefix "a drop" level warn flags tcp sequence,options', YES, YES),
        ("meta mark set meta mark & 0xff | 0x100", YES, YES),
        ("meta mark set ip saddr map { 10.0.0.1 : 0x1 }", YES, YES),
        ("meta mark set jhash ip saddr mod 2 offset 5", YES, YES),
        ("ct mark set numgen inc mod 2", YES, YES),
        ("tcp option maxseg size set rt mtu", YES, YES),
        ("udp dport 53 tcp option maxseg size set 1360", NO, NO),
        ("ct event set new,destroy", YES, YES),
        ('dup to 10.0.0.1 device "lo"', YES, YES),
        ("flow add @ft", YES, YES),
        ("notrack", YES, YES),
    ],
)
def test_a_condition_is_true_false_or_either(
    condition: str, asking: Match, answering: Match
) -> None:
    """Of a request from the internet, and of the answer to it."""
    rule = read(f"{condition} accept")
    for packet, expected in ((REQUEST, asking), (ANSWER, answering)):
        found = [(expected, Action.ACCEPT, "")] if expected else []
        assert met(rule, packet) == found


@pytest.mark.parametrize(
    ("verdict", "action", "chain"),
    [
        ("drop", Action.DROP, ""),
        ("reject with icmpx type admin-prohibited", Action.DROP, ""),
        ("reject with tcp reset", Action.DROP, ""),
        ("return", Action.RETURN, ""),
        ("continue", Action.CONTINUE, ""),
        ("jump there", Action.JUMP, "there"),
        ("goto there", Action.GOTO, "there"),
        ("queue num 1-3 bypass,fanout", Action.QUEUE, ""),
        ("queue flags bypass to 3", Action.QUEUE, ""),
        ('xt target "REJECT"', Action.DROP, ""),
        ("xt target TCPMSS", Action.CONTINUE, ""),
        ("masquerade", Action.CONTINUE, ""),
        ("", Action.CONTINUE, ""),
    ],
)
def test_a_verdict_is_read(verdict: str, action: Action, chain: str) -> None:
    """Also behind what is not known, where it may be reached."""
    assert met(read(f"counter {verdict}"), REQUEST) == [(YES, action, chain)]
    lost = met(read(f"what is this {verdict}"), REQUEST)
    assert lost == [(MAYBE, action, chain)]


def test_of_an_unknown_target_all_is_thought() -> None:
    """It may accept, and it may drop."""
    found = met(read('counter xt target "TARPIT9"'), REQUEST)
    assert found == [(MAYBE, Action.ACCEPT, ""), (MAYBE, Action.DROP, "")]


def test_a_map_of_verdicts_is_a_branch_for_each_element() -> None:
    """In braces, or by its name where its elements are known."""
    elements = ('"lan" : jump a', '"wg*" timeout 1h comment "x : y" : drop')
    for rule in (
        read(f"iifname vmap {{ {', '.join(elements)} }}"),
        read("iifname vmap @m", m=elements),
        read('iifname . oifname vmap { "lan" . "lan" : jump a, "lo" . "x" : drop }'),
        read("ct state . tcp dport vmap { new . 443 : jump a, * : drop }"),
        read("tcp dport vmap { 1-999 : jump a }"),
    ):
        assert met(rule, REQUEST)[0] == (YES, Action.JUMP, "a")
    assert met(read("tcp dport vmap { 1-9 : drop, * : accept }"), REQUEST)[0] == (
        YES,
        Action.ACCEPT,
        "",
    )
    unknown = read("ip saddr vmap @m")
    assert [match for match, _, _ in met(unknown, REQUEST)] == [MAYBE, MAYBE, YES]
    assert unknown.branches[0].asks_who(REQUEST)
    assert not read("iifname vmap @m").branches[0].asks_who(REQUEST)
    assert met(read("iifname vmap @m", m=()), REQUEST) == [(YES, Action.CONTINUE, "")]


def test_chains_that_stand_in_a_rule_have_names_of_their_own() -> None:
    """However deep."""
    rule, chains = read_chain_rule(
        "ip saddr 10.0.0.1 jump { counter; jump { drop }; goto b }", "c 0", {}
    )
    outer = rule.branches[0].chain
    inner = chains[outer].rules[1].branches[0].chain
    assert {outer, inner} == set(chains)
    assert [it.text for it in chains[outer].rules] == [
        "counter",
        "jump { drop }",
        "goto b",
    ]
    assert chains[inner].rules[0].branches[0].action is Action.DROP


@pytest.mark.parametrize(
    ("text", "only_logs"),
    [
        ("counter", True),
        ('limit rate 3/minute burst 5 packets log prefix "x" group 2', True),
        ("ct state invalid counter log", True),
        ("log flags all counter packets 1 bytes 2", True),
        ("counter drop", False),
        ("log meta mark set 1", False),
        ("what is this log", False),
        ("update @s { ip saddr } log", False),
        ("update @s { ip saddr ct count over 3 } log", False),
        ("update @s { ip saddr limit rate 1/second } log prefix x", True),
        ("meter m { ip saddr limit rate 1/second } log", True),
        ("add @s { ip saddr limit rate 9/second } meta mark set 1", False),
        ("jump x", False),
    ],
)
def test_it_is_told_what_only_logs(text: str, only_logs: bool) -> None:
    """A place of ours may go in front of that."""
    assert read(text).only_logs == only_logs


@pytest.mark.parametrize(
    ("condition", "asks"),
    [
        ("ip saddr @x", True),
        ("ip daddr @x", False),
        ("limit rate 3/minute", True),
        ("meta mark 1", False),
        ("ether saddr 00:11:22:33:44:55", True),
        ("ip saddr . tcp dport @x", True),
        ('iifname . oifname { "a" . "b" }', False),
        ("fib saddr . iif oif missing", True),
        ('meta time "2026-01-01"', True),
        ("socket transparent 1", True),
        ("ip ttl 3", False),
        ("ct count 3", True),
    ],
)
def test_it_is_told_what_asks_who_the_client_is(condition: str, asks: bool) -> None:
    """Or how often one comes."""
    assert read(f"{condition} accept").branches[0].asks_who(REQUEST) == asks


# Whatever is printed

RULES = sorted({line.strip().rpartition(" # ")[0] for line in LISTING.split("\n")})
PIECES = [
    *sorted({word for rule in RULES for word in rule.split()}),
    *("{", "}", "(", ")", ",", ";", ":", ".", '"', "vmap", "jump", "goto", "@m"),
    *("set", "map", "&", "|", "/", "-", "limit", "rate", "meter", "xt", "target"),
    *("ct", "meta", "ip", "tcp", "fib", "option", "log", "flags", "dup", "to"),
]


@given(st.lists(st.sampled_from(PIECES) | st.text(max_size=9), max_size=30))
def test_no_rule_breaks_the_reader(words: list[str]) -> None:
    """And every rule does something, if only to go on."""
    rule, chains = read_chain_rule(" ".join(words), "c", {"m": tuple(words)})
    for packet in PACKETS:
        met(rule, packet)
        for chain in chains.values():
            for inner in chain.rules:
                met(inner, packet)
    assert rule.branches or "vmap" in words


SIZE = int(300_000 * SHARE)


@pytest.mark.parametrize(
    "piece",
    [
        *("{ ", "jump { ", "( ", '" ', ", ", "counter ", "ip saddr ", "a . ", "1 , "),
        *("meta mark set ", "ip saddr . ", "vmap @m ", "} ", "& ( ", "jump { } "),
        *("vmap { ", "tcp dport vmap { ", "limit ", "meter ", "log flags "),
    ],
)
def test_a_long_rule_is_read_in_time(piece: str) -> None:
    """The time grows with the length, and not with its square."""
    started = time.thread_time()
    read(piece * (SIZE // len(piece)))
    read(f"ip saddr {{ {piece * (SIZE // len(piece))} }} drop")
    assert time.thread_time() - started < 3
