"""What all entities tell is kept by the recorder, however many forwards there are."""

from collections.abc import Iterator

from homeassistant.components.recorder.db_schema import MAX_STATE_ATTRS_BYTES
from homeassistant.const import STATE_ON
from homeassistant.core import Event, EventStateChangedData, HomeAssistant, callback
from homeassistant.helpers.json import json_bytes
import pytest

from custom_components.bypass_router.attributes import MOST, fitting, parts_of
from custom_components.bypass_router.flows.forward_checks import MAX_NAME
from custom_components.bypass_router.router.errors import FirewallFailed
from tests.lab.network import Lab
from tests.lab.waiting import until

from .setup import lose_rules, set_up, turn

FORWARDS = 260
LETTERS = "転送先監視鏡饗鬱響驚魔"


def names() -> Iterator[str]:
    """Yield names as long as the form takes them."""
    for number in range(FORWARDS):
        letters = (LETTERS * MAX_NAME)[number : number + MAX_NAME - 3]
        yield f"{number:03}{letters}"


async def test_no_state_is_too_long_for_the_recorder(
    hass: HomeAssistant, at_home: Lab
) -> None:
    """Whatever happens to hundreds of forwards at once; and none is left out."""
    found: dict[str, int] = {}
    told: dict[str, list[str]] = {}

    @callback
    def measure(event: Event[EventStateChangedData]) -> None:
        if not (state := event.data["new_state"]):
            return
        size = len(json_bytes(dict(state.attributes)))
        found[state.entity_id] = max(size, found.get(state.entity_id, 0))
        if kind := state.attributes.get("event_type"):
            told.setdefault(kind, []).extend(state.attributes["forwards"])

    hass.bus.async_listen("state_changed", measure)
    forwards = [
        {
            "name": name,
            "protocol": "tcp",
            "external_port": str(10000 + number),
            "target": "192.168.50.10",
            "target_port": "443",
        }
        for number, name in enumerate(names())
    ]
    entry = await set_up(hass, at_home, *forwards)
    switches = hass.states.async_entity_ids("switch")
    assert len(switches) == FORWARDS
    await turn(hass, "on", *switches)
    lose_rules(at_home)
    await until(lambda: set(told.get("rules_restored", ())) == set(switches))
    for kind in ("rules_removed", "rules_restored"):
        assert sorted(told[kind]) == sorted(switches)
    assert all(hass.states.get(switch).state == STATE_ON for switch in switches)
    assert sum(map(len, switches)) > MAX_STATE_ATTRS_BYTES
    assert {e.partition(".")[0] for e in found} >= {
        "switch",
        "event",
        "sensor",
        "image",
    }
    # Something is left for what a user may add: a picture, say.
    assert max(found.values()) < MAX_STATE_ATTRS_BYTES - 1024, found
    await hass.config_entries.async_unload(entry.entry_id)


@pytest.mark.parametrize("letter", ["a", "転", "\x1b", "😀", '"'])
def test_what_a_router_says_fits(letter: str) -> None:
    """In letters of any length."""
    for length in (0, 10, 1990, 5000, 20_000):
        text = fitting(letter * length)
        assert len(json_bytes(text)) <= MOST
        assert text == letter * length or text.endswith("…")
    said = FirewallFailed(command="nft", message=letter * 100).details["message"]
    assert fitting(said) == said


def test_parts_are_all_there_is_in_order() -> None:
    """Also nothing, and one that alone is too long."""
    assert parts_of([]) == [[]]
    for items in (["a"], ["x" * 300] * 300, ["y" * 20_000, "z", "転" * 9000]):
        parts = parts_of(items)
        assert [item for part in parts for item in part] == items
        assert all(parts)
        for part in parts:
            assert len(part) == 1 or len(json_bytes(part)) <= MOST + 2
