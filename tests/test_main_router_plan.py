"""What the main router is to be asked: what is ours there, and what is to change."""

from dataclasses import replace
from ipaddress import IPv4Address
from typing import Final

from hypothesis import given, strategies as st
import pytest

from custom_components.bypass_router.main_router.plan import (
    LEASES,
    MOST_PORTS,
    Owner,
    longer_lease,
    mappings_of,
    next_lease,
    opening,
    plan_of,
    replaced_by,
)
from custom_components.bypass_router.main_router.records import Record
from custom_components.bypass_router.router.forward import Forward, PortRange
from custom_components.bypass_router.router.port_mapping.base import (
    Answer,
    Entry,
    Listed,
    Outcome,
    PortMapping,
    PublicPort,
    Refusal,
)

CLIENT: Final = IPv4Address("192.168.50.2")
NAS: Final = IPv4Address("192.168.50.20")
OWNER: Final = Owner("0a1b2c3d", CLIENT)
WEB: Final = PublicPort("tcp", 443)
MAPPING: Final = PortMapping(WEB, 8443)
RECORD: Final = Record("01WEB", MAPPING, 7, 7200, 0.0, agreed=True)
NAME: Final = "bypass_router:0a1b2c3d:01WEB:7"
UNTOLD: Final = Refusal(Answer.UNSUPPORTED)


def entry(
    description: str = NAME,
    client: IPv4Address | None = CLIENT,
    port: int = 8443,
    *,
    enabled: bool = True,
) -> Entry:
    """Return something that is listed."""
    return Entry(client, port, description, 7200, enabled)


@pytest.mark.parametrize(
    "description",
    [
        NAME,
        "bypass_router:0a1b2c3d:of another forward:0",
        "BYPASS_ROUTER:0A1B2C3D:01WEB:7",
        "bypass router 0a1b2c3d 01WEB 7",
        "bypassrouter0a1b2c3d01WEB7",
        "bypass-router.0a1b2c3d",
    ],
)
def test_ours_is_known_by_its_name_at_any_port_of_ours(description: str) -> None:
    """Also where nothing is recorded, as the file is lost."""
    assert OWNER.has(entry(description), None)
    assert OWNER.has(entry(description, port=1), None)
    assert OWNER.has(entry(description, None, 0), None)


def test_what_leads_to_another_router_of_this_home_assistant_is_that_ones() -> None:
    """Two of them behind one main router may want the same port."""
    assert not OWNER.has(entry(NAME, NAS), RECORD)


@pytest.mark.parametrize(
    "description",
    [
        "nas",
        "UPnP",
        "bypass_router",
        "bypass_router:ffffffff:01WEB:7",
        "my bypass_router:0a1b2c3d",
        "by",
        "bypass_router:0a1b2c3",
        "",
        "   ",
    ],
)
def test_nothing_else_is_ours_without_a_record(description: str) -> None:
    """Though it leads to the bypass router."""
    assert not OWNER.has(entry(description), None)


@pytest.mark.parametrize(
    ("description", "ours"),
    [
        ("", True),
        ("  ", True),
        ("bypass_router:0a1b2c", True),
        ("bypass_", True),
        ("by", False),
        ("bypass_router:ffffffff:01WEB:7", False),
        ("bypass rules of the NAS", False),
        ("nas", False),
        ("---", False),
    ],
)
def test_a_record_tells_of_what_is_cut_or_blank(
    description: str, *, ours: bool
) -> None:
    """Of just that mapping: to that host, at that port."""
    assert OWNER.has(entry(description), RECORD) is ours
    assert not OWNER.has(entry(description, NAS), RECORD)
    assert not OWNER.has(entry(description, None), RECORD)
    assert not OWNER.has(entry(description, port=8444), RECORD)


def test_a_record_tells_of_where_it_led_before() -> None:
    """As it is not known yet whether it was changed."""
    changed = Record("01WEB", MAPPING, 8, 7200, 0.0, former=frozenset({8000}))
    assert OWNER.has(entry("", port=8000), changed)
    assert OWNER.has(entry(""), changed)
    assert not OWNER.has(entry("", port=8001), changed)


@given(st.text(max_size=80), st.text(max_size=80))
def test_others_are_never_ours(theirs: str, forward_id: str) -> None:
    """Whatever they call it, as long as that is not just ours."""
    other = Owner("ffffffff", NAS)
    assert not OWNER.has(entry(other.description(forward_id, 1), NAS), RECORD)
    assert OWNER.has(entry(OWNER.description(forward_id, 1)), None)
    if "0a1b2c3d" not in theirs.lower():
        assert not OWNER.has(entry(theirs, NAS), RECORD)


def forward(external: str, protocol: str = "both") -> Forward:
    """Return a forward of these ports."""
    return Forward.parse(
        "01WEB", protocol=protocol, external_port=external, target="192.168.50.10"
    )


def test_each_port_of_a_range_is_a_mapping_of_its_own() -> None:
    """Over each transport, at the main router's ports."""
    game = forward("6000-6001")
    assert mappings_of(game, PortRange(7000, 7001)) == tuple(
        PortMapping(PublicPort(transport, 7000 + offset), 6000 + offset)
        for transport in game.protocol.transports
        for offset in range(2)
    )


def test_a_long_range_is_left_by_hand() -> None:
    """For each port is a request."""
    whole = forward(f"6001-{6000 + MOST_PORTS}", "tcp")
    assert len(mappings_of(whole, whole.external)) == MOST_PORTS
    longer = forward(f"6000-{6000 + MOST_PORTS}", "tcp")
    assert mappings_of(longer, longer.external) == ()


