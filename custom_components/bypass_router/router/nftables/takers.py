"""Chains of others that take or translate a forward's packets before we do.

A packet passes what stands in front of the first rule from which it can come to one
that takes it. Right there it is to leave the chain.
"""

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass
import re

from ..rules.base import Problem
from .foreign_tables import ForeignChain, ForeignTable
from .listing import Base, NftRule
from .places import Place

_JUMP = re.compile(r"\b(?:jump|goto) ([A-Za-z0-9_./-]+)")
# Where a map of verdicts leads to is not printed with the chains.
_NAMED_MAP = re.compile(r"\bvmap @")
# By the type and hook of a chain, what takes or translates a packet there.
_TAKING = {
    ("filter", "prerouting"): re.compile(r"\btproxy\b"),
    ("nat", "prerouting"): re.compile(r"\b(?:redirect|dnat (?:ip )?to)\b"),
    ("nat", "postrouting"): re.compile(r"\b(?:masquerade|snat (?:ip )?to)\b"),
}
_PROBLEMS = {
    ("filter", "prerouting"): Problem.INTERCEPTED,
    ("nat", "prerouting"): Problem.SHADOWED,
    ("nat", "postrouting"): Problem.SHADOWED,
}

type Priorities = tuple[int, int]
"""Up to which ones the kernel may translate before us, at either hook."""


@dataclass(frozen=True, slots=True)
class Taker:
    """Where a rule of ours belongs in such a chain."""

    place: Place
    translated: bool
    """Whether packets come by translated: at all hooks but `prerouting`."""
    problem: Problem
    """What a forward lacks that does not leave the chain there."""


def takers_in(tables: Iterable[ForeignTable], before: Priorities) -> Iterator[Taker]:
    """Yield the place in each chain that needs a rule."""
    for table in tables:
        for chain in () if table.owned else table.chains:
            if taker := _taker(table, chain, before):
                yield taker


def _taker(
    table: ForeignTable, chain: ForeignChain, before: Priorities
) -> Taker | None:
    """Return the place in a chain; None if it needs none."""
    if chain.base is None:
        return None
    at = chain.base.type, chain.base.hook
    if at not in _TAKING or not _enters_first(chain.base, before):
        return None
    leading = _leading_chains(_TAKING[at], table)
    for number, rule in enumerate(chain.others):
        if _leads(rule, _TAKING[at], leading):
            place = Place(table.name, chain.name, number, number)
            return Taker(place, at[1] != "prerouting", _PROBLEMS[at])
    return None


def _enters_first(base: Base, before: Priorities) -> bool:
    """Return whether the kernel may enter a chain before it translates for us."""
    at = before[base.hook != "prerouting"]
    # One that makes no sense may come first.
    return base.type != "nat" or base.number is None or base.number <= at


def _leads(rule: NftRule, taking: re.Pattern[str], leading: Collection[str]) -> bool:
    """Return whether a packet can come from a rule to one that takes it."""
    return bool(
        taking.search(rule.text)
        or any(name in leading for name in _JUMP.findall(rule.text))
        or (leading and _NAMED_MAP.search(rule.text))
    )


def _leading_chains(taking: re.Pattern[str], table: ForeignTable) -> set[str]:
    """Return the chains from which a packet can come to a rule that takes it."""
    led_from = defaultdict[str, set[str]](set)
    anywhere: set[str] = set()
    leading: set[str] = set()
    for chain in table.chains:
        for rule in chain.others:
            for name in _JUMP.findall(rule.text):
                led_from[name].add(chain.name)
            if _NAMED_MAP.search(rule.text):
                anywhere.add(chain.name)
            if taking.search(rule.text):
                leading.add(chain.name)
    if leading:
        leading |= anywhere
    waiting = list(leading)
    while waiting:
        more = led_from[waiting.pop()] - leading
        leading |= more
        waiting += more
    return leading
