"""What a gateway's description says: its name, and where it takes actions.

Any host of the LAN can announce a description. So no URL in one counts that leads to
another host than the gateway, wherever the description says that it is.
"""

from collections.abc import Iterable
from dataclasses import dataclass
import re
from typing import Final
from urllib.parse import urljoin

from ..errors import printable
from .elements import Element, elements
from .http import SAID, Url

# Whoever defines it: some have names of the DSL forum's instead of UPnP's.
_TYPE = re.compile(
    r"urn:[A-Za-z0-9.-]{1,40}:service:(WAN(?:IP|PPP)Connection):([0-9]{1,2})"
)
_ORDER: Final = ("WANIPConnection:2", "WANIPConnection:1", "WANPPPConnection:1")
_MOST_SERVICES: Final = 8


@dataclass(frozen=True, slots=True)
class Service:
    """What opens ports."""

    urn: str
    """Its type, as a SOAP action names it; of a few plain characters."""
    control: Url
    events: Url | None

    @property
    def rank(self) -> int:
        """Its place among several: newer ones first, then as tailscale tries them."""
        name = ":".join(self.urn.split(":")[-2:])
        return _ORDER.index(name) if name in _ORDER else len(_ORDER)


@dataclass(frozen=True, slots=True)
class Description:
    """Of one gateway."""

    model: str
    """What it calls itself: printable, at most 80 characters, perhaps empty."""
    services: tuple[Service, ...]
    """Those that open ports, the best first."""


def read_description(text: str, location: Url) -> Description:
    """Return what a description says that was found there; it never raises."""
    found = elements(text)
    base = _base(found, location)
    services = {
        service: None
        for fields in _services(found)
        if (service := _service(fields, base, location)) is not None
    }
    ranked = sorted(services, key=lambda service: service.rank)
    names = (
        printable(element.text, SAID)
        for name in ("friendlyname", "modelname")
        for element in found
        if element.name == name
    )
    model = next((name for name in names if name), "")
    return Description(model, tuple(ranked[:_MOST_SERVICES]))


def _base(found: Iterable[Element], location: Url) -> str:
    """Return what its URLs begin from, wherever in it that is said."""
    for element in found:
        if element.name == "urlbase" and element.text:
            url = urljoined(str(location), element.text)
            # One that names another subnet was right at the factory.
            if Url.at(location.host, url):
                return url
    return str(location)


def _services(found: Iterable[Element]) -> Iterable[dict[str, str]]:
    """Yield what is said of each service, of those of all devices."""
    fields: dict[str, str] = {}
    for element in found:
        if element.name in ("service", "device"):
            yield fields
            fields = {}
        fields.setdefault(element.name, element.text)
    yield fields


def _service(fields: dict[str, str], base: str, location: Url) -> Service | None:
    """Return a service; None if it opens no ports, or not at the gateway."""
    urn = fields.get("servicetype", "")
    control = _url(fields.get("controlurl", ""), base, location)
    if not _TYPE.fullmatch(urn) or control is None:
        return None
    return Service(urn, control, _url(fields.get("eventsuburl", ""), base, location))


def _url(text: str, base: str, location: Url) -> Url | None:
    """Return what a URL in a description names, if that is at the gateway."""
    if not text:
        return None
    return Url.at(location.host, urljoined(base, text))


def urljoined(base: str, text: str) -> str:
    """Return a URL that may be relative; an empty text if it is none.

    A path may begin with a word and a colon, which is no scheme: `uuid:1/control`.
    """
    if not re.match(r"(?i)[/?]|https?:", text):
        text = f"./{text}"
    try:
        return urljoin(base, text)
    except ValueError:
        return ""
