"""Which firewall programs a router has, told from what it prints."""

from collections.abc import Mapping
from dataclasses import replace

import pytest

from custom_components.bypass_router.router.backend import Backend
from custom_components.bypass_router.router.errors import (
    BadOutput,
    FirewallFailed,
    FirewallMissing,
    FirewallTooOld,
    NotPrivileged,
    RouterError,
)
from custom_components.bypass_router.router.iptables.variants import Iptables
from custom_components.bypass_router.router.probe.firewalls import Tools, read_tools
from custom_components.bypass_router.router.ssh.script import Result
from tests.lab.bypass import RouterOptions
from tests.lab.network import Lab

from .client import connect

ABSENT = Result("sh: not found", 127)
FAILED = Result("", 1)
PLAIN = "-P PREROUTING ACCEPT\n-P POSTROUTING ACCEPT"
MASQUERADE = f"{PLAIN}\n-A POSTROUTING -o lan -j MASQUERADE"
DEBIAN: dict[str, str | Result] = {
    "iptables": "iptables v1.8.9 (nf_tables)",
    "restore": "/usr/sbin/iptables-restore",
    "direct": "-P PREROUTING ACCEPT",
    "sudochange": "",
    "sudomangle": "",
    "time": "",
    "version.legacy": "iptables v1.8.9 (legacy)",
    "nat.legacy": FAILED,
    "version.nft": "iptables v1.8.9 (nf_tables)",
    "nat.nft": MASQUERADE,
    "names": Result("cat: /proc/net/ip_tables_names: No such file or directory", 1),
    "nft": "table ip nat",
    "nftcheck": "",
    "sudonftcheck": "",
    "sudonftuse": "",
    "sudomarks": "",
    "sudoroutes": "",
    "conntrack": "/usr/sbin/conntrack",
    "sudoconntrack": "",
}
"""What root is told on a Debian whose rules were made by iptables-nft."""
ON_DEBIAN = Tools(
    iptables=Iptables("1.8.9", "nf_tables"),
    mangle=True,
    timed=True,
    nft=True,
    nft_rules=True,
    nft_marks=True,
    routes=True,
    listens=True,
    conntrack=True,
)
DENIED = Result(
    "iptables v1.8.9 (nf_tables): Could not fetch rule set"
    " generation id: Permission denied (you must be root)",
    4,
)
NFT_DENIED = Result("Operation not permitted (you must be root)", 1)
NO_SUDO = Result("sudo: a password is required", 1)
USER: dict[str, str | Result] = {
    "direct": DENIED,
    "sudo": PLAIN,
    "nat.legacy": FAILED,
    "nat.nft": FAILED,
    "nft": NFT_DENIED,
    "sudonft": "/usr/sbin/nft monitor",
    "nftcheck": NFT_DENIED,
}
"""What differs for an account that may do all we need through sudo."""
NO_IPTABLES: dict[str, str | Result] = {
    "iptables": ABSENT,
    "restore": FAILED,
    "direct": ABSENT,
    "version.legacy": ABSENT,
    "version.nft": ABSENT,
    "nat.nft": ABSENT,
}
NO_NFT: dict[str, str | Result] = {
    "nft": ABSENT,
    "sudonft": FAILED,
    "nftcheck": ABSENT,
    "sudonftcheck": ABSENT,
    "sudonftuse": FAILED,
}
LEGACY: dict[str, str | Result] = {
    "iptables": "iptables v1.8.9 (legacy)",
    "nat.legacy": MASQUERADE,
    "nat.nft": PLAIN,
    "names": "nat\nfilter",
}


def results(printed: dict[str, str | Result]) -> dict[str, Result]:
    """Return what was printed, with success where nothing else is said."""
    return {
        label: value if isinstance(value, Result) else Result(value, 0)
        for label, value in printed.items()
    }


def tools(*printed: Mapping[str, str | Result], uid: int = 0) -> Tools:
    """Return what is said of a Debian with these differences."""
    merged = dict(DEBIAN)
    for more in printed:
        merged |= more
    return read_tools(results(merged), uid)


def test_a_debian_has_iptables_and_nft() -> None:
    """Root needs no sudo."""
    assert tools() == ON_DEBIAN


