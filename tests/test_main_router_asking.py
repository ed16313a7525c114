"""What the main router is asked, and what is known of it: after whatever may happen."""

import asyncio
from collections.abc import Callable, Coroutine, Mapping
from contextlib import suppress
from dataclasses import replace
from typing import Any, Final, override

from hypothesis import settings, strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
import pytest

from custom_components.bypass_router.main_router import asking as asking_module
from custom_components.bypass_router.main_router.asking import Asking
from custom_components.bypass_router.main_router.plan import Desired
from custom_components.bypass_router.main_router.recording import after
from custom_components.bypass_router.main_router.records import Record
from custom_components.bypass_router.router.errors import ConnectionLost
from custom_components.bypass_router.router.port_mapping.base import (
    Answer,
    Entry,
    Listed,
    Opening,
    Outcome,
    PortMapping,
    PublicPort,
    Refusal,
)
from custom_components.bypass_router.storage import NotSaved

from .memory_main_router import (
    CLIENT,
    NAS,
    OWNER,
    Fate,
    MemoryFile,
    MemoryMainRouter,
    records_in,
)

WEB: Final = PublicPort("tcp", 8443)
GAME: Final = PublicPort("udp", 6000)
WANTED: Final[Desired] = {WEB: ("WEB", PortMapping(WEB, 443))}
BOTH: Final[Desired] = {**WANTED, GAME: ("GAME", PortMapping(GAME, 6000))}
NOW: Final = 1_800_000_000.0


class Clock:
    """The time that all go by."""

    def __init__(self) -> None:
        """Begin somewhere."""
        self.now = NOW

    def time(self) -> float:
        """Return it, in Unix time."""
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    """Time goes by as the test says."""
    clock = Clock()
    monkeypatch.setattr(asking_module, "time", clock)
    return clock


class Home:
    """A Home Assistant that asks a main router, and may be killed."""

    def __init__(self, main: MemoryMainRouter, file: MemoryFile | None = None) -> None:
        """Start for the first time."""
        self.main = main
        self.file = file or MemoryFile(main.fate)
        self.asking = self._asking()
        self.opened = False
        """Whether it has agreed to something just now."""

    def _asking(self) -> Asking:
        """Return what asks, with what is in memory of the file."""
        self.records = records_in(self.file)
        return Asking(self.main, OWNER, self.records)

    async def start(self) -> None:
        """Start anew, by what is on disk."""
        self.asking = self._asking()
        await self.records.load()

    async def wish(self, desired: Desired, *anew: str) -> Mapping[PublicPort, Outcome]:
        """Have it so."""
        outcomes = await self.asking.bring_about(desired, anew, {})
        self.opened = bool(self.asking.opened)
        return outcomes

    async def on_disk(self) -> Mapping[PublicPort, Record]:
        """Return what a start would find."""
        records = records_in(self.file)
        await records.load()
        return records.mappings


def opened(main: MemoryMainRouter, *ports: PublicPort) -> list[int]:
    """Return by which leases it was asked to open these ports, or any."""
    return [
        one.lease
        for one in main.asked
        if isinstance(one, Opening) and (not ports or one.mapping.public in ports)
    ]


async def test_what_is_desired_is_asked_for_once() -> None:
    """And then it is only looked at."""
    main = MemoryMainRouter()
    home = Home(main)
    outcome = (await home.wish(WANTED))[WEB]
    entry = Entry(CLIENT, 443, OWNER.description("WEB", 0), 7199)
    assert outcome == Outcome(None, entry)
    assert await home.wish(WANTED) == {WEB: Outcome(None, entry)}
    assert main.calls == ["open_free", "look"]
    assert await home.wish({}) == {}
    assert (main.table, home.records.mappings) == ({}, {})


