"""Many at once, who do not wait for each other; in the end, all that is told agrees.

A burst begins several of the things that can happen, each while the ones before it are
under way. When all are over, the file of requests, the router and the switches must say
the same, who was told that all is well must have got what was asked for, and nothing
may have gone wrong that no one was told of.
"""

import asyncio
from collections.abc import Coroutine, Mapping
import gc
import logging
from typing import Any, Final

from homeassistant.config_entries import ConfigEntryState
from homeassistant.const import STATE_UNAVAILABLE
from homeassistant.core import HomeAssistant
from homeassistant.exceptions import HomeAssistantError
from homeassistant.helpers import entity_registry as er
from homeassistant.setup import async_setup_component
import pytest
from pytest_homeassistant_custom_component.common import MockConfigEntry

from custom_components.bypass_router.const import DOMAIN
from custom_components.bypass_router.sync import rate_limit
from tests.journey import Journey
from tests.lab.bypass import RouterOptions
from tests.lab.network import Lab
from tests.lab.waiting import until, until_told

from .setup import set_up, turn
from .test_walk import MOST_FORWARDS, Walker

STEPS_A_BURST: Final = 67
"""Of a walk's, which take as long."""
LARGEST: Final = 6
# What is due on the loop between the beginnings of two.
TURNS_OF_THE_LOOP: Final = (0, 0, 1, 5, 30, 100)


class Crowd(Walker):
    """Begins things, and leaves them to themselves."""

    def __init__(
        self, hass: HomeAssistant, lab: Lab, entry: MockConfigEntry, seed: int
    ) -> None:
        """Begin with no forward."""
        super().__init__(hass, lab, entry, seed)
        # Of those on the router, one at a time: they are not what is tested.
        self._on_the_router = asyncio.Lock()
        self._last: dict[str, list[str]] = {}

    async def burst(self, stored: Mapping[str, Any]) -> str:
        """Begin several things, wait for the end of all, and return what they were."""
        self._last = {}
        begun: list[tuple[str, asyncio.Task[Any]]] = []
        for _ in range(self.chance.randrange(2, LARGEST + 1)):
            begun.append(self._begin())
            for _ in range(self.chance.choice(TURNS_OF_THE_LOOP)):
                await asyncio.sleep(0)
        await asyncio.wait([task for _, task in begun])
        for what, task in begun:
            # No one was cancelled here, and whoever failed was told of it.
            assert not task.cancelled(), what
            err = task.exception()
            assert err is None or isinstance(err, HomeAssistantError), (what, err)
        await self._connected()
        wished = stored[f"{DOMAIN}.{self.entry.entry_id}"]["data"]["wished"]
        self.on = {name for name in self.forwards if self._id(name) in wished}
        for name, told in self._last.items():
            # Of two at once, any may be the last; who was told of an error knows less.
            if name in self.forwards and told in (["on"], ["off"]):
                assert (name in self.on) == (told == ["on"]), (name, told)
        return ", ".join(what for what, _ in begun)

    def _begin(self) -> tuple[str, asyncio.Task[Any]]:
        """Begin one thing."""
        name = self.chance.choice(sorted(self.forwards)) if self.forwards else ""
        begin = {
            self._turn_on_or_off: 10 if name else 0,
            self._add: 4 if len(self.forwards) < MOST_FORWARDS else 0,
            self._remove: 4 if name else 0,
            self._edit: 4 if name else 0,
            self._look: 2 if name else 0,
            self._diagnose: 1 if name else 0,
            self._harm: 5,
            self._reload: 3,
            self._lose: 1,
        }
        (chosen,) = self.chance.choices(list(begin), list(begin.values()))
        work = chosen(name or f"F{self._made}")
        return f"{chosen.__name__} {name}", asyncio.create_task(work)

    async def _nothing(self) -> None:
        """Be done, since it is done at once."""

    def _turn_on_or_off(self, name: str) -> Coroutine[Any, Any, None]:
        return self._turn_one(self.chance.choice(("on", "off")), name, self._id(name))

    async def _turn_one(self, state: str, name: str, forward_id: str) -> None:
        """Turn a switch, and note the state if no one was told of an error."""
        switch = self._entity("switch", forward_id)
        shown = self.hass.states.get(switch) if switch else None
        if not switch or shown is None or shown.state == STATE_UNAVAILABLE:
            return
        told = self._last.setdefault(name, [])
        told.append("")
        place = len(told) - 1
        await turn(self.hass, state, switch)
        told[place] = state

    def _add(self, _: str) -> Coroutine[Any, Any, None]:
        self.begin_to_add()
        return self._nothing()

    def _remove(self, name: str) -> Coroutine[Any, Any, None]:
        self.begin_to_remove(name)
        return self._nothing()

    def _edit(self, name: str) -> Coroutine[Any, Any, None]:
        self.begin_to_edit(name)
        return self._nothing()

    def _look(self, name: str) -> Coroutine[Any, Any, None]:
        return self._call("homeassistant", "update_entity", self._id(name))

    def _diagnose(self, name: str) -> Coroutine[Any, Any, None]:
        return self._call(DOMAIN, "diagnose", self._id(name))

    async def _call(self, domain: str, action: str, forward_id: str) -> None:
        """Have something done with a switch."""
        if switch := self._entity("switch", forward_id):
            await self.hass.services.async_call(
                domain,
                action,
                {"entity_id": switch},
                blocking=True,
                return_response=domain == DOMAIN,
            )

    async def _harm(self, _: str) -> None:
        async with self._on_the_router:
            await self.harm()

    def _reload(self, _: str) -> Coroutine[Any, Any, bool]:
        return self.hass.config_entries.async_reload(self.entry.entry_id)

    async def _lose(self, _: str) -> None:
        """Have the SSH server start again."""
        async with self._on_the_router:
            await asyncio.to_thread(self.lab.bypass.stop_ssh)
            await asyncio.to_thread(self.lab.bypass.start_ssh)

    def _entity(self, platform: str, unique_id: str) -> str | None:
        """Return the entity of this id."""
        return er.async_get(self.hass).async_get_entity_id(platform, DOMAIN, unique_id)

    async def _connected(self) -> None:
        """Wait until the router is connected, and all entities are there."""

        async def loaded() -> bool:
            if self.entry.state is not ConfigEntryState.LOADED:
                # Not when Home Assistant tries again, which takes longer.
                await self.hass.config_entries.async_reload(self.entry.entry_id)
            return self.entry.state is ConfigEntryState.LOADED

        await until_told(loaded)
        await until(lambda: all(map(self._is_shown, self.forwards)))

    def _is_shown(self, name: str) -> bool:
        """Return whether a forward's switch is there, and its router."""
        switch = self._entity("switch", self._id(name))
        state = self.hass.states.get(switch) if switch else None
        return state is not None and state.state != STATE_UNAVAILABLE


