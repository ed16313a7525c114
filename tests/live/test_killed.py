"""Home Assistant is killed at any moment, and the next start makes all as desired."""

from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from datetime import datetime
import json
import random
import threading
import time

import pytest

from tests.client import Connection
from tests.lab.disk import REAL_COMMANDS
from tests.lab.waiting import wait_until

from .client import RequestRefused
from .fixtures import Live
from .flows import AddedForward
from .instance import DOMAIN

PORTS = (8441, 8442, 8443, 8444)
GUEST = 8445
# A command that does what it is asked to when someone lets it, or not at all.
WAITS = f"""#!/bin/sh
[ "$*" = "-f -" ] || exec {REAL_COMMANDS}/sbin/nft "$@"
asked=$(cat)
until [ -e /tmp/go ]; do sleep 0.05; done
printf '%s\\n' "$asked" | {REAL_COMMANDS}/sbin/nft "$@"
"""
HANGS = f"""#!/bin/sh
[ "$*" = "-f -" ] || exec {REAL_COMMANDS}/sbin/nft "$@"
sleep 15
"""
CHANGE = "nft -f -"


@dataclass(frozen=True)
class Home:
    """A Home Assistant with a router and a forward for each port, and its network."""

    live: Live
    entry_id: str
    forwards: Mapping[int, AddedForward]

    def turn(self, state: str, *ports: int) -> None:
        """Call the action, and wait until it has returned."""
        entities = [self.forwards[port].entity_id for port in ports]
        self.live.home_assistant.call("switch", f"turn_{state}", entity_id=entities)

    def turn_all(self, states: Mapping[int, str]) -> None:
        """Turn each forward on or off."""
        for state in ("on", "off"):
            self.turn(state, *(port for port in states if states[port] == state))

    def passes(self, port: int) -> bool:
        """Return whether payload goes from the internet to the target and back."""
        lab = self.live.lab
        return lab.internet.exchange("tcp", lab.main.wan_address, port).passed

    def state(self, port: int) -> str:
        """Return the state of a forward's switch; it must be what the kernel does."""
        entity_id = self.live.flows.switch(self.forwards[port].subentry_id)
        state = self.live.home_assistant.state(entity_id)
        assert self.passes(port) == (state == "on"), f"{port} is {state}"
        return str(state)

    def states(self) -> dict[int, str]:
        """Return the states of all switches, each checked."""
        return {port: self.state(port) for port in self.forwards}

    def wished(self) -> set[int]:
        """Return the ports of the forwards that are desired, as they stand on disk."""
        store = f".storage/bypass_router.{self.entry_id}"
        text = (self.live.home_assistant.config / store).read_text()
        ids = json.loads(text)["data"]["wished"]
        return {
            port
            for port, forward in self.forwards.items()
            if forward.subentry_id in ids
        }

    def runs(self, what: str) -> bool:
        """Return whether a command is running on the router."""
        return what in self.live.lab.bypass.run("ps", "-eo", "args=").stdout

    def mend(self) -> None:
        """Put the command back that a test has replaced, and touch no other."""
        self.live.lab.bypass.commands.link("nft", "nft")

    @contextmanager
    def killed(self) -> Iterator[None]:
        """Kill Home Assistant, and start it again in the end."""
        self.live.home_assistant.kill()
        try:
            yield
        finally:
            self.live.home_assistant.start()


@pytest.fixture(scope="module")
def home_of_module(live_of_module: Live) -> Iterator[Home]:
    """Add the router and its forwards once for all tests."""
    live = live_of_module
    lab = live.lab
    lab.target.serve("tcp", f"{PORTS[0]}-{GUEST}")
    router = live.flows.add_router(
        lab.bypass.address, password=lab.bypass.root_password
    )
    forwards = {port: add_forward(live, router.entry_id, port) for port in PORTS}
    for forward in forwards.values():
        live.home_assistant.stored_entries(forward.subentry_id)
    yield Home(live, router.entry_id, forwards)
    live.flows.remove_router(router.entry_id)


