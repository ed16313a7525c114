"""What the user reads: the translations, and the sentences of a form."""

from collections.abc import Iterator, Mapping
from functools import cache
import json
from pathlib import Path
from typing import Any

from homeassistant.data_entry_flow import section
import voluptuous as vol

FOLDER = Path(__file__).parents[1] / "custom_components/bypass_router/translations"


@cache
def translations(language: str = "en") -> dict[str, str]:
    """Return a language's texts, each under its path such as `config.error.unknown`."""
    text = (FOLDER / f"{language}.json").read_text(encoding="utf-8")
    return dict(_flat("", json.loads(text)))


def _flat(path: str, node: Any) -> Iterator[tuple[str, str]]:
    if isinstance(node, str):
        yield path, node
        return
    for key, child in node.items():
        yield from _flat(f"{path}.{key}" if path else key, child)


def said(result: Mapping[str, Any], section: str = "config") -> dict[str, str]:
    """Return a form's sentences by field, `base` among them, and its `description`.

    Fails if one is not translated, or lacks a word.
    """
    words = result["description_placeholders"] or {}
    paths = {"description": f"step.{result['step_id']}.description"}
    paths |= {field: f"error.{key}" for field, key in (result["errors"] or {}).items()}
    return {
        field: translations()[f"{section}.{path}"].format(**words)
        for field, path in paths.items()
    }


def typed(result: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a form shows in its fields, beside the defaults."""
    return _typed(result["data_schema"])


def _typed(schema: vol.Schema) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for marker, value in schema.schema.items():
        if isinstance(value, section):
            found |= _typed(value.schema)
        elif marker.description:
            found[marker.schema] = marker.description["suggested_value"]
    return found
