"""The file for those who help: all that they need, and nothing of whose it is."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from ipaddress import IPv4Address, IPv6Address
import json
import logging
import re
from typing import Any

import asyncssh
from homeassistant.config_entries import ConfigEntryState
from homeassistant.const import STATE_UNAVAILABLE
from homeassistant.core import HomeAssistant
from homeassistant.exceptions import HomeAssistantError
from homeassistant.helpers import device_registry as dr
from homeassistant.setup import async_setup_component
from hypothesis import given, strategies as st
import pytest
from pytest_homeassistant_custom_component.common import MockConfigEntry
from pytest_homeassistant_custom_component.typing import ClientSessionGenerator

from custom_components.bypass_router.const import DOMAIN
from custom_components.bypass_router.redact import Redactor
from custom_components.bypass_router.router.ssh.credentials import HostKey
from tests.lab.bypass import RouterOptions
from tests.lab.network import Lab
from tests.lab.waiting import until

from .setup import (
    GAME,
    MAC_ADDRESS,
    WEB,
    add_entry,
    forward_id,
    subentry,
    switch_of,
    turn,
)

SOURCE = "8.8.4.0"
STRANGER = "9.9.9.9"
STRANGERS_HARDWARE = "02:12:AB:cd:34:56"
PASSPHRASE = "sesame, open"
GUARDED = {
    **WEB,
    "sources": [f"{SOURCE}/24", "203.0.113.0/24"],
    "public_port": "443",
}
VARIANTS = pytest.mark.parametrize(
    "router_options",
    [RouterOptions(), RouterOptions(iptables="legacy")],
    ids=["nft", "legacy"],
)


def spellings(mac_address: str) -> Iterator[str]:
    """Return the ways to write a MAC address."""
    for separator in (":", "-", ""):
        yield mac_address.replace(":", separator)


@dataclass
class Downloads:
    """What a user downloads, by the button of a router or of a device."""

    hass: HomeAssistant
    client: ClientSessionGenerator
    secrets: list[str] = field(default_factory=list)

    async def of(self, entry: MockConfigEntry, device_of: str = "") -> Any:
        """Return what we put into the file, of which none is a secret.

        Of the entry, or of the device of a forward, or of the `router`.
        """
        assert await async_setup_component(self.hass, "diagnostics", {})
        await self.hass.async_block_till_done()
        path = f"/api/diagnostics/config_entry/{entry.entry_id}"
        if device_of:
            device = dr.async_get(self.hass).async_get_device_by_identifier(
                (
                    DOMAIN,
                    entry.entry_id
                    if device_of == "router"
                    else forward_id(entry, device_of),
                ),
                entry.entry_id,
            )
            path += f"/device/{device.id}"
        response = await (await self.client()).get(path)
        assert response.status == 200
        text = await response.text()
        for secret in self.secrets:
            assert secret.lower() not in text.lower()
        return json.loads(text)["data"]


@pytest.fixture
def downloads(hass: HomeAssistant, hass_client: ClientSessionGenerator) -> Downloads:
    """The downloads, of which all is read."""
    return Downloads(hass, hass_client)


@pytest.fixture
async def entry(
    at_home: Lab, hass: HomeAssistant, downloads: Downloads
) -> MockConfigEntry:
    """A router whose every secret is known to the downloads; not set up yet."""
    entry = add_entry(hass, at_home, GUARDED, GAME, firewall="iptables")
    key = asyncssh.generate_private_key("ssh-ed25519")
    private_key = key.export_private_key("openssh", PASSPHRASE, rounds=1).decode()
    at_home.bypass.users.authorize(key.export_public_key().decode())
    hass.config_entries.async_update_entry(
        entry,
        data={**entry.data, "private_key": private_key, "passphrase": PASSPHRASE},
    )
    downloads.secrets += [
        at_home.bypass.root_password,
        PASSPHRASE,
        *private_key.splitlines()[1:-1],
        at_home.bypass.host_key().split()[1],
        *spellings(MAC_ADDRESS),
        *spellings(STRANGERS_HARDWARE),
        SOURCE,
        STRANGER,
    ]
    for rule in (
        f"PREROUTING -s {STRANGER} -p tcp -j REDIRECT --to-ports 7892",
        f"PREROUTING -m mac --mac-source {STRANGERS_HARDWARE} -j ACCEPT",
        f"POSTROUTING -d {STRANGER} -j SNAT --to-source {SOURCE}-{SOURCE[:-1]}9",
    ):
        at_home.bypass.run("iptables", "-t", "nat", "-A", *rule.split())
    return entry


async def with_web_on(hass: HomeAssistant, entry: MockConfigEntry) -> str:
    """Set the router up, and turn a forward on; return its id."""
    await hass.config_entries.async_setup(entry.entry_id)
    await hass.async_block_till_done()
    await turn(hass, "on", switch_of(hass, entry, "Web"))
    return forward_id(entry, "Web")


@VARIANTS
async def test_a_stranger_finds_all_that_helps(
    at_home: Lab, hass: HomeAssistant, entry: MockConfigEntry, downloads: Downloads
) -> None:
    """What the router is, what is desired, what is so, and what happened."""
    web = await with_web_on(hass, entry)
    found = await downloads.of(entry)
    nft = at_home.options.iptables == "nft"

    assert found["versions"].keys() == {
        "integration",
        "home_assistant",
        "asyncssh",
        "python",
    }
    assert found["entry"]["state"] == "loaded"
    assert found["entry"]["data"] == {
        "host": at_home.bypass.address,
        "port": 22,
        "username": "root",
        "password": "**REDACTED**",
        "private_key": "**REDACTED**",
        "passphrase": "**REDACTED**",
        "host_key_fingerprint": HostKey(at_home.bypass.host_key()).fingerprint,
    }
    router = found["router"]
    assert router["address"] == "192.168.50.2/24"
    assert router["interface"] == "lan"
    assert (router["uid"], router["ip_forward"]) == (0, True)
    tools = router["tools"]
    assert (tools["sudo"], tools["nft"]) == (False, True)
    assert tools["iptables"]["variant"] == ("nf_tables" if nft else "legacy")
    assert router["kernel"] == at_home.bypass.run("uname", "-r").stdout.strip()
    assert found["firewall"].startswith("iptables 1.")
    assert found["forwards"][web]["name"] == "Web"
    assert found["forwards"][web]["public_port"] == "443"
    assert found["desired"] == {"on_disk": [web], "leases": {}, "now": [web]}
    assert found["live"]["forwards"].keys() == {web}
    assert found["live"]["damaged"] == []
    assert found["rules"]["entrance.HA-BYPASS-PRE"][1] == (
        "-A PREROUTING -j HA-BYPASS-PRE"
    )
    assert any("REDIRECT" in line for line in found["rules"]["entrance.HA-BYPASS-PRE"])
    assert len(found["rules"]["chain.HA-BYPASS-PRE"]) == 3
    assert found["link"]["connected"]
    assert (found["link"]["losses"], found["link"]["error"]) == (0, None)
    assert found["watcher"]["kind"] == "nft monitor"
    assert found["watcher"]["since"] >= found["link"]["opened"][0]
    assert found["watcher"]["looks"] >= 1
    (change,) = found["transactions"]
    assert change["outcome"] == "done"
    assert 0 < change["seconds"] < 5
    assert change["lines"] > 4
    assert found["entities"]["switch.web"] == "on"


async def test_where_nftables_translates_its_table_is_told(
    hass: HomeAssistant, entry: MockConfigEntry, downloads: Downloads
) -> None:
    """Element by element."""
    hass.config_entries.async_update_entry(entry, options={"firewall": "nftables"})
    await with_web_on(hass, entry)
    found = await downloads.of(entry, "Web")
    assert found["firewall"] == "nftables"
    source, _ = found["forward"]["sources"]
    key = f"{source} . tcp . 8443 "
    assert sum(key in line for line in found["rules"]["nft.table"]) == 1
    assert sum(key in line for line in found["forward"]["rules_desired"]) == 1
    assert len(found["forward"]["rules_found"]) == 3


async def test_equal_addresses_stay_equal(
    hass: HomeAssistant, entry: MockConfigEntry, downloads: Downloads
) -> None:
    """Whoever reads the file sees which rule is about whom."""
    web = await with_web_on(hass, entry)
    found = await downloads.of(entry)
    source, example = found["forwards"][web]["sources"]
    assert re.fullmatch(r"public-\d+/24", source)
    assert example == "203.0.113.0/24"
    assert found["live"]["forwards"][web]["sources"] == [source, example]
    rules = found["rules"]["chain.HA-BYPASS-PRE"]
    assert sum(f"-s {source} " in rule for rule in rules) == 1
    redirect, mac = found["rules"]["entrance.HA-BYPASS-PRE"][2:]
    (snat,) = (
        rule for rule in found["rules"]["entrance.HA-BYPASS-POST"] if "SNAT" in rule
    )
    assert redirect.split()[3].startswith("public-")
    assert f"-d {redirect.split()[3]} " in snat
    assert f"--to-source {source[:-3]}-public-" in snat
    assert re.search(r"--mac-source hardware-\d+ ", mac)
    assert found["router"]["mac_address"] not in mac


async def test_a_forwards_own_file_begins_with_it(
    hass: HomeAssistant, entry: MockConfigEntry, downloads: Downloads
) -> None:
    """With the rules that it should have, and those that it has."""
    await with_web_on(hass, entry)
    found = await downloads.of(entry, "Web")
    assert next(iter(found)) == "forward"
    web = found["forward"]
    assert web["name"] == "Web"
    assert (web["desired"], web["damaged"]) == (True, False)
    assert web["live"] == found["live"]["forwards"][web["id"]]
    assert len(web["rules_found"]) == 3
    # Each chain is printed by itself, with quotes that are not needed.
    for rule in web["rules_found"]:
        text = rule.replace('"', "")
        assert any(desired.endswith(text) for desired in web["rules_desired"])
    game = (await downloads.of(entry, "Game"))["forward"]
    assert (game["desired"], game["live"], game["rules_found"]) == (False, None, [])
    # Those of iptables, and those that another firewall might make needed.
    assert sum("HA-BYPASS" in rule for rule in game["rules_desired"]) == 8
    assert (await downloads.of(entry, "router")).keys() == found.keys() - {"forward"}


async def test_the_last_changes_and_events_are_told(
    at_home: Lab, hass: HomeAssistant, entry: MockConfigEntry, downloads: Downloads
) -> None:
    """Those that went wrong too, in the router's words."""
    web = await with_web_on(hass, entry)
    at_home.bypass.run("iptables", "-t", "nat", "-F")
    await until(lambda: len(entry.runtime_data.history.entries) == 2)
    at_home.bypass.commands.replace(
        "iptables-restore",
        f"#!/bin/sh\ncat >/dev/null; echo 'not for {STRANGER}' >&2; exit 2\n",
    )
    with pytest.raises(HomeAssistantError):
        await turn(hass, "on", switch_of(hass, entry, "Game"))
    at_home.bypass.commands.restore()
    found = await downloads.of(entry)
    assert [
        (event["what"], event["forwards"], event["cause"]) for event in found["events"]
    ] == [
        ("rules_removed", [web], "iptables"),
        ("rules_restored", [web], "iptables"),
    ]
    outcomes = [change["outcome"] for change in found["transactions"]]
    assert outcomes[:2] == ["done", "done"]
    assert re.fullmatch(r"not for public-\d+", outcomes[2])
    assert len(outcomes) <= 20


