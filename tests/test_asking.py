"""What is recorded when a main router is asked, and what it is asked for by that."""

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field, replace
from ipaddress import IPv4Address
from typing import Any

from homeassistant.core import HomeAssistant
import pytest

from custom_components.bypass_router.main_router.asking import Asking
from custom_components.bypass_router.main_router.plan import Owner, plan_of
from custom_components.bypass_router.main_router.records import Record, Records
from custom_components.bypass_router.router.errors import ConnectionLost
from custom_components.bypass_router.router.port_mapping.base import (
    Answer,
    Entry,
    FreePort,
    Listed,
    Opening,
    Outcome,
    PortMapping,
    PublicPort,
    Refusal,
)

US = Owner("owner", IPv4Address("192.168.50.2"))
OTHER = IPv4Address("192.168.50.40")
WEB = PublicPort("tcp", 8443)
DNS = PublicPort("udp", 5353)
MAPPINGS = {it: PortMapping(it, it.port) for it in (WEB, DNS)}
DESIRED = {it: ("forward", mapping) for it, mapping in MAPPINGS.items()}
KEY = "bypass_router.entry.main_router"
DARK = Refusal(Answer.FAILED, 501)


@dataclass
class MainRouter:
    """A main router in memory, which tells what it is asked."""

    entries: dict[PublicPort, Entry] = field(default_factory=dict)
    tells: bool = True
    """Whether it says by the standard's code that nothing is at a port."""
    lasts: Collection[int] = (7200, 0, 604_800)
    keeps_names: bool = True
    on_ask: Callable[[], None] = lambda: None
    asked: list[str] = field(default_factory=list)
    name = "upnp"
    gateway = IPv4Address("192.168.50.1")
    model = ""
    lists = True

    async def public_address(self) -> IPv4Address | None:
        """Return none."""
        return None

    def _at(self, port: PublicPort) -> Listed:
        return self.entries.get(port, None if self.tells else DARK)

    def _open(self, it: Opening) -> Outcome:
        port = it.mapping.public
        if it.lease not in self.lasts:
            return Outcome(Refusal(Answer.ONLY_FOR_GOOD, 725), self._at(port))
        name = it.description if self.keeps_names else ""
        self.entries[port] = Entry(US.client, it.mapping.port, name, it.lease)
        return Outcome(None, self._at(port))

    async def look(self, ports: Collection[PublicPort]) -> Mapping[PublicPort, Listed]:
        """Return what is there."""
        self.asked.append("look")
        return {port: self._at(port) for port in ports}

    async def open_free(
        self, opens: Collection[Opening]
    ) -> Mapping[PublicPort, FreePort]:
        """Open what is free."""
        self.asked.append("open_free")
        self.on_ask()
        before = {it.mapping.public: self._at(it.mapping.public) for it in opens}
        return {
            port: FreePort(
                before[port], self._open(it) if before[port] is None else None
            )
            for it in opens
            for port in [it.mapping.public]
        }

    async def apply(
        self, opens: Collection[Opening], closes: Collection[PortMapping]
    ) -> Mapping[PublicPort, Outcome]:
        """Close and open."""
        self.asked.append("apply")
        self.on_ask()
        closed = {it.public: self.entries.pop(it.public, None) for it in closes}
        done = dict.fromkeys(closed, Outcome(None, None))
        return done | {it.mapping.public: self._open(it) for it in opens}


@pytest.fixture
def records(hass: HomeAssistant) -> Records:
    """What is recorded, which is nothing so far."""
    return Records(hass, "entry")


def on_disk(hass_storage: dict[str, Any]) -> list[tuple[int, bool]]:
    """Return which ports are recorded on disk, and whether they were looked at."""
    saved = hass_storage[KEY]["data"]["mappings"]
    return [(line["public_port"], line["looked"]) for line in saved]


async def test_what_is_free_is_recorded_and_opened_by_one_script(
    records: Records, hass_storage: dict[str, Any]
) -> None:
    """On disk before the main router hears of it, and once is enough."""
    seen: list[object] = []
    main = MainRouter(on_ask=lambda: seen.append(on_disk(hass_storage)))
    asking = Asking(main, US, records)
    outcomes = await asking.bring_about(DESIRED, (), {})
    assert main.asked == ["open_free"]
    assert seen == [[(8443, False), (5353, False)]]
    assert outcomes.keys() == main.entries.keys() == DESIRED.keys()
    assert all(it == Outcome(None, main.entries[port]) for port, it in outcomes.items())
    assert set(asking.opened) == DESIRED.keys()
    assert on_disk(hass_storage) == seen[0]
    main.asked.clear()
    await asking.bring_about({}, (), {})
    assert main.asked == ["look", "apply"]
    assert main.entries == {}
    assert records.mappings == {}


