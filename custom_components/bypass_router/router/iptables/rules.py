"""Forwards as rules of iptables, and back.

For each transport of a forward, where R is the router's address:

- nat, HA-BYPASS-PRE: DNAT of what is addressed to R at the external ports, one
  rule a source. Without `-d R`, other devices' outgoing connections to those
  ports would be taken as well.
- nat, HA-BYPASS-POST: SNAT to R of what was translated so, and nothing else, so
  that the target answers through the router. Where the target is to see the
  client's address, only clients of the LAN are rewritten (the target would
  answer them directly), and the rest is accepted, since a MASQUERADE further
  down would rewrite it.
- filter, HA-BYPASS-FWD, where it would else be dropped for no reason of its own:
  ACCEPT of what was translated so, both directions, and of the ICMP errors that belong
  to it, which are of another protocol themselves.
- filter, HA-BYPASS-CUT, where the forward is open for a while: REJECT of what was
  translated so, both directions, once its time is over. It is entered from the top of
  the kernel's chain: further down, what is established is often accepted. DNAT holds
  until then, by the same clock, and what comes later may be another program's.
- mangle, HA-BYPASS-MANGLE, where a proxy takes packets by TPROXY: ACCEPT of the
  flow, both directions, before the proxy sees it.

The conntrack match names the flow by its original destination, which only our
DNAT rule takes. Those of our chains that translate are entered from the top of the
kernel's, so that no catch-all of a proxy stands before them; the others from as far
down as may be.
"""

from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import IPv4Address
import re

from ..forward import (
    Forward,
    PortRange,
    Protocol,
    Transport,
    normal_sources,
    parse_sources,
)
from ..rules.base import Claim, RouterContext, Tag
from ..rules.ends import ending, moment, read_ending
from .rule import Rule

# Forwards whose rules are kept as values, so that a look costs little.
_KEPT = 8192
_DESTINATION = re.compile(
    r"([0-9.]+)(?::([0-9]{1,5})(?:-([0-9]{1,5})(?:/([0-9]{1,5}))?)?)?"
)
_PORTS = re.compile(r"([0-9]{1,5})(?::([0-9]{1,5}))?")


@dataclass(frozen=True, slots=True)
class Hook:
    """A chain of ours, and the kernel's chain that enters it."""

    table: str
    builtin: str
    chain: str

    @property
    def jump(self) -> Rule:
        """The rule that enters our chain."""
        return Rule.of(f"-j {self.chain}")


PRE = Hook("nat", "PREROUTING", "HA-BYPASS-PRE")
POST = Hook("nat", "POSTROUTING", "HA-BYPASS-POST")
FWD = Hook("filter", "FORWARD", "HA-BYPASS-FWD")
CUT = Hook("filter", "FORWARD", "HA-BYPASS-CUT")
MANGLE = Hook("mangle", "PREROUTING", "HA-BYPASS-MANGLE")
FORMAT = 2
"""Of what this version writes.

A later one that is not to be changed by it tells so by the comment `ha_bypass format N`
of a rule in HA-BYPASS-PRE; those until now need none.
"""
_FORMAT = re.compile(r"ha_bypass format ([0-9]{1,4})")
TRANSLATING = (PRE, POST)
RETIRED = (CUT, *TRANSLATING)
"""Where what translates no longer may still have something."""
ADMITTING = (MANGLE, FWD)
# What goes by a number in the kernel's chain comes before what goes to its top.
HOOKS = (FWD, CUT, PRE, POST)
NUMBERS: dict[Transport, str] = {"tcp": "6", "udp": "17"}
"""What iptables prints of a transport after `--ctproto`."""
VERDICTS: dict[Transport, str] = {
    "tcp": "REJECT --reject-with tcp-reset",
    "udp": "DROP",
}
"""How a connection is cut off: with a word to whoever has sent, where there is one."""
LAST = "2038-01-19T03:14:07"
"""The last moment that iptables knows, which it prints where a rule has no end."""


def rules_of(
    forward: Forward, context: RouterContext, hooks: Collection[Hook] = HOOKS
) -> tuple[tuple[Hook, Rule], ...]:
    """Return the rules that carry out a forward at these hooks, in order.

    The moments in them are those of Home Assistant's clock.
    """
    return _kept_rules(forward, forward.until, context, tuple(hooks))


# Two that end at different times are equal.
@lru_cache(_KEPT)
def _kept_rules(
    forward: Forward, _: int | None, context: RouterContext, hooks: tuple[Hook, ...]
) -> tuple[tuple[Hook, Rule], ...]:
    """Return the same, of what can be remembered."""
    return tuple(item for item in _rules_of(forward, context) if item[0] in hooks)


def _rules_of(forward: Forward, context: RouterContext) -> Iterator[tuple[Hook, Rule]]:
    """Yield them, one by one."""
    router = context.address.ip
    tag, until = Tag(context.owner, forward.id), forward.until
    comment = f'-m comment --comment "{tag}"'
    stops = starts = comment
    if until is not None:
        ends = f'-m comment --comment "{ending(tag, "until", until)}"'
        stops = f"-m time --datestop {moment(until)} {ends}"
        starts = f"-m time --datestart {moment(until + 1)} --datestop {LAST} {ends}"
    ports = ports_text(forward.external)
    for transport in forward.protocol.transports:
        for source in forward.sources or (None,):
            match = f"-s {source} " if source else ""
            yield (
                PRE,
                Rule.of(
                    f"{match}-d {router}/32 -p {transport} -m {transport}"
                    f" --dport {ports} {stops}"
                    f" -j DNAT --to-destination {_destination(forward)}"
                ),
            )
        flow = (
            f"-p {transport} -m conntrack --ctstate DNAT"
            f" --ctorigdst {router} --ctorigdstport {ports} {comment}"
        )
        if until is not None:
            cut = flow.replace(comment, f"{starts} -j {VERDICTS[transport]}")
            yield CUT, Rule.of(cut)
        snat = f"{flow} -j SNAT --to-source {router}"
        if forward.keep_client_address:
            lan = context.address.network
            yield POST, Rule.of(f"-s {lan} {snat}")
            yield POST, Rule.of(f"! -s {lan} {flow} -j ACCEPT")
        else:
            yield POST, Rule.of(snat)
        of_flow = flow.replace(f"-p {transport} ", "").replace(
            "DNAT ", f"DNAT --ctproto {NUMBERS[transport]} "
        )
        yield FWD, Rule.of(f"{of_flow} -j ACCEPT")
        # The first packet comes by before it is translated.
        untranslated = flow.replace("--ctstate DNAT ", "")
        yield MANGLE, Rule.of(f"{untranslated} -j ACCEPT")


