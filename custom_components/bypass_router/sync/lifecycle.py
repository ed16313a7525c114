"""From the first connection to a router until it is let go of."""

import asyncio
from collections.abc import Callable
from typing import Any

from homeassistant.config_entries import ConfigEntry
from homeassistant.core import HomeAssistant, callback

from ..const import CONF_AT_BOOT
from ..issues import Issues
from ..router.errors import ConnectionLost, TimedOut
from ..router.monitor import Change, ConnectionEvent
from ..router.network.whereabouts import Followed
from ..router.router import Router
from ..unforeseen import Surprises, Unforeseen
from .at_boot import AtBoot
from .closing import Closing
from .connection import UNMENDABLE, RouterConnection
from .desired_state import DesiredState, file_of
from .events import RulesEvents
from .first_switch import FirstSwitch
from .history import History
from .interfaces import Face
from .interference import Interference
from .reconciler import Reconciler
from .retry import Retry

# Seconds in which a router must have told what it does, once it is connected.
_FIRST_LOOK = 60.0
# Seconds until all is begun anew where even that fails which copes with failures.
_LAST_RESORT = 60.0
# Calls of `sudo` that a first look needs at the most, with all that is mended by it.
_SUDOS = 40


class Lifecycle:
    """Holds the connection to one router together with the reconciler."""

    def __init__(
        self,
        hass: HomeAssistant,
        entry: ConfigEntry[Any],
        face: Face,
        issues: Issues,
        on_connection: Callable[[ConnectionEvent], None],
        on_met: Callable[[], None],
        followed: Callable[[], frozenset[Followed]],
    ) -> None:
        """Take whom to show what, and what to follow; nothing is connected yet."""
        self._hass = hass
        self._entry = entry
        self._face = face
        self._issues = issues
        self._followed = followed
        self.history = History()
        self.events = RulesEvents(self.history)
        self._interference = Interference(self.events, issues)
        self._retry = Retry(hass, self.refresh)
        self._next_end = Retry(hass, self.refresh)
        self._renewal = Retry(hass, self.refresh)
        self._at_boot = AtBoot(
            entry.title,
            issues,
            lambda: bool(entry.options.get(CONF_AT_BOOT, False)),
            self._renewal,
        )
        self.reconciler = Reconciler(
            face,
            DesiredState(file_of(hass, entry.entry_id), issues),
            Closing(entry.title, issues, stopped=lambda: self.reconciler.stopped),
            self._interference,
            self.history,
            self._retry,
            self._next_end,
            self._at_boot,
        )
        self._first_switch = FirstSwitch(hass, entry, face, self.reconciler)
        self.connection = RouterConnection(
            hass,
            entry,
            on_open=self._opened,
            on_change=self.reconciler.reported,
            on_loss=self._lost,
            on_connection=on_connection,
            on_met=on_met,
        )

    async def open(self) -> Router:
        """Connect for the first time. Raises RouterError."""
        unload = self._entry.async_on_unload
        unload(self._retry.async_cancel)
        unload(self._next_end.async_cancel)
        unload(self._renewal.async_cancel)
        # Also of a set-up that fails, and what came back just before the end.
        unload(self.connection.close)
        router = await self.connection.open()
        self._issues.host_key_accepted()
        return router

    async def begin(self, router: Router) -> None:
        """Stay connected from now on, and wait until what is desired is applied.

        Raises RouterError, TimedOut where the router never tells what it does.
        """
        self._face.in_background(self._follow(router), "watch")
        seconds = _FIRST_LOOK + _SUDOS * router.probe.rights.patience
        try:
            async with asyncio.timeout(seconds):
                await self.reconciler.first()
        except TimeoutError:
            raise TimedOut(seconds=f"{seconds:g}") from None
        # Not before it is known what was desired else.
        self._first_switch.take()

    async def stop(self) -> None:
        """End the connection; the rules stay live.

        Requests that came before are saved, and whoever waits for them hears of it.
        """
        self.reconciler.stopped = True
        await self.reconciler.finish()
        await self.connection.close()
        await self.reconciler.stop()

    @callback
    def refresh(self) -> None:
        """Have the rules read, though the router has reported nothing."""
        self.reconciler.reported(Change())

    @callback
    def forwards_changed(self) -> None:
        """Take note of forwards that came or went, or options that were changed."""
        self._first_switch.take()
        if router := self.connection.router:
            router.follow(self._followed())
        if not self._face.closes:
            self._issues.connections_end()
        if self.connection.router is None and self.history.router:
            # Their rules are removed when the router is back.
            rules = self.history.router.rules
            active = self.reconciler.active
            self._issues.waiting(
                [
                    line
                    for key in active.keys() - self._face.forwards.keys()
                    for line in rules.removal_commands(active[key])
                ]
            )

    async def _follow(self, router: Router) -> None:
        """Stay connected."""
        try:
            with Surprises(self._entry.title).told("staying connected"):
                await self.connection.follow(router)
        except Unforeseen as err:
            self._face.show_error(err)
            await asyncio.sleep(_LAST_RESORT)
            self._hass.config_entries.async_schedule_reload(self._entry.entry_id)
        except UNMENDABLE:
            # The set-up says what is wrong, and does not try again.
            self._hass.config_entries.async_schedule_reload(self._entry.entry_id)

    @callback
    def _opened(self, router: Router) -> None:
        """Take note of what the router is, and which boot of it this is."""
        probe = router.probe
        router.follow(self._followed())
        self.reconciler.opened(probe.boot_id)
        self._at_boot.opened(router)
        self.history.record_opened(router)
        self._issues.forwarding(enabled=probe.ip_forward)
        self._issues.sudo_waits(probe.rights)
        both = probe.tools.both_translate
        self._issues.both_variants(router.rules.firewall if both else None)
        if probe.tools.conntrack or not self._face.closes:
            self._issues.connections_end()
        self._interference.async_forget()

    @callback
    def _lost(self) -> None:
        """Show that nothing is known of the router."""
        lost = ConnectionLost(message="closed")
        if not self.reconciler.give_up_first(lost):
            self._face.show_error(lost)
        self.history.record_lost()
