"""Whatever a gateway says is read as values, in time, and shown as printable text."""

from ipaddress import IPv4Address
from typing import Final

from hypothesis import given, strategies as st

from custom_components.bypass_router.router.port_mapping import soap
from custom_components.bypass_router.router.port_mapping.base import Entry, Refusal
from custom_components.bypass_router.router.port_mapping.description import (
    Description,
    read_description,
)
from custom_components.bypass_router.router.port_mapping.http import (
    LONGEST,
    Response,
    Url,
    read_response,
)
from custom_components.bypass_router.router.port_mapping.transport import (
    read_answer,
    read_answers,
)
from custom_components.bypass_router.router.ssh.script import Result

from .test_fuzz import bounded, fuzzed
from .test_upnp_texts import (
    GATEWAY,
    IP1,
    LOCATION,
    description_text,
    fault,
    listed,
    service_text,
)

_WORDS: Final = st.sampled_from(
    [
        "<",
        ">",
        "</",
        "/>",
        "<!--",
        "-->",
        "<![CDATA[",
        "]]>",
        "<!DOCTYPE x [",
        "<!ENTITY a 'b'>",
        "<?xml",
        "?>",
        "&",
        "&amp;",
        "&#0;",
        "&#x110000;",
        "\0",
        "\r\n",
        "\x1b",
        "\u202e",
        "é",
        "<script>",
        "<title>",
        "<service>",
        "<serviceType>",
        IP1,
        "<controlURL>",
        "<eventSubURL>",
        "<URLBase>",
        "http://192.168.1.1:5000/c",
        "http://192.168.1.40/c",
        "//192.168.1.40",
        "http://[",
        "/c?d",
        "<friendlyName>",
        "<modelName>",
        "<s:Fault>",
        "<errorCode>",
        "714",
        "-911",
        "9" * 30,
        "<errorDescription>",
        "<u:AddPortMappingResponse>",
        "<u:GetSpecificPortMappingEntryResponse>",
        "<u:GetExternalIPAddressResponse>",
        "<u:GetStatusInfoResponse>",
        "<NewInternalClient>",
        "<NewInternalPort>",
        "<NewLeaseDuration>",
        "<NewExternalIPAddress>",
        "192.168.1.40",
        "<NewPortMappingDescription>",
    ]
)
_HEADS: Final = st.sampled_from(
    [
        b"HTTP/1.1 200 OK\r\n",
        b"HTTP/1.0 500 \r\n",
        b"HTTP/1.1 100 Continue\r\n\r\n",
        b"HTTP/1.1 204 No\r\n\r\n",
        b"Transfer-Encoding: chunked\r\n",
        b"Content-Length: -1\r\n",
        b"Content-Length: 99999999999999999999\r\n",
        b"Location: http://x\r\n",
        b": \r\n",
        b" folded\r\n",
        b"\r\n",
        b"\n",
        b"5\r\nhello\r\n",
        b"-5\r\n",
        b"ffffffffffffffff\r\n",
        b"0\r\n\r\n",
        b"\0\xff\xfe",
    ]
)
_TEXTS: Final = st.lists(_WORDS | st.text(max_size=5), max_size=40).map("".join)
_WHOLE: Final = st.sampled_from(
    [
        description_text(service_text(IP1, "/c", "/e")),
        fault(718, "Conflict"),
        listed().text,
    ]
)


@st.composite
def spoilt(draw: st.DrawFn) -> str:
    """Return what is right but for one place."""
    text, word = draw(_WHOLE), draw(_WORDS)
    begin = draw(st.integers(0, len(text)))
    end = draw(st.integers(begin, min(len(text), begin + 60)))
    return text[:begin] + word + text[end:]


_SAID: Final = _TEXTS | spoilt()
_RAW: Final = st.binary(max_size=200) | st.lists(
    _HEADS | _SAID.map(str.encode) | st.binary(max_size=20), max_size=12
).map(b"".join)


def is_shown(text: str) -> bool:
    """Return whether a text can be shown as it is."""
    return len(text) <= 80 and text.isprintable()


