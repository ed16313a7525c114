"""What a rule of iptables asks of a packet, and what it does with one.

What is not known may be true or not. Of that, what may tell one client from another,
or count them, is held to decide by who asks.
"""

from collections.abc import Collection, Sequence
from dataclasses import replace

from ..passage.chains import Action, Branch, ChainRule, Marking
from ..passage.packet import Condition, Interval, Key
from .options import BY_CLIENT, LISTED, OTHER, read_mark, read_option, read_ports
from .rule import Option, Rule

# An option, and the one word behind it.
_NAMED_ALONE = 2
# More than any rule has that is meant for a packet to meet.
_MOST_OPTIONS = 60
_ANY_PROTOCOL = frozenset({"all", "0"})
# Modules by what they ask: nothing that other options do not tell, ...
_SILENT = frozenset({"", "tcp", "udp", "multiport", "conntrack", "state", "nfacct"})
# ... or something about the packet, whoever sends it.
_OF_THE_PACKET = frozenset(
    ("mark", "connmark", "length", "ttl", "tos", "dscp", "ecn", "tcpmss", "helper")
) | frozenset(
    ("physdev", "devgroup", "policy", "icmp", "connbytes", "connlabel", "cpu", "socket")
)

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

# Whatever stands there.
_BY_ADDRESS = {
    "-s": LISTED,
    "-d": BY_CLIENT,
    "--source-country": LISTED,
    "--src-cc": LISTED,
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
        return ChainRule(text, (Branch((BY_CLIENT,)),), takes=takes)
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
    return Marking(Key.MARK, *(read_mark(text) or ((0, 0),))[0])


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
            either = [(OTHER,)]
        if either is not None:
            found = [(*one, *asked) for one in found for asked in either]
    return found


# Whatever they ask stands in their options.
_ELSEWHERE = frozenset(
    ("comment", "addrtype", "pkttype", "iprange", "set", "recent", "mac", "geoip")
) | frozenset({"mark", "connmark"})


def _unknown(module: str) -> Condition:
    """Return the condition of which no more is known than its module."""
    return OTHER if module in _OF_THE_PACKET or module in _SILENT else BY_CLIENT


def _asked(option: Option, module: str) -> list[tuple[Condition, ...]] | None:
    """Return what an option asks: all of one of these; None for nothing."""
    negated = option[0] == "!" and len(option) > 1
    name, *values = option[1:] if negated else option
    value = values[0] if values else ""
    if _is_idle(name, value, module, negated=negated):
        return None
    if name == "--ports" and module == "multiport" and (ports := read_ports(value)):
        return _either_port(ports, negated=negated)
    found = read_option(name, values)
    if found is None:
        found = LISTED if module == "recent" else _unknown(module)
        found = _BY_ADDRESS.get(name, found)
    if negated:
        found = replace(found, negated=not found.negated)
    return [(found,)]


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
