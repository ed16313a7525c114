"""Forwards as rules of iptables: what is written, what is read, what is changed."""

from collections import Counter
from dataclasses import replace

from hypothesis import given, strategies as st
import pytest

from custom_components.bypass_router.router.errors import FirewallFailed, NotPrivileged
from custom_components.bypass_router.router.firewall import Tag
from custom_components.bypass_router.router.forward import Forward
from custom_components.bypass_router.router.iptables import (
    FWD,
    HOOKS,
    POST,
    PRE,
    Entrance,
    Iptables,
    IptablesSnapshot,
    forward_of,
    rules_of,
)
from custom_components.bypass_router.router.rule import Rule
from custom_components.bypass_router.router.script import Result

from .rules import EMPTY, OTHER_SITE, SITE, forward_sets, forwards, restored

FIREWALL = Iptables(SITE, sudo=False)
OTHER = Iptables(OTHER_SITE, sudo=False)

WEB = Forward.parse(
    "01JX",
    protocol="tcp",
    external_port="8443",
    target="192.168.50.10",
    target_port="443",
)


def texts(**changed: object) -> list[str]:
    """Return the rules of a forward like WEB."""
    forward = replace(WEB, **changed)  # type: ignore[arg-type]  # any of its fields
    return [f"{hook.chain} {rule}" for hook, rule in rules_of(forward, SITE)]


def test_a_forward_is_a_dnat_an_snat_and_an_accept() -> None:
    """The SNAT and the ACCEPT name the flow by where it was addressed to."""
    dnat = (
        "-d 192.168.50.2/32 -p tcp -m tcp --dport 8443"
        " -m comment --comment bypass_router:ab12:01JX"
        " -j DNAT --to-destination 192.168.50.10:443"
    )
    flow = (
        "-p tcp -m conntrack --ctstate DNAT --ctorigdst 192.168.50.2"
        " --ctorigdstport 8443 -m comment --comment bypass_router:ab12:01JX"
    )
    assert texts() == [
        f"HA-BYPASS-PRE {dnat}",
        f"HA-BYPASS-POST {flow} -j SNAT --to-source 192.168.50.2",
        f"HA-BYPASS-FWD {flow} -j ACCEPT",
    ]


def test_a_shifted_range_names_the_port_that_it_is_counted_from() -> None:
    """Without it, the kernel sends every port to the first one."""
    shifted = Forward.parse(
        "01JX",
        protocol="udp",
        external_port="6000-6010",
        target="192.168.50.10",
        target_port="7000",
    )
    (_, dnat), *_ = rules_of(shifted, SITE)
    assert dnat.value("--dport") == "6000:6010"
    assert dnat.value("--to-destination") == "192.168.50.10:7000-7010/6000"


def test_a_range_that_stays_as_it_is_names_no_port() -> None:
    """Each port is kept then."""
    same = Forward.parse(
        "01JX", protocol="tcp", external_port="6000-6010", target="192.168.50.10"
    )
    (_, dnat), *_ = rules_of(same, SITE)
    assert dnat.value("--to-destination") == "192.168.50.10"


def test_a_kept_client_address_is_kept_from_later_rules_too() -> None:
    """Only clients of the LAN are rewritten: the target would answer them itself."""
    post = [text for text in texts(keep_client_address=True) if "-POST" in text]
    assert post[0].startswith("HA-BYPASS-POST -s 192.168.50.0/24 -p tcp")
    assert post[0].endswith("-j SNAT --to-source 192.168.50.2")
    assert post[1].startswith("HA-BYPASS-POST ! -s 192.168.50.0/24 -p tcp")
    assert post[1].endswith("-j ACCEPT")


@given(forwards())
def test_rules_read_back_are_the_forward_that_was_written(forward: Forward) -> None:
    """Whatever the forward is."""
    rules = Counter(rules_of(forward, SITE))
    assert forward_of(Tag("ab12", forward.id), rules, SITE) == forward


@given(forwards(), st.data())
def test_a_forward_with_a_rule_missing_is_not_live(
    forward: Forward, data: st.DataObject
) -> None:
    """One rule is as good as all."""
    rules = Counter(rules_of(forward, SITE))
    del rules[data.draw(st.sampled_from(list(rules)))]
    assert forward_of(Tag("ab12", forward.id), rules, SITE) != forward


