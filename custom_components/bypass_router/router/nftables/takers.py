"""Chains of others that take or translate a forward's packets before we do.

Each is walked as the kernel does it, with each of a forward's packets there. Right
before a rule that takes one, or may take it, it is to leave the chain: behind all that
the chain does until then. A packet that no such rule is for goes all its way.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from enum import Enum, auto
import re

from ..forward import Forward, Protocol, Transport
from ..passage.chains import Action, Branch
from ..passage.hooks import HookPacket, hook_packets_of
from ..passage.packet import Match
from ..passage.spot import DEEPEST
from ..rules.base import Problem, RouterContext
from .accepts import Accept
from .alike import Kinds
from .foreign_tables import ForeignChain, ForeignTable
from .listing import Base
from .places import Place
from .whose import Whose, whose, words_for

# Where a map of verdicts leads to is not printed with the chains.
_NAMED_MAP = re.compile(r"\bvmap @(\S+)")
# By the type and hook of a chain, what takes or translates a packet there.
_TAKING = {
    ("filter", "prerouting"): re.compile(r"\btproxy\b"),
    ("nat", "prerouting"): re.compile(r"\b(?:redirect|dnat (?:ip )?to)\b"),
    ("nat", "postrouting"): re.compile(r"\b(?:masquerade|snat (?:ip )?to)\b"),
}
_PROBLEMS = {
    ("filter", "prerouting"): Problem.INTERCEPTED,
    ("nat", "prerouting"): Problem.SHADOWED,
    ("nat", "postrouting"): Problem.SHADOWED,
}
_FIRST = -(2**31)
_ENDS = {Action.ACCEPT, Action.DROP, Action.QUEUE}

type Priorities = tuple[int, int]
"""Up to which ones the kernel may translate before us, at either hook."""


@dataclass(frozen=True, slots=True)
class Taker:
    """Where a rule of ours belongs in such a chain."""

    place: Place
    accept: Accept
    problem: Problem
    """What a forward lacks that does not leave the chain there."""


@dataclass(slots=True)
class Takers:
    """The places in all such chains, found once for forwards that are alike."""

    tables: Sequence[ForeignTable]
    context: RouterContext
    interface: str
    before: Priorities
    _taking: list[tuple[ForeignTable, ForeignChain, Base]] | None = None
    _kinds: Kinds | None = None
    _known: dict[object, tuple[Taker, ...]] = field(default_factory=dict)

    def of(self, forward: Forward) -> Iterator[Taker]:
        """Yield the places for a forward, and the rule that belongs there."""
        for it in self._found(forward):
            yield replace(it, accept=replace(it.accept, ports=forward.external))

    def _found(self, forward: Forward) -> Sequence[Taker]:
        """Return what was found for a forward, or for one that is alike."""
        if self._taking is None:
            self._taking = list(_taking(self.tables, self.before))
        if not self._taking:
            return ()
        if self._kinds is None:
            anything = replace(
                forward, protocol=Protocol.BOTH, sources=(), keep_client_address=True
            )
            tables = {id(table): table.walkable for table, _, _ in self._taking}
            packets = [
                replace(packet, out=None)
                for _, _, base in self._taking
                for packet in self._packets(anything, base)
            ]
            self._kinds = Kinds(list(tables.values()), packets, self.context)
        kind = forward.keep_client_address, self._kinds.of(forward)
        if kind not in self._known:
            self._known[kind] = tuple(dict.fromkeys(self._find(forward)))
        return self._known[kind]

    def _packets(self, forward: Forward, base: Base) -> Iterator[HookPacket]:
        """Yield a forward's packets that come to a chain of the kernel's."""
        # Where it may translate, it sees the first packet alone, as that has come.
        nat = base.type == "nat"
        at = _FIRST if nat else base.number
        found = hook_packets_of(forward, self.context, self.interface, base.hook, at)
        return (it for it in found if not (nat and it.answer))

    def _find(self, forward: Forward) -> Iterator[Taker]:
        """Yield them."""
        for table, chain, base in self._taking or ():
            packets = list(self._packets(forward, base))
            taken = defaultdict[tuple[Place, Transport], set[Whose]](set)
            for packet in packets:
                way = _Way(table, _TAKING[base.type, base.hook], packet)
                way.walk(chain.name)
                for name, number in way.places:
                    place = Place(table.name, name, number, number)
                    taken[place, packet.transport].add(whose(packet, self._lan))
            for (place, transport), those in taken.items():
                problem = _PROBLEMS[base.type, base.hook]
                for clients, direction in self._words(packets, transport, those):
                    accept = Accept(
                        transport,
                        str(self.context.address.ip),
                        forward.external,
                        clients,
                        direction,
                        translated=base.hook != "prerouting",
                    )
                    yield Taker(place, accept, problem)

    def _words(
        self, packets: Sequence[HookPacket], transport: Transport, those: set[Whose]
    ) -> Iterator[Whose]:
        """Yield in which words those can be told that some rule takes."""
        numbers = {
            number for number, it in enumerate(packets) if it.transport == transport
        }
        left = {it for it in numbers if whose(packets[it], self._lan) in those}
        if left == numbers:
            yield "", ""
            return
        for clients, direction, found in words_for(packets, numbers, self._lan):
            if found <= left:
                yield clients, direction
                left -= found

    @property
    def _lan(self) -> str:
        """The LAN's network."""
        return str(self.context.address.network)


