"""The client against a real router: packets with payload, and what was read back."""

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace

import pytest

from custom_components.bypass_router.router.backend import Backend
from custom_components.bypass_router.router.errors import (
    ConnectionLost,
    FirewallFailed,
    NotApplied,
    TimedOut,
)
from custom_components.bypass_router.router.forward import Forward
from custom_components.bypass_router.router.router import Router
from custom_components.bypass_router.router.rules.base import Tag
from tests.lab.bypass import RouterOptions
from tests.lab.exchange import Outcome, Transport
from tests.lab.network import Lab
from tests.lab.waiting import at_once, until

from .client import connect

WEB = Forward.parse(
    "01WEB",
    protocol="tcp",
    external_port="8443",
    target="192.168.50.10",
    target_port="443",
)
GAME = Forward.parse(
    "01GAME",
    protocol="both",
    external_port="6000-6010",
    target="192.168.50.10",
    target_port="7000",
)
BOTH_VARIANTS = pytest.mark.parametrize(
    "router_options",
    [RouterOptions(iptables="nft"), RouterOptions(iptables="legacy")],
    ids=["nft", "legacy"],
)
EACH_BACKEND = pytest.mark.parametrize(
    "firewall", [Backend.IPTABLES, Backend.NFTABLES], ids=["iptables", "nftables"]
)
EACH_WAY = pytest.mark.parametrize(
    ("router_options", "firewall"),
    [
        (RouterOptions(iptables="nft"), Backend.IPTABLES),
        (RouterOptions(iptables="legacy"), Backend.IPTABLES),
        (RouterOptions(iptables="nft"), Backend.NFTABLES),
        (RouterOptions(iptables="legacy"), Backend.NFTABLES),
        (RouterOptions(iptables=None), Backend.NFTABLES),
    ],
    ids=[
        "iptables-nft",
        "iptables-legacy",
        "nftables beside iptables-nft",
        "nftables beside iptables-legacy",
        "nftables alone",
    ],
)
"""What may translate, and what else may stand on the router then."""


@pytest.fixture
def firewall() -> Backend:
    """What translates; override or parametrize it by its name."""
    return Backend.IPTABLES


@pytest.fixture
async def router(at_home: Lab, firewall: Backend) -> AsyncIterator[Router]:
    """The bypass router, connected."""
    router = await connect(at_home, firewall=firewall)
    yield router
    await router.close()


def passes(lab: Lab, protocol: Transport, port: int, *, host: str = "internet") -> bool:
    """Return whether payload goes to the target and back, to the right port of it."""
    node = lab.internet if host == "internet" else lab.other
    address = lab.main.wan_address if host == "internet" else lab.bypass.address
    return node.exchange(protocol, address, port, timeout=0.4).passed


def ruleset(lab: Lab) -> str:
    """Return all that nft knows of, without counters."""
    return lab.bypass.real("nft", "-s", "list", "ruleset").stdout


@EACH_WAY
async def test_a_forward_passes_payload_while_it_is_live(
    at_home: Lab, router: Router
) -> None:
    """From the internet and from the LAN, and not before or after."""
    at_home.target.serve("tcp", 443)
    assert not await asyncio.to_thread(passes, at_home, "tcp", 8443)
    live = await router.rules.apply([WEB])
    assert live.forwards == {WEB.id: WEB}
    assert await asyncio.to_thread(passes, at_home, "tcp", 8443)
    assert await asyncio.to_thread(passes, at_home, "tcp", 8443, host="lan")
    assert (await router.rules.apply([])).forwards == {}
    assert not await asyncio.to_thread(passes, at_home, "tcp", 8443)


@EACH_WAY
async def test_a_shifted_range_leads_each_port_to_its_own(
    at_home: Lab, router: Router
) -> None:
    """Over TCP and UDP."""
    at_home.target.serve("tcp", "7000-7010")
    at_home.target.serve("udp", "7000-7010")
    await router.rules.apply([GAME])
    protocols: tuple[Transport, ...] = ("tcp", "udp")
    for protocol in protocols:
        for external, target in ((6000, 7000), (6004, 7004), (6010, 7010)):
            passed = await asyncio.to_thread(
                at_home.internet.exchange,
                protocol,
                at_home.main.wan_address,
                external,
                timeout=0.5,
            )
            assert passed.passed
            assert passed.port_seen == target


@EACH_BACKEND
async def test_an_unshifted_range_keeps_each_port(at_home: Lab, router: Router) -> None:
    """No port is named to the kernel then."""
    same = replace(GAME, target_ports=GAME.external)
    at_home.target.serve("udp", "6000-6010")
    await router.rules.apply([same])
    passed = await asyncio.to_thread(
        at_home.internet.exchange, "udp", at_home.main.wan_address, 6007, timeout=0.5
    )
    assert (passed.passed, passed.port_seen) == (True, 6007)


