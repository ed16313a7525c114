"""Forwards that were made by hand: which are understood, and how they are adopted."""

import asyncio
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from ipaddress import IPv4Network
from random import Random
import re
import threading
from typing import Any

from hypothesis import given, strategies as st
import pytest

from custom_components.bypass_router.router.backend import Backend
from custom_components.bypass_router.router.errors import FirewallFailed
from custom_components.bypass_router.router.forward import Forward, Protocol
from custom_components.bypass_router.router.iptables.rules import PRE, rules_of
from custom_components.bypass_router.router.rule_import.detect import (
    Location,
    read_manual_forwards,
)
from custom_components.bypass_router.router.rule_import.replace import (
    Listing,
    ManualForward,
    Replaced,
)
from custom_components.bypass_router.router.ssh.script import Result
from tests.lab.network import Lab
from tests.lab.options import RouterOptions

from .client import BOTH_VARIANTS, connect
from .rules import SITE, forwards

LOCATION = Location(SITE, "lan")
IPTABLES = Listing("iptables")
DNAT = (
    "-d 192.168.50.2/32 -p tcp -m tcp --dport 8443"
    " -j DNAT --to-destination 192.168.50.10:443"
)
ARTICLE = (
    "-d 192.168.50.2/32 -p tcp -m tcp --dport 443 -j SNAT --to-source 192.168.50.10"
)
MENDED = (
    "-d 192.168.50.10/32 -p tcp -m tcp --dport 443 -j SNAT --to-source 192.168.50.2"
)
FLOW = (
    "-p tcp -m conntrack --ctstate DNAT --ctorigdst 192.168.50.2 --ctorigdstport 8443"
    " -j SNAT --to-source 192.168.50.2"
)
WEB = Forward.parse(
    "01WEB",
    protocol="tcp",
    external_port="8443",
    target="192.168.50.10",
    target_port="443",
)


def listed(pre: list[str], post: list[str]) -> dict[str, Result]:
    """Return what a router prints where these rules stand in the kernel's chains."""
    return {
        f"old.{chain}.iptables": Result(
            "\n".join([f"-P {chain} ACCEPT", *(f"-A {chain} {it}" for it in rules)]), 0
        )
        for chain, rules in (("PREROUTING", pre), ("POSTROUTING", post))
    }


def read(pre: list[str], post: list[str] | None = None) -> list[ManualForward]:
    """Return what is found there."""
    return read_manual_forwards(listed(pre, post or []), [IPTABLES], LOCATION)


def named(found: ManualForward, **changes: Any) -> Forward:
    """Return what was found, by the name of the forward to compare it with."""
    return replace(found.forward, id="01WEB", **changes)


def test_the_articles_rules_are_one_forward() -> None:
    """Both go; as its SNAT rule matches nothing, the device saw who connects."""
    (found,) = read([DNAT], [ARTICLE])
    assert named(found) == replace(WEB, keep_client_address=True)
    assert [str(old) for old in found.rules] == [
        f"iptables -t nat -A PREROUTING {DNAT}",
        f"iptables -t nat -A POSTROUTING {ARTICLE}",
    ]


@pytest.mark.parametrize(
    "post",
    [
        [MENDED],
        [MENDED.replace("SNAT --to-source 192.168.50.2", "MASQUERADE")],
        [f"-o lan {MENDED}"],
        [f"{MENDED} -m comment --comment web"],
        [FLOW],
    ],
)
def test_a_rule_that_makes_the_device_answer_here_belongs_to_it(
    post: list[str],
) -> None:
    """Then the device saw the router, and goes on to."""
    (found,) = read([DNAT], post)
    assert named(found) == WEB
    assert len(found.rewrites) == 1


@pytest.mark.parametrize(
    ("post", "kept"),
    [
        ([], True),
        (["-o lan -j MASQUERADE"], False),
        (["-j somebodys-chain"], False),
        (["-d 192.168.50.0/24 -j ACCEPT", "-j MASQUERADE"], False),
        (["-j HA-BYPASS-POST"], True),
        (["-s 172.17.0.0/16 ! -o docker0 -j MASQUERADE"], True),
        (["-o wan -j MASQUERADE"], True),
        (["-d 192.168.50.11/32 -p tcp -j MASQUERADE"], True),
        (["-p udp -j MASQUERADE"], True),
        ([MENDED.replace("443", "444")], True),
        ([f"-s 192.168.50.0/24 {MENDED}"], True),
    ],
)
def test_the_device_goes_on_to_see_what_it_saw(post: list[str], kept: bool) -> None:
    """The client, if surely nothing rewrites it; where that is not sure, the router."""
    (found,) = read([DNAT], post)
    assert named(found) == replace(WEB, keep_client_address=kept)


