"""The target: the device that forwards lead to, with its echo service."""

from pathlib import Path
import subprocess
import sys
from typing import Final

from .exchange import Transport
from .node import Node

_PROGRAM: Final = Path(__file__).with_name("echo.py")


class Target(Node):
    """A device in the LAN. Its gateway is the bypass router unless told otherwise."""

    _echo: subprocess.Popen[str] | None = None

    def serve(self, protocol: Transport, ports: int | str) -> None:
        """Echo on a port, or a range such as `7000-7010`, from now on."""
        if self._echo is None:
            self._echo = self.spawn(
                sys.executable,
                "-IS",
                "-c",
                _PROGRAM.read_text(),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
            )
        assert self._echo.stdin is not None
        assert self._echo.stdout is not None
        print(protocol, ports, file=self._echo.stdin, flush=True)
        answer = self._echo.stdout.readline().strip()
        if answer != "ok":
            raise OSError(f"No echo on {protocol} {ports}: {answer}")

    def stop_serving(self) -> None:
        """Close all of its ports, and the connections to them."""
        if self._echo is not None:
            self.stop(self._echo)
            self._echo = None
