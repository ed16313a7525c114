"""A real Home Assistant, stopped, killed and told nonsense."""

from collections.abc import Iterator

import pytest

from tests.lab.waiting import wait_until

from .fixtures import Live
from .flows import AddedForward, AddedRouter, FlowRefused


@pytest.fixture
def router(live: Live) -> Iterator[AddedRouter]:
    """The bypass router, added."""
    lab = live.lab
    added = live.flows.add_router(lab.bypass.address, password=lab.bypass.root_password)
    yield added
    live.flows.remove_router(added.entry_id)


@pytest.fixture
def forward(live: Live, router: AddedRouter) -> Iterator[AddedForward]:
    """A forward that is on."""
    live.lab.target.serve("tcp", 443)
    added = live.flows.add_forward(
        router.entry_id,
        name="Camera",
        protocol="tcp",
        external_port="8443",
        target=live.lab.target.address,
        target_port="443",
    )
    live.home_assistant.call("switch", "turn_on", entity_id=added.entity_id)
    assert passes(live)
    yield added
    live.lab.target.stop_serving()


def passes(live: Live, port: int = 8443) -> bool:
    """Return whether payload goes from the internet to the target and back."""
    lab = live.lab
    return lab.internet.exchange("tcp", lab.main.wan_address, port).passed


def test_stopping_home_assistant_leaves_the_forward_in_force(
    live: Live, forward: AddedForward
) -> None:
    """The next start finds it so."""
    live.home_assistant.stop()
    assert passes(live)
    live.home_assistant.start()
    live.home_assistant.wait_state(forward.entity_id, "on")
    assert live.home_assistant.errors_in_log() == []


def test_killing_home_assistant_loses_no_wish(
    live: Live, forward: AddedForward
) -> None:
    """A forward that is flushed while no one looks is back after the next start."""
    live.home_assistant.stored_entries(forward.subentry_id)
    live.home_assistant.kill()
    live.lab.bypass.run("nft", "flush", "ruleset")
    assert not passes(live)
    live.home_assistant.start()
    # What it had not written down yet may have been the name of another switch.
    switch = live.flows.switch(forward.subentry_id)
    live.home_assistant.wait_state(switch, "on")
    assert passes(live)


def test_a_wrong_password_is_refused_in_the_form(live: Live) -> None:
    """Nothing is saved then."""
    with pytest.raises(FlowRefused) as refused:
        live.flows.add_router(live.lab.bypass.address, password="wrong")
    assert refused.value.errors == {"base": "authentication_failed"}
    entries = live.home_assistant.command("config_entries/get", domain="bypass_router")
    assert entries == []


def test_a_changed_forward_takes_effect(
    live: Live, router: AddedRouter, forward: AddedForward
) -> None:
    """The old port does not pass any more, and the new one does."""
    live.flows.change_forward(
        router.entry_id, forward.subentry_id, external_port="9443"
    )
    # No one waits for the router here, as a browser does not.
    wait_until(lambda: passes(live, 9443))
    assert not passes(live)
    live.home_assistant.wait_state(forward.entity_id, "on")
