"""miniupnpd on the main router: what it says, and what packets it lets in."""

from collections.abc import Callable

import pytest

from . import pcp_by_hand as by_hand, soap_by_hand as soap, ssdp
from .exchange import Transport
from .fixtures import having
from .miniupnpd import PUBLIC_ADDRESS, Miniupnpd, MiniupnpdOptions
from .network import Lab
from .pcp_by_hand import PREFER_FAILURE, Told
from .waiting import wait_until

PORT, TARGET_PORT = 8443, 443
NOTHING_THERE, CONFLICT, NOT_AUTHORIZED, FAILED = 714, 718, 606, 501
CANNOT_PROVIDE_EXTERNAL = 11
BOTH = pytest.mark.parametrize("protocol", ["tcp", "udp"])


def add(lab: Lab, miniupnpd: Miniupnpd, lease: int = 7200) -> soap.Answer:
    """Let the bypass router ask for the port."""
    return soap.add(
        lab.bypass, miniupnpd.control, PORT, lab.bypass.address, lease=lease
    )


def get(lab: Lab, miniupnpd: Miniupnpd) -> soap.Answer:
    """Let Home Assistant ask what is at the port."""
    return soap.get(lab.home, miniupnpd.control, PORT)


def forward(lab: Lab, protocol: Transport = "tcp") -> None:
    """Set the bypass router's half, with the target's service behind it."""
    lab.target.serve(protocol, TARGET_PORT)
    lab.bypass.run(
        *f"iptables -t nat -I PREROUTING -p {protocol} --dport {PORT} -j DNAT"
        f" --to-destination {lab.target.address}:{TARGET_PORT}".split()
    )


def passes(lab: Lab, protocol: Transport = "tcp") -> bool:
    """Whether payload goes from the internet to the target, and back."""
    return lab.internet.exchange(protocol, lab.main.wan_address, PORT).passed


@BOTH
def test_what_the_bypass_router_asks_for_opens_the_way(
    lab: Lab, miniupnpd: Miniupnpd, protocol: Transport
) -> None:
    """To itself, and to the target once its own rule is there; until it is closed."""
    assert not passes(lab, protocol)
    done = soap.add(
        lab.bypass,
        miniupnpd.control,
        PORT,
        lab.bypass.address,
        protocol=protocol.upper(),
    )
    assert done.status == 200
    assert miniupnpd.mappings() == {(protocol, PORT): (lab.bypass.address, PORT)}
    assert not passes(lab, protocol)
    forward(lab, protocol)
    assert passes(lab, protocol)
    soap.delete(lab.bypass, miniupnpd.control, PORT, protocol.upper())
    assert miniupnpd.mappings() == {}
    assert not passes(lab, protocol)


def test_anybody_may_read(lab: Lab, miniupnpd: Miniupnpd) -> None:
    """Home Assistant too."""
    assert get(lab, miniupnpd).code == NOTHING_THERE
    add(lab, miniupnpd)
    values = dict(get(lab, miniupnpd).values)
    assert 7000 < int(values.pop("NewLeaseDuration")) <= 7200
    assert values == {
        "NewInternalPort": str(PORT),
        "NewInternalClient": lab.bypass.address,
        "NewEnabled": "1",
        "NewPortMappingDescription": "by hand",
    }
    told = soap.public_address(lab.home, miniupnpd.control)
    assert told.values == {"NewExternalIPAddress": PUBLIC_ADDRESS}


def test_nobody_may_open_a_port_for_another(lab: Lab, miniupnpd: Miniupnpd) -> None:
    """In secure mode, Home Assistant can't ask in the bypass router's place."""
    asked = soap.add(lab.home, miniupnpd.control, PORT, lab.bypass.address)
    assert asked.code == CONFLICT
    assert miniupnpd.mappings() == {}


@having(MiniupnpdOptions(secure=False))
def test_without_secure_mode_anybody_may(lab: Lab, miniupnpd: Miniupnpd) -> None:
    """As with what is older than 2023."""
    asked = soap.add(lab.home, miniupnpd.control, PORT, lab.bypass.address)
    assert asked.status == 200
    assert ("tcp", PORT) in miniupnpd.mappings()


def test_what_another_has_stays_its_own(lab: Lab, miniupnpd: Miniupnpd) -> None:
    """It is neither replaced nor deleted."""
    soap.add(lab.other, miniupnpd.control, PORT, lab.other.address)
    assert add(lab, miniupnpd).code == CONFLICT
    assert soap.delete(lab.bypass, miniupnpd.control, PORT).code == NOT_AUTHORIZED
    assert get(lab, miniupnpd).values["NewInternalClient"] == lab.other.address


def test_low_ports_are_refused(lab: Lab, miniupnpd: Miniupnpd) -> None:
    """By the same code as what is not allowed at all."""
    asked = soap.add(lab.bypass, miniupnpd.control, 443, lab.bypass.address)
    assert asked.code == NOT_AUTHORIZED


