"""Forwards that were made by hand on a router, and become forwards here."""

import asyncio
from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
import logging
from types import MappingProxyType

from homeassistant.config_entries import ConfigSubentry
from homeassistant.core import HomeAssistant, callback
from homeassistant.exceptions import HomeAssistantError

from .const import SUBENTRY_FORWARD
from .coordinator import BypassRouterConfigEntry
from .errors import translated
from .flows.forward_checks import (
    MAX_NAME,
    check_name,
    check_ports,
    check_size,
    check_target,
    is_name,
)
from .issues import Issues
from .router.errors import ConnectionLost, RouterError, printable
from .router.forward import Forward
from .router.router import Router
from .router.rule_import.replace import ManualForward
from .subentry import fields_of, placeholders_of

_LOGGER = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Offer:
    """A forward made by hand that can be imported."""

    made: ManualForward
    known: str | None = None
    """The id of the forward here that does the same already."""

    @property
    def label(self) -> str:
        """The forward in one line, in any language."""
        placeholders = placeholders_of(self.made.forward)
        text = "{protocol} {external_port} → {target}:{target_port}".format(
            **placeholders
        )
        comment = printable(self.made.comment, MAX_NAME)
        return f"{comment}: {text}" if comment else text


async def async_offers(
    entry: BypassRouterConfigEntry, router: Router
) -> dict[str, Offer]:
    """Return what can be imported, by ids that change when the rules do.

    Raises RouterError.
    """
    offers: dict[str, Offer] = {}
    for made in await router.rules.manual_forwards():
        forward = made.forward
        offer = Offer(made, _known(entry, forward))
        refused = check_target(entry, forward.target, router)[0]
        if offer.known is None:
            refused |= check_ports(entry, forward, ())[0]
        if not refused | check_size(forward)[0]:
            offers[forward.id] = offer
    return offers


def _known(entry: BypassRouterConfigEntry, made: Forward) -> str | None:
    """Return the id of the forward that does the same already.

    What the target sees of the client may have been changed after an import.
    """
    for key, forward in entry.runtime_data.forwards.items():
        shown = forward.keep_client_address
        if replace(made, id=key, keep_client_address=shown) == forward:
            return key
    return None


async def async_import(
    hass: HomeAssistant, entry: BypassRouterConfigEntry, offers: Collection[Offer]
) -> None:
    """Make forwards of these, and switch them on in the place of the old rules.

    Raises HomeAssistantError if that failed. Where the router refused, all is as it
    was; where it could not be asked any more, it follows when it is back.
    """
    coordinator = entry.runtime_data
    if (router := coordinator.connection.router) is None:
        raise translated(HomeAssistantError, ConnectionLost(message="closed"))
    new: list[str] = []
    replaced: dict[str, ManualForward] = {}
    for offer in offers:
        forward_id = offer.known
        if forward_id is None:
            forward_id = _add(hass, entry, offer)
            new.append(forward_id)
        replaced[forward_id] = offer.made
    coordinator.async_forwards_changed()
    try:
        async with router.rules.replacing(replaced):
            # All at once, so that they are one change.
            outcomes = await asyncio.gather(
                *(coordinator.async_set_desired(key, on=True) for key in replaced),
                return_exceptions=True,
            )
    finally:
        for key in new:
            if key not in coordinator.desired and key in entry.subentries:
                hass.config_entries.async_remove_subentry(entry, key)
    for outcome in outcomes:
        if outcome is not None:
            raise outcome


def _add(hass: HomeAssistant, entry: BypassRouterConfigEntry, offer: Offer) -> str:
    """Add a forward, which is off, and return its id."""
    name = _name(entry, offer)
    subentry = ConfigSubentry(
        data=MappingProxyType(fields_of(name, offer.made.forward)),
        subentry_type=SUBENTRY_FORWARD,
        title=name,
        unique_id=None,
    )
    hass.config_entries.async_add_subentry(entry, subentry)
    return subentry.subentry_id


def _name(entry: BypassRouterConfigEntry, offer: Offer) -> str:
    """Return a name that no forward has: as the person has called it, or its port."""
    placeholders = placeholders_of(offer.made.forward)
    comment = printable(offer.made.comment, MAX_NAME // 2)
    base = (
        comment
        if is_name(comment)
        else "{protocol} {external_port}".format(**placeholders)
    )
    name, number = base, 1
    while check_name(entry, name, ""):
        number += 1
        name = f"{base} ({number})"
    return name


@callback
def async_offer_import(hass: HomeAssistant, entry: BypassRouterConfigEntry) -> None:
    """Tell the user of what was made by hand, each time the router is connected."""
    coordinator = entry.runtime_data
    looked_at: Router | None = None

    @callback
    def look() -> None:
        nonlocal looked_at
        router = coordinator.connection.router
        if router is not None and router is not looked_at:
            looked_at = router
            entry.async_create_background_task(
                hass, _look(hass, entry, router), f"{entry.title} hand-made"
            )

    look()
    entry.async_on_unload(coordinator.async_add_listener(look))


async def _look(
    hass: HomeAssistant, entry: BypassRouterConfigEntry, router: Router
) -> None:
    """Look once."""
    try:
        offers = await async_offers(entry, router)
    except RouterError as err:
        _LOGGER.debug("%s: forwards made by hand are not known: %s", entry.title, err)
        return
    Issues(hass, entry).manual_forwards(len(offers))


def commands_of(offers: Mapping[str, Offer]) -> str:
    """Return the old rules, as a person may have typed them."""
    rules = (str(rule) for offer in offers.values() for rule in offer.made.rules)
    return "\n".join(printable(rule) for rule in dict.fromkeys(rules))
