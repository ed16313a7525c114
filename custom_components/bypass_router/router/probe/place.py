"""Where rules set over a connection come to stand: which kernel, which network."""

from collections.abc import Mapping
from dataclasses import dataclass
import re

from ..ssh.script import Result, Script

_BOOT_ID = re.compile(r"[0-9a-f-]{36}")
_NAMESPACE = re.compile(r"net:\[([0-9]{1,20})\]")
_MAC = re.compile(r"(?:[0-9a-f]{2}:){5}[0-9a-f]{2}")
_NO_MAC = "00:00:00:00:00:00"


@dataclass(frozen=True, slots=True)
class Place:
    """What two connections have in common that come to one router, and no others.

    Not its host key, which copies of one disk image share, nor a machine id, which they
    share as well. Two containers on one machine share the boot.
    """

    boot_id: str
    namespace: str
    """Of the network; empty where the router does not tell."""
    mac_addresses: frozenset[str]
    """Of all its interfaces."""

    def is_also(self, other: Place) -> bool:
        """Return whether this is one router, as seen twice at the same time."""
        if not self.boot_id or self.boot_id != other.boot_id:
            return False
        if self.namespace and other.namespace:
            return self.namespace == other.namespace
        return bool(self.mac_addresses & other.mac_addresses)


def place_script() -> Script:
    """Return the script whose output `read_place` understands."""
    script = Script()
    script.run("boot", "cat /proc/sys/kernel/random/boot_id")
    script.run("namespace", "readlink /proc/self/ns/net")
    script.run("hardware", "sh -c 'cat /sys/class/net/*/address'")
    return script


def read_place(sections: Mapping[str, Result]) -> Place:
    """Return what the sections of `place_script` tell."""
    boot_id = _BOOT_ID.fullmatch(sections["boot"].output)
    namespace = _NAMESPACE.fullmatch(sections["namespace"].output)
    return Place(
        boot_id[0] if boot_id else "",
        namespace[1] if namespace else "",
        frozenset(_MAC.findall(sections["hardware"].output)) - {_NO_MAC},
    )
