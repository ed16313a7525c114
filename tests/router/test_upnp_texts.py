"""UPnP as texts: what is asked, and what gateways of all kinds answer."""

from ipaddress import IPv4Address
from typing import Final

import pytest

from custom_components.bypass_router.router.port_mapping import soap
from custom_components.bypass_router.router.port_mapping.base import (
    Answer,
    Entry,
    Listed,
    Opening,
    PortMapping,
    PublicPort,
    Refusal,
)
from custom_components.bypass_router.router.port_mapping.description import (
    Description,
    Service,
    read_description,
)
from custom_components.bypass_router.router.port_mapping.http import (
    Request,
    Response,
    Url,
    read_response,
)

GATEWAY: Final = IPv4Address("192.168.1.1")
CLIENT: Final = IPv4Address("192.168.1.2")
LOCATION: Final = Url(GATEWAY, 49152, "/rootDesc.xml")
IP1: Final = "urn:schemas-upnp-org:service:WANIPConnection:1"
IP2: Final = "urn:schemas-upnp-org:service:WANIPConnection:2"
PPP1: Final = "urn:schemas-upnp-org:service:WANPPPConnection:1"
SERVICE: Final = Service(IP1, Url(GATEWAY, 5000, "/ctl/IPConn"), None)
WEB: Final = PublicPort("tcp", 8443)


def service_text(urn: str, control: str, events: str = "") -> str:
    """Return a service as a description has it."""
    return (
        f"<service><serviceType>{urn}</serviceType><serviceId>urn:x:1</serviceId>"
        f"<controlURL>{control}</controlURL><eventSubURL>{events}</eventSubURL>"
        "<SCPDURL>/scpd.xml</SCPDURL></service>"
    )


def description_text(*services: str, root: str = "", end: str = "") -> str:
    """Return a description: the root's device, and the services in one within it."""
    return (
        '<?xml version="1.0"?><root xmlns="urn:schemas-upnp-org:device-1-0">'
        f"<specVersion><major>1</major><minor>0</minor></specVersion>{root}"
        "<device><deviceType>urn:schemas-upnp-org:device:InternetGatewayDevice:1"
        "</deviceType><friendlyName>A &amp; B</friendlyName>"
        "<manufacturer>M</manufacturer><modelName>Model</modelName><deviceList>"
        "<device><deviceType>urn:schemas-upnp-org:device:WANConnectionDevice:1"
        "</deviceType><friendlyName>WANConnectionDevice</friendlyName><serviceList>"
        f"{''.join(services)}</serviceList></device></deviceList></device>{end}</root>"
    )


def controls(text: str, location: Url = LOCATION) -> list[str]:
    """Return the URLs at which a description's services are asked."""
    return [str(each.control) for each in read_description(text, location).services]


def answered(body: str, status: int = 200) -> Response:
    """Return an answer with such a body."""
    return Response(status, "", {}, body.encode())


def fault(code: object, said: str = "", prefix: str = "s") -> str:
    """Return a fault as the standard has it."""
    return (
        f'<?xml version="1.0"?><{prefix}:Envelope xmlns:{prefix}="http://x/">'
        f"<{prefix}:Body><{prefix}:Fault><faultcode>{prefix}:Client</faultcode>"
        "<faultstring>UPnPError</faultstring><detail>"
        '<UPnPError xmlns="urn:schemas-upnp-org:control-1-0">'
        f"<errorCode>{code}</errorCode><errorDescription>{said}</errorDescription>"
        f"</UPnPError></detail></{prefix}:Fault></{prefix}:Body></{prefix}:Envelope>"
    )


def done(action: str, arguments: str = "", prefix: str = "u") -> Response:
    """Return what is said of an action that was done."""
    return answered(
        '<?xml version="1.0"?>\n<s:Envelope><s:Body>'
        f'<{prefix}:{action}Response xmlns:{prefix}="{IP1}">{arguments}'
        f"</{prefix}:{action}Response></s:Body></s:Envelope>"
    )


def listed(
    client: str = "192.168.1.40",
    port: str = "443",
    description: str = "nas",
    lease: str = "3600",
    enabled: str = "1",
) -> Response:
    """Return what is said of a mapping."""
    return done(
        "GetSpecificPortMappingEntry",
        f"<NewInternalPort>{port}</NewInternalPort>"
        f"<NewInternalClient>{client}</NewInternalClient>"
        f"<NewEnabled>{enabled}</NewEnabled>"
        f"<NewPortMappingDescription>{description}</NewPortMappingDescription>"
        f"<NewLeaseDuration>{lease}</NewLeaseDuration>",
    )


