"""Two texts of one rule are equal, and what is read can be written again."""

from hypothesis import given, strategies as st
import pytest

from custom_components.bypass_router.router.iptables.rule import Rule

DNAT = (
    "-d 192.168.50.2/32 -p tcp -m tcp --dport 8443"
    ' -m comment --comment "bypass_router:ab12:01JX"'
    " -j DNAT --to-destination 192.168.50.10:443"
)

MIXED = (
    "-p tcp -d 192.168.50.2 --dport 8443 -m comment"
    " --comment bypass_router:ab12:01JX -j DNAT --to-destination 192.168.50.10:443"
)


@pytest.mark.parametrize(
    "same",
    [
        MIXED,
        DNAT.replace(" -j", " -c 7 420 -j"),
        DNAT.replace("/32", ""),
    ],
)
def test_one_rule_has_several_texts(same: str) -> None:
    """Versions differ in order, in `/32`, in `-m tcp`, in counters."""
    assert Rule.of(same) == Rule.of(DNAT)
    assert hash(Rule.of(same)) == hash(Rule.of(DNAT))


@pytest.mark.parametrize(
    "other",
    [
        DNAT.replace("8443", "8444"),
        DNAT.replace("-d 192", "! -d 192"),
        DNAT.replace("tcp", "udp"),
        DNAT.replace("/32", "/31"),
        DNAT.replace("01JX", "01JY"),
        f"{DNAT} --random",
    ],
)
def test_what_says_something_else_is_another_rule(other: str) -> None:
    """Down to one option."""
    assert Rule.of(other) != Rule.of(DNAT)


def test_counters_are_not_written_back() -> None:
    """`-c` in a `-D` would be taken for a part of the rule."""
    assert "-c" not in str(Rule.of(DNAT.replace(" -j", " -c 7 420 -j"))).split()


def test_a_comment_that_looks_like_an_option_is_a_comment() -> None:
    """Foreign rules may carry any."""
    rule = Rule.of('-p tcp -m comment --comment "-j DROP" -j ACCEPT')
    assert rule.value("--comment") == "-j DROP"
    assert rule.value("-j") == "ACCEPT"


@given(st.text(st.characters(exclude_categories=["Cs", "Cc"]), min_size=1))
def test_what_is_written_is_read_as_the_same(comment: str) -> None:
    """Quotes, backslashes and spaces included."""
    rule = Rule(
        ("-m", "comment", "--comment", comment, "-j", "RETURN"),
        frozenset({("--comment", comment), ("-j", "RETURN")}),
    )
    assert Rule.of(str(rule)) == rule
