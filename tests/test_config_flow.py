"""Adding a router: what a person types, and what comes of it."""

import asyncio
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
import logging
import sys
from types import SimpleNamespace
from typing import Any
from unittest.mock import AsyncMock, patch

import asyncssh
from homeassistant.config_entries import (
    SOURCE_USER,
    ConfigEntry,
    ConfigEntryState,
    ConfigFlowResult,
    FlowType,
)
from homeassistant.core import HomeAssistant
from homeassistant.data_entry_flow import FlowResultType, InvalidData
from homeassistant.helpers.config_validation import custom_serializer
from probatio import to_field_list
import pytest

from custom_components.bypass_router.const import DOMAIN
from custom_components.bypass_router.router.errors import CannotReach, ConnectionLost
from custom_components.bypass_router.router.router import Router
from custom_components.bypass_router.router.ssh import session
from custom_components.bypass_router.sync.connection import async_owner
from custom_components.bypass_router.sync.left_behind import async_forget_keys

from .lab.bypass import Bypass, RouterOptions
from .lab.network import Lab
from .lab.waiting import until, wait_until
from .sentences import said, typed

FETCH = "custom_components.bypass_router.config_flow.fetch_host_key"
WRONG = "not the password"
GUEST = "the guest's password"


def new_key(passphrase: str | None = None) -> tuple[str, str]:
    """Return a private key, protected if asked for, and its public half."""
    key = asyncssh.generate_private_key("ssh-ed25519")
    # Each round takes a hundredth of a second, here and whenever it is opened.
    private = key.export_private_key("openssh", passphrase, rounds=1).decode()
    return private, key.export_public_key("openssh").decode()


PRIVATE_KEY, PUBLIC_KEY = new_key()
PASSPHRASE = "open sesame"
PROTECTED_KEY, PUBLIC_OF_PROTECTED_KEY = new_key(PASSPHRASE)
PUTTY_KEY = """\
PuTTY-User-Key-File-3: ssh-ed25519
Encryption: none
Comment: from another program
Public-Lines: 2
AAAAC3NzaC1lZDI1NTE5AAAAIHfPFOcGrZrZ0Fm4eYQtEBx0J6OCvHv5Df9XxI9M
"""


@pytest.fixture(autouse=True)
def set_ups() -> Iterator[list[ConfigEntry]]:
    """What was added. Here it is not set up: that is another test's promise."""
    added: list[ConfigEntry] = []

    async def set_up(hass: HomeAssistant, entry: ConfigEntry) -> bool:
        added.append(entry)
        # As of one that is lost again already.
        entry.runtime_data = SimpleNamespace(connection=SimpleNamespace(router=None))
        return True

    with patch.multiple(
        "custom_components.bypass_router",
        async_setup_entry=set_up,
        async_unload_entry=AsyncMock(return_value=True),
    ):
        yield added


async def start(hass: HomeAssistant) -> ConfigFlowResult:
    """Open the form."""
    return await hass.config_entries.flow.async_init(
        DOMAIN, context={"source": SOURCE_USER}
    )


async def give_address(hass: HomeAssistant, **fields: Any) -> ConfigFlowResult:
    """Fill in the first form, as for the lab's router but for these fields."""
    form = await start(hass)
    address = {"host": "192.168.50.2", "port": 22, "username": "root", **fields}
    return await hass.config_entries.flow.async_configure(form["flow_id"], address)


async def give_secret(
    hass: HomeAssistant, form: ConfigFlowResult, **fields: Any
) -> ConfigFlowResult:
    """Fill in the second form."""
    assert form["step_id"] == "credentials"
    return await hass.config_entries.flow.async_configure(form["flow_id"], fields)


def entries(hass: HomeAssistant) -> list[ConfigEntry]:
    """Return what was saved."""
    return hass.config_entries.async_entries(DOMAIN)


async def lets_in(lab: Lab, private_key: str) -> bool:
    """Return whether the router lets this key in, and nothing but the key."""
    try:
        connection = await asyncssh.connect(
            "192.168.50.2",
            config=None,
            known_hosts=([asyncssh.import_public_key(lab.bypass.host_key())], [], []),
            username="root",
            client_keys=[asyncssh.import_private_key(private_key)],
            password_auth=False,
            agent_path=None,
        )
    except asyncssh.PermissionDenied:
        return False
    connection.close()
    await connection.wait_closed()
    return True


