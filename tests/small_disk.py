"""A disk of Home Assistant's own, which can be full, or read-only."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
import json
from pathlib import Path
import subprocess
from typing import Final

from homeassistant.core import HomeAssistant
from homeassistant.helpers.storage import Store
import pytest
from pytest_homeassistant_custom_component.common import MockConfigEntry

from custom_components.bypass_router.const import DOMAIN
from tests.lab.disk import REAL_COMMANDS
from tests.lab.network import Lab

# Of a disk that is soon full.
_SIZE: Final = 256 * 1024
# The plugin keeps all that is stored in memory, by others in their place.
_REAL: Final = {
    name: getattr(Store, name)
    for name in ("_async_load", "_async_write_data", "async_remove")
}


class SmallDisk:
    """A disk of Home Assistant's own, which can be full, or read-only."""

    def __init__(self, lab: Lab) -> None:
        """Mount it where it goes away with the lab."""
        self._lab = lab
        self._mount("-t", "tmpfs", "-o", f"size={_SIZE}", "tmpfs", "/var/tmp")
        self.path = lab.bypass.disk.path("/var/tmp")
        self.storage.mkdir()

    @property
    def storage(self) -> Path:
        """The folder of all that is stored."""
        return self.path / ".storage"

    def stored(self, entry: MockConfigEntry, suffix: str = "") -> Path:
        """Return a file of an entry."""
        return self.storage / f"{DOMAIN}.{entry.entry_id}{suffix}"

    def wished(self, entry: MockConfigEntry) -> list[str]:
        """Return which forwards are to be on, going by the file."""
        wished: list[str] = json.loads(self.stored(entry).read_text())["data"]["wished"]
        return wished

    def fill(self) -> None:
        """Leave no room at all."""
        with suppress(OSError), (self.path / "filling").open("wb", 0) as file:
            while file.write(bytes(4096)) == 4096:
                pass

    def empty(self) -> None:
        """Make room again."""
        (self.path / "filling").unlink()

    def forbid(self) -> None:
        """Take no writing any more."""
        self._mount("-o", "remount,ro", "/var/tmp")

    def permit(self) -> None:
        """Take it again."""
        self._mount("-o", "remount,rw", "/var/tmp")

    def _mount(self, *argv: str) -> None:
        """Run `mount` where the disk is."""
        pid = self._lab.bypass.disk.namespaces.pid
        enter = ("nsenter", f"--target={pid}", "--mount", "--pid")
        subprocess.run([*enter, f"{REAL_COMMANDS}/bin/mount", *argv], check=True)


@contextmanager
def small_disk(lab: Lab, hass: HomeAssistant) -> Iterator[SmallDisk]:
    """Have Home Assistant really write, to such a disk."""
    disk = SmallDisk(lab)
    # One that is undone before what it replaces is.
    with pytest.MonkeyPatch.context() as patch:
        for name, method in _REAL.items():
            patch.setattr(Store, name, method)
        patch.setattr(hass.config, "config_dir", str(disk.path))
        yield disk
