"""Our accept rules in other programs' nft chains: which, where, and what they do."""

import asyncio
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
import re
import time

from hypothesis import given, strategies as st
import pytest

from custom_components.bypass_router.router.backend import Backend
from custom_components.bypass_router.router.errors import FirewallFailed, NotPrivileged
from custom_components.bypass_router.router.forward import (
    Forward,
    PortRange,
    Protocol,
)
from custom_components.bypass_router.router.nftables.foreign_chains import (
    ForeignChains,
    ForeignChainsState,
)
from custom_components.bypass_router.router.nftables.places import Places
from custom_components.bypass_router.router.rules.base import Phase, Tag
from custom_components.bypass_router.router.ssh.script import Result
from tests.lab.bypass import RouterOptions
from tests.lab.network import Lab

from .client import connect
from .rules import SITE, forward_sets, forwards
from .test_router import GAME, WEB, passes, ruleset

GATES = ForeignChains(SITE, "lan", sudo=False, iptables=True)
LISTING = Path(__file__).with_name("nft_ruleset.txt").read_text()
TAG = ' comment "bypass_router:ab12:01WEB"'
FLOW = "ct original ip daddr 192.168.50.2 ct original proto-dst 8443 accept"
GATE = f"meta l4proto tcp ct status dnat {FLOW}{TAG}"
ERRORS = f"meta l4proto icmp ct state related ct status dnat {FLOW}{TAG}"
BARE = f"meta l4proto tcp {FLOW}{TAG}"
THEIR_DROP = GATE.replace("ab12", "cd34").replace(" accept ", " drop ")
TOP = "type filter hook forward priority filter; policy {};"
BAN = "ip saddr @banned drop"


def table(
    *rules: str, policy: str = "drop", name: str = "inet t", top: str = ""
) -> str:
    """Return the listing of a table with one chain, which has these rules."""
    lines = [f"\t\t{rule} # handle {place}" for place, rule in enumerate(rules, 10)]
    top = top or TOP.format(policy)
    head = [f"table {name} {{ # handle 1", "\tchain c { # handle 2", f"\t\t{top}"]
    return "\n".join([*head, *lines, "\t}", "}"])


def read(text: str, gates: ForeignChains = GATES) -> ForeignChainsState:
    """Return what is read of a listing."""
    return gates.read({"nft.ruleset": Result(text, 0)})


def steps(desired: list[Forward], text: str) -> list[tuple[Phase, tuple[str, ...]]]:
    """Return when which lines go to nft."""
    planned = GATES.steps(desired, read(text))
    assert all(step.command == "nft -f -" for step in planned)
    return [(step.phase, step.lines) for step in planned]


def carried(text: str) -> bool:
    """Return whether WEB passes."""
    return GATES.carries(WEB, read(text))


def in_chain(text: str, name: str = "c") -> list[str]:
    """Return the rules of a chain of the first table that has it, without handles."""
    body = text[text.index(f"chain {name} {{") :].partition("\n\t}")[0]
    rules = [line.strip().rpartition(" # handle ")[0] for line in body.split("\n")[1:]]
    return [rule for rule in rules if rule]


def test_a_handle_that_two_rules_have_is_not_deleted() -> None:
    """A comment of others can look like a rule of ours with the handle of theirs."""
    assert steps([], table(GATE)) == [
        (Phase.REVOKE, ("delete rule inet t c handle 10",))
    ]
    theirs = '\t\tip saddr 192.0.2.1 drop comment "theirs" # handle 10'
    for place, forged in (("inet t", GATE), ("inet t", THEIR_DROP)):
        text = table(forged.replace("cd34", "ab12"), name=place)
        assert not steps([], text.replace("\n\t}", f"\n{theirs}\n\t}}"))


# A model of what `nft -f` does


def loaded(text: str, lines: Iterable[str]) -> str:
    """Return the listing after these lines: it goes by the text alone."""
    for line in lines:
        text = _carry_out(text, line)
    return text


def changed(text: str, desired: list[Forward]) -> str:
    """Return the listing after our change."""
    for step in GATES.steps(desired, read(text)):
        text = loaded(text, step.lines)
    return text


def _carry_out(text: str, line: str) -> str:
    """Carry out a line."""
    found = re.fullmatch(
        r"(insert|add|delete) rule (\S+ \S+) (\S+)(?: handle ([0-9]+))?(?: (.+))?", line
    )
    assert found
    verb, owner, name, handle, rule = found.groups()
    begin = text.index(f"chain {name} {{", text.index(f"table {owner} {{"))
    end = text.index("\n\t}", begin)
    head, *rules = text[begin:end].split("\n")
    place = len(rules)
    if handle:
        (place,) = (
            number
            for number, other in enumerate(rules)
            if other.endswith(f" # handle {handle}")
        )
    if verb == "delete":
        assert not rule
        del rules[place]
    else:
        assert rule
        assert (verb == "insert") == bool(handle)
        highest = max(map(int, re.findall("handle ([0-9]+)", text)))
        rules.insert(place, f"\t\t{rule} # handle {highest + 1}")
    return text[:begin] + "\n".join([head, *rules]) + text[end:]


