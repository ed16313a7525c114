"""Rules of ours in other programs' nft chains, by which forwarded packets pass.

An accept in our own table can't overrule another table's drop, nor keep a packet from
another table's TPROXY. So each chain that might stop or take a forward's packets gets
a rule at its top, one a transport of a forward, which the forward's tag marks:

- chains at the hook `forward` that drop by policy or have any rule;
- chains at the hook `prerouting` from which a packet can come to a TPROXY;
- chains that translate and that the kernel may enter before ours. Of two with one
  priority, it enters the newer first. An accept ends only the one that it stands in.

The tables that iptables made are left to iptables, where the router has it.
"""

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Set as AbstractSet
from dataclasses import dataclass
from functools import cached_property
import re

from ..forward import Forward, PortRange, Transport
from ..rules.base import Phase, PlanStep, Problem, RouterContext, Tag, unreadable
from ..rules.obstacles import Obstacle
from ..ssh.script import Result, Script
from ..ssh.sudo import as_root
from .elements import TABLE
from .listing import Base, NftChain, NftRule, NftTable, read_tables

_MADE_BY_IPTABLES = frozenset({"filter", "mangle", "nat", "raw", "security"})
_JUMP = re.compile(r"\b(?:jump|goto) ([A-Za-z0-9_./-]+)")
# Where a map of verdicts leads to is not printed with the chains.
_NAMED_MAP = re.compile(r"\bvmap @")
# By the type and hook of a chain, what takes or translates a packet there.
_TAKING = {
    ("filter", "prerouting"): re.compile(r"\btproxy\b"),
    ("nat", "prerouting"): re.compile(r"\b(?:redirect|dnat (?:ip )?to)\b"),
    ("nat", "postrouting"): re.compile(r"\b(?:masquerade|snat (?:ip )?to)\b"),
}
_PROBLEMS = {
    ("filter", "forward"): Problem.DROPPED,
    ("filter", "prerouting"): Problem.INTERCEPTED,
    ("nat", "prerouting"): Problem.SHADOWED,
    ("nat", "postrouting"): Problem.SHADOWED,
}
_PRIORITY = re.compile(r"(-?[0-9]{1,10}|[a-z]+)(?: ([+-]) ([0-9]{1,10}))?")
_NAMED = {"raw": -300, "mangle": -150, "dstnat": -100, "srcnat": 100}
_ACCEPT = re.compile(
    r"meta l4proto (tcp|udp) (?:ct status dnat )?"
    r"ct original (?:ip )?daddr ([0-9.]+) ct original proto-dst ([0-9]+)(?:-([0-9]+))?"
    r"(?: counter(?: packets [0-9]+ bytes [0-9]+)?)? accept"
)


@dataclass(frozen=True, slots=True)
class AcceptRule:
    """What one rule lets pass."""

    transport: Transport
    address: str
    ports: PortRange


@dataclass(frozen=True, slots=True)
class ForeignChain:
    """A chain of someone else's, and our rules in it."""

    chain: str
    """Family, table and name."""
    translated: bool
    """Whether packets come by translated: at all hooks but `prerouting`."""
    needed: bool
    """Whether it might stop or take a forward's packets."""
    accepts: tuple[tuple[Tag, AcceptRule, int], ...]
    """Those at the chain's top, each with its handle."""
    misplaced: tuple[tuple[Tag, int], ...]
    """Rules with a tag that are no accept rules, or stand behind what is none."""
    problem: Problem = Problem.DROPPED
    """What a forward lacks that does not pass here."""


@dataclass(frozen=True)
class ForeignChainsState:
    """All the chains that matter."""

    chains: tuple[ForeignChain, ...] = ()

    @cached_property
    def tags(self) -> frozenset[Tag]:
        """The tags in all of them."""
        return frozenset(
            tag
            for foreign in self.chains
            for tag in (
                *(tag for tag, _, _ in foreign.accepts),
                *(tag for tag, _ in foreign.misplaced),
            )
        )