def connections(lab: Lab) -> str:
    """Return the connections that Home Assistant has open."""
    return lab.home.run("ss", "-Htn", "state", "established").stdout


def fingerprint(lab: Lab) -> str:
    """Return the host key's fingerprint, as the router's own command tells it."""
    command = "cat >/tmp/key; ssh-keygen -lf /tmp/key"
    printed = lab.bypass.run("sh", "-c", command, input=lab.bypass.host_key()).stdout
    return printed.split()[1]


# What is typed


@pytest.mark.parametrize(
    "host",
    [
        "",
        "   ",
        "my router",
        "router\n.lan",
        "router;reboot",
        "$(reboot)",
        '"router"',
        "'router'",
        "router\0",
        "-oProxyCommand=reboot",
        "-router",
        "router-.lan",
        "router..lan",
        ".lan",
        "http://192.168.50.2",
        "192.168.50.2:22",
        "root@192.168.50.2",
        "192.168.50.256",
        "192.168.50",
        "1921685002",
        "１９２.168.50.2",
        "路由器",
        "0.0.0.0",
        "::",
        "224.0.0.1",
        "fd00::1::2",
        "[fd00::1",
        "[192.168.50.2",
        "fe80::1%",
        "fe80::1%eth0;reboot",
        "a" * 64,
        ".".join(["a" * 50] * 5 + ["b"]),
    ],
)
async def test_what_is_no_host_is_refused_without_asking_the_network(
    hass: HomeAssistant, host: str
) -> None:
    """The form says so at the field and keeps what was typed."""
    with patch(FETCH) as fetch:
        result = await give_address(hass, host=host)
    assert result["errors"] == {"host": "invalid_host"}
    assert said(result)["host"]
    assert typed(result) == {"host": host, "port": 22, "username": "root"}
    fetch.assert_not_called()


@pytest.mark.parametrize(
    ("host", "meant"),
    [
        (" 192.168.50.2 ", "192.168.50.2"),
        ("router", "router"),
        ("Router-2.home.arpa", "Router-2.home.arpa"),
        ("router.lan.", "router.lan."),
        ("3com", "3com"),
        ("xn--fiqs8s", "xn--fiqs8s"),
        ("fd00:0::2", "fd00::2"),
        ("[fd00::2]", "fd00::2"),
        ("fe80::2%eth0", "fe80::2%eth0"),
    ],
)
async def test_names_and_addresses_of_both_kinds_are_hosts(
    hass: HomeAssistant, host: str, meant: str
) -> None:
    """Spaces and brackets around them do no harm."""
    nobody = CannotReach(host=meant, port="22", message="no such host")
    with patch(FETCH, side_effect=nobody) as fetch:
        result = await give_address(hass, host=host)
    fetch.assert_called_once_with(meant, 22)
    assert result["errors"] == {"base": "cannot_reach"}


@pytest.mark.parametrize(
    "username",
    ["", "  ", "ro ot", "ro\not", "-root", "$(reboot)", "ro'ot", "根", "r" * 65, "a:b"],
)
async def test_what_is_no_user_name_is_refused(
    hass: HomeAssistant, username: str
) -> None:
    """And with it whatever a shell could take for more than a name."""
    with patch(FETCH) as fetch:
        result = await give_address(hass, username=username)
    assert result["errors"] == {"username": "invalid_username"}
    assert said(result)["username"]
    fetch.assert_not_called()


async def test_both_mistakes_are_said_at_once(hass: HomeAssistant) -> None:
    """No one has to send the form once for each."""
    result = await give_address(hass, host="my router", username="my self")
    assert result["errors"] == {"host": "invalid_host", "username": "invalid_username"}


async def test_the_first_form_expects_the_usual(hass: HomeAssistant) -> None:
    """Root, at port 22; the port is one."""
    form = await start(hass)
    assert form["step_id"] == "user"
    # Its button says that more is to come.
    assert form["last_step"] is False
    assert said(form)["description"]
    schema = form["data_schema"]
    assert schema is not None
    filled = schema({"host": "router"})
    assert filled == {"host": "router", "port": 22, "username": "root"}
    assert isinstance(filled["port"], int)


