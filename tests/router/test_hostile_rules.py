"""Rules that anyone may have put into our chains: none is ever run, nor in the way."""

from collections.abc import Iterator, Sequence
import shlex

from homeassistant.const import STATE_OFF, STATE_ON
from homeassistant.core import HomeAssistant
import pytest

from custom_components.bypass_router.router.backend import Backend
from custom_components.bypass_router.router.forward import Forward
from custom_components.bypass_router.router.iptables.guards import guard_of
from custom_components.bypass_router.router.iptables.rules import (
    FWD,
    HOOKS,
    POST,
    PRE,
    TRANSLATING,
    Hook,
    rules_of,
)
from custom_components.bypass_router.router.router import Router
from tests.lab.network import Lab
from tests.setup import WEB as TYPED_WEB, passes, set_up, switch_of, turn

from .client import BOTH_VARIANTS, WEB, WITHOUT_TABLES, connect

CANARY = "/tmp/canary"
RUN = "/tmp/r"
OTHER = Forward.parse(
    "01OTHER",
    protocol="both",
    external_port="9000-9003",
    target="192.168.50.10",
    target_port="9100",
    sources=["203.0.113.0/24"],
)
# Of a forward of ours that is desired, of one that is not, and no one's.
COMMENTS = ("bypass_router:ab12:01WEB", "bypass_router:ab12:01GONE", "x -M /tmp/r")

NAMES = [
    *("a ! -M /tmp/r", "a -M /tmp/r", "a -M/tmp/r", "! -M /tmp/r", "a --mod=/tmp/r"),
    *("a --modp /tmp/r", "a ! --mo /tmp/r", "-M", "a\n-M /tmp/r", "a\t!\t-M\t/tmp/r"),
    *('a"-M" /tmp/r', 'a "-M" /tmp/r', '"a" -M /tmp/r', "a\\ -M /tmp/r", "$(/tmp/r)"),
    *(";/tmp/r;", "`/tmp/r`", "a'; /tmp/r", '";/tmp/r;"', "|/tmp/r", "a\n/tmp/r"),
    # Those that read as a rule that is not there.
    *("a -j RETURN", "a -p udp", "a ! -p udp", "a -o b", "a -c 1 2", "a -s 1.1.1.1"),
    *("a -m tcp", "a COMMIT", "a\nCOMMIT", "*", "a\n*nat"),
]


def conditions(hook: Hook) -> Iterator[Sequence[str]]:
    """Yield what a rule may say, of which parts are printed as they are."""
    yield ()
    for name in NAMES:
        yield ("-i" if hook is PRE else "-o", name)
    for name in ("a ! -M r", "-M", "a\n-M r", '" -M r "', "a -j RETURN", "$(id)"):
        yield ("-m", "recent", "--set", "--name", name)
    limit = ("--hashlimit-upto", "1/sec", "--hashlimit-mode", "srcip")
    yield ("-m", "hashlimit", *limit, "--hashlimit-name", "x ! -M r")
    yield ("-m", "string", "--algo", "bm", "--string", '" -M /tmp/r "')
    yield ("-m", "mark", "--mark", "1")
    yield ("-m", "comment", "--comment", "! -M /tmp/r")
    yield ("-m", "comment", "--comment", "-M")
    yield ("-m", "comment", "--comment", "bypass_router:ab12:01NONE")
    yield ("-p", "tcp", "-m", "tcp", "-m", "tcp", "--dport", "1")


def place(lab: Lab, hook: Hook, *words: str) -> bool:
    """Put a rule into a chain, if there can be one; return whether it is there."""
    command = ("iptables", "-t", hook.table, *words)
    return lab.bypass.run(*command, check=False).returncode == 0


@pytest.fixture
def trap(at_home: Lab) -> None:
    """Have iptables look for a program to load modules by, wherever one is named."""
    program = at_home.bypass.root / RUN.lstrip("/")
    program.write_text(f"#!/bin/sh\ntouch {CANARY}\n")
    program.chmod(0o755)
    for name in ("iptables", "iptables-restore"):
        real = at_home.bypass.commands.replace(name, "")
        hidden = f'{WITHOUT_TABLES} && exec {real} "$@"'
        line = f'exec unshare --mount sh -c {shlex.quote(hidden)} sh "$@"\n'
        at_home.bypass.commands.replace(name, f"#!/bin/sh\n{line}")
    load = f"*filter\n-A FORWARD -M {RUN} -m connmark --mark 1\nCOMMIT\n"
    at_home.bypass.run("iptables-restore", "--noflush", input=load, check=False)
    assert ran(at_home) == (at_home.options.iptables == "legacy")
    at_home.bypass.run("rm", "-f", CANARY)
    at_home.bypass.run("iptables", "-F", "FORWARD")


def ran(lab: Lab) -> bool:
    """Return whether the router ran what it was only told as text."""
    return (lab.bypass.root / CANARY.lstrip("/")).exists()


