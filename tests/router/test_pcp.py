"""PCP: what is asked of the main router, and what its answers are taken for."""

from collections.abc import Callable
from dataclasses import replace
from ipaddress import IPv4Address
import struct

from hypothesis import given, strategies as st
import pytest
import pytest_socket

from custom_components.bypass_router.router.port_mapping.base import (
    LASTS,
    Answer,
    Outcome,
    PortMapper,
    PortMapping,
    PublicPort,
    Refusal,
)
from custom_components.bypass_router.router.port_mapping.granted import Granted
from custom_components.bypass_router.router.port_mapping.nat_pmp import ADDRESS_REQUEST
from custom_components.bypass_router.router.port_mapping.pcp import (
    Pcp,
    Request,
    announce_request,
    find_pcp,
    nonce,
    read_announced,
    read_granted,
)

from .local_shell import LocalShell
from .udp_gateway import (
    CLIENT,
    SHIFTED,
    WEB,
    Reply,
    UdpGateway,
    opening,
    udp_gateway,
    was_opened,
    was_refused,
)

EPOCH = 1000
SEED = "ab12"
PUBLIC = IPv4Address("198.51.100.7")
REQUEST = Request(WEB, LASTS, nonce(SEED, WEB))
PREFER_FAILURE = "02000000"
ADDRESS = bytes([0, 128, 0, 0, 0, 0, 0, 9]) + PUBLIC.packed
NO_ADDRESS = bytes([0, 128, 0, 3, 0, 0, 0, 9]) + bytes(4)
NAT_PMP_ALONE = bytes([0, 129, 0, 1, 0, 0, 0, 9])


@pytest.fixture(autouse=True)
def _sockets() -> None:
    """Let the gateway be reached; Home Assistant's plugin forbids all sockets."""
    pytest_socket.enable_socket()


def granted(
    asked: bytes,
    *,
    port: int | None = None,
    lease: int | None = None,
    public: IPv4Address = PUBLIC,
) -> bytes:
    """Return the answer by which a request of PCP is granted."""
    given = struct.unpack_from("!I", asked, 4)[0] if lease is None else lease
    ports = asked[40:42] + (asked[42:44] if port is None else struct.pack("!H", port))
    told = bytes(10) + b"\xff\xff" + public.packed
    head = struct.pack("!BBBBII12x", 2, 128 + asked[1], 0, 0, given, EPOCH)
    return head + asked[24:40] + ports + told + asked[60:]


def refused(asked: bytes, code: int) -> bytes:
    """Return the answer by which one is refused."""
    head = struct.pack("!BBBBII12x", 2, 128 + asked[1], 0, code, 30, EPOCH)
    return head + asked[24:]


def announced(code: int = 0, version: int = 2) -> bytes:
    """Return the answer to the sign of life that is asked for."""
    return struct.pack("!BBBBII12x", version, 128, 0, code, 0, EPOCH)


def mapper(gateway: UdpGateway, run: LocalShell | None = None) -> Pcp:
    """Return PCP as the gateway speaks it."""
    return Pcp(run or LocalShell(), CLIENT, gateway.address, SEED)


def asks(request: Request) -> bytes:
    """Return the message."""
    return request.to_bytes(CLIENT)


def second(request: Request) -> Request:
    """Return the request with the other nonce."""
    return replace(request, nonce=nonce(SEED, request.mapping, 1))


# What is asked


def test_the_requests_are_those_of_the_rfc() -> None:
    """To the byte: addresses are IPv6's, and the option ends a request."""
    number = "5e" * 12
    head = "0201000000001c2000000000000000000000ffffc0a83202"
    body = "0600000020fb20fb00000000000000000000ffff00000000"
    request = replace(REQUEST, nonce=bytes.fromhex(number))
    assert asks(request).hex() == head + number + body + PREFER_FAILURE
    assert asks(replace(request, strict=False)).hex() == head + number + body
    ends = head.replace("00001c20", "00000000")
    assert asks(replace(request, lease=0)).hex() == ends + number + body
    announce = "0200000000000000" + "00000000000000000000ffffc0a83202"
    assert announce_request(CLIENT).hex() == announce


