"""What is desired is what is live, after whatever may happen: in memory.

Neither Home Assistant nor a router runs here. `FakeRules` is held against the real
ones by `tests/router/test_live_rules.py`.
"""

import asyncio
from collections.abc import Callable, Coroutine, Iterable, Mapping
from typing import Any, Final, override
from unittest.mock import create_autospec

from homeassistant.core import HomeAssistant
from hypothesis import HealthCheck, settings, strategies as st
from hypothesis.stateful import (
    RuleBasedStateMachine,
    rule,
)
import pytest

from custom_components.bypass_router.issues import Issues
from custom_components.bypass_router.router.errors import (
    ConnectionLost,
    FirewallFailed,
    RouterError,
)
from custom_components.bypass_router.router.forward import Forward
from custom_components.bypass_router.router.monitor import Change
from custom_components.bypass_router.router.rules.base import Live
from custom_components.bypass_router.storage import NotSaved
from custom_components.bypass_router.sync import interference, reconciler, refusals
from custom_components.bypass_router.sync.at_boot import AtBoot
from custom_components.bypass_router.sync.closing import Closing
from custom_components.bypass_router.sync.desired_state import (
    DesiredState,
    Wishes,
    with_those,
)
from custom_components.bypass_router.sync.events import RulesEvent, RulesEvents
from custom_components.bypass_router.sync.history import History
from custom_components.bypass_router.sync.interference import Interference
from custom_components.bypass_router.sync.lease import Lease
from custom_components.bypass_router.sync.reconciler import Reconciler
from custom_components.bypass_router.sync.retry import Retry

from .router.fake import FakeRouter, Kernel
from .router.rules import with_ends

IDS: Final = ("A", "B", "C", "D")
REFUSED: Final = FirewallFailed(command="nft", message="no")
CUT: Final = ConnectionLost(message="cut")


def forward(name: str, target: int = 10) -> Forward:
    """Return a forward of a port of its own."""
    return Forward.parse(
        name,
        protocol="tcp",
        external_port=str(8000 + IDS.index(name)),
        target=f"192.168.50.{target}",
        target_port="80",
    )


A, B, C, D = map(forward, IDS)

type Request = bool | Lease

# A request to be on or off, or on for so many seconds, of which some are over soon.
DRAWN: Final = st.booleans() | st.sampled_from([50, 5000])


class Memory:
    """A file that is kept in memory."""

    def __init__(self) -> None:
        """Begin without one."""
        self.stored: Mapping[str, Any] | None = None
        self.full = False
        self.goes_on = False
        """Whether what is cut off is written all the same, as it is by a thread."""

    @property
    def desired(self) -> dict[str, Lease | None]:
        """What is to be live, and for how long, going by the file."""
        if self.stored is None:
            return {}
        leased = self.stored.get("leased", {}).items()
        return dict.fromkeys(self.stored["wished"]) | {
            key: Lease.parse(stored) for key, stored in leased
        }

    async def async_load(self) -> object:
        """Return what was saved last."""
        await asyncio.sleep(0)
        return self.stored

    async def async_save(self, data: Mapping[str, Any]) -> None:
        """Write all of it, in a while."""
        try:
            for _ in range(4):
                await asyncio.sleep(0)
        except asyncio.CancelledError:
            if self.goes_on and not self.full:
                self.stored = data
            raise
        if self.full:
            raise NotSaved(message="No space left on device")
        self.stored = data

    async def async_remove(self) -> None:
        """Delete the file."""
        self.stored = None


# Made once: to make one takes as long as a whole sequence.
_ISSUES: Final = create_autospec(Issues, instance=True)
_HASS: Final = create_autospec(HomeAssistant, instance=True)


class _SoonRetry(Retry):
    """Plans a read for when all is quiet, however long it was to take."""

    @override
    def __init__(self, plan: Callable[[], None]) -> None:
        """Take what plans it."""
        super().__init__(_HASS, plan)

    @override
    def async_in(self, seconds: float) -> None:
        """Plan it."""
        self._act()


