"""Our chains of iptables: what is in them, and how that is changed."""

from collections import Counter
from collections.abc import Collection, Iterator, Mapping, Sequence, Set as AbstractSet
from dataclasses import dataclass, field, replace
from functools import cached_property
import re
from typing import Literal

from .errors import BadOutput, FirewallFailed, NotPrivileged
from .firewall import Lack, Phase, Site, Step, Tag
from .forward import Forward
from .iptables import FWD, HOOKS, MANGLE, PRE, Hook, forward_of, rules_of
from .privilege import refused_by_sudo
from .proxies import tproxy_in_iptables
from .rule import Rule, listed
from .script import Result, Script
from .tools import incompatible

type Variant = Literal["nf_tables", "legacy"]

_WAIT = "--wait 5"
_COUNTED = re.compile(r" -c ([0-9]{1,20}) [0-9]{1,20}(?= |$)")


@dataclass(frozen=True, slots=True)
class Entrance:
    """How a chain of the kernel enters ours."""

    jumps: tuple[Rule, ...] = ()
    """Every rule that does."""
    first: bool = False
    """Whether the first rule of the kernel's chain is one of them."""
    blocking: bool = False
    """Whether the kernel's chain may keep a packet that does not enter ours."""


@dataclass(frozen=True)
class IptablesState:
    """Our chains and the jumps to them; None stands for a chain that is absent."""

    chains: Mapping[Hook, tuple[Rule, ...] | None]
    entrances: Mapping[Hook, Entrance]
    needed: frozenset[Hook] = field(default=frozenset(HOOKS))
    """Where a forward has rules."""

    @cached_property
    def tagged(self) -> Mapping[Tag, Counter[tuple[Hook, Rule]]]:
        """The rules that carry a tag, whoever's it is.

        One that we could not even name to iptables-restore was never ours.
        """
        tagged: dict[Tag, Counter[tuple[Hook, Rule]]] = {}
        for hook, rules in self.chains.items():
            for rule in rules or ():
                if tag := _tag_of(rule):
                    tagged.setdefault(tag, Counter())[hook, rule] += 1
        return tagged

    def shadowed(self, hook: Hook, owner: str) -> list[Rule]:
        """Return the owner's rules that stand behind somebody's in our own chain."""
        rules = self.chains[hook] or ()
        tags = [_tag_of(rule) for rule in rules]
        behind = tags.index(None) if None in tags else len(tags)
        return [
            rule
            for rule, tag in zip(rules[behind:], tags[behind:], strict=True)
            if tag and tag.owner == owner
        ]

    def enters(self, tag: Tag) -> bool:
        """Tell whether every packet comes by a forward's rules before any other."""
        return all(
            self.entrances[hook].first
            and tag not in map(_tag_of, self.shadowed(hook, tag.owner))
            for hook in self.needed
        )