# Which chains


@pytest.mark.parametrize(
    ("text", "needed"),
    [
        (table(), True),
        (table(policy="accept"), False),
        (table("counter", policy="accept"), False),
        (table(BAN, policy="accept"), False),
        (table("drop", policy="accept"), True),
        (table("drop", name="ip other", policy="accept"), True),
        (table("reject", name="ip other", policy="accept"), True),
        (table(name="ip6 t"), False),
        (table(name="netdev t"), False),
        (table(name="ip ha_bypass"), False),
        (table(name="ip filter"), False),
        (table(name="inet filter"), True),
        (table("drop", top="type nat hook forward priority 0; policy accept;"), False),
        (table("drop", top="type filter hook input priority 0; policy drop;"), False),
        (table("drop", top="counter"), False),
        (table().replace("1\n", "1\n\tflags dormant\n", 1), False),
    ],
)
def test_a_chain_that_would_drop_a_forward_gets_a_gate(text: str, needed: bool) -> None:
    """And no other, so that nothing of ours stands about for nothing."""
    assert bool(steps([WEB], text)) == needed
    assert carried(text) is not needed
    after = changed(text, [WEB])
    gates = [rule for rule in in_chain(after) if "bypass_router" in rule]
    assert gates == ([GATE, ERRORS] if needed else [])
    assert not GATES.obstacles(WEB, read(text))


def test_iptables_own_tables_are_left_to_it_where_it_is() -> None:
    """Without iptables, they are tables like any other."""
    text = table(name="ip filter")
    assert not read(text).tables
    alone = ForeignChains(SITE, "lan", sudo=True, iptables=False)
    (step,) = alone.steps([WEB], read(text, alone))
    assert (step.command, step.lines) == (
        "sudo -n nft -f -",
        (f"add rule ip filter c {GATE}", f"add rule ip filter c {ERRORS}"),
    )


@pytest.mark.parametrize("label", ["filter", "filter.nf"])
def test_a_table_of_iptables_that_it_can_not_read_any_more_is_ours_to_read(
    label: str,
) -> None:
    """As when someone has put a rule of nft's in. What iptables has of ours stays."""
    text = table(
        "xt match recent counter drop",
        "counter jump HA-BYPASS-FWD",
        "tcp dport 80 counter meta mark set 1",
        'counter xt target "REJECT"',
        name="ip filter",
    )
    words = (
        "iptables v1.8.9 (nf_tables): table `filter' is incompatible, use 'nft' tool."
    )
    sections = {"nft.ruleset": Result(text, 0), label: Result(words, 4)}
    (step,) = GATES.steps([WEB], GATES.read(sections))
    assert step.lines[0] == f"insert rule ip filter c handle 13 {GATE}"
    assert not GATES.read({**sections, label: Result("-P FORWARD DROP", 0)}).tables


@pytest.mark.parametrize(
    ("rule", "native"),
    [
        ("ip saddr @banned drop", True),
        ("ip saddr @banned counter drop", True),
        ("tcp dport vmap { 22 : accept } counter", True),
        ("ct state invalid drop", True),
        ("ct state invalid counter drop", False),
        ("tcp dport { 80, 443 } counter accept", False),
        ("counter jump HA-BYPASS-FWD", False),
    ],
)
def test_so_is_one_with_a_rule_that_iptables_takes_for_another(
    rule: str, native: bool
) -> None:
    """It prints one that looks something up in a set as if it were for all."""
    text = table("counter packets 1 bytes 2", rule, name="ip filter")
    assert bool(read(text).tables) == native
    if "banned" in rule:
        assert in_chain(changed(text, [WEB]))[-3:] == [rule, GATE, ERRORS]


# Where in the chain


