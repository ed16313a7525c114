"""What a rule of iptables asks of a packet, and what it does with one.

What is not known may be true or not. Of that, what may tell one client from another,
or count them, is held to decide by who asks.
"""

from collections.abc import Callable, Collection, Sequence
from dataclasses import replace
from ipaddress import AddressValueError, IPv4Address

from ..passage.chains import Action, Branch, ChainRule, Marking
from ..passage.packet import Condition, Interval, Key
from .rule import Option, Rule

_BITS = 32
"""Of an address."""
_ALL_BITS = 2**_BITS - 1
_LAST_PORT = 65535
_MOST_DIGITS = len(str(_LAST_PORT))
_TWO = 2
# An option, and the one word behind it.
_NAMED_ALONE = 2
# More than any rule has that is meant for a packet to meet.
_MOST_OPTIONS = 60
_NUMBERS = {"6": "tcp", "17": "udp", "1": "icmp"}
_ANY_PROTOCOL = frozenset({"all", "0"})
# Modules by what they ask: nothing that other options do not tell, ...
_SILENT = frozenset({"", "tcp", "udp", "multiport", "conntrack", "state", "nfacct"})
# ... or something about the packet, whoever sends it.
_OF_THE_PACKET = frozenset(
    ("mark", "connmark", "length", "ttl", "tos", "dscp", "ecn", "tcpmss", "helper")
) | frozenset(
    ("physdev", "devgroup", "policy", "icmp", "connbytes", "connlabel", "cpu", "socket")
)
_KINDS = frozenset({"unicast", "local", "broadcast", "multicast", "anycast"})
# Sets in which Docker keeps the networks of its own bridges.
_OWN_NETWORKS = "docker-ext-bridges-"

_VERDICTS = {
    "ACCEPT": Action.ACCEPT,
    "DROP": Action.DROP,
    "REJECT": Action.DROP,
    "TARPIT": Action.DROP,
    "DELUDE": Action.DROP,
    "CHAOS": Action.DROP,
    "STEAL": Action.DROP,
    "RETURN": Action.RETURN,
    "QUEUE": Action.QUEUE,
    "NFQUEUE": Action.QUEUE,
}
_MARKING = frozenset({"MARK", "CONNMARK"})
_LOGS = frozenset({"LOG", "NFLOG", "ULOG", "AUDIT", "TRACE"})
# They take note of who came, so what stands before them is not counted by them.
_TAKING_NOTE = frozenset({"recent", "set", "quota", "nfacct", "rateest"})

_BY_CLIENT = Condition(Key.UNKNOWN, by_client=True)
_OTHER = Condition(Key.UNKNOWN)
_LISTED = Condition(Key.SOURCE, by_client=True)
# Whatever stands there.
_BY_ADDRESS = {
    "-s": _LISTED,
    "-d": _BY_CLIENT,
    "--source-country": _LISTED,
    "--src-cc": _LISTED,
}


def chain_rule(rule: Rule, chain: str, chains: Collection[str]) -> ChainRule:
    """Return what a rule of a chain does, whatever its text is.

    A target that is the name of one of these chains leads there.
    """
    conditions: list[Option] = []
    targets: list[Option] = []
    for option in rule.words:
        if option[0] in ("-j", "-g", "--jump", "--goto"):
            targets.append(option)
        elif not targets:
            conditions.append(option)
        # What stands behind a target is the target's own.
    text = f"-A {chain} {rule}"
    several = len(targets) > 1 or any(len(target) != _NAMED_ALONE for target in targets)
    if several or len(conditions) > _MOST_OPTIONS:
        # A name that looks like options, most likely; it may mean anything.
        takes = "TPROXY" in rule.tokens
        return ChainRule(text, (Branch((_BY_CLIENT,)),), takes=takes)
    action, leads_to, logs = _what_is_done(targets, chains)
    modules = {option[1] for option in conditions if option[0] == "-m" and option[1:]}
    return ChainRule(
        text,
        tuple(Branch(asked, action, leads_to) for asked in _alternatives(conditions)),
        only_logs=logs and modules.isdisjoint(_TAKING_NOTE),
        takes=any(target[1] == "TPROXY" for target in targets),
        untracks=any(target[1] == "NOTRACK" for target in targets)
        or ("--notrack",) in rule.words,
        marks=tuple(_marking(rule) for target in targets if target[1] in _MARKING),
    )


def _marking(rule: Rule) -> Marking:
    """Return the mark that a rule sets."""
    text = rule.value("--set-xmark") or rule.value("--set-mark") or ""
    return Marking(Key.MARK, *(_mark(text) or ((0, 0),))[0])


def _what_is_done(
    targets: Sequence[Option], chains: Collection[str]
) -> tuple[Action, str, bool]:
    """Return what a rule does, the chain that it leads to, and whether it only logs."""
    if not targets:
        return Action.CONTINUE, "", True
    ((option, name),) = targets
    if name in _VERDICTS:
        return _VERDICTS[name], "", False
    if name in chains:
        goes = option in ("-g", "--goto")
        return Action.GOTO if goes else Action.JUMP, name, False
    # What else there is marks, changes or copies a packet, which goes on then.
    return Action.CONTINUE, "", name in _LOGS


