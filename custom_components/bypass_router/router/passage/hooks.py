"""A forward's packets as the hooks before and behind `forward` see them.

At `prerouting`, the kernel translates at one priority: before that, a request is to
the router, and an answer to whom the target sees. Behind it, and at `postrouting`, they
are as at `forward`.
"""

from collections.abc import Iterator, Set as AbstractSet
from dataclasses import dataclass, fields, replace
from typing import override

from ..forward import MAX_PORT, Forward, PortRange, Protocol
from ..rules.base import RouterContext
from .packet import Interval, Key, Packet, interval_of, packets_of

_TRANSLATED_AT = -100
"""All chains of the type `nat` at `prerouting`, as the others see them."""
_AT_PREROUTING = frozenset({Key.OUTPUT, Key.STATE, Key.KIND})
_AT_POSTROUTING = frozenset({Key.INPUT})


@dataclass(frozen=True, slots=True)
class HookPacket(Packet):
    """One as such a hook sees it."""

    to: tuple[Interval, ...] = ()
    """Its destinations, where those are not what they are at `forward`."""
    at: tuple[Interval, ...] = ()
    """The same of the destination's ports."""
    unknown: frozenset[Key] = frozenset()
    """What is not told there yet, or no more; or is not the same for all of them."""

    @override
    def numbers(self, key: Key) -> tuple[Interval, ...] | None:
        """Return the numbers that it may have there; None where it has none."""
        if key is Key.DESTINATION and self.to:
            return self.to
        if key is Key.DESTINATION_PORT and self.at:
            return self.at
        found = Packet.numbers(self, key)
        return None if found is None else tuple(found)

    @override
    def words(self, key: Key) -> AbstractSet[str] | None:
        """Return the words that describe it; None where it is not known."""
        return None if key in self.unknown else Packet.words(self, key)


def packets_of_any(
    context: RouterContext, interface: str, hook: str, at: int | None
) -> Iterator[Packet]:
    """Yield the packets of any forward, to any device of the LAN, as a hook sees them.

    At `forward`, or before: then by the priority of the chain.
    """
    ports = PortRange(1, MAX_PORT)
    anything = Forward(
        "any",
        Protocol.BOTH,
        ports,
        context.address.ip,
        ports,
        keep_client_address=True,
    )
    found: Iterator[Packet]
    if hook == "forward":
        found = packets_of(anything, context, interface)
    else:
        found = hook_packets_of(anything, context, interface, hook, at)
    lan = interval_of(context.address.network)
    for packet in found:
        yield replace(packet, target=lan)


def hook_packets_of(
    forward: Forward, context: RouterContext, interface: str, hook: str, at: int | None
) -> Iterator[HookPacket]:
    """Yield a forward's packets as a hook sees them, by the priority of a chain.

    Where no one knows whether that is before the kernel translates, both.
    """
    unknown = _AT_PREROUTING if hook == "prerouting" else _AT_POSTROUTING
    for packet in packets_of(forward, context, interface):
        known = {it.name: getattr(packet, it.name) for it in fields(packet)}
        if hook == "prerouting" and (at is None or at <= _TRANSLATED_AT):
            seen = [packet.router]
            if packet.answer and forward.keep_client_address:
                seen += packet.clients
            ports = () if packet.answer else (packet.external,)
            yield HookPacket(**known, to=tuple(seen), at=ports, unknown=unknown)
        if hook != "prerouting" or at is None or at >= _TRANSLATED_AT:
            yield HookPacket(**known, unknown=unknown)
