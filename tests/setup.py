"""An entry for the lab's bypass router in Home Assistant, and what it does there."""

import asyncio
from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from homeassistant.config_entries import ConfigSubentry
from homeassistant.core import HomeAssistant
from homeassistant.helpers import entity_registry as er, issue_registry as ir
from pytest_homeassistant_custom_component.common import MockConfigEntry

from custom_components.bypass_router.const import DOMAIN
from tests.lab.disk import REAL_COMMANDS
from tests.lab.exchange import Transport
from tests.lab.network import Lab
from tests.lab.waiting import until

MAC_ADDRESS = "02:00:c0:a8:32:02"
"""Of the bypass router; the lab makes it of its address."""

WEB: Mapping[str, Any] = {
    "name": "Web",
    "protocol": "tcp",
    "external_port": "8443",
    "target": "192.168.50.10",
    "target_port": "443",
    "sources": [],
    "keep_client_address": False,
}
GAME: Mapping[str, Any] = {
    **WEB,
    "name": "Game",
    "protocol": "both",
    "external_port": "6000-6010",
    "target_port": "7000-7010",
}


class Held:
    """A command of the router that takes its time: until the test lets it go on."""

    def __init__(
        self, lab: Lab, command: str, arguments: str = "*", then: str = ""
    ) -> None:
        """Hold it from now on, where its arguments match a pattern.

        `then` is what it does, if not what it always does.
        """
        disk = lab.bypass.disk
        self._begun, self._go = disk.path("/root/begun"), disk.path("/root/go")
        lab.bypass.commands.replace(
            command,
            "#!/bin/sh\n"
            f'case "$*" in {arguments})\n'
            "touch /root/begun; while [ ! -e /root/go ]; do sleep 0.02; done\n"
            "esac\n" + (then or f'exec {REAL_COMMANDS}/replaced/{command} "$@"\n'),
        )

    async def begun(self) -> None:
        """Wait until the router is at it."""
        await until(self._begun.exists)

    def let_go(self) -> None:
        """Let it go on, and all that come after it."""
        self._go.touch()


def subentry(forward: Mapping[str, Any]) -> ConfigSubentry:
    """Return a forward as the form stores it."""
    return ConfigSubentry(
        data=MappingProxyType(dict(forward)),
        subentry_type="forward",
        title=forward["name"],
        unique_id=None,
    )


def add_entry(
    hass: HomeAssistant, lab: Lab, *forwards: Mapping[str, Any], **options: Any
) -> MockConfigEntry:
    """Add the router with these forwards and options, as the forms store them."""
    entry = MockConfigEntry(
        domain=DOMAIN,
        title="bypass",
        unique_id=MAC_ADDRESS,
        data={
            "host": lab.bypass.address,
            "port": 22,
            "username": "root",
            "host_key": lab.bypass.host_key("ed25519"),
            "password": lab.bypass.root_password,
        },
        options=options,
        subentries_data=[subentry(forward).as_dict() for forward in forwards],
    )
    entry.add_to_hass(hass)
    return entry


async def set_up(
    hass: HomeAssistant, lab: Lab, *forwards: Mapping[str, Any], **options: Any
) -> MockConfigEntry:
    """Add the router with these forwards and options, and set it up."""
    entry = add_entry(hass, lab, *forwards, **options)
    await hass.config_entries.async_setup(entry.entry_id)
    await hass.async_block_till_done()
    return entry


def forward_id(entry: MockConfigEntry, name: str) -> str:
    """Return the id of the forward of this name."""
    (found,) = (
        subentry.subentry_id
        for subentry in entry.subentries.values()
        if subentry.title == name
    )
    return found


def switch_of(hass: HomeAssistant, entry: MockConfigEntry, name: str) -> str:
    """Return the entity id of a forward's switch."""
    unique_id = forward_id(entry, name)
    found = er.async_get(hass).async_get_entity_id("switch", DOMAIN, unique_id)
    assert found
    return found


async def turn(hass: HomeAssistant, state: str, *switches: str) -> None:
    """Turn switches `on` or `off`, and wait until it is done."""
    await hass.services.async_call(
        "switch", f"turn_{state}", {"entity_id": list(switches)}, blocking=True
    )


async def passes(lab: Lab, port: int = 8443, protocol: Transport = "tcp") -> bool:
    """Return whether payload goes from the internet to the target and back."""
    exchange = await asyncio.to_thread(
        lab.internet.exchange, protocol, lab.main.wan_address, port, timeout=0.4
    )
    return exchange.passed


async def with_web_on(
    hass: HomeAssistant, lab: Lab, **options: Any
) -> tuple[MockConfigEntry, str]:
    """Set up a router with a forward that is on; return its switch."""
    lab.target.serve("tcp", 443)
    entry = await set_up(hass, lab, WEB, GAME, **options)
    switch = switch_of(hass, entry, "Web")
    await turn(hass, "on", switch)
    assert await passes(lab)
    return entry, switch


async def choose(
    hass: HomeAssistant, entry: MockConfigEntry, **options: Any
) -> dict[str, Any]:
    """Fill in the form of the router's options, and return what it answers."""
    form = await hass.config_entries.options.async_init(entry.entry_id)
    answer = await hass.config_entries.options.async_configure(form["flow_id"], options)
    await hass.async_block_till_done()
    return dict(answer)


def issue(hass: HomeAssistant, start: str) -> ir.IssueEntry | None:
    """Return the repair issue whose id starts so."""
    found = [
        entry
        for (_, issue_id), entry in ir.async_get(hass).issues.items()
        if issue_id.startswith(start) and entry.active
    ]
    return found[0] if found else None


def iptables_version(lab: Lab) -> str:
    """Return which iptables the router has, as users see it."""
    return lab.bypass.run("iptables", "-V").stdout.strip().replace(" v", " ", 1)


def rules(lab: Lab) -> str:
    """Return all rules of the router's, nftables' and both iptables', as text.

    Those of iptables-nft are there twice.
    """
    ruleset = lab.bypass.real("nft", "-s", "list", "ruleset").stdout
    routing = lab.bypass.run("ip", "rule").stdout
    return f"{lab.bypass.iptables_save()}\n{ruleset}\n{routing}"


def ours(lab: Lab) -> list[str]:
    """Return the lines of the router's rules that are of our making."""
    words = ("HA-BYPASS", "ha_bypass", "bypass_router", "proto 217")
    return [line for line in rules(lab).splitlines() if any(w in line for w in words)]


def lose_rules(lab: Lab) -> None:
    """Remove what translates on the router, as something there may; by `nft`."""
    lab.bypass.run("nft", "delete", "table", "ip", "ha_bypass")
