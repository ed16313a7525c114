"""Tables of other programs, as they are without our rules; and our rules in them."""

from collections import Counter
from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
import re

from ..passage.chains import Chain, Chains, Marking
from ..passage.marks import asking_who
from ..rules.base import Tag
from .accepts import Accept, read_accept
from .chain_rules import read_chain_rule
from .elements import TABLE
from .listing import Base, NftChain, NftRule, NftTable, read_tables

# What was read is kept: a router prints the same rules at each look.
_KEPT = 32
# Chains that iptables has for us, and what leads to them.
_OURS = "HA-BYPASS-"
_LOOKUP = re.compile(r"@|\bvmap\b")
_TO_OURS = re.compile(rf"\b(?:jump|goto) {_OURS}")


@dataclass(frozen=True, slots=True)
class OurRule:
    """A rule of ours, whichever Home Assistant's."""

    tag: Tag
    accept: Accept | None
    """None for one that is not what we write: someone has changed it."""
    handle: int
    behind: int
    """How many rules of others it stands behind."""


@dataclass(frozen=True, slots=True)
class ForeignChain:
    """A chain of someone else's, and our rules in it."""

    name: str
    base: Base | None
    others: tuple[NftRule, ...]
    ours: tuple[OurRule, ...]


@dataclass(frozen=True)
class ForeignTable:
    """A table of someone else's."""

    name: str
    """Family and name."""
    chains: tuple[ForeignChain, ...]
    elements: dict[str, tuple[str, ...]] = field(default_factory=dict)
    """Of its maps, by name, those of which they were printed."""
    owned: bool = False
    """Whether only the program that made it may change it."""
    program: str = ""
    """That program, as far as it is known."""
    marks: frozenset[Marking] = frozenset()
    """Those that rules of any table set by who the client is."""

    @cached_property
    def walkable(self) -> Chains:
        """The chains without our rules, as far as what becomes of a packet."""
        content = tuple(
            (
                chain.name,
                chain.others,
                chain.base is not None and chain.base.policy != "accept",
            )
            for chain in self.chains
        )
        read = _walkable(content, tuple(self.elements.items()))
        return asking_who(read, self.marks)

    @cached_property
    def by_name(self) -> dict[str, ForeignChain]:
        """The chains by name."""
        return {chain.name: chain for chain in self.chains}


type _Content = tuple[tuple[str, tuple[NftRule, ...], bool], ...]
"""Of each chain the name, the rules, and whether its policy drops."""


@lru_cache(_KEPT)
def _walkable(
    content: _Content, elements: tuple[tuple[str, tuple[str, ...]], ...]
) -> Chains:
    """Return chains as a packet meets them."""
    found: dict[str, Chain] = {}
    known = dict(elements)
    for chain, others, drops in content:
        rules = []
        for number, rule in enumerate(others):
            read, inner = read_chain_rule(rule.text, f"{chain} {number}", known)
            rules.append(read)
            found |= inner
        found[chain] = Chain(tuple(rules), drops)
    return found


def read_foreign_tables(
    text: str,
    owner: str,
    left_out: Collection[str],
    families: Collection[str] = ("ip", "inet"),
) -> Iterator[ForeignTable]:
    """Yield the tables of a listing that see IPv4, and are not ours or left out.

    Those that sleep see nothing, and hold at most rules of ours. Behind all tables,
    those with maps may have been printed once more, with the maps' elements.
    """
    tables = read_tables(text)
    first: dict[str, NftTable] = {}
    elements: dict[str, dict[str, tuple[str, ...]]] = {}
    for table in tables:
        name = f"{table.family} {table.name}"
        if first.setdefault(name, table) is not table:
            elements.setdefault(name, {}).update(table.sets)
    # A comment can look like a rule with the handle of another's.
    handles = Counter(
        (name, rule.handle)
        for name, table in first.items()
        for chain in table.chains
        for rule in chain.rules
    )
    for name, table in first.items():
        if table.family not in families or name == TABLE or name in left_out:
            continue
        doubtful = {
            handle for (where, handle), n in handles.items() if where == name and n > 1
        }
        dormant = "dormant" in table.flags
        yield ForeignTable(
            name,
            tuple(
                _chain(chain, owner, doubtful, dormant=dormant)
                for chain in table.chains
                if not chain.name.startswith(_OURS)
            ),
            elements.get(name, {}),
            owned="owner" in table.flags,
            program=table.program,
        )


# Two parts ask it of each listing.
@lru_cache(4)
def has_native_rules(text: str, name: str) -> bool:
    """Return whether a table of iptables has a rule that iptables did not write.

    Of some it says that it can't read them. Of others it leaves out what it does not
    know, and prints `ip saddr @banned drop` as one that drops all. It counts with each
    rule, and looks nothing up in a set.
    """
    return any(
        "counter" not in rule.text.split() or _LOOKUP.search(rule.text)
        for table in read_tables(text)
        if (table.family, table.name) == ("ip", name)
        for chain in table.chains
        for rule in chain.rules
    )


def _chain(
    chain: NftChain, owner: str, doubtful: Collection[int], *, dormant: bool
) -> ForeignChain:
    """Return a chain. What has one of the doubtful handles is no rule of ours.

    Nor is what is not as we write it, unless it is this owner's: that is to go.
    """
    others: list[NftRule] = []
    ours: list[OurRule] = []
    for rule in chain.rules:
        tag = Tag.parse(rule.comment)
        accept = read_accept(rule) if tag else None
        known = rule.handle and rule.handle not in doubtful
        if tag and known and (accept or tag.owner == owner):
            ours.append(OurRule(tag, accept, rule.handle, len(others)))
        elif not _TO_OURS.search(rule.text):
            others.append(rule)
    base = None if dormant else chain.base
    return ForeignChain(chain.name, base, tuple(others), tuple(ours))
