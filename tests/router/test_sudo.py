"""An account that is not root: all by sudo, only what is documented, or nothing."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import replace
from pathlib import Path
import re
import time

import pytest

from custom_components.bypass_router.router.backend import Backend
from custom_components.bypass_router.router.doctor.doctor import diagnose
from custom_components.bypass_router.router.doctor.report import (
    Cause,
    Check,
    Reason,
    Step,
)
from custom_components.bypass_router.router.doctor.visit import await_client
from custom_components.bypass_router.router.errors import (
    AuthenticationFailed,
    ClosingRefused,
    NotPrivileged,
)
from custom_components.bypass_router.router.forward import Protocol
from custom_components.bypass_router.router.monitor import Change, NewConnection
from custom_components.bypass_router.router.router import Router
from custom_components.bypass_router.router.rules.base import Live
from custom_components.bypass_router.router.ssh.authorized_keys import generate_key
from custom_components.bypass_router.router.ssh.credentials import Credentials
from custom_components.bypass_router.router.ssh.script import Result
from custom_components.bypass_router.router.ssh.sudo import refused_by_sudo
from tests.client import Connection
from tests.lab.bypass import RouterOptions
from tests.lab.network import Lab
from tests.lab.resolver import dead_resolver
from tests.lab.user_namespace import single_user
from tests.lab.waiting import soon, until, until_told
from tests.test_earlier_flows import sending

from .client import BOTH_VARIANTS, WEB, WITHOUT_TABLES, connect, give_up_after
from .test_monitor import listening, processes

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
BESIDE_OR_ALONE = pytest.mark.parametrize(
    "router_options",
    [RouterOptions(), RouterOptions(iptables=None)],
    ids=["beside iptables", "alone"],
)


def documented(language: str) -> list[str]:
    """Return what SECURITY.md says to type, or to put into a file."""
    return re.findall(rf"```{language}\n(.*?)```", SECURITY, re.DOTALL)


BY_NFT, BY_IPTABLES, REST = documented("sudoers")
SUDOERS = BY_IPTABLES + REST
FOR_NFT = BY_NFT + REST


def lines_of(sudoers: str) -> list[str]:
    """Return the commands, each as sudoers has it."""
    return re.findall(r"/usr/sbin/(?:\\,|[^,\n])+", sudoers.replace("\\\n", ""))


def allows(line: str, command: str) -> bool:
    """Return whether a command is one of those that a line of sudoers means."""
    path, _, arguments = line.partition(" ")
    if not arguments.startswith("^"):
        return line.replace("\\", "") == command
    program, _, given = command.partition(" ")
    return program == path and bool(re.fullmatch(arguments, given))


def without(part: str, sudoers: str = SUDOERS) -> str:
    """Return the documented lines, with the commands that have this part taken back."""
    taken = ", ".join(f"!{line}" for line in lines_of(sudoers) if part in line)
    assert taken
    return f"{sudoers}{NAME} ALL = (root) {taken}\n"


@pytest.fixture
def own(at_home: Lab) -> Lab:
    """The lab, with the account on the router that SECURITY.md has one make."""
    if single_user():
        pytest.skip("a second user on the router needs root, or a range of ids")
    at_home.target.serve("tcp", 443)
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
    lab: Lab,
    credentials: Credentials = ACCOUNT,
    firewall: Backend = Backend.IPTABLES,
    *,
    closes: bool = False,
) -> AsyncIterator[Router]:
    """The router, connected with the account, and closed afterwards."""
    router = await connect(lab, account=credentials, firewall=firewall, closes=closes)
    try:
        yield router
    finally:
        await router.close()


async def refused(lab: Lab, firewall: Backend) -> str:
    """Return the command that the account needs for a look, and may not run."""
    with pytest.raises(NotPrivileged) as caught:
        async with connected(lab, firewall=firewall) as router:
            await router.rules.read()
    return caught.value.details["command"]


async def passes(lab: Lab) -> bool:
    """Return whether payload goes from the internet to the target and back."""
    exchange = await asyncio.to_thread(
        lab.internet.exchange, "tcp", lab.main.wan_address, 8443, timeout=0.4
    )
    return exchange.passed


async def works(lab: Lab, router: Router) -> None:
    """See that a forward comes and goes with its traffic, and that nothing stays."""
    before = lab.bypass.iptables_save()
    assert (await router.rules.apply([WEB])).forwards == {WEB.id: WEB}
    assert await passes(lab)
    lab.bypass.run("iptables", "-t", "nat", "-D", "PREROUTING", "-j", "HA-BYPASS-PRE")
    assert (await router.rules.read()).damaged == {WEB.id}
    assert (await router.rules.apply([WEB])).forwards == {WEB.id: WEB}
    assert await passes(lab)
    assert await router.rules.count() == {WEB.id: 2}
    assert await router.rules.apply([]) == Live({}, frozenset(), frozenset())
    assert not await passes(lab)
    assert lab.bypass.iptables_save() == before


async def hears(lab: Lab, router: Router) -> None:
    """See that a change by another program is heard of, and by which if it tells."""
    async with listening(router) as listener:
        lab.bypass.run("iptables", "-t", "nat", "-I", "PREROUTING", "-j", "RETURN")
        # Changes by the legacy variant are reported by no one, but looked for.
        named = router.reports and lab.options.iptables == "nft"
        cause = "iptables" if named else None
        assert await listener.next(3) == Change(cause)


async def works_where_iptables_shows_nothing(lab: Lab, router: Router) -> None:
    """See that a forward comes and goes beside native rules in the kernel's chains."""
    lab.bypass.run("iptables", "-P", "FORWARD", "DROP")
    await router.rules.read()
    await router.rules.apply([WEB])
    for place in ("nat PREROUTING", "nat POSTROUTING", "filter FORWARD"):
        lab.bypass.run("nft", f"add rule ip {place} fib daddr type local counter")
    assert (await router.rules.read()).forwards == {WEB.id: WEB}
    assert await passes(lab)
    assert (await router.rules.apply([])).forwards == {}


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


