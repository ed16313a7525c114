"""Whether the router is connected, and what the main router says of each forward."""

from collections.abc import Iterator
from typing import override

from homeassistant.components.binary_sensor import BinarySensorEntity
from homeassistant.components.binary_sensor.const import BinarySensorDeviceClass
from homeassistant.const import EntityCategory
from homeassistant.core import HomeAssistant, callback
from homeassistant.helpers import entity_registry as er
from homeassistant.helpers.entity_platform import AddConfigEntryEntitiesCallback

from .coordinator import BypassRouterConfigEntry, BypassRouterCoordinator
from .entity import (
    BypassRouterEntity,
    BypassRouterForwardEntity,
    async_add_to_forwards,
)
from .main_router.half import MainState

PARALLEL_UPDATES = 0


async def async_setup_entry(
    hass: HomeAssistant,
    entry: BypassRouterConfigEntry,
    async_add_entities: AddConfigEntryEntitiesCallback,
) -> None:
    """Add the sensor of the router, and of each forward of which more is known."""
    async_add_entities([BypassRouterConnectivitySensor(entry.runtime_data)])
    async_add_to_forwards(entry, async_add_entities, _sensors, _has_main_half)


def _sensors(
    coordinator: BypassRouterCoordinator, forward_id: str
) -> Iterator[BypassRouterForwardEntity]:
    """Return the sensor of a forward."""
    yield BypassRouterMainRouterSensor(coordinator, forward_id)


def _has_main_half(coordinator: BypassRouterCoordinator, forward_id: str) -> bool:
    """Return whether anyone tells of the main router's half."""
    return coordinator.halves.half(forward_id) is not None


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


class BypassRouterMainRouterSensor(BypassRouterForwardEntity, BinarySensorEntity):
    """Tells whether the main router forwards to the bypass router, as it says."""

    _attr_entity_category = EntityCategory.DIAGNOSTIC

    def __init__(self, coordinator: BypassRouterCoordinator, forward_id: str) -> None:
        """Name it."""
        super().__init__(coordinator, forward_id, "main_router")

    @property
    @override
    def is_on(self) -> bool | None:
        """Return what the main router has said last."""
        half = self.coordinator.halves.half(self._forward_id)
        if half is None or half.state is MainState.UNKNOWN:
            return None
        return half.state is MainState.ON

    @callback
    @override
    def _handle_coordinator_update(self) -> None:
        """Tell what is new, or go where no one tells of it any more."""
        if self.forward and not _has_main_half(self.coordinator, self._forward_id):
            er.async_get(self.hass).async_remove(self.entity_id)
        else:
            super()._handle_coordinator_update()
