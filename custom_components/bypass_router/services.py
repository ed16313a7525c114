"""The action that says why a forward does not work."""

from collections.abc import Iterable
from typing import Any, Final

from homeassistant.auth.permissions.const import POLICY_CONTROL
from homeassistant.components.switch.const import DOMAIN as SWITCH_DOMAIN
from homeassistant.config_entries import ConfigEntry
from homeassistant.core import (
    HomeAssistant,
    ServiceCall,
    ServiceResponse,
    SupportsResponse,
    callback,
)
from homeassistant.exceptions import (
    ServiceValidationError,
    Unauthorized,
    UnknownUser,
)
from homeassistant.helpers import config_validation as cv, entity_registry as er
from homeassistant.helpers.target import (
    TargetSelection,
    async_extract_referenced_entity_ids,
)
import voluptuous as vol

from .const import DOMAIN
from .diagnosis.run import async_diagnose
from .diagnosis.texts import async_texts, response

SERVICE_DIAGNOSE: Final = "diagnose"
ATTR_WATCH: Final = "watch"
LONGEST_WATCH: Final = 120

_SCHEMA: Final = vol.Schema(
    {
        **cv.ENTITY_SERVICE_FIELDS,
        vol.Optional(ATTR_WATCH, default=0): vol.All(
            vol.Coerce(int), vol.Range(0, LONGEST_WATCH)
        ),
    }
)


@callback
def async_set_up_services(hass: HomeAssistant) -> None:
    """Register the action."""

    async def diagnose(call: ServiceCall) -> ServiceResponse:
        """Diagnose forwards, one after the other; answer by their switches."""
        texts = await async_texts(hass)
        chosen = list(_forwards(hass, call))
        if not chosen:
            raise ServiceValidationError(
                translation_domain=DOMAIN, translation_key="not_a_forward"
            )
        await async_check_permission(hass, call, [found[0] for found in chosen])
        return {
            entity_id: response(
                await async_diagnose(hass, entry, forward_id, call.data[ATTR_WATCH]),
                texts,
            )
            for entity_id, entry, forward_id in chosen
        }

    hass.services.async_register(
        DOMAIN,
        SERVICE_DIAGNOSE,
        diagnose,
        _SCHEMA,
        supports_response=SupportsResponse.ONLY,
    )


async def async_check_permission(
    hass: HomeAssistant, call: ServiceCall, entity_ids: Iterable[str]
) -> None:
    """Refuse whoever may not control these entities, as the entities' own actions do.

    Raises Unauthorized, or UnknownUser.
    """
    if (user_id := call.context.user_id) is None:
        # An automation, or Home Assistant itself.
        return
    if (user := await hass.auth.async_get_user(user_id)) is None:
        raise UnknownUser(context=call.context)
    for entity_id in entity_ids:
        if not user.permissions.check_entity(entity_id, POLICY_CONTROL):
            raise Unauthorized(
                context=call.context, entity_id=entity_id, permission=POLICY_CONTROL
            )


def _forwards(
    hass: HomeAssistant, call: ServiceCall
) -> Iterable[tuple[str, ConfigEntry[Any], str]]:
    """Yield each forward's switch that was chosen, its entry, and its id.

    Not by way of entities: those of a router that can't be reached are unavailable,
    and would be left out without a word.
    """
    registry = er.async_get(hass)
    selected = async_extract_referenced_entity_ids(hass, TargetSelection(call.data))
    for entity_id in sorted(selected.referenced | selected.indirectly_referenced):
        found = registry.async_get(entity_id)
        if (
            found
            and found.platform == DOMAIN
            and found.domain == SWITCH_DOMAIN
            and found.config_subentry_id
            and (
                entry := hass.config_entries.async_get_entry(
                    found.config_entry_id or ""
                )
            )
        ):
            yield entity_id, entry, found.config_subentry_id
