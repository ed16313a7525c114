"""What all tests share."""

from importlib import import_module
import os
from pathlib import Path

from hypothesis import settings
import pytest

from tests import plugin

pytest_plugins = ["tests.summary"]

_OF_THOSE_THAT_RUN_TESTS = (
    "pytest_homeassistant_custom_component.plugins",
    "tests.once",
    "tests.journey",
    "tests.failures",
    "tests.lab.fixtures",
    "tests.live.fixtures",
)

# Time per example depends on what else the machine does. CI draws the same ones
# each time; a developer's machine is where new ones are found.
for name, examples in (("tests", 60), ("fast", 10)):
    settings.register_profile(
        name, deadline=None, max_examples=examples, derandomize="CI" in os.environ
    )
settings.load_profile("tests")


def pytest_addoption(parser: pytest.Parser) -> None:
    """Take which walks are walked, and how far; see `journey.py`."""
    group = parser.getgroup("walks")
    group.addoption("--seed", type=int, default=0, help="walk elsewhere")
    group.addoption("--steps", type=int, default=300, help="of each walk")


def pytest_configure(config: pytest.Config) -> None:
    """Load what tests need, unless others run them.

    Home Assistant is a few seconds' work, and with `-n` the process that only hands
    out tests has to be through with it before those that run them begin.
    """
    if runs_tests(config):
        plugin.adapt()
        for name in _OF_THOSE_THAT_RUN_TESTS:
            config.pluginmanager.import_plugin(name)
        # An option of Home Assistant's plugin, which comes too late to be asked for it.
        config.option.drop_existing_db = None


@pytest.hookimpl(trylast=True)
def pytest_sessionstart(session: pytest.Session) -> None:
    """Import the integration, or Home Assistant does not find it.

    It is late, so that the lines that are run by this count as covered.
    """
    if runs_tests(session.config):
        import_module("custom_components.bypass_router")


def runs_tests(config: pytest.Config) -> bool:
    """Return whether tests are run here, and not handed out to other processes."""
    return bool(config.getoption("dist", "no") == "no")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with what takes long, so that no one waits for it alone in the end."""
    items.sort(key=lambda item: item.get_closest_marker("long") is None)


@pytest.fixture
def hass_config_dir(tmp_path: Path) -> str:
    """Let Home Assistant write into a folder of the test's own."""
    return str(tmp_path)


@pytest.fixture(autouse=True)
def enable_event_loop_debug() -> None:
    """Leave asyncio's debug mode to PYTHONASYNCIODEBUG; the plugin has it always.

    It takes note of the whole stack at each future, which is half of the time that a
    test in the lab works.
    """


@pytest.fixture
def states_seldom() -> None:
    """Let a busy forward's sensors write states as seldom as users have it."""


@pytest.fixture(autouse=True)
def _counted_at_once(
    request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Have what was counted told at once, unless a test is about when."""
    if {"hass", "states_seldom"}.intersection(request.fixturenames) == {"hass"}:
        sensor = import_module("custom_components.bypass_router.sensor")
        monkeypatch.setattr(sensor, "STATE_INTERVAL", 0.0)


@pytest.fixture(autouse=True)
def _custom_integrations(request: pytest.FixtureRequest) -> None:
    """Let Home Assistant see the integration, in tests that have one."""
    if "hass" in request.fixturenames:
        request.getfixturevalue("enable_custom_integrations")
