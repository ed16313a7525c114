"""Values that rules of nft compare with, as nft prints them: names, numbers, ranges."""

from collections.abc import Iterable, Sequence
from ipaddress import IPv4Address, IPv4Network

from ..passage.packet import Interval, Key, address_of, interval_of
from .words import Comparison

_MOST = 2**32 - 1
_FAMILIES = frozenset({"ip", "ipv4", "2", "0x0800", "0x800"})
_BITS = {1: "invalid", 2: "established", 4: "related", 8: "new", 64: "untracked"}
_NAMES = {
    Key.TRANSPORT: {"1": "icmp", "6": "tcp", "17": "udp"},
    Key.KIND: {"host": "unicast"},
    Key.DIRECTION: {"0": "original", "1": "reply"},
    Key.STATE: {
        form: name for bit, name in _BITS.items() for form in (str(bit), hex(bit))
    },
}
_LONGEST_NUMBERS = 24


def word(key: Key, item: str) -> str | None:
    """Return a value as packets have it; None if that is not known."""
    if key is Key.FAMILY:
        return "ipv4" if item in _FAMILIES else "ipv6"
    found = _NAMES.get(key, {}).get(item)
    # Other numbers: a range, or that of an interface that is no more.
    return found or (None if item[:1].isdigit() else item.strip('"'))


def numbers(item: str) -> Interval:
    """Return a number, or a range of them. Raises ValueError."""
    first, _, last = item.partition("-")
    if len(item) > _LONGEST_NUMBERS:
        raise ValueError
    return int(first, 0), int(last or first, 0)


def addresses(item: str) -> Interval:
    """Return an address, a network or a range. Raises ValueError."""
    first, ranged, last = item.partition("-")
    if ranged:
        return int(IPv4Address(first)), int(IPv4Address(last))
    if "/" in item:
        return interval_of(IPv4Network(item, strict=False))
    return address_of(IPv4Address(item))


def compared(
    intervals: Iterable[Interval], comparison: Comparison
) -> Iterable[Interval]:
    """Yield what is compared as intervals. Raises ValueError."""
    for first, last in intervals:
        match comparison.operator:
            case "<":
                found = (0, first - 1)
            case "<=":
                found = (0, first)
            case ">":
                found = (first + 1, _MOST)
            case ">=":
                found = (first, _MOST)
            case _:
                found = (first, last)
        if found[0] > found[1]:
            raise ValueError
        yield found


def marks(comparison: Comparison) -> tuple[tuple[Interval, ...], bool]:
    """Return with which marks one is compared, and whether no mark meets that.

    Each has its mask; there are none for any.
    """
    mask, items = comparison.bits or (str(_MOST), comparison.items)
    try:
        bits, _ = numbers(mask)
        found = [numbers(item) for item in items]
    except ValueError:
        return (), comparison.negated
    unmarked = comparison.negated != any(first <= 0 <= last for first, last in found)
    of_none = comparison.negated and set(found) == {(0, 0)}
    if not of_none and comparison.operator != "==":
        return (), unmarked and comparison.negated
    if any(first != last for first, last in found):
        return (), unmarked
    return tuple((first, bits) for first, _ in found), unmarked


def bits_set(expression: Sequence[str]) -> Interval:
    """Return what a mark is set to, and which bits of that are known."""
    try:
        match expression:
            case [value]:
                return int(value, 0), _MOST
            case ["meta" | "ct", "mark", "&", kept, "|", value]:
                return int(value, 0), _MOST & ~int(kept, 0) | int(value, 0)
            case ["meta" | "ct", "mark", "|", value]:
                return int(value, 0), int(value, 0)
    except ValueError:
        pass
    return 0, 0
