"""Where an accept belongs in the filter table, as other programs write theirs.

The listings are what the programs leave there, as `iptables -S` prints it, shortened to
what a forward's packets can meet.
"""

from dataclasses import replace

import pytest

from custom_components.bypass_router.router.forward import Forward
from custom_components.bypass_router.router.iptables.chains import Chains
from custom_components.bypass_router.router.iptables.forward_places import ForwardPlaces
from custom_components.bypass_router.router.iptables.rules import FWD, MANGLE
from custom_components.bypass_router.router.iptables.table import read_table
from custom_components.bypass_router.router.rules.obstacles import Hindrance
from custom_components.bypass_router.router.ssh.script import Result

from .rules import (
    EMPTY,
    IPTABLES,
    SITE,
    Kernel,
    chains,
    changed,
    planned,
    restored,
    state_of,
)

ESTABLISHED = "-A FORWARD -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT"
NINE = Forward.parse(
    "01NINE", protocol="both", external_port="9000", target="192.168.50.10"
)
UFW = f"""\
-P FORWARD DROP
-N ufw-after-forward
-N ufw-after-logging-forward
-N ufw-before-forward
-N ufw-before-logging-forward
-N ufw-reject-forward
-N ufw-track-forward
-N ufw-user-forward
-A FORWARD -j ufw-before-logging-forward
-A FORWARD -j ufw-before-forward
-A FORWARD -j ufw-after-forward
-A FORWARD -j ufw-after-logging-forward
-A FORWARD -j ufw-reject-forward
-A FORWARD -j ufw-track-forward
-A ufw-after-logging-forward -m limit --limit 3/min --limit-burst 10 -j LOG \
--log-prefix "[UFW BLOCK] "
{ESTABLISHED.replace("FORWARD", "ufw-before-forward")}
-A ufw-before-forward -p icmp -m icmp --icmp-type 3 -j ACCEPT
-A ufw-before-forward -j ufw-user-forward
-A ufw-user-forward -s 203.0.113.66/32 -j DROP
"""
DOCKER = """\
-P FORWARD DROP
-N DOCKER
-N DOCKER-ISOLATION-STAGE-1
-N DOCKER-ISOLATION-STAGE-2
-N DOCKER-USER
-A FORWARD -j DOCKER-USER
-A FORWARD -j DOCKER-ISOLATION-STAGE-1
-A FORWARD -o docker0 -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A FORWARD -o docker0 -j DOCKER
-A FORWARD -i docker0 ! -o docker0 -j ACCEPT
-A FORWARD -i docker0 -o docker0 -j ACCEPT
-A DOCKER -d 172.17.0.2/32 ! -i docker0 -o docker0 -p tcp -m tcp --dport 80 -j ACCEPT
-A DOCKER-ISOLATION-STAGE-1 -i docker0 ! -o docker0 -j DOCKER-ISOLATION-STAGE-2
-A DOCKER-ISOLATION-STAGE-1 -j RETURN
-A DOCKER-ISOLATION-STAGE-2 -o docker0 -j DROP
-A DOCKER-ISOLATION-STAGE-2 -j RETURN
-A DOCKER-USER -s 203.0.113.66/32 -j DROP
-A DOCKER-USER -j RETURN
"""
DOCKER_28 = """\
-P FORWARD DROP
-N DOCKER
-N DOCKER-BRIDGE
-N DOCKER-CT
-N DOCKER-FORWARD
-N DOCKER-ISOLATION-STAGE-1
-N DOCKER-USER
-A FORWARD -j DOCKER-USER
-A FORWARD -j DOCKER-FORWARD
-A DOCKER -d 172.17.0.2/32 ! -i docker0 -o docker0 -p tcp -m tcp --dport 80 -j ACCEPT
-A DOCKER ! -i docker0 -o docker0 -j DROP
-A DOCKER-BRIDGE -o docker0 -j DOCKER
-A DOCKER-CT -o docker0 -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A DOCKER-FORWARD -j DOCKER-CT
-A DOCKER-FORWARD -j DOCKER-ISOLATION-STAGE-1
-A DOCKER-FORWARD -j DOCKER-BRIDGE
-A DOCKER-FORWARD -i docker0 -j ACCEPT
"""
DOCKER_SETS = """\
-P FORWARD DROP
-N DOCKER
-A FORWARD -m set --match-set docker-ext-bridges-v4 dst -m conntrack \
--ctstate RELATED,ESTABLISHED -j ACCEPT
-A FORWARD -m set --match-set docker-ext-bridges-v4 dst -j DOCKER
-A DOCKER -d 172.17.0.2/32 ! -i docker0 -o docker0 -p tcp -m tcp --dport 80 -j ACCEPT
"""
FW3 = f"""\
-P FORWARD DROP
-N forwarding_lan_rule
-N forwarding_rule
-N reject
-N zone_lan_dest_ACCEPT
-N zone_lan_dest_REJECT
-N zone_lan_forward
-A FORWARD -m comment --comment "!fw3: Custom forwarding rule chain" -j forwarding_rule
{ESTABLISHED}
-A FORWARD -i lan -m comment --comment "!fw3" -j zone_lan_forward
-A FORWARD -m comment --comment "!fw3" -j reject
-A forwarding_lan_rule -s 203.0.113.66/32 -j DROP
-A reject -p tcp -m comment --comment "!fw3" -j REJECT --reject-with tcp-reset
-A reject -m comment --comment "!fw3" -j REJECT --reject-with icmp-port-unreachable
-A zone_lan_dest_ACCEPT -o lan -m conntrack --ctstate INVALID -j DROP
-A zone_lan_dest_ACCEPT -o lan -j ACCEPT
-A zone_lan_dest_REJECT -o lan -j reject
-A zone_lan_forward -j forwarding_lan_rule
-A zone_lan_forward -j zone_lan_dest_REJECT
"""
FIREWALLD = """\
-P FORWARD ACCEPT
-N FORWARD_direct
-N FORWARD_ZONES
-A FORWARD -m conntrack --ctstate RELATED,ESTABLISHED,DNAT -j ACCEPT
-A FORWARD -i lo -j ACCEPT
-A FORWARD -m conntrack --ctstate INVALID -j DROP
-A FORWARD -j FORWARD_direct
-A FORWARD -j FORWARD_ZONES
-A FORWARD -j REJECT --reject-with icmp-host-prohibited
"""
SHOREWALL = """\
-P FORWARD DROP
-N dynamic
-N loc-loc
-N loc_frwd
-N logflags
-N reject
-N tcpflags
-A FORWARD -i lan -j loc_frwd
-A FORWARD -m addrtype --dst-type BROADCAST -j DROP
-A FORWARD -m hashlimit --hashlimit-upto 1/sec --hashlimit-burst 10 \
--hashlimit-mode srcip --hashlimit-name lograte -j LOG --log-prefix "FORWARD REJECT "
-A FORWARD -g reject
-A dynamic -s 203.0.113.66/32 -j DROP
-A loc-loc -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A loc-loc -p icmp -m icmp --icmp-type 3/4 -j ACCEPT
-A loc-loc -m addrtype --dst-type BROADCAST -j DROP
-A loc-loc -m addrtype --dst-type MULTICAST -j DROP
-A loc-loc -m hashlimit --hashlimit-upto 1/sec --hashlimit-burst 10 \
--hashlimit-mode srcip --hashlimit-name lograte -j LOG --log-prefix "loc-loc REJECT "
-A loc-loc -g reject
-A loc_frwd -m conntrack --ctstate INVALID,NEW,UNTRACKED -j dynamic
-A loc_frwd -p tcp -j tcpflags
-A loc_frwd -o lan -j loc-loc
-A logflags -j LOG --log-prefix "logflags DROP "
-A logflags -j DROP
-A reject -m addrtype --src-type BROADCAST -j DROP
-A reject -s 224.0.0.0/4 -j DROP
-A reject -p igmp -j DROP
-A reject -p tcp -j REJECT --reject-with tcp-reset
-A reject -p udp -j REJECT --reject-with icmp-port-unreachable
-A reject -j REJECT --reject-with icmp-host-prohibited
-A tcpflags -p tcp -m tcp --tcp-flags FIN,SYN,RST,PSH,ACK,URG FIN,PSH,URG -g logflags
"""
LIBVIRT = """\
-P FORWARD ACCEPT
-N LIBVIRT_FWI
-N LIBVIRT_FWO
-N LIBVIRT_FWX
-A FORWARD -j LIBVIRT_FWX
-A FORWARD -j LIBVIRT_FWI
-A FORWARD -j LIBVIRT_FWO
-A LIBVIRT_FWI -d 192.168.122.0/24 -o virbr0 -m conntrack \
--ctstate RELATED,ESTABLISHED -j ACCEPT
-A LIBVIRT_FWI -o virbr0 -j REJECT --reject-with icmp-port-unreachable
-A LIBVIRT_FWO -s 192.168.122.0/24 -i virbr0 -j ACCEPT
-A LIBVIRT_FWO -i virbr0 -j REJECT --reject-with icmp-port-unreachable
-A LIBVIRT_FWX -i virbr0 -o virbr0 -j ACCEPT
"""
PROXMOX = """\
-P FORWARD ACCEPT
-N PVEFW-Drop
-N PVEFW-FORWARD
-N PVEFW-FWBR-IN
-A FORWARD -j PVEFW-FORWARD
-A PVEFW-FORWARD -m conntrack --ctstate INVALID -j DROP
-A PVEFW-FORWARD -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A PVEFW-FORWARD -m physdev --physdev-in fwln+ --physdev-is-bridged -j PVEFW-FWBR-IN
-A PVEFW-FORWARD -m comment --comment "PVESIG:qnNexOcGa+y+jebd4dAUqFSp5nw"
-A PVEFW-FWBR-IN -m set --match-set PVEFW-0-blacklist-v4 src -j DROP
"""
KUBE = """\
-P FORWARD ACCEPT
-N FLANNEL-FWD
-N KUBE-FORWARD
-N KUBE-PROXY-FIREWALL
-N KUBE-SERVICES
-A FORWARD -m conntrack --ctstate NEW -j KUBE-PROXY-FIREWALL
-A FORWARD -j KUBE-FORWARD
-A FORWARD -m conntrack --ctstate NEW -j KUBE-SERVICES
-A FORWARD -j FLANNEL-FWD
-A FLANNEL-FWD -s 10.42.0.0/16 -j ACCEPT
-A FLANNEL-FWD -d 10.42.0.0/16 -j ACCEPT
-A KUBE-FORWARD -m conntrack --ctstate INVALID -j DROP
-A KUBE-FORWARD -m mark --mark 0x4000/0x4000 -j ACCEPT
-A KUBE-FORWARD -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
"""
CALICO = """\
-P FORWARD ACCEPT
-N cali-FORWARD
-N cali-from-wl-dispatch
-A FORWARD -j cali-FORWARD
-A FORWARD -m mark --mark 0x10000/0x10000 -j ACCEPT
-A cali-FORWARD -j MARK --set-xmark 0x0/0xe0000
-A cali-FORWARD -i cali+ -j cali-from-wl-dispatch
-A cali-from-wl-dispatch -j DROP
"""
TAILSCALE = """\
-P FORWARD ACCEPT
-N ts-forward
-A FORWARD -j ts-forward
-A ts-forward -i tailscale0 -j MARK --set-xmark 0x40000/0xff0000
-A ts-forward -m mark --mark 0x40000/0xff0000 -j ACCEPT
-A ts-forward -s 100.64.0.0/10 -o tailscale0 -j DROP
-A ts-forward -o tailscale0 -j ACCEPT
"""
NM_SHARED = """\
-P FORWARD ACCEPT
-N nm-sh-fw-{0}
-A FORWARD -j nm-sh-fw-{0}
-A nm-sh-fw-{0} -d 10.42.0.0/24 -o {0} -m state --state RELATED,ESTABLISHED -j ACCEPT
-A nm-sh-fw-{0} -s 10.42.0.0/24 -i {0} -j ACCEPT
-A nm-sh-fw-{0} -i {0} -o {0} -j ACCEPT
-A nm-sh-fw-{0} -o {0} -j REJECT --reject-with icmp-port-unreachable
-A nm-sh-fw-{0} -i {0} -j REJECT --reject-with icmp-port-unreachable
"""
FAIL2BAN = """\
-N f2b-web
-A FORWARD -p tcp -m multiport --dports 9000,443 -j f2b-web
-A f2b-web -s 203.0.113.66/32 -j REJECT --reject-with icmp-port-unreachable
-A f2b-web -j RETURN
"""
CROWDSEC = """\
-N CROWDSEC_CHAIN
-A FORWARD -j CROWDSEC_CHAIN
-A CROWDSEC_CHAIN -m set --match-set crowdsec-blacklists-0 src -j DROP
"""
MINIUPNPD = """\
-N MINIUPNPD
-A FORWARD -i ppp0 ! -o ppp0 -j MINIUPNPD
-A MINIUPNPD -d 192.168.50.10/32 -p tcp -m tcp --dport 9000 -j ACCEPT
"""
NETAVARK = """\
-N NETAVARK_FORWARD
-N NETAVARK_ISOLATION_1
-A FORWARD -j NETAVARK_ISOLATION_1
-A FORWARD -j NETAVARK_FORWARD
-A NETAVARK_FORWARD -d 10.88.0.0/16 -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT
-A NETAVARK_FORWARD -s 10.88.0.0/16 -j ACCEPT
"""
ACCEPTS, DROPS = "-P FORWARD ACCEPT\n", "-P FORWARD DROP\n"
CLAMP = (
    "-A FORWARD -p tcp -m tcp --tcp-flags SYN,RST SYN -j TCPMSS --clamp-mss-to-pmtu\n"
)
WIREGUARD = "-A FORWARD -i wg0 -j ACCEPT\n-A FORWARD -o wg0 -j ACCEPT\n"

