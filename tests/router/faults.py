"""Faults of every kind, each seeded for real in the lab: the causes to be named."""

from collections.abc import Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass, replace
import subprocess
import sys
from typing import Final, override

from custom_components.bypass_router.router.doctor.report import Cause
from custom_components.bypass_router.router.forward import Forward, Protocol
from tests.lab.hijacks import Hijack, NftTproxy, Tproxy, Tun
from tests.lab.led_away import LAN, NO_GATEWAY, OPENVPN, PBR
from tests.lab.network import Lab
from tests.lab.node import Node
from tests.lab.proxies import Proxy

WEB: Final = Forward.parse(
    "01WEB",
    protocol="tcp",
    external_port="8443",
    target="192.168.50.10",
    target_port="443",
)
KEPT: Final = replace(WEB, id="02KEPT", keep_client_address=True)
FOR_LAN: Final = Forward.parse(
    "03LAN",
    protocol="tcp",
    external_port="8443",
    target="192.168.50.10",
    target_port="443",
    sources=["192.168.50.0/24", "198.51.100.0/24"],
)

BOTH: Final = replace(WEB, protocol=Protocol.BOTH)


@dataclass(frozen=True)
class Fault:
    """Something that goes wrong, after the forward was set."""

    name: str
    causes: tuple[Cause, ...]
    """What is to be named, in the order of the path."""
    seed: Callable[[Lab], Proxy | None]
    """Makes it; a proxy that was started is to be stopped."""
    forward: Forward = WEB
    client: bool = False
    """Whether it shows only while someone tries from outside."""
    sudo: bool = False
    """Whether it takes an account that has to ask `sudo`."""
    remembers: bool = False
    """Whether an earlier diagnosis was made."""
    of_iptables: bool = False
    """Whether it takes both variants of iptables, and is nothing to our nft table."""

    @override
    def __str__(self) -> str:
        """What it is called in the table."""
        return self.name

    def __and__(self, other: Fault) -> Fault:
        """Both at once."""

        def seed(lab: Lab) -> Proxy | None:
            one, another = self.seed(lab), other.seed(lab)
            return one or another

        return replace(
            self,
            name=f"{self} and {other}",
            causes=in_order(*self.causes, *other.causes),
            seed=seed,
            forward=self.forward if self.forward is not WEB else other.forward,
            client=self.client or other.client,
            remembers=self.remembers or other.remembers,
        )


def in_order(*causes: Cause) -> tuple[Cause, ...]:
    """Return the causes in the order of the path."""
    order = list(Cause)
    return tuple(sorted(causes, key=order.index))


def nft(node: Node, text: str) -> None:
    """Add rules of nft."""
    node.run("/mnt/sbin/nft" if node.name == "bypass" else "nft", "-f", "-", input=text)


def _is_iptables(lab: Lab) -> bool:
    """Return whether the router is one whose firewall is iptables."""
    return lab.options.iptables is not None


def _iptables(lab: Lab, *arguments: str) -> None:
    """Run its iptables."""
    lab.bypass.real(f"iptables-{lab.options.iptables}", *arguments)


def _lose_privileges(lab: Lab) -> None:
    sudoers = lab.bypass.disk.path("/etc/sudoers")
    lines = sudoers.read_text().splitlines()
    kept = [line for line in lines if line.startswith("Defaults")]
    lab.bypass.disk.write("/etc/sudoers", "\n".join([*kept, ""]), 0o440)


def _lose_rules(lab: Lab) -> None:
    """Do what the article's clean.sh does, or its like for nft."""
    if _is_iptables(lab) and "HA-BYPASS-PRE" in lab.bypass.iptables_save():
        _iptables(lab, "-t", "nat", "-F")
    else:
        lab.bypass.real("nft", "delete", "table", "ip", "ha_bypass")


_ELSEWHERE: Final = "-p tcp --dport 8443 -j DNAT --to-destination 192.168.50.20:80"


def _stand_before(lab: Lab) -> None:
    """Send the port elsewhere, by a rule that is asked first."""
    if _is_iptables(lab):
        _iptables(lab, "-t", "nat", "-I", "PREROUTING", *_ELSEWHERE.split())
    if lab.options.iptables == "legacy":
        return
    nft(
        lab.bypass,
        "table ip early { chain pre {\n"
        "type nat hook prerouting priority -110; policy accept;\n"
        "tcp dport 8443 dnat to 192.168.50.20:80\n}\n}",
    )