@pytest.fixture
def home(live: Live, home_of_module: Home) -> Iterator[Home]:
    """Home Assistant with two forwards on, and two off."""
    states = dict(zip(PORTS, ("on", "off", "on", "off"), strict=True))
    home_of_module.turn_all(states)
    assert home_of_module.states() == states
    yield home_of_module
    home_of_module.mend()


def add_forward(live: Live, entry_id: str, port: int) -> AddedForward:
    """Add a forward of this port."""
    return live.flows.add_forward(
        entry_id,
        name=f"Port {port}",
        protocol="tcp",
        external_port=str(port),
        target=live.lab.target.address,
    )


def test_a_wish_that_was_confirmed_is_so_after_the_next_start(home: Home) -> None:
    """Killed the moment the action returned; the router restarts meanwhile."""
    wait_until(lambda: home.runs("nft monitor"))
    home.turn("off", 8441)
    home.turn("on", 8442)
    with home.killed():
        assert home.passes(8442)
        assert not home.passes(8441)
        # Nothing of ours runs on there.
        wait_until(lambda: not home.runs("nft monitor"))
        home.live.lab.bypass.reboot()
        assert not home.passes(8442)
    assert home.states() == {8441: "off", 8442: "on", 8443: "on", 8444: "off"}


def test_both_come_up_at_once_and_the_router_is_the_later_one(home: Home) -> None:
    """No switch shows what no one knows; with the router, all is as it was."""
    bypass, home_assistant = home.live.lab.bypass, home.live.home_assistant
    with home.killed():
        bypass.stop_ssh()
        bypass.reboot()
    flows, entry_id = home.live.flows, home.entry_id
    # The set-up may be under way yet.
    wait_until(lambda: flows.entry(entry_id)["state"] == "setup_retry")
    for forward in home.forwards.values():
        # None: not even that there is such a switch was written down.
        assert home_assistant.state(forward.entity_id) in {"unavailable", None}
    assert not home.passes(8441)
    bypass.start_ssh()
    # It would by itself, ten seconds after its start.
    home_assistant.api(
        "POST", f"/api/config/config_entries/entry/{home.entry_id}/reload"
    )
    assert home.states() == {8441: "on", 8442: "off", 8443: "on", 8444: "off"}


def test_killed_amid_leases(home: Home) -> None:
    """One ends while nobody is there; what is left of another outlives a restart."""
    call = home.live.home_assistant.call
    for port, seconds in ((8442, 10), (8444, 3600)):
        forward = home.forwards[port].entity_id
        duration = {"seconds": seconds}
        call(DOMAIN, "open_for", entity_id=forward, duration=duration)
        assert home.state(port) == "on"
    user = Connection(home.live.lab, port=8442)
    with home.killed():
        assert user.lives()
        wait_until(lambda: not home.passes(8442))
        assert not user.lives()
        assert home.passes(8444)
        home.live.lab.bypass.reboot()
        assert not home.passes(8444)
    assert home.states() == {8441: "on", 8442: "off", 8443: "on", 8444: "on"}
    shown = home.live.home_assistant.state("sensor.port_8444_closes_at")
    left = datetime.fromisoformat(str(shown)).timestamp()
    assert 3400 < left - time.time() < 3601
    home.turn("off", 8444)


@pytest.mark.parametrize("seed", range(3))
def test_killed_amid_a_burst_of_toggles(home: Home, seed: int) -> None:
    """Each switch is as its last call that returned, or as the one on its way."""
    chance = random.Random(seed)
    confirmed = home.states()
    asked = dict(confirmed)
    plans = {port: chance.choices(("on", "off"), k=10_000) for port in PORTS}
    begun, over = threading.Event(), threading.Event()

    def toggle(port: int) -> int:
        """Toggle one forward until Home Assistant is gone; return how many times."""
        for times, wish in enumerate(plans[port]):
            asked[port] = wish
            try:
                home.turn(wish, port)
            except OSError, RequestRefused:
                assert over.is_set()
                return times
            confirmed[port] = wish
            begun.set()
        raise AssertionError("it was never killed")

    with ThreadPoolExecutor(len(PORTS)) as pool:
        bursts = [pool.submit(toggle, port) for port in PORTS]
        wait_until(begun.is_set)
        time.sleep(chance.uniform(0.0, 1.0))
        over.set()
        with home.killed():
            assert sum(burst.result() for burst in bursts) > 0
            wished = home.wished()
    found = home.states()
    for port, state in found.items():
        assert state in {confirmed[port], asked[port]}
    assert wished == {port for port, state in found.items() if state == "on"}


