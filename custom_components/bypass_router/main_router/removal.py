"""What is left on a main router when forwards, or their router, are removed here."""

import asyncio
from collections.abc import Iterable
from ipaddress import IPv4Address
import math
from typing import Any

from homeassistant.config_entries import ConfigEntry
from homeassistant.core import HomeAssistant
from homeassistant.util.dt import as_local, utc_from_timestamp

from ..const import CONF_MAIN_ROUTER_ADDRESS
from ..issues import Issues
from ..router.errors import RouterError
from ..router.port_mapping.base import Refusal
from ..router.port_mapping.gateway import gateway_of
from ..router.router import Router
from ..storage import NotLoaded, NotSaved
from ..subentry import main_router_switch_of
from ..sync.desired_state import DesiredState
from .asking import Asking
from .linux_router import other_switch
from .plan import Owner
from .records import Record, Records
from .search import find_mapper


async def async_turn_off_named(
    hass: HomeAssistant, entry: ConfigEntry[Any], desired: DesiredState
) -> None:
    """Turn off the switches that stand for forwards of a router that is removed."""
    try:
        await desired.load()
    except NotLoaded:
        return
    others = [
        other_switch(hass, entry, key, named, lambda: None)
        for key, subentry in entry.subentries.items()
        if key in desired.saved and (named := main_router_switch_of(subentry))
    ]
    async with asyncio.TaskGroup() as group:
        for other in others:
            group.create_task(other.async_turn_off())
    for other in others:
        other.async_stop()


async def async_close_all(
    hass: HomeAssistant, entry: ConfigEntry[Any], router: Router | None
) -> list[Record]:
    """Have the main router close all that it was asked for, by a router if it is there.

    Returns what may be left there. Nothing is known of it any more afterwards.
    """
    records = Records(hass, entry.entry_id)
    try:
        await records.load()
        if records.mappings and router:
            await _close(entry, router, records)
    except NotLoaded, NotSaved, RouterError:
        # By their leases they end.
        pass
    await records.remove()
    return list(records.mappings.values())


async def _close(entry: ConfigEntry[Any], router: Router, records: Records) -> None:
    """Do it. Raises RouterError, NotSaved."""
    said = entry.options.get(CONF_MAIN_ROUTER_ADDRESS)
    address = router.context.address
    gateway = IPv4Address(said) if said else await gateway_of(router.run, address)
    if gateway is None:
        return
    mapper = await find_mapper(router, gateway, records.locations)
    if isinstance(mapper, Refusal):
        return
    owner = Owner(router.context.owner, address.ip)
    await Asking(mapper, owner, records).bring_about({}, (), {})


def tell_left(issues: Issues, left: Iterable[Record]) -> None:
    """Say what the main router may still have, and until when."""
    records = sorted(left, key=lambda record: record.mapping)
    until = max((record.until for record in records), default=0.0)
    issues.main_router_left(
        [
            f"{record.mapping.public.transport.upper()} {record.mapping.public.port}"
            for record in records
        ],
        None
        if math.isinf(until)
        else f"{as_local(utc_from_timestamp(until)):%F %H:%M}",
    )
