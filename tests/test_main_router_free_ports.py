"""A port that is free is opened by the script that sees so; what is recorded then."""

from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from typing import Any, Final, override

from homeassistant.core import HomeAssistant
import pytest

from custom_components.bypass_router.main_router.asking import Asking
from custom_components.bypass_router.main_router.plan import plan_of
from custom_components.bypass_router.main_router.records import Record, Records
from custom_components.bypass_router.router.errors import ConnectionLost
from custom_components.bypass_router.router.port_mapping.base import (
    Answer,
    Entry,
    Opening,
    Outcome,
    PortMapping,
    PublicPort,
    Refusal,
)

from .memory_main_router import CLIENT, NAS, OWNER, MemoryMainRouter

WEB: Final = PublicPort("tcp", 8443)
DNS: Final = PublicPort("udp", 5353)
MAPPINGS: Final = {it: PortMapping(it, it.port) for it in (WEB, DNS)}
DESIRED: Final = {it: ("forward", mapping) for it, mapping in MAPPINGS.items()}
KEY: Final = "bypass_router.entry.main_router"


@dataclass
class Asked(MemoryMainRouter):
    """One that has something done just before it does what it is asked."""

    on_ask: Callable[[], None] = lambda: None

    @override
    def _apply(
        self, opens: Collection[Opening], closes: Collection[PortMapping]
    ) -> dict[PublicPort, Outcome]:
        """Do it."""
        self.on_ask()
        return super()._apply(opens, closes)


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
    main = Asked(on_ask=lambda: seen.append(on_disk(hass_storage)))
    asking = Asking(main, OWNER, records)
    outcomes = await asking.bring_about(DESIRED, (), {})
    assert main.calls == ["open_free"]
    assert seen[0] == [(8443, False), (5353, False)]
    assert outcomes.keys() == main.table.keys() == DESIRED.keys()
    assert all(it == Outcome(None, main.table[port]) for port, it in outcomes.items())
    assert set(asking.opened) == DESIRED.keys()
    assert on_disk(hass_storage) == seen[0]
    main.calls.clear()
    await asking.bring_about({}, (), {})
    assert main.calls == ["look", "apply"]
    assert main.table == {}
    assert records.mappings == {}


async def test_what_is_not_free_is_not_recorded(
    records: Records, hass_storage: dict[str, Any]
) -> None:
    """It is another's, and stays so."""
    theirs = Entry(NAS, 443, "nas")
    main = MemoryMainRouter(table={WEB: theirs})
    outcomes = await Asking(main, OWNER, records).bring_about(DESIRED, (), {})
    assert outcomes[WEB] == Outcome(None, theirs)
    assert main.table[WEB] == theirs
    assert on_disk(hass_storage) == [(5353, False)]
    assert main.calls == ["open_free"]


async def test_where_it_is_not_sure_it_is_asked_for_once_it_was_looked_at(
    records: Records, hass_storage: dict[str, Any]
) -> None:
    """Of one with another code for nothing."""
    seen: list[object] = []
    main = Asked(tells=False, on_ask=lambda: seen.append(on_disk(hass_storage)))
    await Asking(main, OWNER, records).bring_about(DESIRED, (), {})
    assert main.calls == ["open_free", "apply"]
    assert seen == [[(8443, True), (5353, True)]]


async def test_another_lease_is_asked_for_where_one_does_not_do(
    records: Records,
) -> None:
    """And the next time, that one at once; what is for good is looked at before."""
    main = MemoryMainRouter(leases=lambda it: Answer.ONLY_FOR_GOOD if it else None)
    asking = Asking(main, OWNER, records)
    one = {WEB: DESIRED[WEB]}
    await asking.bring_about(one, (), {})
    assert main.table[WEB].lease == 0
    assert records.mappings[WEB].lease == 0
    main.calls.clear()
    known = {WEB: Outcome(None, main.table[WEB])}
    await asking.bring_about(DESIRED, (), known)
    assert main.calls == ["look", "apply"]
    assert main.table[DNS].lease == 0


async def test_what_has_no_name_is_ours_only_if_it_was_looked_at(
    records: Records, hass_storage: dict[str, Any]
) -> None:
    """Where descriptions are not kept, that is recorded."""
    main = MemoryMainRouter(writes=lambda _: "")
    await Asking(main, OWNER, records).bring_about(DESIRED, (), {})
    assert on_disk(hass_storage) == [(8443, True), (5353, True)]
    await Asking(main, OWNER, records).bring_about({}, (), {})
    assert main.table == {}


@pytest.mark.parametrize(
    ("lease", "closed"), [(None, False), (0, False), (100, False), (7199, True)]
)
async def test_what_has_no_name_is_ours_after_a_break_by_what_is_left_of_its_lease(
    records: Records, hass: HomeAssistant, lease: int | None, closed: bool
) -> None:
    """What was there before has less, or is for good; or nobody knows."""

    def break_off() -> None:
        main.table[WEB] = Entry(CLIENT, WEB.port, lease=lease)
        raise ConnectionLost(message="")

    main = Asked(on_ask=break_off)
    with pytest.raises(ConnectionLost):
        await Asking(main, OWNER, records).bring_about({WEB: DESIRED[WEB]}, (), {})
    main.on_ask = lambda: None
    later = Records(hass, "entry")
    await later.load()
    assert not later.mappings[WEB].looked
    await Asking(main, OWNER, later).bring_about({}, (), {})
    assert (WEB not in main.table) == closed
    assert later.mappings == {}


@pytest.mark.parametrize("looked", [True, False])
def test_what_is_not_told_is_closed_only_if_it_was_looked_at(looked: bool) -> None:
    """And does not stand before."""
    record = Record("forward", MAPPINGS[WEB], 0, 7200, 1.0, looked=looked)
    dark, known = {WEB: Refusal(Answer.FAILED, 501)}, {WEB: record}
    assert bool(plan_of(OWNER, {}, dark, known, ()).closes) == looked
    opens = plan_of(OWNER, {WEB: DESIRED[WEB]}, dark, known, ()).opens
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
