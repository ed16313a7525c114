"""No secret to a stranger: whatever is done while another server has the address."""

from collections.abc import AsyncIterator, Mapping
from typing import Any, Final

import asyncssh
from homeassistant.config_entries import ConfigEntryState
from homeassistant.core import HomeAssistant
from homeassistant.helpers import issue_registry as ir
from homeassistant.setup import async_setup_component
import pytest
from pytest_homeassistant_custom_component.common import MockConfigEntry
from pytest_homeassistant_custom_component.typing import ClientSessionGenerator

from custom_components.bypass_router.const import DOMAIN
from custom_components.bypass_router.diagnosis.run import async_diagnose
from custom_components.bypass_router.router.ssh.credentials import HostKey

from .sentences import said, translations
from .setup import WEB, issue, subentry
from .stranger import ADDRESS, Stranger, key, stranger

STORED: Final = "the stored password"
TYPED: Final = "the typed password"
CLIENT: Final = key("ssh-ed25519", 1)
ROUTER: Final = key("ssh-ed25519", 2)
SECRETS: Final[Mapping[str, Mapping[str, str]]] = {
    "password": {"password": STORED},
    "key": {"private_key": CLIENT.export_private_key("openssh").decode()},
    "protected key": {
        "private_key": CLIENT.export_private_key(
            "openssh", passphrase=STORED, rounds=1
        ).decode(),
        "passphrase": STORED,
    },
}
# What it has, where the router's pinned one is of the first kind.
KINDS: Final = ("ssh-ed25519", "ecdsa-sha2-nistp256", "ssh-rsa")


@pytest.fixture(params=SECRETS)
def entry(
    hass: HomeAssistant, request: pytest.FixtureRequest, other: Stranger
) -> MockConfigEntry:
    """A router of whose address we know something else by now."""
    return add(hass, other, SECRETS[request.param])


def add(
    hass: HomeAssistant, other: Stranger, secrets: Mapping[str, str]
) -> MockConfigEntry:
    """Add a router at the stranger's address, by what is stored."""
    entry = MockConfigEntry(
        domain=DOMAIN,
        title="bypass",
        unique_id="02:00:c0:a8:32:02",
        data={
            "host": ADDRESS,
            "port": other.port,
            "username": "root",
            "host_key": HostKey.of(ROUTER.convert_to_public()).text,
            **secrets,
        },
        subentries_data=[subentry(WEB).as_dict()],
    )
    entry.add_to_hass(hass)
    return entry


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    """Which kind of key the stranger has."""
    return str(request.param)


@pytest.fixture
async def other(socket_enabled: None, kind: str) -> AsyncIterator[Stranger]:
    """The stranger."""
    async with stranger(key(kind)) as found:
        yield found


async def give(hass: HomeAssistant, form: Mapping[str, Any], **given: Any) -> Any:
    """Submit a form, and return what comes next."""
    return await hass.config_entries.flow.async_configure(form["flow_id"], given)


async def give_address(
    hass: HomeAssistant, entry: MockConfigEntry, other: Stranger
) -> Any:
    """Reconfigure an entry, as far as the address."""
    form = await entry.start_reconfigure_flow(hass)
    return await give(hass, form, host=ADDRESS, port=other.port, username="root")


def names_both(shown: Mapping[str, Any], other: Stranger) -> None:
    """Check that a form says which key was known, and which there is now."""
    assert shown["type"] == "menu"
    text = said({**shown, "errors": None})["description"]
    assert HostKey.of(ROUTER.convert_to_public()).fingerprint in text
    assert other.host_key.fingerprint in text


async def test_a_start_and_a_reload_send_nothing(
    hass: HomeAssistant, entry: MockConfigEntry, other: Stranger
) -> None:
    """They say both keys."""
    await hass.config_entries.async_setup(entry.entry_id)
    await hass.config_entries.async_reload(entry.entry_id)
    assert entry.state is ConfigEntryState.SETUP_ERROR
    assert entry.error_reason_translation_key == "host_key_changed"
    told = issue(hass, "host_key_")
    assert told is not None
    assert told.translation_placeholders is not None
    assert told.translation_placeholders["found"] == other.host_key.fingerprint
    assert other.connections >= 2
    assert other.got == []


