"""The network of the lab: who is in it, and how they are connected.

internet 203.0.113.10 ── wan ── main router ── lan ─┬─ bypass router .2
203.0.113.1   192.168.50.1    ├─ Home Assistant .5
├─ target .10
└─ other host .20
"""

from contextlib import ExitStack
from types import TracebackType
from typing import Final, Self

from .bypass import Bypass, RouterOptions
from .disk import Disk
from .main_router import MainRouter
from .namespaces import Namespaces
from .node import LAN_PREFIX, Node, run_batch
from .requirements import require_commands
from .target import Target
from .user_namespace import gain

INTERNET_ADDRESS: Final = "203.0.113.10"
NETWORKS: Final = ("192.168.50.0/24", "203.0.113.0/24")
"""Nothing outside of these exists in the lab."""


class Lab:
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
        self.main = add(MainRouter(switch, "main", main))
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

    def reset(self) -> None:
        """Build it anew, with all of its machines as they were at first."""
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
