"""Forwards that a person has made on the router by hand, read from its rules.

As the article teaches it, and as it should be: for a target T, the router's address R,
and a port of each, a DNAT rule in PREROUTING

    -p tcp -d R --dport 8443 -j DNAT --to-destination T:443

and in POSTROUTING one of

    -p tcp -d R --dport 443 -j SNAT --to-source T       the article's: matches nothing
    -p tcp -d T --dport 443 -j SNAT --to-source R       or -j MASQUERADE
    -p tcp -m conntrack --ctstate DNAT --ctorigdst R --ctorigdstport 8443 -j SNAT …

Only rules that stand in the kernel's own chains are a person's; Docker, firewalls and
proxies have chains of their own. What says more than a forward can say, such as a
negation or a limit, is none.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from hashlib import sha256
from ipaddress import IPv4Address, IPv4Network
import re
from typing import Any

from ..forward import Forward, PortRange, Protocol, normal_sources
from ..iptables.rule import Rule
from ..iptables.rules import POST, PRE, ports_text, rules_of
from ..rules.base import RouterContext, Tag
from ..ssh.script import Result
from .replace import Listing, ManualForward, OldRule

# A person makes no more of them; a router can have thousands of rules.
_MOST = 50
_OPTIONS = frozenset(
    {"-p", "-s", "-d", "-i", "--dport", "--to-destination", "-j", "--comment"}
)
_PORTS = re.compile(r"([0-9]{1,5})(?::([0-9]{1,5}))?")
_DESTINATION = re.compile(
    r"([0-9.]{7,15})(?::([0-9]{1,5})(?:-[0-9]{1,5}(?:/[0-9]{1,5})?)?)?"
)
# What decides about a packet, so that rules further down don't see it.
_FINAL = frozenset({"ACCEPT", "RETURN", "DROP", "DNAT", "REDIRECT", "NETMAP"})


@dataclass(frozen=True, slots=True)
class Location:
    """Where rules stand: on which router, at which interface."""

    context: RouterContext
    interface: str


def read_manual_forwards(
    sections: Mapping[str, Result], listings: Sequence[Listing], location: Location
) -> list[ManualForward]:
    """Return the forwards that stand in these listings, none of which conflict."""
    found: list[ManualForward] = []
    for listing in listings:
        pre = listing.read(sections, PRE.builtin)
        post = listing.read(sections, POST.builtin)
        forwards = [
            _with_rewrites(forward, listing.command, post, location)
            for forward in _translations(listing.command, pre, location)
        ]
        for one in _joined(_joined(forwards, "sources"), "protocol"):
            if len(found) < _MOST and not any(
                one.forward.conflicts(other.forward) for other in found
            ):
                found.append(one)
    return found


def _translations(
    command: str, pre: Sequence[Rule], location: Location
) -> Sequence[ManualForward]:
    """Return the DNAT rules that a forward can say, and that see their packets."""
    found: dict[Rule, ManualForward] = {}
    before: list[Rule] = []
    for rule in pre:
        forward = _translated(rule, location)
        if (
            forward
            and rule not in found
            and not any(_takes(other, forward, location) for other in before)
        ):
            old = OldRule(command, PRE.builtin, rule)
            digest = sha256(str(old).encode(errors="replace")).hexdigest()[:16]
            found[rule] = ManualForward(
                replace(forward, id=digest),
                (old,),
                comment=rule.value("--comment") or "",
            )
        before.append(rule)
    return list(found.values())


def _translated(rule: Rule, location: Location) -> Forward | None:
    """Return what a rule says, or None where a forward can't say the same."""
    router = str(location.context.address.ip)
    words = {option[0]: option[-1] for option in rule.options}
    if (
        # An option that stands there twice, is negated, or bare.
        [len(option) for option in rule.options] != [2] * len(words)
        or not words.keys() <= _OPTIONS
        or words.get("-j") != "DNAT"
        or words.get("-p") not in ("tcp", "udp")
        or words.get("-d", router) != router
        or words.get("-i", location.interface) != location.interface
        or Tag.parse(words.get("--comment", ""))
        or not rule.writable_at(location.interface)
    ):
        return None
    text = words.get("--to-destination", "")
    if not (destination := _DESTINATION.fullmatch(text)):
        return None
    try:
        external = _read_ports(words.get("--dport", ""))
        first = destination[2]
        forward = Forward(
            "unnamed",
            Protocol(words["-p"]),
            external,
            IPv4Address(destination[1]),
            external.shifted(int(first)) if first else external,
            normal_sources([IPv4Network(words.get("-s", "0.0.0.0/0"))]),
        )
    except ValueError:
        return None
    if forward.target == location.context.address.ip:
        return None
    # A range to whose first port none is named would go to one port altogether.
    said = rules_of(forward, location.context, (PRE,))[0][1].value("--to-destination")
    same = len(external) == 1 and not forward.shifted and not first
    return forward if text == said or same else None


