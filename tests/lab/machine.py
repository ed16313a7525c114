"""A machine of the lab, as that on which programs run."""

from collections.abc import Iterator
from contextlib import contextmanager, suppress
import os
from pathlib import Path
import re
import signal
import subprocess
import time
from typing import Final

from .namespaces import ENVIRONMENT, Namespaces
from .waiting import LIMIT

# The legacy variant gives up at once where another program has its lock.
_LOCKED: Final = re.compile(r"iptables(-legacy|-nft)?(-restore)?")


class Machine:
    """Namespaces of its own for network, processes, mounts and name."""

    def __init__(self, switch: Namespaces, name: str) -> None:
        """Switch it on; it is gone at the latest when the lab is."""
        self.name: Final = name
        self._switch = switch
        self._running: list[subprocess.Popen[str]] = []
        self._namespaces = self._start()

    def _start(self) -> Namespaces:
        """Make the namespaces that are this machine while it is on."""
        return Namespaces(
            "net",
            "mount",
            "uts",
            within=self._switch,
            prepare=f"hostname {self.name}",
        )

    @property
    def root(self) -> Path:
        """This machine's file system, as a path that can be used from outside."""
        return Path(f"/proc/{self.process}/root")

    @property
    def network_namespace(self) -> str:
        """The path of the network namespace, for whoever wants to enter it."""
        return f"/proc/{self.process}/ns/net"

    @property
    def process(self) -> int:
        """The process that is this machine while it is on, by its number outside."""
        return self._namespaces.pid

    def run(
        self,
        *argv: str,
        input: str | None = None,  # noqa: A002 - as subprocess calls it
        timeout: float = LIMIT,
        check: bool = True,
    ) -> subprocess.CompletedProcess[str]:
        """Run a command on this machine, as its root, to the end."""
        if _LOCKED.fullmatch(Path(argv[0]).name):
            argv = (argv[0], "--wait", *argv[1:])
        with self.spawn(
            *argv,
            stdin=subprocess.DEVNULL if input is None else subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        ) as process:
            try:
                output, errors = process.communicate(input, timeout)
            except subprocess.TimeoutExpired as error:
                self.stop(process)
                said = b"".join(filter(None, (error.output, error.stderr)))
                error.add_note(f"{self.name}: {said.decode(errors='replace')}".strip())
                raise
            except BaseException:
                self.stop(process)
                raise
        self._running.remove(process)
        done = subprocess.CompletedProcess(argv, process.returncode, output, errors)
        if check:
            check_result(done, self.name)
        return done

    def spawn(
        self,
        *argv: str,
        stdin: int = subprocess.DEVNULL,
        stdout: int = subprocess.DEVNULL,
        stderr: int = subprocess.DEVNULL,
    ) -> subprocess.Popen[str]:
        """Start a command that runs on; it ends with this machine at the latest.

        What is returned stands for the command but is not it: end it by `stop`.
        """
        process = subprocess.Popen(
            self.command(*argv),
            stdin=stdin,
            stdout=stdout,
            stderr=stderr,
            env=ENVIRONMENT,
            text=True,
            process_group=0,
        )
        self._running.append(process)
        return process

    def command(self, *argv: str) -> list[str]:
        """What runs a command on this machine, called from outside of the lab."""
        return self._namespaces.command(*argv)

    def stop(self, process: subprocess.Popen[str]) -> None:
        """Kill what `spawn` started, and its children of the same group."""
        while process.poll() is None:
            # nsenter goes last, as no one else would take its child's status soon.
            _signal(_group(process.pid) or [process.pid], signal.SIGKILL)
            time.sleep(0.001)

    def terminate(self, process: subprocess.Popen[str]) -> None:
        """Ask what `spawn` started to end, and wait until it has."""
        _signal(_group(process.pid), signal.SIGTERM)
        process.wait(LIMIT)

    @contextmanager
    def enter(self) -> Iterator[None]:
        """Put the current thread into this machine's network, and back afterwards.

        Sockets opened meanwhile stay on this machine. Threads that were running
        before, such as an executor's, stay where they were.
        """
        with self._namespaces.network():
            yield

    def turn_off(self) -> None:
        """Kill all that runs on this machine; its network goes with it."""
        self._namespaces.close()
        for process in self._running:
            for stream in (process.stdin, process.stdout, process.stderr):
                if stream is not None:
                    with suppress(OSError):
                        stream.close()
            process.wait()
        self._running.clear()


def _signal(processes: list[int], number: signal.Signals) -> None:
    """Send a signal to those that are still there."""
    for process in processes:
        with suppress(ProcessLookupError):
            os.kill(process, number)


def _group(leader: int) -> list[int]:
    """The other processes of a process group."""
    members = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            _, _, group = stat.read_text().rpartition(")")[2].split()[:3]
            number = int(stat.parent.name)
            if int(group) == leader != number:
                members.append(number)
    return members


def check_result(done: subprocess.CompletedProcess[str], name: str) -> None:
    """Raise CalledProcessError, and let it say what the command said."""
    try:
        done.check_returncode()
    except subprocess.CalledProcessError as error:
        error.add_note(f"{name}: {done.stdout}{done.stderr}".strip())
        raise
