"""Ports that the bypass router asks for by NAT-PMP and PCP, of the real miniupnpd."""

from collections.abc import AsyncIterator
from ipaddress import IPv4Address

import pytest

from custom_components.bypass_router.router.port_mapping.base import (
    Answer,
    Outcome,
    PortMapping,
    PublicPort,
    Refusal,
)
from custom_components.bypass_router.router.port_mapping.nat_pmp import (
    NatPmp,
    find_nat_pmp,
)
from custom_components.bypass_router.router.port_mapping.pcp import Pcp, find_pcp
from custom_components.bypass_router.router.ssh.session import Session
from tests.lab.bypass import RouterOptions
from tests.lab.exchange import Transport
from tests.lab.fixtures import having
from tests.lab.miniupnpd import PUBLIC_ADDRESS, Miniupnpd, MiniupnpdOptions
from tests.lab.network import Lab

from .client import open_session
from .udp_gateway import CLIENT, SHIFTED, WEB, opening, was_opened, was_refused

TARGET_PORT = 443
BOTH = pytest.mark.parametrize("protocol", ["nat_pmp", "pcp"])


@pytest.fixture
async def session(at_home: Lab) -> AsyncIterator[Session]:
    """A connection from Home Assistant to the bypass router."""
    session = await open_session(at_home)
    yield session
    await session.close()


async def find(
    session: Session, lab: Lab, protocol: str, seed: str = "ab12"
) -> NatPmp | Pcp | Refusal:
    """Return what the main router speaks, or why it does not."""
    gateway = IPv4Address(lab.main.address)
    if protocol == "pcp":
        return await find_pcp(session.run, CLIENT, gateway, seed)
    return await find_nat_pmp(session.run, CLIENT, gateway)


async def spoken(
    session: Session, lab: Lab, protocol: str, seed: str = "ab12"
) -> NatPmp | Pcp:
    """Return what the main router speaks."""
    found = await find(session, lab, protocol, seed)
    assert not isinstance(found, Refusal)
    return found


def forward(lab: Lab, mapping: PortMapping) -> None:
    """Set the bypass router's half, with the target's service behind it."""
    transport = mapping.public.transport
    lab.target.serve(transport, TARGET_PORT)
    lab.bypass.run(
        *f"iptables -t nat -I PREROUTING -p {transport} --dport {mapping.port}"
        f" -j DNAT --to-destination {lab.target.address}:{TARGET_PORT}".split()
    )


def passes(lab: Lab, mapping: PortMapping) -> bool:
    """Whether payload goes from the internet to the target, and back."""
    public = mapping.public
    address = lab.main.wan_address
    return lab.internet.exchange(public.transport, address, public.port).passed


def in_kernel(mapping: PortMapping) -> tuple[tuple[Transport, int], tuple[str, int]]:
    """Return a mapping as the main router's rules have it."""
    public = mapping.public
    return (public.transport, public.port), (str(CLIENT), mapping.port)


@BOTH
@pytest.mark.parametrize("mapping", [WEB, SHIFTED], ids=["tcp", "udp"])
async def test_what_is_asked_for_opens_the_way_until_it_is_closed(
    session: Session,
    lab: Lab,
    miniupnpd: Miniupnpd,
    protocol: str,
    mapping: PortMapping,
) -> None:
    """For payload from the internet, through both routers, and back."""
    main = await spoken(session, lab, protocol)
    forward(lab, mapping)
    assert not passes(lab, mapping)
    outcomes = await main.apply([opening(mapping)], [])
    assert outcomes == {mapping.public: was_opened(mapping)}
    assert miniupnpd.mappings() == dict([in_kernel(mapping)])
    assert passes(lab, mapping)
    assert await main.apply([], [mapping]) == {mapping.public: Outcome(None, None)}
    assert miniupnpd.mappings() == {}
    assert not passes(lab, mapping)


@BOTH
async def test_many_ports_are_one_act(
    session: Session, lab: Lab, miniupnpd: Miniupnpd, protocol: str
) -> None:
    """To open, to renew, to close."""
    main = await spoken(session, lab, protocol)
    wanted = [PortMapping(PublicPort("udp", 6000 + n), 6000 + n) for n in range(20)]
    openings = [opening(mapping) for mapping in wanted]
    opened = {mapping.public: was_opened(mapping) for mapping in wanted}
    assert await main.apply(openings, []) == opened
    assert await main.apply(openings, []) == opened
    assert miniupnpd.mappings() == dict(map(in_kernel, wanted))
    closed = await main.apply([], wanted)
    assert closed == {mapping.public: Outcome(None, None) for mapping in wanted}
    assert miniupnpd.mappings() == {}


