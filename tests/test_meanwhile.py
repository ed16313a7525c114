"""Several things at once: what one has read, another changes before it is used."""

import asyncio
from collections.abc import Callable, Iterator
from typing import Any, Final

from homeassistant.config_entries import ConfigEntryState
from homeassistant.const import STATE_OFF, STATE_ON, STATE_UNAVAILABLE
from homeassistant.core import HomeAssistant
from homeassistant.exceptions import HomeAssistantError, ServiceValidationError
from homeassistant.helpers import issue_registry as ir
from homeassistant.helpers.storage import Store
from homeassistant.setup import async_setup_component
import pytest
from pytest_homeassistant_custom_component.common import MockConfigEntry
from pytest_homeassistant_custom_component.typing import ClientSessionGenerator

from custom_components.bypass_router import repairs
from custom_components.bypass_router.const import DOMAIN
from custom_components.bypass_router.counters.counters import Counters
from custom_components.bypass_router.diagnosis.notification import (
    async_diagnose_visibly,
)
from custom_components.bypass_router.diagnosis.target_store import TargetMacStore
from custom_components.bypass_router.router.ssh.credentials import HostKey
from custom_components.bypass_router.router.ssh.session import fetch_host_key
from custom_components.bypass_router.subentry import forward_in
from tests.lab.disk import REAL_COMMANDS
from tests.lab.network import Lab
from tests.lab.waiting import at_once, until

from .setup import (
    GAME,
    WEB,
    Held,
    add_entry,
    forward_id,
    lose_rules,
    rules,
    set_up,
    subentry,
    switch_of,
    turn,
)

SITE: Final = {**WEB, "name": "Site", "external_port": "8080"}
MOVED: Final = {**GAME, "external_port": "6100-6110"}


class Disk:
    """Home Assistant's disk, which takes its time for requests once it is told to."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Begin with a quick one."""
        self.waiting = False
        self._free = asyncio.Event()
        self._free.set()
        save = Store.async_save

        async def slow(store: Store[Any], data: Any) -> None:
            # Of an entry's files, theirs has the shortest name.
            if store.key.startswith(f"{DOMAIN}.") and store.key.count(".") == 1:
                self.waiting = not self._free.is_set()
                await self._free.wait()
            await save(store, data)

        monkeypatch.setattr(Store, "async_save", slow)

    def hold(self) -> None:
        """Write none from now on."""
        self._free.clear()

    def let_go(self) -> None:
        """Write what waits, and all that comes after it."""
        self._free.set()


@pytest.fixture
def disk(monkeypatch: pytest.MonkeyPatch) -> Iterator[Disk]:
    """The disk, which holds up no one after its test."""
    disk = Disk(monkeypatch)
    yield disk
    disk.let_go()


def nobody_is_logged_in(lab: Lab) -> bool:
    """Return whether the router has no connection to us."""
    return not lab.bypass.logins()


async def test_what_is_changed_while_the_router_is_being_connected_is_not_missed(
    hass: HomeAssistant, at_home: Lab, caplog: pytest.LogCaptureFixture
) -> None:
    """One forward comes, one goes, one leads elsewhere, and the first look lasts."""
    entry = await set_up(hass, at_home, WEB, GAME)
    web, game = switch_of(hass, entry, "Web"), switch_of(hass, entry, "Game")
    await turn(hass, "on", web, game)
    held = Held(at_home, "nft")
    reloading = asyncio.create_task(hass.config_entries.async_reload(entry.entry_id))
    await held.begun()
    hass.config_entries.async_remove_subentry(entry, forward_id(entry, "Web"))
    hass.config_entries.async_update_subentry(
        entry, entry.subentries[forward_id(entry, "Game")], data=MOVED
    )
    hass.config_entries.async_add_subentry(entry, subentry(SITE))
    held.let_go()
    assert await reloading
    await until(lambda: "6100" in rules(at_home) and "6000" not in rules(at_home))
    assert "8443" not in rules(at_home)
    await until(lambda: hass.states.get(game).state == STATE_ON)
    assert hass.states.get(switch_of(hass, entry, "Site")).state == STATE_OFF
    assert hass.states.get(web) is None
    assert not [it for it in caplog.records if it.levelname == "ERROR"]


