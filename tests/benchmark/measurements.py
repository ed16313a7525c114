"""The measurements, each of one way to have rules; they return lines of the table.

What is compared is measured in the same rounds, one after the other.
"""

import asyncio
from collections.abc import Awaitable, Callable
import random
import time
from typing import Final

import asyncssh

from .bench import Bench
from .figures import Lists, MeasurementFailed, Row, Sample, milliseconds, ratio, rounds
from .home import FIRST_PORT, Entry, wait_for
from .main_half import measure_main
from .outage import Flows, outage
from .traffic import Call
from .variants import Variant

type Measurement = Callable[[Bench, Variant], Awaitable[list[Row]]]

# Seconds for which packets are watched beyond what is waited for.
_LINGER: Final = 0.1
# Seconds without a word after which the router has nothing left to do.
_SETTLED: Final = 1.0
_STATES: Final = ("off", "on")
# Seconds beyond the time to load the rules, until packets pass again: where the
# router says what changed, and where it is looked at.
_LONGEST_OUTAGE: Final = {True: 0.1, False: 2.0}


async def run_script(connection: asyncssh.SSHClientConnection, text: str) -> float:
    """Run a script by hand; return the seconds until all of its output was there."""
    began = time.perf_counter()
    done = await connection.run("exec sh -s", input=text, stderr=asyncssh.STDOUT)
    ended = time.perf_counter()
    # The last line that our scripts print is their own, and a length.
    if " done " not in str(done.stdout).rstrip().rpartition("\n")[2]:
        raise MeasurementFailed(f"By hand, the script failed: {done.stdout!s:.200}")
    return ended - began


async def measure_switch(bench: Bench, variant: Variant) -> list[Row]:
    """From the service call to the state that was read back."""
    seen = Lists()
    texts: dict[str, str] = {}
    async with bench.entry(bench.size.home) as entry, bench.connection() as connection:
        await entry.unload()
        ways: list[Callable[[], Awaitable[None]]] = [
            lambda: _turn_ours(bench, entry, seen, texts),
            lambda: _turn_by_hand(bench, connection, seen, texts),
            lambda: _turn_by_shell(bench, seen),
        ]
        for number in rounds(bench.size.rounds, bench.size.seconds):
            # The first round takes note of the scripts, and so begins with ours.
            first = number % len(ways)
            for turn in ways[first:] + ways[:first]:
                await turn()
        await entry.load()
    return [row for state in _STATES for row in _switch_rows(variant, state, seen)]


def _switch_rows(variant: Variant, state: str, seen: Lists) -> list[Row]:
    """Judge one direction; a kernel takes longer to remove a rule than to add it."""
    measured, script, hand, shell = (
        Sample(seen[f"{way} {state}"]) for way in ("ours", "script", "hand", "shell")
    )
    slower, faster = ratio(measured, hand), ratio(shell, measured)
    what = f"switch {state}, call to state read back"
    return [
        Row(
            "switch",
            variant.name,
            what,
            measured,
            f"{slower:.2f}×",
            slower,
            "≤ 1.3×",
            slower <= 1.3,
            "by hand",
            hand,
            {"of which the script on the connection": script},
        ),
        Row(
            "switch",
            variant.name,
            what,
            measured,
            f"{faster:.1f}× faster",
            faster,
            "≥ 5× faster",
            faster >= 5,
            "shell_command",
            shell,
        ),
    ]


async def _turn_ours(
    bench: Bench, entry: Entry, seen: Lists, texts: dict[str, str]
) -> None:
    """Turn a switch off and on, and keep the scripts that did it."""
    await entry.load()
    for state in _STATES * bench.size.toggles:
        await bench.traffic.quiet()
        bench.traffic.forget()
        seen.add(f"ours {state}", await entry.time_turn(state, entry.switches[-1]))
        change = bench.traffic.changes[0]
        texts[state] = change.text
        seen.add(f"script {state}", change.seconds)
    await bench.traffic.quiet()
    await entry.unload()


