"""The main router's own messages of changes: who is believed, and what."""

import asyncio
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from ipaddress import IPv4Address
import logging
import re
import socket
from typing import Any
from urllib.parse import urlsplit

from homeassistant.core import HomeAssistant
import pytest

from custom_components.bypass_router.main_router import events
from custom_components.bypass_router.main_router.events import Events
from custom_components.bypass_router.router.port_mapping.base import RunFor
from custom_components.bypass_router.router.port_mapping.description import Service
from custom_components.bypass_router.router.port_mapping.http import Url
from custom_components.bypass_router.router.port_mapping.upnp import Upnp
from tests.lab.gateway import Gateway, GatewayOptions
from tests.lab.waiting import until

GATEWAY = IPv4Address("127.0.0.1")
OTHER = "127.0.0.2"
WAN_IP = "urn:schemas-upnp-org:service:WANIPConnection:1"


def mapper(url: str) -> Upnp:
    """Return a main router that has its events there."""
    control = Url(GATEWAY, 80, "/")
    service = Service(WAN_IP, control, Url.at(GATEWAY, url))
    run: RunFor = None  # type: ignore[assignment] # nothing is asked by scripts
    return Upnp(run, IPv4Address(OTHER), GATEWAY, "", service)


class Told:
    """Who hears of changes."""

    def __init__(self, hass: HomeAssistant) -> None:
        """Follow nobody yet."""
        self._hass = hass
        self.times = 0
        self.events = Events(hass, self._in_background, self._changed)
        self._tasks: list[asyncio.Task[None]] = []

    def _in_background(
        self, work: Coroutine[Any, Any, None], what: str
    ) -> asyncio.Task[None]:
        """Start something."""
        task = self._hass.async_create_background_task(work, what)
        self._tasks.append(task)
        return task

    def _changed(self) -> None:
        """Count it."""
        self.times += 1

    async def end(self) -> None:
        """Follow nobody any more."""
        self.events.async_follow(None)
        await asyncio.gather(*self._tasks, return_exceptions=True)


@pytest.fixture
async def told(hass: HomeAssistant, socket_enabled: None) -> AsyncIterator[Told]:
    """Who hears of changes."""
    told = Told(hass)
    yield told
    await told.end()


@pytest.fixture
def options() -> GatewayOptions:
    """How the gateway answers; parametrize it by its name."""
    return GatewayOptions(subscribe_own_only=True)


@pytest.fixture
def gateway(socket_enabled: None, options: GatewayOptions) -> Iterator[Gateway]:
    """A gateway that tells of changes."""
    with Gateway(options) as gateway:
        yield gateway


def event_url(gateway: Gateway) -> str:
    """Return where it takes subscriptions."""
    return gateway.web.url(gateway.options.services[0].events)


@pytest.fixture
async def subscribed(told: Told, gateway: Gateway) -> Told:
    """Who hears of that gateway's changes, and has heard its first message."""
    told.events.async_follow(mapper(event_url(gateway)))
    await until(lambda: told.times)
    return told


@dataclass
class Sent:
    """A message to a subscriber, as the gateway sends it, or someone who is not it."""

    callback: str
    sid: str
    method: str = "NOTIFY"
    more: str = ""
    body: bytes = b""
    source: str = str(GATEWAY)
    headers: dict[str, str] = field(default_factory=dict)

    async def answer(self) -> str:
        """Send it, and return the first line of the answer; empty if there is none."""
        url = urlsplit(self.callback)
        reader, writer = await asyncio.open_connection(
            url.hostname, url.port, local_addr=(self.source, 0)
        )
        try:
            writer.write(
                f"{self.method} {url.path}{self.more} HTTP/1.1\r\nHOST: {url.netloc}"
                f"\r\nNT: upnp:event\r\nNTS: upnp:propchange\r\nSID: {self.sid}\r\n"
                f"CONTENT-LENGTH: {len(self.body)}\r\n\r\n".encode()
                + self.body
            )
            return (await reader.readline()).decode().strip()
        except OSError:
            return ""
        finally:
            writer.close()


def message(gateway: Gateway, **changes: Any) -> Sent:
    """Return a message to the one who has subscribed."""
    ((sid, subscriber),) = gateway.events.subscribers.items()
    return Sent(**{"callback": subscriber.callback, "sid": sid, **changes})