class Iptables:
    """Our chains in one variant of iptables.

    Of these hooks, `FWD` alone is used where something else translates, and only
    as long as the kernel's chain might drop packets.
    """

    def __init__(
        self,
        site: Site,
        *,
        sudo: bool,
        command: str = "iptables",
        variant: Variant = "nf_tables",
        hooks: Sequence[Hook] = HOOKS,
    ) -> None:
        """Take the site, and whether the commands need `sudo -n` in front."""
        self._site = site
        self._sudo = "sudo -n " if sudo else ""
        self._command = command
        self._variant = variant
        self._hooks = tuple(hooks)
        self._translates = PRE in hooks
        self._suffix = "" if command == "iptables" else f".{variant.partition('_')[0]}"

    def add_read(self, script: Script) -> None:
        """Add the commands that print the rules.

        Chain by chain: `iptables-save` prints nothing of a table in which
        anyone has put a native nft rule.
        """
        for hook in self._listed_hooks:
            command = self._in(hook.table)
            label = self._label(hook)
            script.run(f"entrance.{label}", f"{command} -S {hook.builtin}")
            script.otherwise(
                f"jump.{label}", f"{command} -C {hook.builtin} {hook.jump}"
            )
            script.run(f"chain.{label}", f"{command} -S {hook.chain}")
        if MANGLE in self._hooks:
            script.run(f"mangle{self._suffix}", self._mangle)

    def read(self, sections: Mapping[str, Result]) -> IptablesState:
        """Return the rules that those commands printed.

        Raises FirewallFailed, NotPrivileged and BadOutput.
        """
        chains = {hook: self._read_chain(hook, sections) for hook in self._listed_hooks}
        entrances = {
            hook: self._read_entrance(hook, sections) for hook in self._listed_hooks
        }
        needed = {
            hook
            for hook in self._listed_hooks
            if self._translates or entrances[hook].blocking
        }
        if MANGLE in self._hooks:
            listing = sections[f"mangle{self._suffix}"]
            text = listing.output if listing.ok else ""
            entrances[MANGLE] = _entrance(MANGLE, list(_rules(MANGLE.builtin, text)))
            chains[MANGLE] = (
                tuple(_rules(MANGLE.chain, text))
                if f"-N {MANGLE.chain}" in text.splitlines()
                else None
            )
            if tproxy_in_iptables(text):
                needed.add(MANGLE)
        return IptablesState(chains, entrances, frozenset(needed))

    def tags(self, state: IptablesState) -> AbstractSet[Tag]:
        """Return the tags that stand here, whoever's they are."""
        return state.tagged.keys()

    def forwards(self, state: IptablesState) -> Mapping[Tag, Forward]:
        """Return what is translated, and let through by these very chains."""
        found = {
            tag: forward_of(
                tag,
                Counter({item: n for item, n in rules.items() if item[0] in _NAT}),
                self._site,
            )
            for tag, rules in state.tagged.items()
        }
        return {
            tag: forward
            for tag, forward in found.items()
            if forward and state.enters(tag) and self._holds(forward, tag, state)
        }

    def carries(self, forward: Forward, state: IptablesState) -> bool:
        """Tell whether all that the forward needs here is in force, and no more."""
        tag = Tag(self._site.owner, forward.id)
        return self._holds(forward, tag, state) and (
            tag not in state.tagged or state.enters(tag)
        )

    def _holds(self, forward: Forward, tag: Tag, state: IptablesState) -> bool:
        """Tell whether the chains hold exactly the rules of a forward.

        Where none are needed any more, they do no harm.
        """
        wanted = Counter(rules_of(forward, replace(self._site, owner=tag.owner), _ALL))
        found = state.tagged.get(tag, Counter())
        for hook in self._hooks:
            here = {item: n for item, n in found.items() if item[0] is hook}
            if (hook in state.needed or here) and here != {
                item: n for item, n in wanted.items() if item[0] is hook
            }:
                return False
        return True

    def lacks(self, forward: Forward, state: IptablesState) -> AbstractSet[Lack]:
        """Return what keeps it from being carried."""
        tag = Tag(self._site.owner, forward.id)
        wanted = Counter(rules_of(forward, self._site, _ALL))
        found = state.tagged.get(tag, Counter())
        lacks = set()
        for hook in self._hooks:
            here = {item: n for item, n in found.items() if item[0] is hook}
            if not (hook in state.needed or here):
                continue
            entrance = state.entrances[hook]
            if here != {item: n for item, n in wanted.items() if item[0] is hook} or (
                hook in state.needed and not entrance.jumps
            ):
                lacks.add(self._absence(hook))
            elif hook in state.needed and not (
                entrance.first
                and all(
                    _tag_of(rule) != tag for rule in state.shadowed(hook, tag.owner)
                )
            ):
                lacks.add(_LACKS.get(hook, Lack.SHADOWED))
        return lacks

    def _absence(self, hook: Hook) -> Lack:
        """Return what a forward lacks that has no rules at a hook."""
        return _LACKS.get(hook, Lack.MISSING if self._translates else Lack.SHADOWED)

    def steps(self, wished: Collection[Forward], state: IptablesState) -> list[Step]:
        """Return the smallest change after which exactly `wished` is here."""
        rules = Counter(
            item
            for forward in wished
            for item in rules_of(forward, self._site, tuple(state.needed))
        )
        ours: Counter[tuple[Hook, Rule]] = Counter()
        for tag, tagged in state.tagged.items():
            if tag.owner == self._site.owner:
                ours.update(tagged)
        added = list((rules - ours).elements())
        removed = list((ours - rules).elements())
        changes = {
            hook: _changes(
                hook,
                state,
                added=[rule for at, rule in added if at is hook],
                removed=[rule for at, rule in removed if at is hook],
                raised=state.shadowed(hook, self._site.owner),
            )
            for hook in self._hooks
        }
        admit = [hook for hook in self._hooks if hook not in _NAT]
        translate = [
            line
            for hook in self._hooks
            if hook in _NAT
            for part in changes[hook]
            for line in part
        ]
        command = f"{self._sudo}{self._command}-restore --noflush {_WAIT}"
        steps = [
            *(Step(Phase.ADMIT, command, _commit(at, changes[at][0])) for at in admit),
            Step(Phase.TRANSLATE, command, _commit(PRE, translate)),
            *(
                Step(Phase.WITHDRAW, command, _commit(at, changes[at][1]))
                for at in admit
            ),
        ]
        return [step for step in steps if step.lines]

    def add_count(self, script: Script) -> None:
        """Add the command that prints how many connections were translated."""
        script.run("count", f"{self._in(PRE.table)} -v -S {PRE.chain}")

    def read_counts(self, sections: Mapping[str, Result]) -> Mapping[Tag, int]:
        """Return that number for each tag, since its rules were set.

        The nat table sees the first packet of each connection, and no other.
        """
        counts: Counter[Tag] = Counter()
        result = sections["count"]
        for text in listed(result.output) if result.ok else ():
            # What names the chain is no part of a rule.
            line = text.removeprefix(f"-A {PRE.chain} ")
            if (counted := _COUNTED.search(line)) and (
                tag := _tag_of(_rule(line[: counted.start()] + line[counted.end() :]))
            ):
                counts[tag] += int(counted[1])
        return counts

    def rules(self, forward: Forward) -> list[str]:
        """Return the rules that a forward may have here, for people to read."""
        return [
            f"{self._command} -t {hook.table} -A {hook.chain} {rule}"
            for hook, rule in rules_of(forward, self._site, self._hooks)
        ]

    def removal_commands(self, forward: Forward) -> list[str]:
        """Return the commands by which a person takes a forward's rules away."""
        return [
            f"{self._command} -t {hook.table} -D {hook.chain} {rule}"
            for hook, rule in rules_of(forward, self._site)
        ]

    def looks(self, *, heard: bool) -> list[str]:
        """Return commands whose output changes when our rules do."""
        if heard and self._variant == "nf_tables":
            return []
        looks = [
            f"{self._in(hook.table)} -S {chain}"
            for hook in self._listed_hooks
            for chain in (hook.builtin, hook.chain)
        ]
        return looks + ([self._mangle] if MANGLE in self._hooks else [])

    @property
    def _listed_hooks(self) -> list[Hook]:
        """The hooks whose chains are read one by one."""
        return [hook for hook in self._hooks if hook is not MANGLE]

    @property
    def _mangle(self) -> str:
        """The command that prints the mangle table: our rules, and a proxy's.

        To look at a table of the legacy variant would make it, with all its hooks.
        """
        command = f"{self._in('mangle')} -S"
        if self._variant == "nf_tables":
            return command
        names = "/proc/net/ip_tables_names"
        return f"sh -c 'grep -qsx mangle {names} && exec {command}'"

    def _in(self, table: str) -> str:
        """Return the start of a command on a table."""
        return f"{self._sudo}{self._command} {_WAIT} -t {table}"

    def _label(self, hook: Hook) -> str:
        """Return the end of the labels of a hook's sections."""
        return f"{hook.chain}{self._suffix}"

    def _read_chain(
        self, hook: Hook, sections: Mapping[str, Result]
    ) -> tuple[Rule, ...] | None:
        """Return the rules of our chain."""
        result = sections[f"chain.{self._label(hook)}"]
        if result.ok:
            return tuple(_appended(hook.chain, result))
        # The nft variant calls an absent chain incompatible.
        output = result.output
        if "No chain/target/match" in output or "is incompatible" in output:
            return None
        raise _failure(f"{self._command} -t {hook.table} -S {hook.chain}", result)

    def _read_entrance(self, hook: Hook, sections: Mapping[str, Result]) -> Entrance:
        """Return how the kernel's chain enters ours."""
        result = sections[f"entrance.{self._label(hook)}"]
        if result.ok:
            entrance = _entrance(hook, list(_appended(hook.builtin, result)))
            if f"-P {hook.builtin} ACCEPT" in result.lines:
                return entrance
            return Entrance(entrance.jumps, entrance.first, blocking=True)
        # A native nft rule stands in the kernel's chain. iptables can tell then
        # whether the jump is there, and not where.
        if incompatible(result):
            if sections[f"jump.{self._label(hook)}"].ok:
                return Entrance((hook.jump,), first=True, blocking=True)
            return Entrance(blocking=True)
        raise _failure(f"{self._command} -t {hook.table} -S {hook.builtin}", result)


