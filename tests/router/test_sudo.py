"""An account that is not root: all by sudo, only what is documented, or nothing."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
import re
import time

import pytest

from custom_components.bypass_router.router import watch as watch_module
from custom_components.bypass_router.router.account_key import generate_key
from custom_components.bypass_router.router.credentials import Credentials
from custom_components.bypass_router.router.errors import (
    AuthenticationFailed,
    NotPrivileged,
)
from custom_components.bypass_router.router.firewall import Live
from custom_components.bypass_router.router.privilege import refused_by_sudo
from custom_components.bypass_router.router.router import Router
from custom_components.bypass_router.router.script import Result
from custom_components.bypass_router.router.watch import Change
from tests.lab.network import Lab
from tests.lab.user_namespace import single_user

from .client import BOTH_VARIANTS, WEB, WITHOUT_TABLES, connect
from .test_watch import Listener, processes

SECURITY = (Path(__file__).parents[2] / "SECURITY.md").read_text(encoding="utf-8")
NAME = "homeassistant"
PASSWORD = "the account's password"
ACCOUNT = Credentials(NAME, PASSWORD)
LOG = "/var/log/sudo.log"
# As Debian has them; and a log, for us.
DEFAULTS = f"""\
Defaults env_reset, mail_badpass, use_pty, logfile={LOG}, loglinelen=0
Defaults secure_path="/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
@includedir /etc/sudoers.d
admin ALL = (ALL) ALL
"""
FILE = "/etc/sudoers.d/bypass-router"


def documented(language: str) -> list[str]:
    """Return what SECURITY.md says to type, or to put into a file."""
    return re.findall(rf"```{language}\n(.*?)```", SECURITY, re.DOTALL)


(SUDOERS,) = documented("sudoers")
# As sudoers has them, with a backslash before what means something there.
LINES = re.findall(r"/usr/sbin/(?:[^,\\\n]|\\=)+(?<! )", SUDOERS)
COMMANDS = frozenset(line.replace("\\", "") for line in LINES)


def without(part: str) -> str:
    """Return the documented lines, with the commands that have this part taken back."""
    taken = ", ".join(f"!{line}" for line in LINES if part in line)
    return f"{SUDOERS}{NAME} ALL = (root) {taken}\n"


@pytest.fixture
def own(at_home: Lab) -> Lab:
    """The lab, with the account on the router that SECURITY.md has one make."""
    if single_user():
        pytest.skip("a second user on the router needs root, or a range of ids")
    bypass = at_home.bypass
    # Sudo comes with a user who may do all.
    bypass.users.add("admin", PASSWORD, sudo="all")
    make, _set_password = documented("sh")[0].splitlines()
    bypass.run(*make.split())
    bypass.users.set_password(NAME, PASSWORD)
    bypass.disk.write("/etc/sudoers", DEFAULTS, 0o440)
    return at_home


def allow(lab: Lab, sudoers: str) -> None:
    """Let the account do what these lines say."""
    lab.bypass.disk.write(FILE, sudoers, 0o440)
    lab.bypass.run("visudo", "-c", "-f", FILE)


@asynccontextmanager
async def connected(
    lab: Lab, credentials: Credentials = ACCOUNT
) -> AsyncIterator[Router]:
    """The router, connected with the account, and closed afterwards."""
    router = await connect(lab, account=credentials)
    try:
        yield router
    finally:
        await router.close()


@asynccontextmanager
async def listening(router: Router) -> AsyncIterator[Listener]:
    """A listener that has heard that it hears."""
    listener = Listener(router)
    assert await listener.next() == Change()
    try:
        yield listener
    finally:
        listener.task.cancel()
        await asyncio.gather(listener.task, return_exceptions=True)


async def passes(lab: Lab) -> bool:
    """Tell whether payload goes from the internet to the target and back."""
    exchange = await asyncio.to_thread(
        lab.internet.exchange, "tcp", lab.main.wan_address, 8443, timeout=0.4
    )
    return exchange.passed


async def works(lab: Lab, router: Router) -> None:
    """See that a forward comes and goes with its traffic, and that nothing stays."""
    lab.target.serve("tcp", 443)
    before = lab.bypass.iptables_save()
    assert (await router.apply([WEB])).forwards == {WEB.id: WEB}
    assert await passes(lab)
    lab.bypass.run("iptables", "-t", "nat", "-D", "PREROUTING", "-j", "HA-BYPASS-PRE")
    assert (await router.read()).damaged == {WEB.id}
    assert (await router.apply([WEB])).forwards == {WEB.id: WEB}
    assert await passes(lab)
    assert await router.count() == {WEB.id: 2}
    assert await router.apply([]) == Live({}, frozenset(), frozenset())
    assert not await passes(lab)
    assert lab.bypass.iptables_save() == before


async def hears(lab: Lab, router: Router) -> None:
    """See that a change by another program is heard of, and by which if it tells."""
    async with listening(router) as listener:
        lab.bypass.run("iptables", "-t", "nat", "-I", "PREROUTING", "-j", "RETURN")
        # Changes by the legacy variant are reported by nobody, but looked for.
        named = router.reports and lab.options.iptables == "nft"
        cause = "iptables" if named else None
        assert await listener.next(3) == Change(cause)


async def works_where_iptables_shows_nothing(lab: Lab, router: Router) -> None:
    """See that a forward comes and goes beside native rules in the kernel's chains."""
    await router.apply([WEB])
    for place in ("nat PREROUTING", "nat POSTROUTING", "filter FORWARD"):
        lab.bypass.run("nft", f"add rule ip {place} fib daddr type local counter")
    assert (await router.read()).forwards == {WEB.id: WEB}
    assert await passes(lab)
    assert (await router.apply([])).forwards == {}