async def test_the_log_tells_no_secret_either(
    at_home: Lab,
    hass: HomeAssistant,
    entry: MockConfigEntry,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """Not even to who logs all that there is, of asyncssh too, good and bad."""
    caplog.set_level(logging.DEBUG)
    await with_web_on(hass, entry)
    assert await hass.config_entries.async_unload(entry.entry_id)
    at_home.bypass.users.authorize()
    await hass.config_entries.async_setup(entry.entry_id)
    await turn(hass, "off", switch_of(hass, entry, "Web"))
    assert await hass.config_entries.async_unload(entry.entry_id)
    at_home.bypass.users.set_password("root", "another")
    await hass.config_entries.async_setup(entry.entry_id)
    assert entry.error_reason_translation_key == "authentication_failed"
    await hass.config_entries.async_remove(entry.entry_id)
    for secret in (
        entry.data["password"],
        entry.data["passphrase"],
        *entry.data["private_key"].splitlines()[1:-1],
    ):
        assert secret not in caplog.text
    assert "bypass" in caplog.text


async def test_a_router_that_went_away_is_told_of_as_it_was(
    at_home: Lab, hass: HomeAssistant, entry: MockConfigEntry, downloads: Downloads
) -> None:
    """And since when it is away."""
    web = await with_web_on(hass, entry)
    switch = switch_of(hass, entry, "Web")
    at_home.bypass.ssh.stop()
    await until(lambda: hass.states.get(switch).state == STATE_UNAVAILABLE)
    found = await downloads.of(entry)
    assert not found["link"]["connected"]
    assert found["link"]["losses"] == len(found["link"]["lost"]) == 1
    assert found["link"]["error"]["key"] == "connection_lost"
    assert found["router"]["system"]
    assert found["live"]["forwards"].keys() == {web}
    assert found["rules"]["chain.HA-BYPASS-PRE"]
    assert found["watcher"]["since"] is None
    assert found["entities"]["switch.web"] == STATE_UNAVAILABLE
    assert (await downloads.of(entry, "Web"))["forward"]["desired"]
    entry.runtime_data.async_set_update_error(ValueError(at_home.bypass.root_password))
    error = (await downloads.of(entry))["link"]["error"]
    assert error == {"key": "ValueError", "placeholders": {}}


async def test_a_router_that_was_never_there_is_no_hindrance(
    at_home: Lab, hass: HomeAssistant, entry: MockConfigEntry, downloads: Downloads
) -> None:
    """The file says why it could not be set up, and what is desired on disk."""
    web = await with_web_on(hass, entry)
    assert await hass.config_entries.async_unload(entry.entry_id)
    at_home.bypass.ssh.stop()
    await hass.config_entries.async_setup(entry.entry_id)
    assert entry.state is ConfigEntryState.SETUP_RETRY
    for found in (await downloads.of(entry), await downloads.of(entry, "Web")):
        assert found["entry"]["state"] == "setup_retry"
        assert found["entry"]["reason"] == "port_closed"
        assert found["desired"] == {"on_disk": [web], "leases": {}, "now": None}
        assert "router" not in found
    assert found["forward"]["desired"]


async def test_a_router_with_thousands_of_rules_fits_into_the_file(
    at_home: Lab, hass: HomeAssistant, entry: MockConfigEntry, downloads: Downloads
) -> None:
    """Ours are printed by themselves, so that none of them is left out."""
    rule = "-A PREROUTING -s 192.0.2.1 -j ACCEPT\n"
    for _ in range(6):
        at_home.bypass.run(
            "iptables-restore", "--noflush", input=f"*nat\n{rule * 200}COMMIT\n"
        )
    await with_web_on(hass, entry)
    found = await downloads.of(entry, "Web")
    rules = found["rules"]["entrance.HA-BYPASS-PRE"]
    assert (len(rules), rules[-1]) == (1001, "…")
    assert len(found["forward"]["rules_found"]) == 3


@pytest.mark.parametrize(
    ("host", "shown"),
    [
        ("bypass.smith.dyndns.org", "name-1"),
        ("9.9.9.9", "public-1"),
        ("2a00:1450:4001::8888", "public-1"),
        ("bypass.lan", "bypass.lan"),
        ("bypass", "bypass"),
        ("192.168.50.2", "192.168.50.2"),
        ("fd00::2", "fd00::2"),
    ],
)
async def test_where_the_router_is_is_told_only_of_a_home(
    hass: HomeAssistant, downloads: Downloads, host: str, shown: str
) -> None:
    """Its name or address, in its title too, which anyone could look up."""
    key = asyncssh.generate_private_key("ssh-ed25519").convert_to_public()
    entry = MockConfigEntry(
        domain=DOMAIN,
        title=f"My {host}" if ":" in host else host.upper(),
        unique_id=MAC_ADDRESS,
        data={
            "host": host,
            "port": 22,
            "username": "root",
            "host_key": HostKey.of(key).text,
            "password": "a password",
        },
        subentries_data=[subentry(WEB).as_dict()],
    )
    # Before the entry is there, which would be set up otherwise.
    assert await async_setup_component(hass, DOMAIN, {})
    entry.add_to_hass(hass)
    if host != shown:
        downloads.secrets.append(host)
    downloads.secrets += ["a password", *spellings(MAC_ADDRESS)]
    found = await downloads.of(entry)
    assert found["entry"]["state"] == "not_loaded"
    assert found["entry"]["data"]["host"] == shown
    assert found["entry"]["title"].lower().endswith(shown)


def redacted(text: str) -> str:
    """Return a text as it would stand in the file."""
    scrubber = Redactor(names=["gate.smith.org"], macs=[MAC_ADDRESS])
    cleaned = scrubber.clean({"text": text})["text"]
    assert isinstance(cleaned, str)
    return cleaned


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("-d 9.9.9.9/32 -j DNAT", "-d public-1/32 -j DNAT"),
        ("to 9.9.9.9:53, 9.9.9.9.", "to public-1:53, public-1."),
        ("1.1.1.1-1.0.0.1", "public-1-public-2"),
        ("009.009.009.009", "public-1"),
        ("9.9.9.9.nip.io", "public-1.nip.io"),
        ("[2a00:1450::88]:22", "[public-1]:22"),
        ("2a00:1450::88/64.", "public-1/64."),
        ("no route to 2a00:1450::88:", "no route to public-1:"),
        ("::ffff:9.9.9.9", "public-1"),
        ("fe80::5054:ff:fe12:3456%lan", "public-1%lan"),
        ("00-1A-2b-3C-4d-5E", "hardware-1"),
        ("at 0200C0A83202!", "at hardware-1!"),
        ("-i enx001122aabbcc", "-i enxhardware-1"),
        ("ssh gate.smith.org.", "ssh name-1."),
        ("GATE.smith.org", "name-1"),
    ],
)
def test_what_tells_whose_a_home_is_goes(text: str, expected: str) -> None:
    """However it is written."""
    assert redacted(text) == expected


