"""How a gateway sends its answers, well or badly."""

import asyncio
from collections.abc import AsyncIterator
from typing import Final

from .codes import HTTP
from .options import GatewayOptions, Way

_PAUSE: Final = 0.05
_CHUNK: Final = 100
_MORE: Final[dict[Way, bytes]] = {
    "trailing": b"\r\n\r\n<!-- -->",
    "stray": b"HTTP/1.0 405 Method Not Allowed\r\nContent-Length: 0\r\n\r\n",
}
"""What comes after the end."""

type Headers = dict[str, str]


def message(
    status: int,
    body: bytes,
    way: Way,
    options: GatewayOptions,
    more: Headers,
    *,
    stays: bool,
) -> tuple[bytes, bytes]:
    """Return an answer's head and body, as they go by this way."""
    if way == "nuls":
        body += b"\0" * 8
    length = {"too_long": len(body) + 1000, "too_short": len(body) // 2}.get(way)
    headers = {
        "Content-Type": 'text/xml; charset="utf-8"',
        "Server": options.server,
        "Ext": "",
        "Connection": "keep-alive" if stays else "close",
        **more,
    }
    if way == "chunked":
        headers["Transfer-Encoding"] = "chunked"
        body = b"".join(
            b"%x\r\n%b\r\n" % (len(part), part) for part in (*_parts(body), b"")
        )
    elif way not in {"no_length", "endless"}:
        headers["Content-Length"] = str(len(body) if length is None else length)
    first = f"HTTP/{options.http_version} {status} {HTTP.get(status, 'Unknown')}"
    lines = [first, *(f"{name}: {value}" for name, value in headers.items()), "", ""]
    return "\r\n".join(lines).encode(), body


async def pieces(head: bytes, body: bytes, way: Way) -> AsyncIterator[bytes]:
    """Yield what is sent, each piece in its time; some ways have no end."""
    if way == "closes":
        return
    if way == "silent":
        await asyncio.Event().wait()
    for piece in _cut(head, body, way):
        yield piece
        if way in {"two_segments", "drip"}:
            await asyncio.sleep(_PAUSE)
    if way == "open":
        await asyncio.Event().wait()
    while way == "endless":
        yield b" " * 65_536


def _cut(head: bytes, body: bytes, way: Way) -> list[bytes]:
    """Return the pieces in which an answer is sent."""
    match way:
        case "two_segments":
            return [head, body]
        case "drip":
            return [bytes((byte,)) for byte in head + body]
        case _:
            return [head + body + _MORE.get(way, b"")]


def _parts(body: bytes) -> list[bytes]:
    """Return a body in chunks."""
    return [body[at : at + _CHUNK] for at in range(0, len(body), _CHUNK)]
