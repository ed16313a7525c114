"""Watching what arrives at a forward's ports while someone tries from outside.

"Never arrived" is to be proved by packets: see `packet_count_rules`. A script on the
router sets the rules that count, prints the counts for each line that it gets, and
takes the rules away when its stdin ends or when nothing has come for a minute, where
its shell can wait for so long and no longer. Whatever is left by a router's crash is
gone with its kernel's rules, or is taken away by the next watch of the same forward.

Which client came, only nft's set tells. The kernel's table of connections does not:
what is dropped or refused on the router never gets into it, or is out of it at once.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Iterable
from contextlib import aclosing
from dataclasses import dataclass
import math
import re
import secrets
import time

from ..errors import TimedOut
from ..forward import Forward
from ..router import Router
from .packet_count_rules import counting_script

_LOOK_INTERVAL = 1.0
# Seconds that a slow router may take beyond those that were asked for.
_PATIENCE = 15
_MOST_LINES = 10_000
_COUNTER = re.compile(r"counter packets ([0-9]{1,20}) .*comment \"([a-z]+)\"")
_COUNTED = re.compile(
    r"--comment \"?bypass_router:[0-9A-Za-z:]+\.([a-z]+)\"?.* -c ([0-9]{1,20}) "
)
_SOURCE = re.compile(r"([0-9]{1,3}(?:\.[0-9]{1,3}){3})")


@dataclass(frozen=True, slots=True)
class PacketCounts:
    """What was seen so far."""

    counting: bool = False
    """Whether packets were counted at all."""
    packets: int = 0
    """Requests to the forward's ports, from whomever."""
    admitted: int = 0
    """Of these, what `sources` lets in."""
    answers: int = 0
    """What came back from the target's service."""
    refusals: int = 0
    """Of TCP: what the target refused."""
    source: str | None = None
    """A client's address, where it is known."""


async def watch_packets(
    router: Router,
    forward: Forward,
    seconds: int,
    on_progress: Callable[[int, int], None],
) -> PacketCounts:
    """Count for so many seconds, or until someone was answered. Raises RouterError.

    `on_progress` gets the seconds that are left, and the packets that came.
    """
    word = f"bypass-router-{secrets.token_hex(8)}"
    found = PacketCounts()
    lines: deque[str] = deque(maxlen=_MOST_LINES)
    left = seconds
    script = counting_script(forward, router.context, router.probe.tools, word)
    stream = router.stream(script, _LOOK_INTERVAL)
    limit = seconds + _PATIENCE + router.patience_with(script)
    until = math.inf
    try:
        async with asyncio.timeout(limit), aclosing(stream) as heard:
            async for line in heard:
                if line == f"{word} failed":
                    break
                if line == f"{word} ready":
                    found = PacketCounts(counting=True)
                    until = time.monotonic() + seconds
                    lines.clear()
                elif line == f"{word} seen":
                    found = _read(lines)
                    lines.clear()
                    left -= 1
                    on_progress(left, found.packets)
                    # Each look takes its time where `sudo` does.
                    if found.answers or not left or time.monotonic() > until + 1:
                        break
                else:
                    lines.append(line)
    except TimeoutError:
        raise TimedOut(seconds=f"{limit:g}") from None
    return found


def _read(lines: Iterable[str]) -> PacketCounts:
    """Return what a look has printed."""
    counts: dict[str, int] = {}
    source = None
    elements = False
    for line in lines:
        if found := _COUNTER.search(line):
            name, number = found[2], int(found[1])
        elif found := _COUNTED.search(line):
            name, number = found[1], int(found[2])
        else:
            elements = elements or "elements = {" in line
            if elements and (address := _SOURCE.search(line)):
                source = source or address[1]
            elements = elements and "}" not in line
            continue
        counts[name] = counts.get(name, 0) + number
    return PacketCounts(
        counting=True,
        packets=counts.get("packets", 0),
        admitted=counts.get("admitted", 0),
        answers=counts.get("answers", 0),
        refusals=counts.get("refusals", 0),
        source=source,
    )
