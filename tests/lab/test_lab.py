"""What the lab promises to those who use it."""

import asyncio
import os
from pathlib import Path
import shlex
import signal
import subprocess
import sys

import asyncssh
import pytest

from .bypass import RouterOptions
from .exchange import Outcome
from .network import Lab
from .requirements import LabUnavailable
from .user_namespace import rules_the_host, single_user
from .waiting import LIMIT, until, wait_until

REPOSITORY = Path(__file__).parents[2]
BUILD_AND_WAIT = """
from tests.lab.network import Lab
lab = Lab()
lab.target.serve("tcp", 443)
for node in lab.nodes:
    print(node.process, flush=True)
print("built", flush=True)
input()
"""
BOTH_SERVERS = pytest.mark.parametrize(
    "router_options",
    [RouterOptions(ssh="openssh"), RouterOptions(ssh="dropbear")],
    ids=["openssh", "dropbear"],
)


async def run_by_ssh(lab: Lab, command: str, **login: object) -> str:
    """Log in on the bypass router with a pinned host key, and run a command."""
    options = {"username": "root", "client_keys": None, **login}
    async with asyncssh.connect(
        lab.bypass.address,
        config=None,
        agent_path=None,
        known_hosts=([asyncssh.import_public_key(lab.bypass.host_key())], [], []),
        server_host_key_algs=["ssh-ed25519"],
        **options,
    ) as connection:
        return str((await connection.run(command)).stdout).strip()


def namespaces_in_use() -> set[Path]:
    """The network namespaces that some process is in or holds open."""
    found = set()
    for process in Path("/proc").iterdir():
        if process.name.isdecimal():
            for link in (process / "ns/net", *_listed(process / "fd")):
                try:
                    found.add(link.readlink())
                except OSError:
                    continue
    return found


def _listed(folder: Path) -> list[Path]:
    """What is in a folder, if it can be read."""
    try:
        return list(folder.iterdir())
    except OSError:
        return []


@BOTH_SERVERS
async def test_root_logs_in_by_password_and_by_key(at_home: Lab) -> None:
    """A key lets no one in until it is installed."""
    router = at_home.bypass
    assert await run_by_ssh(at_home, "id -u", password=router.root_password) == "0"
    key = asyncssh.generate_private_key("ssh-ed25519")
    with pytest.raises(asyncssh.PermissionDenied):
        await run_by_ssh(at_home, "id -u", client_keys=[key])
    router.users.authorize(key.export_public_key().decode())
    assert router.users.authorized_keys().startswith("ssh-ed25519 ")
    assert await run_by_ssh(at_home, "id -u", client_keys=[key]) == "0"


@BOTH_SERVERS
async def test_another_user_has_the_rights_that_sudo_gives(at_home: Lab) -> None:
    """All, or some commands; an ordinary user's lab without ids to spare says no."""
    users = at_home.bypass.users
    if single_user():
        with pytest.raises(LabUnavailable, match="needs root, or the package uidmap"):
            users.add("ann", "secret")
        return
    users.add("ann", "secret", sudo="all")
    users.add("bob", "secret", sudo=("/usr/sbin/iptables",))
    asked = "id -un; sudo -n id -un; sudo -n iptables -t nat -S POSTROUTING"
    rules = ["-P POSTROUTING ACCEPT", "-A POSTROUTING -o lan -j MASQUERADE"]
    for name, expected in (("ann", ["ann", "root", *rules]), ("bob", ["bob", *rules])):
        said = await run_by_ssh(at_home, asked, username=name, password="secret")
        assert said.splitlines() == expected


