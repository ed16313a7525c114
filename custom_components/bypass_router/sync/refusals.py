"""Forwards that the router refuses, while all others go on.

Each is known with the reason, is left out of changes that are made for others, and is
tried again ever more seldom. But for those whom someone asked for, who was told: these
are as they were before, and only the reason is known, until they are asked for again.
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
        self._dropped: dict[str, _Refusal] = {}
        self._delay = FIRST_DELAY
        self._again_at = 0.0

    def errors(self, forwards: Mapping[str, Forward]) -> Mapping[str, RouterError]:
        """Return why each of them is refused, by the forward's id."""
        dropped = {
            key: refusal
            for key, refusal in self._dropped.items()
            if refusal.forward == forwards.get(key)
        }
        return {k: refusal.error for k, refusal in (dropped | self._refusals).items()}

    def drop(
        self, refused: Mapping[str, RouterError], forwards: Mapping[str, Forward]
    ) -> None:
        """Take note of what someone asked for in vain, and was told so."""
        self._dropped |= {k: _Refusal(forwards.get(k), e) for k, e in refused.items()}

    def asked(self, forward_id: str) -> None:
        """Take note that someone asks for one, whatever was before."""
        self._dropped.pop(forward_id, None)

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
        before = self._refusals
        new = {
            key: err
            for key, err in refused.items()
            if key not in before or before[key].error.key != err.key
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
