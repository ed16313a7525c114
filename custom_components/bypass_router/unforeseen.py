"""What nobody foresaw: told in the log, and then a failure like any other.

Whatever works in the background meets it where it meets what a router fails at. So it
is shown, and tried again; what would end for good, and without a word, goes on.
"""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
import logging
import traceback

from .router.errors import RouterError

_LOGGER = logging.getLogger(__name__)


class Unforeseen(RouterError):
    """Something that is no one's known failure, such as a fault of ours."""


class Surprises:
    """What of that befell one piece of work; the log has each once, until it is over.

    What is tried again and again would fill it.
    """

    def __init__(self, name: str = "") -> None:
        """Take whose work it is, for people to read."""
        self._name = name
        self._told: dict[str, object] = {}

    @contextmanager
    def told(self, what: str) -> Iterator[None]:
        """Make an Unforeseen of whatever is raised, unless it is a RouterError."""
        try:
            yield
        except RouterError:
            raise
        except Exception as err:
            frames = traceback.extract_tb(err.__traceback__)[-1:]
            place = (type(err), [(frame.filename, frame.lineno) for frame in frames])
            level = logging.DEBUG if self._told.get(what) == place else logging.ERROR
            self._told[what] = place
            _LOGGER.log(
                level,
                "%s: nobody foresaw this (%s); it is tried again",
                self._name,
                what,
                exc_info=err,
            )
            # What it says may hold anything, and is for the log alone.
            raise Unforeseen from err
        self._told.pop(what, None)

    @contextmanager
    def survived(self, what: str) -> Iterator[None]:
        """Tell of it, and go on."""
        with suppress(Unforeseen), self.told(what):
            yield
