"""UPnP, asked by a shell's script, of gateways of all kinds that people have."""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import replace
from ipaddress import IPv4Address
from pathlib import Path
from typing import Final

import pytest

from custom_components.bypass_router.router.port_mapping.base import (
    Answer,
    Entry,
    FreePort,
    Listed,
    Opening,
    Outcome,
    PortMapper,
    PortMapping,
    PublicPort,
    Refusal,
)
from custom_components.bypass_router.router.port_mapping.upnp import Upnp, find_upnp
from tests.lab import soap_by_hand as soap
from tests.lab.gateway import GATEWAYS, Gateway, GatewayOptions, Service

from .local_shell import LocalShell

HERE: Final = IPv4Address("127.0.0.1")
OTHER: Final = IPv4Address("127.0.0.3")
WEB: Final = PublicPort("tcp", 8443)
DNS: Final = PublicPort("udp", 5353)
# Those that no one finds without the lab, or that speak no UPnP.
_ELSEWHERE: Final = {"OPNsense, one of a pair"}
_HERE: Final = [
    name for name, it in GATEWAYS.items() if it.upnp and name not in _ELSEWHERE
]
_STRICT: Final = GatewayOptions()

pytestmark = pytest.mark.usefixtures("socket_enabled")


@pytest.fixture
def shell(tmp_path: Path) -> LocalShell:
    """The bypass router's shell, with bash to ask by."""
    shell = LocalShell(tmp_path)
    shell.has("bash", "base64")
    return shell


@pytest.fixture
def options() -> GatewayOptions:
    """How the gateway answers; parametrize it by its name."""
    return _STRICT


@pytest.fixture
def gateway(options: GatewayOptions) -> Iterator[Gateway]:
    """A gateway."""
    with Gateway(options) as gateway:
        yield gateway


def having(*options: GatewayOptions) -> pytest.MarkDecorator:
    """Let the gateway answer otherwise."""
    return pytest.mark.parametrize("options", options)


def become(gateway: Gateway, **options: object) -> None:
    """Let it answer otherwise from now on."""
    gateway.options = replace(gateway.options, **options)  # type: ignore[arg-type]


async def found(shell: LocalShell, gateway: Gateway) -> Upnp:
    """Return the gateway, found where it announced itself."""
    upnp = await find_upnp(shell, HERE, HERE, gateway.locations)
    assert isinstance(upnp, Upnp), upnp
    return upnp


def opening(
    port: PublicPort = WEB, inside: int = 443, number: int = 1, lease: int = 7200
) -> Opening:
    """Return what is asked for."""
    return Opening(PortMapping(port, inside), f"bypass_router:ab:1:{number}", lease)


def entry(inside: int = 443, number: int = 1) -> Entry:
    """Return what is listed of what was asked for."""
    return Entry(HERE, inside, f"bypass_router:ab:1:{number}", 7200)


def soon_after[L: Listed](listed: L) -> L:
    """Return what is listed, as it was a moment ago."""
    if isinstance(listed, Entry) and listed.lease and 7000 < listed.lease < 7200:
        return replace(listed, lease=7200)
    return listed


async def applied(
    upnp: Upnp, opens: Collection[Opening], closes: Collection[PortMapping] = ()
) -> Mapping[PublicPort, Outcome]:
    """Apply, and return what became of it."""
    return {
        port: Outcome(outcome.refusal, soon_after(outcome.listed))
        for port, outcome in (await upnp.apply(opens, closes)).items()
    }


def let_other_have(gateway: Gateway, port: PublicPort = WEB) -> None:
    """Let another host open a port."""
    soap.add(
        str(OTHER),
        gateway.control,
        port.port,
        str(OTHER),
        description="nas",
        protocol=port.transport.upper(),
    )


async def test_it_is_a_port_mapper(shell: LocalShell, gateway: Gateway) -> None:
    """With all that the interface has, and where its events are."""
    upnp = await found(shell, gateway)
    mapper: PortMapper = upnp
    assert (mapper.name, mapper.lists, mapper.gateway) == ("upnp", True, HERE)
    assert mapper.model == "A gateway"
    assert upnp.event_url == f"{gateway.base}/evt/IPConn"
    assert await mapper.public_address() == IPv4Address("45.32.7.9")