async def test_a_fault_nobody_foresaw_is_said_and_logged(
    hass: HomeAssistant, caplog: pytest.LogCaptureFixture
) -> None:
    """The form goes on, and the log has what is needed to mend it."""
    with patch(FETCH, side_effect=RuntimeError("the unforeseen")):
        result = await give_address(hass)
    assert result["errors"] == {"base": "unknown"}
    assert said(result)["base"]
    assert "RuntimeError: the unforeseen" in caplog.text


# A router is added


async def test_the_router_shows_who_it_is_before_any_secret_is_sent(
    hass: HomeAssistant, at_home: Lab
) -> None:
    """The form has the fingerprint that the router's own command prints."""
    form = await give_address(hass)
    assert form["step_id"] == "credentials"
    description = said(form)["description"]
    assert fingerprint(at_home) in description
    assert "ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub" in description
    assert "/etc/dropbear/dropbear_ed25519_host_key" in description
    log = at_home.bypass.ssh.log()
    assert "password" not in log
    assert "publickey" not in log


@pytest.mark.parametrize(
    ("router_options", "kind"),
    [(RouterOptions(host_keys=(kind,)), kind) for kind in ("ecdsa", "rsa")],
)
async def test_the_command_is_for_the_kind_of_key_that_the_router_has(
    hass: HomeAssistant, at_home: Lab, router_options: RouterOptions, kind: str
) -> None:
    """Not every router has a key of the newest kind."""
    form = await give_address(hass)
    assert f"/etc/ssh/ssh_host_{kind}_key.pub" in said(form)["description"]


async def test_a_password_is_traded_for_a_key(
    hass: HomeAssistant, at_home: Lab, set_ups: list[ConfigEntry]
) -> None:
    """The key logs in, nothing else is stored, and keys that were there still do."""
    at_home.bypass.users.authorize(PUBLIC_KEY)
    form = await give_address(hass, host=" 192.168.50.2 ")
    result = await give_secret(hass, form, password=Bypass.root_password)
    assert result["type"] is FlowResultType.CREATE_ENTRY
    assert result["title"] == "bypass"
    [entry] = entries(hass)
    assert entry.unique_id == "02:00:c0:a8:32:02"
    assert entry.data == {
        "host": "192.168.50.2",
        "port": 22,
        "username": "root",
        "host_key": at_home.bypass.host_key(),
        "private_key": entry.data["private_key"],
    }
    assert await lets_in(at_home, entry.data["private_key"])
    assert await lets_in(at_home, PRIVATE_KEY)
    owner = f"bypass_router:{await async_owner(hass)}"
    assert at_home.bypass.users.authorized_keys().count(owner) == 1
    assert entry.state is ConfigEntryState.LOADED
    assert set_ups == [entry]
    assert "Accepted password" in at_home.bypass.ssh.log()
    assert connections(at_home) == ""


async def test_the_password_is_kept_if_that_is_wished(
    hass: HomeAssistant, at_home: Lab
) -> None:
    """Nothing on the router is changed then."""
    form = await give_address(hass)
    await give_secret(
        hass, form, password=Bypass.root_password, passphrase="", install_key=False
    )
    [entry] = entries(hass)
    assert entry.data == {
        "host": "192.168.50.2",
        "port": 22,
        "username": "root",
        "host_key": at_home.bypass.host_key(),
        "password": Bypass.root_password,
    }
    assert at_home.bypass.users.authorized_keys() == ""


