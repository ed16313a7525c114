"""One file that lets a stranger help, and that tells the stranger no secret."""

from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import asdict
import platform
from typing import Any

import asyncssh
from homeassistant.components.diagnostics import async_redact_data
from homeassistant.const import CONF_HOST, CONF_PASSWORD, __version__
from homeassistant.core import HomeAssistant
from homeassistant.exceptions import HomeAssistantError
from homeassistant.helpers import device_registry as dr, entity_registry as er
from homeassistant.loader import async_get_integration
from homeassistant.util.dt import utc_from_timestamp

from .const import (
    CONF_HOST_KEY,
    CONF_PASSPHRASE,
    CONF_PRIVATE_KEY,
    DOMAIN,
    SUBENTRY_FORWARD,
)
from .coordinator import BypassRouterConfigEntry, BypassRouterCoordinator
from .redact import Redactor
from .router.forward import Forward
from .router.rules.base import Live, Tag
from .router.ssh.credentials import HostKey
from .storage import NotLoaded
from .sync.connection import async_owner
from .sync.desired_state import DesiredState, file_of

_SECRETS = {CONF_PASSWORD, CONF_PRIVATE_KEY, CONF_PASSPHRASE}
# Of a chain's listing: enough to see what stands there, and in what order.
_MOST_LINES = 1000
_LONGEST_LINE = 1000


async def async_get_config_entry_diagnostics(
    hass: HomeAssistant, entry: BypassRouterConfigEntry
) -> dict[str, Any]:
    """Return all that is known of a router and its forwards."""
    return _cleaned(entry, await _everything(hass, entry))


async def async_get_device_diagnostics(
    hass: HomeAssistant, entry: BypassRouterConfigEntry, device: dr.DeviceEntry
) -> dict[str, Any]:
    """Return the same; a forward comes first, with the rules that it should have."""
    everything = await _everything(hass, entry)
    for domain, key in device.identifiers:
        if domain == DOMAIN and key in entry.subentries:
            everything = {"forward": _forward(entry, key, everything)} | everything
    return _cleaned(entry, everything)


def _cleaned(
    entry: BypassRouterConfigEntry, everything: Mapping[str, Any]
) -> dict[str, Any]:
    """Return all of it without what tells where and whose the home is."""
    router = everything.get("router") or {}
    redactor = Redactor(
        names=(entry.data[CONF_HOST], entry.title, router.get("hostname", "")),
        macs=(entry.unique_id or "", router.get("mac_address") or ""),
    )
    cleaned: dict[str, Any] = redactor.clean(everything)
    return cleaned


async def _everything(
    hass: HomeAssistant, entry: BypassRouterConfigEntry
) -> dict[str, Any]:
    """Return all that is known, with the home's addresses still in it."""
    coordinator = _coordinator(entry)
    saved = DesiredState(file_of(hass, entry.entry_id))
    with suppress(NotLoaded):
        await saved.load()
    return {
        "versions": {
            "integration": str((await async_get_integration(hass, DOMAIN)).version),
            "home_assistant": __version__,
            "asyncssh": asyncssh.__version__,
            "python": platform.python_version(),
        },
        "entry": _entry(entry),
        "owner": await async_owner(hass),
        "forwards": {
            subentry.subentry_id: {**subentry.data, "name": subentry.title}
            for subentry in entry.subentries.values()
            if subentry.subentry_type == SUBENTRY_FORWARD
        },
        "desired": {
            "on_disk": sorted(saved.saved),
            "leases": {
                key: lease.stored for key, lease in saved.saved.items() if lease
            },
            "now": sorted(coordinator.desired) if coordinator else None,
        },
        # Of a router that could not be set up, `entry` says why.
        **(_known(coordinator) if coordinator else {}),
        "entities": _entities(hass, entry),
    }


def _coordinator(entry: BypassRouterConfigEntry) -> BypassRouterCoordinator | None:
    """Return the entry's coordinator; none where the router could not be set up."""
    return getattr(entry, "runtime_data", None)


def _entry(entry: BypassRouterConfigEntry) -> dict[str, Any]:
    """Return how the router is set up, and whether it could be."""
    data = async_redact_data(dict(entry.data), _SECRETS)
    host_key = HostKey(data.pop(CONF_HOST_KEY))
    return {
        "title": entry.title,
        "state": entry.state.value,
        "reason": entry.error_reason_translation_key or entry.reason,
        "data": {**data, "host_key_fingerprint": host_key.fingerprint},
        "options": dict(entry.options),
        "version": f"{entry.version}.{entry.minor_version}",
    }