@pytest.mark.parametrize(
    "rules",
    [
        ["counter", GATE],
        [GATE, GATE],
        [GATE, BAN, GATE],
        [GATE, BAN],
        [GATE.replace("accept", "drop"), GATE],
        [THEIR_DROP.replace("tcp", "udp"), GATE],
        [GATE.replace("8443", "8444")],
        [GATE.replace("accept", "drop")],
        [GATE.replace("tcp", "udp")],
        [GATE.replace("50.2", "50.3")],
        [GATE.replace("ct status dnat ", "")],
        [GATE.replace("accept", "ip saddr 10.0.0.1 accept")],
        [GATE.replace("8443", "0")],
        [GATE.replace("8443", "99999")],
        [ERRORS, "counter"],
        [],
    ],
)
@pytest.mark.parametrize("behind", [True, False])
def test_a_gate_that_is_not_as_it_should_be_is_mended(
    rules: list[str], behind: bool
) -> None:
    """It stands right before what drops, whatever else is there."""
    text = table("ct state invalid drop", *rules, "counter", "reject")
    if not behind:
        text = table(*rules, "ct state invalid drop")
    phases = [phase for phase, _ in steps([WEB], text)]
    assert phases == sorted(phases)
    assert phases
    after = changed(text, [WEB])
    assert carried(after)
    assert steps([WEB], after) == []
    found = in_chain(after)
    others = [rule for rule in found if "ab12:01WEB" not in rule]
    assert others == [rule for rule in in_chain(text) if "ab12:01WEB" not in rule]
    for gate in (GATE, ERRORS):
        assert found.count(gate) == 1
        passed_over = {*found[found.index(gate) :]} - {GATE, ERRORS, "counter"}
        assert passed_over == ({"reject"} if behind else set())


@pytest.mark.parametrize("rules", [[], ["ct state invalid drop"], [BAN, "counter"]])
def test_one_that_stands_too_early_carries_its_forward_and_is_moved(
    rules: list[str],
) -> None:
    """A ban that is added behind it is asked first, soon after."""
    after = changed(table(*rules), [WEB])
    added = after.replace("\n\t}", f"\n\t\t{BAN} # handle 99\n\t}}")
    assert carried(added)
    assert [phase for phase, _ in steps([WEB], added)] == [Phase.ALLOW, Phase.REVOKE]
    moved = changed(added, [WEB])
    assert in_chain(moved)[-3:] == [BAN, GATE, ERRORS]
    assert not steps([WEB], moved)
    late = changed(table(BAN), [WEB]).replace("hook forward", "hook forward", 1)
    dropping = late.replace(f"\t\t{BAN}", f"\t\tdrop # handle 98\n\t\t{BAN}")
    assert not carried(dropping)
    assert in_chain(changed(dropping, [WEB])) == [GATE, ERRORS, "drop", BAN]


@pytest.mark.parametrize(
    "printed",
    [
        GATE,
        GATE.replace("accept", "counter packets 3 bytes 9 accept"),
        GATE.replace("accept", "counter accept"),
        GATE.replace("original ip daddr", "original daddr"),
    ],
)
def test_a_gate_is_known_in_every_versions_words(printed: str) -> None:
    """Also with a counter, which someone may have put in."""
    assert carried(table(printed, ERRORS, "drop"))


def test_a_range_is_one_gate_for_each_transport() -> None:
    """Whatever the target's ports are; and one for errors about either."""
    ((_, lines),) = steps([GAME], table())
    assert len(lines) == 3
    assert all("proto-dst 6000-6010 accept" in line for line in lines)
    assert GAME.protocol is Protocol.BOTH


def test_what_is_not_needed_any_more_is_taken_away() -> None:
    """Last of all; and does no harm until then."""
    text = table(GATE, policy="accept")
    assert carried(text)
    withdrawn = [(Phase.REVOKE, ("delete rule inet t c handle 10",))]
    assert steps([WEB], text) == withdrawn
    assert steps([], text) == withdrawn


def test_another_home_assistants_gates_are_its_own() -> None:
    """Neither moved nor removed, and no reason for ours."""
    theirs = GATE.replace("ab12", "cd34")
    text = table("counter", theirs, theirs)
    assert read(text).tags == {Tag("cd34", "01WEB")}
    assert GATES.steps([], read(text)) == []
    assert changed(text, [WEB]).count("cd34") == 2


def told(direction: str = "", clients: str = "") -> str:
    """Return a gate for some packets only."""
    words = f"ct direction {direction} " if direction else ""
    words += f"ct original ip saddr {clients} " if clients else ""
    return GATE.replace("status dnat ", f"status dnat {words}")


LAN = "192.168.50.0/24"


@pytest.mark.parametrize(
    ("rules", "expected"),
    [
        (
            [f"ip saddr {LAN} ip daddr {LAN} drop", BAN, "drop"],
            [
                told(clients=LAN),
                ERRORS.replace("ip daddr", f"ip saddr {LAN} ct original ip daddr"),
                f"ip saddr {LAN} ip daddr {LAN} drop",
                BAN,
                GATE,
                ERRORS,
                "drop",
            ],
        ),
        (
            ["ct direction reply drop", BAN, "drop"],
            [
                *(told("reply"), ERRORS, "ct direction reply drop", BAN),
                *(GATE, ERRORS, "drop"),
            ],
        ),
        (
            ["ct state established accept", BAN, "drop"],
            ["ct state established accept", BAN, GATE, ERRORS, "drop"],
        ),
    ],
)
def test_where_some_packets_pass_elsewhere_each_rule_is_for_its_own(
    rules: list[str], expected: list[str]
) -> None:
    """Else one for the LAN, or for answers, would lift what is behind it."""
    after = changed(table(*rules), [WEB])
    assert in_chain(after) == expected
    assert carried(after)
    assert not GATES.steps([WEB], read(after))


