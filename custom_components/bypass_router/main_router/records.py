"""What the main router was asked for, on disk before it is asked.

Whatever becomes of Home Assistant, it is known afterwards which of the main router's
port mappings are ours, and until when. Where the file is lost, their descriptions and
their leases are left.
"""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
import math
from typing import Any

from homeassistant.core import HomeAssistant

from ..const import DOMAIN
from ..router.port_mapping.base import PortMapping, PublicPort
from ..storage import CheckedStore

# A week is what a router makes of a lease at the most; of a clock that was wrong once,
# nothing later counts.
_LONGEST = 604_800
# No clock goes further.
_LATEST = 2**40


@dataclass(frozen=True, slots=True)
class Record:
    """A mapping that was asked for."""

    forward_id: str
    mapping: PortMapping
    number: int
    """How often it was asked for: each time by another description, for a router that
    has lost its rules lets one that it lists already be."""
    lease: int
    """Seconds; 0: for good."""
    asked: float
    """When it was, in Unix time."""
    agreed: bool = False
    """Whether the main router has said that it was done."""
    former: frozenset[int] = frozenset()
    """Ports that it may lead to instead, from before, where it has not said so."""
    looked: bool = True
    """Whether it was known to be free by then; else what is there without a name may
    be another's."""
    kept: int = 0
    """Seconds for which the main router says that it keeps it, where those are more."""

    @property
    def ports(self) -> frozenset[int]:
        """The bypass router's ports that it may lead to."""
        return self.former | {self.mapping.port}

    def is_due(self, now: float) -> bool:
        """Return whether it is to be asked for again, though it may be there.

        What was asked for in the future was so by a clock that was wrong.
        """
        return not self.agreed or self.renew_at <= now or self.asked > now

    @property
    def renew_at(self) -> float:
        """When it is to be asked for again, in Unix time: after half of its lease."""
        return self.asked + self.lease / 2 if self.lease else math.inf

    @property
    def until(self) -> float:
        """When it ends by itself, in Unix time."""
        return self.asked + max(self.lease, self.kept) if self.lease else math.inf


class Records:
    """What is recorded of one entry's main router, and the file of it."""

    def __init__(self, hass: HomeAssistant, entry_id: str) -> None:
        """Name the file; nothing is read yet."""
        self._file = CheckedStore(hass, f"{DOMAIN}.{entry_id}.main_router")
        self._on_disk: _Saved | None = None
        self._saved: _Saved = {}, ()

    @property
    def mappings(self) -> Mapping[PublicPort, Record]:
        """What was asked for, by the port of the main router."""
        return self._saved[0]

    @property
    def locations(self) -> tuple[str, ...]:
        """Where descriptions of the main router were found last."""
        return self._saved[1]

    async def load(self) -> None:
        """Read what the file says that makes sense. Raises NotLoaded."""
        self._saved = self._on_disk = _parsed(await self._file.async_load())

    async def save(
        self,
        mappings: Mapping[PublicPort, Record] | None = None,
        locations: tuple[str, ...] | None = None,
    ) -> None:
        """Record one of these or both, unless the file says so already.

        Raises NotSaved; it is as it was before then.
        """
        saved = (
            self.mappings if mappings is None else mappings,
            self.locations if locations is None else locations,
        )
        if saved != self._on_disk:
            self._on_disk = None
            await self._file.async_save(_stored(*saved))
            self._on_disk = saved
        self._saved = saved

    async def remove(self) -> None:
        """Delete the file."""
        await self._file.async_remove()


type _Saved = tuple[Mapping[PublicPort, Record], tuple[str, ...]]


def _stored(
    mappings: Mapping[PublicPort, Record], locations: tuple[str, ...]
) -> dict[str, Any]:
    """Return what a file says of it."""
    return {
        "mappings": [
            {
                "forward": record.forward_id,
                "transport": public.transport,
                "public_port": public.port,
                "port": record.mapping.port,
                "number": record.number,
                "lease": record.lease,
                "asked": record.asked,
                "agreed": record.agreed,
                "former": sorted(record.former),
                "looked": record.looked,
                "kept": record.kept,
            }
            for public, record in sorted(mappings.items())
        ],
        "locations": list(locations),
    }


def _parsed(stored: object) -> _Saved:
    """Return what a file says, as far as it makes sense."""
    if not isinstance(stored, dict):
        return {}, ()
    lines, locations = stored.get("mappings"), stored.get("locations")
    return (
        {
            record.mapping.public: record
            for line in _items(lines)
            if (record := _record_of(line))
        },
        tuple(text for text in _items(locations) if isinstance(text, str)),
    )


def _items(value: object) -> Iterable[object]:
    """Return a list's items; none of what is no list."""
    return value if isinstance(value, list) else ()


def _makes_sense(asked: float, number: int, lease: int, *ports: int) -> bool:
    """Return whether these are numbers such as are written."""
    if any(isinstance(it, bool) for it in (asked, number, lease, *ports)):
        return False
    return 0 <= asked < _LATEST and number >= 0 and 0 <= lease <= _LONGEST


def _record_of(line: object) -> Record | None:
    """Return what a line says, if it makes sense."""
    match line:
        case {
            "forward": str(forward_id),
            "transport": "tcp" | "udp" as transport,
            "public_port": int(public_port),
            "port": int(port),
            "number": int(number),
            "lease": int(lease),
            "asked": float() | int() as asked,
            "agreed": bool(agreed),
            "former": list(former),
            **more,
        } if _makes_sense(asked, number, lease, public_port, port):
            try:
                mapping = PortMapping(PublicPort(transport, public_port), port)
            except ValueError:
                return None
            ports = frozenset(port for port in former if isinstance(port, int))
            when = float(asked)
            looked = more.get("looked") is not False
            # Earlier versions wrote none.
            kept = more.get("kept")
            if not isinstance(kept, int) or not _makes_sense(0, 0, kept):
                kept = 0
            return Record(
                *(forward_id, mapping, number, lease, when, agreed, ports, looked), kept
            )
        case _:
            return None
