"""A file of ours among Home Assistant's: surely written, and read with suspicion."""

from collections.abc import Mapping
import errno
import os
from typing import Any, override

from homeassistant.core import CoreState, HomeAssistant
from homeassistant.exceptions import HomeAssistantError
from homeassistant.helpers.json import save_json
from homeassistant.helpers.storage import Store

from .router.errors import RouterError, printable

_VERSION = 1


class NotSaved(RouterError):
    """Home Assistant's disk does not take what was to be written."""

    key = "not_saved"


class DiskFull(NotSaved):
    """There is no room on it."""

    key = "not_saved_full"


class DiskReadOnly(NotSaved):
    """Home Assistant may not write there."""

    key = "not_saved_read_only"


class NotLoaded(RouterError):
    """A file is there, and can't be read."""

    key = "not_loaded"


_KINDS: Mapping[type[NotSaved], frozenset[int]] = {
    DiskFull: frozenset({errno.ENOSPC, errno.EDQUOT}),
    DiskReadOnly: frozenset({errno.EROFS, errno.EACCES, errno.EPERM}),
}


class _Store(Store[dict[str, Any]]):
    """Home Assistant's `Store`, which logs that it could not write, and goes on."""

    reason = NotSaved()
    """Why it could not write, as far as that is known."""

    @override
    async def _async_write_data(self, data: dict[str, Any]) -> None:
        """Write; what is raised is only logged by whoever asked for it."""
        try:
            await super()._async_write_data(data)
        except Exception as err:
            self.reason = _not_saved(err)
            raise


class CheckedStore:
    """A file that is known to be written when it is said to be."""

    def __init__(self, hass: HomeAssistant, key: str) -> None:
        """Name the file; nothing is read yet."""
        self._hass = hass
        self._key = key
        self._store = self._opened()

    def _opened(self) -> _Store:
        """Return the file, of which nothing is known yet."""
        return _Store(self._hass, _VERSION, self._key, atomic_writes=True)

    async def async_load(self) -> object:
        """Return what was saved last, which may be anything; None without a file.

        Raises NotLoaded.
        """
        try:
            return await self._opened().async_load()
        except (HomeAssistantError, OSError) as err:
            raise NotLoaded(message=_reason(err)) from err
        except (LookupError, TypeError, AttributeError) as err:
            # It is JSON, and was not written by Home Assistant.
            return str(err)

    async def async_save(self, data: Mapping[str, Any]) -> None:
        """Write all of it, or nothing. Raises NotSaved."""
        whole = dict(data)
        self._store.reason = NotSaved(message=os.strerror(errno.EIO))
        try:
            await self._store.async_save(whole)
            if self._hass.state is CoreState.stopping:
                # A `Store` puts it off, and whoever waits is told now.
                await self._hass.async_add_executor_job(self._write, whole)
            written = await self._opened().async_load()
        except (HomeAssistantError, OSError) as err:
            raise _not_saved(err) from err
        except (LookupError, TypeError, AttributeError) as err:
            raise NotSaved(message=printable(str(err))) from err
        if written != whole:
            raise self._store.reason

    async def async_remove(self) -> None:
        """Delete the file."""
        await self._store.async_remove()

    def _write(self, data: dict[str, Any]) -> None:
        """Write the file at once."""
        whole = {
            "version": _VERSION,
            "minor_version": 1,
            "key": self._key,
            "data": data,
        }
        save_json(self._store.path, whole, atomic_writes=True)


def _not_saved(err: BaseException) -> NotSaved:
    """Return why a file can't be written."""
    origin = err.__cause__ if isinstance(err.__cause__, OSError) else err
    number = origin.errno if isinstance(origin, OSError) else None
    for kind, numbers in _KINDS.items():
        if number in numbers:
            return kind(message=_reason(err))
    return NotSaved(message=_reason(err))


def _reason(err: BaseException) -> str:
    """Return why a file can't be written or read, without where it is."""
    if isinstance(err.__cause__, OSError):
        err = err.__cause__
    return printable(getattr(err, "strerror", None) or str(err))
