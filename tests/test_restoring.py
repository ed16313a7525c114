"""What happens to the rules behind our back: it is mended, or shown, and told."""

import asyncio

from homeassistant.config_entries import ConfigEntryState
from homeassistant.const import STATE_OFF, STATE_ON, STATE_UNAVAILABLE
from homeassistant.core import Event, EventStateChangedData, HomeAssistant, callback
from homeassistant.exceptions import HomeAssistantError
from homeassistant.setup import async_setup_component
import pytest
from pytest_homeassistant_custom_component.typing import ClientSessionGenerator

from custom_components.bypass_router.router.backend import Backend
from custom_components.bypass_router.router.forward import Forward
from custom_components.bypass_router.sync import rate_limit
from custom_components.bypass_router.sync.connection import async_owner
from tests.lab.bypass import RouterOptions
from tests.lab.disk import REAL_COMMANDS
from tests.lab.network import Lab
from tests.lab.waiting import soon, until, until_told
from tests.router.client import connect

from .setup import (
    WEB,
    Held,
    choose,
    forward_id,
    issue,
    lose_rules,
    passes,
    rules,
    set_up,
    switch_of,
    turn,
    with_web_on,
)

EVENT = "event.bypass_rules"
OTHER = Forward.parse(
    "01OTHER", protocol="tcp", external_port="9000", target="192.168.50.10"
)
VARIANTS = pytest.mark.parametrize(
    "router_options",
    [RouterOptions(iptables="nft"), RouterOptions(iptables="legacy")],
    ids=["nft", "legacy"],
)
HARMS = [
    "iptables -t nat -F",
    "iptables -t nat -F; iptables -t nat -X",
    "iptables -F; iptables -X",
    "iptables -t nat -D HA-BYPASS-PRE 1",
    "iptables -t nat -D HA-BYPASS-POST 1",
    "iptables -D HA-BYPASS-FWD 1",
    "iptables -t nat -D PREROUTING -j HA-BYPASS-PRE",
    "iptables -t nat -I PREROUTING -p tcp -j REDIRECT --to-ports 7892",
]


NFT_HARMS = [
    "nft flush ruleset",
    "nft delete table ip ha_bypass",
    "nft flush map ip ha_bypass translated",
    "nft flush chain ip ha_bypass pre",
    "nft delete element ip ha_bypass rewritten_tcp { 8443 }",
    "nft insert rule ip ha_bypass pre accept",
]


class Told:
    """What the event entity has told, in order."""

    def __init__(self, hass: HomeAssistant) -> None:
        """Start to listen."""
        self.events: list[tuple[str, list[str], str | None]] = []
        self._last = ""
        hass.bus.async_listen("state_changed", self._note)

    @callback
    def _note(self, event: Event[EventStateChangedData]) -> None:
        state = event.data["new_state"]
        if event.data["entity_id"] != EVENT or state is None:
            return
        if kind := state.attributes.get("event_type"):
            told = (kind, state.attributes["forwards"], state.attributes.get("cause"))
            if told not in self.events[-1:] or state.state != self._last:
                self.events.append(told)
            self._last = state.state

    async def hears(self, kind: str, times: int = 1) -> None:
        """Wait for so many events of this type."""
        await until(lambda: self.kinds.count(kind) == times)

    @property
    def kinds(self) -> list[str]:
        """The types alone."""
        return [kind for kind, _, _ in self.events]


@VARIANTS
@pytest.mark.parametrize("harm", HARMS)
async def test_a_forward_comes_back_by_itself(
    at_home: Lab, hass: HomeAssistant, harm: str
) -> None:
    """And traffic with it; what happened is told, and which program did it."""
    at_home.bypass.run("iptables", "-P", "FORWARD", "DROP")
    _, switch = await with_web_on(hass, at_home, firewall="iptables")
    told = Told(hass)
    at_home.bypass.run("sh", "-c", harm)
    await until(lambda: told.kinds == ["rules_removed", "rules_restored"], soon(4))
    assert hass.states.get(switch).state == STATE_ON
    assert await passes(at_home)
    cause = "iptables" if at_home.options.iptables == "nft" else None
    assert told.events == [
        ("rules_removed", [switch], cause),
        ("rules_restored", [switch], cause),
    ]


