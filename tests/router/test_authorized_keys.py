"""A key of our own goes into the account, and out again, beside the user's keys."""

from collections.abc import AsyncIterator

import asyncssh
import pytest

from custom_components.bypass_router.router.errors import (
    AuthenticationFailed,
    KeyNotInstalled,
)
from custom_components.bypass_router.router.router import Router
from custom_components.bypass_router.router.ssh.authorized_keys import (
    authorized_line,
    generate_key,
    made_here,
)
from custom_components.bypass_router.router.ssh.credentials import Credentials
from tests.lab.bypass import RouterOptions
from tests.lab.network import Lab

from .client import connect

THEIRS = "ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIA== 'the user'\"s key"


@pytest.fixture(params=["openssh", "dropbear"])
def router_options(request: pytest.FixtureRequest) -> RouterOptions:
    """Both servers read keys with options in front."""
    return RouterOptions(ssh=request.param)


@pytest.fixture
async def router(at_home: Lab) -> AsyncIterator[Router]:
    """The bypass router, connected with the password."""
    router = await connect(at_home)
    yield router
    await router.close()


async def test_an_installed_key_logs_in_until_it_is_removed(
    at_home: Lab, router: Router
) -> None:
    """Installing and removing again changes nothing."""
    key = generate_key("ab12")
    account = Credentials("root", private_key=key)
    for _ in range(2):
        await router.install_key(key)
    assert at_home.bypass.users.authorized_keys() == f"{authorized_line(key)}\n"
    second = await connect(at_home, account=account)
    await second.rules.apply([])
    await second.close()
    for _ in range(2):
        await router.remove_key(key)
    assert at_home.bypass.users.authorized_keys() == ""
    with pytest.raises(AuthenticationFailed):
        await connect(at_home, account=account)


@pytest.mark.parametrize("end", ["\n", ""], ids=["line end", "no line end"])
async def test_the_users_keys_stay(at_home: Lab, router: Router, end: str) -> None:
    """To the letter, in a file with or without a line end, and its mode too."""
    file = "/root/.ssh/authorized_keys"
    at_home.bypass.run("mkdir", "-p", "/root/.ssh")
    at_home.bypass.run(
        "sh", "-c", 'cat >"$0"; chmod 640 "$0"', file, input=f"# mine\n{THEIRS}{end}"
    )
    key = generate_key("ab12")
    await router.install_key(key)
    assert at_home.bypass.users.authorized_keys() == (
        f"# mine\n{THEIRS}\n{authorized_line(key)}\n"
    )
    await (await connect(at_home, account=Credentials("root", private_key=key))).close()
    await router.remove_key(key)
    assert at_home.bypass.users.authorized_keys() == f"# mine\n{THEIRS}\n"
    listing = at_home.bypass.run("sh", "-c", f"stat -c %a {file}; ls -A /root/.ssh")
    assert listing.stdout.split() == ["640", "authorized_keys"]


@pytest.mark.parametrize("busybox", [False, True])
@pytest.mark.parametrize("kept", [True, False])
@pytest.mark.parametrize("end", ["\n", ""], ids=["line end", "no line end"])
async def test_keys_of_ours_that_piled_up_go_and_no_one_elses(
    at_home: Lab, router: Router, end: str, kept: bool, busybox: bool
) -> None:
    """Those with the mark of this Home Assistant, but for the one that is used."""
    if busybox:
        for name in ("grep", "cp", "mv", "readlink"):
            at_home.bypass.commands.replace(
                name, f'#!/bin/sh\nexec busybox {name} "$@"\n'
            )
    keep, *old = (generate_key("ab12") for _ in range(4))
    ours = [authorized_line(key) for key in old]
    others = [
        "# mine",
        THEIRS,
        authorized_line(generate_key("cd34")),
        authorized_line(generate_key("ab12")).partition(" ")[2],
        f"#{authorized_line(generate_key('ab12'))}",
        f"{authorized_line(generate_key('ab12'))} too",
    ]
    lines = [ours[0], *others, authorized_line(keep), *ours[1:]]
    at_home.bypass.run("mkdir", "-p", "/root/.ssh")
    write = "cat >/root/.ssh/authorized_keys; chmod 640 /root/.ssh/authorized_keys"
    at_home.bypass.run("sh", "-c", write, input="\n".join(lines) + end)
    for _ in range(2):
        await router.forget_keys(keep if kept else None)
    found = at_home.bypass.users.authorized_keys()
    assert found.splitlines() == [*others, *([authorized_line(keep)] if kept else [])]
    show = "stat -c %a /root/.ssh/authorized_keys; ls -A /root/.ssh"
    listing = at_home.bypass.run("sh", "-c", show).stdout
    assert listing.split() == ["640", "authorized_keys"]


async def test_no_file_of_keys_is_made_by_looking_for_old_ones(
    at_home: Lab, router: Router
) -> None:
    """Nor is one without any of ours written."""
    await router.forget_keys(None)
    listing = at_home.bypass.run("sh", "-c", "ls -A /root/.ssh 2>/dev/null || true")
    assert listing.stdout == ""


async def test_our_key_can_do_no_more_than_run_commands(
    at_home: Lab, router: Router
) -> None:
    """No terminal, and no way on into the LAN through it."""
    key = generate_key("ab12")
    await router.install_key(key)
    async with asyncssh.connect(
        at_home.bypass.address,
        config=None,
        known_hosts=None,
        username="root",
        client_keys=[asyncssh.import_private_key(key)],
        agent_path=None,
    ) as connection:
        assert (await connection.run("echo yes")).stdout == "yes\n"
        with pytest.raises(asyncssh.ChannelOpenError):
            await connection.run("true", term_type="xterm")
        at_home.target.serve("tcp", 443)
        with pytest.raises(asyncssh.ChannelOpenError):
            await connection.open_connection(at_home.target.address, 443)


async def test_on_openwrt_the_key_goes_where_its_dropbear_looks(
    at_home: Lab, router: Router
) -> None:
    """Root's keys stand in /etc/dropbear there."""
    at_home.bypass.run("sh", "-c", "mkdir -p /etc/dropbear; touch /etc/openwrt_release")
    key = generate_key("ab12")
    await router.install_key(key)
    listed = at_home.bypass.run("cat", "/etc/dropbear/authorized_keys").stdout
    assert listed == f"{authorized_line(key)}\n"
    await router.remove_key(key)
    assert at_home.bypass.run("cat", "/etc/dropbear/authorized_keys").stdout == ""


async def test_a_key_that_can_not_be_written_is_an_error(
    at_home: Lab, router: Router
) -> None:
    """A read-only disk, say, or a file in the way."""
    at_home.bypass.run("sh", "-c", "rm -rf /root/.ssh; echo in the way >/root/.ssh")
    with pytest.raises(KeyNotInstalled, match=r"File exists|Not a directory"):
        await router.install_key(generate_key("ab12"))


def test_only_our_own_keys_are_taken_for_ours() -> None:
    """A user's key must survive the removal of the entry."""
    assert made_here(generate_key("ab12"), "ab12")
    assert not made_here(generate_key("cd34"), "ab12")
    users = asyncssh.generate_private_key("ssh-ed25519", comment="me@laptop")
    assert not made_here(users.export_private_key("openssh").decode(), "ab12")
    locked = users.export_private_key("openssh", passphrase="x", rounds=1).decode()
    assert not made_here(locked, "ab12")
