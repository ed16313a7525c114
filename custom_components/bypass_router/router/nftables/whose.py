"""In which words of a rule some of a forward's packets are told from its others."""

from collections.abc import Iterator, Sequence
from ipaddress import IPv4Network

from ..passage.packet import Packet, interval_of, subtracted

type Whose = tuple[str, str]
"""Whose connections, and which way: as `clients` and `direction` of an accept."""


def whose(packet: Packet, lan: str) -> Whose:
    """Return the words for a packet and those of the same clients and direction."""
    others = subtracted(packet.clients, [interval_of(IPv4Network(lan))])
    clients = f"!= {lan}" if next(others, None) else lan
    return clients, "reply" if packet.answer else "original"


def words_for(
    packets: Sequence[Packet], numbers: set[int], lan: str
) -> Iterator[tuple[str, str, set[int]]]:
    """Yield all such words, the shortest first, and which of these they mean."""
    names = {number: whose(packets[number], lan) for number in numbers}
    pairs = list(dict.fromkeys(names.values()))
    words = [(clients, "") for clients, _ in pairs]
    words += [("", direction) for _, direction in pairs]
    for clients, direction in dict.fromkeys([*words, *pairs]):
        those = {
            number
            for number, name in names.items()
            if clients in ("", name[0]) and direction in ("", name[1])
        }
        yield clients, direction, those