@pytest.mark.parametrize(
    "router_options", [RouterOptions(), RouterOptions(iptables=None)], ids=["", "alone"]
)
@pytest.mark.parametrize("harm", NFT_HARMS)
async def test_a_forward_in_nftables_comes_back_by_itself(
    at_home: Lab, hass: HomeAssistant, harm: str
) -> None:
    """The same, and the program is named."""
    _, switch = await with_web_on(hass, at_home)
    told = Told(hass)
    at_home.bypass.run("sh", "-c", harm)
    await until(lambda: told.kinds == ["rules_removed", "rules_restored"], soon(4))
    assert hass.states.get(switch).state == STATE_ON
    assert await passes(at_home)
    assert told.events == [
        ("rules_removed", [switch], "nft"),
        ("rules_restored", [switch], "nft"),
    ]


@VARIANTS
async def test_flushing_iptables_is_nothing_to_nftables(
    at_home: Lab, hass: HomeAssistant
) -> None:
    """Nor is a proxy's catch-all before everything: no packet is lost, none told of."""
    _, switch = await with_web_on(hass, at_home)
    told = Told(hass)
    for harm in (HARMS[1], HARMS[2], HARMS[7]):
        at_home.bypass.run("sh", "-c", harm)
        assert await passes(at_home)
    await asyncio.sleep(1.5)
    assert told.events == []
    assert hass.states.get(switch).state == STATE_ON
    assert await passes(at_home)


@pytest.mark.parametrize(
    "router_options",
    [
        RouterOptions(system="openwrt"),
        RouterOptions(system="openwrt-fw3"),
        RouterOptions(firewall="docker"),
        RouterOptions(firewall="ufw"),
        RouterOptions(firewall="firewalld-strict"),
        RouterOptions(firewall="drop", iptables=None),
    ],
    ids=["fw4", "fw3", "docker", "ufw", "firewalld", "nftables.conf"],
)
async def test_a_reload_of_the_routers_own_firewall_closes_nothing_for_long(
    at_home: Lab, hass: HomeAssistant
) -> None:
    """Though it throws away what lets forwarded packets pass."""
    _, switch = await with_web_on(hass, at_home)
    for _ in range(2):
        await asyncio.to_thread(at_home.bypass.firewall.reload)
        await until_told(lambda: passes(at_home))
        await until(lambda: hass.states.get(switch).state == STATE_ON)
    await turn(hass, "off", switch)
    assert not await passes(at_home)


async def test_a_harmless_change_is_not_blamed_later(
    at_home: Lab, hass: HomeAssistant
) -> None:
    """Who changed something else a while ago has not removed the rules."""
    entry, switch = await with_web_on(hass, at_home, firewall="iptables")
    told = Told(hass)
    history = entry.runtime_data.history
    refreshes = history.refreshes
    at_home.bypass.run("nft", "add", "chain", "ip", "nat", "other")
    await until(lambda: history.refreshes > refreshes)
    await asyncio.sleep(0.5)
    at_home.bypass.run("iptables", "-t", "nat", "-F")
    await told.hears("rules_restored")
    assert told.events[0] == ("rules_removed", [switch], "iptables")


async def test_a_flush_of_everything_is_mended_too(
    at_home: Lab, hass: HomeAssistant
) -> None:
    """The program is named: nft."""
    _, switch = await with_web_on(hass, at_home, firewall="iptables")
    told = Told(hass)
    at_home.bypass.run("nft", "flush", "ruleset")
    await until(lambda: len(told.events) == 2)
    assert told.events[0] == ("rules_removed", [switch], "nft")
    assert await passes(at_home)


@VARIANTS
async def test_a_reboot_is_told_as_one(at_home: Lab, hass: HomeAssistant) -> None:
    """And the forwards come back."""
    _, switch = await with_web_on(hass, at_home)
    told = Told(hass)
    await asyncio.to_thread(at_home.bypass.reboot)
    await until(lambda: hass.states.get(switch).state == STATE_UNAVAILABLE)
    assert hass.states.get("binary_sensor.bypass_connection").state == STATE_OFF
    await until(lambda: hass.states.get(switch).state == STATE_ON)
    assert hass.states.get("binary_sensor.bypass_connection").state == STATE_ON
    assert await passes(at_home)
    assert told.events == [
        ("router_restarted", [switch], None),
        ("rules_restored", [switch], None),
    ]


async def test_a_lost_connection_is_no_reboot(
    at_home: Lab, hass: HomeAssistant
) -> None:
    """Nothing happened to the rules, and nothing is told."""
    _, switch = await with_web_on(hass, at_home)
    told = Told(hass)
    at_home.bypass.stop_ssh()
    await until(lambda: hass.states.get(switch).state == STATE_UNAVAILABLE)
    at_home.bypass.start_ssh()
    await until(lambda: hass.states.get(switch).state == STATE_ON)
    assert told.events == []


