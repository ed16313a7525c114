"""The few words in the picture."""

from collections.abc import Callable
from dataclasses import dataclass, fields


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
    works: str
    broken: str
    on: str
    off: str
    away: str
    """The bypass router can't be reached."""


def labels_of(text: Callable[[str], str]) -> Labels:
    """Return the labels; `text` gives a sentence of the translations by its key."""
    return Labels(
        **{field.name: text(f"picture_{field.name}") for field in fields(Labels)}
    )