class Home:
    """Home Assistant, as the reconciler knows it."""

    def __init__(
        self, kernel: Kernel, file: Memory, forwards: Iterable[Forward]
    ) -> None:
        """Start; the router is not connected yet."""
        self.kernel = kernel
        self.forwards = {each.id: each for each in forwards}
        self.connected: FakeRouter | None = None
        self.withheld: dict[str, RouterError] = {}
        self.restores = True
        self.closes = True
        self.shown: Live | None = None
        self.tasks: set[asyncio.Task[Any]] = set()
        self.planned: list[Callable[[], None]] = []
        self.events: list[RulesEvent] = []
        self.fault: NotSaved | None = None
        history = History()
        events = RulesEvents(history)
        events.async_listen(self.events.append)
        self.reconciler = Reconciler(
            self,
            DesiredState(file, self),
            Closing("router", _ISSUES),
            Interference(events, _ISSUES),
            history,
            _SoonRetry(self._plan),
            _SoonRetry(self._plan),
            AtBoot("router", _ISSUES, lambda: False, _SoonRetry(self._plan)),
        )

    def _plan(self) -> None:
        """Read once more, when all is quiet."""
        self.planned = [lambda: self.reconciler.reported(Change())]

    def show(self, live: Live) -> None:
        """Show what was read back."""
        self.shown = live

    def show_error(self, err: RouterError) -> None:
        """Show that it is not known what is live."""
        assert str(err)
        self.shown = None

    def not_saved(self, err: NotSaved | None) -> None:
        """Tell that something is not on disk, or that all is."""
        self.fault = err

    def state_lost(self, *, lost: bool) -> None:
        """Tell whether the file makes sense, as it always does."""
        assert not lost

    def log(self, err: RouterError, forward_id: str = "") -> None:
        """Log what failed."""

    def in_background[T](
        self, work: Coroutine[Any, Any, T], what: str, *, eager_start: bool = True
    ) -> asyncio.Task[T]:
        """Start something."""
        task = asyncio.get_running_loop().create_task(
            work, name=what, eager_start=eager_start
        )
        self.tasks.add(task)
        task.add_done_callback(self.tasks.discard)
        return task

    def connect(self) -> None:
        """Be connected, perhaps again; the watcher's first report comes at once."""
        self.lose()
        self.connected = FakeRouter(self.kernel)
        self.reconciler.boot_id = self.kernel.boot_id
        self.reconciler.reported(Change())

    def lose(self) -> None:
        """Lose the connection."""
        if self.connected:
            self.connected.closed = True
            self.connected = None
            self.shown = None

    async def quiet(self) -> None:
        """Wait until nothing is under way, and nothing planned but what is again."""
        looks = 5
        if router := self.connected:
            looks += len(router.rules.before) + len(router.rules.after)
        while self.tasks or (self.planned and looks):
            if not self.tasks:
                looks -= 1
                planned, self.planned = self.planned, []
                for act in planned:
                    act()
            if self.tasks:
                await asyncio.wait(self.tasks)
            # A task's end is noticed by the loop.
            await asyncio.sleep(0)


class Clock:
    """Minutes go by whenever all is quiet."""

    now = 0.0

    def monotonic(self) -> float:
        """Return the time, in seconds."""
        return self.now

    def time(self) -> float:
        """Return the time, in Unix time."""
        return 1_800_000_000 + self.now

    def patch(self, patch: pytest.MonkeyPatch) -> None:
        """Have all go by it."""
        for module in (interference, refusals, reconciler):
            patch.setattr(module, "time", self)


@pytest.fixture(autouse=True)
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """The clock by which forwards are put back only so often."""
    clock = Clock()
    clock.patch(monkeypatch)
    return clock


def _lease(request: Request) -> Lease | None:
    """Return for how long one is to be on; None: until it is turned off."""
    return None if isinstance(request, bool) else request


