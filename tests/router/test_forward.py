"""A forward can't hold nonsense."""

from collections.abc import Mapping
from ipaddress import IPv4Address, IPv4Network
from typing import Any

from hypothesis import given, strategies as st
import pytest

from custom_components.bypass_router.router.forward import (
    NOBODY,
    Forward,
    InvalidForward,
    PortRange,
    Protocol,
    normal_sources,
    parse_clients,
)

TYPED: dict[str, Any] = {
    "protocol": "tcp",
    "external_port": "8443",
    "target": "192.168.50.10",
    "target_port": "443",
}


def parse(**typed: str) -> Forward:
    """Return the forward that a person typed, the rest being in order."""
    return Forward.parse("01JX", **TYPED | typed)


def refusal(**typed: str) -> Mapping[str, str]:
    """Return why what a person typed is refused, by field."""
    with pytest.raises(InvalidForward) as caught:
        parse(**typed)
    return caught.value.errors


def test_what_was_typed_is_what_is_meant() -> None:
    """Spaces around do no harm."""
    assert parse(external_port=" 8443 ", target=" 192.168.50.10 ") == Forward(
        id="01JX",
        protocol=Protocol.TCP,
        external=PortRange(8443, 8443),
        target=IPv4Address("192.168.50.10"),
        target_ports=PortRange(443, 443),
    )


@pytest.mark.parametrize(
    ("external", "target", "meant"),
    [
        ("8443", "", (8443, 8443)),
        ("8443", "443", (443, 443)),
        ("6000-6010", "", (6000, 6010)),
        ("6000 - 6010", "6000-6010", (6000, 6010)),
        ("6000-6010", "7000", (7000, 7010)),
        ("6000-6010", "7000-7010", (7000, 7010)),
        ("65525-65535", "65525", (65525, 65535)),
        ("1-65535", "", (1, 65535)),
    ],
)
def test_target_ports_follow_the_external_ones(
    external: str, target: str, meant: tuple[int, int]
) -> None:
    """Empty means the same; one number beside a range shifts it."""
    forward = parse(external_port=external, target_port=target)
    assert forward.target_ports == PortRange(*meant)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "invalid_port"),
        ("http", "invalid_port"),
        ("8 0", "invalid_port"),
        ("-1", "invalid_port"),
        ("80,81", "invalid_port"),
        ("80-", "invalid_port"),
        ("1-2-3", "invalid_port"),
        ("80\n81", "invalid_port"),
        ("80; reboot", "invalid_port"),
        ("\uff18\uff10", "invalid_port"),
        ("\u0668\u0660", "invalid_port"),
        ("0x50", "invalid_port"),
        ("8.0", "invalid_port"),
        ("999999", "invalid_port"),
        ("0", "port_out_of_range"),
        ("65536", "port_out_of_range"),
        ("0-80", "port_out_of_range"),
        ("65530-65536", "port_out_of_range"),
        ("80-70", "port_range_reversed"),
    ],
)
def test_what_is_no_port_is_refused(text: str, reason: str) -> None:
    """Also what Python would take for a number."""
    assert refusal(external_port=text, target_port="") == {"external_port": reason}


def test_target_ports_must_fit_the_external_ones() -> None:
    """A forward has one target port for each external one."""
    differs = {"target_port": "port_count_differs"}
    assert refusal(external_port="80", target_port="80-81") == differs
    assert refusal(external_port="80-82", target_port="80-81") == differs
    too_high = {"target_port": "port_out_of_range"}
    assert refusal(external_port="6000-6010", target_port="65530") == too_high


@pytest.mark.parametrize(
    ("target", "reason"),
    [
        ("", "invalid_target"),
        ("router.local", "invalid_target"),
        ("192.168.50", "invalid_target"),
        ("192.168.050.10", "invalid_target"),
        ("192.168.50.10/24", "invalid_target"),
        ("192.168.50.\uff11\uff10", "invalid_target"),
        ("fd00::10", "invalid_target"),
        ("$(reboot)", "invalid_target"),
        ("192.168.50.10\n-j ACCEPT", "invalid_target"),
        ("0.0.0.0", "target_not_a_host"),
        ("0.1.2.3", "target_not_a_host"),
        ("127.0.0.1", "target_not_a_host"),
        ("224.0.0.1", "target_not_a_host"),
        ("255.255.255.255", "target_not_a_host"),
        ("240.0.0.1", "target_not_a_host"),
    ],
)
def test_what_is_no_host_is_refused(target: str, reason: str) -> None:
    """A target is the IPv4 address of one host."""
    assert refusal(target=target) == {"target": reason}


