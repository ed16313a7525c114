"""Which forwards the user wants in force, on disk."""

from collections.abc import Collection
from dataclasses import dataclass, replace
from typing import NotRequired, TypedDict

from homeassistant.core import HomeAssistant
from homeassistant.helpers.storage import Store

from ..const import DOMAIN

_VERSION = 1


class _Stored(TypedDict):
    """What stands in the file."""

    wished: list[str]
    boot_id: NotRequired[str]


@dataclass(frozen=True, slots=True)
class Wished:
    """What is to be in force, and on which boot of the router it last was."""

    forwards: frozenset[str] = frozenset()
    boot_id: str = ""


class Wishes:
    """The ids of the forwards that are to be in force, of one entry.

    A wish counts when it is saved, and it is saved before the router is asked:
    whatever happens then, it is known afterwards. What nobody asks for, such as to
    put lost forwards back, goes by what is saved.
    """

    def __init__(self, hass: HomeAssistant, entry_id: str) -> None:
        """Name the file; nothing is read yet."""
        self._store = Store[_Stored](
            hass, _VERSION, f"{DOMAIN}.{entry_id}", atomic_writes=True
        )
        self._saved = Wished()
        self._wished: set[str] = set()
        # Of which forwards something was wished since wishes were last saved.
        self._latest: set[str] = set()

    @property
    def wished(self) -> frozenset[str]:
        """The forwards that are to be in force."""
        return frozenset(self._wished)

    @property
    def saved(self) -> frozenset[str]:
        """The forwards that the file names."""
        return self._saved.forwards

    @property
    def boot_id(self) -> str:
        """The boot of the router that the file names; empty before the first."""
        return self._saved.boot_id

    def wish(self, forward_id: str, *, on: bool) -> None:
        """Take note of a wish, which `save` makes count."""
        self._latest.add(forward_id)
        if on:
            self._wished.add(forward_id)
        else:
            self._wished.discard(forward_id)

    async def load(self) -> None:
        """Read the file; where there is none, nothing is wished."""
        if stored := await self._store.async_load():
            self._saved = Wished(frozenset(stored["wished"]), stored.get("boot_id", ""))
        self._wished = set(self.saved)

    async def save(self, among: Collection[str]) -> frozenset[str]:
        """Write which of the forwards that there are is wished, and forget of others.

        Returns those of which something was wished since the last time.
        """
        latest = frozenset(self._latest)
        self._latest.clear()
        self._wished.intersection_update(among)
        await self._save(self._wished)
        return latest

    async def take_back(self, before: frozenset[str]) -> None:
        """Return to what was saved before, since the router refused the change.

        Wishes that came in the meantime stand, also for the same once more.
        """
        self._wished ^= (self.saved ^ before) - self._latest
        await self._save(before)

    async def give_up(self, gone: frozenset[str]) -> None:
        """Wish no more for what is gone.

        Unless it was wished again since wishes were saved, as its switch may still
        show it on; that is saved by its own change, which may have to take it back.
        """
        self._wished -= gone - self._latest
        await self._save(self.saved - gone)

    async def save_boot_id(self, boot_id: str) -> None:
        """Write on which boot of the router they were brought about."""
        await self._write(replace(self._saved, boot_id=boot_id))

    async def remove(self) -> None:
        """Delete the file."""
        await self._store.async_remove()

    async def _save(self, wished: Collection[str]) -> None:
        """Write which forwards are wished."""
        await self._write(replace(self._saved, forwards=frozenset(wished)))

    async def _write(self, wished: Wished) -> None:
        """Write the file, unless it says so already."""
        if self._saved != wished:
            await self._store.async_save(
                {"wished": sorted(wished.forwards), "boot_id": wished.boot_id}
            )
            self._saved = wished
