"""The hardware addresses of targets, on disk.

By them, a device that got another address is found again.
"""

from collections.abc import Collection, Mapping
from typing import TypedDict

from homeassistant.core import HomeAssistant
from homeassistant.helpers.storage import Store

from .const import DOMAIN
from .router.forward import Forward

_VERSION = 1


class _StoredTarget(TypedDict):
    """A forward's line."""

    address: str
    hardware: str


class Remembered:
    """The targets of one entry's forwards."""

    def __init__(self, hass: HomeAssistant, entry_id: str) -> None:
        """Name the file; nothing is read yet."""
        self._store = Store[dict[str, _StoredTarget]](
            hass, _VERSION, f"{DOMAIN}.{entry_id}.targets", atomic_writes=True
        )
        self._targets: dict[str, _StoredTarget] | None = None

    async def of(self, forward: Forward) -> str | None:
        """Return the hardware address of a forward's target, if it is known."""
        found = (await self._load()).get(forward.id)
        # A forward that leads elsewhere now leads to another device.
        if found and found["address"] == str(forward.target):
            return found["hardware"]
        return None

    async def remember(
        self, found: Mapping[Forward, str], ids: Collection[str]
    ) -> None:
        """Take note of targets, and forget those of forwards that are not in `ids`."""
        targets = await self._load()
        now = {key: target for key, target in targets.items() if key in ids}
        for forward, hardware in found.items():
            now[forward.id] = {"address": str(forward.target), "hardware": hardware}
        if now != targets:
            self._targets = now
            await self._store.async_save(now)

    async def remove(self) -> None:
        """Delete the file."""
        await self._store.async_remove()

    async def _load(self) -> dict[str, _StoredTarget]:
        """Return what is known."""
        if self._targets is None:
            self._targets = await self._store.async_load() or {}
        return self._targets