@EACH_BACKEND
@pytest.mark.parametrize(
    "router_options",
    [RouterOptions(), RouterOptions(masquerade=False)],
    ids=["masquerade", "plain"],
)
@pytest.mark.parametrize("gateway", ["bypass", "main"])
async def test_the_target_may_use_either_router(
    at_home: Lab, router: Router, gateway: str
) -> None:
    """The SNAT brings its answers back to the bypass router."""
    at_home.target.use_gateway(getattr(at_home, gateway).address)
    at_home.target.serve("tcp", 443)
    await router.rules.apply([WEB])
    seen = await asyncio.to_thread(
        at_home.internet.exchange, "tcp", at_home.main.wan_address, 8443, timeout=0.5
    )
    assert seen.peer_seen == at_home.bypass.address
    assert await asyncio.to_thread(passes, at_home, "tcp", 8443, host="lan")


@EACH_BACKEND
async def test_the_target_sees_the_client_where_it_is_to(
    at_home: Lab, router: Router
) -> None:
    """Even beside the router's own MASQUERADE; a client of the LAN is rewritten."""
    at_home.target.serve("tcp", 443)
    await router.rules.apply([replace(WEB, keep_client_address=True)])
    seen = await asyncio.to_thread(
        at_home.internet.exchange, "tcp", at_home.main.wan_address, 8443, timeout=0.5
    )
    assert seen.peer_seen == at_home.internet.address
    assert await asyncio.to_thread(passes, at_home, "tcp", 8443, host="lan")


@EACH_BACKEND
async def test_only_the_sources_get_in(at_home: Lab, router: Router) -> None:
    """Others meet a port that is not there."""
    at_home.target.serve("tcp", 443)
    internet = Forward.parse(
        "01WEB",
        protocol="tcp",
        external_port="8443",
        target="192.168.50.10",
        target_port="443",
        sources=["203.0.113.0/24"],
    )
    await router.rules.apply([internet])
    assert await asyncio.to_thread(passes, at_home, "tcp", 8443)
    assert not await asyncio.to_thread(passes, at_home, "tcp", 8443, host="lan")


@BOTH_VARIANTS
async def test_a_forward_passes_where_forwarding_is_forbidden(
    at_home: Lab, router: Router
) -> None:
    """As with Docker, whose FORWARD drops what no one accepts."""
    at_home.bypass.run("iptables", "-P", "FORWARD", "DROP")
    at_home.target.serve("tcp", 443)
    await router.rules.apply([WEB])
    assert await asyncio.to_thread(passes, at_home, "tcp", 8443)
    await router.rules.apply([])
    assert not await asyncio.to_thread(passes, at_home, "tcp", 8443)


@EACH_BACKEND
async def test_other_devices_connections_to_the_port_go_where_they_want(
    at_home: Lab, router: Router
) -> None:
    """Only what is addressed to the router itself is forwarded."""
    at_home.target.use_gateway(at_home.bypass.address)
    await router.rules.apply([replace(WEB, target=WEB.target + 10)])
    going_out = await asyncio.to_thread(
        at_home.target.exchange, "tcp", at_home.internet.address, 8443, timeout=0.5
    )
    assert going_out.outcome is Outcome.REFUSED


@EACH_WAY
async def test_the_router_is_as_before_when_the_last_forward_is_gone(
    at_home: Lab, router: Router
) -> None:
    """To the letter of iptables-save, and of nft's list but for counters."""

    def rules() -> list[str]:
        return [at_home.bypass.iptables_save(), ruleset(at_home)]

    before = rules()
    await router.rules.apply([WEB, GAME])
    assert "01WEB" in at_home.bypass.iptables_save() + ruleset(at_home)
    await router.rules.apply([])
    assert rules() == before


@BOTH_VARIANTS
async def test_counters_of_a_forward_that_stays_live_on(
    at_home: Lab, router: Router
) -> None:
    """And so do those of other programs' rules."""

    def counters(pattern: str) -> list[str]:
        listing = at_home.bypass.run("iptables", "-t", "nat", "-v", "-S").stdout
        return [line for line in listing.splitlines() if pattern in line]

    at_home.target.serve("tcp", 443)
    at_home.bypass.run(
        "sh", "-c", "iptables -t nat -A PREROUTING -p tcp --dport 8443 -j ACCEPT"
    )
    await router.rules.apply([WEB])
    assert await asyncio.to_thread(passes, at_home, "tcp", 8443)
    before = counters("01WEB") + counters("MASQUERADE")
    assert any("-c 1 " in line for line in before)
    await router.rules.apply([WEB, GAME])
    await router.rules.apply([WEB])
    assert counters("01WEB") + counters("MASQUERADE") == before