LISTINGS = {
    "accept, nothing": (ACCEPTS, []),
    "drop, nothing": (DROPS, ["FORWARD: at its end"]),
    "ufw, deny": (UFW, ["FORWARD: before -j ufw-after-logging-forward"]),
    "ufw, reject": (
        UFW + "-A ufw-reject-forward -j REJECT --reject-with icmp-port-unreachable\n",
        ["FORWARD: before -j ufw-after-logging-forward"],
    ),
    "ufw, allow": (
        UFW.replace("-P FORWARD DROP", "-P FORWARD ACCEPT")
        + "-A ufw-track-forward -p tcp -m conntrack --ctstate NEW -j ACCEPT\n"
        + "-A ufw-track-forward -p udp -m conntrack --ctstate NEW -j ACCEPT\n",
        [],
    ),
    "docker 20 to 27": (DOCKER, ["FORWARD: at its end"]),
    "docker, accept": (DOCKER.replace(DROPS, ACCEPTS), []),
    "docker 28": (DOCKER_28, ["FORWARD: at its end"]),
    "docker 28.0, with sets": (DOCKER_SETS, ["FORWARD: at its end"]),
    "fw3, reject": (FW3, ["zone_lan_forward: before -j zone_lan_dest_REJECT"]),
    "fw3, accept": (
        FW3.replace(
            "-A zone_lan_forward -j zone_lan_dest_REJECT",
            "-A zone_lan_forward -j zone_lan_dest_ACCEPT",
        ),
        [],
    ),
    "fw3, in no zone": (
        FW3.replace("-i lan", "-i eth7"),
        ["FORWARD: before -m comment --comment !fw3 -j reject"],
    ),
    "firewalld": (FIREWALLD, []),
    "shorewall": (SHOREWALL, ["loc-loc: before -m hashlimit"]),
    "shorewall, without routeback": (
        SHOREWALL.replace("-A loc_frwd -o lan -j loc-loc\n", ""),
        ["FORWARD: before -m hashlimit"],
    ),
    "libvirt": (LIBVIRT, []),
    "proxmox": (PROXMOX, []),
    "kubernetes": (KUBE, []),
    "calico": (CALICO, []),
    "tailscale": (TAILSCALE, []),
    "networkmanager, shared there": (NM_SHARED.format("lan"), []),
    "networkmanager, shared elsewhere": (NM_SHARED.format("wlan0"), []),
    "fail2ban": (ACCEPTS + FAIL2BAN, []),
    "fail2ban, drop": (DROPS + FAIL2BAN, ["FORWARD: at its end"]),
    "crowdsec": (ACCEPTS + CROWDSEC, []),
    "crowdsec, drop": (DROPS + CROWDSEC, ["FORWARD: at its end"]),
    "csf": (DROPS, ["FORWARD: at its end"]),
    "miniupnpd": (DROPS + MINIUPNPD, ["FORWARD: at its end"]),
    "netavark": (ACCEPTS + NETAVARK, []),
    "wireguard, drop": (DROPS + WIREGUARD, ["FORWARD: at its end"]),
    "a clamp": (DROPS + CLAMP, ["FORWARD: at its end"]),
    "marks, counters and logs": (
        DROPS
        + "-A FORWARD -j CONNMARK --restore-mark --nfmask 0xff --ctmask 0xff\n"
        + "-A FORWARD -s 203.0.113.0/24\n-A FORWARD -j NFLOG --nflog-group 5\n"
        + "-A FORWARD -m recent --set --name SEEN --mask 255.255.255.255 --rsource\n"
        + "-A FORWARD -j LOG\n-A FORWARD\n-A FORWARD -m limit --limit 3/min -j LOG\n",
        ["FORWARD: before -j LOG"],
    ),
    "flow offload": (
        DROPS
        + "-A FORWARD -m conntrack --ctstate RELATED,ESTABLISHED -j FLOWOFFLOAD --hw\n",
        ["FORWARD: at its end"],
    ),
    "a goto": (
        ACCEPTS + "-N fin\n-A FORWARD -s 203.0.113.66/32 -j DROP\n-A FORWARD -g fin\n"
        "-A fin -j LOG\n-A fin -j DROP\n-A FORWARD -j ACCEPT\n",
        ["FORWARD: before -g fin"],
    ),
}