class Anything(RuleBasedStateMachine):
    """Requests, losses, refusals, restarts and cut connections, in any order."""

    def __init__(self) -> None:
        """Start with a router that is connected, and nothing desired."""
        super().__init__()
        self.clock = Clock()
        self.patch = pytest.MonkeyPatch()
        self.clock.patch(self.patch)
        self.loop = asyncio.new_event_loop()
        self.kernel = Kernel(now=self.clock.time)
        self.file = Memory()
        self.home = Home(self.kernel, self.file, (A, B, C))
        self.wanted: Wishes = {}
        self.unsaved: set[str] = set()
        """Whose last request was answered with: not saved."""
        self.either: set[str] = set()
        """Which may be on or off after contrary requests at once."""
        self.refused: set[str] = set()
        """Which the router may have refused, and which may wait for another try."""
        self.asked: list[tuple[str, Request, asyncio.Task[None]]] = []
        self.loop.run_until_complete(self._start(restores=True))

    async def _start(self, *, restores: bool) -> None:
        """Start, and connect."""
        self.home.restores = restores
        await self.home.reconciler.load()
        self.home.connect()

    @override
    def teardown(self) -> None:
        """Check once more."""
        try:
            self.check()
        finally:
            self.loop.close()
            self.patch.undo()

    @rule(
        requests=st.dictionaries(
            st.sampled_from(IDS),
            DRAWN,
            min_size=1,
        ),
        fault=st.sampled_from(["", "refused", "cut before", "cut after"]),
    )
    def turn(self, requests: Mapping[str, bool | int], fault: str) -> None:
        """Ask for some to be on, perhaps for a while, or off, all at once."""
        requests = {
            key: on for key, on in requests.items() if key in self.home.forwards
        }
        if router := self.home.connected:
            if fault == "refused":
                router.rules.before.append(REFUSED)
            elif fault == "cut before":
                router.rules.before.append(CUT)
            elif fault == "cut after":
                router.rules.after.append(CUT)
        self.loop.run_until_complete(self._ask(requests))

    async def _ask(self, requests: Mapping[str, bool | int]) -> None:
        """Begin to ask, all at once; `_hear` takes what becomes of it."""

        async def ask(key: str, request: Request) -> None:
            self.home.reconciler.request(
                key, on=request is not False, lease=_lease(request)
            )
            await self.home.reconciler.reconcile(key)

        loop, now = asyncio.get_running_loop(), self.clock.time()
        for key, request in requests.items():
            asked = request if isinstance(request, bool) else Lease.of(request, now)
            task = loop.create_task(ask(key, asked), eager_start=True)
            self.asked.append((key, asked, task))

    async def _hear(self) -> None:
        """Wait until each has got an answer; refused ones count for nothing."""
        asked, self.asked = self.asked, []
        for key, request, task in asked:
            (outcome,) = await asyncio.gather(task, return_exceptions=True)
            if isinstance(outcome, FirewallFailed):
                if key in self.unsaved:
                    # It took the place of one that no one had been refused.
                    self.unsaved.discard(key)
                    self.either.add(key)
                continue
            self.either.discard(key)
            assert outcome is None or isinstance(outcome, ConnectionLost | NotSaved)
            if isinstance(outcome, NotSaved):
                self.unsaved.add(key)
            else:
                self.unsaved.discard(key)
            on = {} if request is False else {key: _lease(request)}
            self.wanted = with_those(self.wanted, {key}, on)

    @rule(gone=st.sets(st.sampled_from(IDS)), reported=st.booleans())
    def lose_rules(self, gone: set[str], reported: bool) -> None:
        """Other software takes some away; the report of it may be late."""
        for key in gone:
            self.kernel.forwards.pop(key, None)
        if reported and self.home.connected:
            self.loop.run_until_complete(self._report())

    async def _report(self) -> None:
        """Report a change."""
        self.home.reconciler.reported(Change())

    @rule(refuses=st.sets(st.sampled_from(IDS)), keeps=st.sets(st.sampled_from(IDS)))
    def refuse(self, refuses: set[str], keeps: set[str]) -> None:
        """The router takes some forwards no longer, and does not let others go."""
        self.kernel.refuses, self.kernel.keeps = refuses, keeps
        self.refused |= refuses | keeps

    @rule(full=st.booleans())
    def fill_disk(self, *, full: bool) -> None:
        """Home Assistant's disk is full, or has room again."""
        self.file.full = full

    @rule()
    def reboot(self) -> None:
        """Restart the router, which ends the connection."""
        self.kernel.reboot()
        self.home.lose()

    @rule()
    def lose_connection(self) -> None:
        """Lose the connection alone."""
        self.home.lose()

    @rule()
    def connect(self) -> None:
        """Connect again, perhaps in place of a connection that is there."""

        async def connect() -> None:
            self.home.connect()

        self.loop.run_until_complete(connect())

    @rule(
        last=st.dictionaries(st.sampled_from(IDS), DRAWN),
        written=st.booleans(),
    )
    def restart(self, last: Mapping[str, bool | int], *, written: bool) -> None:
        """Restart Home Assistant, even in the middle of something.

        It may ask for more as it stops, when all that was under way is cut off.
        """
        self.file.goes_on = written
        cut, self.asked = self.asked, []
        unheard = {*(key for key, _, _ in cut), *self.unsaved}
        last = {key: on for key, on in last.items() if key in self.home.forwards}

        async def stop() -> None:
            for task in (*self.home.tasks, *(task for _, _, task in cut)):
                task.cancel()
            await self._ask(last)
            await self._hear()
            await self.home.quiet()

        self.loop.run_until_complete(stop())
        self._begin_anew(unheard)

    @rule()
    def reload(self) -> None:
        """Let go of the router, and begin again; who has asked gets an answer."""

        async def stop() -> None:
            self.home.reconciler.stopped = True
            await self.home.reconciler.finish()
            self.home.lose()
            await self.home.reconciler.stop()
            await self._hear()
            for task in self.home.tasks:
                task.cancel()
            self.home.planned = []
            await self.home.quiet()

        self.loop.run_until_complete(stop())
        self._begin_anew(set())

    def _begin_anew(self, unheard: set[str]) -> None:
        """Load what was saved; it tells of what no one has heard of."""
        unheard |= self.unsaved
        if self.home.fault:
            # That is told, with what it means: all is as it was saved last.
            unheard |= self.home.forwards.keys()
        self.wanted = with_those(self.wanted, unheard, self._on_disk)
        self.unsaved = set()
        forwards = self.home.forwards.values()
        # What was asked for and never saved is not known any more.
        self.home = Home(self.kernel, self.file, forwards)
        self.loop.run_until_complete(self._start(restores=True))

    @rule()
    def hear(self) -> None:
        """Wait for all answers; what is not on disk then is told."""
        self.loop.run_until_complete(self._hear())
        self.loop.run_until_complete(self.home.quiet())
        there = self.home.forwards.keys()
        if self.home.fault is None:
            assert self.home.reconciler.desired & there == self._on_disk.keys()

    @rule(name=st.sampled_from(IDS), host=st.integers(10, 12))
    def set_up(self, name: str, host: int) -> None:
        """Add a forward, or lead one elsewhere."""
        self.home.forwards = {**self.home.forwards, name: forward(name, host)}
        self._changed()

    @rule(name=st.sampled_from(IDS))
    def remove(self, name: str) -> None:
        """Remove a forward."""
        self.check()
        forwards = self.home.forwards.items()
        self.home.forwards = {key: it for key, it in forwards if key != name}
        self.wanted = with_those(self.wanted, {name}, {})
        self._changed()
        # The id of one that was removed never comes back, as it may do here.
        self.check()

    def _changed(self) -> None:
        """Tell that forwards were changed."""

        async def change() -> None:
            work = self.home.reconciler.reconcile_unasked()
            self.home.in_background(work, "forwards")

        self.loop.run_until_complete(change())

    @rule(steps=st.integers(1, 9))
    def go_on(self, steps: int) -> None:
        """Let what is under way come a little further."""

        async def go_on() -> None:
            for _ in range(steps):
                await asyncio.sleep(0)

        self.loop.run_until_complete(go_on())

    @rule()
    def check(self) -> None:
        """When all is quiet, what is desired is what is live, and what is shown."""
        if self.home.connected:
            self.loop.run_until_complete(self._report())
        self.hear()
        if not self.file.full:
            self.wanted = with_those(self.wanted, self.either, self._on_disk)
            self._check_others()
        self.file.full = False
        self.kernel.refuses, self.kernel.keeps, self.refused = set(), set(), set()
        self.clock.now += 1000
        self.loop.run_until_complete(self.home.quiet())
        self.wanted = with_those(self.wanted, self.either, self._on_disk)
        # Which it was is known by now.
        self.either = set()
        now = self.clock.time()
        ended = {key for key, it in self.wanted.items() if it and it.is_over(now)}
        self.wanted = with_those(self.wanted, ended, {})
        wanted = {key: self._forward(key) for key in self.wanted}
        # The id of a forward that was removed never comes back.
        there = self.home.forwards.keys()
        assert self.home.reconciler.desired & there == wanted.keys()
        assert self._on_disk == self.wanted
        if self.home.connected is None:
            assert self.home.shown is None
            return
        assert with_ends(self.kernel.forwards.values()) == with_ends(wanted.values())
        assert self.home.shown is not None
        assert self.home.shown.forwards == wanted
        assert self.home.reconciler.active == wanted

    @property
    def _on_disk(self) -> Wishes:
        """What is to be live of what there is, going by the file.

        That a lease is over is written down when the router is there again.
        """
        there, now = self.home.forwards, self.clock.time()
        return {
            key: it
            for key, it in self.file.desired.items()
            if key in there and not (it and it.is_over(now))
        }

    def _forward(self, key: str) -> Forward:
        """Return a forward as it is to be live."""
        lease = self.wanted[key]
        forward = self.home.forwards[key]
        return lease.applied_to(forward) if lease else forward

    def _check_others(self) -> None:
        """What the router refuses is in no one else's way, and is known."""
        if self.home.connected is None:
            return
        for key in self.home.forwards.keys() - self.refused:
            wanted = self._forward(key) if key in self.wanted else None
            assert self.kernel.live.get(key) == wanted
        for key in self.home.forwards:
            live = self.kernel.live.get(key)
            if live != (self._forward(key) if key in self.wanted else None):
                assert key in self.home.reconciler.refused