@BOTH_VARIANTS
@pytest.mark.parametrize(
    "harm",
    [
        "iptables -t nat -F",
        "iptables -t nat -F; iptables -t nat -X",
        "iptables -F; iptables -X",
        "iptables -t nat -F HA-BYPASS-PRE",
        "iptables -t nat -D HA-BYPASS-POST 1",
        "iptables -t nat -D PREROUTING -j HA-BYPASS-PRE",
        "iptables -D FORWARD -j HA-BYPASS-FWD",
        "iptables -t nat -I PREROUTING -p tcp -j REDIRECT --to-ports 7892",
        "iptables -t nat -A PREROUTING -j HA-BYPASS-PRE",
        'eval "$(iptables -t nat -S HA-BYPASS-PRE 1 | sed "s/^/iptables -t nat /")"',
    ],
)
async def test_whatever_harmed_a_forward_is_seen_and_mended(
    at_home: Lab, router: Router, harm: str
) -> None:
    """By the next look, and the next change, with traffic to prove it."""
    at_home.bypass.run("iptables", "-P", "FORWARD", "DROP")
    at_home.target.serve("tcp", 443)
    await router.rules.apply([WEB])
    at_home.bypass.run("sh", "-c", harm)
    if "-A PREROUTING -j HA" not in harm and "eval" not in harm:
        assert (await router.rules.read()).forwards == {}
    assert (await router.rules.apply([WEB])).forwards == {WEB.id: WEB}
    assert await asyncio.to_thread(passes, at_home, "tcp", 8443)
    await router.rules.apply([])
    assert "HA-BYPASS" not in at_home.bypass.iptables_save()


async def test_a_change_by_another_between_look_and_change_is_noticed(
    at_home: Lab, router: Router
) -> None:
    """What we remember of the router is never taken for what is so."""
    at_home.target.serve("tcp", 443)
    await router.rules.apply([WEB])
    at_home.bypass.run("iptables", "-t", "nat", "-F")
    assert (await router.rules.apply([WEB])).forwards == {WEB.id: WEB}
    at_home.bypass.run("sh", "-c", "iptables -t nat -F; iptables -t nat -X")
    assert (await router.rules.apply([])).forwards == {}
    assert (await router.rules.apply([WEB, GAME])).forwards.keys() == {WEB.id, GAME.id}
    assert await asyncio.to_thread(passes, at_home, "tcp", 8443)


@EACH_BACKEND
async def test_two_home_assistants_share_a_router(
    at_home: Lab, router: Router, firewall: Backend
) -> None:
    """Neither touches what the other has set, though both change at once."""
    at_home.target.serve("tcp", 443)
    other = await connect(at_home, owner="cd34", firewall=firewall)
    try:
        theirs = replace(GAME, id="01THEIRS")
        for _ in range(5):
            ours_live, theirs_live = await at_once(
                router.rules.apply([WEB]), other.rules.apply([theirs])
            )
            assert ours_live.forwards == {WEB.id: WEB}
            assert theirs_live.forwards == {theirs.id: theirs}
            await at_once(router.rules.apply([]), other.rules.apply([]))
        await other.rules.apply([theirs])
        assert (await router.rules.apply([WEB])).foreign == {Tag("cd34", "01THEIRS")}
        await router.rules.apply([])
        assert (await other.rules.read()).forwards == {theirs.id: theirs}
        assert (await other.rules.apply([])).forwards == {}
    finally:
        await other.close()
    assert "HA-BYPASS" not in at_home.bypass.iptables_save()
    assert "ha_bypass" not in ruleset(at_home)


@EACH_BACKEND
async def test_readers_never_see_half_a_change(at_home: Lab, router: Router) -> None:
    """Neither does the kernel: each table changes as a whole."""
    many = [
        Forward.parse(
            f"01N{number}",
            protocol="tcp",
            external_port=str(20000 + number),
            target="192.168.50.10",
        )
        for number in range(100)
    ]
    live = await router.rules.apply(many)
    assert len(live.forwards) == 100
    assert live.forwards == {forward.id: forward for forward in many}
    assert (await router.rules.apply([])).forwards == {}


@EACH_BACKEND
@pytest.mark.parametrize(
    "native",
    [
        "tcp dport { 80, 81 } counter",
        "meta l4proto { tcp, udp } th dport 53 counter",
    ],
)
async def test_native_nft_rules_beside_ours_do_not_stand_in_the_way(
    at_home: Lab, native: str, firewall: Backend
) -> None:
    """Iptables can't show the chain then, and can still change it."""
    at_home.target.serve("tcp", 443)
    at_home.bypass.run("sh", "-c", "iptables -t nat -A PREROUTING -p tcp -j RETURN")
    at_home.bypass.run("nft", f"add rule ip nat PREROUTING {native}")
    router = await connect(at_home, firewall=firewall)
    try:
        for desired in ([WEB], [WEB, GAME], [GAME], [WEB]):
            live = await router.rules.apply(desired)
            assert live.forwards == {forward.id: forward for forward in desired}
        assert await asyncio.to_thread(passes, at_home, "tcp", 8443)
        await router.rules.apply([])
        assert "HA-BYPASS" not in ruleset(at_home)
        assert "ha_bypass" not in ruleset(at_home)
    finally:
        await router.close()