# What lets some in, and no others


@pytest.mark.parametrize(
    ("rules", "kind", "named"),
    [
        (["limit rate 5/second accept"], "allow_list", 0),
        (["ip saddr @friends accept"], "allow_list", 0),
        (["ip saddr 198.51.100.0/24 accept", "drop"], "allow_list", 0),
        (["tcp dport 443 drop"], "denied", 0),
        (
            ["ip daddr 192.168.50.10 counter", "ip daddr 192.168.50.10 reject"],
            "denied",
            1,
        ),
        (["queue num 1"], "queued", 0),
        (["queue flags bypass to 1-3"], "queued", 0),
        (["ct state vmap { established : accept }", "queue to 0"], "queued", 1),
        (["jump { ip saddr @friends accept; drop }"], "allow_list", None),
    ],
)
def test_who_is_kept_out_stays_out(
    rules: list[str], kind: str, named: int | None
) -> None:
    """And the rule is named."""
    text = table(*rules)
    assert not steps([WEB], text)
    assert carried(text)
    (obstacle,) = GATES.obstacles(WEB, read(text))
    assert obstacle.kind == kind
    assert obstacle.seen["chain"] == "inet t c"
    assert named is None or obstacle.seen["rule"] == rules[named]


def both(*texts: str) -> str:
    """Return a listing of several tables, each of its own name."""
    return "\n".join(
        text.replace("inet t ", f"inet t{number} ") for number, text in enumerate(texts)
    )


def test_each_chain_that_the_kernel_enters_gets_its_own() -> None:
    """Unless one can't be passed at all: then the others are of no use."""
    ((_, lines),) = steps([WEB], both(table(), table("drop")))
    assert [line.split()[2:5] for line in lines] == [["inet", "t0", "c"]] * 2 + [
        ["inet", "t1", "c"]
    ] * 2
    some = both(table(), table("ip saddr @friends accept", "drop"))
    assert [line.split()[3] for _, ls in steps([WEB], some) for line in ls] == [
        "t0"
    ] * 2
    for refusing in (table("queue num 0"), table("ip daddr 192.168.50.10 drop")):
        text = both(table(), refusing)
        assert not steps([WEB], text)
        assert carried(text)
        assert len(list(GATES.obstacles(WEB, read(text)))) == 1
        # What was there before goes as well.
        there = both(changed(table(), [WEB]), refusing)
        assert [phase for phase, _ in steps([WEB], there)] == [Phase.REVOKE]


OWNED = "table inet t { # handle 1 progname firewalld\n\tflags owner,persist\n"


def test_a_table_that_only_its_program_may_change_is_named_where_it_drops() -> None:
    """And nothing is tried there."""
    text = table().replace("table inet t { # handle 1\n", OWNED)
    assert OWNED in text
    assert not steps([WEB], text)
    (obstacle,) = GATES.obstacles(WEB, read(text))
    assert obstacle.kind == "owned"
    assert obstacle.seen == {"table": "inet t", "program": "firewalld"}
    passing = text.replace("policy drop", "policy accept")
    assert not GATES.obstacles(WEB, read(passing))
    assert not GATES.obstacles(WEB, read(table("ct status dnat accept")))


def test_if_only_the_lan_is_let_in_it_is_the_lan_that_is_looked_at() -> None:
    """And else the internet."""
    text = table("ip saddr != 192.168.50.0/24 queue", "drop")
    assert len(list(GATES.obstacles(WEB, read(text)))) == 1
    local = replace(WEB, sources=(SITE.address.network,))
    assert not GATES.obstacles(local, read(text))
    assert steps([local], text)


REFUSE = """
\tchain refuse { # handle 9
\t\tlimit rate 5/minute log # handle 90
\t\tmeta l4proto tcp reject with tcp reset # handle 91
\t\treject # handle 92
\t}
}"""


