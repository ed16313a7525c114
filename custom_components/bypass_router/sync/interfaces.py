"""What the reconciler needs of a router, and of Home Assistant."""

import asyncio
from collections.abc import Collection, Coroutine, Iterable, Mapping, Set as AbstractSet
from typing import Any, Protocol

from ..router.errors import RouterError
from ..router.forward import Forward
from ..router.monitor import Change
from ..router.rules.base import Applied, Live


class Rules(Protocol):
    """Of a router's `LiveRules`, what is needed here."""

    @property
    def cuts(self) -> bool:
        """Whether there are rules that cut connections, which end by themselves."""

    @property
    def by_clock(self) -> bool:
        """Whether forwards end by the router's clock, which may be set at any time."""

    async def read(self) -> Live:
        """Return what is live."""

    async def apply_each(
        self,
        desired: Collection[Forward],
        expected: AbstractSet[Forward],
        given_up: AbstractSet[str],
        untouched: AbstractSet[str],
    ) -> Applied:
        """Make exactly these forwards live, as far as the router takes them."""

    def differs(
        self, desired: Collection[Forward], untouched: AbstractSet[str]
    ) -> bool:
        """Return whether the rules that were read last are not what is desired."""

    def take_lost(self) -> frozenset[str]:
        """Return the ids of those that changes found to be lost, and forget them."""

    def take_come(self) -> frozenset[Forward]:
        """Return the forwards that were seen to come on, and forget them."""

    def cause_of(self, changes: Iterable[Change]) -> str | None:
        """Return which program made the first of these changes that we did not."""


class ConnectedRouter(Protocol):
    """Of a `Router`, what is needed here."""

    @property
    def rules(self) -> Rules:
        """The rules of ours on it."""

    @property
    def reports(self) -> bool:
        """Whether changes are reported with the program that made them."""

    @property
    def closed(self) -> bool:
        """Whether the connection is gone."""

    async def forget_untranslated(self, forwards: Collection[Forward]) -> None:
        """Have flows that were there before these forwards go through them."""

    async def close_connections(self, forwards: Collection[Forward]) -> int:
        """End what is still connected by forwards that are no longer live."""


class Face(Protocol):
    """What the reconciler is given, and to whom it shows what became of it."""

    @property
    def forwards(self) -> Mapping[str, Forward]:
        """The forwards as they are set up, by id."""

    @property
    def connected(self) -> ConnectedRouter | None:
        """The router while it is connected."""

    @property
    def withheld(self) -> Mapping[str, RouterError]:
        """Why forwards are kept closed that would lead to a stranger, by id."""

    @property
    def restores(self) -> bool:
        """Whether forwards that other software took away are to be put back."""

    @property
    def closes(self) -> bool:
        """Whether connections are to end with their forward."""

    def show(self, live: Live) -> None:
        """Show what was read back."""

    def show_error(self, err: RouterError) -> None:
        """Show that it is not known what is live."""

    def log(self, err: RouterError, forward_id: str = "") -> None:
        """Log what failed without anyone who waits for it, perhaps of one forward."""

    def in_background[T](
        self, work: Coroutine[Any, Any, T], what: str, *, eager_start: bool = True
    ) -> asyncio.Task[T]:
        """Start something that ends with the entry at the latest."""
