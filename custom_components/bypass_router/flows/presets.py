"""Services that many people forward, so that no one has to know their ports."""

from collections.abc import Mapping
from typing import Any, Final, NamedTuple

from homeassistant.const import CONF_PROTOCOL
from homeassistant.helpers.selector import (
    SelectOptionDict,
    SelectSelector,
    SelectSelectorConfig,
    SelectSelectorMode,
)

from ..const import CONF_EXTERNAL_PORT, CONF_TARGET_PORT
from ..router.forward import Protocol

CONF_SERVICE: Final = "service"


class Service(NamedTuple):
    """What is known of one; its name is the same in all languages."""

    name: str
    port: int
    protocol: Protocol = Protocol.TCP
    outside: int = 0
    """The external port, where that can't be the same."""

    @property
    def external(self) -> int:
        """The external port."""
        return self.outside or self.port

    @property
    def label(self) -> str:
        """Its line in the list."""
        transports = "/".join(self.protocol.transports).upper()
        ports = f"{self.outside} → {self.port}" if self.outside else str(self.port)
        return f"{self.name} · {transports} {ports}"


SERVICES: Final[Mapping[str, Service]] = {
    "home_assistant": Service("Home Assistant", 8123),
    "https": Service("HTTPS", 443),
    "http": Service("HTTP", 80),
    # The router is reached at 22 itself.
    "ssh": Service("SSH", 22, outside=2222),
    "rdp": Service("RDP", 3389, Protocol.BOTH),
    "wireguard": Service("WireGuard", 51820, Protocol.UDP),
    "openvpn": Service("OpenVPN", 1194, Protocol.UDP),
    "plex": Service("Plex", 32400),
    "jellyfin": Service("Jellyfin", 8096),
    "synology": Service("Synology DSM (HTTPS)", 5001),
    "rtsp": Service("RTSP", 554, Protocol.BOTH),
    "mqtt": Service("MQTT (TLS)", 8883),
    "minecraft": Service("Minecraft (Java)", 25565),
    "minecraft_bedrock": Service("Minecraft (Bedrock)", 19132, Protocol.UDP),
}

SERVICE_SELECTOR: Final = SelectSelector(
    SelectSelectorConfig(
        options=[
            SelectOptionDict(value=key, label=service.label)
            for key, service in SERVICES.items()
        ],
        mode=SelectSelectorMode.DROPDOWN,
    )
)


def with_service(fields: Mapping[str, Any]) -> dict[str, Any]:
    """Return what was typed, and in what was left as it was, what a service needs.

    The device's port is the service's own, also where another one is used outside.
    """
    filled = {CONF_EXTERNAL_PORT: "", CONF_TARGET_PORT: "", **fields}
    if service := SERVICES.get(filled.pop(CONF_SERVICE, "")):
        filled[CONF_EXTERNAL_PORT] = fields.get(CONF_EXTERNAL_PORT) or str(
            service.external
        )
        filled[CONF_TARGET_PORT] = fields.get(CONF_TARGET_PORT) or str(service.port)
        if filled[CONF_PROTOCOL] == Protocol.TCP:
            filled[CONF_PROTOCOL] = service.protocol.value
    return filled
