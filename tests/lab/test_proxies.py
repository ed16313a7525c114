"""What a transparent proxy beside a forward breaks, and what mends it.

The forward is made by hand, in both of its modes: with SNAT, and without, so that
the target sees its client.
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
import socket
import subprocess
import sys
from typing import Literal

import pytest

from .bypass import RouterOptions
from .exchange import Exchange, Outcome, Transport
from .hijacks import (
    TUN_INTERFACE,
    Hijack,
    NftRedirect,
    NftTproxy,
    Redirect,
    Tproxy,
    Tun,
)
from .network import Lab
from .node import Node
from .proxies import Haproxy, Proxy, Redsocks, serve_socks, was_hijacked
from .requirements import LabUnavailable
from .test_problem import PORT, TARGET_PORT, set_dnat, set_snat

type Start = Callable[[Proxy], Proxy]
type Mode = Literal["snat", "keeps client"]
type Mend = Callable[[Lab, Transport], None]

BOTH: tuple[Transport, ...] = ("tcp", "udp")
SERVICE = 8000
LOST_AFTER = 0.2
"""How long an answer is waited for, in seconds, that is not expected to come."""

CATCH_ALL = (
    Redirect(),
    Redirect(variant="legacy"),
    NftRedirect(),
    Tproxy(),
    Tproxy(variant="legacy"),
    NftTproxy(),
)
SPARING = (
    Redirect(spares_private=True),
    NftRedirect(spares_private=True),
    Tproxy(spares_private=True),
    Tproxy(spares_private=True, variant="legacy"),
    NftTproxy(spares_private=True),
)
ALL = (*CATCH_ALL, *SPARING, Tun())
BREAKS: dict[Hijack, tuple[Mode, ...]] = {
    **dict.fromkeys(CATCH_ALL, ("snat", "keeps client")),
    Redirect(spares_private=True): (),
    NftRedirect(spares_private=True): (),
    # The target's answers go to the client's own address, which is not private.
    Tproxy(spares_private=True): ("keeps client",),
    Tproxy(spares_private=True, variant="legacy"): ("keeps client",),
    NftTproxy(spares_private=True): ("keeps client",),
    Tun(): ("snat", "keeps client"),
}


def name_of(value: object) -> str:
    """What a parameter is called in a test's name."""
    return getattr(value, "__name__", str(value))


@pytest.fixture
def router_options() -> RouterOptions:
    """One without SSH, which is there sooner."""
    return RouterOptions(ssh=None)


@pytest.fixture
def start(lab: Lab) -> Iterator[Start]:
    """Start proxies that are stopped after the test."""
    with ExitStack() as stack:

        def start(proxy: Proxy) -> Proxy:
            stack.callback(proxy.stop)
            try:
                proxy.start(lab.bypass)
            except LabUnavailable as error:
                pytest.skip(str(error))
            return proxy

        yield start


def protocols_of(hijack: Hijack) -> tuple[Transport, ...]:
    """Which protocols it takes."""
    only_tcp = isinstance(hijack, Redirect | NftRedirect)
    return ("tcp",) if only_tcp else BOTH


def echo_on_the_internet(lab: Lab) -> None:
    """Serve there what the target serves in the LAN."""
    program = Path(__file__).with_name("echo.py").read_text()
    process = lab.internet.spawn(
        *(sys.executable, "-IS", "-c", program),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    )
    assert process.stdin is not None
    assert process.stdout is not None
    for protocol in BOTH:
        print(protocol, SERVICE, file=process.stdin, flush=True)
        assert process.stdout.readline() == "ok\n"


def browse(lab: Lab, protocol: Transport = "tcp") -> Exchange:
    """Let the target, whose gateway is the bypass router, use the internet."""
    address = lab.internet.address
    return lab.target.exchange(protocol, address, SERVICE, timeout=LOST_AFTER)


