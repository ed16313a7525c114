"""How a gateway is found: what it answers to a search, and announces by itself."""

from ..ssdp import GROUP, PORT, headers
from .description import device_type
from .options import GatewayOptions

_WFA = "urn:schemas-wifialliance-org:device:WFADevice:1"


def answers(question: bytes, options: GatewayOptions, location: str) -> list[bytes]:
    """Return what is answered to a search."""
    said = headers(question)
    if not said[""].startswith("M-SEARCH ") or said.get("MAN") != '"ssdp:discover"':
        return []
    target = said.get("ST", "")
    if target == "ssdp:all":
        kinds = [*_kinds(options)] if options.ssdp_all else [_WFA]
    else:
        kinds = [kind for kind in _kinds(options) if _serves(kind, target)]
    return [
        _datagram(
            "HTTP/1.1 200 OK",
            {
                "CACHE-CONTROL": "max-age=120",
                # A device of a later version answers for the one that was asked for.
                "ST": kind if target == "ssdp:all" else target,
                "USN": f"{options.udn}::{kind}",
                "EXT": "",
                "SERVER": options.server,
                "LOCATION": location,
            },
        )
        for kind in kinds
    ]


def announcements(
    options: GatewayOptions, location: str, boot: int, *, alive: bool
) -> list[bytes]:
    """Return what is told to all, at the start and at the end."""
    return [
        _datagram(
            "NOTIFY * HTTP/1.1",
            {
                "HOST": f"{GROUP}:{PORT}",
                "CACHE-CONTROL": "max-age=120",
                "LOCATION": location,
                "SERVER": options.server,
                "NT": kind,
                "USN": f"{options.udn}::{kind}",
                "NTS": "ssdp:alive" if alive else "ssdp:byebye",
                "BOOTID.UPNP.ORG": str(boot),
            },
        )
        for kind in _kinds(options)
    ]


def _kinds(options: GatewayOptions) -> tuple[str, ...]:
    """Return what the gateway is."""
    types = dict.fromkeys(service.type for service in options.services)
    return ("upnp:rootdevice", device_type(options), *types)


def _serves(kind: str, target: str) -> bool:
    """Whether it is what was asked for, or a later version of it."""
    name, _, version = kind.rpartition(":")
    wanted, _, least = target.rpartition(":")
    if kind == target:
        return True
    numbers = version.isdecimal() and least.isdecimal()
    return name == wanted and numbers and int(version) >= int(least)


def _datagram(first: str, pairs: dict[str, str]) -> bytes:
    """Return the bytes of a message."""
    lines = [first, *(f"{name}: {value}" for name, value in pairs.items()), "", ""]
    return "\r\n".join(lines).encode()
