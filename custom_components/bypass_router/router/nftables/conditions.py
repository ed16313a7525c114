"""What rules of nft ask of a packet: their words read as conditions.

What is not understood is a condition that may be true or not. Versions from 0.9 on
are understood, which print some things by number that others have names for.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from ..passage.packet import Condition, Key
from .values import addresses, compared, marks, numbers, word
from .words import MASKS, Comparison, Words

_BY_INTERFACE = {
    "iif": Key.INPUT,
    "iifname": Key.INPUT,
    "oif": Key.OUTPUT,
    "oifname": Key.OUTPUT,
}
# By which no one can tell one client from another.
_OF_META = frozenset(
    [
        "length",
        "priority",
        "cpu",
        "secpath",
        "ibrname",
        "obrname",
        "ibrpvid",
        "ibrvproto",
        "iifgroup",
        "oifgroup",
        "iiftype",
        "oiftype",
        "iifkind",
        "oifkind",
        "sdif",
        "sdifname",
        "cgroup",
        "rtclassid",
        "nftrace",
        "secmark",
        "broute",
    ]
)
_OF_CONNECTIONS = frozenset(
    [
        "zone",
        "helper",
        "l3proto",
        "protocol",
        "expiration",
        "event",
        "secmark",
        "id",
    ]
)
_OF_IP = frozenset(
    [
        "version",
        "hdrlength",
        "dscp",
        "ecn",
        "length",
        "id",
        "frag-off",
        "ttl",
        "checksum",
    ]
)
_ADDRESSES = {"saddr": Key.SOURCE, "daddr": Key.DESTINATION}
_PORTS = {"sport": Key.SOURCE_PORT, "dport": Key.DESTINATION_PORT}
_ORIGINAL = {
    "saddr": Key.ORIGINAL_SOURCE,
    "daddr": Key.ORIGINAL_DESTINATION,
    "proto-dst": Key.ORIGINAL_PORT,
}
_OTHER_TRANSPORTS = frozenset(
    ["sctp", "dccp", "udplite", "icmp", "igmp", "ah", "esp", "comp", "gre"]
)
_OF_IPV6 = frozenset(["ip6", "icmpv6", "mh", "hbh", "frag", "dst", "arp"])
_HASHED = frozenset({"mod", "seed", "offset"})
_BY_ADDRESS = frozenset(
    {Key.SOURCE, Key.DESTINATION, Key.ORIGINAL_SOURCE, Key.ORIGINAL_DESTINATION}
)
# By which one client may be told from another.
_TELLING = _BY_ADDRESS | {Key.LABEL}
_BY_NUMBER = _BY_ADDRESS | {Key.SOURCE_PORT, Key.DESTINATION_PORT, Key.ORIGINAL_PORT}


@dataclass(frozen=True, slots=True)
class Selector:
    """What of a packet a rule looks at."""

    key: Key = Key.UNKNOWN
    by_client: bool = False
    """Whether it may tell one client from another, where the key does not say it."""
    implied: tuple[Condition, ...] = ()
    """What is so of a packet that has any such thing."""
    is_status: bool = False

    def condition(self, comparison: Comparison) -> Condition:
        """Return what is asked of it."""
        if self.key is not Key.MARK:
            return self._condition(comparison)
        found, unmarked = marks(comparison)
        return Condition(self.key, found, negated=unmarked)

    def _condition(self, comparison: Comparison) -> Condition:
        """Return what is asked of anything but a mark."""
        negated = comparison.negated and self.key in _TELLING
        unknown = Condition(self.key, negated=negated, by_client=self.by_client)
        if not comparison.items or self.key in (Key.UNKNOWN, Key.LABEL):
            return unknown
        if self.key in _BY_NUMBER:
            parse = addresses if self.key in _BY_ADDRESS else numbers
            try:
                intervals = tuple(compared(map(parse, comparison.items), comparison))
            except ValueError:
                return unknown
            return Condition(self.key, intervals, negated=comparison.negated)
        words = [word(self.key, item) for item in comparison.items]
        if None in words or comparison.operator not in ("==", "!=", "!"):
            return unknown
        if comparison.operator == "!=" and (
            # Then all bits are compared at once.
            self.is_status
            or (self.key is Key.STATE and len(words) > 1 and not comparison.is_set)
        ):
            return unknown
        return Condition(
            self.key, words=frozenset(filter(None, words)), negated=comparison.negated
        )


def read_selector(words: Words) -> Selector | None:
    """Take what a rule looks at, if that is what comes next; None if it is not."""
    if key := _BY_INTERFACE.get(words.next):
        words.take()
        return Selector(key)
    head = words.next
    if head in _OTHER_TRANSPORTS:
        words.take(2)
        return Selector(implied=(_of_transport(head),))
    if head in _OF_IPV6:
        words.take(2)
        family = Condition(Key.FAMILY, words=frozenset({"ipv6"}))
        return Selector(implied=(family,))
    if read := _READERS.get(head):
        words.take()
        return read(words)
    return None


def joined(selectors: Iterable[Selector]) -> Selector:
    """Return several that are looked at together, as one that no value is known of."""
    found = list(selectors)
    if len(found) == 1:
        return found[0]
    keys = {selector.key for selector in found}
    key = next(
        (
            key
            for key in (Key.SOURCE, Key.ORIGINAL_SOURCE, Key.DESTINATION)
            if key in keys
        ),
        Key.UNKNOWN,
    )
    return Selector(
        key,
        any(selector.by_client for selector in found),
        tuple(it for selector in found for it in selector.implied),
    )


def skip_expression(words: Words) -> None:
    """Go on behind what something is set to."""
    while words:
        if words.took("jhash"):
            continue
        if words.took("numgen"):
            words.take()
        elif read_selector(words) is None:
            words.skip()
        while words.took_any(_HASHED):
            words.take()
        if words.took("map"):
            words.skip()
        if not (words.took_any(MASKS) or words.took(".") or words.took(",")):
            return


def _meta(words: Words) -> Selector:
    """Take what stands behind `meta`."""
    name = words.take()
    if key := _BY_INTERFACE.get(name):
        return Selector(key)
    match name:
        case "mark":
            return Selector(Key.MARK)
        case "l4proto":
            return Selector(Key.TRANSPORT)
        case "nfproto" | "protocol":
            return Selector(Key.FAMILY)
        case "pkttype":
            return Selector(Key.KIND)
    return Selector(by_client=name not in _OF_META)


def _ct(words: Words) -> Selector:
    """Take what stands behind `ct`."""
    original = words.took("original")
    reply = not original and words.took("reply")
    words.took("ip")
    name = words.take()
    if original and name in _ORIGINAL:
        return Selector(_ORIGINAL[name])
    match name:
        case _ if reply:
            return Selector(by_client=name == "daddr")
        case "state" | "direction" | "mark" | "label":
            return Selector(Key(name))
        case "status":
            return Selector(Key.STATE, is_status=True)
    return Selector(by_client=name not in _OF_CONNECTIONS)


def _ip(words: Words) -> Selector:
    """Take what stands behind `ip`."""
    name = words.take()
    if key := _ADDRESSES.get(name):
        return Selector(key)
    if name == "protocol":
        return Selector(Key.TRANSPORT)
    if name == "option":
        words.take(2)
    return Selector(by_client=name not in _OF_IP)


def _of_transport(name: str) -> Condition:
    """Return the condition that a packet is of a protocol."""
    return Condition(Key.TRANSPORT, words=frozenset({name}))


def _ports(transport: str) -> Callable[[Words], Selector]:
    """Return what takes what stands behind a protocol that has ports."""
    implied = (_of_transport(transport),) if transport else ()

    def read(words: Words) -> Selector:
        """Take it."""
        name = words.take()
        if key := _PORTS.get(name):
            return Selector(key, implied=implied)
        if name == "option":
            words.take()
            if words.next not in ("exists", "missing"):
                words.take()
        return Selector(implied=implied)

    return read


def _ether(words: Words) -> Selector:
    """Take what stands behind `ether`."""
    name = words.take()
    if name == "type":
        return Selector(Key.FAMILY)
    return Selector(by_client=name == "saddr")


def _fib(words: Words) -> Selector:
    """Take what is looked up in the routes, and what of the one that is found."""
    asked = [words.take()]
    while words.took("."):
        asked.append(words.take())
    result = words.take()
    if result == "type" and "daddr" in asked and "saddr" not in asked:
        return Selector(Key.KIND)
    return Selector(by_client="saddr" in asked)


def _other(words: Words) -> Selector:
    """Take a word of something else."""
    words.take()
    return Selector()


_READERS: dict[str, Callable[[Words], Selector]] = {
    "meta": _meta,
    "ct": _ct,
    "ip": _ip,
    "tcp": _ports("tcp"),
    "udp": _ports("udp"),
    "th": _ports(""),
    "ether": _ether,
    "fib": _fib,
    "rt": _other,
    "vlan": _other,
    "iifgroup": lambda _: Selector(),
    "oifgroup": lambda _: Selector(),
    "iiftype": lambda _: Selector(),
    "oiftype": lambda _: Selector(),
}
