"""The commands by which a person compares a router's host key with what is shown."""

from typing import Final

import pytest

from custom_components.bypass_router.router.errors import HostKeyChanged
from custom_components.bypass_router.router.ssh.credentials import Credentials, HostKey
from custom_components.bypass_router.router.ssh.session import Session, fetch_host_key
from tests.lab.bypass import RouterOptions
from tests.lab.network import Lab

KINDS: Final = ("ed25519", "ecdsa", "rsa")
DROPBEAR: Final = RouterOptions(ssh="dropbear", host_keys=KINDS)


@pytest.mark.parametrize("router_options", [RouterOptions()])
@pytest.mark.parametrize("kind", KINDS)
def test_the_command_for_openssh_prints_the_fingerprint(lab: Lab, kind: str) -> None:
    """For a key of each kind, as the router's disk has it."""
    key = HostKey(lab.bypass.host_key(kind))
    shown = lab.bypass.run(*key.openssh_command.split()).stdout
    assert key.fingerprint in shown.split()


@pytest.mark.parametrize("router_options", [DROPBEAR])
@pytest.mark.parametrize("kind", KINDS)
def test_the_command_for_dropbear_prints_the_fingerprint(lab: Lab, kind: str) -> None:
    """Where OpenWrt has its keys."""
    key = HostKey(lab.bypass.host_key(kind))
    shown = lab.bypass.run(*key.dropbear_command.split()).stdout
    assert key.fingerprint in shown.split()


async def test_who_meets_another_key_is_given_the_commands_for_that(
    at_home: Lab,
) -> None:
    """It may be of another kind than the known one."""
    pinned = await fetch_host_key(at_home.bypass.address, 22)
    at_home.bypass.renew_host_keys()
    found = HostKey(at_home.bypass.host_key())
    with pytest.raises(HostKeyChanged) as caught:
        await Session.open(
            at_home.bypass.address, 22, pinned, Credentials("root", "secret")
        )
    assert caught.value.details["openssh_command"] == found.openssh_command
    assert caught.value.details["dropbear_command"] == found.dropbear_command
