"""What a router is: its address, its name, and what we may do there."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv4Interface
import re

from ..at_boot.files import LOOK, owners_of
from ..errors import NoAddress, printable
from ..ssh.rights import Rights
from ..ssh.script import Result, Script
from .firewalls import Tools, add_tools, read_tools

_UID = re.compile(r"[0-9]{1,10}")
_ADDRESS = re.compile(
    r"^[0-9]{1,10}:[ \t]+(\S{1,64})[ \t]+inet (\S{1,64})", re.MULTILINE
)
_MAC = re.compile(
    r"^/sys/class/net/([^/\s]+)/address ((?:[0-9a-f]{2}:){5}[0-9a-f]{2})$", re.MULTILINE
)
_BRIDGE = re.compile(r"^/sys/class/net/([^/\s]+)/bridge$", re.MULTILINE)
_SOURCE = re.compile(r"\bsrc (\d+\.\d+\.\d+\.\d+)")
_BOOT_ID = re.compile(r"[0-9a-f-]{36}")
_SINGLE = 32
"""The prefix of one address alone."""
# Of os-release: the name that is best, and the version.
_NAMES = ("NAME", "PRETTY_NAME")
_VERSIONS = ("VERSION", "VERSION_ID", "BUILD_ID")
_RELEASE = re.compile(r"""^([A-Z_]{1,40})=["']?([^"'\n]{1,100})["']?$""", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Probe:
    """What was found out about a router when it was connected."""

    address: IPv4Interface
    """The LAN address that clients and the main router reach it by."""
    interface: str
    mac_address: str | None
    """Of the interface; None for one that has none, such as a tunnel."""
    uid: int
    tools: Tools
    """The firewall programs that we may use."""
    ip_forward: bool
    boot_id: str
    """Changes with each boot of the router, and with nothing else."""
    hostname: str
    system: str
    """The distribution's name."""
    system_version: str = ""
    """Empty where it tells none, as one without releases."""
    kernel: str = ""
    addresses: frozenset[IPv4Address] = frozenset()
    """Every IPv4 address of the router, on whatever interface."""
    bridge: bool = False
    """Whether the interface is a bridge."""
    rights: Rights = field(default_factory=Rights)
    """What sudo says of the account; nothing of root's."""
    boot_files: frozenset[str] = frozenset()
    """The Home Assistants whose forwards come back when the router starts."""
    home: IPv4Address | None = None
    """Home Assistant, as the router sees it; None on the router itself, or by IPv6."""

    def is_own(self, client: IPv4Address) -> bool:
        """Return whether a client is Home Assistant, or the router itself."""
        return client == self.home or client in self.addresses

    @property
    def sudo(self) -> bool:
        """Whether what needs root needs `sudo -n` in front."""
        return self.tools.sudo


def probe_script() -> Script:
    """Return the script whose output `read_probe` understands."""
    script = Script()
    script.run("uid", "id -u")
    # busybox's may lack `printenv`.
    script.run("connection", """sh -c 'echo "$SSH_CONNECTION"'""")
    script.run("addresses", "ip -4 -o addr show")
    # No packet is sent: the kernel tells which address it would use.
    script.run("source", "ip -4 route get 192.0.2.1")
    script.run(
        "hardware",
        """sh -c 'for file in /sys/class/net/*/address; do """
        """echo "$file $(cat "$file")"; """
        """[ ! -d "${file%/*}/bridge" ] || echo "${file%/*}/bridge"; done'""",
    )
    script.run("forward", "cat /proc/sys/net/ipv4/ip_forward")
    script.run("boot", "cat /proc/sys/kernel/random/boot_id")
    script.run("hostname", "cat /proc/sys/kernel/hostname")
    script.run("system", "cat /etc/os-release")
    add_tools(script)
    script.run("kernel", "uname -r")
    script.run("start", LOOK)
    return script