async def _turn_by_hand(
    bench: Bench,
    connection: asyncssh.SSHClientConnection,
    seen: Lists,
    texts: dict[str, str],
) -> None:
    """Run the same scripts on a connection that stands, and do nothing else."""
    for state in _STATES * bench.size.toggles:
        seen.add(f"hand {state}", await run_script(connection, texts[state]))


async def _turn_by_shell(bench: Bench, seen: Lists) -> None:
    """Do what people do without us: an action that runs `ssh … iptables`."""
    for state in ("on", "off") * bench.size.toggles:
        began = time.perf_counter()
        answer = await bench.hass.services.async_call(
            "shell_command",
            f"{bench.variant.firewall}_{state}",
            blocking=True,
            return_response=True,
        )
        seen.add(f"shell {state}", time.perf_counter() - began)
        if not answer or answer["returncode"]:
            raise MeasurementFailed(f"The shell_command failed: {answer}")


async def measure_flush(bench: Bench, variant: Variant) -> list[Row]:
    """From a flush by someone else until packets pass again."""
    out, bare = [], []
    parts = Lists()
    async with bench.entry(bench.size.home) as entry:
        with bench.console() as console:
            for _ in rounds(bench.size.rounds, bench.size.seconds):
                flows = Flows(bench.lab, FIRST_PORT)
                # A loop that looks once a second is met at any of its moments.
                await asyncio.sleep(random.uniform(0.1, 1.1))
                await bench.traffic.quiet()
                bench.traffic.forget()
                began = time.perf_counter()
                await asyncio.to_thread(console.time, variant.flush)
                await wait_for("change", lambda: bench.traffic.changes)
                await asyncio.sleep(_LINGER)
                lost, passed = outage(await asyncio.to_thread(flows.stop), began)
                out.append(passed - lost)
                change = bench.traffic.changes[0]
                heard = min(at for at in bench.traffic.heard if at > began)
                parts.add("until heard", heard - lost)
                parts.add("read and plan", change.began - heard)
                parts.add("restore until packets pass", passed - change.began)
                # Home Assistant holds back after five in a minute: a new start.
                await entry.unload()
                for _ in range(2):
                    console.time(variant.flush)
                    bare.append(bench.bare_restore(console, change))
                await entry.load()
    measured, alone = Sample(out), Sample(bare)
    beyond = measured.median - alone.median
    limit = _LONGEST_OUTAGE[variant.monitored]
    return [
        Row(
            "flush",
            variant.name,
            "flush, until packets pass again",
            measured,
            f"+{milliseconds(beyond)} ms",
            beyond,
            f"< +{limit * 1000:g} ms",
            beyond < limit,
            "bare restore",
            alone,
            parts.samples(),
        )
    ]


async def measure_reboot(bench: Bench, variant: Variant) -> list[Row]:
    """From the connection to a router that has restarted until all forwards are on."""
    seen = Lists()
    parts = Lists()
    async with bench.entry(bench.size.most) as entry:
        for _ in rounds(min(3, bench.size.rounds), bench.size.seconds):
            await bench.traffic.quiet()
            change = await _reboot_once(bench, entry, seen, parts)
            with bench.console() as console:
                seen.add("transactions", bench.restores(console))
                await entry.unload()
                for _ in range(2):
                    bench.clean(console)
                    seen.add("bare", bench.bare_restore(console, change))
                bench.clean(console)
                async with bench.connection() as connection:
                    # The first command on a connection takes longer.
                    await connection.run("true")
                    by_hand = await run_script(connection, change.text)
                    parts.add("(the same restore and read-back by hand)", by_hand)
            await entry.load()
            await entry.until_on()
    counted = Sample(seen["transactions"], "")
    transaction, live, bare = map(Sample, (seen["passed"], seen["live"], seen["bare"]))
    what = f"reboot, {bench.size.most} forwards: "
    return [
        Row(
            "reboot",
            variant.name,
            f"{what}transactions",
            counted,
            "",
            max(counted.values),
            "≤ 2",
            max(counted.values) <= 2,
        ),
        *(
            Row(
                "reboot",
                variant.name,
                f"{what}{which}",
                measured,
                f"{ratio(measured, bare):.1f}×",
                ratio(measured, bare),
                "≤ 1.5×",
                ratio(measured, bare) <= 1.5,
                "bare restore",
                bare,
                shown,
            )
            for which, measured, shown in (
                ("restore to packets", transaction, {}),
                ("connected to all on", live, parts.samples()),
            )
        ),
    ]


