"""Who has which port of a router, of all Home Assistants that translate there."""

from collections.abc import Iterable, Iterator

from ..forward import Forward, PortRange, Transport
from .base import Claim, Tag


class Claims:
    """All claims on one router, in the order in which the kernel asks."""

    def __init__(self, claims: Iterable[Claim], owner: str) -> None:
        """Take them, and who we are."""
        self._single: dict[tuple[Transport, int], tuple[int, Tag]] = {}
        self._ranges: list[tuple[int, Claim]] = []
        self._own: dict[Tag, int] = {}
        for place, claim in enumerate(claims):
            if claim.tag.owner == owner:
                self._own.setdefault(claim.tag, place)
            elif len(claim.ports) == 1:
                port = (claim.transport, claim.ports.first)
                self._single.setdefault(port, (place, claim.tag))
            else:
                self._ranges.append((place, claim))

    def rival(self, forward: Forward) -> Tag | None:
        """Return whose forward takes a port of this one, of those of others."""
        found = sorted(self._rivals(forward), key=lambda rival: rival[0])
        return found[0][1] if found else None

    def is_behind(self, tag: Tag, forward: Forward) -> bool:
        """Return whether the kernel asks someone else's rule before one of ours."""
        place = self._own.get(tag, 0)
        return any(other < place for other, _ in self._rivals(forward))

    def _rivals(self, forward: Forward) -> Iterator[tuple[int, Tag]]:
        """Yield each that wants a port of this one, with its place."""
        transports = forward.protocol.transports
        for place, claim in self._ranges:
            if claim.transport in transports and claim.ports.overlaps(forward.external):
                yield place, claim.tag
        if len(forward.external) > len(self._single):
            for (transport, port), found in self._single.items():
                one = PortRange(port, port)
                if transport in transports and one.overlaps(forward.external):
                    yield found
            return
        for port in range(forward.external.first, forward.external.last + 1):
            for transport in transports:
                if single := self._single.get((transport, port)):
                    yield single
