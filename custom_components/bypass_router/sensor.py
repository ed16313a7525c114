"""How many connections the forwards have had, and how many forwards are on."""

from collections.abc import Iterator
from datetime import datetime, timedelta
from ipaddress import IPv4Address
from typing import Any, Final, override

from homeassistant.components.sensor import SensorEntity
from homeassistant.components.sensor.const import SensorDeviceClass, SensorStateClass
from homeassistant.const import EntityCategory
from homeassistant.core import HomeAssistant, callback
from homeassistant.helpers.entity_platform import AddConfigEntryEntitiesCallback
from homeassistant.helpers.event import async_track_time_interval
from homeassistant.util.dt import utc_from_timestamp

from .coordinator import BypassRouterConfigEntry, BypassRouterCoordinator
from .diagnosis.status import ForwardStatus, Known, Standing, standing_of
from .diagnosis.status_texts import attributes_of
from .entity import (
    BypassRouterEntity,
    BypassRouterForwardEntity,
    Pace,
    async_add_to_forwards,
)
from .router.forward import Forward, PortRange

# Nothing is asked of the router by an entity.
PARALLEL_UPDATES = 0

_PROOF_LOOK = timedelta(minutes=15)
# Seconds by which two looks at one end may differ.
_JITTER = 2.0
STATE_INTERVAL: Final = 60.0
"""Seconds between two states at least that tell of a forward's connections."""


async def async_setup_entry(
    hass: HomeAssistant,
    entry: BypassRouterConfigEntry,
    async_add_entities: AddConfigEntryEntitiesCallback,
) -> None:
    """Add the sensors of the router, and those of each forward."""
    coordinator = entry.runtime_data
    async_add_entities(
        [
            BypassRouterActiveForwardsSensor(coordinator),
            BypassRouterPublicAddressSensor(coordinator),
        ]
    )
    async_add_to_forwards(entry, async_add_entities, _sensors)


def _sensors(
    coordinator: BypassRouterCoordinator, forward_id: str
) -> Iterator[BypassRouterForwardEntity]:
    """Return the sensors of a forward."""
    yield BypassRouterStatusSensor(coordinator, forward_id)
    yield BypassRouterConnectionsSensor(coordinator, forward_id)
    yield BypassRouterLastConnectionSensor(coordinator, forward_id)
    yield BypassRouterClosesAtSensor(coordinator, forward_id)


class BypassRouterActiveForwardsSensor(BypassRouterEntity, SensorEntity):
    """How many forwards are active as they are set up."""

    _attr_state_class = SensorStateClass.MEASUREMENT

    def __init__(self, coordinator: BypassRouterCoordinator) -> None:
        """Name it."""
        super().__init__(coordinator, "forwards_active")

    @property
    @override
    def native_value(self) -> int:
        """Count the switches that are on."""
        return sum(map(self.coordinator.is_on, self.coordinator.forwards))


class BypassRouterPublicAddressSensor(BypassRouterEntity, SensorEntity):
    """The main router's address at the internet's side, as it says itself."""

    _attr_entity_category = EntityCategory.DIAGNOSTIC
    _attr_entity_registry_enabled_default = False

    def __init__(self, coordinator: BypassRouterCoordinator) -> None:
        """Name it."""
        super().__init__(coordinator, "public_address")

    @property
    @override
    def available(self) -> bool:
        """Where the main router is not asked for anything, it is not asked for this."""
        return super().available and self.coordinator.halves.asked.asks

    @property
    @override
    def native_value(self) -> str | None:
        """Return the address; unknown where it has none, or does not tell."""
        address = self.coordinator.halves.asked.public_address
        return str(address) if isinstance(address, IPv4Address) else None


class BypassRouterStatusSensor(BypassRouterForwardEntity, SensorEntity):
    """How a forward stands, by what that is known, and what to do."""

    _attr_device_class = SensorDeviceClass.ENUM
    # Sentences of a diagnosis would be a long line in the database for each second.
    _unrecorded_attributes = frozenset(
        {"seen", "means", "do", "checks", "checked_at", "seconds_left"}
    )

    def __init__(self, coordinator: BypassRouterCoordinator, forward_id: str) -> None:
        """Name it."""
        super().__init__(coordinator, forward_id, "status")
        self._attr_options = [status.value for status in ForwardStatus]
        self._seen: tuple[Forward, PortRange, Known, Standing] | None = None
        self._look()

    @override
    async def async_added_to_hass(self) -> None:
        """Hear of visitors, and see when what they prove is too old."""
        await super().async_added_to_hass()
        self.async_on_remove(
            self.coordinator.counters.async_listen(self._handle_coordinator_update)
        )
        self.async_on_remove(
            async_track_time_interval(
                self.hass, self._handle_coordinator_update, _PROOF_LOOK
            )
        )

    @property
    @override
    def available(self) -> bool:
        """That a router can't be reached may be what there is to tell."""
        return self.forward is not None and (
            self._attr_native_value is not None or super().available
        )

    @callback
    @override
    def _handle_coordinator_update(self, _: datetime | None = None) -> None:
        """Tell what is new."""
        before = (self.available, self._attr_native_value, self._attributes)
        self._look()
        if before != (self.available, self._attr_native_value, self._attributes):
            self.async_write_ha_state()

    def _look(self) -> None:
        """Take how the forward stands now."""
        if (forward := self.forward) is None:
            return
        coordinator = self.coordinator
        public = coordinator.public_ports_of(forward)
        known = coordinator.knowledge.of(forward)
        standing = standing_of(forward, known)
        if (seen := (forward, public, known, standing)) == self._seen:
            # Among many forwards, most are as they were.
            return
        self._seen = seen
        self._attr_native_value = standing.status
        self._attributes = attributes_of(
            standing, known, str(public), coordinator.texts
        )

    @property
    @override
    def extra_state_attributes(self) -> dict[str, Any]:
        """Return by what that is known, and what to do."""
        return self._attributes


