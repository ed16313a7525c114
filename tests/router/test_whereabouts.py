"""Where a device is that a forward follows, by what its addresses have answered."""

from collections.abc import Mapping
from ipaddress import IPv4Address, IPv4Interface

from hypothesis import given, strategies as st
import pytest

from custom_components.bypass_router.router.network.neighbours import is_device
from custom_components.bypass_router.router.network.whereabouts import (
    Followed,
    Found,
    Sight,
    Sights,
    Whereabouts,
    asking_script,
    is_random,
    parse_mac,
    read_sights,
    to_ask_for,
    whereabouts,
)
from custom_components.bypass_router.router.ssh.script import Result

ROUTER = IPv4Interface("192.168.50.2/24")
MAIN = IPv4Address("192.168.50.1")
OURS, STRANGER = "00:16:3e:00:00:0a", "00:16:3e:00:00:14"
OLD, NEW, NEWER = map(IPv4Address, ("192.168.50.10", "192.168.50.77", "192.168.50.78"))
DEVICE = Followed(OURS, OLD)
STATES = ("REACHABLE", "STALE", "DELAY", "PROBE", "FAILED", "INCOMPLETE", "NOARP")
GONE = Sight("", "FAILED")


def there(mac: str = OURS) -> Sight:
    """Return what is said of a device that has answered."""
    return Sight(mac, "REACHABLE")


def asked(**of: Sight) -> Sights:
    """Return what was asked for anew, by `old`, `new` and `newer`."""
    names = {"old": OLD, "new": NEW, "newer": NEWER}
    return Sights({names[name]: sight for name, sight in of.items()}, fresh=True)


@pytest.mark.parametrize(
    ("sights", "found"),
    [
        (asked(old=there()), Whereabouts(Found.HERE)),
        (asked(old=there(), new=there()), Whereabouts(Found.HERE)),
        (asked(old=GONE, new=there()), Whereabouts(Found.MOVED, NEW)),
        (
            asked(old=Sight("", "INCOMPLETE"), new=there()),
            Whereabouts(Found.MOVED, NEW),
        ),
        (asked(old=there(STRANGER), new=there()), Whereabouts(Found.MOVED, NEW)),
        (asked(old=there(STRANGER)), Whereabouts(Found.TAKEN)),
        (asked(old=there(STRANGER), new=there(STRANGER)), Whereabouts(Found.TAKEN)),
        (asked(old=there(STRANGER), new=GONE), Whereabouts(Found.TAKEN)),
        (asked(old=GONE), Whereabouts(Found.GONE)),
        (asked(old=GONE, new=there(STRANGER)), Whereabouts(Found.GONE)),
        (asked(old=GONE, new=Sight(OURS, "STALE")), Whereabouts(Found.GONE)),
        (asked(old=GONE, new=there(), newer=there()), Whereabouts(Found.MOVED, NEW)),
        (asked(new=there()), Whereabouts(Found.UNKNOWN)),
        (asked(), Whereabouts(Found.UNKNOWN)),
    ],
)
def test_the_old_address_counts_as_long_as_it_answers(
    sights: Sights, found: Whereabouts
) -> None:
    """And a new one only once the old one does not, for this device."""
    assert whereabouts(DEVICE, sights) == found


@pytest.mark.parametrize(
    ("old", "new", "answered", "found"),
    [
        # It was reachable half a minute ago, and may be gone.
        ("REACHABLE", "STALE", [], Whereabouts(Found.UNKNOWN)),
        ("REACHABLE", "STALE", [OLD], Whereabouts(Found.HERE)),
        ("STALE", "STALE", [OLD, NEW], Whereabouts(Found.HERE)),
        ("PROBE", "REACHABLE", [NEW], Whereabouts(Found.UNKNOWN)),
        ("FAILED", "STALE", [], Whereabouts(Found.MOVED, NEW)),
        ("FAILED", "DELAY", [NEW], Whereabouts(Found.MOVED, NEW)),
        ("FAILED", "FAILED", [], Whereabouts(Found.GONE)),
    ],
)
def test_an_account_that_can_make_the_kernel_forget_nothing_waits_for_it(
    old: str, new: str, answered: list[IPv4Address], found: Whereabouts
) -> None:
    """Unless a ping is answered."""
    of = {OLD: Sight(OURS, old), NEW: Sight(OURS, new)}
    sights = Sights(of, answered=frozenset(answered))
    assert whereabouts(DEVICE, sights) == found


