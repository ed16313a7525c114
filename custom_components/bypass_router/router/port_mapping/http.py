"""Requests as UPnP has them, as text, and the answers to them.

An answer is whatever came: gateways' web servers are old, and some are wrong about
its length, say HTTP/1.0, or say more than they were asked. What it says is no URL to
go to: nothing is followed.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from http import HTTPStatus
from http.client import HTTPException, HTTPResponse
from io import BytesIO
from ipaddress import AddressValueError, IPv4Address
import re
from socket import socket
from typing import Final, Self, cast, override
from urllib.parse import urlsplit

from ..errors import printable
from .base import Answer, Refusal, require_port

LONGEST: Final = 64 * 1024
"""Bytes of an answer that are read."""
SAID: Final = 80
"""Characters of a text from outside that are kept."""
_HTTP_PORT = 80
# Printable ASCII: what else a URL may have is escaped in it.
_PATH = re.compile(r"/[!-~]*")
_LONGEST_PATH = 1024
# The hundreds by which HTTP refuses.
_ERRORS = (4, 5)


@dataclass(frozen=True, slots=True)
class Url:
    """A place at a gateway: no other host is ever named by one."""

    host: IPv4Address
    port: int
    path: str
    """With what follows a `?`."""

    def __post_init__(self) -> None:
        """Refuse what is none, whoever made it up."""
        if not _PATH.fullmatch(self.path) or len(self.path) > _LONGEST_PATH:
            raise ValueError("no path of a URL")
        require_port(self.port)

    @classmethod
    def at(cls, gateway: IPv4Address, text: str) -> Self | None:
        """Return the place that a URL names; None unless it is at this gateway."""
        try:
            parts = urlsplit(text.strip())
            host, port = IPv4Address(parts.hostname or ""), parts.port
            if parts.scheme != "http" or host != gateway or "@" in parts.netloc:
                return None
            path = parts.path or "/"
            if parts.query:
                path += f"?{parts.query}"
            return cls(host, _HTTP_PORT if port is None else port, path)
        except AddressValueError, ValueError:
            return None

    @property
    def netloc(self) -> str:
        """Its host and port, as a header has them."""
        return f"{self.host}:{self.port}"

    @override
    def __str__(self) -> str:
        """Return it as text."""
        return f"http://{self.netloc}{self.path}"


@dataclass(frozen=True, slots=True)
class Request:
    """What is asked at a URL: GET, or, with a body, the POST of an action."""

    url: Url
    action: str = ""
    """As `SOAPAction` has it, without its quotes."""
    body: str = ""
    """ASCII."""

    @property
    def headers(self) -> tuple[str, ...]:
        """The lines that are said besides the first, whatever says them."""
        headers = [f"Host: {self.url.netloc}", "User-Agent: Linux UPnP/1.1 bypass"]
        if self.body:
            # Some take no action without its quotes, and none without its length.
            headers += [
                'Content-Type: text/xml; charset="utf-8"',
                f'SOAPAction: "{self.action}"',
            ]
        return tuple(headers)

    @property
    def text(self) -> str:
        """All of it, as it goes out: in one piece, as some read no more than one."""
        lines = [
            f"{'POST' if self.body else 'GET'} {self.url.path} HTTP/1.1",
            *self.headers,
            "Connection: close",
        ]
        if self.body:
            lines.append(f"Content-Length: {len(self.body)}")
        return "\r\n".join((*lines, "", self.body))


@dataclass(frozen=True, slots=True)
class Response:
    """What came back."""

    status: int
    reason: str
    """Printable and short, and nobody's to trust."""
    headers: Mapping[str, str]
    """By name, in lower case."""
    body: bytes

    @property
    def ok(self) -> bool:
        """Whether it brings what was asked for."""
        return self.status == HTTPStatus.OK

    @property
    def text(self) -> str:
        """The body as text, whatever is in it."""
        return self.body.decode("utf-8-sig", errors="replace")

    @property
    def refusal(self) -> Refusal:
        """What it means that HTTP alone says: of UPnP there is nothing in it."""
        match self.status:
            case 401 | 403 | 407:
                kind = Answer.NOT_ALLOWED
            case 404 | 405 | 410 | 501:
                kind = Answer.UNSUPPORTED
            case status if status // 100 in _ERRORS:
                kind = Answer.FAILED
            case _:
                kind = Answer.NONSENSE
        return Refusal(kind, said=printable(f"HTTP {self.status} {self.reason}", SAID))


class _Socket:
    """What `http.client` takes for one."""

    def __init__(self, stream: BytesIO) -> None:
        """Read from this."""
        self._stream = stream

    def makefile(self, _mode: str) -> BytesIO:
        """Return what it reads."""
        return self._stream


def read_response(raw: bytes) -> Response | Refusal:
    """Return what a gateway said; it never raises."""
    # A line break may be left of what was said before.
    stream = BytesIO(raw[:LONGEST].lstrip(b"\r\n"))
    response = HTTPResponse(cast("socket", _Socket(stream)))
    try:
        response.begin()
    except HTTPException, ValueError, OSError:
        return _nonsense(raw)
    body = stream.read()
    if response.chunked:
        body = _unchunked(body)
    headers = {name.lower(): str(value) for name, value in response.headers.items()}
    reason = printable(response.reason or "", SAID)
    return Response(response.status, reason, headers, body)


def _nonsense(raw: bytes) -> Refusal:
    """Return that it was no HTTP."""
    said = printable(raw[:LONGEST].decode(errors="replace"), SAID)
    return Refusal(Answer.NONSENSE, said=said)


def _unchunked(body: bytes) -> bytes:
    """Return what chunks hold; what are none, as wget leaves it, stays."""
    stream, whole = BytesIO(body), b""
    while line := stream.readline():
        try:
            length = int(line.partition(b";")[0], 16)
        except ValueError:
            return whole or body
        if length <= 0:
            break
        whole += stream.read(length)
        stream.readline()
    return whole