async def test_what_is_not_free_is_not_recorded(
    records: Records, hass_storage: dict[str, Any]
) -> None:
    """It is another's, and stays so."""
    theirs = Entry(OTHER, 443, "nas")
    main = MainRouter({WEB: theirs})
    outcomes = await Asking(main, US, records).bring_about(DESIRED, (), {})
    assert outcomes[WEB] == Outcome(None, theirs)
    assert main.entries[WEB] == theirs
    assert on_disk(hass_storage) == [(5353, False)]
    assert main.asked == ["open_free"]


async def test_where_it_is_not_sure_it_is_asked_for_once_it_was_looked_at(
    records: Records, hass_storage: dict[str, Any]
) -> None:
    """Of one with another code for nothing."""
    seen: list[object] = []
    main = MainRouter(tells=False, on_ask=lambda: seen.append(on_disk(hass_storage)))
    await Asking(main, US, records).bring_about(DESIRED, (), {})
    assert main.asked == ["open_free", "apply"]
    assert seen[1] == [(8443, True), (5353, True)]


async def test_another_lease_is_asked_for_where_one_does_not_do(
    records: Records,
) -> None:
    """And the next time, that one at once."""
    main = MainRouter(lasts=(0,))
    asking = Asking(main, US, records)
    one = {WEB: DESIRED[WEB]}
    await asking.bring_about(one, (), {})
    assert main.entries[WEB].lease == 0
    assert records.mappings[WEB].lease == 0
    main.asked.clear()
    known = {WEB: Outcome(None, main.entries[WEB])}
    await asking.bring_about(DESIRED, (), known)
    assert main.asked == ["open_free"]
    assert main.entries[DNS].lease == 0


async def test_what_has_no_name_is_ours_only_if_it_was_looked_at(
    records: Records, hass_storage: dict[str, Any]
) -> None:
    """Where descriptions are not kept, that is recorded."""
    main = MainRouter(keeps_names=False)
    await Asking(main, US, records).bring_about(DESIRED, (), {})
    assert on_disk(hass_storage) == [(8443, True), (5353, True)]
    await Asking(main, US, records).bring_about({}, (), {})
    assert main.entries == {}


@pytest.mark.parametrize("theirs", [True, False])
async def test_what_may_be_anothers_is_left_after_a_break(
    records: Records, hass: HomeAssistant, theirs: bool
) -> None:
    """Nobody knows whether it was there before: only a name tells whose it is."""

    def break_off() -> None:
        if theirs:
            main.entries[WEB] = Entry(US.client, WEB.port)
        raise ConnectionLost(message="")

    main = MainRouter(on_ask=break_off)
    with pytest.raises(ConnectionLost):
        await Asking(main, US, records).bring_about({WEB: DESIRED[WEB]}, (), {})
    main.on_ask = lambda: None
    later = Records(hass, "entry")
    await later.load()
    assert not later.mappings[WEB].looked
    await Asking(main, US, later).bring_about({}, (), {})
    assert (WEB in main.entries) == theirs


@pytest.mark.parametrize("looked", [True, False])
def test_what_is_not_told_is_closed_only_if_it_was_looked_at(looked: bool) -> None:
    """And does not stand before."""
    record = Record("forward", MAPPINGS[WEB], 0, 7200, 1.0, looked)
    dark, known = {WEB: DARK}, {WEB: record}
    assert bool(plan_of(US, {}, dark, known, ()).closes) == looked
    opens = plan_of(US, {WEB: DESIRED[WEB]}, dark, known, ()).opens
    assert bool(opens) != looked


async def test_a_file_that_does_not_say_so_is_of_what_was_looked_at(
    records: Records, hass: HomeAssistant, hass_storage: dict[str, Any]
) -> None:
    """As it was always so before."""
    record = Record("forward", MAPPINGS[WEB], 0, 7200, 1.0, looked=False)
    await records.save({WEB: record})
    del hass_storage[KEY]["data"]["mappings"][0]["looked"]
    later = Records(hass, "entry")
    await later.load()
    assert later.mappings == {WEB: replace(record, looked=True)}