_ALL = (MANGLE, *HOOKS)
_LACKS = {FWD: Lack.BLOCKED, MANGLE: Lack.TAKEN}
_NAT = frozenset(hook for hook in HOOKS if hook is not FWD)


def _changes(
    hook: Hook,
    state: IptablesState,
    *,
    added: list[Rule],
    removed: list[Rule],
    raised: list[Rule],
) -> tuple[list[str], list[str]]:
    """Return the lines that add to a chain, and those that take from it."""
    chain, entrance = state.chains[hook], state.entrances[hook]
    left = len(chain or ()) + len(added) - len(removed)
    gains = [f"-A {hook.chain} {rule}" for rule in added]
    losses = [f"-D {hook.chain} {rule}" for rule in removed]
    for rule in (Counter(raised) - Counter(removed)).elements():
        gains[:0] = [f"-D {hook.chain} {rule}", f"-I {hook.chain} 1 {rule}"]
    enter = [f"-D {hook.builtin} {jump}" for jump in entrance.jumps]
    if not left:
        # Nobody's rules are in there any more.
        if chain is not None:
            losses += [*enter, f"-X {hook.chain}"]
        return [], losses
    if chain is None:
        # -N and no `:CHAIN`, which would empty a chain that another Home
        # Assistant has made since we looked.
        gains.insert(0, f"-N {hook.chain}")
    if not (entrance.first and len(entrance.jumps) == 1):
        gains += [*enter, f"-I {hook.builtin} 1 {hook.jump}"]
    return gains, losses


