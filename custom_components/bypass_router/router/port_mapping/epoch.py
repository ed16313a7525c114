"""The main router's clock, by which it tells that it has forgotten its mappings."""

from dataclasses import dataclass
import time
from typing import Self

# Of the RFCs' own: how much slower its clock may be than ours, and seconds to spare.
_SLOWEST = 7 / 8
_SPARE = 2


@dataclass(frozen=True, slots=True)
class Epoch:
    """What its last answer said: the seconds since it began with no mappings."""

    seconds: int
    heard: float
    """When, by the clock of this machine that only runs on."""
    restarted: bool = False
    """Whether it has begun anew since the answer before, so that all has to be asked
    for again. Some forget nothing, and some forget and don't tell."""

    @classmethod
    def after(
        cls, before: Self | None, seconds: int, heard: float | None = None
    ) -> Self:
        """Return what an answer says beside the one before (RFC 6886, section 3.6)."""
        heard = time.monotonic() if heard is None else heard
        if before is None:
            return cls(seconds, heard)
        due = before.seconds + _SLOWEST * (heard - before.heard)
        return cls(seconds, heard, seconds < due - _SPARE)