# A sequence takes some 20 ms: a thousand and more of them in half a minute.
Anything.TestCase.settings = settings(
    max_examples=14 * settings.default.max_examples,
    deadline=None,
    stateful_step_count=40,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.filter_too_much],
)
TestAnything = Anything.TestCase


def after_cut_off() -> Anything:
    """Return where a request is cut off while a full disk refuses to take it."""
    state = Anything()
    state.fill_disk(full=True)
    for steps in (1, 1, 3):
        state.go_on(steps=steps)
    state.set_up(name="A", host=10)
    state.set_up(name="A", host=10)
    state.turn(requests={"A": True}, fault="")
    state.restart(last={}, written=False)
    return state


@pytest.mark.parametrize("removed", [False, True])
@pytest.mark.parametrize("disk", ["full", "free", "free, and refused"])
def test_a_request_that_is_cut_off_while_it_is_saved_does_not_count(
    disk: str, *, removed: bool
) -> None:
    """The router is not given what no file says and no one was answered."""
    state = after_cut_off()
    if disk != "full":
        state.fill_disk(full=False)
    if disk == "free, and refused":
        state.refuse(refuses={"A"}, keeps=set())
    if removed:
        state.remove(name="A")
    state.teardown()


@pytest.mark.parametrize("on", [True, False])
def test_who_asks_while_a_refused_change_is_saved_is_not_told_of_success(
    *, on: bool
) -> None:
    """It is for the next change, which may wait for the disk that has room again."""
    state = Anything()
    state.turn(requests={"A": not on, "B": True}, fault="")
    state.reload()
    state.turn(requests={"B": False}, fault="")
    state.turn(requests={}, fault="refused")
    state.fill_disk(full=True)
    state.set_up(name="D", host=12)
    state.turn(requests={"A": on}, fault="")
    state.fill_disk(full=False)
    state.teardown()


