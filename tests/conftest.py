"""What all tests share."""

import os

from hypothesis import settings
import pytest

# Imported at collection, or Home Assistant does not find the integration.
import custom_components.bypass_router

pytest_plugins = ["tests.lab.fixtures", "tests.live.fixtures", "tests.summary"]

assert custom_components.bypass_router.__doc__

# Time per example depends on what else the machine does. CI draws the same ones
# each time; a developer's machine is where new ones are found.
for name, examples in (("tests", 60), ("fast", 10)):
    settings.register_profile(
        name, deadline=None, max_examples=examples, derandomize="CI" in os.environ
    )
settings.load_profile("tests")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with what takes minutes, so that nobody waits for it alone in the end."""
    items.sort(key=lambda item: item.get_closest_marker("timeout") is None)


@pytest.fixture(autouse=True)
def enable_event_loop_debug() -> None:
    """Leave asyncio's debug mode to PYTHONASYNCIODEBUG; the plugin has it always.

    It takes note of the whole stack at each future, which is half of the time that a
    test in the lab works.
    """


@pytest.fixture(autouse=True)
def _custom_integrations(request: pytest.FixtureRequest) -> None:
    """Let Home Assistant see the integration, in tests that have one."""
    if "hass" in request.fixturenames:
        request.getfixturevalue("enable_custom_integrations")