async def test_ports_are_opened_and_closed_and_read_back(
    shell: LocalShell, gateway: Gateway
) -> None:
    """Each act is one script, whatever the number of ports."""
    upnp = await found(shell, gateway)
    before = len(shell.scripts)
    assert await upnp.look([WEB, DNS]) == {WEB: None, DNS: None}
    assert await applied(upnp, [opening(), opening(DNS, 53)]) == {
        WEB: Outcome(None, entry()),
        DNS: Outcome(None, entry(53)),
    }
    assert soon_after((await upnp.look([WEB]))[WEB]) == entry()
    closes = [PortMapping(DNS, 53), PortMapping(WEB, 443)]
    assert await applied(upnp, [opening(number=2)], closes) == {
        WEB: Outcome(None, entry(number=2)),
        DNS: Outcome(None, None),
    }
    assert list(gateway.mappings) == [("tcp", 8443)]
    assert len(shell.scripts) - before == 4


async def test_nothing_is_asked_for_nothing(
    shell: LocalShell, gateway: Gateway
) -> None:
    """No script at all."""
    upnp = await found(shell, gateway)
    before = len(shell.scripts)
    assert await upnp.look([]) == {}
    assert await upnp.apply([], []) == {}
    assert await upnp.open_free([]) == {}
    assert len(shell.scripts) == before


# What those say to a mapping for two hours that do not take it.
_REFUSED: Final = {
    # It answers twice, and no more until it is started again.
    "SFR Neufbox": Answer.SILENT,
    "FRITZ!Box, without the tick": Answer.NOT_ALLOWED,
    "Huawei HG531 behind CGNAT": Answer.FAILED,
    "repeater": Answer.FAILED,
    "says that it is connected": Answer.FAILED,
    "Huawei ONT": Answer.INVALID,
    "ZTE F670L": Answer.TAKEN,
    "729": Answer.TAKEN,
    "-911": Answer.FAILED,
    # By the port inside.
    "prplOS": Answer.NOT_ALLOWED,
    "RomPager": Answer.FAILED,
    "miniupnpd behind CGNAT": Answer.FAILED,
    "MikroTik": Answer.ONLY_FOR_GOOD,
    "Netgear": Answer.ONLY_FOR_GOOD,
    "Freebox": Answer.ONLY_FOR_GOOD,
    "ARRIS NVG578LX": Answer.INVALID,
    "FRITZ!Box, by TR-064": Answer.NOT_ALLOWED,
    "FRITZ!Box, by TR-064, internal error": Answer.FAILED,
    "knows no action": Answer.UNSUPPORTED,
}
_NOT_LISTED: Final = {"ASUS RT-AC87U", "Huawei, yes to all"}


@pytest.mark.parametrize(
    "name",
    [
        # It answers twice, and is waited for then.
        pytest.param(name, marks=pytest.mark.long if name == "SFR Neufbox" else ())
        for name in _HERE
    ],
)
async def test_gateways_that_people_have(shell: LocalShell, name: str) -> None:
    """Each opens the port, or says why not; and what it lists is no more than that."""
    with Gateway(GATEWAYS[name]) as gateway:
        upnp = await find_upnp(shell, HERE, HERE, gateway.locations)
        assert isinstance(upnp, Upnp), upnp
        outcome = (await applied(upnp, [opening()]))[WEB]
        kind = outcome.refusal and outcome.refusal.kind
        assert kind == _REFUSED.get(name)
        if kind is None and name not in _NOT_LISTED:
            assert isinstance(outcome.listed, Entry)
            assert (outcome.listed.client, outcome.listed.port) == (HERE, 443)
        else:
            assert not isinstance(outcome.listed, Entry)
        if kind in (Answer.ONLY_FOR_GOOD, Answer.INVALID) and name != "Huawei ONT":
            outcome = (await applied(upnp, [opening(lease=0)]))[WEB]
            assert outcome.refusal is None
            assert isinstance(outcome.listed, Entry)


@pytest.mark.parametrize(
    "way",
    [
        "chunked",
        "no_length",
        "two_segments",
        "trailing",
        "nuls",
        "stray",
        "too_long",
        "too_short",
        pytest.param("open", marks=pytest.mark.long),
        "endless",
    ],
)
async def test_an_answer_is_heard_however_it_is_sent(
    shell: LocalShell, gateway: Gateway, way: str
) -> None:
    """With a length that is wrong, or no end."""
    upnp = await found(shell, gateway)
    become(gateway, way=way)
    outcome = (await applied(upnp, [opening()]))[WEB]
    assert outcome == Outcome(None, entry())


