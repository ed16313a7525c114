"""`python -m tests.benchmark`: measures, and prints the table."""

import argparse
import asyncio
from collections.abc import Sequence
from dataclasses import replace
import io
import json
import logging
import os
from pathlib import Path
import platform
import subprocess
import sys
import tempfile
import time
from typing import Any, Final

import asyncssh
import homeassistant.const
from homeassistant.exceptions import HomeAssistantError
from homeassistant.runner import create_event_loop

from tests.lab.network import Lab
from tests.lab.requirements import LabUnavailable

from .bench import QUICK, Size, bench
from .figures import MeasurementFailed, Row, details, table
from .measurements import MEASUREMENTS
from .variants import VARIANTS

# Seconds for all of it, the minutes of --long aside.
_LIMIT: Final = 270
_LONG_QUIET: Final = 60.0
_INTERRUPTED: Final = 130
_FAULTS: Final = (
    MeasurementFailed,
    LabUnavailable,
    HomeAssistantError,
    asyncssh.Error,
    OSError,
    subprocess.SubprocessError,
)


def say(text: str) -> None:
    """Tell how far it is; stdout is for the numbers."""
    print(text, file=sys.stderr, flush=True)


async def measure(
    lab: Lab, names: Sequence[str], size: Size, folder: Path
) -> list[Row]:
    """Take these measurements, for each way to have rules."""
    rows: list[Row] = []
    async with bench(lab, size, folder) as equipment:
        for variant in VARIANTS:
            await equipment.use(variant)
            for name in names:
                began = time.monotonic()
                rows += await MEASUREMENTS[name](equipment, variant)
                took = time.monotonic() - began
                print(
                    f"{name}, {variant.name}: {took:.1f} s", file=sys.stderr, flush=True
                )
    order = list(MEASUREMENTS)
    return sorted(rows, key=lambda row: order.index(row.name))


def taken(lab: Lab, size: Size) -> dict[str, Any]:
    """Return what it was measured on."""

    def first_line(*argv: str) -> str:
        done = subprocess.run(argv, check=True, capture_output=True, text=True)
        return (done.stdout or done.stderr).splitlines()[0]

    return {
        "kernel": platform.release(),
        "cores": len(os.sched_getaffinity(0)),
        "load": round(os.getloadavg()[0], 2),
        "python": platform.python_version(),
        "homeassistant": homeassistant.const.__version__,
        "asyncssh": asyncssh.__version__,
        "iptables": lab.bypass.run("iptables", "-V").stdout.split()[1],
        "nft": lab.bypass.run("nft", "-v").stdout.split()[1],
        "ssh": first_line("ssh", "-V").split(",")[0],
        "rounds": size.rounds,
    }


def main() -> int:
    """Build the lab, measure in it, and print; return the exit status."""
    parser = argparse.ArgumentParser("scripts/benchmark", description=__doc__)
    parser.add_argument("--json", metavar="FILE", dest="file")
    parser.add_argument("--only", action="append", choices=list(MEASUREMENTS))
    parser.add_argument("--markdown", action="store_true")
    parser.add_argument("--quick", action="store_true")
    parser.add_argument("--long", action="store_true")
    chosen = parser.parse_args()
    size = QUICK if chosen.quick else Size()
    if chosen.long:
        size = replace(size, quiet=_LONG_QUIET)
    # That a router which restarts is lost for a while is no news here.
    logging.basicConfig(level=logging.CRITICAL)
    names = chosen.only or list(MEASUREMENTS)
    limit = _LIMIT + (len(VARIANTS) * size.quiet if chosen.long else 0)
    began = time.monotonic()
    try:
        with Lab() as lab, tempfile.TemporaryDirectory() as folder, lab.home.enter():
            about = taken(lab, size)
            with asyncio.Runner(loop_factory=create_event_loop) as runner:
                rows = runner.run(
                    asyncio.wait_for(measure(lab, names, size, Path(folder)), limit)
                )
    except KeyboardInterrupt:
        return _INTERRUPTED
    except TimeoutError:
        say(f"benchmark: not done within {limit:g} s")
        return 1
    except _FAULTS as err:
        say(f"benchmark: {err}")
        return 1
    about["seconds"] = round(time.monotonic() - began)
    stored = json.dumps(
        {"taken": about, "rows": [row.stored for row in rows]}, indent=2
    )
    if chosen.file == "-":
        print(stored)
        return 0
    if chosen.file:
        Path(chosen.file).write_text(f"{stored}\n")
    print_report(about, rows, markdown=chosen.markdown)
    return 0


def print_report(about: dict[str, Any], rows: list[Row], *, markdown: bool) -> None:
    """Print the table, where the time went, and what it was measured on."""
    if isinstance(sys.stdout, io.TextIOWrapper):
        # What the terminal can't draw is no reason to fail.
        sys.stdout.reconfigure(errors="replace")
    print("\n" + "\n".join(table(rows, markdown=markdown)))
    print("\nWhere the time went:\n" + "\n".join(details(rows)))
    print("\n" + ", ".join(f"{name} {value}" for name, value in about.items()))


if __name__ == "__main__":
    sys.exit(main())
