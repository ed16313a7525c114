"""NAT-PMP: what is asked of the main router, and what its answers are taken for."""

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
from custom_components.bypass_router.router.port_mapping.nat_pmp import (
    NatPmp,
    find_nat_pmp,
    mapping_request,
    read_address,
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
SILENCE = Refusal(Answer.SILENT)


@pytest.fixture(autouse=True)
def _sockets() -> None:
    """Let the gateway be reached; Home Assistant's plugin forbids all sockets."""
    pytest_socket.enable_socket()


def granted(
    mapping: PortMapping,
    *,
    port: int | None = None,
    inside: int | None = None,
    lease: int = LASTS,
) -> bytes:
    """Return the answer by which a mapping is granted."""
    opcode = {"udp": 129, "tcp": 130}[mapping.public.transport]
    return struct.pack(
        "!BBHIHHI",
        0,
        opcode,
        0,
        EPOCH,
        mapping.port if inside is None else inside,
        mapping.public.port if port is None else port,
        lease,
    )


def refused(request: bytes, code: int, version: int = 0) -> bytes:
    """Return the answer by which a request is refused."""
    return struct.pack("!BBHI", version, 128 + request[1], code, EPOCH)


def address(told: str) -> bytes:
    """Return the answer that tells an address."""
    return struct.pack("!BBHI", 0, 128, 0, EPOCH) + IPv4Address(told).packed


def mapper(gateway: UdpGateway, run: LocalShell | None = None) -> NatPmp:
    """Return NAT-PMP as the gateway speaks it."""
    return NatPmp(run or LocalShell(), CLIENT, gateway.address)


# What is asked


def test_the_requests_are_those_of_the_rfc() -> None:
    """To the byte; the end of a mapping is a lease of none."""
    assert mapping_request(WEB, 7200).hex() == "0002000020fb20fb00001c20"
    assert mapping_request(SHIFTED, 7200).hex() == "000100001388177000001c20"
    assert mapping_request(SHIFTED, 0).hex() == "000100001388177000000000"


# What the answers are taken for


def test_what_is_granted_is_told() -> None:
    """With the lease as it was given."""
    assert read_granted(granted(WEB, lease=60), WEB) == Granted(8443, 60)
    assert read_granted(granted(WEB, port=9000), WEB) == Granted(9000, LASTS)
    assert read_address(address("198.51.100.7")) == IPv4Address("198.51.100.7")


@pytest.mark.parametrize(
    ("code", "kind"),
    [
        (1, Answer.UNSUPPORTED),
        (2, Answer.NOT_ALLOWED),
        (3, Answer.NO_PUBLIC_ADDRESS),
        (4, Answer.FULL),
        (5, Answer.UNSUPPORTED),
        (6, Answer.FAILED),
        (65535, Answer.FAILED),
    ],
)
@pytest.mark.parametrize("rest", [b"", bytes(4), bytes(8), bytes(16)])
def test_each_code_has_its_meaning(code: int, kind: Answer, rest: bytes) -> None:
    """However much stands behind it: there, the address and the ports are zeros."""
    answer = refused(mapping_request(WEB, LASTS), code) + rest
    assert read_granted(answer, WEB) == Refusal(kind, code)
    assert read_address(refused(b"\0\0", code) + rest) == Refusal(kind, code)


def test_a_gateway_that_speaks_pcp_alone_says_so() -> None:
    """In an answer of PCP: unsupported version."""
    answer = bytes([2, 128, 0, 1]) + bytes(20)
    assert read_address(answer) == Refusal(Answer.UNSUPPORTED, 1)


@pytest.mark.parametrize(
    ("mapping", "inside", "public"),
    [
        (PortMapping(PublicPort("tcp", 28174), 22002), 242, 14),
        (PortMapping(PublicPort("tcp", 28174), 80), 80, 14),
        (PortMapping(PublicPort("tcp", 80), 22002), 242, 80),
    ],
)
def test_ports_that_are_cut_to_their_lower_byte_are_the_right_ones(
    mapping: PortMapping, inside: int, public: int
) -> None:
    """As miniupnpd 1.8 tells them."""
    answer = granted(mapping, inside=inside, port=public)
    assert read_granted(answer, mapping) == Granted(mapping.public.port, LASTS)


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"\0\x82\0\0",
        mapping_request(WEB, LASTS),
        granted(WEB)[:-1],
        granted(SHIFTED),
        granted(WEB, inside=8444),
        b"\1" + granted(WEB)[1:],
        address("198.51.100.7"),
    ],
)
def test_what_is_no_answer_to_this_request_is_nonsense(answer: bytes) -> None:
    """Cut, an echo, another's, of another version."""
    assert read_granted(answer, WEB) == Refusal(Answer.NONSENSE)


