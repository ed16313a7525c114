"""What Home Assistant's own SSDP has heard of a main router.

It hears what no search from the bypass router finds: some answer to multicast alone,
from any port. And it hears when a main router goes, or has begun anew, which mostly
means that it has forgotten what it was asked for.
"""

import asyncio
from collections.abc import Callable, Coroutine
from ipaddress import IPv4Address
import logging
from typing import Any, Protocol
from urllib.parse import urlsplit

from homeassistant.const import EVENT_COMPONENT_LOADED
from homeassistant.core import Event, HomeAssistant, callback
from homeassistant.helpers.service_info.ssdp import SsdpServiceInfo
from homeassistant.setup import EventComponentLoaded

_LOGGER = logging.getLogger(__name__)

_SSDP = "ssdp"
_KINDS = tuple(
    f"urn:schemas-upnp-org:device:InternetGatewayDevice:{version}" for version in (1, 2)
)
# An answer to a search says what it is by another header than an announcement. And of
# the goodbyes, one for each of its parts, only the first is told: whichever that is.
_HEARD = (
    *({header: kind} for header in ("st", "nt") for kind in _KINDS),
    {"nts": "ssdp:byebye"},
)
# What tells one life of a device from another.
_BOOT_ID = "bootid.upnp.org"
# So many descriptions are remembered, since anybody in the LAN can announce any.
_MOST = 16

type InBackground = Callable[[Coroutine[Any, Any, None], str], asyncio.Task[None]]
"""Starts something that ends with the entry at the latest."""


class Heard(Protocol):
    """Hears of a gateway, by its address."""

    def __call__(self, gateway: IPv4Address, /, *, gone: bool) -> None:
        """Take note that it has gone; or that it has come, or begun anew."""


class Discovery:
    """Follows the gateways that announce themselves."""

    def __init__(
        self, hass: HomeAssistant, in_background: InBackground, heard: Heard
    ) -> None:
        """Take who hears of a gateway; nothing is heard yet."""
        self._hass = hass
        self._in_background = in_background
        self._tell = heard
        self._boots: dict[str, str] = {}
        self._cancel: list[Callable[[], object]] = []

    @property
    def locations(self) -> tuple[str, ...]:
        """The URLs of the gateways' descriptions, as they say themselves."""
        return tuple(self._boots)

    @callback
    def async_follow(self, wanted: bool) -> None:
        """Listen from now on, as soon as Home Assistant has SSDP; or no more."""
        if not wanted:
            while self._cancel:
                self._cancel.pop()()
        elif not self._cancel:
            listen = self._hass.bus.async_listen
            self._cancel.append(
                listen(EVENT_COMPONENT_LOADED, self._loaded, event_filter=_is_ssdp)
            )
            if _SSDP in self._hass.config.components:
                self._listen()

    @callback
    def _loaded(self, _: Event[EventComponentLoaded]) -> None:
        """Listen, as it was set up later."""
        self._listen()

    @callback
    def _listen(self) -> None:
        """Listen, but wait for nothing: of what is known, descriptions are read."""
        task = self._in_background(self._register(), "discovery")
        self._cancel.append(task.cancel)

    async def _register(self) -> None:
        """Have Home Assistant tell of gateways."""
        # Its library is there only where it is set up.
        from homeassistant.components import ssdp  # noqa: PLC0415

        @callback
        def heard(info: SsdpServiceInfo, change: ssdp.SsdpChange) -> None:
            """Take note of a gateway."""
            if change is ssdp.SsdpChange.BYEBYE:
                self._gone(info)
            else:
                self._there(info)

        for match in _HEARD:
            self._cancel.append(
                await ssdp.async_register_callback(self._hass, heard, match)
            )

    def _there(self, info: SsdpServiceInfo) -> None:
        """Take note of a gateway that is there: anew, or as it was."""
        # Of one that is at an IPv6 address too, it may be told of that alone.
        places = (info.ssdp_location or "", *sorted(info.ssdp_all_locations))
        location = next(filter(_host, places), "")
        if (host := _host(location)) is None:
            return
        before, boot = self._boots.get(location), _boot_of(info)
        # Some say it in announcements alone.
        self._boots[location] = boot or before or ""
        if before is None or (boot and before and boot != before):
            if len(self._boots) > _MOST:
                del self._boots[next(iter(self._boots))]
            _LOGGER.debug("The main router at %s was heard of: %s", host, info.ssdp_usn)
            self._tell(host, gone=False)

    def _gone(self, info: SsdpServiceInfo) -> None:
        """Forget a gateway, of which a goodbye does not say where it was."""
        known = {location: self._boots.pop(location, None) for location in _all(info)}
        gone = {_host(it) for it, boot in known.items() if boot is not None}
        for host in filter(None, gone):
            _LOGGER.debug("The main router at %s has gone", host)
            self._tell(host, gone=True)


@callback
def _is_ssdp(data: EventComponentLoaded) -> bool:
    """Return whether it is SSDP that was set up."""
    return data["component"] == _SSDP


def _all(info: SsdpServiceInfo) -> set[str]:
    """Return where a device has its descriptions."""
    said = {info.ssdp_location} if info.ssdp_location else set()
    return said | info.ssdp_all_locations


def _boot_of(info: SsdpServiceInfo) -> str:
    """Return which of its lives it is, if it says so."""
    headers = (info.ssdp_headers or {}).items()
    return next((str(it) for name, it in headers if name.lower() == _BOOT_ID), "")


def _host(location: str) -> IPv4Address | None:
    """Return whose description it is, if it says so by an address."""
    try:
        return IPv4Address(urlsplit(location).hostname or "")
    except ValueError:
        return None
