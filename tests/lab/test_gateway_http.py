"""How the fake gateway takes requests and sends answers, well or badly."""

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import replace
import socket
import time

import pytest

from . import soap_by_hand as soap
from .gateway import Gateway, GatewayOptions, Service
from .gateway.options import WAN_IP_2, WAN_PPP, Way
from .waiting import LIMIT, soon, wait_until

ASKER = "127.0.0.2"
ENOUGH = 1_000_000
"""More than anybody should take of an answer."""
NAMED = f'SOAPAction: "{soap.WAN_IP}#GetExternalIPAddress"'
ADDRESS = "<NewExternalIPAddress>45.32.7.9</NewExternalIPAddress>"


@pytest.fixture
def gateway(socket_enabled: None) -> Iterator[Gateway]:
    """A gateway that does what it should; give it other options as it runs."""
    with Gateway() as gateway:
        yield gateway


def become(gateway: Gateway, **options: object) -> None:
    """Let it be another gateway from now on."""
    gateway.options = replace(gateway.options, **options)  # type: ignore[arg-type]


def asking(gateway: Gateway, service: str = soap.WAN_IP) -> str:
    """Return a request for the address."""
    return soap.request(gateway.control, "GetExternalIPAddress", {}, service)


def said(gateway: Gateway, *parts: str) -> str:
    """Send a request in parts, and return the answer with its line ends."""
    where = (gateway.address, gateway.http_port)
    with socket.create_connection(where, LIMIT, (ASKER, 0)) as connection:
        for number, part in enumerate(parts):
            if number:
                # Long enough to be read apart.
                time.sleep(0.05)
            connection.sendall(part.encode())
        received = b""
        # It may close while something of the request is not read.
        with suppress(ConnectionResetError):
            while more := connection.recv(65_536):
                received += more
    return received.decode()


def status(text: str) -> int:
    """Return an answer's status."""
    return int(text.split()[1])


def cut(text: str) -> tuple[str, str]:
    """Return head and body of a request."""
    head, _, body = text.partition("\r\n\r\n")
    return f"{head}\r\n\r\n", body


def test_it_answers_what_is_right(gateway: Gateway) -> None:
    """Though it is as strict as any."""
    text = said(gateway, asking(gateway))
    assert status(text) == 200
    assert ADDRESS in text


@pytest.mark.parametrize(
    ("rule", "was", "becomes", "code"),
    [
        ("quotes", f'"{soap.WAN_IP}#GetExternalIPAddress"', None, 400),
        (
            "no_expect",
            "Connection: close",
            "Expect: 100-continue\r\nConnection: close",
            400,
        ),
        ("numeric_host", "Host: 127.0.0.1:", "Host: localhost:", 404),
        ("not_last", "\r\n\r\n<", f"\r\n{NAMED}\r\n\r\n<", 501),
    ],
)
def test_what_it_does_not_take(
    gateway: Gateway, rule: str, was: str, becomes: str | None, code: int
) -> None:
    """Unless it is not so strict."""
    text = asking(gateway).replace(was, was.strip('"') if becomes is None else becomes)
    assert text != asking(gateway)
    assert status(said(gateway, text)) == code
    assert gateway.count("refused", ASKER) == 1
    become(gateway, rules=gateway.options.rules - {rule})
    assert ADDRESS in said(gateway, text)


def test_it_does_not_take_the_body_apart(gateway: Gateway) -> None:
    """As it is then when head and body are two writes."""
    head, body = cut(asking(gateway))
    assert status(said(gateway, head, body)) == 411
    become(gateway, rules=gateway.options.rules - {"one_segment"})
    assert ADDRESS in said(gateway, head, body)


def test_it_does_not_take_a_host_without_its_port(gateway: Gateway) -> None:
    """Where it is not 80."""
    text = asking(gateway).replace(f":{gateway.http_port}\r\n", "\r\n")
    assert status(said(gateway, text)) == 400


def test_it_does_not_take_a_space_before_the_xml(gateway: Gateway) -> None:
    """Nor what is no XML, or no request of SOAP."""
    head, body = cut(asking(gateway))
    spaced = head.replace(f"{len(body)}", f"{len(body) + 1}") + f" {body}"
    assert status(said(gateway, spaced)) == 400
    for wrong in (body.replace("</s:Body>", ""), body.replace("u:Get", "u:Set")):
        length = head.replace(f"{len(body)}", f"{len(wrong)}")
        assert status(said(gateway, length + wrong)) == 400
    assert gateway.count("GetExternalIPAddress") == 0


