"""Which services of a router a forward would take a port from."""

from ipaddress import IPv4Address

import pytest

from custom_components.bypass_router.router.forward import Forward
from custom_components.bypass_router.router.network.listeners import (
    Listener,
    read_listeners,
)
from custom_components.bypass_router.router.ssh.script import Result
from tests.lab.network import Lab

from .client import connect

ADDRESS = IPv4Address("192.168.50.2")
SS = """\
LISTEN 0 128 0.0.0.0:22 0.0.0.0:* users:(("sshd",pid=12,fd=3))
LISTEN 0 128 [::]:80 [::]:* users:(("nginx",pid=9,fd=6),("nginx",pid=8,fd=6))
LISTEN 0 128 *:9090 *:* users:(("clash",pid=5,fd=8))
LISTEN 0 32 192.168.50.2:53 0.0.0.0:* users:(("dnsmasq",pid=7,fd=5))
LISTEN 0 32 192.168.50.2%lan:54 0.0.0.0:*
LISTEN 0 32 127.0.0.1:6010 0.0.0.0:* users:(("sshd",pid=33,fd=9))
LISTEN 0 32 10.0.0.1:8080 0.0.0.0:* users:(("other",pid=33,fd=9))
"""
NETSTAT = """\
Active Internet connections (only servers)
Proto Recv-Q Send-Q Local Address  Foreign Address State   PID/Program name
udp        0      0 0.0.0.0:67     0.0.0.0:*               1402/dnsmasq
udp        0      0 :::547         :::*                    -
udp        0      0 127.0.0.1:5353 0.0.0.0:*               1402/dnsmasq
"""


def test_services_at_the_address_or_at_all_are_found() -> None:
    """From the output of either tool, and with the program where it is told."""
    found = read_listeners(
        {
            "tcp.ss": Result(SS, 0),
            "udp.ss": Result("sh: ss: not found", 127),
            "udp.netstat": Result(NETSTAT, 0),
        },
        ADDRESS,
    )
    assert found == {
        Listener("tcp", 22, "sshd"),
        Listener("tcp", 80, "nginx"),
        Listener("tcp", 9090, "clash"),
        Listener("tcp", 53, "dnsmasq"),
        Listener("tcp", 54),
        Listener("udp", 67, "dnsmasq"),
        Listener("udp", 547),
    }


def test_a_router_without_the_tools_has_no_services_that_we_know() -> None:
    """Nor does nonsense make one."""
    absent = Result("sh: not found", 127)
    assert not read_listeners({"tcp.ss": absent, "tcp.netstat": absent}, ADDRESS)
    nonsense = Result("x *:99999 y\n:::\n*:0 z\n\x1b[31m", 0)
    assert not read_listeners({"tcp.ss": nonsense}, ADDRESS)


@pytest.mark.parametrize(
    ("protocol", "ports", "taken"),
    [
        ("tcp", "53", True),
        ("both", "50-60", True),
        ("udp", "53", False),
        ("tcp", "54-60", False),
    ],
)
def test_a_forward_takes_a_port_of_the_same_protocol(
    protocol: str, ports: str, taken: bool
) -> None:
    """A range that covers it does."""
    forward = Forward.parse(
        "01JX", protocol=protocol, external_port=ports, target="192.168.50.10"
    )
    assert Listener("tcp", 53, "dnsmasq").conflicts_with(forward) is taken


async def test_a_real_router_names_its_services(at_home: Lab) -> None:
    """Its SSH server, and what else listens."""
    at_home.bypass.spawn("busybox", "nc", "-ll", "-p", "9000", "-e", "true")
    router = await connect(at_home)
    try:
        found: frozenset[Listener] = frozenset()
        while len(found) < 2:
            found = await router.listeners()
    finally:
        await router.close()
    assert found == {Listener("tcp", 22, "sshd"), Listener("tcp", 9000, "busybox")}
