"""How the fake gateway answers to NAT-PMP and PCP."""

from collections.abc import Iterator
from dataclasses import replace
from ipaddress import IPv4Address
import socket
import struct

import pytest

from . import pcp_by_hand as by_hand
from .gateway import Gateway, GatewayOptions
from .gateway.nat_pmp import PCP_ANSWER, PCP_BODY
from .gateway.table import Place
from .pcp_by_hand import NONCE, PREFER_FAILURE, Told
from .waiting import LIMIT

ASKER, OTHER = "127.0.0.2", "127.0.0.3"
PORT = 8443


@pytest.fixture
def gateway(socket_enabled: None) -> Iterator[Gateway]:
    """A gateway that speaks both; give it other options as it runs."""
    with Gateway(GatewayOptions(upnp=False, nat_pmp=True, pcp=True)) as gateway:
        yield gateway


def become(gateway: Gateway, **options: object) -> None:
    """Let it be another gateway from now on."""
    gateway.options = replace(gateway.options, **options)  # type: ignore[arg-type]


def ask(gateway: Gateway, question: bytes, asker: str = ASKER) -> bytes:
    """Send a datagram, and return the answer."""
    return by_hand.ask(asker, question, gateway.address, gateway.udp_port)


def mapping(
    gateway: Gateway, port: int = PORT, lease: int = 7200, asker: str = ASKER
) -> Told:
    """Ask for a mapping by NAT-PMP."""
    question = by_hand.nat_pmp(port, PORT, lease)
    answer = ask(gateway, question, asker)
    assert answer[:2] == b"\x00\x82"
    return by_hand.told(answer)


def question_of_pcp(
    port: int = PORT, lease: int = 7200, nonce: bytes = NONCE, client: str = ASKER
) -> bytes:
    """Return a question for a mapping, by PCP."""
    return by_hand.pcp(client, port, PORT, lease, nonce=nonce)


def code_of(answer: bytes) -> int:
    """Return the code of an answer by PCP."""
    return int(PCP_ANSWER.unpack_from(answer)[2])


def ways(gateway: Gateway) -> dict[Place, tuple[str, int]]:
    """Return what is open."""
    return gateway.table.kernel.ways()


def test_the_address(gateway: Gateway) -> None:
    """With the seconds since it began; on errors it is none."""
    gateway.pass_time(100)
    version, opcode, code, epoch, address = struct.unpack(
        "!BBHI4s", ask(gateway, b"\0\0")
    )
    assert (version, opcode, code) == (0, 0x80, 0)
    assert epoch >= 100
    assert IPv4Address(address) == IPv4Address("45.32.7.9")
    become(gateway, nat_pmp_code=3)
    assert ask(gateway, b"\0\0")[2:4] == b"\0\3"
    assert ask(gateway, b"\0\0")[8:] == bytes(4)
    assert gateway.count("nat_pmp", ASKER) == 3


def test_a_mapping_is_opened_and_closed(gateway: Gateway) -> None:
    """By NAT-PMP, which closes by the port inside."""
    assert mapping(gateway, 9443) == Told(0, PORT, 9443, 7200)
    assert ways(gateway) == {("tcp", 9443): (ASKER, PORT)}
    assert mapping(gateway, 0, lease=0) == Told(0, PORT, 0, 0)
    assert ways(gateway) == {}


def test_another_port_is_given(gateway: Gateway) -> None:
    """Where that one is another's, or always."""
    mapping(gateway, asker=OTHER)
    assert mapping(gateway) == Told(0, PORT, PORT + 1, 7200)
    become(gateway, other_port=True)
    assert mapping(gateway, 9000) == Told(0, PORT, 9001, 7200)


@pytest.mark.parametrize("code", [2, 3, 4, 5])
def test_codes_of_nat_pmp(gateway: Gateway, code: int) -> None:
    """And nothing is opened."""
    become(gateway, nat_pmp_code=code)
    assert mapping(gateway) == Told(code, PORT, 0, 0)
    assert ways(gateway) == {}


def test_rules_hold_for_nat_pmp_too(gateway: Gateway) -> None:
    """Low ports, and no room."""
    become(gateway, lowest=1024)
    assert mapping(gateway, 443).code == 2
    become(gateway, most=0)
    assert mapping(gateway).code == 4


@pytest.mark.parametrize("asked", [b"\0\3" + bytes(10), b"\0\2"])
def test_what_nat_pmp_does_not_know(gateway: Gateway, asked: bytes) -> None:
    """Is told by 5."""
    assert ask(gateway, asked)[2:4] == b"\0\5"


def test_a_mapping_by_pcp(gateway: Gateway) -> None:
    """With its nonce, and the public address."""
    answer = ask(gateway, question_of_pcp(9443))
    version, opcode, code, lease, _ = PCP_ANSWER.unpack_from(answer)
    assert (version, opcode, code, lease) == (2, 0x81, 0, 7200)
    nonce, protocol, inside, public, address = PCP_BODY.unpack_from(answer, 24)
    assert (nonce, protocol, inside, public) == (NONCE, 6, PORT, 9443)
    assert IPv4Address(address[12:]) == IPv4Address("45.32.7.9")
    assert ways(gateway) == {("tcp", 9443): (ASKER, PORT)}
    assert code_of(ask(gateway, question_of_pcp(9443, lease=0))) == 0
    assert ways(gateway) == {}
    assert gateway.count("pcp", ASKER) == 2


