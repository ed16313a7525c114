"""Root's rights for an ordinary user, in a user namespace."""

import os
from pathlib import Path
import pwd
import subprocess
from typing import Final

from .requirements import LabUnavailable, find_command

_CAP_NET_ADMIN: Final = 12
_CAP_SYS_ADMIN: Final = 21
_HIGHEST_ID: Final = 65535


def gain() -> None:
    """Make sure that this process may build a lab, or raise LabUnavailable.

    An ordinary user's process becomes root of a user namespace of its own, with a
    network of its own, since a thread can come back only to a network that is its
    own. The kernel allows that only while there is a single thread: call it early.
    """
    try:
        if not _capable():
            _become_root()
        if not _owns_network():
            _require_single_thread()
            os.unshare(os.CLONE_NEWNET)
            ip = find_command("ip") or "ip"
            subprocess.run([ip, "link", "set", "lo", "up"], check=True)
    except OSError as error:
        raise LabUnavailable(
            f"The lab needs root or user namespaces: {error.strerror}."
        ) from error


def rules_the_host() -> bool:
    """Whether root here is the host's root, rather than a user namespace's."""
    return Path("/proc/self/uid_map").read_text().split()[1:] == ["0", str(2**32 - 1)]


def single_user() -> bool:
    """Whether root is the only user this user namespace knows."""
    return Path("/proc/self/uid_map").read_text().split()[2:] == ["1"]


def _become_root() -> None:
    """Move this process to a new user namespace, as its root."""
    _require_single_thread()
    uid, gid = os.getuid(), os.getgid()
    mapper = _Mapper()
    try:
        os.unshare(os.CLONE_NEWUSER)
    except BaseException:
        mapper.forget()
        raise
    if not mapper.map_ranges():
        Path("/proc/self/setgroups").write_text("deny")
        Path("/proc/self/uid_map").write_text(f"0 {uid} 1")
        Path("/proc/self/gid_map").write_text(f"0 {gid} 1")


def _require_single_thread() -> None:
    """Raise LabUnavailable if some thread would stay behind."""
    if len(os.listdir("/proc/self/task")) > 1:
        raise LabUnavailable(
            "The lab needs root, or to be asked for before its process starts a"
            " second thread, or to run below `unshare --user --map-root-user --net`."
        )


def _capable() -> bool:
    """Whether this process may make namespaces and change networks."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("CapEff:"):
            held = int(line.split()[1], 16)
            return bool(held >> _CAP_SYS_ADMIN & held >> _CAP_NET_ADMIN & 1)
    return False


def _owns_network() -> bool:
    """Whether a thread of this process may enter the network it is in."""
    with open("/proc/self/ns/net", "rb") as network:
        try:
            os.setns(network.fileno(), os.CLONE_NEWNET)
        except PermissionError:
            return False
    return True


class _Mapper:
    """A child that stays behind in the old user namespace, to map ids into the new.

    Only newuidmap may map more than our own id, and it has to be called from
    outside. Without it, or without a range in /etc/subuid, there is one user.
    """

    def __init__(self) -> None:
        """Start it, before this process moves."""
        self._parent = os.getpid()
        read_end, self._go = os.pipe()
        self._child = os.fork()
        if self._child:
            os.close(read_end)
            return
        os.close(self._go)
        done = os.read(read_end, 1) == b"m" and self._map()
        os._exit(0 if done else 1)

    def map_ranges(self) -> bool:
        """Map root and the ranges of ids that the user was given; False without."""
        os.write(self._go, b"m")
        return self._end() == 0

    def forget(self) -> None:
        """End the child without mapping anything."""
        self._end()

    def _end(self) -> int:
        os.close(self._go)
        return os.waitstatus_to_exitcode(os.waitpid(self._child, 0)[1])

    def _map(self) -> bool:
        """Call newuidmap and newgidmap for the parent, if both can do their part."""
        calls = []
        for command, own, ranges in (
            ("newuidmap", os.getuid(), Path("/etc/subuid")),
            ("newgidmap", os.getgid(), Path("/etc/subgid")),
        ):
            path, given = find_command(command), _given_range(ranges)
            if path is None or given is None:
                return False
            numbers = (0, own, 1, 1, given[0], min(given[1], _HIGHEST_ID))
            calls.append([path, str(self._parent), *map(str, numbers)])
        return not any(
            subprocess.run(call, check=False, capture_output=True).returncode
            for call in calls
        )


def _given_range(ranges: Path) -> tuple[int, int] | None:
    """The first range of ids that /etc/subuid or /etc/subgid gives this user."""
    uid = os.getuid()
    try:
        names = {str(uid), pwd.getpwuid(uid).pw_name}
        lines = ranges.read_text().splitlines()
    except KeyError, OSError:
        return None
    for line in lines:
        owner, first, count = line.split(":")
        if owner in names:
            return int(first), int(count)
    return None
