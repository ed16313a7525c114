"""What happened lately on one router, for whoever looks into a fault."""

from collections import deque
from dataclasses import dataclass, field
import time

from ..router.router import Router
from ..router.transactions import TRANSACTIONS_KEPT, Transaction

_KEPT = 20


@dataclass(frozen=True, slots=True)
class Entry:
    """Something happened to the rules of these forwards."""

    when: float
    """In Unix time."""
    what: str
    forwards: tuple[str, ...]
    cause: str | None


@dataclass(slots=True)
class History:
    """Counts since the entry was set up, and the last few of what is listed."""

    router: Router | None = None
    """The router as it was connected last, though the connection may be gone."""
    opened: deque[float] = field(default_factory=lambda: deque(maxlen=_KEPT))
    """When the router was connected, in Unix time."""
    lost: deque[float] = field(default_factory=lambda: deque(maxlen=_KEPT))
    """When the connection was lost."""
    losses: int = 0
    hints: int = 0
    """How often there was a reason to look at the rules."""
    refreshes: int = 0
    entries: deque[Entry] = field(default_factory=lambda: deque(maxlen=_KEPT))
    transactions: deque[Transaction] = field(
        default_factory=lambda: deque(maxlen=TRANSACTIONS_KEPT)
    )

    def record_opened(self, router: Router) -> None:
        """Record that a router is connected."""
        self.router = router
        self.opened.append(time.time())
        # What was changed before a loss is worth knowing after it.
        router.rules.changes.log = self.transactions

    def record_lost(self) -> None:
        """Record that the connection is lost."""
        self.lost.append(time.time())
        self.losses += 1

    def record(self, what: str, forwards: tuple[str, ...], cause: str | None) -> None:
        """Record what happened to the rules."""
        self.entries.append(Entry(time.time(), what, forwards, cause))
