"""What happens to the rules without anybody here asking for it."""

from typing import override

from homeassistant.components.event import EventEntity
from homeassistant.components.switch.const import DOMAIN as SWITCH_DOMAIN
from homeassistant.core import HomeAssistant, callback
from homeassistant.helpers import entity_registry as er
from homeassistant.helpers.entity_platform import AddConfigEntryEntitiesCallback
from homeassistant.helpers.start import async_at_started

from .const import DOMAIN
from .coordinator import (
    BypassRouterConfigEntry,
    BypassRouterCoordinator,
    RulesEvent,
    RulesEventType,
)
from .entity import RouterEntity

PARALLEL_UPDATES = 0


async def async_setup_entry(
    hass: HomeAssistant,
    entry: BypassRouterConfigEntry,
    async_add_entities: AddConfigEntryEntitiesCallback,
) -> None:
    """Add the event entity of the router."""
    async_add_entities([RulesEventEntity(entry.runtime_data)])


class RulesEventEntity(RouterEntity, EventEntity):
    """Rules were removed from the router, or put back; or it restarted."""

    def __init__(self, coordinator: BypassRouterCoordinator) -> None:
        """Name it."""
        super().__init__(coordinator, "rules")
        self._attr_event_types = list(RulesEventType)

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
        self.async_on_remove(self.coordinator.async_listen(self._happened))

    @callback
    def _happened(self, event: RulesEvent) -> None:
        """Tell what happened, to which switches, and through whom."""
        registry = er.async_get(self.hass)
        attributes: dict[str, object] = {
            "forwards": [
                entity_id
                for forward_id in event.forwards
                if (
                    entity_id := registry.async_get_entity_id(
                        SWITCH_DOMAIN, DOMAIN, forward_id
                    )
                )
            ]
        }
        if event.cause:
            attributes["cause"] = event.cause
        self._trigger_event(event.type, attributes)
        self.async_write_ha_state()
