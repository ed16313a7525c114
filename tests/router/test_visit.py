"""What is said of those who come while it is watched, by their packets."""

import asyncio
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
import sys
import time

import pytest

from custom_components.bypass_router.router.doctor.doctor import diagnose
from custom_components.bypass_router.router.doctor.report import (
    Cause,
    Check,
    Diagnosis,
    Reason,
    Status,
    Step,
)
from custom_components.bypass_router.router.doctor.visit import await_client
from custom_components.bypass_router.router.forward import Forward, Protocol, Transport
from custom_components.bypass_router.router.router import Router
from tests.lab.network import INTERNET_ADDRESS, Lab
from tests.lab.waiting import soon

from .client import connect
from .faults import BOTH, KEPT, WEB, nft
from .test_doctor_lab import KINDS, Kind, _sockets, built, no_counting_rules
from .traffic import Company, in_company, stream

__all__ = ["_sockets"]

UDP = replace(WEB, protocol=Protocol.UDP)
LONG = 60
MUTE = (
    "import socket, time; s = socket.socket(type=socket.SOCK_DGRAM);"
    "s.bind(('', 443)); time.sleep(1000)"
)

type Try = Callable[[Lab], object]


@pytest.fixture(params=[KINDS[0], KINDS[2]], ids=lambda kind: kind.name, scope="module")
def kind(request: pytest.FixtureRequest) -> Kind:
    """By nft, which knows the clients, and by iptables, which only counts."""
    found: Kind = request.param
    return found


@pytest.fixture
def at(kind: Kind) -> Iterator[Lab]:
    """A lab with such a router."""
    with built(kind) as lab, lab.home.enter():
        lab.target.serve("tcp", 443)
        lab.target.serve("udp", 443)
        yield lab


async def watched(
    at: Lab,
    kind: Kind,
    forward: Forward,
    *,
    seconds: int = LONG,
    coming: Try | None = None,
    before: Try | None = None,
) -> tuple[Mapping[Step, Check], float]:
    """Return what is said after someone has come, and how long that took."""
    router = await connect(at, firewall=kind.backend)
    try:
        await router.rules.apply([forward])
        return await _watched(at, router, forward, seconds, coming, before)
    finally:
        await router.close()


async def _watched(
    at: Lab,
    router: Router,
    forward: Forward,
    seconds: int,
    coming: Try | None,
    before: Try | None,
) -> tuple[Mapping[Step, Check], float]:
    tries: list[asyncio.Task[object]] = []
    told: list[tuple[int, int]] = []

    def progress(left: int, packets: int) -> None:
        told.append((left, packets))
        if coming and not tries:
            tries.append(asyncio.create_task(asyncio.to_thread(coming, at)))

    if before:
        await asyncio.to_thread(before, at)
    began = time.monotonic()
    found = await await_client(router, forward, seconds, progress)
    took = time.monotonic() - began
    for each in tries:
        await each
    # It is told when it begins, and not before it counts.
    assert told[0] == (seconds, 0)
    await no_counting_rules(at)
    return {check.name: check for check in found.checks}, took


def visits(transport: Transport) -> Try:
    """Return what has someone try from the internet."""
    return lambda lab: lab.internet.exchange(
        transport, lab.main.wan_address, 8443, timeout=1
    )


def reason(check: Check) -> str | None:
    """Return why a check tells nothing."""
    assert check.status is not Status.FAILED
    return check.seen.get("reason")


@pytest.mark.lab
async def test_whoever_is_answered_ends_the_watch_at_once(at: Lab, kind: Kind) -> None:
    """Over each transport, of which one says nothing for the other."""
    for forward in (WEB, UDP):
        (transport,) = forward.protocol.transports
        found, took = await watched(at, kind, forward, coming=visits(transport))
        assert found[Step.VISIT].status is Status.OK
        source = INTERNET_ADDRESS if kind.knows_visitors else None
        assert found[Step.VISIT].seen.get("source") == source
        assert took < soon(4)
    found, _ = await watched(at, kind, BOTH, coming=visits("tcp"))
    assert found[Step.VISIT].seen == {
        "reason": Reason.PARTLY,
        "proved": "TCP",
        "open": "UDP",
    }


