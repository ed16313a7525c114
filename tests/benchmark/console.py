"""A shell that stands on the router, so that a command there is timed without SSH."""

import subprocess
import time
from typing import Self

from tests.lab.bypass import Bypass

from .figures import MeasurementFailed


class Console:
    """Runs commands on the router, as someone who sits at it does."""

    def __init__(self, bypass: Bypass) -> None:
        """Start the shell; it ends with `close`, or with the router."""
        self._bypass = bypass
        self._shell = bypass.spawn(
            "sh",
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )

    def __enter__(self) -> Self:
        """Itself."""
        return self

    def __exit__(self, *_: object) -> None:
        """End the shell."""
        self.close()

    def close(self) -> None:
        """End the shell."""
        self._bypass.stop(self._shell)

    def time(self, command: str) -> float:
        """Return the seconds that a command took; raises MeasurementFailed."""
        began = time.perf_counter()
        output, status = self._ask(command)
        ended = time.perf_counter()
        if status:
            raise MeasurementFailed(f"{command} on the router: {output.strip()}")
        return ended - began

    def output(self, command: str) -> str:
        """Run a command, and return what it printed."""
        return self._ask(command)[0].strip()

    def processes(self) -> int:
        """Return the number of the process that was started last: this call's own.

        The router counts its processes by itself, so the difference of two calls
        is how many were started there from one to the other.
        """
        return int(self.output("true & echo $!; wait $!"))

    def _ask(self, command: str) -> tuple[str, int]:
        """Return what a command printed, and its status."""
        stdin, stdout = self._shell.stdin, self._shell.stdout
        assert stdin is not None
        assert stdout is not None
        stdin.write(f"{{ {command}\n}} </dev/null; echo; echo ended $?\n")
        stdin.flush()
        printed = ""
        for line in stdout:
            if line.startswith("ended "):
                return printed, int(line.split()[1])
            printed += line
        raise MeasurementFailed(
            f"{command} ended the shell on the router: {printed.strip()}"
        )