@BOTH
async def test_a_public_port_moves_in_one_act(
    session: Session, lab: Lab, miniupnpd: Miniupnpd, protocol: str
) -> None:
    """The old one is closed before the new one is opened."""
    main = await spoken(session, lab, protocol)
    moved = PortMapping(PublicPort("tcp", 9443), WEB.port)
    await main.apply([opening(WEB)], [])
    outcomes = await main.apply([opening(moved)], [WEB])
    assert outcomes == {
        WEB.public: Outcome(None, None),
        moved.public: was_opened(moved),
    }
    assert miniupnpd.mappings() == dict([in_kernel(moved)])


@BOTH
async def test_what_another_host_has_stays_its_own(
    session: Session, lab: Lab, miniupnpd: Miniupnpd, protocol: str
) -> None:
    """And no other port is left open in its place, though it grants one first.

    By PCP too: it passes over the option that says that none is wanted.
    """
    others = ("tcp", WEB.public.port), (lab.other.address, 80)
    lab.other.run("bash", "-c", NAT_PMP_BY_HAND.format(lab.main.address))
    assert miniupnpd.mappings() == dict([others])
    main = await spoken(session, lab, protocol)
    outcomes = await main.apply([opening(WEB)], [])
    assert outcomes == {WEB.public: was_refused(Answer.TAKEN)}
    assert miniupnpd.mappings() == dict([others])
    await main.apply([], [WEB])
    assert miniupnpd.mappings() == dict([others])


NAT_PMP_BY_HAND = """\
exec 3<>/dev/udp/{}/5351
printf '\\0\\2\\0\\0\\0\\120\\040\\373\\0\\0\\034\\040' >&3
dd bs=16 count=1 <&3 | od
"""
"""Asks for TCP 8443 to the asker's port 80."""


@BOTH
async def test_ports_below_the_lowest_are_refused(
    session: Session, lab: Lab, miniupnpd: Miniupnpd, protocol: str
) -> None:
    """Many let no one open those below 1024, and say no more than of a taken one."""
    main = await spoken(session, lab, protocol)
    low = PortMapping(PublicPort("tcp", 443), 8443)
    outcomes = await main.apply([opening(low)], [])
    code = 11 if protocol == "pcp" else None
    assert outcomes == {low.public: was_refused(Answer.PORT_REFUSED, code)}
    assert miniupnpd.mappings() == {}


@BOTH
async def test_another_of_us_may_not_take_ours_away(
    session: Session, lab: Lab, miniupnpd: Miniupnpd, protocol: str
) -> None:
    """By PCP, which knows whose a mapping is; by NAT-PMP, it is the host's."""
    ours = await spoken(session, lab, protocol)
    theirs = await spoken(session, lab, protocol, seed="cd34")
    await ours.apply([opening(WEB)], [])
    await theirs.apply([], [WEB])
    kept = dict([in_kernel(WEB)]) if protocol == "pcp" else {}
    assert miniupnpd.mappings() == kept


@BOTH
async def test_the_address_is_told(
    session: Session, lab: Lab, miniupnpd: Miniupnpd, protocol: str
) -> None:
    """As the main router has it."""
    main = await spoken(session, lab, protocol)
    assert await main.public_address() == IPv4Address(PUBLIC_ADDRESS)


@BOTH
@having(MiniupnpdOptions(public_address=None))
async def test_without_a_public_address_there_is_none(
    session: Session, lab: Lab, miniupnpd: Miniupnpd, protocol: str
) -> None:
    """As behind a provider's own translation."""
    main = await spoken(session, lab, protocol)
    assert await main.public_address() is None
    outcomes = await main.apply([opening(WEB)], [])
    code = None if protocol == "pcp" else 3
    assert outcomes == {WEB.public: was_refused(Answer.NO_PUBLIC_ADDRESS, code)}


@BOTH
@having(MiniupnpdOptions(nat_pmp=False))
async def test_who_speaks_neither_is_silent(
    session: Session, lab: Lab, miniupnpd: Miniupnpd, protocol: str
) -> None:
    """The port is closed."""
    assert await find(session, lab, protocol) == Refusal(Answer.SILENT)


@BOTH
@pytest.mark.parametrize("router_options", [RouterOptions(system="openwrt")])
async def test_an_openwrt_without_bash_and_socat_cannot_ask(
    session: Session, lab: Lab, miniupnpd: Miniupnpd, protocol: str
) -> None:
    """And says so."""
    assert await find(session, lab, protocol) == Refusal(Answer.UNSUPPORTED)
