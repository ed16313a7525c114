"""Whether the router is connected."""

from typing import override

from homeassistant.components.binary_sensor import BinarySensorEntity
from homeassistant.components.binary_sensor.const import BinarySensorDeviceClass
from homeassistant.const import EntityCategory
from homeassistant.core import HomeAssistant
from homeassistant.helpers.entity_platform import AddConfigEntryEntitiesCallback

from .coordinator import BypassRouterConfigEntry, BypassRouterCoordinator
from .entity import BypassRouterEntity

PARALLEL_UPDATES = 0


async def async_setup_entry(
    hass: HomeAssistant,
    entry: BypassRouterConfigEntry,
    async_add_entities: AddConfigEntryEntitiesCallback,
) -> None:
    """Add the sensor of the router."""
    async_add_entities([BypassRouterConnectivitySensor(entry.runtime_data)])


class BypassRouterConnectivitySensor(BypassRouterEntity, BinarySensorEntity):
    """Tells whether the router is connected; it is always available itself."""

    _attr_device_class = BinarySensorDeviceClass.CONNECTIVITY
    _attr_entity_category = EntityCategory.DIAGNOSTIC

    def __init__(self, coordinator: BypassRouterCoordinator) -> None:
        """Name it."""
        super().__init__(coordinator, "connectivity")

    @property
    @override
    def available(self) -> bool:
        """A router that is away is what it is there to tell."""
        return True

    @property
    @override
    def extra_state_attributes(self) -> dict[str, str]:
        """Return by which firewall its rules are set, once that is known."""
        router = self.coordinator.history.router
        return {"firewall": router.rules.firewall} if router else {}

    @property
    @override
    def is_on(self) -> bool:
        """Return whether the router is connected."""
        return self.coordinator.connection.router is not None
