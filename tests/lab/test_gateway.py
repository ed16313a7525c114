"""The fake gateway: it answers as its options say, and counts what it was asked."""

from collections.abc import Iterator
from dataclasses import replace
import re
from urllib.parse import urljoin

import pytest

from . import soap_by_hand as soap
from .gateway import GATEWAYS, Gateway, GatewayOptions
from .waiting import LIMIT, wait_until

PORT = 8443
ASKER, OTHER = "127.0.0.2", "127.0.0.3"


@pytest.fixture
def gateway(socket_enabled: None) -> Iterator[Gateway]:
    """A gateway that does what it should; give it other options as it runs."""
    with Gateway(GatewayOptions(nat_pmp=True, pcp=True)) as gateway:
        yield gateway


def add(
    gateway: Gateway,
    port: int = PORT,
    client: str = ASKER,
    *,
    asker: str = ASKER,
    to_port: int | None = None,
    lease: int = 7200,
    description: str = "mine",
    protocol: str = "TCP",
) -> int:
    """Ask for a mapping, and return the code of the refusal; 200: it was done."""
    answer = soap.add(
        asker,
        gateway.control,
        port,
        client,
        to_port=to_port,
        lease=lease,
        description=description,
        protocol=protocol,
    )
    return answer.code or answer.status


def get(gateway: Gateway, port: int = PORT) -> soap.Answer:
    """Ask what is mapped at a port."""
    return soap.get(OTHER, gateway.control, port)


def lasts(left: int, granted: int) -> bool:
    """Whether it is a lease that was granted a moment ago; one for good stays 0."""
    return left == 0 if granted == 0 else granted - LIMIT < left <= granted


def become(gateway: Gateway, **options: object) -> None:
    """Let it be another gateway from now on."""
    gateway.options = replace(gateway.options, **options)  # type: ignore[arg-type]


def test_it_does_what_it_should(gateway: Gateway) -> None:
    """What is added is listed and open, until it is deleted."""
    assert get(gateway).code == 714
    assert add(gateway, to_port=8000) == 200
    values = dict(get(gateway).values)
    assert lasts(int(values.pop("NewLeaseDuration")), 7200)
    assert values == {
        "NewInternalPort": "8000",
        "NewInternalClient": ASKER,
        "NewEnabled": "1",
        "NewPortMappingDescription": "mine",
    }
    assert gateway.table.kernel.ways() == {("tcp", PORT): (ASKER, 8000)}
    assert soap.delete(ASKER, gateway.control, PORT).status == 200
    assert get(gateway).code == 714
    assert gateway.table.kernel.ways() == {}


def test_it_counts_what_it_was_asked(gateway: Gateway) -> None:
    """By action, by who asked, and with the arguments."""
    add(gateway)
    get(gateway)
    get(gateway)
    assert gateway.count() == 3
    assert gateway.count("GetSpecificPortMappingEntry") == 2
    assert gateway.count(source=ASKER) == 1
    assert gateway.count("AddPortMapping", OTHER) == 0
    assert gateway.asked[0].arguments["NewLeaseDuration"] == "7200"


@pytest.mark.parametrize(
    ("rule", "code", "asked", "granted"),
    [
        ("any", 725, 1000, 1000),
        ("only_for_good", 725, 0, 0),
        ("never_for_good", 402, 604_800, 604_800),
        ("capped", 725, 0, 604_800),
        ("capped", 725, 1_000_000, 604_800),
        ("capped", 725, 1000, 1000),
        ("fixed", 725, 100, 604_800),
    ],
)
def test_leases_that_are_granted(
    gateway: Gateway, rule: str, code: int, asked: int, granted: int
) -> None:
    """For good is 0."""
    become(gateway, lease=rule, lease_code=code)
    assert add(gateway, lease=asked) == 200
    assert lasts(int(get(gateway).values["NewLeaseDuration"]), granted)


@pytest.mark.parametrize(
    ("rule", "code", "asked"),
    [
        ("only_for_good", 725, 7200),
        ("only_for_good", 402, 7200),
        ("never_for_good", 402, 0),
        ("never_for_good", 402, 604_801),
    ],
)
def test_leases_that_are_refused(
    gateway: Gateway, rule: str, code: int, asked: int
) -> None:
    """By the code of this gateway."""
    become(gateway, lease=rule, lease_code=code)
    assert add(gateway, lease=asked) == code
    assert get(gateway).code == 714


def test_a_lease_ends(gateway: Gateway) -> None:
    """When its clock says so."""
    add(gateway, lease=7200)
    gateway.pass_time(3600)
    assert lasts(int(get(gateway).values["NewLeaseDuration"]), 3600)
    gateway.pass_time(3600)
    assert get(gateway).code == 714
    assert gateway.table.kernel.ways() == {}


