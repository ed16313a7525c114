"""What a main router tells by itself of what changes there, by UPnP's events (GENA).

UPnP Device Architecture 1.1, section 4. It is told where to send them, and is believed
one thing only: that it is time to look. Where Home Assistant is in no network that the
main router can reach, nothing is heard, and the looks every few minutes have to do.
"""

import asyncio
from collections.abc import Callable, Mapping
from contextlib import suppress
from http import HTTPStatus
from ipaddress import IPv4Address
import logging
import math
import re
import secrets
import socket
from typing import Final

from aiohttp import ClientError, ClientTimeout
from homeassistant.core import HomeAssistant, callback
from homeassistant.helpers.aiohttp_client import async_get_clientsession
from yarl import URL

from ..router.port_mapping.base import PortMapper
from ..router.port_mapping.upnp import Upnp
from .discovery import InBackground

_LOGGER = logging.getLogger(__name__)

# Seconds for each answer of the main router, and for each message to be all there.
_LIMIT: Final = 3.0
_PATIENCE: Final = 10.0
_LASTS: Final = 1800.0
# Whatever it grants, it is asked again so soon and so late, in seconds.
_SOONEST, _LATEST = 60.0, 43_200.0
# It goes back to the main router in a header.
_SID: Final = re.compile(r"[!-~]{1,128}")
_TIMEOUT: Final = re.compile(r"(?i:second-)(?:([0-9]{1,9})|(?i:infinite))")
_LONGEST_HEAD: Final = 8 * 1024
_LONGEST_BODY: Final = 64 * 1024
# Connections at a time.
_MOST: Final = 8
_TAKEN: Final = "200 OK"
_REFUSED: Final = "412 Precondition Failed"


class Events:
    """Follows whoever is asked for ports, if it has events."""

    def __init__(
        self,
        hass: HomeAssistant,
        in_background: InBackground,
        changed: Callable[[], None],
    ) -> None:
        """Take who hears that something may have changed."""
        self._hass = hass
        self._in_background = in_background
        self._changed = changed
        self._followed: PortMapper | None = None
        self._task: asyncio.Task[None] | None = None

    @callback
    def async_follow(self, mapper: PortMapper | None) -> None:
        """Hear from this one, and from no other any more."""
        if mapper is self._followed:
            return
        if self._task:
            self._task.cancel()
        self._followed, self._task = mapper, None
        if isinstance(mapper, Upnp) and mapper.event_url:
            subscription = Subscription(
                self._hass, mapper.gateway, mapper.event_url, self._changed
            )
            self._task = self._in_background(subscription.keep(), "events")


class Subscription:
    """One, from its beginning to its end, with the place where messages are taken."""

    def __init__(
        self,
        hass: HomeAssistant,
        gateway: IPv4Address,
        url: str,
        changed: Callable[[], None],
    ) -> None:
        """Take where to subscribe: a URL at the gateway."""
        self._session = async_get_clientsession(hass)
        self._gateway = gateway
        self._url = URL(url, encoded=True)
        self._changed = changed
        self._path = f"/{secrets.token_urlsafe(24)}"
        self._sid = ""
        self._asking = asyncio.Lock()
        self._connections = 0

    async def keep(self) -> None:
        """Take messages, until this is cancelled."""
        try:
            own = _address_towards(self._gateway)
            server = await asyncio.start_server(
                self._connected, own, limit=_LONGEST_HEAD
            )
        except OSError as err:
            _LOGGER.debug("No place for what the main router tells: %s", err)
            return
        port = server.sockets[0].getsockname()[1]
        place = f"<http://{own}:{port}{self._path}>"
        try:
            while True:
                seconds = await self._renewed(place)
                await asyncio.sleep(seconds)
        finally:
            server.close()
            server.close_clients()
            # What is under way is none of this subscription any more.
            sid, self._sid = self._sid, ""
            if sid:
                await self._ask("UNSUBSCRIBE", {"SID": sid})

    async def _renewed(self, place: str) -> float:
        """Subscribe, and return in how many seconds it is to be done again."""
        async with self._asking:
            lasts = None
            if self._sid:
                lasts = await self._subscribe({"SID": self._sid})
            if lasts is None:
                self._sid = ""
                lasts = await self._subscribe({"CALLBACK": place, "NT": "upnp:event"})
        return _LASTS if lasts is None else min(max(lasts / 2, _SOONEST), _LATEST)

    async def _subscribe(self, headers: Mapping[str, str]) -> float | None:
        """Return for how many seconds it is granted; None if it is not."""
        asked = {**headers, "TIMEOUT": f"Second-{_LASTS:.0f}"}
        said = await self._ask("SUBSCRIBE", asked)
        sid = said.get("SID", "").strip()
        granted = _TIMEOUT.fullmatch(said.get("TIMEOUT", "").strip())
        if not granted or not _SID.fullmatch(sid):
            return None
        self._sid = sid
        return float(granted[1]) if granted[1] else math.inf

    async def _ask(self, method: str, headers: Mapping[str, str]) -> Mapping[str, str]:
        """Return the headers of an answer, of which nothing else is read; or none."""
        limit = ClientTimeout(total=_LIMIT)
        try:
            async with self._session.request(
                method, self._url, headers=headers, allow_redirects=False, timeout=limit
            ) as answer:
                _LOGGER.debug("The main router: %s, %s", method, answer.status)
                return answer.headers if answer.status == HTTPStatus.OK else {}
        except (ClientError, OSError, ValueError) as err:
            _LOGGER.debug("The main router: %s, %r", method, err)
            return {}

    async def _connected(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        """Take a message of the main router; others are not even heard."""
        peer, *_ = writer.get_extra_info("peername") or ("",)
        self._connections += 1
        try:
            if peer == str(self._gateway) and self._connections <= _MOST:
                with suppress(OSError, EOFError, asyncio.LimitOverrunError):
                    async with asyncio.timeout(_PATIENCE):
                        await self._take(reader, writer)
        finally:
            self._connections -= 1
            writer.close()

    async def _take(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        """Answer a message; what it says is thrown away unread."""
        ours = await self._is_ours(await reader.readuntil(b"\r\n\r\n"))
        if ours:
            self._changed()
        said = f"HTTP/1.1 {_TAKEN if ours else _REFUSED}"
        writer.write(
            f"{said}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".encode()
        )
        writer.write_eof()
        # Closed before, the main router might hear no answer.
        left = _LONGEST_BODY
        while left > 0 and (piece := await reader.read(left)):
            left -= len(piece)

    async def _is_ours(self, head: bytes) -> bool:
        """Return whether a message is one of this subscription."""
        first, *lines = head.decode("latin-1").split("\r\n")
        if first.split(" ")[:2] != ["NOTIFY", self._path]:
            return False
        pairs = (line.partition(":") for line in lines)
        headers = {name.strip().lower(): value.strip() for name, _, value in pairs}
        # The first may come before the answer that says by what it is known.
        async with self._asking:
            return bool(self._sid) and headers.get("sid") == self._sid


def _address_towards(gateway: IPv4Address) -> str:
    """Return the own address that a gateway would see; nothing is sent."""
    with socket.socket(type=socket.SOCK_DGRAM) as towards:
        towards.connect((str(gateway), 9))
        own: str = towards.getsockname()[0]
        return own
