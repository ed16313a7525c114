"""Forwards that the router refuses, while all others go on.

Each is known with the reason, is left out of changes that are made for others, and is
tried again ever more seldom.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
import time

from ..router.errors import RouterError
from ..router.forward import Forward
from .retry import FIRST_DELAY, LAST_DELAY


@dataclass(frozen=True, slots=True)
class _Refusal:
    """Why a forward, as it was set up then, is not live, or still is."""

    forward: Forward | None
    error: RouterError


class Refusals:
    """What one router refused when it was asked last."""

    def __init__(self) -> None:
        """Begin without any."""
        self._refusals: dict[str, _Refusal] = {}
        self._delay = FIRST_DELAY
        self._again_at = 0.0

    @property
    def errors(self) -> Mapping[str, RouterError]:
        """Why each of them is refused, by the forward's id."""
        return {key: refusal.error for key, refusal in self._refusals.items()}

    def held(self, forwards: Mapping[str, Forward]) -> frozenset[str]:
        """Return the ids of those that are not to be tried yet.

        One that was changed here since is.
        """
        if time.monotonic() >= self._again_at:
            return frozenset()
        return frozenset(
            key
            for key, refusal in self._refusals.items()
            if refusal.forward == forwards.get(key)
        )

    def wait(self) -> float:
        """Return in how many seconds they are to be tried again; 0 without any."""
        if not self._refusals:
            return 0
        return max(self._again_at - time.monotonic(), FIRST_DELAY)

    def note(
        self,
        held: Collection[str],
        refused: Mapping[str, RouterError],
        forwards: Mapping[str, Forward],
    ) -> Mapping[str, RouterError]:
        """Take note of what became of all but those held; return what is new.

        The router's words may name a line, which is another one each time.
        """
        before = self.errors
        new = {
            key: err
            for key, err in refused.items()
            if key not in before or before[key].key != err.key
        }
        self._refusals = {
            key: refusal for key, refusal in self._refusals.items() if key in held
        } | {key: _Refusal(forwards.get(key), err) for key, err in refused.items()}
        if new or not self._refusals:
            self._delay = FIRST_DELAY
        if refused:
            self._again_at = time.monotonic() + self._delay
            self._delay = min(self._delay * 2, LAST_DELAY)
        return new

    def forget(self) -> None:
        """Try all of them again, since the router may be another now."""
        self._again_at = 0.0