def test_a_mapping_belongs_to_its_nonce(gateway: Gateway) -> None:
    """Another is refused."""
    assert code_of(ask(gateway, question_of_pcp())) == 0
    assert code_of(ask(gateway, question_of_pcp(nonce=bytes(12)))) == 2
    assert code_of(ask(gateway, question_of_pcp())) == 0


def test_that_port_or_none(gateway: Gateway) -> None:
    """By an option of PCP: no other is given instead."""
    mapping(gateway, asker=OTHER)
    assert code_of(ask(gateway, question_of_pcp() + PREFER_FAILURE)) == 11
    assert code_of(ask(gateway, question_of_pcp(9000) + PREFER_FAILURE)) == 0
    assert by_hand.told(ask(gateway, question_of_pcp())).public == PORT + 1


def test_a_low_port_may_become_the_lowest(gateway: Gateway) -> None:
    """Instead of a refusal."""
    become(gateway, lowest=1024, lifts_ports=True)
    assert mapping(gateway, 443) == Told(0, PORT, 1024, 7200)


def test_who_is_not_who_it_says_is_refused(gateway: Gateway) -> None:
    """As behind another router."""
    assert code_of(ask(gateway, question_of_pcp(client=OTHER))) == 12


@pytest.mark.parametrize("code", [1, 2, 3, 4, 5, 7, 8, 11, 13])
def test_codes_of_pcp(gateway: Gateway, code: int) -> None:
    """And nothing is opened."""
    become(gateway, pcp_code=code)
    assert code_of(ask(gateway, question_of_pcp())) == code
    assert ways(gateway) == {}


def test_questions_that_are_none(gateway: Gateway) -> None:
    """Too short, or for what it does not do."""
    whole = question_of_pcp()
    assert code_of(ask(gateway, whole[:20])) == 3
    assert code_of(ask(gateway, whole[:28])) == 3
    assert code_of(ask(gateway, whole[:1] + b"\2" + whole[2:])) == 4
    assert code_of(ask(gateway, whole[:1] + b"\0" + whole[2:24])) == 0


def test_each_may_speak_one_of_both(gateway: Gateway) -> None:
    """And says which version it is."""
    become(gateway, pcp=False)
    assert ask(gateway, question_of_pcp())[:4] == b"\0\x81\0\1"
    become(gateway, pcp=True, nat_pmp=False)
    assert ask(gateway, b"\0\0")[:4] == b"\2\x80\0\1"
    assert ask(gateway, b"\7\0")[:4] == b"\2\x80\0\1"


@pytest.mark.parametrize("question", [b"\0\0", question_of_pcp()])
def test_answers_that_are_none(gateway: Gateway, question: bytes) -> None:
    """Cut, or nothing that makes sense, or none."""
    become(gateway, udp="truncated")
    assert len(ask(gateway, question)) == 7
    become(gateway, udp="nonsense")
    assert set(ask(gateway, question)) == {0xFF}
    become(gateway, udp="silent")
    assert gateway.udp.answer(question, ASKER)[1] == b""


def test_answers_to_something_else(gateway: Gateway) -> None:
    """With another nonce and port inside, or half of the public port."""
    become(gateway, udp="wrong")
    nonce, _, inside, *_ = PCP_BODY.unpack_from(ask(gateway, question_of_pcp()), 24)
    assert nonce != NONCE
    assert inside != PORT
    assert mapping(gateway).inside != PORT
    become(gateway, udp="low_byte")
    assert mapping(gateway) == Told(0, PORT, PORT & 0xFF, 7200)
    assert ("tcp", PORT) in ways(gateway)


def epoch(gateway: Gateway) -> int:
    """Return what it says of when it began."""
    return int(struct.unpack_from("!4xI", ask(gateway, b"\0\0"))[0])


def test_when_it_began(gateway: Gateway) -> None:
    """A restart begins anew; some go back by themselves, or do not know."""
    gateway.pass_time(1000)
    assert epoch(gateway) >= 1000
    gateway.restart()
    assert epoch(gateway) < 1000
    become(gateway, epoch="on")
    gateway.pass_time(1000)
    gateway.restart()
    assert epoch(gateway) >= 1000
    become(gateway, epoch="back")
    before = epoch(gateway)
    gateway.pass_time(10)
    assert epoch(gateway) < before
    become(gateway, epoch="zero")
    assert epoch(gateway) == 0


@pytest.mark.usefixtures("socket_enabled")
def test_without_either_the_port_is_closed() -> None:
    """Which the kernel says."""
    with Gateway(GatewayOptions(nat_pmp=True)) as gateway:
        port = gateway.udp_port
    with socket.socket(type=socket.SOCK_DGRAM) as asking:
        asking.settimeout(LIMIT)
        asking.connect((gateway.address, port))
        asking.send(b"\0\0")
        with pytest.raises(ConnectionRefusedError):
            asking.recv(2048)
