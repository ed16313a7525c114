"""Threads that begin and end with one call."""

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor


def in_thread[T](action: Callable[[], T]) -> T:
    """Call it in a thread of its own, which may change itself and then ends."""
    with ThreadPoolExecutor(1) as executor:
        return executor.submit(action).result()
