"""A router in memory that carries out plans, and can be told to fail.

`test_live_rules.py` holds it against the real backends, by the same cases.
"""

from collections.abc import Collection, Iterable, Set as AbstractSet
from dataclasses import dataclass, field

from custom_components.bypass_router.router.errors import RouterError
from custom_components.bypass_router.router.forward import Forward
from custom_components.bypass_router.router.monitor import Change
from custom_components.bypass_router.router.rules.base import Live


@dataclass
class Kernel:
    """What outlives a connection."""

    forwards: dict[str, Forward] = field(default_factory=dict)
    boot_id: str = "boot 0"

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

    async def read(self) -> Live:
        """Return what is live."""
        self._read = dict(self._kernel.forwards)
        return Live(dict(self._read), frozenset(), frozenset())

    async def apply(
        self,
        desired: Collection[Forward],
        expected: AbstractSet[Forward] = frozenset(),
        given_up: AbstractSet[str] = frozenset(),
    ) -> Live:
        """Make exactly these forwards live, but for lost ones that are given up."""
        live = self._kernel.forwards
        self._read = None
        if self.before:
            raise self.before.pop()
        lost = {f.id for f in desired if f in expected and live.get(f.id) != f}
        self._lost |= lost
        self._kernel.forwards = {
            f.id: f for f in desired if f.id not in lost & given_up
        }
        if self.after:
            raise self.after.pop()
        return await self.read()

    def differs(self, desired: Collection[Forward]) -> bool:
        """Return whether the rules that were read last are not what is desired."""
        return self._read != {forward.id: forward for forward in desired}

    def take_lost(self) -> frozenset[str]:
        """Return the ids of those that changes found to be lost, and forget them."""
        lost, self._lost = frozenset(self._lost), set()
        return lost

    def cause_of(self, changes: Iterable[Change]) -> str | None:
        """Return which program made the first of these changes that we did not."""
        return next((change.cause for change in changes if change.cause), None)


class FakeRouter:
    """A router while it is connected."""

    reports = False

    def __init__(self, kernel: Kernel) -> None:
        """Connect."""
        self.rules = FakeRules(kernel)
        self.closed = False
        self.ended: list[Forward] = []
        """Whose connections were ended."""

    async def close_connections(self, forwards: Collection[Forward]) -> int:
        """End what is still connected by forwards that are no longer live."""
        self.ended += forwards
        return len(forwards)