@having(MiniupnpdOptions(lowest=1))
def test_low_ports_may_be_allowed(lab: Lab, miniupnpd: Miniupnpd) -> None:
    """Where the owner has said so."""
    asked = soap.add(lab.bypass, miniupnpd.control, 443, lab.bypass.address)
    assert asked.status == 200


def test_after_a_flush_it_lists_what_is_gone(lab: Lab, miniupnpd: Miniupnpd) -> None:
    """If it was asked before: and the same, asked for again, is 200 without effect."""
    add(lab, miniupnpd)
    forward(lab)
    assert passes(lab)
    get(lab, miniupnpd)
    miniupnpd.flush()
    assert not passes(lab)
    assert get(lab, miniupnpd).values["NewInternalClient"] == lab.bypass.address
    assert add(lab, miniupnpd).status == 200
    assert miniupnpd.mappings() == {}


def test_the_first_description_stays(lab: Lab, miniupnpd: Miniupnpd) -> None:
    """Only the lease begins anew."""
    add(lab, miniupnpd, lease=100)
    renewed = soap.add(
        lab.bypass, miniupnpd.control, PORT, lab.bypass.address, description="other"
    )
    assert renewed.status == 200
    values = get(lab, miniupnpd).values
    assert values["NewPortMappingDescription"] == "by hand"
    assert int(values["NewLeaseDuration"]) > 100


def test_after_a_flush_only_delete_and_add_helps(
    lab: Lab, miniupnpd: Miniupnpd
) -> None:
    """Another description makes no difference; both are 200."""
    add(lab, miniupnpd)
    forward(lab)
    get(lab, miniupnpd)
    miniupnpd.flush()
    asked = soap.add(
        lab.bypass, miniupnpd.control, PORT, lab.bypass.address, description="other"
    )
    assert asked.status == 200
    assert not passes(lab)
    assert soap.delete(lab.bypass, miniupnpd.control, PORT).status == 200
    add(lab, miniupnpd)
    assert passes(lab)


def test_any_change_makes_it_see_a_flush(lab: Lab, miniupnpd: Miniupnpd) -> None:
    """It looks into the kernel again after it has changed something there."""
    add(lab, miniupnpd)
    get(lab, miniupnpd)
    miniupnpd.flush()
    soap.add(lab.other, miniupnpd.control, PORT + 1, lab.other.address)
    assert get(lab, miniupnpd).code == NOTHING_THERE
    add(lab, miniupnpd)
    assert ("tcp", PORT) in miniupnpd.mappings()


def test_a_lease_ends_by_itself(lab: Lab, miniupnpd: Miniupnpd) -> None:
    """One of a second too."""
    assert add(lab, miniupnpd, lease=1).status == 200
    wait_until(lambda: not miniupnpd.mappings())
    assert get(lab, miniupnpd).code == NOTHING_THERE


@pytest.mark.parametrize("lease", [0, 604_801])
def test_no_lease_is_longer_than_a_week(
    lab: Lab, miniupnpd: Miniupnpd, lease: int
) -> None:
    """One for good becomes a week."""
    add(lab, miniupnpd, lease)
    left = int(get(lab, miniupnpd).values["NewLeaseDuration"])
    assert 604_000 < left <= 604_800


def test_a_restart_keeps_what_is_in_the_lease_file(
    lab: Lab, miniupnpd: Miniupnpd
) -> None:
    """And without the file, all is gone."""
    add(lab, miniupnpd)
    miniupnpd.restart()
    assert get(lab, miniupnpd).values["NewPortMappingDescription"] == "by hand"
    assert ("tcp", PORT) in miniupnpd.mappings()
    miniupnpd.restart(forget=True)
    assert get(lab, miniupnpd).code == NOTHING_THERE
    assert miniupnpd.mappings() == {}


@having(MiniupnpdOptions(lease_file=False))
def test_without_a_lease_file_a_restart_loses_all(
    lab: Lab, miniupnpd: Miniupnpd
) -> None:
    """As with most routers."""
    add(lab, miniupnpd)
    miniupnpd.restart()
    assert get(lab, miniupnpd).code == NOTHING_THERE
    assert miniupnpd.mappings() == {}


def test_killed_it_leaves_its_rules_to_the_next(lab: Lab, miniupnpd: Miniupnpd) -> None:
    """The way stays open meanwhile."""
    add(lab, miniupnpd)
    forward(lab)
    miniupnpd.kill()
    assert passes(lab)
    miniupnpd.start()
    assert get(lab, miniupnpd).values["NewPortMappingDescription"] == "by hand"


