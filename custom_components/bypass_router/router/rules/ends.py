"""When a rule is to end, as its comment says; and what connections are cut.

A forward that is open for a while ends by the router's own clock or timer, which is not
Home Assistant's. So the end that is wanted stands in the comment of what brings it
about, and is compared as it stands there.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from ipaddress import IPv4Network
import re
from typing import Final, Literal

from ..forward import Forward, PortRange, Transport
from .base import Cut, Tag, Way

type _End = tuple[Transport, int, int]
type Word = Literal["until", "cut until"]

EVERYWHERE: Final = IPv4Network("0.0.0.0/0")
CUT_FOR: Final = 30 * 86400
"""Seconds for which connections are cut: six times as long as the kernel remembers one
over TCP that keeps quiet, unless it is told otherwise."""
SLACK: Final = 30
"""Seconds by which the kernel's end may differ from the one that is wanted.

A change takes its time, and clocks are set. What was put back from a kept listing is
farther off, mostly.
"""
_ENDING: Final = re.compile(r"(\S{1,120}) ((?:cut )?until) ([0-9TZ:-]{20})")


def ending(tag: Tag, word: Word, until: int) -> str:
    """Return the comment of what is there until a moment, in Unix time."""
    return f"{tag} {word} {moment(until)}Z"


def moment(seconds: float) -> str:
    """Return a moment of Unix time as iptables writes it, in UTC."""
    return datetime.fromtimestamp(int(seconds), UTC).strftime("%Y-%m-%dT%H:%M:%S")


def read_moment(text: str) -> int | None:
    """Return the moment that is written so; None for what is none."""
    try:
        return int(datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp())
    except ValueError:
        return None


def read_ending(comment: str) -> tuple[Tag, Word, int] | None:
    """Return what such a comment says; None for any other."""
    if not (found := _ENDING.fullmatch(comment)):
        return None
    tag, until = Tag.parse(found[1]), read_moment(found[3])
    if tag is None or until is None:
        return None
    return tag, "until" if found[2] == "until" else "cut until", until


def ways_of(forward: Forward) -> Iterator[Way]:
    """Yield who reaches what by a forward."""
    for source in forward.sources or (EVERYWHERE,):
        for transport in forward.protocol.transports:
            shift = forward.target_ports.first - forward.external.first
            yield Way(source, transport, forward.external, forward.target, shift)


def cuts_of(
    gone: Mapping[Tag, Collection[Way]],
    stays: Collection[Way],
    there: Collection[Cut],
    now: float,
) -> Iterator[Cut]:
    """Yield what is to cut connections by what is gone, and by nothing that stays.

    Some of that is there already, and lasts for as long as it does.
    """
    taken = Ways(stays)
    old: dict[Tag, dict[Way, int]] = {}
    for cut in there:
        if cut.until > now:
            old.setdefault(cut.tag, {})[cut.way] = cut.until
    for tag in gone.keys() | old.keys():
        untils = old.get(tag, {})
        new = taken.without(gone.get(tag, ()))
        # Two forwards may have led to one place, one after the other.
        taken.add(new)
        kept = taken.without(untils)
        taken.add(kept)
        for way in (*new, *kept):
            yield Cut(tag, way, untils.get(way, int(now) + CUT_FOR))


class Ways:
    """Ways, by what they lead to: of a thousand, each is compared with the others."""

    def __init__(self, ways: Iterable[Way] = ()) -> None:
        """Take the first of them."""
        self._found: dict[_End, list[tuple[int, int, Way]]] = {}
        self.add(ways)

    def add(self, ways: Iterable[Way]) -> None:
        """Take more."""
        for way in ways:
            item = (way.ports.first, way.ports.last, way)
            self._found.setdefault(_end(way), []).append(item)

    def meeting(self, way: Way) -> list[Way]:
        """Return those that have something in common with a way."""
        first, last = way.ports.first, way.ports.last
        return [
            other
            for other_first, other_last, other in self._found.get(_end(way), ())
            if other_first <= last
            and first <= other_last
            and way.source.overlaps(other.source)
        ]

    def without(self, ways: Iterable[Way]) -> list[Way]:
        """Return what of others is in none of these."""
        found: list[Way] = []
        for way in dict.fromkeys(ways):
            left = [way]
            for other in self.meeting(way):
                left = [rest for one in left for rest in _without(one, other)]
            found += left
        return list(dict.fromkeys(found))


def _end(way: Way) -> _End:
    """Return where a way leads, as it is quickly looked up."""
    return way.transport, int(way.target), way.shift


def _without(way: Way, other: Way) -> Iterator[Way]:
    """Yield what of one way is not in another, in parts that have nothing in common."""
    if (
        _end(way) != _end(other)
        or not way.ports.overlaps(other.ports)
        or not way.source.overlaps(other.source)
    ):
        yield way
        return
    first = max(way.ports.first, other.ports.first)
    last = min(way.ports.last, other.ports.last)
    if way.ports.first < first:
        yield _with_ports(way, way.ports.first, first - 1)
    if way.ports.last > last:
        yield _with_ports(way, last + 1, way.ports.last)
    if not way.source.subnet_of(other.source):
        for source in way.source.address_exclude(other.source):
            yield replace(way, source=source, ports=PortRange(first, last))


def _with_ports(way: Way, first: int, last: int) -> Way:
    """Return the same way by some of its ports."""
    return replace(way, ports=PortRange(first, last))