def test_what_has_a_lease_vanishes(gateway: Gateway) -> None:
    """And what has none stays; or the other way round."""
    become(gateway, leased_last=600)
    add(gateway)
    add(gateway, PORT + 1, lease=0)
    gateway.pass_time(600)
    assert list(gateway.mappings) == [("tcp", PORT + 1)]
    become(gateway, leased_last=None, for_good_last=600)
    assert list(gateway.mappings) == []


def test_what_is_not_used_vanishes(gateway: Gateway) -> None:
    """By itself, without being asked anything."""
    become(gateway, unused_last=600)
    add(gateway)
    gateway.pass_time(601)
    wait_until(lambda: not gateway.table.entries)


@pytest.mark.parametrize("code", [718, 606])
def test_who_may_ask_for_whom(gateway: Gateway, code: int) -> None:
    """Everybody for themselves, unless it lets all ask for all."""
    become(gateway, third_party_code=code)
    assert add(gateway, client=OTHER) == code
    become(gateway, third_party=True)
    assert add(gateway, client=OTHER) == 200


@pytest.mark.parametrize(
    ("options", "port", "to_port", "code"),
    [
        ({"lowest": 1024}, 443, 8443, 606),
        ({"lowest": 1024, "lowest_code": 716}, 443, 8443, 716),
        ({"lowest_inside": 1024}, 8443, 443, 606),
        ({"lowest_inside": 1024, "lowest_inside_code": 732}, 8443, 443, 732),
        ({"taken": frozenset({("tcp", 8443)})}, 8443, 8443, 718),
        ({"taken": frozenset({("tcp", 8443)}), "taken_code": 729}, 8443, 8443, 729),
        ({"most": 0}, 8443, 8443, 728),
        ({"most": 0, "full_code": 402}, 8443, 8443, 402),
        ({"always": 606}, 8443, 8443, 606),
        ({"always": -911}, 8443, 8443, -911),
        ({}, 0, 8443, 716),
    ],
)
def test_ports_that_are_refused(
    gateway: Gateway, options: dict[str, object], port: int, to_port: int, code: int
) -> None:
    """And nothing is listed there."""
    become(gateway, **options)
    assert add(gateway, port, to_port=to_port) == code
    assert get(gateway, port).code == 714


def test_what_others_have_is_theirs(gateway: Gateway) -> None:
    """It can neither be had nor deleted."""
    add(gateway, client=OTHER, asker=OTHER)
    assert add(gateway) == 718
    assert soap.delete(ASKER, gateway.control, PORT).code == 606
    become(gateway, conflict_code=501)
    assert add(gateway) == 501


def test_when_full_it_may_say_that_it_was_done(gateway: Gateway) -> None:
    """And that is all that it does."""
    become(gateway, most=1, full_code=0)
    add(gateway)
    assert add(gateway, PORT + 1) == 200
    assert get(gateway, PORT + 1).code == 714


def test_conflicts_with_what_one_has_oneself(gateway: Gateway) -> None:
    """Where both protocols, or two ports to one, or the same again are too much."""
    add(gateway)
    assert add(gateway) == 200
    become(gateway, one_transport=True)
    assert add(gateway, protocol="UDP") == 718
    become(gateway, one_transport=False, one_port_inside=True)
    assert add(gateway, PORT + 1, to_port=PORT) == 718
    become(gateway, one_port_inside=False, replaces=False)
    assert add(gateway) == 718


def test_it_may_say_yes_and_not_list_it(gateway: Gateway) -> None:
    """Whether packets pass or not."""
    become(gateway, lists=False)
    assert add(gateway) == 200
    assert get(gateway).code == 714
    assert gateway.table.kernel.ways()


def test_it_may_list_what_is_not_open(gateway: Gateway) -> None:
    """From the beginning; or after a flush, until it is deleted and added."""
    become(gateway, effect=False)
    add(gateway)
    assert get(gateway).status == 200
    assert gateway.table.kernel.ways() == {}
    become(gateway, effect=True, notices=False)
    add(gateway, PORT + 1)
    gateway.flush()
    add(gateway, PORT + 1)
    assert get(gateway, PORT + 1).status == 200
    assert gateway.table.kernel.ways() == {}
    soap.delete(ASKER, gateway.control, PORT + 1)
    add(gateway, PORT + 1)
    assert gateway.table.kernel.ways() == {("tcp", PORT + 1): (ASKER, PORT + 1)}


@pytest.mark.parametrize(
    ("options", "described"),
    [
        ({}, "second"),
        ({"description": "blank"}, ""),
        ({"description": "first"}, "first"),
        ({"longest_description": 3}, "sec"),
    ],
)
def test_descriptions(
    gateway: Gateway, options: dict[str, object], described: str
) -> None:
    """Blank, cut, or not replaced."""
    become(gateway, **options)
    add(gateway, description="first")
    add(gateway, description="second")
    told = get(gateway).values["NewPortMappingDescription"]
    assert told == described


