"""A button that has what is wished brought about now."""

from typing import override

from homeassistant.components.button import ButtonEntity
from homeassistant.const import EntityCategory
from homeassistant.core import HomeAssistant
from homeassistant.helpers.entity_platform import AddConfigEntryEntitiesCallback

from .coordinator import BypassRouterConfigEntry, BypassRouterCoordinator
from .entity import RouterEntity

# The coordinator joins what is wished at once into one change.
PARALLEL_UPDATES = 0


async def async_setup_entry(
    hass: HomeAssistant,
    entry: BypassRouterConfigEntry,
    async_add_entities: AddConfigEntryEntitiesCallback,
) -> None:
    """Add the button of the router."""
    async_add_entities([Reapply(entry.runtime_data)])


class Reapply(RouterEntity, ButtonEntity):
    """Reads the rules and puts back what is missing, without any waiting time."""

    _attr_entity_category = EntityCategory.CONFIG

    def __init__(self, coordinator: BypassRouterCoordinator) -> None:
        """Name it."""
        super().__init__(coordinator, "reapply")

    @override
    async def async_press(self) -> None:
        """Bring about what is wished."""
        await self.coordinator.async_reapply()
