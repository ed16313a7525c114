"""Our accept rules in other programs' nft chains: which, where, and what they do."""

import asyncio
from collections.abc import Iterable
from pathlib import Path
import re

from hypothesis import given, strategies as st
import pytest

from custom_components.bypass_router.router.backend import Backend
from custom_components.bypass_router.router.errors import FirewallFailed, NotPrivileged
from custom_components.bypass_router.router.forward import Forward, Protocol
from custom_components.bypass_router.router.nftables.foreign_chains import (
    ForeignChains,
    ForeignChainsState,
)
from custom_components.bypass_router.router.rules.base import Phase, Tag
from custom_components.bypass_router.router.ssh.script import Result
from tests.lab.bypass import RouterOptions
from tests.lab.network import Lab

from .client import connect
from .rules import SITE, forward_sets
from .test_router import GAME, WEB, passes, ruleset

GATES = ForeignChains(SITE, sudo=False, iptables=True)
LISTING = Path(__file__).with_name("nft_ruleset.txt").read_text()
GATE = (
    "meta l4proto tcp ct status dnat ct original ip daddr 192.168.50.2"
    ' ct original proto-dst 8443 accept comment "bypass_router:ab12:01WEB"'
)
THEIR_DROP = GATE.replace("ab12", "cd34").replace(" accept ", " drop ")
BARE = GATE.replace("ct status dnat ", "")
TOP = "type filter hook forward priority filter; policy {};"


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
        r"(insert|delete) rule (\S+ \S+) (\S+) (?:handle ([0-9]+)|(.+))", line
    )
    assert found
    verb, owner, name, handle, rule = found.groups()
    begin = text.index(f"chain {name} {{", text.index(f"table {owner} {{"))
    end = text.index("\n\t}", begin)
    head, *rules = text[begin:end].split("\n")
    if verb == "delete":
        (doomed,) = [rule for rule in rules if rule.endswith(f" # handle {handle}")]
        rules.remove(doomed)
    else:
        highest = max(map(int, re.findall("handle ([0-9]+)", text)))
        place = 1 if rules and " hook " in rules[0] else 0
        rules.insert(place, f"\t\t{rule} # handle {highest + 1}")
    return text[:begin] + "\n".join([head, *rules]) + text[end:]


# Which chains


@pytest.mark.parametrize(
    ("text", "needed"),
    [
        (table(), True),
        (table(policy="accept"), False),
        (table("counter", policy="accept"), True),
        (table("drop", name="ip other", policy="accept"), True),
        (table(name="ip6 t"), False),
        (table(name="netdev t"), False),
        (table(name="ip ha_bypass"), False),
        (table(name="ip filter"), False),
        (table(name="inet filter"), True),
        (table("drop", top="type nat hook forward priority 0; policy accept;"), False),
        (table("drop", top="type filter hook input priority 0; policy drop;"), False),
        (table("drop", top="counter"), False),
    ],
)
def test_a_chain_that_may_stop_a_forward_gets_a_gate(text: str, needed: bool) -> None:
    """And no other, so that nothing of ours stands about for nothing."""
    expected = [(Phase.ALLOW, (f"insert rule {text.split()[1]} t c {GATE}",))]
    found = [
        (phase, tuple(re.sub(r"^(insert rule \S+) \S+", r"\1 t", x) for x in lines))
        for phase, lines in steps([WEB], text)
    ]
    assert found == (expected if needed else [])
    assert carried(text) is not needed


def test_iptables_own_tables_are_left_to_it_where_it_is() -> None:
    """Without iptables, they are tables like any other."""
    text = table(name="ip filter")
    assert not read(text).chains
    alone = ForeignChains(SITE, sudo=True, iptables=False)
    (step,) = alone.steps([WEB], read(text, alone))
    assert (step.command, step.lines) == (
        "sudo -n nft -f -",
        (f"insert rule ip filter c {GATE}",),
    )


PREROUTING = "type filter hook prerouting priority mangle; policy accept;"
TPROXY = "meta l4proto { tcp, udp } tproxy ip to 127.0.0.1:7893 accept"


