"""Forwards as elements of our nft table: what is written, read and changed."""

from collections.abc import Iterable
from dataclasses import replace
from ipaddress import IPv4Network
from itertools import pairwise

from hypothesis import assume, given, strategies as st
import pytest

from custom_components.bypass_router.router.errors import (
    BadOutput,
    FirewallFailed,
    NotPrivileged,
)
from custom_components.bypass_router.router.forward import Forward, PortRange, Protocol
from custom_components.bypass_router.router.nftables.elements import (
    PLACES,
    add_line,
    elements_of,
    forward_of_elements,
    read_element,
)
from custom_components.bypass_router.router.nftables.own_table import table_lines
from custom_components.bypass_router.router.nftables.table import (
    Nftables,
    NftState,
    check_lines,
)
from custom_components.bypass_router.router.rules.base import Tag
from custom_components.bypass_router.router.ssh.script import Result

from .rules import OTHER_SITE, SITE, forward_sets, forwards, with_ends
from .tables import Refused, Table, changed, loaded, planned, read, seen

FIREWALL = Nftables(SITE, sudo=False)
WEB = Forward.parse(
    "01JX",
    protocol="tcp",
    external_port="8443",
    target="192.168.50.10",
    target_port="443",
)
GUARD = replace(WEB, id="01GUARD", external=PortRange(22, 22))
TAG = Tag("ab12", "01JX")


def apart(*drawn: Iterable[Forward]) -> list[list[Forward]]:
    """Return the forwards but for those that want a port of one before.

    The user is told of those; nft takes a port once.
    """
    kept: list[Forward] = []
    groups: list[list[Forward]] = []
    for group in drawn:
        groups.append([])
        for forward in group:
            if not any(map(forward.conflicts, kept)):
                kept.append(forward)
                groups[-1].append(forward)
    return groups


# A shifted range has an element a port; a few are as good as many.
SETS = forward_sets(longest=5).map(lambda drawn: apart(drawn)[0])


def texts(**changed_fields: object) -> list[str]:
    """Return the elements of a forward like WEB."""
    forward = replace(WEB, **changed_fields)  # type: ignore[arg-type]  # its fields
    return [
        f"{element.place} {element.key}{element.value}"
        for element in elements_of(forward)
    ]


def test_a_forward_is_an_element_that_translates_and_one_for_the_source() -> None:
    """The first for each client's network."""
    assert texts() == [
        "translated tcp . 8443 : 192.168.50.10 . 443",
        "rewritten_tcp 8443",
    ]
    guarded = Forward.parse(
        "01JX",
        protocol="both",
        external_port="8443",
        target="192.168.50.10",
        sources=["10.0.0.0/8", "203.0.113.7"],
        keep_client_address=True,
    )
    assert [f"{e.place} {e.key}{e.value}" for e in elements_of(guarded)] == [
        "same_from 10.0.0.0/8 . tcp . 8443 : 192.168.50.10",
        "same_from 203.0.113.7/32 . tcp . 8443 : 192.168.50.10",
        "kept_tcp 8443",
        "same_from 10.0.0.0/8 . udp . 8443 : 192.168.50.10",
        "same_from 203.0.113.7/32 . udp . 8443 : 192.168.50.10",
        "kept_udp 8443",
    ]


def test_a_shifted_range_has_an_element_for_each_port() -> None:
    """Since nft has no words for a shifted range; one that stays needs one."""
    span = Forward.parse(
        "01JX",
        protocol="udp",
        external_port="6000-6002",
        target="192.168.50.10",
        target_port="7000",
    )
    assert [f"{e.key}{e.value}" for e in elements_of(span)] == [
        "udp . 6000 : 192.168.50.10 . 7000",
        "udp . 6001 : 192.168.50.10 . 7001",
        "udp . 6002 : 192.168.50.10 . 7002",
        "6000-6002",
    ]
    same = replace(span, target_ports=span.external)
    assert [f"{e.key}{e.value}" for e in elements_of(same)] == [
        "6000-6002 : 192.168.50.10",
        "6000-6002",
    ]


