"""A LAN that is a bridge which hands its packets to the firewall.

With `bridge-nf-call-iptables`, as Docker has it, a packet is translated while it is
in the bridge, and bridged on to the target: never by the port that it came by. With
hairpin it would go there, with the main router's own MAC address as its sender's, which
sends the switch behind that port astray. So nothing of a forward passes whose target is
behind the same port as the main router.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping, Set as AbstractSet
from dataclasses import dataclass, field
from ipaddress import AddressValueError, IPv4Address
import re
from shlex import quote

from .forward import Forward
from .rules.base import PlanStep, Problem, RouterContext, Tag
from .rules.obstacles import Hindrance, Obstacle
from .ssh.script import Result, Script

SETTING = "net.bridge.bridge-nf-call-iptables"
# One process where the bridge leaves the firewall alone, as most do.
_LOOK = """\
read all </proc/sys/net/bridge/bridge-nf-call-iptables
read own </sys/class/net/$0/bridge/nf_call_iptables
echo "calls ${all:-0} ${own:-0}"
case "$all$own" in *1*) ;; *) exit 0 ;; esac
for port in /sys/class/net/$0/brif/*; do read number <$port/port_no; echo "port $number"
done
while read address _ _ hardware _ device; do
[ "$device" = "$0" ] && echo "neighbour $address $hardware"; done </proc/net/arp
while read device to gateway _; do
[ "$device $to" = "$0 00000000" ] && echo "gateway $gateway"; done </proc/net/route
cd /sys/class/net/$0 && { od -An -v -tx1 -w16 brforward ||
hexdump -v -e "16/1 \\"%02x \\" \\"\\n\\"" brforward; }"""
_CALLS = re.compile(r"^calls ([01]) ([01])$", re.MULTILINE)
_PORT = re.compile(r"^port 0x([0-9a-f]{1,3})$", re.MULTILINE)
_NEIGHBOUR = re.compile(r"^neighbour ([0-9.]{7,15}) ([0-9a-f:]{17})$", re.MULTILINE)
_GATEWAY = re.compile(r"^gateway ([0-9A-F]{8})$", re.MULTILINE)
# A MAC address, the number of its port, and whether it is the router's own.
_LEARNT = re.compile(
    r"^ ?((?:[0-9a-f]{2} ){6})([0-9a-f]{2}) 00 (?:[0-9a-f]{2} ){4}([0-9a-f]{2})",
    re.MULTILINE,
)


@dataclass(frozen=True, slots=True)
class BridgeState:
    """What is known of the bridge."""

    calls: bool = False
    """Whether it hands packets to the firewall."""
    ports: int = 0
    at: Mapping[IPv4Address, int] = field(default_factory=dict)
    """By which port each neighbour is reached."""
    gateways: frozenset[IPv4Address] = frozenset()

    def returns(self, target: IPv4Address) -> bool:
        """Return whether what comes from the main router goes back by its port."""
        if self.ports == 1:
            return True
        port = self.at.get(target)
        return port is not None and any(
            self.at.get(gateway) == port for gateway in self.gateways
        )


class Bridge:
    """The part that has no rules, and knows what the LAN's bridge does."""

    def __init__(self, context: RouterContext, interface: str) -> None:
        """Take the LAN's network, and which bridge it is."""
        self._network = context.address.network
        self._interface = interface

    def add_read(self, script: Script) -> None:
        """Add the command that tells of the bridge."""
        script.run("bridge", look(self._interface))

    def read(self, sections: Mapping[str, Result]) -> BridgeState:
        """Return what it has told; nothing where it could not."""
        text = sections["bridge"].output
        calls = _CALLS.search(text)
        if not calls or "1" not in calls.groups():
            return BridgeState()
        by_hardware = {
            ":".join(hardware.split()): int(port, 16)
            for hardware, port, local in _LEARNT.findall(text)
            if local == "00"
        }
        return BridgeState(
            calls=True,
            ports=len(_PORT.findall(text)),
            at={
                address: by_hardware[hardware]
                for address, hardware in _neighbours(text)
                if hardware in by_hardware
            },
            gateways=frozenset(
                IPv4Address(bytes.fromhex(word)[::-1])
                for word in _GATEWAY.findall(text)
            ),
        )

    def tags(self, _: BridgeState) -> AbstractSet[Tag]:
        """Return nothing: no rules are here."""
        return frozenset()

    def carries(self, _: Forward, __: BridgeState) -> bool:
        """Return that no rule of ours is missing here."""
        return True

    def problems(self, _: Forward, __: BridgeState) -> AbstractSet[Problem]:
        """Return nothing: no rule of ours would help."""
        return frozenset()

    def steps(self, _: Collection[Forward], __: BridgeState) -> list[PlanStep]:
        """Return nothing: what a bridge does is changed when the user says so."""
        return []

    def rules(self, _: Forward) -> list[str]:
        """Return nothing: no forward has rules here."""
        return []

    def obstacles(self, forward: Forward, state: BridgeState) -> Iterable[Obstacle]:
        """Return whether the bridge keeps a forward's packets."""
        target = forward.target
        if state.calls and target in self._network and state.returns(target):
            yield Obstacle(Hindrance.BRIDGED, {"interface": self._interface})

    def looks(self, *, heard: bool) -> list[str]:  # noqa: ARG002 - as every part
        """Return nothing: no switch depends on it."""
        return []


def look(interface: str) -> str:
    """Return the command that tells of a bridge, in the words that `Bridge` reads."""
    return f"sh -c {quote(_LOOK)} {quote(interface)}"


def calls_firewall(result: Result) -> tuple[bool, bool]:
    """Return whether all bridges hand packets to the firewall, and whether one does."""
    found = _CALLS.search(result.output)
    return (found[1] == "1", found[2] == "1") if found else (False, False)


def _neighbours(text: str) -> Iterator[tuple[IPv4Address, str]]:
    """Yield each neighbour with its MAC address."""
    for address, hardware in _NEIGHBOUR.findall(text):
        try:
            yield IPv4Address(address), hardware
        except AddressValueError:
            continue