class BypassRouterClosesAtSensor(BypassRouterForwardEntity, SensorEntity):
    """When the router's kernel ends a forward by itself; unknown if it does not."""

    _attr_device_class = SensorDeviceClass.TIMESTAMP

    def __init__(self, coordinator: BypassRouterCoordinator, forward_id: str) -> None:
        """Name it."""
        super().__init__(coordinator, forward_id, "closes_at")
        self._told: float | None = None

    @property
    @override
    def native_value(self) -> datetime | None:
        """Return the moment, as the kernel said it first.

        It is told how much time is left, which takes a moment to arrive: not each look
        at it is to be another end.
        """
        said = self.coordinator.closes_at(self._forward_id)
        if said is None or self._told is None or abs(said - self._told) >= _JITTER:
            self._told = said
        return None if self._told is None else utc_from_timestamp(round(self._told))


class _CountingSensor(BypassRouterForwardEntity, SensorEntity):
    """Tells of a forward's connections; as long as it is there, they are counted.

    Of a busy forward, each state would be a line in the database every few seconds.
    """

    def __init__(
        self, coordinator: BypassRouterCoordinator, forward_id: str, key: str
    ) -> None:
        """Name it by its key."""
        super().__init__(coordinator, forward_id, key)
        self._pace = Pace(self._tell)

    @override
    async def async_added_to_hass(self) -> None:
        """Hear of what is counted."""
        await super().async_added_to_hass()
        self._take()
        self.async_on_remove(self.coordinator.counters.async_listen(self._heard))
        self.async_on_remove(self._pace.async_cancel)

    def _take(self) -> None:
        """Take what is known by now, as the state."""
        raise NotImplementedError

    @callback
    def _heard(self) -> None:
        """Tell what was counted, now or when the last time is long enough ago."""
        self._pace.async_tell(self.hass, STATE_INTERVAL)

    @callback
    def _tell(self) -> None:
        """Tell what was counted, if that is something new."""
        before, attributes = self._attr_native_value, self.extra_state_attributes
        self._take()
        if (before, attributes) != (self.native_value, self.extra_state_attributes):
            if before is not None:
                self._pace.async_told()
            self.async_write_ha_state()


class BypassRouterConnectionsSensor(_CountingSensor):
    """How many connections there were, over all the lives of the rules.

    Unknown until the router has told its counters: what was written down before may
    be less than what was shown before, and would look as if it had begun again.
    """

    _attr_state_class = SensorStateClass.TOTAL_INCREASING

    def __init__(self, coordinator: BypassRouterCoordinator, forward_id: str) -> None:
        """Name it."""
        super().__init__(coordinator, forward_id, "connections")

    @override
    def _take(self) -> None:
        """Take the total."""
        counters = self.coordinator.counters
        total = counters.tally(self._forward_id).total
        self._attr_native_value = total if counters.read else None


class BypassRouterLastConnectionSensor(_CountingSensor):
    """When the last connection came, and from where, if the router tells.

    Where the router does not tell, when it was noticed, a minute later at the most;
    of those that came while Home Assistant was away, when it was back.
    """

    _attr_device_class = SensorDeviceClass.TIMESTAMP
    _attr_entity_category = EntityCategory.DIAGNOSTIC
    # Who comes is kept by nobody who has not asked for it.
    _unrecorded_attributes = frozenset({"source"})

    def __init__(self, coordinator: BypassRouterCoordinator, forward_id: str) -> None:
        """Name it."""
        super().__init__(coordinator, forward_id, "last_connection")

    @override
    def _take(self) -> None:
        """Take the moment, none if there was no connection yet, and whose it was."""
        tally = self.coordinator.counters.tally(self._forward_id)
        last, source = tally.last, tally.source
        self._attr_native_value = None if last is None else utc_from_timestamp(last)
        self._attr_extra_state_attributes = {"source": str(source)} if source else {}