def places_in(
    listing: str, *forwards: Forward, interface: str = "lan"
) -> list[tuple[str, str]]:
    """Return the places for forwards in a listing, and what leads to ours there."""
    table = read_table(listing)
    places = ForwardPlaces(table, SITE, interface).places(forwards or (NINE,))
    found = []
    for place in places:
        rules = table.chains[place.chain][place.first :]
        where = f"before {rules[0]}" if rules else "at its end"
        found.append((f"{place.chain}: {where}", str(place.rule)))
    return found


@pytest.mark.parametrize(("listing", "expected"), LISTINGS.values(), ids=LISTINGS)
def test_an_accept_stands_right_before_what_would_drop_for_no_reason(
    listing: str, expected: list[str]
) -> None:
    """And nowhere, where nothing would. All forwards share what leads there."""
    found = places_in(listing)
    assert len(found) == len(expected)
    for (where, rule), wanted in zip(found, expected, strict=True):
        assert where.startswith(wanted)
        assert rule == "-j HA-BYPASS-FWD"
    web = replace(NINE, id="01WEB", external=NINE.external.shifted(443))
    assert places_in(listing, NINE, web) == found


# What some rules keep out on purpose

ON_PURPOSE = {
    "a limit": (
        "-A FORWARD -m limit --limit 5/sec -j ACCEPT\n",
        (Hindrance.ALLOW_LIST, "-m limit --limit 5/sec -j ACCEPT"),
    ),
    "a limit for each client": (
        (
            "-A FORWARD -m hashlimit --hashlimit-upto 5/sec --hashlimit-burst 5"
            " --hashlimit-mode srcip --hashlimit-name a -j ACCEPT\n"
        ),
        (Hindrance.ALLOW_LIST, "-m hashlimit"),
    ),
    "friends": (
        f"{ESTABLISHED}\n-A FORWARD -s 203.0.113.0/28 -j ACCEPT\n",
        (Hindrance.ALLOW_LIST, "-s 203.0.113.0/28 -j ACCEPT"),
    ),
    "a set of friends, by returning": (
        (
            "-N DOCKER-USER\n-A FORWARD -j DOCKER-USER\n"
            "-A DOCKER-USER -m set --match-set friends src -j RETURN\n"
            "-A DOCKER-USER -j DROP\n"
        ),
        (Hindrance.ALLOW_LIST, "--match-set friends src -j RETURN"),
    ),
    "a country": (
        f"{ESTABLISHED}\n-A FORWARD -m geoip --source-country JP -j ACCEPT\n",
        (Hindrance.ALLOW_LIST, "--source-country JP"),
    ),
    "at night": (
        (
            f"{ESTABLISHED}\n-A FORWARD -m time --timestart 08:00:00"
            " --timestop 20:00:00 -j ACCEPT\n"
        ),
        (Hindrance.ALLOW_LIST, "-m time"),
    ),
    "a program": (
        "-A FORWARD -j NFQUEUE --queue-num 0 --queue-bypass\n",
        (Hindrance.QUEUED, "-j NFQUEUE"),
    ),
    "the target": (
        "-A FORWARD -d 192.168.50.10/32 -j DROP\n",
        (Hindrance.DENIED, "-d 192.168.50.10/32 -j DROP"),
    ),
}


