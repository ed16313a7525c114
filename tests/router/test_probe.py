"""What a router is, told from what it prints."""

from ipaddress import IPv4Address, IPv4Interface

import pytest

from custom_components.bypass_router.router.errors import NoAddress, NotPrivileged
from custom_components.bypass_router.router.probe.probe import Probe, read_probe
from custom_components.bypass_router.router.ssh.script import Result

from .test_firewalls import DEBIAN as TOOLS, NO_NFT, NO_SUDO, ON_DEBIAN, USER, results

DEBIAN: dict[str, str | Result] = {
    **TOOLS,
    "uid": "0",
    "connection": "192.168.50.5 51822 192.168.50.2 22",
    "addresses": (
        "1: lo    inet 127.0.0.1/8 scope host lo\\       valid_lft forever\n"
        "2: lan    inet 192.168.50.2/24 brd 192.168.50.255 scope global lan\n"
        "3: utun    inet 198.18.0.1/30 scope global utun"
    ),
    "source": "192.0.2.1 dev utun table 2022 src 198.18.0.1 uid 0",
    "hardware": (
        "/sys/class/net/lan/address 02:00:00:00:50:02\n"
        "/sys/class/net/lo/address 00:00:00:00:00:00"
    ),
    "forward": "1",
    "boot": "7a3a9b3e-8f6f-4a53-9a1c-0d3e5c1c7a11",
    "hostname": "bypass",
    "system": (
        'PRETTY_NAME="Debian GNU/Linux 12 (bookworm)"\nNAME="Debian GNU/Linux"\n'
        'VERSION_ID="12"\nVERSION="12 (bookworm)"\nVERSION_CODENAME=bookworm\nID=debian'
    ),
    "kernel": "6.1.0-18-amd64",
    "start": "ab12.sh\nab12.sh.new\n$(reboot).sh",
}


ARCH = ("Arch Linux", "rolling")
BUILDROOT = ("Buildroot 2024.02", "2024.02")


def probe(**printed: str | Result) -> Probe:
    """Return what the probe says of a router that prints this."""
    return read_probe(results({**DEBIAN, **printed}))


def test_a_router_is_known_by_what_it_prints() -> None:
    """The LAN address is the one that we came to, not the tunnel's."""
    assert probe() == Probe(
        address=IPv4Interface("192.168.50.2/24"),
        interface="lan",
        mac_address="02:00:00:00:50:02",
        uid=0,
        tools=ON_DEBIAN,
        ip_forward=True,
        boot_id="7a3a9b3e-8f6f-4a53-9a1c-0d3e5c1c7a11",
        hostname="bypass",
        system="Debian GNU/Linux",
        system_version="12 (bookworm)",
        kernel="6.1.0-18-amd64",
        addresses=frozenset(
            map(IPv4Address, ("127.0.0.1", "192.168.50.2", "198.18.0.1"))
        ),
        boot_files=frozenset({"ab12"}),
        home=IPv4Address("192.168.50.5"),
    )


@pytest.mark.parametrize(
    ("release", "system", "version"),
    [
        ('NAME="Arch Linux"\nPRETTY_NAME="Arch Linux"\nBUILD_ID=rolling', *ARCH),
        ("PRETTY_NAME='Buildroot 2024.02'\nVERSION_ID=2024.02", *BUILDROOT),
        ('NAME=""\nPRETTY_NAME="Own"', "Own", ""),
        ("NAME", "Linux", ""),
    ],
)
def test_a_system_is_known_by_its_name_and_version(
    release: str, system: str, version: str
) -> None:
    """Whatever it has of both, and however it is quoted."""
    found = probe(system=release)
    assert (found.system, found.system_version) == (system, version)


@pytest.mark.parametrize(
    ("connection", "home"),
    [
        ("192.168.50.5 51822 192.168.50.2 22", "192.168.50.5"),
        ("fd00::5 51822 fd00::2 22", None),
        ("192.168.50.2 51822 192.168.50.2 22", None),
        ("127.0.0.1 51822 127.0.0.1 22", None),
        ("", None),
    ],
)
def test_home_assistant_is_known_by_the_address_that_it_comes_from(
    connection: str, home: str | None
) -> None:
    """Not if that is the router itself."""
    found = probe(connection=connection).home
    assert found == (IPv4Address(home) if home else None)


