"""What Home Assistant's own SSDP has heard of a main router.

It hears what no search from the bypass router finds: some answer to multicast alone,
from any port. And it hears when a main router goes, or has begun anew, which mostly
means that it has forgotten what it was asked for.
"""

from collections.abc import Callable
from ipaddress import IPv4Address
import logging
from urllib.parse import urlsplit

from homeassistant.core import HomeAssistant, callback
from homeassistant.helpers.service_info.ssdp import SsdpServiceInfo

_LOGGER = logging.getLogger(__name__)

_SSDP = "ssdp"
_KINDS = tuple(
    f"urn:schemas-upnp-org:device:InternetGatewayDevice:{version}" for version in (1, 2)
)
# What tells one life of a device from another.
_BOOT_ID = "bootid.upnp.org"


class Discovery:
    """Follows the gateways that announce themselves."""

    def __init__(
        self, hass: HomeAssistant, restarted: Callable[[IPv4Address], None]
    ) -> None:
        """Take who hears of a gateway that went or began anew, by its address."""
        self._hass = hass
        self._restarted = restarted
        self._boots: dict[str, str | None] = {}
        self._cancel: list[Callable[[], None]] = []

    @property
    def locations(self) -> tuple[str, ...]:
        """The URLs of the gateways' descriptions, as they say themselves."""
        return tuple(self._boots)

    async def async_start(self) -> None:
        """Listen from now on, where Home Assistant has SSDP."""
        if _SSDP not in self._hass.config.components:
            return
        # Its library is there only where it is set up.
        from homeassistant.components import ssdp  # noqa: PLC0415

        @callback
        def heard(info: SsdpServiceInfo, change: ssdp.SsdpChange) -> None:
            """Take note of a gateway."""
            self._heard(info, gone=change is ssdp.SsdpChange.BYEBYE)

        for kind in _KINDS:
            self._cancel.append(
                await ssdp.async_register_callback(self._hass, heard, {"st": kind})
            )

    @callback
    def async_stop(self) -> None:
        """Listen no more."""
        while self._cancel:
            self._cancel.pop()()

    @callback
    def _heard(self, info: SsdpServiceInfo, *, gone: bool) -> None:
        """Take note of a gateway that is there, or goes."""
        if (location := info.ssdp_location) is None:
            return
        boot = str((info.ssdp_headers or {}).get(_BOOT_ID, "")) or None
        known, before = location in self._boots, self._boots.get(location)
        if gone:
            self._boots.pop(location, None)
        else:
            self._boots[location] = boot
        if (gone or not known or before != boot) and (host := _host(location)):
            _LOGGER.debug("The main router at %s was heard of: %s", host, info.ssdp_usn)
            self._restarted(host)


def _host(location: str) -> IPv4Address | None:
    """Return whose description it is, if it says so by an address."""
    try:
        return IPv4Address(urlsplit(location).hostname or "")
    except ValueError:
        return None
