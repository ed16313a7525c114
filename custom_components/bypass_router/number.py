"""For how long a forward is open when its switch is turned on."""

from collections.abc import Iterator
from typing import override

from homeassistant.components.number import NumberEntity
from homeassistant.components.number.const import NumberMode
from homeassistant.const import EntityCategory, UnitOfTime
from homeassistant.core import HomeAssistant
from homeassistant.helpers.entity_platform import AddConfigEntryEntitiesCallback

from .coordinator import BypassRouterConfigEntry, BypassRouterCoordinator
from .entity import BypassRouterForwardEntity, async_add_to_forwards
from .subentry import MOST_MINUTES

# Nothing is asked of the router.
PARALLEL_UPDATES = 0


async def async_setup_entry(
    hass: HomeAssistant,
    entry: BypassRouterConfigEntry,
    async_add_entities: AddConfigEntryEntitiesCallback,
) -> None:
    """Add a number for each forward that there is, and that comes."""
    async_add_to_forwards(entry, async_add_entities, _numbers)


def _numbers(
    coordinator: BypassRouterCoordinator, forward_id: str
) -> Iterator[BypassRouterForwardEntity]:
    """Return the number of a forward."""
    yield BypassRouterOpenForNumber(coordinator, forward_id)


class BypassRouterOpenForNumber(BypassRouterForwardEntity, NumberEntity):
    """Minutes after which a forward that is turned on closes by itself; 0: never."""

    _attr_entity_category = EntityCategory.CONFIG
    _attr_mode = NumberMode.BOX
    _attr_native_max_value = MOST_MINUTES
    _attr_native_min_value = 0
    _attr_native_step = 1
    _attr_native_unit_of_measurement = UnitOfTime.MINUTES

    def __init__(self, coordinator: BypassRouterCoordinator, forward_id: str) -> None:
        """Name it."""
        super().__init__(coordinator, forward_id, "open_for")

    @property
    @override
    def native_value(self) -> int:
        """Return the minutes that are stored with the forward."""
        return self.coordinator.open_for(self._forward_id)

    @override
    async def async_set_native_value(self, value: float) -> None:
        """Store them; a forward that is on stays so for as long as it was to be."""
        self.coordinator.async_set_open_for(self._forward_id, round(value))