@given(forwards(longest=20))
def test_elements_read_back_are_the_forward_that_was_written(forward: Forward) -> None:
    """Whatever the forward is, and whatever its counters say."""
    tag = Tag("ab12", forward.id)
    table = loaded(None, FIREWALL.steps([forward], NftState()))
    assert table is not None
    for counter in (" counter packets 9 bytes 12345", " counter", ""):
        printed = Result(table.listing(counter=counter), 0)
        state = FIREWALL.read({"nft.table": printed})
        assert state.sound
        assert FIREWALL.forwards(state) == {tag: forward}
        assert FIREWALL.carries(forward, state)


@given(forwards(longest=20), st.data())
def test_a_forward_with_an_element_missing_is_not_live(
    forward: Forward, data: st.DataObject
) -> None:
    """One element is as good as all."""
    elements = elements_of(forward)
    lost = data.draw(st.sampled_from(elements))
    found = forward_of_elements(Tag("ab12", forward.id), frozenset(elements) - {lost})
    assert found != forward


@given(forwards(longest=3), forwards(longest=3))
def test_elements_of_two_forwards_are_not_one(one: Forward, other: Forward) -> None:
    """As when one of them was changed by hand."""
    assume(one != other)
    both = frozenset(elements_of(one)) | frozenset(elements_of(other))
    assume(both not in (frozenset(elements_of(one)), frozenset(elements_of(other))))
    found = forward_of_elements(TAG, both)
    assert found is None or frozenset(elements_of(found)) == both


@given(SETS, SETS)
def test_a_plan_makes_exactly_what_is_desired(
    before: list[Forward], desired: list[Forward]
) -> None:
    """From anything that was there before; and then nothing is left to plan."""
    after = changed(changed(None, before), desired)
    assert with_ends(seen(after).live.forwards.values()) == with_ends(desired)
    assert not seen(after).live.damaged
    assert not planned(desired, after)


@given(forwards("STAYS", longest=5), SETS, SETS)
def test_the_elements_of_a_forward_that_stays_are_not_rewritten(
    stays: Forward, before: list[Forward], desired: list[Forward]
) -> None:
    """Their counters live on; and the table's own rules are left alone."""
    kept, before = apart([stays], before)
    kept, desired = apart([stays], desired)
    table = changed(None, [*kept, *before])
    desired = [*kept, *desired]
    lines = [line for step in planned(desired, table).steps for line in step.lines]
    assert all(line.split()[1] == "element" for line in lines)
    for element in elements_of(stays):
        key = f"{element.place} {{ {element.key} "
        assert not [line for line in lines if key in line]


@given(SETS)
def test_nothing_is_left_of_us_after_the_last_forward(desired: list[Forward]) -> None:
    """No table."""
    assert changed(changed(None, desired), []) is None


def shared(
    ours: list[Forward], theirs: list[Forward]
) -> tuple[list[Forward], Table | None]:
    """Return another owner's forwards, and a table that holds both."""
    ours, theirs = apart(ours, theirs)
    return theirs, changed(changed(None, ours), theirs, OTHER_SITE)


@given(SETS, SETS, SETS)
def test_another_home_assistants_elements_stay(
    ours: list[Forward], theirs: list[Forward], desired: list[Forward]
) -> None:
    """Both share the table, and neither touches the other's elements."""
    theirs, both = shared(ours, theirs)
    theirs, desired = apart(theirs, desired)
    after = changed(both, desired)
    live = seen(after).live
    assert live.forwards == {forward.id: forward for forward in desired}
    assert live.foreign == {Tag("cd34", forward.id) for forward in theirs}
    by_them = seen(after, OTHER_SITE).live
    assert by_them.forwards == {forward.id: forward for forward in theirs}
    assert (after is None) == (not theirs and not desired)


