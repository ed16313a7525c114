"""For how long no packets passed: a new flow every millisecond, from the internet."""

from pathlib import Path
import subprocess
import sys
from typing import Final

from tests.lab.network import Lab

from .figures import MeasurementFailed

_PROGRAM: Final = Path(__file__).with_name("flows.py")
# So many flows in a row that pass are no chance.
_ENOUGH: Final = 5


class Flows:
    """Flows from the internet to a forward, until `stop`."""

    begun = 0
    """How many have been, of all: none is to look like one before."""

    def __init__(self, lab: Lab, port: int) -> None:
        """Start to send."""
        self._node = lab.internet
        self._process = self._node.spawn(
            *(sys.executable, "-IS", "-c", _PROGRAM.read_text()),
            *(lab.main.wan_address, str(port), str(Flows.begun)),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )
        assert self._process.stdout is not None
        self._process.stdout.readline()

    def stop(self) -> list[tuple[float, bool]]:
        """Return when each flow was sent, and whether it was answered."""
        output, _ = self._process.communicate()
        if self._process.returncode:
            raise MeasurementFailed(
                f"The flows ended with status {self._process.returncode}."
            )
        lines = [line.split() for line in output.splitlines()]
        Flows.begun += len(lines)
        return [(float(at), came == "1") for at, came in lines]


def outage(flows: list[tuple[float, bool]], began: float) -> tuple[float, float]:
    """Return when the first flow after `began` was lost, and when all pass again.

    Raises MeasurementFailed if none was lost, or they don't pass again.
    """
    after = [(at, came) for at, came in flows if at >= began]
    lost = next((index for index, (_, came) in enumerate(after) if not came), None)
    if lost is None:
        raise MeasurementFailed("No packet was lost.")
    for index in range(lost, len(after) - _ENOUGH):
        if all(came for _, came in after[index : index + _ENOUGH]):
            return after[lost][0], after[index][0]
    raise MeasurementFailed("Packets did not pass again.")
