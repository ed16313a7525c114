"""Whatever a router prints, its readers answer, in time, and with no more than that.

By itself, this takes some ten seconds. To take longer over it, and find more:

    FUZZ_EXAMPLES=100000 scripts/test tests/router/test_fuzz.py
"""

from collections.abc import Iterator
from contextlib import contextmanager
import gc
from ipaddress import IPv4Address
import os
import re
import time
import unicodedata

import asyncssh
from hypothesis import HealthCheck, given, settings, strategies as st
import pytest

from custom_components.bypass_router.router.errors import (
    BadOutput,
    FirewallFailed,
    InvalidPrivateKey,
    NotPrivileged,
    PassphraseRequired,
    RouterError,
    WrongPassphrase,
    printable,
)
from custom_components.bypass_router.router.forward import Forward
from custom_components.bypass_router.router.iptables.rule import Rule, listed
from custom_components.bypass_router.router.iptables.rules import (
    FWD,
    HOOKS,
    PRE,
    Hook,
    rules_of,
)
from custom_components.bypass_router.router.iptables.state import IptablesState
from custom_components.bypass_router.router.monitor import Monitor
from custom_components.bypass_router.router.network.listeners import read_listeners
from custom_components.bypass_router.router.probe.probe import read_probe
from custom_components.bypass_router.router.rules.base import Tag
from custom_components.bypass_router.router.ssh.credentials import Credentials
from custom_components.bypass_router.router.ssh.script import Result, Script
from tests.share import SHARE

from .client import WEB
from .rules import EMPTY, SITE, chains, forward_sets, planned, seen
from .test_firewalls import results
from .test_probe import DEBIAN

EXAMPLES = int(os.environ.get("FUZZ_EXAMPLES", 2 * settings().max_examples))
FIREWALL = chains()
# Seconds of the processor's time for one input of a usual length.
BOUND = 1.0

fuzzed = settings(
    max_examples=EXAMPLES,
    deadline=None,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)


@contextmanager
def bounded(seconds: float = BOUND) -> Iterator[None]:
    """Fail if what is done takes longer on the processor."""
    # What the examples before have left behind is cleared at another time.
    gc.disable()
    started = time.thread_time()
    try:
        yield
        assert time.thread_time() - started < seconds
    finally:
        gc.enable()


ANSWERS: dict[str, Result] = results({**DEBIAN, "sudo": "", "sudonft": ""})

# What text is made of

TAG = '-m comment --comment "bypass_router:ab12:A"'
PIECES = [
    *(
        "\n",
        " ",
        "\t",
        "\r",
        "\0",
        "\x0b",
        "\x1c",
        "\x85",
        "\u2028",
        "\u202e",
        "\ufffd",
    ),
    *('"', "'", "\\", '\\"', '" "', "\\\\", "$(id)", "`id`", "${IFS}", "#", ";", "!"),
    *(f"-A {hook.chain} " for hook in HOOKS),
    *(f"-A {hook.builtin} -j {hook.chain}" for hook in HOOKS),
    *(f"-N {hook.chain}\n" for hook in HOOKS),
    *("COMMIT\n", "*nat\n", "*filter", "-X", "-F", "-I PREROUTING 1", "-t nat "),
    *("-j DNAT", "-j ACCEPT", "-g X", "-m socket", "-c 7 420", "--comment ", "-p udp"),
    *("--modprobe=/tmp/x ", "--modprobe /tmp/x", "--mod=x ", "-M /tmp/x ", "-tnat "),
    *(TAG, TAG.replace("ab12", "cd34"), TAG.replace('"', ""), "! --comment x"),
    *("-s 0.0.0.0/0", "-d 192.168.50.2", "/32", "/33", "--dport 0", ":65536", "٨٠"),
    *("--to-destination 1.2.3.4:1-2/3", "--to-destination :::", "9" * 30, "9" * 5000),
    *("is incompatible", "No chain/target/match", "you must be root", "sudo:"),
    "iptables v1.8.9 (nf_tables): ",
]
NOISE = st.one_of(
    st.sampled_from(PIECES),
    st.text(max_size=8),
    st.text(st.characters(exclude_categories=["Cs"], max_codepoint=0x2FF), max_size=40),
)


