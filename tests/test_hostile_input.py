"""What no one should type: each is refused at its field, or stored as what it is."""

import asyncio
import base64
from binascii import a2b_base64
from collections.abc import Iterable
from functools import cache
import logging
import re
import time
from typing import Any
from unittest.mock import patch

import asyncssh
from asyncssh.asn1 import der_decode, der_encode
from homeassistant.config_entries import (
    SOURCE_USER,
    ConfigFlowResult,
    ConfigSubentry,
    SubentryFlowResult,
)
from homeassistant.const import STATE_ON
from homeassistant.core import HomeAssistant
from homeassistant.data_entry_flow import FlowResultType, InvalidData
from hypothesis import HealthCheck, given, settings, strategies as st
import pytest
from pytest_homeassistant_custom_component.common import MockConfigEntry

from custom_components.bypass_router.const import DOMAIN
from custom_components.bypass_router.router.errors import CannotReach, WrongPassphrase
from custom_components.bypass_router.router.iptables.rules import rules_of
from custom_components.bypass_router.router.ssh.credentials import Credentials, HostKey
from custom_components.bypass_router.subentry import forward_in

from .lab.network import Lab
from .lab.waiting import soon
from .router.rules import SITE
from .sentences import said, typed
from .setup import passes, set_up, switch_of, turn

FETCH = "custom_components.bypass_router.config_flow.fetch_host_key"
CONNECT = "custom_components.bypass_router.config_flow.connect_router"
CANARY = "/tmp/canary"
HOSTILE = [
    "",
    " ",
    "\n",
    "\t\r\n\v\f",
    "\0",
    "a\0b",
    "\x1b[2J\x1b[31m",
    "\x7f",
    "\ud800",
    "\u202eesrever",
    "\u2066\u2069",
    "\u200b",
    "\ufeff",
    "\u2028",
    "\x85",
    "\U000e0041",
    "'",
    '"',
    "\\",
    "`",
    "'; touch /tmp/canary; '",
    '"; touch /tmp/canary; "',
    "$(touch /tmp/canary)",
    "`touch /tmp/canary`",
    "${IFS}",
    "| touch /tmp/canary",
    "& touch /tmp/canary",
    "> /tmp/canary",
    "a\ntouch /tmp/canary",
    "-",
    "--",
    "-oProxyCommand=touch /tmp/canary",
    "--modprobe=/tmp/canary",
    "-j ACCEPT",
    "COMMIT",
    "*nat",
    "#",
    "!",
    "../../../etc/passwd",
    "/dev/zero",
    "file:///etc/passwd",
    "%s%n%x",
    "{name}",
    "{0.__class__}",
    "{{ states }}",
    "<script>alert(1)</script>",
    "[x](javascript:alert(1))",
    "None",
    "null",
    "NaN",
    "1e3",
    "0x50",
    "0o17",
    "1_000",
    "+80",
    "８０",
    "٨٠",
    "²",
    "80-70",
    "8 0",
    "65536",
    "0",
    "-1",
    "9" * 5000,
    "1-" * 1000,
    "0.0.0.0",
    "255.255.255.255",
    "224.0.0.1",
    "127.0.0.1",
    "192.168.50.2",
    "192.168.050.010",
    "192.168.50.10.",
    "3232248330",
    "0xc0a8320a",
    "192.168.50.10/32",
    "192.168.50.10%eth0",
    "::ffff:192.168.50.10",
    "fe80::1",
    "router.lan",
    "10.0.0.1/8",
    "10.0.0.0/0.0.0.255",
    "10.0.0.0/-1",
    "10.0.0.0/+8",
    "10.0.0.0/８",
    "10.0.0.0//8",
    "/8",
    "x" * 300,
    "👩‍🚀" * 100,
    "ﷺ" * 50,
    "Z͑ͫ̓ͪ̂" * 60,
    "x" * 1_000_000,
]
TEXTS = st.one_of(
    st.sampled_from(HOSTILE),
    st.text(max_size=30),
    st.lists(st.sampled_from(HOSTILE[:-1]) | st.text(max_size=5), max_size=4).map(
        "".join
    ),
)
PORTS = TEXTS | st.from_regex(r"\A\s*[0-9]{1,6}(\s*-\s*[0-9]{1,6})?\s*\Z")
ADDRESSES = TEXTS | st.ip_addresses().map(str) | st.from_regex(r"[0-9./]{7,18}")
NETWORKS = ADDRESSES | st.builds(
    "{}/{}".format, st.ip_addresses(v=4), st.integers(0, 40)
)
GOOD: dict[str, Any] = {
    "name": "Camera",
    "protocol": "tcp",
    "external_port": "8443",
    "target": "192.168.50.10",
    "target_port": "",
    "sources": [],
    "keep_client_address": False,
}
FIELDS = ("name", "external_port", "target", "target_port", "sources")
SECTION = "config_subentries.forward"