@pytest.mark.parametrize("kind", [it for it in Answer if it is not Answer.SILENT])
async def test_a_refusal_is_nothing_to_look_at_soon(kind: Answer) -> None:
    """Or it would be asked every few seconds for ever."""
    main = MemoryMainRouter(refuses={WEB: kind})
    home = Home(main)
    for _ in range(2):
        outcome = (await home.wish(WANTED))[WEB]
        assert outcome.refusal
        assert outcome.refusal.kind is kind
        assert not home.opened
        assert home.records.mappings == {}
    main.refuses.clear()
    await home.wish(WANTED)
    assert home.opened


async def test_what_was_agreed_to_is_looked_at_soon() -> None:
    """Beside what was refused."""
    home = Home(MemoryMainRouter(refuses={GAME: Answer.FULL}))
    await home.wish(BOTH)
    assert home.opened
    await home.wish(BOTH)
    assert not home.opened


@pytest.mark.parametrize("desired", [{}, WANTED])
async def test_what_another_has_got_is_recorded_as_ours_no_more(
    desired: Desired,
) -> None:
    """Since the main router has begun anew: it would be looked at for ever."""
    main = MemoryMainRouter()
    home = Home(main)
    await home.wish(WANTED)
    main.restart()
    main.let_other_have(WEB)
    await home.wish(desired)
    assert await home.on_disk() == {}
    assert main.table[WEB].client == NAS
    assert opened(main) == [7200]


async def test_what_is_done_and_answered_by_nonsense_is_recorded() -> None:
    """It may be there, and would be left there."""
    main = MemoryMainRouter(garbled=True)
    home = Home(main)
    await home.wish(WANTED)
    assert list(await home.on_disk()) == [WEB]
    main.garbled = False
    await home.wish({})
    assert (main.table, await home.on_disk()) == ({}, {})


@pytest.mark.parametrize("lists", [True, False])
async def test_what_is_not_told_after_nonsense_is_recorded(*, lists: bool) -> None:
    """Where no one lists it."""
    main = MemoryMainRouter(garbled=True, lists=lists, tells=False)
    home = Home(main)
    await home.wish(WANTED)
    assert list(await home.on_disk()) == [WEB]


async def test_one_port_that_is_not_kept_changes_no_lease_of_others(
    clock: Clock,
) -> None:
    """Row 50: number 33 is agreed to, and nothing comes of it."""
    full = PublicPort("tcp", 9999)
    main = MemoryMainRouter(drops={full})
    home = Home(main)
    await home.wish({**WANTED, full: ("FULL", PortMapping(full, 9999))})
    clock.now += 4000
    await home.wish(WANTED)
    assert opened(main, WEB) == [7200, 7200]


async def test_who_was_silent_has_forgotten_nothing(clock: Clock) -> None:
    """Nothing is learnt of its leases from what it may never have heard."""
    main = MemoryMainRouter()
    home = Home(main)
    main.deaf = True
    await home.wish(WANTED)
    silent = home.asking.silent
    main.deaf = False
    await home.start()
    clock.now += 15
    await home.wish(WANTED)
    assert (silent, home.asking.silent) == (True, False)
    assert opened(main) == [7200, 7200]
    assert main.ways() == {WEB: 443}


@pytest.mark.parametrize("wished", [BOTH, {}])
async def test_who_speaks_another_protocol_by_now_is_to_be_found_anew(
    wished: Desired,
) -> None:
    """As another router in its place; where nothing is listed, an answer tells."""
    main = MemoryMainRouter(lists=False)
    home = Home(main)
    lost: list[bool] = []
    for speaks in (True, False):
        main.speaks = speaks
        await home.wish(wished if lost else WANTED)
        lost.append(home.asking.lost)
    assert list(home.records.mappings) == [WEB]
    # To who asks for the first time, it never did.
    await home.start()
    await home.wish(wished)
    assert [*lost, home.asking.lost] == [False, True, False]


# Leases.


def only(*leases: int) -> Callable[[int], Answer | None]:
    """Take no others."""
    return lambda lease: None if lease in leases else Answer.ONLY_FOR_GOOD


def none_but(kind: Answer, *leases: int) -> Callable[[int], Answer | None]:
    """Refuse all others by this answer."""
    return lambda lease: None if lease in leases else kind


