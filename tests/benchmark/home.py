"""Home Assistant's core in this process, with our integration and `shell_command`."""

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
import tempfile
import time
from types import MappingProxyType
from typing import Any, Final

from homeassistant import loader
from homeassistant.bootstrap import async_load_base_functionality
from homeassistant.config_entries import (
    SOURCE_USER,
    ConfigEntries,
    ConfigEntry,
    ConfigEntryState,
    ConfigSubentryData,
)
from homeassistant.const import EVENT_STATE_CHANGED, STATE_ON
from homeassistant.core import (
    Event,
    EventStateChangedData,
    HomeAssistant,
    callback,
)
from homeassistant.helpers import entity_registry as er
from homeassistant.setup import async_setup_component

from custom_components.bypass_router.const import DOMAIN
from tests.lab.network import Lab
from tests.lab.waiting import LIMIT

from .figures import MeasurementFailed

FIRST_PORT: Final = 20000
TARGET_PORT: Final = 443


@asynccontextmanager
async def home_assistant(commands: Mapping[str, str]) -> AsyncIterator[HomeAssistant]:
    """Run a Home Assistant with these shell commands, its folder on this disk.

    It has what every instance has, registries, services, states and storage, and
    neither web server nor recorder.
    """
    with tempfile.TemporaryDirectory() as folder:
        hass = HomeAssistant(folder)
        loader.async_setup(hass)
        hass.config.skip_pip = True
        hass.config_entries = ConfigEntries(hass, {})
        await loader.async_get_custom_components(hass)
        await async_load_base_functionality(hass)
        config = {"shell_command": dict(commands)}
        for domain in ("homeassistant", "persistent_notification", "shell_command"):
            if not await async_setup_component(hass, domain, config):
                raise MeasurementFailed(f"Home Assistant did not set up {domain}.")
        await hass.async_start()
        try:
            yield hass
        finally:
            await hass.async_stop(force=True)


@dataclass(frozen=True)
class Turn:
    """When a switch was turned, by the clock of all measurements."""

    began: float
    shown: float
    """When its state was the new one, as it was read back from the bypass router."""
    ended: float
    """When the service was done, with the main router's half if that is asked for."""


class Entry:
    """The lab's bypass router in Home Assistant, with so many forwards."""

    def __init__(
        self,
        hass: HomeAssistant,
        lab: Lab,
        private_key: str,
        number: int,
        firewall: str,
    ) -> None:
        """Prepare it as the forms store it; `create` adds it."""
        self._hass = hass
        self._entry: ConfigEntry[Any] = ConfigEntry(
            data={
                "host": lab.bypass.address,
                "port": 22,
                "username": "root",
                "host_key": lab.bypass.host_key(),
                "private_key": private_key,
            },
            discovery_keys=MappingProxyType({}),
            domain=DOMAIN,
            minor_version=1,
            # What is measured, also where the choice would be another.
            options={"firewall": firewall},
            source=SOURCE_USER,
            subentries_data=[_forward(index) for index in range(number)],
            title="bypass",
            unique_id=None,
            version=1,
        )
        self.number = number
        self.switches: list[str] = []
        """The forwards' switches, in the order of their ports."""

    async def create(self) -> None:
        """Add the router, and turn all of its forwards on."""
        await self._hass.config_entries.async_add(self._entry)
        self._require_loaded()
        registry = er.async_get(self._hass)
        found = (
            registry.async_get_entity_id("switch", DOMAIN, subentry_id)
            for subentry_id in self._entry.subentries
        )
        self.switches = [entity_id for entity_id in found if entity_id]
        await self.turn("on", *self.switches)
        await self.until_on()

    def choose(self, **options: str) -> None:
        """Choose options, beside those that it has."""
        self._hass.config_entries.async_update_entry(
            self._entry, options={**self._entry.options, **options}
        )

    async def remove(self) -> None:
        """Remove the router with its forwards and their rules."""
        await self._hass.config_entries.async_remove(self._entry.entry_id)

    async def load(self) -> None:
        """Set it up; its switches have their states when this is done."""
        await self._hass.config_entries.async_setup(self._entry.entry_id)
        self._require_loaded()

    async def unload(self) -> None:
        """Let go of the router; its rules stay."""
        await self._hass.config_entries.async_unload(self._entry.entry_id)

    async def turn(self, state: str, *switches: str) -> None:
        """Call the service, and wait until it is done."""
        await self._hass.services.async_call(
            "switch", f"turn_{state}", {"entity_id": list(switches)}, blocking=True
        )

    async def time_turn(self, state: str, switch: str) -> float:
        """Return the seconds from the service call to the switch's new state."""
        turn = await self.timed_turn(state, switch)
        return turn.shown - turn.began

    async def timed_turn(self, state: str, switch: str) -> Turn:
        """Turn a switch, and return when what was done."""
        done: list[float] = []

        @callback
        def note(event: Event[EventStateChangedData]) -> None:
            new = event.data["new_state"]
            if event.data["entity_id"] == switch and new and new.state == state:
                done.append(time.perf_counter())

        forget = self._hass.bus.async_listen(EVENT_STATE_CHANGED, note)
        try:
            began = time.perf_counter()
            await self.turn(state, switch)
            ended = time.perf_counter()
        finally:
            forget()
        if not done:
            raise MeasurementFailed(
                f"{switch} was turned {state} and shows something else."
            )
        return Turn(began, done[0], ended)

    async def until_on(self) -> float:
        """Wait until all switches are on, and return since when."""
        # Seldom, as looking at a thousand switches takes time from those watched.
        await wait_for("state on", lambda: not self._off(), period=0.05)
        return max(self._changed(switch) for switch in self.switches)

    def _off(self) -> list[str]:
        """Return the switches that are not on."""
        states = self._hass.states
        return [name for name in self.switches if not states.is_state(name, STATE_ON)]

    def _changed(self, switch: str) -> float:
        """Return when a switch changed last, by the clock of all measurements."""
        state = self._hass.states.get(switch)
        assert state is not None
        ago = time.time() - state.last_changed_timestamp
        return time.perf_counter() - ago

    def _require_loaded(self) -> None:
        """Raise MeasurementFailed unless the router is set up."""
        if self._entry.state is not ConfigEntryState.LOADED:
            raise MeasurementFailed(
                f"The router is {self._entry.state}: {self._entry.reason}"
            )


async def wait_for(
    name: str, what: Callable[[], object], *, period: float = 0.002
) -> None:
    """Look every so many seconds until something is so; raises MeasurementFailed."""
    try:
        async with asyncio.timeout(LIMIT):
            while not what():
                await asyncio.sleep(period)
    except TimeoutError:
        raise MeasurementFailed(
            f"After {LIMIT:g} s there was still no {name}."
        ) from None


def _forward(index: int) -> ConfigSubentryData:
    """Return a forward as the form stores it; the first carries UDP."""
    return ConfigSubentryData(
        data={
            "name": f"Forward {index}",
            "protocol": "udp" if index == 0 else "tcp",
            "external_port": str(FIRST_PORT + index),
            "target": "192.168.50.10",
            "target_port": str(TARGET_PORT),
            "sources": [],
            "keep_client_address": False,
        },
        subentry_type="forward",
        title=f"Forward {index}",
        unique_id=None,
    )