# What is asked.


def test_an_action_is_one_text_as_the_strictest_gateways_take_it() -> None:
    """Rows 22 to 31: nothing before the declaration, quotes, order, upper case."""
    opening = Opening(PortMapping(WEB, 443), "bypass_router:ab12:01WEB:1", 7200)
    request = soap.add(SERVICE, opening, CLIENT)
    head, _, body = request.text.partition("\r\n\r\n")
    assert head.split("\r\n") == [
        "POST /ctl/IPConn HTTP/1.1",
        "Host: 192.168.1.1:5000",
        "User-Agent: Linux UPnP/1.1 bypass",
        'Content-Type: text/xml; charset="utf-8"',
        f'SOAPAction: "{IP1}#AddPortMapping"',
        "Connection: close",
        f"Content-Length: {len(body)}",
    ]
    assert body == (
        '<?xml version="1.0"?>\r\n'
        '<s:Envelope xmlns:s="http://schemas.xmlsoap.org/soap/envelope/"'
        ' s:encodingStyle="http://schemas.xmlsoap.org/soap/encoding/"><s:Body>'
        f'<u:AddPortMapping xmlns:u="{IP1}"><NewRemoteHost></NewRemoteHost>'
        "<NewExternalPort>8443</NewExternalPort><NewProtocol>TCP</NewProtocol>"
        "<NewInternalPort>443</NewInternalPort>"
        "<NewInternalClient>192.168.1.2</NewInternalClient>"
        "<NewEnabled>1</NewEnabled><NewPortMappingDescription>"
        "bypass_router:ab12:01WEB:1</NewPortMappingDescription>"
        "<NewLeaseDuration>7200</NewLeaseDuration></u:AddPortMapping>"
        "</s:Body></s:Envelope>\r\n"
    )


def test_the_longest_request_is_one_piece_for_the_smallest_command() -> None:
    """Which is busybox's nc, of 1024 bytes: in two, some take no request."""
    path = "/uuid:00112233-4455-6677-8899-aabbccddeeff/WANPPPConnection:1"
    service = Service(PPP1, Url(IPv4Address("192.168.100.100"), 49152, path), None)
    mapping = PortMapping(PublicPort("udp", 65535), 65535)
    opening = Opening(mapping, "x" * 63, 604_800)
    assert len(soap.add(service, opening, service.control.host).text) <= 1024