@pytest.mark.parametrize(
    ("rules", "needed"),
    [
        ([TPROXY], True),
        (["ip daddr 10.0.0.0/8 return", TPROXY], True),
        (["jump one"], True),
        (["goto two"], True),
        (["jump { counter; goto one }"], True),
        (["ip daddr vmap @somewhere"], True),
        (["tcp dport vmap { 80 : jump one }"], True),
        (["jump none"], False),
        (["tcp dport 7893 drop"], False),
        ([], False),
    ],
)
def test_a_gate_stands_where_a_packet_can_come_to_a_tproxy(
    rules: list[str], needed: bool
) -> None:
    """However many jumps away; before translation, so it asks for no status."""
    others = (
        f"\tchain one {{ # handle 3\n\t\tjump two # handle 30\n\t}}\n"
        f"\tchain two {{ # handle 4\n\t\tjump one # handle 40\n"
        f"\t\t{TPROXY} # handle 41\n\t}}\n"
        "\tchain none { # handle 5\n\t\tdrop # handle 50\n\t}\n}"
    )
    text = table(*rules, top=PREROUTING)[:-1] + others
    expected = [(Phase.ALLOW, (f"insert rule inet t c {BARE}",))]
    assert steps([WEB], text) == (expected if needed else [])
    after = changed(text, [WEB])
    assert GATES.carries(WEB, read(after))
    assert GATES.steps([WEB], read(after)) == []
    if needed:
        assert f"\t\t{BARE} # handle" in after


# Where in the chain


@pytest.mark.parametrize(
    "rules",
    [
        ["counter", GATE],
        [GATE, GATE],
        [GATE, "counter", GATE],
        [GATE.replace("accept", "drop"), GATE],
        [THEIR_DROP, GATE],
        [GATE.replace("8443", "8444")],
        [GATE.replace("accept", "drop")],
        [GATE.replace("tcp", "udp")],
        [GATE.replace("50.2", "50.3")],
        [GATE.replace("ct status dnat ", "")],
        [GATE.replace("accept", "ip saddr 10.0.0.1 accept")],
        [GATE.replace("8443", "0")],
        [GATE.replace("8443", "99999")],
        [],
    ],
)
@pytest.mark.parametrize("policy", ["drop", "accept"])
def test_a_gate_that_is_not_as_it_should_be_is_mended(
    rules: list[str], policy: str
) -> None:
    """A rule at its side never lets the packet through before it is there."""
    text = table(*rules, "ct state invalid drop", policy=policy)
    assert not carried(text)
    phases = [phase for phase, _ in steps([WEB], text)]
    assert phases == sorted(phases)
    after = changed(text, [WEB])
    assert carried(after)
    assert steps([WEB], after) == []
    assert after.count("bypass_router:ab12:01WEB") == 1
    assert after.index(GATE) < after.index("drop # handle")
    assert "\n\t\tct state invalid drop # handle" in after


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
    assert carried(table(printed, "drop"))


def test_a_range_is_one_gate_for_each_transport() -> None:
    """Whatever the target's ports are."""
    ((_, lines),) = steps([GAME], table())
    assert len(lines) == 2
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


@given(forward_sets(longest=5), forward_sets(longest=5))
def test_a_plan_makes_exactly_what_is_desired(
    before: list[Forward], desired: list[Forward]
) -> None:
    """In every chain that needs it of a real router's listing."""
    after = changed(changed(LISTING, before), desired)
    state = read(after)
    assert all(GATES.carries(forward, state) for forward in desired)
    assert state.tags == {Tag("ab12", forward.id) for forward in desired}
    assert not GATES.steps(desired, state)
    chains = {place.chain for place in state.chains}
    assert chains == {
        "inet fw4 forward",
        "inet firewalld filter_FORWARD",
        "inet clash pre",
    }
    assert changed(after, []) == LISTING


@given(st.text(max_size=60))
def test_no_text_in_a_rules_place_breaks_the_reader(text: str) -> None:
    """It is a gate, or someone's rule."""
    state = read(table(f'{text} comment "bypass_router:ab12:01WEB"'))
    GATES.steps([WEB], state)


def test_a_failed_look_is_an_error() -> None:
    """And never a router that lets everything pass."""
    with pytest.raises(NotPrivileged):
        GATES.read({"nft.ruleset": Result("Operation not permitted", 1)})
    with pytest.raises(FirewallFailed):
        GATES.read({"nft.ruleset": Result("Segmentation fault", 139)})


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
