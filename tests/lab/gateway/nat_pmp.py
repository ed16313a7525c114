"""What a gateway answers to NAT-PMP (RFC 6886) and PCP (RFC 6887), at UDP 5351."""

from dataclasses import dataclass, field, replace
from ipaddress import IPv4Address
import struct
from typing import Final

from ..exchange import Transport
from .options import GatewayOptions
from .table import Place, Table, Wanted

ADDRESS, MAP_UDP, MAP_TCP = 0, 1, 2
"""What NAT-PMP can be asked."""
PCP, PCP_ANNOUNCE, PCP_MAP = 2, 0, 1
PCP_HEADER: Final = struct.Struct("!BBHI16s")
PCP_ANSWER: Final = struct.Struct("!BBxBII12x")
PCP_BODY: Final = struct.Struct("!12sB3xHH16s")

_ANSWER: Final = 0x80
_UNSUPPORTED_VERSION, _REFUSED, _OUT_OF_RESOURCES, _UNSUPPORTED_OPCODE = 1, 2, 4, 5
_MALFORMED, _PCP_OPCODE, _NO_RESOURCES, _MISMATCH = 3, 4, 8, 12
_TRANSPORTS: Final[dict[int, Transport]] = {6: "tcp", 17: "udp"}
_NOT_THAT_PORT: Final = 11
_PREFER_FAILURE: Final = 2
"""An option of PCP."""
_SHORT: Final = 30
"""Seconds that a refusal of PCP lasts."""
_FULL: Final = 728


