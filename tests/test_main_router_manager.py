"""When the main router is asked, and how often, in memory."""

import asyncio
from collections.abc import AsyncIterator, Collection, Coroutine, Mapping
from ipaddress import IPv4Address, IPv4Interface
import math
from types import SimpleNamespace
from typing import Any, Final, cast

from freezegun.api import FrozenDateTimeFactory
from homeassistant.core import HomeAssistant
from homeassistant.util.dt import utcnow
import pytest
from pytest_homeassistant_custom_component.common import (
    MockConfigEntry,
    async_fire_time_changed,
)

from custom_components.bypass_router.const import DOMAIN
from custom_components.bypass_router.main_router.half import MainState
from custom_components.bypass_router.main_router.manager import MainRouter
from custom_components.bypass_router.router.doctor.report import Cause, Reason
from custom_components.bypass_router.router.errors import ConnectionLost, RouterError
from custom_components.bypass_router.router.forward import Forward, PortRange
from custom_components.bypass_router.router.port_mapping.base import (
    Answer,
    PortMapper,
    PublicPort,
    Refusal,
)
from custom_components.bypass_router.router.router import Router
from tests.lab.waiting import at_once, until

from .memory_main_router import (
    CLIENT,
    MAIN,
    NAS,
    PUBLIC,
    MemoryFile,
    MemoryMainRouter,
    records_in,
)

WEB: Final = PublicPort("tcp", 8000)


def forward(number: int) -> Forward:
    """Return a forward of a port of its own."""
    return Forward.parse(
        f"F{number}",
        protocol="tcp",
        external_port=str(8000 + number),
        target="192.168.50.10",
    )


class Home:
    """An entry, as the manager knows it, whose forwards are on when they are to be."""

    def __init__(self, hass: HomeAssistant, entry: MockConfigEntry) -> None:
        """Be connected, with fifty forwards that are off."""
        self._hass = hass
        self._entry = entry
        self.router = a_router()
        self.connected: Router | None = self.router
        self.forwards: Mapping[str, Forward] = {
            it.id: it for it in map(forward, range(50))
        }
        self.desired: frozenset[str] = frozenset()
        self.refused: Mapping[str, RouterError] = {}
        self.stopped = False
        self.main = MemoryMainRouter()
        self.file = MemoryFile()
        self.searches = 0
        self.held: asyncio.Event | None = None
        """Until then, nobody finds anything."""
        self.asked = MainRouter(
            hass, entry, self, self._find, lambda: None, left_out=lambda _: False
        )
        self.asked._records = records_in(self.file)  # noqa: SLF001

    async def _find(
        self, router: Router, gateway: IPv4Address, locations: Collection[str]
    ) -> PortMapper | Refusal:
        """Find the main router."""
        assert (router, gateway, locations) == (self.connected, MAIN, ())
        self.searches += 1
        if self.held:
            await self.held.wait()
        return Refusal(Answer.SILENT) if self.main.silent else self.main

    def is_on(self, forward_id: str) -> bool:
        """Return whether a forward is on."""
        return forward_id in self.desired

    def ends_at(self, _: str) -> int | None:
        """Nothing ends by itself."""
        return None

    def public_ports_of(self, forward: Forward) -> PortRange:
        """Return the ports outside."""
        return forward.external

    def in_background[T](
        self, work: Coroutine[Any, Any, T], what: str, *, eager_start: bool = True
    ) -> asyncio.Task[T]:
        """Start something."""
        return self._entry.async_create_background_task(
            self._hass, work, what, eager_start=eager_start
        )

    async def turn_on(self, *numbers: int) -> None:
        """Turn forwards on, all at once, as a scene does."""

        async def on(key: str) -> None:
            await asyncio.sleep(0)
            self.desired |= {key}
            self.asked.show()
            await self.asked.opened()

        await at_once(*(on(f"F{number}") for number in numbers))

    async def turn_off(self, *numbers: int) -> None:
        """Turn forwards off, all at once."""

        async def off(key: str) -> None:
            await asyncio.sleep(0)
            await self.asked.close(key)
            self.desired -= {key}
            self.asked.closed(key)

        await at_once(*(off(f"F{number}") for number in numbers))

    async def quiet(self) -> None:
        """Wait until nothing is under way; time may stand still."""
        while self.asked._acting.locked() or self.asked._next:  # noqa: SLF001
            await asyncio.sleep(0)

    @property
    def looks(self) -> int:
        """How often it was looked what there is."""
        return self.main.calls.count("look")