@pytest.mark.long
async def test_who_is_silent_is_asked_no_more(
    shell: LocalShell, gateway: Gateway
) -> None:
    """Sixteen ports take no longer than one."""
    upnp = await found(shell, gateway)
    become(gateway, way="silent")
    before = gateway.count()
    ports = [PublicPort("tcp", port) for port in range(8000, 8016)]
    silence = Refusal(Answer.SILENT)
    assert await upnp.look(ports) == dict.fromkeys(ports, silence)
    assert gateway.count() == before + 1


@pytest.mark.parametrize("way", ["closes", "gone"])
async def test_who_hangs_up_is_silent_too(
    shell: LocalShell, gateway: Gateway, way: str
) -> None:
    """Or takes no connection; each port is asked for, as that takes no time."""
    upnp = await found(shell, gateway)
    if way == "gone":
        gateway.stop()
    become(gateway, way="closes")
    silent = Outcome(Refusal(Answer.SILENT), Refusal(Answer.SILENT))
    assert await upnp.apply([opening()], []) == {WEB: silent}
    assert gateway.count("AddPortMapping") == (way == "closes")


# What is opened where nothing is.


async def test_what_is_free_is_opened_by_the_script_that_sees_it(
    shell: LocalShell, gateway: Gateway
) -> None:
    """And read back; what others or this client have is looked at, and stays."""
    upnp = await found(shell, gateway)
    nas, game = PublicPort("tcp", 8080), PublicPort("udp", 6000)
    let_other_have(gateway, nas)
    await upnp.apply([opening(game, 1)], [])
    before = len(shell.scripts)
    opens = [opening(nas), opening(), opening(game, 2), opening(DNS, 53)]
    opened = await upnp.open_free(opens)
    assert len(shell.scripts) - before == 1
    listed = {port: it.listed for port, it in opened.items()}
    assert isinstance(listed[nas], Entry)
    assert listed[nas].client == OTHER
    assert soon_after(listed[game]) == entry(1)
    assert (listed[WEB], listed[DNS]) == (None, None)
    asked = {port: it.outcome for port, it in opened.items() if it.outcome}
    assert {port: soon_after(it.listed) for port, it in asked.items()} == {
        WEB: entry(),
        DNS: entry(53),
    }
    assert [it.refusal for it in asked.values()] == [None, None]
    assert gateway.count("AddPortMapping") == 4


@having(
    *(GatewayOptions(none_code=code) for code in (713, 402, 501, 606)),
    GatewayOptions(fault_status=200),
)
async def test_what_is_not_surely_free_is_looked_at_alone(
    shell: LocalShell, gateway: Gateway
) -> None:
    """By one that does not say so as the standard has it."""
    upnp = await found(shell, gateway)
    (port,) = (await upnp.open_free([opening()])).values()
    assert port.outcome is None
    assert gateway.count("AddPortMapping") == 0


@having(GatewayOptions(lease="only_for_good"))
async def test_what_is_refused_where_nothing_is_is_told(
    shell: LocalShell, gateway: Gateway
) -> None:
    """With what is there afterwards."""
    upnp = await found(shell, gateway)
    (port,) = (await upnp.open_free([opening()])).values()
    assert port.outcome
    assert port.outcome.refusal
    assert port.outcome.refusal.kind is Answer.ONLY_FOR_GOOD
    assert (port.listed, port.outcome.listed) == (None, None)


async def test_a_silent_gateway_is_asked_for_nothing_it_may_have(
    shell: LocalShell, gateway: Gateway
) -> None:
    """It answers nothing at all."""
    upnp = await found(shell, gateway)
    gateway.stop()
    silent = FreePort(Refusal(Answer.SILENT), None)
    opens = [opening(), opening(DNS, 53)]
    assert await upnp.open_free(opens) == {WEB: silent, DNS: silent}


