"""Which forwards the user desires, on disk."""

from collections.abc import Collection
from dataclasses import dataclass, replace
from typing import NotRequired, Protocol, TypedDict

from homeassistant.core import HomeAssistant
from homeassistant.helpers.storage import Store

from ..const import DOMAIN

_VERSION = 1


class Stored(TypedDict):
    """What stands in the file."""

    wished: list[str]
    boot_id: NotRequired[str]


class File(Protocol):
    """Where it is kept, as Home Assistant's `Store` does."""

    async def async_load(self) -> Stored | None:
        """Return what was saved last."""

    async def async_save(self, data: Stored) -> None:
        """Write all of it, or nothing."""

    async def async_remove(self) -> None:
        """Delete the file."""


@dataclass(frozen=True, slots=True)
class Saved:
    """What is to be live, and on which boot of the router it last was."""

    forwards: frozenset[str] = frozenset()
    boot_id: str = ""


@dataclass(frozen=True, slots=True, eq=False)
class _Request:
    """Someone asked for a forward to be on or off; each is one of its own."""

    on: bool


def file_of(hass: HomeAssistant, entry_id: str) -> Store[Stored]:
    """Return the file of an entry's desired state."""
    return Store(hass, _VERSION, f"{DOMAIN}.{entry_id}", atomic_writes=True)


class DesiredState:
    """The ids of the forwards that are to be live, of one entry.

    A request counts when it is saved, and it is saved before the router is asked:
    whatever happens then, it is known afterwards. What no one asks for, such as to
    put lost forwards back, goes by what is saved.
    """

    def __init__(self, file: File) -> None:
        """Take the file; nothing is read yet."""
        self._file = file
        self._saved = Saved()
        self._pending: dict[str, _Request] = {}

    @property
    def desired(self) -> frozenset[str]:
        """The forwards that are to be live, as the latest requests have it."""
        on = {key for key, request in self._pending.items() if request.on}
        return self.saved - self._pending.keys() | on

    @property
    def saved(self) -> frozenset[str]:
        """The forwards that the file names."""
        return self._saved.forwards

    @property
    def boot_id(self) -> str:
        """The boot of the router that the file names; empty before the first."""
        return self._saved.boot_id

    def set(self, forward_id: str, *, on: bool) -> None:
        """Take a request, which `save` makes count."""
        self._pending[forward_id] = _Request(on)

    async def load(self) -> None:
        """Read the file; where there is none, nothing is desired."""
        if stored := await self._file.async_load():
            self._saved = Saved(frozenset(stored["wished"]), stored.get("boot_id", ""))

    async def save(self, among: Collection[str]) -> frozenset[str]:
        """Write which of the forwards that exist are desired, and forget the others.

        Returns those that were asked for since the last time, on or off.
        """
        asked = dict(self._pending)
        await self._save(self.desired.intersection(among))
        for key, request in asked.items():
            # One that came while the file was written is for the next time.
            if self._pending[key] is request:
                del self._pending[key]
        return frozenset(asked)

    async def take_back(self, before: frozenset[str], keys: frozenset[str]) -> None:
        """Return these to what was saved before, since the router refused the change.

        Requests that came in the meantime stand, also for the same once more.
        """
        await self._save(self.saved - keys | before & keys)

    async def give_up(self, gone: frozenset[str]) -> None:
        """Desire no more what is gone.

        Unless it was asked for again since the file was written, as its switch may
        still show it on; that is saved by its own change, which may have to take it
        back.
        """
        await self._save(self.saved - gone)

    async def save_boot_id(self, boot_id: str) -> None:
        """Write on which boot of the router it was applied."""
        await self._write(replace(self._saved, boot_id=boot_id))

    async def remove(self) -> None:
        """Delete the file."""
        await self._file.async_remove()

    async def _save(self, desired: frozenset[str]) -> None:
        """Write which forwards are desired."""
        await self._write(replace(self._saved, forwards=desired))

    async def _write(self, saved: Saved) -> None:
        """Write the file, unless it says so already."""
        if self._saved != saved:
            await self._file.async_save(
                {"wished": sorted(saved.forwards), "boot_id": saved.boot_id}
            )
            self._saved = saved