@st.composite
def broken(draw: st.DrawFn, text: str) -> str:
    """Draw what a text may turn into on a router that is broken, or hostile."""
    for _ in range(draw(st.integers(0, 4))):
        begin = draw(st.integers(0, len(text)))
        end = min(len(text), begin + draw(st.integers(0, 1) | st.integers(0, 60)))
        kept = draw(st.integers(0, 3))
        text = (
            text[:begin]
            + (text[begin:end] * 2 if kept == 0 else "")
            + draw(NOISE)
            + text[end:]
        )
    return text


def listing(forwards: list[Forward], hook: Hook, owner: str = "ab12") -> str:
    """Return what iptables prints of our chain."""
    lines = [
        f"-A {hook.chain} {rule}".replace(":ab12:", f":{owner}:")
        for forward in forwards
        for at, rule in rules_of(forward, SITE)
        if at is hook
    ]
    return "\n".join([f"-N {hook.chain}", *lines])


ABSENT = Result("iptables: No chain/target/match by that name.", 1)
FOREIGN = '-A PREROUTING -p tcp -m comment --comment "x y" -j REDIRECT --to-ports 7892'


@st.composite
def printed(draw: st.DrawFn) -> dict[str, Result]:
    """Draw what a router's iptables prints, of which a part is broken."""
    forwards = draw(forward_sets())
    foreign = draw(forward_sets())
    sections: dict[str, Result] = {}
    status = st.sampled_from([0, 0, 0, 0, 1, 4, 139])
    for hook in HOOKS:
        entrance = f"-P {hook.builtin} ACCEPT\n-A {hook.builtin} -j {hook.chain}"
        if hook is FWD:
            entrance = entrance.replace("ACCEPT", "DROP")
        if draw(st.booleans()):
            entrance += f"\n{FOREIGN}".replace("PREROUTING", hook.builtin)
        chain = listing(forwards, hook)
        if draw(st.booleans()):
            chain += f"\n{listing(foreign, hook, 'cd34')}"
        sections |= {
            f"entrance.{hook.chain}": Result(draw(broken(entrance)), draw(status)),
            f"jump.{hook.chain}": Result("", draw(status)),
            f"chain.{hook.chain}": draw(
                st.just(ABSENT)
                | st.builds(Result, broken(chain), status)
                | st.builds(Result, broken(chain), st.just(0))
            ),
        }
        if hook is FWD:
            table = f"{entrance}\n{chain}"
            sections["filter"] = Result(draw(broken(table)), draw(status))
    return sections


# What iptables-restore makes of a line

KNOWN = {"!", "-s", "-d", "-p", "-m", "-j", "--dport", "--ctstate", "--ctorigdst"}
KNOWN |= {
    "--ctproto",
    "--ctdir",
    "--ctorigsrc",
    "--ctorigdstport",
    "--comment",
    "--to-destination",
    "--to-source",
    "--ctreplsrc",
    "--datestart",
    "--datestop",
    "--reject-with",
}
GUARD = re.compile(
    r'case "\$\(printf %s "\$\(iptables --wait 5 -t'
    r" (?:nat -S HA-BYPASS-[A-Z]+|filter -S)"
    r' 2>&1\)" \| md5sum 2>/dev/null\)" in'
    r' "[0-9a-f]{32}  -" \| ""\) ;; \*\) exit 1 ;; esac'
)
JUMP = re.compile(
    r"-I [A-Za-z0-9_.,:@/+=~-]{1,31} [0-9]+ (?:-m conntrack (?:(?:--ctproto (?:6|17)"
    r"|(?:! )?--ctorigsrc 192\.168\.50\.0/24|--ctdir (?:ORIGINAL|REPLY)) )+)?"
    r"-j HA-BYPASS-FWD"
)


def restore_words(line: str) -> list[str]:
    """Return a line's words, found letter by letter as iptables-restore does."""
    words: list[str] = []
    word = ""
    quoted = escaped = False
    for char in f"{line}\n":
        if quoted:
            if escaped:
                word, escaped = word + char, False
            elif char == "\\":
                escaped = True
            elif char == '"':
                quoted = False
                words.append(word)
                word = ""
            else:
                word += char
        elif char == '"':
            quoted = True
        elif char in " \t\n":
            if word:
                words.append(word)
            word = ""
        else:
            word += char
    assert not quoted
    return words


