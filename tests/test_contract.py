"""A router with rules of an earlier version, and an entry with its data, go on.

`tests/contract` has what version 0.1 has left there: on a router the rules, by what
prints them, and in Home Assistant what it has stored and the entities that people have
on their dashboards.
"""

import asyncio
import json
from pathlib import Path
from types import MappingProxyType
from typing import Any

from homeassistant.config_entries import ConfigSubentry
from homeassistant.core import HomeAssistant
from homeassistant.helpers import entity_registry as er
import pytest
from pytest_homeassistant_custom_component.common import MockConfigEntry

from custom_components.bypass_router.const import DOMAIN
from tests.lab.bypass import RouterOptions
from tests.lab.network import Lab
from tests.lab.waiting import until

from .setup import MAC_ADDRESS, passes, turn

FOLDER = Path(__file__).parent / "contract"
KINDS = {
    "nftables": RouterOptions(iptables=None),
    "iptables-nft": RouterOptions(iptables="nft"),
    "iptables-legacy": RouterOptions(iptables="legacy"),
}


def stored(boot_id: str) -> dict[str, Any]:
    """Return what was stored, on this boot of the router."""
    text = (FOLDER / "entry.json").read_text(encoding="utf-8")
    found: dict[str, Any] = json.loads(text.replace("BOOT", boot_id))
    return found


def rules(lab: Lab, kind: str) -> list[str]:
    """Return the router's rules as they are printed, without what counts packets."""
    command = ["nft", "-s", "list", "ruleset"]
    if kind != "nftables":
        command = [f"{kind}-save"]
    printed = lab.bypass.real(*command).stdout.splitlines()
    return [line.split(" [")[0] for line in printed if not line.startswith("#")]


def restore(lab: Lab, kind: str) -> None:
    """Put the rules on the router."""
    text = (FOLDER / f"{kind}.rules").read_text(encoding="utf-8")
    command = ["nft", "-f", "-"] if kind == "nftables" else [f"{kind}-restore"]
    lab.bypass.run(*command, input=text)


@pytest.mark.parametrize(
    ("router_options", "kind"),
    [(options, kind) for kind, options in KINDS.items()],
    ids=list(KINDS),
)
async def test_nothing_changes_by_an_update(
    hass: HomeAssistant, at_home: Lab, hass_storage: dict[str, Any], kind: str
) -> None:
    """No rule that is needed, no entity, no count; each switch still has its forward.

    Rules that accept what nothing drops are written no more, and go.
    """
    restore(at_home, kind)
    before = rules(at_home, kind)
    assert any("bypass_router:" in line for line in before)
    unneeded = [line for line in before if "HA-BYPASS-FWD" in line]
    before = [line for line in before if line not in unneeded]
    found = stored(at_home.bypass.boot_id)
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
            "host": at_home.bypass.address,
            "port": 22,
            "username": "root",
            "host_key": at_home.bypass.host_key("ed25519"),
            "password": at_home.bypass.root_password,
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

    states = {
        name: hass.states.get(f"switch.{name}") for name in ("web", "game", "off")
    }
    assert {name: state and state.state for name, state in states.items()} == {
        "web": "on",
        "game": "on",
        "off": "off",
    }
    assert len(entry.runtime_data.history.transactions) == bool(unneeded)
    assert rules(at_home, kind) == before
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

    at_home.target.serve("tcp", 443)
    assert await passes(at_home)
    counted = "sensor.web_connections"
    await until(lambda: (state := hass.states.get(counted)) and state.state == "2")
    await turn(hass, "off", "switch.web")
    assert not await passes(at_home)
    left = rules(at_home, kind)
    assert not any("01CONTRACTWEB" in line for line in left)
    assert [line for line in before if "01CONTRACTGAME" in line] == [
        line for line in left if "01CONTRACTGAME" in line
    ]
    await hass.config_entries.async_unload(entry.entry_id)
    await asyncio.sleep(0)
    key = f"{DOMAIN}.{entry.entry_id}"
    assert hass_storage[key]["data"]["wished"] == ["01CONTRACTGAME"]
    for name, store in found["storage"].items():
        assert hass_storage[name]["data"].keys() == store["data"].keys()
        assert hass_storage[name]["version"] == store["version"]
