"""Connections from Home Assistant itself, which are no visitors.

The rules count them like any other. So it is noted how many there were, and whoever
reads the counters takes as many off:

- A router with `conntrack` tells of each, with its address.
- On others, the doctor alone knows what it has sent.
- What is dropped behind our rules is told by no one, and counted once a try.
"""

from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import contextmanager


class OwnConnections:
    """Our own connections by each forward, since they were asked for last."""

    def __init__(self) -> None:
        """Nothing has come yet."""
        self._noted: defaultdict[str, int] = defaultdict(int)
        self._tests = Counter[str]()
        self._heard: dict[str, int] = {}

    def heard(self, forward_id: str) -> None:
        """Note one that the router has told."""
        self._noted[forward_id] += 1
        if forward_id in self._heard:
            self._heard[forward_id] += 1

    @contextmanager
    def testing(self, forward_id: str) -> Iterator[None]:
        """Keep the counter of a forward from being read while it is tried."""
        self._tests[forward_id] += 1
        self._heard.setdefault(forward_id, 0)
        try:
            yield
        finally:
            self._tests[forward_id] -= 1
            if not self._tests[forward_id]:
                del self._heard[forward_id]

    def tried(self, forward_id: str, number: int) -> None:
        """Note that so many were counted of those that a test under way has sent."""
        known = min(number, self._heard[forward_id])
        self._heard[forward_id] -= known
        self._noted[forward_id] += number - known

    def is_tested(self, forward_id: str) -> bool:
        """Return whether a test is under way, so that no one knows yet what is ours."""
        return forward_id in self._heard

    def take(self, forward_id: str) -> int:
        """Return how many were noted, once."""
        return self._noted.pop(forward_id, 0)
