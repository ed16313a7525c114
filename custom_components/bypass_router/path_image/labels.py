"""The few words in the picture."""

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Final

_MINUTE: Final = 60
_HOUR: Final = 60 * _MINUTE
_DAY: Final = 24 * _HOUR
# Minutes that are told apart: a picture is not drawn anew each minute.
_MINUTES: Final = (30, 20, 10, 5, 2)


@dataclass(frozen=True, slots=True)
class Labels:
    """What the picture says, in one language."""

    client: str
    main_router: str
    bypass_router: str
    target: str
    anyone: str
    """May come in."""
    ok: str
    failed: str
    unknown: str
    off: str
    checking: str
    try_now: str
    untested: str
    works_at_home: str
    works: str
    fails: str
    refused: str
    away: str
    """The bypass router can't be reached."""
    use_it: str
    """What to do where no one came from outside. `ports`."""
    answered_now: str
    answered_minutes: str
    """`number`; so in those that follow."""
    answered_hours: str
    answered_days: str

    def answered(self, seconds: float) -> str:
        """Return how long ago someone was answered, in coarse steps.

        That is as of when it is drawn: by these steps it changes six times in the first
        hour, then once an hour, and after a day once a day.
        """
        if seconds < _MINUTES[-1] * _MINUTE:
            return self.answered_now
        if seconds < _HOUR:
            number = next(it for it in _MINUTES if seconds >= it * _MINUTE)
            return self.answered_minutes.format(number=number)
        if seconds < _DAY:
            return self.answered_hours.format(number=int(seconds // _HOUR))
        return self.answered_days.format(number=int(seconds // _DAY))


def labels_of(text: Callable[..., str]) -> Labels:
    """Return the labels; `text` gives a sentence of the translations by its key.

    What is known only when it is drawn stays a placeholder.
    """
    words = {"number": "{number}", "ports": "{ports}"}
    return Labels(
        **{
            field.name: text(f"picture_{field.name}", **words)
            for field in fields(Labels)
        }
    )
