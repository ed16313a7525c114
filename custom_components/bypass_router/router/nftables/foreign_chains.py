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
from collections.abc import Collection, Iterator, Mapping, Set as AbstractSet
from dataclasses import dataclass
from functools import cached_property
import re

from ..forward import Forward, PortRange, Transport
from ..rules.base import Phase, PlanStep, Problem, RouterContext, Tag, unreadable
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
_GATE = re.compile(
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
    gates: tuple[tuple[Tag, AcceptRule, int], ...]
    """Those at the chain's top, each with its handle."""
    misplaced: tuple[tuple[Tag, int], ...]
    """Rules with a tag that are no gates, or stand behind what is none."""
    problem: Problem = Problem.DROPPED
    """What a forward lacks that does not pass here."""


@dataclass(frozen=True)
class ForeignChainsState:
    """All the chains that matter."""

    places: tuple[ForeignChain, ...] = ()

    @cached_property
    def tags(self) -> frozenset[Tag]:
        """The tags in all of them."""
        return frozenset(
            tag
            for place in self.places
            for tag in (
                *(tag for tag, _, _ in place.gates),
                *(tag for tag, _ in place.misplaced),
            )
        )


class ForeignChains:
    """Our rules in the chains of other programs."""

    def __init__(
        self,
        site: RouterContext,
        *,
        sudo: bool,
        iptables: bool,
        translated_there: bool = False,
    ) -> None:
        """Take the site; `iptables` leaves to iptables what is its own.

        `translated_there` is whether iptables translates, and not our table.
        """
        self._site = site
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
        return ForeignChainsState(
            tuple(
                place
                for table in read_tables(result.output)
                if not self._is_left_out(table)
                for chain in table.chains
                if (place := self._place(chain, table))
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

    def _place(self, chain: NftChain, table: NftTable) -> ForeignChain | None:
        """Return what matters of a chain; None if it is of no interest."""
        if chain.base is None:
            return None
        at = chain.base.type, chain.base.hook
        if at != ("filter", "forward") and at not in _TAKING:
            return None
        translated = chain.base.hook != "prerouting"
        gates: list[tuple[Tag, AcceptRule, int]] = []
        misplaced: list[tuple[Tag, int]] = []
        others: list[NftRule] = []
        at_top = True
        for rule in chain.rules:
            tag = Tag.parse(rule.comment)
            if not (tag and rule.handle):
                others.append(rule)
                at_top = False
            elif at_top and (gate := _read_gate(rule, translated=translated)):
                gates.append((tag, gate, rule.handle))
            else:
                misplaced.append((tag, rule.handle))
                at_top = False
        if taking := _TAKING.get(at):
            needed = self._enters_first(chain.base) and _comes_to(taking, others, table)
        else:
            needed = chain.base.policy != "accept" or bool(others)
        if not (needed or gates or misplaced):
            return None
        return ForeignChain(
            str(chain),
            translated,
            needed,
            tuple(gates),
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
        tag = Tag(self._site.owner, forward.id)
        wanted = Counter(_gates_of(forward, self._site))
        problems = set()
        for place in state.places:
            found = Counter(gate for owner, gate, _ in place.gates if owner == tag)
            if ((place.needed or found) and found != wanted) or any(
                owner == tag for owner, _ in place.misplaced
            ):
                problems.add(place.problem)
        return problems

    def steps(
        self, desired: Collection[Forward], state: ForeignChainsState
    ) -> list[PlanStep]:
        """Return the smallest change after which exactly `desired` passes."""
        gains, losses = [], []
        wanted = Counter(
            (Tag(self._site.owner, forward.id), gate)
            for forward in desired
            for gate in _gates_of(forward, self._site)
        )
        for place in state.places:
            missing = (
                Counter(wanted) if place.needed else Counter[tuple[Tag, AcceptRule]]()
            )
            for tag, gate, handle in place.gates:
                if tag.owner != self._site.owner:
                    continue
                if missing[tag, gate]:
                    missing[tag, gate] -= 1
                else:
                    losses.append(f"delete rule {place.chain} handle {handle}")
            losses += [
                f"delete rule {place.chain} handle {handle}"
                for tag, handle in place.misplaced
                if tag.owner == self._site.owner
            ]
            gains += [
                f"insert rule {place.chain} {_text(gate, translated=place.translated)}"
                f' comment "{tag}"'
                for tag, gate in missing.elements()
            ]
        command = f"{self._nft} -f -"
        steps = [
            PlanStep(Phase.ALLOW, command, tuple(gains)),
            PlanStep(Phase.REVOKE, command, tuple(losses)),
        ]
        return [step for step in steps if step.lines]

    def rules(self, forward: Forward) -> list[str]:
        """Return the rules that a forward may have here, for people to read."""
        tag = Tag(self._site.owner, forward.id)
        return [
            f'nft insert rule … {_text(gate, translated=True)} comment "{tag}"'
            for gate in _gates_of(forward, self._site)
        ]

    def looks(self, *, heard: bool) -> list[str]:
        """Return commands whose output changes when our rules do."""
        return [] if heard else [self._list]

    @property
    def _list(self) -> str:
        """The command that prints all chains."""
        return f"{self._nft} -t -s -a list ruleset"


def _gates_of(forward: Forward, site: RouterContext) -> Iterator[AcceptRule]:
    """Yield what must be let pass for a forward."""
    for transport in forward.protocol.transports:
        yield AcceptRule(transport, str(site.address.ip), forward.external)


def _text(gate: AcceptRule, *, translated: bool) -> str:
    """Return a gate's rule. Before NAT, the first packet has no status yet."""
    status = "ct status dnat " if translated else ""
    return (
        f"meta l4proto {gate.transport} {status}ct original ip daddr {gate.address}"
        f" ct original proto-dst {gate.ports} accept"
    )


def _read_gate(rule: NftRule, *, translated: bool) -> AcceptRule | None:
    """Return what the rule lets pass, if it is a gate."""
    if not (found := _GATE.fullmatch(rule.text)):
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
