"""What each kind of firewall does to a forward made by hand, with payload."""

from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path
import subprocess

import pytest

from . import requirements
from .by_hand import (
    ACCEPT,
    DNAT,
    PORT,
    PROTOCOLS,
    TARGET_PORT,
    ByHand,
    all_rules,
    from_internet,
    from_lan,
)
from .exchange import Outcome
from .firewall import LAN
from .fixtures import build
from .network import INTERNET_ADDRESS, Lab
from .options import FirewallKind, IptablesKind, RouterOptions
from .requirements import COMMAND_PATH, LabUnavailable

BOTH, NONE = {DNAT, ACCEPT}, set[str]()
DROPS = {Outcome.NO_CONNECTION, Outcome.NO_DATA}
REJECTS = {Outcome.REFUSED, Outcome.UNREACHABLE}


@dataclass(frozen=True)
class Kind:
    """A router that keeps a forward from passing, and what its reload leaves of it."""

    options: RouterOptions
    blocks: set[Outcome]
    left: set[str]
    by_hand: ByHand = field(default_factory=ByHand)
    left_by_newer: set[str] = field(default_factory=set)
    """What its newer versions leave besides, such as Debian 13's."""


def kind(
    firewall: FirewallKind,
    blocks: set[Outcome],
    left: set[str],
    iptables: IptablesKind | None = "nft",
    accept_in: str = "",
) -> Kind:
    """Return a kind of Debian."""
    options = RouterOptions(iptables, firewall=firewall)
    tool = ByHand("iptables" if iptables else "nft", accept_in)
    return Kind(options, blocks, left, tool)


KINDS = {
    "drop-nft": kind("drop", DROPS, NONE),
    "drop-legacy": kind("drop", DROPS, NONE, "legacy"),
    "drop-native": kind("drop", DROPS, NONE, None, "inet filter forward"),
    "reject-nft": kind("reject", REJECTS, NONE),
    "reject-legacy": kind("reject", REJECTS, NONE, "legacy"),
    "reject-native": kind("reject", REJECTS, NONE, None, "inet filter forward"),
    "docker-nft": kind("docker", DROPS, BOTH),
    "docker-legacy": kind("docker", DROPS, BOTH, "legacy"),
    "docker-28-nft": kind("docker-28", DROPS, BOTH),
    "docker-28-legacy": kind("docker-28", DROPS, BOTH, "legacy"),
    "shorewall": kind("shorewall", REJECTS, NONE, "legacy"),
    "ufw-nft": kind("ufw", DROPS, BOTH),
    "ufw-legacy": kind("ufw", DROPS, BOTH, "legacy"),
    "firewalld": replace(
        kind("firewalld-strict", REJECTS, NONE, "nft", "inet firewalld filter_FORWARD"),
        left_by_newer={DNAT},
    ),
    "firewalld-without-iptables": kind(
        "firewalld-strict", REJECTS, {DNAT}, None, "inet firewalld filter_FORWARD"
    ),
    "firewalld-iptables-nft": kind("firewalld-strict-iptables", REJECTS, NONE),
    "firewalld-iptables-legacy": kind(
        "firewalld-strict-iptables", REJECTS, NONE, "legacy"
    ),
    "openwrt": Kind(
        RouterOptions(system="openwrt"),
        REJECTS,
        {DNAT},
        ByHand("nft", "inet fw4 forward"),
    ),
    "openwrt-fw3": Kind(RouterOptions(system="openwrt-fw3"), REJECTS, BOTH),
}


@pytest.fixture(params=KINDS)
def blocking(request: pytest.FixtureRequest) -> Kind:
    """Each kind of firewall that blocks a forward."""
    return KINDS[request.param]


@pytest.fixture
def router_options(request: pytest.FixtureRequest) -> RouterOptions:
    """Those of the kind, or of the test's own parameter."""
    if "blocking" in request.fixturenames:
        found: Kind = request.getfixturevalue("blocking")
        return found.options
    options: RouterOptions = request.param
    return options


def rules_left(lab: Lab) -> set[str]:
    """Which of the rules made by hand are there."""
    rules = all_rules(lab)
    return {name for name in BOTH if name in rules}


def serve(lab: Lab) -> None:
    """Let the target answer."""
    for protocol in PROTOCOLS:
        lab.target.serve(protocol, TARGET_PORT)