@pytest.mark.long
@pytest.mark.timeout(0)
@pytest.mark.parametrize(
    ("router_options", "firewall", "seed"),
    [
        (RouterOptions(iptables="nft"), "nftables", 1),
        (RouterOptions(iptables="legacy"), "iptables", 2),
    ],
    ids=["nftables", "iptables-legacy"],
)
async def test_many_at_once_come_to_an_end_that_all_agree_on(
    at_home: Lab,
    hass: HomeAssistant,
    hass_storage: dict[str, Any],
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    journey: Journey,
    firewall: str,
    seed: int,
) -> None:
    """Requests, forms, reloads, and whatever may happen on the router."""
    assert await async_setup_component(hass, "homeassistant", {})
    monkeypatch.setattr(rate_limit, "SECONDS", 0.0)
    entry = await set_up(hass, at_home, firewall=firewall)
    crowd = Crowd(hass, at_home, entry, journey.seed + seed)
    await crowd.put_foreign()
    for _ in journey.steps(STEPS_A_BURST):
        done = await crowd.burst(hass_storage)
        await crowd.check(done, payload=False)
        # A task whose error no one has asked for says so when it goes.
        gc.collect()
        wrong = [
            record.getMessage()
            for record in caplog.records
            # That the connection is lost is told, and is no fault here.
            if record.levelno >= logging.ERROR
            and not record.name.endswith(f"{DOMAIN}.coordinator")
        ]
        assert not wrong, done
        caplog.clear()
    if crowd.looker:
        await crowd.looker.close()
