"""Which walks are walked, and how far: `--seed` and `--steps` of the command line."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

import pytest


class Journey:
    """One test's walk, wherever it leads."""

    def __init__(self, seed: int, steps: int) -> None:
        """Begin at its first step."""
        self.seed: Final = seed
        self.taken = 0
        self._steps = steps

    def steps(self, of: int = 1) -> Iterator[int]:
        """Yield the number of each step; of each that counts for so many."""
        for number in range(max(1, self._steps // of)):
            self.taken = min((number + 1) * of, self._steps)
            yield number

    @contextmanager
    def told(self, test: str) -> Iterator[None]:
        """Where it ends before its time, let the error say how to walk it again."""
        try:
            yield
        except BaseException as err:
            err.add_note(
                f"Step {self.taken}. Once more: scripts/test '{test}'"
                f" --seed {self.seed} --steps {self.taken}"
            )
            raise


@pytest.fixture
def journey(pytestconfig: pytest.Config) -> Journey:
    """As the command line says."""
    return Journey(pytestconfig.getoption("seed"), pytestconfig.getoption("steps"))


@pytest.hookimpl(wrapper=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> Iterator[None]:
    """Let a walk that ends before its time say where."""
    walked = pyfuncitem.funcargs.get("journey")
    if not isinstance(walked, Journey):
        return (yield)
    with walked.told(pyfuncitem.nodeid):
        return (yield)
