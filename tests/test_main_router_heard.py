"""What Home Assistant itself hears of the main router: it is looked at once."""

import asyncio
from collections.abc import Iterator
from ipaddress import IPv4Address
import logging
from unittest.mock import patch
from urllib.parse import urlsplit

from homeassistant.const import STATE_ON
from homeassistant.core import HomeAssistant
from homeassistant.setup import async_setup_component
import pytest
from pytest_homeassistant_custom_component.common import MockConfigEntry

from custom_components.bypass_router.main_router import manager
from custom_components.bypass_router.main_router.events import Events
from custom_components.bypass_router.sync import rate_limit
from tests.lab import soap_by_hand as soap
from tests.lab.gateway import Gateway, GatewayOptions
from tests.lab.machine import Machine
from tests.lab.miniupnpd import Miniupnpd, MiniupnpdOptions
from tests.lab.network import Lab
from tests.lab.waiting import soon, until

from .setup import WEB, choose, passes, set_up, switch_of, turn


@pytest.fixture(autouse=True)
def _no_looks_by_themselves(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let it be looked only where there is a reason."""
    for name in ("_SECOND_LOOK", "_LOOK_INTERVAL", "_FIRST_DELAY"):
        monkeypatch.setattr(manager, name, 3600.0)


@pytest.fixture
def miniupnpd_options() -> MiniupnpdOptions:
    """It has no file of what it was asked for."""
    return MiniupnpdOptions(lease_file=False)


@pytest.fixture
def main(at_home: Lab, miniupnpd: Miniupnpd) -> Miniupnpd:
    """The main router's own daemon, and a target that answers."""
    at_home.target.serve("tcp", 443)
    return miniupnpd


@pytest.fixture
def options() -> GatewayOptions:
    """How the fake gateway answers; parametrize it by its name."""
    return GatewayOptions(subscribe_own_only=True)


@pytest.fixture
def gateway(at_home: Lab, options: GatewayOptions) -> Iterator[Gateway]:
    """A fake gateway in the main router."""
    with Gateway(options, at_home.main) as gateway:
        yield gateway


@pytest.fixture
def no_messages(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let the main router tell of nothing by itself."""
    monkeypatch.setattr(Events, "async_follow", lambda *_: None)


async def listen(hass: HomeAssistant, lab: Lab) -> None:
    """Let Home Assistant's own SSDP run in its place of the network."""
    # The plugin for tests has it elsewhere; and no other integration is to be begun.
    ssdp, here = "homeassistant.components.ssdp", {IPv4Address(lab.home.address)}
    with (
        patch(f"{ssdp}.scanner.async_build_source_set", return_value=here),
        patch(f"{ssdp}.async_get_ssdp", return_value={}),
    ):
        assert await async_setup_component(hass, "ssdp", {})


async def opened(hass: HomeAssistant, lab: Lab) -> MockConfigEntry:
    """Set up the router, and turn a forward on, for which the main router is asked."""
    entry = await set_up(hass, lab, WEB, main_router="upnp")
    await turn(hass, "on", switch_of(hass, entry, "Web"))
    return entry


@pytest.mark.usefixtures("no_messages")
async def test_a_main_router_that_begins_anew_is_asked_again_at_once(
    hass: HomeAssistant, at_home: Lab, main: Miniupnpd
) -> None:
    """As its goodbye and its greeting tell, each time."""
    await listen(hass, at_home)
    entry = await opened(hass, at_home)
    asked = entry.runtime_data.halves.asked
    for _ in range(2):
        await until(lambda: main.location in asked.locations and asked.asking)
        main.stop()
        await until(lambda: asked.asking is None, soon(10))
        main.start()
        assert main.mappings() == {}
        await until(main.mappings, soon(10))
    assert await passes(at_home)


@pytest.mark.parametrize("options", [GatewayOptions(ssdp_multicast_only=True)])
async def test_a_main_router_that_answers_multicast_alone_is_found(
    hass: HomeAssistant, at_home: Lab, gateway: Gateway
) -> None:
    """For the bypass router asks for it by its address; eero's are so."""
    await opened(hass, at_home)
    assert not gateway.mappings
    await listen(hass, at_home)
    await until(lambda: gateway.mappings)


async def test_what_somebody_deletes_at_the_main_router_is_soon_there_again(
    hass: HomeAssistant, at_home: Lab, main: Miniupnpd
) -> None:
    """For the main router tells that something has changed."""
    await opened(hass, at_home)
    assert await passes(at_home)
    soap.delete(at_home.bypass, main.control, 8443)
    assert main.mappings() == {}
    await until(main.mappings, soon(10))
    assert await passes(at_home)


# Each in a connection of its own; who is not heard is told so by the kernel alone.
_NOTIFY = """
for _ in $(seq "$3"); do
  exec 3<>"/dev/tcp/$1/$2" && printf %s "$4" >&3 && head -n 1 <&3
done 2>&1
"""


def notify(asker: Machine, gateway: Gateway, times: int = 1) -> list[str]:
    """Send whoever has subscribed messages, and return what is answered."""
    ((sid, subscriber),) = gateway.events.subscribers.items()
    url = urlsplit(subscriber.callback)
    text = (
        f"NOTIFY {url.path} HTTP/1.1\r\nHOST: {url.netloc}\r\nNT: upnp:event\r\n"
        f"NTS: upnp:propchange\r\nSID: {sid}\r\nCONTENT-LENGTH: 0\r\n\r\n"
    )
    where = (str(url.hostname), str(url.port), str(times), text)
    return asker.run(
        "bash", "-c", _NOTIFY, "-", *where, check=False
    ).stdout.splitlines()


async def test_a_flood_of_messages_leads_to_few_looks(
    hass: HomeAssistant, at_home: Lab, gateway: Gateway
) -> None:
    """And those of others to none."""
    await opened(hass, at_home)
    await until(lambda: gateway.events.subscribers)

    def looks() -> int:
        return gateway.count("GetExternalIPAddress", at_home.bypass.address)

    async def notified(asker: Machine, times: int) -> list[str]:
        return await asyncio.to_thread(notify, asker, gateway, times)

    said = await notified(at_home.other, 3)
    assert not [line for line in said if "HTTP" in line]
    before = looks()
    for _ in range(5):
        assert await notified(at_home.main, 40) == ["HTTP/1.1 200 OK"] * 40
    # The first message of all, and what was opened, are told as well.
    await until(lambda: looks() > before)
    assert looks() - before <= rate_limit.TIMES


async def test_nobody_is_listened_to_unless_the_main_router_is_to_be_asked(
    hass: HomeAssistant, at_home: Lab, gateway: Gateway
) -> None:
    """Any more, or at all."""
    await listen(hass, at_home)
    entry = await opened(hass, at_home)
    asked = entry.runtime_data.halves.asked
    await until(lambda: gateway.events.heard & gateway.events.subscribers.keys())
    await until(lambda: asked.locations == (gateway.location,))
    await choose(hass, entry, main_router="manual")
    await until(lambda: gateway.count("unsubscribe"))
    assert not gateway.events.subscribers
    await until(lambda: not gateway.mappings)
    await choose(hass, entry, main_router="upnp")
    # Who has no answer yet does not know what to end.
    await until(lambda: gateway.events.heard & gateway.events.subscribers.keys())
    assert await hass.config_entries.async_unload(entry.entry_id)
    await until(lambda: gateway.count("unsubscribe") == 2)
    hass.config_entries.async_update_entry(entry, options={})
    subscriptions = gateway.count("subscribe")
    assert await hass.config_entries.async_setup(entry.entry_id)
    await hass.async_block_till_done()
    assert gateway.count("subscribe") == subscriptions


@pytest.mark.parametrize("options", [GatewayOptions(subscribe=501)])
async def test_a_main_router_that_tells_nothing_is_asked_all_the_same(
    hass: HomeAssistant,
    at_home: Lab,
    gateway: Gateway,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """And nobody is told of that."""
    entry = await opened(hass, at_home)
    await until(lambda: gateway.count("subscribe"))
    assert gateway.mappings
    assert hass.states.get(switch_of(hass, entry, "Web")).state == STATE_ON
    assert "main_router.events" not in {
        it.name.removeprefix("custom_components.bypass_router.")
        for it in caplog.records
        if it.levelno >= logging.WARNING
    }
