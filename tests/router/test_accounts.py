"""An account that a router does not let in for its own sake, told from no router."""

from typing import override

import asyncssh
import pytest

from custom_components.bypass_router.router.errors import (
    AccountRefused,
    AuthenticationFailed,
    BadOutput,
    NoAnswer,
    NotSSH,
    PasswordExpired,
    RouterError,
)
from custom_components.bypass_router.router.ssh.credentials import Credentials
from custom_components.bypass_router.router.ssh.script import Script
from custom_components.bypass_router.router.ssh.session import Session, fetch_host_key
from tests.lab.network import Lab

from .client import open_session
from .test_hostile_output import PINNED, Server, local, running, serve

__all__ = ["local"]

HELLO = Script().run("said", "echo hello")
ACCOUNT = Credentials("guest", "secret")
# Days since 1970, as shadow has them.
EXPIRED = "20000:0:99999:7::1:"
MUST_CHANGE = "0:0:99999:7:::"
IN_ORDER = "20000:0:99999:7:::"


# What sshd asks, of which the first word counts.
NO_PAM = ""
PAM = "UsePAM yes\n"
DIALOG = f"{PAM}PasswordAuthentication no\nKbdInteractiveAuthentication yes\n"
POLICY = """\
auth required pam_unix.so
account required pam_unix.so
password required pam_unix.so
session required pam_permit.so
"""


def use_settings(lab: Lab, settings: str) -> None:
    """Have sshd follow these before its own."""
    lab.bypass.disk.write("/etc/pam.d/sshd", POLICY)
    path = lab.bypass.disk.path("/etc/ssh/sshd_config")
    path.write_text(settings + path.read_text())
    lab.bypass.ssh.stop()
    lab.bypass.ssh.start()


def add_guest(lab: Lab, age: str, shell: str = "/bin/sh") -> None:
    """Add an account whose password and which itself is so old."""
    lab.bypass.users.add("guest", "secret", shell)
    renew(lab, age)


def renew(lab: Lab, age: str) -> None:
    """Let the account be so old."""
    path = lab.bypass.disk.path("/etc/shadow")
    *others, guest = path.read_text().splitlines()
    hashed = ":".join(guest.split(":")[:2])
    path.write_text("\n".join((*others, f"{hashed}:{age}", "")))


async def says_hello(lab: Lab) -> None:
    """Log in as the guest, and run a script."""
    session = await open_session(lab, ACCOUNT)
    try:
        assert (await session.run(HELLO))["said"].output == "hello"
    finally:
        await session.close()


@pytest.mark.parametrize(
    ("settings", "age", "error"),
    [
        # Nothing tells it from a wrong password.
        (NO_PAM, EXPIRED, AuthenticationFailed),
        (PAM, EXPIRED, AccountRefused),
        (DIALOG, EXPIRED, AccountRefused),
        (NO_PAM, MUST_CHANGE, PasswordExpired),
        (PAM, MUST_CHANGE, PasswordExpired),
        (DIALOG, MUST_CHANGE, PasswordExpired),
    ],
    ids=[
        "expired",
        "expired, PAM",
        "expired, dialog",
        "password too old",
        "password too old, PAM",
        "password too old, dialog",
    ],
)
async def test_an_account_that_has_had_its_time_is_told_as_that(
    at_home: Lab, settings: str, age: str, error: type[RouterError]
) -> None:
    """And the same account is let in when it is in order again."""
    use_settings(at_home, settings)
    add_guest(at_home, age)
    with pytest.raises(error) as caught:
        await says_hello(at_home)
    assert type(caught.value) is error
    assert "secret" not in str(caught.value)
    renew(at_home, IN_ORDER)
    await says_hello(at_home)


@pytest.mark.parametrize("settings", [NO_PAM, PAM, DIALOG])
async def test_a_wrong_password_is_no_account_that_has_had_its_time(
    at_home: Lab, settings: str
) -> None:
    """Whatever the banner says of passwords."""
    at_home.bypass.disk.write("/etc/issue.net", "Change your password often!\n")
    use_settings(at_home, f"{settings}Banner /etc/issue.net\n")
    add_guest(at_home, IN_ORDER)
    with pytest.raises(AuthenticationFailed) as caught:
        await open_session(at_home, Credentials("guest", "wrong"))
    assert type(caught.value) is AuthenticationFailed


async def test_an_account_without_a_shell_and_a_port_without_ssh_are_others(
    at_home: Lab,
) -> None:
    """Each has its own sentence."""
    add_guest(at_home, IN_ORDER, "/usr/sbin/nologin")
    with pytest.raises(BadOutput, match="currently not available"):
        await says_hello(at_home)
    at_home.target.serve("tcp", 22)
    with pytest.raises((NotSSH, NoAnswer)):
        await fetch_host_key(at_home.target.address, 22)


class WantsAnother(Server):
    """A server that asks for a new password in the words of the protocol."""

    @override
    def validate_password(self, username: str, password: str) -> bool:
        raise asyncssh.PasswordChangeRequired("Choose another one")


@pytest.mark.usefixtures("local")
async def test_a_server_that_asks_for_a_new_password_gets_none() -> None:
    """That is for a person to choose."""
    async with running(serve(WantsAnother)) as port:
        with pytest.raises(PasswordExpired):
            await Session.open("127.0.0.1", port, PINNED, ACCOUNT)
