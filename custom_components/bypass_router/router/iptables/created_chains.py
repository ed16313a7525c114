"""What iptables makes for our sake of the kernel's chains, and how it goes again.

iptables-nft makes a chain of the kernel's, and its table, when a rule is put in for the
first time, and leaves them behind. A router shall be the same after the last forward as
before the first, so what is made is noted down: by an empty chain of ours in the table,
whose name says what. The note stands where the thing stands. It outlives a flush as the
chain does, and goes by whatever takes the chain away. When our last rule has gone, both
go, unless others use the thing by then: the kernel takes no chain away that has a rule.

iptables shows a chain of the kernel's whether it is there or not; nft does not. The
legacy variant makes a table with all its chains, which nothing takes away.
"""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Self

from ..nftables.listing import read_tables
from ..ssh.script import Result
from .rules import Hook

LISTING = "nft.ruleset"
"""The section in which nft prints all chains, where it does."""

type Thing = tuple[str, str]
"""A table, and the name of a chain of the kernel's in it, or nothing for itself."""


@dataclass(frozen=True, slots=True)
class Traces:
    """What is known of the kernel's chains at our hooks, and of their tables."""

    absent: frozenset[Thing] = frozenset()
    """What is not there yet, nor noted down."""
    noted: frozenset[Thing] = frozenset()
    """What was not there before us."""

    @classmethod
    def read(cls, listing: Result | None, hooks: Collection[Hook]) -> Self:
        """Return what nft's listing tells; without one, nothing is known."""
        if not (listing and listing.ok):
            return cls()
        there: set[Thing] = set()
        empty: set[Thing] = set()
        for table in read_tables(listing.output):
            if table.family == "ip":
                there.add((table.name, ""))
                for chain in table.chains:
                    there.add((table.name, chain.name))
                    if not chain.rules:
                        empty.add((table.name, chain.name))
        things = {thing for hook in hooks for thing in things_of(hook)}
        marked = {thing for thing in things if (thing[0], note(thing)) in there}
        return cls(
            frozenset(things - there - marked),
            # One that someone has put a rule into is no one's note.
            frozenset(thing for thing in marked if (thing[0], note(thing)) in empty),
        )


def things_of(hook: Hook) -> tuple[Thing, Thing]:
    """Return what a jump at a hook needs."""
    return (hook.table, hook.builtin), (hook.table, "")


def note(thing: Thing) -> str:
    """Return the name of the chain that notes down that this was made."""
    return f"HA-BYPASS-MADE-{thing[1] or 'TABLE'}"
