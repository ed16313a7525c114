"""The main router's half of a switch, beside the bypass router's."""

import asyncio
from collections.abc import Awaitable, Callable
from functools import partial

from tests.lab.miniupnpd import Miniupnpd

from .bench import Bench
from .figures import Lists, Row, Sample, ratio, rounds
from .home import Entry, Turn, wait_for
from .traffic import Call
from .variants import Variant

_MOST_TRIPS = 2
_MOST_RATIO = 1.5


async def measure_main(bench: Bench, variant: Variant) -> list[Row]:
    """From the bypass router's half that was read back to the main router's.

    Once with the main router set by hand, and once with it asked for its half.
    """
    seen = Lists()
    with bench.upnp() as daemon:
        async with bench.entry(bench.size.home) as entry:
            ways: list[Callable[[], Awaitable[None]]] = [
                partial(_turn_by_hand, bench, entry, daemon, seen),
                partial(_turn_both, bench, entry, daemon, seen),
            ]
            for _ in rounds(bench.size.rounds, bench.size.seconds):
                for turn in ways:
                    await turn()
                ways.reverse()
    trips = Sample(seen.pop("trips"), "")
    by_hand, half = Sample(seen.pop("by hand")), Sample(seen.pop("half"))
    times = ratio(half, by_hand)
    what = "switch on, the main router's half"
    return [
        Row(
            "main",
            variant.name,
            what,
            half,
            f"{times:.2f}×",
            times,
            f"≤ {_MOST_RATIO}×",
            times <= _MOST_RATIO,
            "bypass half",
            by_hand,
            seen.samples(),
        ),
        Row(
            "main",
            variant.name,
            "switch on, main router's round trips",
            trips,
            "",
            max(trips.values),
            f"≤ {_MOST_TRIPS}",
            max(trips.values) <= _MOST_TRIPS,
        ),
    ]


async def _turn_by_hand(
    bench: Bench, entry: Entry, daemon: Miniupnpd, seen: Lists
) -> None:
    """Turn a switch off and on, which is all of it."""
    await _choose(bench, entry, daemon, "manual", mapped=0)
    for _ in range(bench.size.toggles):
        off, _ = await _turn(bench, entry, "off")
        on, _ = await _turn(bench, entry, "on")
        seen.add("by hand", on.ended - on.began)
        seen.add("off, by hand", off.ended - off.began)


async def _turn_both(
    bench: Bench, entry: Entry, daemon: Miniupnpd, seen: Lists
) -> None:
    """Turn a switch off and on, and the main router's half with it."""
    await _choose(bench, entry, daemon, "upnp", mapped=entry.number)
    for _ in range(bench.size.toggles):
        off, _ = await _turn(bench, entry, "off")
        on, calls = await _turn(bench, entry, "on")
        seen.add("half", on.ended - on.shown)
        seen.add("trips", len(calls))
        seen.add("its scripts", sum(call.seconds for call in calls))
        seen.add("both halves on", on.ended - on.began)
        seen.add("both halves off", off.ended - off.began)


async def _turn(bench: Bench, entry: Entry, state: str) -> tuple[Turn, list[Call]]:
    """Turn a switch; return also the scripts that asked the main router for it.

    A look at what was set some seconds ago may come between, and has several ports.
    """
    await bench.traffic.quiet()
    bench.traffic.forget()
    turn = await entry.timed_turn(state, entry.switches[-1])
    asking = (call for call in bench.traffic.calls if call.asks)
    calls = [call for call in asking if len(call.public_ports) <= 1]
    return turn, [call for call in calls if call.ended <= turn.ended]


async def _choose(
    bench: Bench, entry: Entry, daemon: Miniupnpd, main_router: str, *, mapped: int
) -> None:
    """Choose whether the main router is asked, and wait until it is as it is to be."""
    entry.choose(main_router=main_router)
    found: list[int] = []

    async def count() -> None:
        while not found or found[-1] != mapped:
            found.append(len(await asyncio.to_thread(daemon.mappings)))

    counting = asyncio.create_task(count())
    await wait_for(f"{mapped} mappings", counting.done)
    await counting
    await bench.traffic.quiet()