def _commit(hook: Hook, lines: list[str]) -> tuple[str, ...]:
    """Return a transaction of the hook's table."""
    return (f"*{hook.table}", *lines, "COMMIT") if lines else ()


def _entrance(hook: Hook, rules: list[Rule]) -> Entrance:
    """Return how the kernel's chain, which has these rules, enters ours."""
    jumps = tuple(
        rule for rule in rules if rule.value("-j") == hook.chain and rule.writable
    )
    return Entrance(
        jumps,
        first=rules[:1] == [hook.jump],
        blocking=any(rule not in jumps for rule in rules),
    )


def _appended(chain: str, result: Result) -> Iterator[Rule]:
    """Return the rules of a chain's listing. Raises BadOutput if it is none."""
    lines = set(result.lines)
    if f"-N {chain}" not in lines and not any(
        line.startswith((f"-P {chain} ", f"-A {chain} ")) for line in lines
    ):
        # Taken for an empty chain, it would show as off what may be open.
        raise BadOutput(output=result.message)
    return _rules(chain, result.output)


def _rules(chain: str, listing: str) -> Iterator[Rule]:
    """Yield the rules of a chain, in order."""
    for line in listed(listing):
        if line.startswith(f"-A {chain} "):
            yield _rule(line.removeprefix(f"-A {chain} "))


def _rule(text: str) -> Rule:
    """Return the rule of a text, whatever it is."""
    try:
        return Rule.of(text)
    except ValueError:
        # Not one of ours, but it takes its place in the order.
        return Rule((text,), frozenset({(text,)}))


def _tag_of(rule: Rule) -> Tag | None:
    """Return the tag that a rule carries."""
    tags = filter(None, map(Tag.parse, rule.values("--comment")))
    return next(tags, None) if rule.writable else None


def _failure(command: str, result: Result) -> FirewallFailed | NotPrivileged:
    """Return the error that a failed command means."""
    if "you must be root" in result.output or refused_by_sudo(result):
        return NotPrivileged(command=command, message=result.message)
    return FirewallFailed(command=command, message=result.message)