def as_account(lab: Lab, command: str, before: str = "true") -> tuple[int, str]:
    """Return the status of a command of the account's, and what it prints.

    What root does before it is undone after it.
    """
    become = f"setpriv --reuid={NAME} --regid={NAME} --init-groups sh -c"
    done = lab.bypass.run(
        *("unshare", "--mount", "sh", "-c", f'{before} && exec {become} "$0"', command),
        check=False,
    )
    return done.returncode, done.stdout + done.stderr


def ran(lab: Lab) -> set[str]:
    """Return the commands that sudo has run for the account."""
    log = lab.bypass.disk.path(LOG).read_text()
    assert "command not allowed" not in log
    commands = set(re.findall(r"COMMAND=(.*)$", log, re.MULTILINE))
    return {command for command in commands if not command.startswith("list")}


@BOTH_VARIANTS
async def test_an_account_that_may_do_all_works(own: Lab) -> None:
    """And hears of changes at once, where the router reports them."""
    allow(own, f"{NAME} ALL = (ALL) NOPASSWD: ALL\n")
    async with connected(own) as router:
        assert router.probe.sudo
        assert router.reports
        await works(own, router)
        await hears(own, router)


@BOTH_VARIANTS
async def test_an_account_that_may_do_what_is_documented_works(own: Lab) -> None:
    """Each command is needed, and no other: sudo's own log tells."""
    allow(own, f"{SUDOERS}Defaults!BYPASS_ROUTER_LOOK log_allowed\n")
    of_nft = {command for command in COMMANDS if re.search(" -C | mangle ", command)}
    async with connected(own) as router:
        assert router.probe.sudo
        assert router.reports
        await works(own, router)
        await hears(own, router)
        own.bypass.sysctl("net.ipv4.ip_forward", "0")
        await router.enable_forwarding()
        if own.options.iptables == "nft":
            of_nft = set()
            await works_where_iptables_shows_nothing(own, router)
    assert ran(own) == COMMANDS - of_nft


async def test_looks_do_not_fill_the_log(own: Lab) -> None:
    """Changes are in there."""
    allow(own, SUDOERS)
    async with connected(own) as router:
        await router.apply([WEB])
    assert ran(own) == {"/usr/sbin/iptables-restore --noflush --wait 5"}


