"""A switch of another integration that stands for the main router's half of a forward.

It is turned on after the forward and off before it. What it says is taken as it is: who
turns it by hand while the forward is on has the last word, and is told what that means.
"""

import asyncio
from collections.abc import Callable
from contextlib import suppress
import logging
import time
from typing import Any

from homeassistant.components.switch.const import DOMAIN as SWITCH_DOMAIN
from homeassistant.config_entries import ConfigEntry
from homeassistant.const import (
    ATTR_ENTITY_ID,
    SERVICE_TURN_OFF,
    SERVICE_TURN_ON,
    STATE_OFF,
    STATE_ON,
    STATE_UNAVAILABLE,
)
from homeassistant.core import CoreState, Event, HomeAssistant, State, callback
from homeassistant.exceptions import HomeAssistantError
from homeassistant.helpers import entity_registry as er
from homeassistant.helpers.entity_registry import (
    EVENT_ENTITY_REGISTRY_UPDATED,
    EventEntityRegistryUpdatedData,
)
from homeassistant.helpers.event import async_track_state_change_event
from homeassistant.helpers.start import async_at_started
from homeassistant.util.hass_dict import HassKey

from ..const import CONF_MAIN_ROUTER_SWITCH, DOMAIN
from ..router.doctor.report import Cause, Check, Reason, Step, failed, ok, unknown
from ..router.errors import printable
from ..subentry import main_router_switch_of
from .half import MainHalf, MainState

_LOGGER = logging.getLogger(__name__)

# Seconds that a forward waits for the switch of another integration.
_LIMIT = 10.0
# Seconds of these until the switch shows what it was asked, where it tells that later.
_SETTLES = 3.0

_KEY: HassKey[set[OtherSwitch]] = HassKey(f"{DOMAIN}_other_switches")


