"""What is wished, what is so, and how the two are brought together."""

import asyncio
from collections.abc import Coroutine
import logging
import time
from typing import Any, override

from homeassistant.config_entries import ConfigEntry
from homeassistant.core import HomeAssistant, callback
from homeassistant.exceptions import (
    ConfigEntryAuthFailed,
    ConfigEntryError,
    ConfigEntryNotReady,
    HomeAssistantError,
)
from homeassistant.helpers.update_coordinator import DataUpdateCoordinator, UpdateFailed

from .const import (
    CONF_CLOSE_CONNECTIONS,
    CONF_FIREWALL,
    CONF_RESTORE,
)
from .counters.counters import Counters
from .devices import async_name_forwards, async_register_router
from .diagnosis.run import Finding
from .diagnosis.target_learner import Targets
from .errors import translated
from .issues import Issues
from .router.backend import Backend
from .router.doctor.report import Diagnosis
from .router.errors import (
    AuthenticationFailed,
    ConnectionFailed,
    ConnectionLost,
    HostKeyChanged,
    RouterError,
    TimedOut,
    TooManyAttempts,
)
from .router.forward import Forward
from .router.monitor import Change
from .router.router import Router
from .router.rules.base import Live
from .subentry import read_forwards
from .sync.closing import Closing
from .sync.connection import UNMENDABLE, Link
from .sync.desired_state import Wishes
from .sync.events import RulesEvents, RulesEventType
from .sync.history import Journal
from .sync.removals import Removals
from .sync.retry import NextLook

_LOGGER = logging.getLogger(__name__)

# Seconds in which a router must have told what it does, once it is connected.
_FIRST_LOOK = 60.0
# Calls of `sudo` that a first look needs at the most, with all that is mended by it.
_SUDOS = 40
# Seconds that a router is left alone at the most which tells of changes all the time.
_LONGEST_PAUSE = 1.0

type BypassRouterConfigEntry = ConfigEntry[BypassRouterCoordinator]


def _firewall_of(entry: ConfigEntry[Any]) -> str:
    """Return which firewall the user has chosen for a router."""
    return str(entry.options.get(CONF_FIREWALL, Backend.AUTO))


