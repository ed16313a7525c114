"""All that is known of the forwards of one router, from wherever it comes."""

from collections.abc import Callable, Mapping, Sequence
import time
from typing import Protocol

from homeassistant.core import callback

from ..counters.counters import Counters
from ..main_router.halves import Halves
from ..router.doctor.report import Cause, Diagnosis
from ..router.errors import RouterError
from ..router.forward import Forward, PortRange
from ..router.router import Router
from ..router.rules.obstacles import Obstacle
from .run import Finding, Progress
from .status import Known


class Face(Protocol):
    """Of a coordinator, what is needed here."""

    @property
    def connected(self) -> Router | None:
        """The router while it is connected."""

    @property
    def last_update_success(self) -> bool:
        """Whether it could be read."""

    @property
    def refused(self) -> Mapping[str, RouterError]:
        """Why forwards are not as desired that the router refuses, by id."""

    def public_ports_of(self, forward: Forward) -> PortRange:
        """Return the main router's ports that lead to a forward."""

    def is_on(self, forward_id: str) -> bool:
        """Return whether a forward was found in the kernel as it is set up."""


class Knowledge:
    """What the doctor has said of each forward, what is in its way, and who came."""

    def __init__(
        self,
        face: Face,
        counters: Counters,
        halves: Halves,
        changed: Callable[[], None],
    ) -> None:
        """Take who else knows something, and who hears of what is new."""
        self._face = face
        self._counters = counters
        self._halves = halves
        self._changed = changed
        self.obstacles: Mapping[str, Sequence[Obstacle]] = {}
        """What is in the way of forwards that are on, by id."""
        self._obstacles_since: dict[str, float] = {}
        self._findings: dict[str, Finding] = {}
        self._progress: dict[str, Progress] = {}

    def of(self, forward: Forward) -> Known:
        """Return all that tells how a forward stands."""
        face, key = self._face, forward.id
        on = face.is_on(key)
        finding, public = self._findings.get(key), face.public_ports_of(forward)
        return Known(
            on if face.connected and face.last_update_success else None,
            self._progress.get(key),
            face.refused.get(key),
            finding if finding and finding.holds(forward, public, on=on) else None,
            self.obstacles.get(key, ()),
            self._obstacles_since.get(key, 0.0),
            self._counters.visits(forward),
            self._halves.half(key) if on else None,
        )

    @callback
    def diagnosed(
        self,
        forward: Forward,
        diagnosis: Diagnosis,
        *,
        on: bool,
        public: PortRange,
        took: float = 0,
    ) -> bool:
        """Take note of what the doctor said, and whether it was on when he began.

        Nothing is kept of one that came on, went off or was put back while he looked:
        what he saw may be of before. Returns whether he has seen that it is not on,
        of which no one knows yet.
        """
        key = forward.id
        unseen = on and Cause.RULE_MISSING in diagnosis.causes
        if unseen or on is not self._face.is_on(key):
            self._findings.pop(key, None)
        else:
            # What the main router says is told anew, as it is asked anew.
            own = diagnosis.beside(None)
            self._findings[key] = Finding(forward, on, public, own, took=took)
        router = self._face.connected
        if (visitor := diagnosis.visitor) and router and not router.hears_connections:
            # Nothing else tells of him.
            for transport in forward.protocol.transports:
                self._counters.async_visited(forward, transport, visitor)
        self._changed()
        return unseen

    @callback
    def progress(self, forward_id: str, progress: Progress | None) -> None:
        """Show how far a diagnosis is; None: it is over."""
        if progress == self._progress.get(forward_id):
            return
        if progress:
            self._progress[forward_id] = progress
        else:
            self._progress.pop(forward_id, None)
        self._changed()

    @callback
    def found(self, obstacles: Mapping[str, Sequence[Obstacle]]) -> bool:
        """Take note of what is in the way of forwards; return whether that is new."""
        if self.obstacles == obstacles:
            return False
        self._obstacles_since = {
            key: self._obstacles_since[key]
            if self.obstacles.get(key) == found
            else time.time()
            for key, found in obstacles.items()
        }
        self.obstacles = obstacles
        return True
