"""Whom we trust, and who trusts us: changed keys, refused accounts, other addresses."""

import asyncio
from collections.abc import Mapping
import time
from typing import Any

import asyncssh
from homeassistant.config_entries import ConfigEntryState
from homeassistant.const import STATE_ON
from homeassistant.core import HomeAssistant
from homeassistant.helpers import issue_registry as ir
from homeassistant.setup import async_setup_component
import pytest
from pytest_homeassistant_custom_component.common import MockConfigEntry
from pytest_homeassistant_custom_component.typing import ClientSessionGenerator

from custom_components.bypass_router.router.ssh.authorized_keys import (
    authorized_line,
    generate_key,
)
from custom_components.bypass_router.router.ssh.credentials import HostKey
from custom_components.bypass_router.router.ssh.session import Session
from custom_components.bypass_router.sync import (
    connection,
    login_limit as attempts,
)
from tests.lab.network import Lab
from tests.lab.waiting import soon, until, until_told

from .sentences import said, typed
from .setup import WEB, add_entry, passes, set_up, subentry, switch_of, turn


async def give(hass: HomeAssistant, form: Mapping[str, Any], **given: Any) -> Any:
    """Submit a form of a config flow, and return what comes next."""
    return await hass.config_entries.flow.async_configure(form["flow_id"], given)


def reauth(hass: HomeAssistant) -> Mapping[str, Any]:
    """Return the one reauthentication that is under way."""
    (flow,) = hass.config_entries.flow.async_progress_by_handler("bypass_router")
    assert flow["context"]["source"] == "reauth"
    return flow


async def with_old_password(
    hass: HomeAssistant, lab: Lab, password: str
) -> MockConfigEntry:
    """Set up an entry whose password the router does not take any more."""
    entry = add_entry(hass, lab, WEB)
    hass.config_entries.async_update_entry(
        entry, data={**entry.data, "password": password}
    )
    await hass.config_entries.async_setup(entry.entry_id)
    await hass.async_block_till_done()
    return entry


def refusals(lab: Lab) -> int:
    """Return how often the router has refused someone."""
    return lab.bypass.ssh.log().count("Failed")


async def test_a_refused_account_asks_the_user_once_and_is_let_in_again(
    at_home: Lab, hass: HomeAssistant
) -> None:
    """With a new password, from which a key is made; the forwards are as before."""
    entry = await with_old_password(hass, at_home, "the old one")
    assert entry.state is ConfigEntryState.SETUP_ERROR
    assert refusals(at_home) == 1
    form = reauth(hass)
    assert form["step_id"] == "reauth_confirm"
    done = await give(
        hass, form, password=at_home.bypass.root_password, install_key=True
    )
    assert (done["type"], done["reason"]) == ("abort", "reauth_successful")
    await until(lambda: entry.state is ConfigEntryState.LOADED)
    assert "password" not in entry.data
    assert entry.data["private_key"].startswith("-----BEGIN OPENSSH PRIVATE KEY")
    assert refusals(at_home) == 1
    await turn(hass, "on", switch_of(hass, entry, "Web"))


async def test_an_account_that_is_refused_later_asks_the_user_too(
    at_home: Lab, hass: HomeAssistant
) -> None:
    """The password was changed on the router, and the connection is lost."""
    entry = await set_up(hass, at_home, WEB)
    at_home.bypass.users.set_password("root", "a new one")
    at_home.bypass.ssh.stop()
    at_home.bypass.ssh.start()
    await until(lambda: entry.state is ConfigEntryState.SETUP_ERROR)
    await hass.async_block_till_done()
    form = reauth(hass)
    done = await give(hass, form, password="a new one", install_key=False)
    assert done["reason"] == "reauth_successful"
    await until(lambda: entry.state is ConfigEntryState.LOADED)
    assert entry.data["password"] == "a new one"
    # Once when it was back, and once at the set-up that asks the user.
    assert refusals(at_home) <= 2