ADDRESSES = st.integers(0, 255).map(lambda last: IPv4Address(f"192.168.50.{last}"))
LINES = st.tuples(
    ADDRESSES,
    st.sampled_from(["lan", "lan", "lan", "wan"]),
    st.sampled_from([OURS, OURS.upper(), STRANGER, ""]),
    st.sampled_from(STATES),
)


@given(st.lists(LINES, max_size=12), st.booleans(), st.sets(ADDRESSES, max_size=4))
def test_a_forward_never_moves_to_what_is_not_its_devices(
    lines: list[tuple[IPv4Address, str, str, str]],
    fresh: bool,
    answered: set[IPv4Address],
) -> None:
    """Nor away from an address at which the device answers, whatever a router says."""
    text = "\n".join(
        f"{address} dev {interface} {f'lladdr {mac} ' if mac else ''}{state} "
        for address, interface, mac, state in lines
    )
    sections = {
        "neighbours": Result(text, 0),
        "routes": Result(f"default via {MAIN} dev lan\n192.168.50.0/24 dev lan", 0),
        "ask": Result("\n".join(f"answered {it}" for it in answered), 0),
        "forget.0": Result("", 0 if fresh else 1),
    }
    barred = IPv4Address("192.168.50.3")
    sights = read_sights(sections, ROUTER, "lan", [barred])
    told: Mapping[IPv4Address, tuple[str, str]] = {
        address: (mac.lower(), state)
        for address, interface, mac, state in lines
        if interface == "lan"
    }
    result = whereabouts(DEVICE, sights)
    mac, state = told.get(OLD, ("", ""))
    if mac == OURS and (fresh and state in {"REACHABLE", "NOARP"}):
        assert result.found is Found.HERE
    if result.found is Found.MOVED:
        assert result.address is not None
        assert result.address not in (OLD, MAIN, barred)
        assert is_device(result.address, ROUTER)
        assert told[result.address][0] == OURS
        assert told[result.address][1] not in {"FAILED", "INCOMPLETE"}
    else:
        assert result.address is None
    if all(mac != STRANGER for mac, _ in told.values()):
        assert result.found is not Found.TAKEN
    # Nothing is asked for while all is as it was.
    if not to_ask_for(DEVICE, sights):
        assert result.found in {Found.HERE, Found.GONE, Found.UNKNOWN}


@given(st.text())
def test_whatever_a_router_prints_is_read(text: str) -> None:
    """As neighbours, as routes, or as nothing."""
    result = Result(text, 0)
    sections = {"neighbours": result, "routes": result, "ask": result}
    read = read_sights(sections, ROUTER, "lan")
    assert all(is_device(address, ROUTER) for address in read.of)


@pytest.mark.parametrize(
    ("text", "mac"),
    [
        ("00:16:3E:00:00:0A", OURS),
        (" 00-16-3e-00-00-0a ", OURS),
        ("02:16:3e:00:00:0a", "02:16:3e:00:00:0a"),
        ("01:00:5e:00:00:16", None),
        ("ff:ff:ff:ff:ff:ff", None),
        ("00:00:00:00:00:00", None),
        ("00:16:3e:00:00:0a\n$(reboot)", None),
        ("", None),
        (None, None),
        (7, None),
    ],
)
def test_only_what_is_one_devices_address_can_be_followed(
    text: object, mac: str | None
) -> None:
    """Nothing else gets into a script."""
    assert parse_mac(text) == mac
    if mac:
        assert is_random(mac) == mac.startswith("02")
    else:
        with pytest.raises(ValueError, match="no MAC address"):
            Followed(str(text), OLD)


def test_only_who_may_has_the_kernel_forget_what_it_knows() -> None:
    """First sudo is asked: what it refuses stands in the router's log."""
    forget = "ip -4 neigh flush to 192.168.50.10 dev br-lan"
    assert f" {forget}\n" in asking_script([OLD, NEW], "br-lan", sudo=False).text
    by_sudo = asking_script([OLD], "br-lan", sudo=True).text
    assert f"sudo -n -l {forget} >/dev/null && exec sudo -n {forget}" in by_sudo