def _with_rewrites(
    made: ManualForward, command: str, post: Sequence[Rule], location: Location
) -> ManualForward:
    """Return the same with the rules of POSTROUTING that belong to it.

    The target saw its clients' addresses only if surely nothing rewrites them. A
    forward that rewrites them works wherever the other does.
    """
    forms = _forms(made.forward, location)
    belonging: list[OldRule] = []
    kept = True
    for rule in post:
        bare = frozenset(option for option in rule.options if option[0] != "--comment")
        if bare in forms and rule.writable_at(location.interface):
            belonging.append(OldRule(command, POST.builtin, rule))
            kept = kept and not forms[bare]
        elif not _leaves_clients(rule, made.forward, location):
            kept = False
    return replace(
        made,
        forward=replace(made.forward, keep_client_address=kept),
        rewrites=tuple(belonging),
    )


def _forms(
    forward: Forward, location: Location
) -> Mapping[frozenset[tuple[str, ...]], bool]:
    """Return the rules that belong to a translation: whether each rewrites clients."""
    router, target = location.context.address.ip, forward.target
    match = f"-p {forward.protocol}"
    port = f"--dport {ports_text(forward.target_ports)}"
    forms = {f"{match} -d {router} {port} -j SNAT --to-source {target}": False}
    flow = (
        f"{match} -m conntrack --ctstate DNAT --ctorigdst {router}"
        f" --ctorigdstport {ports_text(forward.external)}"
    )
    for act in (f"SNAT --to-source {router}", "MASQUERADE"):
        for out in ("", f"-o {location.interface} "):
            forms[f"{out}{flow} -j {act}"] = True
            forms[f"{out}{match} -d {target} {port} -j {act}"] = True
            # For those at home only, whom the target would answer directly.
            lan = f"-s {location.context.address.network}"
            forms[f"{out}{lan} {match} -d {target} {port} -j {act}"] = False
    return {Rule.of(text).options: rewrites for text, rewrites in forms.items()}


def _takes(rule: Rule, forward: Forward, location: Location) -> bool:
    """Return whether a rule may take packets before a translation sees them."""
    return rule.value("-j") in _FINAL and not _misses(
        rule, forward, location, location.context.address.ip, forward.external
    )


def _leaves_clients(rule: Rule, forward: Forward, location: Location) -> bool:
    """Return whether a rule surely rewrites no address of a client of the internet."""
    source = rule.value("-s")
    return (
        rule.value("-j") == POST.chain
        or (source is not None and _is_private(source))
        or _misses(rule, forward, location, forward.target, forward.target_ports)
    )


def _misses(
    rule: Rule,
    forward: Forward,
    location: Location,
    destination: IPv4Address,
    ports: PortRange,
) -> bool:
    """Return whether a rule surely matches none of a forward's packets."""

    def excludes(option: tuple[str, ...]) -> bool:
        match option:
            case ("-p", name):
                return name in ("tcp", "udp", "icmp") and name != forward.protocol
            case ("-s", text):
                allowed = forward.sources or (IPv4Network("0.0.0.0/0"),)
                return not any(map(IPv4Network(text).overlaps, allowed))
            case ("-d", text):
                return destination not in IPv4Network(text)
            case ("-i" | "-o", name):
                return name != location.interface and not name.endswith("+")
            case ("--dport", text):
                return not _read_ports(text).overlaps(ports)
            case _:
                return False

    try:
        return any(map(excludes, rule.options))
    except ValueError:
        return False


def _joined(found: Iterable[ManualForward], field: str) -> list[ManualForward]:
    """Return one forward for those that differ in their sources, or protocol, only."""
    same: dict[Forward, ManualForward] = {}
    for one in found:
        key = replace(one.forward, id="same", **_blank(field))
        known = same.get(key)
        same[key] = _both(known, one, field) if known else one
    return list(same.values())


def _blank(field: str) -> dict[str, Any]:
    """Return what a field is when it is left out of a comparison."""
    return {"sources": ()} if field == "sources" else {"protocol": Protocol.BOTH}


def _both(first: ManualForward, second: ManualForward, field: str) -> ManualForward:
    """Return what two forwards are together."""
    change: dict[str, Any] = {"protocol": Protocol.BOTH}
    if field == "sources":
        some = first.forward.sources and second.forward.sources
        both = (*first.forward.sources, *second.forward.sources) if some else ()
        change = {"sources": normal_sources(both)}
    return ManualForward(
        replace(first.forward, **change),
        tuple(dict.fromkeys((*first.translations, *second.translations))),
        tuple(dict.fromkeys((*first.rewrites, *second.rewrites))),
        first.comment or second.comment,
    )


def _read_ports(text: str) -> PortRange:
    """Read a range as iptables writes it. Raises ValueError."""
    if not (found := _PORTS.fullmatch(text)):
        raise ValueError(f"no ports: {text}")
    return PortRange(int(found[1]), int(found[2] or found[1]))


def _is_private(text: str) -> bool:
    """Return whether a network is one of homes."""
    try:
        return IPv4Network(text).is_private
    except ValueError:
        return False
