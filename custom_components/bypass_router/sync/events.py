"""What happens to the rules on a router, and who is told of it."""

from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from homeassistant.core import CALLBACK_TYPE, callback

from .history import History

# Of what happened before anyone listened. No one ever does where the event entity is
# disabled.
_MOST_UNTOLD = 20


class RulesEventType(StrEnum):
    """What can happen to the rules without anyone here asking for it."""

    REMOVED = "rules_removed"
    RESTORED = "rules_restored"
    RESTARTED = "router_restarted"


@dataclass(frozen=True, slots=True)
class RulesEvent:
    """Something happened to the rules of these forwards."""

    type: RulesEventType
    forwards: tuple[str, ...]
    """The ids of the forwards concerned."""
    cause: str | None = None
    """The program on the router that did it, where it is known."""


class RulesEvents:
    """Tells one listener, also of the last that happened before it was there."""

    def __init__(self, history: History) -> None:
        """Take where all of it is noted too."""
        self._history = history
        self._tell: Callable[[RulesEvent], None] | None = None
        self._untold: deque[RulesEvent] = deque(maxlen=_MOST_UNTOLD)

    @callback
    def async_listen(self, tell: Callable[[RulesEvent], None]) -> CALLBACK_TYPE:
        """Tell of what happens from now on, and of what no one has been told."""
        self._tell = tell
        while self._untold:
            tell(self._untold.popleft())

        def forget() -> None:
            self._tell = None

        return forget

    @callback
    def async_fire(
        self, kind: RulesEventType, forwards: frozenset[str], cause: str | None = None
    ) -> None:
        """Tell what happened, as soon as someone listens."""
        event = RulesEvent(kind, tuple(sorted(forwards)), cause)
        self._history.record(event.type, event.forwards, event.cause)
        if self._tell:
            self._tell(event)
        else:
            self._untold.append(event)