def test_an_old_iptables_has_one_variant() -> None:
    """Before 1.8 no one had to tell them apart."""
    old = "iptables v1.6.2"
    found = tools({"iptables": old, "version.legacy": ABSENT, "version.nft": ABSENT})
    assert found.iptables == Iptables("1.6.2", "legacy")


def test_either_program_is_enough() -> None:
    """An old router has no nft, a new one no iptables."""
    assert tools(NO_NFT) == replace(
        ON_DEBIAN, nft=False, nft_rules=False, listens=False
    )
    assert tools(NO_IPTABLES) == replace(ON_DEBIAN, iptables=None)


def test_an_nft_that_does_not_take_our_table_is_listened_to_all_the_same() -> None:
    """It is too old, or the kernel is."""
    old = {"nftcheck": Result("Error: syntax error, unexpected map", 1)}
    assert tools(old) == replace(ON_DEBIAN, nft=False, nft_rules=False)


@pytest.mark.parametrize(
    "broken",
    [
        {"iptables": Result("Segmentation fault", 139)},
        {"iptables": "rainbows"},
        {"restore": FAILED},
        {"direct": Result("can't initialize iptables table `nat'", 3)},
    ],
)
def test_an_iptables_that_is_broken_does_not_matter_where_nft_is(
    broken: dict[str, str | Result],
) -> None:
    """And is left alone."""
    assert tools(broken) == replace(ON_DEBIAN, iptables=None)
    with pytest.raises(RouterError):
        tools(broken, NO_NFT)


# An ordinary account


def test_a_user_with_sudo_uses_it() -> None:
    """Only where it is needed."""
    assert tools(USER, uid=1000) == replace(ON_DEBIAN, sudo=True)
    assert not tools(uid=1000).sudo


@pytest.mark.parametrize(
    ("label", "lost"),
    [
        ("sudonft", {"listens": False}),
        ("sudomangle", {"mangle": False}),
        ("sudoconntrack", {"conntrack": False}),
        ("sudonftcheck", {"nft": False, "nft_rules": False}),
        ("sudonftuse", {"nft": False, "nft_rules": False}),
        ("sudochange", {"iptables": None}),
        ("sudo", {"iptables": None}),
    ],
)
def test_what_sudo_does_not_allow_is_not_used(
    label: str, lost: dict[str, object]
) -> None:
    """And the rest is."""
    found = tools(USER, {label: NO_SUDO}, uid=1000)
    expected = replace(ON_DEBIAN, sudo=True)
    assert found == replace(expected, **lost)  # type: ignore[arg-type]  # its fields


# What can't be used at all


@pytest.mark.parametrize(
    ("printed", "uid", "error", "words"),
    [
        ({}, 0, FirewallMissing, "missing"),
        ({"iptables": "iptables v1.8.9 (legacy)"}, 0, FirewallMissing, "missing"),
        ({**DEBIAN, "iptables": Result("Bus error", 135)}, 0, FirewallFailed, "Bus"),
        ({**DEBIAN, "iptables": "rainbows"}, 0, BadOutput, "rainbows"),
        ({**DEBIAN, "direct": Result("no table `nat'", 3)}, 0, FirewallFailed, "nat"),
        ({**DEBIAN, **USER, "sudo": NO_SUDO}, 1000, NotPrivileged, "-S PREROUTING"),
        ({**DEBIAN, **USER, "sudochange": NO_SUDO}, 1000, NotPrivileged, "-restore"),
    ],
)
def test_what_we_can_not_work_with_is_named(
    printed: dict[str, str | Result], uid: int, error: type[RouterError], words: str
) -> None:
    """Each with its own error, where there is no nft either."""
    with pytest.raises(error, match=words):
        read_tools(results({**DEBIAN, **NO_IPTABLES, **printed, **NO_NFT}), uid)


def test_where_only_nft_is_its_reason_is_told() -> None:
    """Whether it is the account's fault, or its own."""
    old = Result("Error: syntax error, unexpected map", 1)
    with pytest.raises(FirewallFailed, match="unexpected map"):
        tools(NO_IPTABLES, {"nftcheck": old})
    with pytest.raises(NotPrivileged, match="you must be root"):
        tools(NO_IPTABLES, USER, {"sudonftcheck": NO_SUDO}, uid=1000)


