"""The bypass router's own disk: what is its own and outlives its boots, in memory."""

from pathlib import Path
import shutil
from typing import Final

from .namespaces import Namespaces

REAL_COMMANDS: Final = "/mnt"
"""Where the router keeps the host's commands; not in any PATH."""

REAL_PATH: Final = f"{REAL_COMMANDS}/sbin:{REAL_COMMANDS}/bin"
"""A PATH of them, for what the lab itself does there."""

_MOUNTS: Final = f"""
mount --make-rprivate /
for own in /etc /home /mnt /root /usr/local /var; do
    mount -t tmpfs -o mode=755 tmpfs $own
done
mkdir {REAL_COMMANDS}/bin {REAL_COMMANDS}/sbin
mount --rbind /usr/bin {REAL_COMMANDS}/bin
mount --rbind /usr/sbin {REAL_COMMANDS}/sbin
mount -o remount,bind,ro /
PATH={REAL_COMMANDS}/bin:{REAL_COMMANDS}/sbin
mount -t tmpfs -o mode=755 tmpfs /usr/bin
mount -t tmpfs -o mode=755 tmpfs /usr/sbin
"""
"""A place of its own for all that a router's owner or a test may change."""

_COPIED: Final = (
    "alternatives",
    "ld.so.cache",
    "login.defs",
    "protocols",
    "services",
    "ssl/openssl.cnf",
)
"""What is taken from the host's /etc; secrets and people's settings are not."""


class Disk:
    """A bare system's disk, held by a process of its own."""

    def __init__(self, switch: Namespaces, hostname: str) -> None:
        """Make it, with the files that any system has."""
        self.namespaces: Final = Namespaces("mount", within=switch, prepare=_MOUNTS)
        for name in _COPIED:
            source, copy = Path("/etc") / name, self.path(f"/etc/{name}")
            copy.parent.mkdir(exist_ok=True)
            if source.is_dir():
                shutil.copytree(source, copy, symlinks=True)
            elif source.exists():
                shutil.copy(source, copy)
        self.path("/var/run").symlink_to("/run")
        for folder in ("lib", "log", "tmp"):
            self.path(f"/var/{folder}").mkdir()
        path = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
        for name, text in {
            "hosts": f"127.0.0.1 localhost {hostname}\n",
            "hostname": f"{hostname}\n",
            "nsswitch.conf": "passwd: files\ngroup: files\nshadow: files\n",
            "profile": f"PATH={path}\n",
        }.items():
            self.write(f"/etc/{name}", text)

    def path(self, name: str) -> Path:
        """A file by its absolute name on the router, as a path from outside.

        Don't follow links with it: absolute ones lead to the host's files.
        """
        return Path(f"/proc/{self.namespaces.pid}/root{name}")

    def write(self, name: str, text: str | bytes, mode: int = 0o644) -> None:
        """Write a file, in a folder made for it if need be."""
        path = self.path(name)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.unlink(missing_ok=True)
        path.touch(0o600)
        path.write_bytes(text.encode() if isinstance(text, str) else text)
        # Last, as writing takes the setuid bit away.
        path.chmod(mode)

    def close(self) -> None:
        """Wipe it."""
        self.namespaces.close()
