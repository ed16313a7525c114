"""The commands in the bypass router's PATH: hidden, replaced, put back."""

from fnmatch import fnmatch
import os
from pathlib import Path
from typing import Final

from .disk import REAL_COMMANDS, Disk

_FOLDERS: Final = ("sbin", "bin")


class Commands:
    """The router's /usr/sbin and /usr/bin, of links to the host's commands."""

    def __init__(self, disk: Disk) -> None:
        """Begin with all that the host has."""
        self._disk = disk
        self.restore()

    def restore(self) -> None:
        """Make the PATH hold what the host has, and nothing else."""
        for folder in _FOLDERS:
            own = self._disk.path(f"/usr/{folder}")
            for entry in own.iterdir():
                entry.unlink()
            real = f"{REAL_COMMANDS}/{folder}"
            for name in os.listdir(self._disk.path(real)):
                os.symlink(f"{real}/{name}", f"{own}/{name}")

    def hide(self, *patterns: str) -> None:
        """Take commands out of the PATH, by names such as `nft` or `iptables*`."""
        for folder in _FOLDERS:
            for entry in list(self._disk.path(f"/usr/{folder}").iterdir()):
                if any(fnmatch(entry.name, pattern) for pattern in patterns):
                    entry.unlink()

    def link(self, name: str, target: str) -> None:
        """Let a command be another one of the host's, as alternatives do.

        `target` is its name, with a folder if that is not sbin. Where there was no
        such command, it comes into the same folder.
        """
        path = target if "/" in target else f"sbin/{target}"
        own = self._place(name, path.partition("/")[0])
        own.unlink(missing_ok=True)
        own.symlink_to(f"{REAL_COMMANDS}/{path}")

    def replace(self, name: str, script: str) -> str:
        """Put a script in a command's place; gives the path of the real one."""
        own = self._place(name)
        kept = f"{REAL_COMMANDS}/replaced/{name}"
        if own.is_symlink():
            real = self._disk.path(kept)
            real.parent.mkdir(exist_ok=True)
            real.unlink(missing_ok=True)
            real.symlink_to(own.readlink())
        self._disk.write(f"/usr/{own.parent.name}/{name}", script, 0o755)
        return kept

    def _place(self, name: str, folder: str = "sbin") -> Path:
        """Where a command is, or in which folder it would be put."""
        places = [self._disk.path(f"/usr/{folder}/{name}") for folder in _FOLDERS]
        return next(
            (place for place in places if os.path.lexists(place)),
            self._disk.path(f"/usr/{folder}/{name}"),
        )