@pytest.mark.parametrize(
    "command",
    [
        "iptables -t nat -F",
        "iptables --wait 5 -t nat -S PREROUTING -v",
        "iptables --wait 5 -t nat -S HA-BYPASS-PRE --modprobe=/home/evil",
        "iptables-restore",
        "iptables-restore --noflush --wait 5 /etc/shadow",
        "iptables-save -f /etc/cron.d/evil",
        "nft list ruleset",
        "nft -f /etc/shadow",
        "nft monitor ruleset",
        "sysctl -w net.ipv4.ip_forward=0",
        "sysctl -w net.ipv4.ip_forward=1 net.ipv4.conf.all.rp_filter=0",
        "-u admin nft monitor",
        "sh",
    ],
)
def test_what_is_not_documented_is_refused(own: Lab, command: str) -> None:
    """Other arguments are another command."""
    allow(own, SUDOERS)
    assert as_account(own, f"sudo -n {command}") == (
        1,
        "sudo: a password is required\n",
    )


@BOTH_VARIANTS
@pytest.mark.parametrize("tag", ["NOEXEC: ", ""], ids=["as documented", "without"])
def test_no_program_can_be_smuggled_in_among_the_rules(own: Lab, tag: str) -> None:
    """A rule can name a program that root is to load the kernel's modules by.

    iptables-legacy runs it where the kernel's list of tables is missing, as after
    a boot. What sudo is told keeps it from that.
    """
    allow(own, SUDOERS.replace("NOEXEC: ", tag))
    own.bypass.disk.write("/home/evil", "#!/bin/sh\nid -un >/tmp/ran\n", 0o755)
    rules = "*filter\\n-A FORWARD -M /home/evil -m connmark --mark 1\\nCOMMIT\\n"
    change = f"printf '{rules}' | sudo -n iptables-restore --noflush --wait 5"
    as_account(own, change, before=WITHOUT_TABLES)
    vulnerable = own.options.iptables == "legacy" and not tag
    assert (own.bypass.root / "tmp/ran").exists() == vulnerable


ALL = f"{NAME} ALL = NOPASSWD: ALL\n"
LOOK = "iptables --wait 5 -t nat -S PREROUTING"
# What asks sudo for what, where root has prepared what, and whether it is refused.
ASKED = {
    "nothing": ("", LOOK, "true", True),
    "by password": (f"{NAME} ALL = ALL\n", LOOK, "true", True),
    "elsewhere": (f"{NAME} elsewhere = NOPASSWD: ALL\n", LOOK, "true", True),
    "without a password": (f"Defaults !authenticate\n{SUDOERS}", "sh", "true", True),
    "unknown": (f"Defaults:{NAME} !authenticate\n", LOOK, "true", True),
    "terminal": (f"Defaults requiretty\n{ALL}", LOOK, "true", True),
    "nameless": (SUDOERS, "sh", "hostname nameless", True),
    "no setuid": (
        ALL,
        LOOK,
        "cd /usr/bin && mount --bind sudo sudo && mount -o remount,bind,nosuid sudo",
        True,
    ),
    "allowed": (ALL, LOOK, "true", False),
    "no such chain": (ALL, "iptables -t nat -F NONE", "true", False),
    "no such chain, nameless": (
        ALL,
        "iptables -t nat -F NONE",
        "hostname nameless",
        False,
    ),
    "no such option": (ALL, "iptables --none", "hostname nameless", False),
    "no such command": (ALL, "none", "true", False),
}


@pytest.mark.parametrize(
    ("sudoers", "command", "before", "refused"), ASKED.values(), ids=ASKED
)
def test_a_refusal_of_sudos_is_told_from_a_failure_of_the_command(
    own: Lab, sudoers: str, command: str, before: str, *, refused: bool
) -> None:
    """Though sudo warns of its own troubles beside the command's words."""
    allow(own, sudoers)
    status, printed = as_account(own, f"LC_ALL=C sudo -n {command}", before)
    assert refused_by_sudo(Result(printed, status)) is refused
    assert ("unable to resolve host" in printed) == ("nameless" in before)
    if before == "true":
        own.bypass.commands.hide("sudo")
        status, printed = as_account(own, f"sudo -n {command}")
        assert refused_by_sudo(Result(printed, status))


