"""Home Assistant's face of one router: what it shows, and what is asked of it."""

import asyncio
from collections.abc import Collection, Coroutine, Mapping, Sequence
import logging
from typing import Any, override

from homeassistant.config_entries import ConfigEntry
from homeassistant.core import HomeAssistant, callback
from homeassistant.exceptions import (
    ConfigEntryAuthFailed,
    ConfigEntryError,
    ConfigEntryNotReady,
    HomeAssistantError,
)
from homeassistant.helpers.entity_registry import EVENT_ENTITY_REGISTRY_UPDATED
from homeassistant.helpers.update_coordinator import DataUpdateCoordinator, UpdateFailed

from .const import (
    CONF_CLOSE_CONNECTIONS,
    CONF_FIREWALL,
    CONF_MAIN_ROUTER_ADDRESS,
    CONF_OPEN_FOR,
    CONF_RESTORE,
)
from .counters.counters import Counters
from .devices import (
    async_disabled_switches,
    async_name_forwards,
    async_register_router,
)
from .diagnosis.knowledge import Knowledge
from .diagnosis.main_router import tell_main_router
from .diagnosis.obstacles import tell_obstacles
from .diagnosis.status import main_fault
from .diagnosis.target_learner import TargetLearner
from .diagnosis.texts import Texts, async_texts
from .errors import translated
from .following import Follower
from .issues import Issues
from .main_router.halves import Halves
from .main_router.removal import tell_left
from .router.backend import Backend
from .router.doctor.report import Diagnosis
from .router.errors import (
    AuthenticationFailed,
    ConnectionLost,
    HostKeyChanged,
    RouterError,
    TooManyAttempts,
)
from .router.forward import Forward, PortRange
from .router.network.whereabouts import Followed
from .router.router import Router
from .router.rules.base import Live
from .router.rules.obstacles import Obstacle
from .subentry import (
    open_for_of,
    read_followed,
    read_forwards,
    read_public_ports,
    read_withheld,
)
from .sync.lease import Lease
from .sync.lifecycle import Lifecycle
from .sync.retry import Retry
from .sync.source_names import Addresses, SourceNames
from .unforeseen import Surprises

_LOGGER = logging.getLogger(__name__)

# Seconds until it is seen whether an obstacle is gone whose end no router reports.
_LOOK_AGAIN = 60.0

type BypassRouterConfigEntry = ConfigEntry[BypassRouterCoordinator]


def _chosen_of(entry: ConfigEntry[Any]) -> tuple[str, ...]:
    """Return what the user has chosen that decides where rules stand."""
    return (
        str(entry.options.get(CONF_FIREWALL, Backend.AUTO)),
        str(entry.options.get(CONF_MAIN_ROUTER_ADDRESS, "")),
    )