@contextmanager
def tunnel(lab: Lab) -> Iterator[None]:
    """Have the router send into a tunnel what is for the internet, as proxies do."""
    lab.bypass.run(
        "sh",
        "-ec",
        "ip link add tunnel type veth peer name away;"
        " ip link set away up; ip link set tunnel up;"
        " ip route add default dev tunnel table 2022;"
        " ip rule add pref 9002 lookup main suppress_prefixlength 0;"
        " ip rule add pref 9003 not iif lo lookup 2022",
    )
    yield
    lab.bypass.run("sh", "-ec", "ip rule del pref 9003; ip rule del pref 9002")


async def hears_who_comes(lab: Lab, router: Router) -> None:
    """See that a connection is heard of, soon after someone has begun to come."""

    async def arrival() -> NewConnection:
        async for told in router.watch():
            if isinstance(told, NewConnection):
                return told
        raise AssertionError

    heard = asyncio.create_task(arrival())

    async def comes() -> bool:
        assert await passes(lab)
        await asyncio.sleep(0.1)
        return heard.done()

    await until_told(comes)
    told = await heard
    assert (told.transport, told.port) == ("tcp", 8443)


async def closes(lab: Lab, router: Router) -> int:
    """Open a connection, turn the forward off, and close what is open."""
    await router.rules.apply([WEB])
    user = await asyncio.to_thread(Connection, lab)
    await router.rules.apply([])
    try:
        closed = await router.close_connections([WEB])
    except ClosingRefused:
        assert await asyncio.to_thread(user.lives)
        raise
    assert not await asyncio.to_thread(user.lives)
    return closed


async def lets_earlier_flows_in(lab: Lab, router: Router) -> None:
    """See that a peer that was sending before gets through a forward that comes on."""
    lab.target.serve("udp", 443)
    forward = replace(WEB, protocol=Protocol.UDP)
    await router.rules.read()
    peer = await sending(lab, 8443)
    await router.rules.apply([forward])
    assert not await peer.asks()
    await router.forget_untranslated(router.rules.take_come())
    assert await peer.asks()
    assert not router.rules.take_come()
    await router.rules.apply([])


async def visited(router: Router) -> Check:
    """Wait for a visitor who does not come, and return what is said of it."""
    found = await await_client(router, WEB, 1, lambda *_: None)
    return next(check for check in found.checks if check.name is Step.ARRIVAL)