def a_router() -> Router:
    """Return a bypass router, once it is connected."""
    context = SimpleNamespace(
        main_router=MAIN, owner="0a1b2c3d", address=IPv4Interface(f"{CLIENT}/24")
    )
    return cast("Router", SimpleNamespace(context=context))


@pytest.fixture
async def home(hass: HomeAssistant) -> AsyncIterator[Home]:
    """A home whose main router is asked."""
    entry = MockConfigEntry(
        domain=DOMAIN, title="bypass", options={"main_router": "upnp"}
    )
    entry.add_to_hass(hass)
    home = Home(hass, entry)
    await home.asked.start()
    yield home
    home.stopped = True
    home.asked.stop()


async def pass_time(
    hass: HomeAssistant, home: Home, freezer: FrozenDateTimeFactory, seconds: float
) -> None:
    """Let time go by, with all that is done meanwhile."""
    steps = math.ceil(min(seconds, 100 + seconds / 10))
    for _ in range(steps):
        freezer.tick(seconds / steps)
        async_fire_time_changed(hass, utcnow())
        await home.quiet()


async def test_fifty_switches_of_a_scene_are_a_few_acts(home: Home) -> None:
    """On and off: each act is for all that wait by then."""
    await home.turn_on(*range(50))
    assert len(home.main.table) == 50
    assert home.searches == 1
    assert home.looks <= 3
    await home.quiet()
    home.main.calls.clear()
    await home.turn_off(*range(50))
    await home.quiet()
    assert home.main.table == {}
    assert home.looks <= 3


async def test_a_mapping_is_looked_at_again_in_seconds(
    hass: HomeAssistant, home: Home, freezer: FrozenDateTimeFactory
) -> None:
    """Also where another switch was turned at once after it."""
    await home.turn_on(0)
    await pass_time(hass, home, freezer, 3)
    await home.turn_on(1)
    await home.turn_off(1)
    home.main.end(WEB)
    await pass_time(hass, home, freezer, 6)
    assert home.main.ways() == {WEB: 8000}


async def test_a_look_that_comes_too_soon_takes_the_place_of_none(
    hass: HomeAssistant, home: Home, freezer: FrozenDateTimeFactory
) -> None:
    """As what a main router tells by itself has it looked at once; or a diagnosis."""
    await home.turn_on(0)
    await pass_time(hass, home, freezer, 1)
    await home.asked.settle()
    home.main.end(WEB)
    await pass_time(hass, home, freezer, 5)
    assert home.main.ways() == {WEB: 8000}
    # And then it is left alone.
    await pass_time(hass, home, freezer, 10)
    home.main.calls.clear()
    await pass_time(hass, home, freezer, 200)
    assert home.looks <= 1


@pytest.mark.parametrize("kind", [Answer.TAKEN, Answer.NOT_ALLOWED, Answer.FULL])
async def test_a_refusal_is_heard_every_few_minutes(
    hass: HomeAssistant, home: Home, freezer: FrozenDateTimeFactory, kind: Answer
) -> None:
    """And no oftener."""
    home.main.refuses = {WEB: kind}
    await home.turn_on(0)
    await pass_time(hass, home, freezer, 1000)
    assert home.looks <= 6
    home.main.refuses = {}
    await pass_time(hass, home, freezer, 250)
    assert home.main.ways() == {WEB: 8000}


