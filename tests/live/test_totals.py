"""Home Assistant is killed, and still knows how many connections there were."""

from collections.abc import Iterator
import time

import pytest

from .fixtures import Live

PORT = 8443


@pytest.fixture
def forward(live: Live) -> Iterator[tuple[str, str]]:
    """A forward that is on: its switch, and the sensor of its connections."""
    lab = live.lab
    lab.target.serve("tcp", PORT)
    router = live.flows.add_router(
        lab.bypass.address, password=lab.bypass.root_password
    )
    added = live.flows.add_forward(
        router.entry_id,
        name="Web",
        protocol="tcp",
        external_port=str(PORT),
        target=lab.target.address,
    )
    live.home_assistant.stored_entries(added.subentry_id)
    live.home_assistant.call("switch", "turn_on", entity_id=added.entity_id)
    (sensor,) = (
        entity["entity_id"]
        for entity in live.home_assistant.command("config/entity_registry/list")
        if entity["unique_id"] == f"{added.subentry_id}_connections"
    )
    yield added.entity_id, sensor
    live.flows.remove_router(router.entry_id)
    lab.target.stop_serving()


def come(live: Live, times: int) -> None:
    """Use the forward from the internet."""
    for _ in range(times):
        assert live.lab.internet.exchange("tcp", live.lab.main.wan_address, PORT).passed


def test_no_connection_is_forgotten_by_a_kill(
    live: Live, forward: tuple[str, str]
) -> None:
    """Neither those before it, which no file has, nor those while it was away."""
    switch, sensor = forward
    come(live, 2)
    live.home_assistant.wait_state(sensor, "2")
    live.home_assistant.kill()
    come(live, 3)
    live.home_assistant.start()
    live.home_assistant.wait_state(switch, "on")
    live.home_assistant.wait_state(sensor, "5")


def test_a_restart_of_both_keeps_the_total(
    live: Live, forward: tuple[str, str]
) -> None:
    """What was counted is written down when Home Assistant stops."""
    switch, sensor = forward
    come(live, 4)
    live.home_assistant.wait_state(sensor, "4")
    live.home_assistant.stop()
    live.lab.bypass.reboot()
    live.home_assistant.start()
    live.home_assistant.wait_state(switch, "on", 20)
    come(live, 1)
    live.home_assistant.wait_state(sensor, "5")


def test_the_sensor_never_shows_less_than_before(
    live: Live, forward: tuple[str, str]
) -> None:
    """That would look as if it had begun anew, and be counted twice in statistics."""
    _, sensor = forward
    come(live, 2)
    live.home_assistant.wait_state(sensor, "2")
    live.home_assistant.kill()
    live.home_assistant.start()
    seen: set[str | None] = set()
    deadline = time.monotonic() + 20
    while "2" not in seen and time.monotonic() < deadline:
        seen.add(live.home_assistant.state(sensor))
    assert seen <= {"2", "unknown", "unavailable", None}
    assert "2" in seen