@pytest.mark.parametrize(
    "rule",
    [
        f"! {DNAT}",
        DNAT.replace("-d 192", "! -d 192"),
        f"! -s 203.0.113.7/32 {DNAT}",
        f"-i wan {DNAT}",
        f"! -i wan {DNAT}",
        f"{DNAT} --random",
        f"{DNAT} --persistent",
        f"-m limit --limit 3/min {DNAT}",
        f"-m hashlimit --hashlimit-upto 3/min --hashlimit-name x {DNAT}",
        f"-m mac --mac-source 02:00:00:00:00:01 {DNAT}",
        f"-m time --datestop 2027-01-01T00:00:00 {DNAT}",
        f'{DNAT} -m comment --comment "bypass_router:cd34:01JX"',
        DNAT.replace("50.2/32", "50.3/32"),
        DNAT.replace("50.2/32", "50.0/24"),
        DNAT.replace("--dport 8443", "-m multiport --dports 80,8443"),
        DNAT.replace("--dport 8443", "--dport 0"),
        DNAT.replace("--dport 8443 ", ""),
        DNAT.replace("-p tcp -m tcp", "-p sctp"),
        DNAT.replace("50.10:443", "50.10-192.168.50.20:443"),
        DNAT.replace("50.10:443", "50.10:443-450"),
        DNAT.replace("50.10:443", "50.2:443"),
        DNAT.replace("192.168.50.10:443", "127.0.0.1:443"),
        # Each would send all of a range to one port.
        DNAT.replace("8443", "6000:6010").replace(":443", ":7000"),
        DNAT.replace("8443", "6000:6010").replace(":443", ":7000-7010"),
        "-p tcp -m tcp --dport 8443 -j REDIRECT --to-ports 443",
        "-j DOCKER",
        "-j HA-BYPASS-PRE",
        '-d 192.168.50.2 "',
    ],
)
def test_what_a_forward_can_not_say_is_none(rule: str) -> None:
    """It is left to who has made it."""
    assert read([rule]) == []


@pytest.mark.parametrize(
    ("before", "seen"),
    [
        ("-p tcp -j REDIRECT --to-ports 7892", False),
        ("-s 203.0.113.0/24 -j ACCEPT", False),
        (DNAT.replace("50.10", "50.11"), False),
        ("-j clash", True),
        ("-p udp -j REDIRECT --to-ports 7892", True),
        ("-d 192.168.50.3/32 -j ACCEPT", True),
        ("-i docker0 -j RETURN", True),
        ("-p tcp -m tcp --dport 8000:8442 -j ACCEPT", True),
        ("-j LOG", True),
    ],
)
def test_a_rule_behind_another_that_takes_its_packets_is_not_in_force(
    before: str, seen: bool
) -> None:
    """So nothing of it is offered."""
    found = [named(it, keep_client_address=False) for it in read([before, DNAT])]
    assert (WEB in found) == seen


def test_rules_for_several_sources_and_protocols_are_one_forward() -> None:
    """As its form shows it; a rule that stands twice counts once."""
    udp = DNAT.replace("tcp", "udp")
    sources = ["203.0.113.0/25", "203.0.113.128/25"]
    rules = [f"-s {source} {rule}" for rule in (DNAT, udp) for source in sources]
    (found,) = read([*rules, rules[0]])
    assert found.forward.protocol is Protocol.BOTH
    assert found.forward.sources == (IPv4Network("203.0.113.0/24"),)
    assert len(found.translations) == 4
    # Where the protocols have other sources, it is one each.
    assert [it.forward.protocol for it in read(rules[:3])] == ["tcp", "udp"]