def _alternatives(options: Sequence[Option]) -> list[tuple[Condition, ...]]:
    """Return what is asked: all of one of these."""
    found: list[tuple[Condition, ...]] = [()]
    module = ""
    for option in options:
        if option[0] == "-m":
            module = option[1] if option[1:] else ""
            if module not in _SILENT and module not in _ELSEWHERE:
                found = [(*one, _unknown(module)) for one in found]
            continue
        either = _asked(option, module)
        if either and len(either) > 1 and len(found) > 1:
            either = [(_OTHER,)]
        if either is not None:
            found = [(*one, *asked) for one in found for asked in either]
    return found


# Whatever they ask stands in their options.
_ELSEWHERE = frozenset(
    ("comment", "addrtype", "pkttype", "iprange", "set", "recent", "mac", "geoip")
) | frozenset({"mark", "connmark"})


def _unknown(module: str) -> Condition:
    """Return the condition of which no more is known than its module."""
    return _OTHER if module in _OF_THE_PACKET or module in _SILENT else _BY_CLIENT


def _asked(option: Option, module: str) -> list[tuple[Condition, ...]] | None:
    """Return what an option asks: all of one of these; None for nothing."""
    negated = option[0] == "!" and len(option) > 1
    name, *values = option[1:] if negated else option
    value = values[0] if values else ""
    if _is_idle(name, value, module, negated=negated):
        return None
    if name == "--ports" and module == "multiport" and (ports := _ports(value)):
        return _either_port(ports, negated=negated)
    found = _read(name, values)
    if found is None:
        found = _LISTED if module == "recent" else _unknown(module)
        found = _BY_ADDRESS.get(name, found)
    return [(_negated(found) if negated else found,)]


def _kind_of_destination(text: str) -> Condition | None:
    """Read what kind of address it goes to."""
    found = _kind(text)
    return found and replace(found, key=Key.DESTINATION_KIND)


def _read(name: str, values: Sequence[str]) -> Condition | None:
    """Return the condition that an option and its words are; None if not known."""
    if name in _READERS_OF_TWO:
        return _READERS_OF_TWO[name](*values) if len(values) == _TWO else None
    return _READERS[name](values[0] if values else "") if name in _READERS else None


def _is_idle(name: str, value: str, module: str, *, negated: bool) -> bool:
    """Return whether an option is no condition, or one that is always true."""
    if module == "recent":
        # To take note of a client is no question.
        return name in _OF_RECENT or (name == "--set" and not negated)
    return name == "--comment" or (name == "-p" and value in _ANY_PROTOCOL)


# What only says how the other options are meant.
_OF_RECENT = frozenset({"--name", "--mask", "--rsource", "--rdest"})


def _either_port(
    ports: tuple[Interval, ...], *, negated: bool
) -> list[tuple[Condition, ...]]:
    """Return what it takes for one of two ports to be among these, or none of them."""
    both = [
        Condition(key, ports, negated=negated)
        for key in (Key.DESTINATION_PORT, Key.SOURCE_PORT)
    ]
    return [tuple(both)] if negated else [(one,) for one in both]


def _negated(condition: Condition) -> Condition:
    """Return the contrary."""
    return Condition(
        condition.key,
        condition.intervals,
        condition.words,
        negated=not condition.negated,
        by_client=condition.by_client,
    )


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


def _mark(text: str) -> tuple[Interval, ...]:
    """Read a mark and its mask; nothing if it is none."""
    bits, _, mask = text.partition("/")
    try:
        return ((int(bits, 0), int(mask, 0) if mask else _ALL_BITS),)
    except ValueError:
        # Saved and restored, or computed.
        return ()


def _marked(text: str) -> Condition:
    """Read which mark is asked for; the contrary of one is no mark at all."""
    found = _mark(text)
    unmarked = any(not value & mask for value, mask in found)
    return Condition(Key.MARK, found, negated=unmarked)


def _ports(text: str) -> tuple[Interval, ...]:
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
        return _OTHER
    return _LISTED if flags.startswith("src") else _BY_CLIENT


_READERS: dict[str, Callable[[str], Condition | None]] = {
    "-s": _numbers(Key.SOURCE, _networks),
    "-d": _numbers(Key.DESTINATION, _networks),
    "-i": _interface(Key.INPUT),
    "-o": _interface(Key.OUTPUT),
    "-p": _protocol,
    "--sport": _numbers(Key.SOURCE_PORT, _ports),
    "--dport": _numbers(Key.DESTINATION_PORT, _ports),
    "--sports": _numbers(Key.SOURCE_PORT, _ports),
    "--dports": _numbers(Key.DESTINATION_PORT, _ports),
    "--ctstate": _listed_words(Key.STATE),
    "--state": _listed_words(Key.STATE),
    "--ctstatus": _listed_words(Key.STATE),
    "--ctproto": _protocol,
    "--ctdir": _listed_words(Key.DIRECTION),
    "--ctorigsrc": _numbers(Key.ORIGINAL_SOURCE, _networks),
    "--ctorigdst": _numbers(Key.ORIGINAL_DESTINATION, _networks),
    "--ctorigdstport": _numbers(Key.ORIGINAL_PORT, _ports),
    # Of a reply: where it goes to is the client, most often.
    "--ctrepldst": lambda _: _BY_CLIENT,
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