@lru_cache(_KEPT)
def admitting_rules(
    forward: Forward, context: RouterContext, hook: Hook
) -> Mapping[Transport, Rule]:
    """Return the rule of each transport that lets a forward pass at a hook."""
    rules = (rule for _, rule in rules_of(forward, context, (hook,)))
    return dict(zip(forward.protocol.transports, rules, strict=True))


def earlier_form(rule: Rule, transport: Transport) -> Rule:
    """Return what earlier versions have written for the rule that admits a flow."""
    text = str(rule).replace(f"--ctproto {NUMBERS[transport]} ", "", 1)
    return Rule.of(f"-p {transport} {text}")


def ports_text(ports: PortRange) -> str:
    """Return a range as iptables writes it."""
    if len(ports) == 1:
        return str(ports.first)
    return f"{ports.first}:{ports.last}"


def _destination(forward: Forward) -> str:
    """Return the value of --to-destination.

    A range without shift names no port, and each port stays as it is. A shifted
    one names the first external port too: without it, the kernel sends every
    port to the first of the target's.
    """
    if len(forward.external) == 1:
        return f"{forward.target}:{forward.target_ports}"
    if not forward.shifted:
        return str(forward.target)
    return f"{forward.target}:{forward.target_ports}/{forward.external.first}"


def forward_of_rules(
    tag: Tag, rules: Counter[tuple[Hook, Rule]], context: RouterContext
) -> Forward | None:
    """Return the forward that exactly these rules translate, if there is one."""
    return _carried_out(tag, frozenset(rules.items()), context)


def newest_format(rules: Iterable[Rule]) -> int:
    """Return the number of the latest version's format that is told by rules."""
    said = (word for rule in rules for word in rule.values("--comment"))
    found = map(_FORMAT.fullmatch, said)
    return max((int(each[1]) for each in found if each), default=FORMAT)


def claims_of(tag: Tag, rule: Rule, context: RouterContext) -> Iterator[Claim]:
    """Yield what a DNAT rule leads away of what is addressed to the router."""
    if rule.value("-d") != str(context.address.ip):
        return
    with suppress(ValueError):
        match rule.value("-p"):
            case "tcp" | "udp" as transport:
                yield Claim(tag, transport, read_ports(rule.value("--dport")))


@lru_cache(_KEPT)
def _carried_out(
    tag: Tag, counted: frozenset[tuple[tuple[Hook, Rule], int]], context: RouterContext
) -> Forward | None:
    """Return the same, of what can be remembered."""
    rules = Counter(dict(counted))
    try:
        forward = _guess(tag, [rule for hook, rule in rules if hook is PRE], rules)
    except ValueError:
        return None
    return (
        forward if Counter(rules_of(forward, context, TRANSLATING)) == rules else None
    )


def _guess(
    tag: Tag, translations: list[Rule], rules: Collection[tuple[Hook, Rule]]
) -> Forward:
    """Return what the DNAT rules say, if they say one thing. Raises ValueError."""
    transports: set[Transport] = set()
    sources: set[str] = set()
    untils: set[int] = set()
    told: set[tuple[PortRange, IPv4Address, PortRange]] = set()
    for rule in translations:
        match rule.value("-p"):
            case "tcp" | "udp" as transport:
                transports.add(transport)
            case other:
                raise ValueError(f"a forward of {other}")
        sources.add(rule.value("-s") or "0.0.0.0/0")
        ends = map(read_ending, rule.values("--comment"))
        untils |= {end[2] for end in ends if end}
        external = read_ports(rule.value("--dport"))
        told.add((external, *read_destination(rule, external)))
    if len(told) != 1:
        raise ValueError("no DNAT rule, or two that differ")
    external, target, target_ports = told.pop()
    return Forward(
        id=tag.forward,
        protocol=Protocol.of(transports),
        external=external,
        target=target,
        target_ports=target_ports,
        sources=normal_sources(parse_sources(sources)),
        keep_client_address=any(
            hook is POST and rule.value("-j") == "ACCEPT" for hook, rule in rules
        ),
        until=next(iter(untils), None),
    )


def read_ports(text: str | None) -> PortRange:
    """Read a range as iptables writes it."""
    if not (found := _PORTS.fullmatch(text or "")):
        raise ValueError(f"no ports: {text}")
    return PortRange(int(found[1]), int(found[2] or found[1]))


def read_destination(rule: Rule, external: PortRange) -> tuple[IPv4Address, PortRange]:
    """Return the target and its ports."""
    text = rule.value("--to-destination") or ""
    if not (found := _DESTINATION.fullmatch(text)):
        raise ValueError(f"no destination: {text}")
    target = IPv4Address(found[1])
    return target, external.shifted(int(found[2])) if found[2] else external