def test_a_nonce_is_the_same_again_and_its_mappings_own() -> None:
    """Whatever the public port, by which the main router does not know a mapping."""
    assert nonce(SEED, WEB) == nonce(SEED, WEB)
    moved = replace(WEB, public=PublicPort("tcp", 9443))
    assert nonce(SEED, moved) == nonce(SEED, WEB)
    others = [
        nonce("cd34", WEB),
        nonce(SEED, SHIFTED),
        nonce(SEED, replace(WEB, port=8444)),
        nonce(SEED, replace(WEB, public=PublicPort("udp", 8443))),
        nonce(SEED, WEB, 1),
    ]
    assert len({nonce(SEED, WEB), *others}) == 6
    assert {len(each) for each in others} == {12}


# What the answers are taken for


def test_what_is_granted_is_told() -> None:
    """With lease and port as they were given, and the address."""
    answer = granted(asks(REQUEST), lease=120, port=9000)
    assert read_granted(answer, REQUEST) == Granted(9000, 120, PUBLIC)
    nowhere = granted(asks(REQUEST), public=IPv4Address(0))
    assert read_granted(nowhere, REQUEST) == Granted(8443, LASTS)


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (1, Answer.UNSUPPORTED),
        (2, Answer.NOT_ALLOWED),
        (3, Answer.INVALID),
        (4, Answer.UNSUPPORTED),
        (5, Answer.UNSUPPORTED),
        (6, Answer.INVALID),
        (7, Answer.NO_PUBLIC_ADDRESS),
        (8, Answer.FULL),
        (9, Answer.UNSUPPORTED),
        (10, Answer.FULL),
        (11, Answer.TAKEN),
        (12, Answer.INVALID),
        (13, Answer.FAILED),
        (255, Answer.FAILED),
    ],
)
def test_each_code_has_its_meaning(code: int, kind: Answer) -> None:
    """With what was asked behind it, or without."""
    answer = refused(asks(REQUEST), code)
    assert read_granted(answer, REQUEST) == Refusal(kind, code)
    assert read_granted(answer[:24], REQUEST) == Refusal(kind, code)
    assert read_announced(announced(code)) == Refusal(kind, code)


def test_a_gateway_that_speaks_nat_pmp_alone_says_so() -> None:
    """In an answer of NAT-PMP: unsupported version, whatever the code."""
    for code in (1, 2, 4):
        answer = bytes([0, 128, 0, code, 0, 0, 0, 9])
        assert read_announced(answer) == Refusal(Answer.UNSUPPORTED, 1)


ANSWER = granted(asks(REQUEST))


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"\x02\x81\0",
        asks(REQUEST),
        ANSWER[:59],
        b"\1" + ANSWER[1:],
        b"\0" + ANSWER[1:],
        announced(),
        granted(asks(second(REQUEST))),
        granted(asks(replace(REQUEST, mapping=replace(WEB, port=8444)))),
        granted(asks(replace(REQUEST, mapping=PortMapping(SHIFTED.public, 8443)))),
    ],
)
def test_what_is_no_answer_to_this_request_is_nonsense(answer: bytes) -> None:
    """Cut, an echo, of another version; of another nonce, port or protocol."""
    assert read_granted(answer, REQUEST) == Refusal(Answer.NONSENSE)


@given(st.binary(max_size=1100))
def test_any_bytes_are_a_grant_or_a_refusal(data: bytes) -> None:
    """Also those that begin as an answer does."""
    for start in (0, 2, 4, 24, 36, 44):
        answer = ANSWER[:start] + data
        assert isinstance(read_granted(answer, REQUEST), (Granted, Refusal))
        assert isinstance(read_announced(answer), Refusal | None)


# What becomes of a mapping


async def test_mappings_are_closed_and_opened_by_one_script() -> None:
    """In this order; and what is told of them is what was granted."""
    run = LocalShell()
    async with udp_gateway(granted) as gateway:
        spoken: PortMapper = mapper(gateway, run)
        outcomes = await spoken.apply([opening(SHIFTED)], [WEB])
        assert gateway.asked == [
            asks(replace(REQUEST, lease=0)),
            asks(Request(SHIFTED, LASTS, nonce(SEED, SHIFTED))),
        ]
    assert len(run.scripts) == 1
    assert outcomes == {
        WEB.public: Outcome(None, None),
        SHIFTED.public: was_opened(SHIFTED),
    }


async def test_a_mapping_for_good_has_a_lease_too() -> None:
    """Here, a lease of 0 would be its end."""
    async with udp_gateway(granted) as gateway:
        outcomes = await mapper(gateway).apply([opening(WEB, lease=0)], [])
        assert gateway.asked == [asks(REQUEST)]
    assert outcomes == {WEB.public: was_opened(WEB)}


