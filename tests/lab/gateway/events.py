"""Who has subscribed to a gateway's events, and is told of them (GENA)."""

import asyncio
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
import re
from typing import Final
from urllib.parse import urlsplit
import uuid
from xml.sax.saxutils import escape

from .options import GatewayOptions

_CALLBACK: Final = re.compile(r"<(http://[^<>]+)>")
_PRECONDITION = 412
_LIMIT: Final = 3.0


@dataclass
class Subscriber:
    """One of them."""

    callback: str
    sequence: int = 0


class Events:
    """All subscriptions."""

    def __init__(self) -> None:
        """Begin without any."""
        self.subscribers: dict[str, Subscriber] = {}
        self.heard: set[str] = set()
        """Those by their ids that have taken a message."""

    def subscribe(
        self, headers: Mapping[str, str], asker: str, options: GatewayOptions
    ) -> tuple[int, dict[str, str]]:
        """Take or renew one: return a status, and the headers of the answer."""
        if options.subscribe != 200:
            return options.subscribe, {}
        sid = headers.get("SID", "")
        if not sid:
            callback = _CALLBACK.match(headers.get("CALLBACK", ""))
            if callback is None or headers.get("NT") != "upnp:event":
                return _PRECONDITION, {}
            own = urlsplit(callback[1]).hostname == asker
            if options.subscribe_own_only and not own:
                return _PRECONDITION, {}
            sid = f"uuid:{uuid.uuid4()}"
            self.subscribers[sid] = Subscriber(callback[1])
        elif sid not in self.subscribers:
            return _PRECONDITION, {}
        return 200, {"SID": sid, "TIMEOUT": headers.get("TIMEOUT", "Second-1800")}

    def unsubscribe(self, headers: Mapping[str, str]) -> int:
        """End one."""
        known = self.subscribers.pop(headers.get("SID", ""), None)
        return 200 if known else _PRECONDITION

    async def tell(self, values: Mapping[str, object], *only: str) -> None:
        """Tell all, or only these; who does not take it is told no more."""
        for sid in only or tuple(self.subscribers):
            subscriber = self.subscribers.get(sid)
            if subscriber is None:
                continue
            if await _notify(sid, subscriber, values):
                self.heard.add(sid)
            else:
                self.subscribers.pop(sid, None)


async def _notify(sid: str, to: Subscriber, values: Mapping[str, object]) -> bool:
    """Send a notice, and return whether it was taken."""
    body = _properties(values)
    url = urlsplit(to.callback)
    head = (
        f"NOTIFY {url.path or '/'} HTTP/1.1\r\nHOST: {url.netloc}\r\n"
        'CONTENT-TYPE: text/xml; charset="utf-8"\r\n'
        f"CONTENT-LENGTH: {len(body)}\r\nNT: upnp:event\r\nNTS: upnp:propchange\r\n"
        f"SID: {sid}\r\nSEQ: {to.sequence}\r\nCONNECTION: close\r\n\r\n"
    )
    to.sequence += 1
    with suppress(OSError, TimeoutError):
        async with asyncio.timeout(_LIMIT):
            reader, writer = await asyncio.open_connection(url.hostname, url.port or 80)
            try:
                writer.write(f"{head}{body}".encode())
                first = await reader.readline()
                return b" 200 " in first
            finally:
                writer.close()
    return False


def _properties(values: Mapping[str, object]) -> str:
    """Return the text of a notice."""
    each = "".join(
        f"<e:property><{name}>{escape(str(value))}</{name}></e:property>"
        for name, value in values.items()
    )
    return (
        '<?xml version="1.0"?>'
        '<e:propertyset xmlns:e="urn:schemas-upnp-org:event-1-0">'
        f"{each}</e:propertyset>"
    )