_ANSWERING: Final = (
    "import socket; s = socket.create_server(('', 80)); print('ok', flush=True)\n"
    "while True: s.accept()[0].sendall(b'elsewhere')"
)


def _stand_before_in_other_variant(lab: Lab) -> None:
    """Send the port elsewhere by the other variant of iptables; someone answers there.

    Of two chains with one priority, the kernel asks that first which was made last.
    """
    service = lab.other.spawn(
        sys.executable, "-IS", "-c", _ANSWERING, stdout=subprocess.PIPE
    )
    assert service.stdout
    assert service.stdout.readline() == "ok\n"
    other = "nft" if lab.options.iptables == "legacy" else "legacy"
    jump = ("-t", "nat", "-I", "PREROUTING", *_ELSEWHERE.split())
    lab.bypass.real(f"iptables-{other}", *jump)


def _remove_firewall(lab: Lab) -> None:
    """Let its packages be removed; the rules stay in the kernel."""
    lab.bypass.commands.hide("nft", "ip*tables*", "x*tables*")


def _drop(lab: Lab) -> None:
    """Begin to drop what is forwarded, by policy."""
    if _is_iptables(lab):
        _iptables(lab, "-F", "FORWARD")
        _iptables(lab, "-P", "FORWARD", "DROP")
    else:
        nft(
            lab.bypass,
            "table inet strict { chain forward {\n"
            "type filter hook forward priority 0; policy drop;\n}\n}",
        )


def _drop_unseen(lab: Lab) -> None:
    """Drop it where none of our rules would have to stand."""
    nft(
        lab.bypass,
        "table ip unseen { chain post {\n"
        "type filter hook postrouting priority -200; policy accept;\n"
        "ct status dnat drop\n}\n}",
    )


def _drop_internet(lab: Lab) -> None:
    """Drop what is forwarded for clients of the internet, and no one else's."""
    nft(
        lab.bypass,
        "table ip unseen { chain post {\n"
        "type filter hook postrouting priority -200; policy accept;\n"
        "ip saddr 203.0.113.0/24 drop\n}\n}",
    )


def _default_elsewhere(lab: Lab) -> None:
    """Make another interface the way to the internet, and be strict about it."""
    lab.bypass.run(
        *("/mnt/bin/ip" if lab.options.system != "debian" else "ip", "-batch", "-"),
        input="link add other type veth peer name far\nlink set other up\n"
        "link set far up\naddress add 10.9.9.1/24 dev other\n"
        "route replace default via 10.9.9.2 dev other\n",
    )
    lab.bypass.sysctl("net.ipv4.conf.all.rp_filter", "1")


def _firewall_of_target(rule: str) -> Callable[[Lab], None]:
    """Return what adds a rule to the target's own firewall."""

    def seed(lab: Lab) -> None:
        nft(
            lab.target,
            "table ip own { chain input {\n"
            "type filter hook input priority 0; policy accept;\n"
            f"{rule}\n}}\n}}",
        )

    return seed


def _serve_elsewhere(lab: Lab) -> None:
    lab.target.stop_serving()
    lab.target.serve("tcp", 444)


_LOOPBACK: Final = (
    "import socket, time; s = socket.socket(); s.bind(('127.0.0.1', 443)); s.listen();"
    "print('ok', flush=True); time.sleep(1000)"
)


def _serve_loopback(lab: Lab) -> None:
    lab.target.stop_serving()
    lab.target.spawn(sys.executable, "-IS", "-c", _LOOPBACK)


def _move(lab: Lab) -> None:
    """Give the target another address, as a DHCP server would."""
    lab.target.stop_serving()
    lab.target.ip(
        "address del 192.168.50.10/24 dev lan",
        "address add 192.168.50.11/24 dev lan",
        "route replace default via 192.168.50.2",
    )
    lab.target.exchange("udp", lab.bypass.address, 9, timeout=0.1)


def _gateway(lab: Lab) -> None:
    """Let the target answer by the main router; a client has just noticed."""
    lab.target.use_gateway(lab.main.address)
    visit(lab)