async def test_reconfiguring_with_nothing_typed_sends_nothing(
    hass: HomeAssistant, entry: MockConfigEntry, other: Stranger
) -> None:
    """Both keys are said before anything is asked; what is stored is for the known."""
    before = dict(entry.data)
    shown = await give_address(hass, entry, other)
    names_both(shown, other)
    back = await give(hass, shown, next_step_id="reconfigure")
    assert back["step_id"] == "reconfigure"
    shown = await give(hass, back, host=ADDRESS, port=other.port, username="root")
    names_both(shown, other)
    form = await give(hass, shown, next_step_id="new_host_key")
    assert other.host_key.fingerprint in said(form)["description"]
    form = await give(hass, form, install_key=True)
    assert form["errors"] == {"base": "credentials_missing"}
    assert other.got == []
    assert entry.data == before


async def test_who_accepts_a_new_key_sends_what_was_typed_and_no_more(
    hass: HomeAssistant, entry: MockConfigEntry, other: Stranger
) -> None:
    """The password in one of two ways."""
    shown = await give_address(hass, entry, other)
    form = await give(hass, shown, next_step_id="new_host_key")
    form = await give(hass, form, password=TYPED, install_key=True)
    assert form["errors"] == {"base": "authentication_failed"}
    assert set(other.got) == {TYPED}
    assert entry.data["host_key"] == HostKey.of(ROUTER.convert_to_public()).text


async def test_a_key_that_changes_behind_the_form_gets_nothing(
    hass: HomeAssistant, entry: MockConfigEntry, other: Stranger
) -> None:
    """The accepted one gives way to yet another, before anything is typed."""
    shown = await give_address(hass, entry, other)
    form = await give(hass, shown, next_step_id="new_host_key")
    await other.answer_by(key(other.keys[0].get_algorithm(), 7))
    form = await give(hass, form, password=TYPED, install_key=True)
    assert form["errors"] == {"base": "host_key_changed"}
    assert other.host_key.fingerprint in said(form)["base"]
    assert other.got == []


async def test_a_router_that_gives_way_after_its_address_was_typed_takes_nothing(
    hass: HomeAssistant, entry: MockConfigEntry, other: Stranger
) -> None:
    """The known key was proved; the one who logs us in has another."""
    (another,) = other.keys
    await other.answer_by(ROUTER)
    form = await give_address(hass, entry, other)
    assert form["step_id"] == "reconfigure_credentials"
    await other.answer_by(another)
    form = await give(hass, form, install_key=True)
    assert form["errors"] == {"base": "host_key_changed"}
    assert other.got == []


async def test_what_was_known_is_not_what_is_stored_for_it_by_now(
    hass: HomeAssistant, entry: MockConfigEntry, other: Stranger
) -> None:
    """Another form has changed the entry's key while this one was open."""
    (another,) = other.keys
    await other.answer_by(ROUTER)
    form = await give_address(hass, entry, other)
    hass.config_entries.async_update_entry(
        entry,
        data={
            **entry.data,
            "host_key": HostKey.of(another.convert_to_public()).text,
            "password": "for the new key",
        },
    )
    form = await give(hass, form, install_key=True)
    assert form["errors"] == {"base": "credentials_missing"}
    assert other.got == []


async def test_signing_in_again_sends_nothing_typed_or_stored(
    hass: HomeAssistant, entry: MockConfigEntry, other: Stranger
) -> None:
    """A form that was left open says so as soon as it is looked at."""
    for submit in (False, True):
        entry.async_start_reauth(hass)
        await hass.async_block_till_done()
        (flow,) = hass.config_entries.flow.async_progress_by_handler(DOMAIN)
        if submit:
            done = await give(hass, flow, password=TYPED, install_key=True)
        else:
            done = await hass.config_entries.flow.async_configure(flow["flow_id"])
        assert (done["type"], done["reason"]) == ("abort", "host_key_changed")
        words = done["description_placeholders"]
        text = translations()["config.abort.host_key_changed"].format(**words)
        assert other.host_key.fingerprint in text
        assert issue(hass, "host_key_") is not None
        ir.async_delete_issue(hass, DOMAIN, f"host_key_{entry.entry_id}")
    assert other.got == []


async def test_a_form_to_sign_in_again_is_there_as_long_as_no_other_key_is(
    hass: HomeAssistant, other: Stranger
) -> None:
    """Whoever opens it later finds it, also while no one answers."""
    await other.answer_by(ROUTER)
    entry = add(hass, other, SECRETS["password"])
    entry.async_start_reauth(hass)
    await hass.async_block_till_done()
    (flow,) = hass.config_entries.flow.async_progress_by_handler(DOMAIN)
    for _ in range(2):
        form = await hass.config_entries.flow.async_configure(flow["flow_id"])
        assert form["step_id"] == "reauth_confirm"
        await other.leave()
    assert other.got == []