async def test_a_taken_port_is_told() -> None:
    """The option has the main router refuse it, and open no other."""
    async with udp_gateway(lambda asked: refused(asked, 11)) as gateway:
        outcomes = await mapper(gateway).apply([opening(WEB)], [])
        assert gateway.asked == [asks(REQUEST)]
    assert outcomes == {WEB.public: was_refused(Answer.TAKEN, 11)}


def without_options(
    code: int, then: Callable[[bytes], Reply] = granted
) -> Callable[[bytes], Reply]:
    """Return what a gateway answers that does not know the option."""
    return lambda asked: refused(asked, code) if asked[60:] else then(asked)


@pytest.mark.parametrize("code", [5, 6])
async def test_who_does_not_know_the_option_is_asked_without(code: int) -> None:
    """And from then on so at first."""
    plain = replace(REQUEST, strict=False)
    async with udp_gateway(without_options(code)) as gateway:
        spoken = mapper(gateway)
        outcomes = await spoken.apply([opening(WEB)], [])
        assert outcomes == {WEB.public: was_opened(WEB)}
        assert gateway.asked == [asks(REQUEST), asks(plain)]
        await spoken.apply([opening(WEB)], [])
        assert gateway.asked[2:] == [asks(plain)]


@pytest.mark.parametrize("known", [False, True])
async def test_another_port_than_was_asked_for_is_closed_at_once(known: bool) -> None:
    """Which is opened by those who don't know the option, or pass it over."""
    run = LocalShell()

    def next_port(asked: bytes) -> Reply:
        return granted(asked, port=8444)

    answer = next_port if known else without_options(5, next_port)
    other = PortMapping(PublicPort("tcp", 8444), WEB.port)
    async with udp_gateway(answer) as gateway:
        outcomes = await mapper(gateway, run).apply([opening(WEB)], [])
        assert gateway.asked[-1] == asks(replace(REQUEST, mapping=other, lease=0))
    assert len(run.scripts) == (2 if known else 3)
    assert outcomes == {WEB.public: was_refused(Answer.TAKEN)}


@pytest.mark.parametrize("code", [2, 8])
async def test_what_may_lie_with_the_nonce_is_asked_for_with_another(code: int) -> None:
    """One router has no resources for every second renewal.

    After a restart of ours, the mapping may be the other nonce's, which is known then.
    """
    run = LocalShell()

    def answer(asked: bytes) -> Reply:
        return refused(asked, code) if asked[24:36] == REQUEST.nonce else granted(asked)

    async with udp_gateway(answer) as gateway:
        spoken = mapper(gateway, run)
        outcomes = await spoken.apply([opening(WEB), opening(SHIFTED)], [])
        assert outcomes == {
            WEB.public: was_opened(WEB),
            SHIFTED.public: was_opened(SHIFTED),
        }
        assert gateway.asked[2:] == [asks(second(REQUEST))]
        closed = await spoken.apply([], [WEB])
        assert closed == {WEB.public: Outcome(None, None)}
    assert len(run.scripts) == 4


@pytest.mark.parametrize(("code", "kind"), [(2, "not_allowed"), (8, "full")])
async def test_why_the_first_nonce_did_not_do_is_told(code: int, kind: str) -> None:
    """Whatever the second is answered; and there is no third."""

    def answer(asked: bytes) -> Reply:
        if asked == ADDRESS_REQUEST:
            return ADDRESS
        return refused(asked, code if asked[24:36] == REQUEST.nonce else 13)

    async with udp_gateway(answer) as gateway:
        outcomes = await mapper(gateway).apply([opening(WEB)], [])
        assert gateway.asked[:2] == [asks(REQUEST), asks(second(REQUEST))]
        assert set(gateway.asked[2:]) <= {ADDRESS_REQUEST}
    assert outcomes == {WEB.public: was_refused(Answer(kind), code)}


async def test_no_room_is_no_address_where_there_is_none() -> None:
    """As miniupnpd says it; NAT-PMP, which it speaks too, tells why."""

    def answer(asked: bytes) -> Reply:
        return NO_ADDRESS if asked == ADDRESS_REQUEST else refused(asked, 8)

    async with udp_gateway(answer) as gateway:
        outcomes = await mapper(gateway).apply([opening(WEB)], [])
    assert outcomes == {WEB.public: was_refused(Answer.NO_PUBLIC_ADDRESS)}