@given(st.binary(max_size=1100), st.sampled_from([WEB, SHIFTED]))
def test_any_bytes_are_a_grant_or_a_refusal(data: bytes, mapping: PortMapping) -> None:
    """Also those that begin as an answer does."""
    for answer in (data, granted(mapping)[:8] + data, granted(mapping)[:1] + data):
        assert isinstance(read_granted(answer, mapping), (Granted, Refusal))
        assert isinstance(read_address(answer), (IPv4Address, Refusal))


# What becomes of a mapping


async def test_mappings_are_closed_and_opened_by_one_script() -> None:
    """In this order; and what is told of them is what was granted."""
    run = LocalShell()
    replies = [granted(WEB, port=0, lease=0), granted(SHIFTED, lease=3600)]
    async with udp_gateway(replies) as gateway:
        spoken: PortMapper = mapper(gateway, run)
        outcomes = await spoken.apply([opening(SHIFTED)], [WEB])
        assert gateway.asked == [
            mapping_request(WEB, 0),
            mapping_request(SHIFTED, LASTS),
        ]
    assert len(run.scripts) == 1
    assert outcomes == {
        WEB.public: Outcome(None, None),
        SHIFTED.public: was_opened(SHIFTED, 3600),
    }


async def test_a_mapping_for_good_has_a_lease_too() -> None:
    """Here, a lease of 0 would be its end."""
    async with udp_gateway([granted(WEB)]) as gateway:
        outcomes = await mapper(gateway).apply([opening(WEB, lease=0)], [])
        assert gateway.asked == [mapping_request(WEB, LASTS)]
    assert outcomes == {WEB.public: was_opened(WEB)}


async def test_a_taken_port_is_told_and_the_other_one_is_closed_at_once() -> None:
    """Which the main router has opened in its place."""
    other = PortMapping(PublicPort("tcp", 8444), WEB.port)
    replies = [granted(WEB, port=8444), granted(SHIFTED), granted(other, lease=0)]
    async with udp_gateway(replies) as gateway:
        openings = [opening(WEB), opening(SHIFTED)]
        outcomes = await mapper(gateway).apply(openings, [])
        assert gateway.asked[2:] == [mapping_request(other, 0)]
    assert outcomes == {
        WEB.public: was_refused(Answer.TAKEN),
        SHIFTED.public: was_opened(SHIFTED),
    }


@pytest.mark.parametrize(
    ("port", "kind"), [(1024, Answer.PORT_REFUSED), (444, Answer.TAKEN)]
)
async def test_a_port_below_1024_may_be_kept_from_everybody(
    port: int, kind: Answer
) -> None:
    """Then, the next one that is granted is none of those."""
    low = PortMapping(PublicPort("tcp", 443), 8443)
    other = PortMapping(PublicPort("tcp", port), 8443)
    replies = [granted(low, port=port), granted(other, lease=0)]
    async with udp_gateway(replies) as gateway:
        outcomes = await mapper(gateway).apply([opening(low)], [])
        assert gateway.asked[1:] == [mapping_request(other, 0)]
    assert outcomes == {low.public: was_refused(kind)}


