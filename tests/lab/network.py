"""The network of the lab: who is in it, and how they are connected.

internet 203.0.113.10 ── wan ── main router ── lan ─┬─ bypass router .2
203.0.113.1   192.168.50.1    ├─ Home Assistant .5
├─ target .10
└─ other host .20
"""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from functools import partial
import subprocess
from types import TracebackType
from typing import Final, Self, override

from .bypass import Bypass, RouterOptions
from .disk import REAL_COMMANDS, Disk
from .linux_main_router import LinuxMainRouter
from .main_router import MainRouter
from .namespaces import Namespaces
from .node import LAN_PREFIX, Node, run_batch
from .requirements import LabUnavailable, require_commands, require_root_mount
from .target import Target
from .user_namespace import gain
from .witness import Witness

INTERNET_ADDRESS: Final = "203.0.113.10"
NETWORKS: Final = ("192.168.50.0/24", "203.0.113.0/24")
"""Nothing outside of these exists in the lab."""


class Lab(Witness):
    """A whole network, gone at the latest when this process is."""

    internet: Node
    main: MainRouter
    bypass: Bypass
    target: Target
    other: Node
    home: Node

    def __init__(self, options: RouterOptions | None = None) -> None:
        """Build it; raises LabUnavailable where it can't be."""
        require_commands()
        require_root_mount()
        gain()
        self.options: Final = options or RouterOptions()
        self._closing = ExitStack()
        try:
            self._build()
        except BaseException:
            self.close()
            raise

    def _build(self) -> None:
        """Switch on the machines, then put in the cables."""
        main, bypass = f"{LAN_PREFIX}1", f"{LAN_PREFIX}2"
        switch = Namespaces("net", "mount", "uts")
        self._closing.callback(switch.close)
        run_batch(
            switch,
            "link add lan type bridge\nlink set lan up\n"
            "link add wan type bridge\nlink set wan up",
        )
        add = self._add
        self.main = add(self._main_router(switch, main))
        self.internet = add(Node(switch, "internet", INTERNET_ADDRESS, interface="wan"))
        self.target = add(Target(switch, "target", f"{LAN_PREFIX}10", bypass))
        self.other = add(Node(switch, "other", f"{LAN_PREFIX}20", main))
        self.home = add(Node(switch, "home", f"{LAN_PREFIX}5", main))
        disk = Disk(switch, "bypass")
        self._closing.callback(disk.close)
        self.bypass = add(Bypass(switch, disk, bypass, main, self.options))
        for node in self.nodes:
            node.connect()
        if self.options.ssh is not None:
            self.bypass.start_ssh(
                self.options.ssh, self.options.host_keys, self.options.ssh_port
            )
        if isinstance(self.main, LinuxMainRouter):
            self.main.start_ssh()

    def _main_router(self, switch: Namespaces, address: str) -> MainRouter:
        """Return the main router of the kind that was chosen."""
        if not self.options.linux_main:
            return MainRouter(switch, "main", address)
        disk = Disk(switch, "main")
        self._closing.callback(disk.close)
        return LinuxMainRouter(switch, disk, address)

    def _add[N: Node](self, node: N) -> N:
        """Let a machine be turned off when all is torn down."""
        self._closing.callback(node.turn_off)
        return node

    @property
    def nodes(self) -> tuple[Node, ...]:
        """All machines."""
        return (
            self.internet,
            self.main,
            self.bypass,
            self.target,
            self.other,
            self.home,
        )

    @override
    def witness(self) -> Iterator[tuple[str, str]]:
        """Yield what the router has logged, and what rules it has."""
        bypass = self.bypass
        asked: dict[str, Callable[[], str]] = {
            f"the router's {path.name}": partial(path.read_text, errors="replace")
            for path in bypass.disk.path("/var/log").glob("*.*")
        }
        asked["iptables-save on the router"] = bypass.iptables_save
        for command in ("sbin/nft list ruleset", "bin/ip rule"):
            words = f"{REAL_COMMANDS}/{command}".split()
            asked[f"{command} on the router"] = partial(_said_by, bypass, *words)
        for title, ask in asked.items():
            # Where the lab itself is what has failed, there may be no one to ask.
            with suppress(OSError, LabUnavailable, subprocess.SubprocessError):
                yield title, ask()

    def reset(self) -> None:
        """Build it again, with all of its machines as they were at first."""
        self.close()
        self._build()

    def close(self) -> None:
        """Tear it down; calling it again does nothing."""
        self._closing.close()

    def __enter__(self) -> Self:
        """Itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Tear it down."""
        self.close()


def _said_by(node: Node, *command: str) -> str:
    """Return what a command prints on a machine."""
    return node.run(*command).stdout