async def test_reboot_leaves_the_disk_and_nothing_else(at_home: Lab) -> None:
    """Rules of all kinds, processes and connections go; keys, users, SSH stay."""
    router = at_home.bypass
    key = asyncssh.generate_private_key("ssh-ed25519")
    router.users.authorize(key.export_public_key().decode())
    rules, boot_id, host_key = router.iptables_save(), router.boot_id, router.host_key()
    hardware = router.run("cat", "/sys/class/net/lan/address").stdout
    for command in (
        "iptables-nft -t nat -N MINE",
        "iptables-legacy -t filter -P FORWARD DROP",
        "nft add table ip mine",
        "touch /tmp/mine",
    ):
        router.run(*command.split())
    assert router.iptables_save() != rules
    left_running = router.spawn("sleep", "1000")
    password = router.root_password
    connected = asyncio.create_task(run_by_ssh(at_home, "sleep 999", password=password))
    await until(lambda: "Accepted" in router.ssh.log())
    await asyncio.to_thread(router.reboot)
    left_running.wait(LIMIT)
    # Its server may live long enough to say that what it ran was killed.
    ended = asyncio.gather(connected, return_exceptions=True)
    (end,) = await asyncio.wait_for(ended, LIMIT)
    assert end == "" or isinstance(end, (OSError, asyncssh.Error))
    assert router.iptables_save() == rules
    assert "mine" not in router.run("nft", "list", "tables").stdout
    assert router.run("ls", "/tmp").stdout == ""
    said = await run_by_ssh(
        at_home, "cat /proc/sys/kernel/random/boot_id", client_keys=[key]
    )
    assert said == router.boot_id != boot_id
    assert router.host_key() == host_key
    assert router.run("cat", "/sys/class/net/lan/address").stdout == hardware


async def test_commands_can_be_missing_or_fail_on_the_router(at_home: Lab) -> None:
    """Those who log in by SSH find it so, and put back as it was."""
    commands = at_home.bypass.commands
    password = at_home.bypass.root_password
    before = await run_by_ssh(at_home, "iptables -V", password=password)
    assert "nf_tables" in before
    at_home.bypass.use_iptables("legacy")
    assert "legacy" in await run_by_ssh(at_home, "iptables -V", password=password)
    commands.hide("iptables*", "nft")
    at_home.bypass.reboot()
    asked = "iptables -V; echo $?; /usr/sbin/nft -v; echo $?"
    assert await run_by_ssh(at_home, asked, password=password) == "127\n127"
    commands.restore()
    real = commands.replace("iptables", '#!/bin/sh\necho "no $1" >&2\nexit 4\n')
    asked = f"iptables -V 2>&1; echo $?; {real} -V"
    said = await run_by_ssh(at_home, asked, password=password)
    assert said == f"no -V\n4\n{before}"


def test_a_program_that_changes_the_rules_is_waited_for(lab: Lab) -> None:
    """By another that does: iptables-legacy alone would give up at once."""
    holds = "touch /run/held; sleep 1"
    with lab.bypass.spawn("flock", "/run/xtables.lock", "sh", "-c", holds):
        wait_until((lab.bypass.root / "run/held").exists)
        lab.bypass.real("iptables-legacy", "-A", "FORWARD", "-j", "ACCEPT")


async def test_new_host_keys_are_not_the_old_ones(at_home: Lab) -> None:
    """Who pinned the old one is refused."""
    old = at_home.bypass.host_key()
    password = at_home.bypass.root_password
    at_home.bypass.renew_host_keys()
    assert at_home.bypass.host_key() != old
    assert await run_by_ssh(at_home, "id -u", password=password) == "0"


def test_a_cut_link_carries_nothing_until_it_is_restored(lab: Lab) -> None:
    """No one is told: connections time out, they are not refused."""
    lab.target.serve("tcp", 443)
    lab.target.cut_link()
    tried = lab.other.exchange("tcp", lab.target.address, 443, timeout=0.3)
    # The other host itself gives up, where it has waited for an address long enough.
    assert tried.outcome in {Outcome.NO_CONNECTION, Outcome.UNREACHABLE}
    lab.target.restore_link()
    wait_until(lambda: lab.other.exchange("tcp", lab.target.address, 443).passed)


def test_a_range_of_ports_is_served_each_as_itself(lab: Lab) -> None:
    """What is reached is told by port, over TCP and UDP."""
    lab.target.serve("tcp", "7000-7500")
    lab.target.serve("udp", "7000-7500")
    for protocol in ("tcp", "udp"):
        tried = lab.other.exchange(protocol, lab.target.address, 7123)
        assert (tried.port_seen, tried.peer_seen) == (7123, lab.other.address)
        tried = lab.other.exchange(protocol, lab.target.address, 7501)
        assert tried.outcome is Outcome.REFUSED


def test_reset_gives_a_lab_as_new(lab: Lab) -> None:
    """Rules, routes, services, users and commands are those of the beginning."""
    rules = lab.bypass.iptables_save()
    lab.bypass.run("iptables", "-t", "nat", "-F")
    lab.target.serve("tcp", 443)
    lab.target.use_gateway(lab.main.address)
    lab.main.clear_forwards()
    lab.reset()
    assert lab.bypass.iptables_save() == rules
    assert f"via {lab.bypass.address}" in lab.target.run("ip", "route").stdout
    tried = lab.internet.exchange("tcp", lab.main.wan_address, 443)
    assert tried.outcome is Outcome.REFUSED


