"""The parts of the rules together: what is live, and in which order it changes."""

from collections.abc import Collection, Iterator
from dataclasses import replace
import sys

from hypothesis import given, strategies as st

from custom_components.bypass_router.router.forward import Forward
from custom_components.bypass_router.router.iptables.chains import Chains
from custom_components.bypass_router.router.iptables.rules import (
    FWD,
    HOOKS,
    MANGLE,
    RETIRED as RETIRED_HOOKS,
    rules_of,
)
from custom_components.bypass_router.router.nftables.foreign_chains import ForeignChains
from custom_components.bypass_router.router.nftables.table import Nftables, NftState
from custom_components.bypass_router.router.rules.base import (
    Phase,
    PlanStep,
    Tag,
    Way,
)
from custom_components.bypass_router.router.rules.ends import ways_of
from custom_components.bypass_router.router.rules.ruleset import Plan, Ruleset, Snapshot
from custom_components.bypass_router.router.ssh.script import Result, Script

from . import tables, test_foreign_chains as gates
from .rules import PROXIED, SITE, chains, restored, ways_without, with_ends
from .test_nft_elements import SETS
from .test_router import GAME, WEB

ADMITTING = (MANGLE, FWD)
CHAINS = chains(hooks=(MANGLE, *HOOKS))
RETIRED = chains(hooks=RETIRED_HOOKS)
ADMIT = chains(hooks=ADMITTING)
NFT = Nftables(SITE, sudo=False)
GATES = ForeignChains(SITE, "lan", sudo=False, iptables=True)
BY_IPTABLES = Ruleset(SITE, [CHAINS, NFT], [GATES])
BY_NFT = Ruleset(SITE, [NFT, RETIRED], [GATES, ADMIT])
RULESETS = {"iptables": BY_IPTABLES, "nftables": BY_NFT}
CUTTING = {
    name: Ruleset(replace(SITE, cuts=True), it.translators, it.parts[2:])
    for name, it in RULESETS.items()
}
"""The same on a router where nothing else can end connections."""
ANOTHERS = replace(SITE, owner="cd34", cuts=True)
OF_ANOTHER = {
    "iptables": Ruleset(ANOTHERS, [chains(ANOTHERS, RETIRED_HOOKS)]),
    "nftables": Ruleset(ANOTHERS, [Nftables(ANOTHERS, sudo=False)]),
}
"""What another Home Assistant has there."""


class Kernel:
    """What is on a router all of whose chains drop, by the models of each part."""

    def __init__(self) -> None:
        """Begin with nothing of ours."""
        self.table: tables.Table | None = None
        self.native = gates.table()
        # A proxy that translates would be in the way of ours, as would a masquerade.
        self.chains = PROXIED.with_rules(
            "nat", "PREROUTING", ["-p udp -j RETURN"]
        ).with_rules("nat", "POSTROUTING", ["-o lan -j MASQUERADE"])

    def seen(self, ruleset: Ruleset) -> Snapshot:
        """Return what is read."""
        return Snapshot(ruleset, tuple(map(self._state, ruleset.parts)))

    def _state(self, part: object) -> object:
        """Return what a part reads."""
        if isinstance(part, Nftables):
            return tables.read(self.table)
        if part is GATES:
            return gates.read(self.native)
        assert isinstance(part, Chains)
        return part.read(self.chains.sections(part))

    def change(self, plan: Plan) -> Iterator[None]:
        """Carry out a plan, and pause after each of its transactions."""
        for step in plan.steps:
            for transaction in transactions(step):
                if step.command == "sh" or "iptables" in step.command:
                    self.chains = restored(self.chains, [transaction])
                else:
                    self._load(transaction)
                yield

    def _load(self, step: PlanStep) -> None:
        """Have nft take a transaction."""
        ours = tuple(line for line in step.lines if " ip ha_bypass" in line)
        self.table = tables.loaded(self.table, [replace(step, lines=ours)])
        others = (line for line in step.lines if line not in ours)
        self.native = gates.loaded(self.native, others)

    def translated(self) -> dict[Tag, list[Forward]]:
        """Return what is translated, by either."""
        found: dict[Tag, list[Forward]] = {}
        for part in (NFT, RETIRED):
            state = self._state(part)
            for tag, forward in part.forwards(state).items():  # type: ignore[arg-type]
                found.setdefault(tag, []).append(forward)
        return found

    def cut(self) -> list[Way]:
        """Return whose connections are cut, by either."""
        return [
            cut.way
            for part in (NFT, RETIRED)
            for cut in part.cuts(self._state(part))  # type: ignore[arg-type]
        ]

    def admits(self, forward: Forward) -> bool:
        """Return whether nothing drops what is translated for a forward."""
        return all(
            rule in (self.chains.rules(hook) or ())
            for hook, rule in rules_of(forward, SITE, ADMITTING)
        ) and all(
            f"meta l4proto {transport} ct status dnat ct original ip daddr 192.168.50.2"
            f" ct original proto-dst {forward.external} accept" in self.native
            for transport in forward.protocol.transports
        )


