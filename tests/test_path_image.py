"""The picture of a forward's path: what it shows, and that anything can be in it."""

from collections.abc import Iterator, Mapping
from dataclasses import fields, replace
from ipaddress import IPv4Network
import re
from typing import Final
from xml.etree import ElementTree as ET

from hypothesis import given, strategies as st
import pytest

from custom_components.bypass_router.diagnosis.status import ForwardStatus
from custom_components.bypass_router.path_image.labels import Labels
from custom_components.bypass_router.path_image.look import (
    CARD,
    COLOURS,
    GROUND,
    INK,
    SHADES,
    Role,
    State,
)
from custom_components.bypass_router.path_image.model import (
    Situation,
    model_of,
)
from custom_components.bypass_router.path_image.svg import PathModel, draw
from custom_components.bypass_router.path_image.text_layout import width_of, wrapped
from custom_components.bypass_router.router.doctor.report import Cause, Diagnosis
from custom_components.bypass_router.router.forward import PortRange

from .path_situations import (
    DAY,
    HOUR,
    NOW,
    WEB,
    diagnosed,
    failing,
    labels,
    situation,
    situations,
)
from .test_translations import LANGUAGES

SITUATION: Final = situation()
# Of client to main router, on to the bypass router, and on to the target.
OK, FAILED, UNKNOWN = State.OK, State.FAILED, State.UNKNOWN
SVG: Final = "{http://www.w3.org/2000/svg}"

# Where each cause is red. Where a person has to do something is what they look for.
AT_THE_BYPASS_ROUTER: Final = {
    Cause.UNREACHABLE,
    Cause.NOT_PRIVILEGED,
    Cause.FIREWALL_UNUSABLE,
    Cause.IP_FORWARD_OFF,
    Cause.CONNTRACK_FULL,
    Cause.RULE_MISSING,
    Cause.RULE_SHADOWED,
    Cause.OTHER_BACKEND_FIRST,
    Cause.HIJACKED_BY_TPROXY,
    Cause.DROPPED_IN_FORWARD,
    Cause.RP_FILTER,
    Cause.NO_ROUTE,
    Cause.HIJACKED_BY_TUNNEL,
    Cause.ALLOW_LIST,
    Cause.DENIED,
    Cause.OWNED,
    Cause.QUEUED,
    Cause.UNTRACKED,
    Cause.DROPPED_EARLY,
    Cause.NO_GATEWAY,
    Cause.BRIDGED,
    Cause.EARLIER_FLOW,
    Cause.SOURCE_EXCLUDED,
}
AT_THE_DEVICE: Final = {
    Cause.TARGET_DOWN,
    Cause.TARGET_MOVED,
    Cause.PORT_CLOSED,
    Cause.TARGET_REFUSES,
    Cause.NO_ANSWER,
    Cause.GATEWAY_BYPASSES,
}
AT_THE_MAIN_ROUTER: Final = {
    *(cause for cause in Cause if cause.startswith("main_")),
    Cause.NO_PUBLIC_ADDRESS,
}
ON_THE_WAY: Final = {Cause.DIED_ON_THE_WAY: 2}


def segments(situation: Situation) -> list[State]:
    """Return how the hops are shown."""
    return [segment.state for segment in model_of(situation).segments]


def after(diagnosis: Diagnosis) -> list[State]:
    """Return how the hops are shown after a diagnosis."""
    status = ForwardStatus.FAILS if diagnosis.causes else ForwardStatus.WORKS_AT_HOME
    return segments(replace(SITUATION, status=status, diagnosis=diagnosis))


def words(situation: Situation) -> list[str]:
    """Return what is said of the hops."""
    return [segment.word for segment in model_of(situation).segments]


def nodes(situation: Situation) -> Mapping[Role, State]:
    """Return how the stations are shown."""
    return {each.role: each.state for each in model_of(situation).nodes}


def drawn(model: PathModel) -> list[str]:
    """Return the texts of the picture, and its title before them."""
    root = ET.fromstring(draw(model))  # noqa: S314 - our own
    texts = (root.iter(f"{SVG}{name}") for name in ("title", "text"))
    return ["".join(node.itertext()) for found in texts for node in found]