class BypassRouterCoordinator(DataUpdateCoordinator[Live]):
    """Brings what is wished about on one router, and tells what is so.

    There are two occasions: a wish changes (`async_reconcile`), or the router
    tells that something changed there (`async_heard`). Both wait for
    `_changing`, so that each sees the outcome of the one before.
    """

    config_entry: BypassRouterConfigEntry

    def __init__(self, hass: HomeAssistant, entry: BypassRouterConfigEntry) -> None:
        """Prepare; nothing is connected yet."""
        super().__init__(
            hass,
            _LOGGER,
            config_entry=entry,
            name=entry.title,
            update_interval=None,
            always_update=False,
        )
        self.device_id = ""
        """Of the router's device, once it is connected."""
        self.forwards: dict[str, Forward] = {}
        self.counters = Counters(
            hass,
            entry,
            router=lambda: self.link.router,
            forwards=lambda: self._in_force,
        )
        self._targets = Targets(
            hass,
            entry,
            router=lambda: self.link.router,
            forwards=lambda: self._in_force,
        )
        self.link = Link(
            hass,
            entry,
            on_open=self._opened,
            on_change=self.async_heard,
            on_loss=self._lost,
            on_arrival=self.counters.async_arrived,
        )
        self.findings: dict[str, Finding] = {}
        """What the doctor said of each forward, when it was asked last."""
        self.journal = Journal()
        self.events = RulesEvents(self.journal)
        self._issues = Issues(hass, entry)
        self._closing = Closing(
            entry.title, self._issues, stopped=lambda: self._stopped
        )
        self._firewall = _firewall_of(entry)
        self._wishes = Wishes(hass, entry.entry_id)
        self._in_force: dict[str, Forward] = {}
        self._boot_id = ""
        self._changing = asyncio.Lock()
        self._next_change: asyncio.Task[RouterError | None] | None = None
        self._stopped = False
        self._untouched = True
        self._looking: asyncio.Task[None] | None = None
        self._settled: asyncio.Future[None] | None = None
        self._removals = Removals(self.events, self._issues)
        self._next_look = NextLook(hass, lambda: self.async_heard(Change()))

    async def async_start(self) -> None:
        """Connect, and bring about what was wished before.

        Raises ConfigEntryNotReady if it is worth another try by itself,
        ConfigEntryError if it takes the user.
        """
        await self._wishes.load()
        await self.counters.async_start()
        self.config_entry.async_on_unload(
            self.async_add_listener(self.counters.async_read_soon)
        )
        self.config_entry.async_on_unload(
            self.async_add_listener(self._targets.async_learn_soon)
        )
        self.forwards = read_forwards(self.config_entry)
        self._in_force = {key: self.forwards[key] for key in self._due}
        self._settled = self.hass.loop.create_future()
        self.config_entry.async_on_unload(self._next_look.async_forget)
        # Also of a set-up that fails, and what came back just before the end.
        self.config_entry.async_on_unload(self.link.close)
        first_look = _FIRST_LOOK
        try:
            router = await self.link.open()
            self._issues.host_key_accepted()
            self.device_id = async_register_router(self.hass, self.config_entry, router)
            self._in_background(self._follow(router), "watch")
            first_look += _SUDOS * router.probe.rights.patience
            async with asyncio.timeout(first_look):
                await self._settled
        except (AuthenticationFailed, TooManyAttempts) as err:
            # Not tried again without the user: a router bans who keeps failing.
            raise translated(ConfigEntryAuthFailed, err) from err
        except HostKeyChanged as err:
            self._issues.host_key_changed(err)
            raise translated(ConfigEntryError, err) from err
        except RouterError as err:
            raise translated(ConfigEntryNotReady, err) from err
        except TimeoutError as err:
            late = TimedOut(seconds=f"{first_look:g}")
            raise translated(ConfigEntryNotReady, late) from err

    async def async_stop(self) -> None:
        """End the connection; the rules stay in force.

        Wishes that came before are saved, and whoever waits for them hears of it.
        """
        self._stopped = True
        await self.link.close()
        if self._next_change:
            await asyncio.wait([self._next_change])
        async with self._changing:
            await self.counters.async_stop()

    async def async_wish(self, forward_id: str, *, on: bool) -> None:
        """Wish a forward in force or not, and bring it about.

        Raises HomeAssistantError with the sentence for the user. The wish is
        kept where the router could not be asked, and is dropped where the
        router refused it, and where it comes after the end.
        """
        if self._stopped:
            raise translated(HomeAssistantError, ConnectionLost(message="closed"))
        self._wishes.wish(forward_id, on=on)
        await self.async_reapply()

    async def async_reapply(self) -> None:
        """Bring about what is wished; raises HomeAssistantError for the user."""
        try:
            await self.async_reconcile()
        except RouterError as err:
            raise translated(HomeAssistantError, err) from err

    async def async_reconcile(self) -> None:
        """Bring about what is wished now. Raises RouterError.

        Whoever asks while a change is under way joins the one after it, so
        that any number of wishes at once are two changes at most.
        """
        if self._stopped:
            raise ConnectionLost(message="closed")
        if self._next_change is None:
            # Not eagerly: it would begin, and end the time to join, in here.
            self._next_change = self._in_background(
                self._try_change(), "change", eager_start=False
            )
        # One caller who gives up does not take the change from the others.
        if err := await asyncio.shield(self._next_change):
            raise err

    @callback
    def async_heard(self, change: Change) -> None:
        """Look at the router, since it told of a change there."""
        self._untouched = False
        self.journal.hints += 1
        self._removals.async_heard(change)
        if self._looking is None:
            self._looking = self._in_background(self._look(), "look", eager_start=False)

    @callback
    def async_forwards_changed(self) -> None:
        """Take note of forwards that were added, changed or removed, and of options."""
        self.forwards = read_forwards(self.config_entry)
        if not self._closes:
            self._issues.connections_end()
        if self.link.router is None and self.journal.router:
            # Their rules are removed when the router is back.
            self._issues.waiting(
                [
                    line
                    for key in self._in_force.keys() - self.forwards.keys()
                    for line in self.journal.router.rules.removal_commands(
                        self._in_force[key]
                    )
                ]
            )
        async_name_forwards(self.hass, self.config_entry, self.forwards)
        self.async_update_listeners()
        self._in_background(self._reconcile_unasked(), "forwards")

    @callback
    def async_diagnosed(self, forward: Forward, diagnosis: Diagnosis) -> None:
        """Take note of what the doctor said."""
        self.findings[forward.id] = Finding(forward, self.is_on(forward.id), diagnosis)
        self.async_update_listeners()

    def is_on(self, forward_id: str) -> bool:
        """Tell whether a forward was found in the kernel as it is set up."""
        live = self.data.forwards.get(forward_id)
        return live is not None and live == self.forwards.get(forward_id)

    @property
    def outdated(self) -> bool:
        """Whether the router has to be connected anew for what the entry says now."""
        entry = self.config_entry
        return self.link.data != entry.data or self._firewall != _firewall_of(entry)

    @property
    def wished(self) -> frozenset[str]:
        """The ids of the forwards that are to be in force."""
        return self._wishes.wished

    @override
    async def _async_update_data(self) -> Live:
        """Look at the router because somebody asked for it."""
        if self.link.router is None:
            raise translated(UpdateFailed, ConnectionLost(message="closed"))
        self.async_heard(Change())
        try:
            return await self.link.router.rules.read()
        except RouterError as err:
            raise translated(UpdateFailed, err) from err

    def _in_background[T](
        self, work: Coroutine[Any, Any, T], what: str, *, eager_start: bool = True
    ) -> asyncio.Task[T]:
        """Start something that ends with the entry at the latest."""
        return self.config_entry.async_create_background_task(
            self.hass, work, f"{self.name} {what}", eager_start=eager_start
        )

    async def _follow(self, router: Router) -> None:
        """Stay connected."""
        try:
            await self.link.follow(router)
        except UNMENDABLE:
            # The set-up says what is wrong, and does not try again.
            self.hass.config_entries.async_schedule_reload(self.config_entry.entry_id)

    @callback
    def _opened(self, router: Router) -> None:
        """Take note of which boot of the router this is."""
        self._boot_id = router.probe.boot_id
        self.journal.note_opened(router)
        self._issues.forwarding(enabled=router.probe.ip_forward)
        self._issues.sudo_waits(router.probe.rights)
        self._issues.both_variants(
            router.rules.firewall if router.probe.tools.both_translate else None
        )
        if router.probe.tools.conntrack or not self._closes:
            self._issues.connections_end()
        self._removals.async_forget()

    @callback
    def _lost(self) -> None:
        """Show that nothing is known of the router."""
        self.journal.note_lost()
        lost = ConnectionLost(message="closed")
        if not self._give_up_start(lost):
            self.async_set_update_error(translated(HomeAssistantError, lost))

    def _give_up_start(self, err: RouterError) -> bool:
        """End the start with an error; tell whether it was under way."""
        if self._settled is None or self._settled.done():
            return False
        self._settled.set_exception(err)
        return True

    async def _try_change(self) -> RouterError | None:
        """Carry out a change; return its error, which nobody may wait for any more."""
        try:
            await self._change()
        except RouterError as err:
            return err
        return None

    async def _change(self) -> None:
        """Carry out what is wished when the change before this one is done."""
        async with self._changing:
            # From here on, whoever wishes something else needs another change.
            self._next_change = None
            before = self._wishes.saved
            asked = await self._wishes.save(self.forwards)
            wished = self._wishes.saved
            if (router := self.link.router) is None:
                raise ConnectionLost(message="closed")
            try:
                live = await self._apply(router, wished, self.data, asked)
                await self._show_change(router, live)
            except ConnectionFailed, TimedOut:
                # Nobody knows how far the router came.
                self.async_heard(Change())
                raise
            except RouterError:
                try:
                    await self._take_back(router, before)
                except RouterError:
                    self.async_heard(Change())
                raise

    async def _take_back(self, router: Router, before: frozenset[str]) -> None:
        """Return to what was wished before the router refused a change."""
        await self._wishes.take_back(before)
        try:
            # The router may have carried out a part.
            live = await self._apply(router, before, self.data)
        except RouterError:
            live = await router.rules.read()
        await self._show_change(router, live)

    async def _show_change(self, router: Router, live: Live) -> None:
        """Show what a change came to, and tell what others did meanwhile."""
        lost = await self._take_lost(router, live)
        self._show(router, live)
        if lost:
            self._removals.async_put_back()
            cause = await self._removals.async_tell(router, lost)
            if restored := lost & self._in_force.keys():
                self.events.async_fire(RulesEventType.RESTORED, restored, cause)

    async def _take_lost(self, router: Router, live: Live) -> frozenset[str]:
        """Return which forwards a change found to be lost.

        Those that it did not put back are wished no more.
        """
        lost = router.rules.take_lost() & self._due
        await self._give_up(self._missing(lost, live))
        return lost

    async def _give_up(self, gone: frozenset[str]) -> frozenset[str]:
        """Wish no more for what somebody took away, if it is not to be put back.

        Returns what was given up.
        """
        if self._restores:
            return frozenset()
        await self._wishes.give_up(gone)
        return gone

    async def _reconcile_unasked(self) -> None:
        """Bring about what is wished where no caller waits for it."""
        try:
            await self.async_reconcile()
        except RouterError as err:
            # One who removes a forward and then the router needs no warning.
            level = logging.DEBUG if self._stopped else logging.WARNING
            _LOGGER.log(level, "%s: %s", self.name, translated(HomeAssistantError, err))

    async def _look(self) -> None:
        """Look at the router until it has nothing more to tell."""
        looks = 0
        try:
            while not self._untouched:
                started = time.monotonic()
                async with self._changing:
                    self._untouched = True
                    await self._look_once()
                looks += 1
                # A router that tells of changes all the time is left more and
                # more time for itself.
                spent = time.monotonic() - started
                await asyncio.sleep(min(spent * looks, _LONGEST_PAUSE))
        finally:
            self._looking = None

    async def _look_once(self) -> None:
        """Settle, or note that the router can't be looked at."""
        if (router := self.link.router) is None:
            return
        self.journal.looks += 1
        try:
            await self._settle(router)
        except RouterError as err:
            if self._give_up_start(err) or router.closed:
                return
            self.async_set_update_error(translated(HomeAssistantError, err))
            self._next_look.async_retry()
        else:
            if self._settled and not self._settled.done():
                self._settled.set_result(None)

    async def _settle(self, router: Router) -> None:
        """Compare what is so with what is wished: tell the difference, mend it."""
        reports = self._removals.take_reports()
        live = await router.rules.read()
        wished = self._due
        missing = self._missing(wished, live)
        gone = frozenset(
            key for key in missing if self._in_force.get(key) == self.forwards[key]
        )
        self._removals.judge(router, reports, removed=bool(gone))
        restarted = self._wishes.boot_id not in ("", self._boot_id)
        await self._wishes.save_boot_id(self._boot_id)
        wished -= await self._give_up(gone)
        if gone & wished and (wait := self._removals.async_wait()):
            self._next_look.async_plan(wait)
        elif router.rules.differs(self._chosen(wished)):
            if gone & wished:
                self._removals.async_put_back()
            live = await self._mend(router, wished, live)
            gone |= await self._take_lost(router, live)
        # Some may have been removed or given up meanwhile.
        wished &= self._due
        self._show(router, live)
        restored = gone & wished - self._missing(wished, live)
        cause = None
        if restarted:
            self.events.async_fire(RulesEventType.RESTARTED, gone)
        elif gone:
            cause = await self._removals.async_tell(router, gone)
        if restored:
            self.events.async_fire(RulesEventType.RESTORED, restored, cause)
        self._removals.async_tell_fight()

    async def _mend(self, router: Router, wished: frozenset[str], live: Live) -> Live:
        """Bring about what is wished, and return what is so then."""
        try:
            return await self._apply(router, wished, live)
        except ConnectionFailed, TimedOut:
            raise
        except RouterError as err:
            _LOGGER.warning("%s: %s", self.name, translated(HomeAssistantError, err))
            self._next_look.async_retry()
            return await router.rules.read()

    async def _apply(
        self,
        router: Router,
        ids: frozenset[str],
        live: Live | None,
        asked: frozenset[str] = frozenset(),
    ) -> Live:
        """Make exactly these forwards live, where others were, and return what is so.

        Whoever has `asked` for one by name gets it, also where it turns out to be lost,
        and lost ones are not to be put back. Raises RouterError.
        """
        wished = self._chosen(ids)
        self._closing.expect(wished, live)
        expected = frozenset(self._in_force.values())
        given_up = frozenset() if self._restores else self._in_force.keys() - asked
        return await router.rules.apply(wished, expected, given_up)

    async def _close(self, router: Router, gone: frozenset[Forward]) -> None:
        """End the connections of forwards that we have taken away."""
        async with self._changing:
            # One may have been turned on again before its turn has come.
            over = gone.difference(self._in_force.values())
            if over and self._closes:
                await self._closing.close(router, over)

    @property
    def _due(self) -> frozenset[str]:
        """The forwards whose wish is on disk; what is newer waits for its change."""
        return self._wishes.saved & self.forwards.keys()

    @property
    def _restores(self) -> bool:
        """Whether forwards that somebody took away are to be put back."""
        return bool(self.config_entry.options.get(CONF_RESTORE, True))

    @property
    def _closes(self) -> bool:
        """Whether connections are to end with their forward."""
        return bool(self.config_entry.options.get(CONF_CLOSE_CONNECTIONS, True))

    def _show(self, router: Router, live: Live) -> None:
        """Show what was read back, unless the router has been lost since."""
        if self.link.router is not router:
            return
        if not self.last_update_success:
            _LOGGER.info("%s is back", self.name)
        wished = self._due
        there = wished - self._missing(wished, live)
        self._in_force = {key: self.forwards[key] for key in there}
        if there == wished:
            self._next_look.async_all_well()
        self._issues.foreign(live.foreign)
        self._issues.waiting([])
        self._removals.async_calm()
        self.async_set_updated_data(live)
        if gone := self._closing.gone(live):
            # What the switch shows need not wait for it.
            self._in_background(
                self._close(router, gone), "connections", eager_start=False
            )

    def _missing(self, wished: frozenset[str], live: Live) -> frozenset[str]:
        """Return the forwards that are wished and not in force."""
        return frozenset(
            key for key in wished if live.forwards.get(key) != self.forwards[key]
        )

    def _chosen(self, ids: frozenset[str]) -> list[Forward]:
        """Return the forwards of these ids."""
        return [forward for key, forward in self.forwards.items() if key in ids]
