"""Of which ports a main router is asked: of all every few minutes, else of few.

Each question takes time, on the bypass router as on the main router. So a switch waits
for its own ports alone, and what was said of the others holds until the next look.
"""

from collections.abc import Callable, Collection, Iterable, Mapping

from homeassistant.core import HomeAssistant, callback

from ..router.port_mapping.base import Outcome, PublicPort
from ..sync.retry import Retry
from .plan import Desired

# How much of the time has to be over for what is still there to be kept.
_MOSTLY = 0.8


class Looks:
    """What the main router has said of each port, and of which it is asked next."""

    def __init__(self, hass: HomeAssistant, act: Callable[[], None]) -> None:
        """Take what asks; nothing is known yet."""
        self._clock = hass.loop.time
        self._act = act
        self._all = Retry(hass, self.at_all_soon)
        self._again = Retry(hass, self._again_soon)
        self._due = 0.0
        self._desired: Desired = {}
        self._said: Mapping[PublicPort, Outcome] = {}
        # When it has taken that of which it is not known yet whether it is kept.
        self._unproven: Mapping[PublicPort, float] = {}
        self._proof = 0.0
        self._doubted: frozenset[PublicPort] = frozenset()
        self.at_all = True
        """Whether it is asked of all ports next."""

    @callback
    def at_all_soon(self) -> None:
        """Have it asked of all ports."""
        self.at_all = True
        self._act()

    @callback
    def _again_soon(self) -> None:
        """Have it asked whether it has kept what it took a moment ago."""
        self._doubted |= self._unproven.keys()
        self._act()

    @callback
    def doubt(self, ports: Iterable[PublicPort]) -> None:
        """Have it asked about these next, whatever it has said of them."""
        self._doubted |= frozenset(ports)

    @callback
    def begin(self, desired: Desired) -> Mapping[PublicPort, Outcome]:
        """Return what it need not be asked about; whatever goes wrong, it is next."""
        self.async_cancel()
        known = {
            public: outcome
            for public, outcome in self._said.items()
            if desired.get(public) == self._desired[public]
            and public not in self._doubted
            and not self.at_all
        }
        self._said, self._doubted, self.at_all = {}, frozenset(), True
        return known

    @callback
    def end(
        self,
        desired: Desired,
        outcomes: Mapping[PublicPort, Outcome],
        opened: Collection[PublicPort],
        known: Collection[PublicPort],
    ) -> None:
        """Take note of what it says now, and of what it has `opened` just now."""
        self._desired, self._said, self.at_all = desired, outcomes, False
        now = self._clock()
        self._unproven = {
            public: when
            for public, when in self._unproven.items()
            # Whoever looked at once has seen nothing yet.
            if public in desired and (public in known or now - when < self._proof)
        } | dict.fromkeys(opened, now)

    @callback
    def plan(self, again: float, interval: float, *, partial: bool) -> None:
        """Plan the look at all ports, and, in `again` seconds, that at the new ones.

        One that was `partial` puts off no look at all of them.
        """
        now, self._proof = self._clock(), again * _MOSTLY
        if self._unproven:
            latest = max(self._unproven.values())
            self._again.async_in(max(latest + again - now, 0.0))
        due = now + interval
        self._due = min(due, self._due) if partial else due
        self._all.async_in(max(self._due - now, 0.0))

    @callback
    def all_in(self, seconds: float) -> None:
        """Plan the look at all ports where nothing can be said for now."""
        self._all.async_in(seconds)

    @callback
    def async_cancel(self) -> None:
        """Plan none."""
        self._all.async_cancel()
        self._again.async_cancel()