@pytest.mark.parametrize(
    ("banning", "shut"),
    [
        ("ip saddr @banned goto refuse", False),
        ("ip saddr vmap { 203.0.113.11 : goto refuse }", False),
        ("ip saddr @banned jump refuse", False),
        ("ip saddr @banned goto elsewhere", True),
    ],
)
def test_who_is_sent_to_be_refused_has_been_let_go_nowhere(
    banning: str, shut: bool
) -> None:
    """So that what drops all the others after that is a catch-all."""
    text = table(banning, "ct state established accept", "goto refuse", policy="accept")
    text = text[:-2] + REFUSE
    assert bool(GATES.obstacles(WEB, read(text))) == shut
    if not shut:
        assert in_chain(changed(text, [WEB]))[-3:] == [GATE, ERRORS, "goto refuse"]


@pytest.mark.parametrize(
    ("rules", "kind"),
    [
        (['iifname . oifname { "lan" . "wan" } accept', "drop"], ""),
        (['iifname . oifname { "lan" . "wan", "lan" . "lan" } drop'], ""),
        (["ip daddr . tcp dport { 10.0.0.1 . 443, 192.168.50.10 . 80 } drop"], None),
        (["ip daddr . tcp dport { 192.168.50.10 . 443 } drop"], "denied"),
        (["ip daddr . tcp dport { 192.168.50.10 . 440-450 } accept", "drop"], None),
        (["ip daddr . tcp dport { 192.168.50.10 . 80 } accept", "drop"], ""),
        (["ip saddr . tcp dport { 203.0.113.9 . 443 } accept", "drop"], "allow_list"),
        (["ip saddr . tcp dport { 203.0.113.9 . 22 } accept", "drop"], ""),
        (["ip saddr . tcp dport { 203.0.113.9 . 443 } drop", "drop"], ""),
        (["meta l4proto . th dport { tcp . 443 } jump { accept }", "drop"], None),
        (["tcp dport . ip saddr != { 443 . 10.0.0.1 } drop"], None),
    ],
)
def test_what_is_compared_together_is_told_where_its_values_stand_there(
    rules: list[str], kind: str | None
) -> None:
    """As each of the pairs by itself."""
    text = table("ct state established accept", *rules, policy="accept")
    assert [it.kind for it in GATES.obstacles(WEB, read(text))] == [kind] * bool(kind)
    expected = [GATE, ERRORS, rules[-1]] if kind == "" else [rules[-1]]
    after = in_chain(changed(text, [WEB]))
    assert after == ["ct state established accept", *rules[:-1], *expected]


# Marks that others set

FRIENDS = "ip saddr @friends"


def marked(*setting: str, top: str = "prerouting priority mangle") -> str:
    """Return the listing of another table, whose rules set marks."""
    head = f"type filter hook {top}; policy accept;"
    return "\n" + table(*setting, name="ip marks", top=head)


@pytest.mark.parametrize(
    ("setting", "condition"),
    [
        ([f"{FRIENDS} meta mark set 0x00000007"], "meta mark 0x00000007"),
        ([f"{FRIENDS} ct mark set 0x00000007"], "ct mark 0x00000007"),
        ([f"{FRIENDS} ct label set 3"], "ct label 3"),
        ([f"{FRIENDS} meta mark set 0x7", "ct mark set meta mark"], "ct mark 0x7"),
        ([f"{FRIENDS} meta mark set 0x7"], "meta mark { 0x5, 0x7 }"),
        ([f"{FRIENDS} meta mark set meta mark | 0x10"], "meta mark & 0xff == 0x10"),
        ([f"{FRIENDS} meta mark set 0x7"], "meta mark & 0x1 != 0x0"),
        (["ip saddr @banned return", "meta mark set 0x7"], "meta mark 0x7"),
        (["ip saddr @banned accept", "ct mark set 0x7"], "ct mark 0x7"),
        ([f"{FRIENDS} jump {{ meta mark set 0x7 }}"], "meta mark 0x7"),
        (["ip saddr @no jump { accept }", "meta mark set 0x7"], "meta mark 0x7"),
        (["meta mark set ip saddr map { 203.0.113.9 : 0x7 }"], "meta mark 0x7"),
        (["meta mark set jhash ip saddr mod 9"], "meta mark 0x7"),
        (["ether saddr 02:00:00:00:00:01 meta mark set 0x7"], "meta mark 0x7"),
        ([f'{FRIENDS} counter xt target "MARK"'], "meta mark 0x7"),
    ],
)
def test_who_is_let_in_by_a_mark_that_others_get_too_is_on_a_list(
    setting: list[str], condition: str
) -> None:
    """As if the rule that goes by the mark named the client."""
    text = table("ct state established accept", f"{condition} accept", "drop")
    assert not steps([WEB], text + marked(*setting))
    (obstacle,) = GATES.obstacles(WEB, read(text + marked(*setting)))
    assert obstacle.kind == "allow_list"
    assert obstacle.seen["rule"] == f"{condition} accept"
    assert in_chain(changed(text, [WEB]))[-3:] == [GATE, ERRORS, "drop"]


