"""How often it is looked, whatever is heard."""

import asyncio

from homeassistant.core import HomeAssistant
import pytest

from custom_components.bypass_router.main_router import hints
from custom_components.bypass_router.main_router.hints import Hints
from custom_components.bypass_router.sync import rate_limit
from tests.lab.waiting import until


@pytest.fixture(autouse=True)
def _short_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let hints be followed at once."""
    monkeypatch.setattr(hints, "_PAUSE", 0.01)


async def test_many_hints_at_once_are_one(hass: HomeAssistant) -> None:
    """Each change is told several times."""
    looks: list[None] = []
    told = Hints(hass, lambda: looks.append(None))
    for _ in range(100):
        told.async_take()
    await until(lambda: looks)
    told.async_take()
    await until(lambda: len(looks) == 2)
    told.async_stop()


@pytest.mark.parametrize("seconds", [3600.0, 0.1])
async def test_a_flood_of_hints_leads_to_few_looks(
    hass: HomeAssistant, monkeypatch: pytest.MonkeyPatch, seconds: float
) -> None:
    """And to more, when it is time for them."""
    monkeypatch.setattr(rate_limit, "SECONDS", seconds)
    looks: list[None] = []
    told = Hints(hass, lambda: looks.append(None))

    async def flood() -> None:
        while True:
            told.async_take()
            await asyncio.sleep(0.001)

    flooding = asyncio.create_task(flood())
    wanted = rate_limit.TIMES + (seconds < 1)
    await until(lambda: len(looks) >= wanted)
    if seconds > 1:
        await asyncio.sleep(0.2)
        assert len(looks) == rate_limit.TIMES
    flooding.cancel()
    told.async_stop()


async def test_a_hint_is_forgotten_where_nobody_is_to_look_any_more(
    hass: HomeAssistant,
) -> None:
    """So is one that was on its way."""
    looks: list[None] = []
    told = Hints(hass, lambda: looks.append(None))
    told.async_take()
    told.async_stop()
    told.async_take()
    await asyncio.sleep(0.1)
    assert looks == []
