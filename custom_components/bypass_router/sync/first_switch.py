"""Forwards that come on when they are added, as the form asked: once in their life."""

from typing import Any

from homeassistant.config_entries import ConfigEntry
from homeassistant.core import HomeAssistant, callback

from ..const import CONF_ENABLED
from .interfaces import Face
from .reconciler import Reconciler


class FirstSwitch:
    """Makes a request of what the form has left with a forward, and clears that away.

    Home Assistant writes down later what it knows of a forward, and may be killed in
    between. So the file of what is desired tells for which forwards this is done: what
    is found again with one of them is old, whatever was asked for since.
    """

    def __init__(
        self,
        hass: HomeAssistant,
        entry: ConfigEntry[Any],
        face: Face,
        reconciler: Reconciler,
    ) -> None:
        """Take whose forwards they are, and who switches them."""
        self._hass = hass
        self._entry = entry
        self._face = face
        self._reconciler = reconciler
        self._taken: set[str] = set()

    @callback
    def take(self) -> None:
        """Have those switched on that were added so."""
        begun = self._reconciler.begun
        for key in self._left & self._face.forwards.keys() - begun - self._taken:
            # It is asked for once, though the disk may not take it at once.
            self._taken.add(key)
            self._reconciler.begin(key)
        if self._left:
            self._face.in_background(self._apply(), "first switch")

    async def _apply(self) -> None:
        """Have it applied, and clear away what is done."""
        await self._reconciler.reconcile_unasked()
        while done := self._left & self._reconciler.begun:
            # Whoever hears of the change may clear others away meanwhile.
            subentry = self._entry.subentries[done.pop()]
            data = {**subentry.data}
            del data[CONF_ENABLED]
            self._hass.config_entries.async_update_subentry(
                self._entry, subentry, data=data
            )

    @property
    def _left(self) -> set[str]:
        """The ids of forwards with which the form has left something."""
        return {
            key
            for key, subentry in self._entry.subentries.items()
            if subentry.data.get(CONF_ENABLED) is True
        }