def forward(
    lab: Lab, protocol: Transport, mode: Mode, target_port: int = TARGET_PORT
) -> None:
    """Forward the port on the bypass router."""
    lab.target.serve(protocol, target_port)
    target = f"{lab.target.address}:{target_port}"
    rule = f"-p {protocol} -d {lab.bypass.address} --dport {PORT} -j DNAT"
    run(lab, f"iptables -t nat -A PREROUTING {rule} --to-destination {target}")
    if mode == "snat":
        set_snat(lab, protocol)
    else:
        rule = f"-p {protocol} -m conntrack --ctorigdst {lab.bypass.address}"
        rule += f" --ctorigdstport {PORT} -j ACCEPT"
        run(lab, f"iptables -t nat -I POSTROUTING {rule}")


def use(lab: Lab, protocol: Transport, mode: Mode = "snat") -> list[Exchange]:
    """Use the forward from wherever its mode allows that."""
    places: list[tuple[Node, str]] = [(lab.internet, lab.main.wan_address)]
    if mode == "snat":
        # Without it, the target answers its neighbours directly.
        places.append((lab.other, lab.bypass.address))
    tried = [
        place.exchange(protocol, address, PORT, timeout=LOST_AFTER)
        for place, address in places
    ]
    seen = lab.bypass.address if mode == "snat" else lab.internet.address
    assert all(one.peer_seen == seen for one in tried if one.passed)
    return tried


def works(lab: Lab, protocol: Transport, mode: Mode = "snat") -> bool:
    """Return whether it works from wherever its mode allows that."""
    return all(tried.passed for tried in use(lab, protocol, mode))


def run(lab: Lab, command: str) -> str:
    """Run a command on the bypass router."""
    return lab.bypass.run(*command.split()).stdout


def all_rules(lab: Lab) -> list[str]:
    """The rules of all kinds, but not the kernel's own empty chains and tables."""
    rules = [line for line in lab.bypass.iptables_save().splitlines() if ": -A" in line]
    commands = ("nft list tables inet", "ip rule", "ip route show table all", "ip link")
    return [*rules, *(run(lab, command) for command in commands)]


@pytest.mark.parametrize("hijack", ALL, ids=name_of)
def test_it_takes_what_a_device_sends_to_the_internet_until_it_is_stopped(
    lab: Lab, start: Start, hijack: Hijack
) -> None:
    """Then nothing of it is left."""
    echo_on_the_internet(lab)
    before = all_rules(lab)
    proxy = start(Proxy(hijack))
    for protocol in BOTH:
        tried = browse(lab, protocol)
        if protocol not in protocols_of(hijack):
            assert tried.passed
        elif (hijack, protocol) == (Tun(), "tcp"):
            assert tried.outcome is Outcome.NO_CONNECTION
            counter = f"/sys/class/net/{TUN_INTERFACE}/statistics/tx_packets"
            assert int(run(lab, f"cat {counter}")) > 0
        else:
            assert was_hijacked(tried)
            assert tried.port_seen == SERVICE
    proxy.stop()
    assert all_rules(lab) == before
    assert all(browse(lab, protocol).passed for protocol in BOTH)


@pytest.mark.parametrize("hijack", [*CATCH_ALL, Tun()], ids=name_of)
@pytest.mark.parametrize("router_options", [RouterOptions(ssh="dropbear")])
def test_the_router_can_be_reached_by_ssh(
    at_home: Lab, start: Start, hijack: Hijack
) -> None:
    """No one locks himself out."""
    start(Proxy(hijack))
    with socket.create_connection((at_home.bypass.address, 22), 1) as connection:
        assert connection.recv(4) == b"SSH-"


@pytest.mark.parametrize("hijack", [Redirect(), NftTproxy(), Tun()], ids=name_of)
def test_it_does_not_survive_a_reboot_and_can_be_started_again(
    lab: Lab, start: Start, hijack: Hijack
) -> None:
    """As all that runs on a router."""
    echo_on_the_internet(lab)
    proxy = start(Proxy(hijack))
    assert not browse(lab).passed
    lab.bypass.reboot()
    assert browse(lab).passed
    proxy.start(lab.bypass)
    assert not browse(lab).passed
    lab.bypass.reboot()
    proxy.stop()
    assert browse(lab).passed


