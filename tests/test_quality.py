"""What Home Assistant's quality scale, HACS and GitHub ask of the files here."""

import ast
from collections.abc import Iterator
from functools import cache
from importlib import import_module
from inspect import getsource
import json
from pathlib import Path
import re
import struct
import subprocess
import sys
import tomllib
from typing import Any
from zipfile import ZipFile

import hass_frontend
import homeassistant.components as core
import homeassistant.exceptions
from homeassistant.helpers.entity import Entity
from homeassistant.util.yaml import load_yaml_dict
import pytest

from custom_components.bypass_router import PLATFORMS
from custom_components.bypass_router.router.errors import BootFileRefused
from custom_components.bypass_router.storage import NotSaved

from .sentences import translations

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "custom_components/bypass_router"
MODULES = sorted(FOLDER.rglob("*.py"))
WORKFLOWS = sorted((ROOT / ".github/workflows").glob("*.yml"))
SCALE = FOLDER / "quality_scale.yaml"
FORMS = [
    key.removesuffix(".title")
    for key in translations()
    if re.search(r"\.step\.\w+\.title$", key)
]


def read_json(path: Path) -> dict[str, Any]:
    """Return what a JSON file holds."""
    found: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
    return found


@cache
def parsed(path: Path) -> ast.Module:
    """Return a module of Python as a tree."""
    return ast.parse(path.read_text(encoding="utf-8"))


def named(path: Path) -> str:
    """Return a module's path as a test is named by it."""
    return path.relative_to(ROOT).with_suffix("").as_posix()


def keys_below(path: str) -> set[str]:
    """Return the next words of the translations' paths that begin with this one."""
    return {
        key.removeprefix(f"{path}.").split(".")[0]
        for key in translations()
        if key.startswith(f"{path}.")
    }


def constants(node: ast.AST) -> Iterator[str]:
    """Return the texts that an expression can become."""
    match node:
        case ast.Constant(value=str(text)):
            yield text
        case ast.IfExp():
            yield from constants(node.body)
            yield from constants(node.orelse)
        case ast.Call(func=ast.Name(id="_numbered"), args=[ast.Constant(str(text)), _]):
            yield from (f"{text}_one", text, f"{text}_many")
        case ast.Attribute(value=ast.Name(id="err"), attr="key"):
            yield from (NotSaved.key, *(kind.key for kind in NotSaved.__subclasses__()))
        case ast.Attribute(value=ast.Name(id="fault"), attr="key"):
            yield BootFileRefused.key
            yield from (kind.key for kind in BootFileRefused.__subclasses__())


def calls(path: Path) -> Iterator[tuple[str, ast.Call]]:
    """Return each call in a module, with the last part of what is called."""
    for node in ast.walk(parsed(path)):
        match node:
            case ast.Call(func=ast.Name(id=name) | ast.Attribute(attr=name)):
                yield name, node


def given(call: ast.Call, argument: str) -> set[str]:
    """Return the texts that a call can get as this argument."""
    return {
        text
        for keyword in call.keywords
        if keyword.arg == argument
        for text in constants(keyword.value)
    }


# The quality scale.


def rules() -> dict[str, dict[str, str]]:
    """Return how each rule is graded, and why."""
    found: dict[str, Any] = load_yaml_dict(str(SCALE))["rules"]
    return {
        rule: grade if isinstance(grade, dict) else {"status": grade}
        for rule, grade in found.items()
    }


def test_every_rule_is_graded_once() -> None:
    """Those that Home Assistant's own integrations grade, and no others."""
    theirs = Path(core.__file__).parent / "ntfy/quality_scale.yaml"
    text = SCALE.read_text(encoding="utf-8")
    named = re.findall(r"^  ([\w-]+):", text, flags=re.MULTILINE)
    assert sorted(named) == sorted(load_yaml_dict(str(theirs))["rules"])


@pytest.mark.parametrize(("rule", "grade"), rules().items(), ids=list(rules()))
def test_a_grade_that_is_not_plain_has_its_reason(
    rule: str, grade: dict[str, str]
) -> None:
    """An exemption, or what is left to do; what is documented says where."""
    assert grade["status"] in ("done", "exempt", "todo")
    if grade["status"] != "done" or rule.startswith("docs-"):
        assert grade["comment"]


@pytest.mark.parametrize(
    ("rule", "heading"),
    [
        (rule, grade["comment"].removeprefix("README: "))
        for rule, grade in rules().items()
        if rule.startswith("docs-") and grade["status"] == "done"
    ],
)
def test_what_is_documented_stands_in_the_readme(rule: str, heading: str) -> None:
    """Under the heading that the grade names."""
    lines = (ROOT / "README.md").read_text(encoding="utf-8").splitlines()
    assert heading in [line.lstrip("#").strip() for line in lines if line[:1] == "#"]


