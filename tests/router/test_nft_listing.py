"""What `nft list` prints, read as tables, chains, rules and elements."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
import time

from hypothesis import given, strategies as st
import pytest

from custom_components.bypass_router.router.nftables.listing import (
    Base,
    NftChain,
    NftRule,
    NftTable,
    read_tables,
)
from tests.lab.network import Lab
from tests.share import SHARE

LISTING = Path(__file__).with_name("nft_ruleset.txt").read_text()
"""What nft 1.0.6 prints with `-t -s -a list ruleset`."""
ELEMENTS = Path(__file__).with_name("nft_elements.txt").read_text()
"""What it prints with `list table`, without the chains."""


def tables(text: str = LISTING) -> dict[str, NftTable]:
    """Return the tables of a listing by family and name."""
    return {f"{table.family} {table.name}": table for table in read_tables(text)}


def chain(name: str, text: str = LISTING) -> NftChain:
    """Return a chain by family, table and name."""
    (found,) = (
        chain
        for table in read_tables(text)
        for chain in table.chains
        if str(chain) == name
    )
    return found


def test_every_table_is_found_with_all_that_is_in_it() -> None:
    """Of every family, whatever else stands in a table."""
    found = {name: [chain.name for chain in t.chains] for name, t in tables().items()}
    assert found == {
        "inet fw4": ["forward", "inner", "handle_reject", "prerouting"],
        "netdev ing": ["c"],
        "ip6 six": ["forward"],
        "arp a": ["i"],
        "inet firewalld": [
            "filter_FORWARD",
            "filter_FORWARD_ZONES",
            "filter_FWD_public",
        ],
        "inet clash": ["pre"],
    }
    assert tables()["inet fw4"].sets == {"seen": (), "nets": (), "verdicts": ()}


def test_it_is_told_where_the_kernel_enters_a_chain() -> None:
    """And that it does not."""
    assert chain("inet fw4 forward").base == Base("filter", "forward", "filter", "drop")
    assert chain("inet firewalld filter_FORWARD").base == Base(
        "filter", "forward", "filter + 10", "accept"
    )
    assert chain("netdev ing c").base == Base(
        "filter", "ingress", "filter + 5", "accept"
    )
    assert chain("inet fw4 inner").base is None


def test_a_rule_is_text_with_a_handle_and_a_comment() -> None:
    """Neither braces nor words like ours in a comment or a prefix mislead."""
    assert chain("inet fw4 forward").rules == (
        NftRule(
            "ct state vmap { established : accept, related : accept }",
            13,
            "!fw4: Handle forwarded flows",
        ),
        NftRule(
            "meta l4proto { tcp, udp } th dport { 80, 443 } counter jump inner",
            16,
            "a { b",
        ),
        NftRule("tcp dport vmap @verdicts", 17),
        NftRule(
            "ip saddr . tcp dport vmap"
            " { 192.0.2.1 . 80 : accept, 192.0.2.2 . 81 : drop }",
            19,
        ),
        NftRule('log prefix "drop } # handle 5 " flags all', 20),
        NftRule('counter name "c1"', 21),
        NftRule("jump handle_reject", 22),
    )
    assert chain("inet fw4 inner").rules == (
        NftRule("counter return", 23, "x # handle 77"),
    )


def test_rules_within_a_block_are_told_apart() -> None:
    """By semicolons, as one may write them."""
    inner = "\tip saddr 192.0.2.1 accept\n\tjump {\n\tcounter\n\tdrop\n\t}\n\tlog\n"
    text = f"table ip t {{\nchain c {{\ngoto {{\n{inner}}} # handle 7\n}}\n}}"
    (rule,) = chain("ip t c", text).rules
    assert rule == NftRule(
        "goto { ip saddr 192.0.2.1 accept; jump { counter; drop }; log }", 7
    )


def test_a_block_within_a_chain_is_one_rule() -> None:
    """And a chain's own comment is none."""
    assert [
        (rule.text, rule.handle) for rule in chain("inet fw4 handle_reject").rules
    ] == [
        ("meta l4proto tcp reject with tcp reset", 24),
        ('jump { counter accept comment "in a block" }', 27),
        ("reject", 28),
    ]


