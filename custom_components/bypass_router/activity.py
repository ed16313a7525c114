"""What a forward's activity tells beside what its switch shows."""

from collections.abc import Iterable

from homeassistant.components.switch.const import DOMAIN as SWITCH_DOMAIN
from homeassistant.const import (
    ATTR_DOMAIN,
    ATTR_ENTITY_ID,
    ATTR_NAME,
    EVENT_LOGBOOK_ENTRY,
)
from homeassistant.core import Context, HomeAssistant, callback
from homeassistant.helpers import entity_registry as er

from .const import DOMAIN


def switches_of(hass: HomeAssistant, forward_ids: Iterable[str]) -> list[str]:
    """Return the entity ids of the switches of forwards, as far as there are any."""
    registry = er.async_get(hass)
    found = (
        registry.async_get_entity_id(SWITCH_DOMAIN, DOMAIN, forward_id)
        for forward_id in forward_ids
    )
    return [entity_id for entity_id in found if entity_id]


@callback
def tell_activity(
    hass: HomeAssistant,
    switches: Iterable[str],
    message: str,
    context: Context | None = None,
) -> None:
    """Tell it in the logbook of each switch, which may have been on all the time."""
    for entity_id in switches:
        if state := hass.states.get(entity_id):
            hass.bus.async_fire(
                EVENT_LOGBOOK_ENTRY,
                {
                    ATTR_NAME: state.name,
                    "message": message,
                    ATTR_DOMAIN: DOMAIN,
                    ATTR_ENTITY_ID: entity_id,
                },
                context=context,
            )
