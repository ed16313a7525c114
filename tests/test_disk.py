"""What is confirmed is on Home Assistant's disk, whatever that disk is like."""

from collections.abc import Callable, Iterator, Mapping
import errno
from typing import Any, Final

from homeassistant.config_entries import ConfigEntryState
from homeassistant.const import STATE_OFF, STATE_ON
from homeassistant.core import CoreState, HomeAssistant
from homeassistant.exceptions import HomeAssistantError
from homeassistant.helpers.storage import Store
from homeassistant.util.file import WriteError
import pytest
from pytest_homeassistant_custom_component.common import MockConfigEntry

from custom_components.bypass_router.const import DOMAIN
from tests.lab.network import Lab
from tests.lab.waiting import until

from .setup import (
    GAME,
    WEB,
    forward_id,
    issue,
    lose_rules,
    passes,
    set_up,
    switch_of,
    turn,
    with_web_on,
)
from .small_disk import SmallDisk, small_disk


@pytest.fixture
def disk(at_home: Lab, hass: HomeAssistant) -> Iterator[SmallDisk]:
    """Home Assistant's disk, to which it really writes."""
    with small_disk(at_home, hass) as disk:
        yield disk


type Act = Callable[[SmallDisk], None]

FAULTS: Mapping[str, tuple[Act, Act]] = {
    "full": (SmallDisk.fill, SmallDisk.empty),
    "read-only": (SmallDisk.forbid, SmallDisk.permit),
}
SAID: Mapping[str, str] = {
    "full": "not_saved_full",
    "read-only": "not_saved_read_only",
}


def state(hass: HomeAssistant, entry: MockConfigEntry, name: str) -> str:
    """Return the state of a forward's switch."""
    found = hass.states.get(switch_of(hass, entry, name))
    assert found
    return found.state


async def restart(hass: HomeAssistant, entry: MockConfigEntry) -> None:
    """Have the entry begin anew, from what is on the disk."""
    assert await hass.config_entries.async_reload(entry.entry_id)
    await hass.async_block_till_done()


@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.parametrize(("before", "to"), [("on", "off"), ("off", "on")])
async def test_what_could_not_be_saved_is_told_and_comes_when_it_can(
    hass: HomeAssistant, at_home: Lab, disk: SmallDisk, fault: str, before: str, to: str
) -> None:
    """No restart turns round what was answered with success."""
    begin, end = FAULTS[fault]
    entry, web = await with_web_on(hass, at_home)
    await turn(hass, before, web)
    begin(disk)
    with pytest.raises(HomeAssistantError) as raised:
        await turn(hass, to, web)
    assert raised.value.translation_key == SAID[fault]
    assert (told := issue(hass, "not_saved"))
    assert told.translation_key == SAID[fault]
    assert told.translation_placeholders
    assert str(disk.path) not in str(told.translation_placeholders)
    # Nothing was done behind the answer's back.
    assert state(hass, entry, "Web") == before
    assert await passes(at_home) is (before == "on")
    end(disk)
    await until(lambda: state(hass, entry, "Web") == to)
    assert await passes(at_home) is (to == "on")
    assert disk.wished(entry) == ([forward_id(entry, "Web")] if to == "on" else [])
    assert not issue(hass, "not_saved")
    await restart(hass, entry)
    assert state(hass, entry, "Web") == to
    assert await passes(at_home) is (to == "on")


async def test_what_home_assistant_wishes_as_it_stops_is_on_disk(
    hass: HomeAssistant, at_home: Lab, disk: SmallDisk
) -> None:
    """Its own files are written a little later then, if it gets so far."""
    entry = await set_up(hass, at_home, WEB, GAME)
    await turn(hass, "on", switch_of(hass, entry, "Web"))
    hass.set_state(CoreState.stopping)
    await turn(hass, "off", switch_of(hass, entry, "Web"))
    assert disk.wished(entry) == []
    disk.fill()
    with pytest.raises(HomeAssistantError):
        await turn(hass, "on", switch_of(hass, entry, "Web"))
    hass.set_state(CoreState.running)


async def test_a_write_that_fails_is_noticed_wherever_it_fails(
    hass: HomeAssistant, at_home: Lab, hass_storage: dict[str, Any]
) -> None:
    """Also where Home Assistant only logs it."""
    entry = await set_up(hass, at_home, WEB)
    web = switch_of(hass, entry, "Web")
    await turn(hass, "on", web)
    with pytest.MonkeyPatch.context() as patch:

        async def fails(*_: object) -> None:
            raise WriteError("it") from OSError(errno.ENOSPC, "No space left on device")

        patch.setattr(Store, "_async_write_data", fails)
        with pytest.raises(HomeAssistantError, match="no room"):
            await turn(hass, "off", web)
    await until(lambda: hass.states.is_state(web, STATE_OFF))
    stored = hass_storage[f"{DOMAIN}.{entry.entry_id}"]["data"]
    assert stored["wished"] == []