async def test_another_firewall_that_is_chosen_meanwhile_is_used(
    hass: HomeAssistant, at_home: Lab
) -> None:
    """The router is connected again for it, as it is at any other time."""
    entry = add_entry(hass, at_home, WEB)
    held = Held(at_home, "nft")
    starting = asyncio.create_task(hass.config_entries.async_setup(entry.entry_id))
    await held.begun()
    hass.config_entries.async_update_entry(entry, options={"firewall": "iptables"})
    held.let_go()
    await starting
    await hass.async_block_till_done()
    assert entry.state is ConfigEntryState.LOADED
    await turn(hass, "on", switch_of(hass, entry, "Web"))
    assert "8443" in at_home.bypass.iptables_save()


async def test_wishes_that_a_reload_overtakes_are_answered_and_brought_about(
    hass: HomeAssistant, at_home: Lab, disk: Disk
) -> None:
    """One is under way on the router, one waits for its turn."""
    entry = await set_up(hass, at_home, WEB, GAME)
    web, game = switch_of(hass, entry, "Web"), switch_of(hass, entry, "Game")
    held = Held(at_home, "nft")
    first = asyncio.create_task(turn(hass, "on", web))
    await held.begun()
    second = asyncio.create_task(turn(hass, "on", game))
    await asyncio.sleep(0)
    disk.hold()
    reloading = asyncio.create_task(hass.config_entries.async_reload(entry.entry_id))
    await until(lambda: disk.waiting)
    await until(lambda: nobody_is_logged_in(at_home))
    held.let_go()
    disk.let_go()
    assert await reloading
    for wish in (first, second):
        with pytest.raises(HomeAssistantError, match="broke off"):
            await wish
    await until(lambda: hass.states.get(web).state == STATE_ON)
    assert hass.states.get(game).state == STATE_ON


async def test_a_forward_that_is_added_amid_a_reload_gets_a_switch_that_works(
    hass: HomeAssistant, at_home: Lab, disk: Disk, caplog: pytest.LogCaptureFixture
) -> None:
    """The old entities are gone, and the new ones are not there yet."""
    entry = await set_up(hass, at_home, WEB)
    web = switch_of(hass, entry, "Web")
    disk.hold()
    wish = asyncio.create_task(turn(hass, "on", web))
    await until(lambda: disk.waiting)
    reloading = asyncio.create_task(hass.config_entries.async_reload(entry.entry_id))
    await until(lambda: hass.states.get(web).state == STATE_UNAVAILABLE)
    hass.config_entries.async_add_subentry(entry, subentry(SITE))
    disk.let_go()
    assert await reloading
    await wish
    site = switch_of(hass, entry, "Site")
    await turn(hass, "on", site)
    assert hass.states.get(site).state == STATE_ON
    assert not [it for it in caplog.records if it.levelname == "ERROR"]


async def test_a_wish_that_comes_after_the_end_leaves_no_trace(
    hass: HomeAssistant, at_home: Lab, hass_storage: dict[str, Any]
) -> None:
    """Someone adopts a forward while its router is reloaded, say."""
    entry = await set_up(hass, at_home, WEB)
    before = entry.runtime_data
    assert await hass.config_entries.async_unload(entry.entry_id)
    with pytest.raises(HomeAssistantError, match="broke off"):
        await before.async_set_desired(forward_id(entry, "Web"), on=True)
    assert not before.desired
    assert hass_storage[f"{DOMAIN}.{entry.entry_id}"]["data"]["wished"] == []


async def test_a_change_that_fails_when_nobody_waits_for_it_any_more_is_no_crash(
    hass: HomeAssistant, at_home: Lab, caplog: pytest.LogCaptureFixture
) -> None:
    """An automation that begins again gives up what it was at."""
    entry = await set_up(hass, at_home, WEB)
    web = switch_of(hass, entry, "Web")
    held = Held(at_home, "nft")
    wish = asyncio.create_task(turn(hass, "on", web))
    await held.begun()
    wish.cancel()
    await asyncio.wait([wish])
    at_home.bypass.stop_ssh()
    await until(lambda: hass.states.get(web).state == STATE_UNAVAILABLE)
    await asyncio.sleep(0)
    assert "exception" not in caplog.text.lower()