# One Home Assistant for all examples: each has a router of its own.
drawn = settings(
    max_examples=2 * settings().max_examples,
    deadline=None,
    suppress_health_check=[
        HealthCheck.function_scoped_fixture,
        HealthCheck.too_slow,
        HealthCheck.data_too_large,
    ],
)


# Forwards


def router(hass: HomeAssistant) -> MockConfigEntry:
    """Return a router without a forward."""
    entry = MockConfigEntry(
        domain=DOMAIN, data={"host": "192.168.50.2", "port": 22, "username": "root"}
    )
    entry.add_to_hass(hass)
    return entry


async def add(
    hass: HomeAssistant, entry: MockConfigEntry, fields: dict[str, Any]
) -> SubentryFlowResult:
    """Fill in the form for a new forward."""
    flows = hass.config_entries.subentries
    form = await flows.async_init(
        (entry.entry_id, "forward"), context={"source": SOURCE_USER}
    )
    return await flows.async_configure(form["flow_id"], {**fields, "enabled": False})


async def check_forward(
    hass: HomeAssistant, fields: dict[str, Any], suspects: Iterable[str]
) -> None:
    """Fill in the form, and check that it is refused for a reason, or sound."""
    entry = router(hass)
    started = time.thread_time()
    result = await add(hass, entry, fields)
    assert time.thread_time() - started < 2
    if result["type"] is FlowResultType.FORM:
        assert result["errors"]
        assert result["errors"].keys() <= set(suspects)
        assert all(said(result, SECTION)[field] for field in result["errors"])
        networks = "\n".join(fields["sources"])
        assert typed(result) == {**fields, "sources": networks, "enabled": False}
        assert not entry.subentries
        return
    assert result["type"] is FlowResultType.CREATE_ENTRY
    [forward] = entry.subentries.values()
    check_stored(forward)
    # What is stored is what the form would store of it.
    change = await entry.start_subentry_reconfigure_flow(hass, forward.subentry_id)
    again = await hass.config_entries.subentries.async_configure(
        change["flow_id"], dict(forward.data)
    )
    assert again["type"] is FlowResultType.ABORT
    assert entry.subentries[forward.subentry_id].data == forward.data


def check_stored(subentry: ConfigSubentry) -> None:
    """Check that a forward is stored in one way, and that no text of it travels."""
    data = subentry.data
    assert subentry.title == data["name"] == data["name"].strip()
    assert 1 <= len(data["name"]) <= 100
    ports = r"[1-9][0-9]{0,4}(-[1-9][0-9]{0,4})?"
    assert re.fullmatch(ports, data["external_port"], re.ASCII)
    assert re.fullmatch(f"({ports})?", data["target_port"], re.ASCII)
    address = r"[0-9]{1,3}(\.[0-9]{1,3}){3}"
    assert re.fullmatch(address, data["target"], re.ASCII)
    for source in data["sources"]:
        # A network, or the name of a host.
        client = rf"{address}/[0-9]{{1,2}}|[a-z0-9-]+(\.[a-z0-9-]+)+"
        assert re.fullmatch(client, source, re.ASCII)
    forward = forward_in(subentry)
    for _, rule in rules_of(forward, SITE):
        assert re.fullmatch(r"[A-Za-z0-9 .,:/!_-]+", str(rule), re.ASCII)


