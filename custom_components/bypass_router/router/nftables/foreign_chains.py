"""Rules of ours in other programs' nft chains, by which forwarded packets pass.

An accept in our own table can't overrule another table's drop, nor keep a packet from
another table's TPROXY. So there are rules of ours in chains of others, which the
forward's tag marks, one a transport, each as late as it can be:

- at the hook `forward`, where a packet would be dropped for no reason of its own, right
  before that, with one more for errors about its connections;
- at the hook `prerouting`, before a TPROXY that may take the packets;
- before what may translate them, in chains that the kernel may enter before ours: of
  two with one priority, it enters the newer first.

An accept ends only the chain that it stands in.

One that stands too early still carries its forward, and is moved: what someone puts in
behind it is to be asked first. The tables that iptables made are left to iptables,
where the router has it and it can read them.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Set as AbstractSet
from dataclasses import dataclass, field
from functools import cached_property, lru_cache

from ..forward import Forward
from ..rules.base import (
    Phase,
    PlanStep,
    Problem,
    RouterContext,
    Tag,
    incompatible,
    unreadable,
)
from ..rules.obstacles import Obstacle
from ..ssh.script import MEMORY, TIME, Result, Script
from ..ssh.sudo import as_root
from .accepts import Accept, Admitted
from .foreign_tables import (
    ForeignTable,
    OurRule,
    has_native_rules,
    read_foreign_tables,
)
from .marks import with_marks
from .places import Place, Places
from .takers import Priorities, Takers

_MADE_BY_IPTABLES = frozenset({"filter", "mangle", "nat", "raw", "security"})
# Where iptables prints its filter table, in the variant that makes tables of nft.
_OF_IPTABLES = ("filter", "filter.nf")

type ChainName = tuple[str, str]
"""Family and table, and chain."""


@dataclass(frozen=True)
class ForeignChainsState:
    """The tables of others, and where rules of ours belong in them."""

    tables: tuple[ForeignTable, ...] = ()
    places: Places | None = field(default=None, compare=False)
    takers: Takers | None = field(default=None, compare=False)

    @cached_property
    def ours(self) -> Mapping[ChainName, list[OurRule]]:
        """The rules of ours that can be changed, whosever, by their chain."""
        return {
            (table.name, chain.name): list(chain.ours)
            for table in self.tables
            for chain in table.chains
            if chain.ours and not table.owned
        }

    @cached_property
    def by_tag(self) -> Mapping[Tag, list[tuple[ChainName, OurRule]]]:
        """The same by their tags, each with its chain."""
        found = defaultdict[Tag, list[tuple[ChainName, OurRule]]](list)
        for chain, rules in self.ours.items():
            for rule in rules:
                found[rule.tag].append((chain, rule))
        return dict(found)

    @property
    def tags(self) -> AbstractSet[Tag]:
        """The tags in all of them."""
        return self.by_tag.keys()

    @cached_property
    def handles(self) -> Mapping[ChainName, list[int]]:
        """The handles of others' rules, in order."""
        return {
            (table.name, chain.name): [rule.handle for rule in chain.others]
            for table in self.tables
            for chain in table.chains
        }


