"""Forwards as elements of an nft table of ours, and back.

The table's rules are the same for any number of forwards; each forward has elements
in its maps and sets. Where R is the router's address:

- `translated`, `same_tcp` and `same_udp` say where to send what is addressed to R, by
  the port. A shifted port has an element of its own, since nft has no words for a
  shifted range; ports that stay as they are share one.
- `translated_from` and `same_from` do so by the client's network as well, for forwards
  that let in only some. The others are kept out of these two: `nft monitor` of 1.0.6
  prints garbage for elements of such maps, and may crash over them.
- `rewritten_tcp` and `rewritten_udp` hold the external ports whose flows get R as
  their source, so that the target answers through the router.
- `kept_tcp` and `kept_udp` hold those whose target is to see the client's address.
  Only clients of the LAN are rewritten then, which the target would answer directly.
  For all others, the source is translated to itself: that ends the matter, where an
  accept would leave it to the MASQUERADE of another table.

What ends forwards by itself, and cuts connections, is beside that, in `gate`.

The table stands at `dstnat - 5`: before a proxy's catch-all, whatever the order.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from ipaddress import AddressValueError, IPv4Address, IPv4Network, NetmaskValueError
import re

from ..forward import Forward, PortRange, Protocol, Transport, normal_sources
from ..rules.base import Tag, Way
from ..rules.ends import EVERYWHERE
from .gate import (
    SETS as GATE_SETS,
    GateElement,
    Leased,
    Open,
    element_text,
    gate_of,
    read_gate_element,
)

TABLE = "ip ha_bypass"
_KEPT = 8192
_TRANSLATION = re.compile(
    r"(?:(?:([0-9./-]+) \. )?(tcp|udp) \. )?([0-9]{1,5})(?:-([0-9]{1,5}))?"
    r'(?: counter(?: packets [0-9]+ bytes [0-9]+)?)? comment "([^"]*)"'
    r" : ([0-9.]+)(?: \. ([0-9]{1,5}))?"
)
_COUNTER = re.compile(r" counter packets ([0-9]{1,20}) bytes ")
_PORTS = re.compile(r'([0-9]{1,5})(?:-([0-9]{1,5}))? comment "([^"]*)"')


@dataclass(frozen=True, slots=True)
class Translation:
    """An element of a map: where these ports go; None if they stay as they are."""

    source: IPv4Network
    transport: Transport
    ports: PortRange
    target: IPv4Address
    target_port: int | None

    @property
    def place(self) -> str:
        """The map that holds it."""
        kind = "same" if self.target_port is None else "translated"
        if self.source != EVERYWHERE:
            return f"{kind}_from"
        return f"{kind}_{self.transport}" if kind == "same" else kind

    @property
    def key(self) -> str:
        """What it is looked up by."""
        if self.source != EVERYWHERE:
            return f"{self.source} . {self.transport} . {self.ports}"
        if self.target_port is None:
            return str(self.ports)
        return f"{self.transport} . {self.ports}"

    @property
    def way(self) -> Way:
        """Who reaches what by it."""
        to = self.ports.first if self.target_port is None else self.target_port
        shift = to - self.ports.first
        return Way(self.source, self.transport, self.ports, self.target, shift)

    @property
    def value(self) -> str:
        """What follows key and comment."""
        port = "" if self.target_port is None else f" . {self.target_port}"
        return f" : {self.target}{port}"


@dataclass(frozen=True, slots=True)
class Source:
    """An element of a set: how the source of these ports' flows is treated."""

    transport: Transport
    ports: PortRange
    kept: bool

    @property
    def place(self) -> str:
        """The set that holds it."""
        return f"{'kept' if self.kept else 'rewritten'}_{self.transport}"

    @property
    def key(self) -> str:
        """What it is looked up by."""
        return str(self.ports)

    @property
    def value(self) -> str:
        """Nothing: it is a set."""
        return ""


type ForwardElement = Translation | Source
type Element = ForwardElement | GateElement

_FLOW = "inet_proto . inet_service"
_VALUE = "ipv4_addr . inet_service"
INTERVAL = " flags interval;"
MAPS = {
    "translated": f"type {_FLOW} : {_VALUE};",
    "same_tcp": f"type inet_service : ipv4_addr;{INTERVAL}",
    "same_udp": f"type inet_service : ipv4_addr;{INTERVAL}",
    "translated_from": f"type ipv4_addr . {_FLOW} : {_VALUE};{INTERVAL}",
    "same_from": f"type ipv4_addr . {_FLOW} : ipv4_addr;{INTERVAL}",
}
_OF_PORTS = f"type inet_service;{INTERVAL}"
_SOURCES = ("rewritten_tcp", "rewritten_udp", "kept_tcp", "kept_udp")
SETS = dict.fromkeys(_SOURCES, _OF_PORTS) | GATE_SETS
PLACES = (*MAPS, *SETS)


def elements_of(forward: Forward) -> tuple[Element, ...]:
    """Return the elements that carry out a forward, and end it."""
    return (*_translating(forward), *gate_of(forward))


@lru_cache(_KEPT)
def _translating(forward: Forward) -> tuple[ForwardElement, ...]:
    """Return those that translate."""
    return tuple(_elements_of(forward))


