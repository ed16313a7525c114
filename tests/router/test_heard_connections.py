"""The router tells who comes, and who has been answered."""

import asyncio
from collections.abc import AsyncIterator
from ipaddress import IPv4Address

import pytest

from custom_components.bypass_router.router.forward import Forward
from custom_components.bypass_router.router.monitor import (
    Answered,
    Monitor,
    NewConnection,
)
from custom_components.bypass_router.router.router import Router
from tests.lab.network import INTERNET_ADDRESS, Lab

from .client import WEB, connect

CLIENT, TARGET = IPv4Address(INTERNET_ADDRESS), IPv4Address("192.168.50.10")
GAME = Forward.parse(
    "02GAME", protocol="udp", external_port="6000", target=str(TARGET), target_port=""
)


@pytest.fixture
async def router(at_home: Lab) -> AsyncIterator[Router]:
    """The bypass router, connected, with forwards over both transports."""
    router = await connect(at_home)
    await router.rules.apply([WEB, GAME])
    yield router
    await router.close()


@pytest.fixture
async def heard(router: Router) -> AsyncIterator[list[NewConnection | Answered]]:
    """All that the router tells of connections, as it comes."""
    heard: list[NewConnection | Answered] = []
    begun = asyncio.Event()

    async def listen() -> None:
        async for told in router.watch():
            begun.set()
            if isinstance(told, NewConnection | Answered):
                heard.append(told)

    task = asyncio.create_task(listen())
    await begun.wait()
    yield heard
    task.cancel()


async def comes(lab: Lab, transport: str, port: int) -> bool:
    """Return whether someone who comes from the internet is answered."""
    exchange = await asyncio.to_thread(
        lab.internet.exchange,
        "tcp" if transport == "tcp" else "udp",
        lab.main.wan_address,
        port,
        timeout=0.3,
    )
    return exchange.passed


@pytest.mark.parametrize(
    ("transport", "port", "behind"), [("tcp", 8443, 443), ("udp", 6000, 6000)]
)
async def test_who_is_answered_is_told_with_his_address(
    at_home: Lab,
    router: Router,
    heard: list[NewConnection | Answered],
    transport: str,
    port: int,
    behind: int,
) -> None:
    """And by whom. `conntrack` itself may begin to listen a moment later."""
    at_home.target.serve("tcp" if transport == "tcp" else "udp", behind)

    async def told() -> bool:
        assert await comes(at_home, transport, port)
        return any(isinstance(it, Answered) for it in heard)

    while not await told():
        await asyncio.sleep(0.05)
    answered = next(it for it in heard if isinstance(it, Answered))
    assert (answered.transport, answered.port) == (transport, port)
    assert (answered.client, answered.target) == (CLIENT, TARGET)
    assert any(
        isinstance(it, NewConnection) and it.answered_by(TARGET) == answered
        for it in heard
    )


@pytest.mark.parametrize("how", ["refused", "dropped", "silent"])
async def test_who_is_not_answered_is_told_to_have_come_at_the_most(
    at_home: Lab, router: Router, heard: list[NewConnection | Answered], how: str
) -> None:
    """Whatever has become of him: one who is refused has not been answered either."""
    if how == "dropped":
        rule = "-p tcp --dport 443 -j DROP"
        at_home.target.run("iptables", "-I", "INPUT", *rule.split())
    elif how == "silent":
        at_home.target.serve("udp", 6001)
    while not heard:
        port = 6000 if how == "silent" else 8443
        await comes(at_home, "udp" if how == "silent" else "tcp", port)
    await asyncio.sleep(0.3)
    assert not [it for it in heard if isinstance(it, Answered)]


LINES = {
    "[NEW] tcp      6 120 SYN_SENT src=203.0.113.10 dst=192.168.50.2 sport=10001 "
    "dport=8443 [UNREPLIED] src=192.168.50.10 dst=192.168.50.2 sport=443 dport=10001": (
        NewConnection("tcp", 8443, CLIENT, 10001)
    ),
    " [UPDATE] tcp      6 60 SYN_RECV src=203.0.113.10 dst=192.168.50.2 sport=10001 "
    "dport=8443 src=192.168.50.10 dst=192.168.50.2 sport=443 dport=10001": None,
    " [UPDATE] tcp      6 432000 ESTABLISHED src=203.0.113.10 dst=192.168.50.2 "
    "sport=10001 dport=8443 src=192.168.50.10 dst=192.168.50.2 sport=443 dport=10001 "
    "[ASSURED]": Answered("tcp", 8443, CLIENT, 10001, TARGET),
    " [UPDATE] tcp      6 432000 ESTABLISHED src=203.0.113.10 dst=192.168.50.2 "
    "sport=10001 dport=8443 packets=3 bytes=180 src=192.168.50.10 dst=192.168.50.2 "
    "sport=443 dport=10001 packets=2 bytes=120 [ASSURED] mark=7": (
        Answered("tcp", 8443, CLIENT, 10001, TARGET)
    ),
    " [UPDATE] udp      17 30 src=203.0.113.10 dst=192.168.50.2 sport=5 dport=6000 "
    "src=192.168.50.10 dst=192.168.50.2 sport=6000 dport=5": (
        Answered("udp", 6000, CLIENT, 5, TARGET)
    ),
    " [UPDATE] udp      17 30 src=203.0.113.10 dst=192.168.50.2 sport=5 dport=6000 "
    "[UNREPLIED] src=192.168.50.10 dst=192.168.50.2 sport=6000 dport=5": None,
    " [UPDATE] tcp      6 10 CLOSE src=203.0.113.10 dst=192.168.50.2 sport=10001 "
    "dport=8443 src=192.168.50.10 dst=192.168.50.2 sport=443 dport=10001": None,
    "[NEW] tcp 6 120 SYN_SENT src=999.0.113.10 dst=192.168.50.2 sport=1 dport=8443 "
    "[UNREPLIED] src=192.168.50.10 dst=192.168.50.2 sport=443 dport=1": None,
}


@pytest.mark.parametrize("line", LINES)
def test_each_line_of_conntrack_is_read_for_what_it_tells(line: str) -> None:
    """Over TCP, only who has got the answer was answered for certain."""
    monitor = Monitor((), sudo=False, by_report=False)
    told = [
        it for it in monitor.heard(line) if isinstance(it, NewConnection | Answered)
    ]
    expected = LINES[line]
    assert told == ([expected] if expected else [])