class ForeignChains:
    """Our rules in the chains of other programs."""

    def __init__(
        self,
        context: RouterContext,
        interface: str,
        *,
        sudo: bool,
        iptables: bool,
        translated_there: bool = False,
    ) -> None:
        """Take what the rules depend on; `iptables` leaves to iptables what is its own.

        The address stands on the interface. `translated_there` is whether iptables
        translates, and not our table.
        """
        self._context = context
        self._interface = interface
        # What iptables leaves as it is, any later chain may still translate.
        self._before = (-100, 2**31) if translated_there else (-105, 95)
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
        return _state(
            result.output,
            self._context,
            self._interface,
            self._left_out(sections),
            self._before,
        )

    def _left_out(self, sections: Mapping[str, Result]) -> frozenset[str]:
        """Return the tables that are left to iptables.

        Not the one with a rule in it that iptables can't read, or takes for another.
        """
        if not self._iptables:
            return frozenset()
        printed = (sections.get(label) for label in _OF_IPTABLES)
        names = _MADE_BY_IPTABLES
        if has_native_rules(sections["nft.ruleset"].output, "filter") or any(
            result and incompatible(result) for result in printed
        ):
            names -= {"filter"}
        return frozenset(f"ip {name}" for name in names)

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
        mine = state.by_tag.get(Tag(self._context.owner, forward.id), [])
        problems = {
            problem
            for place, accept, problem in _wanted(forward, self._context, state)
            if not any(
                chain == (place.table, place.chain)
                and rule.accept == accept
                and rule.behind <= place.last
                for chain, rule in mine
            )
        }
        if not all(
            rule.accept and rule.accept.belongs_to(forward, self._context)
            for _, rule in mine
        ):
            problems.add(Problem.DROPPED)
        return problems

    def steps(
        self, desired: Collection[Forward], state: ForeignChainsState
    ) -> list[PlanStep]:
        """Return the smallest change after which exactly `desired` passes."""
        kept = set[tuple[ChainName, int]]()
        gains: list[str] = []
        for forward in desired:
            tag = Tag(self._context.owner, forward.id)
            mine = state.by_tag.get(tag, [])
            for place, accept, _ in _wanted(forward, self._context, state):
                for chain, rule in mine:
                    if (
                        chain == (place.table, place.chain)
                        and rule.accept == accept
                        and place.first <= rule.behind <= place.last
                        and (chain, rule.handle) not in kept
                    ):
                        kept.add((chain, rule.handle))
                        break
                else:
                    gains += _line(place, f'{accept.text} comment "{tag}"', state)
        losses = [
            f"delete rule {table} {name} handle {rule.handle}"
            for (table, name), rules in state.ours.items()
            for rule in rules
            if rule.tag.owner == self._context.owner
            and ((table, name), rule.handle) not in kept
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
        address = str(self._context.address.ip)
        protocols: tuple[Admitted, ...] = (*forward.protocol.transports, "icmp")
        return [
            f"nft insert rule … {Accept(protocol, address, forward.external).text}"
            f' comment "{tag}"'
            for protocol in protocols
        ]

    def obstacles(
        self, forward: Forward, state: ForeignChainsState
    ) -> Iterable[Obstacle]:
        """Return what keeps its packets out here that is not ours to take away."""
        return state.places.obstacles(forward) if state.places else ()

    def looks(self, *, heard: bool) -> list[str]:
        """Return commands whose output changes when our rules do."""
        return [] if heard else [self._list]

    @property
    def _list(self) -> str:
        """The command that prints all chains, and the maps where any decides.

        An account that may not list maps does without. What is printed without end is
        given up, as in a script.
        """
        return (
            f"sh -c 'limit() {{ ulimit -S -d $1; ulimit -S -t $2; }} 2>/dev/null;"
            f" limit {MEMORY} {TIME}; all=$(limit unlimited unlimited;"
            f" {self._nft} -t -s -a list ruleset 2>&1); status=$?;"
            ' printf "%s\\n" "$all"; case $status$all in 0*"vmap @"*)'
            f" {self._nft} -s list maps 2>/dev/null;; esac; exit $status'"
        )


@lru_cache(4)
def _state(
    text: str,
    context: RouterContext,
    interface: str,
    left_out: frozenset[str],
    before: Priorities,
) -> ForeignChainsState:
    """Return what is read of a listing; the same for one that has not changed."""
    read = tuple(read_foreign_tables(text, context.owner, left_out))
    tables = tuple(with_marks(read, text, context, interface))
    return ForeignChainsState(
        tables,
        Places(tables, context, interface),
        Takers(tables, context, interface, before),
    )


def _wanted(
    forward: Forward, context: RouterContext, state: ForeignChainsState
) -> Iterator[tuple[Place, Accept, Problem]]:
    """Yield each rule that a forward is to have, its place, and what it is against."""
    if state.places:
        for place, accept in state.places.of(forward):
            yield place, accept, Problem.DROPPED
    for taker in state.takers.of(forward) if state.takers else ():
        yield taker.place, taker.accept, taker.problem


def _line(place: Place, rule: str, state: ForeignChainsState) -> Iterator[str]:
    """Yield the line that puts a rule in, before one that can be named."""
    chain = f"{place.table} {place.chain}"
    handles = state.handles[place.table, place.chain]
    for handle in handles[place.first : place.last + 1]:
        if handle:
            yield f"insert rule {chain} handle {handle} {rule}"
            return
    if place.last >= len(handles):
        yield f"add rule {chain} {rule}"