@pytest.mark.parametrize(
    ("leases", "expected", "asked"),
    [
        (only(0), 0, [7200, 0]),
        (none_but(Answer.INVALID, 0), 0, [7200, 0]),
        (none_but(Answer.INVALID, 604_800), 604_800, [7200, 0, 604_800]),
        (none_but(Answer.INVALID), None, [7200, 0, 604_800]),
        (none_but(Answer.FAILED), None, [7200]),
    ],
)
async def test_a_lease_that_is_refused_gives_way_to_another(
    leases: Callable[[int], Answer | None], expected: int | None, asked: list[int]
) -> None:
    """Found out once; the next port is asked for by what did."""
    main = MemoryMainRouter(leases=leases)
    home = Home(main)
    await home.wish(WANTED)
    assert opened(main) == asked
    if expected is None:
        assert home.records.mappings == {}
        return
    await home.wish(BOTH)
    assert opened(main, GAME) == [expected]


@pytest.mark.parametrize("lease", [0, 604_800])
async def test_a_lease_that_is_not_kept_gives_way_to_another(
    clock: Clock, lease: int
) -> None:
    """Row 38: agreed to, listed, and gone within seconds."""
    main = MemoryMainRouter()
    home = Home(main)
    for looks in range(5):
        await home.wish(WANTED)
        assert home.opened is (looks < (2 if lease == 0 else 3))
        if opened(main)[-1] != lease:
            main.end(WEB)
        clock.now += 5
    assert main.ways() == {WEB: 443}
    assert opened(main)[-1] == lease


async def test_who_takes_only_one_lease_is_asked_by_that_after_a_restart(
    clock: Clock,
) -> None:
    """It was gone within seconds, and not for its lease."""
    main = MemoryMainRouter(leases=none_but(Answer.INVALID, 0))
    home = Home(main)
    await home.wish(WANTED)
    main.restart()
    clock.now += 5
    await home.wish(WANTED)
    assert main.ways() == {WEB: 443}


async def test_what_no_lease_keeps_is_not_believed(clock: Clock) -> None:
    """It is asked for again at each look, and no oftener."""
    main = MemoryMainRouter()
    home = Home(main)
    looks: list[bool] = []
    for _ in range(20):
        outcomes = await home.wish(WANTED)
        assert len(looks) < 4 or outcomes == {WEB: Outcome(None, None)}
        main.end(WEB)
        looks.append(home.opened)
        clock.now += 5 if home.opened else 240
    assert looks[:4] == [True, True, True, False]
    assert looks[4:] == [True, False] * 8
    assert await home.wish({}) == {}
    assert await home.on_disk() == {}


async def test_half_of_a_lease_is_all_that_is_waited_for(clock: Clock) -> None:
    """Each time under another name: one that has lost its rules may list them still."""
    main = MemoryMainRouter()
    home = Home(main)
    await home.wish(WANTED)
    clock.now += 3599
    await home.wish(WANTED)
    assert main.table[WEB].description == OWNER.description("WEB", 0)
    clock.now += 1
    await home.wish(WANTED)
    assert main.table[WEB].description == OWNER.description("WEB", 1)
    assert home.records.mappings[WEB].asked == clock.now


@pytest.mark.parametrize(
    ("told", "granted", "until"),
    [
        (7200, 7200, 7200),
        (600, 600, 600),
        (3, 120, 120),
        (86_400, 7200, 86_400),
        (2**40, 7200, 604_800),
        (0, 7200, 7200),
        (None, 7200, 7200),
    ],
)
async def test_a_lease_that_is_shorter_is_renewed_sooner(
    told: int | None, granted: int, until: int
) -> None:
    """But one of a moment is not believed; and none is over before it is."""
    asked = Record("WEB", PortMapping(WEB, 443), 0, 7200, NOW)
    outcome = Outcome(None, Entry(CLIENT, 443, "", told))
    (found,) = after(OWNER, {}, {WEB: asked}, (), {WEB: outcome}).values()
    kept = until if until > granted else 0
    assert found == replace(asked, lease=granted, agreed=True, kept=kept)
    assert found.until == NOW + until
    assert found.renew_at == NOW + granted / 2


