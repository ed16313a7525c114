"""Who has something to say of a test that failed."""

from abc import ABC, abstractmethod
from collections.abc import Iterator


class Witness(ABC):
    """What a test was given, and can tell what it was like when the test failed."""

    @abstractmethod
    def witness(self) -> Iterator[tuple[str, str]]:
        """Yield texts, such as logs, each with a title."""
