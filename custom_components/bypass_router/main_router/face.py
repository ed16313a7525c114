"""What the main router's half has to know of the entry that it belongs to."""

import asyncio
from collections.abc import Coroutine, Mapping
from typing import Any, Protocol

from ..router.errors import RouterError
from ..router.forward import Forward, PortRange
from ..router.router import Router


class Face(Protocol):
    """Of a coordinator, what is needed here."""

    @property
    def connected(self) -> Router | None:
        """The bypass router while it is connected."""

    @property
    def forwards(self) -> Mapping[str, Forward]:
        """The forwards as they are set up, by id."""

    @property
    def desired(self) -> frozenset[str]:
        """The ids of the forwards that are to be live."""

    @property
    def refused(self) -> Mapping[str, RouterError]:
        """Why forwards are not as desired that the bypass router refuses, by id."""

    def is_on(self, forward_id: str) -> bool:
        """Return whether a forward was found in the bypass router's kernel."""

    def ends_at(self, forward_id: str) -> int | None:
        """Return when a forward is to end by itself, in Unix time; None: never."""

    def public_ports_of(self, forward: Forward) -> PortRange:
        """Return the main router's ports of a forward."""

    @property
    def stopped(self) -> bool:
        """Whether the entry has ended, or is about to."""

    def in_background[T](
        self, work: Coroutine[Any, Any, T], what: str, *, eager_start: bool = True
    ) -> asyncio.Task[T]:
        """Start something that ends with the entry at the latest."""