async def test_who_wishes_again_what_is_being_refused_is_told_as_well(
    hass: HomeAssistant, at_home: Lab
) -> None:
    """It is not done, and no one is told that it were."""
    entry = await set_up(hass, at_home, WEB)
    web = switch_of(hass, entry, "Web")
    held = Held(
        at_home,
        "nft",
        '"-f -"',
        then=f'[ "$*" = "-f -" ] || exec {REAL_COMMANDS}/replaced/nft "$@"\n'
        "echo no such luck; exit 1\n",
    )
    first = asyncio.create_task(turn(hass, "on", web))
    await held.begun()
    second = asyncio.create_task(turn(hass, "on", web))
    await asyncio.sleep(0)
    held.let_go()
    for wish in (first, second):
        with pytest.raises(HomeAssistantError, match="no such luck"):
            await wish
    assert hass.states.get(web).state == STATE_OFF


async def test_a_wish_that_comes_amid_a_look_is_on_disk_before_the_router_is_asked(
    hass: HomeAssistant, at_home: Lab, disk: Disk
) -> None:
    """The look does not carry out what is not written down yet."""
    entry = await set_up(hass, at_home, WEB, GAME)
    web, game = switch_of(hass, entry, "Web"), switch_of(hass, entry, "Game")
    await turn(hass, "on", game)
    held = Held(at_home, "nft", "*list*")
    looking = asyncio.create_task(entry.runtime_data.async_refresh())
    await held.begun()
    disk.hold()
    wishes = [
        asyncio.create_task(turn(hass, state, switch))
        for state, switch in (("on", web), ("off", game))
    ]
    await asyncio.sleep(0)
    held.let_go()
    await looking
    await until(lambda: disk.waiting)
    assert "8443" not in rules(at_home)
    assert "6000" in rules(at_home)
    disk.let_go()
    for wish in wishes:
        await wish
    assert "8443" in rules(at_home)
    assert "6000" not in rules(at_home)


async def test_a_wish_that_comes_as_its_forward_is_given_up_is_brought_about(
    hass: HomeAssistant, at_home: Lab
) -> None:
    """Someone turns on what still shows as on, and was lost just before."""
    entry = await set_up(hass, at_home, WEB, restore=False)
    web = switch_of(hass, entry, "Web")
    await turn(hass, "on", web)
    await hass.async_block_till_done()
    held = Held(at_home, "nft", "*list*")
    lose_rules(at_home)
    await held.begun()
    wish = asyncio.create_task(turn(hass, "on", web))
    await asyncio.sleep(0)
    held.let_go()
    await wish
    assert hass.states.get(web).state == STATE_ON
    assert "8443" in rules(at_home)


async def test_a_wish_for_what_was_lost_and_not_yet_missed_is_brought_about(
    hass: HomeAssistant, at_home: Lab
) -> None:
    """Forwards that are lost stay off, but for the one that is turned on just then."""
    entry = await set_up(hass, at_home, WEB, GAME, restore=False)
    web, game = switch_of(hass, entry, "Web"), switch_of(hass, entry, "Game")
    await turn(hass, "on", web, game)
    history, refreshes = entry.runtime_data.history, 0
    while refreshes != (refreshes := history.refreshes):
        await asyncio.sleep(0.3)
    lose_rules(at_home)
    # Not by the action: the router's news of it would come first.
    await entry.runtime_data.async_set_desired(forward_id(entry, "Web"), on=True)
    assert hass.states.get(web).state == STATE_ON
    assert "8443" in rules(at_home)
    await until(lambda: hass.states.get(game).state == STATE_OFF)
    assert entry.runtime_data.desired == {forward_id(entry, "Web")}


async def test_a_router_that_is_lost_amid_a_look_is_not_shown_as_there(
    hass: HomeAssistant, at_home: Lab, disk: Disk
) -> None:
    """What it has told is as old as its loss."""
    entry = await set_up(hass, at_home, WEB, restore=False)
    web = switch_of(hass, entry, "Web")
    await turn(hass, "on", web)
    disk.hold()
    lose_rules(at_home)
    await until(lambda: disk.waiting)
    at_home.bypass.stop_ssh()
    await until(lambda: hass.states.get(web).state == STATE_UNAVAILABLE)
    shown: list[str] = []
    hass.bus.async_listen(
        "state_changed", lambda event: shown.append(event.data["entity_id"])
    )
    disk.let_go()
    await until(lambda: "event.bypass_rules" in shown)
    assert hass.states.get(web).state == STATE_UNAVAILABLE
    at_home.bypass.start_ssh()
    await until(lambda: hass.states.get(web).state == STATE_OFF)