@pytest.mark.parametrize(("rules", "expected"), ON_PURPOSE.values(), ids=ON_PURPOSE)
def test_what_is_kept_out_on_purpose_is_named_and_stays_out(
    rules: str, expected: tuple[Hindrance, str]
) -> None:
    """No rule of ours is put anywhere; the forward counts as carried."""
    part = chains(hooks=(FWD,))
    state = part.read({"filter": Result(DROPS + rules, 0)})
    first, *_ = part.obstacles(NINE, state)
    kind, words = expected
    assert first.kind is kind
    assert words in first.seen["rule"]
    assert first.seen["chain"] in ("FORWARD", "DOCKER-USER")
    assert part.carries(NINE, state)
    assert not part.steps([NINE], state)


def test_what_the_mangle_table_drops_is_named_too() -> None:
    """It is no place for a rule of ours."""
    part = chains(hooks=(MANGLE,))
    table = "-P PREROUTING ACCEPT\n-P FORWARD ACCEPT\n-A FORWARD -i lan -o lan -j DROP"
    state = part.read({"mangle": Result(table, 0)})
    (found,) = {it.seen["rule"]: it for it in part.obstacles(NINE, state)}.values()
    assert (found.kind, found.seen["chain"]) == (Hindrance.DENIED, "FORWARD")
    assert found.seen["rule"] == "-A FORWARD -i lan -o lan -j DROP"
    assert not part.steps([NINE], state)
    dropping = table.replace(
        "FORWARD ACCEPT\n-A FORWARD -i lan -o lan -j DROP", "FORWARD DROP"
    )
    (found,) = {
        it.seen["rule"]: it
        for it in part.obstacles(NINE, part.read({"mangle": Result(dropping, 0)}))
    }.values()
    assert found.seen["rule"] == "-P FORWARD DROP"