async def test_an_entry_does_not_move_to_a_key_that_another_one_knows(
    hass: HomeAssistant, entry: MockConfigEntry, other: Stranger
) -> None:
    """Two entries would work on one router."""
    MockConfigEntry(
        domain=DOMAIN,
        title="another",
        data={**entry.data, "host": "192.0.2.7", "host_key": other.host_key.text},
    ).add_to_hass(hass)
    result = await give_address(hass, entry, other)
    assert result["type"] == "abort"
    assert result["reason"] == "another_router"
    assert other.got == []


async def test_adding_a_router_sends_nothing_to_another_than_was_shown(
    hass: HomeAssistant, other: Stranger
) -> None:
    """Be the other's key of a kind that the router has not, or of the same."""
    (another,) = other.keys
    await other.answer_by(ROUTER)
    form = await hass.config_entries.flow.async_init(DOMAIN, context={"source": "user"})
    form = await give(hass, form, host=ADDRESS, port=other.port, username="root")
    await other.answer_by(another)
    form = await give(hass, form, password=TYPED, install_key=True)
    assert form["errors"] == {"base": "host_key_changed"}
    assert other.got == []


class Repairs:
    """The repairs, as a user goes through them."""

    def __init__(self, client: Any) -> None:
        """Take whom to ask."""
        self._client = client

    async def open(self, issue_id: str) -> dict[str, Any]:
        """Open one."""
        return await self._post("", handler=DOMAIN, issue_id=issue_id)

    async def give(self, form: Mapping[str, Any], **given: Any) -> dict[str, Any]:
        """Submit a form, and return what comes."""
        return await self._post(f"/{form['flow_id']}", **given)

    async def _post(self, path: str, **body: Any) -> dict[str, Any]:
        answer = await self._client.post(f"/api/repairs/issues/fix{path}", json=body)
        result: dict[str, Any] = await answer.json()
        return result


async def test_every_other_way_to_the_router_sends_nothing(
    hass: HomeAssistant,
    entry: MockConfigEntry,
    other: Stranger,
    hass_client: ClientSessionGenerator,
) -> None:
    """The other repairs, the options, a diagnosis, and the entry's removal."""
    assert await async_setup_component(hass, "repairs", {})
    await hass.config_entries.async_setup(entry.entry_id)
    repairs = Repairs(await hass_client())
    for name, data in (
        ("ip_forward", {}),
        ("foreign", {"owner": "cd34"}),
        ("hand_made", {}),
    ):
        issue_id = f"{name}_{entry.entry_id}"
        ir.async_create_issue(
            hass,
            DOMAIN,
            issue_id,
            data={"entry_id": entry.entry_id, **data},
            is_fixable=True,
            severity=ir.IssueSeverity.WARNING,
            translation_key=name,
            translation_placeholders={"router": "", "owner": "", "count": ""},
        )
        form = await repairs.open(issue_id)
        if form["type"] == "form":
            form = await repairs.give(form)
        assert form["type"] == "abort"
    options = await hass.config_entries.options.async_init(entry.entry_id)
    await hass.config_entries.options.async_configure(
        options["flow_id"],
        {"restore": True, "close_connections": True, "firewall": "iptables"},
    )
    await hass.async_block_till_done()
    (forward,) = entry.subentries
    assert (await async_diagnose(hass, entry, forward)).causes
    await hass.config_entries.async_remove(entry.entry_id)
    assert other.connections >= 3
    assert other.got == []


async def test_of_several_keys_the_pinned_one_is_asked_for(
    hass: HomeAssistant, socket_enabled: None
) -> None:
    """Be it of a kind that is no longer the first choice."""
    pinned, newer = key("ssh-rsa"), key("ssh-ed25519")
    async with stranger(newer, pinned) as router:
        entry = add(hass, router, SECRETS["password"])
        known = HostKey.of(pinned.convert_to_public()).text
        data = {**entry.data, "host_key": known}
        hass.config_entries.async_update_entry(entry, data=data)
        form = await give_address(hass, entry, router)
        assert form["step_id"] == "reconfigure_credentials"
        form = await give(hass, form, install_key=True)
        assert form["errors"] == {"base": "authentication_failed"}
        assert set(router.got) == {STORED}


def test_a_key_is_the_same_whatever_is_said_of_it() -> None:
    """Its comment is none of it."""
    known = HostKey.of(ROUTER.convert_to_public())
    assert HostKey(f"{known.text} root@bypass") == known
    assert isinstance(known.key, asyncssh.SSHKey)
