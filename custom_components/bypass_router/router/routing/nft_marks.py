"""What marks answers, as elements of an nft table of ours.

The table is not the one that translates, so that it does not matter who does. Its chain
stands behind all that could set another mark, right before the kernel looks for a
route. It marks what is of a forward's connections alone, and nothing of the target's
own. To clients of private networks but the LAN, answers go as they always did: such a
client may have come by a tunnel.

Only where the kernel would lead requests astray on their way to the target, they get
the mark as well.
"""

from collections.abc import Collection, Iterator, Mapping, Set as AbstractSet
from functools import lru_cache
import re

from ..forward import PortRange, Transport
from ..network.private import PRIVATE
from ..nftables.listing import NftTable
from ..nftables.own_table import read_own_table, with_digests
from ..rules.base import Phase, PlanStep, RouterContext, Tag
from ..ssh.script import Result, Script
from ..ssh.sudo import as_root
from .marks import Marked, MarksState, in_order
from .questions import MARK

ANSWERS_TABLE = "ip ha_bypass_answers"
LISTING = f"nft list table {ANSWERS_TABLE}"
_LOCAL = ", ".join(map(str, PRIVATE))
_CHAIN = "lead_back"
_PRIORITY = "10000"
_SETS = tuple(
    f"{kind}_{transport}"
    for kind in ("answers", "requests")
    for transport in ("tcp", "udp")
)
_PORTS = re.compile(r'([0-9]{1,5})(?:-([0-9]{1,5}))? comment "([^"]*)"')


class NftMarks:
    """The table `ip ha_bypass_answers`."""

    def __init__(self, context: RouterContext, *, sudo: bool) -> None:
        """Take the context, and whether the commands need `sudo -n` in front."""
        self._context = context
        self._nft = as_root("nft", sudo=sudo)
        self._list = as_root(LISTING, sudo=sudo)

    def add_read(self, script: Script) -> None:
        """Add the command that prints the table."""
        script.run("answers.table", self._list)

    def read(self, sections: Mapping[str, Result]) -> MarksState:
        """Return what it printed. Raises FirewallFailed, NotPrivileged, BadOutput."""
        result = sections["answers.table"]
        if (table := read_own_table(ANSWERS_TABLE, result)) is None:
            return MarksState()
        found = [
            _read(name, text) for name in _SETS for text in table.sets.get(name, ())
        ]
        return MarksState(
            present=True,
            sound=self._is_sound(table),
            marked=frozenset(filter(None, found)),
        )

    def _is_sound(self, table: NftTable) -> bool:
        """Return whether the table does what we made it for."""
        if len(table.chains) != 1 or not table.sets.keys() >= set(_SETS):
            return False
        chain = table.chains[0]
        if chain.name != _CHAIN or chain.base is None:
            return False
        at = chain.base.type, chain.base.hook, chain.base.priority, chain.base.policy
        return at == ("filter", "prerouting", _PRIORITY, "accept") and [
            rule.comment for rule in chain.rules
        ] == [comment for _, comment in _rules_of(self._context)]

    def steps(self, wanted: AbstractSet[Marked], state: MarksState) -> list[PlanStep]:
        """Return the change after which the owner has exactly these marked."""
        owner = self._context.owner
        ours = frozenset(it for it in state.marked if it.tag.owner == owner)
        others = state.marked - ours
        command = f"{self._nft} -f -"
        if not (wanted or others):
            if not state.present:
                return []
            return [PlanStep(Phase.REVOKE, command, (f"delete table {ANSWERS_TABLE}",))]
        lines: list[str] = []
        losses = ours - wanted
        if not state.sound:
            if state.present:
                lines.append(f"delete table {ANSWERS_TABLE}")
            lines += table_lines(self._context)
            ours, wanted, losses = frozenset(), wanted | others, frozenset()
        # What is of the same ports goes before they are given anew.
        lines += [_line("delete", it) for it in in_order(losses)]
        lines += [_line("add", it) for it in in_order(wanted - ours)]
        return [PlanStep(Phase.ALLOW, command, tuple(lines))] if lines else []

    def looks(self, *, heard: bool) -> list[str]:
        """Return commands whose output changes when the marks do."""
        return [] if heard else [self._list]

    def rules(self, wanted: Collection[Marked]) -> list[str]:
        """Return the elements, for people to read."""
        return [f"nft {_line('add', it)}" for it in in_order(wanted)]


def _line(verb: str, marked: Marked) -> str:
    """Return the line that adds or deletes an element."""
    comment = f' comment "{marked.tag}"' if verb == "add" else ""
    what = f"{{ {marked.ports}{comment} }}"
    return f"{verb} element {ANSWERS_TABLE} {marked.place} {what}"


def _read(place: str, text: str) -> Marked | None:
    """Return the element that nft printed, or None if it can be none of ours."""
    if not (found := _PORTS.fullmatch(text)) or not (tag := Tag.parse(found[3])):
        return None
    kind, _, name = place.partition("_")
    transport: Transport = "tcp" if name == "tcp" else "udp"
    try:
        ports = PortRange(int(found[1]), int(found[2] or found[1]))
    except ValueError:
        return None
    return Marked(tag, transport, ports, answers=kind == "answers")


@lru_cache(16)
def _rules_of(context: RouterContext) -> list[tuple[str, str]]:
    """Return the chain's rules, each with the comment that tells it by a digest."""
    return with_digests(_rules(context))


def _rules(context: RouterContext) -> Iterator[str]:
    """Yield the rules."""
    lan = context.address.network
    flow = f"ct status dnat ct original ip daddr {context.address.ip}"
    clients = f"ct original ip saddr {lan}", f"ct original ip saddr != {{ {_LOCAL} }}"
    for transport in ("tcp", "udp"):
        # Of the connection, not of the packet: errors that ICMP tells of it go along.
        port = f"ct protocol {transport} ct original proto-dst"
        for client in clients:
            yield (
                f"ct direction reply {flow} {client} {port} @answers_{transport}"
                f" meta mark set {MARK}"
            )
        yield (
            f"ct direction original {flow} ip daddr {lan} {port} @requests_{transport}"
            f" meta mark set {MARK}"
        )


def table_lines(context: RouterContext) -> list[str]:
    """Return the lines that make the table, without a forward."""
    hook = f"type filter hook prerouting priority {_PRIORITY}; policy accept;"
    return [
        f"add table {ANSWERS_TABLE}",
        *(
            f"add set {ANSWERS_TABLE} {name} {{ type inet_service; flags interval; }}"
            for name in _SETS
        ),
        f"add chain {ANSWERS_TABLE} {_CHAIN} {{ {hook} }}",
        *(
            f'add rule {ANSWERS_TABLE} {_CHAIN} {rule} comment "{comment}"'
            for rule, comment in _rules_of(context)
        ),
    ]
