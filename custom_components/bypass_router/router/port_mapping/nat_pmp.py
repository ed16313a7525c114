"""NAT-PMP, the NAT Port Mapping Protocol (RFC 6886), asked by the bypass router."""

from collections.abc import Collection, Mapping
from ipaddress import IPv4Address
import struct
from typing import Final

from ..forward import Transport
from .base import (
    LASTS,
    Answer,
    Opening,
    Outcome,
    PortMapping,
    PublicPort,
    Refusal,
    RunFor,
    named,
)
from .granted import (
    GONE,
    Granted,
    Grantor,
    distinct,
    not_here,
    other_of,
    refused,
)
from .udp import ask

ADDRESS_REQUEST: Final = b"\0\0"

_OPCODES: Final[dict[Transport, int]] = {"udp": 1, "tcp": 2}
_IS_ANSWER: Final = 128
_REQUEST: Final = struct.Struct("!BBHHHI")
# Version, opcode, code, the seconds since it began; and what stands behind that.
_HEAD: Final = struct.Struct("!BBHI")
_MAPPED: Final = struct.Struct("!HHI")
_KINDS: Final = {
    1: Answer.UNSUPPORTED,
    2: Answer.NOT_ALLOWED,
    3: Answer.NO_PUBLIC_ADDRESS,
    4: Answer.FULL,
    5: Answer.UNSUPPORTED,
}


def mapping_request(mapping: PortMapping, lease: int) -> bytes:
    """Return what asks for a mapping, or with a lease of 0 for its end.

    For its end, the RFC has the public port be 0, and ignored. Old ones of miniupnpd
    go by it alone, and take 0 for the bypass router's port.
    """
    public = mapping.public
    opcode = _OPCODES[public.transport]
    return _REQUEST.pack(0, opcode, 0, mapping.port, public.port, lease)


def read_address(answer: bytes | Answer) -> IPv4Address | Refusal:
    """Read the answer to a request for the address."""
    said = _read(answer, opcode=0, size=4)
    return said if isinstance(said, Refusal) else IPv4Address(said)


def read_granted(answer: bytes | Answer, mapping: PortMapping) -> Granted | Refusal:
    """Read the answer to a request for a mapping, or for its end.

    Some tell of both ports the lower byte alone, and have mapped the right ones
    (miniupnpd 1.8).
    """
    said = _read(answer, _OPCODES[mapping.public.transport], _MAPPED.size)
    if isinstance(said, Refusal):
        return said
    inside, public, lease = _MAPPED.unpack(said)
    if (inside, public) == (mapping.port % 256, mapping.public.port % 256):
        public = mapping.public.port
    elif inside not in {mapping.port, mapping.port % 256}:
        return Refusal(Answer.NONSENSE)
    return Granted(public, lease)


def _read(answer: bytes | Answer, opcode: int, size: int) -> bytes | Refusal:
    """Return so many bytes of what was told, where a request was granted."""
    if isinstance(answer, Answer):
        return Refusal(answer)
    if len(answer) < _HEAD.size:
        return Refusal(Answer.NONSENSE)
    version, answered, code, _ = _HEAD.unpack_from(answer)
    if answered < _IS_ANSWER:
        return Refusal(Answer.NONSENSE)
    # One that speaks PCP alone has its code in the lower byte of this.
    if code:
        return Refusal(_KINDS.get(code, Answer.FAILED), code)
    body = answer[_HEAD.size : _HEAD.size + size]
    if version != 0 or answered != _IS_ANSWER + opcode or len(body) < size:
        return Refusal(Answer.NONSENSE)
    return body


async def find_nat_pmp(
    run: RunFor, client: IPv4Address, gateway: IPv4Address
) -> NatPmp | Refusal:
    """Return NAT-PMP as this gateway speaks it, or why it does not.

    One without a public address speaks it too. Raises RouterError.
    """
    (answer,) = await ask(run, gateway, [ADDRESS_REQUEST])
    said = read_address(answer)
    if isinstance(said, Refusal) and said.kind is not Answer.NO_PUBLIC_ADDRESS:
        return said
    return NatPmp(run, client, gateway)


class NatPmp(Grantor):
    """A `PortMapper`. Of several forwards of one port, see `granted`."""

    name: Final = "nat_pmp"

    async def public_address(self) -> IPv4Address | Refusal | None:
        """Return its address on the internet's side; None where it has none."""
        said = read_address(*await self._ask(ADDRESS_REQUEST))
        if isinstance(said, Refusal):
            return None if said.kind is Answer.NO_PUBLIC_ADDRESS else said
        return named(said)

    async def apply(
        self, opens: Collection[Opening], closes: Collection[PortMapping]
    ) -> Mapping[PublicPort, Outcome]:
        """Close and open mappings, in this order; `listed` is what was granted.

        Where the port is taken, another one is granted. That is closed again at once,
        by a second script. If it was an older mapping of ours to the same port, the
        next attempt gets the right one. A mapping that is to last for good is granted
        as any other.
        """
        openings, outcomes = distinct(opens)
        wanted = [(mapping, 0) for mapping in closes]
        wanted += [(one.mapping, one.lease or LASTS) for one in openings]
        granted = await self._request(wanted)
        others: list[PortMapping] = []
        for (mapping, lease), said in zip(wanted, granted, strict=True):
            outcomes[mapping.public] = self._outcome(mapping, lease, said)
            if lease and (other := other_of(mapping, said)):
                others.append(other)
        await self._request([(other, 0) for other in others])
        return outcomes

    async def _request(
        self, wanted: Collection[tuple[PortMapping, int]]
    ) -> list[Granted | Refusal]:
        """Ask for mappings with their leases, and return what is said of each."""
        answers = await self._ask(*(mapping_request(*each) for each in wanted))
        return [
            read_granted(answer, mapping)
            for answer, (mapping, _) in zip(answers, wanted, strict=True)
        ]

    def _outcome(
        self, mapping: PortMapping, lease: int, said: Granted | Refusal
    ) -> Outcome:
        """Return what became of a mapping."""
        if isinstance(said, Refusal):
            return Outcome(said, said)
        if not lease:
            return GONE
        if not said.lease or not said.port:
            return refused(Answer.NONSENSE)
        if other_of(mapping, said):
            return refused(not_here(mapping.public, said.port))
        return self._opened(mapping, said.lease)