async def _reboot_once(bench: Bench, entry: Entry, seen: Lists, parts: Lists) -> Call:
    """Restart the router, note what there is to note; return the first change."""
    traffic = bench.traffic
    flows = Flows(bench.lab, FIRST_PORT)
    traffic.forget()
    began = time.perf_counter()
    await bench.reboot()
    await wait_for("connection", lambda: traffic.opened)
    live = await entry.until_on()
    await traffic.quiet()
    _, passed = outage(await asyncio.to_thread(flows.stop), began)
    opened, change = traffic.opened[0], traffic.changes[0]
    # One that was under way when the router went is noted too, as it fails.
    probe = next(call for call in traffic.calls if call.began > opened)
    ready = min(at for at in traffic.heard if at > opened)
    seen.add("passed", passed - change.began)
    seen.add("live", live - opened)
    parts.add("probe", probe.ended - opened)
    parts.add("watcher", ready - probe.ended)
    parts.add("read and plan", change.began - ready)
    parts.add("restore and read-back", change.seconds)
    parts.add("states", live - change.ended)
    parts.add("(packets pass after)", passed - opened)
    return change


async def measure_quiet(bench: Bench, variant: Variant) -> list[Row]:
    """How many processes the router starts while nothing happens."""
    async with bench.entry(bench.size.home) as entry:
        # As it is for most of the time: not just set up, and not just changed.
        await entry.unload()
        await entry.load()
        # A shell for the next script is there a moment after the last one has run.
        await bench.traffic.quiet(_SETTLED)
        with bench.console() as console:
            before = console.processes()
            await asyncio.sleep(bench.size.quiet)
            # The last number is this look's own.
            started = console.processes() - before - 1
    return [
        Row(
            "quiet",
            variant.name,
            f"{bench.size.quiet:g} quiet seconds, processes started",
            Sample([started], ""),
            f"{started / bench.size.quiet * 60:.0f} a minute",
            started,
            "0" if variant.monitored else "",
            started == 0 if variant.monitored else None,
        )
    ]


async def measure_setup(bench: Bench, variant: Variant) -> list[Row]:
    """Setting up a router whose forwards are all active, as at a start."""
    took, trips = [], []
    parts = Lists()
    async with bench.entry(bench.size.many) as entry:
        for _ in rounds(bench.size.rounds, bench.size.seconds):
            await bench.traffic.quiet()
            await entry.unload()
            bench.traffic.forget()
            began = time.perf_counter()
            await entry.load()
            live = await entry.until_on()
            await bench.traffic.quiet()
            took.append(live - began)
            trips.append(bench.traffic.round_trips)
            probe, ready = bench.traffic.calls[0], bench.traffic.heard[0]
            parts.add("connect", bench.traffic.opened[0] - began)
            parts.add("probe", probe.seconds)
            parts.add("watcher", ready - probe.ended)
            parts.add("read and switches", live - ready)
    return [
        Row(
            "setup",
            variant.name,
            f"set up {bench.size.many} forwards",
            Sample(took),
            "",
            Sample(took).median,
            "",
            None,
            parts=parts.samples(),
        ),
        Row(
            "setup",
            variant.name,
            f"set up {bench.size.many} forwards, round trips",
            Sample(trips, ""),
            "",
            max(trips),
            "≤ 3",
            max(trips) <= 3,
        ),
    ]


MEASUREMENTS: Final[dict[str, Measurement]] = {
    "switch": measure_switch,
    "main": measure_main,
    "flush": measure_flush,
    "quiet": measure_quiet,
    "setup": measure_setup,
    "reboot": measure_reboot,
}