class ForeignChains:
    """Our rules in the chains of other programs."""

    def __init__(
        self,
        context: RouterContext,
        *,
        sudo: bool,
        iptables: bool,
        translated_there: bool = False,
    ) -> None:
        """Take what the rules depend on; `iptables` leaves to iptables what is its own.

        `translated_there` is whether iptables translates, and not our table.
        """
        self._context = context
        # What iptables leaves as it is, any later chain may still translate.
        self._after = (-100, 2**31) if translated_there else (-105, 95)
        self._nft = as_root("nft", sudo=sudo)
        self._iptables = iptables

    def add_read(self, script: Script) -> None:
        """Add the command that prints all chains, and leaves out sets' elements."""
        script.run("nft.ruleset", self._list)

    def read(self, sections: Mapping[str, Result]) -> ForeignChainsState:
        """Return what that command printed. Raises FirewallFailed, NotPrivileged."""
        result = sections["nft.ruleset"]
        if not result.ok:
            raise unreadable("nft list ruleset", result)
        tables = read_tables(result.output)
        # A comment can look like a rule with the handle of another's.
        handles = Counter(
            (table.family, table.name, rule.handle)
            for table in tables
            for chain in table.chains
            for rule in chain.rules
        )
        doubtful = {handle for handle, count in handles.items() if count > 1}
        return ForeignChainsState(
            tuple(
                foreign
                for table in tables
                if not self._is_left_out(table)
                for chain in table.chains
                if (foreign := self._foreign_chain(chain, table, doubtful))
            )
        )

    def _is_left_out(self, table: NftTable) -> bool:
        """Return whether the table is ours, iptables', or sees no IPv4."""
        return (
            table.family not in ("ip", "inet")
            or f"{table.family} {table.name}" == TABLE
            or (
                self._iptables
                and table.family == "ip"
                and table.name in _MADE_BY_IPTABLES
            )
        )

    def _foreign_chain(
        self,
        chain: NftChain,
        table: NftTable,
        doubtful: AbstractSet[tuple[str, str, int]],
    ) -> ForeignChain | None:
        """Return what matters of a chain; None if it is of no interest.

        What has one of the doubtful handles is no rule of ours.
        """
        if chain.base is None:
            return None
        at = chain.base.type, chain.base.hook
        if at != ("filter", "forward") and at not in _TAKING:
            return None
        translated = chain.base.hook != "prerouting"
        accepts: list[tuple[Tag, AcceptRule, int]] = []
        misplaced: list[tuple[Tag, int]] = []
        others: list[NftRule] = []
        at_top = True
        for rule in chain.rules:
            tag = Tag.parse(rule.comment)
            known = (table.family, table.name, rule.handle) not in doubtful
            if not (tag and rule.handle and known):
                others.append(rule)
                at_top = False
            elif at_top and (accept := _read_accept(rule, translated=translated)):
                accepts.append((tag, accept, rule.handle))
            else:
                misplaced.append((tag, rule.handle))
                at_top = False
        if taking := _TAKING.get(at):
            needed = self._enters_first(chain.base) and _comes_to(taking, others, table)
        else:
            needed = chain.base.policy != "accept" or bool(others)
        if not (needed or accepts or misplaced):
            return None
        return ForeignChain(
            str(chain),
            translated,
            needed,
            tuple(accepts),
            tuple(misplaced),
            _PROBLEMS[at],
        )

    def _enters_first(self, base: Base) -> bool:
        """Return whether the kernel may enter a chain before it translates for us."""
        before, after = self._after
        return base.type != "nat" or _priority(base.priority) <= (
            before if base.hook == "prerouting" else after
        )

    def tags(self, state: ForeignChainsState) -> AbstractSet[Tag]:
        """Return the tags that stand here, whoever's they are."""
        return state.tags

    def carries(self, forward: Forward, state: ForeignChainsState) -> bool:
        """Return whether each chain that needs it lets the forward pass."""
        return not self.problems(forward, state)

    def problems(
        self, forward: Forward, state: ForeignChainsState
    ) -> AbstractSet[Problem]:
        """Return what the chains that do not let it pass would do to it."""
        tag = Tag(self._context.owner, forward.id)
        wanted = Counter(_accepts_of(forward, self._context))
        problems = set()
        for foreign in state.chains:
            found = Counter(
                accept for owner, accept, _ in foreign.accepts if owner == tag
            )
            if ((foreign.needed or found) and found != wanted) or any(
                owner == tag for owner, _ in foreign.misplaced
            ):
                problems.add(foreign.problem)
        return problems

    def steps(
        self, desired: Collection[Forward], state: ForeignChainsState
    ) -> list[PlanStep]:
        """Return the smallest change after which exactly `desired` passes."""
        gains, losses = [], []
        wanted = Counter(
            (Tag(self._context.owner, forward.id), accept)
            for forward in desired
            for accept in _accepts_of(forward, self._context)
        )
        for foreign in state.chains:
            missing = (
                Counter(wanted) if foreign.needed else Counter[tuple[Tag, AcceptRule]]()
            )
            for tag, accept, handle in foreign.accepts:
                if tag.owner != self._context.owner:
                    continue
                if missing[tag, accept]:
                    missing[tag, accept] -= 1
                else:
                    losses.append(f"delete rule {foreign.chain} handle {handle}")
            losses += [
                f"delete rule {foreign.chain} handle {handle}"
                for tag, handle in foreign.misplaced
                if tag.owner == self._context.owner
            ]
            gains += [
                f"insert rule {foreign.chain}"
                f' {_text(accept, translated=foreign.translated)} comment "{tag}"'
                for tag, accept in missing.elements()
            ]
        command = f"{self._nft} -f -"
        steps = [
            PlanStep(Phase.ALLOW, command, tuple(gains)),
            PlanStep(Phase.REVOKE, command, tuple(losses)),
        ]
        return [step for step in steps if step.lines]

    def rules(self, forward: Forward) -> list[str]:
        """Return the rules that a forward may have here, for people to read."""
        tag = Tag(self._context.owner, forward.id)
        return [
            f'nft insert rule … {_text(accept, translated=True)} comment "{tag}"'
            for accept in _accepts_of(forward, self._context)
        ]

    def obstacles(self, _: Forward, __: ForeignChainsState) -> Iterable[Obstacle]:
        """Return nothing: what is in the way here goes, or is let be."""
        return ()

    def looks(self, *, heard: bool) -> list[str]:
        """Return commands whose output changes when our rules do."""
        return [] if heard else [self._list]

    @property
    def _list(self) -> str:
        """The command that prints all chains."""
        return f"{self._nft} -t -s -a list ruleset"


