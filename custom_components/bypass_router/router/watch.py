"""A router is watched, and so is what watches it.

When a part of the watcher has ended, or nothing answers there any more, all of it is to
be begun again. A part that ends again and again is replaced by looking.
"""

import asyncio
from collections import defaultdict
from collections.abc import AsyncGenerator, Iterator
from contextlib import aclosing
import time

from .errors import BadOutput, TimedOut
from .live_rules import LiveRules
from .looks import Looks
from .monitor import (
    Change,
    ConnectionEvent,
    Ended,
    Met,
    Monitor,
    Seen,
    There,
    Unheard,
)
from .network.whereabouts import Followed
from .probe.probe import Probe
from .routing.questions import question
from .rules.base import RouterContext
from .ssh.session import Session
from .watch_script import AGAIN, LOOK, LOOKS_BETWEEN

HEARTBEAT = 5.0
"""Seconds between the lines that the watcher answers."""
SILENCE = 20.0
"""Seconds without any word after which there is no watcher."""

# Seconds without an answer, or a word of the loop's, amid what else is said: they stand
# behind all that. A look may wait for a lock.
_UNANSWERED = 60.0
_UNSEEN = 9.0 * LOOKS_BETWEEN
# A part that ends so often within so many seconds is done without.
_ENDS = 3
_WITHIN = 600.0
_NFT, _ROUTES, _CONNECTIONS, _LOOKS = "nft", "routes", "connections", "looks"
_NEIGHBOURS = "neighbours"
# Of the watcher itself; by `sudo`, and at all.
_ROOT, _SHELL = "root", "shell"


class Watch:
    """Watches one router, as often as that has to be begun."""

    def __init__(
        self, session: Session, rules: LiveRules, probe: Probe, context: RouterContext
    ) -> None:
        """Take the connection, what is watched, and what the router is."""
        self._session = session
        self._rules = rules
        self._probe = probe
        self._address = context.address.ip
        self._routes_look = question(
            context.address, probe.interface, context.main_router
        )
        self._without: set[str] = set() if probe.tools.listens else {_NFT}
        self._ends: defaultdict[str, list[float]] = defaultdict(list)
        self._begun = False
        self._asks: asyncio.Queue[str] | None = None
        self.followed = frozenset[Followed]()
        """The devices whose moves are told."""
        self.since: float | None = None
        """When the watcher on the router began, in Unix time; None without one."""

    @property
    def reports(self) -> bool:
        """Whether changes are reported with the program that made them."""
        return _NFT not in self._without

    @property
    def hears_connections(self) -> bool:
        """Whether the router tells of each connection, and whether it is answered."""
        return self._probe.tools.conntrack and _CONNECTIONS not in self._without

    def follow(self, followed: frozenset[Followed]) -> None:
        """Have moves of these devices be told from now on."""
        if followed != self.followed:
            self.followed = followed
            # A shell that reads its script yet would take the line for a part of that.
            if self._asks and self.since is not None:
                self._asks.put_nowait(AGAIN)

    async def events(self) -> AsyncGenerator[Change | ConnectionEvent | Met]:
        """Yield what the router tells; see `Router.watch`."""
        again = True
        while again:
            again = False
            async with aclosing(self._watcher()) as all_told:
                async for told in all_told:
                    if isinstance(told, Ended):
                        again = self._without_it(told)
                        break
                    yield told

    def _without_it(self, end: Ended) -> bool:
        """Take note of a part's end; return whether to go on at once without it."""
        if end.part == AGAIN:
            return True
        now = time.monotonic()
        ends = [then for then in self._ends[end.part] if then > now - _WITHIN]
        self._ends[end.part] = [*ends, now]
        if not end.hears or len(ends) + 1 >= _ENDS:
            self._without.add(end.part)
        return not end.hears

    async def _watcher(
        self,
    ) -> AsyncGenerator[Change | ConnectionEvent | Met | Ended]:
        """Begin a watcher, and yield what it tells until it ends, or a part of it."""
        # Root can end what it has started, whatever its sudo makes of signals.
        root = self._probe.sudo and self._probe.rights.all
        root = root and _ROOT not in self._without
        looks, followed = self._looks(), self.followed
        monitor = Monitor(
            looks,
            sudo=self._probe.sudo and not root,
            patience=self._session.patience,
            by_report=self.reports,
            routes=_ROUTES not in self._without,
            connections_at=self._address if self.hears_connections else None,
            followed=() if _NEIGHBOURS in self._without else followed,
        )
        patience = self._session.patience_with(monitor.text)
        watcher = _Watcher(monitor, Looks(looks), patience)

        def compare() -> None:
            """Ask what the loop sees now, if it is not what was read."""
            if watcher.looks.read(self._rules.printed):
                asks.put_nowait(LOOK)

        asks = self._asks = asyncio.Queue[str]()
        lines = self._session.stream(
            monitor.text,
            HEARTBEAT,
            root=root,
            asks=asks,
            silence=SILENCE + patience,
            yields=True,
        )
        self._rules.on_read = compare
        try:
            async with aclosing(lines):
                async for line in lines:
                    for told in watcher.heard(line):
                        first = isinstance(told, Change) and self.since is None
                        if first and self._hears(asks, followed):
                            yield Unheard()
                        yield told
            yield Ended(_SHELL)
        except BadOutput:
            if not root or self.since:
                raise
            # Its sudo has refused.
            yield Ended(_ROOT, hears=False)
        except TimedOut:
            yield Ended(_SHELL)
        finally:
            self.since = self._asks = None
            self._rules.on_read = None

    def _hears(self, asks: asyncio.Queue[str], followed: frozenset[Followed]) -> bool:
        """Take note that a watcher hears; return whether connections may be missed."""
        if self.followed != followed:
            asks.put_nowait(AGAIN)
        self.since = time.time()
        missed = self._begun and self._probe.tools.conntrack
        self._begun = True
        return missed

    def _looks(self) -> list[str]:
        """Return the commands to look by."""
        looks = self._rules.ruleset.looks(heard=self.reports)
        if _ROUTES in self._without and self._routes_look not in looks:
            looks.append(self._routes_look)
        return looks


class _Watcher:
    """One watcher, and when its parts gave a sign of life."""

    def __init__(self, monitor: Monitor, looks: Looks, patience: float) -> None:
        """Take what reads its lines, and the seconds that it may take beside."""
        self._monitor = monitor
        self.looks = looks
        self._answered = self._seen = time.monotonic() + patience
        self._patience = patience

    def heard(self, line: str) -> Iterator[Change | ConnectionEvent | Met | Ended]:
        """Yield what a line tells, and what it tells nothing of any more."""
        now = time.monotonic()
        for told in self._monitor.heard(line):
            if isinstance(told, There):
                self._answered = now
            elif isinstance(told, Seen):
                self._seen = now
                if self.looks.saw(told):
                    yield Change()
            else:
                yield told
        if now > self._answered + _UNANSWERED + self._patience:
            yield Ended(_SHELL)
        elif (
            self.looks.commands
            and now > self._seen + _UNSEEN + self._patience * LOOKS_BETWEEN
        ):
            yield Ended(_LOOKS)