async def nothing_counts(lab: Lab) -> None:
    """Wait until nothing is left of what counts, or fail."""
    left = re.compile(r"ha_bypass_watch|\.(?:tcp|udp)-")
    await until(lambda: not left.search(lab.bypass.run("nft", "list ruleset").stdout))


async def does_the_rest(lab: Lab, router: Router) -> None:
    """See that all works that is not of the firewall alone."""
    assert await closes(lab, router) == 1
    await lets_earlier_flows_in(lab, router)
    with tunnel(lab):
        await router.rules.apply([WEB])
        assert await passes(lab)
        await router.rules.apply([])
    await router.rules.apply([WEB])
    await hears_who_comes(lab, router)
    assert (await visited(router)).seen["reason"] == Reason.NOBODY
    assert not (await diagnose(router, WEB)).causes
    lab.target.stop_serving()
    kept = replace(WEB, keep_client_address=True)
    assert Cause.PORT_CLOSED in (await diagnose(router, kept)).causes
    await router.rules.apply([])
    lab.bypass.sysctl("net.ipv4.ip_forward", "0")
    await router.enable_forwarding()
    await router.free_bridge()


def unused(lab: Lab, sudoers: str) -> list[str]:
    """Return the lines that nothing needed; see that nothing was beyond them."""
    lines, commands = lines_of(sudoers), ran(lab)
    assert [it for it in commands if not any(allows(line, it) for line in lines)] == []
    return [line for line in lines if not any(allows(line, it) for it in commands)]


def ran(lab: Lab) -> set[str]:
    """Return the commands that sudo has run for the account, and has refused none."""
    path = lab.bypass.disk.path(LOG)
    log = path.read_text() if path.exists() else ""
    assert not re.search(r": (command not allowed|a password is required) ;", log)
    commands = set(re.findall(r"COMMAND=(.*)$", log, re.MULTILINE))
    return {command for command in commands if not command.startswith("list")}


@BOTH_VARIANTS
async def test_an_account_that_may_do_all_works(own: Lab) -> None:
    """And hears of changes at once, where the router reports them."""
    allow(own, f"{NAME} ALL = (ALL) NOPASSWD: ALL\n")
    async with connected(own) as router:
        assert router.probe.rights.all
        assert router.reports
        await works(own, router)
        await hears(own, router)
        # It did listen, and was not found to be deaf.
        assert router.reports


async def test_a_sudo_that_waits_is_given_time_to_listen(own: Lab) -> None:
    """Its real user is root meanwhile, whom the account may send no signal."""
    allow(own, f"{NAME} ALL = (ALL) NOPASSWD: ALL\n")
    async with connected(own) as router:
        with dead_resolver(own):
            async with listening(router):
                assert router.reports


@BOTH_VARIANTS
async def test_an_account_that_may_do_what_is_documented_works(own: Lab) -> None:
    """Each command is needed, and no other: sudo's own log tells."""
    allow(own, f"{SUDOERS}Defaults!BYPASS_ROUTER_LOOK log_allowed\n")
    needless = "_watch_|lookup main protocol"
    async with connected(own, firewall=Backend.AUTO) as router:
        assert router.probe.sudo
        assert router.reports
        assert router.rules.firewall.startswith("iptables")
        await works(own, router)
        await hears(own, router)
        # It did listen, and was not found to be deaf.
        assert router.reports
        if own.options.iptables == "nft":
            await works_where_iptables_shows_nothing(own, router)
        else:
            # No one but root is told whether it has the table.
            needless += "| -C | -S HA-BYPASS-(?:FWD|CUT)"
        await does_the_rest(own, router)
    lines = lines_of(SUDOERS)
    assert unused(own, SUDOERS) == [it for it in lines if re.search(needless, it)]