@pytest.mark.parametrize(
    ("sudoers", "refused"),
    [
        ("", "iptables --wait 5 -t nat -S PREROUTING"),
        (f"{NAME} ALL = (ALL) ALL\n", "iptables --wait 5 -t nat -S PREROUTING"),
        (without("-S PREROUTING"), "iptables --wait 5 -t nat -S PREROUTING"),
        (without("restore"), "iptables-restore --noflush --wait 5"),
        (without("-S POSTROUTING"), "iptables -t nat -S POSTROUTING"),
        (without("-S HA-BYPASS-FWD"), "iptables -t filter -S HA-BYPASS-FWD"),
    ],
    ids=["nothing", "by password", "no look", "no change", "no look 2", "no look 3"],
)
async def test_the_command_that_was_refused_is_named(
    own: Lab, sudoers: str, refused: str
) -> None:
    """At once: nobody waits for a password that nobody can type."""
    allow(own, sudoers)
    started = time.monotonic()
    with pytest.raises(NotPrivileged) as caught:
        async with connected(own) as router:
            await router.read()
    assert caught.value.details["command"] == refused
    assert time.monotonic() - started < 5


async def test_an_account_that_may_not_turn_forwarding_on_is_told(own: Lab) -> None:
    """It may do all else."""
    allow(own, without("sysctl"))
    own.bypass.sysctl("net.ipv4.ip_forward", "0")
    async with connected(own) as router:
        with pytest.raises(NotPrivileged, match=r"sysctl -w net\.ipv4\.ip_forward=1"):
            await router.enable_forwarding()
        await router.apply([WEB])


async def test_an_account_without_sudo_on_the_router_is_refused(own: Lab) -> None:
    """The command is named as well."""
    own.bypass.commands.hide("sudo")
    with pytest.raises(NotPrivileged, match="iptables --wait 5 -t nat -S PREROUTING"):
        await connect(own, account=ACCOUNT)


@pytest.mark.parametrize(
    "extra",
    ["", f"{NAME} ALL = (root) PASSWD: /usr/sbin/nft monitor\n"],
    ids=["not at all", "by password"],
)
async def test_an_account_that_may_not_listen_looks(own: Lab, extra: str) -> None:
    """Once a second, though the router could report."""
    allow(own, without("monitor") + extra)
    async with connected(own) as router:
        await hears(own, router)
        assert not router.reports


@BOTH_VARIANTS
@pytest.mark.parametrize("end", ["closed", "dropped", "cut"])
async def test_no_process_of_roots_stays_on_the_router(
    own: Lab, end: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Though it is an ordinary account that has to end it."""
    monkeypatch.setattr(watch_module, "HEARTBEAT_LIMIT", 1)
    allow(own, SUDOERS)
    before = processes(own)
    async with connected(own) as router, listening(router):
        assert len(processes(own)) > len(before)
        if end == "closed":
            await router.close()
        elif end == "dropped":
            own.bypass.run("sh", "-c", f"pkill -9 -f '^sshd: {NAME}'")
        else:
            own.bypass.cut_link()
        async with asyncio.timeout(5):
            while processes(own) != before:
                await asyncio.sleep(0.05)
        own.bypass.restore_link()


async def test_a_key_comes_and_goes_without_a_privilege(own: Lab) -> None:
    """It is the account's own file; and then the password can be taken back."""
    allow(own, SUDOERS)
    key = generate_key("ab12")
    with_key = Credentials(NAME, private_key=key)
    keys = own.bypass.disk.path(f"/home/{NAME}/.ssh/authorized_keys")
    async with connected(own) as router:
        await router.install_key(key)
        assert keys.read_text().endswith("bypass_router:ab12\n")
        own.bypass.run("sh", "-c", documented("sh")[1])
        with pytest.raises(AuthenticationFailed):
            await connect(own, account=ACCOUNT)
        async with connected(own, with_key) as second:
            await works(own, second)
        await router.remove_key(key)
    assert keys.read_text() == ""
