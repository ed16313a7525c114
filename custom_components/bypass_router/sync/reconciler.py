"""Applies what is desired to one router, and keeps it so."""

import asyncio
from collections.abc import Coroutine, Mapping
from contextlib import suppress
import logging
import time
from typing import Any

from ..router.errors import (
    BadOutput,
    ConnectionFailed,
    ConnectionLost,
    RouterError,
    TimedOut,
)
from ..router.forward import Forward
from ..router.monitor import Change
from ..router.rules.base import Applied, Live, target_of
from ..storage import NotSaved
from ..unforeseen import Surprises, Unforeseen
from .at_boot import AtBoot
from .closing import Closing
from .comparison import compare, missing
from .desired_state import DesiredState, Wishes, changed, with_those
from .history import History
from .interfaces import ConnectedRouter, Face
from .interference import Interference
from .lease import Lease
from .refusals import Refusals
from .retry import FIRST_DELAY, Retry

_LOGGER = logging.getLogger(__name__)

type _Outcome = RouterError | Mapping[str, RouterError]
"""Why a change failed, or what of it the router refused, by the forwards' ids."""

# Seconds that a router is left alone at the most which reports changes all the time.
_LONGEST_PAUSE = 1.0
# Seconds until it is seen whether a clock is right by now.
_CLOCK_LOOK = 60.0
# Seconds between looks at what cuts connections, which lasts for a month.
_CUT_LOOK = 86400.0
# Seconds that the end waits for changes, and for what they have left to do.
_LAST_WORK = 5.0