@given(forwards(), st.booleans(), st.randoms(use_true_random=False))
def test_every_forward_that_was_made_by_hand_is_read_as_what_it_is(
    forward: Forward, anywhere: bool, chance: Random
) -> None:
    """In any order of its rules; also where its rule takes what goes elsewhere."""
    forward = replace(forward, until=None)
    pre = [
        str(rule).replace("-d 192.168.50.2/32 ", "" if anywhere else "-i lan ")
        for hook, rule in rules_of(forward, SITE)
        if hook is PRE
    ]
    pre = [re.sub(" -m comment --comment [^ ]+", "", rule) for rule in pre]
    chance.shuffle(pre)
    found = read(pre)
    if forward.target == SITE.address.ip:
        assert not found
        return
    (one,) = found
    assert replace(one.forward, id=forward.id) == replace(
        forward, keep_client_address=True
    )
    assert {str(old.rule) for old in one.translations} == set(pre)


@given(st.text() | st.lists(st.sampled_from(DNAT.split()) | st.text()).map(" ".join))
def test_nothing_that_a_router_prints_breaks_the_reading(text: str) -> None:
    """What makes no sense is no forward."""
    for found in read([text, DNAT], [text]):
        assert all(old.rule.writable_at("lan") for old in found.rules)


@pytest.mark.parametrize("needed", [False, True])
def test_a_rule_that_others_need_stays(needed: bool) -> None:
    """The rewriting of a device's answers may serve another rule, which isn't ours."""
    limited = f"-m limit --limit 3/min {DNAT.replace('8443', '9443')}"
    pre = [DNAT, limited] if needed else [DNAT]
    sections = listed(pre, [MENDED, MENDED])
    (found,) = read_manual_forwards(sections, [IPTABLES], LOCATION)
    part = Replaced([IPTABLES], {WEB.id: found})
    state = part.read(sections)
    assert part.steps([], state) == []
    (step,) = part.steps([WEB], state)
    # As often as it stands.
    rewrites = [] if needed else [f"-D POSTROUTING {MENDED}"] * 2
    assert step.lines == ("*nat", f"-D PREROUTING {DNAT}", *rewrites, "COMMIT")
    gone = listed(pre[1:], [MENDED, MENDED] if needed else [])
    assert part.steps([WEB], part.read(gone)) == []


class Client:
    """Someone on the internet who exchanges payload all the time."""

    def __init__(self, lab: Lab) -> None:
        """Take the lab; `using` begins."""
        self._lab = lab
        self._over = threading.Event()
        self.outcomes: list[bool] = []

    def _use(self) -> None:
        """Connect, and send payload, again and again."""
        while not self._over.is_set():
            done = self._lab.internet.exchange(
                "tcp", self._lab.main.wan_address, 8443, lines=(b"hello",), timeout=2
            )
            self.outcomes.append(done.passed)

    @contextmanager
    def using(self) -> Iterator[None]:
        """Use the forward meanwhile."""
        thread = threading.Thread(target=self._use)
        thread.start()
        try:
            yield
        finally:
            self._over.set()
            thread.join()


ELSEWHERE = DNAT.replace("50.10", "50.20")
FOREIGN = (
    ("PREROUTING", f"-m limit --limit 3/min {ELSEWHERE.replace('8443', '9443')}"),
    ("PREROUTING", f"-i wan {ELSEWHERE}"),
    ("POSTROUTING", MENDED.replace("443", "444")),
)


def by_hand(lab: Lab) -> list[str]:
    """Make the article's rules beside others that stay; return those others."""
    lab.target.serve("tcp", 443)
    lab.bypass.run("iptables", "-t", "nat", "-N", "DOCKER")
    lab.bypass.run("iptables", "-t", "nat", "-A", "PREROUTING", "-j", "DOCKER")
    lab.bypass.run("iptables", "-t", "nat", "-A", "DOCKER", *ELSEWHERE.split())
    for chain, rule in FOREIGN:
        lab.bypass.run("iptables", "-t", "nat", "-A", chain, *rule.split())
    before = lab.bypass.iptables_save().splitlines()
    for chain, rule in (("PREROUTING", DNAT), ("POSTROUTING", ARTICLE)):
        lab.bypass.run("iptables", "-t", "nat", "-I", chain, *rule.split())
    return before


REFUSING = """\
text=$(cat)
case "$text" in *"-D PREROUTING -d"*) echo no >&2; exit 1;; esac
printf '%s\\n' "$text" | {real}"""

