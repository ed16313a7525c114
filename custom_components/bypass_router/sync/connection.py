"""The connection to one router: it is watched, and made again when it is lost."""

import asyncio
from collections.abc import Callable, Mapping
from hashlib import sha256
from ipaddress import IPv4Address
import logging
import random
from typing import Any

from homeassistant.config_entries import ConfigEntry, ConfigEntryState
from homeassistant.const import CONF_HOST, CONF_PASSWORD, CONF_PORT, CONF_USERNAME
from homeassistant.core import HomeAssistant
from homeassistant.helpers import instance_id

from ..const import (
    CONF_CLOSE_CONNECTIONS,
    CONF_FIREWALL,
    CONF_HOST_KEY,
    CONF_MAIN_ROUTER_ADDRESS,
    CONF_PASSPHRASE,
    CONF_PRIVATE_KEY,
)
from ..router.backend import Backend
from ..router.errors import (
    AuthenticationFailed,
    HostKeyChanged,
    RouterError,
    TooManyAttempts,
)
from ..router.monitor import Change, ConnectionEvent, Met
from ..router.router import Router
from ..router.ssh.credentials import Credentials, HostKey
from ..unforeseen import Surprises
from .identity import async_claim
from .login_limit import one_attempt

_LOGGER = logging.getLogger(__name__)

# What no further attempt would mend, and some would make worse.
UNMENDABLE = (AuthenticationFailed, HostKeyChanged, TooManyAttempts)
# Seconds between attempts to reach a router that is away, or to watch it.
_FIRST_DELAY = 1.0
_LAST_DELAY = 60.0


async def async_owner(hass: HomeAssistant) -> str:
    """Return the short id by which this Home Assistant marks its rules."""
    return sha256((await instance_id.async_get(hass)).encode()).hexdigest()[:8]


async def connect_router(
    hass: HomeAssistant,
    data: Mapping[str, Any],
    options: Mapping[str, Any] | None = None,
) -> Router:
    """Connect to the router that an entry's data describe. Raises RouterError."""
    host, port = data[CONF_HOST], data[CONF_PORT]
    async with one_attempt(hass, host, port):
        return await Router.connect(
            host,
            port,
            HostKey(data[CONF_HOST_KEY]),
            Credentials(
                data[CONF_USERNAME],
                data.get(CONF_PASSWORD),
                data.get(CONF_PRIVATE_KEY),
                data.get(CONF_PASSPHRASE),
            ),
            await async_owner(hass),
            Backend((options or {}).get(CONF_FIREWALL, Backend.AUTO)),
            _main_router(options or {}),
            closes=(options or {}).get(CONF_CLOSE_CONNECTIONS, True),
        )


def _main_router(options: Mapping[str, Any]) -> IPv4Address | None:
    """Return the main router's address, if the user has said it."""
    said = options.get(CONF_MAIN_ROUTER_ADDRESS)
    return IPv4Address(said) if said else None


def router_of(entry: ConfigEntry[Any]) -> Router | None:
    """Return the router of an entry while it is connected."""
    if entry.state is not ConfigEntryState.LOADED:
        return None
    router: Router | None = entry.runtime_data.connection.router
    return router


class RouterConnection:
    """Stays connected to one router, and passes on what it tells."""

    def __init__(
        self,
        hass: HomeAssistant,
        entry: ConfigEntry[Any],
        *,
        on_open: Callable[[Router], None],
        on_change: Callable[[Change], None],
        on_loss: Callable[[], None],
        on_connection: Callable[[ConnectionEvent], None] = lambda _: None,
        on_met: Callable[[], None] = lambda: None,
    ) -> None:
        """Take whom to tell; nothing is connected yet."""
        self._hass = hass
        self._entry = entry
        self.data = entry.data
        """The router's address and our credentials, as they were at the start."""
        self._on_open = on_open
        self._on_change = on_change
        self._on_connection = on_connection
        self._on_met = on_met
        self._on_loss = on_loss
        self._surprises = Surprises(entry.title)
        self.router: Router | None = None
        """The router while it is connected."""

    async def open(self) -> Router:
        """Connect. Raises RouterError."""
        with self._surprises.told("connecting"):
            router = await connect_router(self._hass, self.data, self._entry.options)
            try:
                await async_claim(self._hass, self._entry, router)
                self.router = router
                self._on_open(router)
            except BaseException:
                self.router = None
                await router.close()
                raise
        return router

    async def follow(self, router: Router) -> None:
        """Watch the router, and connect again whenever the connection is lost.

        Ends when it is closed. Raises AuthenticationFailed, HostKeyChanged
        and TooManyAttempts, which no further attempt would mend.
        """
        while True:
            await self._watch(router)
            if self.router is not router:
                return
            self.router = None
            with self._surprises.survived("a lost connection"):
                self._on_loss()
            router = await self._reopen()

    async def close(self) -> None:
        """End the connection; the rules stay active."""
        if router := self.router:
            self.router = None
            await router.close()

    async def _watch(self, router: Router) -> None:
        """Pass on what the router tells, as long as it is connected."""
        delay = _FIRST_DELAY
        while not router.closed:
            heard = False
            try:
                with self._surprises.told("watching"):
                    async for told in router.watch():
                        heard = True
                        if isinstance(told, Change):
                            self._on_change(told)
                        elif isinstance(told, Met):
                            self._on_met()
                        else:
                            self._on_connection(told)
            except RouterError as err:
                _LOGGER.debug("%s can't be watched: %s", self._entry.title, err)
            if not router.closed:
                # Someone ended the watcher, or it can't run there: what it has
                # missed must be looked for.
                with self._surprises.survived("reading"):
                    self._on_change(Change())
                delay = _FIRST_DELAY if heard else min(delay * 2, _LAST_DELAY)
                await asyncio.sleep(delay)

    async def _reopen(self) -> Router:
        """Try until the router is there."""
        delay = _FIRST_DELAY
        while True:
            # Two that lost one router at once do not come back at once.
            await asyncio.sleep(delay * random.uniform(0.5, 1))  # noqa: S311 - jitter
            delay = min(delay * 2, _LAST_DELAY)
            try:
                return await self.open()
            except UNMENDABLE:
                raise
            except RouterError as err:
                _LOGGER.debug("%s is still away: %s", self._entry.title, err)