async def test_without_bash_it_is_looked_at_alone(
    shell: LocalShell, gateway: Gateway
) -> None:
    """What can't tell an answer from another opens nothing."""
    shell.has("nc=nc.traditional", "base64")
    upnp = await found(shell, gateway)
    assert await upnp.open_free([opening()]) == {WEB: FreePort(None, None)}
    assert gateway.count("AddPortMapping") == 0


# What is there, and whose it is.


@having(*(GatewayOptions(none_code=code) for code in (714, 713, 402, 501)))
async def test_what_is_said_of_nothing_is_learnt(
    shell: LocalShell, gateway: Gateway
) -> None:
    """Rows 56 and 57: from what is said of a port that nobody has, beside an entry."""
    upnp = await found(shell, gateway)
    listed = (await upnp.look([WEB]))[WEB]
    code = gateway.options.none_code
    if code < 700:
        # So far, it may as well be that it tells nothing.
        assert isinstance(listed, Refusal)
        assert listed.code == code
    else:
        assert listed is None
    await upnp.apply([opening()], [])
    assert await upnp.look([DNS]) == {DNS: None}
    assert await upnp.apply([], [PortMapping(WEB, 443)]) == {WEB: Outcome(None, None)}
    let_other_have(gateway)
    listed = (await upnp.look([WEB]))[WEB]
    assert isinstance(listed, Entry)
    assert (listed.client, listed.description) == (OTHER, "nas")


@having(GatewayOptions(none_code=606), GatewayOptions(lists=False, none_code=501))
async def test_what_a_gateway_does_not_tell_is_not_nothing(
    shell: LocalShell, gateway: Gateway
) -> None:
    """Row 60: it may be that this is others'. Or it has never listed anything."""
    upnp = await found(shell, gateway)
    await upnp.apply([opening()], [])
    listed = (await upnp.look([DNS]))[DNS]
    assert isinstance(listed, Refusal)
    assert listed.code == gateway.options.none_code


async def test_a_code_is_asked_for_once(shell: LocalShell, gateway: Gateway) -> None:
    """And then each look is no more than what it is for."""
    upnp = await found(shell, gateway)
    for _ in range(3):
        await upnp.look([WEB])
    assert gateway.count("GetSpecificPortMappingEntry") == 4


@having(
    GatewayOptions(replaces=False), GatewayOptions(replaces=False, conflict_code=501)
)
async def test_what_is_not_replaced_is_closed_and_opened(
    shell: LocalShell, gateway: Gateway
) -> None:
    """Row 52, with what this client has itself."""
    upnp = await found(shell, gateway)
    await upnp.apply([opening()], [])
    outcome = (await applied(upnp, [opening(number=2)]))[WEB]
    assert outcome == Outcome(None, entry(number=2))
    assert gateway.count("DeletePortMapping") == 1


@having(*(GatewayOptions(conflict_code=code) for code in (718, 501)))
async def test_what_others_have_is_left_to_them(
    shell: LocalShell, gateway: Gateway
) -> None:
    """It is refused, and nothing more is tried."""
    upnp = await found(shell, gateway)
    let_other_have(gateway)
    outcome = (await applied(upnp, [opening()]))[WEB]
    assert outcome.refusal
    assert isinstance(outcome.listed, Entry)
    assert outcome.listed.client == OTHER
    assert gateway.count("DeletePortMapping") == 0


@having(GatewayOptions(lease="only_for_good"))
async def test_what_is_refused_for_its_lease_keeps_what_was_there(
    shell: LocalShell, gateway: Gateway
) -> None:
    """To close it would help nobody."""
    upnp = await found(shell, gateway)
    await upnp.apply([opening(lease=0)], [])
    outcome = (await applied(upnp, [opening(number=2)]))[WEB]
    assert outcome.refusal
    assert outcome.refusal.kind is Answer.ONLY_FOR_GOOD
    assert list(gateway.mappings) == [("tcp", 8443)]
    assert gateway.count("DeletePortMapping") == 0


# Which gateway, and what of it.


def services(*services: Service) -> GatewayOptions:
    """Return a gateway that has several ways to the internet."""
    return GatewayOptions(services=services)


_PPP: Final = "urn:schemas-upnp-org:service:WANPPPConnection:1"
_IP2: Final = "urn:schemas-upnp-org:service:WANIPConnection:2"


