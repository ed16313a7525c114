"""Which devices a router knows: its neighbours, and those it gave an address by DHCP.

All of it is what devices say of themselves. It helps to choose, and decides nothing.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
import csv
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Interface
import re
from typing import Final

from ..errors import printable
from ..forward import is_host
from ..ssh.script import Result, Script

_MOST = 500
"""As many as anyone looks through."""
_SIZE: Final = 256 * 1024
"""Of the end of a file, in bytes: the servers append what is new."""
_NAME_LENGTH = 60

_MAC = r"(?:[0-9A-Fa-f]{2}:){5}[0-9A-Fa-f]{2}"
_NEIGHBOUR = re.compile(rf"([0-9.]{{7,15}})\s(?:.{{0,200}}\s)?lladdr\s({_MAC})(?:\s|$)")
# When it ends, MAC address, address, name, client's id.
_DNSMASQ = re.compile(
    rf"[0-9]{{1,20}}\s({_MAC})\s([0-9.]{{7,15}})\s(\S{{1,255}})(?:\s|$)"
)
_ISC = re.compile(r"^lease ([0-9.]{7,15}) \{([^{}]{0,4000})\}", re.MULTILINE)
_ISC_HARDWARE = re.compile(rf"hardware ethernet ({_MAC});")
_ISC_NAME = re.compile(r'client-hostname "([^"\\]{1,255})";')

LEASES: Final[Mapping[str, str]] = {
    "dnsmasq.0": "/tmp/dhcp.leases",  # noqa: S108 - OpenWrt's
    "dnsmasq.1": "/var/lib/misc/dnsmasq.leases",
    "isc": "/var/lib/dhcp/dhcpd.leases",
    "kea": "/var/lib/kea/kea-leases4.csv",
}
"""Where each kind of DHCP server writes down what it gave."""

type Entry = tuple[str, str, str]
"""Address, MAC address and name, as they were written."""


@dataclass(frozen=True, slots=True)
class Neighbour:
    """A device that the router knows."""

    address: IPv4Address
    name: str = ""
    """What the device calls itself, where it does."""
    mac_address: str = ""
    """In small letters, with colons; empty where it is not known."""


def neighbours_script() -> Script:
    """Return the script whose output `read_neighbours` understands."""
    script = Script().run("neighbours", "ip -4 neigh")
    for label, path in LEASES.items():
        script.run(label, f"tail -c {_SIZE} {path}")
    return script


def read_neighbours(
    sections: Mapping[str, Result], router: IPv4Interface
) -> list[Neighbour]:
    """Return the devices of the router's LAN, by address; the router is none.

    A device that has several names has that which was written last.
    """
    found: dict[IPv4Address, Neighbour] = {}
    for entry in _entries(sections, ("neighbours",), router):
        found[entry.address] = entry
    there = {address: it.mac_address for address, it in found.items()}
    for entry in _entries(sections, LEASES, router):
        # What answers now is what is there; the lease of another device is an old one.
        mac = entry.mac_address
        known = found.get(entry.address, entry)
        same = known.mac_address == mac
        if there.get(entry.address, mac) == mac and (entry.name or not same):
            found[entry.address] = entry
        else:
            found[entry.address] = known
    ranked = sorted(
        found.values(), key=lambda device: (not device.name, device.address)
    )
    return sorted(ranked[:_MOST], key=lambda device: device.address)


def mac_of(neighbours: Result, address: IPv4Address) -> str | None:
    """Return the MAC address that a neighbour has."""
    for line in neighbours.lines:
        if (found := _NEIGHBOUR.match(line)) and found[1] == str(address):
            return found[2].lower()
    return None


def _entries(
    sections: Mapping[str, Result], labels: Iterable[str], router: IPv4Interface
) -> Iterator[Neighbour]:
    """Yield what these sections tell of devices of the LAN, in order."""
    for label in labels:
        result = sections.get(label)
        for text, mac, name in _READERS[label](result) if result and result.ok else ():
            try:
                address = IPv4Address(text)
            except ValueError:
                continue
            if is_device(address, router):
                shown = printable(name, _NAME_LENGTH)
                yield Neighbour(address, shown, mac.lower())


def is_device(address: IPv4Address, router: IPv4Interface) -> bool:
    """Return whether a device of the LAN can have this address."""
    lan = router.network
    return (
        address in lan
        and is_host(address)
        and address not in (router.ip, lan.network_address, lan.broadcast_address)
    )


def _neighbours(result: Result) -> Iterator[Entry]:
    """Yield those that have answered the router; iproute2 and busybox agree."""
    for line in result.lines:
        if found := _NEIGHBOUR.match(line):
            yield found[1], found[2], ""


def _dnsmasq(result: Result) -> Iterator[Entry]:
    """Yield the entries of dnsmasq's file."""
    for line in result.lines:
        if found := _DNSMASQ.match(line):
            yield found[2], found[1], "" if found[3] == "*" else found[3]


def _isc(result: Result) -> Iterator[Entry]:
    """Yield the entries of dhcpd's file."""
    for found in _ISC.finditer(result.output):
        mac, name = _ISC_HARDWARE.search(found[2]), _ISC_NAME.search(found[2])
        yield found[1], mac[1] if mac else "", name[1] if name else ""


def _kea(result: Result) -> Iterator[Entry]:
    """Yield the entries of Kea's file, whose columns vary but for the first two."""
    # The end of a long file lacks the line that names the columns.
    column = 8
    for line in result.lines:
        try:
            (row,) = csv.reader([line])
        except csv.Error, ValueError:
            continue
        if row[:2] == ["address", "hwaddr"]:
            column = row.index("hostname") if "hostname" in row else len(row)
        elif len(row) > 1 and re.fullmatch(_MAC, row[1]):
            yield row[0], row[1], row[column] if column < len(row) else ""


_READERS: Final[Mapping[str, Callable[[Result], Iterator[Entry]]]] = {
    "neighbours": _neighbours,
    "dnsmasq.0": _dnsmasq,
    "dnsmasq.1": _dnsmasq,
    "isc": _isc,
    "kea": _kea,
}
"""What reads each section."""