# Where forwards have places of their own

BAN = "-A FORWARD -s 203.0.113.66/32 -j DROP\n"


def test_transports_with_places_of_their_own_are_told_apart() -> None:
    """Neither comes by what decides about it too early."""
    listing = f"{DROPS}-A FORWARD -p udp -j DROP\n{BAN}"
    assert places_in(listing) == [
        (
            "FORWARD: before -p udp -j DROP",
            "-m conntrack --ctproto 17 -j HA-BYPASS-FWD",
        ),
        ("FORWARD: at its end", "-m conntrack --ctproto 6 -j HA-BYPASS-FWD"),
    ] or sorted(places_in(listing)) == [
        ("FORWARD: at its end", "-m conntrack --ctproto 6 -j HA-BYPASS-FWD"),
        (
            "FORWARD: before -p udp -j DROP",
            "-m conntrack --ctproto 17 -j HA-BYPASS-FWD",
        ),
    ]


def test_what_keeps_the_lan_apart_is_opened_for_the_lan_alone() -> None:
    """The bans behind it hold for the internet, which it is not about."""
    lan = "192.168.50.0/24"
    listing = f"{ACCEPTS}-A FORWARD -s {lan} -d {lan} -j DROP\n{BAN}"
    assert places_in(listing) == [
        (
            f"FORWARD: before -s {lan} -d {lan} -j DROP",
            f"-m conntrack --ctorigsrc {lan} -j HA-BYPASS-FWD",
        )
    ]


