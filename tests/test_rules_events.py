"""What happened to the rules, for who listens later."""

from custom_components.bypass_router.sync.events import (
    RulesEvent,
    RulesEvents,
    RulesEventType,
)
from custom_components.bypass_router.sync.history import History


def test_what_nobody_listens_to_is_told_later_and_does_not_pile_up() -> None:
    """Where the event entity is disabled, no one ever listens."""
    events = RulesEvents(History())
    for number in range(1000):
        events.async_fire(RulesEventType.REMOVED, frozenset({str(number)}))
    told: list[RulesEvent] = []
    events.async_listen(told.append)
    assert len(told) < 100
    assert [event.forwards for event in told[-2:]] == [("998",), ("999",)]
    events.async_fire(RulesEventType.RESTORED, frozenset({"999"}))
    assert told[-1].type is RulesEventType.RESTORED
    assert told.count(told[-2]) == 1