@pytest.mark.parametrize(
    ("listed", "record", "due", "asked"),
    [
        # Nothing is there.
        (None, None, False, True),
        (None, RECORD, False, True),
        # It is there.
        (entry(), RECORD, False, False),
        (entry(), RECORD, True, True),
        # And elsewhere, or of a time of which nothing is known.
        (entry(port=8000), RECORD, False, True),
        (entry(enabled=False), RECORD, False, True),
        (entry(), None, False, True),
        # It is another's, whatever is due.
        (entry("nas", NAS), RECORD, True, False),
        (entry("by hand"), RECORD, True, False),
        (entry("by hand"), None, False, False),
        (entry(""), None, False, False),
        # It does not tell.
        (UNTOLD, None, False, True),
        (UNTOLD, RECORD, False, False),
        (UNTOLD, RECORD, True, True),
    ],
)
def test_what_is_asked_for(
    listed: Listed, record: Record | None, *, due: bool, asked: bool
) -> None:
    """By what is listed, what is recorded, and whether its time has come."""
    records = {WEB: record} if record else {}
    wanted = {WEB: ("01WEB", MAPPING)}
    plan = plan_of(OWNER, wanted, {WEB: listed}, records, {WEB} if due else ())
    assert plan.opens == (wanted if asked else {})
    assert plan.closes == ()


def test_what_leads_elsewhere_by_now_is_asked_for_anew_where_nothing_tells() -> None:
    """The forward has got another port."""
    wanted = {WEB: ("01WEB", PortMapping(WEB, 9000))}
    plan = plan_of(OWNER, wanted, {WEB: UNTOLD}, {WEB: RECORD}, ())
    assert plan.opens == wanted


@pytest.mark.parametrize(
    ("listed", "closed"),
    [
        (entry(), True),
        (entry(""), True),
        (entry("", NAS), False),
        (entry("nas", NAS), False),
        (entry("by hand"), False),
        # Some list nothing of what they have.
        (None, True),
        (UNTOLD, True),
    ],
)
def test_what_is_closed(listed: Listed, *, closed: bool) -> None:
    """Only what was asked for, and is no one else's by now."""
    plan = plan_of(OWNER, {}, {WEB: listed}, {WEB: RECORD}, ())
    assert plan.opens == {}
    assert plan.closes == ((MAPPING,) if closed else ())


GAME: Final = PublicPort("tcp", 444)


@pytest.mark.parametrize(
    ("opens", "records", "closed"),
    [
        ({WEB: 9000}, {WEB: (8443,)}, [(WEB, 8443)]),
        ({WEB: 8443}, {WEB: (8443,)}, []),
        ({WEB: 9000}, {}, []),
        # It has not said yet that the one before is gone.
        ({WEB: 9000}, {WEB: (9000, 8443)}, [(WEB, 8443)]),
        # Two change places.
        (
            {WEB: 9000, GAME: 8443},
            {WEB: (8443,), GAME: (9000,)},
            [(WEB, 8443), (GAME, 9000)],
        ),
        # That one stands elsewhere by now.
        ({WEB: 9000}, {WEB: (8443,), GAME: (8443,)}, []),
    ],
)
def test_what_leads_elsewhere_makes_room_where_nothing_is_listed(
    opens: dict[PublicPort, int],
    records: dict[PublicPort, tuple[int, ...]],
    closed: list[tuple[PublicPort, int]],
) -> None:
    """For it is known by where it leads."""
    wanted = {it: ("01WEB", PortMapping(it, port)) for it, port in opens.items()}
    before = {
        it: replace(RECORD, mapping=PortMapping(it, port), former=frozenset(former))
        for it, (port, *former) in records.items()
    }
    found = replaced_by(wanted, before)
    assert [(it.public, it.port) for it in found] == closed


def test_it_is_called_by_whose_it_is_and_how_often_it_was_asked_for() -> None:
    """In signs that every main router takes, and no more than they have room for."""
    longest = Owner("f" * 8, CLIENT).description("0" * 26, 10**9)
    assert len(longest) <= 63
    asked = opening(OWNER, RECORD)
    assert (asked.description, asked.lease, asked.mapping) == (NAME, 7200, MAPPING)


def refused(kind: Answer, listed: Listed = None) -> Outcome:
    """Return that it was refused."""
    return Outcome(Refusal(kind), listed)


def leases(first: int, outcome: Outcome) -> list[int]:
    """Return what is asked for, one after the other, if nothing does."""
    asked, lease = [first], next_lease(first, first, outcome)
    while lease is not None:
        asked.append(lease)
        lease = next_lease(lease, first, outcome)
    return asked


@pytest.mark.parametrize("first", LEASES)
def test_each_lease_is_tried_once_where_it_may_help(first: int) -> None:
    """From whichever did before."""
    for outcome in (
        refused(Answer.ONLY_FOR_GOOD),
        refused(Answer.INVALID, UNTOLD),
        Outcome(None, None),
    ):
        found = leases(first, outcome)
        assert found[0] == first
        assert sorted(found) == sorted(LEASES)
    for kind in set(Answer) - {Answer.ONLY_FOR_GOOD, Answer.INVALID}:
        assert leases(first, refused(kind)) == [first]
    for listed in (entry(), UNTOLD):
        assert leases(first, Outcome(None, listed)) == [first]


def test_what_is_not_kept_is_asked_for_longer() -> None:
    """Until there is nothing longer."""
    assert [longer_lease(lease) for lease in (7200, 0, 604_800)] == [0, 604_800, None]