def test_answers_with_a_place_of_their_own_are_told_apart() -> None:
    """As where the target may not talk to anyone."""
    listing = f"{DROPS}-A FORWARD -s 192.168.50.8/29 -j DROP\n{BAN}"
    rules = {rule for _, rule in places_in(listing)}
    assert rules == {
        "-m conntrack --ctdir REPLY -j HA-BYPASS-FWD",
        "-m conntrack --ctdir ORIGINAL -j HA-BYPASS-FWD",
    }


def test_forwards_with_places_of_their_own_are_told_apart() -> None:
    """By where they are addressed to."""
    listing = (
        f"{ACCEPTS}-A FORWARD -d 192.168.50.8/29 -j DROP\n{BAN}-A FORWARD -j DROP\n"
    )
    other = replace(
        NINE, id="01TEN", external=NINE.external.shifted(9100), target=NINE.target + 40
    )
    found = places_in(listing, NINE, other)
    assert all("--ctorigdst 192.168.50.2 --ctorigdstport" in rule for _, rule in found)
    early = {rule for where, rule in found if "192.168.50.8/29" in where}
    assert early
    assert all("--ctorigdstport 9000" in rule for rule in early)


def test_a_chain_whose_name_is_not_safe_to_hand_back_is_left_alone() -> None:
    """And named."""
    listing = f"{ACCEPTS}-N a;b\n-A FORWARD -s 1.2.3.4/32\n-A FORWARD -j a;b\n"
    listing += f"{BAN.replace('FORWARD', 'a;b')}-A a;b -j DROP\n"
    assert places_in(listing) == []
    places = ForwardPlaces(read_table(listing), SITE, "lan")
    assert {it.kind for it in places.obstacles(NINE)} == {Hindrance.DENIED}


