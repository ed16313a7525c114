"""Forwards as rules of iptables: what is written, what is read, what is changed."""

from collections import Counter
from dataclasses import replace

from hypothesis import assume, given, strategies as st
import pytest

from custom_components.bypass_router.router.errors import (
    BadOutput,
    FirewallFailed,
    NotPrivileged,
)
from custom_components.bypass_router.router.forward import Forward
from custom_components.bypass_router.router.iptables.chains import Chains
from custom_components.bypass_router.router.iptables.commands import Commands
from custom_components.bypass_router.router.iptables.legacy import NO_TABLE
from custom_components.bypass_router.router.iptables.rule import Rule
from custom_components.bypass_router.router.iptables.rules import (
    FWD,
    HOOKS,
    MANGLE,
    PRE,
    TRANSLATING,
    forward_of_rules,
    rules_of,
)
from custom_components.bypass_router.router.iptables.state import Entrance
from custom_components.bypass_router.router.rules.base import Tag
from custom_components.bypass_router.router.ssh.script import Result

from .rules import (
    EMPTY,
    LAN,
    OTHER_SITE,
    PROXIED,
    SITE,
    Kernel,
    chains,
    changed,
    forward_sets,
    forwards,
    planned,
    restored,
    seen,
    state_of,
    with_ends,
)