async def test_a_restart_with_the_disk_full_is_as_what_was_confirmed(
    hass: HomeAssistant, at_home: Lab, disk: SmallDisk
) -> None:
    """What was answered with an error is as it was before."""
    entry, _ = await with_web_on(hass, at_home)
    disk.fill()
    with pytest.raises(HomeAssistantError):
        await turn(hass, "on", switch_of(hass, entry, "Game"))
    await restart(hass, entry)
    assert state(hass, entry, "Web") == STATE_ON
    assert state(hass, entry, "Game") == STATE_OFF
    # What is lost meanwhile comes back all the same.
    lose_rules(at_home)
    await until(lambda: "8443" in nft(at_home))
    assert await passes(at_home)


def nft(lab: Lab) -> str:
    """Return the router's rules."""
    return lab.bypass.real("nft", "list", "ruleset").stdout


NONSENSE: Final = {
    "nothing": b"",
    "half": b'{"version": 1, "minor_version": 1, "key": "x", "data": {"wish',
    "no JSON": b"\x00\xff\xfe" * 100,
    "no object": b"[]",
    "no data": b'{"version": 1}',
    "other data": b'{"version": 1, "minor_version": 1, "key": "x", "data": [1]}',
    "other types": b'{"version": 1, "minor_version": 1, "key": "x",'
    b' "data": {"wished": "all", "boot_id": 3}}',
}


@pytest.mark.parametrize("text", NONSENSE.values(), ids=NONSENSE.keys())
async def test_a_file_that_makes_no_sense_changes_nothing_on_the_router(
    hass: HomeAssistant, at_home: Lab, disk: SmallDisk, text: bytes
) -> None:
    """What is live stays so, and is desired from then on: nothing opens or closes."""
    entry, _ = await with_web_on(hass, at_home)
    assert await hass.config_entries.async_unload(entry.entry_id)
    for suffix in ("", ".totals", ".targets"):
        disk.stored(entry, suffix).write_bytes(text)
    await hass.config_entries.async_setup(entry.entry_id)
    await hass.async_block_till_done()
    assert await passes(at_home)
    assert state(hass, entry, "Web") == STATE_ON
    assert state(hass, entry, "Game") == STATE_OFF
    # Of what is no JSON, Home Assistant itself tells.
    told = issue(hass, "state_lost") or issue(hass, "storage_corruption")
    assert told
    await turn(hass, "on", switch_of(hass, entry, "Game"))
    await turn(hass, "off", switch_of(hass, entry, "Web"))
    assert not await passes(at_home)
    assert disk.wished(entry) == [forward_id(entry, "Game")]


async def test_a_file_that_can_not_be_read_is_no_reason_to_close_anything(
    hass: HomeAssistant, at_home: Lab, disk: SmallDisk
) -> None:
    """Nothing is shown or done until it can; then all is as it was to be."""
    entry, _ = await with_web_on(hass, at_home)
    assert await hass.config_entries.async_unload(entry.entry_id)
    file = disk.stored(entry)
    kept = file.rename(file.with_suffix(".kept"))
    file.mkdir()
    await hass.config_entries.async_setup(entry.entry_id)
    await hass.async_block_till_done()
    assert entry.state is ConfigEntryState.SETUP_RETRY
    assert "disk" in str(entry.reason)
    assert await passes(at_home)
    file.rmdir()
    kept.rename(file)
    await hass.config_entries.async_reload(entry.entry_id)
    await hass.async_block_till_done()
    assert state(hass, entry, "Web") == STATE_ON
    assert await passes(at_home)


async def test_other_files_that_can_not_be_written_stop_nothing(
    hass: HomeAssistant, at_home: Lab, disk: SmallDisk
) -> None:
    """Totals and learnt devices are written when there is room."""
    entry, _ = await with_web_on(hass, at_home)
    disk.fill()
    disk.stored(entry, ".totals").unlink(missing_ok=True)
    disk.fill()
    assert await passes(at_home)
    await restart(hass, entry)
    assert await passes(at_home)
    assert state(hass, entry, "Web") == STATE_ON
    disk.empty()
    await turn(hass, "on", switch_of(hass, entry, "Game"))
