"""A router with rules of an earlier version, and an entry with its data, go on.

`tests/contract` has what each version has left there: on a router the rules, by what
prints them, and in Home Assistant what it has stored and the entities that people have
on their dashboards.
"""

import asyncio
import json
from pathlib import Path
import re
import time
from types import MappingProxyType
from typing import Any, Final

from homeassistant.config_entries import ConfigEntryState, ConfigSubentry
from homeassistant.core import HomeAssistant
from homeassistant.exceptions import HomeAssistantError
from homeassistant.helpers import entity_registry as er
import pytest
from pytest_homeassistant_custom_component.common import MockConfigEntry

from custom_components.bypass_router.const import DOMAIN
from custom_components.bypass_router.router.rules.ends import moment
from tests.lab.bypass import RouterOptions
from tests.lab.network import Lab
from tests.lab.waiting import until

from .client import Connection
from .setup import MAC_ADDRESS, WEB, passes, set_up, switch_of, turn

FOLDER: Final = Path(__file__).parent / "contract"
KINDS: Final = {
    "nftables": RouterOptions(iptables=None),
    "iptables-nft": RouterOptions(iptables="nft"),
    "iptables-legacy": RouterOptions(iptables="legacy"),
}
VERSIONS: Final = sorted(path.name for path in FOLDER.iterdir())
ENDS: Final = int(time.time()) + 86400
"""When a lease is over that is stored there, in Unix time."""
# What a later version may write of its own, by which it tells that it is later.
LATER: Final = {
    "nftables": "nft add set ip ha_bypass format_9 '{ type inet_service; }'",
    "iptables": (
        "iptables -t nat -A HA-BYPASS-PRE -m comment --comment 'ha_bypass format 9'"
    ),
}
_TIMES = re.compile("timeout [0-9a-z]+ expires [0-9a-z]+")


def by_kind(*versions: str) -> pytest.MarkDecorator:
    """Have a test with each kind of router, and each of these versions."""
    return pytest.mark.parametrize(
        ("router_options", "kind", "version"),
        [
            pytest.param(options, kind, version, id=f"{kind} {version}".strip())
            for kind, options in KINDS.items()
            for version in versions
        ],
    )


def stored(version: str, boot_id: str) -> dict[str, Any]:
    """Return what was stored, on this boot of the router."""
    text = (FOLDER / version / "entry.json").read_text(encoding="utf-8")
    text = text.replace("BOOT", boot_id).replace('"ENDS"', str(ENDS))
    found: dict[str, Any] = json.loads(text)
    return found


def rules(lab: Lab, kind: str) -> list[str]:
    """Return the router's rules as they are printed, but for what passes."""
    command = ["nft", "list", "ruleset"]
    if kind != "nftables":
        command = [f"{kind}-save"]
    printed = lab.bypass.real(*command).stdout
    printed = re.sub("packets [0-9]+ bytes [0-9]+", "", _TIMES.sub("", printed))
    lines = printed.splitlines()
    return [line.split(" [")[0] for line in lines if line[:1] not in ("#", "")]


def restore(lab: Lab, kind: str, version: str) -> None:
    """Put the rules on the router."""
    text = (FOLDER / version / f"{kind}.rules").read_text(encoding="utf-8")
    text = text.replace("ENDS", moment(ENDS)).replace("LATER", moment(ENDS + 1))
    text = text.replace("LEFT", f"{ENDS - round(time.time())}s")
    command = ["nft", "-f", "-"] if kind == "nftables" else [f"{kind}-restore"]
    lab.bypass.run(*command, input=text)


def test_the_version_that_comes_next_is_held_too() -> None:
    """What it writes will be there when the one after it comes."""
    manifest = FOLDER.parents[1] / "custom_components" / DOMAIN / "manifest.json"
    version = json.loads(manifest.read_text(encoding="utf-8"))["version"]
    assert version.rpartition(".")[0] == VERSIONS[-1]


