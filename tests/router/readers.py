"""What reads forward chains of others, as `nft` and `iptables` print them."""

from custom_components.bypass_router.router.iptables.rules import HOOKS
from custom_components.bypass_router.router.iptables.table import read_table
from custom_components.bypass_router.router.nftables.foreign_tables import (
    read_foreign_tables,
)
from custom_components.bypass_router.router.passage.chains import Chains

_FORWARD = next(hook for hook in HOOKS if hook.builtin == "FORWARD")


def read_chains(tool: str, listing: str) -> Chains:
    """Return the chains of others: of the table `inet theirs`, or of iptables."""
    if tool == "iptables":
        return read_table(listing).others(_FORWARD)
    tables = read_foreign_tables(listing, "ab12", ())
    (found,) = (table for table in tables if table.name == "inet theirs")
    return found.walkable