def _refuse_internet(lab: Lab) -> None:
    """Let the target take clients of the LAN only, and know its way out."""
    _firewall_of_target("ip saddr != 192.168.50.0/24 tcp dport 443 drop")(lab)
    lab.target.exchange("udp", lab.internet.address, 9, timeout=0.1)
    visit(lab)


def visit(lab: Lab) -> None:
    """Let a client from the internet try."""
    lab.internet.exchange("tcp", lab.main.wan_address, 8443, timeout=0.3)


def _take(hijack: Callable[[Lab], Hijack]) -> Callable[[Lab], Proxy]:
    """Return what starts a proxy."""

    def seed(lab: Lab) -> Proxy:
        if lab.options.system != "debian":
            # Its package ip-full, which such proxies need.
            lab.bypass.commands.link("ip", "bin/ip")
        proxy = Proxy(hijack(lab))
        proxy.start(lab.bypass)
        return proxy

    return seed


def _tproxy(lab: Lab) -> Hijack:
    return Tproxy(variant="legacy") if lab.options.iptables == "legacy" else NftTproxy()


def _fill(lab: Lab) -> None:
    """Let connections come from the LAN until the kernel remembers no more."""
    # All of them at once, also where it takes long until the last has come. In a user
    # namespace, the kernel keeps it to itself.
    with suppress(PermissionError):
        lab.bypass.sysctl("net.netfilter.nf_conntrack_udp_timeout", "600")
    count, most = (
        int(lab.bypass.run("cat", f"/proc/sys/net/netfilter/nf_conntrack_{it}").stdout)
        for it in ("count", "max")
    )
    lab.other.run(
        *(sys.executable, "-IS", "-c", _FILLING),
        *(lab.bypass.address, str(most - count + 2000)),
    )


_FILLING: Final = """
import socket, sys
address, number = sys.argv[1], int(sys.argv[2])
while number > 0:
    s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    s.setblocking(False)
    for port in range(1024, 61024):
        try:
            s.sendto(b"", (address, port))
        except (BlockingIOError, ConnectionRefusedError):
            continue
        number -= 1
        if not number:
            break
    # Its port stays taken, so the next socket has another.
    globals().setdefault("kept", []).append(s)
"""


def _untrack(lab: Lab) -> None:
    """Keep what comes to the port from being tracked, as where there are many users."""
    if lab.options.iptables:
        rule = "-p tcp -m multiport --dports 80,8443 -j CT --notrack"
        lab.bypass.run("sh", "-c", f"iptables -t raw -A PREROUTING {rule}")
    else:
        _early(lab, -300, "counter notrack")


def _drop_early(lab: Lab) -> None:
    """Drop what comes to the port, before anything could be translated."""
    if lab.options.iptables:
        rule = "-i lan -p tcp --dport 8443 -j DROP"
        lab.bypass.run("sh", "-c", f"iptables -t mangle -A PREROUTING {rule}")
    else:
        _early(lab, -150, "drop")


def _early(lab: Lab, priority: int, verdict: str) -> None:
    """Do something with what comes to the port, by nft."""
    lab.bypass.run(
        "nft",
        "table inet early { chain pre {"
        f" type filter hook prerouting priority {priority};"
        f" tcp dport {{ 80, 8000-9000 }} {verdict}; }}; }}",
    )


def _drop_visitors(lab: Lab) -> None:
    """Drop what comes from one network of the internet, before it is tracked.

    And let the target close a connection late that began before that.
    """
    client = lab.internet.spawn(
        *(sys.executable, "-IS", "-c", _CONNECTING, lab.main.wan_address),
        stdout=subprocess.PIPE,
    )
    assert client.stdout
    assert client.stdout.readline() == "ok\n"
    if lab.options.iptables:
        rule = "-s 203.0.113.0/24 -p tcp --dport 8443 -j DROP"
        lab.bypass.run("sh", "-c", f"iptables -t raw -A PREROUTING {rule}")
    else:
        nft(
            lab.bypass,
            "table ip raw_drop { chain pre {\n"
            "type filter hook prerouting priority -300; policy accept;\n"
            "ip saddr 203.0.113.0/24 drop\n}\n}",
        )
    # What the service sends now goes out again and again, since no answer comes back.
    lab.target.stop_serving()
    lab.target.serve("tcp", 443)


