"""Buttons: have what is desired applied now, and ask why it does not work."""

from collections.abc import Iterator
from typing import override

from homeassistant.components.button import ButtonEntity
from homeassistant.const import EntityCategory
from homeassistant.core import HomeAssistant
from homeassistant.helpers.entity_platform import AddConfigEntryEntitiesCallback

from .coordinator import BypassRouterConfigEntry, BypassRouterCoordinator
from .diagnosis.notification import async_diagnose_visibly
from .entity import BypassRouterEntity, BypassRouterForwardEntity, async_add_to_forwards

# The coordinator joins what is desired at once into one change.
PARALLEL_UPDATES = 0


async def async_setup_entry(
    hass: HomeAssistant,
    entry: BypassRouterConfigEntry,
    async_add_entities: AddConfigEntryEntitiesCallback,
) -> None:
    """Add the button of the router, and that of each forward."""
    async_add_entities([BypassRouterReapplyButton(entry.runtime_data)])
    async_add_to_forwards(entry, async_add_entities, _buttons)


def _buttons(
    coordinator: BypassRouterCoordinator, forward_id: str
) -> Iterator[BypassRouterForwardEntity]:
    """Return the button of a forward."""
    yield BypassRouterDiagnoseButton(coordinator, forward_id)


class BypassRouterReapplyButton(BypassRouterEntity, ButtonEntity):
    """Reads the rules and puts back what is missing, without any waiting time."""

    _attr_entity_category = EntityCategory.CONFIG

    def __init__(self, coordinator: BypassRouterCoordinator) -> None:
        """Name it."""
        super().__init__(coordinator, "reapply")

    @override
    async def async_press(self) -> None:
        """Apply what is desired."""
        await self.coordinator.async_reapply()


class BypassRouterDiagnoseButton(BypassRouterForwardEntity, ButtonEntity):
    """Says why a forward does not work, in a notification that tells how far it is.

    It stands beside the switch and the status, which says first how that goes.
    """

    def __init__(self, coordinator: BypassRouterCoordinator, forward_id: str) -> None:
        """Name it."""
        super().__init__(coordinator, forward_id, "diagnose")

    @property
    @override
    def available(self) -> bool:
        """A router that can't be reached is a reason to ask."""
        return self.forward is not None

    @override
    async def async_press(self) -> None:
        """Diagnose the forward; it takes as long as someone tries from outside."""
        await async_diagnose_visibly(
            self.hass, self.coordinator.config_entry, self._forward_id
        )