def test_redsocks_carries_a_device_to_the_internet(lab: Lab, start: Start) -> None:
    """The server there is reached from the SOCKS server, and not from home."""
    echo_on_the_internet(lab)
    serve_socks(lab.internet)
    assert browse(lab).peer_seen == lab.main.wan_address
    start(Proxy(Redirect(), Redsocks(lab.internet.address)))
    tried = browse(lab)
    assert tried.passed
    assert tried.peer_seen == lab.internet.address


@pytest.mark.parametrize(
    "hijack",
    [Tproxy(spares_private=True), NftTproxy(spares_private=True)],
    ids=name_of,
)
def test_haproxy_carries_a_device_to_the_internet(
    lab: Lab, start: Start, hijack: Hijack
) -> None:
    """Its log says who wanted to go where."""
    echo_on_the_internet(lab)
    haproxy = Haproxy()
    proxy = start(Proxy(hijack, haproxy))
    assert browse(lab).passed
    proxy.stop()
    assert f"{lab.target.address} {lab.internet.address}:{SERVICE} " in haproxy.log()


@pytest.mark.parametrize(
    ("proxy", "mode"),
    [
        (lambda lab: Proxy(Redirect(), Redsocks(lab.internet.address)), "snat"),
        (lambda _: Proxy(Tproxy(spares_private=True), Haproxy()), "keeps client"),
    ],
    ids=["redsocks", "haproxy"],
)
def test_a_real_proxy_breaks_a_forward_as_ours_does(
    lab: Lab, start: Start, proxy: Callable[[Lab], Proxy], mode: Mode
) -> None:
    """And the same mends it: it goes on carrying what it is for."""
    echo_on_the_internet(lab)
    serve_socks(lab.internet)
    forward(lab, "tcp", mode)
    started = start(proxy(lab))
    assert not any(tried.passed for tried in use(lab, "tcp", mode))
    mend = stand_first if isinstance(started.hijack, Redirect) else exempt_in_nft_mangle
    mend(lab, "tcp")
    assert works(lab, "tcp", mode)
    assert browse(lab).passed


@pytest.mark.parametrize("mode", ["snat", "keeps client"])
@pytest.mark.parametrize("hijack", ALL, ids=name_of)
def test_which_forwards_a_proxy_breaks(
    lab: Lab, start: Start, hijack: Hijack, mode: Mode
) -> None:
    """Those of the table, for the protocols that it takes, and no others."""
    for protocol in BOTH:
        forward(lab, protocol, mode)
        assert works(lab, protocol, mode)
    start(Proxy(hijack))
    for protocol in BOTH:
        broken = mode in BREAKS[hijack] and protocol in protocols_of(hijack)
        from_the_internet, *from_the_lan = use(lab, protocol, mode)
        assert from_the_internet.passed is not broken
        # The tunnel takes no answers to the LAN, so a test from there misleads.
        for tried in from_the_lan:
            assert tried.passed is (not broken or isinstance(hijack, Tun))


def stand_first(lab: Lab, protocol: Transport) -> None:
    """Put the DNAT rule before all others of iptables."""
    set_dnat(lab, protocol)


def use_an_nft_table(lab: Lab, protocol: Transport) -> None:
    """Translate in a native table that comes before nat."""
    set_nft(
        lab,
        "nat hook prerouting priority dstnat - 5",
        f"ip daddr {lab.bypass.address} {protocol} dport {PORT}"
        f" dnat to {lab.target.address}:{TARGET_PORT}",
    )


def accept_in_an_nft_table(lab: Lab, protocol: Transport) -> None:
    """Accept the forward in a native chain of our own, before mangle."""
    set_nft(
        lab,
        "filter hook prerouting priority mangle - 5",
        f"{flow(lab, protocol)} accept",
    )


