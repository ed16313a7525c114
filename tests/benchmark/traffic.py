"""What our integration says to the router, and when, as seen at its connection."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import aclosing, contextmanager
from dataclasses import dataclass
import re
import time
from typing import Any
from unittest.mock import patch

from custom_components.bypass_router.router.ssh.session import Session

# Seconds; our own change is reported by the router, and looked at, within less.
_QUIET = 0.08
_RESTORED = re.compile(
    r"(?:iptables-restore|nft -f -)[^\n]*<<'(\S+)'\n(.*?\n)\1\n", re.DOTALL
)
_PUBLIC_PORT = re.compile(r"<NewExternalPort>(\d+)<")
# Of the rules: a connection that comes, and a watcher that is there.
_NO_NEWS = re.compile(
    r" *\[(?:NEW|UPDATE)\] |bypass-router-[0-9a-f]+ (?:there|sees )|$"
)


@dataclass(frozen=True)
class Call:
    """One script that was run: one round trip. The times are the clock's."""

    text: str
    began: float
    ended: float

    @property
    def restored(self) -> str | None:
        """What the script feeds to the loader of rules; None if it changes nothing."""
        found = _RESTORED.search(self.text)
        return found[2] if found else None

    @property
    def asks(self) -> bool:
        """Whether the main router is asked by it."""
        return "\nrun asking " in self.text

    @property
    def public_ports(self) -> frozenset[str]:
        """The ports of the main router that it is about."""
        return frozenset(_PUBLIC_PORT.findall(self.text))

    @property
    def seconds(self) -> float:
        """How long it took."""
        return self.ended - self.began


class Traffic:
    """Notes each connection, each script, and what a watcher tells of rules."""

    def __init__(self) -> None:
        """Start with nothing seen."""
        self.opened: list[float] = []
        self.calls: list[Call] = []
        self.watchers: list[float] = []
        self.heard: list[float] = []
        self._under_way = 0
        self._last = 0.0

    def forget(self) -> None:
        """Start again."""
        self.opened.clear()
        self.calls.clear()
        self.watchers.clear()
        self.heard.clear()

    @property
    def round_trips(self) -> int:
        """How often the router was asked for something; a watcher is asked once."""
        return len(self.calls) + len(self.watchers)

    @property
    def changes(self) -> list[Call]:
        """The scripts that changed rules."""
        return [call for call in self.calls if call.restored is not None]

    async def quiet(self, seconds: float = _QUIET) -> None:
        """Wait until nothing has been said for so long."""
        while self._under_way or time.perf_counter() - self._last < seconds:
            await asyncio.sleep(0.005)

    @contextmanager
    def noted(self) -> Iterator[None]:
        """Note what all sessions do meanwhile."""
        open_, run, stream = Session.open, Session.run, Session.stream

        async def noted_open(cls: type[Session], *args: Any, **kwargs: Any) -> Session:
            session = await open_(*args, **kwargs)
            self._last = time.perf_counter()
            self.opened.append(self._last)
            return session

        async def noted_run(
            session: Session, script: Any, *args: Any, **kwargs: Any
        ) -> Any:
            self._under_way += 1
            began = time.perf_counter()
            try:
                return await run(session, script, *args, **kwargs)
            finally:
                self._under_way -= 1
                self._last = time.perf_counter()
                self.calls.append(Call(script.text, began, self._last))

        async def noted_stream(
            session: Session, *args: Any, **kwargs: Any
        ) -> AsyncIterator[str]:
            self.watchers.append(time.perf_counter())
            async with aclosing(stream(session, *args, **kwargs)) as lines:
                async for line in lines:
                    if not _NO_NEWS.match(line):
                        self._last = time.perf_counter()
                        self.heard.append(self._last)
                    yield line

        with (
            patch.object(Session, "open", classmethod(noted_open)),
            patch.object(Session, "run", noted_run),
            patch.object(Session, "stream", noted_stream),
        ):
            yield