OLD_NFT: dict[str, str | Result] = {
    "nftcheck": Result("Error: syntax error, unexpected counter", 1),
    "nftplain": "nftables v0.9.8 (E.D.S.)",
}


def test_an_old_nft_is_told_with_the_least_version_that_will_do() -> None:
    """Where nothing else translates; beside iptables it does what it can."""
    with pytest.raises(FirewallTooOld) as caught:
        tools(NO_IPTABLES, OLD_NFT)
    assert caught.value.details == {
        "firewall": "nftables",
        "found": "0.9.8",
        "least": "1.0.2",
    }
    found = tools(OLD_NFT)
    assert found == replace(ON_DEBIAN, nft=False)
    assert found.nft_rules
    # What fails for another reason is told in its own words.
    new = {**OLD_NFT, "nftplain": "nftables v1.1.0 (Commodore Bullmoose)"}
    with pytest.raises(FirewallFailed, match="unexpected counter"):
        tools(NO_IPTABLES, new)


def test_an_account_may_use_an_old_nft_as_far_as_sudo_lets_it() -> None:
    """By the same lines."""
    by_sudo: dict[str, str | Result] = {
        "nftplain": Result("nftables v0.9.8 (E.D.S.)\nOperation not permitted", 1),
        "sudonftcheck": Result("Error: syntax error, unexpected counter", 1),
        "sudonftplain": "",
    }
    assert tools(USER, by_sudo, uid=1000).nft_rules
    assert not tools(USER, by_sudo, {"sudonftuse": FAILED}, uid=1000).nft_rules
    with pytest.raises(FirewallTooOld):
        tools(NO_IPTABLES, USER, by_sudo, uid=1000)


def test_an_iptables_that_can_not_wait_is_too_old() -> None:
    """Nftables beside it will do."""
    old = {"iptables": "iptables v1.4.21"}
    assert tools(old).iptables is None
    with pytest.raises(FirewallTooOld, match=r"1\.4\.21"):
        tools(old, NO_NFT)


def asked(command: str) -> Result:
    """Return what is printed where sudo does not let an account run a command."""
    return Result(f"sudo: a password is required\n{command}", 1)


HEARING = "conntrack -E -e NEW,UPDATES -d 192.0.2.2 --dst-nat"
NFT_LINES = {
    "nft -c -f -": {"sudonftcheck": asked("nft -c -f -")},
    "nft -f -": {"sudonftuse": asked("nft -f -")},
    "nft list table ip ha_bypass": {"sudonftuse": asked("nft list table ip ha_bypass")},
}


@pytest.mark.parametrize("command", NFT_LINES)
def test_an_account_that_lacks_a_line_for_nft_is_told_which(command: str) -> None:
    """It was meant to use nft; else it is told what iptables would take."""
    lacks: dict[str, str | Result] = {**USER, **NFT_LINES[command]}
    found = tools(lacks, uid=1000)
    assert not found.nft
    assert found.denied["nftables"].command == command
    with pytest.raises(NotPrivileged) as caught:
        tools(lacks, {"sudo": NO_SUDO}, uid=1000)
    assert caught.value.details["command"] == command
    none = {**NFT_LINES["nft -c -f -"], **NFT_LINES["nft -f -"]}
    with pytest.raises(NotPrivileged, match="iptables --wait 5"):
        tools(USER, none, {"sudo": NO_SUDO}, uid=1000)


def test_an_nft_that_is_too_old_for_an_account_is_not_said_to_be_denied() -> None:
    """No right would mend it."""
    old = Result("Error: syntax error, unexpected map", 1)
    assert "nftables" not in tools(USER, {"sudonftcheck": old}, uid=1000).denied
    with pytest.raises(FirewallFailed, match="unexpected map"):
        tools(USER, NO_IPTABLES, {"sudonftcheck": old}, uid=1000)


