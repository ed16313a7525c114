"""The texts: complete in each language, and with the words that the code gives."""

import ast
from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
import re
from string import Formatter
from typing import Final

from homeassistant.data_entry_flow import section
import pytest
import voluptuous as vol

from custom_components.bypass_router.diagnosis.texts import Texts
from custom_components.bypass_router.flows import (
    forward as forward_flow,
    options as options_flow,
)
from custom_components.bypass_router.flows.address import ROUTER_SCHEMA
from custom_components.bypass_router.flows.sign_in import CREDENTIALS_SCHEMA
from custom_components.bypass_router.router import errors
from custom_components.bypass_router.router.errors import RouterError

from .readmes import GUIDES, READMES, read
from .sentences import FOLDER, translations

LANGUAGES = ["en", "ja", "zh-Hans"]
OTHERS = [language for language in LANGUAGES if language != "en"]
# What is a word of the other language as well, such as "Internet" in German.
SAME: dict[str, set[str]] = {}
INTEGRATION = Path(errors.__file__).parents[1]
FORMS = {
    "config.step.user": ROUTER_SCHEMA,
    "config.step.credentials": CREDENTIALS_SCHEMA,
    "config.step.reauth_confirm": CREDENTIALS_SCHEMA,
    "config.step.reconfigure_credentials": CREDENTIALS_SCHEMA,
    "config.step.new_host_key": CREDENTIALS_SCHEMA,
    "config_subentries.forward.step.user": forward_flow.NEW_SCHEMA,
    "config_subentries.forward.step.reconfigure": forward_flow.SCHEMA,
    "config_subentries.forward.step.confirm": forward_flow.QUESTION_SCHEMA,
    "config_subentries.forward.step.obstacles": forward_flow.QUESTION_SCHEMA,
    "options.step.init": options_flow.OPTIONS_SCHEMA,
}


def words(text: str) -> set[str]:
    """Return the names of a text's placeholders."""
    return {name for _, name, _, _ in Formatter().parse(text) if name is not None}


def faults(kind: type[RouterError] = RouterError) -> Iterator[type[RouterError]]:
    """Return each class of what can go wrong."""
    yield kind
    for narrower in narrower_than(kind):
        yield from faults(narrower)


def narrower_than(kind: type[RouterError]) -> list[type[RouterError]]:
    """Return the classes of a kind of fault that anyone else is told of."""
    return [each for each in kind.__subclasses__() if not each.__name__.startswith("_")]


# Met when there are forwards, and no form of a router's is open.
LATER: Final = {
    "PortTaken",
    "TargetTaken",
    "NotSaved",
    "DiskFull",
    "DiskReadOnly",
    "NotLoaded",
    "BootFileRefused",
    "BootFileLeft",
    "NoInitSystem",
    "BootNeedsRoot",
}


@cache
def given() -> Mapping[str, set[str]]:
    """Return, by a fault's class, the words that it has wherever it is raised."""
    found: dict[str, set[str]] = {}
    for path in INTEGRATION.rglob("*.py"):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        for fault, details in raised(tree):
            found[fault] = found.get(fault, details) & details
    return found


def raised(tree: ast.Module) -> Iterator[tuple[str, set[str]]]:
    """Return each fault that a module raises, with its words."""
    kinds = {fault.__name__ for fault in faults()}
    dicts = {
        node.targets[0].id: {ast.literal_eval(key) for key in node.value.keys if key}
        for node in ast.walk(tree)
        if isinstance(node, ast.Assign)
        and isinstance(node.targets[0], ast.Name)
        and isinstance(node.value, ast.Dict)
        and all(isinstance(key, ast.Constant) for key in node.value.keys)
    }
    for node in ast.walk(tree):
        match node:
            case ast.Raise(exc=ast.Name(id=name)) if name in kinds:
                yield name, set()
            case ast.Call(func=ast.Name(id=name), keywords=keywords) if name in kinds:
                yield (
                    name,
                    {keyword.arg for keyword in keywords if keyword.arg}.union(
                        *(
                            dicts[keyword.value.id]
                            for keyword in keywords
                            if isinstance(keyword.value, ast.Name) and not keyword.arg
                        )
                    ),
                )


