"""Each fault, seeded for real, is named by its cause, and a healthy path by none.

The table of all faults on each kind of router is printed after the tests. A cell is a
lab of its own; several run at once, since most of them wait for an answer.
"""

import asyncio
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
import os
import re
import subprocess
import sys
from threading import Lock

import pytest
import pytest_socket

from custom_components.bypass_router.router.backend import Backend
from custom_components.bypass_router.router.doctor.doctor import diagnose
from custom_components.bypass_router.router.doctor.report import (
    Cause,
    Diagnosis,
    Status,
    Step,
)
from custom_components.bypass_router.router.doctor.visit import await_client
from custom_components.bypass_router.router.forward import Forward
from custom_components.bypass_router.router.router import Router
from tests.lab.by_hand import all_rules
from tests.lab.bypass import RouterOptions
from tests.lab.disk import REAL_COMMANDS
from tests.lab.fixtures import build
from tests.lab.network import INTERNET_ADDRESS, NETWORKS, Lab
from tests.lab.waiting import at_once, until
from tests.summary import Layout, Note, crosstab

from .client import connect
from .faults import (
    DIED,
    DROPPED_RAW,
    FAULTS,
    GATEWAY_NOW,
    NEVER,
    SHOWN_BY_CLIENTS,
    SHOWN_BY_ITSELF,
    VISITED,
    Fault,
    pairs,
    visit,
)
from .kinds import SUDO_USER
from .matrix import PROTOCOLS
from .traffic import Company, coming_and_going, in_company, stream

AT_ONCE = 8
# Connections to a router; on each, two diagnoses are made at once.
LINKS = 8
WATCHED = 3
BUILDING = Lock()


@dataclass(frozen=True)
class Kind:
    """A kind of router."""

    name: str
    options: RouterOptions
    backend: Backend = Backend.AUTO
    without: tuple[str, ...] = ()

    @property
    def knows_visitors(self) -> bool:
        """Whether it has `nft`, which alone can tell who came."""
        return self.options.iptables != "legacy"

    def causes(self, fault: Fault) -> tuple[Cause, ...]:
        """Return what is to be named here: nothing, where a fault does no harm."""
        spared = fault.of_iptables and self.backend is Backend.AUTO
        return () if spared else fault.causes


KINDS = (
    Kind("Debian, nftables", RouterOptions("nft")),
    Kind("Debian, iptables-nft", RouterOptions("nft"), Backend.IPTABLES),
    Kind(
        "Debian, legacy, no nft",
        RouterOptions("legacy"),
        Backend.IPTABLES,
        without=("nft", "conntrack"),
    ),
    Kind("OpenWrt, fw4", RouterOptions(system="openwrt")),
    Kind("OpenWrt, fw3", RouterOptions(system="openwrt-fw3")),
)


@pytest.fixture
def table(note: Callable[[str, Layout], Note]) -> Note:
    """The table, which is printed after all tests."""
    return note("What the doctor names, cause × router kind", crosstab)


@pytest.fixture(autouse=True)
def _sockets() -> None:
    """Let labs be reached; Home Assistant's plugin forbids all sockets."""
    pytest_socket.enable_socket()
    pytest_socket.socket_allow_hosts(["127.0.0.1", *NETWORKS], allow_unix_socket=True)


def built(kind: Kind, *, sudo: bool = False) -> Lab:
    """Return a lab with a router of a kind.

    One after the other, as libcrypt hashes one password at a time.
    """
    with BUILDING:
        lab = build(kind.options)
        if sudo:
            assert SUDO_USER.password
            lab.bypass.users.add(SUDO_USER.username, SUDO_USER.password, sudo="all")
    lab.bypass.commands.hide(*kind.without)
    return lab


def seeded(fault: Fault, kind: Kind) -> Diagnosis:
    """Return the diagnosis of a forward that has worked, after a fault came."""
    with built(kind, sudo=fault.sudo) as lab:
        for transport in fault.forward.protocol.transports:
            lab.target.serve(transport, 443)
        with lab.home.enter():
            return asyncio.run(_seeded(fault, kind, lab))