class Reconciler:
    """Brings desired and live together, and says what is live.

    There are two occasions: something else is desired (`reconcile`), or the router
    reports that something changed there (`reported`). Both wait for `_changing`, so
    that each sees the outcome of the one before.
    """

    def __init__(
        self,
        face: Face,
        desired: DesiredState,
        closing: Closing,
        interference: Interference,
        history: History,
        retry: Retry,
        next_end: Retry,
        at_boot: AtBoot,
    ) -> None:
        """Take what it works with; nothing is read or changed yet."""
        self._face = face
        self._desired = desired
        self._closing = closing
        self._interference = interference
        self._history = history
        self._retry = retry
        self._next_end = next_end
        self._at_boot = at_boot
        self.active: dict[str, Forward] = {}
        """The desired forwards that were live when the router was read last."""
        self.boot_id = ""
        """Of the router's present boot."""
        self.stopped = False
        """Whether no more changes are begun."""
        self._live: Live | None = None
        self._changing = asyncio.Lock()
        self._refusals = Refusals()
        self._held: frozenset[str] = frozenset()
        self._surprises = Surprises()
        self._next_change: asyncio.Task[_Outcome] | None = None
        self._unread = False
        self._refreshing: asyncio.Task[None] | None = None
        self._first: asyncio.Future[None] | None = None
        self._of: tuple[Wishes, Mapping[str, Forward], Mapping[str, Forward]] | None = (
            None
        )
        self._left_to_do: set[asyncio.Task[None]] = set()

    async def load(self) -> None:
        """Read what was desired before, which is taken for live until it is read."""
        await self._desired.load()
        forwards = self.forwards
        self.active = {key: forwards[key] for key in self._due}
        self._first = asyncio.get_running_loop().create_future()

    async def first(self) -> None:
        """Wait until the router was read for the first time. Raises RouterError."""
        if self._first:
            await self._first

    def give_up_first(self, err: RouterError) -> bool:
        """End the wait for the first time with an error; return whether one waits."""
        if self._first is None or self._first.done():
            return False
        self._first.set_exception(err)
        return True

    async def finish(self) -> None:
        """Let changes be done, with what comes after, while the router is connected.

        A reload asks for none of it again: flows would go on that a forward has let in
        which is off now, or would never reach one that has come on. `stopped` is to be
        set by then.
        """
        with suppress(TimeoutError):
            async with asyncio.timeout(_LAST_WORK):
                await self.stop()
                if self._left_to_do:
                    await asyncio.wait(self._left_to_do)

    async def stop(self) -> None:
        """Wait for changes that were asked for; `stopped` is to be set by then."""
        if self._next_change:
            await asyncio.wait([self._next_change])
        async with self._changing:
            pass

    def request(self, forward_id: str, *, on: bool, lease: Lease | None = None) -> None:
        """Take a request for one forward, which `reconcile` applies."""
        self._desired.set(forward_id, on=on, lease=lease)
        self._refusals.asked(forward_id)

    def begin(self, forward_id: str) -> None:
        """Take the request that a forward comes with, which `reconcile` applies."""
        self._desired.begin(forward_id)

    def opened(self, boot_id: str) -> None:
        """Take note of a new connection, and of the boot of the router it is to."""
        self.boot_id = boot_id
        self._refusals.forget()

    @property
    def desired(self) -> frozenset[str]:
        """The ids of the forwards that are to be live."""
        now = time.time()
        wishes = self._desired.desired.items()
        return frozenset(
            key for key, lease in wishes if lease is None or not lease.is_over(now)
        )

    @property
    def wishes(self) -> Wishes:
        """For how long forwards are to be live, by id, as far as that is saved."""
        return self._desired.saved

    @property
    def begun(self) -> frozenset[str]:
        """The ids of the forwards whose first request is on disk."""
        return self._desired.begun

    @property
    def refused(self) -> Mapping[str, RouterError]:
        """Why forwards are not as desired, by id: refused, or kept from a stranger."""
        wished = self._desired.saved
        held = {key: err for key, err in self._face.withheld.items() if key in wished}
        return {**self._refusals.errors(self.forwards), **held}

    @property
    def forwards(self) -> Mapping[str, Forward]:
        """The forwards as they are to be while they are on, by id."""
        wishes, set_up = self._desired.saved, self._face.forwards
        # Of a thousand, each asks for it; both are other objects when they change.
        if self._of is None or self._of[0] is not wishes or self._of[1] is not set_up:
            forwards = {
                key: lease.applied_to(forward)
                if (lease := wishes.get(key))
                else forward
                for key, forward in set_up.items()
            }
            self._of = (wishes, set_up, forwards)
        return self._of[2]

    async def reconcile(self, forward_id: str) -> None:
        """Apply what is desired now, for whoever asked for one forward.

        Raises RouterError, also where the router refuses just this one.
        """
        if err := (await self._reconcile()).get(forward_id):
            raise err

    async def reconcile_all(self) -> None:
        """Apply what is desired now, also what was refused. Raises RouterError."""
        self._refusals.forget()
        for err in (await self._reconcile()).values():
            raise err

    async def _reconcile(self) -> Mapping[str, RouterError]:
        """Apply what is desired now, and return what of it was refused.

        Whoever asks while a change is under way joins the one after it, so
        that any number of requests at once are two changes at most. Raises RouterError.
        """
        if self.stopped:
            raise ConnectionLost(message="closed")
        if self._next_change is None or self._next_change.cancelling():
            # One may be cut off before it begins, as Home Assistant stops.
            # Not eagerly: it would begin, and end the time to join, in here.
            self._next_change = self._face.in_background(
                self._try_change(), "change", eager_start=False
            )
        # One caller who gives up does not take the change from the others.
        outcome = await asyncio.shield(self._next_change)
        if isinstance(outcome, RouterError):
            raise outcome
        return outcome

    async def reconcile_unasked(self) -> None:
        """Apply what is desired where no caller waits for it."""
        try:
            await self._reconcile()
        except NotSaved:
            # That is told as long as it is so, and Home Assistant logs it.
            pass
        except RouterError as err:
            self._face.log(err)

    def reported(self, change: Change) -> None:
        """Read the rules, since the router reported a change."""
        self._unread = True
        self._history.hints += 1
        self._interference.async_reported(change)
        if self._refreshing is None:
            self._refreshing = self._face.in_background(
                self._refresh(), "refresh", eager_start=False
            )

    async def _try_change(self) -> _Outcome:
        """Carry out a change; return its error, which no one may wait for any more."""
        try:
            with self._surprises.told("a change"):
                return await self._change()
        except RouterError as err:
            # It may have been taken back.
            await self._write_again()
            if isinstance(err, Unforeseen):
                # No one knows how far it came.
                self.reported(Change())
            return err

    async def _change(self) -> Mapping[str, RouterError]:
        """Apply what is desired when the change before this one is done.

        Returns what the router refused.
        """
        async with self._changing:
            router = self._face.connected
            try:
                if router and not self._desired.known:
                    await self._take_over(await router.rules.read())
            finally:
                # From here on, whoever desires something else needs another change.
                self._next_change = None
            before, unsaved = self._desired.saved, self._desired.unsaved
            asked = await self._save()
            desired = self._desired.saved
            # No one hears of what was told to come later; it stays desired.
            before = with_those(before, unsaved, desired)
            if router is None:
                raise ConnectionLost(message="closed")
            try:
                applied = await self._apply(router, self._due, self._live, asked)
            except BadOutput, ConnectionFailed, TimedOut:
                # No one knows how far the router came.
                self.reported(Change())
                raise
            except RouterError:
                try:
                    await self._take_back(router, before)
                except RouterError:
                    self.reported(Change())
                raise
            # Whoever asked for it hears of it, and it is as it was before.
            turned = asked & changed(before, desired) & applied.refused.keys()
            await self._desired.take_back(before, turned)
            self._note_refused(applied, turned)
            await self._show_change(router, applied.live)
            held = self._face.withheld
            told = asked & desired.keys() & held.keys()
            return {**applied.refused, **{key: held[key] for key in told}}

    async def _save(self) -> frozenset[str]:
        """Write the requests until now, and return for which forwards they are.

        Raises NotSaved; they are tried again then.
        """
        if not self._desired.known:
            # Whoever reads the file later would take it for all that was desired.
            raise ConnectionLost(message="closed")
        try:
            return await self._desired.save(self._face.forwards)
        except NotSaved:
            self._retry.async_back_off()
            raise

    async def _write_again(self) -> None:
        """Write what is desired where it could not be written; else try later."""
        if self._desired.known and not await self._desired.write():
            self._retry.async_back_off()

    async def _take_over(self, live: Live) -> None:
        """Desire what is live, since no file tells what was desired."""
        found = live.forwards.items()
        now = time.time()
        await self._desired.take_over(
            {
                key: Lease(forward.until, now) if forward.until is not None else None
                for key, forward in found
                if key in self._face.forwards
            }
        )

    async def _take_back(self, router: ConnectedRouter, before: Wishes) -> None:
        """Return to what was desired before the router refused a change."""
        await self._desired.take_back(before, changed(self._desired.saved, before))
        try:
            # The router may have carried out a part.
            applied = await self._apply(router, self._due, self._live)
            self._note_refused(applied)
            live = applied.live
        except RouterError:
            live = await router.rules.read()
            self._retry.async_back_off()
        await self._show_change(router, live)

    def _note_refused(
        self, applied: Applied, told: frozenset[str] = frozenset()
    ) -> None:
        """Take note of what a change left undone, but for what a caller was told of."""
        errors = applied.refused
        self._refusals.drop({key: errors[key] for key in told}, self.forwards)
        known = told | applied.untried
        refused = {k: err for k, err in errors.items() if k not in known}
        for key, err in self._refusals.note(self._held, refused, self.forwards).items():
            self._face.log(err, key)
        if applied.untried - told:
            # The others will not be in their way.
            self._retry.async_in(FIRST_DELAY)
        elif wait := self._refusals.wait():
            self._retry.async_in(wait)

    async def _show_change(self, router: ConnectedRouter, live: Live) -> None:
        """Show what a change came to, and tell what others did meanwhile."""
        lost = await self._take_lost(router, live)
        self._show(router, live)
        if lost:
            self._interference.async_put_back()
            await self._interference.async_tell(router, lost, lost & self.active.keys())

    async def _take_lost(self, router: ConnectedRouter, live: Live) -> frozenset[str]:
        """Return which forwards a change found to be lost.

        Those that it did not put back are desired no more.
        """
        lost = router.rules.take_lost() & self._due
        if not self._face.restores:
            await self._desired.give_up(self._missing(lost, live))
        return lost

    async def _refresh(self) -> None:
        """Read the router until it has nothing more to report."""
        times = 0
        try:
            while self._unread:
                started = time.monotonic()
                async with self._changing:
                    self._unread = False
                    await self._refresh_once()
                    await self._write_again()
                times += 1
                # A router that reports changes all the time is left more and
                # more time for itself.
                spent = time.monotonic() - started
                await asyncio.sleep(min(spent * times, _LONGEST_PAUSE))
        finally:
            self._refreshing = None

    async def _refresh_once(self) -> None:
        """Settle, or show that the router can't be read."""
        if self._desired.unsaved:
            # Its change waits for this one, and needs no router to be written.
            self._face.in_background(self.reconcile_unasked(), "requests")
        if (router := self._face.connected) is None:
            return
        self._history.refreshes += 1
        try:
            with self._surprises.told("reading the rules"):
                await self._settle(router)
        except RouterError as err:
            if self.give_up_first(err) or router.closed:
                return
            self._face.show_error(err)
            self._retry.async_back_off()
        else:
            if self._first and not self._first.done():
                self._first.set_result(None)

    async def _settle(self, router: ConnectedRouter) -> None:
        """Read what is live, and have it be what is desired."""
        reports = self._interference.take_reports()
        live = await router.rules.read()
        if not self._desired.known:
            await self._take_over(live)
        await self._desired.give_up(self._over)
        seen = compare(
            self.forwards,
            self._due,
            live.forwards,
            self.active,
            restores=self._face.restores,
        )
        self._interference.evaluate(router, reports, removed=bool(seen.lost))
        restarted = self._desired.boot_id not in ("", self.boot_id)
        await self._desired.save_boot_id(self.boot_id)
        await self._desired.give_up(seen.given_up)
        lost = seen.lost
        put_back = bool(lost & seen.desired)
        if put_back and (wait := self._interference.async_wait()):
            self._retry.async_in(wait)
        elif router.rules.differs(self._chosen(seen.desired), self._held):
            if put_back:
                self._interference.async_put_back()
            live = await self._mend(router, seen.desired, live)
            lost |= await self._take_lost(router, live)
        else:
            self._note_refused(Applied(live, {}))
        self._show(router, live)
        # Some may have been removed or given up meanwhile.
        desired = seen.desired & self._due
        await self._interference.async_tell(
            router,
            lost,
            lost & desired - self._missing(desired, live),
            restarted=restarted,
        )

    async def _mend(
        self, router: ConnectedRouter, desired: frozenset[str], live: Live
    ) -> Live:
        """Apply what is desired without a request, and return what is live then."""
        try:
            applied = await self._apply(router, desired, live)
        except ConnectionFailed, TimedOut:
            raise
        except RouterError as err:
            self._face.log(err)
            self._retry.async_back_off()
            return await router.rules.read()
        self._note_refused(applied)
        return applied.live

    async def _apply(
        self,
        router: ConnectedRouter,
        ids: frozenset[str],
        live: Live | None,
        asked: frozenset[str] = frozenset(),
    ) -> Applied:
        """Make exactly these forwards live, where others were, and return what is.

        Whoever has `asked` for one by name gets it, also where it turns out to be lost,
        and lost ones are not to be put back. Raises RouterError.
        """
        desired = self._chosen(ids, asked)
        there = live.forwards if live else {}
        target = target_of(desired, self._held, there)
        self._closing.expect(target, live)
        await self._at_boot.leave_out(target, self.active.values())
        expected = frozenset(self.active.values())
        restores = self._face.restores
        given_up = frozenset() if restores else self.active.keys() - asked
        with self._surprises.told("applying"):
            return await router.rules.apply_each(
                desired, expected, given_up, self._held
            )

    async def _write_at_boot(self) -> None:
        """Have what is active come back when the router starts, or nothing."""
        async with self._changing:
            with self._surprises.survived("what comes back by itself"):
                if self._at_boot.is_due(self.active):
                    await self._at_boot.write(self.active)

    async def _close(self, router: ConnectedRouter, gone: frozenset[Forward]) -> None:
        """End the connections of forwards that we have taken away."""
        async with self._changing:
            # One may have been turned on again before its turn has come.
            over = gone.difference(self.active.values())
            if over and self._face.closes:
                with self._surprises.survived("ending connections"):
                    await self._closing.close(router, over)

    async def _forget_untranslated(
        self, router: ConnectedRouter, come: frozenset[Forward]
    ) -> None:
        """Let flows that were there before go through forwards that have come on."""
        async with self._changing:
            try:
                with self._surprises.told("earlier flows"):
                    await router.forget_untranslated(come)
            except RouterError as err:
                _LOGGER.debug("Earlier flows may not pass: %s", err)

    def _show(self, router: ConnectedRouter, live: Live) -> None:
        """Show what was read back, unless the router has been lost since."""
        if self._face.connected is not router:
            return
        desired, forwards = self._due, self.forwards
        there = desired - self._missing(desired, live)
        self.active = {key: forwards[key] for key in there}
        self._plan_next_end(router)
        if desired - there <= self.refused.keys():
            self._retry.async_reset()
        self._interference.async_calm()
        self._live = live
        self._face.show(live)
        if come := router.rules.take_come():
            self._have_done(self._forget_untranslated(router, come), "flows")
        if self._at_boot.is_due(self.active):
            self._have_done(self._write_at_boot(), "start")
        if gone := self._closing.gone(live):
            # What the switch shows need not wait for it.
            self._have_done(self._close(router, gone), "connections")

    def _have_done(self, work: Coroutine[Any, Any, None], what: str) -> None:
        """Start what a change has left to do on the router, and nobody waits for."""
        task = self._face.in_background(work, what, eager_start=False)
        self._left_to_do.add(task)
        task.add_done_callback(self._left_to_do.discard)

    @property
    def _due(self) -> frozenset[str]:
        """The forwards to be live by requests on disk; newer ones wait for a change.

        But for those that would lead to a stranger.
        """
        forwards, now = self._face.forwards, time.time()
        held = self._face.withheld
        return frozenset(
            key
            for key, lease in self._desired.saved.items()
            if key in forwards
            and key not in held
            and (lease is None or lease.counts(now))
        )

    @property
    def _over(self) -> frozenset[str]:
        """The forwards whose time is over."""
        now = time.time()
        wishes = self._desired.saved.items()
        return frozenset(key for key, lease in wishes if lease and lease.is_over(now))

    def _plan_next_end(self, router: ConnectedRouter) -> None:
        """Have the router read when the next forward's time is over."""
        now = time.time()
        waits = [
            # Else the clock was set back since, and may be right again any time.
            lease.until - now if lease.counts(now) else _CLOCK_LOOK
            for lease in self._desired.saved.values()
            if lease
        ]
        if waits and router.rules.by_clock:
            # One that is set, as after a start without a network, ends them by itself.
            waits.append(_CLOCK_LOOK)
        if router.rules.cuts:
            # What still cuts someone is renewed before it ends.
            waits.append(_CUT_LOOK)
        if waits:
            self._next_end.async_in(max(min(waits), 0.0))
        else:
            self._next_end.async_cancel()

    def _missing(self, desired: frozenset[str], live: Live) -> frozenset[str]:
        """Return the forwards that are desired and not live."""
        return missing(self.forwards, desired, live.forwards)

    def _chosen(
        self, ids: frozenset[str], asked: frozenset[str] = frozenset()
    ) -> list[Forward]:
        """Return the forwards of these ids, and hold those that were refused.

        They are to stay as they are for a while, unless they are asked for.
        """
        forwards = self.forwards
        self._held = self._refusals.held(forwards) - asked
        return [forward for key, forward in forwards.items() if key in ids]