def test_actions_are_graded_if_there_are_any() -> None:
    """The exemption ends when the first action comes."""
    there = (FOLDER / "services.yaml").exists()
    for rule in ("action-setup", "docs-actions"):
        assert (rules()[rule]["status"] == "exempt") is not there


# Texts and icons.


def icons(node: Any) -> Iterator[str]:
    """Return each icon that is named."""
    if isinstance(node, str):
        yield node
    else:
        for child in node.values():
            yield from icons(child)


def test_the_frontend_has_each_icon() -> None:
    """A name that it does not know would show nothing."""
    listed = json.loads(
        (hass_frontend.where() / "static/mdi/iconList.json").read_text()
    )
    known = {f"mdi:{icon['name']}" for icon in listed}
    assert set(icons(read_json(FOLDER / "icons.json"))) <= known


def entity_classes(platform: str) -> Iterator[type[Entity]]:
    """Return the classes of a platform's own entities, but for their common bases."""
    module = import_module(f"custom_components.bypass_router.{platform}")
    for name, kind in vars(module).items():
        if (
            getattr(kind, "__module__", "") == module.__name__
            and not name.startswith("_")
            and isinstance(kind, type)
            and issubclass(kind, Entity)
        ):
            yield kind


def translation_keys(kind: type[Entity]) -> Iterator[str]:
    """Return the keys that a class gives its entities."""
    for part in ast.walk(ast.parse(getsource(kind))):
        match part:
            case ast.Assign(targets=[ast.Name(id="_attr_translation_key")]):
                yield from constants(part.value)
            case ast.Call(func=ast.Attribute(attr="__init__"), args=args):
                for argument in args:
                    yield from constants(argument)


@pytest.mark.parametrize("platform", PLATFORMS)
def test_each_entity_has_a_translated_name_and_an_icon(platform: str) -> None:
    """And no name or icon is there for an entity that is not."""
    keys = set()
    for kind in entity_classes(platform):
        own = set(translation_keys(kind))
        assert len(own) == 1, kind.__name__
        keys |= own
    assert keys
    assert read_json(FOLDER / "icons.json")["entity"][platform].keys() == keys
    nameless = {"forward"} if platform == "switch" else set()
    assert keys_below(f"entity.{platform}") | nameless == keys


def test_each_action_has_its_texts_and_its_icon() -> None:
    """In the list of actions, too, nothing shows as a bare key."""
    path = FOLDER / "services.yaml"
    actions = load_yaml_dict(str(path)) if path.exists() else {}
    assert read_json(FOLDER / "icons.json").get("services", {}).keys() == actions.keys()
    assert keys_below("services") == actions.keys()
    for action in actions:
        assert translations()[f"services.{action}.name"]
        assert translations()[f"services.{action}.description"]


@pytest.mark.parametrize("platform", PLATFORMS)
def test_each_platform_says_how_many_may_be_changed_at_once(platform: str) -> None:
    """Home Assistant has another default for each kind of integration."""
    module = import_module(f"custom_components.bypass_router.{platform}")
    assert isinstance(module.PARALLEL_UPDATES, int)


@pytest.mark.parametrize("path", MODULES, ids=named)
def test_each_error_for_the_user_is_translated(path: Path) -> None:
    """Home Assistant's errors have a key, whose sentence is there, and no text."""
    errors = {
        name
        for name, kind in vars(homeassistant.exceptions).items()
        if isinstance(kind, type)
        and issubclass(kind, homeassistant.exceptions.HomeAssistantError)
        # Home Assistant itself says who may not do something; it takes no key.
        and not issubclass(kind, homeassistant.exceptions.Unauthorized)
    } | {"UpdateFailed"}
    for name, call in calls(path):
        if name in errors:
            assert not call.args, f"{path.name}:{call.lineno}"
            named = {keyword.arg for keyword in call.keywords}
            assert "translation_key" in named, f"{path.name}:{call.lineno}"
            assert given(call, "translation_key") <= keys_below("exceptions")
    bare = [
        node.lineno
        for node in ast.walk(parsed(path))
        if isinstance(node, ast.Raise)
        and isinstance(node.exc, ast.Name)
        and node.exc.id in errors
    ]
    assert not bare


