"""Which forwards are alike to all rules of others, so that one walk is enough."""

from bisect import bisect_right
from collections.abc import Iterable, Sequence

from ..forward import Forward, PortRange
from ..passage.chains import Branch, Chains
from ..passage.packet import Key, Match, Packet
from ..rules.base import RouterContext

_ADDRESSES = frozenset({Key.SOURCE, Key.DESTINATION})
# What differs between forwards.
_OF_REQUESTS = frozenset({Key.DESTINATION, Key.DESTINATION_PORT, Key.ORIGINAL_PORT})
_OF_ANSWERS = frozenset({Key.SOURCE, Key.SOURCE_PORT, Key.ORIGINAL_PORT})


class Kinds:
    """The kinds of forwards that rules of some tables tell apart."""

    def __init__(
        self,
        tables: Iterable[Chains],
        packets: Sequence[Packet],
        context: RouterContext,
    ) -> None:
        """Take packets as there may be any, but for their targets and ports."""
        self._addresses, self._ports = cuts_of(tables, packets)
        self._context = context

    def of(self, forward: Forward) -> object:
        """Return in what a forward differs for those rules."""
        return (
            forward.protocol,
            forward.sources,
            forward.target in self._context.address.network,
            bisect_right(self._addresses, int(forward.target)),
            *between(self._ports, forward.target_ports),
            *between(self._ports, forward.external),
        )


def cuts_of(
    tables: Iterable[Chains], packets: Sequence[Packet]
) -> tuple[Sequence[int], Sequence[int]]:
    """Return between which addresses, and which ports, any rule makes a difference.

    To one of these packets, which are all there may be but for target and ports.
    """
    addresses, ports = set[int](), set[int]()
    branches = (
        branch
        for chains in tables
        for chain in chains.values()
        for rule in chain.rules
        for branch in rule.branches
    )
    for branch in branches:
        keys = {
            key for it in packets if _may_meet(it, branch) for key in _differing(it)
        }
        for condition in branch.conditions:
            if condition.key in keys:
                cuts = addresses if condition.key in _ADDRESSES else ports
                for first, last in condition.intervals:
                    cuts.update((first, last + 1))
    return sorted(addresses), sorted(ports)


def _may_meet(packet: Packet, branch: Branch) -> bool:
    """Return whether one with another target, or other ports, might meet a branch."""
    return all(
        condition.key in _differing(packet) or condition.match(packet) is not Match.NO
        for condition in branch.conditions
    )


def _differing(packet: Packet) -> frozenset[Key]:
    """Return in what those of other forwards may differ from a packet."""
    return _OF_ANSWERS if packet.answer else _OF_REQUESTS


def between(cuts: Sequence[int], ports: PortRange) -> tuple[int, int]:
    """Return between which cuts the first and the last port are."""
    return bisect_right(cuts, ports.first), bisect_right(cuts, ports.last)