@pytest.mark.parametrize(
    ("private_key", "public_key", "secrets"),
    [
        (PRIVATE_KEY, PUBLIC_KEY, {}),
        (f"\n  {PRIVATE_KEY}\n", PUBLIC_KEY, {}),
        (PRIVATE_KEY.replace("\n", " "), PUBLIC_KEY, {}),
        (PROTECTED_KEY, PUBLIC_OF_PROTECTED_KEY, {"passphrase": PASSPHRASE}),
    ],
    ids=["plain", "spaces around", "one line", "with passphrase"],
)
async def test_a_key_of_ones_own_is_used_as_it_is(
    hass: HomeAssistant,
    at_home: Lab,
    private_key: str,
    public_key: str,
    secrets: dict[str, str],
) -> None:
    """No other key is made, whatever the box says."""
    at_home.bypass.users.authorize(public_key)
    before = at_home.bypass.users.authorized_keys()
    form = await give_address(hass)
    await give_secret(hass, form, private_key=private_key, install_key=True, **secrets)
    [entry] = entries(hass)
    assert entry.data == {
        "host": "192.168.50.2",
        "port": 22,
        "username": "root",
        "host_key": at_home.bypass.host_key(),
        "private_key": private_key.strip(),
        **secrets,
    }
    assert at_home.bypass.users.authorized_keys() == before


async def test_a_user_with_sudo_will_do(hass: HomeAssistant, at_home: Lab) -> None:
    """Root's own account need not be open."""
    at_home.bypass.users.add("alice", GUEST, sudo="all")
    form = await give_address(hass, username=" alice ")
    assert typed(form)["username"] == "alice"
    await give_secret(hass, form, password=GUEST)
    [entry] = entries(hass)
    assert entry.data["username"] == "alice"
    assert "bypass_router:" in at_home.bypass.users.authorized_keys("alice")
    assert at_home.bypass.users.authorized_keys("root") == ""


@pytest.mark.parametrize("router_options", [RouterOptions(ssh_port=2222)])
async def test_ssh_may_listen_elsewhere(
    hass: HomeAssistant, at_home: Lab, router_options: RouterOptions
) -> None:
    """The port is kept with the router."""
    form = await give_address(hass, port=2222)
    await give_secret(hass, form, password=Bypass.root_password)
    assert entries(hass)[0].data["port"] == 2222


async def test_a_router_without_a_hardware_address_is_known_by_its_host_key(
    hass: HomeAssistant, at_home: Lab
) -> None:
    """As one that is reached by an address of no real interface."""
    at_home.bypass.ip("address add 203.0.113.3/32 dev lo")
    at_home.home.ip(f"route add 203.0.113.3 via {at_home.bypass.address}")
    form = await give_address(hass, host="203.0.113.3")
    await give_secret(hass, form, password=Bypass.root_password)
    assert entries(hass)[0].unique_id == fingerprint(at_home)


async def test_a_router_is_added_once(hass: HomeAssistant, at_home: Lab) -> None:
    """By whatever name it is reached; nothing on it changes the second time."""
    form = await give_address(hass)
    await give_secret(hass, form, password=Bypass.root_password)
    before = at_home.bypass.users.authorized_keys()
    at_home.bypass.ip("address add 192.168.50.4/24 dev lan")
    form = await give_address(hass, host="192.168.50.4")
    result = await give_secret(hass, form, password=Bypass.root_password)
    assert result["type"] is FlowResultType.ABORT
    assert result["reason"] == "already_configured"
    assert len(entries(hass)) == 1
    assert at_home.bypass.users.authorized_keys() == before


async def test_a_form_left_open_does_not_stand_in_the_way(
    hass: HomeAssistant, at_home: Lab
) -> None:
    """A second form for the same router can be finished, and ends the first."""
    block_keys(at_home)
    left = await give_address(hass)
    left = await give_secret(hass, left, password=Bypass.root_password)
    assert left["errors"] == {"base": "key_not_installed"}
    form = await give_address(hass)
    result = await give_secret(
        hass, form, password=Bypass.root_password, install_key=False
    )
    assert result["type"] is FlowResultType.CREATE_ENTRY


@pytest.mark.parametrize("part", [{"own_key": {}}, {"own_key": {"passphrase": ""}}, {}])
async def test_the_part_for_a_key_of_ones_own_may_stay_closed(
    hass: HomeAssistant, at_home: Lab, part: dict[str, Any]
) -> None:
    """However the frontend sends what no one has opened; the flat form goes too."""
    form = await give_address(hass)
    assert closed(form)
    secrets = {"password": Bypass.root_password, **part}
    result = await give_secret(hass, form, **secrets)
    assert result["type"] is FlowResultType.CREATE_ENTRY


