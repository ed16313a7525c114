"""What a gateway is asked by UPnP, as one types it on a machine of the lab.

Who asks may also be an address of this machine's own, such as 127.0.0.2.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
import re
import socket
from typing import Final
from urllib.parse import urlsplit

from .machine import Machine
from .waiting import LIMIT

WAN_IP: Final = "urn:schemas-upnp-org:service:WANIPConnection:1"

_ENVELOPE: Final = (
    '<?xml version="1.0"?>\r\n'
    '<s:Envelope xmlns:s="http://schemas.xmlsoap.org/soap/envelope/"'
    ' s:encodingStyle="http://schemas.xmlsoap.org/soap/encoding/"><s:Body>'
    '<u:{action} xmlns:u="{service}">{arguments}</u:{action}></s:Body></s:Envelope>\r\n'
)
# One write, so that it is one segment.
_SEND: Final = 'exec 3<>"/dev/tcp/$1/$2" || exit; cat >&3; cat <&3'


type Asker = Machine | str


@dataclass(frozen=True)
class Answer:
    """What was answered: a fault's code, or else values by their names."""

    status: int
    code: int | None = None
    values: Mapping[str, str] = field(default_factory=dict)


def request(
    url: str, action: str, arguments: Mapping[str, object], service: str = WAN_IP
) -> str:
    """Return the text of a request."""
    listed = "".join(f"<{name}>{value}</{name}>" for name, value in arguments.items())
    body = _ENVELOPE.format(action=action, service=service, arguments=listed)
    parts = urlsplit(url)
    return (
        f"POST {path(url)} HTTP/1.1\r\nHost: {parts.netloc}\r\n"
        f'SOAPAction: "{service}#{action}"\r\n'
        'Content-Type: text/xml; charset="utf-8"\r\n'
        f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n{body}"
    )


def page(url: str) -> str:
    """Return the text of a request for a page."""
    host = urlsplit(url).netloc
    return f"GET {path(url)} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n"


def path(url: str) -> str:
    """Return what of a URL is in a request."""
    parts = urlsplit(url)
    return f"{parts.path}?{parts.query}" if parts.query else parts.path


def answer(text: str) -> Answer:
    """Read an answer, as loosely as one reads it oneself."""
    _, status, *_ = text.split(maxsplit=2)
    code = re.search(r"<(?:\w+:)?errorCode>\s*(-?\d+)", text, re.IGNORECASE)
    values = dict(re.findall(r"<(New\w+)[^>/]*>([^<]*)</", text))
    return Answer(int(status), int(code[1]) if code else None, values)


def ask(
    asker: Asker,
    url: str,
    action: str,
    arguments: Mapping[str, object] | None = None,
    service: str = WAN_IP,
) -> Answer:
    """Ask for an action."""
    return answer(talk(asker, url, request(url, action, arguments or {}, service)))


def talk(asker: Asker, url: str, text: str) -> str:
    """Send a text, on a machine with nothing but bash, and return what is said."""
    parts = urlsplit(url)
    host, port = str(parts.hostname), parts.port or 80
    if isinstance(asker, Machine):
        where = ("-", host, str(port))
        return asker.run("bash", "-c", _SEND, *where, input=text).stdout
    with socket.create_connection((host, port), LIMIT, (asker, 0)) as connection:
        connection.sendall(text.encode())
        with connection.makefile("rb") as said:
            return said.read().decode(errors="replace").replace("\r\n", "\n")


def add(
    asker: Asker,
    url: str,
    port: int,
    client: str,
    *,
    to_port: int | None = None,
    protocol: str = "TCP",
    description: str = "by hand",
    lease: int = 7200,
    service: str = WAN_IP,
) -> Answer:
    """Ask for a mapping."""
    wanted: dict[str, object] = {
        **_entry(port, protocol),
        "NewInternalPort": to_port or port,
        "NewInternalClient": client,
        "NewEnabled": 1,
        "NewPortMappingDescription": description,
        "NewLeaseDuration": lease,
    }
    return ask(asker, url, "AddPortMapping", wanted, service)


def delete(asker: Asker, url: str, port: int, protocol: str = "TCP") -> Answer:
    """Ask for a mapping to be gone."""
    return ask(asker, url, "DeletePortMapping", _entry(port, protocol))


def get(asker: Asker, url: str, port: int, protocol: str = "TCP") -> Answer:
    """Ask what is mapped at a port."""
    return ask(asker, url, "GetSpecificPortMappingEntry", _entry(port, protocol))


def public_address(asker: Asker, url: str) -> Answer:
    """Ask for the address on the internet's side."""
    return ask(asker, url, "GetExternalIPAddress")


def _entry(port: int, protocol: str) -> dict[str, object]:
    """Return the arguments by which a mapping is named."""
    return {"NewRemoteHost": "", "NewExternalPort": port, "NewProtocol": protocol}