@pytest.mark.parametrize(
    ("request_", "action", "arguments"),
    [
        (soap.get(SERVICE, WEB), "GetSpecificPortMappingEntry", True),
        (soap.delete(SERVICE, WEB), "DeletePortMapping", True),
        (soap.get_address(SERVICE), "GetExternalIPAddress", False),
        (soap.get_status(SERVICE), "GetStatusInfo", False),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_other_actions_name_the_port_alone(
    request_: Request, action: str, arguments: bool
) -> None:
    """With an empty remote host, which some demand."""
    assert request_.action == f"{IP1}#{action}"
    named = (
        "<NewRemoteHost></NewRemoteHost><NewExternalPort>8443</NewExternalPort>"
        "<NewProtocol>TCP</NewProtocol>"
    )
    inside = f'<u:{action} xmlns:u="{IP1}">{named if arguments else ""}</u:{action}>'
    assert f"<s:Body>{inside}</s:Body>" in request_.body


def test_a_description_is_fetched_with_no_body() -> None:
    """And with the port in the header, be it the usual one."""
    assert Request(Url(GATEWAY, 80, "/d.xml?1")).text == (
        "GET /d.xml?1 HTTP/1.1\r\nHost: 192.168.1.1:80\r\n"
        "User-Agent: Linux UPnP/1.1 bypass\r\nConnection: close\r\n\r\n"
    )


# What HTTP brings.

HEAD: Final = b"HTTP/1.1 200 OK\r\nServer: x\r\n"


@pytest.mark.parametrize(
    "raw",
    [
        HEAD + b"Content-Length: 5\r\n\r\nhello",
        HEAD + b"\r\nhello",
        HEAD + b"Content-Length: 500\r\n\r\nhello",
        HEAD + b"Content-Length: 2\r\n\r\nhello",
        HEAD + b"Content-Length: x\r\n\r\nhello",
        HEAD
        + b"Transfer-Encoding: chunked\r\n\r\n2\r\nhe\r\n3;x=y\r\nllo\r\n0\r\n\r\n",
        HEAD + b"Transfer-Encoding: chunked\r\n\r\n5\r\nhello",
        HEAD + b"Transfer-Encoding: chunked\r\n\r\nhello",
        b"HTTP/1.0 200 OK\r\n\r\nhello",
        b"HTTP/1.1 200\r\n\r\nhello",
        b"HTTP/1.1 200 OK\n\nhello",
        b"\r\nHTTP/1.1 200 OK\r\n\r\nhello",
        b"HTTP/1.1 100 Continue\r\n\r\n" + HEAD + b"\r\nhello",
    ],
)
def test_a_body_is_read_however_it_is_sent(raw: bytes) -> None:
    """With a wrong length, none, in pieces that are none, by an old HTTP."""
    response = read_response(raw)
    assert isinstance(response, Response)
    assert (response.status, response.body) == (200, b"hello")


def test_what_is_said_after_an_answer_is_no_answer() -> None:
    """Row 33: an empty 400, and a stray 405 behind it."""
    raw = b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n"
    raw += b"HTTP/1.1 405 Method Not Allowed\r\n\r\n"
    response = read_response(raw)
    assert soap.read_added(response) == Refusal(
        Answer.FAILED, said="HTTP 400 Bad Request"
    )


@pytest.mark.parametrize("raw", [b"", b"\0" * 9, b"SSH-2.0-x\r\n", b"HTTP/9 x\r\n\r\n"])
def test_what_is_no_http_is_nonsense(raw: bytes) -> None:
    """And no error of ours."""
    refusal = read_response(raw)
    assert isinstance(refusal, Refusal)
    assert refusal.kind is Answer.NONSENSE
    assert refusal.said.isprintable()


@pytest.mark.parametrize(
    ("status", "kind"),
    [
        (301, Answer.NONSENSE),
        (401, Answer.NOT_ALLOWED),
        (404, Answer.UNSUPPORTED),
        (405, Answer.UNSUPPORTED),
        (411, Answer.FAILED),
        (500, Answer.FAILED),
    ],
)
def test_a_status_alone_is_a_refusal_without_a_code(status: int, kind: Answer) -> None:
    """Its number is HTTP's, and no code of UPnP; nothing is followed."""
    refusal = soap.read_added(answered("<html>no</html>", status))
    assert refusal == Refusal(kind, said=f"HTTP {status}")


# Where a URL leads.


@pytest.mark.parametrize(
    "text",
    [
        "http://192.168.1.40:5000/x",
        "http://localhost/x",
        "http://[fe80::1]/x",
        "https://192.168.1.1/x",
        "ftp://192.168.1.1/x",
        "http://192.168.1.1:0/x",
        "http://192.168.1.1:99999/x",
        "http://192.168.1.1@192.168.1.40/x",
        "http://user@192.168.1.1/x",
        "http://192.168.1.1:5000/a b",
        "http://192.168.1.1:5000/é",
        "http://192.168.1.1:5000/" + "a" * 2000,
        "http://3232235777/x",
        "http://192.168.1.1.example.org/x",
        "http://[::1",
        "",
    ],
)
def test_a_url_that_is_not_at_the_gateway_is_none(text: str) -> None:
    """Whoever announces it: no one else is ever asked."""
    assert Url.at(GATEWAY, text) is None


def test_a_url_has_no_end_of_a_line() -> None:
    """Which would be a header of its own."""
    url = Url.at(GATEWAY, "http://192.168.1.1:5000/a\r\nX: y")
    assert url is None or "\n" not in str(url)
    with pytest.raises(ValueError, match="path"):
        Url(GATEWAY, 80, "/a\n")


@pytest.mark.parametrize(
    ("text", "location", "control"),
    [
        (
            description_text(service_text(IP1, "/ctl/IPConn")),
            LOCATION,
            "http://192.168.1.1:49152/ctl/IPConn",
        ),
        (  # 6
            description_text(service_text(IP1, "ctl/IPConn")),
            Url(GATEWAY, 49152, "/IGDV1/rootDesc.xml"),
            "http://192.168.1.1:49152/IGDV1/ctl/IPConn",
        ),
        (  # 9
            description_text(
                service_text(IP1, "/x1f/control"),
                end="<URLBase>http://192.168.1.1:2828/</URLBase>",
            ),
            LOCATION,
            "http://192.168.1.1:2828/x1f/control",
        ),
        (  # 13
            description_text(
                service_text(IP1, "http://192.168.1.1:52881/ctrl?1"),
                root="<URLBase>http://192.168.1.1:52881/</URLBase>",
            ),
            LOCATION,
            "http://192.168.1.1:52881/ctrl?1",
        ),
        (  # 14
            description_text(service_text(IP1, "http://192.168.1.1:1910/ipc \n")),
            Url(GATEWAY, 1900, "/igd.xml"),
            "http://192.168.1.1:1910/ipc",
        ),
        (  # 15
            description_text(service_text(PPP1, "/uuid:1-2/WANPPPConnection:1")),
            LOCATION,
            "http://192.168.1.1:49152/uuid:1-2/WANPPPConnection:1",
        ),
        (
            description_text(service_text(PPP1, "uuid:1-2/WANPPPConnection:1")),
            LOCATION,
            "http://192.168.1.1:49152/uuid:1-2/WANPPPConnection:1",
        ),
        (  # 16
            description_text(service_text(IP1, "/control?WANIPConnection")),
            LOCATION,
            "http://192.168.1.1:49152/control?WANIPConnection",
        ),
        (  # 19
            description_text(service_text(IP1, "/c"), root="<URLBase/>"),
            LOCATION,
            "http://192.168.1.1:49152/c",
        ),
        (
            description_text(service_text(IP1, "c"), root="<URLBase>/igd/</URLBase>"),
            LOCATION,
            "http://192.168.1.1:49152/igd/c",
        ),
        (  # 20
            description_text(
                service_text(IP1, "/c"), root="<URLBase>http://10.0.0.1:80/</URLBase>"
            ),
            LOCATION,
            "http://192.168.1.1:49152/c",
        ),
        (
            description_text(
                service_text(IP1, "c"), root="<URLBase>http://192.168.1.1:5</URLBase>"
            ),
            LOCATION,
            "http://192.168.1.1:5/c",
        ),
        (
            description_text(service_text(IP1, "/a?b=1&amp;c=2")),
            LOCATION,
            "http://192.168.1.1:49152/a?b=1&c=2",
        ),
        (
            description_text(service_text(IP1, "<![CDATA[/a?b=1&c=2]]>")),
            LOCATION,
            "http://192.168.1.1:49152/a?b=1&c=2",
        ),
    ],
)
def test_the_place_of_a_service_is_found(
    text: str, location: Url, control: str
) -> None:
    """However its description writes it."""
    assert controls(text, location) == [control]


@pytest.mark.parametrize(
    "control", ["http://192.168.1.40/c", "//192.168.1.40/c", "https://192.168.1.1/", ""]
)
def test_a_service_elsewhere_is_left_out(control: str) -> None:
    """Row 8's 127.0.0.1 as well."""
    assert controls(description_text(service_text(IP1, control))) == []


def test_events_elsewhere_are_none_and_the_service_stays() -> None:
    """It is asked without them."""
    text = description_text(service_text(IP1, "/c", "http://192.168.1.40/e"))
    (service,) = read_description(text, LOCATION).services
    assert service.events is None
    text = description_text(service_text(IP1, "/c", "/e"))
    (service,) = read_description(text, LOCATION).services
    assert str(service.events) == "http://192.168.1.1:49152/e"


# What a description says.


def test_services_stand_in_the_order_in_which_they_are_tried() -> None:
    """Rows 7, 8, 10, 11: of others' types too, and what opens no ports is left out."""
    ppp2 = "urn:schemas-upnp-org:service:WANPPPConnection:2"
    dsl = "urn:dslforum-org:service:WANPPPConnection:1"
    text = description_text(
        service_text("urn:schemas-any-com:service:Any:1", "/any"),
        service_text(ppp2, "/4"),
        service_text(dsl, "/3"),
        service_text(IP1, "/2"),
        service_text("urn:schemas-upnp-org:service:Layer3Forwarding:1", "/l3"),
        service_text(IP2, "/1"),
    )
    services = read_description(text, LOCATION).services
    assert [service.control.path for service in services] == ["/1", "/2", "/3", "/4"]
    assert [service.urn for service in services] == [IP2, IP1, dsl, ppp2]


def test_a_type_is_no_place_for_anything_else() -> None:
    """It stands in a header of each action."""
    for urn in (IP1 + '"', IP1 + "\r\nX: y", "urn:<b>:service:WANIPConnection:1"):
        assert controls(description_text(service_text(urn, "/c"))) == []


@pytest.mark.parametrize(
    ("names", "model"),
    [
        (
            "<friendlyName>FRITZ!Box</friendlyName><modelName>7590</modelName>",
            "FRITZ!Box",
        ),
        ("<friendlyName> </friendlyName><modelName>7590</modelName>", "7590"),
        ("<modelName>a\x1b[31m\u202eb</modelName>", "a[31mb"),
        ("", ""),
        (f"<friendlyName>{'x' * 500}</friendlyName>", "x" * 79 + "…"),
    ],
)
def test_a_gateway_has_a_name_that_can_be_shown(names: str, model: str) -> None:
    """Row 16: or none."""
    assert read_description(f"<root><device>{names}", LOCATION).model == model


@pytest.mark.parametrize(
    "text",
    [
        # 17
        description_text(service_text(IP1, "/c")).replace("</deviceList>", "</devise>"),
        description_text(service_text(IP1, "/c")).replace("</serviceList>", ""),
        # 19
        description_text(service_text(IP1, "/c")) + "\0\0\0",
        description_text(service_text(IP1, "/c\x01")),
        "\x02" + description_text(service_text(IP1, "/c")),
        description_text(service_text(IP1, "/c"))[:-40],
        description_text(service_text(IP1, "/c")).replace("&amp;", "&"),
        description_text(service_text(IP1, "/c")).replace("<root", "<!DOCTYPE x><root"),
        description_text(service_text(IP1, "<!-- here -->/c")),
        description_text(service_text(IP1, "/c"))
        .upper()
        .replace("/C<", "/c<")
        .replace(IP1.upper(), IP1),
    ],
)
def test_a_description_that_is_not_well_formed_is_read(text: str) -> None:
    """As far as it says what is asked."""
    assert controls(text) == ["http://192.168.1.1:49152/c"]


def test_nothing_in_a_description_expands() -> None:
    """Nor is a file read."""
    entities = '<!DOCTYPE r [<!ENTITY a "x"><!ENTITY f SYSTEM "file:///etc/passwd">]>'
    text = (
        f"{entities}<root><device><friendlyName>&a;&f;</friendlyName></device></root>"
    )
    assert read_description(text, LOCATION) == Description("&a;&f;", ())


# What an action is answered by.


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (401, Answer.UNSUPPORTED),
        (402, Answer.INVALID),
        (501, Answer.FAILED),
        (602, Answer.UNSUPPORTED),
        (606, Answer.NOT_ALLOWED),
        (714, Answer.FAILED),
        (715, Answer.INVALID),
        (716, Answer.PORT_REFUSED),
        (718, Answer.TAKEN),
        (724, Answer.PORT_REFUSED),
        (725, Answer.ONLY_FOR_GOOD),
        (726, Answer.INVALID),
        (727, Answer.PORT_REFUSED),
        (728, Answer.FULL),
        (729, Answer.TAKEN),
        (732, Answer.PORT_REFUSED),
        (820, Answer.FAILED),
        (-911, Answer.FAILED),
    ],
)
@pytest.mark.parametrize("status", [200, 500])
def test_each_code_has_its_meaning(code: int, kind: Answer, status: int) -> None:
    """Rows 32, 34, 41 to 45: whatever HTTP says."""
    answer = answered(fault(code, "It says so"), status)
    assert soap.read_added(answer) == Refusal(kind, code, "It says so")