async def test_what_is_for_good_and_is_not_is_renewed_too() -> None:
    """Miniupnpd makes a week of it."""
    asked = Record("WEB", PortMapping(WEB, 443), 0, 0, NOW)
    for told, granted in ((604_800, 604_800), (0, 0), (None, 0)):
        outcome = Outcome(None, Entry(CLIENT, 443, "", told))
        found = after(OWNER, {}, {WEB: asked}, (), {WEB: outcome})
        assert found[WEB].lease == granted


@pytest.mark.parametrize("lists", [True, False])
@pytest.mark.parametrize("years", [30, -30])
async def test_a_clock_that_was_wrong_once_delays_nothing(
    clock: Clock, years: int, *, lists: bool
) -> None:
    """As of a machine that has none of its own, until it has asked for the time."""
    main = MemoryMainRouter(lists=lists)
    home = Home(main)
    clock.now += years * 31_557_600
    await home.wish(WANTED)
    clock.now = NOW
    await home.wish(WANTED)
    assert len(main.asked) == 2
    assert home.records.mappings[WEB].asked == NOW


@pytest.mark.parametrize("writes", [str.upper, lambda it: it[:16], lambda _: ""])
async def test_ours_is_known_whatever_is_made_of_its_name(
    writes: Callable[[str], str],
) -> None:
    """Cut, shouted, or blank: by what is recorded."""
    main = MemoryMainRouter(writes=writes, leases=only(0))
    home = Home(main)
    await home.wish(WANTED)
    await home.start()
    await home.wish(WANTED)
    assert len(main.asked) == 2
    await home.wish({})
    assert (main.table, await home.on_disk()) == ({}, {})


# Slow ones, that come to a few of all ports before time is up.


async def test_a_slow_one_is_asked_for_the_rest_at_once() -> None:
    """To be closed, too."""
    main = MemoryMainRouter(slow=3)
    home = Home(main)
    ports = [PublicPort("tcp", 6000 + number) for number in range(16)]
    desired = {public: ("GAME", PortMapping(public, public.port)) for public in ports}
    outcomes = await home.wish(desired)
    assert not home.asking.silent
    assert main.ways() == {public: public.port for public in ports}
    assert all(isinstance(outcomes[public].listed, Entry) for public in ports)
    assert len(main.calls) <= 2 * len(ports)
    await home.wish({})
    assert (main.table, await home.on_disk()) == ({}, {})
    assert not home.asking.silent


@pytest.mark.parametrize(
    ("slow", "calls"),
    [(1, ["open_free", "look", "apply"]), (9, ["open_free", "apply"])],
)
async def test_who_falls_silent_is_asked_once_more_at_the_most(
    slow: int, calls: list[str]
) -> None:
    """And what it may have heard is recorded."""
    main = MemoryMainRouter(slow=slow)
    home = Home(main)
    main.answers_left = 3
    await home.wish(BOTH)
    assert home.asking.silent
    assert main.calls == calls
    assert (await home.on_disk()).keys() == BOTH.keys()


# All that may happen.

PORTS: Final = tuple(PublicPort("tcp", 8000 + number) for number in range(4))
_FORWARDS: Final = st.dictionaries(
    st.sampled_from(PORTS), st.sampled_from([443, 8443]), max_size=len(PORTS)
)
_ENDS: Final = st.sampled_from(
    [ConnectionLost(message="cut"), asyncio.CancelledError()]
)
_WRITES: Final[Mapping[str, Callable[[str], str]]] = {
    "kept": lambda it: it,
    "shouted": str.upper,
    "cut": lambda it: it[:20],
    "blank": lambda _: "",
    "without signs": lambda it: it.replace(":", " ").replace("_", ""),
}
_LEASES: Final[Mapping[str, Callable[[int], Answer | None]]] = {
    "any": lambda _: None,
    "only for good": only(0),
    "402 but for good": none_but(Answer.INVALID, 0),
    "a week": none_but(Answer.INVALID, 604_800),
}


