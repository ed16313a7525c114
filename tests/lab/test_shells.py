"""Login shells that are not plain `sh`."""

import time

import pytest

from .network import Lab
from .options import RouterOptions, ShellKind
from .shells import BANNER
from .ssh import SshKind
from .test_lab import run_by_ssh

SERVERS: tuple[SshKind, ...] = ("openssh", "dropbear")


def with_shell(shell: ShellKind) -> pytest.MarkDecorator:
    """Routers with a login shell, and each SSH server."""
    options = [RouterOptions(ssh=server, shell=shell) for server in SERVERS]
    return pytest.mark.parametrize("router_options", options, ids=SERVERS)


async def run(lab: Lab, command: str) -> str:
    """Run a command as root, by SSH."""
    return await run_by_ssh(lab, command, password=lab.bypass.root_password)


@with_shell("chatty")
async def test_a_chatty_shell_prints_first_and_takes_its_time(at_home: Lab) -> None:
    """What is asked for comes behind the banner."""
    started = time.monotonic()
    assert await run(at_home, "echo $((6 * 7))") == f"{BANNER}\n42"
    assert time.monotonic() - started > 0.2


@with_shell("fish")
async def test_fish_is_fish(at_home: Lab) -> None:
    """Its language is not sh's."""
    assert (await run(at_home, "echo $FISH_VERSION"))[0].isdecimal()
    assert await run(at_home, "a=1; echo $a") == ""
    assert await run(at_home, "exec sh -c 'a=1; echo $a'") == "1"


@with_shell("zsh")
async def test_zsh_is_zsh(at_home: Lab) -> None:
    """It does not split words as sh does."""
    assert (await run(at_home, "echo $ZSH_VERSION"))[0].isdecimal()
    assert await run(at_home, "a='1 2'; set -- $a; echo $#") == "1"
