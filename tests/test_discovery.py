"""What is made of what Home Assistant's SSDP tells of gateways."""

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from enum import Enum
from ipaddress import IPv4Address
import sys
from types import ModuleType
from typing import Any

from homeassistant import components
from homeassistant.const import EVENT_COMPONENT_LOADED
from homeassistant.core import HomeAssistant
from homeassistant.helpers.service_info.ssdp import SsdpServiceInfo
import pytest

from custom_components.bypass_router.main_router.discovery import Discovery

MAIN = IPv4Address("192.168.50.1")
LOCATION = "http://192.168.50.1:5000/rootDesc.xml"
DEVICE = "urn:schemas-upnp-org:device:InternetGatewayDevice"


class Change(Enum):
    """As Home Assistant has it."""

    ALIVE = 1
    BYEBYE = 2
    UPDATE = 3


type Told = Callable[[SsdpServiceInfo, Change], None]


class Ssdp(ModuleType):
    """Home Assistant's SSDP, as far as it is needed here."""

    SsdpChange = Change

    def __init__(self) -> None:
        """Begin without anybody who listens."""
        super().__init__("ssdp")
        self.listening: list[tuple[Told, Mapping[str, str]]] = []
        self.holds = asyncio.Event()
        self.holds.set()

    async def async_register_callback(
        self, _: HomeAssistant, told: Told, match: Mapping[str, str]
    ) -> Callable[[], None]:
        """Tell of what matches from now on."""
        await self.holds.wait()
        entry = (told, match)
        self.listening.append(entry)
        return lambda: self.listening.remove(entry)

    def say(
        self,
        change: Change,
        location: str | None = LOCATION,
        boot: str = "7",
        *,
        header: str = "BOOTID.UPNP.ORG",
        known: frozenset[str] = frozenset(),
    ) -> None:
        """Tell all who listen, as if all matched."""
        info = SsdpServiceInfo(
            ssdp_usn="uuid:1::upnp:rootdevice",
            ssdp_st="upnp:rootdevice",
            ssdp_location=location,
            ssdp_headers={header: boot} if boot else {},
            upnp={},
            ssdp_all_locations={*known, *filter(None, [location])},
        )
        for told, _ in tuple(self.listening):
            told(info, change)


@pytest.fixture
def ssdp(monkeypatch: pytest.MonkeyPatch) -> Ssdp:
    """Let it be Home Assistant's; it is not set up yet."""
    module = Ssdp()
    monkeypatch.setitem(sys.modules, "homeassistant.components.ssdp", module)
    monkeypatch.setattr(components, "ssdp", module, raising=False)
    return module


class Heard:
    """What comes of it."""

    def __init__(self, hass: HomeAssistant) -> None:
        """Listen, as soon as it is told to."""
        self.news: list[tuple[IPv4Address, bool]] = []
        self.discovery = Discovery(hass, self._in_background, self._heard)
        self._hass = hass

    def _in_background(
        self, work: Coroutine[Any, Any, None], what: str
    ) -> asyncio.Task[None]:
        """Start something."""
        return self._hass.async_create_background_task(work, what)

    def _heard(self, gateway: IPv4Address, /, *, gone: bool) -> None:
        """Take note of it."""
        self.news.append((gateway, gone))


@pytest.fixture
def heard(hass: HomeAssistant) -> Heard:
    """What comes of it."""
    return Heard(hass)


@pytest.fixture
async def listening(hass: HomeAssistant, ssdp: Ssdp, heard: Heard) -> Heard:
    """What comes of it, where Home Assistant has SSDP."""
    hass.config.components.add("ssdp")
    heard.discovery.async_follow(True)
    await hass.async_block_till_done(wait_background_tasks=True)
    return heard


@pytest.mark.usefixtures("listening")
async def test_gateways_of_both_versions_are_followed(ssdp: Ssdp) -> None:
    """By answers and announcements, and by whichever goodbye is told."""
    assert [match for _, match in ssdp.listening] == [
        {"st": f"{DEVICE}:1"},
        {"st": f"{DEVICE}:2"},
        {"nt": f"{DEVICE}:1"},
        {"nt": f"{DEVICE}:2"},
        {"nts": "ssdp:byebye"},
    ]


async def test_one_that_comes_is_told_once(ssdp: Ssdp, listening: Heard) -> None:
    """However often it says that it is there."""
    for change in (Change.ALIVE, Change.ALIVE, Change.UPDATE):
        ssdp.say(change)
    assert listening.news == [(MAIN, False)]
    assert listening.discovery.locations == (LOCATION,)


async def test_one_that_has_begun_anew_is_told(ssdp: Ssdp, listening: Heard) -> None:
    """By its boot, in whichever letters the header is."""
    ssdp.say(Change.ALIVE, boot="7")
    ssdp.say(Change.ALIVE, boot="8", header="BootID.upnp.org")
    ssdp.say(Change.ALIVE, boot="8", header="bootid.upnp.org")
    assert listening.news == [(MAIN, False)] * 2