def test_it_knows_the_service_of_each_url(gateway: Gateway) -> None:
    """The type of one at the URL of another is no action of it."""
    become(gateway, services=(Service(), Service(WAN_PPP, "/ctl/PPPConn")))
    assert "<errorCode>401<" in said(gateway, asking(gateway, WAN_PPP))
    become(gateway, services=(Service(), Service(WAN_PPP)))
    assert ADDRESS in said(gateway, asking(gateway, WAN_PPP))


def test_it_does_not_take_lower_case(gateway: Gateway) -> None:
    """For TCP and UDP; nor a mapping without a remote host."""
    done = soap.add(ASKER, gateway.control, 8443, ASKER, protocol="udp")
    assert (done.status, done.code) == (500, None)
    missing = {"NewExternalPort": 8443, "NewProtocol": "TCP"}
    asked = soap.ask(ASKER, gateway.control, "GetSpecificPortMappingEntry", missing)
    assert asked.code == 402


def test_it_knows_no_other_page(gateway: Gateway) -> None:
    """Nor another way to ask for it."""
    for method, path in (("GET", "/"), ("POST", "/rootDesc.xml"), ("PUT", "/ctl/IP")):
        head, body = cut(asking(gateway))
        text = head.replace("POST /ctl/IPConn", f"{method} {path}") + body
        assert status(said(gateway, text)) == 404


