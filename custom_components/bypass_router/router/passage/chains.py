"""Chains of anybody's, as far as what becomes of a packet depends on them."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from enum import StrEnum, auto

from .packet import ALL, Condition, Key, Match, Packet


class Action(StrEnum):
    """What a rule does with a packet that meets its conditions."""

    CONTINUE = auto()
    ACCEPT = auto()
    DROP = auto()
    """And what comes to the same for us: reject, tarpit."""
    RETURN = auto()
    JUMP = auto()
    GOTO = auto()
    QUEUE = auto()
    """A program decides."""


@dataclass(frozen=True, slots=True)
class Branch:
    """Conditions, and what is done where they are met."""

    conditions: tuple[Condition, ...] = ()
    action: Action = Action.CONTINUE
    chain: str = ""
    """Where a jump leads to."""

    def match(self, packet: Packet) -> Match:
        """Return whether a packet meets all conditions."""
        found = Match.YES
        for condition in self.conditions:
            match = condition.match(packet)
            if match is Match.NO:
                return match
            if match is Match.MAYBE:
                found = match
        return found

    def asks_who(self, packet: Packet) -> bool:
        """Return whether it depends on who the client is, or how often one comes."""
        return any(
            it.match(packet) is Match.MAYBE and it.asks_who(packet)
            for it in self.conditions
        )

    def is_for_most(self, packet: Packet) -> bool:
        """Return whether it is for all clients but some."""
        open_ones = self._open(packet)
        return bool(open_ones) and all(
            it.negated and it.asks_who(packet) for it in open_ones
        )

    def is_for_most_addresses(self, packet: Packet) -> bool:
        """Return whether it is for all clients but those of some addresses."""
        return self.is_for_most(packet) and all(
            it.names_address(packet) for it in self._open(packet)
        )

    def _open(self, packet: Packet) -> list[Condition]:
        """Return the conditions that a packet may meet or not."""
        return [it for it in self.conditions if it.match(packet) is Match.MAYBE]

    def names_clients(self, packet: Packet) -> bool:
        """Return whether it is for some addresses of clients, and not for others."""
        # What names all of the LAN keeps it apart, and no one in it.
        of_lan = any(
            first <= packet.router[0] <= last for first, last in packet.clients
        )
        asking = [
            it
            for it in self.conditions
            if it.asks_who(packet) and (it.negated or not of_lan)
        ]
        if not asking:
            return False
        anyone = replace(packet, clients=(ALL,))
        return any(it.match(anyone) is Match.MAYBE for it in asking)

    def singles_out(self, packet: Packet) -> bool:
        """Return whether it is about just this target, or its ports."""
        return any(it.singles_out(packet) for it in self.conditions)


@dataclass(frozen=True, slots=True)
class Marking:
    """A mark that a rule sets."""

    key: Key
    value: int = 0
    mask: int = 0
    """Which bits of it are known."""
    by_client: bool = False
    """Whether the value itself may tell one client from another."""


@dataclass(frozen=True, slots=True)
class ChainRule:
    """A rule of someone else's.

    Of several branches, the first that a packet meets counts, as in a map of verdicts.
    """

    text: str
    """For people to find it by."""
    branches: tuple[Branch, ...]
    only_logs: bool = False
    """Whether all it does is to log, or to count."""
    takes: bool = False
    """Whether it is one that hands packets to a program, as TPROXY does."""
    untracks: bool = False
    """Whether it keeps packets that meet its conditions from being tracked."""
    marks: tuple[Marking, ...] = ()
    """Which marks it sets."""


@dataclass(frozen=True, slots=True)
class Chain:
    """A chain without any rules of ours."""

    rules: tuple[ChainRule, ...] = ()
    drops: bool = False
    """Whether its policy does; only one that the kernel enters has any."""


type Chains = Mapping[str, Chain]
"""By name, all chains of one table."""
