"""Which rules surely stop a forward's packets before it is asked, and which may not."""

from dataclasses import replace

import pytest

from custom_components.bypass_router.router.doctor.early import read_early
from custom_components.bypass_router.router.forward import PortRange
from custom_components.bypass_router.router.rules.obstacles import Hindrance
from custom_components.bypass_router.router.ssh.script import Result

from .test_doctor import PROBE, forward

UNTRACKED, DROPPED = [Hindrance.UNTRACKED], [Hindrance.DROPPED_EARLY]
AT_MANGLE = "filter hook prerouting priority mangle"


def nft(
    *rules: str, base: str = "filter hook prerouting priority raw", table: str = "inet"
) -> str:
    """Return a listing with these rules in a chain."""
    lines = "\n".join(f"\t\t{rule} # handle {n}" for n, rule in enumerate(rules, 3))
    policy = "" if "policy" in base else " policy accept"
    return (
        f"table {table} own {{ # handle 1\n\tchain pre {{ # handle 2\n"
        f"\t\ttype {base};{policy};\n{lines}\n\t}}\n}}"
    ).replace(";;", ";")


INGRESS = 'filter hook ingress device "lan" priority filter'


@pytest.mark.parametrize(
    ("listing", "found"),
    [
        (nft("tcp dport 8443 notrack"), UNTRACKED),
        (nft("counter packets 3 bytes 180 notrack"), UNTRACKED),
        (nft('iifname "lan" tcp dport { 80, 8000-9000 } counter notrack'), UNTRACKED),
        (nft("ip daddr 192.168.50.2 meta l4proto { tcp, udp } drop"), DROPPED),
        (nft("meta nfproto ipv4 ip protocol tcp drop"), DROPPED),
        (nft("drop", base=AT_MANGLE), DROPPED),
        (nft(base=f"{AT_MANGLE}; policy drop"), DROPPED),
        (nft("ip daddr 192.168.50.2 drop", base=INGRESS, table="netdev"), DROPPED),
        # Before it is tracked, or not at all.
        (nft("notrack", base=AT_MANGLE), []),
        (nft("drop", base="filter hook prerouting priority dstnat"), []),
        (nft("drop", base="filter hook prerouting priority raw + 300"), []),
        (nft("drop", base="filter hook prerouting priority raw - 10"), DROPPED),
        (nft("drop", base="filter hook output priority raw"), []),
        (nft("drop", base="nat hook prerouting priority -300"), []),
        (nft("drop", base="filter hook prerouting priority early"), []),
        # For others.
        (nft("tcp dport 443 notrack"), []),
        (nft("udp dport 8443 notrack"), []),
        (nft("th dport 8443 notrack"), UNTRACKED),
        (nft('iifname "wan" notrack'), []),
        (nft("ip daddr 192.168.50.3 drop"), []),
        (nft("tcp dport https drop"), []),
        (nft("drop", base=INGRESS, table="netdev"), []),
        # Not for all, or no one knows for whom.
        (nft("ip saddr @bad drop"), []),
        (nft("ip saddr 203.0.113.0/24 drop"), []),
        (nft("tcp dport != 8443 drop"), []),
        (nft("limit rate over 5/second drop"), []),
        # What may let them pass before.
        (nft("ip saddr @good accept", "drop"), []),
        (nft("jump others", "notrack"), []),
        (nft('tcp dport 8443 counter comment "drop"'), []),
        (nft("tcp dport vmap { 8443 : drop, 22 : accept }"), DROPPED),
        (nft("ip saddr vmap { 203.0.113.10 : accept }", "drop"), []),
        (nft("jump { tcp dport 8443 notrack; }"), UNTRACKED),
        (nft("ct state new drop"), []),
        (nft("ct state new drop", base=AT_MANGLE), DROPPED),
        ("garbage {", []),
    ],
)
def test_nft(listing: str, found: list[Hindrance]) -> None:
    """By what is surely meant."""
    seen = read_early({"early.nft": Result(listing, 0)}, forward(), PROBE)
    assert [one.kind for one in seen] == found


