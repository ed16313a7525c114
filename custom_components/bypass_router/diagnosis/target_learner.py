"""Learns which devices the targets are, as soon as their forwards are on.

Nothing is learnt again of a target that is known: if another device takes its address,
the doctor shall see that. A diagnosis that finds all well says otherwise.
"""

import asyncio
from collections.abc import Callable, Mapping
from ipaddress import IPv4Address
import logging
from typing import Any

from homeassistant.config_entries import ConfigEntry
from homeassistant.core import HomeAssistant, callback

from ..router.errors import ConnectionLost, RouterError
from ..router.forward import Forward
from ..router.network.target_macs import MOST, read_target_macs, target_macs_script
from ..router.router import Router
from ..storage import NotSaved
from ..unforeseen import Surprises, Unforeseen
from .target_store import TargetMacStore

_LOGGER = logging.getLogger(__name__)


class TargetLearner:
    """The targets of one entry's forwards, as devices."""

    def __init__(
        self,
        hass: HomeAssistant,
        entry: ConfigEntry[Any],
        *,
        router: Callable[[], Router | None],
        forwards: Callable[[], Mapping[str, Forward]],
    ) -> None:
        """Take where to ask for the router while it is connected, and what is on."""
        self._hass = hass
        self._entry = entry
        self._router = router
        self._forwards = forwards
        # Each is asked for once: one that is off is no reason to ask again and again.
        self._asked: set[tuple[str, IPv4Address]] = set()
        self._learning: asyncio.Task[None] | None = None
        self._surprises = Surprises(entry.title)

    @callback
    def async_learn_soon(self) -> None:
        """Ask for targets that were not asked for yet."""
        if self._learning is None and self._router() and self._new():
            self._learning = self._entry.async_create_background_task(
                self._hass,
                self._learn(),
                f"{self._entry.title} targets",
                eager_start=False,
            )

    def _new(self) -> list[Forward]:
        """Return the forwards whose targets were not asked for yet."""
        on = self._forwards().values()
        new = [
            forward for forward in on if (forward.id, forward.target) not in self._asked
        ]
        targets = sorted({forward.target for forward in new})[:MOST]
        return [forward for forward in new if forward.target in targets]

    async def _learn(self) -> None:
        """Ask as long as there is someone to ask for."""
        try:
            while (router := self._router()) and (new := self._new()):
                asked = {(forward.id, forward.target) for forward in new}
                self._asked |= asked
                try:
                    with self._surprises.told("learning targets"):
                        await self._ask(router, new)
                except ConnectionLost, NotSaved, Unforeseen:
                    # They are asked for when it is back, or there is room.
                    self._asked -= asked
                    raise
        except RouterError as err:
            _LOGGER.debug("%s does not tell its targets: %s", self._entry.title, err)
        finally:
            self._learning = None

    async def _ask(self, router: Router, forwards: list[Forward]) -> None:
        """Ask for the targets that are not known. Raises RouterError."""
        # Not kept: a diagnosis writes the same file.
        known = TargetMacStore(self._hass, self._entry.entry_id)
        unknown = [forward for forward in forwards if await known.of(forward) is None]
        if not unknown:
            return
        targets = sorted({forward.target for forward in unknown})
        async with router.visits:
            sections = await router.run(target_macs_script(targets))
        found = read_target_macs(sections, targets)
        known = TargetMacStore(self._hass, self._entry.entry_id)
        learnt = {
            forward: found[forward.target]
            for forward in unknown
            if forward.target in found and await known.of(forward) is None
        }
        if learnt:
            await known.remember(learnt)