async def test_a_router_is_never_asked_so_often_that_it_locks_us_out(
    at_home: Lab, hass: HomeAssistant, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Three refusals in ten minutes, by whatever way they come."""
    entry = await with_old_password(hass, at_home, "the old one")
    form: Any = reauth(hass)
    for _ in range(4):
        form = await give(hass, form, password="wrong too", install_key=False)
    assert form["errors"] == {"base": "too_many_attempts"}
    assert form["description_placeholders"]["minutes"] == "10"
    await hass.config_entries.async_reload(entry.entry_id)
    assert entry.error_reason_translation_key == "too_many_attempts"
    form = reauth(hass)
    assert refusals(at_home) == 3
    monkeypatch.setattr(attempts, "_SECONDS", 0)
    password = at_home.bypass.root_password
    done = await give(hass, form, password=password, install_key=False)
    assert done["reason"] == "reauth_successful"
    await until(lambda: entry.state is ConfigEntryState.LOADED)


async def test_many_who_ask_at_once_are_refused_no_more_often(
    at_home: Lab, hass: HomeAssistant
) -> None:
    """One after the other: each waits for what became of the one before."""
    entry = add_entry(hass, at_home)
    data = {**entry.data, "password": "the old one"}
    refused = await asyncio.gather(
        *(connection.connect_router(hass, data) for _ in range(6)),
        return_exceptions=True,
    )
    assert sorted(type(err).__name__ for err in refused) == [
        *("AuthenticationFailed",) * 3,
        *("TooManyAttempts",) * 3,
    ]
    assert refusals(at_home) == 3


async def test_a_wrong_password_counts_once_where_it_could_be_given_twice(
    at_home: Lab, hass: HomeAssistant
) -> None:
    """A server that takes it by a dialog too would count two failures."""
    config = at_home.bypass.root / "etc/ssh/sshd_config"
    text = config.read_text().replace(
        "KbdInteractiveAuthentication no", "KbdInteractiveAuthentication yes"
    )
    at_home.bypass.ssh.stop()
    config.write_text(text)
    at_home.bypass.ssh.start()
    await with_old_password(hass, at_home, "the old one")
    assert refusals(at_home) == 1


async def test_another_address_of_the_same_router_is_taken(
    at_home: Lab, hass: HomeAssistant
) -> None:
    """Its forwards are as they were, and stay active all the while."""
    at_home.target.serve("tcp", 443)
    entry = await set_up(hass, at_home, WEB)
    hass.config_entries.async_update_entry(entry)
    await turn(hass, "on", switch_of(hass, entry, "Web"))
    at_home.bypass.ssh.stop()
    at_home.bypass.start_ssh(port=2222)
    form = await entry.start_reconfigure_flow(hass)
    form = await give(hass, form, host=at_home.bypass.address, port=22, username="root")
    assert form["errors"] == {"base": "port_closed"}
    form = await give(
        hass, form, host=at_home.bypass.address, port=2222, username="root"
    )
    assert form["step_id"] == "reconfigure_credentials"
    assert form["description_placeholders"]["fingerprint"] == (
        HostKey(at_home.bypass.host_key()).fingerprint
    )
    done = await give(hass, form, install_key=True)
    assert done["reason"] == "reconfigure_successful"
    assert entry.data["port"] == 2222
    assert entry.data["password"] == at_home.bypass.root_password
    switch = switch_of(hass, entry, "Web")
    await until(lambda: hass.states.is_state(switch, STATE_ON))
    assert entry.state is ConfigEntryState.LOADED
    assert await passes(at_home)


async def new_address(hass: HomeAssistant, entry: MockConfigEntry, host: str) -> Any:
    """Give an entry's form another address, and return what comes next."""
    form = await entry.start_reconfigure_flow(hass)
    return await give(hass, form, host=host, port=22, username="root")


async def test_an_entry_can_not_be_moved_onto_another_router(
    at_home: Lab, hass: HomeAssistant
) -> None:
    """Its forwards would open ports there. Nothing is changed on either."""
    entry = await set_up(hass, at_home, WEB)
    await hass.config_entries.async_unload(entry.entry_id)
    hass.config_entries.async_update_entry(entry, unique_id="02:00:00:00:99:99")
    at_home.bypass.renew_host_keys()
    at_home.bypass.ssh.stop()
    at_home.bypass.ssh.start()
    before = dict(entry.data)
    form = await new_address(hass, entry, at_home.bypass.address)
    form = await give(hass, form, next_step_id="new_host_key")
    done = await give(
        hass, form, password=at_home.bypass.root_password, install_key=True
    )
    assert (done["type"], done["reason"]) == ("abort", "another_router")
    assert entry.data == before
    assert at_home.bypass.users.authorized_keys() == ""


async def test_a_router_that_was_installed_anew_keeps_its_entry(
    at_home: Lab, hass: HomeAssistant
) -> None:
    """The key is another one, the network card the same."""
    entry = await set_up(hass, at_home, WEB)
    await hass.config_entries.async_unload(entry.entry_id)
    at_home.bypass.renew_host_keys()
    at_home.bypass.ssh.stop()
    at_home.bypass.ssh.start()
    form = await new_address(hass, entry, at_home.bypass.address)
    form = await give(hass, form, next_step_id="new_host_key")
    password = at_home.bypass.root_password
    done = await give(hass, form, password=password, install_key=False)
    assert done["reason"] == "reconfigure_successful"
    await until(lambda: entry.state is ConfigEntryState.LOADED)
    assert entry.data["host_key"] == at_home.bypass.host_key("ed25519")


async def test_a_key_of_ours_that_is_replaced_is_taken_off_the_router(
    at_home: Lab, hass: HomeAssistant
) -> None:
    """The user's own keys stay."""
    old = generate_key(await connection.async_owner(hass))
    theirs = authorized_line(generate_key("cd34"))
    at_home.bypass.users.authorize(theirs, authorized_line(old))
    entry = add_entry(hass, at_home, WEB)
    data = {name: entry.data[name] for name in ("host", "port", "username", "host_key")}
    hass.config_entries.async_update_entry(entry, data={**data, "private_key": old})
    await hass.config_entries.async_setup(entry.entry_id)
    form = await entry.start_reconfigure_flow(hass)
    form = await give(hass, form, host=at_home.bypass.address, port=22, username="root")
    done = await give(
        hass, form, password=at_home.bypass.root_password, install_key=True
    )
    assert done["reason"] == "reconfigure_successful"
    new = authorized_line(entry.data["private_key"])
    assert at_home.bypass.users.authorized_keys() == f"{theirs}\n{new}\n"
    await until(lambda: entry.state is ConfigEntryState.LOADED)


class Repair:
    """The repair of a changed host key, as the user goes through it."""

    def __init__(self, hass: HomeAssistant, client: Any, issue_id: str) -> None:
        """Take the issue."""
        self._hass = hass
        self._client = client
        self._issue_id = issue_id

    async def choose(self, option: str) -> Mapping[str, Any]:
        """Open the repair, choose, and return what comes."""
        started = await self._client.post(
            "/api/repairs/issues/fix",
            json={"handler": "bypass_router", "issue_id": self._issue_id},
        )
        menu = await started.json()
        assert menu["menu_options"] == ["accept", "refuse"]
        answer = await self._client.post(
            f"/api/repairs/issues/fix/{menu['flow_id']}",
            json={"next_step_id": option},
        )
        result: dict[str, Any] = await answer.json()
        return result | {"seen": menu["description_placeholders"]}


async def test_a_changed_host_key_stops_all_until_the_user_accepts_it(
    at_home: Lab, hass: HomeAssistant, hass_client: ClientSessionGenerator
) -> None:
    """Both fingerprints are shown; no secret reaches the stranger before."""
    at_home.target.serve("tcp", 443)
    assert await async_setup_component(hass, "repairs", {})
    entry = await set_up(hass, at_home, WEB)
    switch = switch_of(hass, entry, "Web")
    await turn(hass, "on", switch)
    old = HostKey(at_home.bypass.host_key()).fingerprint
    at_home.bypass.renew_host_keys()
    new = HostKey(at_home.bypass.host_key()).fingerprint
    at_home.bypass.ssh.stop()
    at_home.bypass.ssh.start()
    logins = at_home.bypass.ssh.log().count("Accepted")
    await until(lambda: entry.state is ConfigEntryState.SETUP_ERROR)
    await hass.async_block_till_done()
    assert await passes(at_home)
    repair = Repair(hass, await hass_client(), f"host_key_{entry.entry_id}")

    refused = await repair.choose("refuse")
    assert (refused["type"], refused["reason"]) == ("abort", "refused")
    assert refused["seen"]["expected"] == old
    assert refused["seen"]["found"] == new
    assert entry.state is ConfigEntryState.SETUP_ERROR
    assert at_home.bypass.ssh.log().count("Accepted") == logins
    assert refusals(at_home) == 0

    assert (await repair.choose("accept"))["type"] == "create_entry"
    await until(lambda: entry.state is ConfigEntryState.LOADED)
    assert HostKey(entry.data["host_key"]).fingerprint == new
    assert hass.states.get(switch).state == STATE_ON
    assert (
        ir.async_get(hass).async_get_issue(
            "bypass_router", f"host_key_{entry.entry_id}"
        )
        is None
    )


async def test_only_the_key_that_the_user_saw_can_be_accepted(
    at_home: Lab, hass: HomeAssistant, hass_client: ClientSessionGenerator
) -> None:
    """One that comes after it is not."""
    assert await async_setup_component(hass, "repairs", {})
    entry = add_entry(hass, at_home, WEB)
    stranger = asyncssh.generate_private_key("ssh-ed25519")
    pinned = HostKey.of(stranger.convert_to_public()).text
    hass.config_entries.async_update_entry(
        entry, data={**entry.data, "host_key": pinned}
    )
    await hass.config_entries.async_setup(entry.entry_id)
    repair = Repair(hass, await hass_client(), f"host_key_{entry.entry_id}")
    at_home.bypass.renew_host_keys()
    at_home.bypass.ssh.stop()
    at_home.bypass.ssh.start()
    assert (await repair.choose("accept"))["reason"] == "changed_again"
    assert entry.data["host_key"] == pinned
    at_home.bypass.ssh.stop()
    assert (await repair.choose("accept"))["reason"] == "not_reached"
    assert entry.data["host_key"] == pinned


async def fill_in(
    hass: HomeAssistant, entry: MockConfigEntry, **fields: Any
) -> Mapping[str, Any]:
    """Submit the form for a new forward, and return what comes next."""
    subentries = hass.config_entries.subentries
    form = await subentries.async_init(
        (entry.entry_id, "forward"), context={"source": "user"}
    )
    return await subentries.async_configure(form["flow_id"], {**WEB, **fields})


async def until_both_listen(entry: MockConfigEntry) -> None:
    """Wait until the router has another service beside its SSH server."""
    router = entry.runtime_data.connection.router

    async def both() -> bool:
        return len(await router.listeners()) >= 2

    await until_told(both)


async def set_up_with_a_service(
    hass: HomeAssistant, lab: Lab, port: str
) -> MockConfigEntry:
    """Set up a router on which a program listens at a TCP port."""
    lab.bypass.spawn("busybox", "nc", "-ll", "-p", port, "-e", "true")
    entry = await set_up(hass, lab)
    await until_both_listen(entry)
    return entry


async def test_a_service_of_the_router_loses_its_port_only_if_the_user_agrees(
    at_home: Lab, hass: HomeAssistant
) -> None:
    """The form names it; a range that covers it counts too."""
    entry = await set_up_with_a_service(hass, at_home, "9000")
    ports = {"external_port": "8990-9010", "target_port": ""}
    asked = await fill_in(hass, entry, **ports)
    assert asked["step_id"] == "confirm"
    assert asked["description_placeholders"] == {
        "name": "Web",
        "services": "busybox (TCP 9000)",
    }
    assert not entry.subentries
    done = await hass.config_entries.subentries.async_configure(asked["flow_id"], {})
    assert done["type"] == "create_entry"
    assert (await fill_in(hass, entry, name="Other", protocol="udp", **ports))[
        "type"
    ] == "create_entry"


async def test_whoever_is_asked_may_go_back_and_is_not_asked_twice(
    at_home: Lab, hass: HomeAssistant
) -> None:
    """Nothing that was typed is lost; about another port, it is asked again."""
    at_home.bypass.spawn("busybox", "nc", "-ll", "-p", "9001", "-e", "true")
    entry = await set_up_with_a_service(hass, at_home, "9000")
    flows = hass.config_entries.subentries
    filled = {**WEB, "external_port": "9000", "sources": ["198.51.100.0/24"]}
    asked = await fill_in(hass, entry, **filled)
    form = await flows.async_configure(asked["flow_id"], {"answer": "back"})
    assert form["step_id"] == "user"
    assert not form["errors"]
    shown = {**filled, "sources": "198.51.100.0/24", "enabled": True}
    assert typed(form) == shown
    asked = await flows.async_configure(form["flow_id"], shown)
    assert asked["step_id"] == "confirm"
    taken = subentry({**WEB, "name": "Other", "external_port": "9000"})
    hass.config_entries.async_add_subentry(entry, taken)
    form = await flows.async_configure(asked["flow_id"], {"answer": "go_on"})
    assert form["errors"] == {"external_port": "port_taken"}
    hass.config_entries.async_remove_subentry(entry, taken.subentry_id)
    renamed = {**shown, "name": "Camera", "external_port": "9000-9001"}
    asked = await flows.async_configure(form["flow_id"], {**renamed, "target_port": ""})
    words = asked["description_placeholders"]
    assert words is not None
    assert words["services"] == "busybox (TCP 9001)"
    done = await flows.async_configure(asked["flow_id"], {})
    assert done["type"] == "create_entry"


async def test_a_port_that_is_taken_while_the_user_is_asked_is_not_taken_twice(
    at_home: Lab, hass: HomeAssistant
) -> None:
    """Another form was quicker; the user may choose another port."""
    entry = await set_up_with_a_service(hass, at_home, "8443")
    asked = await fill_in(hass, entry)
    assert asked["step_id"] == "confirm"
    hass.config_entries.async_add_subentry(entry, subentry({**WEB, "name": "Other"}))
    flows = hass.config_entries.subentries
    form = await flows.async_configure(asked["flow_id"], {})
    assert form["errors"] == {"external_port": "port_taken"}
    again = {**WEB, "external_port": "8444"}
    done = await flows.async_configure(form["flow_id"], again)
    assert done["type"] == "create_entry"


def start_second_ssh(lab: Lab) -> None:
    """Let another SSH server run on the router, at port 2200."""
    lab.bypass.run("ssh-keygen", "-q", "-N", "", "-t", "ed25519", "-f", "/tmp/key")
    lab.bypass.spawn("/usr/sbin/sshd", "-D", "-p", "2200", "-h", "/tmp/key")


async def test_no_forward_can_take_the_port_of_any_ssh_server_of_the_router(
    at_home: Lab, hass: HomeAssistant
) -> None:
    """No one could get in any more to take it back."""
    start_second_ssh(at_home)
    entry = await set_up(hass, at_home)
    await until_both_listen(entry)
    for ports, port in (("1-100", "22"), ("2100-2300", "2200"), ("22", "22")):
        form = await fill_in(hass, entry, external_port=ports, target_port="")
        assert form["errors"] == {"external_port": "port_is_ssh"}
        assert form["description_placeholders"]["port"] == port


async def test_an_ssh_server_is_known_by_its_greeting_where_nobody_names_it(
    at_home: Lab, hass: HomeAssistant
) -> None:
    """An account that is not root does not see which program listens."""
    at_home.bypass.users.add("alice", "the password", sudo="all")
    start_second_ssh(at_home)
    # One that says something else, one that says less, and one that says nothing.
    for port, program in (("9000", "echo"), ("9001", "true"), ("9002", "sleep 9")):
        serve = ("busybox", "nc", "-ll", "-p", port, "-e", *program.split())
        at_home.bypass.spawn(*serve)
    entry = add_entry(hass, at_home)
    account = {"username": "alice", "password": "the password"}
    hass.config_entries.async_update_entry(entry, data={**entry.data, **account})
    await hass.config_entries.async_setup(entry.entry_id)
    router = entry.runtime_data.connection.router

    async def known() -> list[str]:
        found = [listener.program for listener in await router.listeners()]
        return found if len(found) >= 5 else []

    assert set(await until_told(known)) == {""}
    for ports in ("2200", "2100-2300", "2100-9100"):
        form = await fill_in(hass, entry, external_port=ports, target_port="")
        assert form["errors"] == {"external_port": "port_is_ssh"}
        assert form["description_placeholders"]["port"] == "2200"
    asked = await fill_in(hass, entry, external_port="9000-9100", target_port="")
    assert asked["step_id"] == "confirm"
    services = asked["description_placeholders"]["services"]
    assert services == "TCP 9000, TCP 9001, TCP 9002"


async def test_a_forward_to_an_ssh_server_can_be_changed_while_it_is_on(
    at_home: Lab, hass: HomeAssistant
) -> None:
    """What answers at its port is the target, and not the router."""
    at_home.bypass.users.add("alice", "the password", sudo="all")
    at_home.bypass.spawn("busybox", "nc", "-ll", "-p", "8443", "-e", "true")
    at_home.target.spawn("busybox", "nc", "-ll", "-p", "443", "-e", "echo", "SSH-2.0-x")
    entry = add_entry(hass, at_home, WEB)
    account = {"username": "alice", "password": "the password"}
    hass.config_entries.async_update_entry(entry, data={**entry.data, **account})
    await hass.config_entries.async_setup(entry.entry_id)
    await hass.async_block_till_done()
    await turn(hass, "on", switch_of(hass, entry, "Web"))
    await until_both_listen(entry)
    (forward,) = entry.subentries
    form = await entry.start_subentry_reconfigure_flow(hass, forward)
    done = await hass.config_entries.subentries.async_configure(
        form["flow_id"], {**WEB, "sources": ["198.51.100.0/24"]}
    )
    # Nor is it asked about what it has taken already.
    assert done["reason"] == "reconfigure_successful"


@pytest.mark.parametrize(
    ("target", "error"),
    [
        ("192.168.50.2", "target_is_router"),
        ("192.168.50.3", "target_is_router"),
        ("10.9.8.7", "target_is_router"),
        ("192.168.50.0", "target_is_network"),
        ("192.168.50.255", "target_is_network"),
        ("192.168.50.10", None),
        ("10.9.8.6", None),
        ("192.168.51.255", None),
    ],
)
async def test_no_address_of_the_router_or_of_a_whole_network_is_a_device(
    at_home: Lab, hass: HomeAssistant, target: str, error: str | None
) -> None:
    """The router's own are those of all its interfaces."""
    at_home.bypass.ip("address add 10.9.8.7/32 dev lo")
    at_home.bypass.ip("address add 192.168.50.3/24 dev lan")
    entry = add_entry(hass, at_home)
    hass.config_entries.async_update_entry(
        entry, data={**entry.data, "host": "192.168.50.3"}
    )
    await hass.config_entries.async_setup(entry.entry_id)
    form = await fill_in(hass, entry, target=target)
    if error is None:
        assert form["type"] == "create_entry"
        return
    assert form["errors"] == {"target": error}
    sentence = said(form, "config_subentries.forward")["target"]
    assert ("192.168.50.0/24" in sentence) == (error == "target_is_network")


async def test_a_form_names_a_few_of_many_services(
    at_home: Lab, hass: HomeAssistant
) -> None:
    """A router can say that it has any number."""
    entry = await set_up(hass, at_home)
    many = "seq -f 'LISTEN 0 1 *:%.0f *:* users:((\"x\",pid=1,fd=1))' 10001 65000"
    at_home.bypass.commands.replace("ss", f"#!/bin/sh\n{many}\n")
    asked = await fill_in(hass, entry, external_port="10000-65535", target_port="")
    assert asked["step_id"] == "confirm"
    services = asked["description_placeholders"]["services"]
    assert services.startswith("x (TCP 10001), x (TCP 10002), ")
    assert services.endswith("x (TCP 10010), … (+54990)")


async def test_a_router_with_any_number_of_unknown_services_is_asked_of_a_few(
    at_home: Lab, hass: HomeAssistant
) -> None:
    """And not for long, though none of them answers."""
    entry = await set_up(hass, at_home)
    many = "seq -f 'LISTEN 0 1 *:%.0f *:*' 10001 65000"
    at_home.bypass.commands.replace("ss", f"#!/bin/sh\n{many}\n")
    rule = "iptables -A INPUT -p tcp --dport 10000:65535 -m comment --comment asked"
    at_home.bypass.run(*rule.split(), "-j", "DROP")
    started = time.monotonic()
    asked = await fill_in(hass, entry, external_port="10000-65535", target_port="")
    assert asked["step_id"] == "confirm"
    assert time.monotonic() - started < soon(4)
    counted = at_home.bypass.run("iptables", "-nvxL", "INPUT").stdout
    (line,) = (line for line in counted.splitlines() if "asked" in line)
    # Each is asked, and once more a second later.
    assert 32 <= int(line.split()[0]) <= 2 * 32


async def test_a_forward_can_be_added_where_the_services_are_not_known(
    at_home: Lab, hass: HomeAssistant, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The router is too busy to say; what is known of it still counts."""
    entry = await set_up(hass, at_home)
    monkeypatch.setattr(Session.run, "__defaults__", (0.3,))
    at_home.bypass.commands.replace("ss", "#!/bin/sh\nsleep 9\n")
    form = await fill_in(hass, entry, target="192.168.50.2")
    assert form["errors"] == {"target": "target_is_router"}
    assert (await fill_in(hass, entry))["type"] == "create_entry"
