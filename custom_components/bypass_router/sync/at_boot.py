"""Forwards that come back with their router, before Home Assistant is there.

A file on the router brings back those that are on for good. What is turned off is out
of it before the kernel is changed, and what comes on is put into it afterwards:
whatever happens in between, it opens nothing that was turned off. It ends by itself
thirty days after we were there last, so it is written anew once a day, and no more
often unless something else is to come back: routers wear out their flash memory.
"""

from collections.abc import Callable, Collection, Mapping
from datetime import UTC, datetime
import logging
import time
from typing import Final, Protocol

from ..errors import english_of
from ..router.at_boot.files import BootFile
from ..router.at_boot.text import DAYS
from ..router.errors import BootFileLeft, BootFileRefused, RouterError
from ..router.forward import Forward
from .retry import Retry

_LOGGER = logging.getLogger(__name__)

_DAY: Final = 86400.0
# Seconds until it is tried again to write what a router has not taken.
_AGAIN: Final = 600.0


class BootRouter(Protocol):
    """Of a `Router`, what is needed here."""

    @property
    def has_boot_file(self) -> bool:
        """Whether a file of ours was there when we connected."""

    def boot_digest(self, forwards: Collection[Forward]) -> str:
        """Return what tells a file that brings these back from others."""

    async def boot_file(self) -> BootFile | None:
        """Return what our file there says of itself."""

    async def write_boot_file(
        self, forwards: Collection[Forward], now: int, *, off: bool = False
    ) -> BootFile:
        """Have these come back when the router starts. Raises RouterError."""

    async def forget_boot_file(self) -> None:
        """Have none come back. Raises RouterError."""


class Told(Protocol):
    """Who tells the user what is wrong with the file."""

    def at_boot(self, fault: BootFileRefused | None, until: str = "") -> None:
        """It could not be written, and holds `until` then; None: it could."""


class AtBoot:
    """The file on one router."""

    def __init__(
        self, name: str, told: Told, chosen: Callable[[], bool], renewal: Retry
    ) -> None:
        """Take the router's name, who tells the user, and whether it is wanted.

        And what has the router read again, when the file is to be renewed.
        """
        self._name = name
        self._told = told
        self._chosen = chosen
        self._renewal = renewal
        self._router: BootRouter | None = None
        self._file: BootFile | None = None
        self._held: frozenset[Forward] | None = frozenset()
        """What the file brings back, as far as it is known."""
        self._failed = False

    def opened(self, router: BootRouter) -> None:
        """Take note of a new connection: anyone may have changed the file since."""
        self._router = router
        self._file = None
        self._held = None if router.has_boot_file else frozenset()
        self._failed = False
        if not self._chosen():
            self._told.at_boot(None)

    async def leave_out(
        self, desired: Collection[Forward], live: Collection[Forward]
    ) -> None:
        """Have nothing come back but what is desired; nothing new comes into it.

        Whatever goes wrong, the forwards that are off are to be off at once.
        """
        router, kept = self._router, _lasting(desired)
        held = self._held
        if router is None or (held is not None and held <= kept):
            return
        if held is None:
            # Nobody has looked into it yet.
            held = _lasting(live)
        try:
            if self._chosen():
                kept &= held
                now = int(time.time())
                self._file = await router.write_boot_file(kept, now, off=True)
                self._held = kept
            else:
                await self._forget(router)
        except RouterError as err:
            self._tell(err)
            if isinstance(err, BootFileRefused) and not isinstance(err, BootFileLeft):
                # It is gone then.
                self._file, self._held = None, frozenset()

    def is_due(self, active: Mapping[str, Forward]) -> bool:
        """Return whether the file is to be written, or to go; else plan when it is."""
        if self._router is None:
            return False
        if not self._chosen():
            self._renewal.async_cancel()
            return self._held != frozenset() or self._failed
        if (
            self._failed
            or self._file is None
            or self._held != _lasting(active.values())
        ):
            return True
        self._plan(self._file)
        return not self._is_fresh(self._file)

    async def write(self, active: Mapping[str, Forward]) -> None:
        """Have these come back, if that is chosen; and else none."""
        if (router := self._router) is None:
            return
        wanted = _lasting(active.values())
        try:
            if not self._chosen():
                if self._held != frozenset():
                    await self._forget(router)
            else:
                if self._file is None and self._held is None:
                    self._file = await router.boot_file()
                    same = router.boot_digest(wanted)
                    if self._file and self._file.digest == same:
                        self._held = wanted
                if self._held != wanted or not self._is_fresh(self._file):
                    now = int(time.time())
                    self._file = await router.write_boot_file(wanted, now)
                    self._held = wanted
        except RouterError as err:
            self._tell(err)
            return
        self._failed = False
        self._told.at_boot(None)
        if self._chosen() and self._file:
            self._plan(self._file)

    async def _forget(self, router: BootRouter) -> None:
        """Take the file away. Raises RouterError."""
        await router.forget_boot_file()
        self._file, self._held = None, frozenset()

    def _plan(self, file: BootFile) -> None:
        """Plan when it is renewed."""
        self._renewal.async_in(max(file.written + _DAY - time.time(), 1.0))

    @staticmethod
    def _is_fresh(file: BootFile | None) -> bool:
        """Return whether a file need not be renewed yet."""
        return file is not None and 0 <= time.time() - file.written < _DAY

    def _tell(self, err: RouterError) -> None:
        """Take note that it could not be written."""
        _LOGGER.debug("%s: nothing comes back by itself: %s", self._name, err)
        if not isinstance(err, BootFileRefused):
            # The connection has failed, as all else will say.
            self._held = None
            return
        self._failed = True
        written = self._file.written if self._file else time.time()
        ends = datetime.fromtimestamp(written + DAYS * _DAY, UTC).date()
        self._told.at_boot(err, ends.isoformat())
        self._renewal.async_in(_AGAIN)


def _lasting(forwards: Collection[Forward]) -> frozenset[Forward]:
    """Return those that are on for good: what ends by itself is none to come back."""
    return frozenset(forward for forward in forwards if forward.until is None)


async def async_forget(router: BootRouter, name: str) -> RouterError | None:
    """Have none come back on a router, before its rules go; return what failed."""
    if not router.has_boot_file:
        return None
    try:
        await router.forget_boot_file()
    except RouterError as err:
        _LOGGER.warning(
            "%s: forwards come back at its start: %s", name, english_of(err)
        )
        return err
    return None