# As it changes

FORWARD = ("filter", "FORWARD")


def with_forward(kernel: Kernel, *rules: str) -> Kernel:
    """Return the same with these rules in FORWARD."""
    return kernel.with_rules(*FORWARD, rules)


def test_what_decides_and_came_behind_us_is_put_before_us_again() -> None:
    """As when fw3 sets its rules anew, or somebody adds one."""
    whole = changed(EMPTY, [NINE])
    assert [str(it) for it in whole.tables["filter"]["FORWARD"]] == ["-j HA-BYPASS-FWD"]
    ban = "-s 203.0.113.66/32 -j DROP"
    behind = with_forward(whole, "-j HA-BYPASS-FWD", ban)
    state = state_of(behind)
    # Its packets pass: it is on, as the kernel has it.
    assert chains().carries(NINE, state)
    plan = planned([NINE], behind)
    guard, step = plan.steps
    assert guard.command == "sh"
    assert step.lines == (
        "*filter",
        "-D FORWARD -j HA-BYPASS-FWD",
        "-I FORWARD 2 -j HA-BYPASS-FWD",
        "COMMIT",
    )
    mended = restored(behind, plan.steps)
    assert [str(it) for it in mended.tables["filter"]["FORWARD"]] == [
        ban,
        "-j HA-BYPASS-FWD",
    ]
    assert not planned([NINE], mended)
    assert with_forward(changed(mended, [])) == EMPTY


