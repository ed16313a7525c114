"""What stops a forward's packets in chains that the kernel enters before it translates.

What is never tracked is never translated, and what is dropped before that is gone. Of
the rules that do so, those are found that surely mean the packets, whoever sends them:
what is not understood, or stands behind what may let them pass, is not.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from enum import Enum, auto

from ..forward import Forward, PortRange
from ..rules.base import RouterContext
from .chains import Action, Branch, ChainRule, Chains
from .packet import Key, Match, Packet, packets_of
from .spot import DEEPEST, Steps

# What stands behind a rule that may do one of these may not be reached.
_LEADING_AWAY = frozenset(
    {Action.ACCEPT, Action.RETURN, Action.JUMP, Action.GOTO, Action.QUEUE}
)
_OF_CONNECTIONS = frozenset(
    {Key.STATE, Key.DIRECTION, Key.ORIGINAL_SOURCE, Key.ORIGINAL_DESTINATION}
) | {Key.ORIGINAL_PORT}


@dataclass(frozen=True, slots=True)
class Stop:
    """What stops packets."""

    chain: str
    rule: ChainRule | None
    """None for the policy of the chain."""
    names_router: bool = False
    """Whether it is only for what goes to the router's address."""

    @property
    def untracks(self) -> bool:
        """Whether the packets go on, and no one translates them."""
        return self.rule is not None and self.rule.untracks


class _Exit(Enum):
    """How packets leave a chain that does not stop them."""

    RETURNED = auto()
    UNKNOWN = auto()
    """Or by a verdict that lets them pass."""


def stops_of(
    base: str,
    chains: Chains,
    forward: Forward,
    context: RouterContext,
    interface: str,
    *,
    tracked: bool,
) -> Iterator[Stop]:
    """Yield what stops a forward's requests in the chain `base`, for each kind of them.

    `tracked` is whether the kernel tracks before it enters the chain. The router's
    address stands on `interface`.
    """
    steps = Steps()
    requests = [it for it in packets_of(forward, context, interface) if not it.answer]
    ports = _ports(forward.external, chains)
    for packet in requests:
        if packet.clients != requests[0].clients:
            # Whoever else may come, those of the internet do.
            break
        early = replace(
            packet, out=None, target=packet.router, translated=False, local=True
        )
        for port in ports:
            way = _Way(chains, replace(early, ports=(port, port)), steps, tracked)
            found = way.through(base)
            if isinstance(found, Stop):
                yield found
            elif found is _Exit.RETURNED and chains[base].drops:
                yield Stop(base, None)


def _ports(ports: PortRange, chains: Chains) -> list[int]:
    """Return the lowest of all ports that no rule tells from each other."""
    edges = {
        edge
        for chain in chains.values()
        for rule in chain.rules
        for branch in rule.branches
        for condition in branch.conditions
        if condition.key is Key.DESTINATION_PORT
        for first, last in condition.intervals
        for edge in (first, last + 1)
        if ports.first < edge <= ports.last
    }
    return [ports.first, *sorted(edges)]


_EXITS = {Action.CONTINUE: None, Action.RETURN: _Exit.RETURNED}


@dataclass(frozen=True, slots=True)
class _Way:
    """The way of packets through chains."""

    chains: Chains
    packet: Packet
    steps: Steps
    tracked: bool

    def through(self, name: str, depth: int = 0) -> Stop | _Exit:
        """Return how they leave a chain."""
        if name not in self.chains or depth > DEEPEST:
            return _Exit.UNKNOWN
        for rule in self.chains[name].rules:
            branch = self._met(rule) if self.steps.more() else _Exit.UNKNOWN
            if isinstance(branch, _Exit):
                return branch
            if branch and (found := self._done(name, rule, branch, depth)):
                return found
        return _Exit.RETURNED

    def _done(
        self, name: str, rule: ChainRule, branch: Branch, depth: int
    ) -> Stop | _Exit | None:
        """Return how they leave a chain by what a rule does, if they do."""
        action = branch.action
        if action is Action.DROP or (rule.untracks and not self.tracked):
            return Stop(name, rule, _names_router(branch))
        if action in (Action.JUMP, Action.GOTO):
            found = self.through(branch.chain, depth + 1)
            return None if (action, found) == (Action.JUMP, _Exit.RETURNED) else found
        return _EXITS.get(action, _Exit.UNKNOWN)

    def _met(self, rule: ChainRule) -> Branch | _Exit | None:
        """Return the branch that they surely meet; UNKNOWN where they may go away."""
        for branch in rule.branches:
            match = branch.match(self.packet)
            if match is Match.NO:
                continue
            if match is Match.YES and (self.tracked or not _asks_connection(branch)):
                return branch
            if branch.action in _LEADING_AWAY:
                return _Exit.UNKNOWN
        return None


def _asks_connection(branch: Branch) -> bool:
    """Return whether it depends on what is known only of what is tracked."""
    return any(condition.key in _OF_CONNECTIONS for condition in branch.conditions)


def _names_router(branch: Branch) -> bool:
    """Return whether it is only for what goes to some addresses."""
    return any(
        condition.key is Key.DESTINATION and not condition.negated
        for condition in branch.conditions
    )
