"""What ends forwards by themselves in iptables, and what cuts connections.

The router's clock may be any. So a rule's moment is one by Home Assistant's clock as
long as it is a value, is written by the router's, and stands in the comment as well, by
which it is known again: as long as its moment is that one by the router's clock, more
or less.
"""

from dataclasses import dataclass, replace
from ipaddress import IPv4Address, IPv4Network
from typing import Final

from ..forward import Transport
from ..rules.base import Cut, RouterContext, Way
from ..rules.ends import (
    EVERYWHERE,
    SLACK,
    ending,
    moment,
    read_ending,
    read_moment,
)
from ..ssh.script import Result
from .rule import Rule
from .rules import (
    LAST,
    VERDICTS,
    ports_text,
    read_destination,
    read_ports,
)

_STARTS: Final = "--datestart"
_STOPS: Final = "--datestop"
# Of Unix time, for some thousand years.
_DIGITS: Final = 11


@dataclass(frozen=True, slots=True)
class Clock:
    """The router's clock, when something was read there."""

    now: float = 0
    """The time of Home Assistant's clock, in Unix time."""
    ahead: float = 0
    """Seconds by which the router's is ahead of it."""

    @classmethod
    def read(cls, result: Result | None, now: float) -> Clock:
        """Return what `date +%s` has told just now."""
        text = result.output.strip() if result and result.ok else ""
        # Longer numbers are no time.
        known = text.isdecimal() and len(text) <= _DIGITS
        # It tells whole seconds, which began half a second ago as a rule.
        return cls(now, int(text) + 0.5 - now if known else 0)


def as_written(rule: Rule, clock: Clock) -> Rule:
    """Return the same rule, whose text has the router's moments."""
    if not any(option in (_STARTS, _STOPS) for option in rule.tokens):
        return rule
    tokens = list(rule.tokens)
    for number, word in enumerate(rule.tokens[:-1]):
        at = read_moment(tokens[number + 1]) if word in (_STARTS, _STOPS) else None
        if at is not None and tokens[number + 1] != LAST:
            tokens[number + 1] = moment(round(at + clock.ahead))
    return replace(rule, tokens=tuple(tokens))


def as_meant(rule: Rule, clock: Clock) -> Rule:
    """Return the same rule, which says what its comment does, if it does so.

    Its text stays as it was printed.
    """
    if (until := until_of(rule)) is None:
        return rule
    meant = {_STOPS: until} if rule.value("-j") == "DNAT" else {_STARTS: until + 1}
    options = set(rule.options)
    for name, at in meant.items():
        text = rule.value(name)
        found = read_moment(text) if text else None
        if text and found is not None and abs(found - clock.ahead - at) <= SLACK:
            options -= {(name, text)}
            options |= {(name, moment(at))}
    return replace(rule, options=frozenset(options))


def until_of(rule: Rule) -> int | None:
    """Return when the forward of a rule ends, as its comment says; None: never."""
    said = [read_ending(comment) for comment in rule.values("--comment")]
    ends = [end for end in said if end and end[1] == "until"]
    return ends[0][2] if ends else None


def is_cut(rule: Rule) -> bool:
    """Return whether a rule says that it is there to cut connections."""
    said = map(read_ending, rule.values("--comment"))
    return any(end and end[1] == "cut until" for end in said)


def closes_at(rule: Rule, clock: Clock) -> float | None:
    """Return when a rule translates no more, by Home Assistant's clock."""
    for name, word in zip(rule.tokens, rule.tokens[1:], strict=False):
        if name == _STOPS and (at := read_moment(word)) is not None:
            return at - clock.ahead
    return None


def cut_rule(cut: Cut, context: RouterContext) -> Rule:
    """Return the rule that cuts connections."""
    way = cut.way
    source = "" if way.source == EVERYWHERE else f" --ctorigsrc {way.source}"
    return Rule.of(
        f"-p {way.transport} -m conntrack --ctstate DNAT{source}"
        f" --ctorigdst {context.address.ip}"
        f" --ctorigdstport {ports_text(way.ports)} --ctreplsrc {way.target}"
        f" --ctreplsrcport {ports_text(way.target_ports)}"
        f' -m comment --comment "{ending(cut.tag, "cut until", cut.until)}"'
        f" -j {VERDICTS[way.transport]}"
    )


def read_cut(rule: Rule, context: RouterContext) -> Cut | None:
    """Return what a rule cuts, if it is one of these, and exactly that."""
    said = [read_ending(comment) for comment in rule.values("--comment")]
    ends = [end for end in said if end and end[1] == "cut until"]
    if not ends or (transport := _transport(rule)) is None:
        return None
    tag, _, until = ends[0]
    try:
        source = IPv4Network(rule.value("--ctorigsrc") or EVERYWHERE)
        target = IPv4Address((rule.value("--ctreplsrc") or "").removesuffix("/32"))
        ports = read_ports(rule.value("--ctorigdstport"))
        shift = read_ports(rule.value("--ctreplsrcport")).first - ports.first
    except ValueError:
        return None
    cut = Cut(tag, Way(source, transport, ports, target, shift), until)
    return cut if cut_rule(cut, context) == rule else None


def way_of(rule: Rule) -> Way | None:
    """Return who reaches what by a rule that translates."""
    if (transport := _transport(rule)) is None:
        return None
    try:
        ports = read_ports(rule.value("--dport"))
        target, target_ports = read_destination(rule, ports)
        source = IPv4Network(rule.value("-s") or EVERYWHERE)
    except ValueError:
        return None
    shift = target_ports.first - ports.first
    return Way(source, transport, ports, target, shift)


def _transport(rule: Rule) -> Transport | None:
    """Return of which transport a rule is."""
    match rule.value("-p"):
        case "tcp" | "udp" as transport:
            return transport
        case _:
            return None