@drawn
@given(
    st.fixed_dictionaries(
        {
            "name": TEXTS,
            "protocol": st.sampled_from(["tcp", "udp", "both"]),
            "external_port": PORTS,
            "target": ADDRESSES,
            "target_port": PORTS,
            "sources": st.lists(NETWORKS, max_size=3),
            "keep_client_address": st.booleans(),
        }
    ),
    st.sets(st.sampled_from(FIELDS)),
)
async def test_whatever_is_typed_for_a_forward_is_refused_or_sound(
    hass: HomeAssistant, fields: dict[str, Any], sound: set[str]
) -> None:
    """In any fields at once; the form keeps it, and says what is wrong where."""
    fields = fields | {name: GOOD[name] for name in sound}
    # A range may ask for as many ports of the target, whatever is typed there.
    suspects = {*FIELDS} - sound | {"external_port", "target_port"}
    await check_forward(hass, fields, suspects)


@pytest.mark.parametrize("field", FIELDS)
async def test_each_hostile_text_in_each_field_of_a_forward(
    hass: HomeAssistant, field: str
) -> None:
    """The others being in order, none of them is blamed."""
    for text in HOSTILE:
        value = [text] if field == "sources" else text
        suspects = {field, "target_port"} if "port" in field else {field}
        await check_forward(hass, GOOD | {field: value}, suspects)


@pytest.mark.parametrize("nothing", [None, 7, 7.5, True, ["x"], {"x": "y"}, b"x"])
@pytest.mark.parametrize("field", GOOD)
async def test_what_is_no_text_does_not_get_past_the_form(
    hass: HomeAssistant, field: str, nothing: Any
) -> None:
    """Not even by a client that goes round it; or it is taken for the text it is."""
    entry = router(hass)
    try:
        result = await add(hass, entry, GOOD | {field: nothing})
    except InvalidData:
        assert not entry.subentries
        return
    if result["type"] is FlowResultType.CREATE_ENTRY:
        [forward] = entry.subentries.values()
        check_stored(forward)
    else:
        assert result["errors"].keys() == {field}


# Routers


async def give_address(hass: HomeAssistant, **fields: Any) -> ConfigFlowResult:
    """Fill in the form for a router."""
    flow = hass.config_entries.flow
    form = await flow.async_init(DOMAIN, context={"source": SOURCE_USER})
    address = {"host": "192.168.50.2", "port": 22, "username": "root", **fields}
    return await flow.async_configure(form["flow_id"], address)


async def check_router(hass: HomeAssistant, host: str, username: str) -> None:
    """Fill in the form, and check that only what is sound reaches the network."""
    nobody = CannotReach(host="x", port="22", message="no such host")
    with patch(FETCH, side_effect=nobody) as fetch:
        result = await give_address(hass, host=host, username=username)
    assert result["type"] is FlowResultType.FORM
    assert result["errors"]
    assert typed(result) == {"host": host, "port": 22, "username": username}
    assert all(said(result).values())
    hass.config_entries.flow.async_abort(result["flow_id"])
    if fetch.called:
        assert result["errors"] == {"base": "cannot_reach"}
        asked, port = fetch.call_args.args
        assert re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9.-]*|[0-9a-f:.]+(%[\w.-]+)?", asked)
        assert asked in (host.strip(), host.strip(" []").lower()) or ":" in asked
        assert port == 22
    else:
        assert result["errors"].keys() <= {"host", "username"}


@drawn
@given(ADDRESSES, st.just("root") | TEXTS)
async def test_whatever_is_typed_for_a_router_is_refused_or_sound(
    hass: HomeAssistant, host: str, username: str
) -> None:
    """Nothing else is ever looked up, connected to, or logged in with."""
    await check_router(hass, host, username)


async def test_each_hostile_text_in_each_field_of_a_router(hass: HomeAssistant) -> None:
    """The other being in order."""
    for text in HOSTILE:
        await check_router(hass, text, "root")
        await check_router(hass, "192.168.50.2", text)


