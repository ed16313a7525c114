"""What happens to the rules without anyone here asking for it."""

from typing import override

from homeassistant.components.event import EventEntity
from homeassistant.components.switch.const import DOMAIN as SWITCH_DOMAIN
from homeassistant.const import (
    ATTR_DOMAIN,
    ATTR_ENTITY_ID,
    ATTR_NAME,
    EVENT_LOGBOOK_ENTRY,
)
from homeassistant.core import Context, HomeAssistant, callback
from homeassistant.helpers import entity_registry as er
from homeassistant.helpers.entity_platform import AddConfigEntryEntitiesCallback
from homeassistant.helpers.start import async_at_started

from .const import DOMAIN
from .coordinator import BypassRouterConfigEntry, BypassRouterCoordinator
from .entity import BypassRouterEntity
from .sync.events import RulesEvent, RulesEventType

PARALLEL_UPDATES = 0


async def async_setup_entry(
    hass: HomeAssistant,
    entry: BypassRouterConfigEntry,
    async_add_entities: AddConfigEntryEntitiesCallback,
) -> None:
    """Add the event entity of the router."""
    async_add_entities([BypassRouterRulesEvent(entry.runtime_data)])


class BypassRouterRulesEvent(BypassRouterEntity, EventEntity):
    """Rules were removed from the router, or put back; or it restarted."""

    def __init__(self, coordinator: BypassRouterCoordinator) -> None:
        """Name it."""
        super().__init__(coordinator, "rules")
        self._attr_event_types = list(RulesEventType)

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
        registry = er.async_get(self.hass)
        switches = [
            entity_id
            for forward_id in event.forwards
            if (
                entity_id := registry.async_get_entity_id(
                    SWITCH_DOMAIN, DOMAIN, forward_id
                )
            )
        ]
        attributes: dict[str, object] = {"forwards": switches}
        if event.cause:
            attributes["cause"] = event.cause
        context = Context()
        self.async_set_context(context)
        self._trigger_event(event.type, attributes)
        self.async_write_ha_state()
        self._log(event, switches, context)

    def _log(self, event: RulesEvent, switches: list[str], context: Context) -> None:
        """Tell it in the logbook of each switch, which may have been on all the time.

        What the logbook says of this entity leaves out the forwards and the cause.
        """
        message = self.platform_data.platform_translations[
            f"component.{DOMAIN}.entity.event.{self.translation_key}"
            f".state_attributes.event_type.state.{event.type}"
        ]
        if event.cause and event.type is RulesEventType.REMOVED:
            message = f"{message} ({event.cause})"
        for entity_id in switches:
            if state := self.hass.states.get(entity_id):
                self.hass.bus.async_fire(
                    EVENT_LOGBOOK_ENTRY,
                    {
                        ATTR_NAME: state.name,
                        "message": message,
                        ATTR_DOMAIN: DOMAIN,
                        ATTR_ENTITY_ID: entity_id,
                    },
                    context=context,
                )