@pytest.mark.parametrize("answer", [granted(WEB, lease=0), granted(WEB, port=0)])
async def test_no_mapping_is_granted_without_port_or_lease(answer: bytes) -> None:
    """Though it is called a success; nor is there anything to close then."""
    async with udp_gateway([answer]) as gateway:
        outcomes = await mapper(gateway).apply([opening(WEB)], [])
        assert len(gateway.asked) == 1
    assert outcomes == {WEB.public: was_refused(Answer.NONSENSE)}


async def test_a_refusal_is_of_its_own_mapping_alone() -> None:
    """The others are asked for all the same."""

    def answer(asked: bytes) -> Reply:
        return granted(SHIFTED) if asked[1] == 1 else refused(asked, 2)

    async with udp_gateway(answer) as gateway:
        openings = [opening(WEB), opening(SHIFTED)]
        outcomes = await mapper(gateway).apply(openings, [])
    assert outcomes == {
        WEB.public: was_refused(Answer.NOT_ALLOWED, 2),
        SHIFTED.public: was_opened(SHIFTED),
    }


async def test_after_the_first_silence_no_more_is_asked() -> None:
    """Of what was not asked, no more is known than that."""
    async with udp_gateway(lambda _: None) as gateway:
        openings = [opening(WEB), opening(SHIFTED)]
        outcomes = await mapper(gateway).apply(openings, [])
        assert set(gateway.asked) == {mapping_request(WEB, LASTS)}
    assert outcomes == dict.fromkeys(
        [WEB.public, SHIFTED.public], Outcome(SILENCE, SILENCE)
    )


async def test_there_is_one_public_port_to_a_port_and_no_second() -> None:
    """It would be answered with the first, and close that when it is closed."""
    second = PortMapping(PublicPort("tcp", 9443), WEB.port)
    async with udp_gateway([granted(WEB)]) as gateway:
        outcomes = await mapper(gateway).apply([opening(WEB), opening(second)], [])
        assert gateway.asked == [mapping_request(WEB, LASTS)]
    assert outcomes == {
        WEB.public: was_opened(WEB),
        second.public: was_refused(Answer.UNSUPPORTED),
    }


async def test_it_lists_nothing() -> None:
    """And is not asked to."""
    run = LocalShell()
    spoken: PortMapper = NatPmp(run, CLIENT, IPv4Address("127.0.0.1"))
    assert not spoken.lists
    assert await spoken.look([WEB.public]) == {WEB.public: Refusal(Answer.UNSUPPORTED)}
    assert not run.scripts


# The address, and the clock


@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        (address("198.51.100.7"), IPv4Address("198.51.100.7")),
        (address("0.0.0.0"), None),
        (address("127.0.0.1"), None),
        (refused(b"\0\0", 3), None),
        (refused(b"\0\0", 3) + bytes(4), None),
        (refused(b"\0\0", 2), Refusal(Answer.NOT_ALLOWED, 2)),
        (None, SILENCE),
    ],
)
async def test_it_is_asked_for_its_address(
    reply: Reply, expected: IPv4Address | Refusal | None
) -> None:
    """And may have none, as behind a provider's own translation."""
    async with udp_gateway(lambda _: reply) as gateway:
        assert await mapper(gateway).public_address() == expected


@pytest.mark.parametrize(
    ("reply", "expected"),
    [
        (address("198.51.100.7"), None),
        (refused(b"\0\0", 3), None),
        (refused(b"\0\0", 1, version=2), Refusal(Answer.UNSUPPORTED, 1)),
        (refused(b"\0\0", 2), Refusal(Answer.NOT_ALLOWED, 2)),
        (b"\0\0", Refusal(Answer.NONSENSE)),
        (None, SILENCE),
    ],
)
async def test_it_is_found_where_it_is_spoken(
    reply: Reply, expected: Refusal | None
) -> None:
    """Though there be no public address now."""
    async with udp_gateway(lambda _: reply) as gateway:
        found = await find_nat_pmp(LocalShell(), CLIENT, gateway.address)
        if expected is None:
            assert isinstance(found, NatPmp)
            assert found.gateway == gateway.address
        else:
            assert found == expected