async def test_a_set_up_that_is_cancelled_leaves_no_connection(
    hass: HomeAssistant, at_home: Lab
) -> None:
    """Home Assistant gives up what takes too long at its start."""
    entry = add_entry(hass, at_home, WEB)
    held = Held(at_home, "iptables", "*filter*")
    starting = asyncio.create_task(hass.config_entries.async_setup(entry.entry_id))
    await held.begun()
    starting.cancel()
    await asyncio.wait([starting])
    held.let_go()
    await until(lambda: nobody_is_logged_in(at_home))


async def test_a_router_that_is_back_just_before_the_end_is_let_go(
    hass: HomeAssistant, at_home: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing of an unloaded entry stays connected."""
    entry = await set_up(hass, at_home, WEB)
    link = entry.runtime_data.connection
    at_home.bypass.stop_ssh()
    await until(lambda: link.router is None)
    at_home.bypass.start_ssh()

    async def last_writing(_: Counters) -> None:
        await until(lambda: link.router is not None)

    monkeypatch.setattr(Counters, "async_stop", last_writing)
    assert await hass.config_entries.async_unload(entry.entry_id)
    await until(lambda: nobody_is_logged_in(at_home))


async def test_targets_are_asked_for_again_when_the_router_was_lost_meanwhile(
    hass: HomeAssistant, at_home: Lab, hass_storage: dict[str, Any]
) -> None:
    """A router that is gone has said nothing about them."""
    entry = await set_up(hass, at_home, WEB)
    # Not every machine has one; whatever is sent makes the kernel ask for the address.
    held = Held(at_home, "ping", then='exec bash -c \'echo >"/dev/udp/$0/9"\' "$5"\n')
    await turn(hass, "on", switch_of(hass, entry, "Web"))
    await held.begun()
    at_home.bypass.stop_ssh()
    held.let_go()
    await until(lambda: entry.runtime_data.connection.router is None)
    at_home.bypass.start_ssh()
    await until(lambda: f"{DOMAIN}.{entry.entry_id}.targets" in hass_storage)


class Flow:
    """A repair, as a user goes through it."""

    def __init__(self, hass: HomeAssistant, client: Any, issue_id: str) -> None:
        """Take the issue."""
        self._client, self._issue_id = client, issue_id
        assert ir.async_get(hass).async_get_issue(DOMAIN, issue_id)
        self._flow_id = ""

    async def open(self) -> None:
        """See the first page."""
        data = {"handler": DOMAIN, "issue_id": self._issue_id}
        self._flow_id = (await self._post("", data))["flow_id"]

    async def answer(self, **data: str) -> str:
        """Answer it, and return the reason why nothing was done."""
        return str((await self._post(f"/{self._flow_id}", data))["reason"])

    async def _post(self, path: str, data: dict[str, str]) -> dict[str, Any]:
        """Send what the browser would."""
        answer = await self._client.post(f"/api/repairs/issues/fix{path}", json=data)
        found: dict[str, Any] = await answer.json()
        return found


async def test_a_repair_of_a_router_that_was_unloaded_meanwhile_says_so(
    hass: HomeAssistant, at_home: Lab, hass_client: ClientSessionGenerator
) -> None:
    """It does nothing, and does not crash."""
    assert await async_setup_component(hass, "repairs", {})
    at_home.bypass.sysctl("net.ipv4.ip_forward", "0")
    entry = await set_up(hass, at_home)
    repair = Flow(hass, await hass_client(), f"ip_forward_{entry.entry_id}")
    await repair.open()
    assert await hass.config_entries.async_unload(entry.entry_id)
    assert await repair.answer() == "not_enabled"


type Meanwhile = Callable[[HomeAssistant, MockConfigEntry], Any]


async def _removed(hass: HomeAssistant, entry: MockConfigEntry) -> None:
    await hass.config_entries.async_remove(entry.entry_id)


async def _led_elsewhere(hass: HomeAssistant, entry: MockConfigEntry) -> None:
    data = {**entry.data, "host": "192.168.50.77"}
    hass.config_entries.async_update_entry(entry, data=data)


@pytest.mark.parametrize(
    ("meanwhile", "reason"),
    [(_removed, "entry_gone"), (_led_elsewhere, "changed_again")],
    ids=["removed", "led elsewhere"],
)
async def test_no_key_is_accepted_for_a_router_that_is_another_by_now(
    hass: HomeAssistant,
    at_home: Lab,
    hass_client: ClientSessionGenerator,
    monkeypatch: pytest.MonkeyPatch,
    meanwhile: Meanwhile,
    reason: str,
) -> None:
    """The router takes its time to prove its key."""
    assert await async_setup_component(hass, "repairs", {})
    entry = add_entry(hass, at_home)
    pinned = at_home.bypass.host_key("ecdsa")
    at_home.bypass.renew_host_keys()
    at_home.bypass.ssh.stop()
    at_home.bypass.ssh.start()
    hass.config_entries.async_update_entry(
        entry, data={**entry.data, "host_key": pinned}
    )
    await hass.config_entries.async_setup(entry.entry_id)

    async def fetch(host: str, port: int, known: HostKey | None) -> HostKey:
        found = await fetch_host_key(host, port, known)
        await meanwhile(hass, entry)
        return found

    monkeypatch.setattr(repairs, "fetch_host_key", fetch)
    repair = Flow(hass, await hass_client(), f"host_key_{entry.entry_id}")
    await repair.open()
    assert await repair.answer(next_step_id="accept") == reason
    assert entry.data["host_key"] == pinned


@pytest.fixture
def entry(hass: HomeAssistant) -> MockConfigEntry:
    """A router that is not set up, with two forwards."""
    forwards = [subentry(forward).as_dict() for forward in (WEB, GAME)]
    entry = MockConfigEntry(domain=DOMAIN, subentries_data=forwards)
    entry.add_to_hass(hass)
    return entry


class Diagnosed:
    """A diagnosis of a forward, which takes its time."""

    def __init__(self, hass: HomeAssistant, entry: MockConfigEntry, name: str) -> None:
        """Name the forward."""
        self.forward = forward_in(entry.subentries[forward_id(entry, name)])
        self.remembered = TargetMacStore(hass, entry.entry_id)

    async def end(self) -> None:
        """Find the target."""
        await self.remembered.remember({self.forward: "02:00:c0:a8:32:0a"})


async def both_diagnosed(
    hass: HomeAssistant, entry: MockConfigEntry
) -> tuple[Diagnosed, Diagnosed]:
    """Begin to diagnose both forwards: read what is known, which is nothing."""
    web, game = Diagnosed(hass, entry, "Web"), Diagnosed(hass, entry, "Game")
    for diagnosed in (web, game):
        assert await diagnosed.remembered.of(diagnosed.forward) is None
    return web, game


async def test_two_diagnoses_at_once_are_both_remembered(
    hass: HomeAssistant, entry: MockConfigEntry, hass_storage: dict[str, Any]
) -> None:
    """Whichever ends last."""
    web, game = await both_diagnosed(hass, entry)
    await at_once(game.end(), web.end())
    stored = hass_storage[f"{DOMAIN}.{entry.entry_id}.targets"]["data"]
    assert stored.keys() == {web.forward.id, game.forward.id}


async def test_nothing_is_remembered_of_what_was_removed_meanwhile(
    hass: HomeAssistant, entry: MockConfigEntry, hass_storage: dict[str, Any]
) -> None:
    """A forward, and then its router."""
    web, game = await both_diagnosed(hass, entry)
    hass.config_entries.async_remove_subentry(entry, web.forward.id)
    await at_once(game.end(), web.end())
    key = f"{DOMAIN}.{entry.entry_id}.targets"
    assert hass_storage[key]["data"].keys() == {game.forward.id}
    await TargetMacStore(hass, entry.entry_id).remove()
    assert await hass.config_entries.async_remove(entry.entry_id)
    await game.end()
    assert key not in hass_storage


async def test_a_forward_that_is_gone_is_not_diagnosed(
    hass: HomeAssistant, entry: MockConfigEntry
) -> None:
    """Its button was pressed just before."""
    web = forward_id(entry, "Web")
    hass.config_entries.async_remove_subentry(entry, web)
    with pytest.raises(ServiceValidationError):
        await async_diagnose_visibly(hass, entry, web)
