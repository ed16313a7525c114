"""How often rules are put back that someone takes away again and again."""

from collections import deque

# So many times in so many seconds is no accident any more.
TIMES = 5
SECONDS = 60.0


class RateLimit:
    """Allows a few attempts at once, and then few, so that nothing is worn out."""

    def __init__(self) -> None:
        """Start with nothing spent."""
        self._spent: deque[float] = deque(maxlen=TIMES)

    def left(self, now: float) -> float:
        """Return in how many seconds the next attempt is allowed; 0 for now."""
        if len(self._spent) < TIMES:
            return 0.0
        return max(0.0, self._spent[0] + SECONDS - now)

    def spend(self, now: float) -> None:
        """Count an attempt."""
        self._spent.append(now)
