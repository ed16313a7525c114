"""How a gateway takes requests by HTTP, as strictly as any."""

import asyncio
from dataclasses import dataclass
from ipaddress import AddressValueError, IPv4Address
import re
from typing import Final

from .options import GatewayOptions, Rule

_LONGEST: Final = 65_536
_FIRST: Final = re.compile(r"(?P<method>[A-Z-]+) (?P<path>\S+) HTTP/1\.[01]")


class Refused(Exception):
    """A request that is none for this gateway."""

    def __init__(self, status: int) -> None:
        """Take HTTP's status."""
        super().__init__(status)
        self.status: Final = status


@dataclass(frozen=True)
class HttpRequest:
    """A request; the names of its headers are in capitals."""

    method: str
    path: str
    headers: dict[str, str]
    body: bytes


async def receive(
    reader: asyncio.StreamReader, options: GatewayOptions
) -> HttpRequest | None:
    """Take a request; None at the end of the connection. Raises Refused."""
    received = await reader.read(_LONGEST)
    if not received:
        return None
    while b"\r\n\r\n" not in received:
        received += await _more(reader, options, "one_segment")
    head, _, body = received.partition(b"\r\n\r\n")
    first, *lines = head.decode("latin-1").split("\r\n")
    named = _FIRST.fullmatch(first)
    if named is None:
        raise Refused(400)
    pairs = (line.partition(":") for line in lines)
    headers = {name.upper(): value.strip() for name, _, value in pairs}
    last = head.rpartition(b"\r\n")[2].upper()
    if "not_last" in options.rules and last.startswith(b"SOAPACTION:"):
        raise Refused(501)
    _check(headers, options)
    length = headers.get("CONTENT-LENGTH", "0")
    if not length.isdecimal():
        raise Refused(400)
    while len(body) < int(length):
        body += await _more(reader, options, "one_segment")
    return HttpRequest(named["method"], named["path"], headers, body[: int(length)])


async def _more(
    reader: asyncio.StreamReader, options: GatewayOptions, rule: Rule
) -> bytes:
    """Take more of a request, where there may be more. Raises Refused."""
    if rule in options.rules:
        raise Refused(411)
    received = await reader.read(_LONGEST)
    if not received:
        raise Refused(400)
    return received


def _check(headers: dict[str, str], options: GatewayOptions) -> None:
    """Raise Refused for what some gateways do not take."""
    host, _, port = headers.get("HOST", "").partition(":")
    if "numeric_host" in options.rules:
        try:
            IPv4Address(host)
        except AddressValueError:
            raise Refused(404) from None
    if "host_port" in options.rules and not port:
        raise Refused(400)
    if "no_expect" in options.rules and "EXPECT" in headers:
        raise Refused(400)
