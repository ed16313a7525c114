"""A router in memory that carries out plans, and can be told to fail.

`test_live_rules.py` holds it against the real backends, by the same cases.
"""

import asyncio
from collections.abc import Callable, Collection, Iterable, Set as AbstractSet
from dataclasses import dataclass, field
import time

from custom_components.bypass_router.router.errors import FirewallFailed, RouterError
from custom_components.bypass_router.router.forward import Forward
from custom_components.bypass_router.router.monitor import Change
from custom_components.bypass_router.router.rules.base import Applied, Live, target_of

REFUSED = FirewallFailed(command="nft", message="not this one")


@dataclass
class Kernel:
    """What outlives a connection."""

    forwards: dict[str, Forward] = field(default_factory=dict)
    boot_id: str = "boot 0"
    refuses: set[str] = field(default_factory=set)
    """The ids of forwards that it does not take."""
    keeps: set[str] = field(default_factory=set)
    """The ids of forwards that it does not let go."""
    now: Callable[[], float] = time.time
    """Its clock, by which it ends forwards."""

    @property
    def live(self) -> dict[str, Forward]:
        """The forwards whose time is not over."""
        return {
            key: it
            for key, it in self.forwards.items()
            if it.until is None or it.until > self.now()
        }

    def reboot(self) -> None:
        """Lose all."""
        self.forwards = {}
        self.boot_id = f"boot {int(self.boot_id.split()[1]) + 1}"


class FakeRules:
    """The rules of ours, as `LiveRules` has them."""

    def __init__(self, kernel: Kernel) -> None:
        """Take where they are live."""
        self._kernel = kernel
        self._lost: set[str] = set()
        self._read: dict[str, Forward] | None = None
        self.before: list[RouterError] = []
        """What the next changes fail with, and change nothing."""
        self.after: list[RouterError] = []
        """What they fail with when the kernel has changed."""

    cuts = False
    by_clock = False

    async def read(self) -> Live:
        """Return what is live."""
        await asyncio.sleep(0)
        self._read, live = dict(self._kernel.forwards), self._kernel.live
        ended = {key: it for key, it in self._read.items() if key not in live}
        return Live(live, frozenset(), frozenset(), ended=ended)

    async def apply(self, desired: Collection[Forward]) -> Live:
        """Make exactly these forwards live, or raise why one of them is not."""
        return (await self.apply_each(desired)).checked()

    async def apply_each(
        self,
        desired: Collection[Forward],
        expected: AbstractSet[Forward] = frozenset(),
        given_up: AbstractSet[str] = frozenset(),
        untouched: AbstractSet[str] = frozenset(),
    ) -> Applied:
        """Make these forwards live, but for lost ones that are given up.

        And but for those that the kernel refuses; what it does not let go stays.
        """
        await asyncio.sleep(0)
        live = self._kernel.live
        desired = target_of(desired, untouched, live)
        self._read = None
        if self.before:
            raise self.before.pop()
        lost = {f.id for f in desired if f in expected and live.get(f.id) != f}
        self._lost |= lost
        target = {f.id: f for f in desired if f.id not in lost & given_up}
        there = self._kernel.forwards
        changed = {
            key
            for key in {*there, *target}
            if _as_it_is(there.get(key)) != _as_it_is(target.get(key))
        }
        kept = changed & there.keys() & self._kernel.keeps
        refused = kept | changed & target.keys() & self._kernel.refuses
        self._kernel.forwards = {
            **{k: f for k, f in target.items() if k not in refused},
            **{k: there[k] for k in kept},
        }
        if self.after:
            raise self.after.pop()
        return Applied(await self.read(), dict.fromkeys(refused, REFUSED))

    def differs(
        self,
        desired: Collection[Forward],
        untouched: AbstractSet[str] = frozenset(),
    ) -> bool:
        """Return whether the rules that were read last are not what is desired."""
        target = target_of(desired, untouched, self._read or {})
        read = (self._read or {}).values()
        return self._read is None or {*map(_as_it_is, read)} != {
            *map(_as_it_is, target)
        }

    def take_lost(self) -> frozenset[str]:
        """Return the ids of those that changes found to be lost, and forget them."""
        lost, self._lost = frozenset(self._lost), set()
        return lost

    def take_come(self) -> frozenset[Forward]:
        """Return nothing: no flow was there before."""
        return frozenset()

    def cause_of(self, changes: Iterable[Change]) -> str | None:
        """Return which program made the first of these changes that we did not."""
        return next((change.cause for change in changes if change.cause), None)


def _as_it_is(forward: Forward | None) -> tuple[Forward, int | None] | None:
    """Return a forward with its end, which is no part of its value."""
    return (forward, forward.until) if forward else None


class FakeRouter:
    """A router while it is connected."""

    reports = False

    def __init__(self, kernel: Kernel) -> None:
        """Connect."""
        self.rules = FakeRules(kernel)
        self.closed = False
        self.ended: list[Forward] = []
        """Whose connections were ended."""

    async def forget_untranslated(self, forwards: Collection[Forward]) -> None:
        """Do nothing: no flow was there before."""

    async def close_connections(self, forwards: Collection[Forward]) -> int:
        """End what is still connected by forwards that are no longer live."""
        self.ended += forwards
        return len(forwards)
