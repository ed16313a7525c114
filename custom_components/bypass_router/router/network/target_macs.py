"""Which devices the targets are, asked while they are there.

A device that got another address is found again by its MAC address, if that was
known. A ping has the router ask for it by ARP, whether or not the ping is answered.
"""

from collections.abc import Collection, Mapping
from ipaddress import IPv4Address

from ..ssh.script import Result, Script
from .neighbours import mac_of

MOST = 16
"""Targets that are asked for at once."""

# All at once, so that those which are off cost one second together. Where there is no
# ping, one datagram to the port that discards does the same.
_ASK = """\
ask() {
  if command -v ping; then ping -c 1 -W 1 "$1"
  elif command -v bash; then bash -c 'echo >"/dev/udp/$0/9"' "$1"; sleep 1
  fi
} >/dev/null 2>&1
for it; do ask "$it" & done; wait"""


def target_macs_script(targets: Collection[IPv4Address]) -> Script:
    """Return the script whose output `read_target_macs` understands."""
    shell = " ".join(("sh -s", *map(str, targets)))
    script = Script().feed("ask", shell, _ASK.splitlines())
    return script.run("neighbours", "ip -4 neigh")


def read_target_macs(
    sections: Mapping[str, Result], targets: Collection[IPv4Address]
) -> Mapping[IPv4Address, str]:
    """Return the MAC addresses of the targets that were found."""
    found = {target: mac_of(sections["neighbours"], target) for target in targets}
    return {target: mac for target, mac in found.items() if mac}