def closed(form: ConfigFlowResult) -> bool:
    """Return whether the part for a key of one's own is closed."""
    schema = form["data_schema"]
    assert schema is not None
    fields = to_field_list(schema, custom_serializer=custom_serializer)
    assert isinstance(fields, list)
    (part,) = (field for field in fields if field["name"] == "own_key")
    assert [field["name"] for field in part["schema"]] == ["private_key", "passphrase"]
    return not part["expanded"]


async def test_a_key_of_ones_own_is_taken_from_its_part(
    hass: HomeAssistant, at_home: Lab
) -> None:
    """It stays open where something is wrong with what is in it."""
    at_home.bypass.users.authorize(PUBLIC_OF_PROTECTED_KEY)
    form = await give_address(hass)
    key = {"private_key": PROTECTED_KEY, "passphrase": WRONG}
    form = await give_secret(hass, form, own_key=key)
    assert form["errors"] == {"base": "wrong_passphrase"}
    assert not closed(form)
    assert typed(form)["private_key"] == PROTECTED_KEY
    key["passphrase"] = PASSPHRASE
    await give_secret(hass, form, own_key=key)
    assert entries(hass)[0].data["passphrase"] == PASSPHRASE


@pytest.mark.parametrize("own_key", ["text", None, {"other": "x"}])
async def test_what_is_no_such_part_is_refused(
    hass: HomeAssistant, at_home: Lab, own_key: Any
) -> None:
    """A client may go round the form."""
    form = await give_address(hass)
    with pytest.raises(InvalidData):
        await give_secret(hass, form, own_key=own_key)


async def test_a_mistyped_user_name_is_corrected_where_one_signs_in(
    hass: HomeAssistant, at_home: Lab
) -> None:
    """There it is noticed; what is no name is refused, and none is the one before."""
    form = await give_address(hass, username="rooot")
    password = Bypass.root_password
    form = await give_secret(hass, form, password=password, username="ro ot")
    assert form["errors"] == {"username": "invalid_username"}
    assert typed(form)["username"] == "ro ot"
    form = await give_secret(hass, form, password=password, username=" ")
    assert form["errors"] == {"base": "authentication_failed"}
    await give_secret(hass, form, password=password, username=" root ")
    assert entries(hass)[0].data["username"] == "root"


# What comes next


async def test_the_form_leads_on_to_the_first_forward(
    hass: HomeAssistant, at_home: Lab
) -> None:
    """It is open when the router is there, and is of that router."""
    form = await give_address(hass)
    result = await give_secret(hass, form, password=Bypass.root_password)
    kind, flow_id = result["next_flow"]
    assert kind is FlowType.CONFIG_SUBENTRIES_FLOW
    flow = hass.config_entries.subentries.async_get(flow_id)
    assert flow["handler"] == (entries(hass)[0].entry_id, "forward")
    assert flow["step_id"] == "user"


@pytest.mark.parametrize(
    "answer",
    [
        {"side_effect": RuntimeError("the unforeseen")},
        {"return_value": {"type": FlowResultType.ABORT, "flow_id": "x"}},
    ],
)
async def test_a_router_is_there_also_where_no_form_can_follow(
    hass: HomeAssistant, at_home: Lab, answer: dict[str, Any]
) -> None:
    """What can't be shown stops nothing."""
    form = await give_address(hass)
    with patch.object(hass.config_entries.subentries, "async_init", **answer):
        result = await give_secret(hass, form, password=Bypass.root_password)
    assert result["type"] is FlowResultType.CREATE_ENTRY
    assert "next_flow" not in result
    assert entries(hass)


# What can go wrong


@dataclass(frozen=True)
class Fault:
    """Something wrong with the router, or with what was typed for it."""

    error: str
    prepare: Callable[[Lab], object] = repr
    address: dict[str, Any] = field(default_factory=dict)
    secret: dict[str, Any] = field(
        default_factory=lambda: {"password": Bypass.root_password}
    )
    words: tuple[str, ...] = ()
    """What the sentence says beside what is always the same."""


