"""A port forward, as a value that can't hold nonsense."""

from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from enum import StrEnum
from functools import partial
from ipaddress import AddressValueError, IPv4Address, IPv4Network, collapse_addresses
import re
from typing import Literal, Self, override

type Transport = Literal["tcp", "udp"]
type Clients = tuple[tuple[IPv4Network, ...], tuple[str, ...]]
"""Who may come in: networks, and the names of hosts."""

# A subentry's id is a ULID; it stands in the comment of each rule.
_ID = re.compile(r"[0-9A-Za-z]{1,64}")
_PORTS = re.compile(r"\s*([0-9]{1,5})(?:\s*-\s*([0-9]{1,5}))?\s*")
# As RFC 1123 has it, section 2.1, in a domain: what has no dot, or ends in a number, is
# an address or a port that was mistyped.
_NAME = re.compile(
    r"(?=.{1,253}$)(?:[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?\.)+"
    r"[a-z](?:[a-z0-9-]{0,61}[a-z0-9])?"
)
MAX_PORT = 65535
NOBODY = IPv4Network("255.255.255.255/32")
"""What nothing comes from."""


class InvalidForward(ValueError):
    """What was given is no forward; `errors` maps each field to its reason."""

    def __init__(self, errors: dict[str, str]) -> None:
        """Keep the reasons, by field."""
        super().__init__(", ".join(f"{field}: {key}" for field, key in errors.items()))
        self.errors = errors


class Protocol(StrEnum):
    """Which transports a forward carries."""

    TCP = "tcp"
    UDP = "udp"
    BOTH = "both"

    @property
    def transports(self) -> tuple[Transport, ...]:
        """The transports, each of which needs rules of its own."""
        match self:
            case Protocol.TCP:
                return ("tcp",)
            case Protocol.UDP:
                return ("udp",)
            case Protocol.BOTH:
                return ("tcp", "udp")

    @classmethod
    def of(cls, transports: Iterable[Transport]) -> Self:
        """Return the protocol that carries these transports."""
        names = set(transports)
        return cls("both") if names == {"tcp", "udp"} else cls(names.pop())


@dataclass(frozen=True, order=True, slots=True)
class PortRange:
    """One port or a run of them, both ends included, 1 to 65535."""

    first: int
    last: int

    def __post_init__(self) -> None:
        """Refuse what is no range of ports."""
        if not 1 <= self.first <= self.last <= MAX_PORT:
            raise ValueError(f"no range of ports: {self.first} to {self.last}")

    @override
    def __str__(self) -> str:
        """Return the range as people write it."""
        if self.first == self.last:
            return str(self.first)
        return f"{self.first}-{self.last}"

    def __len__(self) -> int:
        """Return the number of ports."""
        return self.last - self.first + 1

    def overlaps(self, other: PortRange) -> bool:
        """Return whether the two have a port in common."""
        return self.first <= other.last and other.first <= self.last

    def shifted(self, first: int) -> PortRange:
        """Return a range of the same length that starts at `first`."""
        return PortRange(first, first + len(self) - 1)


@dataclass(frozen=True, slots=True)
class Forward:
    """What arrives at the router's `external` ports goes to `target`.

    `target_ports` is as long as `external`: each port keeps its place in the
    range. `sources` are the networks that may come in; none named means all. `names`
    are hosts that may come in as well, by `admitting` their addresses; as long as none
    is known, and no network is named, nobody may.
    With `keep_client_address` the target sees the client's own address, which
    needs the router to be the target's gateway.

    `until` is when the kernel ends it by itself, in Unix time of Home Assistant's;
    None: never. It is no part of where packets go: a forward that is given more time is
    the same as before, and all that was seen of it stays true.
    """

    id: str
    protocol: Protocol
    external: PortRange
    target: IPv4Address
    target_ports: PortRange
    sources: tuple[IPv4Network, ...] = ()
    keep_client_address: bool = False
    until: int | None = field(default=None, compare=False)
    names: tuple[str, ...] = field(default=(), compare=False)

    def __post_init__(self) -> None:
        """Refuse what no router could carry out."""
        if not _ID.fullmatch(self.id):
            raise ValueError(f"no id of a forward: {self.id!r}")
        if len(self.target_ports) != len(self.external):
            raise ValueError("external and target ports differ in number")
        if not is_host(self.target):
            raise ValueError(f"no host's address: {self.target}")
        if self.sources != normal_sources(self.sources):
            raise ValueError("sources overlap, or are not in order")

    @property
    def shifted(self) -> bool:
        """Return whether the target's ports differ from the external ones."""
        return self.target_ports != self.external

    def is_exactly(self, other: Forward | None) -> bool:
        """Return whether both are the same, and end at the same time."""
        return self == other and self.until == other.until

    def admitting(self, addresses: Mapping[str, Collection[IPv4Address]]) -> Forward:
        """Return the same, which lets in its hosts as well, by their addresses."""
        if not self.names:
            return self
        known = [it for name in self.names for it in addresses.get(name, ())]
        networks = [network for network in self.sources if network != NOBODY]
        sources = normal_sources([*networks, *map(IPv4Network, known)])
        return replace(self, sources=sources or (NOBODY,))

    def conflicts(self, other: Forward) -> bool:
        """Return whether both want one port of one transport."""
        return self.external.overlaps(other.external) and self.shares_transport(other)

    def shares_transport(self, other: Forward) -> bool:
        """Return whether there is a transport that both carry."""
        mine = set(self.protocol.transports)
        return not mine.isdisjoint(other.protocol.transports)

    def takes(self, transport: Transport, port: int) -> bool:
        """Return whether what comes to a port of the router's goes through this."""
        return (
            transport in self.protocol.transports
            and self.external.first <= port <= self.external.last
        )

    @classmethod
    def parse(
        cls,
        id: str,  # noqa: A002 - the field's name
        *,
        protocol: str,
        external_port: str,
        target: str,
        target_port: str = "",
        sources: Iterable[str] = (),
        keep_client_address: bool = False,
    ) -> Self:
        """Make a forward of what a person typed.

        An empty `target_port` means the external ports; a single port beside an
        external range shifts the range. Raises InvalidForward, which names every
        field that is wrong.
        """
        errors: dict[str, str] = {}
        external = _parse_field(errors, "external_port", parse_ports, external_port)
        beside = partial(_parse_beside, external)
        ports = _parse_field(errors, "target_port", beside, target_port)
        address = _parse_field(errors, "target", parse_target, target)
        clients = _parse_field(errors, "sources", _parse_clients, sources)
        transports = _parse_field(errors, "protocol", _parse_protocol, protocol)
        if (
            errors
            or external is None
            or ports is None
            or address is None
            or clients is None
            or transports is None
        ):
            raise InvalidForward(errors)
        networks, names = clients
        return cls(
            *(id, transports, external, address, ports, networks, keep_client_address),
            names=names,
        )