FORGED = """
table inet t { # handle 1
\tchain c { # handle 2
\t\ttype filter hook forward priority filter; policy drop;
\t\tip saddr 192.0.2.1 accept comment "x
\t\tdrop # handle 9
\t}
\tchain d { # handle 3
\t\ttype filter hook forward priority filter; policy drop;
" # handle 4
\t\tlog prefix "y
}
" # handle 5
\t\tip saddr 192.0.2.2 accept comment "5" disk" # handle 6
\t}
\tchain e { # handle 7
\t\taccept comment "z" # handle 8
\t}
}
"""


def test_a_line_break_in_a_comment_ends_no_line() -> None:
    """Else its other lines would be taken for rules, or for whole chains."""
    (table,) = read_tables(FORGED)
    assert [chain.name for chain in table.chains] == ["c", "e"]
    assert [rule.handle for rule in table.chains[0].rules] == [4, 5, 6]


def test_elements_are_split_where_they_end() -> None:
    """Not at a line's end, nor at a comma within a comment."""
    found = tables(ELEMENTS)["inet fw4"].sets
    assert len(found["seen"]) == 5
    assert found["seen"][3].startswith("192.0.2.4 expires ")
    assert found["seen"][3].endswith(' comment "a, b } # handle 9"')
    assert found["nets"] == ("10.0.0.0/8", "172.16.0.0/12")
    assert found["verdicts"] == ("22 : accept", "23 : drop")


def test_without_handles_the_rest_is_the_same() -> None:
    """As printed without `-a`; in what is read, a rule's handle is 0 then."""
    lines = [line.rpartition(" # handle ")[0] or line for line in LISTING.split("\n")]
    for with_handle, without in zip(
        read_tables(LISTING), read_tables("\n".join(lines)), strict=True
    ):
        assert without == replace(
            with_handle,
            chains=tuple(
                replace(
                    chain,
                    rules=tuple(replace(rule, handle=0) for rule in chain.rules),
                )
                for chain in with_handle.chains
            ),
        )


@pytest.mark.parametrize(
    ("name", "kept"),
    [("a-b", True), ("_a.b/c", True), ("a;b", False), ('"a"', False), ("$(x)", False)],
)
def test_a_chain_that_commands_could_not_name_is_left_out(
    name: str, kept: bool
) -> None:
    """Nothing of the router's text gets into a command by way of a name."""
    for place in ("ip t", f"ip {name}"):
        label = name if place == "ip t" else "c"
        text = f"table {place} {{\n\tchain {label} {{\n\t\taccept\n\t}}\n}}"
        assert bool(tables(text)[place].chains) == kept


@pytest.mark.parametrize(
    ("remark", "program"),
    [
        (" # progname firewalld", "firewalld"),
        (" # handle 3 progname firewalld", "firewalld"),
        (" # progname firewalld handle 3", "firewalld"),
        ("", ""),
        (" # handle 3", ""),
    ],
)
def test_a_table_says_who_owns_it(remark: str, program: str) -> None:
    """And its flags, whatever stands behind the brace."""
    text = f"table inet t {{{remark}\n\tflags owner,persist\n\n\tchain c {{\n\t}}\n}}"
    for found in read_tables(text):
        assert [chain.name for chain in found.chains] == ["c"]
        assert found.flags == {"owner", "persist"}
        assert found.program == program


def test_elements_may_begin_on_a_line_of_their_own() -> None:
    """However a version breaks the lines."""
    text = "table ip t {\nset s {\nelements = {\n1 : drop,\n2 : drop }\n}\n}"
    assert tables(text)["ip t"].sets == {"s": ("1 : drop", "2 : drop")}


