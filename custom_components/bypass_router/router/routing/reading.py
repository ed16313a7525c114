"""What `questions` asks is read here: which way answers take, as the kernel has said.

All of it is what a router has printed: none of it becomes part of a command but numbers
and addresses.
"""

from collections.abc import Iterator, Mapping
from ipaddress import IPv4Address, IPv4Interface
from itertools import count
import re

from .judge import Answer, Hop, Judge
from .others import OtherRules, network_of
from .questions import MARK, TABLE, usable
from .ways import LAST_PREFERENCE, TAG, OurRoute, OurRule, Ways, default_of

_PART = re.compile(r"^#(\w+)$", re.MULTILINE)
_TAGGED = rf"(?: proto(?:col)? {TAG})?\s*"
_RULE = re.compile(r"([0-9]{1,10}):\s+(.*)")
_KERNELS = re.compile(
    r"(?:0:\s+from all lookup local|32766:\s+from all lookup main"
    r"|32767:\s+from all lookup default)\s*"
)
_OLD = re.compile(rf".* lookup main proto(?:col)? {TAG}\s*")
_OURS = {
    "mark": re.compile(rf"from all fwmark {MARK} lookup {TABLE}{_TAGGED}"),
    "bans": re.compile(
        rf"from all fwmark {MARK} lookup main suppress_prefixlength 32{_TAGGED}"
    ),
}
_ROUTE = re.compile(
    r"own (default|[0-9./]{7,18})(?: via ([0-9.]{7,15}))? dev (\S{1,64})"
    rf" table {TABLE} proto {TAG}(?: .*)?"
)
_WAY = re.compile(r"way (main|table|host) ([0-9.]{7,15}) ([0-9]{1,10})")
_DEFAULT = re.compile(r"default via ([0-9.]{7,15}) dev ")
_KIND = re.compile(r"/sys/class/net/([^/\s]{1,64})/type:([0-9]{1,5})")
_ASK = re.compile(
    r"route get ([0-9.]{7,15}) from ([0-9.]{7,15}) iif \S{1,64}"
    r"(?: mark (\S{1,10}))?(?: tos \S{1,20})?(?: ipproto \w{3})?"
    r"(?: sport ([0-9]{1,5}))?(?: dport ([0-9]{1,5}))?"
)
_ANSWER = re.compile(
    r"(local )?([0-9.]{7,15}) from ([0-9.]{7,15})(?: tos \S{1,20})?"
    r"(?: via (?:inet6? )?(\S{1,64}))? dev (\S{1,64})(?: .*)?"
)
_REFUSING = re.compile(r"refusing \S{1,64}")
_FAILED = re.compile(r"Command failed -:([0-9]{1,6})")


def read_ways(
    text: str, lan: IPv4Interface, interface: str, chosen: IPv4Address | None
) -> Ways:
    """Return what the script has printed; `chosen` is the main router, if one said."""
    parts = _parts(text)
    rules = [
        (int(found[1]), found[2])
        for line in parts.get("rules", ())
        if not _KERNELS.fullmatch(line.strip())
        and (found := _RULE.fullmatch(line.strip()))
    ]
    ours = frozenset(
        OurRule(preference, kind)
        for preference, rule in rules
        for kind, shape in _OURS.items()
        if shape.fullmatch(rule)
    )
    others = [
        (preference, rule)
        for preference, rule in rules
        if not _OLD.fullmatch(rule)
        and not any(shape.fullmatch(rule) for shape in _OURS.values())
    ]
    told = parts.get("found", [])
    by_itself, sure = _gateway(parts, lan)
    gateway = by_itself
    if chosen := usable(chosen, lan):
        gateway, sure = chosen, True
    routes = frozenset(_routes(told, interface))
    rules_of_others = OtherRules.of(
        others, (line.split()[1] for line in told if _REFUSING.fullmatch(line))
    )
    judge = Judge(
        lan,
        interface,
        gateway,
        sure,
        dict(_KIND.findall("\n".join(parts.get("kinds", ())))),
        rules_of_others,
        [_split(line) for line in told if line.startswith("split ")],
        [
            network
            for line in told
            if line.startswith("beside ") and (network := network_of(line[7:]))
        ],
        "shut" in told,
    )
    answers = list(_answers(parts))
    before = [one for one in answers if one.mark != MARK]
    diverted, by = judge.diverted(before)
    default = default_of(routes)
    return Ways(
        diverted=diverted,
        by=by,
        requests=judge.requested(before),
        refused=judge.refused(before),
        gateway=gateway,
        found=by_itself,
        preference=max(2, min(LAST_PREFERENCE, rules_of_others.lowest - 1)),
        bans="ban" in told and not _shuts(told, answers, by_rules=bool(others)),
        rules=ours,
        routes=routes,
        misled=any(
            judge.misled(one, default, bans="ban" in told)
            for one in answers
            if default and one.mark == MARK
        ),
        capable="plain" not in parts,
        by_rules=bool(others),
    )