def transactions(step: PlanStep) -> Iterator[PlanStep]:
    """Yield what takes effect at once: of iptables, each table by itself."""
    if "iptables" not in step.command:
        yield step
        return
    lines: list[str] = []
    for line in step.lines:
        lines.append(line)
        if line == "COMMIT":
            yield replace(step, lines=tuple(lines))
            lines = []
    assert not lines


def run(kernel: Kernel, ruleset: Ruleset, desired: Collection[Forward]) -> None:
    """Carry out a plan to its end."""
    for _ in kernel.change(ruleset.plan(desired, kernel.seen(ruleset))):
        pass


@given(
    st.sampled_from(sorted(RULESETS)),
    st.sampled_from(sorted(RULESETS)),
    SETS,
    SETS,
    st.booleans(),
    st.sampled_from([sys.maxsize, 5, 1]),
)
def test_at_no_moment_of_a_change_is_a_forward_translated_and_then_dropped(
    before: str,
    after: str,
    was: list[Forward],
    desired: list[Forward],
    stays: bool,
    most: int,
) -> None:
    """Nor is one that stays not translated, wherever it moves to.

    Whether all is one transaction, or each line.
    """
    if stays:
        added = [f for f in desired if not any(f.conflicts(old) for old in was)]
        ids = {forward.id for forward in was}
        desired = [*was, *(forward for forward in added if forward.id not in ids)]
    kernel = Kernel()
    run(kernel, RULESETS[before], was)
    ruleset = RULESETS[after]
    # No one has to know by what it was done.
    assert with_ends(kernel.seen(ruleset).live.forwards.values()) == with_ends(was)
    kept = [forward for forward in was if forward in desired]
    plan = ruleset.plan(desired, kernel.seen(ruleset)).in_parts(most)
    for _ in kernel.change(plan):
        translated = kernel.translated()
        for forwards in translated.values():
            assert all(map(kernel.admits, forwards))
        for forward in kept:
            assert forward in translated[Tag("ab12", forward.id)]
    snapshot = kernel.seen(ruleset)
    assert with_ends(snapshot.live.forwards.values()) == with_ends(desired)
    assert not snapshot.live.damaged
    assert not ruleset.plan(desired, snapshot)
    assert not ruleset.translators[1].tags(snapshot.states[1])
    run(kernel, ruleset, [])
    assert (kernel.table, kernel.native) == (None, Kernel().native)
    assert kernel.chains == Kernel().chains


