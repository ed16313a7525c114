"""What the entities of a router, and those of a forward, have in common."""

from collections.abc import Callable, Iterable
from datetime import datetime
import math
import time
from typing import override

from homeassistant.config_entries import ConfigEntryState
from homeassistant.core import CALLBACK_TYPE, HomeAssistant, callback
from homeassistant.helpers.device_registry import DeviceEntryType, DeviceInfo
from homeassistant.helpers.entity import Entity
from homeassistant.helpers.entity_platform import AddConfigEntryEntitiesCallback
from homeassistant.helpers.event import async_call_later
from homeassistant.helpers.update_coordinator import CoordinatorEntity

from .const import DOMAIN
from .coordinator import BypassRouterConfigEntry, BypassRouterCoordinator
from .router.forward import Forward
from .subentry import port_map_of


@callback
def async_add_to_forwards(
    entry: BypassRouterConfigEntry,
    async_add_entities: AddConfigEntryEntitiesCallback,
    make: Callable[[BypassRouterCoordinator, str], Iterable[Entity]],
    wanted: Callable[[BypassRouterCoordinator, str], bool] = lambda *_: True,
) -> None:
    """Make entities for each forward that there is, and that comes, where `wanted`."""
    coordinator = entry.runtime_data
    known: set[str] = set()

    @callback
    def add_new() -> None:
        """Make those of forwards that have none yet."""
        if entry.state is ConfigEntryState.UNLOAD_IN_PROGRESS:
            # They would outlive it, and stand in the way of those of the next set-up.
            return
        there = {key for key in coordinator.forwards if wanted(coordinator, key)}
        new = there - known
        known.intersection_update(there)
        known.update(new)
        for forward_id in new:
            async_add_entities(
                make(coordinator, forward_id), config_subentry_id=forward_id
            )

    add_new()
    entry.async_on_unload(coordinator.async_add_listener(add_new))


class Pace:
    """When an entity tells what comes too often to be told each time."""

    def __init__(self, tell: Callable[[], None]) -> None:
        """Take what tells; nothing was told yet."""
        self._tell = tell
        self._told = -math.inf
        self._cancel: CALLBACK_TYPE | None = None

    @callback
    def async_tell(self, hass: HomeAssistant, seconds: float) -> None:
        """Tell now, or once so many seconds have gone by since the last time."""

        @callback
        def due(_: datetime) -> None:
            self._cancel = None
            self._tell()

        left = self._told + seconds - time.monotonic()
        if left <= 0:
            self.async_cancel()
            self._tell()
        elif self._cancel is None:
            self._cancel = async_call_later(hass, left, due)

    @callback
    def async_told(self) -> None:
        """Take note that it was told now."""
        self._told = time.monotonic()

    @callback
    def async_cancel(self) -> None:
        """Wait no longer."""
        if self._cancel:
            self._cancel()
            self._cancel = None


class BypassRouterEntity(CoordinatorEntity[BypassRouterCoordinator]):
    """An entity of the router itself."""

    _attr_has_entity_name = True

    def __init__(self, coordinator: BypassRouterCoordinator, key: str) -> None:
        """Name the entity by its key, and the router's device."""
        super().__init__(coordinator)
        entry_id = coordinator.config_entry.entry_id
        self._attr_translation_key = key
        self._attr_unique_id = f"{entry_id}_{key}"
        self._attr_device_info = DeviceInfo(identifiers={(DOMAIN, entry_id)})


class BypassRouterForwardEntity(CoordinatorEntity[BypassRouterCoordinator]):
    """An entity of one forward, which is a device of its own."""

    _attr_has_entity_name = True

    def __init__(
        self, coordinator: BypassRouterCoordinator, forward_id: str, key: str = ""
    ) -> None:
        """Name the forward's device, and the entity by its key, if it has one."""
        super().__init__(coordinator)
        self._forward_id = forward_id
        subentry = coordinator.config_entry.subentries[forward_id]
        self._attr_unique_id = f"{forward_id}_{key}" if key else forward_id
        if key:
            self._attr_translation_key = key
        self._attr_device_info = DeviceInfo(
            identifiers={(DOMAIN, forward_id)},
            name=subentry.title,
            model=port_map_of(coordinator.forwards[forward_id]),
            entry_type=DeviceEntryType.SERVICE,
            via_device_id=coordinator.device_id,
        )

    @property
    def forward(self) -> Forward | None:
        """The forward as it is while it is on; None once it is removed."""
        return self.coordinator.forward(self._forward_id)

    @property
    @override
    def available(self) -> bool:
        """Return whether the router is connected."""
        return super().available and self.forward is not None