@given(forward_sets(), forward_sets())
def test_a_plan_makes_exactly_what_is_wished(
    before: list[Forward], wished: list[Forward]
) -> None:
    """From anything that was there before; and then nothing is left to plan."""
    start = restored(EMPTY, FIREWALL.plan(before, EMPTY))
    after = restored(start, FIREWALL.plan(wished, start))
    assert after.live.forwards == {forward.id: forward for forward in wished}
    assert not after.live.damaged
    assert not FIREWALL.plan(wished, after)


@given(forward_sets(), forward_sets())
def test_the_rules_of_a_forward_that_stays_are_not_rewritten(
    before: list[Forward], wished: list[Forward]
) -> None:
    """Its counters live on."""
    start = restored(EMPTY, FIREWALL.plan(before, EMPTY))
    plan = FIREWALL.plan(wished, start)
    for forward in before:
        if forward in wished:
            tag = str(Tag("ab12", forward.id))
            assert not [line for line in plan.lines if tag in line]


@given(forward_sets())
def test_nothing_is_left_of_us_after_the_last_forward(
    forwards: list[Forward],
) -> None:
    """Neither a chain nor a jump."""
    live = restored(EMPTY, FIREWALL.plan(forwards, EMPTY))
    assert restored(live, FIREWALL.plan([], live)) == EMPTY


@given(forward_sets(), forward_sets(), forward_sets())
def test_another_home_assistants_rules_stay(
    ours: list[Forward], theirs: list[Forward], wished: list[Forward]
) -> None:
    """Both share the chains, and neither touches the other's rules."""
    start = restored(EMPTY, FIREWALL.plan(ours, EMPTY))
    both = restored(start, OTHER.plan(theirs, start))
    after = restored(both, FIREWALL.plan(wished, both))
    assert after.live.forwards == {forward.id: forward for forward in wished}
    assert after.live.foreign == {Tag("cd34", forward.id) for forward in theirs}
    seen_by_them = replace(after, site=OTHER_SITE)
    assert seen_by_them.live.forwards == {forward.id: forward for forward in theirs}


@given(forward_sets(), st.data())
def test_whatever_was_taken_away_is_put_back(
    wished: list[Forward], data: st.DataObject
) -> None:
    """Rules, the jump, whole chains, as a flush and its cousins leave them."""
    whole = restored(EMPTY, FIREWALL.plan(wished, EMPTY))
    chains = dict(whole.chains)
    entrances = dict(whole.entrances)
    for hook in HOOKS:
        rules = chains[hook]
        match data.draw(st.sampled_from(["keep", "some", "flush", "delete", "move"])):
            case "some" if rules:
                chains[hook] = tuple(
                    data.draw(st.lists(st.sampled_from(rules), unique_by=id))
                )
            case "flush" if rules:
                chains[hook], entrances[hook] = (), Entrance()
            case "delete":
                chains[hook], entrances[hook] = None, Entrance()
            case "move" if rules:
                entrances[hook] = Entrance((hook.jump,), first=False)
    hurt = IptablesSnapshot(SITE, chains, entrances)
    after = restored(hurt, FIREWALL.plan(wished, hurt))
    assert after.live.forwards == {forward.id: forward for forward in wished}
    assert not FIREWALL.plan(wished, after)


def test_a_jump_behind_a_proxys_rule_is_moved_to_the_top() -> None:
    """Behind a catch-all, our rules never see a packet: the forward is not live."""
    whole = restored(EMPTY, FIREWALL.plan([WEB], EMPTY))
    behind = replace(
        whole, entrances={**whole.entrances, PRE: Entrance((PRE.jump,), first=False)}
    )
    assert behind.live.forwards == {}
    assert behind.live.damaged == {WEB.id}
    assert FIREWALL.plan([WEB], behind).lines == (
        "*nat",
        "-D PREROUTING -j HA-BYPASS-PRE",
        "-I PREROUTING 1 -j HA-BYPASS-PRE",
        "COMMIT",
    )


def test_what_accepts_comes_before_what_translates_and_goes_after_it() -> None:
    """A change that is interrupted between two tables leaves no half forward."""
    on = FIREWALL.plan([WEB], EMPTY)
    off = FIREWALL.plan([], restored(EMPTY, on))
    assert [line for line in on.lines if line[0] == "*"] == ["*filter", "*nat"]
    assert [line for line in off.lines if line[0] == "*"] == ["*nat", "*filter"]