async def test_rules_lost_while_nobody_was_connected_are_found(
    at_home: Lab, hass: HomeAssistant
) -> None:
    """After the connection is back."""
    _, switch = await with_web_on(hass, at_home)
    told = Told(hass)
    at_home.bypass.stop_ssh()
    await until(lambda: hass.states.get(switch).state == STATE_UNAVAILABLE)
    lose_rules(at_home)
    at_home.bypass.start_ssh()
    await until(lambda: told.kinds == ["rules_removed", "rules_restored"])
    assert await passes(at_home)


async def test_a_reboot_while_home_assistant_was_away_is_told_when_it_is_back(
    at_home: Lab, hass: HomeAssistant
) -> None:
    """Both restarted at once, say: desired and live agree, and it is known why."""
    entry, switch = await with_web_on(hass, at_home)
    await hass.config_entries.async_unload(entry.entry_id)
    await asyncio.to_thread(at_home.bypass.reboot)
    told = Told(hass)
    await hass.config_entries.async_setup(entry.entry_id)
    assert hass.states.get(switch).state == STATE_ON
    assert await passes(at_home)
    await until(lambda: told.kinds == ["router_restarted", "rules_restored"])


@VARIANTS
@pytest.mark.parametrize(
    ("firewall", "harm"),
    [
        *(("iptables", harm) for harm in (HARMS[0], HARMS[3], HARMS[7])),
        *(("nftables", harm) for harm in NFT_HARMS[1:3]),
    ],
)
async def test_without_restoring_the_switch_shows_off_at_once(
    at_home: Lab, hass: HomeAssistant, firewall: str, harm: str
) -> None:
    """And on is on again when someone turns it on."""
    _, switch = await with_web_on(hass, at_home, restore=False, firewall=firewall)
    told = Told(hass)
    at_home.bypass.run("sh", "-c", harm)
    await until(lambda: hass.states.get(switch).state == STATE_OFF, soon(2))
    await until(lambda: told.kinds == ["rules_removed"], soon(1))
    await asyncio.sleep(0.3)
    assert "8443" not in rules(at_home)
    await turn(hass, "on", switch)
    assert hass.states.get(switch).state == STATE_ON
    assert await passes(at_home)


async def test_restoring_is_switched_off_and_on_in_the_options(
    at_home: Lab, hass: HomeAssistant
) -> None:
    """It holds from then on; nothing is reloaded, and nothing blinks."""
    entry, switch = await with_web_on(hass, at_home)
    for restore, state in ((False, STATE_OFF), (True, STATE_ON)):
        await choose(hass, entry, restore=restore)
        await turn(hass, "on", switch)
        told = Told(hass)
        lose_rules(at_home)
        await told.hears("rules_removed")
        await asyncio.sleep(0.3)
        assert hass.states.get(switch).state == state


async def test_without_restoring_a_reboot_leaves_the_switch_off(
    at_home: Lab, hass: HomeAssistant
) -> None:
    """An automation may decide."""
    _, switch = await with_web_on(hass, at_home, restore=False)
    told = Told(hass)
    await asyncio.to_thread(at_home.bypass.reboot)
    await until(lambda: told.events == [("router_restarted", [switch], None)])
    await until(lambda: hass.states.get(switch).state == STATE_OFF)
    assert not await passes(at_home)


async def test_rules_that_nobody_wishes_are_removed(
    at_home: Lab, hass: HomeAssistant
) -> None:
    """As when the router loads rules at boot that were saved while they were on."""
    _, switch = await with_web_on(hass, at_home, firewall="iptables")
    saved = at_home.bypass.run("iptables-save").stdout
    await turn(hass, "off", switch)
    at_home.bypass.run("iptables-restore", input=saved)
    await until(lambda: "8443" not in at_home.bypass.iptables_save())
    await until(lambda: hass.states.get(switch).state == STATE_OFF)
    assert not await passes(at_home)


