"""A fault that nobody foresaw, in whatever works in the background.

It is told once, with where it was; what is not known is not shown; and all goes on.
"""

from collections.abc import Callable
from inspect import iscoroutinefunction
import logging
from typing import Any, Self

from homeassistant.config_entries import ConfigEntryState
from homeassistant.const import STATE_OFF, STATE_ON, STATE_UNAVAILABLE
from homeassistant.core import HomeAssistant
from homeassistant.exceptions import HomeAssistantError
import pytest

from custom_components.bypass_router.counters import counters
from custom_components.bypass_router.counters.store import Totals
from custom_components.bypass_router.counters.tally import Tally
from custom_components.bypass_router.diagnosis import target_learner
from custom_components.bypass_router.diagnosis.target_store import TargetMacStore
from custom_components.bypass_router.router.live_rules import LiveRules
from custom_components.bypass_router.router.router import Router
from custom_components.bypass_router.router.ssh import process, session
from custom_components.bypass_router.subentry import read_forwards
from custom_components.bypass_router.sync import connection, lifecycle
from custom_components.bypass_router.sync.history import History
from custom_components.bypass_router.unforeseen import Surprises
from tests.lab.network import Lab
from tests.lab.waiting import until, until_told

from .setup import WEB, add_entry, lose_rules, passes, turn, with_web_on
from .test_sensor import come, total

TRACEBACK = "Traceback (most recent call last)"


class Fault:
    """A fault in one function, as long as it lasts."""

    def __init__(
        self, patch: pytest.MonkeyPatch, owner: object, name: str, times: int = 2
    ) -> None:
        """Put it in the way; so many times, or until `mend`."""
        self._left = times
        self.met = 0
        self._real: Callable[..., Any] = getattr(owner, name)
        fault = self

        def wrong(*args: Any, **kwargs: Any) -> Any:
            if fault._left:
                fault._left -= 1
                fault.met += 1
                _ = fault.nonsense  # type: ignore[attr-defined]
            return fault._real(*args, **kwargs)

        async def wrong_later(*args: Any, **kwargs: Any) -> Any:
            return await wrong(*args, **kwargs)

        later = iscoroutinefunction(self._real)
        patch.setattr(owner, name, wrong_later if later else wrong)

    def again(self, times: int) -> Self:
        """Let it happen again."""
        self._left, self.met = times, 0
        return self

    def mend(self) -> None:
        """End it."""
        self._left = 0


def tracebacks(caplog: pytest.LogCaptureFixture) -> list[str]:
    """Return what the log has of faults, each with where it was."""
    found = {
        record.getMessage(): record.exc_info[1]
        for record in caplog.records
        if record.levelno >= logging.ERROR and record.exc_info
    }
    assert all("nonsense" in str(fault) for fault in found.values())
    return [
        record.getMessage()
        for record in caplog.records
        if record.levelno >= logging.ERROR and record.getMessage() in found
    ]


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    """Try again soon."""
    monkeypatch.setattr(connection, "_FIRST_DELAY", 0.05)
    monkeypatch.setattr(connection, "_LAST_DELAY", 0.2)


async def is_well(hass: HomeAssistant, lab: Lab, switch: str) -> None:
    """Check that it is switched, and noticed what others do."""
    await until(lambda: hass.states.get(switch).state == STATE_ON)
    await until(lambda: passing(lab))
    lose_rules(lab)
    await until(lambda: hass.states.get(switch).state == STATE_ON and passing(lab))
    for state in (STATE_OFF, STATE_ON):
        await turn(hass, state, switch)
        assert hass.states.get(switch).state == state
        assert await passes(lab) == (state == STATE_ON)


def passing(lab: Lab) -> bool:
    """Return whether the rules of a forward are there."""
    return "8443" in lab.bypass.run("nft", "list", "ruleset").stdout


@pytest.mark.parametrize(
    ("owner", "name"),
    [
        (connection, "connect_router"),
        (connection, "async_owner"),
        (Router, "connect"),
        (process.Shells, "open"),
        (History, "record_opened"),
    ],
    ids=lambda value: getattr(value, "__name__", value),
)
async def test_connecting_again_never_ends(
    hass: HomeAssistant,
    at_home: Lab,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    owner: object,
    name: str,
) -> None:
    """Whatever is wrong, and however often; no connection is left open by it."""
    entry, switch = await with_web_on(hass, at_home)
    fault = Fault(monkeypatch, owner, name, times=0)
    at_home.bypass.stop_ssh()
    await until(lambda: hass.states.get(switch).state == STATE_UNAVAILABLE)
    fault.again(4)
    at_home.bypass.start_ssh()
    await until(lambda: fault.met == 4)
    assert hass.states.get(switch).state == STATE_UNAVAILABLE
    assert entry.state is ConfigEntryState.LOADED
    await is_well(hass, at_home, switch)
    told = tracebacks(caplog)
    assert len(told) == len(set(told)) >= 1
    # It is over, and told when it comes again.
    fault.again(2)
    at_home.bypass.stop_ssh()
    at_home.bypass.start_ssh()
    await until(lambda: fault.met == 2)
    await until(lambda: hass.states.get(switch).state == STATE_ON)
    assert len(tracebacks(caplog)) > len(told)