async def test_one_that_says_its_boot_now_and_then_has_not_begun_anew(
    ssdp: Ssdp, listening: Heard
) -> None:
    """Some say it in announcements, and not in answers."""
    for boot in ("", "7", "", "7"):
        ssdp.say(Change.ALIVE, boot=boot)
    assert listening.news == [(MAIN, False)]
    ssdp.say(Change.ALIVE, boot="8")
    assert listening.news == [(MAIN, False)] * 2


@pytest.mark.parametrize("location", [LOCATION, None])
async def test_one_that_goes_is_told_and_comes_anew(
    ssdp: Ssdp, listening: Heard, location: str | None
) -> None:
    """A goodbye mostly doesn't say where it was."""
    ssdp.say(Change.ALIVE)
    ssdp.say(Change.BYEBYE, location, known=frozenset({LOCATION}))
    assert listening.news == [(MAIN, False), (MAIN, True)]
    assert listening.discovery.locations == ()
    ssdp.say(Change.ALIVE)
    assert listening.news[2:] == [(MAIN, False)]


async def test_the_goodbye_of_another_device_is_none(
    ssdp: Ssdp, listening: Heard
) -> None:
    """Also where it is one at the same address."""
    ssdp.say(Change.ALIVE)
    ssdp.say(Change.BYEBYE, "http://192.168.50.1:8200/media.xml")
    ssdp.say(Change.BYEBYE, None)
    assert listening.news == [(MAIN, False)]
    assert listening.discovery.locations == (LOCATION,)


@pytest.mark.parametrize(
    "location",
    [
        None,
        "",
        "http://router.lan:5000/rootDesc.xml",
        "http://[fe80::1]:5000/rootDesc.xml",
        "http://[/",
        "http://3232248321/",
        "nonsense",
    ],
)
async def test_what_names_no_address_is_no_gateway(
    ssdp: Ssdp, listening: Heard, location: str | None
) -> None:
    """For it can't be seen to be the main router's."""
    ssdp.say(Change.ALIVE, location)
    ssdp.say(Change.BYEBYE, location)
    assert listening.news == []
    assert listening.discovery.locations == ()


async def test_one_that_is_at_an_ipv6_address_too_is_known_by_the_other(
    ssdp: Ssdp, listening: Heard
) -> None:
    """Home Assistant may tell of whichever was heard last, and of that alone."""
    ssdp.say(Change.ALIVE, "http://[fe80::1]:5000/a.xml", known=frozenset({LOCATION}))
    assert listening.news == [(MAIN, False)]
    assert listening.discovery.locations == (LOCATION,)


async def test_of_many_announcements_the_newest_count(
    ssdp: Ssdp, listening: Heard
) -> None:
    """Anybody can make some up."""
    for number in range(1000):
        ssdp.say(Change.ALIVE, f"http://192.168.50.1/{number}")
    assert listening.discovery.locations == tuple(
        f"http://192.168.50.1/{number}" for number in range(984, 1000)
    )


async def test_it_is_listened_as_soon_as_there_is_ssdp(
    hass: HomeAssistant, ssdp: Ssdp, heard: Heard
) -> None:
    """Which may be never, or later than us."""
    heard.discovery.async_follow(True)
    hass.bus.async_fire(EVENT_COMPONENT_LOADED, {"component": "zeroconf"})
    await hass.async_block_till_done(wait_background_tasks=True)
    assert ssdp.listening == []
    hass.config.components.add("ssdp")
    hass.bus.async_fire(EVENT_COMPONENT_LOADED, {"component": "ssdp"})
    await hass.async_block_till_done(wait_background_tasks=True)
    assert ssdp.listening


async def test_who_is_not_to_listen_does_not(
    hass: HomeAssistant, ssdp: Ssdp, heard: Heard
) -> None:
    """From the beginning, and from then on."""
    hass.config.components.add("ssdp")
    heard.discovery.async_follow(False)
    await hass.async_block_till_done(wait_background_tasks=True)
    assert ssdp.listening == []
    for _ in range(2):
        heard.discovery.async_follow(True)
    await hass.async_block_till_done(wait_background_tasks=True)
    assert len(ssdp.listening) == 5
    heard.discovery.async_follow(False)
    assert ssdp.listening == []
    hass.bus.async_fire(EVENT_COMPONENT_LOADED, {"component": "ssdp"})
    await hass.async_block_till_done(wait_background_tasks=True)
    assert ssdp.listening == []


async def test_who_stops_while_it_begins_to_listen_has_stopped(
    hass: HomeAssistant, ssdp: Ssdp, heard: Heard
) -> None:
    """Home Assistant may take its time, as it reads descriptions first."""
    hass.config.components.add("ssdp")
    ssdp.holds.clear()
    heard.discovery.async_follow(True)
    heard.discovery.async_follow(False)
    ssdp.holds.set()
    await hass.async_block_till_done(wait_background_tasks=True)
    assert ssdp.listening == []
