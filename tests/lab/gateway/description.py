"""How a gateway describes itself."""

from itertools import groupby
from xml.sax.saxutils import escape

from .options import GatewayOptions, Service

_GATEWAY = "urn:schemas-upnp-org:device:InternetGatewayDevice:"
_ENTITIES = '<!DOCTYPE root [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;&a;">]>'


def device_type(options: GatewayOptions) -> str:
    """Return what kind of gateway it is."""
    return f"{_GATEWAY}{options.version}"


def described(options: GatewayOptions, base: str) -> str:
    """Return the description, where `base` is what relative URLs begin with."""
    version = options.version
    numbers = groupby(options.services, lambda service: service.device)
    wans = "".join(
        _device(
            f"urn:schemas-upnp-org:device:WANDevice:{version}",
            f"{options.udn}-{number}",
            "",
            _device(
                f"urn:schemas-upnp-org:device:WANConnectionDevice:{version}",
                f"{options.udn}-{number}-0",
                "".join(_service(service) for service in services),
                "",
            ),
        )
        for number, services in numbers
    )
    others = "".join(
        _service(Service(kind, f"/ctl/{n}", f"/evt/{n}", f"/{n}.xml", f"urn:any:{n}"))
        for n, kind in enumerate(options.other_services)
    )
    name = options.friendly_name
    about = ("" if name is None else f"<friendlyName>{escape(name)}</friendlyName>") + (
        f"<manufacturer>{escape(options.manufacturer)}</manufacturer>"
        f"<modelName>{escape(options.model)}</modelName>"
        "<presentationURL>http://127.0.0.1/</presentationURL>"
    )
    root = _device(device_type(options), options.udn, others, wans, about)
    url_base = options.url_base
    at = "" if url_base is None else f"<URLBase>{url_base}</URLBase>"
    root = root.replace("urn:schemas-upnp-org:device:", f"urn:{options.domain}:device:")
    text = (
        '<?xml version="1.0"?>\r\n'
        '<root xmlns="urn:schemas-upnp-org:device-1-0">'
        f"<specVersion><major>1</major><minor>0</minor></specVersion>{root}{at}</root>"
    )
    return _spoilt(text, options).replace("{base}", base)


def _device(kind: str, udn: str, services: str, devices: str, about: str = "") -> str:
    """Return a device's text."""
    return (
        f"<device><deviceType>{kind}</deviceType>{about}<UDN>{udn}</UDN>"
        f"<serviceList>{services}</serviceList>"
        f"<deviceList>{devices}</deviceList></device>"
    )


def _service(service: Service) -> str:
    """Return a service's text."""
    return (
        f"<service><serviceType>{service.type}</serviceType>"
        f"<serviceId>{service.service_id}</serviceId>"
        f"<controlURL>{service.control}</controlURL>"
        f"<eventSubURL>{service.events}</eventSubURL>"
        f"<SCPDURL>{service.scpd}</SCPDURL></service>"
    )


def _spoilt(text: str, options: GatewayOptions) -> str:
    """Return a description that is none."""
    match options.broken:
        case "mismatched":
            return text.replace("</UDN>", "</udn>", 1)
        case "control":
            return text.replace("</UDN>", "\x01\x0b</UDN>", 1) + "\0\0"
        case "entities":
            text = text.replace("\r\n", f"\r\n{_ENTITIES}", 1)
            return text.replace("</UDN>", "&b;</UDN>", 1)
        case "not_xml":
            return "<html><p>Sign in<br></html>"
        case _:
            return text
