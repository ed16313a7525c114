"""Where the devices are that forwards follow.

A device is known by its MAC address, and is where it answers to that. What the router's
kernel remembers of its neighbours may be old: before a forward moves, or is kept from a
stranger, the addresses concerned are asked for anew.
"""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from enum import Enum, auto
from ipaddress import IPv4Address, IPv4Interface
import re
from shlex import quote
from typing import Final

from ..ssh.script import Result, Script
from ..ssh.sudo import if_allowed
from .neighbours import is_device

_MAC: Final = re.compile(r"(?:[0-9a-f]{2}:){5}[0-9a-f]{2}")
# Of the first byte: the address was made up, or is a group's.
_LOCAL, _GROUP = 2, 1
_NEIGHBOUR = re.compile(
    r"([0-9.]{7,15}) dev (\S{1,64})(?: lladdr ((?:[0-9A-Fa-f]{2}:){5}[0-9A-Fa-f]{2}))?"
    r" (?:.{0,200} )?([A-Z]{4,10})\s*"
)
_DEFAULT = re.compile(r"default via ([0-9.]{7,15})(?: |$)", re.MULTILINE)
_ANSWERED = "answered"
# Those of one device; a network where one has more answers for anybody.
_MOST: Final = 16
ASKING: Final = 20.0
"""Seconds that it takes at the most."""

# The kernel asks three times, one second apart, before it takes a neighbour for gone.
_ASK = f"""\
ask() {{
  if command -v ping; then ping -c 1 -W 1 "$1" && echo "{_ANSWERED} $1" >&3
  elif command -v bash; then bash -c 'echo >"/dev/udp/$0/9"' "$1"
  fi
}} >/dev/null 2>&1
exec 3>&1
for it; do ask "$it" & done; wait
tries=0
while [ "$tries" -lt 4 ]; do
  case "$(ip -4 neigh)" in *INCOMPLETE*) sleep 1 ;; *) break ;; esac
  tries=$((tries + 1))
done"""


def parse_mac(text: object) -> str | None:
    """Return the MAC address of one device, in small letters; None: it is none."""
    mac = text.strip().lower().replace("-", ":") if isinstance(text, str) else ""
    if not _MAC.fullmatch(mac) or _first(mac) & _GROUP or not mac.strip("0:"):
        return None
    return mac


def is_random(mac: str) -> bool:
    """Return whether no maker has given the address: the device may take another."""
    return bool(_first(mac) & _LOCAL)


def _first(mac: str) -> int:
    """Return the first byte."""
    return int(mac[:2], 16)


@dataclass(frozen=True, order=True, slots=True)
class Followed:
    """A device, and where the forwards that follow it lead."""

    mac: str
    """In small letters, with colons."""
    target: IPv4Address

    def __post_init__(self) -> None:
        """Refuse what could be anything else; it stands in a script."""
        if parse_mac(self.mac) != self.mac:
            raise ValueError(f"no MAC address of a device: {self.mac!r}")


@dataclass(frozen=True, slots=True)
class Sight:
    """What the router's kernel says of a neighbour."""

    mac: str
    """Empty where nobody has answered."""
    state: str

    @property
    def is_gone(self) -> bool:
        """Whether it was asked for, and did not answer."""
        # Who still sends to it has the kernel ask again.
        return self.state in {"FAILED", "INCOMPLETE"}

    @property
    def is_known(self) -> bool:
        """Whether it has answered once, and is not known to be gone."""
        return bool(self.mac) and self.state in _KNOWN

    @property
    def is_there(self) -> bool:
        """Whether it has answered lately, or is said to be there by the router."""
        return bool(self.mac) and self.state in _THERE


_THERE = frozenset({"REACHABLE", "PERMANENT", "NOARP"})
_KNOWN = _THERE | {"STALE", "DELAY", "PROBE"}


@dataclass(frozen=True, slots=True)
class Sights:
    """The neighbours that may be devices of the LAN."""

    of: Mapping[IPv4Address, Sight]
    fresh: bool = False
    """Whether what they say was asked for anew, and not remembered."""
    answered: frozenset[IPv4Address] = frozenset()
    """Those that have answered a ping."""

    def holds(self, address: IPv4Address) -> bool:
        """Return whether a device is known to be at an address just now."""
        sight = self.of.get(address)
        if sight is None or not sight.is_known:
            return False
        return address in self.answered or (self.fresh and sight.is_there)