def check(response: Response | Refusal) -> None:
    """Read it as each kind of answer."""
    for refusal in (soap.read_added(response), soap.read_deleted(response)):
        assert refusal is None or is_shown(refusal.said)
    entry = soap.read_listed(response)
    if isinstance(entry, Entry):
        assert is_shown(entry.description)
        assert 0 <= entry.port <= 65535
        assert entry.lease is None or entry.lease >= 0
    elif entry is not None:
        assert is_shown(entry.said)
    address = soap.read_address(response)
    if isinstance(address, IPv4Address):
        assert not address.is_unspecified
        assert not address.is_loopback
    assert isinstance(soap.read_connected(response), bool | Refusal)
    code = soap.read_code(response)
    assert code is None or isinstance(code, int)


def check_description(description: Description) -> None:
    """See that nothing in it leads elsewhere."""
    assert is_shown(description.model)
    for service in description.services:
        for url in (service.control, service.events):
            assert url is None or url.host == GATEWAY
            assert url is None or str(url).isascii()
            assert url is None or str(url).isprintable()
        assert service.urn.isascii()
        assert service.urn.isprintable()


@fuzzed
@given(_SAID, st.sampled_from([200, 302, 500]))
def test_what_soap_holds_is_values(text: str, status: int) -> None:
    """Printable, in their ranges."""
    with bounded():
        check(Response(status, "", {}, text.encode(errors="replace")))


@fuzzed
@given(_SAID)
def test_what_a_description_holds_is_at_the_gateway(text: str) -> None:
    """Whatever it says."""
    with bounded():
        check_description(read_description(text, LOCATION))


@fuzzed
@given(_RAW)
def test_what_comes_by_http_is_an_answer_or_none(raw: bytes) -> None:
    """And is read on as one."""
    with bounded():
        response = read_response(raw)
        if isinstance(response, Refusal):
            assert is_shown(response.said)
        else:
            assert is_shown(response.reason)
            assert is_shown(response.refusal.said)
            check_description(read_description(response.text, LOCATION))
        check(response)


@fuzzed
@given(
    st.sampled_from(["ascii\n", "base64\n", "hex\n", "plain\n", ""]),
    st.text(max_size=100) | st.text("0123456789abcdefABC+/= \n", max_size=100),
    st.sampled_from([0, 1, 4, 5, 6, 7, 141, 255]),
)
def test_what_a_section_holds_is_an_answer_or_none(
    code: str, text: str, status: int
) -> None:
    """Whatever the router prints, and its shell says of it."""
    with bounded():
        check(read_answer(Result(code + text, status)))


@fuzzed
@given(
    st.lists(
        st.sampled_from(["\nw ", "\n", " ", "get.tcp.1", "0", "9999", "x", "é"])
    ).map("".join)
)
def test_what_a_script_prints_is_answers_or_none(text: str) -> None:
    """Also where it breaks off, or is of no such script."""
    with bounded():
        for result in read_answers({"answers": Result(f"w\n{text}", 0)}).values():
            assert 0 <= result.status <= 999
            check(read_answer(result))
    assert read_answers({}) == read_answers({"answers": Result(f"\n{text}", 1)}) == {}


@fuzzed
@given(_SAID)
def test_a_url_is_at_the_gateway_or_none(text: str) -> None:
    """Whatever it is made of."""
    for url in (Url.at(GATEWAY, text), Url.at(GATEWAY, f"http://{GATEWAY}{text}")):
        assert url is None or Url.at(GATEWAY, str(url)) == url


def test_the_longest_answers_take_no_longer() -> None:
    """Of what may take the square of its length."""
    for word in ("<a>", "</a>", "<", "<!--", "<![CDATA[", "<a ", "&", "<a b='", "<?"):
        for middle in ("", "<s:Fault><errorCode>718</errorCode>"):
            text = (middle + word * LONGEST)[:LONGEST]
            with bounded():
                check(Response(500, "", {}, text.encode()))
                check_description(read_description(text, LOCATION))
    head = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
    for chunk in (b"1\r\nx\r\n", b"0" * 9, b"1\r\n"):
        with bounded():
            read_response((head + chunk * LONGEST)[:LONGEST])
