"""Which forwards the user wants in force, on disk."""

from collections.abc import Collection
from typing import TypedDict

from homeassistant.core import HomeAssistant
from homeassistant.helpers.storage import Store

from .const import DOMAIN

_VERSION = 1


class _Stored(TypedDict):
    """What stands in the file."""

    wished: list[str]


class Wishes:
    """The ids of the forwards that are to be in force, of one entry.

    A change counts when it is saved, and it is saved before the router is
    asked: whatever happens then, the wish is known afterwards.
    """

    def __init__(self, hass: HomeAssistant, entry_id: str) -> None:
        """Name the file; nothing is read yet."""
        self._store = Store[_Stored](
            hass, _VERSION, f"{DOMAIN}.{entry_id}", atomic_writes=True
        )
        self._saved: frozenset[str] = frozenset()

    @property
    def saved(self) -> frozenset[str]:
        """What the file says."""
        return self._saved

    async def load(self) -> None:
        """Read the file; where there is none, nothing is wished."""
        if stored := await self._store.async_load():
            self._saved = frozenset(stored["wished"])

    async def save(self, wished: Collection[str]) -> None:
        """Write the file, unless it says so already."""
        if self._saved != (wished := frozenset(wished)):
            await self._store.async_save({"wished": sorted(wished)})
            self._saved = wished

    async def remove(self) -> None:
        """Delete the file."""
        await self._store.async_remove()
