"""The lab for pytest: `pytest_plugins = ["tests.lab.fixtures"]`."""

from collections.abc import Iterator
from contextlib import suppress

import pytest
import pytest_socket

from .bypass import RouterOptions
from .miniupnpd import Miniupnpd, MiniupnpdOptions
from .network import NETWORKS, Lab
from .requirements import LabUnavailable
from .user_namespace import gain


def pytest_configure(config: pytest.Config) -> None:
    """Register the marker."""
    config.addinivalue_line("markers", "lab: needs the network in namespaces")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark each test that uses the lab."""
    for item in items:
        if "lab" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.lab)


def pytest_collection_finish(session: pytest.Session) -> None:
    """Get the rights that the lab needs, while there is a single thread."""
    if any(item.get_closest_marker("lab") for item in session.items):
        # Where it fails, the tests will say so.
        with suppress(LabUnavailable):
            gain()


@pytest.fixture
def router_options() -> RouterOptions:
    """How the bypass router is set up; override or parametrize it by its name."""
    return RouterOptions()


@pytest.fixture
def lab(router_options: RouterOptions) -> Iterator[Lab]:
    """A lab of this test's own, new."""
    # Home Assistant's plugin forbids all sockets before each test.
    pytest_socket.enable_socket()
    pytest_socket.socket_allow_hosts(["127.0.0.1", *NETWORKS], allow_unix_socket=True)
    with build(router_options) as lab:
        yield lab


@pytest.fixture
def at_home(lab: Lab) -> Iterator[Lab]:
    """The lab, with the test itself in Home Assistant's place of the network."""
    with lab.home.enter():
        yield lab


@pytest.fixture
def miniupnpd_options() -> MiniupnpdOptions:
    """How the main router's daemon is set up; override it, or see `having`."""
    return MiniupnpdOptions()


@pytest.fixture
def miniupnpd(lab: Lab, miniupnpd_options: MiniupnpdOptions) -> Iterator[Miniupnpd]:
    """The main router's own daemon, started; nothing else forwards there."""
    daemon = Miniupnpd(lab.main, miniupnpd_options)
    daemon.start()
    yield daemon
    daemon.stop()


def having(options: MiniupnpdOptions) -> pytest.MarkDecorator:
    """Set miniupnpd up otherwise for a test."""
    return pytest.mark.parametrize("miniupnpd_options", [options])


def build(options: RouterOptions) -> Lab:
    """Build a lab, or skip the test with the reason."""
    try:
        return Lab(options)
    except LabUnavailable as error:
        pytest.skip(str(error))