async def is_well(lab: Lab, router: Router) -> None:
    """Check that all can be switched, whatever stands there."""
    for desired in ([WEB], [WEB, OTHER], [OTHER], [], [WEB, OTHER], [WEB]):
        live = await router.rules.apply(desired)
        assert live.forwards == {forward.id: forward for forward in desired}
        assert not router.rules.differs(desired)
        assert not ran(lab)
    assert await passes(lab)


@BOTH_VARIANTS
@pytest.mark.usefixtures("trap")
@pytest.mark.parametrize("hook", [PRE, POST, FWD], ids=lambda hook: hook.chain)
async def test_no_text_of_a_rule_in_our_chain_runs_a_program_or_is_in_the_way(
    at_home: Lab, hook: Hook
) -> None:
    """Each with our tag, and with none; before our rules, and behind them."""
    at_home.target.serve("tcp", 443)
    at_home.bypass.run("iptables", "-P", "FORWARD", "DROP")
    router = await connect(at_home)
    try:
        await router.rules.apply([WEB, OTHER])
        placed = 0
        for number, words in enumerate(conditions(hook)):
            for comment in COMMENTS:
                verb = ("-A", hook.chain) if number % 2 else ("-I", hook.chain, "1")
                end = ("-j", "RETURN") if number % 3 else ()
                tag = ("-m", "comment", "--comment", comment)
                placed += place(at_home, hook, *verb, *words, *tag, *end)
        assert placed > 100
        await is_well(at_home, router)
        await router.rules.apply([])
        left = at_home.bypass.run("iptables", "-t", hook.table, "-S", hook.chain)
        # What no one could count may stay, and does no harm.
        assert "\n-M" in left.stdout or COMMENTS[0] not in left.stdout
    finally:
        await router.close()


@BOTH_VARIANTS
@pytest.mark.usefixtures("trap")
async def test_each_by_itself_goes_with_its_forward(at_home: Lab) -> None:
    """It carries our tag, so it is ours to take away, in whatever words."""
    at_home.target.serve("tcp", 443)
    router = await connect(at_home)
    try:
        await router.rules.apply([WEB, OTHER])
        tag = ("-m", "comment", "--comment", COMMENTS[0])
        for words in conditions(PRE):
            # One of no one's stays where it is, whatever number it has.
            stays = ("-m", "mark", "--mark", "7", "-j", "RETURN")
            assert place(at_home, PRE, "-I", PRE.chain, "2", *stays)
            there = place(at_home, PRE, "-I", PRE.chain, "2", *words, *tag)
            if not there or "\n" in "".join(words):
                place(at_home, PRE, "-F", PRE.chain)
                await router.rules.read()
                await router.rules.apply([WEB, OTHER])
                continue
            live = await router.rules.read()
            assert WEB.id in live.damaged, words
            live = await router.rules.apply([OTHER])
            assert live.forwards == {OTHER.id: OTHER}, words
            listing = at_home.bypass.run("iptables", "-t", "nat", "-S", PRE.chain)
            assert COMMENTS[0] not in listing.stdout, words
            assert listing.stdout.count("--mark 0x7") == 1, words
            assert place(at_home, PRE, "-D", PRE.chain, *stays)
            await router.rules.read()
            live = await router.rules.apply([WEB, OTHER])
            assert live.forwards == {WEB.id: WEB, OTHER.id: OTHER}, words
            assert not ran(at_home)
    finally:
        await router.close()


@BOTH_VARIANTS
@pytest.mark.usefixtures("trap")
async def test_whatever_enters_our_chains_is_in_no_ones_way(at_home: Lab) -> None:
    """Rules of the kernel's chains that lead to ours, with names of any kind."""
    at_home.target.serve("tcp", 443)
    router = await connect(at_home)
    try:
        await router.rules.apply([WEB, OTHER])
        for hook in HOOKS:
            at_home.bypass.run(
                "iptables", "-t", hook.table, "-N", hook.chain, check=False
            )
            placed = 0
            for number, words in enumerate(conditions(hook)):
                verb = ("-A", hook.builtin) if number % 2 else ("-I", hook.builtin, "1")
                end = ("-j" if number % 3 else "-g", hook.chain)
                placed += place(at_home, hook, *verb, *words, *end)
            assert placed > 30
        await is_well(at_home, router)
    finally:
        await router.close()


@BOTH_VARIANTS
async def test_two_texts_of_one_rule_go_each_by_its_own(
    at_home: Lab,
) -> None:
    """Whoever has added a rule of ours once more may have used other words."""
    router = await connect(at_home)
    try:
        await router.rules.apply([WEB, OTHER])
        for hook, rule in rules_of(WEB, router.context, TRANSLATING):
            words = shlex.split(str(rule))
            at = words.index("tcp") + 1
            added = [*words[:at], "-m", "tcp", *words[at:]]
            assert place(at_home, hook, "-A", hook.chain, *added) or hook is PRE
            assert place(at_home, hook, "-A", hook.chain, *words)
        for desired in ([WEB, OTHER], [OTHER], []):
            live = await router.rules.apply(desired)
            assert live.forwards == {forward.id: forward for forward in desired}
    finally:
        await router.close()


