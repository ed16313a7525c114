"""A long, bad cable: frames arrive late, or not at all.

What `tc netem` would do, which not every kernel has: two TAP interfaces, one in
the machine and one at the switch, and a thread that carries the frames.
"""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
import fcntl
import heapq
import os
import random
import select
import struct
import threading
import time
from typing import Final

from .namespaces import Namespaces
from .requirements import LabUnavailable

_TUNSETIFF: Final = 0x400454CA
_IFF_TAP: Final = 0x0002
_IFF_NO_PI: Final = 0x1000
_FRAME: Final = 65536


@contextmanager
def tap(namespaces: Namespaces, name: str) -> Iterator[int]:
    """Make a TAP interface in a network; gives the file that its frames go through."""
    with namespaces.network():
        try:
            file = os.open("/dev/net/tun", os.O_RDWR | os.O_NONBLOCK)
        except OSError as error:
            raise LabUnavailable(
                f"The lab can't make a slow cable: /dev/net/tun: {error.strerror}"
            ) from error
        try:
            request = struct.pack("16sH22x", name.encode(), _IFF_TAP | _IFF_NO_PI)
            fcntl.ioctl(file, _TUNSETIFF, request)
        except OSError:
            os.close(file)
            raise
    try:
        yield file
    finally:
        os.close(file)


class Wire:
    """Carries frames between two files, `delay` seconds late, and loses some."""

    def __init__(self, ends: tuple[int, int], delay: float, loss: float) -> None:
        """Start to carry; `loss` is the share of frames that get lost."""
        self._ends = ends
        self._delay = delay
        self._loss = loss
        # The same frames are lost in each run, as far as the same are sent.
        self._chance = random.Random(0)
        self._stopping, self._stop = os.pipe()
        self._thread = threading.Thread(target=self._carry, daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Stop, and drop what is under way."""
        os.close(self._stop)
        self._thread.join()
        os.close(self._stopping)

    def _carry(self) -> None:
        """Read each frame, and write it to the other end when its time has come."""
        under_way: list[tuple[float, int, int, bytes]] = []
        count = 0
        other = dict(zip(self._ends, reversed(self._ends), strict=True))
        while True:
            wait = max(0.0, under_way[0][0] - time.monotonic()) if under_way else None
            ready, _, _ = select.select([*self._ends, self._stopping], [], [], wait)
            if self._stopping in ready:
                return
            for end in ready:
                frame = os.read(end, _FRAME)
                if self._chance.random() >= self._loss:
                    count += 1
                    due = time.monotonic() + self._delay
                    heapq.heappush(under_way, (due, count, other[end], frame))
            while under_way and under_way[0][0] <= time.monotonic():
                _, _, end, frame = heapq.heappop(under_way)
                with suppress(OSError):
                    # A cable that is not plugged in takes nothing.
                    os.write(end, frame)


def lay(
    inside: Namespaces, outside: Namespaces, interface: str, port: str, **how: float
) -> ExitStack:
    """Lay a wire between an interface in one network and a port in another.

    It lies until the stack that is returned is closed.
    """
    with ExitStack() as stack:
        ends = (
            stack.enter_context(tap(inside, interface)),
            stack.enter_context(tap(outside, port)),
        )
        stack.callback(Wire(ends, **how).close)
        return stack.pop_all()