@BESIDE_OR_ALONE
async def test_an_account_that_may_use_nft_alone_works(own: Lab) -> None:
    """From the first look to the last forward's end, and so does the doctor."""
    allow(own, f"{FOR_NFT}Defaults!BYPASS_ROUTER_NFT_LOOK log_allowed\n")
    own.bypass.run("nft", "-f", "-", input=BY_MAP)
    before = own.bypass.run("nft", "-s", "list", "ruleset").stdout
    async with connected(own, firewall=Backend.AUTO) as router:
        assert router.probe.sudo
        assert router.rules.firewall == "nftables"
        async with listening(router) as listener:
            assert (await router.rules.apply([WEB])).forwards == {WEB.id: WEB}
            assert await passes(own)
            await listener.quiet()
            own.bypass.run("nft", "delete table ip ha_bypass")
            assert await listener.next(3) == Change("nft")
            assert (await router.rules.read()).forwards == {}
            assert (await router.rules.apply([WEB])).forwards == {WEB.id: WEB}
        assert await passes(own)
        assert await router.rules.count() == {WEB.id: 1}
        await does_the_rest(own, router)
        assert await router.rules.apply([]) == Live({}, frozenset(), frozenset())
        assert not await passes(own)
    assert own.bypass.run("nft", "-s", "list", "ruleset").stdout == before
    # Of the rest, one line is for iptables, and one for who has not got all of them.
    needless = "mangle|lookup main protocol"
    lines = lines_of(FOR_NFT)
    assert unused(own, FOR_NFT) == [it for it in lines if re.search(needless, it)]


@BESIDE_OR_ALONE
async def test_without_one_of_the_lines_nft_is_not_used(own: Lab) -> None:
    """The command is named; or iptables is used, where the account may."""
    for line in lines_of(BY_NFT):
        if "answers" in line or line.endswith("maps"):
            continue
        allow(own, without(line, FOR_NFT))
        command = line.removeprefix("/usr/sbin/")
        assert await refused(own, Backend.AUTO) == command
        if own.options.iptables:
            allow(own, without(line, FOR_NFT + BY_IPTABLES))
            assert await refused(own, Backend.NFTABLES) == command
            async with connected(own, firewall=Backend.AUTO) as router:
                assert router.rules.firewall.startswith("iptables")
    ran(own)


BY_MAP = """
table inet by_map {
    map m { type ifname : verdict; elements = { "lan" : drop }; }
    chain f {
        type filter hook forward priority 0; policy accept;
        iifname vmap @m
    }
}
"""
"""Drops what comes from the LAN, as only the map's elements tell."""


async def test_without_the_line_for_maps_all_else_is_as_with_it(own: Lab) -> None:
    """What a map leads to is not known then, and is let be."""
    allow(own, without("list maps", FOR_NFT))
    async with connected(own, firewall=Backend.NFTABLES) as router:
        assert (await router.rules.apply([WEB])).forwards == {WEB.id: WEB}
        assert await passes(own)
        own.bypass.run("nft", "-f", "-", input=BY_MAP)
        assert (await router.rules.read()).forwards == {WEB.id: WEB}
        assert not await passes(own)
        allow(own, FOR_NFT)
        assert (await router.rules.read()).damaged == {WEB.id}
        assert (await router.rules.apply([WEB])).forwards == {WEB.id: WEB}
        assert await passes(own)


async def test_an_account_that_may_use_both_uses_nft_first(own: Lab) -> None:
    """And asks iptables for what is its own; what the user has chosen goes."""
    own.bypass.run("iptables", "-P", "FORWARD", "DROP")
    allow(own, BY_NFT + SUDOERS)
    async with connected(own, firewall=Backend.AUTO) as router:
        assert router.rules.firewall == "nftables"
        await router.rules.apply([WEB])
        assert await passes(own)
        assert "HA-BYPASS-FWD" in own.bypass.iptables_save()
        await router.rules.apply([])
    allow(own, FOR_NFT)
    assert await refused(own, Backend.IPTABLES) == LOOK


async def test_without_a_use_of_conntrack_connections_are_cut_by_rules(
    own: Lab,
) -> None:
    """And where sudo wants a password all the same, they go on, which is said."""
    for use in ("-L", "-D", "-E"):
        allow(own, without(f"conntrack ^{use}", FOR_NFT))
        async with connected(own, firewall=Backend.AUTO, closes=True) as router:
            assert await closes(own, router) == 0
        ran(own)
    # Of these, sudo says that they are allowed, and then wants the password.
    for use in ("-L", "-D"):
        password = f"PASSWD: /usr/sbin/conntrack ^{use} .*$"
        allow(own, f"{FOR_NFT}{NAME} ALL = (root) {password}\n")
        async with connected(own, firewall=Backend.AUTO) as router:
            with pytest.raises(ClosingRefused, match=f"conntrack {use} -p tcp -d"):
                await closes(own, router)


