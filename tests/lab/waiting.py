"""How long a test waits: until what it means has come, on a machine as busy as any."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine, Iterator
import os
from pathlib import Path
import time
from typing import Any, Final

LIMIT: Final = 300.0
"""Seconds that only what hangs takes, however much else the machine has to do."""

_FIRST_PAUSE: Final = 0.002
_LONGEST_PAUSE: Final = 0.05
_TESTS_A_CORE: Final = 2
"""So many are run at once, and what they wait for comes in good time all the same."""


class NeverCame(AssertionError):
    """What was waited for has not come in time."""

    def __init__(self, within: float) -> None:
        """Say how long that was."""
        super().__init__(f"it has not come within {within:g} seconds")


def tries(within: float = LIMIT) -> Iterator[None]:
    """Yield again and again for so many seconds: leave the loop when it has come.

    What stands behind the loop says what has not.
    """
    for pause in _pauses(within):
        yield
        time.sleep(pause)


def wait_until[T](what: Callable[[], T], within: float = LIMIT) -> T:
    """Wait until something is so, and return what was found. Raises NeverCame."""
    for _ in tries(within):
        if found := what():
            return found
    raise NeverCame(within)


async def until[T](what: Callable[[], T], within: float = LIMIT) -> T:
    """Wait until something is so, and let others run; return what was found.

    `within` is for what promises to be quick: `soon(2)`, say. Raises NeverCame.
    """
    for pause in _pauses(within):
        if found := what():
            return found
        await asyncio.sleep(pause)
    raise NeverCame(within)


async def until_told[T](ask: Callable[[], Awaitable[T]], within: float = LIMIT) -> T:
    """Ask until the answer is yes, or something else that counts as true; return it.

    Raises NeverCame.
    """
    for pause in _pauses(within):
        if answer := await ask():
            return answer
        await asyncio.sleep(pause)
    raise NeverCame(within)


async def at_once[T](*work: Coroutine[Any, Any, T]) -> list[T]:
    """Do all of it at once, and return what came of each.

    Where one fails, the others are ended before that is told.
    """
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(each) for each in work]
    return [task.result() for task in tasks]


def _pauses(within: float) -> Iterator[float]:
    """Yield ever longer pauses, in seconds, until the time is over."""
    deadline = time.monotonic() + within
    pause = _FIRST_PAUSE
    while time.monotonic() < deadline:
        yield pause
        pause = min(pause * 1.5, _LONGEST_PAUSE)


def soon(seconds: float) -> float:
    """Return how long it takes here what takes so long on a machine that is not busy.

    As many as want a processor, at this moment or in the last minute, have to share
    what there are: one limit of a test is not to be shorter than another within it.
    """
    average, _, _, now, _ = Path("/proc/loadavg").read_text().split()
    running = max(float(average), int(now.partition("/")[0]))
    share = running / (os.cpu_count() or 1)
    return seconds * (share if share > _TESTS_A_CORE else 1.0)
