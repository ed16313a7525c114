"""How what leads to a chain of ours changes, as lines for iptables-restore.

Behind rules of others, a rule of ours goes by its number there.
"""

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from .places import Place
from .rule import Rule
from .rules import Hook
from .state import Gate
from .table import Jump, leads_to

_FLOW = ("--ctorigdst", "--ctorigdstport", "--ctproto")


@dataclass(frozen=True, slots=True)
class JumpChange:
    """Lines that change what leads to our chain."""

    gains: tuple[str, ...] = ()
    losses: tuple[str, ...] = ()
    """Where it is to be entered from nowhere in a chain any more."""
    by_number: bool = False


def jumps_of(
    hook: Hook, gate: Gate, wanted: Sequence[Place], of_others: Collection[Rule]
) -> JumpChange:
    """Return the change after which there leads to our chain what has to.

    `of_others` are the rules in it that are not this owner's: what they may need stays.
    """
    if gate.table is None:
        return _unseen(hook, gate, wanted, of_others)
    gains: list[str] = []
    losses: list[str] = []
    chains = [*(jump.chain for jump in gate.jumps), *(it.chain for it in wanted)]
    for chain in dict.fromkeys(chains):
        places = [place for place in wanted if place.chain == chain]
        jumps = [
            jump
            for jump in gate.jumps
            if jump.chain == chain and not _may_stay(jump, places, of_others)
        ]
        if _fit(jumps, places):
            continue
        leave = [f"-D {chain} {jump.rule}" for jump in jumps]
        if not places:
            losses += leave
            continue
        gains += leave
        kept = list(gate.table.chains[chain])
        for jump in jumps:
            kept.remove(jump.rule)
        gains += _insertions(hook, chain, kept, places)
    return JumpChange(tuple(gains), tuple(losses), by_number=bool(gains))


def _unseen(
    hook: Hook, gate: Gate, wanted: Sequence[Place], of_others: Collection[Rule]
) -> JumpChange:
    """Return the same where no more is known than whether the jump stands.

    It goes to the top: behind a rule that iptables can't read, it finds none, neither
    to tell nor to take it away.
    """
    entered = gate.jumps != ()
    if wanted and not entered:
        return JumpChange(gains=(f"-I {hook.builtin} 1 {hook.jump}",))
    if entered and not wanted and not of_others:
        return JumpChange(losses=(f"-D {hook.builtin} {hook.jump}",))
    return JumpChange()


def _may_stay(jump: Jump, places: Iterable[Place], of_others: Collection[Rule]) -> bool:
    """Return whether rules of others may need a jump that we don't."""
    if not of_others or any(place.rule == jump.rule for place in places):
        return False
    flow = _flow(jump.rule)
    return flow[1] is None or any(_flow(rule) == flow for rule in of_others)


def _flow(rule: Rule) -> tuple[str | None, ...]:
    """Return which flow a rule is about."""
    return tuple(rule.value(option) for option in _FLOW)


def _fit(jumps: Collection[Jump], places: Sequence[Place]) -> bool:
    """Return whether exactly what is wanted stands in a chain, in its place."""
    left = list(places)
    for jump in jumps:
        fitting = (
            place
            for place in left
            if place.rule == jump.rule and place.first <= jump.before <= place.last
        )
        if (place := next(fitting, None)) is None:
            return False
        left.remove(place)
    return not left


def _insertions(
    hook: Hook, chain: str, rules: Sequence[Rule], places: Iterable[Place]
) -> list[str]:
    """Return the lines that put rules in, the last one first."""
    # The number of each rule of others, and the one behind the last.
    numbers = [n for n, rule in enumerate(rules, 1) if not leads_to(rule, hook)]
    numbers.append(len(rules) + 1)
    return [
        f"-I {chain} {numbers[place.first]} {place.rule}"
        for place in sorted(places, key=lambda place: place.first, reverse=True)
    ]
