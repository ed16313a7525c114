"""Which forwards the user desires, on disk."""

import asyncio
from collections.abc import Collection, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from typing import Any, Protocol

from homeassistant.core import HomeAssistant

from ..const import DOMAIN
from ..storage import CheckedStore, NotSaved
from .lease import Lease

type Wishes = Mapping[str, Lease | None]
"""By id, for how long forwards are to be live; None: until they are turned off."""


class File(Protocol):
    """Where it is kept, as `CheckedStore` does."""

    async def async_load(self) -> object:
        """Return what was saved last. Raises NotLoaded."""

    async def async_save(self, data: Mapping[str, Any]) -> None:
        """Write all of it, or nothing. Raises NotSaved."""

    async def async_remove(self) -> None:
        """Delete the file."""


class Told(Protocol):
    """Who tells the user what is wrong with the file."""

    def not_saved(self, err: NotSaved | None) -> None:
        """It can't be written; None: it can."""

    def state_lost(self, *, lost: bool) -> None:
        """What it says makes no sense, or does."""


@dataclass(frozen=True, slots=True)
class Saved:
    """What is to be live, and on which boot of the router it last was."""

    forwards: Wishes = field(default_factory=dict)
    boot_id: str = ""
    begun: frozenset[str] = frozenset()
    """Those that are on since they were added, or were once: never by that again."""


@dataclass(frozen=True, slots=True, eq=False)
class _Request:
    """Someone asked for a forward to be on or off; each is one of its own."""

    on: bool
    lease: Lease | None = None


def changed(one: Wishes, other: Wishes) -> frozenset[str]:
    """Return the ids of the forwards for which two say something else."""
    return frozenset(key for key, _ in one.items() ^ other.items())


def with_those(wishes: Wishes, keys: Collection[str], other: Wishes) -> Wishes:
    """Return the same, but for these ids, for which it says what another one says."""
    kept = {key: lease for key, lease in wishes.items() if key not in keys}
    return kept | {key: lease for key, lease in other.items() if key in keys}


def file_of(hass: HomeAssistant, entry_id: str) -> CheckedStore:
    """Return the file of an entry's desired state."""
    return CheckedStore(hass, f"{DOMAIN}.{entry_id}")