@pytest.mark.parametrize(
    "setting",
    [
        ["meta mark set 0x7"],
        [f'iifname "wg0" {FRIENDS} meta mark set 0x7'],
        ["tcp dport 22 meta mark set 0x7"],
        [f"{FRIENDS} meta mark set 0x5"],
        [f"{FRIENDS} ct label set 7"],
        [f"{FRIENDS} meta mark set meta mark & 0xffffff00 | 0x00000005"],
        ["ip saddr @banned drop", "meta mark set 0x7"],
        ["ip saddr 10.0.0.9 ip daddr 10.0.0.1 meta mark set 0x7"],
    ],
)
def test_a_mark_that_tells_no_clients_apart_opens_nothing_and_shuts_nothing(
    setting: list[str],
) -> None:
    """A policy or a drop for all that is left is a catch-all still."""
    text = table("meta mark 0x7 accept", "drop") + marked(*setting)
    assert in_chain(changed(text, [WEB]))[-3:] == [GATE, ERRORS, "drop"]
    assert not GATES.obstacles(WEB, read(text))


# Maps, whose elements are printed behind all chains

MAPPED = """\
table inet t { # handle 1
\tmap m { # handle 3
\t\ttype ifname : verdict
\t}

\tchain c { # handle 2
\t\ttype filter hook forward priority filter; policy accept;
\t\tiifname vmap @m # handle 10
\t}

\tchain from_lan { # handle 4
\t\tip saddr @banned drop # handle 11
\t\tdrop # handle 12
\t}
}"""
ELEMENTS = """
table inet t {
\tmap m {
\t\ttype ifname : verdict
\t\telements = { "lan" : jump from_lan,
\t\t\t     "wg*" : drop }
\t}
}"""


def test_a_map_of_verdicts_leads_to_the_chain_of_its_element() -> None:
    """Of one that could not be printed, no one knows: it stays in front."""
    assert in_chain(changed(MAPPED + ELEMENTS, [WEB]), "from_lan") == [
        "ip saddr @banned drop",
        GATE,
        ERRORS,
        "drop",
    ]
    assert not steps([WEB], MAPPED)
    assert not steps([WEB], MAPPED + ELEMENTS.replace('"lan"', '"eth9"'))


# Chains that take or translate packets before we do

PREROUTING = "type filter hook prerouting priority mangle; policy accept;"
TPROXY = "meta l4proto { tcp, udp } tproxy ip to 127.0.0.1:7893 accept"


NOT_LAN = "ct original ip saddr != 192.168.50.0/24"
PRIVATE = "{ 10.0.0.0/8, 192.168.0.0/16 }"


@pytest.mark.parametrize(
    ("rules", "place"),
    [
        ([TPROXY], 0),
        (["ip daddr 10.0.0.0/8 return", TPROXY], 1),
        ([BAN, "meta mark set 1", TPROXY, "counter"], 2),
        ([BAN, "jump one"], "two"),
        (["goto two"], "two"),
        (["jump { counter; goto one }"], "two"),
        ([f"jump {{ counter; {TPROXY} }}"], 0),
        (["jump bans", "ip daddr vmap @somewhere"], 1),
        (["ip daddr vmap { 192.168.50.2 : jump one }"], "two"),
        (["ip saddr @devices jump one", BAN], "two"),
        ([f'iifname "docker0" {TPROXY}', BAN], None),
        ([f"udp dport 53 {TPROXY}", f"ip daddr 9.9.9.9 {TPROXY}", BAN], None),
        (["ip daddr 192.168.50.2 return", TPROXY], None),
        ([f"ip daddr {PRIVATE} return", TPROXY], None),
        ([f"ip daddr != {PRIVATE} jump one", BAN], None),
        (["ip daddr 192.168.50.10 return", TPROXY], 1),
        (["jump bans"], None),
        (["drop", TPROXY], None),
        (["tcp dport 7893 drop"], None),
        ([], None),
    ],
)
def test_a_gate_stands_right_before_a_tproxy_that_may_take_packets(
    rules: list[str], place: int | str | None
) -> None:
    """However many jumps away; before translation, so it asks for no status.

    What is for others' packets alone is passed by, as is all that stands around it.
    """
    others = (
        f"\tchain one {{ # handle 3\n\t\tjump two # handle 30\n\t}}\n"
        f"\tchain two {{ # handle 4\n\t\tjump one # handle 40\n"
        f"\t\t{TPROXY} # handle 41\n\t}}\n"
        f"\tchain bans {{ # handle 5\n\t\t{BAN} # handle 50\n\t}}\n}}"
    )
    text = table(*rules, top=PREROUTING)[:-1] + others
    after = changed(text, [WEB])
    assert GATES.carries(WEB, read(after))
    assert GATES.steps([WEB], read(after)) == []
    assert carried(text) == (place is None)
    expected = {"c": list(rules), "two": ["jump one", TPROXY], "bans": [BAN]}
    if place is not None:
        name, number = ("c", place) if isinstance(place, int) else (place, 1)
        expected[name].insert(number, BARE)
    assert {name: in_chain(after, name) for name in expected} == expected