class Anything(RuleBasedStateMachine):
    """Wishes, others' ports, restarts, kills and full disks, in any order."""

    lists = True

    def __init__(self) -> None:
        """Begin with nothing."""
        super().__init__()
        self.patch = pytest.MonkeyPatch()
        self.clock = Clock()
        self.patch.setattr(asking_module, "time", self.clock)
        self.loop = asyncio.new_event_loop()
        self.main = MemoryMainRouter(Fate(), lists=self.lists)
        self.home = Home(self.main)
        self.desired: Desired = {}

    @override
    def teardown(self) -> None:
        """Let it be honest in the end, and see that nothing is left."""
        try:
            self.honest()
            self._do(self.home.wish({}))
            assert not self._ours()
            assert self.home.records.mappings == {}
        finally:
            self.loop.close()
            self.patch.undo()

    def _do[T](self, work: Coroutine[Any, Any, T]) -> T:
        """Have it done."""
        return self.loop.run_until_complete(work)

    def _ours(self) -> set[PublicPort]:
        """Return the ports that it has from us."""
        return {
            public
            for public, entry in self.main.table.items()
            if entry.client == CLIENT and entry.description != "by hand"
        }

    def _act(self, *anew: str) -> None:
        """Have all as it is desired, and see that what others have is left alone."""
        others = {
            public: entry
            for public, entry in self.main.table.items()
            if public not in self._ours()
        }
        with suppress(ConnectionLost, NotSaved, asyncio.CancelledError):
            self._do(self.home.wish(self.desired, *anew))
        now = self.main.table
        assert {public: now.get(public) for public in others} == others

    @rule(wished=_FORWARDS)
    def wish(self, wished: dict[PublicPort, int]) -> None:
        """Desire something else."""
        self.desired = {
            public: (f"F{public.port}", PortMapping(public, port))
            for public, port in wished.items()
        }
        self._act()

    @rule()
    def anew(self) -> None:
        """Set all anew."""
        self._act(*(key for key, _ in self.desired.values()))

    @rule(wished=_FORWARDS, step=st.integers(1, 8), end=_ENDS, done=st.booleans())
    def kill(
        self,
        wished: dict[PublicPort, int],
        step: int,
        end: BaseException,
        *,
        done: bool,
    ) -> None:
        """Desire something else, and end in the middle of it."""
        self.main.fate.end_at(step, end, done=done)
        self.wish(wished)
        self.main.fate.go_on()
        if isinstance(end, asyncio.CancelledError):
            self.restart()

    @rule()
    def restart(self) -> None:
        """Start Home Assistant."""
        self._do(self.home.start())

    @rule()
    def forget(self) -> None:
        """Start the main router."""
        self.main.restart()

    @rule(public=st.sampled_from(PORTS), client=st.sampled_from([NAS, CLIENT]))
    def take(self, public: PublicPort, client: Any) -> None:
        """Let another have a port: another host, or another program of our own."""
        # Of one that lists nothing, no one knows what it has for our own host.
        if public not in self._ours() and (self.lists or client == NAS):
            self.main.let_other_have(public, client, "by hand")

    @rule(public=st.sampled_from(PORTS))
    def end(self, public: PublicPort) -> None:
        """Let whatever is at a port be gone."""
        self.main.end(public)

    @rule(seconds=st.sampled_from([5, 30, 240, 4000, 700_000, -4000]))
    def wait(self, seconds: int) -> None:
        """Let time go by; or the clock be put back."""
        self.clock.now += seconds
        self._act()

    @rule(ports=st.dictionaries(st.sampled_from(PORTS), st.sampled_from(list(Answer))))
    def refuse(self, ports: dict[PublicPort, Answer]) -> None:
        """Let it refuse some ports, and not those for another's that are ours."""
        self.main.refuses = {
            public: kind
            for public, kind in ports.items()
            if self.lists or kind is not Answer.TAKEN
        }
        self._act()

    @rule(silent=st.booleans(), deaf=st.booleans(), garbled=st.booleans())
    def fail(self, *, silent: bool, deaf: bool, garbled: bool) -> None:
        """Let it be silent, not hear what it is to do, or talk nonsense."""
        self.main.silent, self.main.deaf, self.main.garbled = silent, deaf, garbled
        self._act()

    @rule(
        leases=st.sampled_from(sorted(_LEASES)), writes=st.sampled_from(sorted(_WRITES))
    )
    def change(self, leases: str, writes: str) -> None:
        """Let another firmware run there, which has nothing of what was."""
        self.main.leases, self.main.writes = _LEASES[leases], _WRITES[writes]
        self.main.restart()
        self._do(self.home.start())

    @rule(slow=st.integers(1, 5), at_once=st.booleans())
    def slow_down(self, slow: int, *, at_once: bool) -> None:
        """Let it come to so many ports at once, by one script or by two."""
        self.main.slow, self.main.at_once = slow, at_once
        self._act()

    @rule(full=st.booleans())
    def fill_disk(self, *, full: bool) -> None:
        """Let Home Assistant's disk be full."""
        self.home.file.full = full
        self._act()

    @rule()
    def honest(self) -> None:
        """All is well again: then what is desired is there, and no more."""
        self.main.silent = self.main.deaf = self.main.garbled = False
        self.main.refuses = {}
        self.home.file.full = False
        # What has gone within seconds may be what it never keeps.
        self.clock.now += 30
        self._act()
        self.anew()
        expected = {
            public: mapping.port
            for public, (_, mapping) in self.desired.items()
            if public in self._ours() or public not in self.main.table
        }
        ways = {public: self.main.table[public].port for public in self._ours()}
        assert ways == expected
        assert self.home.records.mappings.keys() == expected.keys()

    @invariant()
    def nothing_ours_is_unrecorded(self) -> None:
        """Whatever has just ended."""
        assert self._do(self.home.on_disk()).keys() >= self._ours()