@pytest.mark.parametrize("part", ["ha_bypass_answers", "fwmark", "ip route flush"])
async def test_beside_a_proxys_tunnel_the_rules_by_the_flow_are_enough(
    own: Lab, part: str
) -> None:
    """For an account that was set up before there was anything better."""
    allow(own, without(part, FOR_NFT))
    async with connected(own, firewall=Backend.AUTO) as router:
        with tunnel(own):
            assert (await router.rules.apply([WEB])).forwards == {WEB.id: WEB}
            assert await passes(own)
            assert "sport 443 lookup main" in own.bypass.run("ip", "rule").stdout
            await router.rules.apply([])
            assert "217" not in own.bypass.run("ip", "rule").stdout
    ran(own)


async def test_beside_a_tunnel_a_forward_needs_rules_of_routing(own: Lab) -> None:
    """Or it is not switched on, and the command is named."""
    allow(own, without("ip ^rule", FOR_NFT))
    async with connected(own, firewall=Backend.AUTO) as router:
        with tunnel(own):
            with pytest.raises(NotPrivileged, match="command: ip rule add pref"):
                await router.rules.apply([WEB])
            assert (await router.rules.read()).forwards == {}
        assert (await router.rules.apply([WEB])).forwards == {WEB.id: WEB}


@pytest.mark.parametrize("firewall", ["nft", "iptables"])
async def test_what_may_not_be_counted_is_not_said_to_stay_away(
    own: Lab, firewall: str
) -> None:
    """Though the account may set rules that count."""
    lines, look = (FOR_NFT, "_watch_") if firewall == "nft" else (SUDOERS, "mangle -v")
    allow(own, without(look, lines))
    async with connected(own, firewall=Backend.AUTO) as router:
        assert (await visited(router)).seen["reason"] == Reason.NO_COUNTER
        assert await router.rules.read() == Live({}, frozenset(), frozenset())
    await nothing_counts(own)


async def test_a_diagnosis_goes_on_without_a_look_at_neighbours(own: Lab) -> None:
    """What no one serves is said to be closed; sudo is asked, and refuses nothing."""
    own.target.stop_serving()
    allow(own, without("neigh", FOR_NFT))
    async with connected(own, firewall=Backend.AUTO) as router:
        await router.rules.apply([WEB])
        assert Cause.PORT_CLOSED in (await diagnose(router, WEB)).causes
    ran(own)


async def test_a_diagnosis_goes_on_without_a_look_at_connections(own: Lab) -> None:
    """Neither by `conntrack` nor in the kernel's file, which sudo is asked for."""
    kept = replace(WEB, keep_client_address=True)
    allow(own, without("conntrack", FOR_NFT))
    async with connected(own, firewall=Backend.AUTO) as router:
        await router.rules.apply([kept])
        await diagnose(router, kept)
    ran(own)


def test_the_lines_for_nft_show_roots_files_and_those_for_iptables_do_not(
    own: Lab,
) -> None:
    """As SECURITY.md says."""
    allow(own, BY_NFT + SUDOERS)
    rules = "printf 'include \"/etc/shadow\"\n'"
    restore = "iptables-restore --noflush --wait 5"
    shown = {
        command: "\nroot:" in as_account(own, f"{rules} | sudo -n {command}")[1]
        for command in ("nft -c -f -", "nft -f -", restore)
    }
    assert shown == {"nft -c -f -": True, "nft -f -": True, restore: False}


async def test_looks_do_not_fill_the_log(own: Lab) -> None:
    """Changes are in there."""
    allow(own, SUDOERS)
    async with connected(own) as router:
        await router.rules.apply([WEB])
    assert ran(own) == {"/usr/sbin/iptables-restore --noflush --wait 5"}


