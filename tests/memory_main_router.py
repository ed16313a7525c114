"""A main router in memory, which is asked as `PortMapper` has it; and a file, too.

The real ways of asking are tried against gateways in `tests/router`. Here it is about
what is asked, in which order, and what is known whenever all may end.
"""

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field, replace
from ipaddress import IPv4Address
import json
from typing import Any, Final
from unittest.mock import Mock, patch

from custom_components.bypass_router.main_router import records as records_module
from custom_components.bypass_router.main_router.plan import Owner
from custom_components.bypass_router.main_router.records import Records
from custom_components.bypass_router.router.errors import RouterError
from custom_components.bypass_router.router.port_mapping.base import (
    Answer,
    Entry,
    FreePort,
    Listed,
    Opening,
    Outcome,
    PortMapping,
    PublicPort,
    Refusal,
)
from custom_components.bypass_router.storage import NotSaved

CLIENT: Final = IPv4Address("192.168.50.2")
NAS: Final = IPv4Address("192.168.50.20")
MAIN: Final = IPv4Address("192.168.50.1")
PUBLIC: Final = IPv4Address("45.32.7.9")
OWNER: Final = Owner("0a1b2c3d", CLIENT)


_SILENCE: Final = Refusal(Answer.SILENT)


class Fate:
    """Lets one of the next steps be the last one, before it is done or after it."""

    def __init__(self) -> None:
        """Let all go on."""
        self.steps = 0
        self._last: tuple[int, bool, BaseException] | None = None

    def end_at(self, step: int, error: BaseException, *, done: bool) -> None:
        """Raise at so many steps from now, perhaps when that is done."""
        self._last = self.steps + step, done, error

    def go_on(self) -> None:
        """Let all go on."""
        self._last = None

    def step[T](self, act: Callable[[], T]) -> T:
        """Do something, unless it ends before; and end after it if that is so."""
        self.steps += 1
        if self._last is None or self._last[0] != self.steps:
            return act()
        _, done, error = self._last
        if done:
            act()
        raise error


class MemoryFile:
    """Keeps what is written, as JSON."""

    def __init__(self, fate: Fate | None = None) -> None:
        """Begin without one."""
        self.text: str | None = None
        self.full = False
        self._fate = fate or Fate()

    async def async_load(self) -> object:
        """Return what was saved last."""
        return None if self.text is None else json.loads(self.text)

    async def async_save(self, data: Mapping[str, Any]) -> None:
        """Write all of it, or nothing."""
        if self.full:
            raise NotSaved(message="No space left on device")
        try:
            self._fate.step(lambda: setattr(self, "text", json.dumps(data)))
        except RouterError:
            raise NotSaved(message="Input/output error") from None

    async def async_remove(self) -> None:
        """Delete it."""
        self.text = None


def records_in(file: MemoryFile) -> Records:
    """Return what is recorded in a file; it is not read yet."""
    with patch.object(records_module, "CheckedStore", return_value=file):
        return Records(Mock(), "entry")


def kept(description: str) -> str:
    """Keep it as it is."""
    return description