def test_each_repair_has_its_texts() -> None:
    """And no texts are left of one that is not."""
    used = {
        key
        for path in MODULES
        for name, call in calls(path)
        if name == "_raise" and path.stem == "issues"
        # Where none is given, it is the issue's own name.
        for key in given(call, "key") or constants(call.args[0])
    }
    assert keys_below("issues") == used


@pytest.mark.parametrize("form", FORMS)
def test_each_field_of_each_form_is_explained(form: str) -> None:
    """Whatever the form: a field has a name and a sentence."""
    assert keys_below(f"{form}.data") == keys_below(f"{form}.data_description")


# What is given to users.


def test_the_manifest_is_as_hassfest_and_hacs_want_it() -> None:
    """The domain, the name, then all in order; it names what must be there."""
    manifest = read_json(FOLDER / "manifest.json")
    assert list(manifest) == [
        "domain",
        "name",
        *sorted(manifest.keys() - {"domain", "name"}),
    ]
    assert manifest["domain"] == FOLDER.name
    assert manifest["codeowners"]
    assert manifest["config_flow"] is True
    assert manifest["integration_type"] == "hub"
    assert manifest["iot_class"] == "local_push"
    assert manifest["issue_tracker"] == f"{manifest['documentation']}/issues"
    assert re.fullmatch(r"\d+\.\d+\.\d+", manifest["version"])
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    assert manifest["requirements"] == project["project"]["dependencies"]
    assert manifest["version"] == project["project"]["version"]


def test_all_say_the_same_oldest_home_assistant() -> None:
    """HACS, the README, and the tests that run with it."""
    hacs = read_json(ROOT / "hacs.json")
    oldest = hacs["homeassistant"]
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
    assert f"homeassistant=={oldest}" in project["dependency-groups"]["oldest"]
    pinned = (ROOT / "scripts/requirements-oldest.txt").read_text().splitlines()
    assert f"homeassistant=={oldest}" in pinned
    assert oldest.endswith(".0")
    readme = (ROOT / "README.md").read_text(encoding="utf-8")
    assert f"Home Assistant {oldest.removesuffix('.0')} or newer" in readme
    # The other names are for those who look for it, in the list of all integrations.
    assert read_json(FOLDER / "manifest.json")["name"].split(" (")[0] == hacs["name"]


def test_hacs_gets_an_archive_with_the_version_of_the_tag(tmp_path: Path) -> None:
    """All that is committed of the integration, and nothing else is changed."""
    archive = tmp_path / str(read_json(ROOT / "hacs.json")["filename"])
    release = ROOT / "scripts/release"
    subprocess.run([sys.executable, release, "v12.3.4"], cwd=tmp_path, check=True)
    committed = subprocess.run(
        ["git", "ls-tree", "-r", "--name-only", f"HEAD:{FOLDER.relative_to(ROOT)}"],
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=True,
    )
    with ZipFile(archive) as files:
        assert sorted(files.namelist()) == sorted(committed.stdout.split())
        manifest = json.loads(files.read("manifest.json"))
    assert manifest["version"] == "12.3.4"
    done = subprocess.run(
        [sys.executable, release, "latest"], cwd=tmp_path, check=False
    )
    assert done.returncode == 2


@pytest.mark.parametrize("dark", ["", "dark_"])
@pytest.mark.parametrize("twice", [1, 2])
def test_the_images_have_the_sizes_that_are_asked_for(twice: int, dark: str) -> None:
    """An icon is a square of 256 pixels, a logo 128 high; and twice that."""
    suffix = "@2x" if twice == 2 else ""
    sizes = {}
    for name in ("icon", "logo"):
        head = (FOLDER / f"brand/{dark}{name}{suffix}.png").read_bytes()[:26]
        assert head.startswith(b"\x89PNG\r\n\x1a\n")
        *size, _, colours = struct.unpack(">IIBB", head[16:])
        assert colours == 6, "it lets its background through"
        sizes[name] = size
    assert sizes["icon"] == [256 * twice, 256 * twice]
    assert sizes["logo"][1] == 128 * twice
    assert sizes["logo"][0] > sizes["logo"][1]


@pytest.mark.parametrize("path", WORKFLOWS, ids=named)
def test_a_workflow_runs_what_was_read_and_may_do_no_more(path: Path) -> None:
    """Actions are named by a commit; what a job may do is said job by job."""
    workflow = load_yaml_dict(str(path))
    assert workflow["permissions"] == {}
    for job in workflow["jobs"].values():
        assert job["permissions"]
        assert job["timeout-minutes"]
        for step in job["steps"]:
            if "uses" in step:
                assert re.fullmatch(r"[\w./-]+@[0-9a-f]{40}", step["uses"])