class Found(Enum):
    """What became of a device that is followed."""

    HERE = auto()
    """It answers where the forward leads."""
    MOVED = auto()
    TAKEN = auto()
    """Another device is where the forward leads, and it is nowhere to be seen."""
    GONE = auto()
    """Nobody answers where the forward leads."""
    UNKNOWN = auto()
    """The router can't tell yet."""


@dataclass(frozen=True, slots=True)
class Whereabouts:
    """What became of a device, and where it is now if it has moved."""

    found: Found
    address: IPv4Address | None = None


def whereabouts(followed: Followed, sights: Sights) -> Whereabouts:
    """Return where a device is, by what its addresses have answered.

    The address where it was counts as long as it answers there, also beside others.
    """
    old = sights.of.get(followed.target)
    held = sights.holds(followed.target)
    if old and held and old.mac == followed.mac:
        return Whereabouts(Found.HERE)
    taken = bool(old and held)
    if not taken and not (old and old.is_gone):
        return Whereabouts(Found.UNKNOWN)
    if new := _address_of(followed, sights):
        return Whereabouts(Found.MOVED, new)
    return Whereabouts(Found.TAKEN if taken else Found.GONE)


def _address_of(followed: Followed, sights: Sights) -> IPv4Address | None:
    """Return the address that a device has now, but for the one that it had."""
    known = [
        address
        for address, sight in sights.of.items()
        if sight.is_known and sight.mac == followed.mac and address != followed.target
    ]
    there = [address for address in known if sights.holds(address)]
    if not there and len(known) == 1 and not sights.fresh:
        # Of one that answers no ping, an account without rights learns no more.
        there = known
    return min(there, default=None)


def to_ask_for(followed: Followed, sights: Sights) -> frozenset[IPv4Address]:
    """Return which addresses are to be asked for, by what is remembered; mostly none.

    Nothing while only the device itself is known to be where the forward leads.
    """
    elsewhere = {
        address
        for address, sight in sights.of.items()
        if sight.is_known and sight.mac == followed.mac and address != followed.target
    }
    old = sights.of.get(followed.target)
    stranger = bool(old and old.is_known and old.mac != followed.mac)
    if not elsewhere and not stranger:
        return frozenset()
    return frozenset({followed.target, *sorted(elsewhere)[:_MOST]})


def sights_script() -> Script:
    """Return the script whose output `read_sights` understands."""
    script = Script().run("neighbours", "ip -4 neigh")
    return script.run("routes", "ip -4 route")


def asking_script(
    addresses: Collection[IPv4Address], interface: str, *, sudo: bool
) -> Script:
    """Return the script that asks for these addresses first.

    What the kernel remembers of them is forgotten before, if the account may do that.
    """
    script = Script()
    for number, address in enumerate(sorted(addresses)):
        forget = f"ip -4 neigh flush to {address} dev {quote(interface)}"
        script.run(f"forget.{number}", if_allowed(forget) if sudo else forget)
    shell = " ".join(("sh -s", *map(str, sorted(addresses))))
    script.feed("ask", shell, _ASK.splitlines())
    return script.run("neighbours", "ip -4 neigh").run("routes", "ip -4 route")


def read_sights(
    sections: Mapping[str, Result],
    router: IPv4Interface,
    interface: str,
    barred: Collection[IPv4Address] = (),
) -> Sights:
    """Return which neighbours may be devices: in the LAN, and no router's."""
    gateways = set(_addresses(_DEFAULT.findall(sections["routes"].output)))
    found: dict[IPv4Address, Sight] = {}
    for line in sections["neighbours"].lines:
        if (said := _NEIGHBOUR.fullmatch(line)) and said[2] == interface:
            for address in _addresses([said[1]]):
                if (
                    is_device(address, router)
                    and address not in gateways
                    and address not in barred
                ):
                    found[address] = Sight((said[3] or "").lower(), said[4])
    forgotten = [
        result.ok for label, result in sections.items() if label.startswith("forget.")
    ]
    lines = sections["ask"].lines if "ask" in sections else ()
    return Sights(
        found,
        fresh=bool(forgotten) and all(forgotten),
        answered=frozenset(
            _addresses(
                line.removeprefix(_ANSWERED).strip()
                for line in lines
                if line.startswith(_ANSWERED)
            )
        ),
    )


def _addresses(texts: Collection[str] | Iterator[str]) -> Iterator[IPv4Address]:
    """Yield those that are addresses."""
    for text in texts:
        try:
            yield IPv4Address(text)
        except ValueError:
            continue