async def _seeded(fault: Fault, kind: Kind, lab: Lab) -> Diagnosis:
    account = SUDO_USER if fault.sudo else None
    router = await connect(lab, account=account, firewall=kind.backend)
    proxy = None
    try:
        await router.rules.apply([fault.forward])
        remembered = None
        if fault.remembers:
            healthy = await diagnose(router, fault.forward)
            assert not healthy.causes
            remembered = healthy.mac
        proxy = await asyncio.to_thread(fault.seed, lab)
        if not fault.client:
            return await diagnose(router, fault.forward, remembered=remembered)

        def progress(left: int, packets: int) -> None:
            if left == WATCHED - 1:
                visits.append(asyncio.create_task(asyncio.to_thread(visit, lab)))

        visits: list[asyncio.Task[None]] = []
        found = await await_client(router, fault.forward, WATCHED, progress)
        for visited in visits:
            await visited
        await no_counting_rules(lab)
        return found
    finally:
        await router.close()
        if proxy:
            proxy.stop()


def accompanied(fault: Fault, kind: Kind, company: Company) -> Diagnosis:
    """Return what a user is told of a forward after a fault came, in some company."""
    with built(kind) as lab:
        for transport in fault.forward.protocol.transports:
            lab.target.serve(transport, 443)
        with lab.home.enter():
            return asyncio.run(_accompanied(fault, kind, company, lab))


async def _accompanied(
    fault: Fault, kind: Kind, company: Company, lab: Lab
) -> Diagnosis:
    router = await connect(lab, firewall=kind.backend)
    proxy = None
    visits: list[asyncio.Task[None]] = []

    def progress(left: int, packets: int) -> None:
        if company is Company.VISITOR and left == WATCHED:
            visits.append(asyncio.create_task(asyncio.to_thread(visit, lab)))

    with ExitStack() as leaving:
        try:
            await router.rules.apply([fault.forward])
            await asyncio.to_thread(leaving.enter_context, in_company(lab, company))
            proxy = await asyncio.to_thread(fault.seed, lab)
            found = await diagnose(router, fault.forward)
            if found.causes:
                return found
            watched = await await_client(router, fault.forward, WATCHED, progress)
            for visited in visits:
                await visited
            await no_counting_rules(lab)
            return found.followed_by(watched)
        finally:
            await router.close()
            if proxy:
                proxy.stop()


async def no_counting_rules(lab: Lab) -> None:
    """Wait until nothing is left of what counts, or fail."""
    await until(
        lambda: not re.search(r"ha_bypass_watch|\.(?:tcp|udp)-", all_rules(lab))
    )


def flaw(fault: Fault, kind: Kind, found: Diagnosis) -> str | None:
    """Say what is wrong with a diagnosis, if anything is."""
    wrong = [
        str(check)
        for check in found.checks
        if (check.status is Status.FAILED) != (check.cause is not None)
    ]
    client = INTERNET_ADDRESS if kind.knows_visitors else None
    wrong += [
        f"not the visitor's address: {check}"
        for check in found.checks
        if check.cause in (Cause.SOURCE_EXCLUDED, Cause.DIED_ON_THE_WAY)
        and check.seen.get("source") != client
    ]
    if found.causes == kind.causes(fault) and not wrong:
        return None
    checks = "\n  ".join(map(str, found.checks))
    named = [*found.causes, *wrong]
    return f"{kind.name}, {fault}: named {named}\n  {checks}"


def tried(faults: list[Fault], kind: Kind, table: Note) -> Iterator[str]:
    """Yield what is wrong with the diagnosis of each fault."""
    with ThreadPoolExecutor(AT_ONCE) as threads:
        for fault, found in zip(
            faults, threads.map(lambda it: seeded(it, kind), faults), strict=True
        ):
            wrong = flaw(fault, kind, found)
            named = ", ".join(found.causes) or "none"
            table(fault.name, kind.name, f"{named} (WRONG)" if wrong else named)
            if wrong:
                yield wrong


def possible(fault: Fault, kind: Kind) -> bool:
    """Return whether a fault can be made on a router.

    An OpenWrt has no sudo, and iptables in one variant, if at all.
    """
    is_debian = kind.options.system == "debian"
    return is_debian or not (fault.sudo or fault.of_iptables)


@pytest.mark.lab
@pytest.mark.long
@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_each_fault_is_named_alone(kind: Kind, table: Note) -> None:
    """And nothing else is blamed."""
    faults = [fault for fault in FAULTS if possible(fault, kind)]
    flaws = list(tried(faults, kind, table))
    assert not flaws, "\n".join(flaws)


