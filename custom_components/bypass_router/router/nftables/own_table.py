"""What our own table of nftables consists of, beside the forwards in it.

Its rules are the same for any number of forwards. What a version writes is a format,
which all Home Assistants on a router share: a later one is told by a set that is there
for its name alone, and an earlier one is brought up to ours without touching a forward.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from enum import Enum, auto
from functools import lru_cache
from hashlib import sha256
import re
from typing import Final

from ..errors import BadOutput, NewerFormat
from ..rules.base import RouterContext, unreadable
from ..ssh.script import Result
from .elements import MAPS, PLACES, SETS, TABLE
from .gate import CUT, OVER, OVER_RULE, SETS as GATE_SETS, gate_rules
from .listing import Base, NftTable, read_tables

FORMAT: Final = 2
"""Of this version. 1 had no gate, and no set that told it."""
_MARKER: Final = f"format_{FORMAT}"
_FORMAT: Final = re.compile(r"format_([0-9]{1,4})")


@dataclass(frozen=True, slots=True)
class _Chain:
    """Where the kernel enters a chain of ours."""

    type: str
    hook: str
    priority: str
    number: str
    """The same priority, as some versions of nft print it."""


CHAINS: Final = {
    "pre": _Chain("nat", "prerouting", "dstnat - 5", "-105"),
    "post": _Chain("nat", "postrouting", "srcnat - 5", "95"),
    "gate": _Chain("filter", "forward", "filter - 5", "-5"),
}


class Condition(Enum):
    """How the table stands that was read."""

    SOUND = auto()
    """It does what we made it for."""
    EARLIER = auto()
    """It does what the version before made it for: forwards that have no end."""
    DAMAGED = auto()


@lru_cache(16)
def rules_of_table(context: RouterContext) -> dict[str, list[tuple[str, str]]]:
    """Return the rules of each chain of the table, and each rule's comment.

    The comment tells by a digest which rule this is, since versions of nft print one
    rule in different words.
    """
    before, forwarding = gate_rules(context)
    router, lan = context.address.ip, context.address.network
    both = f"ip daddr {router} meta l4proto {{ tcp, udp }} dnat ip to"
    key = "meta l4proto . th dport"
    pre = [
        *before,
        f"{both} {key} map @translated",
        f"ip daddr {router} dnat to tcp dport map @same_tcp",
        f"ip daddr {router} dnat to udp dport map @same_udp",
        f"{both} ip saddr . {key} map @translated_from",
        f"{both} ip saddr . {key} map @same_from",
    ]
    post = []
    for transport in ("tcp", "udp"):
        flow = (
            f"ct status dnat ct original ip daddr {router} meta l4proto {transport}"
            " ct original proto-dst"
        )
        post += [
            f"{flow} @rewritten_{transport} snat to {router}",
            f"{flow} @kept_{transport} ip saddr {lan} snat to {router}",
            f"{flow} @kept_{transport} snat to ip saddr",
        ]
    return {
        "pre": with_digests(pre),
        "post": with_digests(post),
        OVER: with_digests([OVER_RULE]),
        # What is in it changes.
        CUT: [],
        "gate": with_digests(forwarding),
    }


def with_digests(rules: Iterable[str]) -> list[tuple[str, str]]:
    """Return rules, each with the comment that tells it, whatever nft makes of it."""
    return [
        (rule, f"ha_bypass:{sha256(rule.encode()).hexdigest()[:16]}") for rule in rules
    ]


def table_lines(context: RouterContext) -> list[str]:
    """Return the lines that make the table, without a forward."""
    return [
        f"add table {TABLE}",
        *(
            f"add map {TABLE} {name} {{ {what} counter; }}"
            for name, what in MAPS.items()
        ),
        *_set_lines(SETS),
        *(
            line
            for chain in rules_of_table(context)
            for line in _chain_lines(chain, context)
        ),
    ]


def upgrade_lines(context: RouterContext) -> list[str]:
    """Return the lines that make it one of ours, where the version before made it.

    Its maps and what is in them stay as they are.
    """
    before, _ = gate_rules(context)
    rules = rules_of_table(context)["pre"][: len(before)]
    return [
        *_set_lines(GATE_SETS),
        *_chain_lines(OVER, context),
        *_chain_lines(CUT, context),
        *_chain_lines("gate", context),
        # Each goes to the top.
        *(f"insert rule {TABLE} pre {_with_comment(*rule)}" for rule in rules[::-1]),
    ]


def _set_lines(sets: Mapping[str, str]) -> Iterator[str]:
    """Yield the lines that make sets, and tell whose format they are."""
    for name, what in sets.items():
        yield f"add set {TABLE} {name} {{ {what} }}"
    yield f"add set {TABLE} {_MARKER} {{ type inet_service; }}"


def _chain_lines(name: str, context: RouterContext) -> Iterator[str]:
    """Yield the lines that make a chain with its rules."""
    base = ""
    if at := CHAINS.get(name):
        base = f" type {at.type} hook {at.hook} priority {at.priority}; policy accept;"
    yield f"add chain {TABLE} {name} {{{base} }}"
    for rule in rules_of_table(context)[name]:
        yield f"add rule {TABLE} {name} {_with_comment(*rule)}"


def _with_comment(rule: str, comment: str) -> str:
    """Return a rule as nft takes it."""
    return f'{rule} comment "{comment}"'


def condition_of(table: NftTable, context: RouterContext) -> Condition:
    """Return how it stands. Raises NewerFormat for one that is not ours to judge."""
    formats = (_FORMAT.fullmatch(name) for name in table.sets)
    newest = max((int(found[1]) for found in formats if found), default=1)
    if newest > FORMAT:
        raise NewerFormat(found=str(newest), known=str(FORMAT))
    before = len(gate_rules(context)[0])
    chains = {chain.name: chain for chain in table.chains}
    rules = rules_of_table(context)
    places = set(PLACES)
    if newest < FORMAT:
        rules = {"pre": rules["pre"][before:], "post": rules["post"]}
        places -= GATE_SETS.keys()
    if chains.keys() != rules.keys() or not table.sets.keys() >= places:
        return Condition.DAMAGED
    for name, expected in rules.items():
        if name == CUT and chains[name].base is None:
            continue
        if not _is_entered_as(CHAINS.get(name), chains[name].base) or [
            rule.comment for rule in chains[name].rules
        ] != [comment for _, comment in expected]:
            return Condition.DAMAGED
    return Condition.SOUND if newest == FORMAT else Condition.EARLIER


def _is_entered_as(at: _Chain | None, base: Base | None) -> bool:
    """Return whether the kernel enters a chain where it is to; None: nowhere."""
    if at is None or base is None:
        return at is None and base is None
    return (base.type, base.hook, base.policy) == (
        at.type,
        at.hook,
        "accept",
    ) and base.priority in (at.priority, at.number)


def read_own_table(name: str, result: Result) -> NftTable | None:
    """Return a table of ours of which nft was asked; None if it is not there.

    Raises FirewallFailed, NotPrivileged and BadOutput.
    """
    if not result.ok:
        if "No such file or directory" in result.output:
            return None
        raise unreadable("nft list table", result)
    tables = read_tables(result.output)
    if len(tables) != 1 or f"{tables[0].family} {tables[0].name}" != name:
        raise BadOutput(output=result.message)
    return tables[0]