@pytest.mark.parametrize("restore", [True, False], ids=["restoring", "not restoring"])
async def test_what_is_lost_amid_a_change_is_told_too(
    at_home: Lab, hass: HomeAssistant, restore: bool
) -> None:
    """Someone takes the rules away between a change of ours and its read-back."""
    entry, web = await with_web_on(hass, at_home, restore=restore)
    game = switch_of(hass, entry, "Game")
    told = Told(hass)
    kept = f"{REAL_COMMANDS}/sbin/nft"
    at_home.bypass.commands.replace(
        "nft",
        f"""#!/bin/sh
[ "$*" = "-f -" ] || exec {kept} "$@"
{kept} "$@" || exit
# Only after the first change.
mkdir /run/harmed && {kept} delete table ip ha_bypass
true
""",
    )
    await turn(hass, "on", game)
    assert hass.states.get(game).state == STATE_ON
    assert hass.states.get(web).state == (STATE_ON if restore else STATE_OFF)
    assert await passes(at_home) is restore
    kinds = ["rules_removed", "rules_restored"] if restore else ["rules_removed"]
    await until(lambda: told.kinds == kinds)
    assert {tuple(forwards) for _, forwards, _ in told.events} == {(web,)}
    assert {cause for _, _, cause in told.events} == {"nft"}


async def test_a_forward_removed_amid_the_mending_holds_up_no_news_of_the_others(
    at_home: Lab, hass: HomeAssistant
) -> None:
    """The router takes its time to put the rules back, and the user does not wait."""
    entry, _ = await with_web_on(hass, at_home)
    game = switch_of(hass, entry, "Game")
    await turn(hass, "on", game)
    told = Told(hass)
    held = Held(at_home, "nft", '"-f -"')
    lose_rules(at_home)
    await held.begun()
    hass.config_entries.async_remove_subentry(entry, forward_id(entry, "Web"))
    held.let_go()
    await until(lambda: told.kinds == ["rules_removed", "rules_restored"])
    assert told.events[-1][1] == [game]
    await until(lambda: "8443" not in rules(at_home))
    assert hass.states.get(game).state == STATE_ON