def _expected(fault: Fault, company: Company, kind: Kind) -> tuple[Cause, ...]:
    """Return what is to be named: nothing, where no one came who could show it."""
    # Those who had connected before are still there.
    shows = company in (Company.VISITOR, Company.STREAM) or fault is DROPPED_RAW
    if fault.client and not shows:
        return ()
    if fault is GATEWAY_NOW and company is Company.STREAM and not kind.knows_visitors:
        # The router has no list of those who came.
        return DIED.causes
    return fault.causes


@pytest.mark.lab
@pytest.mark.long
@pytest.mark.parametrize("kind", [KINDS[0], KINDS[2]], ids=lambda kind: kind.name)
def test_whoever_else_is_there_the_cause_is_the_same(kind: Kind, table: Note) -> None:
    """Each step is told once, and nobody's packets are taken for the visitor's."""
    others = (Company.STREAM, Company.NEIGHBOUR)
    companies = Company if kind is KINDS[0] else others
    cells = [(fault, company) for fault in SHOWN_BY_CLIENTS for company in companies]
    if kind is KINDS[0]:
        cells += [(it, company) for it in SHOWN_BY_ITSELF for company in others]
    flaws = []
    with ThreadPoolExecutor(AT_ONCE) as threads:
        all_found = threads.map(lambda it: accompanied(it[0], kind, it[1]), cells)
        for (fault, company), found in zip(cells, all_found, strict=True):
            steps = [check.name for check in found.checks]
            once = steps == [step for step in Step if step in steps]
            right = found.causes == _expected(fault, company, kind) and once
            if fault in (VISITED, NEVER):
                # One who came from outside is all the proof there is.
                works = company is Company.STREAM or (
                    company is Company.VISITOR and fault is VISITED
                )
                right = right and found.healthy is (True if works else None)
            told = f"{', '.join(found.causes) or 'none'}, healthy: {found.healthy}"
            named = told if right else f"{told} (WRONG)"
            table(f"{fault}, beside {company}", kind.name, named)
            if not right:
                checks = "\n  ".join(map(str, found.checks))
                flaws.append(f"{kind.name}, {fault}, {company}: {told}\n  {checks}")
    assert not flaws, "\n".join(flaws)


STREAMED = ("TCP", "UDP")


@contextmanager
def traffic(lab: Lab) -> Iterator[None]:
    """Have forwards used meanwhile, by whom they are for."""
    with ExitStack() as leaving:
        for transport, port in (("tcp", 8443), ("udp", 5000), ("tcp", 8444)):
            leaving.enter_context(stream(lab, transport, port))
        for port in (8443, 8450):
            leaving.enter_context(in_company(lab, Company.NEIGHBOUR, port))
            leaving.enter_context(coming_and_going(lab, port))
        yield


def _healthy(name: str, protocol: str, ports: str, *sources: str) -> Forward:
    """Return a forward that works, as long as the target's services run."""
    external, _, target = ports.partition(" ")
    return Forward.parse(
        name,
        protocol=protocol,
        external_port=external,
        target="192.168.50.10",
        target_port=target,
        sources=sources,
        keep_client_address=name.startswith("KEPT"),
    )


HEALTHY = (
    _healthy("TCP", "tcp", "8443 443"),
    _healthy("UDP", "udp", "5000"),
    _healthy("BOTH", "both", "8444 443"),
    _healthy("BOTHudp", "both", "5001 5000"),
    _healthy("RANGE", "tcp", "6000-6010 7000"),
    _healthy("RANGEudp", "udp", "6000-6010 7000"),
    _healthy("RANGEclosed", "tcp", "6100-6110"),
    _healthy("SILENT", "tcp", "8001 2001"),
    _healthy("CLOSES", "tcp", "8002 2002"),
    _healthy("SILENTudp", "udp", "8003 2003"),
    _healthy("SILENTboth", "both", "8004 2001"),
    _healthy("HOME", "tcp", "8447 443", "192.168.50.0/24"),
    _healthy("ABROAD", "tcp", "8448 443", "203.0.113.0/24", "198.51.100.7"),
    _healthy("VPN", "tcp", "8449 443", "10.8.0.0/24"),
    _healthy("KEPT", "tcp", "8450 443"),
    _healthy("KEPTudp", "udp", "8450 5000"),
)
"""Each works: also those whose service says nothing, and where half is not served."""

