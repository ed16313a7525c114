"""How the fake gateway is found, and describes itself."""

from xml.etree import ElementTree as ET

import pytest

from .gateway import GatewayOptions, Service
from .gateway.description import described
from .gateway.options import WAN_IP_2, WAN_PPP
from .gateway.ssdp import announcements, answers
from .ssdp import GATEWAY, headers

BASE = "http://192.168.50.1:5000"
LOCATION = f"{BASE}/rootDesc.xml"
NAMESPACE = {"u": "urn:schemas-upnp-org:device-1-0"}


def search(target: str, man: str = '"ssdp:discover"') -> bytes:
    """Return a search."""
    lines = ("M-SEARCH * HTTP/1.1", f"MAN: {man}", f"ST: {target}", "", "")
    return "\r\n".join(lines).encode()


def found(target: str, options: GatewayOptions) -> list[str]:
    """Return what is found by a search."""
    said = [headers(it) for it in answers(search(target), options, LOCATION)]
    assert {it["LOCATION"] for it in said} <= {LOCATION}
    return [it["ST"] for it in said]


def test_it_is_found_by_what_it_is() -> None:
    """And by an earlier version of that."""
    first, second = GatewayOptions(), GatewayOptions(version=2)
    assert found(GATEWAY, first) == [GATEWAY]
    assert found(GATEWAY, second) == [GATEWAY]
    assert found(GATEWAY.replace(":1", ":2"), first) == []
    assert found("upnp:rootdevice", first) == ["upnp:rootdevice"]
    assert found(WAN_PPP, first) == []
    assert found(WAN_PPP, GatewayOptions(services=(Service(WAN_PPP),))) == [WAN_PPP]


def test_a_search_for_all_may_miss_it() -> None:
    """Some answer as another device then."""
    assert GATEWAY in found("ssdp:all", GatewayOptions())
    assert GATEWAY not in found("ssdp:all", GatewayOptions(ssdp_all=False))
    assert found(GATEWAY, GatewayOptions(ssdp_all=False)) == [GATEWAY]


def test_what_is_no_search_is_not_answered() -> None:
    """Nor what others announce."""
    options = GatewayOptions()
    assert answers(search(GATEWAY, "ssdp:discover"), options, LOCATION) == []
    assert answers(b"NOTIFY * HTTP/1.1\r\n\r\n", options, LOCATION) == []
    assert answers(b"\xff\xfe", options, LOCATION) == []


@pytest.mark.parametrize(("alive", "kind"), [(True, "alive"), (False, "byebye")])
def test_it_announces_itself(alive: bool, kind: str) -> None:
    """With its boot."""
    all_said = announcements(GatewayOptions(), LOCATION, 7, alive=alive)
    said = {headers(it)["NT"]: headers(it) for it in all_said}[GATEWAY]
    assert said["NTS"] == f"ssdp:{kind}"
    assert said["BOOTID.UPNP.ORG"] == "7"


def services(options: GatewayOptions) -> list[tuple[str | None, str | None]]:
    """Return the services of a description, with where they are asked."""
    root = ET.fromstring(described(options, BASE))  # noqa: S314 - our own
    return [
        (_text(service, "serviceType"), _text(service, "controlURL"))
        for service in root.iterfind(".//u:service", NAMESPACE)
    ]


def _text(element: ET.Element, name: str) -> str | None:
    """Return what an element says."""
    return element.findtext(f"u:{name}", None, NAMESPACE)


def test_services_in_their_order() -> None:
    """Others first, and those of several devices."""
    options = GatewayOptions(
        other_services=("urn:schemas-any-com:service:Any:1",),
        services=(
            Service(WAN_IP_2, "{base}/a?1"),
            Service(WAN_PPP, "/b"),
            Service(WAN_PPP, "c", device=1),
        ),
        url_base="{base}",
    )
    assert services(options) == [
        ("urn:schemas-any-com:service:Any:1", "/ctl/0"),
        (WAN_IP_2, f"{BASE}/a?1"),
        (WAN_PPP, "/b"),
        (WAN_PPP, "c"),
    ]
    text = described(options, BASE)
    assert text.count(":device:WANDevice:1<") == 2
    assert text.endswith(f"</device><URLBase>{BASE}</URLBase></root>")


@pytest.mark.parametrize(
    ("options", "part"),
    [
        (GatewayOptions(url_base=""), "<URLBase></URLBase>"),
        (GatewayOptions(version=2), ":device:InternetGatewayDevice:2<"),
        (GatewayOptions(domain="dslforum-org"), "urn:dslforum-org:device:WANDevice:1<"),
        (GatewayOptions(friendly_name="<&>"), ">&lt;&amp;&gt;</friendlyName>"),
    ],
)
def test_what_it_says_of_itself(options: GatewayOptions, part: str) -> None:
    """As it was told to."""
    assert part in described(options, BASE)
    assert services(options)


def test_it_may_have_no_name() -> None:
    """As some have."""
    assert "friendlyName" not in described(GatewayOptions(friendly_name=None), BASE)


@pytest.mark.parametrize("broken", ["mismatched", "control", "not_xml"])
def test_descriptions_that_are_none(broken: str) -> None:
    """No parser takes them."""
    options = GatewayOptions(broken=broken)  # type: ignore[arg-type]
    with pytest.raises(ET.ParseError):
        services(options)


def test_a_description_may_have_entities() -> None:
    """Which no one should expand."""
    text = described(GatewayOptions(broken="entities"), BASE)
    assert '<!ENTITY a "' in text
    assert "&b;" in text