def test_who_asks_while_a_newer_request_is_refused_is_not_told_of_success() -> None:
    """It has not been asked for by the change that the router refuses."""
    state = Anything()
    state.turn(requests={"B": True}, fault="")
    state.reload()
    state.turn(requests={"A": True}, fault="")
    state.turn(requests={"A": False}, fault="")
    state.fill_disk(full=True)
    state.turn(requests={"A": False}, fault="refused")
    state.fill_disk(full=False)
    state.turn(requests={"B": False}, fault="")
    state.teardown()


@pytest.mark.parametrize("ticks", range(16))
async def test_who_asks_meanwhile_is_told_what_the_own_request_came_to(
    ticks: int,
) -> None:
    """Also while it is found out from the router what is desired at all."""
    home = Home(Kernel(), Memory(), (A, B))
    await home.reconciler.load()
    home.connected = FakeRouter(home.kernel)
    home.connected.rules.before.append(REFUSED)

    async def ask(key: str) -> None:
        home.reconciler.request(key, on=True)
        await home.reconciler.reconcile(key)

    asked = [asyncio.create_task(ask("A"))]
    for _ in range(ticks):
        await asyncio.sleep(0)
    asked.append(asyncio.create_task(ask("B")))
    outcomes = await asyncio.gather(*asked, return_exceptions=True)
    await home.quiet()
    told = {key for key, said in zip("AB", outcomes, strict=True) if said is None}
    assert home.reconciler.desired == home.kernel.forwards.keys() == told