def checked(
    hass: HomeAssistant,
    lab: Lab,
    caplog: pytest.LogCaptureFixture,
    result: ConfigFlowResult,
    fault: Fault,
) -> None:
    """Check what holds for all faults."""
    assert result["type"] is FlowResultType.FORM
    assert result["errors"] == {"base": fault.error}
    sentence = said(result)["base"]
    assert all(word in sentence for word in fault.words), sentence
    assert entries(hass) == []
    assert connections(lab) == ""
    for secret in fault.secret.values():
        lines = secret.splitlines() if isinstance(secret, str) else []
        assert not [line for line in lines if line.strip() and line in caplog.text]
    assert "Traceback" not in caplog.text


def drop_ssh(lab: Lab) -> None:
    """Let a firewall on the router drop what comes to its SSH server."""
    rule = "-I INPUT -p tcp --dport 22 -j DROP"
    lab.bypass.run("iptables", *rule.split())


def serve_pages(lab: Lab) -> None:
    """Let a web server run on the target."""
    program = (
        "from http.server import SimpleHTTPRequestHandler\n"
        "from socketserver import TCPServer\n"
        "TCPServer(('', 80), SimpleHTTPRequestHandler).serve_forever()"
    )
    lab.target.spawn(sys.executable, "-IS", "-c", program)
    wait_until(lambda: lab.target.run("ss", "-Htln", "sport = 80").stdout)


@pytest.mark.parametrize(
    "fault",
    [
        Fault(
            "no_route",
            address={"host": "192.168.50.99"},
            words=("192.168.50.99",),
        ),
        Fault(
            "port_closed",
            address={"port": 2222},
            words=("192.168.50.2", "2222"),
        ),
        Fault("no_answer", drop_ssh, words=("192.168.50.2", "22")),
        Fault(
            "not_ssh",
            serve_pages,
            address={"host": "192.168.50.10", "port": 80},
            words=("192.168.50.10", "80"),
        ),
    ],
    ids=lambda fault: fault.error,
)
async def test_where_no_router_is_the_first_form_says_why(
    hass: HomeAssistant,
    at_home: Lab,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
    fault: Fault,
) -> None:
    """A wrong address, a closed port, and so on: each its own sentence."""
    caplog.set_level(logging.DEBUG)
    if fault.error == "no_answer":
        monkeypatch.setattr(session, "CONNECT_TIMEOUT", 1)
    fault.prepare(at_home)
    result = await give_address(hass, **fault.address)
    checked(hass, at_home, caplog, result, fault)
    assert result["step_id"] == "user"
    given = {"host": "192.168.50.2", "port": 22, "username": "root", **fault.address}
    assert typed(result) == given


def replace(name: str, *lines: str) -> Callable[[Lab], object]:
    """Return what puts a script in the place of a router's command."""
    script = "\n".join(["#!/bin/sh", *lines, ""])
    return lambda lab: lab.bypass.commands.replace(name, script)


def hide(*names: str) -> Callable[[Lab], object]:
    """Return what takes commands from the router."""
    return lambda lab: lab.bypass.commands.hide(*names)


def without_nft(name: str, *lines: str) -> Callable[[Lab], object]:
    """Return the same, on a router that has no other firewall."""

    def prepare(lab: Lab) -> None:
        hide("nft")(lab)
        replace(name, *lines)(lab)

    return prepare


def add_user(shell: str = "/bin/sh") -> Callable[[Lab], object]:
    """Return what adds a user to the router who may do nothing."""
    return lambda lab: lab.bypass.users.add("guest", GUEST, shell)


def user_without_iptables(lab: Lab) -> None:
    """Add the same to a router of nftables alone."""
    hide("iptables*")(lab)
    add_user()(lab)


def authorize_protected(lab: Lab) -> None:
    """Let the key with the passphrase in."""
    lab.bypass.users.authorize(PUBLIC_OF_PROTECTED_KEY)


def refuse_keys(lab: Lab) -> None:
    """Let the SSH server take passwords only."""
    lab.bypass.ssh.stop()
    config = lab.bypass.root / "etc/ssh/sshd_config"
    config.write_text(config.read_text() + "PubkeyAuthentication no\n")
    lab.bypass.ssh.start()


def block_keys(lab: Lab) -> None:
    """Put a file where the folder of the account's keys should be."""
    (lab.bypass.root / "root/.ssh").write_text("in the way")


