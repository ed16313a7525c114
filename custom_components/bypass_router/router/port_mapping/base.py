"""What a main router can be asked: values, and the interface of each protocol.

The words are those of UPnP's Internet Gateway Device (WANIPConnection:2, 2.4 and 2.6):
a port mapping leads an external port of the gateway to an internal client. Here, the
gateway is the main router, and the client is always the bypass router, which is the
one that asks: a main router lets each host open ports for itself alone.
"""

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from enum import StrEnum
from ipaddress import IPv4Address
from typing import Final, Protocol

from ..forward import MAX_PORT, Transport
from ..ssh.script import Result, Script

LASTS: Final = 7200
"""Seconds for which a mapping is asked for, and renewed after half of them."""


def require_port(port: int) -> None:
    """Raise ValueError for what is no port."""
    if not 1 <= port <= MAX_PORT:
        raise ValueError(f"no port: {port}")


def named(address: IPv4Address) -> IPv4Address | None:
    """Return an address that a main router told, unless it stands for none."""
    return None if address.is_unspecified or address.is_loopback else address


@dataclass(frozen=True, order=True, slots=True)
class PublicPort:
    """A port of the main router, as the internet sees it."""

    transport: Transport
    port: int
    """1 to 65535."""

    def __post_init__(self) -> None:
        """Refuse what is no port."""
        require_port(self.port)


class Answer(StrEnum):
    """Kinds of answers by which a main router does not do what it is asked."""

    NOT_ALLOWED = "not_allowed"
    """It lets this host open no ports (606; NAT-PMP and PCP 2)."""
    TAKEN = "taken"
    """Another host has the port, or the router itself (718, 729)."""
    PORT_REFUSED = "port_refused"
    """Not this port: as some refuse those below 1024 (716, 732)."""
    NO_PUBLIC_ADDRESS = "no_public_address"
    """It has none to open a port at."""
    ONLY_FOR_GOOD = "only_for_good"
    """It takes no lease but 0 (725)."""
    INVALID = "invalid"
    """Something of what was asked, of which it does not say what (402)."""
    FULL = "full"
    """It has no room for more (728; NAT-PMP 4, PCP 8)."""
    FAILED = "failed"
    """It tells no more than that it failed (501), or by a code that no one knows."""
    UNSUPPORTED = "unsupported"
    """It does not know the request (401, 602), or the protocol."""
    SILENT = "silent"
    """It says nothing in time, or does not take the connection."""
    NONSENSE = "nonsense"
    """What it says is no answer."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why a main router did not do or tell what it was asked."""

    kind: Answer
    code: int | None = None
    """As it gave it, if it gave one."""
    said: str = ""
    """Its own words: printable, at most 80 characters, and nobody's to trust."""


@dataclass(frozen=True, order=True, slots=True)
class PortMapping:
    """What leads a port of the main router to one of the bypass router."""

    public: PublicPort
    port: int
    """At the bypass router, 1 to 65535."""

    def __post_init__(self) -> None:
        """Refuse what is no port."""
        require_port(self.port)


@dataclass(frozen=True, slots=True)
class Opening:
    """A mapping as it is asked for."""

    mapping: PortMapping
    description: str
    """ASCII letters, digits and `_:-` alone, at most 63: some cut or refuse others."""
    lease: int = LASTS
    """Seconds; 0: for good, or as long as the main router pleases."""


@dataclass(frozen=True, slots=True)
class Entry:
    """What a main router says that it has at a public port."""

    client: IPv4Address | None
    """To whom it leads; None if that is no address."""
    port: int
    """At the client; 0 if that is no port."""
    description: str = ""
    """Printable, at most 80 characters, and nobody's to trust."""
    lease: int | None = None
    """Seconds that are left; 0: for good; None: it does not say."""
    enabled: bool = True


type Listed = Entry | Refusal | None
"""What is at a public port: an entry, nothing, or why that is not known."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one mapping that was to be opened or closed."""

    refusal: Refusal | None
    """Why it was not done, as the main router has it; an answer is no proof."""
    listed: Listed
    """What was read back afterwards."""


@dataclass(frozen=True, slots=True)
class FreePort:
    """What became of one mapping that was to be opened where nothing is."""

    listed: Listed
    """What was there before."""
    outcome: Outcome | None
    """None if it was not asked for."""


class RunFor(Protocol):
    """Runs a script on the bypass router; see `Router.run`."""

    async def __call__(
        self, script: Script, seconds: float = ..., /
    ) -> Mapping[str, Result]:
        """Return its sections. Raises RouterError."""


class PortMapper(Protocol):
    """One protocol by which a main router is asked, by the bypass router itself.

    Each call is one script on the bypass router, whatever the number of ports, and
    ends in seconds, also where the main router is silent: what it was not asked any
    more for that is a Refusal too. They raise RouterError where the bypass router
    can't be asked.
    """

    @property
    def name(self) -> str:
        """`upnp`, `nat_pmp` or `pcp`."""

    @property
    def gateway(self) -> IPv4Address:
        """The main router's address in the LAN."""

    @property
    def model(self) -> str:
        """What it calls itself: printable, at most 80 characters, perhaps empty."""

    @property
    def lists(self) -> bool:
        """Whether it can be asked what it has: by UPnP alone."""

    async def public_address(self) -> IPv4Address | Refusal | None:
        """Return its address on the internet's side; None where it has none."""

    async def look(self, ports: Collection[PublicPort]) -> Mapping[PublicPort, Listed]:
        """Return what is at each of these ports."""

    async def open_free(
        self, opens: Collection[Opening]
    ) -> Mapping[PublicPort, FreePort]:
        """Look at these ports, and open those that surely have nothing, in one script.

        Not all routers, and not all main routers, can be asked so: there it is a look.
        """

    async def apply(
        self, opens: Collection[Opening], closes: Collection[PortMapping]
    ) -> Mapping[PublicPort, Outcome]:
        """Close and open mappings, in this order, and read each of them back.

        One that is opened anew, or with another description, replaces what this client
        had there. What others hold is the caller's to look for before.
        """