@pytest.mark.parametrize(
    "port", [0, 65536, -1, 2**70, "0", "65536", "80-70", "8 0", "", "x", None, [22]]
)
async def test_what_is_no_port_of_a_router_is_refused(
    hass: HomeAssistant, port: Any
) -> None:
    """The form has a field for numbers; a client may go round it."""
    with patch(FETCH) as fetch, pytest.raises(InvalidData):
        await give_address(hass, port=port)
    fetch.assert_not_called()


# Secrets


KEY = asyncssh.generate_private_key("ssh-ed25519")
TEXT = KEY.export_private_key("openssh").decode()


def pem(kind: str, content: bytes) -> str:
    """Return what has the form of a key."""
    text = base64.encodebytes(content).decode()
    return f"-----BEGIN {kind}-----\n{text}-----END {kind}-----\n"


def nested(depth: int) -> bytes:
    """Return sequences in ASN.1, each of which is all that the one around it has."""
    content = b""
    for _ in range(depth):
        size = len(content).to_bytes(3)
        content = b"\x30\x83" + size + content
    return content


BAD_KEYS = {
    "garbage": "\x00\x01\x02\ufffd" * 100,
    "half of a pair": "\ud800",
    "a word by the megabyte": "swordfish " * 400_000,
    "base64 by the megabyte": pem("PRIVATE KEY", b"\xff" * 3_000_000),
    "lines by the megabyte": "-----BEGIN OPENSSH PRIVATE KEY-----\n" * 100_000,
    "nothing within": pem("OPENSSH PRIVATE KEY", b""),
    "a kind nobody knows": pem("WIZARD PRIVATE KEY", b"x" * 100),
    "no end": TEXT.split("-----END")[0],
    "other letters within": TEXT.replace("A", "Ａ"),
    "lengths that lie": pem("OPENSSH PRIVATE KEY", b"openssh-key-v1\0" + b"\xff" * 400),
    "ASN.1 without end": pem("PRIVATE KEY", b"\x30\x84\xff\xff\xff\xff"),
    "ASN.1 in ASN.1": pem("PRIVATE KEY", nested(5000)),
    "ASN.1 of another key": pem("EC PRIVATE KEY", nested(3)),
    "a pattern as header": (
        f"-----BEGIN (a+)+b PRIVATE KEY-----\n-----END {'a' * 60} PRIVATE KEY-----"
    ),
    "no pattern as header": TEXT.replace("BEGIN OPENSSH", "BEGIN (["),
    "ASN.1 of a protected key": pem("ENCRYPTED PRIVATE KEY", nested(3)),
    "a certificate": pem("CERTIFICATE", nested(3)),
    "$()": "$(touch /tmp/canary)",
}


@pytest.mark.parametrize("kind", BAD_KEYS)
async def test_what_is_no_private_key_is_refused(
    hass: HomeAssistant, caplog: pytest.LogCaptureFixture, kind: str
) -> None:
    """In its own words, in time, kept in the form, and seen by no one."""
    caplog.set_level(logging.DEBUG)
    with patch(FETCH, return_value=HostKey.of(KEY)):
        form = await give_address(hass)
    given = {"install_key": True, "private_key": BAD_KEYS[kind]}
    started = time.monotonic()
    result = await hass.config_entries.flow.async_configure(form["flow_id"], given)
    assert time.monotonic() - started < soon(4)
    assert result["errors"] == {"base": "invalid_private_key"}
    assert said(result)["base"]
    assert typed(result) == {"username": "root", **given}
    assert "Traceback" not in caplog.text
    assert not hass.config_entries.async_entries(DOMAIN)
    lines = {line for line in BAD_KEYS[kind].splitlines() if len(line) > 30}
    assert not [line for line in lines if line[:60] in caplog.text]


@cache
def rsa() -> asyncssh.SSHKey:
    """Return a key that takes a while to find."""
    return asyncssh.generate_private_key("ssh-rsa", key_size=2048)