def test_a_place_in_another_chain_is_moved_to_and_nothing_stays_behind() -> None:
    """As where fw3's zones come to a table that dropped by its policy."""
    start = EMPTY.with_rules("filter", "zone", []).with_rules("filter", "reject", [])
    whole = changed(start, [NINE])
    zoned = with_forward(whole, "-i lan -j zone", "-j HA-BYPASS-FWD")
    zoned = zoned.with_rules(
        "filter", "zone", ["-s 203.0.113.66/32 -j DROP", "-j reject"]
    )
    zoned = zoned.with_rules("filter", "reject", ["-j REJECT"])
    assert not chains().carries(NINE, state_of(zoned))
    after = changed(zoned, [NINE])
    assert not planned([NINE], after)
    assert chains().carries(NINE, state_of(after))
    assert [str(it) for it in after.tables["filter"]["zone"]] == [
        "-s 203.0.113.66/32 -j DROP",
        "-j HA-BYPASS-FWD",
        "-j reject",
    ]
    assert [str(it) for it in after.tables["filter"]["FORWARD"]] == ["-i lan -j zone"]


def test_rules_of_an_earlier_version_are_carried_and_replaced() -> None:
    """They stood on top, for one transport alone."""
    whole = changed(EMPTY, [NINE])
    ban = "-s 203.0.113.66/32 -j DROP"
    earlier = [
        f"-p {name} {str(rule).replace(f'--ctproto {number} ', '')}"
        for rule in whole.rules(FWD) or ()
        for name, number in (("tcp", "6"), ("udp", "17"))
        if f"--ctproto {number} " in str(rule)
    ]
    assert len(earlier) == 2
    old = with_forward(whole, "-j HA-BYPASS-FWD", ban)
    old = old.with_rules("filter", FWD.chain, earlier)
    assert chains().carries(NINE, state_of(old))
    after = changed(old, [NINE])
    assert after.rules(FWD) == whole.rules(FWD)
    assert str(after.tables["filter"]["FORWARD"][-1]) == "-j HA-BYPASS-FWD"


def test_where_nothing_is_dropped_any_more_nothing_stays() -> None:
    """Its packets pass all the while."""
    whole = changed(EMPTY, [NINE]).with_policy(*FORWARD, drops=False)
    assert chains().carries(NINE, state_of(whole))
    after = changed(whole, [NINE])
    assert after.rules(FWD) is None
    assert after.tables["filter"]["FORWARD"] == ()


def test_another_owners_rules_keep_what_leads_to_them() -> None:
    """Whoever is last takes it away."""
    other = replace(SITE, owner="cd34")
    ten = replace(NINE, id="01TEN", external=NINE.external.shifted(9100))
    both = changed(changed(EMPTY, [NINE]), [ten], other)
    one = changed(both, [])
    assert str(one.tables["filter"]["FORWARD"][-1]) == "-j HA-BYPASS-FWD"
    assert chains(other).carries(ten, state_of(one, other))
    assert with_forward(changed(one, [], other)) == EMPTY


OPAQUE = Result(
    "iptables v1.8.9 (nf_tables): table `filter' is incompatible, use 'nft' tool.", 1
)


@pytest.mark.parametrize("entered", [True, False])
def test_a_table_that_iptables_can_not_show_is_left_to_nft(entered: bool) -> None:
    """Where that is there; else all that can be told is that the jump stands."""
    absent = Result("iptables: No chain/target/match by that name.", 1)
    ours = "\n".join(
        [
            "-N HA-BYPASS-FWD",
            *(
                f"-A HA-BYPASS-FWD {it}"
                for it in changed(EMPTY, [NINE]).rules(FWD) or ()
            ),
        ]
    )
    sections = {
        "filter": OPAQUE,
        f"jump.{FWD.chain}": Result("", 0 if entered else 1),
        f"chain.{FWD.chain}": Result(ours, 0) if entered else absent,
    }
    without_nft = chains(hooks=(FWD,))
    state = without_nft.read(sections)
    assert without_nft.carries(NINE, state) == entered
    lines = [line for step in without_nft.steps([NINE], state) for line in step.lines]
    assert ("-I FORWARD 1 -j HA-BYPASS-FWD" in lines) == (not entered)
    beside = Chains(SITE, IPTABLES, interface="lan", hooks=(FWD,), beside_nft=True)
    state = beside.read(sections)
    assert beside.carries(NINE, state)
    lines = [line for step in beside.steps([NINE], state) for line in step.lines]
    assert ("-D FORWARD -j HA-BYPASS-FWD" in lines) == entered
    assert ("-X HA-BYPASS-FWD" in lines) == entered