def _shuts(told: list[str], answers: list[Answer], *, by_rules: bool) -> bool:
    """Return whether main may have no other way than one that leads nowhere.

    Such a one is there for when a tunnel is down; where main alone is asked, it is told
    by what leads somewhere all the same.
    """
    return "shut" in told and (by_rules or not any(one.hop for one in answers))


def _split(line: str) -> frozenset[Hop]:
    """Return the hops of a route that has several."""
    hops = (word.partition(",") for word in line.split()[1:])
    return frozenset(Hop(interface, gateway) for gateway, _, interface in hops)


def _parts(text: str) -> dict[str, list[str]]:
    """Return the lines of each part of the answer."""
    _, *rest = _PART.split(text)
    return {
        name: [line for line in body.split("\n") if line.strip()]
        for name, body in zip(rest[::2], rest[1::2], strict=True)
    }


def _address(text: str) -> IPv4Address | None:
    """Return the address of a text, or None if it is none."""
    try:
        return IPv4Address(text)
    except ValueError:
        return None


def _gateway(
    parts: Mapping[str, list[str]], lan: IPv4Interface
) -> tuple[IPv4Address | None, bool]:
    """Return the main router, and whether that is sure.

    What main has by the LAN, or else the one that any route leads to.
    """
    for line in parts.get("default", ()):
        if (found := _DEFAULT.match(line)) and (address := _address(found[1])):
            return address, True
    ways = [
        (found[1], address, int(found[3]))
        for line in parts.get("found", ())
        if (found := _WAY.fullmatch(line))
        and (address := _address(found[2]))
        and address in lan.network
        and address != lan.ip
    ]
    if main := [(metric, way) for kind, way, metric in ways if kind == "main"]:
        return min(main)[1], True
    for wanted in ("table", "host"):
        by_kind = {address for kind, address, _ in ways if kind == wanted}
        if len(by_kind) == 1:
            return by_kind.pop(), False
        if by_kind:
            break
    return None, False


def _routes(lines: list[str], interface: str) -> Iterator[OurRoute]:
    """Yield our routes in our table; one by another interface is none of them."""
    for line in lines:
        if (
            (found := _ROUTE.fullmatch(line))
            and found[3] == interface
            and (network := network_of(found[1]))
        ):
            yield OurRoute(network, _address(found[2] or ""))


def _answers(parts: Mapping[str, list[str]]) -> Iterator[Answer]:
    """Yield what was asked, with what was answered."""
    if "plain" in parts:
        for line in parts["plain"]:
            if (found := _ANSWER.fullmatch(line)) and (
                question := _ASK.match(f"route get {found[2]} from {found[3]} iif x")
            ):
                yield from _answered(question, found)
        return
    asked = [_ASK.fullmatch(line) for line in parts.get("found", ()) if "get" in line]
    failed = {
        int(number) for number in _FAILED.findall("\n".join(parts.get("failed", ())))
    }
    lines = iter(parts.get("answers", ()))
    for number, question in zip(count(1), asked, strict=False):
        if question is None:
            continue
        if number in failed:
            yield from _answered(question, None)
        elif found := _ANSWER.fullmatch(next(lines, "")):
            yield from _answered(question, found)


def _answered(question: re.Match[str], found: re.Match[str] | None) -> Iterator[Answer]:
    """Yield one answer, if its addresses are any."""
    to, source = _address(question[1]), _address(question[2])
    if to and source:
        hop = Hop(found[5], found[4] or "", bool(found[1])) if found else None
        from_port, to_port = (int(it) if it else None for it in question.groups()[3:])
        yield Answer(to, source, question[3] or "", hop, from_port, to_port)
