"""The main router's halves of one entry's forwards, by whichever way each is set."""

from collections.abc import Callable
from typing import Any

from homeassistant.config_entries import ConfigEntry
from homeassistant.core import HomeAssistant, callback

from ..subentry import main_router_switch_of
from .face import Face
from .half import MainHalf
from .linux_router import other_switch
from .manager import MainRouter
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
        # What each was turned to last. At a start, none is: for who turned one by hand
        # has the last word.
        self._turned: dict[str, bool] = {}
        self.asked = MainRouter(
            hass, entry, face, find_mapper, changed, left_out=self._others.__contains__
        )
        """The main router, as far as it is asked itself."""

    async def start(self) -> None:
        """Take up what was known before."""
        await self.asked.start()
        self._follow()
        desired = self._face.desired
        self._turned = {key: key in desired for key in self._others}

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
        self._keep_in_step()
        self.asked.show()

    def half(self, forward_id: str) -> MainHalf | None:
        """Return the half of a forward; None where no one tells of it."""
        if other := self._others.get(forward_id):
            return other.half
        return self.asked.half(forward_id)

    async def opened(self, forward_id: str) -> None:
        """Have it set for a forward that has come on. Never raises."""
        if other := self._others.get(forward_id):
            self._turned[forward_id] = True
            await other.async_turn_on()
        else:
            await self.asked.opened()

    async def close(self, forward_id: str) -> None:
        """Have it closed for a forward that is about to go off. Never raises."""
        if other := self._others.get(forward_id):
            self._turned[forward_id] = False
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
                if self._turned.pop(key, False) and key not in self._face.forwards:
                    # The forward is gone; one that names another is the user's to tell.
                    self._face.in_background(other.async_turn_off(), "main half")
        for key in named.keys() - self._others:
            self._others[key] = other_switch(
                self._hass, self._entry, key, named[key], self._changed
            )

    @callback
    def _keep_in_step(self) -> None:
        """Turn switches for forwards that came on or went off without being asked to.

        A forward that is put back after a loss was never off for the user.
        """
        for key, other in self._others.items():
            desired = key in self._face.desired
            if self._turned.get(key, False) is desired:
                continue
            if not desired or self._face.is_on(key):
                self._turned[key] = desired
                turn = other.async_turn_on if desired else other.async_turn_off
                self._face.in_background(turn(), "main half")