FIREWALL = chains()
# Beside nftables, which translates.
ADMITTING = chains(hooks=(MANGLE, FWD))

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
    with_errors = flow.replace("-p tcp ", "").replace("DNAT", "DNAT --ctproto 6")
    assert texts() == [
        f"HA-BYPASS-PRE {dnat}",
        f"HA-BYPASS-POST {flow} -j SNAT --to-source 192.168.50.2",
        f"HA-BYPASS-FWD {with_errors} -j ACCEPT",
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
    rules = Counter(rules_of(forward, SITE, TRANSLATING))
    assert forward_of_rules(Tag("ab12", forward.id), rules, SITE) == forward


@given(forwards(), st.data())
def test_a_forward_with_a_rule_missing_is_not_live(
    forward: Forward, data: st.DataObject
) -> None:
    """One rule is as good as all."""
    rules = Counter(rules_of(forward, SITE, TRANSLATING))
    del rules[data.draw(st.sampled_from(list(rules)))]
    assert forward_of_rules(Tag("ab12", forward.id), rules, SITE) != forward


@given(forward_sets(), forward_sets())
def test_a_plan_makes_exactly_what_is_desired(
    before: list[Forward], desired: list[Forward]
) -> None:
    """From anything that was there before; and then nothing is left to plan."""
    after = changed(changed(EMPTY, before), desired)
    assert with_ends(seen(after).live.forwards.values()) == with_ends(desired)
    assert not seen(after).live.damaged
    assert not planned(desired, after)


@given(forward_sets(), forward_sets())
def test_the_rules_of_a_forward_that_stays_are_not_rewritten(
    before: list[Forward], desired: list[Forward]
) -> None:
    """Its counters live on."""
    plan = planned(desired, changed(EMPTY, before))
    lines = [line for step in plan.steps for line in step.lines]
    for forward in before:
        if any(forward.is_exactly(other) for other in desired):
            tag = str(Tag("ab12", forward.id))
            assert not [line for line in lines if tag in line]


@given(forward_sets())
def test_nothing_is_left_of_us_after_the_last_forward(
    forwards: list[Forward],
) -> None:
    """Neither a chain nor a jump."""
    assert changed(changed(EMPTY, forwards), []) == EMPTY


@given(forward_sets(), forward_sets(), forward_sets())
def test_another_home_assistants_rules_stay(
    ours: list[Forward], theirs: list[Forward], desired: list[Forward]
) -> None:
    """Both share the chains, and neither touches the other's rules."""
    assume(not any(f.conflicts(other) for f in theirs for other in (*ours, *desired)))
    both = changed(changed(EMPTY, ours), theirs, OTHER_SITE)
    after = changed(both, desired)
    live = seen(after).live
    assert live.forwards == {forward.id: forward for forward in desired}
    assert live.foreign == {Tag("cd34", forward.id) for forward in theirs}
    by_them = seen(after, OTHER_SITE).live
    assert by_them.forwards == {forward.id: forward for forward in theirs}


@given(forward_sets(), st.data())
def test_whatever_was_taken_away_is_put_back(
    desired: list[Forward], data: st.DataObject
) -> None:
    """Rules, the jump, whole chains, as a flush and its cousins leave them."""
    hurt = changed(EMPTY, desired)
    for hook in HOOKS:
        rules = hurt.rules(hook)
        match data.draw(st.sampled_from(["keep", "some", "flush", "delete", "move"])):
            case "some" if rules:
                some = data.draw(st.lists(st.sampled_from(rules), unique_by=id))
                hurt = hurt.with_rules(hook.table, hook.chain, some)
            case "flush" if rules:
                hurt = hurt.with_rules(hook.table, hook.chain, [])
                hurt = hurt.with_rules(hook.table, hook.builtin, [])
            case "delete":
                hurt = hurt.with_rules(hook.table, hook.builtin, [])
                hurt = hurt.with_rules(hook.table, hook.chain, None)
            case "move" if rules:
                jumps = hurt.tables[hook.table][hook.builtin]
                front = Rule.of("-p tcp -s 192.0.2.1/32 -j RETURN")
                behind = [front, *jumps] if hook is not FWD else [*jumps, front]
                hurt = hurt.with_rules(hook.table, hook.builtin, behind)
    after = changed(hurt, desired)
    assert with_ends(seen(after).live.forwards.values()) == with_ends(desired)
    assert not planned(desired, after)


def test_a_jump_behind_a_proxys_rule_is_moved_to_the_top() -> None:
    """Behind a catch-all, our rules never see a packet: the forward is not live."""
    whole = changed(EMPTY, [WEB])
    proxy = "-p tcp -j REDIRECT --to-ports 7892"
    behind = whole.with_rules("nat", "PREROUTING", [proxy, PRE.jump])
    assert seen(behind).live.forwards == {}
    assert seen(behind).live.damaged == {WEB.id}
    (step,) = planned([WEB], behind).steps
    assert step.lines == (
        "*nat",
        "-D PREROUTING -j HA-BYPASS-PRE",
        "-I PREROUTING 1 -j HA-BYPASS-PRE",
        "COMMIT",
    )


def test_what_accepts_comes_before_what_translates_and_goes_after_it() -> None:
    """A change that is interrupted between two tables leaves no half forward."""

    def tables(desired: list[Forward], kernel: Kernel) -> list[str]:
        steps = planned(desired, kernel).steps
        return [line for step in steps for line in step.lines if line[0] == "*"]

    assert tables([WEB], EMPTY) == ["*filter", "*nat"]
    assert tables([], changed(EMPTY, [WEB])) == ["*nat", "*filter"]


def test_a_rule_that_was_edited_by_hand_is_no_forward_and_is_mended() -> None:
    """It has our tag, and does something else."""
    whole = changed(EMPTY, [WEB])
    (rule,) = whole.rules(PRE) or ()
    edited = str(rule).replace("192.168.50.10:443", "192.168.50.66:443")
    hurt = whole.with_rules("nat", PRE.chain, [edited])
    assert seen(hurt).live.forwards != {WEB.id: WEB}
    assert seen(changed(hurt, [WEB])).live.forwards == {WEB.id: WEB}


def test_a_rule_of_nobody_in_our_chains_is_left_alone() -> None:
    """The chain stays for its sake."""
    note = Rule.of('-p tcp -m comment --comment "put here by hand" -j RETURN')
    whole = changed(EMPTY, [WEB])
    mixed = whole.with_rules("nat", PRE.chain, [*(whole.rules(PRE) or ()), note])
    after = changed(mixed, [])
    assert [after.rules(hook) for hook in HOOKS if hook is not PRE] == [None] * 3
    assert after.rules(PRE) == (note,)


def test_a_rule_of_ours_behind_nobodys_is_put_before_it() -> None:
    """Whatever stands first in our own chain may take the packets."""
    note = Rule.of("-p tcp -j RETURN")
    for hook in (PRE, FWD):
        whole = changed(EMPTY, [WEB])
        ours = whole.rules(hook) or ()
        shadowed = whole.with_rules(hook.table, hook.chain, [note, *ours])
        assert seen(shadowed).live.forwards == {}
        after = changed(shadowed, [WEB])
        assert after.rules(hook) == (*ours, note)
        assert seen(after).live.forwards == {WEB.id: WEB}


# Where something else translates, and iptables only lets pass


def admitted(kernel: Kernel, desired: list[Forward]) -> Kernel:
    """Return what a plan makes of it."""
    state = state_of(kernel, hooks=ADMIT)
    return restored(kernel, ADMITTING.steps(desired, state))


ADMIT = (MANGLE, FWD)
KERNELS = {
    (drops, tproxy): kernel.with_policy("filter", "FORWARD", drops=drops)
    for drops in (True, False)
    for tproxy, kernel in ((True, PROXIED), (False, EMPTY))
}


@given(st.booleans(), st.booleans(), forward_sets(), forward_sets())
def test_only_a_chain_that_may_keep_packets_gets_rules(
    drops: bool, tproxy: bool, before: list[Forward], desired: list[Forward]
) -> None:
    """And loses them, once it may not any more."""
    start = KERNELS[drops, tproxy]
    after = admitted(admitted(start, before), desired)
    state = state_of(after, hooks=ADMIT)
    assert (after.rules(FWD) is not None) == bool(drops and desired)
    assert (after.rules(MANGLE) is not None) == bool(tproxy and desired)
    assert all(ADMITTING.carries(forward, state) for forward in desired)
    assert not ADMITTING.steps(desired, state)
    calm = after.with_policy("filter", "FORWARD", drops=False)
    theirs = [it for it in after.tables["mangle"]["PREROUTING"] if it == MANGLE.jump]
    calm = calm.with_rules("mangle", "PREROUTING", theirs)
    state = state_of(calm, hooks=ADMIT)
    assert all(ADMITTING.carries(forward, state) for forward in desired)
    assert not admitted(calm, desired).tagged()


@given(forwards(), st.data())
def test_a_chain_that_may_keep_packets_carries_what_has_all_its_rules(
    forward: Forward, data: st.DataObject
) -> None:
    """One rule less, and the forward is not carried."""
    assert not ADMITTING.carries(forward, state_of(PROXIED, hooks=ADMIT))
    whole = admitted(PROXIED, [forward])
    hook = data.draw(st.sampled_from(ADMIT))
    rules = list(whole.rules(hook) or ())
    rules.remove(data.draw(st.sampled_from(rules)))
    hurt = whole.with_rules(hook.table, hook.chain, rules)
    assert not ADMITTING.carries(forward, state_of(hurt, hooks=ADMIT))
    assert sorted(map(str, admitted(hurt, [forward]).tagged())) == sorted(
        map(str, whole.tagged())
    )


SPARING = ("-A PREROUTING -s 192.0.2.7/32 -j DROP", "-A PREROUTING -j clash")
TAKING = "-A clash -p tcp -j TPROXY --on-port 1"


@pytest.mark.parametrize(
    ("rules", "place"),
    [
        (["-A PREROUTING -j clash", "-A clash -p tcp -j TPROXY --on-port 1"], 0),
        (["-A PREROUTING -p tcp -m set --match-set a src -j TPROXY --on-port 1"], 0),
        (["-A PREROUTING -p udp -j TPROXY --on-port 1"], None),
        ([*SPARING, "-A clash -d 192.168.0.0/16 -j RETURN", TAKING], None),
        ([*SPARING, "-A clash -d 192.168.0.0/16 -j ACCEPT", TAKING], None),
        ([*SPARING, "-A clash -m addrtype --dst-type LOCAL -j RETURN", TAKING], None),
        ([*SPARING, "-A clash -m set --match-set a dst -j RETURN", TAKING], 1),
        ([*SPARING, "-A clash ! -d 192.168.0.0/16 -j RETURN", TAKING], 1),
        (
            [
                *("-A PREROUTING -s 192.0.2.7/32 -j DROP", "-A PREROUTING -j marks"),
                *("-N marks", "-A marks -p udp -j MARK --set-xmark 0x1/0xffffffff"),
                *("-A PREROUTING -i lan -g clash", "-A clash -j inner"),
                *("-N inner", "-A inner -p tcp -j TPROXY --on-port 1"),
                "-A PREROUTING -p udp -j TPROXY --on-port 1",
            ],
            2,
        ),
        (["-A PREROUTING -j clash", "-A clash -p tcp -j MARK --set-mark 1"], None),
        (["-A clash -p tcp -j TPROXY --on-port 1"], None),
        ([], None),
    ],
)
def test_right_before_a_tproxy_in_mangle_a_rule_is_needed(
    rules: list[str], place: int | None
) -> None:
    """It takes packets before they are translated. Bans and marks stay in front."""
    mangle = "\n".join(["-P PREROUTING ACCEPT", "-N clash", *rules])
    state = ADMITTING.read({"filter": CALLS, "mangle": Result(mangle, 0)})
    assert bool(state.gates[MANGLE].places.transports(WEB)) == (place is not None)
    lines = [line for step in ADMITTING.steps([WEB], state) for line in step.lines]
    jumps = [line for line in lines if line.startswith("-I ")]
    wanted = [] if place is None else [f"-I PREROUTING {place + 1} -j {MANGLE.chain}"]
    assert jumps == wanted


def test_what_a_proxy_spares_of_a_forward_comes_by_what_stands_behind() -> None:
    """Where the target sees the real sender, answers alone are of the internet."""
    kept = replace(WEB, id="02KEPT", keep_client_address=True)
    rules = [*SPARING, "-A clash -d 192.168.0.0/16 -j RETURN", TAKING]
    mangle = "\n".join(["-P PREROUTING ACCEPT", "-N clash", *rules])
    state = ADMITTING.read({"filter": CALLS, "mangle": Result(mangle, 0)})
    lines = [it for step in ADMITTING.steps([WEB, kept], state) for it in step.lines]
    (jump,) = (line for line in lines if line.startswith("-I "))
    assert jump == (
        "-I PREROUTING 2 -m conntrack ! --ctorigsrc 192.168.50.0/24"
        f" --ctdir REPLY -j {MANGLE.chain}"
    )
    after = "\n".join(
        [
            *("-P PREROUTING ACCEPT", "-N clash", f"-N {MANGLE.chain}", rules[0]),
            *(line for line in lines if line.startswith("-A ")),
            *(jump.replace("-I PREROUTING 2", "-A PREROUTING"), *rules[1:]),
        ]
    )
    state = ADMITTING.read({"filter": CALLS, "mangle": Result(after, 0)})
    assert ADMITTING.carries(kept, state)
    assert not ADMITTING.steps([WEB, kept], state)


CALLS = Result("-P INPUT ACCEPT\n-P FORWARD ACCEPT\n-P OUTPUT ACCEPT", 0)


# What the router prints


ABSENT = Result("iptables: No chain/target/match by that name.", 1)


def sections(**outputs: Result) -> dict[str, Result]:
    """Return what a router prints that has none of our rules, but for these."""
    printed = EMPTY.sections(FIREWALL)
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
    found = FIREWALL.read(sections())
    assert set(found.chains.values()) == {None}
    assert FIREWALL.read(sections(chain_HA_BYPASS_PRE=nft)) == found


def test_a_table_that_is_not_there_is_not_made_by_a_look() -> None:
    """It is as if its chains were empty; all others are looked at as ever."""
    absent_tables = frozenset({"nat", "filter"})
    commands = Commands("iptables", "legacy", sudo=True, absent=absent_tables)
    legacy = Chains(SITE, commands, interface=LAN)
    looks = legacy.looks(heard=False)
    guarded = [look for look in looks if NO_TABLE in look]
    assert guarded == looks
    assert len(guarded) == 5
    absent = Result(NO_TABLE, 0)
    found = sections(
        entrance_HA_BYPASS_PRE=absent,
        chain_HA_BYPASS_PRE=absent,
        entrance_HA_BYPASS_POST=absent,
        chain_HA_BYPASS_POST=absent,
        filter=absent,
    )
    state = legacy.read(found)
    assert set(state.chains.values()) == {None}
    assert not state.gates[FWD].places.transports(WEB)


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
    assert FIREWALL.read(with_jump).entrances[PRE] == Entrance(
        (PRE.jump,), first=True, blocking=True
    )
    no_jump = sections(entrance_HA_BYPASS_PRE=opaque, jump_HA_BYPASS_PRE=Result("", 1))
    assert FIREWALL.read(no_jump).entrances[PRE] == Entrance(blocking=True)


def test_a_failed_look_is_an_error_and_never_an_empty_router() -> None:
    """Otherwise a switch would show off while the port is open."""
    locked = Result("Another app is currently holding the xtables lock.", 4)
    with pytest.raises(FirewallFailed, match="xtables lock"):
        FIREWALL.read(sections(chain_HA_BYPASS_PRE=locked))
    with pytest.raises(FirewallFailed, match="xtables lock"):
        FIREWALL.read(sections(filter=locked))
    root = Result("iptables: Permission denied (you must be root).", 4)
    with pytest.raises(NotPrivileged):
        FIREWALL.read(sections(filter=root))
    with pytest.raises(BadOutput):
        FIREWALL.read(sections(filter=Result("something else", 0)))


@given(st.text(st.characters(blacklist_characters="\n"), max_size=300))
def test_no_text_of_the_router_breaks_the_reader(text: str) -> None:
    """A foreign rule may hold any text; only its place matters."""
    noise = Result(f"-A PREROUTING {text}\n-A PREROUTING -j HA-BYPASS-PRE", 0)
    state = FIREWALL.read(sections(entrance_HA_BYPASS_PRE=noise))
    assert state.entrances[PRE].jumps[-1] == PRE.jump
    ours = Result(f"-N HA-BYPASS-PRE\n-A HA-BYPASS-PRE {text}", 0)
    FIREWALL.steps([WEB], FIREWALL.read(sections(chain_HA_BYPASS_PRE=ours)))
    table = Result(f"-P FORWARD DROP\n-A FORWARD {text}\n-N a\n-A a {text}", 0)
    state = FIREWALL.read(sections(filter=table))
    FIREWALL.steps([WEB], state)
    assert len(list(FIREWALL.obstacles(WEB, state))) < 10
