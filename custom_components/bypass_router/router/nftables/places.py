"""Where accept rules of ours belong in the tables of others, for each forward."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

from ..errors import printable
from ..forward import Forward, Protocol, Transport
from ..passage.chains import Action, Branch, ChainRule
from ..passage.packet import Packet, packets_of
from ..passage.spot import Passage, Refused, Spot, spots_of
from ..passage.walk import passage
from ..rules.base import RouterContext
from ..rules.obstacles import Hindrance, Obstacle
from .accepts import Accept, Admitted
from .alike import Kinds
from .chain_rules import ANONYMOUS
from .foreign_tables import ForeignTable
from .whose import words_for


@dataclass(frozen=True, slots=True)
class Place:
    """Where a rule belongs: at `first`, or anywhere up to `last`."""

    table: str
    chain: str
    first: int
    """Behind so many rules of others."""
    last: int


@dataclass(frozen=True, slots=True)
class _Admission:
    """A place, and what of a forward is to be let pass there."""

    place: Place
    protocol: Admitted
    clients: str = ""
    direction: str = ""


@dataclass(frozen=True, slots=True)
class _Found:
    """What is to be done for a forward, and what is in its way."""

    admissions: tuple[_Admission, ...]
    obstacles: tuple[Obstacle, ...]


@dataclass(slots=True)
class Places:
    """The places at the hook `forward`, in all tables together.

    Of a thousand forwards, most are alike to all rules that stand there: each kind is
    walked once.
    """

    tables: Sequence[ForeignTable]
    context: RouterContext
    interface: str
    _kinds: Kinds | None = None
    _known: dict[object, _Found] = field(default_factory=dict)

    def of(self, forward: Forward) -> Iterator[tuple[Place, Accept]]:
        """Yield each place, and the rule that belongs there."""
        for it in self._found(forward).admissions:
            yield (
                it.place,
                Accept(
                    it.protocol,
                    str(self.context.address.ip),
                    forward.external,
                    it.clients,
                    it.direction,
                ),
            )

    def obstacles(self, forward: Forward) -> Sequence[Obstacle]:
        """Return what keeps its packets out that is not ours to take away."""
        return self._found(forward).obstacles

    @property
    def _entrances(self) -> Iterator[tuple[ForeignTable, str]]:
        """The chains that the kernel enters."""
        for table in self.tables:
            for chain in table.chains:
                base = chain.base
                if base and (base.type, base.hook) == ("filter", "forward"):
                    yield table, chain.name

    def _found(self, forward: Forward) -> _Found:
        """Return what was found for a forward, or for one that is alike."""
        key = self._kind(forward)
        if key not in self._known:
            self._known[key] = self._find(forward)
        return self._known[key]

    def _kind(self, forward: Forward) -> object:
        """Return in what forwards differ for the rules that stand there."""
        if self._kinds is None:
            tables = {id(table): table.walkable for table, _ in self._entrances}
            anything = replace(forward, protocol=Protocol.BOTH, sources=())
            packets = [
                replace(packet, out=None)
                for packet in packets_of(anything, self.context, self.interface)
            ]
            self._kinds = Kinds(tables.values(), packets, self.context)
        return self._kinds.of(forward)

    def _find(self, forward: Forward) -> _Found:
        """Walk all chains for a forward."""
        packets = list(packets_of(forward, self.context, self.interface))
        lan = str(self.context.address.network)
        found = [_Entrance(*it, lan, packets) for it in self._entrances]
        obstacles = [obstacle for it in found for obstacle in it.obstacles()]
        admissions = [admission for it in found for admission in it.admissions()]
        if any(it.kind is not Hindrance.ALLOW_LIST for it in obstacles):
            # What can't be passed at all makes the rest of no use.
            admissions.clear()
        return _Found(tuple(dict.fromkeys(admissions)), tuple(dict.fromkeys(obstacles)))


@dataclass(slots=True)
class _Entrance:
    """A chain that the kernel enters, and what becomes there of a forward's packets."""

    table: ForeignTable
    base: str
    lan: str
    """The LAN's network."""
    packets: Sequence[Packet]
    """Requests and answers, of the internet's clients and the LAN's."""
    passages: Sequence[Passage] = ()

    def __post_init__(self) -> None:
        """Walk each packet."""
        chains = self.table.walkable
        self.passages = [passage(self.base, chains, it) for it in self.packets]

    def obstacles(self) -> Iterator[Obstacle]:
        """Yield what is in the way; of answers, where requests pass."""
        clients = self.packets[0].clients
        for answer in (False, True):
            found = [
                obstacle
                for packet, it in zip(self.packets, self.passages, strict=True)
                if (packet.clients, packet.answer) == (clients, answer)
                for obstacle in _obstacles(self.table, self.base, it)
            ]
            if found:
                yield from found
                return

    def admissions(self) -> Iterator[_Admission]:
        """Yield what is to be let pass, where, and whose."""
        if self.table.owned:
            return
        of_errors: dict[str, list[Spot]] = {}
        for transport in dict.fromkeys(packet.transport for packet in self.packets):
            for spot, clients, direction in self._rules(transport):
                place = _place(self.table, spot)
                yield _Admission(place, transport, clients, direction)
                of_errors.setdefault(clients, []).append(spot)
        for clients, spots in of_errors.items():
            for spot in spots_of(map(Passage, spots)):
                yield _Admission(_place(self.table, spot), "icmp", clients)

    def _rules(self, transport: Transport) -> Iterator[tuple[Spot, str, str]]:
        """Yield each place for a transport, for whose connections, and which way.

        One rule is for all packets, unless there are some that come by there and
        belong elsewhere: it would go before what decides on them.
        """
        numbers = {
            number
            for number, packet in enumerate(self.packets)
            if packet.transport == transport
        }
        refused = {
            self.packets[number].clients
            for number in numbers
            if (it := self.passages[number]).refused and not it.spot
        }
        if self.packets[0].clients in refused:
            # What keeps the first of them out keeps out the rest of these as well.
            return
        let_in = {it for it in numbers if self.packets[it].clients not in refused}
        for spot in spots_of(self.passages[it] for it in let_in):
            if spot.chain.startswith(ANONYMOUS):
                continue
            here = {it for it in let_in if _meet(self.passages[it].spot, spot)}
            if not any(self._disturbs(it, spot) for it in numbers - here):
                yield spot, "", ""
                continue
            words = words_for(self.packets, numbers, self.lan)
            for clients, direction, those in words:
                if those <= here:
                    yield spot, clients, direction
                    here -= those

    def _disturbs(self, number: int, spot: Spot) -> bool:
        """Return whether a packet that belongs elsewhere comes by a place."""
        sentry = ChainRule("", (Branch(action=Action.QUEUE),))
        chain = self.table.walkable[spot.chain]
        rules = (*chain.rules[: spot.first], sentry, *chain.rules[spot.first :])
        chains = {**self.table.walkable, spot.chain: replace(chain, rules=rules)}
        found = passage(self.base, chains, self.packets[number])
        return bool(found.refused and found.refused.kind is Hindrance.QUEUED)