@pytest.mark.parametrize(
    "text",
    [
        fault(718, "Conflict", prefix="SOAP"),
        fault(718, "Conflict", prefix="SOAP-ENV"),
        fault(718, "Conflict")
        .replace("faultcode", "faultCode")
        .replace("faultstring", "faultString"),
        fault(718, "Conflict").lower().replace("conflict", "Conflict"),
        fault(718, "Conflict") + "\0",
        fault(" 718 ", "\n Conflict\n"),
        fault(718, "Conflict").replace("</detail>", "</details>"),
    ],
)
def test_a_fault_is_known_by_its_names_alone(text: str) -> None:
    """Row 32."""
    refusal = Refusal(Answer.TAKEN, 718, "Conflict")
    assert soap.read_added(answered(text, 500)) == refusal
    assert soap.read_listed(answered(text, 500)) == refusal
    assert soap.read_deleted(answered(text, 500)) == refusal
    assert soap.read_address(answered(text, 500)) == refusal


@pytest.mark.parametrize("code", ["", "x", "71 8", "9" * 50, "<b/>"])
def test_a_fault_without_a_number_has_failed(code: str) -> None:
    """In its own words."""
    answer = answered(fault(code, "No!"), 500)
    assert soap.read_added(answer) == Refusal(Answer.FAILED, None, "No!")