@pytest.mark.parametrize(
    ("table", "lines", "found"),
    [
        ("raw", "-p tcp -m tcp --dport 8443 -j CT --notrack", UNTRACKED),
        ("raw", "-p tcp -m multiport --dports 80,8000:9000 -j NOTRACK", UNTRACKED),
        ("raw", "-i lan -j NOTRACK", UNTRACKED),
        ("raw", "-d 192.168.50.2/32 -p tcp -j DROP", DROPPED),
        ("mangle", '-p tcp -m comment --comment "no one" -j DROP', DROPPED),
        ("mangle", "-j MARK --set-xmark 0x1/0x1\n-j DROP", DROPPED),
        ("mangle", "-p tcp -j CT --notrack", []),
        ("raw", "-p udp -m udp --dport 8443 -j NOTRACK", []),
        ("raw", "-s 203.0.113.10/32 -j DROP", []),
        ("raw", "! -i lan -j DROP", []),
        ("raw", "-m set --match-set bad src -j DROP", []),
        ("raw", "! -i wan ! -s 192.168.50.0/24 -j DROP", DROPPED),
        ("raw", "-i lan -s 192.168.50.0/24 -j DROP", []),
        ("raw", "-m addrtype --dst-type LOCAL -p tcp -j DROP", DROPPED),
        ("mangle", "-m conntrack --ctstate NEW -j DROP", DROPPED),
        ("mangle", "-m conntrack --ctstate DNAT -j ACCEPT\n-j DROP", DROPPED),
        # What no one tracks yet has no state.
        ("raw", "-m conntrack --ctstate NEW -j DROP", []),
        ("raw", "-j f2b\n-j DROP\n!-s 203.0.113.10/32 -j DROP", DROPPED),
        ("raw", "-j f2b\n-j DROP\n!-s 203.0.113.10/32 -j ACCEPT", []),
        ("raw", "-p tcp -j f2b\n!-j CT --notrack\n!-j ACCEPT", UNTRACKED),
        ("raw", "-g f2b\n-j DROP\n!-p udp -j DROP", []),
        ("raw", "-s 203.0.113.10/32 -j ACCEPT\n-j NOTRACK", []),
        ("raw", '-m comment --comment "unbalanced -j DROP', []),
        ("raw", "-j CT --helper ftp", []),
    ],
)
def test_iptables(table: str, lines: str, found: list[Hindrance]) -> None:
    """By what is surely meant; `!` begins rules of another chain."""
    printed = "-P PREROUTING ACCEPT\n-N f2b\n" + "\n".join(
        f"-A f2b {line[1:]}" if line[0] == "!" else f"-A PREROUTING {line}"
        for line in lines.replace("! -", "not -").split("\n")
    ).replace("not -", "! -")
    for variant in ("nft", "legacy"):
        sections = {f"early.{variant}.{table}": Result(printed, 0)}
        seen = read_early(sections, forward(), PROBE)
        assert [one.kind for one in seen] == found


def test_each_is_named_once_and_each_transport_counts() -> None:
    """A rule for one of two stops half of the forward."""
    udp = Result(nft("udp dport 8443 notrack"), 0)
    both = replace(forward(), protocol=forward("both").protocol)
    (found,) = read_early({"early.nft": udp}, both, PROBE)
    assert found.seen == {"chain": "inet own pre", "rule": "udp dport 8443 notrack"}
    every = Result(nft("notrack"), 0)
    assert len(read_early({"early.nft": every}, both, PROBE)) == 1
    assert not read_early({"early.nft": Result("no", 1)}, both, PROBE)


def test_ports_count_each() -> None:
    """A rule for one of many stops a part of the forward."""
    many = replace(
        forward(), external=PortRange(8000, 8999), target_ports=PortRange(8000, 8999)
    )
    for rule in ("tcp dport 8443 drop", "tcp dport { 80, 8990-9999 } drop"):
        assert len(read_early({"early.nft": Result(nft(rule), 0)}, many, PROBE)) == 1
    beside = Result(nft("tcp dport 7999 drop", "tcp dport 9000 drop"), 0)
    assert not read_early({"early.nft": beside}, many, PROBE)


def test_tables_of_iptables_are_read_as_it_prints_them() -> None:
    """What nft shows of them is less, but for a rule that iptables does not know."""
    shown = nft('counter packets 0 bytes 0 xt target "CT"', table="ip").replace(
        "own", "raw"
    )
    printed = Result("-P PREROUTING ACCEPT\n-A PREROUTING -j CT --notrack", 0)
    (found,) = read_early(
        {"early.nft": Result(shown, 0), "early.nft.raw": printed}, forward(), PROBE
    )
    assert found.seen == {
        "chain": "raw PREROUTING",
        "rule": "-A PREROUTING -j CT --notrack",
    }
    native = nft("ip saddr @banned drop", table="ip").replace("own", "raw")
    misread = Result("-P PREROUTING ACCEPT\n-A PREROUTING -j DROP", 0)
    assert not read_early(
        {"early.nft": Result(native, 0), "early.nft.raw": misread}, forward(), PROBE
    )