def test_one_that_shows_the_target_who_asks_is_taken_on_its_way_back() -> None:
    """By a proxy for all that goes to no private address: its answers do."""
    text = table(f"ip daddr {PRIVATE} return", TPROXY, BAN, top=PREROUTING)
    kept = replace(WEB, keep_client_address=True)
    assert not steps([WEB], text)
    outside = BARE.replace("tcp ct", f"tcp ct direction reply {NOT_LAN} ct", 1)
    assert in_chain(changed(text, [kept]))[1:3] == [outside, TPROXY]
    # Behind the kernel's translation, so do those of the others.
    late = text.replace("priority mangle", "priority filter")
    assert in_chain(changed(late, [WEB]))[1:3] == [outside, TPROXY]


@pytest.mark.parametrize(
    ("rule", "words"),
    [
        (f"ip saddr 192.168.50.20 {TPROXY}", f"original ct original ip saddr {LAN}"),
        (f"tcp dport {{ 80, 443 }} {TPROXY}", "reply"),
        ("ct direction vmap { reply : jump one }", "reply"),
    ],
)
def test_only_those_that_it_may_take_are_kept_from_it(rule: str, words: str) -> None:
    """So that the others still meet what stands behind."""
    chain = f"\tchain one {{ # handle 3\n\t\t{TPROXY} # handle 30\n\t}}\n}}"
    after = changed(table(rule, BAN, top=PREROUTING)[:-1] + chain, [WEB])
    gate = BARE.replace("tcp ct", f"tcp ct direction {words} ct", 1)
    assert gate in after
    assert after.count("bypass_router") == 1


@pytest.mark.parametrize(
    ("hook", "rule", "needed"),
    [
        ("prerouting priority -150", "tcp dport 53 redirect to :5353", False),
        ("prerouting priority -150", "tcp dport 8000-9000 redirect to :5353", True),
        ("prerouting priority -150", "tcp dport @ports redirect to :5353", True),
        ("prerouting priority -150", "ip saddr 10.0.0.0/8 redirect", False),
        ("prerouting priority -100", "meta l4proto tcp redirect", False),
        ("postrouting priority 90", 'oifname "wan" masquerade', False),
        ("postrouting priority 90", 'oifname "lan" masquerade', True),
        ("postrouting priority 90", "ip daddr 192.168.50.10 masquerade", True),
        ("postrouting priority 90", "udp dport 443 masquerade", False),
    ],
)
def test_so_does_one_before_what_may_translate_a_forwards_packets_before_us(
    hook: str, rule: str, needed: bool
) -> None:
    """And nothing stands before what translates others' alone."""
    text = table(rule, BAN, top=f"type nat hook {hook}; policy accept;")
    gate = BARE if "prerouting" in hook else GATE
    assert in_chain(changed(text, [WEB])) == [*([gate] * needed), rule, BAN]


def test_one_that_stood_before_a_ban_is_moved_behind_it() -> None:
    """As earlier versions of ours put it at the top."""
    text = table(BARE, BAN, TPROXY, top=PREROUTING)
    assert carried(text)
    assert in_chain(changed(text, [WEB])) == [BAN, BARE, TPROXY]


# Any listing


@given(forward_sets(longest=5), forward_sets(longest=5))
def test_a_plan_makes_exactly_what_is_desired(
    before: list[Forward], desired: list[Forward]
) -> None:
    """In every chain that needs it of a real router's listing."""
    after = changed(changed(LISTING, before), desired)
    state = read(after)
    assert all(GATES.carries(forward, state) for forward in desired)
    needing = [it for it in desired if GATES.steps([it], read(LISTING))]
    assert state.tags == {Tag("ab12", forward.id) for forward in needing}
    assert not GATES.steps(desired, state)
    assert changed(after, []) == LISTING


PICKY = table(
    "ip daddr 192.168.50.0/27 th dport 1-1023 accept",
    "tcp dport { 22, 80, 8000-9000 } ip saddr @friends accept",
    "ip daddr { 192.168.50.10, 10.0.0.0/8 } udp dport 443 drop",
    "ip saddr 192.168.50.64/26 tcp sport 443 drop",
    "meta l4proto tcp ct original proto-dst 8443-8500 queue to 0",
    "ct direction reply accept",
    "ip daddr != 192.168.0.0/16 reject",
)