def test_a_forward_passes_only_when_it_is_accepted(blocking: Kind, lab: Lab) -> None:
    """So it is the firewall that blocks it; a reload leaves of it what is noted."""
    serve(lab)
    blocking.by_hand.forward(lab)
    tried = from_internet(lab, timeout=0.15)
    assert {attempt.outcome for attempt in tried} <= blocking.blocks
    # In the LAN, the kernel is too sparing with ICMP to tell how it was blocked.
    assert not any(attempt.passed for attempt in from_lan(lab, timeout=0.05))
    blocking.by_hand.accept(lab)
    assert all(attempt.passed for attempt in from_internet(lab) + from_lan(lab))
    lab.bypass.firewall.reload()
    left = rules_left(lab)
    assert blocking.left <= left <= blocking.left | blocking.left_by_newer
    passed = {attempt.passed for attempt in from_internet(lab, timeout=0.15)}
    assert passed == {left == BOTH}


def test_a_router_that_blocks_lets_the_lan_out_and_survives_a_reboot(
    blocking: Kind, lab: Lab
) -> None:
    """Its rules are the same after each boot, and it is still a gateway."""
    rules = all_rules(lab)
    lab.bypass.reboot()
    assert all_rules(lab) == rules
    lab.target.run("busybox", "ping", "-c1", "-W1", INTERNET_ADDRESS)


@pytest.mark.parametrize(
    "router_options",
    [RouterOptions(firewall="firewalld"), RouterOptions(firewall="firewalld-iptables")],
    ids=["nftables", "iptables"],
    indirect=True,
)
def test_firewalld_accepts_what_is_translated_unless_it_is_strict(lab: Lab) -> None:
    """Although its zones forward nothing by themselves."""
    serve(lab)
    ByHand().forward(lab)
    assert all(attempt.passed for attempt in from_internet(lab) + from_lan(lab))
    lab.target.use_gateway(lab.main.address)
    lab.other.use_gateway(lab.bypass.address)
    ping = ("busybox", "ping", "-c1", "-W1")
    lab.other.run(*ping, INTERNET_ADDRESS)
    lab.internet.ip(f"route add {LAN} via {lab.main.wan_address}")
    lab.main.ip(f"route add {lab.target.address} via {lab.bypass.address}")
    assert lab.internet.run(*ping, lab.target.address, check=False).returncode


@pytest.mark.parametrize("kind", ["docker", "docker-28"])
@pytest.mark.parametrize("iptables", ["nft", "legacy"])
@pytest.mark.lab
def test_dockerd_stands_first_again_when_it_restarts(
    kind: FirewallKind, iptables: IptablesKind
) -> None:
    """It leaves what the owner put into DOCKER-USER, and other people's rules."""
    with build(RouterOptions(iptables, firewall=kind)) as lab:
        lab.bypass.run("iptables", "-I", "DOCKER-USER", "-s", "192.0.2.1", "-j", "DROP")
        before = lab.bypass.iptables_save()
        lab.bypass.firewall.reload()
        assert sorted(lab.bypass.iptables_save().splitlines()) == sorted(
            before.splitlines()
        )
        lab.bypass.run("iptables", "-I", "FORWARD", "-s", "192.0.2.1", "-j", "DROP")
        lab.bypass.firewall.reload()
        chain = lab.bypass.run("iptables", "-S", "FORWARD").stdout.splitlines()
        assert chain[:2] == ["-P FORWARD DROP", "-A FORWARD -j DOCKER-USER"]
        assert chain.count("-A FORWARD -s 192.0.2.1/32 -j DROP") == 1
        user = lab.bypass.run("iptables", "-S", "DOCKER-USER").stdout
        assert "-A DOCKER-USER -s 192.0.2.1/32 -j DROP" in user


@pytest.mark.parametrize(
    "router_options",
    [RouterOptions(None), RouterOptions(None, firewall="drop")],
    ids=["open", "drop"],
    indirect=True,
)
def test_a_router_of_nftables_only_has_no_command_of_iptables(lab: Lab) -> None:
    """Its own MASQUERADE is a native rule, which a reload sets again."""
    found = "ls /usr/sbin /usr/bin | grep tables"
    assert lab.bypass.run("sh", "-c", found, check=False).stdout == ""
    lab.bypass.firewall.reload()
    listed = lab.bypass.run("nft", "list", "ruleset").stdout
    assert listed.count('oifname "lan" masquerade') == 1