@pytest.mark.parametrize(
    "connection",
    [
        Result("", 1),
        "fd00::5 51822 fd00::2 22",
        "127.0.0.1 51822 127.0.0.1 22",
        "192.168.50.5 51822 203.0.113.99 22",
        "nonsense",
    ],
)
def test_without_a_witness_on_the_lan_the_way_out_tells(
    connection: str | Result,
) -> None:
    """IPv6, Home Assistant on the router itself, a port forward in between."""
    source = "192.0.2.1 via 192.168.50.1 dev lan src 192.168.50.2 uid 0"
    assert str(probe(connection=connection, source=source).address) == "192.168.50.2/24"


def test_a_vlans_interface_has_the_name_before_the_at_sign() -> None:
    """`ip` prints `lan.50@eth0`."""
    vlan = "4: lan.50@eth0    inet 192.168.50.2/24 scope global lan.50"
    mac = "/sys/class/net/lan.50/address 02:00:00:00:50:02"
    found = probe(addresses=vlan, hardware=mac)
    assert (found.interface, found.mac_address) == ("lan.50", "02:00:00:00:50:02")


@pytest.mark.parametrize(
    ("addresses", "found"),
    [
        (
            (
                "2: lan    inet 192.168.50.2/24 scope global lan\n"
                "2: lan    inet 192.168.50.9/32 scope global lan"
            ),
            "192.168.50.9/24",
        ),
        # With a MAC address of its own, which the other router has as well.
        (
            (
                "2: lan    inet 192.168.50.2/24 scope global lan\n"
                "7: vrrp.51@lan    inet 192.168.50.9/32 scope global vrrp.51"
            ),
            "192.168.50.9/24",
        ),
        (
            (
                "2: lan    inet 192.168.50.2/24 scope global lan\n"
                "3: wide    inet 192.168.0.2/16 scope global wide\n"
                "7: vrrp.51@lan    inet 192.168.50.9/32 scope global vrrp.51"
            ),
            "192.168.50.9/24",
        ),
        (
            (
                "2: lan    inet 192.168.50.2/24 scope global lan\n"
                "2: lan    inet 192.168.50.9/25 scope global lan"
            ),
            "192.168.50.9/25",
        ),
        ("2: lan    inet 192.168.50.9/32 scope global lan", "192.168.50.9/32"),
    ],
)
def test_an_address_beside_others_has_the_lan_around_it(
    addresses: str, found: str
) -> None:
    """As VRRP adds one, that stands there without its network."""
    connection = "192.168.50.5 51822 192.168.50.9 22"
    seen = probe(addresses=addresses, connection=connection)
    assert (seen.interface, seen.address) == ("lan", IPv4Interface(found))


def test_a_tunnel_has_no_hardware_address() -> None:
    """Nor has one that says all zeros."""
    assert probe(hardware="").mac_address is None
    zeros = "/sys/class/net/lan/address 00:00:00:00:00:00"
    assert probe(hardware=zeros).mac_address is None


def test_whether_sudo_is_needed_goes_by_the_account() -> None:
    """The tools know what else it may do."""
    assert not probe().sudo
    assert probe(uid="1000", **USER).sudo
    with pytest.raises(NotPrivileged):
        probe(uid="1000", **{**USER, **NO_NFT, "sudo": NO_SUDO})


@pytest.mark.parametrize(
    "addresses",
    [
        "1: lo    inet 127.0.0.1/8 scope host lo",
        "2: lan    inet 999.1.1.1/24",
        Result("sh: ip: not found", 127),
    ],
)
def test_a_router_without_an_address_is_none(addresses: str | Result) -> None:
    """There is nothing to forward from."""
    with pytest.raises(NoAddress):
        probe(addresses=addresses)


def test_oddities_that_do_not_matter_are_survived() -> None:
    """A router without os-release, boot id or a sane uid is still a router."""
    odd = probe(uid="root?", boot="", system=Result("", 1), forward="0", hostname="")
    assert (odd.uid, odd.boot_id, odd.system, odd.ip_forward) == (
        -1,
        "",
        "Linux",
        False,
    )