@BOTH_VARIANTS
async def test_a_rule_goes_by_its_number_only_while_that_is_its_own(
    at_home: Lab,
) -> None:
    """Someone else may have changed the chain since it was read."""
    router = await connect(at_home)
    try:
        await router.rules.apply([WEB, OTHER])
        tag = ("-m", "comment", "--comment", COMMENTS[1])
        assert place(at_home, PRE, "-A", PRE.chain, "-i", "a b", *tag, "-j", "RETURN")
        await router.rules.read()
        mine = ("-m", "mark", "--mark", "7", "-j", "RETURN")
        assert place(at_home, PRE, "-I", PRE.chain, "1", *mine)
        live = await router.rules.apply([WEB, OTHER])
        assert live.forwards == {WEB.id: WEB, OTHER.id: OTHER}
        listing = at_home.bypass.run("iptables", "-t", "nat", "-S", PRE.chain).stdout
        assert "--mark 0x7" in listing
        assert COMMENTS[1] not in listing
    finally:
        await router.close()


@BOTH_VARIANTS
@pytest.mark.usefixtures("trap")
async def test_a_switch_and_reapply_work_beside_a_rule_that_names_a_program(
    hass: HomeAssistant, at_home: Lab
) -> None:
    """The firewall never runs it, and what is shown is so."""
    at_home.target.serve("tcp", 443)
    entry = await set_up(hass, at_home, TYPED_WEB, firewall="iptables")
    switch = switch_of(hass, entry, "Web")
    await turn(hass, "on", switch)
    listing = at_home.bypass.run("iptables", "-t", "nat", "-S", PRE.chain).stdout
    owner = listing.partition("bypass_router:")[2].partition(":")[0]
    tag = ("-m", "comment", "--comment", f"bypass_router:{owner}:01GONE")
    hostile = ("-i", NAMES[0], *tag, "-j", "RETURN")
    assert place(at_home, PRE, "-A", PRE.chain, *hostile)
    for state in (STATE_OFF, STATE_ON):
        await turn(hass, state, switch)
        assert hass.states.get(switch).state == state
        assert await passes(at_home) == (state == STATE_ON)
        await hass.services.async_call(
            "button",
            "press",
            {"entity_id": "button.bypass_reapply_forwards"},
            blocking=True,
        )
        assert hass.states.get(switch).state == state
    assert not ran(at_home)
    await hass.config_entries.async_unload(entry.entry_id)


NFT_NAMES = ["a ! -M r", "a\n}", "}\n}", "$(/tmp/r)", ";/tmp/r;", "`/tmp/r`", "a';r;"]
FORGED = """x
\t\taccept comment "bypass_router:ab12:01WEB" # handle 3
\t}
}
table inet evil { # handle 1
\tchain $(/tmp/r) { # handle 1
"""


@pytest.mark.parametrize("firewall", [Backend.NFTABLES, Backend.IPTABLES])
@pytest.mark.usefixtures("trap")
async def test_no_name_in_nft_or_in_rules_of_routing_is_run_or_in_the_way(
    at_home: Lab, firewall: Backend
) -> None:
    """Of interfaces, in comments, and in what is logged."""
    at_home.target.serve("tcp", 443)
    router = await connect(at_home, firewall=firewall)
    placed = 0
    try:
        await router.rules.apply([WEB, OTHER])
        chain = "inet theirs forward"
        at_home.bypass.run(
            *("nft", "-f", "-"),
            input="table inet theirs { chain forward {"
            " type filter hook forward priority filter; policy drop; }; }\n",
        )
        for name in NFT_NAMES:
            for words in (
                f'iifname "{name}"',
                f'log prefix "{name}" accept',
                f'accept comment "{name}"',
                f'accept comment "{FORGED[:100]}{name}"',
                f'log prefix "{FORGED[:100]}{name}"',
            ):
                done = at_home.bypass.run(
                    *("nft", "-f", "-"),
                    input=f"add rule {chain} {words}\ninsert rule {chain} {words}\n",
                    check=False,
                )
                placed += done.returncode == 0
            done = at_home.bypass.run(
                *("ip", "rule", "add", "iif", name, "lookup", "main"), check=False
            )
            placed += done.returncode == 0
        assert placed > 20
        before = at_home.bypass.run("nft", "list", "chain", *chain.split()).stdout
        await is_well(at_home, router)
        await router.rules.apply([])
        after = at_home.bypass.run("nft", "list", "chain", *chain.split()).stdout
        assert after == before
    finally:
        await router.close()


def test_what_can_not_be_counted_has_no_numbers() -> None:
    """A line that is none, or letters that were lost."""
    assert guard_of("look", "-N X\n-A X -j RETURN")
    for listing in ("-N X\n-A X -i a\nb", "-N X\n\n-A X", "-A X -i \ufffd", "warning"):
        assert guard_of("look", listing) is None
