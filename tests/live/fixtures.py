"""Home Assistant for pytest: `pytest_plugins = ["tests.live.fixtures"]`."""

from collections.abc import Iterator
from dataclasses import dataclass
from typing import override

import pytest
import pytest_socket

from tests.lab.bypass import RouterOptions
from tests.lab.fixtures import build
from tests.lab.network import NETWORKS, Lab
from tests.lab.witness import Witness

from .flows import Flows
from .instance import HomeAssistant


@dataclass(frozen=True)
class Live(Witness):
    """A network, and Home Assistant in it."""

    lab: Lab
    home_assistant: HomeAssistant

    @property
    def flows(self) -> Flows:
        """The forms of our integration."""
        return Flows(self.home_assistant)

    @override
    def witness(self) -> Iterator[tuple[str, str]]:
        """Yield what the router and Home Assistant have logged, each with a title."""
        yield from self.lab.witness()
        yield "Home Assistant's log", self.home_assistant.log()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark each test that uses a Home Assistant; that needs the lab too."""
    for item in items:
        if "live" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.live)
        if item.get_closest_marker("live") is not None:
            item.add_marker(pytest.mark.lab)
        if "live_of_module" in getattr(item, "fixturenames", ()):
            # Several processes would each boot one of their own.
            item.add_marker(pytest.mark.xdist_group(item.path.name))


@pytest.fixture(scope="module")
def live_of_module() -> Iterator[Live]:
    """Boot once for all tests of a module."""
    pytest_socket.enable_socket()
    with build(RouterOptions()) as lab, HomeAssistant(lab.home) as home_assistant:
        yield Live(lab, home_assistant)


@pytest.fixture
def live(live_of_module: Live) -> Live:
    """A lab and a Home Assistant that runs in it, as the test before left them."""
    # Home Assistant's plugin forbids all sockets before each test.
    pytest_socket.enable_socket()
    pytest_socket.socket_allow_hosts(["127.0.0.1", *NETWORKS], allow_unix_socket=True)
    return live_of_module
