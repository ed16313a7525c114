"""Which marks of others tell one client from another, as far as iptables prints it."""

from collections.abc import Mapping

from ..passage.chains import Marking
from ..passage.hooks import packets_of_any
from ..passage.marks import marks_in
from ..rules.base import RouterContext
from .rules import Hook
from .table import Table

# Where packets are marked before a rule at the hook `forward` goes by it, and when.
_ENTERED = (("PREROUTING", "prerouting", -150), ("FORWARD", "forward", 0))


def marks_of(
    tables: Mapping[Hook, Table], context: RouterContext, interface: str
) -> frozenset[Marking]:
    """Return the marks that the packets of some forward get by who the client is.

    By rules of others: each table comes with the hook at which it enters our chain.
    """
    found: set[Marking] = set()
    for hook, table in tables.items():
        chains = table.others(hook)
        if not any(rule.marks for chain in chains.values() for rule in chain.rules):
            continue
        for builtin, entered, at in _ENTERED:
            packets = packets_of_any(context, interface, entered, at)
            found |= marks_in(chains, builtin, packets)
    return frozenset(found)
