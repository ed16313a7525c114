"""Where a rule of ours belongs before a catch-all.

From there a place moves up over what only logs the refusal, and from a chain that does
nothing but refuse to the jump that leads there; and out of chains that their programs
put back, or that a ban leads to as well.
"""

from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace
from ipaddress import IPv4Address
import re

from ..rules.obstacles import Hindrance
from .chains import Action, Branch, ChainRule, Chains
from .packet import Match, Packet

# Their programs put back whatever differs from what they wrote.
_REWRITTEN = re.compile(
    "PVEFW-|cali-|KUBE-|DOCKER(?!-USER)|ts-|nm-sh-|LIBVIRT_|NETAVARK|CNI-|FLANNEL"
    # Chains that stand in a rule, and have no name.
    r"|\{"
)

# The kernel goes no deeper than sixteen chains, or about so, and a table that leads
# through more rules than these is made to mislead.
DEEPEST = 40
_MOST_STEPS = 50_000

_ANYONE = tuple(
    (int(IPv4Address(first)), int(IPv4Address(last)))
    for first, last in (
        ("1.0.0.0", "126.255.255.255"),
        ("128.0.0.0", "223.255.255.255"),
    )
)
"""The addresses that a client may have."""


@dataclass(frozen=True, slots=True)
class Spot:
    """Where a rule of ours is to stand: behind so many rules of others.

    At `first`; anywhere up to `last` does as well.
    """

    chain: str
    first: int
    last: int


@dataclass(frozen=True, slots=True)
class Refused:
    """Why there is no place: a rule that decides."""

    kind: Hindrance
    chain: str
    rule: str


@dataclass(frozen=True, slots=True)
class Passage:
    """What is to be done so that packets pass one chain of the kernel's."""

    spot: Spot | None = None
    refused: Refused | None = None
    listed: Refused | None = None
    """A rule that keeps out whoever is not on a list; the others may need a place."""

    @property
    def keeping_out(self) -> Refused | None:
        """Return what is to be named."""
        return self.refused or self.listed


@dataclass(frozen=True, slots=True)
class Step:
    """Where a packet is: at a rule of a chain."""

    chain: str
    index: int
    singled_out: bool = False
    """Whether the rule, or one that led here, is about just this target."""
    decides: bool = False
    """Whether the rule does something else with some packets, as a map may."""
    names_clients: bool = False
    """Whether it is for some addresses of clients, and not for others."""


class Steps:
    """How many rules have been looked at for one packet."""

    def __init__(self) -> None:
        """Begin."""
        self._taken = 0

    def more(self) -> bool:
        """Take one more, and return whether that is not too many."""
        self._taken += 1
        return self._taken <= _MOST_STEPS


