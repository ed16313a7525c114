"""The MAC addresses of targets, on disk.

By them, a device that got another address is found again.
"""

import asyncio
from collections.abc import Mapping
from typing import TypedDict, TypeGuard

from homeassistant.core import HomeAssistant
from homeassistant.util.hass_dict import HassKey

from ..const import DOMAIN
from ..router.forward import Forward
from ..storage import CheckedStore, NotLoaded

_WRITING: HassKey[asyncio.Lock] = HassKey(f"{DOMAIN}.remembering")


class _StoredTarget(TypedDict):
    """A forward's line."""

    address: str
    hardware: str


class TargetMacStore:
    """The targets of one entry's forwards."""

    def __init__(self, hass: HomeAssistant, entry_id: str) -> None:
        """Name the file; nothing is read yet."""
        self._hass = hass
        self._entry_id = entry_id
        self._store = CheckedStore(hass, f"{DOMAIN}.{entry_id}.targets")
        self._targets: dict[str, _StoredTarget] | None = None

    async def of(self, forward: Forward) -> str | None:
        """Return the MAC address of a forward's target, if it is known."""
        found = (await self._load()).get(forward.id)
        # A forward that leads elsewhere now leads to another device.
        if found and found["address"] == str(forward.target):
            return found["hardware"]
        return None

    async def remember(self, found: Mapping[Forward, str]) -> None:
        """Take note of targets, and forget those of forwards that are no more.

        Raises NotSaved.
        """
        async with self._writing():
            # To find them took a while, in which others may have written.
            self._targets = None
            targets = await self._load()
            if (
                entry := self._hass.config_entries.async_get_entry(self._entry_id)
            ) is None:
                return
            now = targets | {
                forward.id: _StoredTarget(
                    address=str(forward.target), hardware=hardware
                )
                for forward, hardware in found.items()
            }
            now = {key: now[key] for key in now if key in entry.subentries}
            if now != targets:
                self._targets = now
                await self._store.async_save(now)

    async def remove(self) -> None:
        """Delete the file."""
        async with self._writing():
            await self._store.async_remove()

    def _writing(self) -> asyncio.Lock:
        """Return what is held by whoever writes."""
        return self._hass.data.setdefault(_WRITING, asyncio.Lock())

    async def _load(self) -> dict[str, _StoredTarget]:
        """Return what is known."""
        if self._targets is None:
            try:
                stored = await self._store.async_load()
            except NotLoaded:
                return {}
            lines = stored.items() if isinstance(stored, dict) else ()
            self._targets = {key: line for key, line in lines if _is_target(line)}
        return self._targets


def _is_target(line: object) -> TypeGuard[_StoredTarget]:
    """Return whether a line of the file makes sense."""
    match line:
        case {"address": str(), "hardware": str()}:
            return True
        case _:
            return False
