"""The fake gateway in the lab: it is found there, and lets packets in."""

from collections.abc import Iterator

import pytest

from . import soap_by_hand as soap, ssdp
from .exchange import Transport
from .gateway import Gateway, GatewayOptions
from .network import Lab
from .waiting import wait_until

PORT, TARGET_PORT = 8443, 443


@pytest.fixture
def options() -> GatewayOptions:
    """How it answers; parametrize it by its name."""
    return GatewayOptions()


@pytest.fixture
def gateway(lab: Lab, options: GatewayOptions) -> Iterator[Gateway]:
    """A gateway in the main router."""
    with Gateway(options, lab.main) as gateway:
        yield gateway


def having(options: GatewayOptions) -> pytest.MarkDecorator:
    """Let it answer otherwise."""
    return pytest.mark.parametrize("options", [options])


def add(lab: Lab, gateway: Gateway, protocol: Transport = "tcp") -> soap.Answer:
    """Let the bypass router ask for the port."""
    address = lab.bypass.address
    return soap.add(
        lab.bypass, gateway.control, PORT, address, protocol=protocol.upper()
    )


def passes(lab: Lab, protocol: Transport = "tcp") -> bool:
    """Whether payload goes from the internet to the target, and back."""
    return lab.internet.exchange(protocol, lab.main.wan_address, PORT).passed


def forward(lab: Lab, protocol: Transport = "tcp") -> None:
    """Set the bypass router's half, with the target's service behind it."""
    lab.target.serve(protocol, TARGET_PORT)
    lab.bypass.run(
        *f"iptables -t nat -I PREROUTING -p {protocol} --dport {PORT} -j DNAT"
        f" --to-destination {lab.target.address}:{TARGET_PORT}".split()
    )


@pytest.mark.parametrize("protocol", ["tcp", "udp"])
def test_what_it_opens_lets_packets_in(
    lab: Lab, gateway: Gateway, protocol: Transport
) -> None:
    """Until it is closed, or flushed."""
    forward(lab, protocol)
    assert not passes(lab, protocol)
    assert add(lab, gateway, protocol).status == 200
    assert passes(lab, protocol)
    assert gateway.table.kernel.ways() == {(protocol, PORT): (lab.bypass.address, PORT)}
    gateway.flush()
    assert not passes(lab, protocol)
    add(lab, gateway, protocol)
    assert passes(lab, protocol)
    soap.delete(lab.bypass, gateway.control, PORT, protocol.upper())
    assert not passes(lab, protocol)
    assert gateway.count("AddPortMapping", lab.bypass.address) == 2


@having(GatewayOptions(effect=False))
def test_what_it_only_says_that_it_opens_lets_nothing_in(
    lab: Lab, gateway: Gateway
) -> None:
    """Though it lists it."""
    forward(lab)
    assert add(lab, gateway).status == 200
    assert soap.get(lab.home, gateway.control, PORT).status == 200
    assert not passes(lab)


@having(GatewayOptions(unused_last=600))
def test_what_is_used_stays(lab: Lab, gateway: Gateway) -> None:
    """And what is not, does not."""
    forward(lab)
    add(lab, gateway)
    add(lab, gateway, "udp")
    assert passes(lab)
    gateway.pass_time(601)
    wait_until(lambda: list(gateway.mappings) == [("tcp", PORT)])
    assert passes(lab)


def test_it_is_found_by_all_in_the_lan(lab: Lab, gateway: Gateway) -> None:
    """By a search of theirs, to all or to it alone."""
    for node in (lab.bypass, lab.home):
        for to in (ssdp.GROUP, lab.main.address):
            found = ssdp.search(node, to=to)
            assert found is not None
            address, port, said = found
            assert (address, port) == (lab.main.address, ssdp.PORT)
            assert said["LOCATION"] == gateway.location
    assert gateway.count("search", lab.home.address)


@having(GatewayOptions(ssdp_port=0, ssdp_multicast_only=True))
def test_it_may_answer_from_another_port(lab: Lab, gateway: Gateway) -> None:
    """And not at all to who asks it alone."""
    found = ssdp.search(lab.home)
    assert found is not None
    assert found[1] != ssdp.PORT
    assert ssdp.search(lab.home, to=lab.main.address, within=0.5) is None
    assert gateway.count("search", lab.bypass.address) == 0


def test_it_may_answer_from_another_address(lab: Lab) -> None:
    """And send to another still."""
    lab.main.ip("address add 192.168.50.3/24 dev lan")
    options = GatewayOptions(ssdp_host="192.168.50.3", location_host="192.168.50.4")
    with Gateway(options, lab.main):
        found = ssdp.search(lab.home)
    assert found is not None
    address, _, said = found
    assert address == "192.168.50.3"
    assert said["LOCATION"] == "http://192.168.50.4:5000/rootDesc.xml"


def test_all_in_the_lan_hear_it_go_and_come(lab: Lab, gateway: Gateway) -> None:
    """And that it is another boot."""
    boots = []
    with ssdp.listening(lab.home) as home, ssdp.listening(lab.bypass) as bypass:
        gateway.restart()
        for heard in (home, bypass):
            next(said for *_, said in heard if said.get("NTS") == "ssdp:byebye")
            said = next(said for *_, said in heard if said.get("NTS") == "ssdp:alive")
            boots.append(int(said["BOOTID.UPNP.ORG"]))
    assert boots == [gateway.boot] * 2