def test_the_listing_is_what_nft_prints(at_home: Lab) -> None:
    """The one of this machine: loaded, it is printed the same, but for handles."""
    text = LISTING.replace("\t\tcounter name", "\t\t# of no use here\n\t\tcounter name")
    at_home.bypass.run("nft", "flush ruleset")
    at_home.bypass.run("nft", "-f", "-", input=text)
    printed = at_home.bypass.run("nft", "-t", "-s", "-a", "list", "ruleset").stdout

    def without_handles(text: str) -> list[tuple[str, Base | None, list[str]]]:
        return [
            (str(chain), chain.base, [f"{r.text} #{r.comment}" for r in chain.rules])
            for table in read_tables(text)
            for chain in table.chains
        ]

    assert without_handles(printed) == without_handles(LISTING)
    handles = [
        (str(chain), rule.handle)
        for table in read_tables(printed)
        for chain in table.chains
        for rule in chain.rules
    ]
    for name, handle in handles:
        at_home.bypass.run("nft", f"delete rule {name} handle {handle}")


# Whatever it prints


@contextmanager
def bounded(seconds: float) -> Iterator[None]:
    """Fail if what is done takes longer on the processor."""
    started = time.thread_time()
    yield
    assert time.thread_time() - started < seconds


LINES = [line.strip() for line in f"{LISTING}{ELEMENTS}".split("\n")]


@given(
    st.lists(
        st.sampled_from([*LINES, "}", "{", "elements = {", "chain x {", '"', ","])
        | st.text(max_size=30),
        max_size=40,
    ).map("\n".join)
)
def test_any_text_is_read(text: str) -> None:
    """Of what makes no sense, nothing is made up that was not there."""
    with bounded(1):
        found = read_tables(text)
        for table in found:
            for chain in table.chains:
                assert f"chain {chain.name} {{" in text
                for rule in chain.rules:
                    assert rule.comment in text
                    assert not rule.handle or f"# handle {rule.handle}" in text


# A sixth of it in `scripts/test --fast`, in half a second: the worst squares show.
SIZE = int(1_000_000 * SHARE)
LONG_BOUND = max(0.5, SIZE / 500_000)
HEAD = "table ip t {\n\tchain c {\n"


@pytest.mark.parametrize(
    "text",
    [
        HEAD + "jump {\n" * (SIZE // 7),
        HEAD + "jump {\n" * (SIZE // 9) + "}\n" * (SIZE // 9),
        HEAD + "{" * SIZE,
        HEAD + " {" * (SIZE // 2),
        HEAD + " # handle 1" * (SIZE // 11),
        HEAD + "x" * SIZE,
        HEAD + ' comment "' * (SIZE // 10),
        HEAD + ' comment "x"' * (SIZE // 12),
        HEAD + '" comment "\n' * (SIZE // 12),
        HEAD + "type x hook x device" + " x" * (SIZE // 2),
        HEAD + "type x hook x devices priority " * (SIZE // 31),
        HEAD + " " * SIZE + "x",
        HEAD + "accept # handle 1\n" * (SIZE // 18),
        "table ip t {\n" * (SIZE // 13),
        "table ip t {\n}\n" * (SIZE // 15),
        "table ip t {\nset s {\nelements = { " + '"' * SIZE,
        "table ip t {\nset s {\nelements = { " + "a, " * (SIZE // 3) + "}",
        "table ip t {\nset s {\nelements = { " + '"a,' * (SIZE // 3) + "}",
        "table ip t {\nset s {\n" + "elements = { 1 }\n" * (SIZE // 17),
    ],
    ids=lambda text: repr(text[len(HEAD) : len(HEAD) + 20]),
)
def test_hostile_text_is_read_in_time(text: str) -> None:
    """The time grows with the length, and not with its square."""
    with bounded(LONG_BOUND):
        read_tables(text)