@given(*[st.sampled_from(sorted(CUTTING))] * 2, SETS, SETS)
def test_what_is_cut_was_open_and_is_no_more(
    before: str, after: str, was: list[Forward], desired: list[Forward]
) -> None:
    """Wherever it was; and of what comes back, nothing is cut."""
    kernel = Kernel()
    run(kernel, CUTTING[before], was)
    run(kernel, CUTTING[after], desired)
    gone = ways_without(ways(was), ways(desired))
    assert not ways_without(gone, kernel.cut())
    assert not ways_without(kernel.cut(), gone)
    assert not CUTTING[after].plan(desired, kernel.seen(CUTTING[after]))
    # They go on being cut in the other place.
    run(kernel, CUTTING[before], desired)
    assert not ways_without(gone, kernel.cut())
    assert not CUTTING[before].plan(desired, kernel.seen(CUTTING[before]))
    run(kernel, CUTTING[after], was)
    back = ways_without(ways(desired), ways(was))
    assert not ways_without(kernel.cut(), back)
    # Where they are ended by other means, nothing is left of that.
    run(kernel, RULESETS[before], [])
    assert (kernel.table, kernel.chains) == (None, Kernel().chains)


@given(
    st.sampled_from(sorted(OF_ANOTHER)), st.sampled_from(sorted(CUTTING)), SETS, SETS
)
def test_no_forward_is_cut_by_what_another_home_assistant_has_left(
    theirs: str, ours: str, was: list[Forward], desired: list[Forward]
) -> None:
    """Which may be gone; the rest of that goes on being cut."""
    kernel = Kernel()
    run(kernel, OF_ANOTHER[theirs], was)
    run(kernel, OF_ANOTHER[theirs], [])
    rest = ways_without(ways(was), ways(desired))
    run(kernel, CUTTING[ours], desired)
    assert not ways_without(kernel.cut(), rest)
    assert not ways_without(rest, kernel.cut())
    assert not CUTTING[ours].plan(desired, kernel.seen(CUTTING[ours]))
    # Nor where there are other means of ending connections by now.
    run(kernel, CUTTING[ours], [])
    run(kernel, OF_ANOTHER[theirs], was)
    run(kernel, OF_ANOTHER[theirs], [])
    run(kernel, RULESETS[ours], desired)
    cut = kernel.cut()
    assert ways_without(cut, ways(desired)) == list(dict.fromkeys(cut))
    assert not RULESETS[ours].plan(desired, kernel.seen(RULESETS[ours]))


def ways(forwards: Collection[Forward]) -> list[Way]:
    """Return who reaches what by forwards."""
    return [way for forward in forwards for way in ways_of(forward)]


def test_a_plan_names_what_it_reports_and_how_long_it_is() -> None:
    """By which our own changes are told from others'."""
    kernel = Kernel()
    plan = BY_NFT.plan([WEB], kernel.seen(BY_NFT))
    assert sorted(plan.reports) == ["iptables-restor"] * 2 + ["nft"] * 2
    assert plan.size == sum(len(step.lines) for step in plan.steps)
    assert not BY_NFT.plan([], kernel.seen(BY_NFT))


def test_neighbours_with_one_command_are_one_step() -> None:
    """One process and, for nft, one transaction; their order stays."""
    kernel = Kernel()
    plain = Ruleset(SITE, [NFT], [GATES])
    (on,) = plain.plan([WEB], kernel.seen(plain)).steps
    assert on.lines[0].startswith("add rule inet t c")
    assert on.lines[2] == "add table ip ha_bypass"
    run(kernel, plain, [WEB])
    (off,) = plain.plan([], kernel.seen(plain)).steps
    assert off.lines[0] == "delete table ip ha_bypass"
    assert off.lines[1].startswith("delete rule inet t c handle")


def test_a_retired_translator_is_emptied_after_the_new_one_was_filled() -> None:
    """Between the two, both do the same."""
    kernel = Kernel()
    run(kernel, BY_IPTABLES, [WEB])
    plan = BY_NFT.plan([WEB], kernel.seen(BY_NFT))
    assert [step.command.split()[0] for step in plan.steps] == [
        "nft",
        "iptables-restore",
    ]
    next(kernel.change(plan))
    assert kernel.translated() == {Tag("ab12", WEB.id): [WEB, WEB]}