ROUTERS = pytest.mark.parametrize(
    ("router_options", "firewall"),
    [
        (RouterOptions(iptables="nft"), Backend.IPTABLES),
        (RouterOptions(iptables="legacy"), Backend.IPTABLES),
        (RouterOptions(iptables="nft"), Backend.NFTABLES),
        (RouterOptions(iptables="legacy"), Backend.NFTABLES),
    ],
    ids=["nft", "legacy", "nftables beside nft", "nftables beside legacy"],
)


@ROUTERS
async def test_the_articles_rules_are_replaced_under_a_clients_hands(
    at_home: Lab, firewall: Backend
) -> None:
    """Not one of its exchanges fails, and no rule of anyone else is touched."""
    others = by_hand(at_home)
    client = Client(at_home)
    router = await connect(at_home, firewall=firewall)
    try:
        (found,) = await router.rules.manual_forwards()
        forward = named(found)
        # The router masquerades what it passes on.
        assert forward == WEB
        with client.using():
            await asyncio.sleep(0.2)
            async with router.rules.replacing({forward.id: found}):
                live = await router.rules.apply([forward])
            await asyncio.sleep(0.2)
        assert live.forwards == {forward.id: forward}
        assert len(router.rules.transactions) == 1
        assert await router.rules.manual_forwards() == []
        with_ours = at_home.bypass.iptables_save().splitlines()
        assert [it for it in with_ours if "HA-BYPASS" not in it] == others
        await router.rules.apply([])
    finally:
        await router.close()
    assert client.outcomes
    assert all(client.outcomes)
    assert at_home.bypass.iptables_save().splitlines() == others


@BOTH_VARIANTS
async def test_both_halves_are_one_transaction_of_iptables(at_home: Lab) -> None:
    """What was made by hand goes at the moment at which ours comes."""
    by_hand(at_home)
    router = await connect(at_home)
    try:
        (found,) = await router.rules.manual_forwards()
        replace_restore(at_home, "tee /tmp/heard | {real}")
        async with router.rules.replacing({WEB.id: found}):
            await router.rules.apply([WEB])
    finally:
        await router.close()
    heard = at_home.bypass.run("cat", "/tmp/heard").stdout
    _, _, nat = heard.partition("*nat")
    lines = nat.partition("COMMIT")[0].splitlines()
    assert any(line.startswith("-D PREROUTING -d") for line in lines)
    assert "-I PREROUTING 1 -j HA-BYPASS-PRE" in lines
    assert "*nat" not in nat


@pytest.mark.parametrize(
    "router_options", [RouterOptions(iptables="nft", rules_in=("nft", "legacy"))]
)
async def test_rules_of_the_other_variant_are_replaced_too(at_home: Lab) -> None:
    """A person may have used either command, or both."""
    before = at_home.bypass.iptables_save()
    for command in ("iptables-nft", "iptables-legacy"):
        words = ("-t", "nat", "-A", "PREROUTING", *DNAT.split())
        at_home.bypass.real(command, *words)
    router = await connect(at_home)
    try:
        (found,) = await router.rules.manual_forwards()
        async with router.rules.replacing({WEB.id: found}):
            await router.rules.apply([WEB])
        assert DNAT not in at_home.bypass.iptables_save()
        await router.rules.apply([])
    finally:
        await router.close()
    assert at_home.bypass.iptables_save() == before


@ROUTERS
async def test_a_router_that_refuses_keeps_what_was_made_by_hand(
    at_home: Lab, firewall: Backend
) -> None:
    """Half-way there is as good as not begun, once the change is taken back."""
    by_hand(at_home)
    before = at_home.bypass.iptables_save()
    client = Client(at_home)
    router = await connect(at_home, firewall=firewall)
    try:
        (found,) = await router.rules.manual_forwards()
        replace_restore(at_home, REFUSING)
        with client.using():
            async with router.rules.replacing({WEB.id: found}):
                with pytest.raises(FirewallFailed):
                    await router.rules.apply([WEB])
            live = await router.rules.apply([])
    finally:
        await router.close()
    assert live.forwards == {}
    assert at_home.bypass.iptables_save() == before
    assert all(client.outcomes)


def replace_restore(lab: Lab, script: str) -> None:
    """Have the router's iptables-restore be a script, which may call the real one."""
    real = lab.bypass.commands.replace("iptables-restore", "")
    text = script.format(real=f'{real} "$@"')
    lab.bypass.commands.replace("iptables-restore", f"#!/bin/sh\n{text}\n")