PROTECTED: dict[str, dict[str, Any]] = {
    # OpenSSH's own take 16 rounds or 24, as much of a second.
    "OpenSSH": {"format_name": "openssh", "rounds": 4},
    "PKCS#8": {"format_name": "pkcs8-pem"},
    "old PKCS#8": {
        "format_name": "pkcs8-pem",
        "pbe_version": 1,
        "cipher_name": "des3-cbc",
        "hash_name": "sha1",
    },
    "PKCS#1": {"format_name": "pkcs1-pem"},
}


def protected(kind: str) -> str:
    """Return a key as OpenSSH or openssl protects it."""
    how = PROTECTED[kind]
    exported = key_of(kind).export_private_key(passphrase="the passphrase", **how)
    return exported.decode()


def key_of(kind: str) -> asyncssh.SSHKey:
    """Return the key that is protected in this way."""
    return rsa() if kind in ("old PKCS#8", "PKCS#1") else KEY


def with_rounds(kind: str, rounds: int) -> str:
    """Return such a key that asks for another number of rounds."""
    first, *lines, _last = protected(kind).splitlines()
    content = a2b_base64("".join(lines))
    if kind == "OpenSSH":
        # One key follows.
        old = (4).to_bytes(4) + (1).to_bytes(4)
        assert content.count(old) == 1
        content = content.replace(old, rounds.to_bytes(4) + (1).to_bytes(4))
    else:
        content = der_encode(replaced(der_decode(content), rounds))
    return pem(first.strip("-").removeprefix("BEGIN "), content)


def replaced(value: object, rounds: int) -> object:
    """Return a value of ASN.1 with another number in place of openssl's default."""
    if isinstance(value, tuple):
        return tuple(replaced(part, rounds) for part in value)
    return rounds if value == 2048 else value


@pytest.mark.parametrize("kind", PROTECTED)
def test_a_key_is_read_however_it_is_protected_and_pasted(kind: str) -> None:
    """With the end of lines of another system, and with words around it."""
    text = protected(kind)
    for pasted in (text, text.replace("\n", "\r\n"), f"Bag Attributes\n{text}\nend"):
        account = Credentials("root", None, pasted, "the passphrase")
        key = account.load_key()
        assert key is not None
        assert key.public_data == key_of(kind).public_data


@pytest.mark.parametrize(
    ("kind", "rounds"),
    [
        ("OpenSSH", 1025),
        ("OpenSSH", 2**32 - 1),
        ("PKCS#8", 4_000_001),
        ("PKCS#8", 2**20_000),
        ("old PKCS#8", 2**31),
    ],
    ids=["OpenSSH", "OpenSSH longest", "PKCS#8", "PKCS#8 longest", "old PKCS#8"],
)
async def test_a_key_that_would_take_for_ever_to_open_is_refused_at_once(
    hass: HomeAssistant, kind: str, rounds: int
) -> None:
    """The sentence says how much is borne."""
    with patch(FETCH, return_value=HostKey.of(KEY)):
        form = await give_address(hass)
    given = {
        "install_key": True,
        "private_key": with_rounds(kind, rounds),
        "passphrase": "the passphrase",
    }
    started = time.monotonic()
    result = await hass.config_entries.flow.async_configure(form["flow_id"], given)
    assert time.monotonic() - started < soon(1)
    assert result["errors"] == {"base": "private_key_costly"}
    assert ("1024" if kind == "OpenSSH" else "4000000") in said(result)["base"]
    assert typed(result) == {"username": "root", **given}


@pytest.mark.parametrize("kind", ["OpenSSH", "PKCS#8", "old PKCS#8"])
def test_a_key_that_takes_a_while_to_open_is_opened(kind: str) -> None:
    """Its passphrase is tried; with other rounds it is another one's."""
    text = with_rounds(kind, 100 if kind == "OpenSSH" else 100_000)
    with pytest.raises(WrongPassphrase):
        Credentials("root", None, text, "the passphrase").load_key()