def test_it_names_everybody_on_the_path_with_address_and_port() -> None:
    """And who may come in."""
    texts = drawn(model_of(SITUATION))
    for text in (
        "Web",
        "From anywhere",
        "→ 192.168.50.2:8443",
        "192.168.50.2:8443",
        "192.168.50.10:443",
        "TCP 8443",
        "TCP 443",
    ):
        assert text in texts
    assert texts.count("TCP 8443") == 2
    forward = replace(
        WEB, sources=(IPv4Network("192.0.2.7/32"), IPv4Network("198.51.100.0/24"))
    )
    texts = drawn(model_of(replace(SITUATION, forward=forward)))
    assert "192.0.2.7, 198.51.100.0/24" in texts


def test_each_hop_has_the_port_by_which_it_is_gone() -> None:
    """And one tries it from outside by that of the main router."""
    texts = drawn(model_of(replace(SITUATION, public=PortRange(444, 444))))
    hops = [text for text in texts if text.startswith("TCP ")]
    assert hops == ["TCP 444", "TCP 8443", "TCP 443"]
    assert "→ 192.168.50.2:8443" in texts
    said = " ".join(texts)
    assert "444 at the public address of your main router" in said
    assert "8443 at the public address" not in said


def test_nothing_is_green_that_was_not_proved() -> None:
    """The switch alone proves the bypass router's rules, and no packet."""
    assert segments(SITUATION) == [UNKNOWN, UNKNOWN, UNKNOWN]
    assert nodes(SITUATION) == {
        Role.CLIENT: UNKNOWN,
        Role.MAIN: UNKNOWN,
        Role.BYPASS: OK,
        Role.TARGET: UNKNOWN,
    }
    assert after(diagnosed(rules="ok", target="ok", port="unknown"))[2] is UNKNOWN
    assert after(diagnosed(rules="ok", port="skipped"))[2] is UNKNOWN


@pytest.mark.parametrize("status", ForwardStatus)
def test_the_whole_is_green_only_where_someone_from_outside_was_answered(
    status: ForwardStatus,
) -> None:
    """That it is on, or works at home, proves less, and is called what it is."""
    seen = diagnosed(rules="ok", target="ok", port="ok", through="ok")
    model = model_of(replace(SITUATION, status=status, diagnosis=seen))
    assert (model.state is OK) is (status is ForwardStatus.WORKS)
    assert (model.state is FAILED) is (status in ("fails", "refused"))
    assert model.word == getattr(labels("en"), status)
    assert model.word == {
        "off": "Off",
        "checking": "Being checked",
        "try_now": "Try now from outside",
        "untested": "On, not tried from outside",
        "works_at_home": "Works at home",
        "works": "Works",
        "fails": "Does not work",
        "refused": "The bypass router does not take it",
    }.get(status)


def test_a_diagnosis_colours_what_it_has_proved() -> None:
    """As far as it has come, and no farther."""
    assert after(diagnosed(port="ok")) == [UNKNOWN, UNKNOWN, OK]
    assert after(diagnosed(port="ok", arrival="ok", visit="unknown")) == [OK, OK, OK]
    assert after(diagnosed(port="ok", arrival="ok", visit="ok")) == [OK, OK, OK]
    assert after(diagnosed(rules="rule_missing")) == [UNKNOWN, UNKNOWN, UNKNOWN]


@pytest.mark.parametrize("cause", Cause)
def test_each_cause_is_red_where_it_fails_and_there_alone(cause: Cause) -> None:
    """At the router that refuses, at the device that is silent, or on the way."""
    found = failing(cause, rules="ok", target="ok", port="ok")
    for known in (found, replace(found, answered_at=NOW - DAY)):
        red = [role for role, state in nodes(known).items() if state is FAILED]
        hops = [number for number, it in enumerate(segments(known)) if it is FAILED]
        places = {
            Role.MAIN: AT_THE_MAIN_ROUTER,
            Role.BYPASS: AT_THE_BYPASS_ROUTER,
            Role.TARGET: AT_THE_DEVICE,
        }
        assert red == [role for role, causes in places.items() if cause in causes]
        assert hops == ([ON_THE_WAY[cause]] if cause in ON_THE_WAY else [])
        assert len(red) + len(hops) == 1
    model = model_of(found)
    assert (model.state, model.word) == (FAILED, found.seen)
    assert model.advice == found.do
    assert found.seen
    assert found.do