@dataclass
class Answering:
    """Answers datagrams, and remembers by which nonce each port was asked for."""

    options: GatewayOptions
    table: Table
    started: float
    nonces: dict[Place, bytes] = field(default_factory=dict)

    def answer(self, asked: bytes, asker: str) -> tuple[str, bytes]:
        """Return what was asked, in a word, and the answer; it may be empty."""
        if len(asked) < 2 or asked[1] & _ANSWER:
            return "nonsense", b""
        version = asked[0]
        if version == PCP:
            name, said = "pcp", self._pcp(asked, asker)
        elif version == 0:
            name, said = "nat_pmp", self._nat_pmp(asked, asker)
        else:
            name, said = "unknown", self._unsupported(asked)
        return name, self._spoilt(said)

    def _spoilt(self, said: bytes) -> bytes:
        """Return what comes of an answer."""
        match self.options.udp:
            case "silent":
                return b""
            case "truncated":
                return said[:7]
            case "nonsense":
                return b"\xff" * len(said)
            case _:
                return said

    def _epoch(self) -> int:
        """Return the seconds since it began, as it says."""
        runs = int(self.table.now() - self.started)
        match self.options.epoch:
            case "zero":
                return 0
            case "back":
                return max(0, 1_000_000 - 100 * runs)
            case _:
                return runs

    def _unsupported(self, asked: bytes) -> bytes:
        """Say which version it is that it speaks."""
        if self.options.pcp:
            return PCP_ANSWER.pack(
                PCP, asked[1] | _ANSWER, _UNSUPPORTED_VERSION, 0, self._epoch()
            )
        return struct.pack(
            "!BBHI", 0, asked[1] | _ANSWER, _UNSUPPORTED_VERSION, self._epoch()
        )

    def _nat_pmp(self, asked: bytes, asker: str) -> bytes:
        """Answer by NAT-PMP."""
        options, opcode = self.options, asked[1]
        if not options.nat_pmp:
            return self._unsupported(asked) if options.pcp else b""
        code = options.nat_pmp_code
        head = struct.Struct("!BBHI")
        if opcode == ADDRESS:
            address = IPv4Address(options.address or 0)
            packed = bytes(4) if code else address.packed
            return head.pack(0, _ANSWER, code, self._epoch()) + packed
        if opcode not in {MAP_UDP, MAP_TCP} or len(asked) != 12:
            code = _UNSUPPORTED_OPCODE
            return head.pack(0, opcode | _ANSWER, code, self._epoch())
        inside, public, lease = struct.unpack_from("!4xHHI", asked)
        transport: Transport = "tcp" if opcode == MAP_TCP else "udp"
        if lease:
            wanted = Wanted((transport, public or inside), asker, inside, lease=lease)
            code, public, lease = self._open(wanted, code, of_pcp=False)
        else:
            self._close(transport, inside, asker)
            public = 0
        inside, public = self._ports(inside, public)
        return head.pack(0, opcode | _ANSWER, code, self._epoch()) + struct.pack(
            "!HHI", inside, public, lease
        )

    def _pcp(self, asked: bytes, asker: str) -> bytes:
        """Answer by PCP."""
        options = self.options
        if not options.pcp:
            return self._unsupported(asked) if options.nat_pmp else b""
        opcode = asked[1]
        if len(asked) < PCP_HEADER.size or len(asked) % 4:
            return self._pcp_head(opcode, _MALFORMED, 0)
        *_, lease, client = PCP_HEADER.unpack_from(asked)
        size = PCP_HEADER.size + PCP_BODY.size
        problems = (
            (client != _mapped(asker), _MISMATCH),
            (opcode not in {PCP_ANNOUNCE, PCP_MAP}, _PCP_OPCODE),
            (opcode == PCP_MAP and len(asked) < size, _MALFORMED),
        )
        code = next((code for applies, code in problems if applies), 0)
        if code:
            return self._pcp_head(opcode, code, _SHORT) + asked[24:]
        if opcode == PCP_ANNOUNCE:
            return self._pcp_head(opcode, 0, 0)
        return self._map(asked, asker, lease)

    def _map(self, asked: bytes, asker: str, lease: int) -> bytes:
        """Answer to the one request that matters."""
        options = self.options
        nonce, protocol, inside, public, _ = PCP_BODY.unpack_from(asked, 24)
        code, transport = options.pcp_code, _TRANSPORTS.get(protocol)
        if transport is None:
            code = code or _MALFORMED
        elif lease:
            place: Place = (transport, public or inside)
            if self.nonces.get(place, nonce) != nonce:
                code = code or _REFUSED
            wanted = Wanted(place, asker, inside, lease=lease)
            if not code and _prefers_failure(asked):
                code, public, lease = self._open_there(wanted)
            else:
                code, public, lease = self._open(wanted, code, of_pcp=True)
            if not code:
                self.nonces[transport, public] = nonce
        elif not code:
            self._close(transport, inside, asker)
        if code:
            return self._pcp_head(PCP_MAP, code, _SHORT) + asked[24:]
        if options.udp == "wrong":
            nonce = bytes(reversed(nonce))
        inside, public = self._ports(inside, public)
        external = _mapped(options.address or "0.0.0.0")
        body = PCP_BODY.pack(nonce, protocol, inside, public, external)
        return self._pcp_head(PCP_MAP, 0, lease) + body

    def _pcp_head(self, opcode: int, code: int, lease: int) -> bytes:
        """Return the first part of an answer."""
        return PCP_ANSWER.pack(PCP, opcode | _ANSWER, code, lease, self._epoch())

    def _open(self, wanted: Wanted, code: int, *, of_pcp: bool) -> tuple[int, int, int]:
        """Open one, at the next port where that one is taken: code, port, lease."""
        transport, port = wanted.place
        if code:
            return code, 0, 0
        if self.options.other_port:
            wanted = replace(wanted, place=(transport, port + 1))
        elif self.options.lifts_ports:
            wanted = replace(wanted, place=(transport, max(port, self.options.lowest)))
        refused, port = self.table.add_any(wanted.client, wanted)
        if refused == _FULL:
            return _NO_RESOURCES if of_pcp else _OUT_OF_RESOURCES, 0, 0
        if refused:
            return _REFUSED, 0, 0
        entry = self.table.entries[transport, port]
        return 0, port, entry.left(self.table.now()) or 2**32 - 1

    def _open_there(self, wanted: Wanted) -> tuple[int, int, int]:
        """Open one at that port or not at all: code, port, lease."""
        if self.options.other_port or self.table.add(wanted.client, wanted):
            return _NOT_THAT_PORT, 0, 0
        entry = self.table.entries[wanted.place]
        return 0, wanted.place[1], entry.left(self.table.now()) or 2**32 - 1

    def _close(self, transport: Transport, inside: int, asker: str) -> None:
        """Close what leads to a port of the asker's; all of it where that is 0."""
        for place, entry in list(self.table.entries.items()):
            wanted = entry.wanted
            ours = place[0] == transport and wanted.client == asker
            if ours and inside in {0, wanted.port}:
                self.table.drop(place)
                self.nonces.pop(place, None)

    def _ports(self, inside: int, public: int) -> tuple[int, int]:
        """Return the ports as the answer has them."""
        match self.options.udp:
            case "wrong":
                return inside ^ 1, public
            case "low_byte":
                return inside, public & 0xFF
            case _:
                return inside, public


def _prefers_failure(asked: bytes) -> bool:
    """Whether no other port than the one that was asked for will do."""
    at = PCP_HEADER.size + PCP_BODY.size
    while at + 4 <= len(asked):
        option, length = struct.unpack_from("!BxH", asked, at)
        if option == _PREFER_FAILURE:
            return True
        at += 4 + length + -length % 4
    return False


def _mapped(address: str) -> bytes:
    """Return an IPv4 address as one of IPv6."""
    return bytes(10) + b"\xff\xff" + IPv4Address(address).packed
