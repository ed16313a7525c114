"""Which marks of others tell one client from another, as far as nft shows it."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import replace
import re

from ..passage.chains import Marking
from ..passage.hooks import packets_of_any
from ..passage.marks import marks_in
from ..passage.packet import Packet
from ..rules.base import RouterContext
from .foreign_tables import ForeignTable, read_foreign_tables
from .listing import Base

_SETS = re.compile(r'\b(?:mark|label) set\b|xt target "(?:CONN)?MARK"')
_FAMILIES = ("ip", "inet", "netdev", "bridge")
_EARLY = frozenset({"ingress", "prerouting"})


def with_marks(
    tables: Sequence[ForeignTable], text: str, context: RouterContext, interface: str
) -> Sequence[ForeignTable]:
    """Return tables of a listing, with the marks that tell clients apart."""
    if not _SETS.search(text):
        return tables
    # Those that are left to iptables set marks as well, and those that see frames.
    names = [table.name for table in tables]
    others = read_foreign_tables(text, context.owner, names, _FAMILIES)
    marks = frozenset(_marks((*tables, *others), context, interface))
    return [replace(table, marks=marks) for table in tables] if marks else tables


def _marks(
    tables: Iterable[ForeignTable], context: RouterContext, interface: str
) -> Iterator[Marking]:
    """Yield the marks that the packets of some forward get by who the client is."""
    for table in tables:
        for chain in table.chains:
            packets = _packets(chain.base, context, interface)
            yield from marks_in(table.walkable, chain.name, packets)


def _packets(
    base: Base | None, context: RouterContext, interface: str
) -> Iterator[Packet]:
    """Yield what comes to a chain of any forward's packets."""
    if base is None or base.hook not in {*_EARLY, "forward"}:
        return
    early = base.hook != "forward"
    at = base.number if base.hook == "prerouting" else None
    hook = "prerouting" if early else "forward"
    yield from packets_of_any(context, interface, hook, at)