def test_a_rule_that_was_edited_by_hand_is_no_forward_and_is_mended() -> None:
    """It has our tag, and does something else."""
    whole = restored(EMPTY, FIREWALL.plan([WEB], EMPTY))
    (rule,) = whole.chains[PRE] or ()
    edited = Rule.of(str(rule).replace("192.168.50.10:443", "192.168.50.66:443"))
    hurt = replace(whole, chains={**whole.chains, PRE: (edited,)})
    assert hurt.live.forwards != {WEB.id: WEB}
    assert restored(hurt, FIREWALL.plan([WEB], hurt)).live.forwards == {WEB.id: WEB}


def test_a_rule_of_nobody_in_our_chains_is_left_alone() -> None:
    """The chain stays for its sake."""
    note = Rule.of('-p tcp -m comment --comment "put here by hand" -j RETURN')
    whole = restored(EMPTY, FIREWALL.plan([WEB], EMPTY))
    mixed = replace(
        whole, chains={**whole.chains, PRE: (*(whole.chains[PRE] or ()), note)}
    )
    after = restored(mixed, FIREWALL.plan([], mixed))
    assert after.chains == {FWD: None, POST: None, PRE: (note,)}


def sections(**outputs: Result) -> dict[str, Result]:
    """Return what a router prints that has none of our rules, but for these."""
    absent = Result("iptables: No chain/target/match by that name.", 1)
    printed = {f"chain.{hook.chain}": absent for hook in HOOKS} | {
        f"entrance.{hook.chain}": Result(f"-P {hook.builtin} ACCEPT", 0)
        for hook in HOOKS
    }
    return printed | {
        label.replace("_", ".", 1).replace("_", "-"): result
        for label, result in outputs.items()
    }


def test_an_absent_chain_is_absent_in_either_variants_words() -> None:
    """The nft variant calls it incompatible."""
    nft = Result(
        "iptables v1.8.9 (nf_tables): chain `HA-BYPASS-PRE' in table `nat' is"
        " incompatible, use 'nft' tool.",
        1,
    )
    assert FIREWALL.read(sections()) == EMPTY
    assert FIREWALL.read(sections(chain_HA_BYPASS_PRE=nft)) == EMPTY


def test_a_native_nft_rule_beside_our_jump_does_not_hide_it() -> None:
    """Iptables prints nothing of the chain then, and still knows the jump."""
    opaque = Result(
        "iptables v1.8.9 (nf_tables): chain `PREROUTING' in table `nat' is"
        " incompatible, use 'nft' tool.",
        1,
    )
    with_jump = sections(
        entrance_HA_BYPASS_PRE=opaque, jump_HA_BYPASS_PRE=Result("", 0)
    )
    assert FIREWALL.read(with_jump).entrances[PRE] == Entrance((PRE.jump,), first=True)
    no_jump = sections(entrance_HA_BYPASS_PRE=opaque, jump_HA_BYPASS_PRE=Result("", 1))
    assert FIREWALL.read(no_jump).entrances[PRE] == Entrance()


def test_a_failed_look_is_an_error_and_never_an_empty_router() -> None:
    """Otherwise a switch would show off while the port is open."""
    locked = Result("Another app is currently holding the xtables lock.", 4)
    with pytest.raises(FirewallFailed, match="xtables lock"):
        FIREWALL.read(sections(chain_HA_BYPASS_PRE=locked))
    with pytest.raises(FirewallFailed, match="xtables lock"):
        FIREWALL.read(sections(entrance_HA_BYPASS_FWD=locked))
    root = Result("iptables: Permission denied (you must be root).", 4)
    with pytest.raises(NotPrivileged):
        FIREWALL.read(sections(entrance_HA_BYPASS_FWD=root))


@given(st.text(st.characters(blacklist_characters="\n"), max_size=300))
def test_no_text_of_the_router_breaks_the_reader(text: str) -> None:
    """A foreign rule may hold any text; only its place matters."""
    noise = Result(f"-A PREROUTING {text}\n-A PREROUTING -j HA-BYPASS-PRE", 0)
    snapshot = FIREWALL.read(sections(entrance_HA_BYPASS_PRE=noise))
    assert snapshot.entrances[PRE].jumps[-1] == PRE.jump
    ours = Result(f"-N HA-BYPASS-PRE\n-A HA-BYPASS-PRE {text}", 0)
    FIREWALL.plan([WEB], FIREWALL.read(sections(chain_HA_BYPASS_PRE=ours)))
