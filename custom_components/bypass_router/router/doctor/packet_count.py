"""Watching what arrives at a forward's ports while someone tries from outside.

Who is answered is to be proved by packets: see `packet_count_rules`. A script on the
router sets the rules that count, prints the counts for each line that it gets, and
takes the rules away when its stdin ends or when nothing has come for a minute, where
its shell can wait for so long and no longer. Whatever is left by a router's crash is
gone with its kernel's rules, or is taken away by the next watch of the same forward.

Which client came, only nft's sets tell. The kernel's table of connections does not:
what is dropped or refused on the router never gets into it, or is out of it at once.
"""

import asyncio
from collections import deque
from collections.abc import Callable, Iterable, Mapping
from contextlib import aclosing
from dataclasses import dataclass, field, replace
import math
import re
import secrets
import time

from ..errors import TimedOut
from ..forward import Forward, Transport
from ..router import Router
from .packet_count_rules import counting_script

_LOOK_INTERVAL = 1.0
# Seconds that a slow router may take beyond those that were asked for.
_PATIENCE = 15
# Seconds after which a client that came is not answered any more. By then, one over TCP
# has asked three times, and the kernel still knows that it waits.
UNANSWERED_AFTER = 5
_MOST_LINES = 10_000
_COUNTER = re.compile(r"counter packets ([0-9]{1,20}) .*comment \"([a-z-]+)\"")
_COUNTED = re.compile(
    r"--comment \"?bypass_router:[0-9A-Za-z:]+\.([a-z-]+)\"?.* -c ([0-9]{1,20}) "
)
_SET = re.compile(r"^\s*set ([a-z]+) \{")
_SOURCE = re.compile(r"([0-9]{1,3}(?:\.[0-9]{1,3}){3})")


@dataclass(frozen=True, slots=True)
class PacketCounts:
    """What was seen so far of each transport."""

    counting: bool = False
    """Whether packets were counted at all."""
    numbers: Mapping[str, int] = field(default_factory=dict, hash=False)
    """By the transport and what was counted, such as `tcp-opened`."""
    unanswered: bool = False
    """Whether a client came that will not be answered any more."""
    clients: Mapping[str, str] = field(default_factory=dict, hash=False)
    """An address of each set that has one: `seen`, `near`, `answered`."""

    def of(self, name: str, *transports: Transport) -> int:
        """Return how much of something was counted, over some transport or all."""
        return sum(
            self.numbers.get(f"{transport}-{name}", 0)
            for transport in transports or ("tcp", "udp")
        )

    @property
    def packets(self) -> int:
        """What came from outside: requests, and what belongs to earlier ones."""
        return self.of("opened") + self.of("going")

    @property
    def replied(self) -> tuple[Transport, ...]:
        """The transports over which something was answered to who was let pass."""
        transports: tuple[Transport, ...] = ("tcp", "udp")
        return tuple(
            it for it in transports if self.of("replies", it) and self.of("passed", it)
        )

    @property
    def answered(self) -> tuple[Transport, ...]:
        """The transports over which a client from outside was answered.

        Over TCP, it also has to have heard that, and to have said something.
        """
        return tuple(it for it in self.replied if it == "udp" or self.of("heard", it))


async def watch_packets(
    router: Router,
    forward: Forward,
    seconds: int,
    on_progress: Callable[[int, int], None],
) -> PacketCounts:
    """Count for so many seconds, or until it is known what becomes of a client.

    That is when one was answered, or has not been for a while. `on_progress` gets the
    seconds that are left, and the packets that came: first as soon as they are counted.
    Raises RouterError.
    """
    word = f"bypass-router-{secrets.token_hex(8)}"
    found = PacketCounts()
    lines: deque[str] = deque(maxlen=_MOST_LINES)
    left = seconds
    script = counting_script(forward, router.context, router.probe, word)
    stream = router.stream(script, _LOOK_INTERVAL)
    limit = seconds + _PATIENCE + router.patience_with(script)
    until = math.inf
    waiting = _Waiting()
    try:
        async with asyncio.timeout(limit), aclosing(stream) as heard:
            async for line in heard:
                if line == f"{word} failed":
                    break
                if line == f"{word} ready":
                    found = PacketCounts(counting=True)
                    until = time.monotonic() + seconds
                    lines.clear()
                    on_progress(left, 0)
                elif line == f"{word} seen":
                    found = _read(lines)
                    lines.clear()
                    left = max(left - 1, 0)
                    on_progress(left, found.packets)
                    now = time.monotonic()
                    if waiting.is_over(found, now):
                        found = replace(found, unanswered=True)
                    if found.answered or found.unanswered:
                        break
                    # Each look takes its time where `sudo` does.
                    if waiting.for_no_one and (not left or now > until + 1):
                        break
                else:
                    lines.append(line)
    except TimeoutError:
        raise TimedOut(seconds=f"{limit:g}") from None
    return found


class _Waiting:
    """How long a client has gone without an answer."""

    def __init__(self) -> None:
        """Begin with no one."""
        self._since: float | None = None
        self._going = 0

    @property
    def for_no_one(self) -> bool:
        """Whether no client waits for an answer that may still come."""
        return self._since is None

    def is_over(self, found: PacketCounts, now: float) -> bool:
        """Return whether a client that came will not be answered any more.

        One that got an answer and has not said anything since may have looked whether
        the port is open, and who comes after it may go on.
        """
        if found.replied:
            self._since = None
            return False
        new = found.of("opened") or found.of("going") > self._going
        if self._since is None and new:
            self._since, self._going = now, found.of("going")
        if self._since is None or now < self._since + UNANSWERED_AFTER:
            return False
        if found.of("opened") or found.of("going") > self._going:
            return True
        # What belonged to an earlier connection was the end of it.
        self._since = None
        return False


def _read(lines: Iterable[str]) -> PacketCounts:
    """Return what a look has printed."""
    counts: dict[str, int] = {}
    clients: dict[str, str] = {}
    current = ""
    elements = False
    for line in lines:
        if found := _COUNTER.search(line):
            name, number = found[2], int(found[1])
        elif found := _COUNTED.search(line):
            name, number = found[1], int(found[2])
        else:
            if beginning := _SET.match(line):
                current = beginning[1]
            elements = elements or "elements = {" in line
            if elements and (address := _SOURCE.search(line)):
                clients.setdefault(current, address[1])
            elements = elements and "}" not in line
            continue
        counts[name] = counts.get(name, 0) + number
    for name in [name for name in counts if name.endswith("-home")]:
        outside = name.removesuffix("-home")
        near = counts.pop(name)
        counts[outside] = max(counts.get(outside, 0) - near, 0)
        if outside.endswith("-opened"):
            counts[outside.replace("opened", "near")] = near
    return PacketCounts(counting=True, numbers=counts, clients=clients)