def check_plan(desired: list[Forward], state: IptablesState, lines: list[str]) -> None:
    """Check that a plan says what we mean, and of the router's text no more."""
    Script().feed("apply", "cat", lines)
    ours = {
        (hook.chain, rule)
        for tag, rules in state.tagged.items()
        if tag.owner == SITE.owner
        for hook, rule in rules
    }
    jumps = {
        (hook.builtin, rule) for hook in HOOKS for rule in state.entrances[hook].jumps
    } | {(it.chain, it.rule) for gate in state.gates.values() for it in gate.jumps}
    own = {
        f"-A {hook.chain} {rule}" for f in desired for hook, rule in rules_of(f, SITE)
    }
    for hook in HOOKS:
        own |= {f"-N {hook.chain}", f"-X {hook.chain}"}
        own |= {f"-I {hook.builtin} 1 {hook.jump}"}
    own |= {"*nat", "*filter", "COMMIT"}
    for line in lines:
        assert "\n" not in line
        if line in own:
            continue
        if GUARD.fullmatch(line):
            assert line in state.guards.values()
            continue
        command, chain, *words = restore_words(line)
        if command == "-I" and f"-j {FWD.chain}" in line:
            assert JUMP.fullmatch(line)
            continue
        if command == "-I":
            # One that stands behind a stranger in our chain is moved before it.
            assert words[0] == "1"
            assert f"-A {chain} {line.split(' ', 3)[3]}" in own
            assert f"-D {chain} {line.split(' ', 3)[3]}" in lines
            continue
        assert command == "-D"
        if len(words) == 1 and words[0].isdecimal():
            (rules,) = (state.chains[hook] for hook in HOOKS if hook.chain == chain)
            assert rules
            rule = rules[int(words[0]) - 1]
            assert not rule.writable
            assert (chain, rule) in ours
            continue
        # Letter by letter and as we write it, it is the same rule, and ours.
        rule = Rule.of(line.split(" ", 2)[2])
        assert [word for option in rule.words for word in option] == words
        assert (chain, rule) in ours | jumps
        assert KNOWN.issuperset(options_of(words))


def options_of(words: list[str]) -> list[str]:
    """Return the options among the words, which a comment is none of."""
    return [
        word
        for before, word in zip(["", *words], words, strict=False)
        if before != "--comment" and word[0] in "-!"
    ]


# The readers


@fuzzed
@given(st.one_of(NOISE, broken(FOREIGN), broken(str(PRE.jump)), broken(TAG)))
def test_a_rule_is_read_or_refused(text: str) -> None:
    """What was read and is written again is the same rule."""
    with bounded():
        try:
            rule = Rule.of(text)
        except ValueError:
            return
        assert Rule.of(text) == rule
        assert Rule.of(str(rule)) == rule
        assert str(Rule.of(str(rule))) == str(rule)
        if rule.writable:
            words = [word for option in rule.words for word in option]
            assert restore_words(str(rule)) == words


@fuzzed
@given(st.lists(NOISE, max_size=6).map("".join))
def test_a_listing_loses_no_letter(text: str) -> None:
    """A line's end within quotes is no line's end, whatever stands around."""
    assert "\n".join(listed(text)) == text


@fuzzed
@given(printed(), forward_sets())
def test_any_listing_is_read_as_rules_or_refused(
    sections: dict[str, Result], desired: list[Forward]
) -> None:
    """And planned on, with no word of the router but from rules of ours."""
    with bounded():
        try:
            state = FIREWALL.read(sections)
        except (FirewallFailed, NotPrivileged, BadOutput) as err:
            check_error(err)
            return
        assert FIREWALL.read(sections) == state
        live = seen(state).live
        for forward in live.forwards.values():
            # What is shown is exactly right, every rule of it.
            expected = set(rules_of(forward, SITE))
            found = state.tagged[Tag(SITE.owner, forward.id)]
            assert set(found) == expected
        assert not live.damaged & live.forwards.keys()
        plan = planned(desired, state)
        assert plan == planned(desired, state)
        check_plan(desired, state, [line for step in plan.steps for line in step.lines])