@pytest.mark.parametrize(
    ("owner", "name"),
    [
        (session, "_beat"),
        (Router, "watch"),
        (connection.RouterConnection, "_on_change"),
        (History, "record_lost"),
        (LiveRules, "read"),
        (LiveRules, "differs"),
        (LiveRules, "take_lost"),
    ],
    ids=lambda value: getattr(value, "__name__", value),
)
async def test_what_watches_and_reads_goes_on(
    hass: HomeAssistant,
    at_home: Lab,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    owner: object,
    name: str,
) -> None:
    """After a fault in any of its parts, it notices as before."""
    entry, switch = await with_web_on(hass, at_home)
    if name == "_on_change":
        owner = entry.runtime_data.connection
    fault = Fault(monkeypatch, owner, name, times=3)
    at_home.bypass.stop_ssh()
    await until(lambda: hass.states.get(switch).state == STATE_UNAVAILABLE)
    lose_rules(at_home)
    at_home.bypass.start_ssh()
    await until(lambda: fault.met > 0)
    fault.mend()
    await is_well(hass, at_home, switch)
    assert tracebacks(caplog)


async def test_a_router_that_can_not_be_read_is_not_shown_as_if(
    hass: HomeAssistant, at_home: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its switches are unavailable until it was read."""
    _, switch = await with_web_on(hass, at_home)
    fault = Fault(monkeypatch, LiveRules, "read", times=1_000_000)
    lose_rules(at_home)
    await until(lambda: hass.states.get(switch).state == STATE_UNAVAILABLE)
    fault.mend()
    await is_well(hass, at_home, switch)


async def test_whoever_asks_for_a_change_hears_of_a_fault(
    hass: HomeAssistant,
    at_home: Lab,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """And the next one is made."""
    _, switch = await with_web_on(hass, at_home)
    fault = Fault(monkeypatch, LiveRules, "apply_each", times=1_000_000)
    with pytest.raises(HomeAssistantError, match="look into its log"):
        await turn(hass, "off", switch)
    fault.mend()
    await until(lambda: hass.states.get(switch).state in (STATE_ON, STATE_OFF))
    assert (hass.states.get(switch).state == STATE_ON) == await passes(at_home)
    await is_well(hass, at_home, switch)
    assert tracebacks(caplog)


async def test_a_set_up_is_tried_again(
    hass: HomeAssistant,
    at_home: Lab,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    """As with a router that is away."""
    fault = Fault(monkeypatch, connection, "connect_router", times=1)
    entry = add_entry(hass, at_home, WEB)
    await hass.config_entries.async_setup(entry.entry_id)
    assert entry.state is ConfigEntryState.SETUP_RETRY
    assert len(tracebacks(caplog)) == 1
    fault.mend()
    assert await hass.config_entries.async_reload(entry.entry_id)


async def test_where_nothing_else_helps_all_is_begun_anew(
    hass: HomeAssistant, at_home: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a fault in what copes with faults; and nothing is shown meanwhile."""
    monkeypatch.setattr(lifecycle, "_LAST_RESORT", 0.5)
    _, switch = await with_web_on(hass, at_home)
    fault = Fault(monkeypatch, connection.RouterConnection, "_reopen", times=1)
    at_home.bypass.stop_ssh()
    await until(lambda: hass.states.get(switch).state == STATE_UNAVAILABLE)
    at_home.bypass.start_ssh()
    await is_well(hass, at_home, switch)
    assert fault.met == 1


@pytest.mark.parametrize(
    ("owner", "name"),
    [(LiveRules, "count"), (Totals, "save_soon"), (Tally, "counted")],
    ids=lambda value: getattr(value, "__name__", value),
)
async def test_counting_goes_on(
    hass: HomeAssistant,
    at_home: Lab,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
    owner: object,
    name: str,
) -> None:
    """No number is wrong for good."""
    monkeypatch.setattr(counters, "_PAUSE", 0.1)
    entry, _ = await with_web_on(hass, at_home)
    fault = Fault(monkeypatch, owner, name, times=2)
    while fault.met < 2:
        await come(at_home)
    fault.mend()
    before = total(hass, entry)
    await come(at_home)
    await until(lambda: total(hass, entry) != before)
    assert tracebacks(caplog)


async def test_targets_are_learnt_after_all(
    hass: HomeAssistant, at_home: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also those whose turn it was."""
    fault = Fault(monkeypatch, target_learner, "read_target_macs", times=2)
    entry, switch = await with_web_on(hass, at_home)
    await until(lambda: fault.met > 0)
    forward = next(f for f in read_forwards(entry).values() if f.external.first == 8443)

    async def known() -> bool:
        for state in (STATE_OFF, STATE_ON):
            await turn(hass, state, switch)
        return await TargetMacStore(hass, entry.entry_id).of(forward) is not None

    await until_told(known)


def test_what_a_fault_says_is_for_the_log_alone() -> None:
    """It may say anything, a secret too."""
    surprises = Surprises("bypass")
    with pytest.raises(Exception, match="router_error") as caught, surprises.told("x"):
        raise ValueError("a password")
    assert "password" not in str(caught.value)