class AnythingUnlisted(Anything):
    """Where the main router lists nothing: by what was asked for alone."""

    lists = False


TestAnything = Anything.TestCase
TestAnythingUnlisted = AnythingUnlisted.TestCase
TestAnything.settings = settings(deadline=None, stateful_step_count=30)
TestAnythingUnlisted.settings = TestAnything.settings


async def test_nothing_is_asked_that_is_not_recorded_before() -> None:
    """Where the disk is full: not even to close."""
    main = MemoryMainRouter()
    home = Home(main)
    home.file.full = True
    with pytest.raises(NotSaved):
        await home.wish(WANTED)
    assert main.asked == []
    home.file.full = False
    await home.wish(WANTED)
    home.file.full = True
    with pytest.raises(NotSaved):
        await home.wish({})
    assert list(home.records.mappings) == [WEB]


def test_a_record_stays_as_long_as_anything_of_ours_may_be_there() -> None:
    """By what was said and by what is listed."""
    before = Record("WEB", PortMapping(WEB, 443), 0, 7200, NOW)
    ours = Entry(CLIENT, 443, OWNER.description("WEB", 0), 7200)
    cases: list[tuple[Refusal | None, Listed, bool]] = [
        (None, None, True),
        (None, ours, False),
        (None, Entry(NAS, 1, "nas"), True),
        (None, Refusal(Answer.UNSUPPORTED), True),
        (Refusal(Answer.NOT_ALLOWED), ours, False),
        (Refusal(Answer.NOT_ALLOWED), None, True),
        (Refusal(Answer.NOT_ALLOWED), Refusal(Answer.UNSUPPORTED), False),
        (Refusal(Answer.SILENT), Refusal(Answer.SILENT), False),
        (Refusal(Answer.NONSENSE), Refusal(Answer.NONSENSE), False),
    ]
    for refusal, listed, gone in cases:
        found = after(
            OWNER,
            {WEB: before},
            {},
            [before.mapping],
            {WEB: Outcome(refusal, listed)},
        )
        assert (found == {}) is gone, (refusal, listed)
