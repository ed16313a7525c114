"""Namespaces that live as long as one process, and that process as long as a pipe."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
import os
import subprocess

from .requirements import COMMAND_PATH, LabUnavailable
from .threads import in_thread

HOLD = 'echo "$pid"; cat >/dev/null'
"""Say which process this is and wait for the pipe's end.

It is a child that waits, since a shell that waits for a child leaves no zombies,
while one that reads is interrupted by each of them.
"""

ENVIRONMENT = {"PATH": COMMAND_PATH, "LANG": "C.UTF-8"}


class Namespaces:
    """A shell that is process 1 of its PID namespace and holds others with it.

    Its stdin is a pipe from this process. When the pipe closes, by `close()` or
    because this process ended in whatever way, the shell ends, the kernel kills
    all other processes of the PID namespace, and the namespaces are gone.
    """

    def __init__(
        self,
        *kinds: str,
        within: Namespaces | None = None,
        mounts: int | None = None,
        path: str = COMMAND_PATH,
        prepare: str = "",
    ) -> None:
        """Start it, in the namespaces of `within`, with new ones of these kinds.

        `mounts` is a process whose mount namespace is taken instead, and `path` is
        where commands are found there; `prepare` is what the shell does first.
        """
        enter = [] if within is None else ["nsenter", f"--target={within.pid}", "--pid"]
        if within is not None:
            enter.append(f"--mount=/proc/{mounts or within.pid}/ns/mnt")
        make = [f"--{kind}" for kind in ("pid", *kinds)]
        self._process = subprocess.Popen(
            [
                *enter,
                "unshare",
                "--fork",
                "--kill-child",
                *make,
                "sh",
                "-ec",
                # The old /proc is still there, and tells the number that counts
                # outside.
                f"read -r pid _ </proc/self/stat\n{prepare}\n{HOLD}",
            ],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**ENVIRONMENT, "PATH": path},
            text=True,
            # A group of its own: Ctrl-C is for us alone, who then tear down in order.
            process_group=0,
        )
        self._pid: int | None = None

    @property
    def pid(self) -> int:
        """The shell's process id, as seen from here; waits until it is ready."""
        if self._pid is None:
            assert self._process.stdout is not None
            assert self._process.stderr is not None
            line = self._process.stdout.readline()
            if not line:
                raise LabUnavailable(
                    "The lab can't make its namespaces:"
                    f" {self._process.stderr.read().strip()}"
                )
            self._pid = int(line)
        return self._pid

    def command(self, *argv: str) -> list[str]:
        """What runs a command in these namespaces, called from outside."""
        kinds = ("--pid", "--mount", "--net", "--uts")
        return ["nsenter", f"--target={self.pid}", *kinds, "--", *argv]

    @contextmanager
    def network(self) -> Iterator[None]:
        """Put the current thread into this network, and back afterwards."""
        with (
            open("/proc/thread-self/ns/net", "rb") as before,
            open(f"/proc/{self.pid}/ns/net", "rb") as here,
        ):
            os.setns(here.fileno(), os.CLONE_NEWNET)
            try:
                yield
            finally:
                os.setns(before.fileno(), os.CLONE_NEWNET)

    def call[T](self, action: Callable[[], T]) -> T:
        """Call it in a short-lived thread that is in this network."""

        def work() -> T:
            with open(f"/proc/{self.pid}/ns/net", "rb") as here:
                os.setns(here.fileno(), os.CLONE_NEWNET)
            return action()

        return in_thread(work)

    def close(self) -> None:
        """Kill all that runs in there, and wait until it is gone."""
        for pipe in (self._process.stdin, self._process.stdout, self._process.stderr):
            if pipe is not None:
                pipe.close()
        self._process.wait()