@dataclass
class MemoryMainRouter:
    """A `PortMapper` that asks nobody; and who else has what there."""

    fate: Fate = field(default_factory=Fate)
    lists: bool = True
    tells: bool = True
    """Whether it tells what it has, if it can be asked at all."""
    client: IPv4Address = CLIENT
    table: dict[PublicPort, Entry] = field(default_factory=dict)
    refuses: dict[PublicPort, Answer] = field(default_factory=dict)
    """Why it opens no such port."""
    leases: Callable[[int], Answer | None] = lambda _: None
    """Why it takes no such lease."""
    grants: Callable[[int], int] = lambda lease: max(lease - 1, 0)
    """What it tells of one, which is a second later."""
    speaks: bool = True
    """Whether it knows the protocol."""
    keeps_all: bool = False
    """Whether it closes nothing."""
    drops: Collection[PublicPort] = ()
    """What it agrees to open, and nothing comes of it."""
    writes: Callable[[str], str] = kept
    """What becomes of a description."""
    at_once: bool = True
    """Whether it is looked and opened by one script."""
    silent: bool = False
    slow: int = 1000
    """How many ports it comes to before time is up; of others, it is silent."""
    answers_left: int = 1_000_000
    """After so many answers, it is silent."""
    deaf: bool = False
    """Whether it tells what it has, and answers nothing else."""
    garbled: bool = False
    """Whether it does what it is asked, and says nonsense."""
    address: IPv4Address | Refusal | None = PUBLIC
    calls: list[str] = field(default_factory=list)
    asked: list[Opening | PortMapping] = field(default_factory=list)
    """All that it was asked to open or to close."""
    name: str = "memory"
    gateway: IPv4Address = MAIN
    model: str = ""

    async def public_address(self) -> IPv4Address | Refusal | None:
        """Return its address on the internet's side."""
        self.calls.append("public_address")
        return self.fate.step(lambda: self.address)

    async def look(self, ports: Collection[PublicPort]) -> Mapping[PublicPort, Listed]:
        """Return what is at each of these ports."""
        self.calls.append("look")
        heard = self._heard(list(ports))
        return self.fate.step(
            lambda: {
                public: self._listed(public) if public in heard else _SILENCE
                for public in ports
            }
        )

    async def open_free(
        self, opens: Collection[Opening]
    ) -> Mapping[PublicPort, FreePort]:
        """Open what is free, if that is done by one script."""
        self.calls.append("open_free")
        heard = self._heard([it.mapping.public for it in opens])

        def act() -> Mapping[PublicPort, FreePort]:
            """Do it."""
            found: dict[PublicPort, FreePort] = {}
            for it in opens:
                public = it.mapping.public
                listed = self._listed(public) if public in heard else _SILENCE
                found[public] = FreePort(listed, None)
                if listed is None and self.at_once:
                    self.asked.append(it)
                    outcome = self._apply([it], ())[public]
                    found[public] = FreePort(None, outcome)
            return found

        return self.fate.step(act)

    async def apply(
        self, opens: Collection[Opening], closes: Collection[PortMapping]
    ) -> Mapping[PublicPort, Outcome]:
        """Close and open mappings, in this order."""
        self.calls.append("apply")
        self.asked += [*closes, *opens]
        for opening in opens:
            description = opening.description
            assert description.isascii()
            assert len(description) <= 63
        return self.fate.step(lambda: self._apply(opens, closes))

    def _apply(
        self, opens: Collection[Opening], closes: Collection[PortMapping]
    ) -> dict[PublicPort, Outcome]:
        """Do it."""
        ports = [it.public for it in closes] + [it.mapping.public for it in opens]
        heard = set() if self.silent or self.deaf else self._heard(ports)
        if not self.speaks:
            unknown = Refusal(Answer.UNSUPPORTED)
            return dict.fromkeys(ports, Outcome(unknown, unknown))
        said: dict[PublicPort, Refusal | None] = {
            it.public: self._close(it.public) for it in closes if it.public in heard
        }
        said |= {
            it.mapping.public: self._open(it)
            for it in opens
            if it.mapping.public in heard
        }
        return {
            **dict.fromkeys(ports, Outcome(_SILENCE, _SILENCE)),
            **self._outcomes(said),
        }

    def _heard(self, ports: Sequence[PublicPort]) -> set[PublicPort]:
        """Return those that it comes to."""
        heard = ports[: min(self.slow, self.answers_left)]
        self.answers_left -= len(heard)
        return set(heard)

    def _outcomes(
        self, said: dict[PublicPort, Refusal | None]
    ) -> dict[PublicPort, Outcome]:
        """Return what it lists beside what it has said."""
        if self.garbled:
            said = dict.fromkeys(said, Refusal(Answer.NONSENSE))
        if self.lists:
            return {port: Outcome(it, self._listed(port)) for port, it in said.items()}
        return {
            port: Outcome(it, it or self.table.get(port)) for port, it in said.items()
        }

    def _close(self, public: PublicPort) -> Refusal | None:
        """Close one, unless it is another's."""
        entry = self.table.get(public)
        if entry is not None and entry.client != self.client:
            # By PCP and NAT-PMP, one names one's own mappings alone.
            return Refusal(Answer.NOT_ALLOWED, 606) if self.lists else None
        if self.keeps_all:
            return Refusal(Answer.FAILED, 501)
        self.table.pop(public, None)
        return None

    def _open(self, opening: Opening) -> Refusal | None:
        """Open one, or return why not."""
        public = opening.mapping.public
        entry = self.table.get(public)
        refusal = self.refuses.get(public) or self.leases(opening.lease)
        if entry is not None and entry.client != self.client:
            refusal = Answer.TAKEN
        if refusal is not None:
            return Refusal(refusal, 501)
        if public not in self.drops:
            lease = self.grants(opening.lease)
            description = self.writes(opening.description)
            self.table[public] = Entry(
                self.client, opening.mapping.port, description, lease
            )
        return None

    def _listed(self, public: PublicPort) -> Listed:
        """Return what it says that it has."""
        if self.silent:
            return _SILENCE
        if not self.lists or not self.tells:
            return Refusal(Answer.UNSUPPORTED)
        return self.table.get(public)

    def restart(self) -> None:
        """Let it forget all that it was asked for."""
        self.table.clear()

    def let_other_have(
        self, public: PublicPort, client: IPv4Address = NAS, description: str = "nas"
    ) -> None:
        """Let another host have a port, or another program of the bypass router."""
        self.table[public] = Entry(client, 5000, description, 0)

    def ways(self) -> dict[PublicPort, int]:
        """Return the ports that lead to the bypass router, and to which of its."""
        return {
            public: entry.port
            for public, entry in self.table.items()
            if entry.client == self.client
        }

    def end(self, public: PublicPort, *, lease: int | None = None) -> None:
        """Let one be gone, or have so much left."""
        if lease is None:
            self.table.pop(public, None)
        elif public in self.table:
            self.table[public] = replace(self.table[public], lease=lease)