def test_a_client_who_is_kept_out_has_come_that_far() -> None:
    """It was seen at the bypass router; what is behind that was tried from there."""
    for cause in (Cause.SOURCE_EXCLUDED, Cause.EARLIER_FLOW, Cause.DIED_ON_THE_WAY):
        assert segments(failing(cause, port="ok"))[:2] == [OK, OK]
    refused = failing(Cause.PORT_CLOSED)
    assert segments(refused) == [UNKNOWN, UNKNOWN, OK]


def test_two_faults_are_both_red() -> None:
    """And the first of them is told."""
    found = failing(Cause.PORT_CLOSED, answers="no_route")
    assert nodes(found)[Role.BYPASS] is FAILED
    assert nodes(found)[Role.TARGET] is FAILED


def test_what_was_seen_counts_with_its_age() -> None:
    """Who was answered has come all the way, whatever else was looked at."""
    works = replace(SITUATION, status=ForwardStatus.WORKS, answered_at=NOW - 3 * HOUR)
    assert segments(works) == [OK, OK, OK]
    assert set(nodes(works).values()) == {OK}
    assert words(works) == ["Answered 3 h ago"] * 3
    # What is behind the router was tried just now.
    looked = replace(works, diagnosis=diagnosed(port="ok"))
    assert words(looked) == ["Answered 3 h ago", "Answered 3 h ago", "OK"]


@pytest.mark.parametrize(
    ("seconds", "said"),
    [
        (-5, "Answered just now"),
        (119, "Answered just now"),
        (120, "Answered 2 min ago"),
        (5 * 60, "Answered 5 min ago"),
        (HOUR - 1, "Answered 30 min ago"),
        (HOUR, "Answered 1 h ago"),
        (DAY - 1, "Answered 23 h ago"),
        (DAY, "Answered 1 d ago"),
        (400 * DAY, "Answered 400 d ago"),
    ],
)
def test_an_age_is_told_in_coarse_steps(seconds: int, said: str) -> None:
    """By the clock of the moment in which it is drawn."""
    works = replace(SITUATION, status=ForwardStatus.WORKS, answered_at=NOW - seconds)
    assert words(works)[0] == said


def test_an_age_does_not_have_it_drawn_anew_each_minute() -> None:
    """In a day, some thirty times, and not once more."""
    works = replace(SITUATION, status=ForwardStatus.WORKS, answered_at=NOW)
    seen = {model_of(replace(works, now=NOW + age)) for age in range(0, DAY, 30)}
    assert len(seen) == 6 + 23


def test_what_failed_since_is_red_beside_what_was_seen_before() -> None:
    """The main router's half was right; what is behind it is judged anew."""
    before = NOW - 2 * DAY
    down = replace(failing(Cause.TARGET_DOWN), answered_at=before)
    assert segments(down) == [OK, OK, UNKNOWN]
    assert words(down)[:2] == ["Answered 2 d ago"] * 2
    # Who is kept out now has come just now.
    kept_out = replace(failing(Cause.SOURCE_EXCLUDED, port="ok"), answered_at=before)
    assert words(kept_out) == ["OK", "OK", "OK"]


@pytest.mark.parametrize("diagnosis", [None, diagnosed(port="ok")])
def test_what_fails_without_a_diagnosis_does_so_at_the_router(
    diagnosis: Diagnosis | None,
) -> None:
    """As a rule does that came since, and that the router itself has told of."""
    known = replace(SITUATION, status=ForwardStatus.FAILS, diagnosis=diagnosis)
    assert nodes(known)[Role.BYPASS] is FAILED


def test_a_fault_that_is_over_is_not_red() -> None:
    """Someone was answered since, or it is being looked at again."""
    for status in (ForwardStatus.WORKS, ForwardStatus.CHECKING):
        known = replace(failing(Cause.NO_ROUTE), status=status, answered_at=NOW)
        assert FAILED not in {*nodes(known).values(), *segments(known)}
        assert model_of(known).advice == ""