def test_these_are_all_the_languages() -> None:
    """No language goes unchecked by the tests below."""
    assert {path.stem for path in FOLDER.glob("*.json")} == set(LANGUAGES)


@pytest.mark.parametrize("language", OTHERS)
def test_each_language_says_what_english_says(language: str) -> None:
    """The same texts are there, with the same words to fill in."""
    english = {key: words(text) for key, text in translations("en").items()}
    assert {key: words(text) for key, text in translations(language).items()} == english


@pytest.mark.parametrize("language", OTHERS)
def test_nothing_was_left_in_english(language: str) -> None:
    """Only the names of protocols are the same in all languages; `SAME` has others."""
    english = translations("en")
    same = {key for key, text in translations(language).items() if text == english[key]}
    options = "selector.protocol.options"
    allowed = {f"{options}.tcp", f"{options}.udp"}
    assert same == allowed | SAME.get(language, set())


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_texts_are_plain(language: str) -> None:
    """No address of a page, no HTML; nothing that a form would show as it stands."""
    for key, text in translations(language).items():
        assert not re.search(r"https?:|www\.|<|>|&\w+;|\[%", text), key
        # The frontend takes a quoted placeholder for the text itself.
        assert not re.search(r"'\{|\}'", text), key
        assert text == text.strip(), key
        assert text, key


# By language, words for what is called by another one everywhere else.
STRAY: Final = {
    "ja": {"修理": "修復", "クライアント": "接続元"},
    "zh-Hans": {"你": "您", "条转发": "个转发"},
}


@pytest.mark.parametrize(
    ("language", "word"), [(it, word) for it, found in STRAY.items() for word in found]
)
def test_each_thing_has_one_name(language: str, word: str) -> None:
    """In the forms, the messages and the README."""
    assert word not in read(READMES[language]) + read(GUIDES[language])
    assert [key for key, text in translations(language).items() if word in text] == []


@pytest.mark.parametrize("language", LANGUAGES)
def test_nothing_is_said_twice_in_a_row(language: str) -> None:
    """As a sentence is that was pasted once more."""
    for key, text in translations(language).items():
        assert not re.search(r"(.{9,}[ 、。，；])\1", text), key


@pytest.mark.parametrize("fault", list(faults()))
def test_each_fault_has_its_sentence(fault: type[RouterError]) -> None:
    """In the form and after it, and only with words that the fault always has."""
    have = given().get(fault.__name__, set())
    later = translations()[f"exceptions.{fault.key}.message"]
    assert words(later) <= have
    if fault.__name__ in LATER:
        assert f"config.error.{fault.key}" not in translations()
        return
    in_form = translations()[f"config.error.{fault.key}"]
    assert words(later) == words(in_form)
    assert in_form != later


def test_no_two_kinds_of_fault_share_a_sentence() -> None:
    """Each class has a key of its own, but for those that only group others."""
    kinds = [fault for fault in faults() if not narrower_than(fault)]
    assert len({fault.key for fault in kinds}) == len(kinds)
    english = list(translations().values())
    sentences = [
        translations()[
            f"exceptions.{fault.key}.message"
            if fault.__name__ in LATER
            else f"config.error.{fault.key}"
        ]
        for fault in kinds
    ]
    assert all(english.count(text) == 1 for text in sentences)


def check_fields(schema: vol.Schema, path: str) -> None:
    """Check the texts of a form's fields, or of those of a part of it."""
    parts = {
        marker.schema: value
        for marker, value in schema.schema.items()
        if isinstance(value, section)
    }
    fields = {marker.schema for marker in schema.schema} - parts.keys()
    for texts in ("data", "data_description"):
        prefix = f"{path}.{texts}."
        found = {
            key.removeprefix(prefix) for key in translations() if key.startswith(prefix)
        }
        assert found == fields
    for name, part in parts.items():
        assert translations()[f"{path}.sections.{name}.name"]
        assert translations()[f"{path}.sections.{name}.description"]
        check_fields(part.schema, f"{path}.sections.{name}")


