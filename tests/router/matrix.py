"""What is tried on each kind of router: the cells of the matrix.

A cell is one exchange of payload through one forward: by a path, over a protocol,
while the target's gateway is one router or the other. It is tried, never inferred
from rules. What the kernel can't do is tried as well, and has to fail.
"""

from collections.abc import Collection, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from enum import StrEnum
from itertools import product
import re
from typing import Final, Literal, override

from custom_components.bypass_router.router.forward import Forward
from tests.lab.by_hand import all_rules
from tests.lab.exchange import Exchange, Transport
from tests.lab.network import INTERNET_ADDRESS, Lab

type Gateway = Literal["bypass", "main"]
type Path = Literal["internet", "LAN"]
type Column = tuple[Gateway, Path, str]

GATEWAYS: Final[tuple[Gateway, ...]] = ("bypass", "main")
PATHS: Final[tuple[Path, ...]] = ("internet", "LAN")
PROTOCOLS: Final[tuple[Transport, ...]] = ("tcp", "udp")
_PATIENCE: Final = {True: 4.0, False: 0.12}
"""Seconds for an answer that is expected to come, and for one that is not."""


class Reason(StrEnum):
    """Why what is asked for can't be done."""

    OTHER_WAY = (
        "The target answers its client through the main router, which never saw the"
        " request come by: to the client, that is a stranger's packet."
    )
    UNSEEN_CHAINS = (
        "iptables makes the kernel's chains when they are first used, and shows them"
        " whether they are there or not. Without nft, nobody knows which of them were"
        " there before, and so they are left behind, empty. The rest is the same."
    )
    LEGACY_TABLES = (
        "The kernel makes a table of iptables-legacy when it is first used, and gives"
        " it up with the module or the network namespace alone. It is left behind,"
        " empty. The rest is the same."
    )


def _forward(name: str, external: str, target: str = "", *sources: str) -> Forward:
    """Return a forward to the lab's target, over TCP and UDP."""
    return Forward.parse(
        name,
        protocol="both",
        external_port=external,
        target="192.168.50.10",
        target_port=target,
        sources=sources,
        keep_client_address=name == "06KEPT",
    )


PLAIN: Final = _forward("01PLAIN", "8443", "443")
SHIFTED: Final = _forward("02SHIFTED", "6000-6010", "7000")
RANGE: Final = _forward("03RANGE", "6100-6110")
FOR_LAN: Final = _forward("04LAN", "8445", "445", "192.168.50.0/24")
FOR_INTERNET: Final = _forward(
    "05INTERNET", "8446", "446", INTERNET_ADDRESS, "198.51.100.0/24"
)
KEPT: Final = _forward("06KEPT", "8447", "447")

OPTIONS: Final = {
    "plain": (PLAIN,),
    "shifted": (SHIFTED,),
    "range": (RANGE,),
    "sources": (FOR_LAN, FOR_INTERNET),
    "kept": (KEPT,),
}
FORWARDS: Final = {
    forward.id: forward for option in OPTIONS.values() for forward in option
}


@dataclass(frozen=True)
class Cell:
    """One exchange through one forward."""

    option: str
    forward: Forward
    path: Path
    protocol: Transport
    gateway: Gateway

    @override
    def __str__(self) -> str:
        """Say which it is."""
        return (
            f"{self.forward.id} over {self.protocol} from the {self.path},"
            f" the {self.gateway} router being the target's gateway"
        )

    @property
    def column(self) -> Column:
        """Where it stands in the table."""
        return self.gateway, self.path, self.option

    @property
    def refused(self) -> bool:
        """Whether the forward is not for clients from there."""
        not_for = {"internet": FOR_LAN, "LAN": FOR_INTERNET}
        return self.forward is not_for[self.path]

    @property
    def impossible(self) -> Reason | None:
        """Why it can work on no router, if it can't."""
        if self.forward is KEPT and self.column[:2] == ("main", "internet"):
            return Reason.OTHER_WAY
        return None

    @property
    def passes(self) -> bool:
        """Whether payload passes while the forward is on."""
        return not self.refused and self.impossible is None

    @property
    def _place(self) -> int:
        """The port's place in the range: not the first, if there are several."""
        return min(4, len(self.forward.external) - 1)

    def flaw(self, lab: Lab, *, on: bool) -> str | None:
        """Exchange payload, and say what is wrong, if anything is.

        `on` says whether the forward is to work at all.
        """
        expected = on and self.passes
        tried = self._exchange(lab, _PATIENCE[expected])
        if not expected:
            return f"passed, but should not: {tried}" if tried.passed else None
        if not tried.passed:
            return f"did not pass: {tried}"
        kept = self.forward is KEPT and self.path == "internet"
        peer = lab.internet.address if kept else lab.bypass.address
        port = self.forward.target_ports.first + self._place
        if (tried.peer_seen, tried.port_seen) != (peer, port):
            return f"was to be seen from {peer}, at port {port}: {tried}"
        return None

    def _exchange(self, lab: Lab, timeout: float) -> Exchange:
        """Exchange payload with whoever answers."""
        port = self.forward.external.first + self._place
        if self.path == "LAN":
            node, address = lab.other, lab.bypass.address
        else:
            node, address = lab.internet, lab.main.wan_address
        return node.exchange(self.protocol, address, port, timeout=timeout)