def test_the_live_state_goes_before_the_diagnosis() -> None:
    """A forward that is off, or a router that is away, was never as well as before."""
    well = diagnosed(rules="ok", target="ok", port="ok", arrival="ok", visit="ok")
    works = replace(
        SITUATION, status=ForwardStatus.WORKS, diagnosis=well, answered_at=NOW
    )
    assert model_of(works).word == "Works"
    off = replace(works, status=ForwardStatus.OFF)
    assert (model_of(off).word, model_of(off).state) == ("Off", UNKNOWN)
    away = replace(works, connected=False, do="See that it is on.")
    assert model_of(away).word == "Bypass router not reachable"
    assert model_of(away).advice == "See that it is on."
    refused = replace(works, status=ForwardStatus.REFUSED, seen="The port is taken.")
    assert model_of(refused).word == "The port is taken."
    for known in (away, refused):
        assert nodes(known)[Role.BYPASS] is FAILED
    for known in (off, away, refused):
        assert segments(known) == [UNKNOWN] * 3
        assert words(known) == ["Not checked"] * 3


@pytest.mark.parametrize("language", LANGUAGES)
def test_it_says_what_to_do(language: str) -> None:
    """Where someone has to come from outside, and where something is wrong."""
    for status in ("untested", "try_now", "works_at_home"):
        model = model_of(situation(ForwardStatus(status), language))
        assert "8443" in model.advice
    for status in ("off", "checking", "works"):
        assert model_of(situation(ForwardStatus(status), language)).advice == ""


@pytest.mark.parametrize("language", LANGUAGES)
@pytest.mark.parametrize("cause", Cause)
def test_what_is_wrong_and_what_to_do_are_told_in_full(
    cause: Cause, language: str
) -> None:
    """Nothing of it is lost, and the picture grows with it."""
    known = failing(cause, language)
    shown = "".join(drawn(model_of(known))[1:])
    for said in (known.seen, known.do):
        assert re.sub(r"\s", "", said) in re.sub(r"\s", "", shown)
    assert height(known) > height(replace(known, do=""))


def height(situation: Situation) -> float:
    """Return how high a picture is."""
    return float(ET.fromstring(draw(model_of(situation))).get("height", ""))  # noqa: S314


def test_each_state_is_told_by_shape_and_word_too() -> None:
    """No one has to tell red from green."""
    seen = {
        OK: draw(model_of(replace(SITUATION, diagnosis=diagnosed(port="ok")))),
        FAILED: draw(model_of(failing(Cause.DIED_ON_THE_WAY))),
        UNKNOWN: draw(model_of(SITUATION)),
    }
    for state, word in ((OK, "OK"), (FAILED, "Fails"), (UNKNOWN, "Not checked")):
        assert f">{word}</text>" in seen[state]
    # The tick, the cross, the broken line: without a word on colours.
    bare = {
        "".join(p for p in s.split('"') if not p.startswith("#")) for s in seen.values()
    }
    assert len(bare) == 3
    assert 'stroke-dasharray="5 5"' in seen[FAILED]
    assert 'stroke-dasharray="5 5"' not in seen[OK]


def luminance(colour: str) -> float:
    """Return how bright a colour is, by WCAG."""
    parts = [int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5)]
    red, green, blue = (
        part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4
        for part in parts
    )
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def contrast(one: str, other: str) -> float:
    """Return how much a colour stands out from another, by WCAG."""
    dark, bright = sorted((luminance(one), luminance(other)))
    return (bright + 0.05) / (dark + 0.05)


def texts_on(
    node: ET.Element, ground: tuple[str, ...], top: float = 0
) -> Iterator[tuple[str, str]]:
    """Yield the colour of each text with that of what is under it."""
    beneath: list[tuple[float, float, str]] = []
    for child in node:
        moved = re.match(r"translate\(\S+ (\S+?)\)", child.get("transform", ""))
        at = top + float(moved[1]) if moved else top
        if child.tag == f"{SVG}rect" and child.get("fill", "").startswith("#"):
            begins = at + float(child.get("y", ""))
            height = float(child.get("height", ""))
            beneath.append((begins, begins + height, child.get("fill", "")))
        if child.tag == f"{SVG}text":
            y = at + float(child.get("y", ""))
            under = [fill for begins, ends, fill in beneath if begins <= y <= ends]
            for fill in under[-1:] or ground:
                yield child.get("fill", ""), fill
        if child.tag == f"{SVG}g":
            # What is drawn in a group of its own lies beneath what follows.
            for box in child.findall(f"{SVG}rect"):
                ends = at + float(box.get("height", ""))
                beneath.append((at, ends, box.get("fill", "")))
            yield from texts_on(child, ground, at)


