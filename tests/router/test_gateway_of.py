"""Which host is the main router."""

from ipaddress import IPv4Address, IPv4Interface

from hypothesis import given, strategies as st
import pytest

from custom_components.bypass_router.router.port_mapping.gateway import read_gateway

LAN = IPv4Interface("192.168.50.2/24")
MAIN = IPv4Address("192.168.50.1")


@pytest.mark.parametrize(
    "line",
    [
        "default via 192.168.50.1 dev lan",
        "default via 192.168.50.1 dev lan proto dhcp src 192.168.50.2 metric 100",
        "default nexthop via 192.168.50.1 dev lan weight 1",
    ],
)
def test_it_is_the_default_gateway(line: str) -> None:
    """However much `ip` says of it."""
    assert read_gateway([line], LAN) == MAIN


def test_a_tunnel_before_it_is_none() -> None:
    """Nor is a gateway of another network, or the router itself."""
    lines = [
        "default dev tun0 scope link",
        "default via 10.8.0.1 dev tun1",
        "default via 192.168.50.2 dev lan",
    ]
    assert read_gateway(lines, LAN) is None
    assert read_gateway([*lines, "default via 192.168.50.1 dev lan"], LAN) == MAIN


@given(st.lists(st.text() | st.just("default via 192.168.50.300 dev lan")))
def test_whatever_is_printed_it_is_a_host_of_the_network_or_none(
    lines: list[str],
) -> None:
    """Never another one."""
    found = read_gateway(lines, LAN)
    assert found is None or found in LAN.network