def set_nft(lab: Lab, hook: str, rule: str) -> None:
    """Make a native table of our own, with one rule."""
    chain = f"chain c {{ type {hook}; {rule}; }}"
    lab.bypass.run("nft", "-f", "-", input=f"table ip ours {{\n{chain};\n}}\n")


def flow(lab: Lab, protocol: Transport) -> str:
    """Match the forward in nft, both directions."""
    return (
        f"ct original ip daddr {lab.bypass.address}"
        f" meta l4proto {protocol} ct original proto-dst {PORT}"
    )


def insert_into_its_nft_chain(lab: Lab, protocol: Transport) -> None:
    """Accept the forward at the top of the proxy's own chain."""
    run(lab, f"nft insert rule inet clash prerouting {flow(lab, protocol)} accept")


def exempt_in_nft_mangle(lab: Lab, protocol: Transport) -> None:
    """Accept the forward at the top of iptables-nft's mangle."""
    exempt(lab, protocol, "iptables-nft", "ACCEPT")


def exempt_in_legacy_mangle(lab: Lab, protocol: Transport) -> None:
    """Accept the forward at the top of iptables-legacy's mangle."""
    exempt(lab, protocol, "iptables-legacy", "ACCEPT")


def exempt(lab: Lab, protocol: Transport, command: str, verdict: str) -> None:
    """Do something to the forward's packets, both directions, in mangle."""
    flow = f"--ctorigdst {lab.bypass.address} --ctorigdstport {PORT}"
    rule = f"PREROUTING -p {protocol} -m conntrack {flow} -j {verdict}"
    run(lab, f"{command} -t mangle -I {rule}")


def route_answers_by_port(lab: Lab, protocol: Transport) -> None:
    """Route what comes from the target's port as if there were no proxy."""
    run(
        lab,
        f"ip rule add pref 8000 from {lab.target.address} ipproto {protocol}"
        f" sport {TARGET_PORT} lookup main protocol 217",
    )


def route_by_mark(lab: Lab, protocol: Transport) -> None:
    """Mark the forward's packets, and route them as if there were no proxy."""
    mark = "0x40000000/0x40000000"
    exempt(lab, protocol, "iptables", f"MARK --set-xmark {mark}")
    rule = f"pref 8000 fwmark {mark} lookup main"
    if rule.removeprefix("pref 8000 ") not in run(lab, "ip rule"):
        run(lab, f"ip rule add {rule}")


def cells(
    pairs: tuple[tuple[Hijack, Mend], ...],
) -> list[tuple[Hijack, Mend, Mode]]:
    """Each pair with the modes that the proxy breaks."""
    return [(hijack, mend, mode) for hijack, mend in pairs for mode in BREAKS[hijack]]


MENDS: tuple[tuple[Hijack, Mend], ...] = (
    (Redirect(), stand_first),
    (Redirect(), use_an_nft_table),
    (Redirect(variant="legacy"), use_an_nft_table),
    (NftRedirect(), use_an_nft_table),
    (NftRedirect(), insert_into_its_nft_chain),
    (Tproxy(), exempt_in_nft_mangle),
    (Tproxy(spares_private=True), exempt_in_nft_mangle),
    (Tproxy(variant="legacy"), exempt_in_legacy_mangle),
    (NftTproxy(), insert_into_its_nft_chain),
    (NftTproxy(spares_private=True), insert_into_its_nft_chain),
    (Tun(), route_answers_by_port),
    (Tun(), route_by_mark),
)
NO_MENDS: tuple[tuple[Hijack, Mend], ...] = (
    # The kernel asks the newest of all chains at dstnat first, whoever is on top
    # of another one; and an accept ends no chain but its own.
    (Redirect(variant="legacy"), stand_first),
    (NftRedirect(), stand_first),
    (NftRedirect(), exempt_in_nft_mangle),
    (Tproxy(), use_an_nft_table),
    (Tproxy(), exempt_in_legacy_mangle),
    (Tproxy(), accept_in_an_nft_table),
    (Tproxy(variant="legacy"), exempt_in_nft_mangle),
    (NftTproxy(), exempt_in_nft_mangle),
    (NftTproxy(), accept_in_an_nft_table),
    (Tun(), use_an_nft_table),
)


