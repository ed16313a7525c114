"""What happens without anyone here asking for it: to the rules, and who comes."""

from collections import deque
from dataclasses import dataclass
from datetime import datetime
from typing import Final, override

from homeassistant.components.event import EventEntity
from homeassistant.core import CALLBACK_TYPE, Context, HomeAssistant, callback
from homeassistant.helpers.entity_platform import AddConfigEntryEntitiesCallback
from homeassistant.helpers.event import async_call_later
from homeassistant.helpers.start import async_at_started

from .activity import switches_of, tell_activity
from .attributes import parts_of
from .const import DOMAIN
from .coordinator import BypassRouterConfigEntry, BypassRouterCoordinator
from .entity import (
    BypassRouterEntity,
    BypassRouterForwardEntity,
    Pace,
    async_add_to_forwards,
)
from .router.monitor import NewConnection
from .sync.events import RulesEvent, RulesEventType

PARALLEL_UPDATES = 0
# Seconds between the parts of an event that is too long for one.
_PAUSE = 0.01
_CONNECTED = "connected"
CLIENT_INTERVAL: Final = 1.0
"""Seconds between two events at least that tell who came by a forward."""


async def async_setup_entry(
    hass: HomeAssistant,
    entry: BypassRouterConfigEntry,
    async_add_entities: AddConfigEntryEntitiesCallback,
) -> None:
    """Add the event entity of the router, and that of each forward."""
    async_add_entities([BypassRouterRulesEvent(entry.runtime_data)])
    async_add_to_forwards(
        entry,
        async_add_entities,
        lambda coordinator, key: [BypassRouterClientEvent(coordinator, key)],
    )


@dataclass(frozen=True, slots=True)
class _Part:
    """Something that happened, to so many forwards as one state has room for."""

    event: RulesEvent
    switches: list[str]
    number: int
    parts: int


class BypassRouterRulesEvent(BypassRouterEntity, EventEntity):
    """Rules were removed from the router, or put back; or it restarted."""

    def __init__(self, coordinator: BypassRouterCoordinator) -> None:
        """Name it."""
        super().__init__(coordinator, "rules")
        self._attr_event_types = list(RulesEventType)
        self._untold: deque[_Part] = deque()
        self._pause: CALLBACK_TYPE | None = None

    @property
    @override
    def available(self) -> bool:
        """Stay while the router is away: to be back would look like a new event."""
        return True

    @override
    async def async_added_to_hass(self) -> None:
        """Listen, and hear of what has happened before."""
        await super().async_added_to_hass()
        self.async_on_remove(async_at_started(self.hass, self._started))

    @callback
    def _started(self, _: HomeAssistant) -> None:
        """Listen from now on: before, no automation would hear what is told."""
        # Several states that are written while an entity is being added become one.
        self.hass.loop.call_soon(self._listen)

    @callback
    def _listen(self) -> None:
        """Hear of what happens as long as we are there."""
        self.async_on_remove(self.coordinator.events.async_listen(self._happened))

    @callback
    def _happened(self, event: RulesEvent) -> None:
        """Tell what happened, to which switches, and through whom."""
        parts = parts_of(switches_of(self.hass, event.forwards))
        for number, part in enumerate(parts, 1):
            self._untold.append(_Part(event, part, number, len(parts)))
        if self._pause is None:
            self._tell()

    @callback
    def _tell(self, _: datetime | None = None) -> None:
        """Tell what comes next, and what is left after a moment.

        Two in one millisecond are one to whoever listens.
        """
        told = self._untold.popleft()
        attributes: dict[str, object] = {"forwards": told.switches}
        if told.event.cause:
            attributes["cause"] = told.event.cause
        if told.parts > 1:
            attributes |= {"part": told.number, "parts": told.parts}
        context = Context()
        self.async_set_context(context)
        self._trigger_event(told.event.type, attributes)
        self.async_write_ha_state()
        self._log(told.event, told.switches, context)
        self._pause = (
            async_call_later(self.hass, _PAUSE, self._tell) if self._untold else None
        )

    @override
    async def async_will_remove_from_hass(self) -> None:
        """Tell no more."""
        if self._pause:
            self._pause()

    def _log(self, event: RulesEvent, switches: list[str], context: Context) -> None:
        """Tell it in the activity of each switch.

        What the logbook says of this entity leaves out the forwards and the cause.
        """
        message = self.platform_data.platform_translations[
            f"component.{DOMAIN}.entity.event.{self.translation_key}"
            f".state_attributes.event_type.state.{event.type}"
        ]
        if event.cause and event.type is RulesEventType.REMOVED:
            message = f"{message} ({event.cause})"
        tell_activity(self.hass, switches, message, context)


class BypassRouterClientEvent(BypassRouterForwardEntity, EventEntity):
    """Someone came by a forward, whether he was answered or not.

    Of a crowd, the last one of each second is told, with how many came beside.
    """

    # Home Assistant keeps what an event tells, addresses as well.
    _attr_entity_registry_enabled_default = False

    def __init__(self, coordinator: BypassRouterCoordinator, forward_id: str) -> None:
        """Name it."""
        super().__init__(coordinator, forward_id, "client")
        self._attr_event_types = [_CONNECTED]
        self._untold = 0
        self._last: NewConnection | None = None
        self._pace = Pace(self._tell)

    @property
    @override
    def available(self) -> bool:
        """Stay while the router is away: to be back would look like a new event."""
        return True

    @override
    async def async_added_to_hass(self) -> None:
        """Hear of who comes."""
        await super().async_added_to_hass()
        counters = self.coordinator.counters
        self.async_on_remove(
            counters.async_listen_to_arrivals(self._forward_id, self._came)
        )
        self.async_on_remove(self._pace.async_cancel)

    @callback
    def _came(self, connection: NewConnection) -> None:
        """Tell who came, now or when the last time is long enough ago."""
        self._last = connection
        self._untold += 1
        self._pace.async_tell(self.hass, CLIENT_INTERVAL)

    @callback
    def _tell(self) -> None:
        """Tell who came last, and how many others have not been told."""
        if (last := self._last) is None:
            return
        attributes = {
            "source": str(last.client),
            "port": last.port,
            "left_out": self._untold - 1,
        }
        self._pace.async_told()
        self._untold = 0
        self._trigger_event(_CONNECTED, attributes)
        self.async_write_ha_state()
