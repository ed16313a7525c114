"""What an option of a rule of iptables asks of a packet, by its words.

Anyone may have written them; what is not known is None.
"""

from collections.abc import Callable, Sequence
from dataclasses import replace
from ipaddress import AddressValueError, IPv4Address

from ..passage.packet import Condition, Interval, Key

_BITS = 32
"""Of an address."""
_ALL_BITS = 2**_BITS - 1
_LAST_PORT = 65535
_MOST_DIGITS = len(str(_LAST_PORT))
_NUMBERS = {"6": "tcp", "17": "udp", "1": "icmp"}
_KINDS = frozenset({"unicast", "local", "broadcast", "multicast", "anycast"})
# Sets in which Docker keeps the networks of its own bridges.
_OWN_NETWORKS = "docker-ext-bridges-"

BY_CLIENT = Condition(Key.UNKNOWN, by_client=True)
OTHER = Condition(Key.UNKNOWN)
LISTED = Condition(Key.SOURCE, by_client=True)
"""Whether the client is on some list."""


def read_option(name: str, values: Sequence[str]) -> Condition | None:
    """Return the condition that an option and its words are; None if not known."""
    if name not in _READERS_OF_TWO:
        read = _READERS.get(name)
        return read(values[0] if values else "") if read else None
    match values:
        case [first, second]:
            return _READERS_OF_TWO[name](first, second)
    return None


def _kind_of_destination(text: str) -> Condition | None:
    """Read what kind of address it goes to."""
    found = _kind(text)
    return found and replace(found, key=Key.DESTINATION_KIND)


def _numbers(
    key: Key, read: Callable[[str], tuple[Interval, ...]]
) -> Callable[[str], Condition | None]:
    """Return a reader of conditions on numbers."""

    def reader(text: str) -> Condition | None:
        intervals = read(text)
        return Condition(key, intervals) if intervals else None

    return reader


def _listed_words(key: Key) -> Callable[[str], Condition | None]:
    """Return a reader of conditions on words, which are separated by commas."""

    def reader(text: str) -> Condition | None:
        words = text.lower().replace("_", "-").split(",")
        return Condition(key, words=frozenset(filter(None, words)))

    return reader


def _interface(key: Key) -> Callable[[str], Condition | None]:
    """Return a reader of conditions on an interface."""

    def reader(name: str) -> Condition | None:
        if not name or name.endswith("*"):
            return None
        words = frozenset({name[:-1] + "*" if name.endswith("+") else name})
        return Condition(key, words=words)

    return reader


def _protocol(text: str) -> Condition | None:
    """Read a protocol."""
    return Condition(Key.TRANSPORT, words=frozenset({_NUMBERS.get(text, text)}))


def _kind(text: str) -> Condition | None:
    """Read what kind of address or frame it is."""
    words = frozenset(text.lower().split(","))
    # The others depend on how an address is routed.
    return Condition(Key.KIND, words=words) if words <= _KINDS else None


def _flags(looked_at: str, are_set: str) -> Condition:
    """Read which flags of TCP are looked at, and which of them are to be set."""
    opens = are_set == ("SYN" if "SYN" in looked_at.split(",") else "NONE")
    return Condition(Key.FLAGS, words=frozenset({"opening" if opens else "other"}))


def read_mark(text: str) -> tuple[Interval, ...]:
    """Read a mark and its mask; nothing if it is none."""
    bits, _, mask = text.partition("/")
    try:
        return ((int(bits, 0), int(mask, 0) if mask else _ALL_BITS),)
    except ValueError:
        # Saved and restored, or computed.
        return ()


def _marked(text: str) -> Condition:
    """Read which mark is asked for; the contrary of one is no mark at all."""
    found = read_mark(text)
    unmarked = any(not value & mask for value, mask in found)
    return Condition(Key.MARK, found, negated=unmarked)


def read_ports(text: str) -> tuple[Interval, ...]:
    """Read ports and ranges of them; nothing if that is not what it is."""
    found = []
    for part in text.split(","):
        first, is_range, last = part.partition(":")
        bounds = (first or "0", (last or str(_LAST_PORT)) if is_range else first)
        if not all(
            it.isascii() and it.isdigit() and len(it) <= _MOST_DIGITS for it in bounds
        ):
            return ()
        found.append((int(bounds[0]), int(bounds[1])))
    return tuple(found)


def _networks(text: str) -> tuple[Interval, ...]:
    """Read networks; nothing if one of them is none."""
    found = tuple(map(_network, text.split(",")))
    return tuple(filter(None, found)) if all(found) else ()


def _network(text: str) -> Interval | None:
    """Read a network, if its addresses are neighbours."""
    address, _, mask = text.partition("/")
    try:
        first = int(IPv4Address(address))
        if "." in mask:
            hosts = int(IPv4Address(mask)) ^ _ALL_BITS
        else:
            length = int(mask or _BITS) if mask.isascii() else -1
            hosts = (1 << (_BITS - length)) - 1 if 0 <= length <= _BITS else -1
    except AddressValueError, ValueError:
        return None
    if hosts < 0 or hosts & (hosts + 1):
        return None
    return first & ~hosts, first | hosts


def _range(text: str) -> tuple[Interval, ...]:
    """Read a range of addresses."""
    first, _, last = text.partition("-")
    ends = _network(first), _network(last or first)
    return ((ends[0][0], ends[1][0]),) if ends[0] and ends[1] else ()


def _set(name: str, flags: str) -> Condition:
    """Read whether an address is in a set."""
    if name.startswith(_OWN_NETWORKS):
        return OTHER
    return LISTED if flags.startswith("src") else BY_CLIENT


_READERS: dict[str, Callable[[str], Condition | None]] = {
    "-s": _numbers(Key.SOURCE, _networks),
    "-d": _numbers(Key.DESTINATION, _networks),
    "-i": _interface(Key.INPUT),
    "-o": _interface(Key.OUTPUT),
    "-p": _protocol,
    "--sport": _numbers(Key.SOURCE_PORT, read_ports),
    "--dport": _numbers(Key.DESTINATION_PORT, read_ports),
    "--sports": _numbers(Key.SOURCE_PORT, read_ports),
    "--dports": _numbers(Key.DESTINATION_PORT, read_ports),
    "--ctstate": _listed_words(Key.STATE),
    "--state": _listed_words(Key.STATE),
    "--ctstatus": _listed_words(Key.STATE),
    "--ctproto": _protocol,
    "--ctdir": _listed_words(Key.DIRECTION),
    "--ctorigsrc": _numbers(Key.ORIGINAL_SOURCE, _networks),
    "--ctorigdst": _numbers(Key.ORIGINAL_DESTINATION, _networks),
    "--ctorigdstport": _numbers(Key.ORIGINAL_PORT, read_ports),
    # Of a reply: where it goes to is the client, most often.
    "--ctrepldst": lambda _: BY_CLIENT,
    "--mark": _marked,
    "--src-type": _kind,
    "--dst-type": _kind_of_destination,
    "--pkt-type": _kind,
    "--src-range": _numbers(Key.SOURCE, _range),
    "--dst-range": _numbers(Key.DESTINATION, _range),
}
_READERS_OF_TWO: dict[str, Callable[[str, str], Condition]] = {
    "--match-set": _set,
    "--tcp-flags": _flags,
}