_SERVICES = """
import select, socket
def bound(kind, port):
    s = socket.socket(socket.AF_INET, kind)
    s.bind(("0.0.0.0", port))
    return s
silent, closing = (bound(socket.SOCK_STREAM, port) for port in (2001, 2002))
mute = bound(socket.SOCK_DGRAM, 2003)
for s in (silent, closing):
    s.listen(1024)
print("ok", flush=True)
kept = []
while True:
    for s in select.select([silent, closing, mute], [], [])[0]:
        if s is mute:
            s.recv(1000)
            continue
        connection, _ = s.accept()
        if s is silent:
            kept = [*kept[-50:], connection]
        else:
            connection.close()
"""
# A thousand take two processors a minute: for whoever changed the doctor.
DIAGNOSES = int(os.environ.get("DIAGNOSES", "100"))


@pytest.mark.lab
@pytest.mark.long
@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_diagnoses_of_healthy_forwards_name_no_cause(kind: Kind, table: Note) -> None:
    """Under traffic from the internet and the LAN. DIAGNOSES says how many.

    Of services that talk, and of those that don't.
    """
    found = healthy(kind)
    assert len(found) >= DIAGNOSES / len(KINDS)
    # Where a stream goes on all the time, that is seen; one that falters on a machine
    # that is busy is not known about at that moment.
    streamed = {found.healthy for name, found in found if name in STREAMED}
    assert True in streamed
    assert streamed <= {True, None}
    blamed = {
        f"{name}: {check.cause} {dict(check.seen)}"
        for name, diagnosis in found
        for check in diagnosis.checks
        if check.cause
    }
    told = ", ".join(sorted(blamed)) or "none"
    table(f"none, {len(found)} times each", kind.name, told)
    assert not blamed


def healthy(kind: Kind) -> list[tuple[str, Diagnosis]]:
    """Return an equal share of the diagnoses, on one kind of router."""
    with built(kind) as lab:
        for protocol in PROTOCOLS:
            for ports in ("443" if protocol == "tcp" else "5000", "7000-7010"):
                lab.target.serve(protocol, ports)
        serve_in_silence(lab)
        with lab.home.enter():
            return asyncio.run(_all_healthy(kind, lab))


def serve_in_silence(lab: Lab) -> None:
    """Start the services that don't talk."""
    services = lab.target.spawn(
        sys.executable, "-IS", "-c", _SERVICES, stdout=subprocess.PIPE
    )
    assert services.stdout.readline() == "ok\n"


@pytest.mark.lab
def test_a_target_is_not_down_because_another_diagnosis_asks_anew(lab: Lab) -> None:
    """The kernel forgets the target just before it is asked what it remembers."""
    silent = next(forward for forward in HEALTHY if forward.id == "SILENTudp")
    real = f"{REAL_COMMANDS}/bin/ip"
    lab.bypass.commands.replace(
        "ip",
        "#!/bin/sh\n"
        f'case "$*" in *flush*) {real} "$@"; exec touch /root/asked ;; esac\n'
        'if [ "$*" = "-4 neigh" ] && rm /root/asked 2>/dev/null; then\n'
        f"{real} -4 neigh flush to {silent.target}\n"
        f'fi\nexec {real} "$@"\n',
    )

    async def diagnosed() -> Diagnosis:
        router = await connect(lab)
        try:
            await router.rules.apply([silent])
            return await diagnose(router, silent)
        finally:
            await router.close()

    serve_in_silence(lab)
    with lab.home.enter():
        found = asyncio.run(diagnosed())
    assert not found.causes


async def _all_healthy(kind: Kind, lab: Lab) -> list[tuple[str, Diagnosis]]:
    """Diagnose several at once, over several connections."""
    routers = [await connect(lab, firewall=kind.backend) for _ in range(LINKS)]
    leaving = ExitStack()
    try:
        await routers[0].rules.apply(HEALTHY)
        await asyncio.to_thread(leaving.enter_context, traffic(lab))
        share = -(-DIAGNOSES // len(KINDS))
        waiting = iter([HEALTHY[n % len(HEALTHY)] for n in range(share)])
        found: list[tuple[str, Diagnosis]] = []

        async def work(router: Router) -> None:
            for forward in waiting:
                diagnosis = await diagnose(router, forward)
                found.append((forward.id, diagnosis))

        await at_once(*(work(router) for router in routers * 2))
        return found
    finally:
        leaving.close()
        await at_once(*(router.close() for router in routers))


@pytest.mark.lab
@pytest.mark.long
def test_faults_that_come_together_are_both_named(table: Note) -> None:
    """Or the first on the path alone, where it hides the other."""
    flaws = list(tried(list(pairs()), KINDS[0], table))
    assert not flaws, "\n".join(flaws)