FORBIDDEN = (
    "nft list ruleset",
    "nft -f /etc/shadow",
    "nft -f - -I /etc",
    "nft -i",
    "nft monitor ruleset",
    "nft list table ip ha_bypass_watch_0123456g",
    "nft list table ip ha_bypass_watch_01234567 -f /etc/shadow",
    "sysctl -w net.ipv4.ip_forward=0",
    "sysctl -w net.ipv4.ip_forward=1 net.ipv4.conf.all.rp_filter=0",
    "sysctl -w net.bridge.bridge-nf-call-iptables=1",
    "conntrack -F",
    "conntrack -L -d 192.168.50.2 -z",
    "conntrack -D -p tcp -d 192.168.50.2",
    "conntrack -D -p tcp -d 192.168.50.2 --dport 1 --reply-src 1.1.1.1 -F",
    "ip -batch /etc/shadow",
    "ip netns exec any sh",
    "ip rule flush",
    "ip rule add pref 1 from 0 ipproto tcp sport 1 lookup 5 protocol 217",
    "ip -4 neigh flush to 192.168.50.10 dev lan nud all",
    "-u admin nft monitor",
    "sh",
)
BY_THE_OTHER = {
    "nft": (
        "iptables -t nat -F",
        "iptables --wait 5 -t nat -S PREROUTING",
        "iptables-restore --noflush --wait 5",
    ),
    "iptables": (
        "nft -f -",
        "nft -c -f -",
        "nft list table ip ha_bypass",
        "iptables -t nat -F",
        "iptables --wait 5 -t nat -S PREROUTING -v",
        "iptables --wait 5 -t nat -S HA-BYPASS-PRE --modprobe=/home/evil",
        "iptables-restore",
        "iptables-restore --noflush --wait 5 /etc/shadow",
        "iptables-save -f /etc/cron.d/evil",
    ),
}


@pytest.mark.parametrize("firewall", BY_THE_OTHER)
def test_what_is_not_documented_is_refused(own: Lab, firewall: str) -> None:
    """Other arguments are another command."""
    allow(own, FOR_NFT if firewall == "nft" else SUDOERS)
    commands = FORBIDDEN + BY_THE_OTHER[firewall]
    refused = 1, "sudo: a password is required\n"
    asked = {it: as_account(own, f"sudo -n {it}") for it in commands}
    assert {it: said for it, said in asked.items() if said != refused} == {}


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
    "nameless": (f"{SUDOERS}Defaults fqdn\n", "sh", "hostname nameless", True),
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


def test_a_refusal_of_sudos_is_told_from_a_failure_of_the_command(own: Lab) -> None:
    """Though sudo warns of its own troubles beside the command's words."""
    told = {}
    for name, (sudoers, command, before, _) in ASKED.items():
        allow(own, sudoers)
        status, printed = as_account(own, f"LC_ALL=C sudo -n {command}", before)
        own.bypass.run("hostname", "bypass")
        told[name] = refused_by_sudo(Result(printed, status))
        assert ("unable to resolve host" in printed) == ("nameless" in before), name
    assert told == {name: refusal for name, (*_, refusal) in ASKED.items()}
    own.bypass.commands.hide("sudo")
    status, printed = as_account(own, "sudo -n true")
    assert refused_by_sudo(Result(printed, status))


async def test_the_command_that_was_refused_is_named(own: Lab) -> None:
    """At once: no one waits for a password that no one can type."""
    for sudoers, command in (
        ("", LOOK),
        (f"{NAME} ALL = (ALL) ALL\n", LOOK),
        (without("-S PREROUTING"), LOOK),
        (without("restore"), "iptables-restore --noflush --wait 5"),
        (without("-S POSTROUTING"), "iptables -t nat -S POSTROUTING"),
        (without("-t filter -S"), "iptables -t filter -S"),
    ):
        allow(own, sudoers)
        started = time.monotonic()
        assert await refused(own, Backend.IPTABLES) == command
        assert time.monotonic() - started < soon(5)


async def test_an_account_that_may_not_turn_forwarding_on_is_told(own: Lab) -> None:
    """It may do all else."""
    allow(own, without("sysctl"))
    own.bypass.sysctl("net.ipv4.ip_forward", "0")
    async with connected(own) as router:
        with pytest.raises(NotPrivileged, match=r"sysctl -w net\.ipv4\.ip_forward=1"):
            await router.enable_forwarding()
        await router.rules.apply([WEB])


