"""What is wished, what is so, and how the two are brought together."""

import asyncio
from hashlib import sha256
import logging
import random
from typing import override

from homeassistant.config_entries import ConfigEntry
from homeassistant.const import CONF_HOST, CONF_PASSWORD, CONF_PORT, CONF_USERNAME
from homeassistant.core import HomeAssistant, callback
from homeassistant.exceptions import (
    ConfigEntryError,
    ConfigEntryNotReady,
    HomeAssistantError,
)
from homeassistant.helpers import device_registry as dr, instance_id
from homeassistant.helpers.update_coordinator import DataUpdateCoordinator

from .const import (
    CONF_HOST_KEY,
    CONF_PASSPHRASE,
    CONF_PRIVATE_KEY,
    DOMAIN,
    SUBENTRY_FORWARD,
)
from .forward_flow import forward_of
from .router.credentials import Credentials, HostKey
from .router.errors import (
    AuthenticationFailed,
    ConnectionFailed,
    ConnectionLost,
    HostKeyChanged,
    RouterError,
    TimedOut,
)
from .router.firewall import Live
from .router.forward import Forward, InvalidForward
from .router.probe import Probe
from .router.router import Router
from .wishes import Wishes

_LOGGER = logging.getLogger(__name__)

# Seconds between attempts to reach a router that is away.
_FIRST_DELAY = 1.0
_LAST_DELAY = 60.0

type BypassRouterConfigEntry = ConfigEntry[BypassRouterCoordinator]


async def async_owner(hass: HomeAssistant) -> str:
    """Return the short id by which this Home Assistant marks its rules."""
    return sha256((await instance_id.async_get(hass)).encode()).hexdigest()[:8]


def translated[E: HomeAssistantError](kind: type[E], err: RouterError) -> E:
    """Return Home Assistant's error of this kind, with the sentence for the user."""
    return kind(
        translation_domain=DOMAIN,
        translation_key=err.key,
        translation_placeholders=err.details,
    )


async def connect(hass: HomeAssistant, entry: BypassRouterConfigEntry) -> Router:
    """Connect to an entry's router. Raises RouterError."""
    data = entry.data
    return await Router.connect(
        data[CONF_HOST],
        data[CONF_PORT],
        HostKey(data[CONF_HOST_KEY]),
        Credentials(
            data[CONF_USERNAME],
            data.get(CONF_PASSWORD),
            data.get(CONF_PRIVATE_KEY),
            data.get(CONF_PASSPHRASE),
        ),
        await async_owner(hass),
    )