_CONNECTING: Final = (
    "import socket, sys, time; s = socket.create_connection((sys.argv[1], 8443));"
    "s.send(b'hello\\n'); s.recv(9); print('ok', flush=True); time.sleep(1000)"
)


UNREACHABLE: Final = Fault(
    "the router's SSH server is gone",
    (Cause.UNREACHABLE,),
    lambda lab: lab.bypass.stop_ssh(),
)
NOT_PRIVILEGED: Final = Fault(
    "sudo refuses", (Cause.NOT_PRIVILEGED,), _lose_privileges, sudo=True
)
FIREWALL_GONE: Final = Fault(
    "the firewall was uninstalled", (Cause.FIREWALL_UNUSABLE,), _remove_firewall
)
FORWARD_OFF: Final = Fault(
    "ip_forward is off",
    (Cause.IP_FORWARD_OFF,),
    lambda lab: lab.bypass.sysctl("net.ipv4.ip_forward", "0"),
)
FULL: Final = Fault("conntrack is full", (Cause.CONNTRACK_FULL,), _fill)
MISSING: Final = Fault("the rules are gone", (Cause.RULE_MISSING,), _lose_rules)
SHADOWED: Final = Fault(
    "another rule is asked first", (Cause.RULE_SHADOWED,), _stand_before
)
SHADOWED_BY_OTHER: Final = Fault(
    "the other variant of iptables is asked first",
    (Cause.OTHER_BACKEND_FIRST,),
    _stand_before_in_other_variant,
    of_iptables=True,
)
TPROXY: Final = Fault("TPROXY", (Cause.HIJACKED_BY_TPROXY,), _take(_tproxy))
DROPPED: Final = Fault("FORWARD drops", (Cause.DROPPED_IN_FORWARD,), _drop)
DROPPED_UNSEEN: Final = Fault(
    "something else drops", (Cause.DROPPED_IN_FORWARD,), _drop_unseen
)
RP_FILTER: Final = Fault("rp_filter", (Cause.RP_FILTER,), _default_elsewhere)
DOWN: Final = Fault(
    "the target is off", (Cause.TARGET_DOWN,), lambda lab: lab.target.cut_link()
)
MOVED: Final = Fault(
    "the target has another address", (Cause.TARGET_MOVED,), _move, remembers=True
)
CLOSED: Final = Fault("another port", (Cause.PORT_CLOSED,), _serve_elsewhere)
LOOPBACK: Final = Fault("its loopback only", (Cause.PORT_CLOSED,), _serve_loopback)
REFUSES: Final = Fault(
    "the target drops the router",
    (Cause.TARGET_REFUSES,),
    _firewall_of_target("ip saddr 192.168.50.2 tcp dport 443 drop"),
)
REFUSES_INTERNET: Final = Fault(
    "the target drops the internet",
    (Cause.TARGET_REFUSES,),
    _refuse_internet,
    forward=KEPT,
)
NO_ANSWER: Final = Fault(
    "the target drops everybody",
    (Cause.NO_ANSWER,),
    _firewall_of_target("tcp dport 443 drop"),
)
GATEWAY: Final = Fault(
    "the target's gateway is another",
    (Cause.GATEWAY_BYPASSES,),
    _gateway,
    forward=KEPT,
)
NO_ROUTE: Final = Fault(
    "no default route",
    (Cause.NO_ROUTE,),
    lambda lab: lab.bypass.ip("route del default"),
)
TUNNEL: Final = Fault("TUN", (Cause.HIJACKED_BY_TUNNEL,), _take(lambda _: Tun()))
# Over TCP; that UDP passes proves nothing for it.
UNTRACKED: Final = Fault("NOTRACK", (Cause.UNTRACKED,), _untrack, BOTH)
DROPPED_EARLY: Final = Fault(
    "dropped before NAT", (Cause.DROPPED_EARLY,), _drop_early, BOTH
)
VPN: Final = Fault(
    "a VPN is the default route",
    (Cause.HIJACKED_BY_TUNNEL,),
    _take(lambda _: OPENVPN),
)
NO_MAIN_ROUTER: Final = Fault(
    "a VPN is the only default route",
    (Cause.NO_GATEWAY,),
    _take(lambda _: NO_GATEWAY),
)
BY_DEVICE: Final = Fault(
    "a mark leads a device away",
    (Cause.HIJACKED_BY_TUNNEL,),
    _take(lambda _: replace(PBR, do=f"{PBR.do}\nip route add {LAN} dev lan table 201")),
)
# That nobody came is no fault: whoever tried, and where, is not known.
NEVER: Final = Fault(
    "the main router forwards nothing",
    (),
    lambda lab: lab.main.clear_forwards(),
    client=True,
)
EXCLUDED: Final = Fault(
    "sources leaves the client out",
    (Cause.SOURCE_EXCLUDED,),
    lambda _: None,
    forward=FOR_LAN,
    client=True,
)
DIED: Final = Fault(
    "only the internet is dropped",
    (Cause.DIED_ON_THE_WAY,),
    _drop_internet,
    client=True,
)
# D4: seen while the visitor still asks, by a router that the target does not use.
GATEWAY_NOW: Final = Fault(
    "the target's gateway is another, and a visitor",
    (Cause.GATEWAY_BYPASSES,),
    lambda lab: lab.target.use_gateway(lab.main.address),
    forward=KEPT,
    client=True,
)
DROPPED_RAW: Final = Fault(
    "visitors are dropped before NAT",
    (Cause.DIED_ON_THE_WAY,),
    _drop_visitors,
    client=True,
)
VISITED: Final = Fault("nothing, and a visitor", (), lambda _: None, client=True)