def _elements_of(forward: Forward) -> Iterator[ForwardElement]:
    """Yield them, one by one."""
    for transport in forward.protocol.transports:
        for source in forward.sources or (EVERYWHERE,):
            if not forward.shifted:
                yield Translation(
                    source, transport, forward.external, forward.target, None
                )
                continue
            for place in range(len(forward.external)):
                port = forward.external.first + place
                yield Translation(
                    source,
                    transport,
                    PortRange(port, port),
                    forward.target,
                    forward.target_ports.first + place,
                )
        yield Source(transport, forward.external, forward.keep_client_address)


@lru_cache(_KEPT)
def forward_of_elements(tag: Tag, elements: frozenset[Element]) -> Forward | None:
    """Return the forward that exactly these elements carry out, if there is one."""
    untils = {element.until for element in elements if isinstance(element, Open)}
    try:
        forward = _guess(tag, elements)
    except ValueError:
        return None
    if len(untils) == 1:
        forward = replace(forward, until=untils.pop())
    return forward if frozenset(elements_of(forward)) == elements else None


def ended_forward(tag: Tag, elements: frozenset[Element]) -> Forward | None:
    """Return the forward whose time is over, and all else of which is still there."""
    leased = {element for element in elements if isinstance(element, Leased)}
    forward = forward_of_elements(tag, elements - leased) if leased else None
    if forward is None or forward.until is not None:
        return None
    expected = {
        element
        for element in gate_of(replace(forward, until=0))
        if isinstance(element, Leased)
    }
    return forward if leased == expected else None


def _guess(tag: Tag, elements: frozenset[Element]) -> Forward:
    """Return what the elements say, if they say one thing. Raises ValueError."""
    sources = [element for element in elements if isinstance(element, Source)]
    found = [element for element in elements if isinstance(element, Translation)]
    spans = {(source.ports, source.kept) for source in sources}
    targets = {translation.target for translation in found}
    if len(spans) != 1 or len(targets) != 1:
        raise ValueError("no forward, or two that differ")
    ((external, kept),) = spans
    first = min(found, key=lambda translation: translation.ports.first)
    target_ports = external
    if first.target_port is not None:
        target_ports = external.shifted(first.target_port)
    return Forward(
        id=tag.forward,
        protocol=Protocol.of(source.transport for source in sources),
        external=external,
        target=targets.pop(),
        target_ports=target_ports,
        sources=normal_sources(translation.source for translation in found),
        keep_client_address=kept,
    )


def read_element(place: str, text: str, now: float) -> tuple[Tag, Element] | None:
    """Return the element that nft printed now, or None if it can be none of ours."""
    try:
        if place in GATE_SETS:
            return read_gate_element(place, text, now)
        return _read_element(place, text)
    except (AddressValueError, NetmaskValueError, ValueError):  # fmt: skip
        return None


def _read_element(place: str, text: str) -> tuple[Tag, Element] | None:
    """Do so. Raises ValueError for what is out of range."""
    element: ForwardElement
    if place in MAPS:
        if not (found := _TRANSLATION.fullmatch(text)):
            return None
        source, transport, first, last, comment, target, port = found.groups()
        shape = (source is not None, transport is not None)
        if shape != (
            place.endswith("_from"),
            not place.startswith("same_") or shape[0],
        ):
            return None
        if transport is None:
            transport = place.rpartition("_")[2]
        element = Translation(
            IPv4Network(source) if source else EVERYWHERE,
            "tcp" if transport == "tcp" else "udp",
            PortRange(int(first), int(last or first)),
            IPv4Address(target),
            int(port) if port else None,
        )
    else:
        if not (found := _PORTS.fullmatch(text)):
            return None
        first, last, comment = found.groups()
        kind, _, transport = place.partition("_")
        element = Source(
            "tcp" if transport == "tcp" else "udp",
            PortRange(int(first), int(last or first)),
            kept=kind == "kept",
        )
    tag = Tag.parse(comment)
    return (tag, element) if tag and element.place == place else None


def read_count(place: str, text: str) -> tuple[Tag, int] | None:
    """Return how often an element of a map was used, and whose it is.

    The kernel looks once for each connection.
    """
    counted = _COUNTER.search(text)
    found = read_element(place, text, 0)
    return (found[0], int(counted[1])) if counted and found else None


def add_line(tag: Tag, element: Element, *, now: float = 0, taken: bool = False) -> str:
    """Return the line that adds an element, or is refused if its place is `taken`.

    What is to end does so by its time, from `now` on. The others may have none.

    Where another's stands that says the same, `add` would do nothing, and tell no one.
    `create` is refused then; among intervals of ports, it may be refused at any time.
    """
    if isinstance(element, Leased | Open):
        text = element_text(tag, element, now)
        return f"add element {TABLE} {element.place} {{ {text} }}"
    verb = "add" if isinstance(element, Source) else "create"
    if element.place in ("same_tcp", "same_udp"):
        # The set of these ports tells.
        verb = "add"
    if taken:
        verb = "create"
    text = f'{element.key} comment "{tag}"{element.value}'
    return f"{verb} element {TABLE} {element.place} {{ {text} }}"


def delete_line(element: Element) -> str:
    """Return the line that takes an element away."""
    return f"delete element {TABLE} {element.place} {{ {element.key} }}"