class DesiredState:
    """Which forwards of one entry are to be live, and for how long.

    A request counts when it is saved, and it is saved before the router is asked:
    whatever happens then, it is known afterwards. What no one asks for, such as to
    put lost forwards back, goes by what is saved.

    A request that could not be saved waits, and does not count until it is. All else
    counts at once, and is written as soon as the disk takes it.
    """

    def __init__(self, file: File, told: Told | None = None) -> None:
        """Take the file, of which nothing is read yet, and who hears of its faults."""
        self._file = file
        self._told = told
        self._saved = Saved()
        self._on_disk: Saved | None = None
        self._pending: dict[str, _Request] = {}
        self._beginning = frozenset[str]()
        self._writing = asyncio.Lock()
        self.unsaved = frozenset[str]()
        """The forwards whose request could not be saved, as whoever asked was told.

        But for those who ask once more: they have no answer yet.
        """
        self.known = True
        """Whether the file told what was desired; else the router has to."""

    @property
    def desired(self) -> Wishes:
        """What is to be live, as the latest requests have it."""
        return self._after(self._pending)

    @property
    def saved(self) -> Wishes:
        """What counts."""
        return self._saved.forwards

    @property
    def boot_id(self) -> str:
        """The boot of the router that it was applied on; empty before the first."""
        return self._saved.boot_id

    @property
    def begun(self) -> frozenset[str]:
        """The forwards whose first request is saved, with whatever came after it."""
        return self._saved.begun

    def begin(self, forward_id: str) -> None:
        """Take the request that a forward comes with, which counts once in its life."""
        self._beginning |= {forward_id}
        self.set(forward_id, on=True)

    def set(self, forward_id: str, *, on: bool, lease: Lease | None = None) -> None:
        """Take a request, perhaps for a while, which `save` makes count."""
        self._pending[forward_id] = _Request(on, lease)
        self.unsaved -= {forward_id}

    async def load(self) -> None:
        """Read the file; where there is none, nothing is known. Raises NotLoaded."""
        stored = await self._file.async_load()
        saved = _parsed(stored)
        self.known = saved is not None
        if self._told:
            self._told.state_lost(lost=stored is not None and not self.known)
        self._on_disk = saved
        self._saved = saved or Saved()

    async def save(self, among: Collection[str]) -> frozenset[str]:
        """Write which of the forwards that exist are desired, and forget the others.

        Returns those that were asked for since the last time, on or off. Raises
        NotSaved; what was asked for waits then.
        """
        # One that comes from here on is for the next time.
        asked, beginning = dict(self._pending), self._beginning
        async with self._writing:
            before = self._saved
            self._saved = replace(
                before,
                forwards={
                    key: lease
                    for key, lease in self._after(asked).items()
                    if key in among
                },
                begun=(before.begun | beginning).intersection(among),
            )
            try:
                await self._write()
            except BaseException:
                # Also one that is cut off, as Home Assistant stops.
                self._saved = before
                self.unsaved |= {
                    key
                    for key, request in asked.items()
                    if self._pending.get(key) is request
                }
                raise
        self._beginning -= beginning
        for key, request in asked.items():
            if self._pending.get(key) is request:
                del self._pending[key]
        self.unsaved -= asked.keys()
        self._tell_saved()
        return frozenset(asked)

    async def take_over(self, live: Wishes) -> None:
        """Desire what is live, where it is not known what was desired."""
        self.known = True
        await self._set(live)

    async def take_back(self, before: Wishes, keys: frozenset[str]) -> None:
        """Return these to what was saved before, since the router refused the change.

        Requests that came in the meantime stand, also for the same once more.
        """
        await self._set(with_those(self.saved, keys, before))

    async def give_up(self, gone: frozenset[str]) -> None:
        """Desire no more what is gone.

        Unless it was asked for again since the file was written, as its switch may
        still show it on; that is saved by its own change, which may have to take it
        back.
        """
        await self._set(with_those(self.saved, gone, {}))

    async def save_boot_id(self, boot_id: str) -> None:
        """Write on which boot of the router it was applied."""
        self._saved = replace(self._saved, boot_id=boot_id)
        await self._try_to_write()

    async def write(self) -> bool:
        """Write what is not written yet; return whether all that counts is on disk."""
        await self._try_to_write()
        return self._on_disk == self._saved

    async def remove(self) -> None:
        """Delete the file."""
        await self._file.async_remove()

    def _after(self, requests: Mapping[str, _Request]) -> Wishes:
        """Return what is desired when these count too."""
        on = {key: request.lease for key, request in requests.items() if request.on}
        return with_those(self.saved, requests.keys(), on)

    async def _set(self, desired: Wishes) -> None:
        """Have these desired, and write it as soon as that can be."""
        self._saved = replace(self._saved, forwards=desired)
        await self._try_to_write()

    async def _try_to_write(self) -> None:
        """Write the file; what is not written is written with what comes next."""
        async with self._writing:
            with suppress(NotSaved):
                await self._write()

    async def _write(self) -> None:
        """Write the file, unless it says so already. Raises NotSaved.

        Of two at once, the one that ends last would have the last word.
        """
        saved = self._saved
        if self._on_disk == saved:
            return
        # Until it is written, it may be the one or the other.
        self._on_disk = None
        try:
            await self._file.async_save(_stored(saved))
        except NotSaved as err:
            if self._told:
                self._told.not_saved(err)
            raise
        self._on_disk = saved
        self._tell_saved()

    def _tell_saved(self) -> None:
        """Tell that all is saved, unless a request is not."""
        if self._told and not self.unsaved:
            self._told.not_saved(None)


def _stored(saved: Saved) -> Mapping[str, Any]:
    """Return what a file says of it.

    What is open for a while stands apart: to a version that knows no leases, it is off.
    """
    wishes = saved.forwards.items()
    leased = {key: lease.stored for key, lease in wishes if lease}
    return {
        "wished": sorted(key for key, lease in wishes if lease is None),
        "boot_id": saved.boot_id,
        **({"leased": leased} if leased else {}),
        **({"begun": sorted(saved.begun)} if saved.begun else {}),
    }


def _parsed(stored: object) -> Saved | None:
    """Return what a file says; None if it says nothing that makes sense."""
    match stored:
        case {"wished": [*ids], **others} if all(isinstance(key, str) for key in ids):
            boot_id = others.get("boot_id")
            begun = others.get("begun")
            return Saved(
                {**dict.fromkeys(ids), **_leases(others.get("leased"))},
                boot_id if isinstance(boot_id, str) else "",
                frozenset(key for key in begun if isinstance(key, str))
                if isinstance(begun, list)
                else frozenset(),
            )
        case _:
            return None


def _leases(stored: object) -> Mapping[str, Lease]:
    """Return the leases that a file tells of; what makes no sense is off."""
    if not isinstance(stored, dict):
        return {}
    found = {key: Lease.parse(text) for key, text in stored.items()}
    return {
        key: lease for key, lease in found.items() if isinstance(key, str) and lease
    }
