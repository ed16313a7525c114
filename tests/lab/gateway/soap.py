"""What a gateway is asked by SOAP, and what it answers."""

from collections.abc import Mapping
from dataclasses import dataclass, field
import re
from typing import Final
from xml.etree import ElementTree as ET
from xml.sax.saxutils import escape

from .codes import TEXTS
from .options import GatewayOptions

_BODY: Final = "{http://schemas.xmlsoap.org/soap/envelope/}Body"
_ENVELOPE: Final = (
    '<?xml version="1.0"?>\r\n'
    '<{p}:Envelope xmlns:{p}="http://schemas.xmlsoap.org/soap/envelope/"'
    ' {p}:encodingStyle="http://schemas.xmlsoap.org/soap/encoding/">'
    "<{p}:Body>{inner}</{p}:Body></{p}:Envelope>\r\n"
)
_ACTION: Final = re.compile(r'"?(?P<type>[^"#]*)#(?P<name>\w+)"?')


class Malformed(Exception):
    """A request that a gateway takes for none."""

    def __init__(self, status: int) -> None:
        """Take HTTP's status."""
        super().__init__(status)
        self.status: Final = status


@dataclass(frozen=True)
class Call:
    """An action that was asked for."""

    service: str
    action: str
    arguments: Mapping[str, str] = field(default_factory=dict)


def read(soap_action: str, body: bytes, options: GatewayOptions) -> Call:
    """Read a request. Raises Malformed."""
    if "no_space" in options.rules and body[:1].isspace():
        raise Malformed(400)
    quoted = soap_action[:1] == soap_action[-1:] == '"'
    named = _ACTION.fullmatch(soap_action)
    if named is None or (not quoted and "quotes" in options.rules):
        raise Malformed(400)
    try:
        element = ET.fromstring(body.decode()).find(f"{_BODY}/*")  # noqa: S314
    except ET.ParseError, UnicodeDecodeError:
        raise Malformed(400) from None
    if element is None or element.tag != f"{{{named['type']}}}{named['name']}":
        raise Malformed(400)
    arguments = {argument.tag: argument.text or "" for argument in element}
    return Call(named["type"], named["name"], arguments)


def reply(call: Call, values: Mapping[str, object], options: GatewayOptions) -> str:
    """Return the text of an answer."""
    name = f"u:{call.action}Response"
    inner = "".join(f"<{k}>{escape(str(v))}</{k}>" for k, v in values.items())
    inner = f'<{name} xmlns:u="{call.service}">{inner}</{name}>'
    return _ENVELOPE.format(p=options.prefix, inner=inner)


def fault(code: int, options: GatewayOptions) -> str:
    """Return the text of a refusal."""
    text = TEXTS.get(code, "Action Failed")
    if options.none_text and code == options.none_code:
        text = options.none_text
    p, c = options.prefix, "C" if options.fault_capitals else "c"
    s = "S" if options.fault_capitals else "s"
    inner = (
        f"<{p}:Fault><fault{c}ode>{p}:Client</fault{c}ode>"
        f"<fault{s}tring>UPnPError</fault{s}tring><detail>"
        f'<UPnPError xmlns="urn:{options.fault_domain}:control-1-0">'
        f"<errorCode>{code}</errorCode><errorDescription>{text}</errorDescription>"
        f"</UPnPError></detail></{p}:Fault>"
    )
    return _ENVELOPE.format(p=p, inner=inner)
