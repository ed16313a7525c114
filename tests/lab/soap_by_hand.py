"""What a main router is asked by UPnP, typed by hand on a machine of the lab."""

from collections.abc import Mapping
from dataclasses import dataclass, field
import re
from typing import Final
from urllib.parse import urlsplit

from .machine import Machine

WAN_IP: Final = "urn:schemas-upnp-org:service:WANIPConnection:1"

_ENVELOPE: Final = (
    '<?xml version="1.0"?>\r\n'
    '<s:Envelope xmlns:s="http://schemas.xmlsoap.org/soap/envelope/"'
    ' s:encodingStyle="http://schemas.xmlsoap.org/soap/encoding/"><s:Body>'
    '<u:{action} xmlns:u="{service}">{arguments}</u:{action}></s:Body></s:Envelope>\r\n'
)
# One write, so that it is one segment.
_SEND: Final = 'exec 3<>"/dev/tcp/$1/$2" || exit; cat >&3; cat <&3'


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
        f"POST {parts.path} HTTP/1.1\r\nHost: {parts.netloc}\r\n"
        f'SOAPAction: "{service}#{action}"\r\n'
        'Content-Type: text/xml; charset="utf-8"\r\n'
        f"Content-Length: {len(body)}\r\nConnection: close\r\n\r\n{body}"
    )


def answer(text: str) -> Answer:
    """Read an answer, as loosely as one reads it oneself."""
    _, status, *_ = text.split(maxsplit=2)
    code = re.search(r"<(?:\w+:)?errorCode>\s*(-?\d+)", text, re.IGNORECASE)
    values = dict(re.findall(r"<(New\w+)[^>/]*>([^<]*)</", text))
    return Answer(int(status), int(code[1]) if code else None, values)


def ask(
    machine: Machine,
    url: str,
    action: str,
    arguments: Mapping[str, object] | None = None,
    service: str = WAN_IP,
) -> Answer:
    """Ask from a machine, with nothing but bash."""
    parts = urlsplit(url)
    text = request(url, action, arguments or {}, service)
    where = ("-", str(parts.hostname), str(parts.port))
    return answer(machine.run("bash", "-c", _SEND, *where, input=text).stdout)


def add(
    machine: Machine,
    url: str,
    port: int,
    client: str,
    *,
    to_port: int | None = None,
    protocol: str = "TCP",
    description: str = "by hand",
    lease: int = 7200,
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
    return ask(machine, url, "AddPortMapping", wanted)


def delete(machine: Machine, url: str, port: int, protocol: str = "TCP") -> Answer:
    """Ask for a mapping to be gone."""
    return ask(machine, url, "DeletePortMapping", _entry(port, protocol))


def get(machine: Machine, url: str, port: int, protocol: str = "TCP") -> Answer:
    """Ask what is mapped at a port."""
    return ask(machine, url, "GetSpecificPortMappingEntry", _entry(port, protocol))


def public_address(machine: Machine, url: str) -> Answer:
    """Ask for the address on the internet's side."""
    return ask(machine, url, "GetExternalIPAddress")


def _entry(port: int, protocol: str) -> dict[str, object]:
    """Return the arguments by which a mapping is named."""
    return {"NewRemoteHost": "", "NewExternalPort": port, "NewProtocol": protocol}