class BypassRouterCoordinator(DataUpdateCoordinator[Live]):
    """Holds what belongs to one router, and shows what its reconciler has read."""

    config_entry: BypassRouterConfigEntry

    def __init__(self, hass: HomeAssistant, entry: BypassRouterConfigEntry) -> None:
        """Prepare; nothing is connected yet."""
        super().__init__(
            hass,
            _LOGGER,
            config_entry=entry,
            name=entry.title,
            update_interval=None,
            always_update=False,
        )
        self.device_id = ""
        """Of the router's device, once it is connected."""
        self.forwards: dict[str, Forward] = {}
        self.public_ports: dict[str, PortRange] = {}
        """The main router's ports that lead to each forward, by id."""
        self.followed: dict[str, Followed] = {}
        """The devices that forwards follow, by the forwards' ids."""
        self.withheld: dict[str, RouterError] = {}
        """Why forwards are kept closed that would lead to a stranger, by id."""
        self._issues = Issues(hass, entry)
        self.counters = Counters(
            hass,
            entry,
            router=lambda: self.connection.router,
            forwards=lambda: self._reconciler.active,
            public_ports=self.public_ports_of,
        )
        self._targets = TargetLearner(
            hass,
            entry,
            router=lambda: self.connection.router,
            forwards=lambda: self._reconciler.active,
        )
        self._follower = Follower(
            hass,
            entry,
            router=lambda: self.connection.router,
            followed=lambda: self.followed,
            texts=lambda: self.texts,
            history=lambda: self.history,
        )
        self._lifecycle = Lifecycle(
            hass,
            entry,
            self,
            self._issues,
            self.counters.async_connected,
            self._follower.async_met,
            lambda: frozenset(self.followed.values()),
        )
        self.connection = self._lifecycle.connection
        self.history = self._lifecycle.history
        self.events = self._lifecycle.events
        self._reconciler = self._lifecycle.reconciler
        self.halves = Halves(hass, entry, self, self._halves_changed)
        """The main router's halves of the forwards."""
        self.knowledge = Knowledge(
            self, self.counters, self.halves, self.async_update_listeners
        )
        self._names = SourceNames(
            hass, entry.entry_id, self._names_changed, self._tell_names
        )
        self._chosen = _chosen_of(entry)
        self._look_again = Retry(hass, self._lifecycle.refresh)
        self._turns: dict[str, object] = {}
        self._refused: Mapping[str, RouterError] = {}
        self.texts = Texts({})
        """What people are told, in their language."""

    async def async_start(self) -> None:
        """Connect, and apply what was desired before.

        Raises ConfigEntryNotReady if it is worth another try by itself,
        ConfigEntryError if it takes the user.
        """
        await self._names.load()
        self._read_forwards()
        unload = self.config_entry.async_on_unload
        unload(self._look_again.async_cancel)
        unload(self.halves.stop)
        unload(self.async_add_listener(self.counters.async_read_soon))
        unload(self.async_add_listener(self._targets.async_learn_soon))
        unload(self._follower.async_stop)
        try:
            with Surprises(self.name).told("setting up"):
                await self._begin()
        except (AuthenticationFailed, TooManyAttempts) as err:
            # Not tried again without the user: a router bans who keeps failing.
            raise translated(ConfigEntryAuthFailed, err) from err
        except HostKeyChanged as err:
            self._issues.host_key_changed(err)
            raise translated(ConfigEntryError, err) from err
        except RouterError as err:
            raise translated(ConfigEntryNotReady, err) from err
        unload(self._names.async_start())
        self._resolve(self._names.names)

    async def _begin(self) -> None:
        """Connect, and wait until what is desired is applied. Raises RouterError."""
        self.texts = await async_texts(self.hass)
        await self._reconciler.load()
        await self.halves.start()
        await self.counters.async_start()
        router = await self._lifecycle.open()
        self.device_id = async_register_router(self.hass, self.config_entry, router)
        await self._lifecycle.begin(router)
        self.config_entry.async_on_unload(
            self.hass.bus.async_listen(
                EVENT_ENTITY_REGISTRY_UPDATED, self._tell_without_switch
            )
        )

    async def async_stop(self) -> None:
        """End the connection; the rules stay live."""
        await self._lifecycle.stop()
        await self.counters.async_stop()

    async def async_set_desired(
        self, forward_id: str, *, on: bool, lease: Lease | None = None
    ) -> None:
        """Desire a forward to be live or not, perhaps for a while, and apply that.

        Raises HomeAssistantError with the sentence for the user. The request is
        kept where the router could not be asked, and is dropped where the
        router refused it, and where it comes after the end.
        """
        turn = self._turns[forward_id] = object()
        closes = not on and not self._reconciler.stopped
        try:
            if closes:
                await self.halves.close(forward_id)
            if self._reconciler.stopped:
                raise translated(HomeAssistantError, ConnectionLost(message="closed"))
            if self._turns.get(forward_id) is not turn:
                # Someone has asked for something else meanwhile.
                return
            self._reconciler.request(forward_id, on=on, lease=lease)
            await self._reconciler.reconcile(forward_id)
        except RouterError as err:
            raise translated(HomeAssistantError, err) from err
        finally:
            if closes:
                self.halves.closed(forward_id)
        if on:
            await self.halves.opened(forward_id)

    async def async_reapply(self) -> None:
        """Apply what is desired; raises HomeAssistantError for the user."""
        try:
            await self._reconciler.reconcile_all()
        except RouterError as err:
            raise translated(HomeAssistantError, err) from err

    async def async_reconcile(self) -> None:
        """Apply what is desired. Raises RouterError."""
        await self._reconciler.reconcile_all()

    @callback
    def async_forwards_changed(self) -> None:
        """Take note of forwards that were added, changed or removed, and of options."""
        before = self._names.names
        self._read_forwards()
        if self._names.names != before:
            self._resolve(self._names.names - before)
        self._lifecycle.forwards_changed()
        async_name_forwards(self.hass, self.config_entry, self.forwards)
        self.halves.show()
        self._halves_changed()
        self.in_background(self._reconciler.reconcile_unasked(), "forwards")

    def _read_forwards(self) -> None:
        """Read what the entry says of its forwards."""
        forwards = read_forwards(self.config_entry)
        self._names.names = frozenset(
            name for forward in forwards.values() for name in forward.names
        )
        self.forwards = {
            key: forward.admitting(self._names.addresses)
            for key, forward in forwards.items()
        }
        self.public_ports = read_public_ports(self.config_entry, self.forwards)
        self.followed = read_followed(self.config_entry, self.forwards)
        self.withheld = read_withheld(self.config_entry, self.followed)

    @callback
    def _resolve(self, names: Collection[str]) -> None:
        """Have these names resolved that forwards let in."""
        self.in_background(self._names.resolve(names), "names")

    @callback
    def _names_changed(self) -> None:
        """Let in hosts by the addresses that they have now."""
        if not self.stopped:
            self.async_forwards_changed()

    @callback
    def _tell_names(self, unresolved: Addresses) -> None:
        """Tell of names that can't be resolved, and by what they go on."""
        self._issues.unresolved(
            {name: list(map(str, known)) for name, known in unresolved.items()}
        )

    def public_ports_of(self, forward: Forward) -> PortRange:
        """Return the main router's ports that lead to a forward."""
        return self.public_ports.get(forward.id, forward.external)

    @callback
    def async_diagnosed(
        self,
        forward: Forward,
        diagnosis: Diagnosis,
        *,
        on: bool,
        public: PortRange,
        took: float = 0,
    ) -> None:
        """Take note of what the doctor said, and whether it was on when he began."""
        if self.knowledge.diagnosed(
            forward, diagnosis, on=on, public=public, took=took
        ):
            self._lifecycle.refresh()

    def is_on(self, forward_id: str) -> bool:
        """Return whether a forward was found in the kernel as it is set up."""
        live = self.data.forwards.get(forward_id)
        return live is not None and live == self.forward(forward_id)

    def forward(self, forward_id: str) -> Forward | None:
        """Return a forward as it is while it is on; None once it is removed."""
        return self._reconciler.forwards.get(forward_id)

    def open_for(self, forward_id: str) -> int:
        """Return for how many minutes turning a forward on opens it; 0: until off."""
        return open_for_of(self.config_entry.subentries[forward_id])

    @callback
    def async_set_open_for(self, forward_id: str, minutes: int) -> None:
        """Have turning a forward on open it for so many minutes from now on."""
        subentry = self.config_entry.subentries[forward_id]
        data = {**subentry.data, CONF_OPEN_FOR: minutes}
        if not minutes:
            del data[CONF_OPEN_FOR]
        self.hass.config_entries.async_update_subentry(
            self.config_entry, subentry, data=data
        )

    def lease_of(self, forward_id: str) -> Lease | None:
        """Return for how long a forward is to be on; None: until it is turned off."""
        return self._reconciler.wishes.get(forward_id)

    def ends_at(self, forward_id: str) -> int | None:
        """Return when a forward is to end by itself, in Unix time; None: never."""
        forward = self.forward(forward_id)
        return forward.until if forward else None

    def closes_at(self, forward_id: str) -> float | None:
        """Return when a forward ends, in Unix time: as the kernel says, or by us.

        None for one that is not on, or not known to be, and for one without an end.
        """
        router = self.connection.router
        if router and self.is_on(forward_id) and not router.rules.ends_forwards:
            return self.ends_at(forward_id)
        return self.data.closes_at.get(forward_id)

    @property
    def stopped(self) -> bool:
        """Whether the entry has ended, or is about to."""
        return self._reconciler.stopped

    @property
    def outdated(self) -> bool:
        """Whether the router has to be connected again for what the entry says now."""
        entry, router = self.config_entry, self.connection.router
        changed = self._chosen != _chosen_of(entry)
        if router and not router.probe.tools.conntrack:
            # It is done by rules there.
            changed |= router.context.cuts != self.closes
        return changed or self.connection.data != entry.data

    @property
    def router_address(self) -> str:
        """The router's address that forwards answer at, once it is known."""
        router = self.history.router
        return str(router.context.address.ip) if router else ""

    @property
    def desired(self) -> frozenset[str]:
        """The ids of the forwards that are to be live."""
        return self._reconciler.desired

    @property
    def refused(self) -> Mapping[str, RouterError]:
        """Why forwards are not as desired that the router refuses, by id."""
        return self._reconciler.refused

    @override
    async def _async_update_data(self) -> Live:
        """Read the router because someone asked for it."""
        if self.connection.router is None:
            raise translated(UpdateFailed, ConnectionLost(message="closed"))
        self._lifecycle.refresh()
        try:
            return await self.connection.router.rules.read()
        except RouterError as err:
            raise translated(UpdateFailed, err) from err

    # What the reconciler is given, and what it has shown.

    @property
    def connected(self) -> Router | None:
        """The router while it is connected."""
        return self.connection.router

    @property
    def restores(self) -> bool:
        """Whether forwards that other software took away are to be put back."""
        return bool(self.config_entry.options.get(CONF_RESTORE, True))

    @callback
    def _halves_changed(self) -> None:
        """Show what is known of the main router's half of each forward."""
        subentries = self.config_entry.subentries
        tell_main_router(
            {
                subentries[key].title: main_fault(forward, self.knowledge.of(forward))
                for key, forward in self._reconciler.forwards.items()
                if self.is_on(key) and self.halves.half(key)
            },
            self._issues,
            self.texts,
        )
        tell_left(self._issues, self.halves.asked.left)
        self.async_update_listeners()

    @property
    def closes(self) -> bool:
        """Whether connections are to end with their forward."""
        return bool(self.config_entry.options.get(CONF_CLOSE_CONNECTIONS, True))

    @callback
    def show(self, live: Live) -> None:
        """Show what was read back."""
        if not self.last_update_success:
            _LOGGER.info("%s is back", self.name)
        self._issues.foreign(live.foreign, live.foreign_forwards)
        self._issues.waiting([])
        subentries = self.config_entry.subentries
        refused = self.refused
        self._issues.refused(
            [
                (subentries[key].title if key in subentries else key, err)
                for key, err in refused.items()
            ]
        )
        self._tell_without_switch()
        obstacles = self._obstacles_of(live)
        tell_obstacles(
            {subentries[key].title: found for key, found in obstacles.items()},
            self._issues,
            self.texts,
        )
        if any(one.untold for found in obstacles.values() for one in found):
            self._look_again.async_in(_LOOK_AGAIN)
        else:
            self._look_again.async_cancel()
        self._issues.settle()
        if self.knowledge.found(obstacles) or self._refused != refused:
            # The data tell only what is live.
            self._refused = refused
            self.async_update_listeners()
        self.async_set_updated_data(live)
        self.halves.show()

    def _obstacles_of(self, live: Live) -> Mapping[str, Sequence[Obstacle]]:
        """Return what is in the way of each forward that is on, by id."""
        if (router := self.connection.router) is None:
            return {}
        return {
            key: found
            for key, forward in live.forwards.items()
            if self.forward(key) == forward
            and (found := router.rules.obstacles(forward))
        }

    @property
    def _without_switch(self) -> list[str]:
        """The ids of forwards that are live, and whose switch the user has disabled."""
        disabled = async_disabled_switches(self.hass, self.forwards)
        return [key for key in disabled if key in self._reconciler.active]

    @callback
    def _tell_without_switch(self, *_: object) -> None:
        """Say which forwards no switch shows, though they are on."""
        subentries = self.config_entry.subentries
        found = self._without_switch
        self._issues.without_switch([subentries[key].title for key in found])

    async def async_close_without_switch(self) -> None:
        """Turn off what no switch shows. Raises RouterError."""
        for key in self._without_switch:
            self._reconciler.request(key, on=False)
        await self._reconciler.reconcile_all()

    @callback
    def show_error(self, err: RouterError) -> None:
        """Show that it is not known what is live."""
        self.async_set_update_error(translated(HomeAssistantError, err))

    def log(self, err: RouterError, forward_id: str = "") -> None:
        """Log what failed without anyone who waits for it, perhaps of one forward."""
        subentry = self.config_entry.subentries.get(forward_id)
        name = f"{self.name}, {subentry.title}" if subentry else self.name
        # One who removes a forward and then the router needs no warning.
        level = logging.DEBUG if self._reconciler.stopped else logging.WARNING
        _LOGGER.log(level, "%s: %s", name, translated(HomeAssistantError, err))

    def in_background[T](
        self, work: Coroutine[Any, Any, T], what: str, *, eager_start: bool = True
    ) -> asyncio.Task[T]:
        """Start something that ends with the entry at the latest."""
        return self.config_entry.async_create_background_task(
            self.hass, work, f"{self.name} {what}", eager_start=eager_start
        )
