"""The picture of a forward's path: what it shows, and that anything can be in it."""

from collections.abc import Mapping
from dataclasses import fields, replace
from ipaddress import IPv4Network
from xml.etree import ElementTree as ET

from hypothesis import given, strategies as st
import pytest

from custom_components.bypass_router.path_image.labels import Labels, labels_of
from custom_components.bypass_router.path_image.model import Situation, model_of
from custom_components.bypass_router.path_image.svg import PathModel, Role, State, draw
from custom_components.bypass_router.router.doctor.report import (
    Cause,
    Check,
    Diagnosis,
    Status,
    Step,
)
from custom_components.bypass_router.router.forward import Forward

from .sentences import translations
from .test_translations import LANGUAGES

WEB = Forward.parse(
    "web",
    protocol="tcp",
    external_port="8443",
    target="192.168.50.10",
    target_port="443",
)


def labels(language: str) -> Labels:
    """Return the labels in a language."""
    return labels_of(lambda key: translations(language)[f"exceptions.{key}.message"])


SITUATION = Situation(
    "Web", WEB, "192.168.50.2", connected=True, on=True, labels=labels("en")
)
# Of client to main router, on to the bypass router, and on to the target.
OK, FAILED, UNKNOWN = State.OK, State.FAILED, State.UNKNOWN


def diagnosed(**statuses: str) -> Diagnosis:
    """Return a diagnosis of these checks; what failed has some cause."""
    return Diagnosis(
        tuple(
            Check(Step(name), Status(status), Cause.NO_ROUTE)
            if status == "failed"
            else Check(Step(name), Status(status))
            for name, status in statuses.items()
        )
    )


def segments(diagnosis: Diagnosis | None) -> list[State]:
    """Return how the hops are shown after a diagnosis."""
    return [
        segment.state
        for segment in model_of(replace(SITUATION, diagnosis=diagnosis)).segments
    ]


def nodes(situation: Situation) -> Mapping[Role, State]:
    """Return how the stations are shown."""
    return {each.role: each.state for each in model_of(situation).nodes}


def drawn(model: PathModel) -> list[str]:
    """Return the texts of the picture."""
    return ["".join(node.itertext()) for node in ET.fromstring(draw(model)).iter()][1:]  # noqa: S314 - our own


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
    forward = replace(
        WEB, sources=(IPv4Network("192.0.2.7/32"), IPv4Network("198.51.100.0/24"))
    )
    texts = drawn(model_of(replace(SITUATION, forward=forward)))
    assert "192.0.2.7, 198.51.100.0/24" in texts


def test_nothing_is_green_that_was_not_proved() -> None:
    """The switch alone proves the bypass router's rules, and no packet."""
    assert segments(None) == [UNKNOWN, UNKNOWN, UNKNOWN]
    assert nodes(SITUATION) == {
        Role.CLIENT: UNKNOWN,
        Role.MAIN: UNKNOWN,
        Role.BYPASS: OK,
        Role.TARGET: UNKNOWN,
    }
    assert segments(diagnosed(rules="ok", target="ok", port="unknown"))[2] is UNKNOWN
    assert segments(diagnosed(rules="ok", port="skipped"))[2] is UNKNOWN


def test_a_diagnosis_colours_the_hop_that_it_is_about() -> None:
    """Green up to the fault, red at it, and grey behind it."""
    assert segments(diagnosed(port="ok")) == [UNKNOWN, UNKNOWN, OK]
    assert segments(diagnosed(port="ok", arrival="failed")) == [UNKNOWN, FAILED, OK]
    assert segments(diagnosed(port="failed")) == [UNKNOWN, UNKNOWN, FAILED]
    assert segments(diagnosed(port="ok", arrival="ok", visit="failed")) == [
        OK,
        OK,
        FAILED,
    ]
    assert segments(diagnosed(port="ok", arrival="ok", visit="ok")) == [OK, OK, OK]
    assert segments(diagnosed(rules="failed")) == [UNKNOWN, UNKNOWN, UNKNOWN]
    broken = replace(SITUATION, diagnosis=diagnosed(rules="failed"))
    assert nodes(broken)[Role.BYPASS] is FAILED


@pytest.mark.parametrize("step", Step)
def test_a_failed_step_is_red_somewhere(step: Step) -> None:
    """None is forgotten, also of those that come later."""
    situation = replace(SITUATION, diagnosis=diagnosed(**{step.value: "failed"}))
    model = model_of(situation)
    shown = [
        model.state,
        *nodes(situation).values(),
        *(h.state for h in model.segments),
    ]
    assert shown.count(FAILED) >= 2


def test_the_live_state_goes_before_the_diagnosis() -> None:
    """A forward that is off, or a router that is away, was never as well as before."""
    well = diagnosed(rules="ok", target="ok", port="ok", arrival="ok", visit="ok")
    situation = replace(SITUATION, diagnosis=well)
    assert model_of(situation).word == "Works"
    off = model_of(replace(situation, on=False))
    assert (off.word, off.state) == ("Off", UNKNOWN)
    away = replace(situation, connected=False)
    assert model_of(away).word == "Not reachable"
    assert nodes(away)[Role.BYPASS] is FAILED
    for model in (off, model_of(away)):
        assert {segment.state for segment in model.segments} == {UNKNOWN}


def test_each_state_is_told_by_shape_and_word_too() -> None:
    """No one has to tell red from green."""
    seen = {
        state: draw(model_of(replace(SITUATION, diagnosis=diagnosed(port=status))))
        for state, status in ((OK, "ok"), (FAILED, "failed"), (UNKNOWN, "unknown"))
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


@pytest.mark.parametrize("language", LANGUAGES)
def test_it_speaks_each_language(language: str) -> None:
    """Of all words, none in English but in English."""
    words = labels(language)
    model = model_of(replace(SITUATION, labels=words, language=language))
    assert words.main_router in drawn(model)
    assert f'xml:lang="{language}"' in draw(model)
    if language != "en":
        for field in fields(Labels):
            assert getattr(words, field.name) != getattr(labels("en"), field.name)


@given(st.text(), st.text())
def test_whatever_it_is_called_the_picture_is_well_formed(
    title: str, remark: str
) -> None:
    """And nothing becomes part of the drawing that was only a name."""
    situation = replace(
        SITUATION, title=title, remark=remark, diagnosis=diagnosed(port="failed")
    )
    plain = replace(situation, title="Web", remark="x")
    tags = {node.tag for node in ET.fromstring(draw(model_of(situation))).iter()}  # noqa: S314
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


def test_what_is_wrong_stands_below_in_lines_of_its_own() -> None:
    """Nothing of it is lost, and the picture grows with it."""
    remark = "The device 192.168.50.10 refuses connections at port 443. " * 2
    bad = replace(SITUATION, diagnosis=diagnosed(port="failed"), remark=remark)
    texts = drawn(model_of(bad))
    assert remark.split() == " ".join(texts[-4:]).split()[-len(remark.split()) :]
    well = model_of(SITUATION)
    height = ET.fromstring(draw(well)).get("height")  # noqa: S314
    taller = ET.fromstring(draw(model_of(bad))).get("height")  # noqa: S314
    assert float(taller or 0) > float(height or 0)
