"""What a router is: its address, what we may do there, which firewall it has."""

from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Interface
import re

from .errors import (
    BadOutput,
    FirewallFailed,
    FirewallMissing,
    NoAddress,
    NotPrivileged,
    printable,
)
from .script import Result, Script

# What the account must be allowed to do at the least; neither changes anything.
_PRIVILEGE_TEST = "iptables --wait 5 -t nat -S PREROUTING"
_CHANGE_TEST = "iptables-restore --noflush --wait 5"
_NOT_FOUND = 127
# How iptables says that it can't show the rules of a chain, which it may change
# all the same.
INCOMPATIBLE = ("is incompatible, use 'nft' tool", "Parsing nftables rule failed")

_UID = re.compile(r"[0-9]{1,10}")
_IPTABLES = re.compile(
    r"iptables v([0-9]{1,4}(?:\.[0-9]{1,4}){0,3})(?: \((legacy|nf_tables)\))?"
)
_ADDRESS = re.compile(
    r"^[0-9]{1,10}:[ \t]+(\S{1,64})[ \t]+inet (\S{1,64})", re.MULTILINE
)
_HARDWARE = re.compile(
    r"^/sys/class/net/([^/\s]+)/address ((?:[0-9a-f]{2}:){5}[0-9a-f]{2})$", re.MULTILINE
)
_SOURCE = re.compile(r"\bsrc (\d+\.\d+\.\d+\.\d+)")
_BOOT_ID = re.compile(r"[0-9a-f-]{36}")
_NAME = re.compile(r'^PRETTY_NAME="?([^"\n]{1,100})"?$', re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Iptables:
    """The router's `iptables` command."""

    version: str
    variant: str

    @property
    def label(self) -> str:
        """Version and variant as `iptables -V` prints them."""
        return f"iptables {self.version} ({self.variant})"


@dataclass(frozen=True, slots=True)
class Probe:
    """What was found out about a router when it was connected."""

    address: IPv4Interface
    """The LAN address that clients and the main router reach it by."""
    interface: str
    hardware_address: str | None
    """Of the interface; None for one that has none, such as a tunnel."""
    uid: int
    sudo: bool
    """Whether the firewall's commands need `sudo -n` in front."""
    iptables: Iptables
    nft: bool
    """Whether the router has `nft`, and the account may listen to it."""
    ip_forward: bool
    boot_id: str
    """Changes with each boot of the router, and with nothing else."""
    hostname: str
    system: str
    """The distribution's name and version."""
    kernel: str = ""


def probe_script() -> Script:
    """Return the script whose output `read_probe` understands."""
    script = Script()
    script.run("uid", "id -u")
    script.run("connection", "printenv SSH_CONNECTION")
    script.run("addresses", "ip -4 -o addr show")
    # No packet is sent: the kernel tells which address it would use.
    script.run("source", "ip -4 route get 192.0.2.1")
    script.run(
        "hardware",
        """sh -c 'for file in /sys/class/net/*/address; do """
        """echo "$file $(cat "$file")"; done'""",
    )
    script.run("forward", "cat /proc/sys/net/ipv4/ip_forward")
    script.run("boot", "cat /proc/sys/kernel/random/boot_id")
    script.run("hostname", "cat /proc/sys/kernel/hostname")
    script.run("system", "cat /etc/os-release")
    script.run("iptables", "iptables -V")
    script.run("restore", "sh -c 'command -v iptables-restore'")
    script.run("direct", _PRIVILEGE_TEST)
    script.otherwise("sudo", f"sudo -n {_PRIVILEGE_TEST}")
    # Its empty input changes nothing. Root has no need to ask sudo.
    script.run(
        "sudochange", f"""sh -c '[ "$(id -u)" = 0 ] || sudo -n {_CHANGE_TEST}'"""
    )
    script.run("nft", "nft list tables")
    # Only asked whether it may: nothing but listening is needed.
    script.otherwise("sudonft", "sudo -n -l nft monitor")
    script.run("kernel", "uname -r")
    return script


def read_probe(sections: Mapping[str, Result]) -> Probe:
    """Return what the sections of `probe_script` tell.

    Raises FirewallMissing, FirewallFailed, NotPrivileged, NoAddress and BadOutput.
    """
    uid_text = sections["uid"].output
    uid = int(uid_text) if _UID.fullmatch(uid_text) else -1
    iptables = _iptables(sections)
    sudo = _needs_sudo(sections, uid)
    interface, address = _lan(sections)
    hardware = dict(_HARDWARE.findall(sections["hardware"].output)).get(interface)
    boot_id = _BOOT_ID.fullmatch(sections["boot"].output)
    name = _NAME.search(sections["system"].output)
    return Probe(
        address=address,
        interface=printable(interface),
        hardware_address=hardware if hardware != "00:00:00:00:00:00" else None,
        uid=uid,
        sudo=sudo,
        iptables=iptables,
        nft=sections["nft"].ok or (sudo and sections["sudonft"].ok),
        ip_forward=sections["forward"].output == "1",
        boot_id=boot_id[0] if boot_id else "",
        hostname=printable(sections["hostname"].output)
        if sections["hostname"].ok
        else "",
        system=(printable(name[1]) if name else "") or "Linux",
        kernel=printable(sections["kernel"].output) if sections["kernel"].ok else "",
    )


def _iptables(sections: Mapping[str, Result]) -> Iptables:
    """Return which `iptables` the router has."""
    version = sections["iptables"]
    if version.status == _NOT_FOUND or not sections["restore"].ok:
        raise FirewallMissing
    if not version.ok:
        raise FirewallFailed(command="iptables -V", message=version.message)
    if not (found := _IPTABLES.search(version.output)):
        raise BadOutput(output=version.message)
    # Before 1.8 there was one variant, and no word for it.
    return Iptables(version=found[1], variant=found[2] or "legacy")


def _needs_sudo(sections: Mapping[str, Result], uid: int) -> bool:
    """Tell whether the account changes the firewall through sudo."""
    direct = sections["direct"]
    if direct.ok or incompatible(direct):
        return False
    if uid == 0:
        raise FirewallFailed(command=_PRIVILEGE_TEST, message=direct.message)
    if not (sections["sudo"].ok or incompatible(sections["sudo"])):
        raise NotPrivileged(command=_PRIVILEGE_TEST, message=direct.message)
    if not (change := sections["sudochange"]).ok:
        raise NotPrivileged(command=_CHANGE_TEST, message=change.message)
    return True


def incompatible(result: Result) -> bool:
    """Tell whether iptables may read the chain, and can't show its rules.

    So it is when a native nft rule stands in the chain, or one beyond what
    iptables can parse at all.
    """
    return any(words in result.output for words in INCOMPATIBLE)


def _lan(sections: Mapping[str, Result]) -> tuple[str, IPv4Interface]:
    """Return the router's LAN interface and address.

    The address that this connection came to is the best witness, since Home
    Assistant stands on the LAN. Where it is none of the router's IPv4
    addresses on the LAN (IPv6, or Home Assistant on the router itself), the
    one that the router uses towards the internet.
    """
    owned: dict[IPv4Address, tuple[str, IPv4Interface]] = {}
    for interface, text in _ADDRESS.findall(sections["addresses"].output):
        try:
            address = IPv4Interface(text)
        except ValueError:
            continue
        if not address.is_loopback:
            owned[address.ip] = (interface.partition("@")[0], address)
    witnesses = sections["connection"].output.split()[2:3]
    witnesses += _SOURCE.findall(sections["source"].output)
    for text in witnesses:
        try:
            return owned[IPv4Address(text)]
        except ValueError, KeyError:
            continue
    raise NoAddress