async def test_a_fight_is_told_and_not_fought_to_the_end(
    at_home: Lab, hass: HomeAssistant, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A program that flushes all the time gets a few answers, and few later."""
    # On a busy machine, each answer takes a while.
    monkeypatch.setattr(rate_limit, "SECONDS", 15.0)
    _, switch = await with_web_on(hass, at_home, firewall="iptables")
    told = Told(hass)
    fighter = at_home.bypass.spawn(
        "sh", "-c", "while :; do iptables -t nat -F; sleep 0.1; done"
    )
    await until(lambda: issue(hass, "fight_") is not None)
    await until(lambda: hass.states.get(switch).state == STATE_OFF)
    await asyncio.sleep(1)
    assert told.kinds.count("rules_restored") <= rate_limit.TIMES
    fight = issue(hass, "fight_")
    assert fight is not None
    assert fight.translation_key == "fight_with"
    assert fight.translation_placeholders == {"router": "bypass", "cause": "iptables"}
    at_home.bypass.stop(fighter)
    await until(lambda: hass.states.get(switch).state == STATE_ON)
    assert await passes(at_home)
    await until(lambda: issue(hass, "fight_") is None)


@pytest.mark.parametrize(
    ("firewall", "tool"), [("nftables", "nft"), ("iptables", "iptables-restor")]
)
async def test_a_second_copy_of_this_home_assistant_is_thought_of(
    at_home: Lab,
    hass: HomeAssistant,
    monkeypatch: pytest.MonkeyPatch,
    firewall: str,
    tool: str,
) -> None:
    """Restored from a backup, it takes the rules for its own, and wants others."""
    monkeypatch.setattr(rate_limit, "SECONDS", 15.0)
    _, switch = await with_web_on(hass, at_home, firewall=firewall)
    owner = await async_owner(hass)
    copy = await connect(at_home, owner=owner, firewall=Backend(firewall))
    wanted = [OTHER]

    async def reconcile() -> None:
        """Have what it wants, whenever something else is live."""
        while True:
            await copy.rules.read()
            if copy.rules.differs(wanted):
                await copy.rules.apply(wanted)
            await asyncio.sleep(0.05)

    reconciling = asyncio.create_task(reconcile())
    await until(lambda: issue(hass, "fight_") is not None)
    await until(lambda: hass.states.get(switch).state == STATE_OFF)
    fight = issue(hass, "fight_")
    assert fight is not None
    assert fight.translation_key == "fight_copy"
    assert fight.translation_placeholders == {"router": "bypass", "cause": tool}
    reconciling.cancel()
    await copy.close()
    await until(lambda: hass.states.get(switch).state == STATE_ON)
    await until(lambda: issue(hass, "fight_") is None)


async def test_the_reapply_button_does_not_wait(
    at_home: Lab, hass: HomeAssistant
) -> None:
    """A user who has ended the fight wants it mended now."""
    _, switch = await with_web_on(hass, at_home)
    told = Told(hass)
    for times in range(1, rate_limit.TIMES + 1):
        lose_rules(at_home)
        await told.hears("rules_restored", times)
    lose_rules(at_home)
    await until(lambda: hass.states.get(switch).state == STATE_OFF)
    await hass.services.async_call(
        "button",
        "press",
        {"entity_id": "button.bypass_reapply_forwards"},
        blocking=True,
    )
    assert hass.states.get(switch).state == STATE_ON
    assert await passes(at_home)


async def test_another_home_assistants_rules_are_left_alone_and_named(
    at_home: Lab, hass: HomeAssistant, hass_client: ClientSessionGenerator
) -> None:
    """Its user may be gone: the repair removes them, and ours stay."""
    theirs = Forward.parse(
        "01THEIRS", protocol="tcp", external_port="9000", target="192.168.50.10"
    )
    other = await connect(at_home, owner="cd34")
    await other.rules.apply([theirs])
    await other.close()
    assert await async_setup_component(hass, "repairs", {})
    _, switch = await with_web_on(hass, at_home)
    found = issue(hass, "foreign_")
    assert found.translation_placeholders == {
        "router": "bypass",
        "owner": "cd34",
        "ports": "- 9000 (TCP)",
    }
    assert "9000" in at_home.bypass.iptables_save()
    client = await hass_client()
    started = await client.post(
        "/api/repairs/issues/fix",
        json={"handler": "bypass_router", "issue_id": found.issue_id},
    )
    flow = await started.json()
    assert flow["step_id"] == "confirm"
    done = await client.post(f"/api/repairs/issues/fix/{flow['flow_id']}", json={})
    assert (await done.json())["type"] == "create_entry"
    assert "9000" not in at_home.bypass.iptables_save()
    assert issue(hass, "foreign_") is None
    assert hass.states.get(switch).state == STATE_ON
    assert await passes(at_home)


@pytest.mark.parametrize(
    ("firewall", "kept", "save", "load"),
    [
        ("iptables", "6000:6010", "iptables-save", "iptables-restore"),
        ("nftables", "6000-6010 comment", "nft list table ip ha_bypass", "nft -f -"),
    ],
    ids=["iptables", "nftables"],
)
async def test_a_forward_removed_while_the_router_is_away_is_told_and_made_good(
    at_home: Lab, hass: HomeAssistant, firewall: str, kept: str, save: str, load: str
) -> None:
    """With the commands for who can't wait; the others stay."""
    entry, web = await with_web_on(hass, at_home, firewall=firewall)
    game = next(e for e in hass.states.async_entity_ids("switch") if e != web)
    await turn(hass, "on", game)
    before = rules(at_home)
    at_home.bypass.stop_ssh()
    await until(lambda: hass.states.get(web).state == STATE_UNAVAILABLE)
    hass.config_entries.async_remove_subentry(entry, forward_id(entry, "Web"))
    await hass.async_block_till_done()
    waiting = issue(hass, "waiting_")
    assert waiting is not None
    assert waiting.translation_placeholders is not None
    assert rules(at_home) == before
    saved = at_home.bypass.run(*save.split()).stdout
    at_home.bypass.run("sh", "-ec", waiting.translation_placeholders["commands"])
    assert "8443" not in rules(at_home)
    assert kept in rules(at_home)
    if firewall == "nftables":
        lose_rules(at_home)
    at_home.bypass.run(*load.split(), input=saved)
    assert await passes(at_home)
    at_home.bypass.start_ssh()
    await until(lambda: "8443" not in rules(at_home))
    assert kept in rules(at_home)
    assert not await passes(at_home)
    await until(lambda: issue(hass, "waiting_") is None)


async def test_a_router_that_passes_nothing_on_is_told_and_mended(
    at_home: Lab, hass: HomeAssistant, hass_client: ClientSessionGenerator
) -> None:
    """The switch is on and the rules are right, and no packet passes."""
    assert await async_setup_component(hass, "repairs", {})
    at_home.bypass.sysctl("net.ipv4.ip_forward", "0")
    at_home.target.serve("tcp", 443)
    entry = await set_up(hass, at_home, WEB)
    await turn(hass, "on", switch_of(hass, entry, "Web"))
    assert not await passes(at_home)
    assert issue(hass, "ip_forward_") is not None
    client = await hass_client()
    started = await client.post(
        "/api/repairs/issues/fix",
        json={
            "handler": "bypass_router",
            "issue_id": f"ip_forward_{entry.entry_id}",
        },
    )
    flow = await started.json()
    assert not await passes(at_home)
    done = await client.post(f"/api/repairs/issues/fix/{flow['flow_id']}", json={})
    assert (await done.json())["type"] == "create_entry"
    assert await passes(at_home)
    assert issue(hass, "ip_forward_") is None


async def test_the_last_wish_wins_whatever_happens_meanwhile(
    at_home: Lab, hass: HomeAssistant
) -> None:
    """A hundred changes, while someone flushes the rules."""
    _, switch = await with_web_on(hass, at_home)
    flushing = at_home.bypass.spawn(
        "sh", "-c", "for i in 1 2 3 4; do sleep 0.3; nft flush ruleset; done"
    )
    for turned in range(100):
        wish = "off" if turned % 2 else "on"
        if turned % 3:
            hass.async_create_task(turn(hass, wish, switch))
        else:
            await turn(hass, wish, switch)
    await asyncio.to_thread(flushing.wait)
    await turn(hass, "on", switch)
    await until(lambda: hass.states.get(switch).state == STATE_ON)
    assert await passes(at_home)
    await turn(hass, "off", switch)
    assert hass.states.get(switch).state == STATE_OFF
    assert not await passes(at_home)


@pytest.mark.parametrize(
    ("delay", "loss"), [(0.5, 0.0), (0.0, 0.1)], ids=["500 ms", "10 %"]
)
async def test_a_slow_or_lossy_link_changes_nothing_but_the_time(
    at_home: Lab, hass: HomeAssistant, delay: float, loss: float
) -> None:
    """500 ms each way, or every tenth packet lost."""
    at_home.target.serve("tcp", 443)
    at_home.home.worsen_link(delay=delay, loss=loss)
    entry = await set_up(hass, at_home, WEB)
    assert entry.state is ConfigEntryState.LOADED
    switch = switch_of(hass, entry, "Web")
    await turn(hass, STATE_ON, switch)
    assert hass.states.get(switch).state == STATE_ON
    assert await passes(at_home)
    told = Told(hass)
    lose_rules(at_home)
    await until(lambda: told.kinds == ["rules_removed", "rules_restored"])
    assert await passes(at_home)


async def test_a_change_that_can_not_be_carried_out_in_time_is_told(
    at_home: Lab, hass: HomeAssistant, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The wish is kept: it is applied as soon as the router can."""
    _, switch = await with_web_on(hass, at_home, firewall="iptables")
    game = next(e for e in hass.states.async_entity_ids("switch") if e != switch)
    monkeypatch.setattr(
        "custom_components.bypass_router.router.ssh.session.Session.run.__defaults__",
        (1.0,),
    )
    at_home.bypass.commands.replace("iptables-restore", "#!/bin/sh\nsleep 5\n")
    with pytest.raises(HomeAssistantError):
        await turn(hass, "on", game)
    at_home.bypass.commands.restore()
    await until(lambda: hass.states.get(game).state == STATE_ON)


async def test_one_odd_answer_is_soon_forgotten(
    at_home: Lab, hass: HomeAssistant
) -> None:
    """The switch is unavailable while no one knows what is so, and no longer."""
    _, switch = await with_web_on(hass, at_home)
    at_home.bypass.commands.replace("iptables", "#!/bin/sh\necho rainbows\n")
    at_home.bypass.run("nft", "add", "chain", "ip", "nat", "poke")
    await until(lambda: hass.states.get(switch).state == STATE_UNAVAILABLE)
    at_home.bypass.commands.restore()
    await until(lambda: hass.states.get(switch).state == STATE_ON)


async def test_a_watcher_that_is_killed_is_started_again(
    at_home: Lab, hass: HomeAssistant
) -> None:
    """And what happened meanwhile is found."""
    _, switch = await with_web_on(hass, at_home)
    told = Told(hass)
    at_home.bypass.run("sh", "-c", "pkill -9 -x nft; nft delete table ip ha_bypass")
    await until(lambda: "rules_restored" in told.kinds)
    assert await passes(at_home)
    await asyncio.sleep(2.5)
    lose_rules(at_home)
    await until(lambda: told.kinds.count("rules_restored") == 2, soon(2))
    assert await passes(at_home)
    assert hass.states.get(switch).state == STATE_ON