@fuzzed
@given(st.data())
def test_any_output_of_a_script_is_read_or_refused(data: st.DataObject) -> None:
    """Also where it knows our marks."""
    script = Script().run("one", "a").otherwise("two", "b").feed("three", "c", ["d"])
    (word,) = set(re.findall("bypass-router-[0-9a-f]+", script.text))
    marks = [f"\n{word} {mark}\n" for mark in ("begin one", "end 0", "end 9", "done")]
    whole = "".join(
        f"\n{word} begin {label}\nsaid {label}\n\n{word} end {status}\n"
        for label, status in (("one", 1), ("two", 0), ("three", 0))
    )
    text = data.draw(broken(f"Welcome!\n{whole}\n{word} done\n"))
    for mark in data.draw(st.lists(st.sampled_from([*marks, f"\n{word} end 9999\n"]))):
        place = data.draw(st.integers(0, len(text)))
        text = text[:place] + mark + text[place:]
    with bounded():
        try:
            sections = script.read(text)
        except BadOutput as err:
            check_error(err)
            return
        assert script.read(text) == sections
        assert {"one", "three"} <= sections.keys()
        assert sections["one"].ok or "two" in sections
        assert all(0 <= result.status <= 999 for result in sections.values())


@fuzzed
@given(st.data())
def test_any_answer_to_the_probe_is_understood_or_refused(data: st.DataObject) -> None:
    """What is kept of it can be shown."""
    status = st.sampled_from([0, 0, 0, 1, 4, 127])
    labels = st.sets(st.sampled_from(sorted(ANSWERS)), max_size=6)
    answers = ANSWERS | {
        label: Result(data.draw(broken(ANSWERS[label].output)), data.draw(status))
        for label in sorted(data.draw(labels))
    }
    with bounded():
        try:
            probe = read_probe(answers)
        except RouterError as err:
            check_error(err)
            return
        assert read_probe(answers) == probe
        texts = (probe.interface, probe.hostname, probe.system, probe.boot_id)
        assert all(map(is_shown, texts))
        if probe.tools.iptables:
            assert is_shown(probe.tools.iptables.label)


@fuzzed
@given(st.lists(NOISE, max_size=8).map("".join), st.sampled_from(["ss", "netstat"]))
def test_any_list_of_services_is_read(text: str, tool: str) -> None:
    """Or has none."""
    line = f'tcp LISTEN 0 9 0.0.0.0:{text}0.0.0.0:53 *:* users:(("{text}",pid=1))'
    sections = {f"tcp.{tool}": Result(f"{text}\n{line}", 0)}
    with bounded():
        found = read_listeners(sections, IPv4Address("192.168.50.2"))
    assert all(1 <= listener.port <= 65535 for listener in found)
    assert all(is_shown(str(listener)) for listener in found)


REPORTS = [
    "add rule ip nat PREROUTING counter packets 0 bytes 0",
    "# new generation 27 by process 1234 (iptables)",
    f"# new generation {'9' * 5000} by process {'9' * 5000} ({'x' * 5000})",
    "changed",
    "bypass-router-0 ready",
    "delete table inet fw4",
]


@fuzzed
@given(
    st.sampled_from([(True, False), (False, True), (True, True)]),
    st.lists(st.one_of(*map(broken, REPORTS), NOISE), max_size=30),
)
def test_any_line_of_the_watcher_is_one_change_at_most(
    ways: tuple[bool, bool], lines: list[str]
) -> None:
    """And none before it is ready; a cause can be shown."""
    by_report, looking = ways
    looks = ["nft list ruleset"] if looking else []
    watch = Monitor(looks, sudo=False, by_report=by_report)
    ready: list[object] = []
    with bounded():
        (word,) = set(re.findall("bypass-router-[0-9a-f]+", watch.text))
        for _ in range(sum(ways)):
            assert not [change for line in lines for change in watch.heard(line)]
            ready = list(watch.heard(f"{word} ready"))
        assert len(ready) == 1
        for line in lines:
            changes = list(watch.heard(line))
            assert len(changes) <= 1
            assert all(is_shown(change.cause or "", 40) for change in changes)


KEY = asyncssh.generate_private_key("ssh-ed25519")
KEYS = [
    KEY.export_private_key("openssh").decode(),
    KEY.export_private_key("pkcs8-pem").decode(),
    KEY.export_private_key("pkcs8-pem", passphrase="x").decode(),
    "-----BEGIN RSA PRIVATE KEY-----\nMIIB\n-----END RSA PRIVATE KEY-----",
]


@fuzzed
# asyncssh takes a part of the text for a pattern, and Python wonders about it.
@pytest.mark.filterwarnings("ignore::FutureWarning")
@given(st.one_of(*map(broken, KEYS), NOISE), st.sampled_from([None, ""]))
def test_any_private_key_is_loaded_or_named(text: str, passphrase: str | None) -> None:
    """Nothing of it is in the error.

    With a passphrase, a key may ask for more work than anyone has time for.
    """
    account = Credentials("root", private_key=text, passphrase=passphrase)
    try:
        account.load_key()
    except (InvalidPrivateKey, PassphraseRequired, WrongPassphrase) as err:
        check_error(err, said=False)