def read_probe(sections: Mapping[str, Result]) -> Probe:
    """Return what the sections of `probe_script` tell.

    Raises FirewallMissing, FirewallFailed, NotPrivileged, NoAddress and BadOutput.
    """
    uid_text = sections["uid"].output
    uid = int(uid_text) if _UID.fullmatch(uid_text) else -1
    tools = read_tools(sections, uid)
    interface, address = _lan(sections)
    mac = dict(_MAC.findall(sections["hardware"].output)).get(interface)
    bridges = _BRIDGE.findall(sections["hardware"].output)
    boot_id = _BOOT_ID.fullmatch(sections["boot"].output)
    addresses = frozenset(address.ip for _, address in _owned(sections))
    release = dict(_RELEASE.findall(sections["system"].output))
    return Probe(
        address=address,
        interface=printable(interface),
        mac_address=mac if mac != "00:00:00:00:00:00" else None,
        uid=uid,
        tools=tools,
        ip_forward=sections["forward"].output == "1",
        boot_id=boot_id[0] if boot_id else "",
        hostname=printable(sections["hostname"].output)
        if sections["hostname"].ok
        else "",
        system=_first(release, _NAMES) or "Linux",
        system_version=_first(release, _VERSIONS),
        kernel=printable(sections["kernel"].output) if sections["kernel"].ok else "",
        bridge=interface in bridges,
        addresses=addresses,
        boot_files=owners_of(sections["start"]),
        home=_home(sections["connection"], addresses),
    )


def _first(release: Mapping[str, str], names: Iterable[str]) -> str:
    """Return what os-release says under the first of these names that it has."""
    return next((printable(release[name]) for name in names if name in release), "")


def _home(connection: Result, owned: frozenset[IPv4Address]) -> IPv4Address | None:
    """Return who has connected to the router, if that is not itself."""
    try:
        client = IPv4Address(connection.output.split()[0])
    except IndexError, ValueError:
        return None
    return None if client in owned else client


def _lan(sections: Mapping[str, Result]) -> tuple[str, IPv4Interface]:
    """Return the router's LAN interface and address.

    The address that this connection came to is the best witness, since Home
    Assistant stands on the LAN. Where it is none of the router's IPv4
    addresses on the LAN (IPv6, or Home Assistant on the router itself), the
    one that the router uses towards the internet.

    An address that comes and goes, as VRRP has them, often stands there without its
    network, or on an interface of its own: then another address tells of the LAN.
    """
    owned = {
        address.ip: (interface, address)
        for interface, address in _owned(sections)
        if not address.is_loopback
    }
    witnesses = sections["connection"].output.split()[2:3]
    witnesses += _SOURCE.findall(sections["source"].output)
    for text in witnesses:
        try:
            interface, address = owned[IPv4Address(text)]
        except ValueError, KeyError:
            continue
        return _with_network(interface, address, owned.values())
    raise NoAddress


def _with_network(
    interface: str,
    address: IPv4Interface,
    owned: Iterable[tuple[str, IPv4Interface]],
) -> tuple[str, IPv4Interface]:
    """Return an address with the LAN that it is on, as another address has it."""
    if address.network.prefixlen < _SINGLE:
        return interface, address
    around = [
        (at, other)
        for at, other in owned
        if other.network.prefixlen < _SINGLE and address.ip in other.network
    ]
    if not around:
        return interface, address
    # The same interface first, then the narrowest network.
    at, other = max(
        around, key=lambda it: (it[0] == interface, it[1].network.prefixlen)
    )
    return at, IPv4Interface((address.ip, other.network.prefixlen))


def _owned(sections: Mapping[str, Result]) -> Iterator[tuple[str, IPv4Interface]]:
    """Return each of the router's IPv4 addresses, with its interface."""
    for interface, text in _ADDRESS.findall(sections["addresses"].output):
        try:
            yield interface.partition("@")[0], IPv4Interface(text)
        except ValueError:
            continue