@pytest.mark.parametrize("known", [False, True])
async def test_a_port_below_1024_is_refused_rather_than_taken(known: bool) -> None:
    """Those who keep them to themselves say no more, or grant one above."""
    low = replace(WEB, public=PublicPort("tcp", 443))

    def answer(asked: bytes) -> Reply:
        return refused(asked, 11) if known else granted(asked, port=1024)

    async with udp_gateway(answer) as gateway:
        outcomes = await mapper(gateway).apply([opening(low)], [])
    code = 11 if known else None
    assert outcomes == {low.public: was_refused(Answer.PORT_REFUSED, code)}


async def test_what_is_opened_at_a_port_counts_and_not_what_was_closed_there() -> None:
    """Also where closing takes a script more."""
    moved = replace(WEB, port=9443)

    def answer(asked: bytes) -> Reply:
        return refused(asked, 2) if asked[24:36] == REQUEST.nonce else granted(asked)

    async with udp_gateway(answer) as gateway:
        outcomes = await mapper(gateway).apply([opening(moved)], [WEB])
    assert outcomes == {WEB.public: was_opened(moved)}


async def test_after_the_first_silence_no_more_is_asked() -> None:
    """Of what was not asked, no more is known than that."""
    async with udp_gateway(lambda _: None) as gateway:
        openings = [opening(WEB), opening(SHIFTED)]
        outcomes = await mapper(gateway).apply(openings, [])
        assert set(gateway.asked) == {asks(REQUEST)}
    silence = was_refused(Answer.SILENT)
    assert outcomes == dict.fromkeys([WEB.public, SHIFTED.public], silence)


async def test_no_mapping_is_granted_without_port_or_lease() -> None:
    """Though it is called a success; nor is there anything to close then."""
    for answer in (granted(asks(REQUEST), port=0), granted(asks(REQUEST), lease=0)):
        async with udp_gateway([answer]) as gateway:
            outcomes = await mapper(gateway).apply([opening(WEB)], [])
        assert outcomes == {WEB.public: was_refused(Answer.NONSENSE)}


# The address, the clock, and who speaks it


async def test_the_address_is_asked_for_by_nat_pmp() -> None:
    """Which most speak beside it, as PCP has no question for that."""
    async with udp_gateway([ADDRESS]) as gateway:
        assert await mapper(gateway).public_address() == PUBLIC
        assert gateway.asked == [ADDRESS_REQUEST]


async def test_otherwise_the_address_is_what_came_with_a_mapping() -> None:
    """Before there is one, it can't be told."""

    def answer(asked: bytes) -> Reply:
        return granted(asked) if asked[0] == 2 else announced(code=1)

    async with udp_gateway(answer) as gateway:
        spoken = mapper(gateway)
        unknown = Refusal(Answer.UNSUPPORTED, 1)
        assert await spoken.public_address() == unknown
        await spoken.apply([opening(WEB)], [])
        assert await spoken.public_address() == PUBLIC


async def test_without_a_public_address_there_is_none_though_mappings_are() -> None:
    """As miniupnpd has it behind a provider's own translation."""

    def answer(asked: bytes) -> Reply:
        return granted(asked) if asked[0] == 2 else NO_ADDRESS

    async with udp_gateway(answer) as gateway:
        spoken = mapper(gateway)
        await spoken.apply([opening(WEB)], [])
        assert await spoken.public_address() is None


@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        (announced(), None),
        (announced(code=4), None),
        (NAT_PMP_ALONE, Refusal(Answer.UNSUPPORTED, 1)),
        (announced(code=1, version=1), Refusal(Answer.UNSUPPORTED, 1)),
        (announced(code=2), Refusal(Answer.NOT_ALLOWED, 2)),
        (announced(version=1), Refusal(Answer.NONSENSE)),
        (announce_request(CLIENT), Refusal(Answer.NONSENSE)),
        (None, Refusal(Answer.SILENT)),
    ],
)
async def test_it_is_found_where_it_is_spoken(
    reply: Reply, expected: Refusal | None
) -> None:
    """Also by one that knows no sign of life, and says so in PCP."""
    async with udp_gateway(lambda _: reply) as gateway:
        found = await find_pcp(LocalShell(), CLIENT, gateway.address, SEED)
        if expected is None:
            assert isinstance(found, Pcp)
            assert found.gateway == gateway.address
        else:
            assert found == expected