@pytest.mark.parametrize(
    "text",
    [
        "192.168.50.2/24 10.0.0.1 172.16.0.1 100.64.0.1 169.254.1.1 127.0.0.1",
        "0.0.0.0/0 255.255.255.255 224.0.0.1 198.18.0.1 192.0.2.1",
        "fe80::1 fd12::1 ::1 :: ff02::1 2001:db8::1",
        "iptables v1.8.9 (nf_tables), 6.1.0-18-amd64, 2026.10.4, 1.2.3.4.5",
        "2026-11-22T21:08:34.123456+00:00 21:08:34",
        "bypass_router:0a1b2c3d:01JDAABBCCDDEEFF0011223344",
        "7a3a9b3e-8f6f-4a53-9a1c-0d3e5c1c7a11",
        "--dport 6000:6010 --to-destination 192.168.50.10:7000-7010/6000",
        "SHA256:dead:beef 999.999.999.999 gate.smith.organic",
    ],
)
def test_what_helps_stays(text: str) -> None:
    """Addresses that many homes have, and what only looks like one."""
    assert redacted(text) == text


@given(
    st.ip_addresses(v=4) | st.ip_addresses(v=6),
    st.sampled_from(["{}", "-s {} -j X", "({})", '"{}"', "a,{},b", "{}/32", "={}"]),
    st.sampled_from([str, lambda address: address.exploded]),
)
def test_no_public_address_stays(
    address: IPv4Address | IPv6Address,
    around: str,
    spelt: Callable[[IPv4Address | IPv6Address], str],
) -> None:
    """Whichever it is, and whatever stands around it."""
    if address.is_global and not address.is_multicast:
        assert redacted(around.format(spelt(address))) == around.format("public-1")