def test_what_it_lists_may_be_open_for_a_while_alone(gateway: Gateway) -> None:
    """And agrees to the same once more for nothing, if it does not notice."""
    become(gateway, effect_lasts=300.0, notices=False)
    add(gateway)
    gateway.pass_time(301)
    assert gateway.mappings
    assert gateway.table.kernel.ways() == {}
    assert add(gateway) == 200
    assert gateway.table.kernel.ways() == {}
    become(gateway, notices=True)
    add(gateway)
    gateway.pass_time(299)
    assert gateway.mappings
    assert gateway.table.kernel.ways()


def test_descriptions_may_be_refused(gateway: Gateway) -> None:
    """For what is no plain text."""
    become(gateway, plain_descriptions=True)
    assert add(gateway, description="Anna's") == 402
    assert add(gateway, description="bypass_router:abc:0-1:2") == 200


@pytest.mark.parametrize(
    ("options", "code"),
    [
        ({}, 714),
        ({"none_code": 713}, 713),
        ({"none_code": 402}, 402),
        ({"none_code": 606}, 606),
        ({"none_code": 501, "none_text": "PAL_UPNP_SOAP_E_ACTION_FAILED"}, 501),
    ],
)
def test_codes_for_nothing(
    gateway: Gateway, options: dict[str, object], code: int
) -> None:
    """Of each kind that was seen."""
    become(gateway, **options)
    assert get(gateway).code == code


@pytest.mark.parametrize("address", ["", "0.0.0.0", "192.168.1.7", "100.69.1.2"])
def test_addresses(gateway: Gateway, address: str) -> None:
    """That are none at which anybody could be reached."""
    become(gateway, address=address)
    told = soap.public_address(ASKER, gateway.control)
    assert told.values == {"NewExternalIPAddress": address}
    become(gateway, address_code=501)
    assert soap.public_address(ASKER, gateway.control).code == 501


def listed(gateway: Gateway, index: int) -> soap.Answer:
    """Ask for an entry of the list."""
    wanted = {"NewPortMappingIndex": index}
    return soap.ask(ASKER, gateway.control, "GetGenericPortMappingEntry", wanted)


def test_lists(gateway: Gateway) -> None:
    """That end, have holes, never end, or are nobody's to see."""
    add(gateway)
    add(gateway, PORT + 1)
    last = listed(gateway, 1).values
    assert last["NewExternalPort"] == str(PORT + 1)
    assert listed(gateway, 2).code == 713
    become(gateway, list_way="holes")
    assert [listed(gateway, index).status for index in range(4)] == [500, 200] * 2
    become(gateway, list_way="repeats")
    assert listed(gateway, 1000).values == last
    become(gateway, list_way="refused")
    assert listed(gateway, 0).code == 606


@pytest.mark.parametrize("remembers", [False, True])
def test_restarts(gateway: Gateway, remembers: bool) -> None:
    """With a memory or without, at the same place."""
    become(gateway, remembers=remembers)
    add(gateway)
    gateway.restart()
    assert (get(gateway).status == 200) is remembers
    assert bool(gateway.table.kernel.ways()) is remembers


_REFUSED = {
    "FRITZ!Box, without the tick": 606,
    "Huawei HG531 behind CGNAT": 501,
    "repeater": 501,
    "says that it is connected": 501,
    "Huawei ONT": 402,
    "ZTE F670L": 718,
    "729": 729,
    "-911": -911,
    "RomPager": 400,
    "miniupnpd behind CGNAT": 501,
    "MikroTik": 725,
    "Netgear": 725,
    "Freebox": 725,
    "ARRIS NVG578LX": 402,
    "FRITZ!Box, by TR-064": 401,
    "FRITZ!Box, by TR-064, internal error": 820,
    "knows no action": 401,
}
"""What those say to a mapping for two hours that others take."""


_HERE = [name for name, it in GATEWAYS.items() if it.upnp and not it.location_host]


@pytest.mark.parametrize("name", _HERE)
@pytest.mark.usefixtures("socket_enabled")
def test_gateways_that_people_have(name: str) -> None:
    """Each takes a mapping where its description says, or answers as it was seen to."""
    with Gateway(GATEWAYS[name]) as gateway:
        text = soap.talk(ASKER, gateway.location, soap.page(gateway.location))
        # Where it comes in chunks, their lengths are in between.
        text = re.sub(r"\n[0-9a-f]+\n", "", text)
        *_, (service, control) = re.findall(
            r"<serviceType>(.*?)</.*?<controlURL>(.*?)</controlURL>", text
        )
        url = urljoin(gateway.location, control.strip())
        done = soap.add(ASKER, url, PORT, ASKER, service=service)
    assert (done.code or done.status) == _REFUSED.get(name, 200)
