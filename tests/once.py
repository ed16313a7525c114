"""What Home Assistant's pytest plugin makes for each test, made once for all of them.

To replace a class's methods, and put them back, takes longer than many a test.
"""

from inspect import unwrap

import pytest
from pytest_homeassistant_custom_component import plugins

disable_http_server = pytest.fixture(autouse=True, scope="session")(
    unwrap(plugins.disable_http_server)
)