class OtherSwitch:
    """The switch that one forward names."""

    def __init__(
        self,
        hass: HomeAssistant,
        entry: ConfigEntry[Any],
        forward_id: str,
        named: str,
        on_change: Callable[[], None],
    ) -> None:
        """Follow it from now on, and say whenever `half` is another."""
        self.named = named
        """As the forward names it; another, once it has been renamed."""
        self._hass = hass
        self._entry = entry
        self._forward_id = forward_id
        self._on_change = on_change
        self._wanted: bool | None = None
        self._due: bool | None = None
        self._message = ""
        self._turns = asyncio.Lock()
        self._looked = asyncio.Event()
        self._stopped = False
        self._followed = ""
        self._unfollow: Callable[[], None] | None = None
        hass.data.setdefault(_KEY, set()).add(self)
        self._half = MainHalf(*self._read(), time.time())
        self._look()
        self._unsubscribe = [
            hass.bus.async_listen(EVENT_ENTITY_REGISTRY_UPDATED, self._registered),
            async_at_started(hass, self._look),
        ]

    @property
    def half(self) -> MainHalf:
        """How the main router's half stands; its check is for a forward that is on."""
        return self._half

    async def async_turn_on(self) -> None:
        """Turn it on, within seconds; whatever fails is kept for `half`."""
        await self._turn(on=True)

    async def async_turn_off(self) -> None:
        """Turn it off so, unless another forward that is on names it as well."""
        await self._turn(on=False)

    @callback
    def async_stop(self) -> None:
        """Follow it no longer; what is under way goes on."""
        self._stopped = True
        self._hass.data[_KEY].discard(self)
        for unsubscribe in self._unsubscribe:
            unsubscribe()
        if self._unfollow:
            self._unfollow()

    # What another kind of half does otherwise.

    @property
    def _entity_id(self) -> str:
        """Whose state is that of the half; empty while there is none."""
        return self.named

    @property
    def _name(self) -> str:
        """What people call it."""
        if state := self._hass.states.get(self._entity_id):
            return state.name
        entity = er.async_get(self._hass).async_get(self._entity_id)
        return (entity and (entity.name or entity.original_name)) or self._entity_id

    @property
    def _gone(self) -> bool:
        """Whether nothing of that name will come back by itself."""
        entity = er.async_get(self._hass).async_get(self._entity_id)
        # At a start, switches without a place in the registry may be yet to come.
        started = self._hass.state is CoreState.running
        return entity.disabled if entity else started and self._state is None

    @property
    def _ready(self) -> bool:
        """Whether it can be asked: an action leaves out what is unavailable."""
        state = self._state
        return state is not None and state.state != STATE_UNAVAILABLE

    async def _ask(self, *, on: bool) -> None:
        """Have it turned. Raises whatever another integration does."""
        # That way, forwards which name each other come to an end.
        if self._is(on=on) or (not on and self._shared):
            return
        await self._hass.services.async_call(
            SWITCH_DOMAIN,
            SERVICE_TURN_ON if on else SERVICE_TURN_OFF,
            {ATTR_ENTITY_ID: self._entity_id},
            blocking=True,
        )
        with suppress(TimeoutError):
            async with asyncio.timeout(_SETTLES):
                while not self._is(on=on):
                    self._looked.clear()
                    await self._looked.wait()

    # What all kinds have in common.

    @property
    def _state(self) -> State | None:
        """What Home Assistant knows of it."""
        return self._hass.states.get(self._entity_id)

    def _is(self, *, on: bool) -> bool:
        """Return whether it says so."""
        return (state := self._state) is not None and state.state == (
            STATE_ON if on else STATE_OFF
        )

    @property
    def _shared(self) -> bool:
        """Whether another forward needs it on, as where one rule is of many ports."""
        return any(
            other.named == self.named and other.in_use
            for other in self._hass.data[_KEY]
            if other is not self
        )

    @property
    def in_use(self) -> bool:
        """Whether the forward is on, and is not about to go off."""
        registry = er.async_get(self._hass)
        found = registry.async_get_entity_id(SWITCH_DOMAIN, DOMAIN, self._forward_id)
        on = found is not None and self._hass.states.is_state(found, STATE_ON)
        return on and self._wanted is not False

    async def _turn(self, *, on: bool) -> None:
        """Have it turned, and wait for that as long as a user may."""
        self._wanted = self._due = on
        self._message = ""
        # In a task of its own: who stops waiting must not cut another's work in two.
        turn = self._begin()
        await asyncio.wait([turn], timeout=_LIMIT)
        if not turn.done() and self._wanted is on:
            self._message = TimeoutError.__name__
        self._look()

    def _begin(self) -> asyncio.Task[None]:
        """Do what is due."""
        return self._hass.async_create_background_task(
            self._carry_out(), f"{self._entry.title} {self.named}"
        )

    async def _carry_out(self) -> None:
        """Do what is due, if it can be done now; else it is when it is back."""
        async with self._turns:
            on = self._due
            if on is None or not self._ready:
                return
            self._due = None
            message = ""
            try:
                await self._ask(on=on)
            except HomeAssistantError as err:
                message = printable(str(err)) or type(err).__name__
            except Exception as err:
                _LOGGER.debug("%s could not be turned", self.named, exc_info=err)
                message = type(err).__name__
            if self._wanted is on:
                self._message = message
        self._look()

    @callback
    def _registered(self, event: Event[EventEntityRegistryUpdatedData]) -> None:
        """Follow what is renamed; look when something came or went."""
        if event.data.get("old_entity_id") == self.named:
            self.named = event.data["entity_id"]
        self._look()

    @callback
    def _look(self, *_: object) -> None:
        """Take note of how it stands, and do what could not be done until now."""
        if self._stopped:
            return
        if self._entity_id != self._followed:
            if self._unfollow:
                self._unfollow()
            self._followed = self._entity_id
            self._unfollow = async_track_state_change_event(
                self._hass, self._followed, self._look
            )
        state, check = self._read()
        same = check.cause is self._half.check.cause
        half = MainHalf(state, check, self._half.since if same else time.time())
        self._looked.set()
        if half != self._half:
            self._half = half
            self._on_change()
        if self._due is not None and self._ready and not self._turns.locked():
            self._begin()

    def _read(self) -> tuple[MainState, Check]:
        """Return what it says, and what is to be said of that."""
        step, state = Step.MAIN_ROUTER, self._state
        seen = {"entity": self._entity_id, "name": printable(self._name)}
        if self._gone:
            return MainState.UNKNOWN, failed(step, Cause.MAIN_SWITCH_GONE, **seen)
        if state is None or state.state not in (STATE_ON, STATE_OFF):
            reason = Reason.MAIN_SWITCH_UNAVAILABLE
            return MainState.UNKNOWN, unknown(step, reason, **seen)
        main = MainState(state.state)
        if self._message and self._wanted is not (main is MainState.ON):
            seen["message"] = self._message
            return main, failed(step, Cause.MAIN_SWITCH_FAILED, **seen)
        if main is MainState.OFF:
            return main, failed(step, Cause.MAIN_SWITCH_OFF, **seen)
        return main, ok(step, **seen)


@callback
def async_follow_renamed(hass: HomeAssistant) -> None:
    """Have forwards name a switch as it is called now, also while none is set up."""

    @callback
    def renamed(event: Event[EventEntityRegistryUpdatedData]) -> None:
        """Change what is stored, after those have heard of it who follow the switch."""
        if old := event.data.get("old_entity_id"):
            hass.loop.call_soon(_store, hass, str(old), event.data["entity_id"])

    hass.bus.async_listen(EVENT_ENTITY_REGISTRY_UPDATED, renamed)


@callback
def _store(hass: HomeAssistant, old: str, new: str) -> None:
    """Write the new name of a switch down wherever the old one stands."""
    for entry in hass.config_entries.async_entries(DOMAIN):
        for subentry in entry.subentries.values():
            if main_router_switch_of(subentry) == old:
                hass.config_entries.async_update_subentry(
                    entry,
                    subentry,
                    data={**subentry.data, CONF_MAIN_ROUTER_SWITCH: new},
                )