def _accepts_of(forward: Forward, context: RouterContext) -> Iterator[AcceptRule]:
    """Yield what must be let pass for a forward."""
    for transport in forward.protocol.transports:
        yield AcceptRule(transport, str(context.address.ip), forward.external)


def _text(accept: AcceptRule, *, translated: bool) -> str:
    """Return an accept's rule. Before NAT, the first packet has no status yet."""
    status = "ct status dnat " if translated else ""
    return (
        f"meta l4proto {accept.transport} {status}ct original ip daddr {accept.address}"
        f" ct original proto-dst {accept.ports} accept"
    )


def _read_accept(rule: NftRule, *, translated: bool) -> AcceptRule | None:
    """Return what the rule lets pass, if it is an accept rule of ours."""
    if not (found := _ACCEPT.fullmatch(rule.text)):
        return None
    if ("ct status dnat" in rule.text) != translated:
        return None
    transport, address, first, last = found.groups()
    try:
        ports = PortRange(int(first), int(last or first))
    except ValueError:
        return None
    return AcceptRule("tcp" if transport == "tcp" else "udp", address, ports)


def _priority(text: str) -> int:
    """Return a chain's priority as a number; one that makes no sense comes first."""
    if not (found := _PRIORITY.fullmatch(text)):
        return -(2**31)
    name, sign, more = found.groups()
    number = _NAMED.get(name, 0) if name.isalpha() else int(name)
    return number + int(f"{sign}{more}" if sign else 0)


def _comes_to(
    taking: re.Pattern[str], rules: Collection[NftRule], table: NftTable
) -> bool:
    """Return whether a packet can come from these rules to one that takes it."""
    chains = {chain.name: chain.rules for chain in table.chains}
    seen: set[str] = set()
    waiting = list(rules)
    while waiting:
        rule = waiting.pop()
        if taking.search(rule.text):
            return True
        anywhere = chains if _NAMED_MAP.search(rule.text) else ()
        for name in (*_JUMP.findall(rule.text), *anywhere):
            if name not in seen:
                seen.add(name)
                waiting += chains.get(name, ())
    return False