def _meet(spot: Spot | None, other: Spot) -> bool:
    """Return whether a rule may stand at both."""
    return (
        spot is not None
        and spot.chain == other.chain
        and max(spot.first, other.first) <= min(spot.last, other.last)
    )


def _place(table: ForeignTable, spot: Spot) -> Place:
    """Return the place of a spot."""
    return Place(table.name, spot.chain, spot.first, spot.last)


def _obstacles(table: ForeignTable, base: str, found: Passage) -> Iterator[Obstacle]:
    """Yield what is in the way of packets in a chain that the kernel enters."""
    if found.keeping_out:
        yield _obstacle(table, base, found.keeping_out)
    elif found.spot and table.owned:
        seen = {"table": table.name, "program": printable(table.program, 40)}
        yield Obstacle(Hindrance.OWNED, seen)
    elif found.spot and found.spot.chain.startswith(ANONYMOUS):
        refused = Refused(Hindrance.DENIED, base, "policy drop")
        yield _obstacle(table, base, refused)


def _obstacle(table: ForeignTable, base: str, refused: Refused) -> Obstacle:
    """Return a rule that decides as an obstacle."""
    chain = base if refused.chain.startswith(ANONYMOUS) else refused.chain
    seen = {"chain": f"{table.name} {chain}", "rule": printable(refused.rule)}
    return Obstacle(refused.kind, seen)
