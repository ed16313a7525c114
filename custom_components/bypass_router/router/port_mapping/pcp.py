"""PCP, the Port Control Protocol (RFC 6887), asked by the bypass router."""

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
import hashlib
from ipaddress import IPv4Address, IPv6Address
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
from .nat_pmp import NatPmp
from .udp import ask

_VERSION: Final = 2
_ANNOUNCE: Final = 0
_MAP: Final = 1
_IS_ANSWER: Final = 128
_PREFER_FAILURE: Final = struct.pack("!BBH", 2, 0, 0)
_PROTOCOLS: Final[dict[Transport, int]] = {"tcp": 6, "udp": 17}
_ANYWHERE: Final = IPv4Address(0)
_NONCE_SIZE: Final = 12

# Version, opcode, lifetime, the client's address.
_REQUEST: Final = struct.Struct("!BBxxI16s")
# Version, opcode, code; and all of what begins so: these, the lifetime, and the
# seconds since it began.
_START: Final = struct.Struct("!BBxB")
_HEAD: Final = struct.Struct("!BBxBII12x")
# Nonce, protocol, the client's port, the public port and address.
_MAPPING: Final = struct.Struct("!12sBxxxHH16s")

_UNSUPPORTED_VERSION: Final = 1
_NOT_AUTHORIZED: Final = 2
_UNSUPPORTED_OPCODE: Final = 4
_NO_RESOURCES: Final = 8
_OF_OPTIONS: Final = frozenset({5, 6})
# One router says the latter to every second renewal.
_OF_NONCES: Final = frozenset({_NOT_AUTHORIZED, _NO_RESOURCES})
_KINDS: Final = {
    _UNSUPPORTED_VERSION: Answer.UNSUPPORTED,
    _NOT_AUTHORIZED: Answer.NOT_ALLOWED,
    3: Answer.INVALID,
    _UNSUPPORTED_OPCODE: Answer.UNSUPPORTED,
    5: Answer.UNSUPPORTED,
    6: Answer.INVALID,
    7: Answer.NO_PUBLIC_ADDRESS,
    _NO_RESOURCES: Answer.FULL,
    9: Answer.UNSUPPORTED,
    10: Answer.FULL,
    11: Answer.TAKEN,
    12: Answer.INVALID,
}


@dataclass(frozen=True, slots=True)
class Request:
    """A mapping as it is asked for; with a lease of 0, its end."""

    mapping: PortMapping
    lease: int
    nonce: bytes
    """By which the main router knows who may change the mapping."""
    strict: bool = True
    """Whether no other public port is wanted where this one is taken."""

    def to_bytes(self, client: IPv4Address) -> bytes:
        """Return the message."""
        public = self.mapping.public
        message = _REQUEST.pack(_VERSION, _MAP, self.lease, _mapped(client))
        message += _MAPPING.pack(
            self.nonce,
            _PROTOCOLS[public.transport],
            self.mapping.port,
            public.port,
            _mapped(_ANYWHERE),
        )
        return message + (_PREFER_FAILURE if self.strict and self.lease else b"")


def announce_request(client: IPv4Address) -> bytes:
    """Return what asks for a sign of life."""
    return _REQUEST.pack(_VERSION, _ANNOUNCE, 0, _mapped(client))


def nonce(seed: str, mapping: PortMapping, attempt: int = 0) -> bytes:
    """Return a mapping's nonce, which is the same again after a restart.

    The main router knows a mapping by the port that it leads to, not by its public
    one, and so does the nonce.
    """
    text = f"{seed}:{mapping.public.transport}:{mapping.port}:{attempt}"
    return hashlib.sha256(text.encode()).digest()[:_NONCE_SIZE]


def read_announced(answer: bytes | Answer) -> Refusal | None:
    """Read the answer to `announce_request`; None: it is spoken here."""
    said = _read(answer, _ANNOUNCE)
    return said if isinstance(said, Refusal) else None


def read_granted(answer: bytes | Answer, request: Request) -> Granted | Refusal:
    """Read the answer to a request for a mapping, or for its end."""
    said = _read(answer, _MAP)
    if isinstance(said, Refusal):
        return said
    lease, body = said
    if len(body) < _MAPPING.size:
        return Refusal(Answer.NONSENSE)
    number, protocol, inside, port, address = _MAPPING.unpack_from(body)
    mapping = request.mapping
    asked = (request.nonce, _PROTOCOLS[mapping.public.transport], mapping.port)
    if (number, protocol, inside) != asked:
        return Refusal(Answer.NONSENSE)
    public = IPv6Address(address).ipv4_mapped
    return Granted(port, lease, public and named(public))


def _read(answer: bytes | Answer, opcode: int) -> tuple[int, bytes] | Refusal:
    """Return the lifetime and what was told, where it was granted."""
    if isinstance(answer, Answer):
        return Refusal(answer)
    if len(answer) < _START.size or answer[1] < _IS_ANSWER:
        return Refusal(Answer.NONSENSE)
    version, answered, code = _START.unpack_from(answer)
    if code:
        # One that speaks NAT-PMP alone refuses in it, and this is all that it means.
        code = code if version else _UNSUPPORTED_VERSION
        return Refusal(_KINDS.get(code, Answer.FAILED), code)
    expected = (_VERSION, _IS_ANSWER + opcode)
    if (version, answered) != expected or len(answer) < _HEAD.size:
        return Refusal(Answer.NONSENSE)
    _, _, _, lease, _ = _HEAD.unpack_from(answer)
    return lease, answer[_HEAD.size :]


