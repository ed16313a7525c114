"""A file of ours among Home Assistant's: surely written, and read with suspicion."""

from collections.abc import Mapping
import json
from pathlib import Path
from typing import Any

from homeassistant.core import HomeAssistant
from homeassistant.exceptions import HomeAssistantError
from homeassistant.helpers.json import save_json
from homeassistant.helpers.storage import Store

from .router.errors import RouterError, printable

_VERSION = 1


class NotSaved(RouterError):
    """Home Assistant's disk does not take what was to be written."""

    key = "not_saved"


class NotLoaded(RouterError):
    """A file is there, and can't be read."""

    key = "not_loaded"


class CheckedStore:
    """Home Assistant's `Store`, which logs that it could not write, and goes on."""

    def __init__(self, hass: HomeAssistant, key: str) -> None:
        """Name the file; nothing is read yet."""
        self._hass = hass
        self._key = key
        self._store = Store[dict[str, Any]](hass, _VERSION, key, atomic_writes=True)

    async def async_load(self) -> object:
        """Return what was saved last, which may be anything; None without a file.

        Raises NotLoaded.
        """
        try:
            return await self._store.async_load()
        except (HomeAssistantError, OSError) as err:
            raise NotLoaded(message=_reason(err)) from err
        except (LookupError, TypeError, AttributeError) as err:
            # It is JSON, and was not written by Home Assistant.
            return str(err)

    async def async_save(self, data: Mapping[str, Any]) -> None:
        """Write all of it, or nothing. Raises NotSaved."""
        await self._store.async_save(dict(data))
        try:
            await self._hass.async_add_executor_job(self._make_sure, dict(data))
        except (HomeAssistantError, OSError) as err:
            raise NotSaved(message=_reason(err)) from err

    async def async_remove(self) -> None:
        """Delete the file."""
        await self._store.async_remove()

    def _make_sure(self, data: dict[str, Any]) -> None:
        """Write the file again unless it holds the data, to learn why it can't be.

        A `Store` also puts off writing while Home Assistant stops.
        """
        try:
            if json.loads(Path(self._store.path).read_text("utf-8"))["data"] == data:
                return
        except OSError, ValueError, LookupError, TypeError:
            pass
        whole = {
            "version": _VERSION,
            "minor_version": 1,
            "key": self._key,
            "data": data,
        }
        path = Path(self._store.path)
        path.parent.mkdir(exist_ok=True)
        save_json(str(path), whole, atomic_writes=True)


def _reason(err: BaseException) -> str:
    """Return why a file can't be written or read, without where it is."""
    if isinstance(err.__cause__, OSError):
        err = err.__cause__
    return printable(getattr(err, "strerror", None) or str(err))