@pytest.mark.parametrize(
    ("way", "sign"),
    [
        ("plain", ""),
        ("no_length", ""),
        ("two_segments", ""),
        ("trailing", "\r\n\r\n<!-- -->"),
        ("nuls", "\0\0\0\0"),
        ("stray", "HTTP/1.0 405 Method Not Allowed\r\nContent-Length: 0\r\n\r\n"),
        ("too_long", ""),
        ("too_short", ""),
    ],
)
def test_ways_to_send_an_answer(gateway: Gateway, way: Way, sign: str) -> None:
    """All of it is there, and in some more than that."""
    become(gateway, way=way)
    text = said(gateway, asking(gateway))
    assert ADDRESS in text
    assert text.endswith(sign)
    head, body = cut(text)
    lengths = [
        int(line.partition(":")[2])
        for line in head.splitlines()
        if line.startswith("Content-Length:")
    ]
    body = body.removesuffix(sign) if way in {"trailing", "stray"} else body
    expected = {"too_long": len(body) + 1000, "too_short": len(body) // 2}
    assert lengths == [expected.get(way, len(body))] * (way != "no_length")


def test_an_answer_in_chunks(gateway: Gateway) -> None:
    """And each of them says how long it is."""
    become(gateway, way="chunked")
    head, body = cut(said(gateway, asking(gateway)))
    assert "Transfer-Encoding: chunked\r\n" in head
    assert body.startswith("64\r\n<?xml")
    assert body.endswith("\r\n0\r\n\r\n")


def test_no_answer(gateway: Gateway) -> None:
    """The connection is closed."""
    become(gateway, way="closes")
    assert said(gateway, asking(gateway)) == ""


def received(gateway: Gateway, seconds: float) -> bytes:
    """Ask, and return what has come in a while; the connection is to stay open."""
    where = (gateway.address, gateway.http_port)
    end, came = time.monotonic() + soon(seconds), b""
    with socket.create_connection(where, soon(seconds), (ASKER, 0)) as connection:
        connection.sendall(asking(gateway).encode())
        with suppress(TimeoutError):
            while time.monotonic() <= end and len(came) < ENOUGH:
                came += (piece := connection.recv(65_536))
                assert piece
    return came


@pytest.mark.parametrize(
    ("way", "least", "most"),
    [
        ("silent", 0, 0),
        ("drip", 1, 100),
        ("open", 400, 1000),
        ("endless", ENOUGH, 2 * ENOUGH),
    ],
)
def test_answers_without_an_end(
    gateway: Gateway, way: Way, least: int, most: int
) -> None:
    """Nothing, too slow, or too much; it can be stopped meanwhile."""
    become(gateway, way=way)
    assert least <= len(received(gateway, 0.5)) <= most


def test_a_connection_stays_open_unless_it_is_to_close(gateway: Gateway) -> None:
    """As HTTP/1.1 has it; not 1.0."""
    text = asking(gateway).replace("Connection: close\r\n", "")
    where = (gateway.address, gateway.http_port)
    with socket.create_connection(where, LIMIT, (ASKER, 0)) as connection:
        for _ in range(2):
            connection.sendall(text.encode())
            assert ADDRESS in connection.recv(65_536).decode()
    become(gateway, http_version="1.0")
    assert said(gateway, text).startswith("HTTP/1.0 200 ")


def test_faults_as_they_are_written(gateway: Gateway) -> None:
    """With each prefix, in capitals, by 200, empty, or as a page."""
    become(gateway, address_code=501, prefix="SOAP-ENV", fault_capitals=True)
    text = said(gateway, asking(gateway))
    assert status(text) == 500
    assert "<SOAP-ENV:Fault><faultCode>SOAP-ENV:Client</faultCode>" in text
    assert "xmlns:SOAP-ENV=" in text
    become(gateway, fault_status=200)
    assert status(said(gateway, asking(gateway))) == 200
    become(gateway, fault_status=400, fault_body="empty", fault_way="stray")
    text = said(gateway, asking(gateway))
    assert status(text) == 400
    assert text.count("Content-Length: 0\r\n") == 2
    become(gateway, fault_body="html", fault_way=None)
    assert "<html>" in said(gateway, asking(gateway))


def test_it_may_want_a_login(gateway: Gateway) -> None:
    """Of who asks for an action, and for none of the descriptions."""
    become(gateway, login=True)
    text = said(gateway, asking(gateway))
    assert status(text) == 401
    assert "WWW-Authenticate: Digest " in text
    assert status(said(gateway, soap.page(gateway.location))) == 200


def test_a_fault_may_be_of_another_domain(gateway: Gateway) -> None:
    """As those of TR-064 are; and an action may not be known."""
    become(
        gateway,
        fault_domain="dslforum-org",
        unknown=frozenset(("GetExternalIPAddress",)),
    )
    text = said(gateway, asking(gateway))
    assert '"urn:dslforum-org:control-1-0"' in text
    assert "<errorCode>401<" in text


def test_it_may_describe_itself_at_several_places(gateway: Gateway) -> None:
    """The other ways to the internet are asked as its own are."""
    other = GatewayOptions(
        description_path="/v2.xml", version=2, services=(Service(WAN_IP_2, "/v2"),)
    )
    become(gateway, others=(other,))
    assert gateway.locations == [
        f"{gateway.base}/v2.xml",
        f"{gateway.base}/rootDesc.xml",
    ]
    first, own = (said(gateway, soap.page(it)) for it in gateway.locations)
    assert (f">{WAN_IP_2}<" in first, f">{WAN_IP_2}<" in own) == (True, False)
    text = soap.request(f"{gateway.base}/v2", "GetExternalIPAddress", {}, WAN_IP_2)
    assert ADDRESS in said(gateway, text)


def test_it_may_take_its_time(gateway: Gateway) -> None:
    """For each answer."""
    become(gateway, seconds=0.2)
    began = time.monotonic()
    said(gateway, asking(gateway))
    assert time.monotonic() - began > 0.2


def test_it_may_send_everybody_elsewhere(gateway: Gateway) -> None:
    """As some do before one has signed in."""
    become(gateway, redirect="http://192.0.2.1/login")
    text = said(gateway, asking(gateway))
    assert status(text) == 302
    assert "Location: http://192.0.2.1/login\r\n" in text


def test_it_may_fall_silent(gateway: Gateway) -> None:
    """After some requests, until it is started again."""
    become(gateway, answers_only=1)
    assert ADDRESS in said(gateway, asking(gateway))
    assert received(gateway, 0.3) == b""
    gateway.restart()
    assert ADDRESS in said(gateway, asking(gateway))


@pytest.mark.usefixtures("socket_enabled")
def test_its_paths_may_be_others_after_each_start() -> None:
    """The old ones are none then."""
    with Gateway(GatewayOptions(random_path=True)) as gateway:
        before = asking(gateway)
        assert ADDRESS in said(gateway, before)
        gateway.restart()
        assert status(said(gateway, before)) == 404
        assert ADDRESS in said(gateway, asking(gateway))


@pytest.mark.usefixtures("socket_enabled")
def test_without_upnp_no_one_is_there() -> None:
    """The connection is refused."""
    with Gateway() as gateway:
        port = gateway.http_port
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection((gateway.address, port), LIMIT)


class Subscriber:
    """A callback that takes what it is told."""

    def __init__(self) -> None:
        """Listen."""
        self._server = socket.create_server(("127.0.0.1", 0))
        self._server.settimeout(LIMIT)
        self.url = f"http://127.0.0.1:{self._server.getsockname()[1]}/events"

    def told(self, status: str = "200 OK") -> str:
        """Wait for a notice, and return its text."""
        connection, _ = self._server.accept()
        with connection:
            text = connection.recv(65_536).decode()
            connection.sendall(f"HTTP/1.1 {status}\r\n\r\n".encode())
        return text

    def close(self) -> None:
        """Take no more."""
        self._server.close()


@pytest.fixture
def subscriber(socket_enabled: None) -> Iterator[Subscriber]:
    """One who wants to be told."""
    subscriber = Subscriber()
    yield subscriber
    subscriber.close()


def subscribe(gateway: Gateway, *headers: str, method: str = "SUBSCRIBE") -> str:
    """Ask to be told of its events, or no more."""
    host = f"127.0.0.1:{gateway.http_port}"
    lines = (f"{method} /evt/IPConn HTTP/1.1", f"HOST: {host}", *headers)
    return said(gateway, "\r\n".join((*lines, "Connection: close", "", "")))


def new(subscriber: Subscriber) -> tuple[str, str]:
    """Return the headers of a new subscription."""
    return f"CALLBACK: <{subscriber.url}>", "NT: upnp:event"


def test_subscribers_are_told(gateway: Gateway, subscriber: Subscriber) -> None:
    """How many mappings there are: at first, and after each change."""
    text = subscribe(gateway, *new(subscriber))
    assert status(text) == 200
    first = subscriber.told()
    assert "SEQ: 0\r\n" in first
    assert "<PortMappingNumberOfEntries>0<" in first
    assert "<ExternalIPAddress>45.32.7.9<" in first
    soap.add(ASKER, gateway.control, 8443, ASKER, lease=100)
    second = subscriber.told()
    assert "SEQ: 1\r\n" in second
    assert "<PortMappingNumberOfEntries>1<" in second
    gateway.pass_time(100)
    assert "<PortMappingNumberOfEntries>0<" in subscriber.told()
    (sid,) = [line for line in text.splitlines() if line.startswith("SID:")]
    assert status(subscribe(gateway, sid)) == 200
    assert status(subscribe(gateway, sid, method="UNSUBSCRIBE")) == 200
    assert gateway.events.subscribers == {}


def test_who_does_not_take_it_is_told_no_more(
    gateway: Gateway, subscriber: Subscriber
) -> None:
    """Of anything."""
    subscribe(gateway, *new(subscriber))
    subscriber.told("500 No")
    wait_until(lambda: not gateway.events.subscribers)


@pytest.mark.parametrize(
    ("options", "code"),
    [
        ({"subscribe": 412}, 412),
        ({"subscribe": 500}, 500),
        ({"subscribe": 501}, 501),
        ({"subscribe_own_only": True}, 412),
    ],
)
def test_subscriptions_that_are_refused(
    gateway: Gateway, subscriber: Subscriber, options: dict[str, object], code: int
) -> None:
    """All, or those for another address than one's own."""
    become(gateway, **options)
    assert status(subscribe(gateway, *new(subscriber))) == code
    assert gateway.count("subscribe", ASKER) == 1
    assert gateway.events.subscribers == {}


def test_a_subscription_without_a_callback_is_none(gateway: Gateway) -> None:
    """Nor one that it has forgotten."""
    assert status(subscribe(gateway, "NT: upnp:event")) == 412
    assert status(subscribe(gateway, "SID: uuid:gone")) == 412