DAMAGES = {
    "a chain flushed": lambda table: table.chains["pre"][1].clear(),
    "a rule gone": lambda table: table.chains["post"][1].pop(),
    "a rule first": lambda table: table.chains["pre"][1].insert(0, "counter accept"),
    "rules swapped": lambda table: table.chains["pre"][1].reverse(),
    "a rule twice": lambda table: table.chains["pre"][1].append(
        table.chains["pre"][1][0]
    ),
    "a chain gone": lambda table: table.chains.pop("post"),
    "a chain more": lambda table: table.chains.update(
        more=("type filter hook forward priority 0; policy drop;", [])
    ),
    "a priority": lambda table: table.chains.update(
        pre=(
            table.chains["pre"][0].replace("dstnat - 5", "dstnat"),
            table.chains["pre"][1],
        )
    ),
    "no hook": lambda table: table.chains.update(pre=("", table.chains["pre"][1])),
    "a policy": lambda table: table.chains.update(
        post=(
            table.chains["post"][0].replace("accept", "drop"),
            table.chains["post"][1],
        )
    ),
    "a map gone": lambda table: table.sets.pop("same_tcp"),
}


@given(st.sampled_from(sorted(DAMAGES)), SETS)
def test_a_damaged_table_is_made_anew_with_the_elements_of_others(
    damage: str, theirs: list[Forward]
) -> None:
    """In one transaction. Until then, no one's forward is live."""
    _, theirs = apart([WEB], theirs)
    table = changed(changed(None, [WEB]), theirs, OTHER_SITE)
    assert table is not None
    DAMAGES[damage](table)
    assert seen(table).live.forwards == {}
    assert seen(table, OTHER_SITE).live.forwards == {}
    assert len(planned([WEB], table).steps) == 1
    after = changed(table, [WEB])
    assert seen(after).live.forwards == {WEB.id: WEB}
    assert not planned([WEB], after)
    by_them = seen(after, OTHER_SITE).live
    if damage == "a map gone":
        # What was in there can't be known any more; they see that it is not all.
        theirs = [
            forward
            for forward in theirs
            if all(element.place != "same_tcp" for element in elements_of(forward))
        ]
    assert by_them.forwards == {forward.id: forward for forward in theirs}
    assert changed(changed(after, []), [], OTHER_SITE) is None


@given(SETS, st.data())
def test_whatever_was_taken_away_is_put_back(
    desired: list[Forward], data: st.DataObject
) -> None:
    """Elements, or all of a map's."""
    table = changed(None, desired)
    assume(table)
    assert table is not None
    for _, elements in table.sets.values():
        for key in list(elements):
            if data.draw(st.booleans()):
                del elements[key]
    after = changed(table, desired)
    assert with_ends(seen(after).live.forwards.values()) == with_ends(desired)
    assert not planned(desired, after)


def test_an_element_that_was_edited_by_hand_is_no_forward_and_is_mended() -> None:
    """It has our tag, and sends packets elsewhere."""
    table = changed(None, [WEB])
    assert table is not None
    elements = table.sets["translated"][1]
    for key, text in elements.items():
        elements[key] = text.replace("192.168.50.10", "192.168.50.66")
    assert seen(table).live.forwards != {WEB.id: WEB}
    assert seen(changed(table, [WEB])).live.forwards == {WEB.id: WEB}


STRANGER = "tcp . 9999 : 192.168.50.99 . 1"


def test_an_element_of_nobody_in_our_table_keeps_it() -> None:
    """Whoever put it there by hand may need it."""
    table = changed(None, [WEB])
    assert table is not None
    table.sets["translated"][1]["tcp . 9999"] = STRANGER
    assert seen(table).live.forwards == {WEB.id: WEB}
    after = changed(table, [])
    assert after is not None
    assert after.sets["translated"][1] == {"tcp . 9999": STRANGER}
    assert not planned([], after)


@pytest.mark.parametrize(
    "theirs",
    [
        WEB,
        replace(WEB, target=WEB.target + 1),
        replace(WEB, sources=(IPv4Network("10.0.0.0/8"),)),
        replace(WEB, protocol=Protocol.BOTH),
    ],
    ids=["the same", "another target", "other clients", "more"],
)
def test_a_port_that_another_holds_is_refused_as_a_whole(theirs: Forward) -> None:
    """Even where both would do the same, or for other clients."""
    table = changed(None, [replace(theirs, id="01CD")], OTHER_SITE)
    for ours in (WEB, replace(WEB, sources=(IPv4Network("203.0.113.0/24"),))):
        with pytest.raises(Refused):
            changed(table, [ours])


