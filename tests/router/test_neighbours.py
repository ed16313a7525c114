"""Which devices a router knows."""

from ipaddress import IPv4Address, IPv4Interface

from hypothesis import given, strategies as st
import pytest

from custom_components.bypass_router.router.backend import Backend
from custom_components.bypass_router.router.network.neighbours import (
    LEASES,
    Neighbour,
    read_neighbours,
)
from custom_components.bypass_router.router.ssh.script import Result
from tests.lab.network import Lab
from tests.lab.options import RouterOptions

from .client import connect

SITE = IPv4Interface("192.168.50.2/24")
IPROUTE2 = """\
192.168.50.20 dev lan lladdr 02:00:c0:a8:32:14 ref 1 used 0/0/0 probes 4 STALE
192.168.50.10 dev lan lladdr 02:00:C0:A8:32:0A REACHABLE
192.168.50.30 dev lan FAILED
192.168.50.31 dev lan INCOMPLETE
192.168.50.2 dev lan lladdr 02:00:c0:a8:32:02 PERMANENT
192.168.50.0 dev lan lladdr 02:00:c0:a8:32:00 STALE
192.168.50.255 dev lan lladdr ff:ff:ff:ff:ff:ff PERMANENT
10.8.0.2 dev tun0 lladdr 02:00:0a:08:00:02 STALE
"""
BUSYBOX = "192.168.50.10 dev br-lan lladdr 02:00:c0:a8:32:0a used 0/0/0 probes 1 STALE"
DNSMASQ = """\
1790000000 02:00:c0:a8:32:0a 192.168.50.10 nas 01:02:00:c0:a8:32:0a
1790000000 02:00:c0:a8:32:28 192.168.50.40 * *
duid 00:01:00:01:2c
0 02:00:c0:a8:32:29 192.168.50.41 forever *
"""
ISC = """\
# The format of this file is documented in the dhcpd.leases(5) manual page.
lease 192.168.50.10 {
  starts 4 2026/11/19 10:00:00;
  binding state free;
  hardware ethernet 02:00:00:00:00:99;
  client-hostname "old";
}
lease 192.168.50.10 {
  starts 5 2026/11/20 10:00:00;
  binding state active;
  hardware ethernet 02:00:c0:a8:32:0a;
  client-hostname "nas";
}
lease 192.168.50.50 {
  binding state active;
}
"""
KEA = """\
address,hwaddr,client_id,valid_lifetime,expire,subnet_id,fqdn_fwd,fqdn_rev,hostname,x
192.168.50.10,02:00:c0:a8:32:0a,01:02,4000,1790000000,1,0,0,nas,0
192.168.50.60,02:00:c0:a8:32:3c,,4000,1790000000,1,0,0,,0
"""


def read(**sections: str) -> list[Neighbour]:
    """Return what these sections tell; a name's `_` stands for a dot."""
    return read_neighbours(
        {label.replace("_", "."): Result(text, 0) for label, text in sections.items()},
        SITE,
    )


def shown(found: list[Neighbour]) -> list[tuple[str, str]]:
    """Return addresses and names."""
    return [(str(it.address), it.name) for it in found]


@pytest.mark.parametrize("text", [IPROUTE2, BUSYBOX])
def test_a_neighbour_is_who_has_answered(text: str) -> None:
    """Whatever tool printed it; the router, its networks and others' are left out."""
    found = read(neighbours=text)
    assert found[0] == Neighbour(IPv4Address("192.168.50.10"), "", "02:00:c0:a8:32:0a")
    assert shown(found[1:]) in ([], [("192.168.50.20", "")])