@pytest.mark.parametrize(
    "secret", ["a\0b", "\0", "a\nb", "a\tb", "\x1b[A", "\x7f", "\ud800"]
)
async def test_what_can_be_no_password_is_told_so_and_not_sent(
    hass: HomeAssistant, secret: str
) -> None:
    """A server would break the connection off, as if it were none."""
    with patch(FETCH, return_value=HostKey.of(KEY)):
        form = await give_address(hass)
    given = {"install_key": True, "password": secret}
    with patch(CONNECT) as connect:
        result = await hass.config_entries.flow.async_configure(form["flow_id"], given)
    connect.assert_not_called()
    assert result["errors"] == {"password": "invalid_password"}
    assert said(result)["password"]
    assert typed(result) == {"username": "root", **given}


@pytest.mark.parametrize(
    "secret", ["'; touch /tmp/canary; '", "$(touch /tmp/canary)", "Ａ\u202e"]
)
async def test_a_password_is_a_password_whatever_it_holds(
    hass: HomeAssistant, at_home: Lab, secret: str
) -> None:
    """It is sent as it is, refused as it is, and nothing of it is run."""
    form = await give_address(hass)
    given = {"install_key": True, "password": secret}
    result = await hass.config_entries.flow.async_configure(form["flow_id"], given)
    assert result["errors"] == {"base": "authentication_failed"}
    assert typed(result) == {"username": "root", **given}
    assert not (at_home.bypass.root / CANARY.lstrip("/")).exists()


# Names that are hostile to a shell, and good names all the same

NAMES = [
    "'; touch /tmp/canary; '",
    '"; touch /tmp/canary; "',
    "$(touch /tmp/canary)",
    "`touch /tmp/canary`",
    '" -j ACCEPT',
    "--modprobe=/tmp/canary",
    "-- | & > ; < * ? ~ # !",
    "../../../tmp/canary",
    "\\x27 \\0 \\n %s%n ${IFS}",
    "{name} {0} {{ states }}",
    "<script>alert(1)</script>",
    "玄関 كاميرا מצלמה 👩‍🚀",
]


async def test_names_that_a_shell_would_run_are_names(
    hass: HomeAssistant, at_home: Lab
) -> None:
    """Packets pass, nothing is run, and no name ever gets to the router."""
    at_home.target.serve("tcp", 443)
    entry = await set_up(hass, at_home)
    for number, name in enumerate(NAMES):
        result = await add(
            hass,
            entry,
            GOOD
            | {
                "name": name,
                "external_port": str(8443 + number),
                "target_port": "443",
            },
        )
        assert result["type"] is FlowResultType.CREATE_ENTRY, name
    await hass.async_block_till_done(wait_background_tasks=False)
    switches = [switch_of(hass, entry, name) for name in NAMES]
    await turn(hass, "on", *switches)
    for number, (name, switch) in enumerate(zip(NAMES, switches, strict=True)):
        state = hass.states.get(switch)
        assert state.state == STATE_ON
        assert name in state.attributes["friendly_name"]
        assert await passes(at_home, 8443 + number), name
    assert not (at_home.bypass.root / CANARY.lstrip("/")).exists()
    assert not await asyncio.to_thread(named_on, at_home)
    # Renamed, changed and removed, they are as harmless.
    for number, forward in enumerate(list(entry.subentries.values())):
        hass.config_entries.async_update_subentry(
            entry, forward, title=NAMES[number - 1]
        )
    await turn(hass, "off", *switches)
    assert "HA-BYPASS" not in at_home.bypass.iptables_save()
    assert not (at_home.bypass.root / CANARY.lstrip("/")).exists()
    assert not await asyncio.to_thread(named_on, at_home)


def named_on(lab: Lab) -> str:
    """Return each trace of the names on the router: files, rules, processes, log."""
    folders = ("/etc", "/root", "/home", "/var", "/tmp", "/run", "/usr/local")
    found = lab.bypass.run(
        *("grep", "-rlF", "-D", "skip"),
        *(part for name in NAMES for part in ("-e", name)),
        *folders,
        check=False,
    ).stdout
    shown = lab.bypass.run(
        "sh",
        "-c",
        "nft list ruleset; iptables-legacy-save; ps -ewwo args=",
    ).stdout
    return found + "".join(name for name in NAMES if name in shown)
