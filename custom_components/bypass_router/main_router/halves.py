"""The main router's halves of one entry's forwards, by whichever way each is set."""

from collections.abc import Callable
from typing import Any

from homeassistant.config_entries import ConfigEntry
from homeassistant.core import HomeAssistant, callback

from ..subentry import main_router_switch_of
from .half import MainHalf
from .linux_router import other_switch
from .manager import Face, MainRouter
from .other_switch import OtherSwitch
from .search import find_mapper


class Halves:
    """Sets them after the bypass router's half, and takes them away before it.

    A switch that a forward names has the word; of other forwards the main router itself
    is asked, if the user wants that.
    """

    def __init__(
        self,
        hass: HomeAssistant,
        entry: ConfigEntry[Any],
        face: Face,
        changed: Callable[[], None],
    ) -> None:
        """Take whose they are, and who hears of what is new."""
        self._hass = hass
        self._entry = entry
        self._face = face
        self._changed = changed
        self._others: dict[str, OtherSwitch] = {}
        self.asked = MainRouter(
            hass, entry, face, find_mapper, changed, left_out=self._others.__contains__
        )
        """The main router, as far as it is asked itself."""

    async def start(self) -> None:
        """Take up what was known before."""
        await self.asked.start()
        self._follow()

    @callback
    def stop(self) -> None:
        """Follow nothing any more; what is set stays so."""
        self.asked.stop()
        while self._others:
            self._others.popitem()[1].async_stop()

    @callback
    def show(self) -> None:
        """Take note of what is on now, and of what the forwards name."""
        self._follow()
        self.asked.show()

    def half(self, forward_id: str) -> MainHalf | None:
        """Return the half of a forward; None where no one tells of it."""
        if other := self._others.get(forward_id):
            return other.half
        return self.asked.half(forward_id)

    async def opened(self, forward_id: str) -> None:
        """Have it set for a forward that has come on. Never raises."""
        if other := self._others.get(forward_id):
            await other.async_turn_on()
        else:
            await self.asked.opened()

    async def close(self, forward_id: str) -> None:
        """Have it closed for a forward that is about to go off. Never raises."""
        if other := self._others.get(forward_id):
            await other.async_turn_off()
        # It may have been asked for before another was named.
        await self.asked.close(forward_id)

    @callback
    def closed(self, forward_id: str) -> None:
        """Go by what is desired again: the forward has gone off, or has not."""
        self.asked.closed(forward_id)

    async def look(self, forward_id: str, *, anew: bool = False) -> MainHalf | None:
        """Return the half of a forward as it is now; see `MainRouter.look`."""
        if forward_id not in self._others:
            await self.asked.look(forward_id, anew=anew)
        return self.half(forward_id)

    @callback
    def _follow(self) -> None:
        """Follow the switches that forwards name, and no others."""
        named = {
            key: switch
            for key, subentry in self._entry.subentries.items()
            if key in self._face.forwards
            and (switch := main_router_switch_of(subentry))
        }
        for key, other in tuple(self._others.items()):
            if named.get(key) != other.named:
                self._others.pop(key).async_stop()
        for key in named.keys() - self._others:
            self._others[key] = other_switch(
                self._hass, self._entry, key, named[key], self._changed
            )