@pytest.mark.parametrize("lists", [True, False])
async def test_a_renewal_that_is_refused_is_asked_for_every_few_minutes(
    hass: HomeAssistant, home: Home, freezer: FrozenDateTimeFactory, *, lists: bool
) -> None:
    """Also where nothing is listed."""
    home.main.lists = lists
    await home.turn_on(0)
    home.main.refuses = {WEB: Answer.FULL}
    await pass_time(hass, home, freezer, 3700)
    asked = len(home.main.asked)
    await pass_time(hass, home, freezer, 1000)
    assert len(home.main.asked) - asked <= 5


async def test_what_it_does_not_give_back_is_asked_for_every_few_minutes(
    hass: HomeAssistant, home: Home, freezer: FrozenDateTimeFactory
) -> None:
    """Also when its lease is half over."""
    await home.turn_on(0)
    home.main.keeps_all = True
    await home.turn_off(0)
    await pass_time(hass, home, freezer, 3700)
    home.main.calls.clear()
    await pass_time(hass, home, freezer, 1000)
    assert 1 < home.looks <= 5
    home.main.keeps_all = False
    await pass_time(hass, home, freezer, 250)
    assert home.main.table == {}


async def test_who_is_silent_is_searched_for_ever_more_seldom(
    hass: HomeAssistant, home: Home, freezer: FrozenDateTimeFactory
) -> None:
    """And asked as before once it is heard of."""
    home.main.silent = True
    await home.turn_on(0)
    half = home.asked.half("F0")
    assert half
    assert (half.state, half.check.cause) == (MainState.UNKNOWN, Cause.MAIN_SILENT)
    await pass_time(hass, home, freezer, 1000)
    assert home.searches <= 9
    home.main.silent = False
    home.asked._heard(NAS, gone=False)  # noqa: SLF001
    await pass_time(hass, home, freezer, 2)
    assert home.main.table == {}
    home.asked._heard(MAIN, gone=False)  # noqa: SLF001
    await pass_time(hass, home, freezer, 2)
    assert home.main.ways() == {WEB: 8000}
    await home.turn_off(0)
    home.main.silent = True
    await home.turn_on(0)
    await home.turn_off(0)
    await home.quiet()
    home.main.silent = False
    home.asked._heard(MAIN, gone=False)  # noqa: SLF001
    await home.turn_on(0)
    # It was waited for.
    assert home.main.ways() == {WEB: 8000}


async def test_what_a_silent_one_may_have_is_told_until_its_lease_ends(
    hass: HomeAssistant, home: Home, freezer: FrozenDateTimeFactory
) -> None:
    """The forward is removed, and it is never heard of again."""
    await home.turn_on(0)
    home.main.silent = True
    home.forwards = {key: it for key, it in home.forwards.items() if key != "F0"}
    home.asked.show()
    await pass_time(hass, home, freezer, 7000)
    assert [record.mapping.public for record in home.asked.left] == [WEB]
    await pass_time(hass, home, freezer, 300)
    assert list(home.asked.left) == []


async def test_nothing_is_asked_that_cannot_be_written_down(home: Home) -> None:
    """It is said why, and that it is not known whether it is on."""
    home.file.full = True
    await home.turn_on(0)
    assert home.main.asked == []
    half = home.asked.half("F0")
    assert half
    assert half.state is MainState.UNKNOWN
    assert half.check.seen["reason"] == Reason.MAIN_NOT_SAVED


async def test_what_goes_off_is_closed_though_nothing_can_be_written_down(
    hass: HomeAssistant, home: Home, freezer: FrozenDateTimeFactory
) -> None:
    """One after the other; that it is done is written down later."""
    await home.turn_on(0, 1)
    home.file.full = True
    await home.turn_off(0)
    assert list(home.main.ways().values()) == [8001]
    await home.turn_off(1)
    assert home.main.ways() == {}
    home.file.full = False
    await pass_time(hass, home, freezer, 300)
    assert list(home.asked.records) == []


async def test_nothing_is_asked_where_the_user_sets_it_by_hand(
    hass: HomeAssistant, home: Home
) -> None:
    """Nor is anything told."""
    choose(hass, home, "manual")
    await home.turn_on(0)
    await home.turn_off(0)
    assert (home.searches, home.main.calls) == (0, [])
    assert home.asked.half("F0") is None


