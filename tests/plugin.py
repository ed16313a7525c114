"""Home Assistant's test plugin beside a newer Home Assistant than it is made for.

It comes out after each Home Assistant, and pins it. Until then, what it can't do
without is here; pyproject.toml has uv pass over the pins, and pytest over the plugin of
respx. tests/test_versions.py says when all that can go.
"""

from importlib import import_module
from importlib.metadata import requires, version
from typing import Any

from packaging.requirements import Requirement

PLUGIN = "pytest_homeassistant_custom_component"
# A name that the plugin imports, where it looks for it and where it has moved to.
MOVED = "_clear_logger_overwrites"
_LOGGER = "homeassistant.components.logger"


def is_made_for_this() -> bool:
    """Return whether the plugin is made for the Home Assistant that is installed."""
    pins = (Requirement(text) for text in requires(PLUGIN) or [])
    return any(
        pin.name == "homeassistant" and version(pin.name) in pin.specifier
        for pin in pins
    )


def adapt() -> None:
    """Make the plugin importable, unless it is so; nothing may have imported httpx."""
    if is_made_for_this():
        return
    # It puts httpx2 in the place of httpx, which the plugin imports first.
    import_module("homeassistant")
    # What it replaces, it replaces before anything else of Home Assistant's is there.
    for name in ("patch_json", "patch_recorder", "patch_time"):
        import_module(f"{PLUGIN}.{name}")
    moved = getattr(import_module(f"{_LOGGER}.helpers"), MOVED)
    setattr(import_module(_LOGGER), MOVED, moved)


def find_restored(hass: Any) -> None:
    """Let a newer Home Assistant find what the plugin put among its restored states.

    It looks for a registered entity by the id of its entry.
    """
    if is_made_for_this():
        return
    # Not at the top, since `adapt` is to come first.
    registry = import_module("homeassistant.helpers.entity_registry").async_get(hass)
    restore_state = import_module("homeassistant.helpers.restore_state")
    cache = vars(hass.data[restore_state.DATA_RESTORE_STATE])
    for entity_id, stored in cache["last_states"].items():
        if entry := registry.async_get(entity_id):
            cache["last_states_by_entity_registry_id"][entry.id] = stored
