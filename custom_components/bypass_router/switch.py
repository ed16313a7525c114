"""A forward's switch: on if the router's kernel has its rules."""

from collections.abc import Iterator
import time
from typing import Any, override

from homeassistant.components.switch import SwitchEntity
from homeassistant.components.switch.const import SwitchDeviceClass
from homeassistant.core import HomeAssistant
from homeassistant.helpers.entity_platform import AddConfigEntryEntitiesCallback

from .attributes import fitting, parts_of
from .coordinator import BypassRouterConfigEntry, BypassRouterCoordinator
from .entity import BypassRouterForwardEntity, async_add_to_forwards
from .errors import sentence_of
from .subentry import attributes_of
from .sync.lease import Lease

# The coordinator joins what is desired at once into one change.
PARALLEL_UPDATES = 0


async def async_setup_entry(
    hass: HomeAssistant,
    entry: BypassRouterConfigEntry,
    async_add_entities: AddConfigEntryEntitiesCallback,
) -> None:
    """Add a switch for each forward that there is, and that comes."""
    async_add_to_forwards(entry, async_add_entities, _switches)


def _switches(
    coordinator: BypassRouterCoordinator, forward_id: str
) -> Iterator[BypassRouterForwardEntity]:
    """Return the switch of a forward."""
    yield BypassRouterForwardSwitch(coordinator, forward_id)


class BypassRouterForwardSwitch(BypassRouterForwardEntity, SwitchEntity):
    """Turns a forward on and off."""

    _attr_device_class = SwitchDeviceClass.SWITCH
    _attr_name = None
    _attr_translation_key = "forward"

    @property
    @override
    def is_on(self) -> bool:
        """Return whether the rules were found in the router's kernel."""
        return self.coordinator.is_on(self._forward_id)

    @property
    @override
    def extra_state_attributes(self) -> dict[str, Any]:
        """Return what goes where, and why it is refused or what is in its way."""
        coordinator = self.coordinator
        told: dict[str, Any] = {}
        if forward := self.forward:
            told = attributes_of(forward, coordinator.public_ports_of(forward))
        if address := coordinator.router_address:
            told["router_address"] = address
        if err := coordinator.refused.get(self._forward_id):
            told["refused"] = fitting(sentence_of(self.hass, err))
        elif found := coordinator.knowledge.obstacles.get(self._forward_id):
            said = [coordinator.texts.obstacle(one) for one in found]
            told["obstacles"] = parts_of(said)[0]
        return told

    @override
    async def async_turn_on(self, **kwargs: Any) -> None:
        """Put the rules into force, for as long as the forward is set to be open."""
        minutes = self.coordinator.open_for(self._forward_id)
        lease = Lease.of(60 * minutes, time.time()) if minutes else None
        await self.coordinator.async_set_desired(self._forward_id, on=True, lease=lease)

    @override
    async def async_turn_off(self, **kwargs: Any) -> None:
        """Take the rules away."""
        await self.coordinator.async_set_desired(self._forward_id, on=False)