def check_error(err: RouterError, *, said: bool = True) -> None:
    """Check what an error says; nothing unless it may quote the router."""
    assert said or not err.details
    assert all(map(is_shown, err.details.values()))


def is_shown(text: str, limit: int = 200) -> bool:
    """Return whether a text is short, and moves no cursor."""
    return len(text) <= limit and not any(
        unicodedata.category(char) in ("Cc", "Cf", "Cs", "Zl", "Zp") for char in text
    )


@fuzzed
@given(st.lists(NOISE, max_size=40).map("".join), st.integers(10, 300))
def test_text_from_outside_becomes_one_short_line(text: str, limit: int) -> None:
    """Of any length, and only once."""
    line = printable(text, limit)
    assert is_shown(line, limit)
    assert printable(line, limit) == line


# What is as long as a router may make it

# A sixth of it in `scripts/test --fast`, within a second: the worst squares show there.
SIZE = int(3_000_000 * SHARE)
# Twice what it takes at the most where others work on the same processor.
LONG_BOUND = max(BOUND, SIZE / 500_000)
LINE = f"-A {PRE.chain} -d 192.168.50.2/32 -p tcp --dport 1 {TAG} -j DNAT\n"


@pytest.mark.long
@pytest.mark.parametrize(
    "text",
    [
        f"-A {PRE.chain} -j X\n" * (SIZE // 24),
        LINE * (SIZE // len(LINE)),
        "".join(LINE.replace(":A", f":A{n}") for n in range(SIZE // len(LINE))),
        "".join(LINE.replace("ab12", f"x{n}") for n in range(SIZE // len(LINE))),
        f"-A {PRE.chain} " + "-x " * (SIZE // 3),
        f'-A {PRE.chain} "' + "\\a" * (SIZE // 2),
        f"-A {PRE.chain} " + " " * SIZE + '"',
        f'-A {PRE.chain} "\\"\n' * (SIZE // 21),
        '\\"\n' * (SIZE // 3),
        ' "\\" "x' * (SIZE // 7),
        "-N \n" * (SIZE // 4),
    ],
    ids=[
        "many rules",
        "one rule of ours, often",
        "many of ours",
        "many of others",
        "many words",
        "no end of quotes",
        "many spaces",
        "quotes in pairs",
        "quotes that are escaped",
        "quotes that close and open",
        "many chains",
    ],
)
def test_as_much_as_is_taken_from_a_router_is_read_in_time(text: str) -> None:
    """The time grows with the length, and not with its square."""
    sections = EMPTY.sections(FIREWALL)
    sections[f"chain.{PRE.chain}"] = Result(f"-N {PRE.chain}\n{text}", 0)
    with bounded(LONG_BOUND):
        state = FIREWALL.read(sections)
        assert seen(state).live.forwards == {}
        planned([], state)
    for chain in (FWD.chain, FWD.builtin, "a"):
        theirs = text.replace(PRE.chain, chain)
        table = f"-P FORWARD DROP\n-N a\n-A FORWARD -j a\n{theirs}"
        sections["filter"] = Result(table, 0)
        with bounded(LONG_BOUND):
            state = FIREWALL.read(sections)
            planned([WEB], state)
            assert WEB.id not in seen(state).live.forwards


def test_as_many_marks_as_a_router_can_print_are_read_in_time() -> None:
    """It can read our script, and so knows the word in them."""
    script = Script().run("one", "true")
    (word,) = set(re.findall("bypass-router-[0-9a-f]+", script.text))
    for mark in ("begin one", "end 0"):
        text = f"{word} {mark}\n"
        with bounded(5), pytest.raises(BadOutput):
            script.read(text * (SIZE // len(text)) + f"{word} done\n")


@pytest.mark.parametrize("part", ["a ", "ab ", "\x1b", " ", "\n", "\u202e", "x"])
def test_an_error_takes_no_more_of_a_long_text_than_it_shows(part: str) -> None:
    """Millions of words would be millions of objects."""
    with bounded():
        assert len(printable(part * (SIZE // len(part)))) <= 200