def test_what_is_missing_is_not_said_to_be_denied() -> None:
    """Nor does a router make up commands."""
    assert tools(NO_NFT, {"conntrack": FAILED}, USER, uid=1000).denied == {}
    denied = tools(USER, {"sudoconntrack": asked("rm -rf /")}, uid=1000).denied
    assert denied["conntrack"].command == "conntrack -L"
    denied = tools(USER, {"sudoconntrack": asked(HEARING)}, uid=1000).denied
    assert denied["conntrack"].command == "conntrack -E"


# Two variants of iptables on one router


def test_a_variant_that_holds_nothing_is_left_alone() -> None:
    """To look at its tables would make them."""
    assert tools().other is None
    assert tools(LEGACY).other is None


def test_a_variant_that_holds_rules_may_drop_packets_too() -> None:
    """Although `iptables` is the other one."""
    names: dict[str, str | Result] = {"names": "filter"}
    found = tools(names)
    assert found.iptables == Iptables("1.8.9", "nf_tables")
    assert found.other == Iptables("1.8.9", "legacy", "iptables-legacy")
    assert not found.both_translate


def test_the_variant_that_translates_for_the_host_translates_for_us() -> None:
    """Docker was set up with one, and `iptables` is the other since an upgrade."""
    found = tools(LEGACY, {"iptables": "iptables v1.8.9 (nf_tables)"})
    assert found.iptables == Iptables("1.8.9", "legacy", "iptables-legacy")
    assert found.other == Iptables("1.8.9", "nf_tables")
    assert not found.both_translate


def test_where_both_translate_iptables_is_what_is_called_so() -> None:
    """And it is told."""
    found = tools(LEGACY, {"nat.nft": MASQUERADE})
    assert found.iptables == Iptables("1.8.9", "legacy")
    assert found.other == Iptables("1.8.9", "nf_tables", "iptables-nft")
    assert found.both_translate


def test_our_own_rules_make_no_variant_the_hosts() -> None:
    """Or we would stay for ever where we were once."""
    ours = f"{PLAIN}\n-N HA-BYPASS-PRE\n-A PREROUTING -j HA-BYPASS-PRE"
    found = tools(LEGACY, {"nat.nft": ours})
    assert found.iptables == Iptables("1.8.9", "legacy")
    assert not found.both_translate
    # There is something to take away there.
    assert found.other == Iptables("1.8.9", "nf_tables", "iptables-nft")
    assert found.left_in_other


def test_rules_that_iptables_can_not_show_are_rules() -> None:
    """A native nft rule stands among them."""
    hidden = Result("chain `X' in table `nat' is incompatible, use 'nft' tool.", 1)
    assert tools(LEGACY, {"nat.nft": hidden}).both_translate


@pytest.mark.parametrize("version", ["iptables v1.8.9 (legacy)", "rainbows", ABSENT])
def test_one_variant_under_two_names_is_one(version: str | Result) -> None:
    """As where `iptables-nft` is a link to the legacy one, or something else."""
    found = tools(LEGACY, {"nat.nft": MASQUERADE, "version.nft": version})
    assert (found.iptables, found.other) == (Iptables("1.8.9", "legacy"), None)


# Real routers


@pytest.mark.parametrize(
    ("router_options", "expected"),
    [
        (RouterOptions(), ON_DEBIAN),
        (
            RouterOptions(iptables="legacy"),
            replace(ON_DEBIAN, iptables=Iptables("1.8.9", "legacy")),
        ),
        (
            RouterOptions(iptables=None),
            replace(ON_DEBIAN, iptables=None, timed=False),
        ),
    ],
    ids=["nft", "legacy", "without iptables"],
)
async def test_a_real_router_is_known_and_left_as_it_is(
    at_home: Lab, expected: Tools
) -> None:
    """Neither a table nor a chain comes from our looking."""

    def rules() -> tuple[str, str]:
        legacy = at_home.bypass.run("sh", "-c", "cat /proc/net/ip_tables_names || :")
        return at_home.bypass.real("nft", "list", "ruleset").stdout, legacy.stdout

    before = rules()
    router = await connect(at_home, firewall=Backend.AUTO)
    found = router.probe.tools
    await router.rules.read()
    await router.close()
    assert rules() == before
    if found.iptables and expected.iptables:
        version = found.iptables.version
        expected = replace(
            expected, iptables=replace(expected.iptables, version=version)
        )
    assert found == expected
