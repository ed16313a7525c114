"""A fake gateway: counts what it is asked, and answers as its options say."""

from collections.abc import Mapping
from dataclasses import dataclass, field
import time
from types import TracebackType
from typing import Final, Self
import uuid

from ..main_router import MainRouter
from .events import Events
from .kernel import MainRouterKernel
from .nat_pmp import Answering
from .network import NAT_PMP_PORT, Network
from .options import GatewayOptions
from .table import Entry, Kernel, NoKernel, Place, Table
from .web import Web

HTTP_PORT: Final = 5000


@dataclass(frozen=True)
class Asked:
    """Something that was asked.

    `what` is an action of UPnP, `description`, `subscribe`, `unsubscribe`, `search`,
    `nat_pmp`, `pcp`, or `refused` for what is no request to this gateway.
    """

    what: str
    source: str
    arguments: Mapping[str, str] = field(default_factory=dict)


class Gateway:
    """A gateway in the lab's main router; without one, at 127.0.0.1 and unfound.

    Its options may be replaced while it runs.
    """

    def __init__(
        self, options: GatewayOptions | None = None, router: MainRouter | None = None
    ) -> None:
        """Describe it; `start` starts it, and so does `with`."""
        self._given: Final = options or GatewayOptions()
        self.address: Final = "127.0.0.1" if router is None else router.address
        self.http_port = 0 if router is None else HTTP_PORT
        self.udp_port = 0 if router is None else NAT_PMP_PORT
        control = self._given.control_port
        self.control_port = control if router or control is None else 0
        self.asked: Final[list[Asked]] = []
        self.boot = int(time.time())
        self.events = Events()
        self._router = router
        self._passed = 0.0
        self._earlier = 0
        self.prefix = ""
        kernel: Kernel = NoKernel() if router is None else MainRouterKernel(router)
        self.table: Final = Table(self._given, kernel, self.now)
        self.udp = Answering(self._given, self.table, self.now())
        self.web: Final = Web(self)
        self.network: Final = Network(self, router)

    @property
    def options(self) -> GatewayOptions:
        """How it answers now."""
        return self.table.options

    @options.setter
    def options(self, options: GatewayOptions) -> None:
        """Answer otherwise from now on."""
        self.table.options = self.udp.options = options

    @property
    def base(self) -> str:
        """What its URLs begin with."""
        return f"http://{self.address}:{self.http_port}"

    @property
    def location(self) -> str:
        """The URL of its description, as it is announced."""
        return self.location_of(self.options)

    @property
    def locations(self) -> list[str]:
        """The URLs of all its descriptions, in the order in which it announces them."""
        return [self.location_of(it) for it in self.descriptions]

    @property
    def descriptions(self) -> tuple[GatewayOptions, ...]:
        """What it describes, in that order."""
        return *self.options.others, self.options

    def location_of(self, options: GatewayOptions) -> str:
        """Return the URL of one of its descriptions."""
        host = options.location_host or self.address
        path = f"{self.prefix}{options.description_path}"
        return f"http://{host}:{self.http_port}{path}"

    @property
    def control(self) -> str:
        """The URL of the first service."""
        return self.web.url(self.options.services[0].control)

    def start(self) -> None:
        """Start it, in place of all static forwards."""
        if self._router is not None:
            self._router.clear_forwards()
        if self.options.random_path:
            self.prefix = f"/{uuid.uuid4().hex[:8]}"
        self.network.start()

    def stop(self, *, goodbye: bool = True) -> None:
        """Stop it; calling it again does nothing."""
        self.network.stop(goodbye=goodbye)

    def restart(self, *, goodbye: bool = True) -> None:
        """Stop and start it, with what it remembers."""
        self.stop(goodbye=goodbye)
        self.boot += 1
        self._earlier = len(self.asked)
        self.table.kernel.flush()
        entries = list(self.table.entries.values())
        self.table.entries.clear()
        self.events.subscribers.clear()
        began = self.udp.started if self.options.epoch == "on" else self.now()
        self.udp = Answering(self.options, self.table, began)
        if self.options.remembers:
            for entry in entries:
                self.table.put(entry.wanted)
        self.start()

    def flush(self) -> None:
        """Let nothing in any more, and list it all the same."""
        self.table.kernel.flush()

    def pass_time(self, seconds: float) -> None:
        """Let its clock go forward at once."""
        self._passed += seconds

    def now(self) -> float:
        """Return what its clock says, in seconds."""
        return time.monotonic() + self._passed

    @property
    def mappings(self) -> dict[Place, Entry]:
        """What it has, listed or not."""
        self.table.end()
        return dict(self.table.entries)

    def count(self, what: str | None = None, source: str | None = None) -> int:
        """Return how often it was asked for something, by somebody."""
        return sum(
            what in {None, asked.what} and source in {None, asked.source}
            for asked in list(self.asked)
        )

    def requests(self) -> int:
        """Return how many requests there were since the last start, by HTTP."""
        datagrams = {"search", "nat_pmp", "pcp", "unknown", "nonsense"}
        return sum(it.what not in datagrams for it in self.asked[self._earlier :])

    def note(
        self, what: str, source: str, arguments: Mapping[str, str] | None = None
    ) -> None:
        """Count what was asked."""
        self.asked.append(Asked(what, source, arguments or {}))

    def state(self) -> dict[str, object]:
        """Return what is told of by its events."""
        return {
            "ExternalIPAddress": self.options.address,
            "PortMappingNumberOfEntries": len(self.table.listed()),
        }

    def __enter__(self) -> Self:
        """Start it."""
        self.start()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Stop it."""
        self.stop()
