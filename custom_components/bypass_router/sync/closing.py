"""Connections that go on although we have taken their forward away: they are ended.

Only those of forwards that were active, and that we removed or led elsewhere.
Whatever goes wrong here, the forward is off, and stays so.
"""

from collections.abc import Callable, Collection, Iterable
import logging

from ..issues import Issues
from ..router.errors import ClosingRefused, RouterError
from ..router.forward import Forward
from ..router.rules.base import Live
from .interfaces import ConnectedRouter

_LOGGER = logging.getLogger(__name__)


class Closing:
    """The forwards of one router that we are taking away."""

    def __init__(
        self, name: str, issues: Issues, stopped: Callable[[], bool] = lambda: False
    ) -> None:
        """Take the router's name, and where to tell that connections stay.

        And what says whether we are ending the connection to the router ourselves.
        """
        self._name = name
        self._issues = issues
        self._stopped = stopped
        self._ending: frozenset[Forward] = frozenset()

    def expect(self, desired: Collection[Forward], live: Live | None) -> None:
        """Take note of what is active and is to be so no longer.

        It is kept until it is seen to be gone, since a change may be interrupted.
        """
        there = (*live.forwards.values(), *live.ended.values()) if live else ()
        self._ending = self._ending.union(there).difference(desired)

    def gone(self, live: Live) -> frozenset[Forward]:
        """Return what was expected to go and is gone, once."""
        gone = frozenset(_others(self._ending, live))
        self._ending -= gone
        return gone

    async def close(
        self, router: ConnectedRouter, forwards: Collection[Forward]
    ) -> None:
        """End what is still connected by forwards that are no longer active."""
        try:
            await router.close_connections(forwards)
        except ClosingRefused as err:
            self._issues.closing_refused(err)
        except RouterError as err:
            # One who removes a forward and then the router needs no warning.
            _LOGGER.log(
                logging.DEBUG if self._stopped() else logging.WARNING,
                "%s: connections of forwards that are off may go on: %s",
                self._name,
                err,
            )


def _others(forwards: Iterable[Forward], live: Live) -> list[Forward]:
    """Return those of the forwards that are not active as they stand here."""
    return [forward for forward in forwards if live.forwards.get(forward.id) != forward]
