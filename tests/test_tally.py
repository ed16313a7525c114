"""The total of a forward's connections: it grows, and never lies upwards."""

from ipaddress import IPv4Address

from hypothesis import given, strategies as st

from custom_components.bypass_router.counters.tally import Tally

READ = "read"
STEPS = st.lists(
    st.one_of(
        st.tuples(st.sampled_from(["connect", "test"]), st.integers(1, 5)),
        st.tuples(
            st.sampled_from([READ, "flush", "reboot", "kill", "save"]), st.just(0)
        ),
    ),
    max_size=40,
)


class World:
    """A router, its visitors, and a Home Assistant that reads and may be killed."""

    def __init__(self) -> None:
        """No one has come yet."""
        self.came = self.counter = self.boot = self.own = self.unsaved = 0
        self.tally = self.disk = Tally()
        self.clock = 0.0

    def connect(self, times: int) -> None:
        """Someone comes."""
        self.came += times
        self.counter += times

    def test(self, times: int) -> None:
        """Home Assistant itself comes, and knows it."""
        self.counter += times
        self.own += times
        self.unsaved += times

    def read(self, _: int = 0) -> None:
        """Home Assistant reads the counter; a new life of it goes to the disk."""
        before, self.clock = self.tally, self.clock + 1
        own, self.own = self.own, 0
        self.tally = before.counted(self.counter, str(self.boot), self.clock, own)
        if not self.tally.continues(before):
            self.save()

    def flush(self, _: int = 0) -> None:
        """The rules are set again."""
        self.counter = 0

    def reboot(self, _: int = 0) -> None:
        """The router starts again."""
        self.counter = 0
        self.boot += 1

    def kill(self, _: int = 0) -> None:
        """Home Assistant starts again, with what is on disk; not whose they were."""
        self.tally = self.disk
        self.came += self.unsaved
        self.own = self.unsaved = 0

    def save(self, _: int = 0) -> None:
        """What is known goes to the disk."""
        self.disk = self.tally
        self.unsaved = self.own


@given(STEPS)
def test_whatever_happens_no_connection_is_counted_twice(
    steps: list[tuple[str, int]],
) -> None:
    """And the total never falls, but for what a kill makes it forget."""
    world = World()
    for what, times in steps:
        before = world.tally.total
        getattr(world, what)(times)
        assert world.tally.total <= world.came
        assert what == "kill" or world.tally.total >= before


@given(STEPS)
def test_none_is_missed_if_it_is_read_before_and_after_the_rules_end(
    steps: list[tuple[str, int]],
) -> None:
    """As it is read when a connection comes, and whenever the rules change."""
    world = World()
    for what, times in steps:
        if what in {"flush", "reboot"}:
            world.read()
        getattr(world, what)(times)
        if what in {"flush", "reboot", "kill"}:
            world.read()
    world.read()
    assert world.tally.total == world.came


@given(st.lists(st.integers(1, 5), max_size=10))
def test_a_kill_alone_loses_nothing(comings: list[int]) -> None:
    """The router's own counter holds what was not written down."""
    world = World()
    for times in comings:
        world.connect(times)
        world.read()
        world.kill()
        world.read()
        assert world.tally.total == world.came


def test_our_own_that_are_heard_of_early_are_taken_off_once_they_are_counted() -> None:
    """Unless the rules have ended by then, and their counter with them."""
    early = Tally().counted(1, "a", 1.0, own=2)
    assert (early.total, early.last) == (0, None)
    assert early.counted(3, "a", 2.0).total == 1
    assert early.counted(3, "b", 2.0).total == 3


def test_the_last_connection_is_the_last_that_was_gained() -> None:
    """A reading without a new one leaves it; an older hint does not turn it back."""
    tally = Tally().counted(2, "a", 100.0)
    assert tally.last == 100.0
    assert tally.counted(2, "a", 200.0).last == 100.0
    assert tally.counted(3, "a", 90.0).last == 100.0
    assert tally.counted(3, "b", 300.0).last == 300.0
    assert Tally().counted(0, "a", 100.0).last is None


def test_whose_the_last_connection_was_is_known_if_that_one_was_told() -> None:
    """A reading without a new one leaves it; one of an unknown client's does not."""
    client, other = IPv4Address("198.51.100.7"), IPv4Address("198.51.100.8")
    tally = Tally().counted(1, "a", 1.0, source=client)
    assert tally.source == client
    assert tally.counted(1, "a", 2.0).source == client
    assert tally.counted(2, "a", 2.0, own=1).source == client
    assert tally.counted(2, "a", 2.0, source=other).source == other
    unknown = tally.counted(2, "a", 2.0)
    assert unknown.source is None
    assert unknown.counted(2, "a", 3.0, source=other).source == other


def test_after_a_restart_of_the_router_its_counter_is_counted_in_full() -> None:
    """Also where it is beyond what it was before: no one read it in between."""
    assert Tally().counted(2, "a", 1.0).counted(5, "b", 2.0).total == 7
    assert Tally().counted(2, "a", 1.0).counted(5, "a", 2.0).total == 5
