"""A connection to a real SSH server: what is proved, what is sent, what fails how."""

import asyncio
from collections.abc import Callable
from dataclasses import replace
from functools import partial
import json
import socket
from textwrap import indent
import time
from typing import Any

import asyncssh
import pytest
import pytest_socket

from custom_components.bypass_router.router.errors import (
    AuthenticationFailed,
    BadOutput,
    CannotReach,
    ConnectionLost,
    HostKeyChanged,
    InvalidPrivateKey,
    NameUnknown,
    NoAnswer,
    NoRoute,
    NotSSH,
    PassphraseRequired,
    PortClosed,
    RouterError,
    TimedOut,
    WrongPassphrase,
)
from custom_components.bypass_router.router.ssh import (
    login as login_module,
    session as session_module,
)
from custom_components.bypass_router.router.ssh.credentials import Credentials, HostKey
from custom_components.bypass_router.router.ssh.private_key import PuttyPrivateKey
from custom_components.bypass_router.router.ssh.script import Script
from custom_components.bypass_router.router.ssh.session import Session, fetch_host_key
from tests.lab.bypass import RouterOptions
from tests.lab.network import NETWORKS, Lab
from tests.lab.waiting import soon, until

from .client import credentials, open_session

HELLO = Script().run("said", "echo hello")
KEY = asyncssh.generate_private_key("ssh-ed25519")
PUBLIC_KEY = KEY.export_public_key("openssh").decode()
PRIVATE_KEY = KEY.export_private_key("openssh").decode()
# More rounds take a hundredth of a second each, whenever it is opened.
ENCRYPTED_KEY = KEY.export_private_key("openssh", "sesame", rounds=1).decode()


async def says_hello(session: Session) -> bool:
    """Return whether a script runs over the session, and close it."""
    try:
        return (await session.run(HELLO))["said"].output == "hello"
    finally:
        await session.close()


@pytest.mark.parametrize(
    "router_options",
    [
        RouterOptions(ssh="openssh"),
        RouterOptions(ssh="openssh", host_keys=("rsa",)),
        RouterOptions(ssh="openssh", host_keys=("ecdsa",)),
        RouterOptions(ssh="dropbear"),
        RouterOptions(ssh="dropbear", host_keys=("ed25519",)),
        RouterOptions(ssh="dropbear", host_keys=("rsa",)),
    ],
    ids=lambda options: f"{options.ssh}-{'-'.join(options.host_keys)}",
)
async def test_any_server_proves_its_key_and_lets_us_in(at_home: Lab) -> None:
    """By password and by key, whatever kinds of host key it has."""
    kind = at_home.options.host_keys[0]
    found = await fetch_host_key(at_home.bypass.address, 22)
    assert found.text == at_home.bypass.host_key(kind)
    assert found.fingerprint.startswith("SHA256:")
    assert await says_hello(await open_session(at_home))
    at_home.bypass.users.authorize(PUBLIC_KEY)
    account = Credentials("root", private_key=PRIVATE_KEY)
    assert await says_hello(await open_session(at_home, account))


async def test_a_key_may_have_a_passphrase(at_home: Lab) -> None:
    """And then needs it."""
    at_home.bypass.users.authorize(PUBLIC_KEY)
    account = Credentials("root", private_key=ENCRYPTED_KEY, passphrase="sesame")
    assert await says_hello(await open_session(at_home, account))


@pytest.mark.parametrize(
    ("private_key", "passphrase", "error"),
    [
        ("rubbish", None, InvalidPrivateKey),
        (PUBLIC_KEY, None, InvalidPrivateKey),
        ("PuTTY-User-Key-File-3: ssh-ed25519", None, PuttyPrivateKey),
        (PRIVATE_KEY.replace("A", "Ａ"), None, InvalidPrivateKey),
        (PRIVATE_KEY.replace("END OPENSSH", "END RSA"), None, InvalidPrivateKey),
        ("\0\ud800", None, InvalidPrivateKey),
        (ENCRYPTED_KEY, None, PassphraseRequired),
        (ENCRYPTED_KEY, "", PassphraseRequired),
        (ENCRYPTED_KEY, "open", WrongPassphrase),
        (
            KEY.export_private_key("pkcs8-pem", passphrase="sesame").decode(),
            "open",
            WrongPassphrase,
        ),
    ],
    ids=[
        "rubbish",
        "public key",
        "PuTTY",
        "other letters",
        "another end",
        "no text",
        "no passphrase",
        "empty passphrase",
        "OpenSSH, wrong passphrase",
        "PKCS #8, wrong passphrase",
    ],
)
def test_a_key_that_is_no_use_is_named(
    private_key: str, passphrase: str | None, error: type[RouterError]
) -> None:
    """Before anyone connects anywhere."""
    account = Credentials("root", private_key=private_key, passphrase=passphrase)
    with pytest.raises(error) as caught:
        account.load_key()
    assert private_key not in str(caught.value)


