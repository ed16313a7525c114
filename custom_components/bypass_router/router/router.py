"""A router that is connected: what it is, what it does, and how to change that."""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Collection, Iterable, Mapping
from contextlib import aclosing
from dataclasses import dataclass
import time
from typing import Self

from .account_key import authorized_line, install_script, remove_script
from .credentials import Credentials, HostKey
from .errors import (
    FirewallFailed,
    KeyNotInstalled,
    NotApplied,
    NotPrivileged,
    RouterError,
)
from .firewall import Live, Site
from .forward import Forward
from .iptables import Iptables, IptablesPlan, IptablesSnapshot
from .listeners import Listener, listeners_script, read_listeners
from .probe import Probe, probe_script, read_probe
from .script import Result, Script
from .session import Session
from .watch import HEARTBEAT_INTERVAL, Change, Watch, hears_programs

# Another program may change the rules between our look and our change. The
# change is refused whole then, and planned again on what is there now.
_ATTEMPTS = 4
TRANSACTIONS_KEPT = 20


@dataclass(frozen=True, slots=True)
class Transaction:
    """A change that a router was asked for, and what came of it."""

    started: float
    """In Unix time."""
    seconds: float
    """For the change and its read-back."""
    lines: int
    """For the firewall's command."""
    outcome: str
    """`done`, or in the router's or our own words why not."""


