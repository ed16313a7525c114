"""How our chains change, as lines for iptables-restore."""

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

from ..rules.base import Phase
from .created_chains import Thing, note, things_of
from .jumps import JumpChange, jumps_of
from .places import Place
from .rule import Rule
from .rules import TRANSLATING, Hook
from .state import IptablesState, tag_of

type Rules = Counter[tuple[Hook, Rule]]


@dataclass(frozen=True, slots=True)
class ChainChange:
    """How one chain of ours changes, and those that lead to it."""

    hook: Hook
    stays: bool
    """Whether anyone's rules are left in it."""
    gains: tuple[str, ...] = ()
    losses: tuple[str, ...] = ()
    by_number: bool = False
    """Whether rules go by their numbers, which have to be those that were read."""


def changes_of(
    hooks: Sequence[Hook],
    wanted: Rules,
    places: Mapping[Hook, Sequence[Place]],
    state: IptablesState,
    owner: str,
    goes: Iterable[tuple[Hook, Rule]] = (),
) -> list[ChainChange]:
    """Return the smallest change after which the owner has exactly these rules.

    And after which there leads to our chains what has to for their sake, and what is
    another's and `goes` is no more.
    """
    ours: Rules = Counter()
    for tag, tagged in state.tagged.items():
        if tag.owner == owner:
            ours.update(tagged)
    ours.update(goes)
    added, removed = wanted - ours, ours - wanted
    changes = []
    unnoted = set(state.traces.absent)
    for hook in hooks:
        change = _change(hook, state, _at(hook, added), _at(hook, removed), owner)
        if gate := state.gates.get(hook):
            jumps = jumps_of(
                hook, gate, places.get(hook, ()), _of_others(hook, state, owner)
            )
            change = _with_jumps(change, jumps)
        else:
            change = _with_entrance(change, state)
        if hook in TRANSLATING and f"-I {hook.builtin} 1 {hook.jump}" in change.gains:
            made = [thing for thing in things_of(hook) if thing in unnoted]
            unnoted.difference_update(made)
            notes = (f"-N {note(thing)}" for thing in made)
            change = replace(change, gains=(*change.gains, *notes))
        changes.append(change)
    return changes


def _at(hook: Hook, rules: Rules) -> list[Rule]:
    """Return the rules at a hook, each as often as it counts."""
    return [rule for at, rule in rules.elements() if at is hook]


def _of_others(hook: Hook, state: IptablesState, owner: str) -> list[Rule]:
    """Return the rules in our chain that are not this owner's."""
    return [
        rule
        for rule in state.chains[hook] or ()
        if (tag := tag_of(rule)) is None or tag.owner != owner
    ]


def _change(
    hook: Hook,
    state: IptablesState,
    added: list[Rule],
    removed: list[Rule],
    owner: str,
) -> ChainChange:
    """Return how our chain at a hook changes, but for what leads to it."""
    chain = state.chains[hook]
    stays = len(chain or ()) + len(added) > len(removed)
    numbers, losses = _removals(hook, chain or (), Counter(removed))
    gains = [f"-A {hook.chain} {rule}" for rule in added]
    raised = Counter(state.shadowed(hook, owner)) - Counter(removed)
    for rule in raised.elements():
        if rule.writable:
            gains[:0] = [f"-D {hook.chain} {rule}", f"-I {hook.chain} 1 {rule}"]
    # What goes by number goes before anything moves.
    gains = numbers + gains
    held = state.gates[hook].held if hook in state.gates else state.entrances[hook].held
    if not stays and chain is not None and not held:
        losses.append(f"-X {hook.chain}")
    if stays and chain is None:
        # -N and no `:CHAIN`, which would empty a chain that another Home
        # Assistant has made since we looked.
        gains.insert(0, f"-N {hook.chain}")
    return ChainChange(hook, stays, tuple(gains), tuple(losses), bool(numbers))