@pytest.mark.parametrize("step", FORMS)
def test_each_field_is_named_and_explained(step: str) -> None:
    """And no text is there for a field that is not."""
    check_fields(FORMS[step], step)
    assert translations()[f"{step}.title"]
    assert translations()[f"{step}.description"]


# How each repair begins: where there are two routers, one knows which it is about.
NAMED: Final = {
    "en": "Router {router}: ",
    "ja": "ルーター {router}: ",
    "zh-Hans": "路由器 {router}：",
}
# What a program of the router said, in the marks of a quotation.
_QUOTED: Final = re.compile(r"[“「]\{(?:message|output)\}[”」]")


@pytest.mark.parametrize("language", LANGUAGES)
def test_each_repair_names_its_router_first(language: str) -> None:
    """As there may be more than one."""
    titles = {
        key: text
        for key, text in translations(language).items()
        if re.fullmatch(r"issues\.\w+\.title", key)
    }
    assert titles
    assert [k for k, it in titles.items() if not it.startswith(NAMED[language])] == []


@pytest.mark.parametrize("language", LANGUAGES)
def test_no_sentence_is_a_list_of_names_and_values(language: str) -> None:
    """Such as (port: 22), which is for programs."""
    for key, text in translations(language).items():
        assert not re.search(r"[(（][^()（）]*[:：=] ?\{", text), key


def of_faults(language: str) -> Iterator[tuple[str, str]]:
    """Yield each text about a fault, with its key."""
    for fault in faults():
        for key in (f"exceptions.{fault.key}.message", f"config.error.{fault.key}"):
            if key in translations(language):
                yield key, translations(language)[key]


@pytest.mark.parametrize("language", LANGUAGES)
def test_what_the_router_said_is_a_quotation(language: str) -> None:
    """It is in no one's language, and no sentence of ours."""
    for key, text in of_faults(language):
        assert not words(_QUOTED.sub("", text)) & {"message", "output"}, key


def test_no_sentence_has_the_words_of_python_or_of_a_library() -> None:
    """What they mean is a kind of its own; they are for the log."""
    for path in INTEGRATION.rglob("*.py"):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        kinds = {fault.__name__: fault for fault in faults()}
        for node in ast.walk(tree):
            if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Name):
                continue
            if fault := kinds.get(node.func.id):
                theirs = {it.arg for it in node.keywords if it.arg and from_python(it)}
                text = translations()[f"exceptions.{fault.key}.message"]
                assert not words(text) & theirs, (path, node.lineno)


def from_python(keyword: ast.keyword) -> bool:
    """Return whether a word is made of an exception, or of an error's number."""
    text = ast.unparse(keyword.value)
    return bool(re.search(r"\bstr\(err|\bstrerror\b|\b_reason\(", text))


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_first_sentence_about_a_fault_says_what_failed(language: str) -> None:
    """It stands alone in a diagnosis; what it means, and what to do, come after it."""
    prefix, suffix = "exceptions.", ".message"
    texts = Texts(
        {
            key.removeprefix(prefix).removesuffix(suffix): text
            for key, text in translations(language).items()
            if key.startswith(prefix)
        }
    )
    for fault in faults():
        given_words = {word: f"[{word}]" for word in given().get(fault.__name__, set())}
        whole = texts.get(fault.key, **given_words)
        first = texts.what_failed(fault.key, **given_words)
        assert first, fault
        assert first.endswith((".", "。"))
        assert whole.startswith(first)
        assert len(whole) > len(first) + 5, fault


def test_a_number_is_followed_by_what_is_right_for_one_and_for_many() -> None:
    """By a unit; or by a plural, where there is a sentence for one."""
    sections = re.compile(r"(issues|config)\.|exceptions\.(?!cause|diagnosis|reason)")
    plural = re.compile(r"\{(?:count|number|minutes|seconds)\} [a-z]{2,}s\b")
    for key, text in translations().items():
        if sections.match(key) and plural.search(text):
            one = key.split(".")[1].removesuffix("_many") + "_one"
            # More than a screen holds, and of something else than what is counted.
            many = key == "issues.waiting_many.description"
            assert many or f"issues.{one}.title" in translations(), key