def test_forwards_of_which_some_have_moved_are_all_live() -> None:
    """As a change leaves them that was cut off between two commands."""
    kernel = Kernel()
    run(kernel, BY_IPTABLES, [WEB, GAME])
    for step in NFT.steps([GAME], NftState()):
        kernel.table = tables.loaded(kernel.table, [step])
    for ruleset in RULESETS.values():
        live = kernel.seen(ruleset).live
        assert live.forwards == {WEB.id: WEB, GAME.id: GAME}


def test_what_is_retired_is_looked_at_no_more_once_it_is_empty() -> None:
    """But as long as anyone's rules are in it."""
    kernel = Kernel()
    run(kernel, BY_IPTABLES, [WEB])
    snapshot = kernel.seen(BY_NFT)
    assert snapshot.without_stale() is snapshot
    run(kernel, BY_NFT, [WEB])
    kept = kernel.seen(BY_NFT).without_stale()
    assert kept.ruleset.translators == (NFT,)
    assert kept.ruleset.parts == (NFT, GATES, ADMIT)
    assert kept.live == kernel.seen(BY_NFT).live
    script = Script()
    kept.ruleset.add_read(script)
    assert "chain.HA-BYPASS-PRE" not in script
    assert "nft.table" in script


def test_a_forward_that_one_part_does_not_carry_is_damaged() -> None:
    """Though it is translated; and one that is only let through is as well."""
    kernel = Kernel()
    run(kernel, BY_NFT, [WEB, GAME])
    kernel.native = gates.table()
    assert kernel.seen(BY_NFT).live.forwards == {}
    assert kernel.seen(BY_NFT).live.damaged == {WEB.id, GAME.id}
    run(kernel, BY_NFT, [WEB])
    kernel.table = None
    assert kernel.seen(BY_NFT).live.damaged == {WEB.id}


def test_none_is_taken_after_a_command_that_failed() -> None:
    """And the first that did is what is told."""
    steps = tuple(PlanStep(phase, f"do {phase}", ("x",)) for phase in Phase)
    plan, script = Plan(steps), Script()
    plan.add_to(script)
    assert script.text.count('if [ "$status" = 0 ]; then') == 3
    failed = Result("no", 1)
    sections = {"apply.0": Result("", 0), "apply.1": failed}
    assert plan.failed(sections) == ("do 1", failed)
    done = dict.fromkeys(("apply.0", "apply.1", "apply.2"), Result("", 0))
    assert plan.failed(done | {"apply.3": failed}) is None


def test_what_is_left_over_is_tidied_up_in_the_wake_of_a_change_alone() -> None:
    """By itself it is no reason to change anything, and by no other's transaction."""
    tidy = PlanStep(
        Phase.CLEAN_UP, "iptables-restore", ("*nat", "-X PREROUTING", "COMMIT")
    )
    assert not Plan((tidy,))
    assert Plan((replace(tidy, phase=Phase.REVOKE), tidy))


def test_what_people_read_names_no_retired_rules() -> None:
    """A forward's rules, and how to take them away."""
    assert [rule.split()[0] for rule in BY_NFT.rules(WEB)] == ["nft"] * 4 + [
        "iptables"
    ] * 2
    assert all("ha_bypass" in line for line in BY_NFT.removal_commands(WEB))
    assert all("iptables" in line for line in BY_IPTABLES.removal_commands(WEB))


def test_each_look_is_taken_once() -> None:
    """Where nft monitor is heard, there is nothing to look at."""
    assert BY_NFT.looks(heard=True) == []
    looks = BY_NFT.looks(heard=False)
    assert len(looks) == len(set(looks))
    assert "nft list table ip ha_bypass" in looks
    assert NftState() == NFT.read({"nft.table": tables.ABSENT})