def test_killed_between_the_wish_and_the_router(home: Home) -> None:
    """The wish was on disk; what the router does of it too late is undone."""
    bypass = home.live.lab.bypass
    bypass.commands.replace("nft", WAITS)
    changed = [home.forwards[port].entity_id for port in (8441, 8442)]
    call = threading.Thread(target=ask, args=(home, changed))
    call.start()
    wait_until(lambda: home.wished() == {8442, 8443} and home.runs(CHANGE))
    assert home.passes(8441)
    assert not home.passes(8442)
    with home.killed():
        call.join()
        home.mend()
    assert home.states() == {8441: "off", 8442: "on", 8443: "on", 8444: "off"}
    home.turn("on", 8441)
    home.turn("off", 8442)
    assert home.runs(CHANGE)
    bypass.run("touch", "/tmp/go")
    wait_until(lambda: not home.runs(CHANGE))
    wait_until(lambda: home.passes(8441) and not home.passes(8442))
    assert home.states() == {8441: "on", 8442: "off", 8443: "on", 8444: "off"}
    bypass.run("rm", "/tmp/go")


def ask(home: Home, entities: list[str]) -> None:
    """Toggle switches, and don't mind to get no answer."""
    with suppress(OSError):
        home.live.home_assistant.call("switch", "toggle", entity_id=entities)


@pytest.mark.parametrize("stored", [False, True])
def test_killed_after_a_forward_was_removed(home: Home, stored: bool) -> None:
    """Home Assistant may have forgotten that, but a rule without a switch is gone."""
    live = home.live
    guest = add_forward(live, home.entry_id, GUEST)
    live.home_assistant.call("switch", "turn_on", entity_id=guest.entity_id)
    assert home.passes(GUEST)
    live.home_assistant.stored_entries(guest.subentry_id)
    if stored:
        # It can't be carried out before Home Assistant has written it down.
        live.lab.bypass.commands.replace("nft", HANGS)
    live.flows.remove_forward(home.entry_id, guest.subentry_id)
    if stored:
        entries = live.home_assistant.config / ".storage/core.config_entries"
        wait_until(lambda: guest.subentry_id not in entries.read_text())
    with home.killed():
        assert home.passes(GUEST) or not stored
        home.mend()
    left = live.home_assistant.command(
        "config_entries/subentries/list", entry_id=home.entry_id
    )
    if any(found["subentry_id"] == guest.subentry_id for found in left):
        assert not stored
        on = live.home_assistant.state(live.flows.switch(guest.subentry_id)) == "on"
        assert home.passes(GUEST) == on
        live.flows.remove_forward(home.entry_id, guest.subentry_id)
        wait_until(lambda: not home.passes(GUEST))
    assert not home.passes(GUEST)
    assert str(GUEST) not in live.lab.bypass.run("nft", "list", "ruleset").stdout
    assert home.states() == {8441: "on", 8442: "off", 8443: "on", 8444: "off"}


def test_no_packet_is_lost_over_a_restart(home: Home) -> None:
    """Stopped as an update does it: the forwards go on all the while."""
    over = threading.Event()

    def exchange() -> list[bool]:
        """Exchange payload over and over."""
        passed = []
        while not over.is_set():
            passed.append(home.passes(8441))
            time.sleep(0.005)
        return passed

    with ThreadPoolExecutor(1) as pool:
        exchanges = pool.submit(exchange)
        try:
            home.live.home_assistant.restart()
            assert home.state(8441) == "on"
        finally:
            over.set()
        passed = exchanges.result()
    assert len(passed) > 50
    assert all(passed)


def test_nothing_of_all_this_was_an_error(home: Home) -> None:
    """Home Assistant's log has no warning of ours."""
    assert home.live.home_assistant.errors_in_log() == []