@pytest.mark.parametrize(
    "router_options",
    [
        RouterOptions("nft", rules_in=("legacy",)),
        RouterOptions("legacy", rules_in=("nft",)),
        RouterOptions("nft", rules_in=("nft", "legacy")),
    ],
    ids=["legacy-beside-nft", "nft-beside-legacy", "both"],
    indirect=True,
)
def test_the_owners_rules_may_be_in_another_variant_than_the_command(lab: Lab) -> None:
    """Also after a boot; a forward by the command passes beside them."""
    lab.bypass.reboot()
    rules = lab.bypass.iptables_save()
    for variant in ("nft", "legacy"):
        masquerades = f"{variant}: -A POSTROUTING -o lan -j MASQUERADE" in rules
        assert masquerades == (variant in lab.options.rules_in)
    assert str(lab.options.iptables)[:2] in lab.bypass.run("iptables", "-V").stdout
    serve(lab)
    ByHand().forward(lab)
    assert all(attempt.passed for attempt in from_internet(lab) + from_lan(lab))


@pytest.mark.parametrize(
    "router_options",
    [
        RouterOptions("nft", drop_invalid=True),
        RouterOptions("legacy", drop_invalid=True),
        RouterOptions(None, drop_invalid=True),
    ],
    ids=["nft", "legacy", "native"],
    indirect=True,
)
def test_where_invalid_is_dropped_the_article_s_problem_is_another(lab: Lab) -> None:
    """Without it, the connection is made and then hangs."""
    serve(lab)
    lab.main.clear_forwards()
    lab.main.forward("tcp", str(PORT), lab.target.address, TARGET_PORT)
    address = lab.main.wan_address
    tried = lab.internet.exchange("tcp", address, PORT, timeout=0.3)
    assert tried.outcome is Outcome.NO_CONNECTION


@pytest.mark.parametrize(
    "router_options", [RouterOptions(strict_rp_filter=True)], indirect=True
)
def test_strict_rp_filter_is_set_at_each_boot(lab: Lab) -> None:
    """A forward passes all the same."""
    lab.bypass.reboot()
    name = "/proc/sys/net/ipv4/conf/all/rp_filter"
    assert lab.bypass.run("cat", name).stdout.strip() == "1"
    serve(lab)
    ByHand().forward(lab)
    assert all(attempt.passed for attempt in from_internet(lab) + from_lan(lab))


THEIRS = """
    /etc/default/ufw /etc/ufw /etc/firewalld /etc/dropbear /etc/nftables.d
    /run/dbus /run/firewalld /run/ufw.lock
    /var/log/ufw.log /var/log/firewalld /var/log/firewalld.out
"""


def machine() -> dict[str, str]:
    """What the firewalls would change on this machine, were it theirs."""
    found = {}
    for command in ("nft list ruleset", "iptables-legacy-save", "ip -o link"):
        argv = ["sh", "-c", f"PATH={COMMAND_PATH} {command} | grep -v '^#'"]
        done = subprocess.run(argv, check=False, capture_output=True, text=True)
        found[command] = done.stdout
    for place in map(Path, THEIRS.split()):
        for path in (place, *place.glob("*")):
            with suppress(OSError):
                found[str(path)] = str(path.stat().st_mtime_ns)
    return found


@pytest.mark.parametrize(
    "router_options",
    [
        RouterOptions(firewall="ufw"),
        RouterOptions(firewall="firewalld-strict"),
        RouterOptions(firewall="firewalld-iptables"),
        RouterOptions(firewall="docker"),
        RouterOptions(system="openwrt"),
    ],
    ids=["ufw", "firewalld", "firewalld-iptables", "docker", "openwrt"],
)
@pytest.mark.lab
def test_nothing_of_it_is_on_the_machine(router_options: RouterOptions) -> None:
    """Neither rules nor files, while it runs and afterwards."""
    before = machine()
    with build(router_options) as lab:
        lab.bypass.firewall.reload()
        assert machine() == before
    assert machine() == before


@pytest.mark.lab
@pytest.mark.parametrize(
    ("options", "command"),
    [
        (RouterOptions(firewall="ufw"), "ufw"),
        (RouterOptions(firewall="firewalld"), "firewalld"),
        (RouterOptions(shell="fish"), "fish"),  # noqa: S604 - none is started
        (RouterOptions(system="openwrt"), "busybox"),
    ],
    ids=["ufw", "firewalld", "fish", "openwrt"],
)
def test_what_is_not_installed_is_said_in_one_sentence(
    monkeypatch: pytest.MonkeyPatch, options: RouterOptions, command: str
) -> None:
    """And only by routers that need it."""
    found = requirements.find_command
    monkeypatch.setattr(
        requirements,
        "find_command",
        lambda name: None if name == command else found(name),
    )
    with pytest.raises(
        LabUnavailable, match=f"^The lab needs these packages: {command}"
    ):
        Lab(options)
    with Lab():
        pass