@pytest.mark.parametrize(("hijack", "mend", "mode"), cells(MENDS), ids=name_of)
def test_this_mends_a_forward(
    lab: Lab, start: Start, hijack: Hijack, mend: Mend, mode: Mode
) -> None:
    """And what the proxy is for still goes through it."""
    echo_on_the_internet(lab)
    for protocol in protocols_of(hijack):
        forward(lab, protocol, mode)
    start(Proxy(hijack))
    for protocol in protocols_of(hijack):
        assert not works(lab, protocol, mode)
        mend(lab, protocol)
        assert works(lab, protocol, mode)
        assert not browse(lab, protocol).passed


@pytest.mark.parametrize(("hijack", "mend", "mode"), cells(NO_MENDS), ids=name_of)
def test_this_mends_nothing(
    lab: Lab, start: Start, hijack: Hijack, mend: Mend, mode: Mode
) -> None:
    """So whoever relies on it would be wrong about the state."""
    for protocol in protocols_of(hijack):
        forward(lab, protocol, mode)
    start(Proxy(hijack))
    for protocol in protocols_of(hijack):
        mend(lab, protocol)
        assert not use(lab, protocol, mode)[0].passed


@pytest.mark.parametrize("hijack", [Redirect(), NftRedirect()], ids=name_of)
def test_a_watchdog_puts_its_proxy_before_iptables_but_not_before_an_nft_table(
    lab: Lab, start: Start, hijack: Hijack
) -> None:
    """Whose priority counts, and not its age."""
    proxy = start(Proxy(hijack))
    forward(lab, "tcp", "snat")
    proxy.reinsert()
    assert all(map(was_hijacked, use(lab, "tcp")))
    use_an_nft_table(lab, "tcp")
    assert works(lab, "tcp")
    proxy.reinsert()
    assert works(lab, "tcp")


@pytest.mark.parametrize("protocol", BOTH)
def test_a_tunnel_takes_requests_too_where_the_target_port_is_that_of_dns(
    lab: Lab, start: Start, protocol: Transport
) -> None:
    """It looks nothing up in main for them, so both directions need a rule."""
    forward(lab, protocol, "snat", 53)
    start(Proxy(Tun()))
    rule = f"ip rule add pref 8000 ipproto {protocol} lookup main"
    run(lab, f"{rule} from {lab.target.address} sport 53")
    assert not any(tried.passed for tried in use(lab, protocol))
    run(lab, f"{rule} to {lab.target.address} dport 53")
    assert works(lab, protocol)


def test_a_strict_router_checks_where_a_mark_leads_only_if_told(
    lab: Lab, start: Start
) -> None:
    """A rule by port needs nothing more; one by mark needs src_valid_mark."""
    forward(lab, "tcp", "snat")
    start(Proxy(Tun()))
    lab.bypass.sysctl("net.ipv4.conf.lan.rp_filter", "1")
    route_answers_by_port(lab, "tcp")
    assert works(lab, "tcp")
    run(lab, "ip rule flush protocol 217")
    route_by_mark(lab, "tcp")
    assert not use(lab, "tcp")[0].passed
    lab.bypass.sysctl("net.ipv4.conf.lan.src_valid_mark", "1")
    assert works(lab, "tcp")


@pytest.mark.parametrize("ip", ["ip", "busybox ip"])
def test_the_router_tells_of_a_tunnel_when_asked_for_a_route(
    lab: Lab, start: Start, ip: str
) -> None:
    """Where an answer of the target would leave."""
    asked = f"{ip} -4 route get 192.0.2.1 from {lab.target.address} iif lan"
    assert " dev lan " in run(lab, asked)
    start(Proxy(Tun()))
    assert f" dev {TUN_INTERFACE} " in run(lab, asked)