async def test_an_account_without_sudo_on_the_router_is_refused(own: Lab) -> None:
    """The command is named as well."""
    own.bypass.commands.hide("sudo")
    with pytest.raises(NotPrivileged, match="iptables --wait 5 -t nat -S PREROUTING"):
        await connect(own, account=ACCOUNT)


@pytest.mark.parametrize("lines", [SUDOERS, FOR_NFT], ids=["iptables", "nft"])
@pytest.mark.parametrize(
    "extra",
    ["", f"{NAME} ALL = (root) PASSWD: /usr/sbin/nft monitor\n"],
    ids=["not at all", "by password"],
)
async def test_an_account_that_may_not_listen_looks(
    own: Lab, lines: str, extra: str
) -> None:
    """Once a second, though the router could report."""
    allow(own, without("monitor", lines) + extra)
    async with connected(own, firewall=Backend.AUTO) as router:
        await hears(own, router)
        assert not router.reports


@BOTH_VARIANTS
@pytest.mark.parametrize("end", ["closed", "dropped", "cut"])
async def test_no_process_of_roots_stays_on_the_router(
    own: Lab, end: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Though it is an ordinary account that has to end it."""
    if end == "cut":
        give_up_after(monkeypatch, 5)
    allow(own, SUDOERS)
    before = processes(own)
    async with connected(own) as router, listening(router):
        assert len(processes(own)) > len(before)
        if end == "closed":
            await router.close()
        elif end == "dropped":
            own.bypass.drop_logins(NAME)
        else:
            own.bypass.cut_link()
        await until(lambda: processes(own) == before)
        own.bypass.restore_link()


# It passes nothing on, and is out of the reach of a terminal's hang-up.
DEAF_SUDO = """#!/bin/sh
trap '' HUP INT QUIT TERM USR1 USR2
exec setsid --wait /usr/bin/real-sudo "$@"
"""


@BOTH_VARIANTS
@pytest.mark.parametrize("end", ["closed", "dropped", "cut", "part"])
async def test_a_sudo_that_heeds_no_signal_leaves_no_process_behind(
    own: Lab, end: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where the account may do all: root itself ends what is root's."""
    if end == "cut":
        give_up_after(monkeypatch, 5)
    allow(own, f"{NAME} ALL = (ALL) NOPASSWD: ALL\n")
    real = own.bypass.disk.path("/usr/bin/sudo").read_bytes()
    own.bypass.disk.write("/usr/bin/real-sudo", real, 0o4755)
    own.bypass.disk.write("/usr/bin/sudo", DEAF_SUDO, 0o755)
    before = processes(own)
    async with connected(own) as router, listening(router) as listener:
        assert router.reports
        if end == "dropped":
            own.bypass.drop_logins(NAME)
        elif end == "cut":
            own.bypass.cut_link()
        else:
            if end == "part":
                # The others go with it, though no one else is to close anything.
                own.bypass.run("pkill", "-KILL", "-f", "conntrack -E")
                while await listener.next() is not None:
                    pass
                await until(lambda: "monitor" not in " ".join(processes(own)))
            await router.close()
        await until(lambda: processes(own) == before)
        own.bypass.restore_link()


@BOTH_VARIANTS
async def test_what_ends_the_watchers_parts_is_in_no_process_group_with_them(
    own: Lab,
) -> None:
    """Sudo before 1.9.13 takes no signal from a process of its own group."""
    allow(own, SUDOERS)
    async with connected(own) as router, listening(router):
        listing = own.bypass.run("ps", "-eo", "pgid=,args=").stdout.splitlines()
        groups = {
            part: [line.split()[0] for line in listing if part in line]
            for part in (" main=", "sudo -n nft monitor", "sudo -n conntrack -E")
        }
        guard, *_ = groups.pop(" main=")
        assert all(found and guard not in found for found in groups.values())


async def test_a_sudo_that_gives_no_shell_of_roots_watches_all_the_same(
    own: Lab,
) -> None:
    """Though it says that the account may do all."""
    allow(own, f"{NAME} ALL = (ALL) NOPASSWD: ALL\n")
    async with connected(own) as router:
        assert router.probe.rights.all
        allow(own, f"{NAME} ALL = (ALL) NOPASSWD: ALL, !/usr/bin/sh, !/bin/sh\n")
        await hears(own, router)
        assert router.reports


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