async def test_a_firewall_that_refuses_is_told_in_its_own_words(
    at_home: Lab, router: Router
) -> None:
    """And nothing is changed."""
    before = at_home.bypass.iptables_save()
    at_home.bypass.commands.replace(
        "iptables-restore",
        "#!/bin/sh\ncat >/dev/null; echo 'no such luck' >&2; exit 2\n",
    )
    with pytest.raises(FirewallFailed, match="no such luck"):
        await router.rules.apply([WEB])
    at_home.bypass.commands.restore()
    assert at_home.bypass.iptables_save() == before


def take_little(lab: Lab, name: str, size: int) -> None:
    """Let a command refuse a longer input, as in a container with a root of its own."""
    real = lab.bypass.commands.replace(name, "")
    lab.bypass.commands.replace(
        name,
        f"""#!/bin/sh
case " $* " in *" -f "* | *" --noflush "*) ;; *) exec {real} "$@" ;; esac
input=$(mktemp); cat >"$input"
if [ $(wc -c <"$input") -gt {size} ]; then
  echo 'sendmsg() failed: Message too long' >&2; exit 1
fi
exec {real} "$@" <"$input"
""",
    )


def on_ports(count: int, first: int, target: str = "192.168.50.10") -> list[Forward]:
    """Return forwards of so many ports to the target's port 443."""
    return [
        Forward.parse(
            f"01N{number}",
            protocol="tcp",
            external_port=str(first + (number * 37) % count),
            target=target,
            target_port="443",
        )
        for number in range(count)
    ]


@EACH_BACKEND
@pytest.mark.parametrize(
    ("count", "size"), [(100, 20000), (5, 1000)], ids=["many", "one"]
)
async def test_more_than_the_kernel_takes_at_once_is_set_in_parts(
    at_home: Lab, router: Router, firewall: Backend, count: int, size: int
) -> None:
    """Some at once or each line alone; also those that get each other's ports."""
    name = "nft" if firewall is Backend.NFTABLES else "iptables-restore"
    take_little(at_home, name, size)
    at_home.target.serve("tcp", 443)
    for forwards in (
        on_ports(count, 20000),
        on_ports(count, 20001),
        on_ports(count, 20001, "192.168.50.11")[: count // 2],
    ):
        live = await router.rules.apply([WEB, *forwards])
        assert live.forwards == {forward.id: forward for forward in [WEB, *forwards]}
        assert not live.damaged
        assert await asyncio.to_thread(passes, at_home, "tcp", 8443)
    refused = [it for it in router.rules.transactions if "too long" in it.outcome]
    assert len(refused) <= 6
    assert (await router.rules.apply([])).forwards == {}
    assert "20001" not in ruleset(at_home)


async def test_what_is_too_long_even_alone_is_told(
    at_home: Lab, router: Router
) -> None:
    """And not tried without end."""
    take_little(at_home, "iptables-restore", 10)
    with pytest.raises(FirewallFailed, match="too long"):
        await router.rules.apply([WEB, GAME])
    assert len(router.rules.transactions) < 20


async def test_a_firewall_that_lies_is_not_believed(
    at_home: Lab, router: Router
) -> None:
    """It says that all went well, and the rules are not there."""
    at_home.bypass.commands.replace("iptables-restore", "#!/bin/sh\ncat >/dev/null\n")
    with pytest.raises(NotApplied):
        await router.rules.apply([WEB])


async def test_a_firewall_that_hangs_does_not_hang_us(
    at_home: Lab, router: Router, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The time that a script may take is bounded."""
    monkeypatch.setattr(
        "custom_components.bypass_router.router.ssh.session.Session.run.__defaults__",
        (0.5,),
    )
    at_home.bypass.commands.replace("iptables-restore", "#!/bin/sh\nsleep 60\n")
    with pytest.raises(TimedOut):
        await router.rules.apply([WEB])
    at_home.bypass.commands.restore()
    assert (await router.rules.read()).forwards == {}


async def test_a_connection_that_is_gone_is_an_error(
    at_home: Lab, router: Router
) -> None:
    """Whether it was open or closes while we ask."""
    await router.rules.apply([WEB])
    at_home.bypass.stop_ssh()
    await until(lambda: router.closed)
    with pytest.raises(ConnectionLost):
        await router.rules.read()
    with pytest.raises(ConnectionLost):
        await router.rules.apply([])
