"""Forwards that other software on the router takes away: which, and how often.

They are put back a few times at once, and then ever more seldom: another program that
removes them over and over is not opposed to the end, which would wear out the router.
"""

import asyncio
import time

from homeassistant.core import callback

from ..issues import Issues
from ..router.monitor import Change
from .events import RulesEvents, RulesEventType
from .interfaces import ConnectedRouter
from .rate_limit import RateLimit

# Seconds that a report of a change may take longer than the sight of it.
_REPORT_DELAY = 0.5


class Interference:
    """What one router reports of changes, and what of it took forwards away."""

    def __init__(self, events: RulesEvents, issues: Issues) -> None:
        """Take where to tell of it."""
        self._events = events
        self._issues = issues
        self._limit = RateLimit()
        self._reports: list[Change] = []
        self._conflict = False
        self._offender: str | None = None

    @callback
    def async_reported(self, change: Change) -> None:
        """Take note of a report, which may tell who did what is seen later."""
        self._reports.append(change)

    @callback
    def async_forget(self) -> None:
        """Begin again with a router that was connected just now."""
        self._reports = []

    def take_reports(self) -> list[Change]:
        """Return what was reported until now; what comes later is kept apart."""
        reports, self._reports = self._reports, []
        return reports

    def evaluate(
        self, router: ConnectedRouter, reports: list[Change], *, removed: bool
    ) -> None:
        """Keep reports that came before something was seen to be removed.

        If it was not, our own part of them is not to excuse others later.
        """
        if removed:
            # What was reported before we looked, or meanwhile, may be the cause.
            self._reports = reports + self._reports
        else:
            router.rules.cause_of(reports)

    async def async_tell(
        self,
        router: ConnectedRouter,
        lost: frozenset[str],
        restored: frozenset[str],
        *,
        restarted: bool = False,
    ) -> None:
        """Tell which forwards were lost, by which program, and which are live again.

        And which program it is that removes them again and again, if one does.
        """
        cause = None
        if restarted:
            self._events.async_fire(RulesEventType.RESTARTED, lost)
        elif lost:
            cause = await self._find_cause(router)
            self._offender = cause or self._offender
            self._events.async_fire(RulesEventType.REMOVED, lost, cause)
        if restored:
            self._events.async_fire(RulesEventType.RESTORED, restored, cause)
        if self._conflict:
            # Not every removal's report is told from those of our own changes.
            self._issues.conflict(self._offender)

    @callback
    def async_put_back(self) -> None:
        """Take note that forwards which someone took away are put back."""
        self._limit.spend(time.monotonic())

    @callback
    def async_wait(self) -> float:
        """Return for how many seconds they are better left away; 0 for none."""
        wait = self._limit.left(time.monotonic())
        self._conflict = self._conflict or wait > 0
        return wait

    @callback
    def async_calm(self) -> None:
        """Take the conflict for over, unless the last of it was just now."""
        if not self._limit.left(time.monotonic()):
            self._conflict = False
            self._offender = None
            self._issues.no_conflict()

    async def _find_cause(self, router: ConnectedRouter) -> str | None:
        """Return which program changed the rules, if the router tells.

        What has changed may be seen before the report of it is here.
        """
        deadline = time.monotonic() + (_REPORT_DELAY if router.reports else 0)
        while True:
            if cause := router.rules.cause_of(self.take_reports()):
                return cause
            if time.monotonic() >= deadline:
                return None
            await asyncio.sleep(_REPORT_DELAY / 50)