PASTED: dict[str, Callable[[str], str]] = {
    "other line ends": lambda text: text.replace("\n", "\r\n"),
    "old line ends": lambda text: text.replace("\n", "\r"),
    "indented": lambda text: indent(text, "    "),
    "indented by tabs, in YAML": lambda text: "key: |\n" + indent(text, "\t\t"),
    "one line": lambda text: text.replace("\n", " "),
    "one line, without spaces": lambda text: text.replace("\n", ""),
    "lines between": lambda text: text.replace("\n", "\n\n"),
    "spaces at the ends": lambda text: text.replace("\n", "  \n"),
    "in JSON": json.dumps,
    "quoted": lambda text: f"'{text}'",
    "each line quoted": lambda text: "\n".join(f'"{x}"' for x in text.splitlines()),
    "in a reply": lambda text: indent(text, "> ", lambda _: True),
    "in Markdown": lambda text: f"```\n{text}```\n",
    "in a mail": lambda text: f"Hello,\n\nhere it is:\n{text}\n-- \nBob",
    "with its public half": lambda text: f"{PUBLIC_KEY}{text}{PUBLIC_KEY}",
    "a mark at the beginning": lambda text: f"\ufeff{text}",
    "marks that no one sees": lambda text: text.replace("\n", "\u200b\n"),
    "hard spaces": lambda text: indent(text, "\u00a0"),
    "long dashes": lambda text: text.replace("--", "\u2014"),
}


@pytest.mark.parametrize("kind", PASTED)
def test_a_key_is_read_as_people_paste_it(kind: str) -> None:
    """Whatever editors, browsers and messengers do to it, and around it."""
    paste = PASTED[kind]
    assert Credentials("root", private_key=paste(PRIVATE_KEY)).load_key() == KEY
    rsa = asyncssh.generate_private_key("ssh-rsa", key_size=1024)
    for how in ("openssh", "pkcs8-pem", "pkcs1-pem"):
        for passphrase in (None, "sesame"):
            text = rsa.export_private_key(how, passphrase, rounds=1).decode()
            account = Credentials("root", None, paste(text), passphrase)
            assert account.load_key() == rsa
            if passphrase:
                with pytest.raises(PassphraseRequired):
                    replace(account, passphrase=None).load_key()


def test_secrets_do_not_show_in_a_repr() -> None:
    """Where logs would find them."""
    account = Credentials("root", "secret-1", "secret-2", "secret-3")
    assert "secret" not in repr(account)


@pytest.mark.parametrize("stranger", ["ed25519", "rsa"])
async def test_a_router_with_another_key_gets_no_secret(
    at_home: Lab, stranger: str
) -> None:
    """Be it of the same kind or of another; and both fingerprints are told."""
    pinned = await fetch_host_key(at_home.bypass.address, 22)
    at_home.bypass.start_ssh("openssh", host_keys=(stranger,))
    at_home.bypass.renew_host_keys()
    at_home.bypass.users.authorize(PUBLIC_KEY)
    found = HostKey(at_home.bypass.host_key(stranger)).fingerprint
    for account in (credentials(at_home), Credentials("root", private_key=PRIVATE_KEY)):
        with pytest.raises(HostKeyChanged) as caught:
            await Session.open(at_home.bypass.address, 22, pinned, account)
        assert caught.value.details["expected"] == pinned.fingerprint
        assert caught.value.details["found"] == found
    log = at_home.bypass.ssh.log()
    assert "Accepted" not in log
    assert "Failed" not in log


async def test_a_refused_account_is_told_apart_from_a_silent_router(
    at_home: Lab,
) -> None:
    """A wrong password, a key that no one knows, a user that is none."""
    for account in (
        Credentials("root", "wrong"),
        Credentials("root", private_key=PRIVATE_KEY),
        replace(credentials(at_home), username="nobody-here"),
    ):
        with pytest.raises(AuthenticationFailed) as caught:
            await open_session(at_home, account)
        assert "wrong" not in str(caught.value)


