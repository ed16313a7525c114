"""For how long a forward is open that is to close by itself."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from ipaddress import IPv4Network
import math
from typing import Any, Final, Self

from ..router.forward import Forward, InvalidForward, parse_networks

# Seconds by which the clock may have been set back since a lease was asked for. Home
# Assistant starts before its clock is set where nothing keeps the time for it: what has
# ended long ago would be open for as long as it takes.
_SET_BACK: Final = 60


@dataclass(frozen=True, slots=True)
class Lease:
    """Until when a forward is open, and for whom."""

    until: int
    """In Unix time of Home Assistant's clock."""
    asked: float
    """When it was asked for, by the same clock."""
    sources: tuple[IPv4Network, ...] | None = None
    """The networks that may come in while it lasts; None: those of the forward."""

    @classmethod
    def of(
        cls, seconds: float, now: float, sources: tuple[IPv4Network, ...] | None = None
    ) -> Self:
        """Return the lease of so many seconds from now on, or a little more."""
        return cls(math.ceil(now + seconds), now, sources)

    def is_over(self, now: float) -> bool:
        """Return whether its time has passed."""
        return now >= self.until

    def counts(self, now: float) -> bool:
        """Return whether it is known not to be over."""
        return self.asked - _SET_BACK <= now < self.until

    def applied_to(self, forward: Forward) -> Forward:
        """Return a forward as it is while the lease lasts."""
        sources = forward.sources if self.sources is None else self.sources
        return replace(forward, until=self.until, sources=sources)

    @property
    def stored(self) -> Mapping[str, Any]:
        """What a file says of it."""
        stored: dict[str, Any] = {"until": self.until, "asked": self.asked}
        if self.sources is not None:
            stored["sources"] = [str(network) for network in self.sources]
        return stored

    @classmethod
    def parse(cls, stored: object) -> Self | None:
        """Return what a file says; None if it makes no sense."""
        match stored:
            case {"until": int(until), "asked": float(asked) | int(asked), **others}:
                pass
            case _:
                return None
        match others.get("sources"):
            case None:
                return cls(until, asked)
            case [*texts] if all(isinstance(text, str) for text in texts):
                try:
                    return cls(until, asked, parse_networks(map(str, texts)))
                except InvalidForward:
                    return None
            case _:
                return None