def test_two_labs_stand_side_by_side(lab: Lab) -> None:
    """With the same names and addresses, and nothing to do with each other."""
    with Lab() as second:
        second.target.serve("tcp", 443)
        assert second.other.exchange("tcp", second.target.address, 443).passed
        tried = lab.other.exchange("tcp", lab.target.address, 443)
        assert tried.outcome is Outcome.REFUSED
        lab.bypass.run("iptables", "-t", "nat", "-F")
        assert "MASQUERADE" in second.bypass.iptables_save()


def test_a_command_that_takes_too_long_is_killed(lab: Lab) -> None:
    """Also on the router, behind the process that stands for it."""
    with pytest.raises(subprocess.TimeoutExpired):
        lab.bypass.run("sleep", "1000", timeout=0.1)
    names = [
        entry.read_text().strip()
        for entry in (lab.bypass.root / "proc").glob("[0-9]*/comm")
    ]
    assert "sleep" not in names


def test_the_router_can_not_harm_the_host(lab: Lab) -> None:
    """What is not its own it can't change, even as root."""
    for place in ("/usr/bin/../lib", "/", "/opt"):
        done = lab.bypass.run("touch", f"{place}/mine", check=False)
        assert "Read-only" in done.stderr
    for own in ("/etc", "/root", "/run", "/tmp", "/var", "/home"):
        lab.bypass.run("touch", f"{own}/mine-in-the-lab")
        assert not Path(own, "mine-in-the-lab").exists()


@pytest.mark.lab
def test_nothing_is_left_of_a_lab_whose_process_was_killed() -> None:
    """Not a process and not a namespace, without anyone's cleaning up."""
    with subprocess.Popen(
        [sys.executable, "-c", BUILD_AND_WAIT],
        cwd=REPOSITORY,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as builder:
        assert builder.stdout is not None
        *processes, built = (builder.stdout.readline().strip() for _ in range(7))
        assert built == "built"
        networks = {Path(f"/proc/{process}/ns/net").readlink() for process in processes}
        assert len(networks) == 6
        assert networks <= namespaces_in_use()
        builder.send_signal(signal.SIGKILL)
    wait_until(lambda: not networks & namespaces_in_use())


def private_folders() -> list[Path]:
    """The folders that keep other users from this repository, outermost first."""
    needed = (Path(__file__), Path(sys.executable).resolve())
    parents = {parent for path in needed for parent in path.parents}
    return sorted(path for path in parents if path.stat().st_mode & 0o005 != 0o005)


@pytest.fixture
def as_ordinary_user() -> list[str]:
    """What makes a command run as a user without any rights."""
    if not rules_the_host():
        return []
    script = ["mount -t tmpfs tmpfs /mnt"]
    covered: list[Path] = []
    for number, folder in enumerate(private_folders()):
        # Only for the command, a folder such as /root is one that others may enter.
        if not any(folder.is_relative_to(other) for other in covered):
            covered.append(folder)
            layers = (f"/mnt/{number}", f"/mnt/{number}-work")
            options = f"lowerdir={folder},upperdir={layers[0]},workdir={layers[1]}"
            script.append(f"mkdir {shlex.join(layers)}")
            script.append(f"mount -t overlay -o '{options}' overlay '{folder}'")
        script.append(f"chmod o+rx '{folder}'")
    user = "setpriv --reuid=65534 --regid=65534 --clear-groups"
    script.append(f'exec {user} "$@"')
    return ["unshare", "--mount", "sh", "-ec", "\n".join(script), "sh"]


@pytest.mark.lab
def test_all_this_works_for_an_ordinary_user(as_ordinary_user: list[str]) -> None:
    """Logins, the article's failure and its cure, without any skipped."""
    chosen = "root_logs_in or alone or another_user or (cure and bypass and nft)"
    done = subprocess.run(
        [
            *as_ordinary_user,
            sys.executable,
            "-m",
            "pytest",
            "-q",
            "-p",
            "no:cacheprovider",
            "-k",
            chosen,
            Path(__file__).parent,
        ],
        cwd=REPOSITORY,
        check=False,
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONDONTWRITEBYTECODE": "1"},
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "skipped" not in done.stdout
