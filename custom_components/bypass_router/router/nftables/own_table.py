"""What our own table of nftables consists of, beside the forwards in it.

Its rules are the same for any number of forwards.
"""

from collections.abc import Iterable
from functools import lru_cache
from hashlib import sha256

from ..errors import BadOutput
from ..rules.base import RouterContext, unreadable
from ..ssh.script import Result
from .elements import INTERVAL, MAPS, SETS, TABLE
from .listing import NftTable, read_tables

CHAINS = {"pre": ("prerouting", "dstnat - 5"), "post": ("postrouting", "srcnat - 5")}


@lru_cache(16)
def rules_of_table(context: RouterContext) -> dict[str, list[tuple[str, str]]]:
    """Return the rules of each chain of the table, and each rule's comment.

    The comment tells by a digest which rule this is, since versions of nft print one
    rule in different words.
    """
    router, lan = context.address.ip, context.address.network
    both = f"ip daddr {router} meta l4proto {{ tcp, udp }} dnat ip to"
    key = "meta l4proto . th dport"
    pre = [
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
    return {"pre": with_digests(pre), "post": with_digests(post)}


def with_digests(rules: Iterable[str]) -> list[tuple[str, str]]:
    """Return rules, each with the comment that tells it, whatever nft makes of it."""
    return [
        (rule, f"ha_bypass:{sha256(rule.encode()).hexdigest()[:16]}") for rule in rules
    ]


def table_lines(context: RouterContext) -> list[str]:
    """Return the lines that make the table, without a forward."""
    lines = [f"add table {TABLE}"]
    lines += [
        f"add map {TABLE} {name} {{ {what} counter; }}" for name, what in MAPS.items()
    ]
    lines += [
        f"add set {TABLE} {name} {{ type inet_service;{INTERVAL} }}" for name in SETS
    ]
    for chain, (hook, priority) in CHAINS.items():
        lines.append(
            f"add chain {TABLE} {chain}"
            f" {{ type nat hook {hook} priority {priority}; policy accept; }}"
        )
        lines += [
            f'add rule {TABLE} {chain} {rule} comment "{comment}"'
            for rule, comment in rules_of_table(context)[chain]
        ]
    return lines


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