def _known(coordinator: BypassRouterCoordinator) -> dict[str, Any]:
    """Return what the router told, and what happened lately."""
    history = coordinator.history
    router = history.router
    error = coordinator.last_exception
    return {
        "router": asdict(router.probe) if router else None,
        "firewall": router.rules.firewall if router else None,
        "live": _live(coordinator.data),
        "obstacles": {
            key: [{"kind": one.kind.value, **one.seen} for one in found]
            for key, found in coordinator.knowledge.obstacles.items()
        },
        "main_router": _main_router(coordinator),
        "rules": {
            label: _listed(text)
            for label, text in (router.rules.listing.items() if router else ())
        },
        "link": {
            "connected": coordinator.connection.router is not None,
            "opened": _times(history.opened),
            "lost": _times(history.lost),
            "losses": history.losses,
            "error": None if coordinator.last_update_success else _said(error),
        },
        "watcher": {
            "kind": ("nft monitor" if router.reports else "loop") if router else None,
            "since": _time(router.watched_since) if router else None,
            "hints": history.hints,
            "looks": history.refreshes,
        },
        "transactions": [
            asdict(transaction) | {"started": _time(transaction.started)}
            for transaction in history.transactions
        ],
        "events": [
            asdict(entry) | {"when": _time(entry.when)} for entry in history.entries
        ],
    }


def _main_router(coordinator: BypassRouterCoordinator) -> dict[str, Any]:
    """Return what is known of the main router, and of its half of each forward."""
    asked = coordinator.halves.asked
    mapper = asked.asking.mapper if asked.asking else None
    halves = {key: coordinator.halves.half(key) for key in coordinator.forwards}
    return {
        "asked": asked.asks,
        "gateway": str(asked.gateway) if asked.gateway else None,
        "protocol": mapper.name if mapper else None,
        "model": mapper.model if mapper else None,
        "public_address": str(asked.public_address),
        "halves": {
            key: {
                "state": half.state.value,
                "cause": half.check.cause,
                "seen": dict(half.check.seen),
                "since": _time(half.since),
            }
            for key, half in halves.items()
            if half
        },
        "mappings": [
            {
                "forward": record.forward_id,
                "transport": record.mapping.public.transport,
                "public_port": record.mapping.public.port,
                "port": record.mapping.port,
                "asked": _time(record.asked),
                "lease": record.lease,
            }
            for record in asked.records
        ],
    }


def _live(live: Live) -> dict[str, Any]:
    """Return what the rules that were read last amount to."""
    return {
        "forwards": {key: _plain(forward) for key, forward in live.forwards.items()},
        "closes_at": {key: _time(when) for key, when in live.closes_at.items()},
        "damaged": sorted(live.damaged),
        "foreign": sorted(map(str, live.foreign)),
    }


def _plain(forward: Forward) -> dict[str, Any]:
    """Return a forward as its rules have it."""
    return {
        "protocol": forward.protocol.value,
        "external_port": str(forward.external),
        "target": str(forward.target),
        "target_port": str(forward.target_ports),
        "sources": [str(network) for network in forward.sources],
        "keep_client_address": forward.keep_client_address,
    }


def _forward(
    entry: BypassRouterConfigEntry, key: str, everything: Mapping[str, Any]
) -> dict[str, Any]:
    """Return what concerns one forward, beside what is known of all."""
    desired = everything["desired"]["now"]
    if desired is None:
        desired = everything["desired"]["on_disk"]
    found = {"id": key, **everything["forwards"][key], "desired": key in desired}
    coordinator = _coordinator(entry)
    if coordinator is None or (router := coordinator.history.router) is None:
        return found
    forward = coordinator.forwards.get(key)
    tag = str(Tag(everything["owner"], key))
    return {
        **found,
        "live": everything["live"]["forwards"].get(key),
        "damaged": key in everything["live"]["damaged"],
        "obstacles": everything["obstacles"].get(key, []),
        "rules_desired": [
            *(router.rules.ruleset.rules(forward) if forward else ()),
        ],
        "rules_found": [
            line
            for lines in everything["rules"].values()
            for line in lines
            if tag in line
        ],
    }


def _listed(text: str) -> list[str]:
    """Return a listing's lines, as far as anyone would read them."""
    lines = [line[:_LONGEST_LINE] for line in text.splitlines()]
    return lines if len(lines) <= _MOST_LINES else [*lines[:_MOST_LINES], "…"]


def _said(error: BaseException | None) -> dict[str, Any]:
    """Return an error's key and placeholders, or at least its kind."""
    if isinstance(error, HomeAssistantError) and error.translation_key:
        placeholders = error.translation_placeholders or {}
        return {"key": error.translation_key, "placeholders": dict(placeholders)}
    return {"key": type(error).__name__, "placeholders": {}}


def _time(when: float | None) -> str | None:
    """Return a moment as people read it."""
    return None if when is None else utc_from_timestamp(when).isoformat()


def _times(moments: Iterable[float]) -> list[str | None]:
    """Return moments as people read them."""
    return [_time(when) for when in moments]


def _entities(
    hass: HomeAssistant, entry: BypassRouterConfigEntry
) -> dict[str, str | None]:
    """Return what the user sees; nothing for entities that are disabled."""
    found = er.async_entries_for_config_entry(er.async_get(hass), entry.entry_id)
    states = {entity.entity_id: hass.states.get(entity.entity_id) for entity in found}
    return {key: state.state if state else None for key, state in states.items()}
