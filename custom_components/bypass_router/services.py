"""The actions: to say why a forward does not work, and to open it, and for whom."""

import asyncio
from collections.abc import Iterable
from dataclasses import replace
from datetime import timedelta
from ipaddress import IPv4Network
import time
from typing import Any, Final

from homeassistant.auth.permissions.const import POLICY_CONTROL
from homeassistant.components.switch.const import DOMAIN as SWITCH_DOMAIN
from homeassistant.config_entries import ConfigEntry, ConfigEntryState
from homeassistant.core import (
    HomeAssistant,
    ServiceCall,
    ServiceResponse,
    SupportsResponse,
    callback,
)
from homeassistant.exceptions import (
    HomeAssistantError,
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

from .const import CONF_SOURCES, DOMAIN
from .diagnosis.run import async_diagnose
from .diagnosis.texts import async_texts, response
from .errors import translated
from .main_router.linux_router import whose_half
from .router.errors import ConnectionLost
from .router.forward import (
    NOBODY,
    Clients,
    InvalidForward,
    normal_sources,
    parse_clients,
)
from .subentry import forward_or_none, sources_of
from .sync.lease import Lease
from .sync.source_names import addresses_of

SERVICE_OPEN_FOR: Final = "open_for"
SERVICE_SET_SOURCES: Final = "set_sources"
ATTR_DURATION: Final = "duration"
SHORTEST: Final = timedelta(seconds=10)
LONGEST: Final = timedelta(days=7)
SERVICE_DIAGNOSE: Final = "diagnose"
ATTR_WATCH: Final = "watch"
LONGEST_WATCH: Final = 120

_CLIENTS: Final = vol.All(cv.ensure_list, [cv.string])
_SCHEMA: Final = vol.Schema(
    {
        **cv.ENTITY_SERVICE_FIELDS,
        vol.Optional(ATTR_WATCH, default=0): vol.All(
            vol.Coerce(int), vol.Range(0, LONGEST_WATCH)
        ),
    }
)
_OPEN_FOR_SCHEMA: Final = vol.Schema(
    {
        **cv.ENTITY_SERVICE_FIELDS,
        vol.Required(ATTR_DURATION): vol.All(
            cv.positive_time_period, vol.Range(SHORTEST, LONGEST)
        ),
        vol.Optional(CONF_SOURCES): _CLIENTS,
    }
)
_SET_SOURCES_SCHEMA: Final = vol.Schema(
    {**cv.ENTITY_SERVICE_FIELDS, vol.Required(CONF_SOURCES): _CLIENTS}
)


@callback
def async_set_up_services(hass: HomeAssistant) -> None:
    """Register the actions."""

    async def diagnose(call: ServiceCall) -> ServiceResponse:
        """Diagnose forwards, one after the other; answer by their switches."""
        texts = await async_texts(hass)
        chosen = await _chosen(hass, call)
        return {
            entity_id: response(
                await async_diagnose(hass, entry, forward_id, call.data[ATTR_WATCH]),
                texts,
            )
            for entity_id, entry, forward_id in chosen
        }

    async def open_for(call: ServiceCall) -> None:
        """Open forwards for a while, all at once."""
        seconds = call.data[ATTR_DURATION].total_seconds()
        sources = None
        if (named := call.data.get(CONF_SOURCES)) is not None:
            sources = await _resolved(hass, *_clients(named))
        lease = Lease.of(seconds, time.time(), sources)
        chosen = await _chosen(hass, call)
        # One that is refused keeps no other from being opened.
        outcomes = await asyncio.gather(
            *(_open(entry, forward_id, lease) for _, entry, forward_id in chosen),
            return_exceptions=True,
        )
        for outcome in outcomes:
            if outcome:
                raise outcome

    async def set_sources(call: ServiceCall) -> None:
        """Have forwards let in these clients from now on, and no others."""
        networks, names = _clients(call.data[CONF_SOURCES])
        chosen = await _chosen(hass, call)
        for _, entry, forward_id in chosen:
            _let_in(hass, entry, forward_id, networks, names)
        for entry in {entry.entry_id: entry for _, entry, _ in chosen}.values():
            # What is stored is carried out when the router is there again.
            _check_loaded(entry)
            await entry.runtime_data.async_reapply()

    hass.services.async_register(
        DOMAIN, SERVICE_SET_SOURCES, set_sources, _SET_SOURCES_SCHEMA
    )
    hass.services.async_register(DOMAIN, SERVICE_OPEN_FOR, open_for, _OPEN_FOR_SCHEMA)
    hass.services.async_register(
        DOMAIN,
        SERVICE_DIAGNOSE,
        diagnose,
        _SCHEMA,
        supports_response=SupportsResponse.ONLY,
    )


async def _open(entry: ConfigEntry[Any], forward_id: str, lease: Lease) -> None:
    """Open a forward for a while. Raises HomeAssistantError."""
    _check_loaded(entry)
    await entry.runtime_data.async_set_desired(forward_id, on=True, lease=lease)


def _check_loaded(entry: ConfigEntry[Any]) -> None:
    """Raise HomeAssistantError for a router that is not connected at all."""
    if entry.state is not ConfigEntryState.LOADED:
        raise translated(HomeAssistantError, ConnectionLost(message="closed"))


@callback
def _let_in(
    hass: HomeAssistant,
    entry: ConfigEntry[Any],
    forward_id: str,
    networks: tuple[IPv4Network, ...],
    names: tuple[str, ...],
) -> None:
    """Store that a forward lets in these."""
    subentry = entry.subentries[forward_id]
    if (forward := forward_or_none(subentry)) and not whose_half(hass, subentry):
        forward = replace(forward, sources=networks, names=names)
        data = {**subentry.data, CONF_SOURCES: sources_of(forward)}
        hass.config_entries.async_update_subentry(entry, subentry, data=data)


def _clients(named: list[str]) -> Clients:
    """Return the networks that are named, and the hosts.

    Raises ServiceValidationError, also for a list of nothing: a template that finds no
    address is not to let everybody in.
    """
    try:
        if not named:
            raise InvalidForward({CONF_SOURCES: "none"})
        return parse_clients(named)
    except InvalidForward:
        raise ServiceValidationError(
            translation_domain=DOMAIN, translation_key="invalid_sources"
        ) from None


async def _resolved(
    hass: HomeAssistant, networks: tuple[IPv4Network, ...], names: tuple[str, ...]
) -> tuple[IPv4Network, ...]:
    """Return networks, and the addresses of hosts. Raises ServiceValidationError."""
    found = [network for network in networks if network != NOBODY]
    for name in names:
        if not (addresses := await addresses_of(hass, name)):
            raise ServiceValidationError(
                translation_domain=DOMAIN,
                translation_key="unresolved_source",
                translation_placeholders={"name": name},
            )
        found += map(IPv4Network, addresses)
    return normal_sources(found)


async def _chosen(
    hass: HomeAssistant, call: ServiceCall
) -> list[tuple[str, ConfigEntry[Any], str]]:
    """Return the forwards that are meant, and that the caller may control.

    Raises ServiceValidationError, Unauthorized, or UnknownUser.
    """
    chosen = list(_forwards(hass, call))
    if not chosen:
        raise ServiceValidationError(
            translation_domain=DOMAIN, translation_key="not_a_forward"
        )
    await async_check_permission(hass, call, [found[0] for found in chosen])
    return chosen


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