async def test_a_message_is_taken_however_soon_it_comes(
    subscribed: Told, gateway: Gateway
) -> None:
    """Or the gateway would tell no more: the first comes with the answer."""
    assert gateway.count("subscribe") == 1
    assert await message(gateway).answer() == "HTTP/1.1 200 OK"
    await until(lambda: subscribed.times == 2)
    assert len(gateway.events.subscribers) == 1


REFUSED = "HTTP/1.1 412 Precondition Failed"


@pytest.mark.parametrize(
    ("changes", "answer"),
    [
        ({"source": OTHER}, ""),
        ({"sid": "uuid:another"}, REFUSED),
        ({"sid": ""}, REFUSED),
        ({"more": "x"}, REFUSED),
        ({"method": "POST"}, REFUSED),
        ({"method": "GET"}, REFUSED),
        ({"method": "\xff"}, REFUSED),
        ({"sid": "x" * 100_000}, ""),
    ],
)
async def test_what_is_no_message_of_the_main_router_is_refused(
    subscribed: Told, gateway: Gateway, changes: dict[str, str], answer: str
) -> None:
    """Whoever sends it, and leads to nothing."""
    assert await message(gateway, **changes).answer() == answer
    assert subscribed.times == 1
    assert await message(gateway).answer() == "HTTP/1.1 200 OK"
    await until(lambda: subscribed.times == 2)


async def test_the_body_of_a_message_is_nothing_to_anybody(
    subscribed: Told, gateway: Gateway
) -> None:
    """Of whatever it consists, and however long it is said to be."""
    for body in (b"\xff\x00" * 20_000, b"<a>" * 1_000_000):
        assert await message(gateway, body=body).answer() == "HTTP/1.1 200 OK"
    await until(lambda: subscribed.times == 3)


async def test_many_connections_at_once_are_not_taken(
    subscribed: Told, gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nor for ever."""
    monkeypatch.setattr(events, "_PATIENCE", 0.5)
    url = urlsplit(message(gateway).callback)
    opened = [await asyncio.open_connection(url.hostname, url.port) for _ in range(12)]
    ended = [await reader.read() for reader, _ in opened]
    assert ended == [b""] * 12
    for _, writer in opened:
        writer.close()
    assert await message(gateway).answer() == "HTTP/1.1 200 OK"


async def test_a_subscription_is_renewed(
    told: Told, gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And made anew where the gateway knows it no more."""
    monkeypatch.setattr(events, "_LATEST", 0.02)
    told.events.async_follow(mapper(event_url(gateway)))
    await until(lambda: gateway.count("subscribe") > 3)
    (first,) = gateway.events.subscribers
    gateway.events.subscribers.clear()
    await until(lambda: gateway.events.subscribers)
    (second,) = gateway.events.subscribers
    assert second != first


@pytest.mark.parametrize("seconds", ["Second-0", "second-1", "SECOND-7"])
async def test_it_is_not_renewed_as_often_as_a_gateway_would_have_it(
    told: Told, seconds: str
) -> None:
    """But once a minute."""
    async with answering(f"SID: uuid:1\r\nTIMEOUT: {seconds}\r\n") as (url, asked):
        told.events.async_follow(mapper(url))
        await until(lambda: asked)
        await asyncio.sleep(0.3)
        assert asked == ["SUBSCRIBE"]
        await told.end()
        assert asked == ["SUBSCRIBE", "UNSUBSCRIBE"]


async def test_it_ends_with_whom_it_is_of(subscribed: Told, gateway: Gateway) -> None:
    """And another begins with another; the same is the same."""
    callback = message(gateway).callback
    url = event_url(gateway)
    second = mapper(url)
    for _ in range(2):
        subscribed.events.async_follow(second)
    await until(lambda: gateway.count("unsubscribe"))
    await until(lambda: gateway.count("subscribe") == 2)
    await until(lambda: len(gateway.events.subscribers) == 1)
    assert message(gateway).callback != callback
    await subscribed.end()
    assert gateway.count("unsubscribe") == 2
    assert not gateway.events.subscribers
    with pytest.raises(ConnectionRefusedError):
        await Sent(callback, "").answer()


async def test_one_without_events_is_not_asked(told: Told, gateway: Gateway) -> None:
    """Nor is one that has them elsewhere."""
    for url in ("", "http://192.168.50.1/evt", "ftp://127.0.0.1/"):
        told.events.async_follow(mapper(url))
    await told.end()
    assert gateway.asked == []


@asynccontextmanager
async def answering(
    headers: str, status: str = "200 OK", more: Callable[[], bytes] = bytes
) -> AsyncIterator[tuple[str, list[str]]]:
    """Answer each request with these headers; yield where, and what is asked."""
    asked: list[str] = []

    async def answer(
        reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        asked.append(head.partition(" ")[0])
        writer.write(f"HTTP/1.1 {status}\r\n{headers}\r\n".encode() + more())
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(answer, str(GATEWAY))
    async with server:
        port = server.sockets[0].getsockname()[1]
        yield f"http://{GATEWAY}:{port}/evt", asked
        server.close_clients()


SID = "SID: uuid:1\r\n"
TIMEOUT = "TIMEOUT: Second-1800\r\n"


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        (SID + TIMEOUT, "412 Precondition Failed"),
        (SID + TIMEOUT, "500 Internal Server Error"),
        (SID + TIMEOUT, "501 Not Implemented"),
        (f"{SID}{TIMEOUT}Location: http://127.0.0.1/\r\n", "302 Found"),
        ("", "200 OK"),
        (SID, "200 OK"),
        (TIMEOUT, "200 OK"),
        (f"SID: \r\n{TIMEOUT}", "200 OK"),
        (f"SID: uuid:1 2\r\n{TIMEOUT}", "200 OK"),
        (f"SID: uuid:\xe9\r\n{TIMEOUT}", "200 OK"),
        (f"SID: {'1' * 129}\r\n{TIMEOUT}", "200 OK"),
        (f"{SID}TIMEOUT: 1800\r\n", "200 OK"),
        (f"{SID}TIMEOUT: Second--1\r\n", "200 OK"),
        (f"{SID}TIMEOUT: Second-1e9\r\n", "200 OK"),
        (f"{SID}TIMEOUT: Second-{'9' * 5000}\r\n", "200 OK"),
        (f"{SID}TIMEOUT: Second-\u0661\r\n", "200 OK"),
        ("nonsense\r\n", "x"),
    ],
)
async def test_what_is_no_subscription_is_none(
    told: Told, caplog: pytest.LogCaptureFixture, headers: str, status: str
) -> None:
    """No more is asked for a long time, nothing is ended, and nobody is alarmed."""
    async with answering(headers, status) as (url, asked):
        told.events.async_follow(mapper(url))
        await until(lambda: asked)
        await asyncio.sleep(0.1)
        await told.end()
        assert asked == ["SUBSCRIBE"]
    # Of others, what a test before has left may be told at any time.
    told_of = (it for it in caplog.records if it.name.startswith("custom_components"))
    assert not [it for it in told_of if it.levelno >= logging.WARNING]


