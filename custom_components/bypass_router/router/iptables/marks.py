"""Which marks of others tell one client from another, as far as iptables prints it."""

from collections.abc import Iterable

from ..passage.chains import Marking
from ..passage.hooks import packets_of_any
from ..passage.marks import marks_in
from ..rules.base import RouterContext
from .table import Table

# Where packets are marked before a rule at the hook `forward` goes by it, and when.
_ENTERED = (("PREROUTING", "prerouting", -150), ("FORWARD", "forward", 0))


def marks_of(
    tables: Iterable[Table], context: RouterContext, interface: str
) -> frozenset[Marking]:
    """Return the marks that the packets of some forward get by who the client is."""
    found: set[Marking] = set()
    for table in tables:
        chains = table.walkable
        if not any(rule.marks for chain in chains.values() for rule in chain.rules):
            continue
        for builtin, hook, at in _ENTERED:
            packets = packets_of_any(context, interface, hook, at)
            found |= marks_in(chains, builtin, packets)
    return frozenset(found)