@pytest.mark.lab
@pytest.mark.parametrize("forward", [WEB, UDP], ids=["tcp", "udp"])
async def test_a_stream_that_goes_on_is_somebody_who_is_answered(
    at: Lab, kind: Kind, forward: Forward
) -> None:
    """It opens nothing while it is watched."""
    (transport,) = forward.protocol.transports
    router = await connect(at, firewall=kind.backend)
    try:
        await router.rules.apply([forward])
        with stream(at, transport):
            found, took = await _watched(at, router, forward, LONG, None, None)
            assert found[Step.VISIT].status is Status.OK
            assert took < soon(4)
            # By the router's list of connections too, where nobody watches.
            seen = await diagnose(router, forward)
        assert seen.healthy
    finally:
        await router.close()


@pytest.mark.lab
async def test_a_neighbour_and_nobody_are_told_apart(at: Lab, kind: Kind) -> None:
    """What hosts of the LAN get says nothing of the internet."""
    found, _ = await watched(at, kind, WEB, seconds=2)
    assert reason(found[Step.ARRIVAL]) == Reason.NOBODY
    assert found[Step.ARRIVAL].seen["router"] == at.bypass.address

    def neighbour(lab: Lab) -> None:
        lab.other.exchange("tcp", lab.bypass.address, 8443)

    found, _ = await watched(at, kind, WEB, seconds=2, coming=neighbour)
    assert reason(found[Step.ARRIVAL]) == Reason.FROM_HOME
    source = at.other.address if kind.knows_visitors else None
    assert found[Step.ARRIVAL].seen.get("source") == source


@pytest.mark.lab
async def test_whoever_gets_no_answer_ends_the_watch_in_a_few_seconds(
    at: Lab, kind: Kind
) -> None:
    """While the router knows of the request, and so why; UDP may be silent rightly."""

    def other_gateway(lab: Lab) -> None:
        lab.target.use_gateway(lab.main.address)

    found, took = await watched(
        at, kind, KEPT, coming=visits("tcp"), before=other_gateway
    )
    assert found[Step.ANSWERS].cause is Cause.GATEWAY_BYPASSES
    assert 4 < took < soon(12)

    def mute(lab: Lab) -> None:
        lab.target.use_gateway(lab.bypass.address)
        lab.target.stop_serving()
        lab.target.spawn(sys.executable, "-IS", "-c", MUTE)

    found, took = await watched(at, kind, UDP, coming=visits("udp"), before=mute)
    assert reason(found[Step.VISIT]) == Reason.SILENCE
    assert found[Step.ARRIVAL].status is Status.OK
    assert took < soon(14)


@pytest.mark.lab
async def test_an_answer_that_is_not_heard_proves_nothing(at: Lab, kind: Kind) -> None:
    """It leaves the router, and the client asks again; nobody here is to blame."""

    def lose(lab: Lab) -> None:
        nft(
            lab.main,
            "table ip lose { chain f {\n"
            "type filter hook forward priority 0; policy accept;\n"
            'iifname "lan" oifname "wan" drop\n}\n}',
        )

    found, _ = await watched(
        at, kind, WEB, seconds=4, coming=visits("tcp"), before=lose
    )
    assert reason(found[Step.VISIT]) == Reason.UNHEARD
    assert found[Step.ARRIVAL].status is Status.OK


@pytest.mark.lab
async def test_a_neighbour_is_no_answer_to_a_visitor(at: Lab, kind: Kind) -> None:
    """Nor is what the service sends late to one who was there before."""

    def shut(lab: Lab) -> None:
        nft(
            lab.main,
            "table ip shut { chain f {\n"
            "type filter hook postrouting priority 200; policy accept;\n"
            'oifname "lan" ip saddr 203.0.113.0/24 drop\n}\n}',
        )

    router = await connect(at, firewall=kind.backend)
    try:
        await router.rules.apply([WEB])
        with stream(at, "tcp"), in_company(at, Company.NEIGHBOUR):
            await asyncio.to_thread(shut, at)
            # From here on, nothing of the stream comes; the service closes it.
            await asyncio.to_thread(at.target.stop_serving)
            await asyncio.to_thread(at.target.serve, "tcp", 443)
            found, _ = await _watched(at, router, WEB, 3, None, None)
    finally:
        await router.close()
    assert reason(found[Step.ARRIVAL]) == Reason.FROM_HOME
    assert found[Step.VISIT].status is not Status.OK


def test_a_diagnosis_of_nothing_is_no_proof() -> None:
    """Whatever was not looked at."""
    assert Diagnosis(()).healthy is None