class _Refused(ValueError):
    """A field's text is refused; the first argument is the reason's key."""


def _parse_field[T, U](
    errors: dict[str, str], field: str, parse: Callable[[T], U], given: T
) -> U | None:
    """Return the field's value, or note why it was refused."""
    try:
        return parse(given)
    except _Refused as err:
        errors[field] = str(err)
    return None


def _parse_protocol(text: str) -> Protocol:
    try:
        return Protocol(text)
    except ValueError:
        raise _Refused("invalid_protocol") from None


def parse_ports(text: str) -> PortRange:
    """Read `8443` or `6000-6010`, with spaces where people leave them."""
    if not (found := _PORTS.fullmatch(text)):
        raise _Refused("invalid_port")
    first, last = int(found[1]), int(found[2] or found[1])
    if not (1 <= first <= MAX_PORT and 1 <= last <= MAX_PORT):
        raise _Refused("port_out_of_range")
    if last < first:
        raise _Refused("port_range_reversed")
    return PortRange(first, last)


def _parse_beside(external: PortRange | None, text: str) -> PortRange | None:
    """Read what each of the external ports becomes, or comes from.

    Nothing means the same, and a single port shifts a range. External ports that are
    none themselves are no measure.
    """
    if not text.strip():
        return external
    ports = parse_ports(text)
    if external is None or len(ports) == len(external):
        return ports
    if len(ports) > 1:
        raise _Refused("port_count_differs")
    if ports.first + len(external) - 1 > MAX_PORT:
        raise _Refused("port_out_of_range")
    return external.shifted(ports.first)


def parse_public_port(external: PortRange | None, text: str) -> PortRange | None:
    """Read the ports of the main router from which it forwards to the external ones.

    No rule of a forward depends on them, so they are no part of it. None only where
    there are no external ones. Raises InvalidForward.
    """
    errors: dict[str, str] = {}
    beside = partial(_parse_beside, external)
    ports = _parse_field(errors, "public_port", beside, text)
    if errors:
        raise InvalidForward(errors)
    return ports


def is_host(address: IPv4Address) -> bool:
    """Return whether the address can be one host's, seen from a router.

    Leaves out 0.0.0.0/8, loopback, multicast and the reserved block with the
    broadcast address (RFC 1122, section 3.2.1.3; RFC 1112, section 4).
    """
    return not (
        address.is_loopback
        or address.is_multicast
        or address.is_reserved
        or address in IPv4Network("0.0.0.0/8")
    )


def parse_target(text: str) -> IPv4Address:
    """Read the IPv4 address of a host."""
    try:
        address = IPv4Address(text.strip())
    except AddressValueError:
        raise _Refused("invalid_target") from None
    if not is_host(address):
        raise _Refused("target_not_a_host")
    return address


def parse_sources(texts: Iterable[str]) -> tuple[IPv4Network, ...]:
    """Read networks such as `198.51.100.0/24`; a bare address is one host."""
    networks = []
    for text in texts:
        try:
            networks.append(IPv4Network(text.strip()))
        except ValueError:
            raise _Refused("invalid_source") from None
    return normal_sources(networks)


def parse_clients(texts: Iterable[str]) -> Clients:
    """Read networks, and names of hosts such as `home.example.org`.

    Raises InvalidForward.
    """
    errors: dict[str, str] = {}
    clients = _parse_field(errors, "sources", _parse_clients, texts)
    if clients is None:
        raise InvalidForward(errors)
    return clients


def _parse_clients(texts: Iterable[str]) -> Clients:
    """Read networks and names."""
    given = [text.strip().lower().removesuffix(".") for text in texts]
    names = tuple(dict.fromkeys(filter(_NAME.fullmatch, given)))
    others = [text for text in given if text not in names]
    networks = parse_sources(others)
    if others and not networks:
        # Who lets in everyone has named all hosts.
        return (), ()
    return networks or (NOBODY,) * bool(names), names


def parse_networks(texts: Iterable[str]) -> tuple[IPv4Network, ...]:
    """Read the networks that may come in. Raises InvalidForward."""
    errors: dict[str, str] = {}
    networks = _parse_field(errors, "sources", parse_sources, texts)
    if networks is None:
        raise InvalidForward(errors)
    return networks


def normal_sources(networks: Iterable[IPv4Network]) -> tuple[IPv4Network, ...]:
    """Return the fewest networks that say the same, in order; `()` means all."""
    fewest = tuple(sorted(collapse_addresses(networks)))
    return () if any(network.prefixlen == 0 for network in fewest) else fewest
