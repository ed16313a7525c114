"""Which of several changes a router refuses, found in few attempts."""

from collections.abc import Awaitable, Callable, Collection, Sequence
import time

from .errors import NotApplied, RouterError
from .forward import Forward
from .rules.base import Applied, Live
from .rules.ruleset import Snapshot

# One that is refused among a thousand takes a dozen. Of many, the rest waits for the
# next time, when those that are known by then are left out.
MOST_ATTEMPTS = 48
# Seconds after which no other one is looked for: all else waits for this.
MOST_TIME = 30.0

type Attempt = Callable[[Sequence[str]], Awaitable[RouterError | None]]
"""Makes these changes at once, all or none of them, and returns why it can't."""

type Change = Callable[
    [Collection[Forward], Snapshot], Awaitable[tuple[RouterError | None, Snapshot]]
]
"""Asks the router once for exactly these forwards; see `Transactions.change`."""


async def _make_apart(
    keys: Sequence[str], error: RouterError, attempt: Attempt
) -> tuple[dict[str, RouterError], frozenset[str]]:
    """Make each change that can be made, where all at once were refused with an error.

    Returns the error of each that can't, and which of them were not tried by
    themselves. Where nothing at all can be made, that is all there is to try.
    One that is refused among `n` takes about
    log2(n) + 2 attempts at the most.
    """
    refused: dict[str, RouterError] = {}
    left = list(keys)
    attempts = made = 0
    until = time.monotonic() + MOST_TIME

    async def fails(part: Sequence[str]) -> RouterError | None:
        nonlocal attempts, made, error
        attempts += 1
        if found := await attempt(part):
            error = found
        else:
            made += 1
        return found

    while left and attempts < MOST_ATTEMPTS and time.monotonic() < until:
        suspects, others = left, list[str]()
        found: RouterError | None = None
        while len(suspects) > 1:
            half = suspects[: len(suspects) // 2]
            rest = suspects[len(half) :]
            if found := await fails(half):
                suspects, others = half, rest + others
            else:
                suspects = rest
        # By itself, as the others may have been in its way, or someone else was.
        if found := found or await fails(suspects):
            refused[suspects[0]] = found
        left = others
        if left and not await fails(left):
            left = []
    untried = frozenset(left if made else ())
    return refused | dict.fromkeys(left, error), untried


async def apply_apart(
    desired: Collection[Forward],
    snapshot: Snapshot,
    error: RouterError,
    change: Change,
) -> Applied:
    """Make each change that the router takes, as it refuses all at once."""
    wanted = {forward.id: forward for forward in desired}
    goal = dict(snapshot.live.forwards)

    async def remove(keys: Sequence[str]) -> RouterError | None:
        return await reach({k: f for k, f in goal.items() if k not in keys})

    async def add(keys: Sequence[str]) -> RouterError | None:
        return await reach(goal | {key: wanted[key] for key in keys})

    async def reach(target: dict[str, Forward]) -> RouterError | None:
        nonlocal goal, snapshot
        refused, snapshot = await change(target.values(), snapshot)
        if snapshot.ruleset.plan(target.values(), snapshot):
            return refused or NotApplied()
        goal = target
        return None

    # No removal waits for what is to come.
    going = [key for key in goal if wanted.get(key) != goal[key]]
    refused: dict[str, RouterError] = {}
    untried = frozenset[str]()
    if going and (kept := await remove(going)):
        refused, untried = await _make_apart(going, kept, remove)
    coming = [key for key in wanted if not wanted[key].is_exactly(goal.get(key))]
    if coming and (kept := await add(coming) if going else error):
        kept_away, waiting = await _make_apart(coming, kept, add)
        refused |= kept_away
        untried |= waiting
    left_over = snapshot.ruleset.plan(goal.values(), snapshot)
    if left_over and (error_left := await reach(goal)):
        raise error_left
    return Applied(snapshot.live, refused, untried)


def applied_in_part(desired: Collection[Forward], live: Live) -> Applied:
    """Return which forwards are not as desired, though no change was refused.

    Raises NotApplied where it is none of them.
    """
    wanted = {forward.id: forward for forward in desired}
    differ = [
        key
        for key in {*wanted, *live.forwards}
        if not (
            (forward := wanted.get(key)) and forward.is_exactly(live.forwards.get(key))
        )
    ]
    if not differ:
        raise NotApplied
    return Applied(live, dict.fromkeys(differ, NotApplied()))