def _taking(
    tables: Iterable[ForeignTable], before: Priorities
) -> Iterator[tuple[ForeignTable, ForeignChain, Base]]:
    """Yield the chains that the kernel enters before ours, in tables that take any."""
    for table in tables:
        for chain in () if table.owned else table.chains:
            base = chain.base
            at = base and (base.type, base.hook)
            if base and at in _TAKING and _enters_first(base, before):
                taking = _TAKING[at]
                rules = (rule for it in table.chains for rule in it.others)
                if any(taking.search(rule.text) for rule in rules):
                    yield table, chain, base


def _enters_first(base: Base, before: Priorities) -> bool:
    """Return whether the kernel may enter a chain before it translates for us."""
    at = before[base.hook != "prerouting"]
    # One that makes no sense may come first.
    return base.type != "nat" or base.number is None or base.number <= at


class _Exit(Enum):
    """How a packet leaves a chain."""

    OVER = auto()
    """It goes no further in what the kernel has entered."""
    RETURNED = auto()


class _Way:
    """One packet's way from the chain that the kernel enters."""

    def __init__(
        self, table: ForeignTable, taking: re.Pattern[str], packet: HookPacket
    ) -> None:
        """Begin."""
        self._table = table
        self._chains = table.walkable
        self._packet = packet
        self._exits: dict[str, _Exit] = {}
        self._taking = defaultdict[str, set[int]](set)
        for chain in table.chains:
            for number, rule in enumerate(chain.others):
                unknown = {*_NAMED_MAP.findall(rule.text)} - {*table.elements}
                if unknown or taking.search(rule.text):
                    self._taking[chain.name].add(number)
        self.places: list[tuple[str, int]] = []

    def walk(self, name: str, depth: int = 0) -> _Exit:
        """Take note of where it is to leave a chain; return how it does."""
        if name in self._exits or name not in self._chains or depth > DEEPEST:
            return self._exits.get(name, _Exit.RETURNED)
        # The kernel allows no circles.
        self._exits[name] = _Exit.RETURNED
        self._exits[name] = found = self._walk(name, depth)
        return found

    def _walk(self, name: str, depth: int) -> _Exit:
        """Walk the rules of a chain."""
        for number, rule in enumerate(self._chains[name].rules):
            matches = [(it, it.match(self._packet)) for it in rule.branches]
            if number in self._taking[name] and any(it for _, it in matches):
                # Also where what takes stands in a chain within the rule.
                self.places.append((name, number))
                return _Exit.OVER
            for branch, match in matches:
                if match is Match.NO:
                    continue
                found = self._leaves(branch, depth)
                if match is Match.YES:
                    if found:
                        return found
                    break
        return _Exit.RETURNED

    def _leaves(self, branch: Branch, depth: int) -> _Exit | None:
        """Return how it leaves the chain by what a rule does, if it does."""
        if branch.action in _ENDS:
            return _Exit.OVER
        if branch.action is Action.RETURN:
            return _Exit.RETURNED
        if branch.action not in (Action.JUMP, Action.GOTO):
            return None
        found = self.walk(branch.chain, depth + 1)
        goes_on = (branch.action, found) == (Action.JUMP, _Exit.RETURNED)
        return None if goes_on else found