class SpotFinder:
    """Finds the places for one packet that the kernel enters at a chain."""

    def __init__(self, base: str, chains: Chains, packet: Packet, steps: Steps) -> None:
        """Take them, and what is counted for all that is done for the packet."""
        self._base = base
        self._chains = chains
        self._packet = packet
        self._steps = steps

    def before(
        self, way: tuple[Step, ...], left: Collection[str] = ()
    ) -> Spot | Refused:
        """Return the place before a catch-all to which these steps led, or why not.

        It is in no chain that the packet has been in before, and has left.
        """
        *before, at = way
        spot = self._raised(at.chain, at.index)
        while before:
            *_, led = before
            to_leave = (
                _REWRITTEN.match(spot.chain)
                or spot.chain in left
                or self._is_shared(spot.chain)
            )
            rules = self._chains[spot.chain].rules[: spot.first]
            only_refuses = not (
                led.decides or any(map(self._is_vacant, rules))
            ) and self.only_refuse(rules)
            if not (to_leave or only_refuses):
                break
            if led.decides or not (only_refuses or self._lets_all_go(rules)):
                rule = self._chains[led.chain].rules[led.index]
                return Refused(Hindrance.DENIED, led.chain, rule.text)
            at = before.pop()
            spot = self._raised(at.chain, at.index)
        return spot

    def only_refuse(self, rules: Iterable[ChainRule]) -> bool:
        """Return whether rules do no more than to refuse, and to log that."""
        return all(self._is_idle(rule) or self._refuses(rule) for rule in rules)

    def _is_shared(self, name: str) -> bool:
        """Return whether rules that decide lead to a chain as well."""
        waiting = [(self._base, False)]
        seen = set(waiting)
        while waiting:
            at, decided = waiting.pop()
            if at == name and decided:
                return True
            for branch in self._branches(at):
                match = branch.match(self._packet)
                step = branch.chain, decided or match is Match.MAYBE
                if match is not Match.NO and step not in seen:
                    seen.add(step)
                    waiting.append(step)
        return False

    def _lets_all_go(self, rules: Iterable[ChainRule]) -> bool:
        """Return whether rules, and those they surely lead to, decide nothing."""
        waiting = [branch for rule in rules for branch in rule.branches]
        seen = set()
        while waiting:
            branch = waiting.pop()
            match = branch.match(self._packet)
            if match is Match.MAYBE and branch.action is not Action.CONTINUE:
                return False
            if match is Match.YES and branch.chain not in seen:
                seen.add(branch.chain)
                waiting += self._branches(branch.chain)
        return True

    def _branches(self, name: str) -> list[Branch]:
        """Return the branches of all rules of a chain, if it is known."""
        chain = self._chains.get(name)
        return [it for rule in chain.rules for it in rule.branches] if chain else []

    def _raised(self, chain: str, index: int) -> Spot:
        """Return the place before a rule, or before what only logs its refusal."""
        first = at = index
        rules = self._chains[chain].rules
        while at and self._is_idle(rules[at - 1]):
            at -= 1
            if not self._is_vacant(rules[at]):
                first = at
        return Spot(chain, first, index)

    def _is_vacant(self, rule: ChainRule) -> bool:
        """Return whether a rule leads to chains without rules, and does no more.

        Such are there for the owner's bans to come, which are to be in front of ours.
        """
        return self._is_idle(rule, logging=False)

    def _is_idle(
        self,
        rule: ChainRule,
        seen: frozenset[str] = frozenset(),
        *,
        logging: bool = True,
    ) -> bool:
        """Return whether a rule only logs or counts, or leads to what does no more.

        Or to what does not even that.
        """
        if rule.only_logs:
            return logging
        if not self._steps.more() or len(seen) > DEEPEST:
            return False
        jumps = [it.chain for it in rule.branches if it.action is Action.JUMP]
        return len(jumps) == len(rule.branches) > 0 and all(
            name in self._chains
            and name not in seen
            and all(
                self._is_idle(inner, seen | {name}, logging=logging)
                for inner in self._chains[name].rules
            )
            for name in jumps
        )

    def _refuses(self, rule: ChainRule) -> bool:
        """Return whether a rule does nothing else, whoever asks.

        The same for all packets of a forward, so that they share a place.
        """
        anyone = [
            replace(self._packet, clients=_ANYONE, answer=answer)
            for answer in (False, True)
        ]
        return all(
            branch.action is Action.DROP
            and branch.match(self._packet) is not Match.MAYBE
            and not any(map(branch.asks_who, anyone))
            for branch in rule.branches
        )


def spots_of(passages: Iterable[Passage]) -> list[Spot]:
    """Return the places for several packets, each chain's as one where one does."""
    found: dict[str, list[Spot]] = {}
    for spot in filter(None, (it.spot for it in passages)):
        spots = found.setdefault(spot.chain, [])
        for number, other in enumerate(spots):
            first = max(spot.first, other.first)
            last = min(spot.last, other.last)
            if first <= last:
                spots[number] = replace(spot, first=first, last=last)
                break
        else:
            spots.append(spot)
    return [spot for spots in found.values() for spot in spots]