@pytest.mark.parametrize("refused", [True, False])
def test_what_is_asked_for_as_all_is_cut_off_is_saved(*, refused: bool) -> None:
    """It joins no change that was ended before it began."""
    state = Anything()
    state.set_up(name="A", host=10)
    state.refuse(refuses={"A"} if refused else set(), keeps=set())
    state.restart(last={"A": True}, written=False)
    assert ("A" in state.file.desired) is not refused
    state.teardown()


@pytest.mark.parametrize(
    "err", [asyncio.CancelledError(), RuntimeError("closed"), NotSaved(message="full")]
)
async def test_only_what_is_written_counts(err: BaseException) -> None:
    """Whatever keeps it from being written; it waits for the next time."""
    file = Memory()
    desired = DesiredState(file)
    await desired.load()
    desired.set("A", on=True)
    await desired.save(IDS)
    desired.set("A", on=False)
    desired.begin("B")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(file, "async_save", create_autospec(file.async_save))
        patch.setattr(file.async_save, "side_effect", err)
        with pytest.raises(type(err)):
            await desired.save(IDS)
    assert desired.saved.keys() == {"A"}
    assert desired.begun == frozenset()
    assert desired.unsaved == {"A", "B"}
    assert await desired.save(IDS) == {"A", "B"}
    assert desired.saved.keys() == desired.begun == file.desired.keys() == {"B"}


async def test_who_asks_while_another_request_can_not_be_saved_gets_an_answer() -> None:
    """The older one was told to come later; the newer one is told what it comes to."""
    file = Memory()
    desired = DesiredState(file)
    await desired.load()
    file.full = True
    desired.set("A", on=True)
    desired.set("B", on=True)
    saving = asyncio.create_task(desired.save(IDS))
    await asyncio.sleep(0)
    desired.set("A", on=True)
    with pytest.raises(NotSaved):
        await saving
    assert desired.unsaved == {"B"}