def test_each_text_stands_out_from_what_is_beneath_it() -> None:
    """By 4.5 to 1; its ground is its own, on a bright page and on a dark one."""
    pairs = {
        pair
        for known in situations("en")
        for pair in texts_on(ET.fromstring(draw(model_of(known))), GROUND)  # noqa: S314
    }
    # Four headlines, cards, a card and a hop at fault, and hops on the ground.
    assert len({ground for _, ground in pairs}) == 7
    assert len(pairs) > 12
    assert {pair: contrast(*pair) for pair in pairs if contrast(*pair) < 4.5} == {}


@pytest.mark.parametrize("state", State)
def test_each_sign_and_line_stands_out_too(state: State) -> None:
    """By 3 to 1: signs, rings and arrows from their ground, and what is on a sign."""
    grounds = {*GROUND, CARD, SHADES[state], INK}
    assert min(contrast(COLOURS[state], ground) for ground in grounds) >= 3


@pytest.mark.parametrize("language", LANGUAGES)
def test_it_speaks_each_language(language: str) -> None:
    """Of all words, none in English but in English."""
    said = labels(language)
    model = model_of(replace(SITUATION, labels=said, language=language))
    assert said.main_router in drawn(model)
    assert f'xml:lang="{language}"' in draw(model)
    if language != "en":
        for field in fields(Labels):
            assert getattr(said, field.name) != getattr(labels("en"), field.name)


@given(st.text(), st.text())
def test_whatever_it_is_called_the_picture_is_well_formed(
    title: str, remark: str
) -> None:
    """And nothing becomes part of the drawing that was only a name."""
    known = replace(failing(Cause.PORT_CLOSED), title=title, seen=f"x{remark}")
    plain = replace(known, title="Web", seen="x")
    tags = {node.tag for node in ET.fromstring(draw(model_of(known))).iter()}  # noqa: S314
    assert tags == {node.tag for node in ET.fromstring(draw(model_of(plain))).iter()}  # noqa: S314


def test_a_script_in_a_name_is_but_a_name() -> None:
    """It is opened as a page of its own too, where a script would run."""
    model = model_of(replace(SITUATION, title='"><script>alert(1)</script>'))
    assert "<script" not in draw(model)
    assert "<script>" in draw(model).replace("&lt;", "<").replace("&gt;", ">")


@pytest.mark.parametrize(
    "title",
    ["W" * 200, "庭の監視カメラ" * 20, "a b " * 60],
    ids=["wide", "ja", "words"],
)
def test_long_names_end_in_dots_within_the_picture(title: str) -> None:
    """Instead of running over its edge."""
    texts = drawn(model_of(replace(SITUATION, title=title)))
    shown = next(text for text in texts if text.endswith("…"))
    assert len(shown) < 45


@given(st.text(), st.integers(40, 400), st.integers(1, 9))
def test_text_is_broken_into_lines_that_fit(text: str, room: int, most: int) -> None:
    """No line is wider than there is room, and no letter is lost before the dots."""
    lines = wrapped(text, room, 15, most)
    assert len(lines) <= most
    assert all(width_of(line, 15) <= room for line in lines)
    shown = "".join("".join(lines).split())
    whole = "".join(text.split())
    assert shown == whole or whole.startswith(shown.removesuffix("…"))


def test_a_line_does_not_begin_with_a_stop() -> None:
    """As a reader of Japanese or Chinese expects it."""
    for room in range(60, 200, 5):
        for line in wrapped(
            "確認してください。「転送」を、一度（または二度）。", room, 15, 99
        )[1:]:
            assert line[0] not in "。、）」"