class BypassRouterCoordinator(DataUpdateCoordinator[Live]):
    """Holds the connection to one router, and brings what is wished about."""

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
        self.router: Router | None = None
        self.device_id = ""
        """Of the router's device, once it is connected."""
        self.forwards: dict[str, Forward] = {}
        self._wishes = Wishes(hass, entry.entry_id)
        self._wished: set[str] = set()
        self._changing = asyncio.Lock()
        self._next_change: asyncio.Task[None] | None = None

    async def async_start(self) -> None:
        """Connect, and bring about what was wished before.

        Raises ConfigEntryNotReady if it is worth another try by itself,
        ConfigEntryError if it takes the user.
        """
        await self._wishes.load()
        self._wished = set(self._wishes.saved)
        self._read_forwards()
        try:
            router = await self._connect()
        except (AuthenticationFailed, HostKeyChanged) as err:
            # Not tried again: a router bans who keeps failing to log in.
            raise translated(ConfigEntryError, err) from err
        except RouterError as err:
            raise translated(ConfigEntryNotReady, err) from err
        self.device_id = self._register_device(router.probe)
        self.config_entry.async_create_background_task(
            self.hass, self._stay_connected(router), f"{self.name} connection"
        )

    async def async_stop(self) -> None:
        """End the connection; the rules stay in force."""
        if router := self.router:
            self.router = None
            await router.close()

    async def async_wish(self, forward_id: str, *, on: bool) -> None:
        """Wish a forward in force or not, and bring it about.

        Raises HomeAssistantError with the sentence for the user. The wish is
        kept where the router could not be asked, and is dropped where the
        router refused it.
        """
        if on:
            self._wished.add(forward_id)
        else:
            self._wished.discard(forward_id)
        try:
            await self.async_reconcile()
        except RouterError as err:
            raise translated(HomeAssistantError, err) from err

    async def async_reconcile(self) -> None:
        """Bring about what is wished now. Raises RouterError.

        Whoever asks while a change is under way joins the one after it, so
        that any number of wishes at once are two changes at most.
        """
        if self._next_change is None:
            # Not eagerly: it would begin, and end the time to join, in here.
            self._next_change = self.config_entry.async_create_background_task(
                self.hass, self._change(), f"{self.name} change", eager_start=False
            )
        # One caller who gives up does not take the change from the others.
        await asyncio.shield(self._next_change)

    @callback
    def async_forwards_changed(self) -> None:
        """Take note of forwards that were added, changed or removed."""
        self._read_forwards()
        registry = dr.async_get(self.hass)
        for forward_id in self.forwards:
            if device := registry.async_get_device_by_identifier(
                (DOMAIN, forward_id), self.config_entry.entry_id
            ):
                subentry = self.config_entry.subentries[forward_id]
                registry.async_update_device(device.id, name=subentry.title)
        self.async_update_listeners()
        self.config_entry.async_create_background_task(
            self.hass, self._reconcile_unasked(), f"{self.name} forwards"
        )

    @override
    async def _async_update_data(self) -> Live:
        """Look at the router because somebody asked for it."""
        if self.router is None:
            raise translated(HomeAssistantError, ConnectionLost(message="closed"))
        return await self.router.read()

    def _register_device(self, probe: Probe) -> str:
        """Register the router's device, and return its id.

        Before the forwards' devices, which name it.
        """
        mac = probe.hardware_address
        device = dr.async_get(self.hass).async_get_or_create(
            config_entry_id=self.config_entry.entry_id,
            identifiers={(DOMAIN, self.config_entry.entry_id)},
            connections={(dr.CONNECTION_NETWORK_MAC, mac)} if mac else set(),
            name=self.config_entry.title,
            model=probe.system,
            sw_version=probe.iptables.label,
        )
        return device.id

    def _read_forwards(self) -> None:
        """Read the subentries."""
        self.forwards = {}
        for subentry in self.config_entry.subentries.values():
            if subentry.subentry_type == SUBENTRY_FORWARD:
                try:
                    self.forwards[subentry.subentry_id] = forward_of(subentry)
                except InvalidForward as err:
                    _LOGGER.warning(
                        "The forward %s is stored with nonsense and is left out: %s",
                        subentry.title,
                        err,
                    )

    async def _change(self) -> None:
        """Carry out what is wished when the change before this one is done."""
        async with self._changing:
            # From here on, whoever wishes something else needs another change.
            self._next_change = None
            before = self._wishes.saved
            self._wished &= self.forwards.keys()
            wished = frozenset(self._wished)
            await self._wishes.save(wished)
            if self.router is None:
                raise ConnectionLost(message="closed")
            try:
                live = await self.router.apply(self._chosen(wished))
            except ConnectionFailed, TimedOut:
                raise
            except RouterError:
                await self._take_back(wished, before)
                raise
            self.async_set_updated_data(live)

    async def _take_back(self, refused: frozenset[str], before: frozenset[str]) -> None:
        """Return to what was wished before the router refused a change."""
        # Wishes that came in the meantime stand.
        self._wished ^= (refused ^ before) & (self._wished ^ before)
        await self._wishes.save(before)
        if self.router is None:
            return
        try:
            # The router may have carried out a part.
            live = await self.router.apply(self._chosen(before))
        except RouterError:
            live = await self.router.read()
        self.async_set_updated_data(live)

    def _chosen(self, ids: frozenset[str]) -> list[Forward]:
        """Return the forwards of these ids."""
        return [forward for key, forward in self.forwards.items() if key in ids]

    async def _reconcile_unasked(self) -> None:
        """Bring about what is wished where no caller waits for it."""
        try:
            await self.async_reconcile()
        except RouterError as err:
            _LOGGER.warning("%s: %s", self.name, translated(HomeAssistantError, err))

    async def _connect(self) -> Router:
        """Connect, and bring about what is wished. Raises RouterError."""
        router = await connect(self.hass, self.config_entry)
        try:
            self.router = router
            self.async_set_updated_data(await router.read())
            await self._reconcile_unasked()
        except BaseException:
            self.router = None
            await router.close()
            raise
        return router

    async def _stay_connected(self, router: Router) -> None:
        """Connect again whenever the connection is lost."""
        while True:
            await router.wait_closed()
            if self.router is not router:
                return
            self.router = None
            lost = ConnectionLost(message="closed")
            self.async_set_update_error(translated(HomeAssistantError, lost))
            try:
                router = await self._reconnect()
            except AuthenticationFailed, HostKeyChanged:
                # The set-up says what is wrong, and does not try again.
                self.hass.config_entries.async_schedule_reload(
                    self.config_entry.entry_id
                )
                return
            _LOGGER.info("%s is back", self.name)

    async def _reconnect(self) -> Router:
        """Try until the router is there. Raises what takes the user to mend."""
        delay = _FIRST_DELAY
        while True:
            # Two that lost one router at once do not come back at once.
            await asyncio.sleep(delay * random.uniform(0.5, 1))  # noqa: S311 - no secret
            delay = min(delay * 2, _LAST_DELAY)
            try:
                return await self._connect()
            except AuthenticationFailed, HostKeyChanged:
                raise
            except RouterError as err:
                _LOGGER.debug("%s is still away: %s", self.name, err)
