"""Home Assistant is killed, and still knows how many connections there were."""

from collections.abc import Iterator
from dataclasses import dataclass

import pytest

from tests.lab.waiting import tries

from .fixtures import Live

PORT = 8443


@dataclass(frozen=True)
class Web:
    """A forward that is on, and its entities; a kill may have changed their names.

    Home Assistant writes those down only some seconds after they were given.
    """

    live: Live
    subentry_id: str

    @property
    def switch(self) -> str:
        """What turns it on and off."""
        return self.live.flows.switch(self.subentry_id)

    @property
    def sensor(self) -> str:
        """The number of its connections, as soon as there are entities."""
        assert self.switch
        (found,) = (
            str(entity["entity_id"])
            for entity in self.live.home_assistant.command(
                "config/entity_registry/list"
            )
            if entity["unique_id"] == f"{self.subentry_id}_connections"
        )
        return found


@pytest.fixture
def web(live: Live) -> Iterator[Web]:
    """Add it, and turn it on."""
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
    yield Web(live, added.subentry_id)
    live.flows.remove_router(router.entry_id)
    lab.target.stop_serving()


def come(live: Live, times: int) -> None:
    """Use the forward from the internet."""
    for _ in range(times):
        assert live.lab.internet.exchange("tcp", live.lab.main.wan_address, PORT).passed


def test_no_connection_is_forgotten_by_a_kill(live: Live, web: Web) -> None:
    """Neither those before it, which no file has, nor those while it was away."""
    come(live, 2)
    live.home_assistant.wait_state(web.sensor, "2")
    live.home_assistant.kill()
    come(live, 3)
    live.home_assistant.start()
    live.home_assistant.wait_state(web.switch, "on")
    live.home_assistant.wait_state(web.sensor, "5")


def test_a_restart_of_both_keeps_the_total(live: Live, web: Web) -> None:
    """What was counted is written down when Home Assistant stops."""
    come(live, 4)
    live.home_assistant.wait_state(web.sensor, "4")
    live.home_assistant.stop()
    live.lab.bypass.reboot()
    live.home_assistant.start()
    live.home_assistant.wait_state(web.switch, "on")
    come(live, 1)
    live.home_assistant.wait_state(web.sensor, "5")


def test_the_sensor_never_shows_less_than_before(live: Live, web: Web) -> None:
    """That would look as if it had begun again, and be counted twice in statistics."""
    come(live, 2)
    live.home_assistant.wait_state(web.sensor, "2")
    live.home_assistant.kill()
    live.home_assistant.start()
    sensor = web.sensor
    seen: set[str | None] = set()
    for _ in tries():
        seen.add(live.home_assistant.state(sensor))
        if "2" in seen:
            break
    assert seen <= {"2", "unknown", "unavailable", None}
    assert "2" in seen