def test_what_is_done_is_said_so() -> None:
    """And what says nothing of it is nonsense, though HTTP says that all is well."""
    assert soap.read_added(done("AddPortMapping")) is None
    assert soap.read_added(done("AddPortMapping", prefix="m")) is None
    assert soap.read_deleted(done("DeletePortMapping")) is None
    for body in ("", "<html>Login</html>", "nothing"):
        refusal = soap.read_added(answered(body))
        assert isinstance(refusal, Refusal)
        assert refusal.kind is Answer.NONSENSE


def test_nothing_to_delete_is_as_good_as_deleted() -> None:
    """Row 62, of others' mappings: what is listed says whether it is there."""
    assert soap.read_deleted(answered(fault(714), 500)) is None
    refusal = Refusal(Answer.NOT_ALLOWED, 606)
    assert soap.read_deleted(answered(fault(606), 500)) == refusal


@pytest.mark.parametrize(
    ("response", "expected"),
    [
        (listed(), Entry(IPv4Address("192.168.1.40"), 443, "nas", 3600)),
        (
            listed(enabled="0", lease="0"),
            Entry(IPv4Address("192.168.1.40"), 443, "nas", 0, enabled=False),
        ),
        (
            listed(enabled="False", lease=""),
            Entry(IPv4Address("192.168.1.40"), 443, "nas", None, enabled=False),
        ),
        (
            listed(client="nas.lan", port="x", lease="-1"),
            Entry(None, 0, "nas", None),
        ),
        (
            listed(description="a &lt;b&gt; \u202e&#7;" + "x" * 100, port="70000"),
            Entry(IPv4Address("192.168.1.40"), 0, "a <b> " + "x" * 73 + "…", 3600),
        ),
        (listed(client=""), Refusal(Answer.NONSENSE)),
        (answered(fault(714), 500), None),
        (answered(fault(713), 500), None),
        # 56, 57, 60
        (answered(fault(501), 500), Refusal(Answer.FAILED, 501)),
        (answered(fault(402), 500), Refusal(Answer.INVALID, 402)),
        (answered(fault(606), 500), Refusal(Answer.NOT_ALLOWED, 606)),
        # 58
        (answered(fault(401), 500), Refusal(Answer.UNSUPPORTED, 401)),
        (Refusal(Answer.SILENT), Refusal(Answer.SILENT)),
    ],
)
def test_what_is_at_a_port_is_an_entry_nothing_or_not_known(
    response: Response | Refusal, expected: Listed
) -> None:
    """Rows 55 to 62."""
    assert soap.read_listed(response) == expected


