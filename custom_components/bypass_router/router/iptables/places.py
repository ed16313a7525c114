"""Where the kernel's chains have to lead to one of ours, for these forwards.

All forwards share one chain of ours, and what enters it. Where packets of some would
enter too early there, as their own place is behind something that decides, each place
is entered by what belongs there alone: by transport, by direction, by whether a client
is of the LAN, and if need be by the forward.
"""

from collections import defaultdict
from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import dataclass
from ipaddress import IPv4Network
from typing import Protocol

from ..errors import printable
from ..forward import Forward, Transport
from ..passage.packet import Packet
from ..passage.spot import Passage, Spot, spots_of
from ..rules.obstacles import Hindrance, Obstacle
from .rule import Rule
from .rules import NUMBERS, Hook, ports_text


@dataclass(frozen=True, slots=True)
class Place:
    """A rule that is to lead to our chain, and behind how many rules of others."""

    chain: str
    first: int
    last: int
    rule: Rule


class Places(Protocol):
    """What forwards need in one table, so that something there lets them pass."""

    def transports(self, forward: Forward) -> frozenset[Transport]:
        """Return of which transports a forward has to have rules."""

    def opens(self, forward: Forward, transport: Transport) -> bool:
        """Return whether its packets come to our chain before anything keeps them."""

    def places(self, forwards: Collection[Forward]) -> list[Place]:
        """Return what has to lead to our chain."""

    def obstacles(self, forward: Forward) -> Iterable[Obstacle]:
        """Return what keeps its packets out, and is not ours to take away."""


@dataclass(frozen=True, slots=True)
class Item:
    """Packets of one kind, of a forward that has rules for them."""

    forward: Forward
    packet: Packet
    inside: bool
    """Whether the clients are of the LAN."""
    passage: Passage


def obstacle_of(kind: Hindrance, chain: str, rule: str) -> Obstacle:
    """Return what is in the way, in words that are safe to show."""
    return Obstacle(kind, {"chain": printable(chain), "rule": printable(rule)})


# By what packets are told apart, from the least on.
_BY: dict[str, Callable[[Item], object]] = {
    "transport": lambda item: item.packet.transport,
    "answer": lambda item: item.packet.answer,
    "inside": lambda item: item.inside,
    "forward": lambda item: item.forward.id,
}
_WAYS: tuple[tuple[str, ...], ...] = (
    (),
    ("transport",),
    ("answer",),
    ("inside",),
    ("transport", "answer"),
    ("transport", "inside"),
    ("answer", "inside"),
    ("transport", "answer", "inside"),
    ("forward", "transport"),
    ("forward", "transport", "answer"),
    ("forward", "transport", "inside"),
    ("forward", "transport", "answer", "inside"),
)


def places_of(
    items: Collection[Item],
    reaches: Callable[[Packet, Spot], bool],
    hook: Hook,
    lan: IPv4Network,
) -> list[Place]:
    """Return what has to lead to our chain for these packets.

    `reaches` tells whether one that needs nothing comes by a place all the same.
    """
    found: list[Place] = []
    for way in _WAYS:
        found.clear()
        for group in _groups(items, way):
            spots = spots_of({item.passage: None for item in group})
            if not spots:
                continue
            if len(spots) > 1 or not _all_belong(group, spots[0], reaches):
                break
            rule = _rule(group[0], way, hook, lan)
            found.append(Place(spots[0].chain, spots[0].first, spots[0].last, rule))
        else:
            break
    return found


def _groups(items: Iterable[Item], way: tuple[str, ...]) -> list[list[Item]]:
    """Return the items that are not told apart."""
    groups: defaultdict[tuple[object, ...], list[Item]] = defaultdict(list)
    for item in items:
        groups[tuple(_BY[name](item) for name in way)].append(item)
    return list(groups.values())


def _all_belong(
    group: Iterable[Item], spot: Spot, reaches: Callable[[Packet, Spot], bool]
) -> bool:
    """Return whether no packets come by a place that is not theirs."""
    return not any(
        item.passage.spot is None
        and (item.passage.refused or reaches(item.packet, spot))
        for item in group
    )


def _rule(item: Item, way: tuple[str, ...], hook: Hook, lan: IPv4Network) -> Rule:
    """Return the rule that leads to our chain for what such packets have in common."""
    words = list(_words(item, way, lan))
    match = f"-m conntrack {' '.join(words)} " if words else ""
    return Rule.of(f"{match}-j {hook.chain}")


def _words(item: Item, way: tuple[str, ...], lan: IPv4Network) -> Iterator[str]:
    """Yield its conditions."""
    if "transport" in way:
        yield f"--ctproto {NUMBERS[item.packet.transport]}"
    if "inside" in way:
        yield f"{'' if item.inside else '! '}--ctorigsrc {lan}"
    if "forward" in way:
        first, _ = item.packet.router
        yield f"--ctorigdst {IPv4Network(first).network_address}"
        yield f"--ctorigdstport {ports_text(item.forward.external)}"
    if "answer" in way:
        yield f"--ctdir {'REPLY' if item.packet.answer else 'ORIGINAL'}"