@pytest.mark.parametrize(
    ("options", "path"),
    [
        (services(Service(_PPP, "/ppp"), Service(control="/ip")), "/ip"),
        (services(Service(control="/1"), Service(_IP2, "/2")), "/2"),
        (
            services(Service(control="/ip", connected=False), Service(_PPP, "/ppp")),
            "/ppp",
        ),
        (services(Service(control="/ip", address=""), Service(_PPP, "/ppp")), "/ppp"),
        (
            services(
                Service(control="/ip", connected=False),
                Service(_PPP, "/ppp", address="192.168.7.1"),
            ),
            "/ip",
        ),
        (services(Service(control="/ip", connected=False, address="")), "/ip"),
    ],
)
async def test_the_service_that_leads_to_the_internet_is_asked(
    shell: LocalShell, gateway: Gateway, path: str
) -> None:
    """And the only one, whatever it says of itself."""
    upnp = await found(shell, gateway)
    asked = shell.scripts[-1]
    await upnp.look([WEB])
    assert shell.scripts[-1] is not asked
    assert f" {path} " in shell.scripts[-1].text


@pytest.mark.parametrize(
    ("name", "ways", "path"),
    [
        ("SFR Neufbox, started again", 1, "/ctl/IPConn"),
        ("Orange", 1, "/ctl/IPConn"),
        ("FRITZ!Box", 2, "/igd2upnp/control/WANIPConn1"),
    ],
)
async def test_of_several_descriptions_the_best_way_is_asked(
    shell: LocalShell, name: str, ways: int, path: str
) -> None:
    """Rows 5, 6, 11: in whichever order; each way once, and none by IPv6."""
    with Gateway(GATEWAYS[name]) as gateway:
        for locations in (gateway.locations, gateway.locations[::-1]):
            assert len(locations) == 2
            before = gateway.count("GetStatusInfo")
            upnp = await find_upnp(shell, HERE, HERE, locations)
            assert isinstance(upnp, Upnp), upnp
            assert gateway.count("GetStatusInfo") - before == ways
            assert await upnp.look([WEB]) == {WEB: None}
            assert f" {path} " in shell.scripts[-1].text
    assert not any("fe80" in script.text for script in shell.scripts)


async def test_no_one_else_is_asked(shell: LocalShell, gateway: Gateway) -> None:
    """Whoever announces it, and whatever is announced beside it."""
    elsewhere = gateway.location.replace("127.0.0.1", "127.0.0.2")
    upnp = await find_upnp(shell, HERE, HERE, [elsewhere, "nonsense"])
    assert upnp == Refusal(Answer.SILENT)
    assert gateway.count() == 0
    upnp = await find_upnp(shell, HERE, HERE, [elsewhere, gateway.location])
    assert isinstance(upnp, Upnp)


@having(GatewayOptions(redirect="http://127.0.0.1:9/rootDesc.xml"))
async def test_nothing_is_followed(shell: LocalShell, gateway: Gateway) -> None:
    """It says no more than where else to look."""
    upnp = await find_upnp(shell, HERE, HERE, [gateway.location])
    assert isinstance(upnp, Refusal)
    assert upnp.kind is Answer.NONSENSE
    assert upnp.said.startswith("HTTP 302")


async def test_a_gateway_with_nothing_to_ask_it_by_says_so(
    shell: LocalShell, gateway: Gateway
) -> None:
    """On a router without any of the commands."""
    shell.has("base64")
    upnp = await find_upnp(shell, HERE, HERE, [gateway.location])
    assert isinstance(upnp, Refusal)
    assert upnp.kind is Answer.UNSUPPORTED
    assert "bash" in upnp.said


@having(
    GatewayOptions(broken="not_xml"), GatewayOptions(other_services=("x",), services=())
)
async def test_what_opens_no_ports_is_no_gateway(
    shell: LocalShell, gateway: Gateway
) -> None:
    """Such as a page of HTML."""
    upnp = await find_upnp(shell, HERE, HERE, [gateway.location])
    assert upnp == Refusal(Answer.UNSUPPORTED)


@pytest.mark.long
@having(GatewayOptions(answers_only=1))
async def test_who_describes_itself_and_then_is_silent_is_silent(
    shell: LocalShell, gateway: Gateway
) -> None:
    """It is no use to ask it for ports."""
    upnp = await find_upnp(shell, HERE, HERE, [gateway.location])
    assert upnp == Refusal(Answer.SILENT)
