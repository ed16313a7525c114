"""A model of what `nft -f` makes of the text for our table, and `nft list` prints."""

from collections.abc import Collection, Iterable
from dataclasses import dataclass, field
from functools import lru_cache
from ipaddress import IPv4Network
import re
from typing import Self

from custom_components.bypass_router.router.forward import Forward
from custom_components.bypass_router.router.nftables.table import Nftables, NftState
from custom_components.bypass_router.router.rules.base import PlanStep, RouterContext
from custom_components.bypass_router.router.rules.ruleset import Plan, Ruleset, Snapshot
from custom_components.bypass_router.router.ssh.script import Result

from .rules import SITE

ABSENT = Result("Error: No such file or directory\nlist table ip ha_bypass\n", 1)
_LINE = re.compile(
    r"(add|create|delete|insert|flush) (table|map|set|chain|rule|element) ip ha_bypass"
    r"(?: ([a-z_0-9]+))?(?: (.+))?"
)
_COMMENT = re.compile(' comment "[^"]*"')
_TIMEOUT = re.compile("( timeout ([0-9a-z]+))")
_COUNTER = " counter packets 0 bytes 0"

type Key = tuple[tuple[int, int], ...]


class Refused(Exception):
    """nft would refuse the input, and change nothing."""


@dataclass
class Table:
    """The table `ip ha_bypass`, as text."""

    sets: dict[str, tuple[str, dict[str, str]]] = field(default_factory=dict)
    """By name, the definition, and each element by its key."""
    chains: dict[str, tuple[str, list[str]]] = field(default_factory=dict)
    """By name, the definition and the rules."""

    def copy(self) -> Self:
        """Return one that can be changed by itself."""
        return type(self)(
            {name: (kind, dict(found)) for name, (kind, found) in self.sets.items()},
            {name: (base, list(rules)) for name, (base, rules) in self.chains.items()},
        )

    def listing(self, *, counter: str = _COUNTER) -> str:
        """Return what `nft list table ip ha_bypass` prints."""
        lines = ["table ip ha_bypass {"]
        for name, (definition, elements) in self.sets.items():
            kind = "map" if ":" in definition else "set"
            lines.append(f"\t{kind} {name} {{")
            lines += [
                f"\t\t{part.strip()}" for part in definition.split(";") if part.strip()
            ]
            if elements:
                shown = [
                    text.replace(" comment", f"{counter} comment", 1)
                    if kind == "map"
                    else _TIMEOUT.sub(r"\1 expires \2", text)
                    for text in elements.values()
                ]
                lines.append("\t\telements = { " + ",\n\t\t\t     ".join(shown) + " }")
            lines += ["\t}", ""]
        for name, (base, rules) in self.chains.items():
            lines += [f"\tchain {name} {{", f"\t\t{base}"]
            lines += [f"\t\t{rule}" for rule in rules]
            lines += ["\t}", ""]
        if not lines[-1]:
            lines.pop()
        return "\n".join([*lines, "}"])


def loaded(table: Table | None, steps: Iterable[PlanStep]) -> Table | None:
    """Return what the text of a plan makes of a table; None for none.

    It goes by the text alone, which takes effect as a whole or not at all.
    """
    for step in steps:
        assert step.command == "nft -f -"
        table = table.copy() if table else None
        for line in step.lines:
            table = _carry_out(table, line)
    return table


def read(table: Table | None, context: RouterContext = SITE) -> NftState:
    """Return what an owner reads of the table."""
    printed = Result(table.listing(), 0) if table else ABSENT
    return Nftables(context, sudo=False).read({"nft.table": printed})


def seen(table: Table | None, context: RouterContext = SITE) -> Snapshot:
    """Return what an owner sees of the table, where nothing else is."""
    ruleset = Ruleset(context, [Nftables(context, sudo=False)])
    return Snapshot(ruleset, (read(table, context),))


def planned(
    desired: Collection[Forward], table: Table | None, context: RouterContext = SITE
) -> Plan:
    """Return an owner's plan."""
    snapshot = seen(table, context)
    return snapshot.ruleset.plan(desired, snapshot)


def changed(
    table: Table | None, desired: Collection[Forward], context: RouterContext = SITE
) -> Table | None:
    """Return what an owner's plan makes of the table."""
    return loaded(table, planned(desired, table, context).steps)


def _carry_out(table: Table | None, line: str) -> Table | None:
    """Carry out one line, or refuse it as nft does."""
    found = _LINE.fullmatch(line)
    if not found:
        raise Refused(line)
    match found.groups():
        case "add", "table", None, None:
            return table or Table()
        case "delete", "table", None, None if table:
            return None
        case "flush", "chain", str(name), None if table and name in table.chains:
            table.chains[name][1].clear()
        case verb, kind, str(name), str(text) if table:
            if kind == "element":
                _change(table.sets.get(name), verb, text, line)
            else:
                _make(table, kind, name, text, first=verb == "insert")
        case _:
            raise Refused(line)
    return table


def _make(table: Table, kind: str, name: str, text: str, *, first: bool) -> None:
    """Make a part of the table."""
    match kind:
        case "map" | "set":
            table.sets.setdefault(name, (_block(text), {}))
        case "chain":
            table.chains.setdefault(name, (_block(text), []))
        case "rule" if name in table.chains:
            rules = table.chains[name][1]
            rules.insert(0 if first else len(rules), text)
        case _:
            raise Refused(text)


def _change(
    found: tuple[str, dict[str, str]] | None, verb: str, text: str, line: str
) -> None:
    """Change an element of a set or map."""
    if not found:
        raise Refused(line)
    definition, elements = found
    text = _block(text)
    if verb == "delete":
        if elements.pop(text, None) is None:
            raise Refused(line)
        return
    if verb == "create" and "." not in definition and elements:
        # As of 1.0.6, since each interval comes with a mark that is there already.
        raise Refused(line)
    if verb == "create" or not _is_there(elements, text):
        _create(elements, text, line)


def _block(text: str) -> str:
    """Return what stands between braces."""
    if not (text.startswith("{ ") and text.endswith(" }")):
        raise Refused(text)
    return text[2:-2]


def _is_there(elements: dict[str, str], text: str) -> bool:
    """Return whether an element says the same, whatever its comment."""
    there = elements.get(_key(text), "")
    return _COMMENT.sub("", there) == _COMMENT.sub("", text)


def _key(text: str) -> str:
    """Return what an element is looked up by."""
    return _TIMEOUT.sub("", text).partition(" comment ")[0]


def _create(elements: dict[str, str], text: str, line: str) -> None:
    """Add an element, which may overlap with no other."""
    key = _key(text)
    mine = _intervals(key)
    for other in elements:
        theirs = _intervals(other)
        if all(
            first <= last_of and first_of <= last
            for (first, last), (first_of, last_of) in zip(mine, theirs, strict=True)
        ):
            raise Refused(line)
    elements[key] = text


@lru_cache(4096)
def _intervals(key: str) -> Key:
    """Return what a key covers, in each of its parts."""
    return tuple(_interval(part) for part in key.split(" . "))


def _interval(part: str) -> tuple[int, int]:
    """Return a part of a key as numbers."""
    if part in ("tcp", "udp"):
        number = {"tcp": 6, "udp": 17}[part]
        return number, number
    if "." in part:
        network = IPv4Network(part)
        return int(network.network_address), int(network.broadcast_address)
    first, _, last = part.partition("-")
    return int(first), int(last or first)