async def test_each_failure_to_connect_has_its_name(
    at_home: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No one at the address, a closed port, something else that listens."""
    with pytest.raises(PortClosed):
        await fetch_host_key(at_home.bypass.address, 2222)
    at_home.target.serve("tcp", 22)
    monkeypatch.setattr(session_module, "CONNECT_TIMEOUT", 0.5)
    with pytest.raises((NotSSH, NoAnswer)):
        await fetch_host_key(at_home.target.address, 22)
    with pytest.raises(NoAnswer):
        await fetch_host_key("192.168.50.99", 22)
    monkeypatch.undo()
    with pytest.raises(CannotReach):
        await fetch_host_key("192.168.50.99", 22)


async def test_a_name_that_nobody_knows_is_told(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """It is faked, since the lab has no name server."""

    def unknown(*_: object, **__: object) -> None:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", unknown)
    with pytest.raises(NameUnknown) as caught:
        await fetch_host_key("rooter.lan", 22)
    assert caught.value.details == {"host": "rooter.lan", "port": "22"}


DEAD = ("fd00:50::99", "192.168.50.99")


@pytest.mark.parametrize("dead", DEAD)
async def test_a_name_may_have_an_address_that_is_dead(
    at_home: Lab, monkeypatch: pytest.MonkeyPatch, dead: str
) -> None:
    """What is sent there is dropped, and nobody says so; another one is good."""
    ip = partial(at_home.home.run, "ip")
    if ":" in dead:
        at_home.home.sysctl("net.ipv6.conf.lan.disable_ipv6", "0")
        ip("address", "add", "fd00:50::5/64", "dev", "lan", "nodad")
        pytest_socket.socket_allow_hosts([dead, *NETWORKS], allow_unix_socket=True)
    # No one has it, and no one is asked who does.
    card = ("lladdr", "02:00:00:00:00:99", "dev", "lan", "nud", "permanent")
    ip("neighbour", "replace", dead, *card)
    real = socket.getaddrinfo

    def named(host: str, *args: Any, **more: Any) -> list[Any]:
        if host != "router.lan":
            return real(host, *args, **more)
        return [
            *real(dead, *args, **more),
            *real(at_home.bypass.address, *args, **more),
        ]

    monkeypatch.setattr(socket, "getaddrinfo", named)
    began = time.monotonic()
    key = await fetch_host_key("router.lan", 22)
    session = await Session.open("router.lan", 22, key, credentials(at_home))
    assert time.monotonic() - began < soon(3)
    assert await says_hello(session)
    monkeypatch.setattr(session_module, "CONNECT_TIMEOUT", soon(1))
    with pytest.raises(NoAnswer):
        await fetch_host_key("router.lan", 2222)


async def test_of_several_addresses_that_are_no_use_the_best_word_is_told(
    at_home: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    """There is no way to one, and another one refuses the port."""
    real = socket.getaddrinfo

    def named(host: str, *args: Any, **more: Any) -> list[Any]:
        addresses = ("2001:db8::1", at_home.bypass.address)
        return [x for one in addresses for x in real(one, *args, **more)]

    monkeypatch.setattr(socket, "getaddrinfo", named)
    with pytest.raises(PortClosed):
        await fetch_host_key("router.lan", 2222)


async def test_an_address_to_which_no_way_leads_is_told_in_plain_words(
    at_home: Lab,
) -> None:
    """Not in those of a programmer."""
    with pytest.raises(NoRoute) as caught:
        await fetch_host_key("192.168.50.99", 22)
    assert caught.value.details == {"host": "192.168.50.99", "port": "22"}


async def test_a_dead_router_is_noticed(
    at_home: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    """No one says goodbye when the power fails: within 20 seconds, here faster."""
    interval, count = login_module.KEEPALIVE_INTERVAL, login_module.KEEPALIVE_COUNT
    assert interval * (count + 1) < 20
    monkeypatch.setattr(login_module, "KEEPALIVE_INTERVAL", 0.1)
    session = await open_session(at_home)
    at_home.bypass.cut_link()
    await until(lambda: session.closed)
    with pytest.raises(ConnectionLost):
        await session.run(HELLO)
    await session.close()


async def test_a_connection_that_breaks_under_a_script_is_an_error(
    at_home: Lab,
) -> None:
    """Never an empty answer."""
    session = await open_session(at_home)
    running = asyncio.create_task(session.run(Script().run("slow", "sleep 9")))
    await asyncio.sleep(0.3)
    at_home.bypass.stop_ssh()
    with pytest.raises(ConnectionLost):
        await running


async def test_a_router_that_never_ends_does_not_hold_us(at_home: Lab) -> None:
    """Time and memory are bounded, and the connection is still good after it."""
    session = await open_session(at_home)
    started = time.monotonic()
    with pytest.raises(TimedOut):
        await session.run(Script().run("slow", "sleep 9"), 0.3)
    with pytest.raises(BadOutput):
        await session.run(Script().run("long", "yes without end"))
    with pytest.raises(BadOutput):
        await session.run(Script().run("line", "cat /dev/zero"))
    assert time.monotonic() - started < soon(20)
    assert await says_hello(session)


async def test_noise_in_no_encoding_is_survived(at_home: Lab) -> None:
    """Asyncssh would drop the connection over it."""
    session = await open_session(at_home)
    noise = Script().run("noise", "head -c 4096 /dev/urandom").run("after", "echo ok")
    assert (await session.run(noise))["after"].output == "ok"
    assert await says_hello(session)


@pytest.mark.parametrize("shell", ["/bin/sh", "/bin/bash"])
async def test_a_login_profile_may_talk(at_home: Lab, shell: str) -> None:
    """And be slow about it."""
    profile = "echo 'Welcome to $HOME!'; printf 'no line end'; sleep 0.2\n"
    users = at_home.bypass.users
    users.add("chatty", "secret", shell)
    for name in (".profile", ".bashrc", ".bash_profile"):
        at_home.bypass.run("sh", "-c", f'printf %s "$0" >>~chatty/{name}', profile)
    assert await says_hello(
        await open_session(at_home, Credentials("chatty", "secret"))
    )


async def test_an_account_without_a_shell_is_told_by_what_it_prints(
    at_home: Lab,
) -> None:
    """The router's own words help."""
    at_home.bypass.users.add("guest", "secret", "/usr/sbin/nologin")
    session = await open_session(at_home, Credentials("guest", "secret"))
    with pytest.raises(BadOutput, match="currently not available"):
        await session.run(HELLO)
    await session.close()