IPTABLES_FAILS = (
    '[ "$1" = -V ] && echo "iptables v1.8.9 (nf_tables)" && exit',
    'echo "iptables: table is incompatible with this kernel" >&2',
    "exit 3",
)
FAULTS = {
    "nothing given": Fault("credentials_missing", secret={}),
    "spaces given": Fault(
        "credentials_missing", secret={"password": "", "private_key": " \n "}
    ),
    "both given": Fault(
        "credentials_ambiguous",
        secret={"password": Bypass.root_password, "private_key": PRIVATE_KEY},
    ),
    "wrong password": Fault(
        "authentication_failed", secret={"password": WRONG}, words=("192.168.50.2",)
    ),
    "unknown user": Fault("authentication_failed", address={"username": "nobody-here"}),
    "unknown key": Fault("authentication_failed", secret={"private_key": PRIVATE_KEY}),
    "no key at all": Fault("invalid_private_key", secret={"private_key": "swordfish"}),
    "half a key": Fault(
        "invalid_private_key",
        secret={"private_key": "\n".join(PRIVATE_KEY.splitlines()[:3])},
    ),
    "key of another program": Fault(
        "private_key_of_putty",
        secret={"private_key": PUTTY_KEY},
        words=("PuTTYgen", "Conversions", "Export OpenSSH key"),
    ),
    "public key": Fault("invalid_private_key", secret={"private_key": PUBLIC_KEY}),
    "passphrase missing": Fault(
        "passphrase_required",
        authorize_protected,
        secret={"private_key": PROTECTED_KEY},
    ),
    "passphrase wrong": Fault(
        "wrong_passphrase",
        authorize_protected,
        secret={"private_key": PROTECTED_KEY, "passphrase": WRONG},
    ),
    "no iptables": Fault("firewall_missing", hide("iptables*", "nft")),
    "no iptables-restore": Fault("firewall_missing", hide("iptables-restore", "nft")),
    "no privilege": Fault(
        "not_privileged",
        add_user(),
        address={"username": "guest"},
        secret={"password": GUEST},
        words=("iptables",),
    ),
    "no privilege, nft alone": Fault(
        "not_privileged",
        user_without_iptables,
        address={"username": "guest"},
        secret={"password": GUEST},
        words=("nft -c -f -",),
    ),
    "iptables fails": Fault(
        "firewall_failed",
        without_nft("iptables", *IPTABLES_FAILS),
        words=("iptables --wait", "is incompatible with this kernel"),
    ),
    "iptables prints nonsense": Fault(
        "bad_output",
        without_nft("iptables", "echo 'Guru Meditation'"),
        words=("Guru Meditation",),
    ),
    "no shell": Fault(
        "bad_output",
        add_user("/bin/true"),
        address={"username": "guest"},
        secret={"password": GUEST},
    ),
    "no address": Fault("no_address", hide("ip")),
    "key can't be stored": Fault("key_not_installed", block_keys),
    "keys not accepted": Fault("key_refused", refuse_keys),
    # The test renews it between the two forms.
    "other host key": Fault("host_key_changed"),
}


@pytest.mark.parametrize("name", FAULTS)
async def test_a_router_that_can_not_be_used_is_not_saved(
    hass: HomeAssistant, at_home: Lab, caplog: pytest.LogCaptureFixture, name: str
) -> None:
    """The second form says why and keeps what was typed; the log has no secret."""
    caplog.set_level(logging.DEBUG)
    fault = FAULTS[name]
    fault.prepare(at_home)
    form = await give_address(hass, **fault.address)
    if fault.error == "host_key_changed":
        at_home.bypass.renew_host_keys()
    given = {"install_key": True, **fault.secret}
    result = await give_secret(hass, form, **given)
    checked(hass, at_home, caplog, result, fault)
    assert result["step_id"] == "credentials"
    assert typed(result) == {
        "username": fault.address.get("username", "root"),
        **given,
    }
    keys = (at_home.bypass.root / "root/.ssh").is_dir()
    assert not keys or "bypass_router:" not in at_home.bypass.users.authorized_keys()