def choose(hass: HomeAssistant, home: Home, value: str) -> None:
    """Choose whether it is asked, as the options do."""
    hass.config_entries.async_update_entry(
        home._entry,  # noqa: SLF001
        options={"main_router": value},
    )
    home.asked.show()


async def test_who_chooses_otherwise_while_it_is_asked_has_nothing_left(
    hass: HomeAssistant, home: Home
) -> None:
    """At once, and not at the next look."""
    home.held = asyncio.Event()
    turning = hass.async_create_task(home.turn_on(0))
    await until(lambda: home.searches)
    choose(hass, home, "manual")
    home.held.set()
    await turning
    await home.quiet()
    assert home.main.table == {}
    for value in ("upnp", "manual", "upnp"):
        choose(hass, home, value)
    await home.quiet()
    assert home.main.ways() == {WEB: 8000}


async def test_the_last_turn_counts_however_slow_it_is(
    hass: HomeAssistant, home: Home
) -> None:
    """Off, on and off again, before anything was answered."""
    home.held = asyncio.Event()
    tasks = [hass.async_create_task(home.turn_on(0))]
    await until(lambda: home.searches)
    for turn in (home.turn_off, home.turn_on, home.turn_off):
        tasks.append(hass.async_create_task(turn(0)))
        await asyncio.sleep(0)
    home.held.set()
    await asyncio.wait(tasks)
    await home.quiet()
    assert home.main.table == {}


async def test_what_is_about_to_be_opened_is_closed_before_it_goes_off(
    hass: HomeAssistant, home: Home
) -> None:
    """Though nothing is recorded of it yet."""
    home.held = asyncio.Event()
    turning = hass.async_create_task(home.turn_on(0))
    await until(lambda: home.searches)
    closing = hass.async_create_task(home.asked.close("F0"))
    await asyncio.sleep(0)
    home.held.set()
    await asyncio.wait([turning, closing])
    assert home.main.table == {}


async def test_one_that_closes_does_not_end_the_closing_of_another_turn(
    home: Home,
) -> None:
    """Until all have gone off, or have not."""
    await home.turn_on(0)
    await home.asked.close("F0")
    await home.asked.close("F0")
    assert home.main.table == {}
    home.asked.closed("F0")
    await home.quiet()
    assert home.main.table == {}
    home.asked.closed("F0")
    await home.quiet()
    assert home.main.ways() == {WEB: 8000}


async def test_its_public_address_is_known_with_nothing_on(
    hass: HomeAssistant, home: Home, freezer: FrozenDateTimeFactory
) -> None:
    """Once an hour; and one that says nothing any more is found anew by then."""
    home.asked.show()
    await home.quiet()
    assert home.asked.public_address == PUBLIC
    home.main.address = other = IPv4Address("45.32.7.10")
    await pass_time(hass, home, freezer, 3700)
    assert home.asked.public_address == other
    assert home.main.calls == ["public_address"] * 2
    assert home.searches == 1
    assert home.main.asked == []
    home.main.address = Refusal(Answer.SILENT)
    await pass_time(hass, home, freezer, 3700)
    home.main.address = PUBLIC
    await pass_time(hass, home, freezer, 300)
    assert home.asked.public_address == PUBLIC
    assert home.searches > 1


async def test_a_bypass_router_that_comes_back_has_it_asked_at_once(home: Home) -> None:
    """What was under way by then failed."""
    await home.turn_on(0)
    home.main.fate.end_at(1, ConnectionLost(message="cut"), done=False)
    await home.asked.settle()
    half = home.asked.half("F0")
    assert half
    assert half.check.seen["reason"] == Reason.MAIN_UNASKED
    home.connected = None
    home.asked.show()
    await home.quiet()
    home.main.restart()
    home.main.fate.go_on()
    home.connected = a_router()
    home.asked.show()
    await home.quiet()
    assert home.main.ways() == {WEB: 8000}