def test_sources_are_the_networks_that_may_come_in() -> None:
    """They are put in order, and into the fewest that say the same."""

    def sources(*typed: str) -> tuple[IPv4Network, ...]:
        return Forward.parse("01JX", **TYPED, sources=typed).sources

    assert sources() == ()
    assert sources("203.0.113.7") == (IPv4Network("203.0.113.7/32"),)
    assert sources("203.0.113.0/24", "198.51.100.0/24", "203.0.113.9") == (
        IPv4Network("198.51.100.0/24"),
        IPv4Network("203.0.113.0/24"),
    )
    assert sources("203.0.113.0/24", "0.0.0.0/0") == ()


@pytest.mark.parametrize("source", ["203.0.113.1/24", "fd00::/8", "me", "", "1.2.3.4/"])
def test_what_is_no_network_is_refused(source: str) -> None:
    """Also a network with host bits: one of its two halves is a mistake."""
    with pytest.raises(InvalidForward) as caught:
        Forward.parse("01JX", **TYPED, sources=[source])
    assert caught.value.errors == {"sources": "invalid_source"}


def test_every_mistake_is_told_at_once() -> None:
    """A form shows all of them, each at its field."""
    assert refusal(
        protocol="sctp", external_port="0", target="::1", target_port="x"
    ) == {
        "protocol": "invalid_protocol",
        "external_port": "port_out_of_range",
        "target": "invalid_target",
        "target_port": "invalid_port",
    }


def test_two_forwards_conflict_where_they_share_a_port_of_a_protocol() -> None:
    """Not for touching ports, and not for another protocol."""
    web = parse(external_port="8000-8100", target_port="")
    assert web.conflicts(parse(external_port="8100", target_port=""))
    assert web.conflicts(parse(external_port="1-65535", target_port=""))
    assert web.conflicts(parse(protocol="both", external_port="8050"))
    assert not web.conflicts(parse(protocol="udp", external_port="8050"))
    assert not web.conflicts(parse(external_port="7999", target_port=""))
    assert not web.conflicts(parse(external_port="8101", target_port=""))


@pytest.mark.parametrize(
    "nonsense",
    [
        {"id": ""},
        {"id": "a b"},
        {"id": 'x"\n-A FORWARD -j ACCEPT'},
        {"target": IPv4Address("0.0.0.0")},
        {"target_ports": PortRange(1, 2)},
        {"sources": (IPv4Network("10.0.0.0/8"), IPv4Network("10.1.0.0/16"))},
    ],
)
def test_nonsense_can_not_be_built_in_code_either(nonsense: dict[str, object]) -> None:
    """Whoever makes a forward past the parser meets the same walls."""
    good: dict[str, object] = {
        "id": "01JX",
        "protocol": Protocol.TCP,
        "external": PortRange(80, 80),
        "target": IPv4Address("192.168.50.10"),
        "target_ports": PortRange(80, 80),
    }
    with pytest.raises(ValueError, match=r"\w"):
        Forward(**{**good, **nonsense})  # type: ignore[arg-type]  # nonsense on purpose
    for first, last in ((0, 1), (2, 1), (65535, 65536)):
        with pytest.raises(ValueError, match="no range"):
            PortRange(first, last)


NAMES = st.sampled_from(["home.example.org", "a.b", "x-1.example.org", "Home.Example."])


@given(
    st.lists(NAMES, max_size=3),
    st.lists(st.sampled_from(["192.0.2.1", "198.51.100.0/24"]), max_size=2),
    st.dictionaries(NAMES.map(str.lower), st.lists(st.ip_addresses(v=4), max_size=2)),
)
def test_a_name_that_is_not_resolved_lets_in_nobody_and_never_everybody(
    names: list[str], networks: list[str], known: dict[str, list[IPv4Address]]
) -> None:
    """Beside whoever is named by address."""
    forward = Forward.parse(
        "A",
        protocol="tcp",
        external_port="80",
        target="192.0.2.9",
        sources=[*names, *networks],
    ).admitting(known)
    given = [name.lower().removesuffix(".") for name in names]
    assert forward.names == tuple(dict.fromkeys(given))
    addresses = [it for name in given for it in known.get(name, ())]
    expected = normal_sources(map(IPv4Network, [*networks, *addresses]))
    assert forward.sources == (expected or (NOBODY,) * bool(names))


@pytest.mark.parametrize(
    "text",
    ["192.168.50", "300.1.1.1", "localhost", "-a.org", "a..org", "a.org:80", "a b.org"],
)
def test_what_was_mistyped_is_no_name(text: str) -> None:
    """An address, or more than a name."""
    with pytest.raises(InvalidForward):
        parse_clients([text])


def test_who_lets_in_everyone_has_named_all_hosts() -> None:
    """So no name is resolved."""
    assert parse_clients(["0.0.0.0/0", "home.example.org"]) == ((), ())