@given(st.lists(forwards(longest=9), max_size=9))
def test_what_is_found_for_one_forward_holds_for_those_that_are_alike(
    drawn: list[Forward],
) -> None:
    """Each gets what it would get by itself."""
    together = read(PICKY).places
    assert together
    for forward in drawn:
        alone = Places(together.tables, SITE, "lan")
        assert list(together.of(forward)) == list(alone.of(forward))
        assert together.obstacles(forward) == alone.obstacles(forward)


@given(st.text(max_size=60))
def test_no_text_in_a_rules_place_breaks_the_reader(text: str) -> None:
    """It is a gate, or someone's rule."""
    state = read(table(f'{text} comment "bypass_router:ab12:01WEB"'))
    GATES.steps([WEB], state)
    GATES.steps([WEB], read(table(text)))


def test_a_failed_look_is_an_error() -> None:
    """And never a router that lets everything pass."""
    with pytest.raises(NotPrivileged):
        GATES.read({"nft.ruleset": Result("Operation not permitted", 1)})
    with pytest.raises(FirewallFailed):
        GATES.read({"nft.ruleset": Result("Segmentation fault", 139)})


def test_a_thousand_forwards_cost_little() -> None:
    """Most are alike to all rules that stand there."""
    router = table(
        "ct state vmap { established : accept, related : accept, invalid : drop }",
        *(
            f"ip saddr 10.{number}.0.0/16 tcp dport {number} drop"
            for number in range(99)
        ),
        "reject",
    )
    forwards = [
        replace(WEB, id=str(n), external=PortRange(n, n)) for n in range(1, 1001)
    ]
    started = time.thread_time()
    state = read(router)
    planned = GATES.steps(forwards, state)
    assert time.thread_time() - started < 0.5
    assert len(planned[0].lines) == 2000


# On a real router


STRICT = (
    "add table inet strict; add chain inet strict f"
    " {{ type filter hook forward priority {}; policy drop; }};"
    " add rule inet strict f ct state invalid drop"
)


@pytest.mark.parametrize(
    "router_options",
    [RouterOptions(), RouterOptions(iptables="legacy"), RouterOptions(iptables=None)],
    ids=["nft", "legacy", "alone"],
)
@pytest.mark.parametrize("backend", [Backend.AUTO, Backend.IPTABLES])
async def test_a_strict_table_lets_forwards_pass_and_nothing_else(
    at_home: Lab, backend: Backend
) -> None:
    """Whichever firewall translates; it is as before when the last is gone."""
    if not at_home.options.iptables:
        backend = Backend.AUTO
    at_home.target.serve("tcp", 443)
    at_home.bypass.run("nft", STRICT.format("filter + 5"))
    before = ruleset(at_home)
    router = await connect(at_home, firewall=backend)
    try:
        assert (await router.rules.apply([WEB])).forwards == {WEB.id: WEB}
        assert await asyncio.to_thread(passes, at_home, "tcp", 8443)
        assert await asyncio.to_thread(passes, at_home, "tcp", 8443, host="lan")
        at_home.bypass.run("nft", "insert rule inet strict f counter drop")
        assert (await router.rules.read()).forwards == {}
        assert (await router.rules.apply([WEB])).forwards == {WEB.id: WEB}
        assert await asyncio.to_thread(passes, at_home, "tcp", 8443)
        at_home.bypass.run("nft", "flush chain inet strict f")
        assert (await router.rules.read()).damaged == {WEB.id}
        assert (await router.rules.apply([WEB])).forwards == {WEB.id: WEB}
        at_home.bypass.run("nft", "add rule inet strict f ct state invalid drop")
        await router.rules.apply([])
        assert not await asyncio.to_thread(passes, at_home, "tcp", 8443)
    finally:
        await router.close()
    if backend is Backend.AUTO:
        assert ruleset(at_home) == before
    assert "bypass_router" not in ruleset(at_home)


async def test_a_firewall_that_comes_later_is_seen_and_opened(at_home: Lab) -> None:
    """As when it is started after us, or reloads its rules."""
    at_home.target.serve("tcp", 443)
    router = await connect(at_home, firewall=Backend.NFTABLES)
    try:
        await router.rules.apply([WEB])
        for priority in ("filter", "filter - 200"):
            at_home.bypass.run("nft", STRICT.format(priority))
            assert (await router.rules.read()).damaged == {WEB.id}
            assert not await asyncio.to_thread(passes, at_home, "tcp", 8443)
            assert (await router.rules.apply([WEB])).forwards == {WEB.id: WEB}
            assert await asyncio.to_thread(passes, at_home, "tcp", 8443)
            at_home.bypass.run("nft", "delete table inet strict")
            assert (await router.rules.read()).forwards == {WEB.id: WEB}
    finally:
        await router.close()