@pytest.mark.parametrize(
    "sections",
    [
        {"dnsmasq_0": DNSMASQ},
        {"dnsmasq_1": DNSMASQ.replace("\n", "\r\n")},
        {"isc": ISC},
        {"kea": KEA},
        {"kea": KEA.partition("\n")[2]},
    ],
    ids=["dnsmasq", "crlf", "isc", "kea", "end of kea"],
)
def test_a_lease_gives_the_neighbour_its_name(sections: dict[str, str]) -> None:
    """From every server's file; who has no name is there without one."""
    found = read(neighbours=IPROUTE2, **sections)
    assert ("192.168.50.10", "nas") in shown(found)
    assert read(**sections)[0].mac_address == "02:00:c0:a8:32:0a"
    assert all(name in ("nas", "", "forever") for _, name in shown(found))
    assert found == sorted(found, key=lambda it: it.address)


def test_the_old_lease_of_another_device_names_nobody() -> None:
    """What answers at the address now is what is there."""
    text = DNSMASQ.replace("02:00:c0:a8:32:0a 192", "02:00:00:00:00:99 192")
    assert ("192.168.50.10", "") in shown(read(neighbours=IPROUTE2, dnsmasq_0=text))


def test_of_two_leases_of_an_address_the_later_one_counts() -> None:
    """The servers append; a lease that only drops the name leaves it."""
    assert shown(read(isc=ISC))[0] == ("192.168.50.10", "nas")
    nameless = ISC.replace('  client-hostname "nas";\n', "")
    assert shown(read(isc=nameless))[0] == ("192.168.50.10", "")
    again = DNSMASQ + "1790000000 02:00:c0:a8:32:0a 192.168.50.10 * *\n"
    assert shown(read(dnsmasq_0=again))[0] == ("192.168.50.10", "nas")


def test_what_failed_tells_nothing() -> None:
    """A file that is not there, or not ours to read."""
    absent = Result(f"tail: can't open: {DNSMASQ}", 1)
    assert read_neighbours(dict.fromkeys(LEASES, absent), SITE) == []
    assert read_neighbours({}, SITE) == []


def test_a_name_is_one_short_line_and_a_crowd_is_cut_short() -> None:
    """Devices name themselves; those with names stay when there are too many."""
    name = "\x1b[31m" + "n" * 200
    (found,) = read(dnsmasq_0=f"1 02:00:00:00:00:01 192.168.50.7 {name}")
    assert found.name.isprintable()
    assert len(found.name) <= 60
    wide = IPv4Interface("10.0.0.1/8")
    crowd = "\n".join(
        f"1 02:00:00:00:00:01 10.{n // 250}.{n % 250}.9 *" for n in range(5000)
    )
    text = f"{crowd}\n1 02:00:00:00:00:02 10.200.0.9 nas"
    many = read_neighbours({"dnsmasq.0": Result(text, 0)}, wide)
    assert len(many) == 500
    assert many[-1].name == "nas"


@given(st.dictionaries(st.sampled_from(["neighbours", *LEASES]), st.text()))
def test_nothing_that_a_router_prints_breaks_the_reading(texts: dict[str, str]) -> None:
    """What makes no sense is left out."""
    found = read_neighbours({key: Result(it, 0) for key, it in texts.items()}, SITE)
    assert all(it.address in SITE.network for it in found)


@pytest.mark.parametrize(
    "router_options",
    [RouterOptions(), RouterOptions(system="openwrt")],
    ids=["debian", "openwrt"],
)
async def test_a_router_tells_who_is_there(at_home: Lab) -> None:
    """By its own tools and files."""
    leases = DNSMASQ.replace("nas", "nas$(reboot)")
    at_home.bypass.run("sh", "-c", "cat >/tmp/dhcp.leases", input=leases)
    assert at_home.target.exchange("tcp", at_home.bypass.address, 9).outcome
    router = await connect(at_home, firewall=Backend.AUTO)
    try:
        found = await router.neighbours()
    finally:
        await router.close()
    assert ("192.168.50.10", "nas$(reboot)") in shown(found)
    assert ("192.168.50.5", "") in shown(found)
    assert at_home.bypass.address not in dict(shown(found))
