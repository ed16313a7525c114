"""Has the doctor look at a forward, whatever state its router is in."""

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
import time
from typing import Any, Final

from homeassistant.config_entries import ConfigEntry, ConfigSubentry
from homeassistant.core import HomeAssistant
from homeassistant.exceptions import HomeAssistantError, ServiceValidationError
from homeassistant.util.hass_dict import HassKey

from ..const import DOMAIN
from ..main_router.half import MainHalf, MainState
from ..router.doctor.doctor import NO_ONE, diagnose, unreachable
from ..router.doctor.report import Diagnosis, Reason
from ..router.doctor.visit import OnProgress, await_client
from ..router.errors import RouterError
from ..router.forward import Forward, PortRange, Transport
from ..router.router import Router
from ..storage import NotSaved
from ..subentry import forward_or_none, public_ports_in
from ..sync.connection import connect_router
from .target_store import TargetMacStore

SIGHT: Final = 5
"""Seconds between two sights of the time that is left, unless something happens."""

_UNDER_WAY: HassKey[set[str]] = HassKey(f"{DOMAIN}.diagnoses_under_way")


@dataclass(frozen=True, slots=True)
class Finding:
    """What the doctor said of a forward, and of which it was."""

    forward: Forward
    on: bool
    """Whether it was on then."""
    public: PortRange
    """The main router's ports that led to it then."""
    diagnosis: Diagnosis
    when: float = field(default_factory=time.time)
    """When that was, in Unix time."""
    took: float = 0.0
    """Seconds since he began."""

    def holds(self, forward: Forward, public: PortRange, *, on: bool) -> bool:
        """Return whether the forward is still the one that was looked at."""
        return (forward, public, on) == (self.forward, self.public, self.on)


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a diagnosis is that is under way."""

    left: int | None = None
    """Seconds for which a client from outside is waited for; None before that."""


async def async_diagnose(
    hass: HomeAssistant,
    entry: ConfigEntry[Any],
    forward_id: str,
    watch: int = 0,
    on_progress: OnProgress = lambda _left, _packets: None,
) -> Diagnosis:
    """Diagnose a forward; watch for someone who tries from outside, if all is well.

    Raises ServiceValidationError if that is under way, makes no sense, or was ended
    with the entry. That the router can't be reached, or refuses, is part of the
    diagnosis.
    """
    subentry = check(hass, entry, forward_id)
    if (forward := forward_or_none(subentry)) is None:
        raise _refused("forward_unreadable")
    public = public_ports_in(subentry)
    under_way = hass.data.setdefault(_UNDER_WAY, set())
    under_way.add(forward_id)
    coordinator = getattr(entry, "runtime_data", None)
    on = bool(coordinator and coordinator.is_on(forward_id))
    began = time.time()

    def progressed(left: int, packets: int) -> None:
        """Show how far it is, wherever that is to be seen."""
        if coordinator:
            coordinator.knowledge.progress(
                forward_id, Progress(-(-left // SIGHT) * SIGHT)
            )
        on_progress(left, packets)

    if coordinator:
        coordinator.knowledge.progress(forward_id, Progress())
    try:
        remembered = TargetMacStore(hass, entry.entry_id)
        known = await remembered.of(forward)
        main = coordinator.halves if coordinator else None
        half = await main.look(forward_id, anew=watch > 0) if main else None
        diagnosis = await _diagnosis(
            hass, entry, forward, public, known, half, watch, progressed
        )
        if main and Reason.MAIN_SET_AND_SILENT in diagnosis.reasons:
            # It may have lost what it lists.
            await main.look(forward_id, anew=True)
        if coordinator and coordinator.stopped and diagnosis.causes:
            # It is we who have let go of the router.
            raise _refused("diagnosis_ended")
        if diagnosis.mac and not diagnosis.causes:
            # Else it is learnt another time.
            with suppress(NotSaved):
                await remembered.remember({forward: diagnosis.mac})
    finally:
        under_way.discard(forward_id)
        if coordinator:
            coordinator.knowledge.progress(forward_id, None)
    if coordinator:
        took = max(time.time() - began, 0)
        coordinator.async_diagnosed(forward, diagnosis, on=on, public=public, took=took)
    return diagnosis


def check(
    hass: HomeAssistant, entry: ConfigEntry[Any], forward_id: str
) -> ConfigSubentry:
    """Return a forward's subentry.

    Raises ServiceValidationError if it is gone, or is being diagnosed already.
    """
    if (subentry := entry.subentries.get(forward_id)) is None:
        raise _refused("forward_unreadable")
    if forward_id in hass.data.get(_UNDER_WAY, ()):
        raise _refused("diagnosis_under_way")
    return subentry


async def _diagnosis(
    hass: HomeAssistant,
    entry: ConfigEntry[Any],
    forward: Forward,
    public: PortRange,
    remembered: str | None,
    half: MainHalf | None,
    watch: int,
    on_progress: OnProgress,
) -> Diagnosis:
    """Ask the doctor, and add the main router's `half`."""
    main = half.check if half else None
    try:
        async with _router_of(hass, entry) as router:
            found = await diagnose(
                router,
                forward,
                remembered=remembered,
                visited=_visited(entry, forward),
            )
            found = found.beside(main)
            if watch and not found.causes:
                visit = await await_client(
                    router,
                    forward,
                    watch,
                    on_progress,
                    public=public,
                    remembered=remembered,
                )
                found = found.followed_by(visit).beside(main)
                if half and half.state is MainState.ON:
                    found = found.though_it_is_set(half.check.seen)
            return found
    except RouterError as err:
        return unreachable(err)


def _visited(entry: ConfigEntry[Any], forward: Forward) -> Mapping[Transport, float]:
    """Return when a client from outside was answered last, over each transport."""
    if (coordinator := getattr(entry, "runtime_data", None)) is None:
        return NO_ONE
    visits = coordinator.counters.visits(forward)
    return {transport: visit.when for transport, visit in visits.items()}


@asynccontextmanager
async def _router_of(
    hass: HomeAssistant, entry: ConfigEntry[Any]
) -> AsyncIterator[Router]:
    """Give the router that is connected, or connect for the time. Raises RouterError.

    An entry whose set-up fails has no router, and it is then that a user asks why.
    """
    coordinator = getattr(entry, "runtime_data", None)
    if coordinator and (router := coordinator.connection.router):
        yield router
        return
    router = await connect_router(hass, entry.data, entry.options)
    try:
        yield router
    finally:
        await router.close()


def _refused(key: str) -> HomeAssistantError:
    """Return the error for a user who asked for what can't be done."""
    return ServiceValidationError(translation_domain=DOMAIN, translation_key=key)