def test_a_port_that_was_forwarded_by_hand_is_refused_too() -> None:
    """Although it goes to the same place: ours would not be there, nor said so."""
    table = changed(None, [GUARD])
    assert table is not None
    key = "tcp . 8443"
    table.sets["translated"][1][key] = f"{key} : 192.168.50.10 . 443"
    with pytest.raises(Refused):
        changed(table, [GUARD, WEB])


def test_a_port_may_go_from_one_forward_to_another_at_once() -> None:
    """What goes is deleted before what comes is added."""
    forwards = [replace(WEB, id=f"01{n}", target=WEB.target + n) for n in range(3)]
    table = None
    for before, after in pairwise([[], *([forward] for forward in forwards), []]):
        assert seen(table).live.forwards == {f.id: f for f in before}
        table = changed(table, after)
    assert table is None


# What the router prints


def test_no_table_is_no_forward() -> None:
    """And no error."""
    assert read(None) == NftState()


@pytest.mark.parametrize(
    ("printed", "error"),
    [
        (Result("Operation not permitted (you must be root)", 1), NotPrivileged),
        (Result("sudo: a password is required", 1), NotPrivileged),
        (Result("Error: Could not process rule: Device busy", 1), FirewallFailed),
        (Result("", 139), FirewallFailed),
        (Result("", 0), BadOutput),
        (Result("table ip other {\n}", 0), BadOutput),
        (Result("table ip6 ha_bypass {\n}", 0), BadOutput),
    ],
)
def test_a_failed_look_is_an_error_and_never_an_empty_router(
    printed: Result, error: type[Exception]
) -> None:
    """Otherwise a switch would show off while the port is open."""
    with pytest.raises(error):
        FIREWALL.read({"nft.table": printed})


@given(st.sampled_from(PLACES), st.text(max_size=80) | forwards(longest=1).map(str))
def test_no_text_in_an_elements_place_breaks_the_reader(place: str, text: str) -> None:
    """It is one of ours, or it is no one's."""
    element = read_element(place, text, 0)
    if element:
        assert f" element ip ha_bypass {place} {{ " in add_line(*element)


@pytest.mark.parametrize(
    ("place", "text"),
    [
        (
            "translated_from",
            '0.0.0.0/0 . tcp . 0 comment "{tag}" : 192.168.50.10 . 443',
        ),
        (
            "translated_from",
            '0.0.0.0/0 . tcp . 65536 comment "{tag}" : 192.168.50.10 . 1',
        ),
        (
            "translated_from",
            '0.0.0.0/33 . tcp . 1 comment "{tag}" : 192.168.50.10 . 443',
        ),
        (
            "translated_from",
            '10.0.0.1/8 . tcp . 1 comment "{tag}" : 192.168.50.10 . 443',
        ),
        ("translated_from", '0.0.0.0/0 . tcp . 1 comment "{tag}" : 192.168.50 . 443'),
        ("translated_from", '0.0.0.0/0 . tcp . 1 comment "{tag}" : 192.168.50.10'),
        ("same_from", '0.0.0.0/0 . tcp . 1 comment "{tag}" : 192.168.50.10 . 443'),
        ("same_from", '0.0.0.0/0 . tcp . 2-1 comment "{tag}" : 192.168.50.10'),
        ("same_from", '0.0.0.0/0 . sctp . 1 comment "{tag}" : 192.168.50.10'),
        ("same_from", '0.0.0.0/0 . tcp . 1 comment "{tag} " : 192.168.50.10'),
        ("kept_tcp", '1-70000 comment "{tag}"'),
        ("kept_tcp", "1"),
    ],
)
def test_an_element_that_we_would_not_write_is_nobodys(place: str, text: str) -> None:
    """It is left alone."""
    assert read_element(place, text.format(tag=TAG), 0) is None


def test_all_that_we_ever_write_is_tried_first() -> None:
    """Each kind of line, in a table of another name."""
    lines = check_lines(SITE)
    assert all(" ip ha_bypass_check" in line for line in lines)
    kinds = {line.split()[1] for line in lines}
    assert kinds == {"table", "map", "set", "chain", "rule", "element"}
    assert len(lines) > len(table_lines(SITE))