CELLS: Final = tuple(
    Cell(option, forward, path, protocol, gateway)
    for gateway, path, (option, forwards), protocol in product(
        GATEWAYS, PATHS, OPTIONS.items(), PROTOCOLS
    )
    for forward in forwards
)
PASSING: Final = tuple(cell for cell in CELLS if cell.passes)


def flaws_of(
    lab: Lab, cells: Sequence[Cell], on: Collection[str]
) -> dict[Cell, str | None]:
    """Try all of them at once; `on` names the forwards that are to work."""
    with ThreadPoolExecutor(len(cells)) as threads:
        tried = threads.map(
            lambda cell: cell.flaw(lab, on=cell.forward.id in on), cells
        )
        return dict(zip(cells, tried, strict=True))


def serve(lab: Lab) -> None:
    """Let the target answer at every port that a forward leads to."""
    for forward, protocol in product(FORWARDS.values(), PROTOCOLS):
        lab.target.serve(protocol, str(forward.target_ports))


def rules(lab: Lab) -> str:
    """All rules of the router, as text that tells no counters and no handles."""
    return f"{all_rules(lab)}\n{lab.bypass.real('ip', 'rule').stdout}"


def kernels_chains(text: str) -> set[str]:
    """Return the chains at the kernel's hooks, such as `nft ip nat PREROUTING`.

    Of legacy's, which come a table at once, the tables, such as `legacy nat`.
    """
    found = set(re.findall(r"^(legacy): \*(\w+)", text, re.MULTILINE))
    table = ""
    for line in map(str.split, text.splitlines()):
        if line[:1] == ["table"]:
            table = " ".join(line[1:3])
        elif line[:1] == ["chain"]:
            found.add((f"nft {table}", line[1]))
    return {" ".join(parts) for parts in found}


OURS: Final = re.compile(
    r"HA-BYPASS|bypass_router:|table ip ha_bypass|lookup 7077|proto 217"
)
# Begins or ends a block, or says what a chain of the kernel's is.
_FRAME: Final = re.compile(r".*[{}]|type .*|(?:nft|legacy): (?!-A).*|")


def foreign(text: str) -> list[str]:
    """Return the rules of others in what `rules` returned, each with its place."""
    found = []
    blocks: list[str] = []
    # Behind a table's brace, nft names the program that owns it.
    for line in map(str.strip, re.sub(r"\{ # .*", "{", text).splitlines()):
        if line.endswith("{"):
            blocks.append(line)
        place = " ".join((*blocks, line))
        if not _FRAME.fullmatch(line) and not OURS.search(place):
            found.append(place)
        if line == "}":
            blocks.pop()
    return found


_KERNELS_CHAINS: Final = (
    r"\tchain [A-Z]+ \{\n\t\ttype [^;]+; policy accept;\n\t\}\n",
    r"\n(?=\n)",
    r"table ip (?:filter|mangle|nat) \{\n\}\n",
    r"(?:nft|legacy): (?:\*[a-z]+|:[A-Z]+ ACCEPT|COMMIT)\n",
)


def without_kernels_chains(text: str) -> str:
    """Return the same without chains of the kernel's that are empty and accept all."""
    for pattern in _KERNELS_CHAINS:
        text = re.sub(pattern, "", text)
    return text