class Router:
    """One router over one connection. Changes are carried out one at a time."""

    def __init__(self, session: Session, probe: Probe, owner: str) -> None:
        """Take an open session, what was probed on it, and whose rules are ours."""
        self.probe = probe
        self.site = Site(owner, probe.address)
        self._session = session
        self._firewall = Iptables(self.site, sudo=probe.sudo)
        self._lock = asyncio.Lock()
        self._snapshot: IptablesSnapshot | None = None
        self._own_reports: list[str] = []
        self.reports = hears_programs(probe)
        """Whether changes are reported with the program that made them."""
        self.watched_since: float | None = None
        """When the watcher on the router began, in Unix time; None without one."""
        self.listing: Mapping[str, str] = {}
        """The rules as they were printed last, by the label of each section."""
        self.transactions: deque[Transaction] = deque(maxlen=TRANSACTIONS_KEPT)
        """The last changes that the router was asked for."""

    @classmethod
    async def connect(
        cls,
        host: str,
        port: int,
        host_key: HostKey,
        credentials: Credentials,
        owner: str,
    ) -> Self:
        """Connect to a router and probe it.

        Raises what `Session.open`, `Session.run` and `read_probe` raise; no
        connection is left open then.
        """
        session = await Session.open(host, port, host_key, credentials)
        try:
            return cls(session, read_probe(await session.run(probe_script())), owner)
        except BaseException:
            await session.close()
            raise

    async def read(self) -> Live:
        """Return what the router's kernel does now. One round trip."""
        async with self._lock:
            return (await self._read()).live

    async def apply(self, wished: Collection[Forward]) -> Live:
        """Make exactly these forwards live, and return what was read back.

        One round trip, which is one transaction and its read-back; more only
        if someone else changes the rules at the same time. Rules of other
        owners and programs stay as they are. Raises FirewallFailed if the
        router refuses the rules, NotApplied if they do not stay; what is so
        then, `read` tells.
        """
        async with self._lock:
            return await self._bring_about(wished, self._firewall)

    async def watch(self) -> AsyncIterator[Change]:
        """Yield whenever the rules may have changed, for others or through us.

        The first change comes at once, as soon as no other can be missed:
        `read` then, and after each further one. Ends when the watcher on the
        router ends, which may be watched anew; raises ConnectionLost.
        """
        while True:
            watch = Watch(self.probe, by_report=self.reports)
            stream = self._session.stream(watch.text, HEARTBEAT_INTERVAL)
            try:
                async with aclosing(stream) as lines:
                    async for line in lines:
                        for change in watch.heard(line):
                            self.watched_since = self.watched_since or time.time()
                            yield change
                        if watch.deaf:
                            # What it has started may keep the channel open.
                            break
            finally:
                self.watched_since = None
            if not watch.deaf:
                return
            # The account may use `nft`, and not listen to it.
            self.reports = False

    def cause_of(self, changes: Iterable[Change]) -> str | None:
        """Return which program made the first of these changes that we did not.

        Our own changes are reported like anybody else's. The process id in a
        report does not tell them apart where the router is a container, so
        they are counted.
        """
        own, self._own_reports = self._own_reports, []
        for change in changes:
            if change.cause in own:
                own.remove(change.cause)
            elif change.cause:
                return change.cause
        return None

    def differs(self, wished: Collection[Forward]) -> bool:
        """Tell whether the rules that were read last are not what is wished."""
        return self._snapshot is None or bool(
            self._firewall.plan(wished, self._snapshot)
        )

    async def remove_owner(self, owner: str) -> None:
        """Remove the rules of another Home Assistant, which is no more.

        Raises FirewallFailed and NotApplied.
        """
        firewall = self._firewall.of(owner)
        async with self._lock:
            await self._bring_about([], firewall)

    async def listeners(self) -> frozenset[Listener]:
        """Return the services of the router that listen at its LAN address."""
        sections = await self._session.run(listeners_script())
        return read_listeners(sections, self.site.address.ip)

    async def enable_forwarding(self) -> None:
        """Have the kernel pass packets on, until the router restarts.

        Raises NotPrivileged if it does not, in the words of the router.
        """
        sudo = "sudo -n " if self.probe.sudo else ""
        script = Script().run("enable", f"{sudo}sysctl -w net.ipv4.ip_forward=1")
        script.run("forward", "cat /proc/sys/net/ipv4/ip_forward")
        sections = await self._session.run(script)
        if sections["forward"].output != "1":
            raise NotPrivileged(
                command="sysctl -w net.ipv4.ip_forward=1",
                message=sections["enable"].message,
            )

    async def install_key(self, private_key: str) -> None:
        """Let a key log in to this account, beside those that can already.

        Idempotent. Raises KeyNotInstalled.
        """
        script = install_script(authorized_line(private_key))
        result = (await self._session.run(script))["key"]
        if not result.ok:
            raise KeyNotInstalled(message=result.message)

    async def remove_key(self, private_key: str) -> None:
        """Take away what `install_key` added. Idempotent; raises KeyNotInstalled."""
        script = remove_script(authorized_line(private_key))
        result = (await self._session.run(script))["key"]
        if not result.ok:
            raise KeyNotInstalled(message=result.message)

    @property
    def closed(self) -> bool:
        """Whether the connection is gone."""
        return self._session.closed

    async def close(self) -> None:
        """End the connection; the rules stay in force."""
        await self._session.close()

    async def _bring_about(
        self, wished: Collection[Forward], firewall: Iptables
    ) -> Live:
        """Change the rules of the firewall's owner until they are as wished."""
        snapshot = self._snapshot or await self._read()
        refused: FirewallFailed | None = None
        for _ in range(_ATTEMPTS):
            plan = firewall.plan(wished, snapshot)
            sections, snapshot = await self._carry_out(plan)
            refused = None
            if plan and sections["apply"].ok:
                self._own_reports += plan.reports
            elif plan:
                refused = FirewallFailed(
                    command="iptables-restore", message=sections["apply"].message
                )
            if not firewall.plan(wished, snapshot):
                return snapshot.live
        raise refused or NotApplied

    async def _carry_out(
        self, plan: IptablesPlan
    ) -> tuple[Mapping[str, Result], IptablesSnapshot]:
        """Change the rules as planned, read them back, and take note of it."""
        script = Script()
        if not plan:
            return await self._run(script)
        plan.add_to(script)
        started, clock = time.time(), time.monotonic()
        outcome = "given up"
        try:
            sections, snapshot = await self._run(script)
            outcome = "done" if sections["apply"].ok else sections["apply"].message
        except RouterError as err:
            outcome = str(err)
            raise
        finally:
            seconds = time.monotonic() - clock
            self.transactions.append(
                Transaction(started, seconds, len(plan.lines), outcome)
            )
        return sections, snapshot

    async def _read(self) -> IptablesSnapshot:
        """Look at the rules, without changing any."""
        return (await self._run(Script()))[1]

    async def _run(
        self, script: Script
    ) -> tuple[Mapping[str, Result], IptablesSnapshot]:
        """Run a script and read the rules back, in one round trip."""
        self._firewall.add_read(script)
        # Until the answer is there, nobody knows what the rules are.
        self._snapshot = None
        sections = await self._session.run(script)
        self.listing = {
            label: result.output
            for label, result in sections.items()
            if label != "apply"
        }
        self._snapshot = self._firewall.read(sections)
        return sections, self._snapshot