async def test_another_host_key_gets_no_secret(
    hass: HomeAssistant, at_home: Lab
) -> None:
    """The sentence shows both keys; the one who has the other learns nothing."""
    form = await give_address(hass)
    expected = fingerprint(at_home)
    at_home.bypass.renew_host_keys()
    result = await give_secret(hass, form, password=Bypass.root_password)
    assert result["errors"] == {"base": "host_key_changed"}
    sentence = said(result)["base"]
    assert expected in sentence
    assert fingerprint(at_home) in sentence
    assert "password" not in at_home.bypass.ssh.log()


async def test_a_connection_that_breaks_is_said(
    hass: HomeAssistant, at_home: Lab
) -> None:
    """As when the router is switched off in the middle."""
    replace("iptables", "touch /tmp/asked; sleep 30")(at_home)
    form = await give_address(hass)
    answer = asyncio.create_task(give_secret(hass, form, password=Bypass.root_password))
    await until((at_home.bypass.root / "tmp/asked").exists)
    at_home.bypass.ssh.stop()
    result = await answer
    assert result["errors"] == {"base": "connection_lost"}
    assert said(result)["base"]
    assert entries(hass) == []


async def test_the_same_form_goes_on_after_a_mistake(
    hass: HomeAssistant, at_home: Lab
) -> None:
    """A wrong address, then a wrong password, then the right ones."""
    form = await give_address(hass, port=2222)
    flow = hass.config_entries.flow
    form = await flow.async_configure(
        form["flow_id"], {"host": "192.168.50.2", "port": 22, "username": "root"}
    )
    form = await give_secret(hass, form, password=WRONG)
    result = await give_secret(hass, form, password=Bypass.root_password)
    assert result["type"] is FlowResultType.CREATE_ENTRY


async def test_without_a_key_the_password_is_kept_only_if_the_user_agrees(
    hass: HomeAssistant, at_home: Lab
) -> None:
    """Unticking the box is the user's choice, made in the same form."""
    block_keys(at_home)
    form = await give_address(hass)
    result = await give_secret(hass, form, password=Bypass.root_password)
    assert result["errors"] == {"base": "key_not_installed"}
    assert entries(hass) == []
    await give_secret(hass, result, password=Bypass.root_password, install_key=False)
    assert entries(hass)[0].data["password"] == Bypass.root_password


async def test_a_key_that_can_not_be_taken_back_is_named_in_the_log(
    hass: HomeAssistant, at_home: Lab, caplog: pytest.LogCaptureFixture
) -> None:
    """It opens nothing, as the server refuses keys; but the user should know."""
    refuse_keys(at_home)
    replace("mv", "echo 'Read-only file system'; exit 1")(at_home)
    form = await give_address(hass)
    result = await give_secret(hass, form, password=Bypass.root_password)
    assert result["errors"] == {"base": "key_refused"}
    assert "stays on the router" in caplog.text
    assert "Read-only file system" in caplog.text


async def test_a_fault_nobody_foresaw_leaves_no_key_behind(
    hass: HomeAssistant, at_home: Lab, caplog: pytest.LogCaptureFixture
) -> None:
    """What was put on the router for nothing is taken back."""
    form = await give_address(hass)
    connect = session.Session.open
    connections: list[session.Session] = []

    async def open_once(*args: Any) -> session.Session:
        if connections:
            raise RuntimeError("the unforeseen")
        connections.append(await connect(*args))
        return connections[0]

    with patch.object(session.Session, "open", open_once):
        result = await give_secret(hass, form, password=Bypass.root_password)
    assert result["errors"] == {"base": "unknown"}
    assert "RuntimeError: the unforeseen" in caplog.text
    assert "bypass_router:" not in at_home.bypass.users.authorized_keys()
    assert entries(hass) == []


async def test_a_link_that_breaks_while_old_keys_are_removed_stops_no_form(
    hass: HomeAssistant, caplog: pytest.LogCaptureFixture
) -> None:
    """They are removed with the next sign-in by a form."""
    router = AsyncMock(spec=Router)
    router.forget_keys.side_effect = ConnectionLost(message="cut")
    assert not await async_forget_keys(router, "secret")
    assert "cut" in caplog.text
    assert "secret" not in caplog.text