@having(MiniupnpdOptions(public_address=None))
def test_without_a_public_address_it_opens_nothing(
    lab: Lab, miniupnpd: Miniupnpd
) -> None:
    """It says that it is connected, and that its address is nothing."""
    told = soap.public_address(lab.bypass, miniupnpd.control)
    assert (told.status, told.values) == (200, {"NewExternalIPAddress": ""})
    status = soap.ask(lab.bypass, miniupnpd.control, "GetStatusInfo")
    assert status.values["NewConnectionStatus"] == "Connected"
    assert add(lab, miniupnpd).code == FAILED


@having(MiniupnpdOptions(upnp=False))
def test_without_upnp_it_is_mute(lab: Lab, miniupnpd: Miniupnpd) -> None:
    """It isn't found; NAT-PMP goes on."""
    assert ssdp.search(lab.bypass, within=0.5) is None
    assert lab.bypass.run(
        "bash", "-c", f"exec 3<>/dev/tcp/{lab.main.address}/5000", check=False
    ).returncode


def test_it_is_found_by_all_in_the_lan(lab: Lab, miniupnpd: Miniupnpd) -> None:
    """By a search of theirs; it answers from port 1900."""
    for node in (lab.bypass, lab.home):
        found = ssdp.search(node)
        assert found is not None
        address, port, said = found
        assert (address, port) == (lab.main.address, ssdp.PORT)
        assert said["LOCATION"] == miniupnpd.location


def test_all_in_the_lan_hear_it_go_and_come(lab: Lab, miniupnpd: Miniupnpd) -> None:
    """And that it has been started anew."""
    found = ssdp.search(lab.home)
    assert found is not None
    with ssdp.listening(lab.home) as home, ssdp.listening(lab.bypass) as bypass:
        miniupnpd.stop()
        for heard in (home, bypass):
            next(said for *_, said in heard if said.get("NTS") == "ssdp:byebye")
        miniupnpd.start()
        for heard in (home, bypass):
            said = next(said for *_, said in heard if said.get("NTS") == "ssdp:alive")
            assert said["LOCATION"] == miniupnpd.location
            assert int(said["BOOTID.UPNP.ORG"]) >= int(found[2]["BOOTID.UPNP.ORG"])


def by_nat_pmp(lab: Lab, port: int = PORT) -> Told:
    """Let the bypass router ask for a port by NAT-PMP."""
    question = by_hand.nat_pmp(port, PORT)
    return by_hand.told(by_hand.ask(lab.bypass, question, lab.main.address))


def by_pcp(lab: Lab, port: int = PORT, options: bytes = b"") -> Told:
    """Let it ask by PCP."""
    question = by_hand.pcp(lab.bypass.address, port, PORT, options=options)
    return by_hand.told(by_hand.ask(lab.bypass, question, lab.main.address))


@pytest.mark.parametrize("ask", [by_nat_pmp, by_pcp])
def test_other_protocols_open_the_way_too(
    lab: Lab, miniupnpd: Miniupnpd, ask: Callable[[Lab], Told]
) -> None:
    """And after a flush, asking again opens it again, as it does not by UPnP."""
    forward(lab)
    assert ask(lab) == Told(0, PORT, PORT, 7200)
    assert get(lab, miniupnpd).values["NewInternalClient"] == lab.bypass.address
    assert passes(lab)
    miniupnpd.flush()
    assert not passes(lab)
    assert ask(lab) == Told(0, PORT, PORT, 7200)
    assert passes(lab)


@pytest.mark.parametrize("ask", [by_nat_pmp, by_pcp])
@pytest.mark.usefixtures("miniupnpd")
def test_other_protocols_give_another_port_instead(
    lab: Lab, ask: Callable[[Lab, int], Told]
) -> None:
    """Of one that is another's, or too low: they call it success."""
    by_hand.ask(lab.other, by_hand.nat_pmp(PORT, PORT), lab.main.address)
    assert ask(lab, PORT) == Told(0, PORT, PORT + 1, 7200)
    assert ask(lab, 1000).public >= 1024


def test_pcp_prefers_failure_only_for_low_ports(lab: Lab, miniupnpd: Miniupnpd) -> None:
    """Of one that is another's it gives another, which only the answer tells."""
    assert by_pcp(lab, 443, PREFER_FAILURE).code == CANNOT_PROVIDE_EXTERNAL
    assert miniupnpd.mappings() == {}
    by_hand.ask(lab.other, by_hand.nat_pmp(PORT, PORT), lab.main.address)
    assert by_pcp(lab, PORT, PREFER_FAILURE) == Told(0, PORT, PORT + 1, 7200)


@having(MiniupnpdOptions(public_address=None))
@pytest.mark.usefixtures("miniupnpd")
def test_without_a_public_address_the_others_open_nothing_either(lab: Lab) -> None:
    """NAT-PMP says why, and PCP that there is no room."""
    assert by_nat_pmp(lab).code == 3
    assert by_pcp(lab).code == 8