async def update(
    hass: HomeAssistant, lab: Lab, hass_storage: dict[str, Any], kind: str, version: str
) -> MockConfigEntry:
    """Set up the entry that a version has left."""
    found = stored(version, lab.bypass.boot_id)
    hass_storage |= found["storage"]
    # By this Home Assistant's id, its rules are known.
    uuid = {"uuid": "0123456789abcdef0123456789abcdef"}
    hass_storage["core.uuid"] = {"version": 1, "key": "core.uuid", "data": uuid}
    entry = MockConfigEntry(
        domain=DOMAIN,
        entry_id="01CONTRACT",
        title="bypass",
        unique_id=MAC_ADDRESS,
        data={
            "host": lab.bypass.address,
            "port": 22,
            "username": "root",
            "host_key": lab.bypass.host_key("ed25519"),
            "password": lab.bypass.root_password,
        },
        options={"firewall": kind.partition("-")[0]},
        subentries_data=[
            ConfigSubentry(
                data=MappingProxyType(forward),
                subentry_type="forward",
                title=forward["name"],
                unique_id=None,
                subentry_id=key,
            ).as_dict()
            for key, forward in found["subentries"].items()
        ],
    )
    entry.add_to_hass(hass)
    await hass.config_entries.async_setup(entry.entry_id)
    await hass.async_block_till_done()
    return entry


@by_kind(*VERSIONS)
async def test_nothing_changes_by_an_update(
    hass: HomeAssistant,
    at_home: Lab,
    hass_storage: dict[str, Any],
    kind: str,
    version: str,
) -> None:
    """No rule that is needed, no entity, no count; each switch still has its forward.

    Who is connected does not notice. Rules that accept what nothing drops are written
    no more, and go; and what ends forwards by itself comes beside the rest.
    """
    restore(at_home, kind, version)
    before = rules(at_home, kind)
    assert any("bypass_router:" in line for line in before)
    unneeded = [line for line in before if "HA-BYPASS-FWD" in line]
    before = [line for line in before if line not in unneeded]
    at_home.target.serve("tcp", 443)
    user = Connection(at_home)
    found = stored(version, at_home.bypass.boot_id)
    entry = await update(hass, at_home, hass_storage, kind, version)

    states = {
        name: hass.states.get(f"switch.{name}") for name in ("web", "game", "off")
    }
    assert {name: state and state.state for name, state in states.items()} == {
        "web": "on",
        "game": "on",
        "off": "off",
    }
    now = rules(at_home, kind)
    if version == VERSIONS[-1]:
        assert now == before
        assert not entry.runtime_data.history.transactions
    else:
        following = iter(now)
        assert all(line in following for line in before)
        assert sum("bypass_router:" in line for line in now) == sum(
            "bypass_router:" in line for line in before
        )
    entities = {
        entity.entity_id: {
            "unique_id": entity.unique_id,
            "translation_key": entity.translation_key,
            "subentry": entity.config_subentry_id,
        }
        for entity in er.async_get(hass).entities.values()
    }
    # Others may have come.
    assert entities | found["entities"] == entities

    assert user.lives()
    assert await passes(at_home)
    counted = "sensor.web_connections"
    await until(lambda: (state := hass.states.get(counted)) and state.state == "3")
    await turn(hass, "off", "switch.web")
    assert not await passes(at_home)
    left = rules(at_home, kind)
    assert not any("01CONTRACTWEB" in line for line in left)
    assert [line for line in before if "01CONTRACTGAME" in line] == [
        line for line in left if "01CONTRACTGAME" in line
    ]
    await hass.config_entries.async_unload(entry.entry_id)
    await asyncio.sleep(0)
    kept = hass_storage[f"{DOMAIN}.{entry.entry_id}"]["data"]
    assert {*kept["wished"], *kept.get("leased", ())} == {"01CONTRACTGAME"}
    for name, store in found["storage"].items():
        assert hass_storage[name]["data"].keys() == store["data"].keys()
        assert hass_storage[name]["version"] == store["version"]


@by_kind("")
async def test_what_a_later_version_has_written_is_let_be(
    hass: HomeAssistant, at_home: Lab, kind: str, version: str
) -> None:
    """And it is said what to do; whether a forward is on is not known."""
    at_home.target.serve("tcp", 443)
    firewall = kind.partition("-")[0] + version
    entry = await set_up(hass, at_home, WEB, firewall=firewall)
    web = switch_of(hass, entry, "Web")
    await turn(hass, "on", web)
    at_home.bypass.run("sh", "-c", LATER[firewall])
    before = rules(at_home, kind)
    await until(lambda: hass.states.is_state(web, "unavailable"))
    with pytest.raises(HomeAssistantError) as raised:
        await entry.runtime_data.async_set_desired(
            next(iter(entry.subentries)), on=False
        )
    assert raised.value.translation_key == "newer_format"
    await hass.config_entries.async_reload(entry.entry_id)
    assert entry.state is ConfigEntryState.SETUP_RETRY
    assert entry.error_reason_translation_key == "newer_format"
    assert rules(at_home, kind) == before
    assert await passes(at_home)