def _mapped(address: IPv4Address) -> bytes:
    """Return an address as PCP has it: as one of IPv6."""
    return bytes(10) + b"\xff\xff" + address.packed


async def find_pcp(
    run: RunFor, client: IPv4Address, gateway: IPv4Address, seed: str
) -> Pcp | Refusal:
    """Return PCP as this gateway speaks it, or why it does not.

    Where it is UNSUPPORTED, and not for want of what sends UDP, NAT-PMP may be spoken:
    then there is a code. Raises RouterError.
    """
    (answer,) = await ask(run, gateway, [announce_request(client)])
    said = read_announced(answer)
    # A sign of life is not all that there is to PCP.
    if isinstance(said, Refusal) and said.code != _UNSUPPORTED_OPCODE:
        return said
    return Pcp(run, client, gateway, seed)


class Pcp(Grantor):
    """A `PortMapper`. Of several forwards of one port, see `granted`."""

    name: Final = "pcp"

    def __init__(
        self, run: RunFor, client: IPv4Address, gateway: IPv4Address, seed: str
    ) -> None:
        """Take what NAT-PMP takes, and a text of ours that makes our nonces our own."""
        super().__init__(run, client, gateway)
        self._seed = seed
        self._strict = True
        self._address: IPv4Address | None = None

    async def public_address(self) -> IPv4Address | Refusal | None:
        """Return its address on the internet's side; None where it has none.

        PCP tells it with a mapping alone, so it is asked by NAT-PMP, which most speak
        beside it. Otherwise it is what came with the last mapping.
        """
        said = await NatPmp(self._run, self._client, self._gateway).public_address()
        return self._address if self._address and isinstance(said, Refusal) else said

    async def apply(
        self, opens: Collection[Opening], closes: Collection[PortMapping]
    ) -> Mapping[PublicPort, Outcome]:
        """Close and open mappings, in this order; `listed` is what was granted.

        What is refused may be asked for once more, in another way, all of it by one
        further script: where it does not know the option by which a port that is taken
        is refused, without that, and where another port is granted then, that one is
        closed again; where the nonce may be what it does not like, with another one.
        A mapping that is to last for good is granted as any other.
        """
        openings, outcomes = distinct(opens)
        opened = {one.mapping.public for one in openings}
        requests = [self._request(mapping, 0) for mapping in closes]
        requests += [self._request(one.mapping, one.lease or LASTS) for one in openings]
        undo: list[Request] = []
        while requests or undo:
            said = await self._send([*undo, *requests])
            pairs = list(zip(requests, said[len(undo) :], strict=True))
            requests, undo = [], []
            for request, one in pairs:
                if again := self._otherwise(request, one):
                    requests.append(again)
                elif request.lease and (other := other_of(request.mapping, one)):
                    undo.append(replace(request, mapping=other, lease=0))
                if request.lease or request.mapping.public not in opened:
                    self._note(outcomes, request, one)
        return await self._with_the_cause(outcomes)

    async def _with_the_cause(
        self, outcomes: Mapping[PublicPort, Outcome]
    ) -> Mapping[PublicPort, Outcome]:
        """Return the same, but for what is refused as there is no public address.

        miniupnpd says then that it has no room.
        """
        full = [
            public
            for public, outcome in outcomes.items()
            if outcome.refusal and outcome.refusal.kind is Answer.FULL
        ]
        if not full or await self.public_address() is not None:
            return outcomes
        return {**outcomes, **dict.fromkeys(full, refused(Answer.NO_PUBLIC_ADDRESS))}

    def _request(self, mapping: PortMapping, lease: int) -> Request:
        """Return how a mapping is asked for at first."""
        return Request(mapping, lease, nonce(self._seed, mapping), self._strict)

    async def _send(self, requests: Collection[Request]) -> list[Granted | Refusal]:
        """Ask for all of these, and return what is said of each."""
        answers = await self._ask(*(one.to_bytes(self._client) for one in requests))
        said = list(map(read_granted, answers, requests, strict=True))
        for one in said:
            if isinstance(one, Granted) and one.address:
                self._address = one.address
        return said

    def _otherwise(self, request: Request, said: Granted | Refusal) -> Request | None:
        """Return how to ask once more for what was refused, if that may help."""
        if isinstance(said, Granted):
            return None
        if said.code in _OF_OPTIONS and request.strict and request.lease:
            self._strict = False
            return replace(request, strict=False)
        if said.code in _OF_NONCES and not self._is_second(request):
            return replace(request, nonce=nonce(self._seed, request.mapping, 1))
        return None

    def _is_second(self, request: Request) -> bool:
        """Return whether this is the attempt with another nonce."""
        return request.nonce != nonce(self._seed, request.mapping)

    def _note(
        self,
        outcomes: dict[PublicPort, Outcome],
        request: Request,
        said: Granted | Refusal,
    ) -> None:
        """Take note of what became of a mapping."""
        public = request.mapping.public
        if isinstance(said, Refusal):
            # Why the first nonce did not do tells more.
            if not self._is_second(request):
                if said.kind is Answer.TAKEN:
                    said = replace(said, kind=not_here(public))
                outcomes[public] = Outcome(said, said)
        elif not request.lease:
            outcomes[public] = GONE
        elif not said.lease or not said.port:
            outcomes[public] = refused(Answer.NONSENSE)
        elif other_of(request.mapping, said):
            outcomes[public] = refused(not_here(public, said.port))
        else:
            outcomes[public] = self._opened(request.mapping, said.lease)