def _with_entrance(change: ChainChange, state: IptablesState) -> ChainChange:
    """Return the same with what has the kernel's chain enter ours, from its top."""
    hook, entrance = change.hook, state.entrances[change.hook]
    leave = tuple(f"-D {hook.builtin} {jump}" for jump in entrance.jumps)
    if not change.stays:
        there = state.chains[hook] is not None
        return _leaving(change, leave) if there else change
    if entrance.first and len(entrance.jumps) == 1:
        return change
    enter = (*leave, f"-I {hook.builtin} 1 {hook.jump}")
    return replace(change, gains=(*change.gains, *enter))


def _with_jumps(change: ChainChange, jumps: JumpChange) -> ChainChange:
    """Return the same with what has chains of a table lead to ours."""
    return replace(
        _leaving(change, jumps.losses),
        gains=(*change.gains, *jumps.gains),
        by_number=change.by_number or jumps.by_number,
    )


def _leaving(change: ChainChange, lines: tuple[str, ...]) -> ChainChange:
    """Return the same with these lines before our chain itself may go."""
    at = len(change.losses) - change.losses.count(f"-X {change.hook.chain}")
    losses = (*change.losses[:at], *lines, *change.losses[at:])
    return replace(change, losses=losses)


def _removals(
    hook: Hook, chain: Sequence[Rule], removed: Counter[Rule]
) -> tuple[list[str], list[str]]:
    """Return the lines that take these rules out of a chain: by number, and by text.

    Each by its own text, since of two that are equal the words may differ. One that no
    text names goes by its number, the last one first.
    """
    numbers: list[str] = []
    texts: list[str] = []
    for number, rule in enumerate(chain, 1):
        if removed[rule] > 0:
            removed[rule] -= 1
            if rule.writable:
                texts.append(f"-D {hook.chain} {rule}")
            else:
                numbers.insert(0, f"-D {hook.chain} {number}")
    return numbers, texts


def blocks_of(
    changes: Sequence[ChainChange],
) -> Iterator[tuple[Phase, tuple[str, ...]]]:
    """Yield transactions that carry out the changes, with their phases."""
    admit = [change for change in changes if change.hook not in TRANSLATING]
    translate = [change for change in changes if change.hook in TRANSLATING]
    for change in admit:
        yield Phase.ALLOW, _block(change.hook.table, change.gains)
    for change in translate[:1]:
        # Of one table, they change at once.
        lines = [line for one in translate for line in (*one.gains, *one.losses)]
        yield Phase.TRANSLATE, _block(change.hook.table, lines)
    for change in admit:
        yield Phase.REVOKE, _block(change.hook.table, change.losses)


def _block(table: str, lines: Sequence[str]) -> tuple[str, ...]:
    """Return a transaction of a table."""
    return (f"*{table}", *lines, "COMMIT") if lines else ()


@dataclass(frozen=True, slots=True)
class Leftovers:
    """What is of no use any more after a change."""

    notes: tuple[Thing, ...]
    """What they note down may be in use by others."""
    chains: tuple[Thing, ...]
    tables: tuple[str, ...]

    @property
    def lines(self) -> tuple[str, ...]:
        """The lines that take away the notes, and then the kernel's chains.

        Each by itself: an old iptables knows no way to take away one of the kernel's.
        """
        gone = [(table, note((table, builtin))) for table, builtin in self.notes]
        return tuple(
            line
            for table, chain in (*gone, *self.chains)
            for line in _block(table, [f"-X {chain}"])
        )


def leftovers_of(changes: Sequence[ChainChange], state: IptablesState) -> Leftovers:
    """Return what these changes leave over."""
    used = {thing for one in changes if one.stays for thing in things_of(one.hook)}
    notes = {
        thing: None
        for change in changes
        for thing in things_of(change.hook)
        if thing in state.traces.noted and thing not in used
    }
    made = [
        thing
        for change in changes
        if (thing := things_of(change.hook)[0]) in notes
        and not state.entrances[change.hook].blocking
    ]
    # In a table that can't be shown, something may still lead to our chain.
    doubtful = [
        (one.hook.table, one.hook.chain)
        for one in changes
        if not one.stays
        and state.chains[one.hook] is not None
        and (gate := state.gates.get(one.hook))
        and gate.table is None
    ]
    return Leftovers(
        tuple(notes),
        (*made, *doubtful),
        tuple(table for table, builtin in notes if not builtin),
    )
