"""How often a router is asked where devices are, and what comes of each answer."""

from collections.abc import Collection, Iterator
from dataclasses import dataclass, field
from datetime import timedelta
from ipaddress import IPv4Address
from typing import Any, cast

from homeassistant.core import HomeAssistant
from homeassistant.util import dt as dt_util
import pytest
from pytest_homeassistant_custom_component.common import (
    MockConfigEntry,
    async_fire_time_changed,
)

from custom_components.bypass_router import following
from custom_components.bypass_router.diagnosis.texts import Texts
from custom_components.bypass_router.following import Follower
from custom_components.bypass_router.router.errors import TimedOut
from custom_components.bypass_router.router.network.whereabouts import Sight, Sights
from custom_components.bypass_router.router.router import Router
from custom_components.bypass_router.subentry import read_followed, read_forwards
from custom_components.bypass_router.sync.history import History

from .setup import WEB, forward_id
from .test_forward_flow import router as entry_with

MAC, OTHER = "00:16:3e:32:00:0a", "00:16:3e:32:00:14"
OLD, NEW, LAST = map(IPv4Address, ("192.168.50.10", "192.168.50.77", "192.168.50.78"))
HERE, AWAY = Sight(MAC, "REACHABLE"), Sight("", "FAILED")
FOLLOWING = {**WEB, "follow": True, "mac": MAC}


@dataclass
class FakeRouter:
    """A router that says what it is told to."""

    of: dict[IPv4Address, Sight] = field(default_factory=dict)
    fresh: bool = True
    fails: bool = False
    looks: int = 0
    asked: list[frozenset[IPv4Address]] = field(default_factory=list)

    async def sights(self, ask_for: Collection[IPv4Address] = ()) -> Sights:
        """Return what it knows, or has asked for."""
        self.looks += 1
        if self.fails:
            raise TimedOut(seconds="20")
        if not ask_for:
            return Sights({key: it for key, it in self.of.items() if it.is_known})
        self.asked.append(frozenset(ask_for))
        return Sights(dict(self.of), fresh=self.fresh)


class Clock:
    """Goes on when it is told to."""

    now = 1000.0

    def __init__(self) -> None:
        """Begin with nobody who goes by it."""
        self.followers: list[Follower] = []

    def monotonic(self) -> float:
        """Return the time, in seconds."""
        return self.now


class Home:
    """An entry, its router and its follower."""

    def __init__(self, hass: HomeAssistant, clock: Clock, *forwards: Any) -> None:
        """Begin; nothing has been told yet."""
        self._hass = hass
        self._clock = clock
        self.entry: MockConfigEntry = entry_with(hass, *(forwards or (FOLLOWING,)))
        self.router = FakeRouter({OLD: HERE})
        self.history = History()
        self.follower = Follower(
            hass,
            self.entry,
            router=lambda: cast("Router", self.router),
            followed=lambda: read_followed(self.entry, read_forwards(self.entry)),
            texts=lambda: Texts({}),
            history=lambda: self.history,
        )
        clock.followers.append(self.follower)

    async def met(self) -> None:
        """Be told that a device may have moved."""
        self.follower.async_met()
        await self._hass.async_block_till_done(wait_background_tasks=True)

    async def later(self, seconds: float) -> None:
        """Let time go by."""
        self._clock.now += seconds
        soon = dt_util.utcnow() + timedelta(seconds=seconds + 1)
        async_fire_time_changed(self._hass, soon)
        await self._hass.async_block_till_done(wait_background_tasks=True)

    def data(self, name: str = "Web") -> dict[str, Any]:
        """Return what is stored of a forward."""
        return dict(self.entry.subentries[forward_id(self.entry, name)].data)


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Iterator[Clock]:
    """The clock by which devices are asked for only so often."""
    clock = Clock()
    monkeypatch.setattr(following, "time", clock)
    monkeypatch.setattr(following, "_BREATH", 0)
    yield clock
    for follower in clock.followers:
        follower.async_stop()


async def test_nobody_is_asked_for_while_all_is_as_it_was(
    hass: HomeAssistant, clock: Clock
) -> None:
    """What the router knows is read, and that is all."""
    home = Home(hass, clock)
    await home.met()
    assert home.router.looks == 1
    assert not home.router.asked


async def test_forwards_of_one_device_move_together_and_no_other_is_touched(
    hass: HomeAssistant, clock: Clock
) -> None:
    """Each keeps what else is stored of it."""
    second = {**FOLLOWING, "name": "Second", "external_port": "9000", "open_for": 5}
    third = {**WEB, "name": "Third", "external_port": "9001"}
    home = Home(hass, clock, FOLLOWING, second, third)
    home.router.of = {OLD: AWAY, NEW: HERE}
    await home.met()
    assert home.router.asked == [{OLD, NEW}]
    assert home.data()["target"] == str(NEW)
    assert home.data("Second") == {**second, "target": str(NEW)}
    assert home.data("Third") == third
    [entry] = home.history.entries
    assert entry.cause == f"{OLD} → {NEW}"
    assert len(entry.forwards) == 2


async def test_a_device_with_two_addresses_is_asked_for_ever_more_seldom(
    hass: HomeAssistant, clock: Clock
) -> None:
    """However often it speaks."""
    home = Home(hass, clock)
    home.router.of = {OLD: HERE, NEW: HERE}
    for _ in range(300):
        await home.met()
        await home.later(1)
    assert 5 < len(home.router.asked) < 12
    assert home.data()["target"] == str(OLD)
    # It is not asked for in vain once it says nothing more.
    await home.later(60)
    before = len(home.router.asked)
    await home.later(60)
    assert len(home.router.asked) == before


async def test_a_router_that_can_not_tell_yet_is_asked_again(
    hass: HomeAssistant, clock: Clock
) -> None:
    """For about a minute, in which its kernel forgets; and it may fail meanwhile."""
    home = Home(hass, clock)
    home.router.fresh = False
    home.router.of = {OLD: HERE, NEW: HERE}
    await home.met()
    home.router.fails = True
    await home.later(6)
    home.router.fails = False
    await home.later(61)
    assert home.data()["target"] == str(OLD)
    home.router.of = {OLD: AWAY, NEW: HERE}
    await home.later(6)
    assert home.data()["target"] == str(NEW)
    home.router.of = {NEW: HERE, LAST: HERE}
    for _ in range(40):
        await home.later(6)
        await home.met()
    assert len(home.router.asked) < 40


async def test_a_forward_is_closed_for_a_stranger_until_its_device_is_back(
    hass: HomeAssistant, clock: Clock
) -> None:
    """Where it was, or elsewhere."""
    home = Home(hass, clock)
    for back in (OLD, NEW):
        home.router.of = {OLD: Sight(OTHER, "REACHABLE")}
        await home.met()
        assert home.data()["taken"] is True
        home.router.of = {**home.router.of, back: HERE}
        await home.later(60)
        await home.met()
        assert home.data() == {**FOLLOWING, "target": str(back)}
        await home.later(60)


async def test_one_that_moves_all_the_time_is_followed_more_slowly(
    hass: HomeAssistant, clock: Clock
) -> None:
    """And is found in the end."""
    home = Home(hass, clock)
    moves = 0
    for number in range(120):
        now = (OLD, NEW)[number % 2]
        home.router.of = {OLD: AWAY, NEW: AWAY, now: HERE}
        before = home.data()["target"]
        await home.met()
        await home.later(1)
        moves += home.data()["target"] != before
    assert moves < 20
    home.router.of = {OLD: AWAY, NEW: AWAY, LAST: HERE}
    await home.met()
    await home.later(61)
    assert home.data()["target"] == str(LAST)
