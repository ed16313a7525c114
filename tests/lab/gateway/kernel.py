"""Lets packets in, in the kernel of the lab's main router."""

import json
from typing import Any, Final

from ..machine import Machine
from .table import Place

_TABLE: Final = """
table ip gateway {
    map forwards {
        type inet_proto . inet_service : ipv4_addr . inet_service
        counter
    }
    chain prerouting {
        type nat hook prerouting priority dstnat
        iifname "wan" dnat ip to meta l4proto . th dport map @forwards
    }
}
"""


class MainRouterKernel:
    """A map of nftables."""

    def __init__(self, router: Machine) -> None:
        """Let nothing in."""
        self._router = router
        self._nft("table ip gateway\ndelete table ip gateway\n" + _TABLE)
        self._open: set[Place] = set()

    def open(self, place: Place, client: str, port: int) -> None:
        """Lead a port to a client's, in place of what it led to."""
        add = f"add element ip gateway forwards {{ {_key(place)} : {client} . {port} }}"
        self._nft(f"{self._delete(place)}{add}\n")
        self._open.add(place)

    def close(self, place: Place) -> None:
        """Lead it nowhere."""
        self._nft(self._delete(place))
        self._open.discard(place)

    def packets(self, place: Place) -> int:
        """Return how many connections have come through it since it was opened."""
        for element, _ in self._elements():
            if element["elem"]["val"]["concat"] == list(place):
                return int(element["elem"]["counter"]["packets"])
        return 0

    def ways(self) -> dict[Place, tuple[str, int]]:
        """Return what leads where."""
        return {
            tuple(element["elem"]["val"]["concat"]): tuple(to["concat"])
            for element, to in self._elements()
        }

    def flush(self) -> None:
        """Lead all of them nowhere."""
        self._nft("flush map ip gateway forwards\n")
        self._open.clear()

    def _elements(self) -> list[tuple[Any, Any]]:
        """Return what the kernel has, as nft prints it."""
        listed = self._router.run("nft", "-j", "list map ip gateway forwards").stdout
        (found,) = [it["map"] for it in json.loads(listed)["nftables"] if "map" in it]
        elements: list[tuple[Any, Any]] = found.get("elem", [])
        return elements

    def _delete(self, place: Place) -> str:
        """Return the command that takes away what there is."""
        known = place in self._open
        return known * f"delete element ip gateway forwards {{ {_key(place)} }}\n"

    def _nft(self, commands: str) -> None:
        """Have commands carried out."""
        self._router.run("nft", "-f", "-", input=commands)


def _key(place: Place) -> str:
    """Return a port as the map has it."""
    transport, port = place
    return f"{transport} . {port}"
