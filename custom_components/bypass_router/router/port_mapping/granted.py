"""What NAT-PMP and PCP have in common: they grant leases, and list nothing.

So what is told of a mapping, as its `listed` too, is what was granted just now. One
that has begun anew is known by nothing else: some go on counting the seconds by which
it is to be known, and it is asked for all of it at each look in any case. Neither
knows a mapping but by the port of the bypass router to which it leads: there is one
public port to each of those, and no second. `public_port` may shift a forward's ports,
which keeps that so. Where a forward's public port changes, the old mapping is closed
before the new one is opened, or in the same act: closed later, it takes the new one
along.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address
from typing import Final

from ..forward import Transport
from .base import (
    Answer,
    Entry,
    FreePort,
    Listed,
    Opening,
    Outcome,
    PortMapping,
    PublicPort,
    Refusal,
    RunFor,
)
from .udp import ask


@dataclass(frozen=True, slots=True)
class Granted:
    """What the main router says of a mapping that it has made, or taken away."""

    port: int
    """On the internet's side."""
    lease: int
    """Seconds; 0 where it is gone."""
    address: IPv4Address | None = None
    """On the internet's side, where it tells."""


def refused(kind: Answer) -> Outcome:
    """Return what became of a mapping of which no more is known than the refusal."""
    return Outcome(Refusal(kind), Refusal(kind))


GONE: Final = Outcome(None, None)
"""What became of a mapping that was closed."""
_FIRST_FREE = 1024


def not_here(public: PublicPort, granted: int = 0) -> Answer:
    """Return why it is another port that was granted, or none at all.

    Those who keep the ports below 1024 to themselves say no more than of a port that
    is taken. They grant none of those, though.
    """
    kept = public.port < _FIRST_FREE and not 0 < granted < _FIRST_FREE
    return Answer.PORT_REFUSED if kept else Answer.TAKEN


def distinct(
    opens: Iterable[Opening],
) -> tuple[list[Opening], dict[PublicPort, Outcome]]:
    """Return what can be opened side by side, and what became of the rest.

    A second public port for a port of the bypass router would be answered with the
    first one's, and be closed for that together with it.
    """
    first: dict[tuple[Transport, int], Opening] = {}
    rest: dict[PublicPort, Outcome] = {}
    for opening in opens:
        public = opening.mapping.public
        one = first.setdefault((public.transport, opening.mapping.port), opening)
        if one.mapping != opening.mapping:
            rest[public] = refused(Answer.UNSUPPORTED)
    return list(first.values()), rest


def other_of(mapping: PortMapping, said: Granted | Refusal) -> PortMapping | None:
    """Return what was granted, if that is at another public port than was asked for."""
    if isinstance(said, Refusal) or not said.lease:
        return None
    if said.port in {0, mapping.public.port}:
        return None
    return PortMapping(PublicPort(mapping.public.transport, said.port), mapping.port)


class Grantor:
    """The main router, as one that is asked by UDP."""

    model: Final = ""
    lists: Final = False

    def __init__(self, run: RunFor, client: IPv4Address, gateway: IPv4Address) -> None:
        """Take what runs scripts on the bypass router, and both routers' addresses."""
        self._run = run
        self._client = client
        self._gateway = gateway

    @property
    def gateway(self) -> IPv4Address:
        """The main router's address in the LAN."""
        return self._gateway

    async def look(self, ports: Collection[PublicPort]) -> Mapping[PublicPort, Listed]:
        """Return that this can't be told, of any port."""
        return dict.fromkeys(ports, Refusal(Answer.UNSUPPORTED))

    async def open_free(
        self, opens: Collection[Opening]
    ) -> Mapping[PublicPort, FreePort]:
        """Open none: it can't be told which are free."""
        listed = await self.look([opening.mapping.public for opening in opens])
        return {public: FreePort(it, None) for public, it in listed.items()}

    async def _ask(self, *datagrams: bytes) -> list[bytes | Answer]:
        """Return what each is answered."""
        return await ask(self._run, self._gateway, datagrams)

    def _opened(self, mapping: PortMapping, lease: int) -> Outcome:
        """Return what became of a mapping that was granted."""
        return Outcome(None, Entry(self._client, mapping.port, lease=lease))