FAULTS: Final = (
    UNREACHABLE,
    NOT_PRIVILEGED,
    FIREWALL_GONE,
    FORWARD_OFF,
    FULL,
    MISSING,
    SHADOWED,
    SHADOWED_BY_OTHER,
    TPROXY,
    DROPPED,
    DROPPED_UNSEEN,
    RP_FILTER,
    DOWN,
    MOVED,
    CLOSED,
    LOOPBACK,
    REFUSES,
    REFUSES_INTERNET,
    NO_ANSWER,
    GATEWAY,
    NO_ROUTE,
    TUNNEL,
    UNTRACKED,
    DROPPED_EARLY,
    VPN,
    NO_MAIN_ROUTER,
    BY_DEVICE,
    NEVER,
    EXCLUDED,
    DIED,
    GATEWAY_NOW,
    DROPPED_RAW,
    VISITED,
)

SHOWN_BY_CLIENTS: Final = (VISITED, NEVER, DIED, GATEWAY_NOW, DROPPED_RAW)
"""What is known only if someone comes from outside; the first two are no faults."""
SHOWN_BY_ITSELF: Final = (MISSING, DROPPED, CLOSED, RP_FILTER, NO_ROUTE, DROPPED_EARLY)
"""Some that are known without, and must be whoever else is there."""


def pairs() -> Iterable[Fault]:
    """Yield faults that come together; both are named but where one hides the other."""
    yield FORWARD_OFF & CLOSED
    yield FORWARD_OFF & DOWN
    yield FORWARD_OFF & MISSING
    yield MISSING & CLOSED
    yield MISSING & DOWN
    yield SHADOWED & CLOSED
    yield DROPPED & CLOSED
    yield DROPPED_UNSEEN & CLOSED
    yield DROPPED & TUNNEL
    yield TPROXY & CLOSED
    yield RP_FILTER & CLOSED
    yield RP_FILTER & REFUSES
    yield NO_ROUTE & NO_ANSWER
    yield TUNNEL & DOWN
    # Nothing that comes later is asked while nothing comes at all.
    yield replace(NEVER & CLOSED, causes=NEVER.causes)
    # Our own rules for the firewall are gone with the rest, and come back with it.
    yield replace(MISSING & DROPPED, causes=MISSING.causes)
    # No one has the address: who would listen there can't be told.
    yield replace(DOWN & CLOSED, causes=DOWN.causes)
    # Our own packets are dropped as well, so the target is not blamed.
    yield replace(FULL & NO_ANSWER, causes=FULL.causes)
    # What a visitor meets is diagnosed as well.
    yield replace(DIED & FORWARD_OFF, causes=FORWARD_OFF.causes)