@pytest.mark.parametrize("timeout", ["Second-1800", "second-infinite", "Second-99999"])
async def test_what_is_one_is_ended(told: Told, timeout: str) -> None:
    """And nothing of an answer counts but its headers."""
    headers = f"{SID}Timeout: {timeout}\r\nContent-Length: 100000000\r\n"
    body = b"<a>" * 100_000
    async with answering(headers, more=lambda: body) as (url, asked):
        told.events.async_follow(mapper(url))
        await until(lambda: asked)
        await asyncio.sleep(0.1)
        await told.end()
        assert asked == ["SUBSCRIBE", "UNSUBSCRIBE"]


async def test_silence_is_no_subscription(
    told: Told, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Neither is a port at which nobody is."""
    monkeypatch.setattr(events, "_LIMIT", 0.1)
    caplog.set_level(logging.DEBUG, "custom_components.bypass_router")
    with socket.create_server((str(GATEWAY), 0)) as server:
        port = server.getsockname()[1]
        told.events.async_follow(mapper(f"http://{GATEWAY}:{port}/"))
        await until(lambda: re.search("SUBSCRIBE, TimeoutError", caplog.text))
    told.events.async_follow(mapper(f"http://{GATEWAY}:{port}/"))
    await until(lambda: re.search("SUBSCRIBE, Client", caplog.text))


async def test_who_can_not_be_reached_from_here_is_not_asked(
    told: Told, gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As in a container without a way there."""

    def nowhere(_: IPv4Address) -> str:
        raise OSError("no route")

    monkeypatch.setattr(events, "_address_towards", nowhere)
    told.events.async_follow(mapper(event_url(gateway)))
    await told.end()
    assert gateway.asked == []