def test_a_description_is_no_answer() -> None:
    """Where a gateway writes down others' words as they are."""
    other = "</NewPortMappingDescription><errorCode>714</errorCode><s:Fault>"
    entry = soap.read_listed(listed(description=other))
    assert isinstance(entry, Entry)
    assert entry.client == IPv4Address("192.168.1.40")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("203.0.113.9", IPv4Address("203.0.113.9")),
        (" 100.69.1.2 ", IPv4Address("100.69.1.2")),
        ("", None),
        ("0.0.0.0", None),
        ("127.0.0.1", None),
        ("none", Refusal(Answer.NONSENSE, said="none")),
    ],
)
def test_a_gateway_has_an_address_or_none(
    text: str, expected: IPv4Address | Refusal | None
) -> None:
    """Rows 12, 57, 63, 64. One that is private is told as well."""
    element = f"<NewExternalIPAddress>{text}</NewExternalIPAddress>"
    assert soap.read_address(done("GetExternalIPAddress", element)) == expected


def test_a_gateway_says_whether_it_is_connected() -> None:
    """Or does not say it, which is no "no"."""
    for status, connected in (("Connected", True), ("Disconnected", False)):
        element = f"<NewConnectionStatus>{status}</NewConnectionStatus>"
        assert soap.read_connected(done("GetStatusInfo", element)) is connected
    refusal = Refusal(Answer.UNSUPPORTED, 401)
    assert soap.read_connected(answered(fault(401), 500)) == refusal
