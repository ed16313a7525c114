"""The article's problem and its cure, shown in the lab with payload."""

import pytest

from .bypass import RouterOptions
from .exchange import Outcome, Transport
from .network import Lab

PORT, TARGET_PORT = 8443, 443
PROTOCOLS = pytest.mark.parametrize("protocol", ["tcp", "udp"])


def set_dnat(lab: Lab, protocol: Transport) -> None:
    """Set the article's first rule on the bypass router."""
    lab.bypass.run(
        *f"iptables -t nat -I PREROUTING -p {protocol} -d {lab.bypass.address}"
        f" --dport {PORT} -j DNAT"
        f" --to-destination {lab.target.address}:{TARGET_PORT}".split()
    )


def set_printed_snat(lab: Lab) -> None:
    """Set the article's second rule as it is printed."""
    lab.bypass.run(
        *f"iptables -t nat -I POSTROUTING -p tcp --dport {TARGET_PORT}"
        f" -d {lab.bypass.address} -j SNAT --to-source {lab.target.address}".split()
    )


def set_snat(lab: Lab, protocol: Transport) -> None:
    """Set the article's second rule as it is meant."""
    lab.bypass.run(
        *f"iptables -t nat -I POSTROUTING -p {protocol} -m conntrack --ctstate DNAT"
        f" --ctorigdst {lab.bypass.address} --ctorigdstport {PORT}"
        f" -j SNAT --to-source {lab.bypass.address}".split()
    )


def packets_of_snat(lab: Lab) -> int:
    """How many packets the SNAT rule has matched."""
    command = "iptables -t nat -nvxL POSTROUTING"
    listed = lab.bypass.run(*command.split()).stdout.splitlines()
    (rule,) = [line.split() for line in listed if "SNAT" in line]
    return int(rule[0])


def test_forward_on_the_main_router_alone_connects_and_carries_no_data(
    lab: Lab,
) -> None:
    """The handshake completes, and then not one byte comes back."""
    lab.target.serve("tcp", TARGET_PORT)
    lab.main.clear_forwards()
    lab.main.forward("tcp", str(PORT), lab.target.address, TARGET_PORT)
    tried = lab.internet.exchange("tcp", lab.main.wan_address, PORT)
    assert tried.outcome is Outcome.NO_DATA
    assert tried.received == 0


def test_that_forward_works_once_the_main_router_is_the_gateway(lab: Lab) -> None:
    """So it is the bypass router that breaks it, not the forward."""
    lab.target.serve("tcp", TARGET_PORT)
    lab.main.clear_forwards()
    lab.main.forward("tcp", str(PORT), lab.target.address, TARGET_PORT)
    lab.target.use_gateway(lab.main.address)
    tried = lab.internet.exchange("tcp", lab.main.wan_address, PORT)
    assert tried.passed
    assert tried.peer_seen == lab.internet.address


def test_the_snat_rule_as_printed_matches_nothing(lab: Lab) -> None:
    """Traffic flows by the DNAT rule, and the SNAT rule's counter stays at 0."""
    lab.target.serve("tcp", TARGET_PORT)
    set_dnat(lab, "tcp")
    set_printed_snat(lab)
    assert lab.internet.exchange("tcp", lab.main.wan_address, PORT).passed
    assert packets_of_snat(lab) == 0


@pytest.mark.parametrize("router_options", [RouterOptions(masquerade=False)])
def test_without_masquerade_the_rules_as_printed_fail_in_the_lan(lab: Lab) -> None:
    """What the wrong rule costs: the target answers its neighbour directly."""
    lab.target.serve("tcp", TARGET_PORT)
    set_dnat(lab, "tcp")
    set_printed_snat(lab)
    assert lab.internet.exchange("tcp", lab.main.wan_address, PORT).passed
    assert not lab.other.exchange("tcp", lab.bypass.address, PORT).passed
    assert packets_of_snat(lab) == 0


@PROTOCOLS
@pytest.mark.parametrize("gateway", ["bypass", "main"])
@pytest.mark.parametrize(
    "router_options",
    [
        RouterOptions("nft"),
        RouterOptions("nft", masquerade=False),
        RouterOptions("legacy"),
    ],
    ids=["nft-masquerading", "nft", "legacy-masquerading"],
)
def test_forwarding_twice_with_the_snat_rule_as_meant_is_the_cure(
    lab: Lab, gateway: str, protocol: Transport
) -> None:
    """From the internet and the LAN, whichever router is the target's gateway."""
    lab.target.serve(protocol, TARGET_PORT)
    if gateway == "main":
        lab.target.use_gateway(lab.main.address)
    assert not lab.internet.exchange(protocol, lab.main.wan_address, PORT).passed
    set_dnat(lab, protocol)
    set_snat(lab, protocol)
    for tried in (
        lab.internet.exchange(protocol, lab.main.wan_address, PORT),
        lab.other.exchange(protocol, lab.bypass.address, PORT),
    ):
        assert tried.passed
        assert tried.peer_seen == lab.bypass.address
        assert tried.port_seen == TARGET_PORT
    assert packets_of_snat(lab) > 0
