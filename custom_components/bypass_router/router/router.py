"""A router that is connected: what it is, what it does, and how to change that."""

import asyncio
from collections import deque
from collections.abc import (
    AsyncGenerator,
    AsyncIterator,
    Callable,
    Collection,
    Iterable,
    Mapping,
    Sequence,
    Set as AbstractSet,
)
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, replace
import re
import sys
import time
from typing import Any, Self

from .backend import Backend, choose, chosen_backend
from .conntrack import check_closed, close_script, flows_of, list_script
from .errors import (
    ClosingRefused,
    ConnectionsStay,
    FirewallFailed,
    KeyNotInstalled,
    NotApplied,
    NotPrivileged,
    RouterError,
)
from .forward import Forward
from .monitor import Arrival, Change, Watch
from .network.listeners import Listener, listeners_script, read_listeners
from .network.neighbours import Neighbour, neighbours_script, read_neighbours
from .probe.probe import Probe, probe_script, read_probe
from .rule_import.detect import Place, read_hand_made
from .rule_import.replace import HandMade, Replaced, listings
from .rules.base import Lack, Live, Part, Site
from .rules.ruleset import Plan, Ruleset, Snapshot
from .ssh.authorized_keys import authorized_line, install_script, remove_script
from .ssh.credentials import Credentials, HostKey
from .ssh.rights import Rights, read_rights, rights_script
from .ssh.script import Result, Script
from .ssh.session import PATIENCE, SCRIPT_TIMEOUT, Session
from .ssh.shell import HEARTBEAT_INTERVAL
from .ssh.sudo import refused_by_sudo

# Another program may change the rules between our look and our change. The
# change is refused whole then, and planned again on what is there now.
_ATTEMPTS = 4
# Lines of a transaction, where all are too much for one. In a container whose root is
# not the host's, the kernel takes 208 KB at once: some 330 rules of iptables.
_PART = 100
# In the words of glibc, and of musl.
_TOO_LONG = re.compile(r"Message too (?:long|large)")
# Of the ten sessions that a server allows at once, most are for what matters more.
_VISITS = 2
TRANSACTIONS_KEPT = 20
# Seconds. A form waits for it, which can do without.
NEIGHBOURS_TIMEOUT = 5
# Seconds for which it is still news what was read together with the rules.
_FRESH = 5


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

    def __init__(
        self,
        session: Session,
        probe: Probe,
        owner: str,
        firewall: Backend = Backend.AUTO,
    ) -> None:
        """Take an open session, what was probed on it, and whose rules are ours.

        Raises FirewallNotThere where the router lacks the firewall.
        """
        self.probe = probe
        self.site = Site(owner, probe.address)
        self._session = session
        self._wish = firewall
        self.ruleset = choose(self.site, probe.interface, probe.tools, firewall)
        """All places of the rules on this router."""
        self._lock = asyncio.Lock()
        self.visits = asyncio.Semaphore(_VISITS)
        """Held by whoever runs scripts beside those of this class, for a while."""
        self._snapshot: Snapshot | None = None
        self._beside: dict[str, Mapping[str, Result]] = {}
        self._beside_until: float | None = None
        self._most = sys.maxsize
        self._own_reports: list[str] = []
        self._lost: set[str] = set()
        self.reports = probe.tools.listens
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
        firewall: Backend = Backend.AUTO,
    ) -> Self:
        """Connect to a router and probe it.

        Raises what `Session.open`, `Session.run` and `read_probe` raise, and
        FirewallNotThere; no connection is left open then.
        """
        session = await Session.open(host, port, host_key, credentials)
        try:
            rights = Rights()
            if credentials.username != "root":
                rights = await _ask_rights(session)
            if rights.all and rights.slow:
                rights = replace(rights, all=await session.use_root())
            probe = replace(
                read_probe(await session.run(probe_script())), rights=rights
            )
            return cls(session, probe, owner, firewall)
        except BaseException:
            await session.close()
            raise

    async def read(self) -> Live:
        """Return what the router's kernel does now. One round trip."""
        async with self._lock:
            return (await self._read(self.ruleset)).live

    async def lacks(self, forward: Forward) -> frozenset[Lack]:
        """Return what keeps our rules from carrying a forward. One round trip."""
        async with self._lock:
            return (await self._read(self.ruleset)).lacks(forward)

    async def run(
        self, script: Script, seconds: float = SCRIPT_TIMEOUT
    ) -> Mapping[str, Result]:
        """Run a script that changes no rules of ours; see `Session.run`."""
        return await self._session.run(script, seconds)

    def patience_with(self, text: str) -> float:
        """Return how many seconds `sudo` may add to a script."""
        return self._session.patience_with(text)

    def stream(self, text: str, heartbeat: float) -> AsyncGenerator[str]:
        """Run a script that stays; see `Session.stream`."""
        return self._session.stream(text, heartbeat)

    async def apply(
        self,
        wished: Collection[Forward],
        expected: AbstractSet[Forward] = frozenset(),
        given_up: AbstractSet[str] = frozenset(),
    ) -> Live:
        """Make exactly these forwards live, and return what was read back.

        Those that are `expected` to be live already, and turn out to be lost, are
        named by `take_lost`. They are put back, but for those whose ids say that they
        are to be `given_up` then.

        One round trip, which is one transaction and its read-back; more only
        if someone else changes the rules at the same time. Rules of other
        owners and programs stay as they are. Raises FirewallFailed if the
        router refuses the rules, NotPrivileged if sudo does, NotApplied if they do
        not stay; what is so then, `read` tells.
        """
        async with self._lock:
            return await self._bring_about(wished, self.ruleset, expected, given_up)

    async def watch(self) -> AsyncIterator[Change | Arrival]:
        """Yield whenever the rules may have changed, for others or through us.

        And whenever a connection was translated, where the router has `conntrack`.

        The first change comes at once, as soon as no other can be missed:
        `read` then, and after each further one. Ends when the watcher on the
        router ends, which may be watched anew; raises ConnectionLost.
        """
        while True:
            watch = Watch(
                self.ruleset.looks(heard=self.reports),
                sudo=self.probe.sudo,
                patience=self._session.patience,
                by_report=self.reports,
                arrivals_at=self.site.address.ip
                if self.probe.tools.conntrack
                else None,
            )
            stream = self._session.stream(watch.text, HEARTBEAT_INTERVAL)
            try:
                async with aclosing(stream) as lines:
                    async for line in lines:
                        for heard in watch.heard(line):
                            self.watched_since = self.watched_since or time.time()
                            yield heard
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

    def take_lost(self) -> frozenset[str]:
        """Return the ids of those that changes found to be lost, and forget them."""
        lost, self._lost = frozenset(self._lost), set()
        return lost

    def differs(self, wished: Collection[Forward]) -> bool:
        """Tell whether the rules that were read last are not what is wished."""
        return self._snapshot is None or bool(
            self._snapshot.ruleset.plan(wished, self._snapshot)
        )

    async def remove_owner(self, owner: str) -> None:
        """Remove the rules of another Home Assistant, which is no more.

        Raises FirewallFailed and NotApplied.
        """
        site = Site(owner, self.site.address)
        async with self._lock:
            # What was read is kept by places, which may be others for another owner.
            self._snapshot = None
            try:
                ruleset = choose(
                    site, self.probe.interface, self.probe.tools, self._wish
                )
                await self._bring_about([], ruleset)
            finally:
                self._snapshot = None

    async def count(self) -> Mapping[str, int]:
        """Return how many connections each forward has had, by its id.

        Since its rules were set: a restart of the router, or whoever removes the
        rules, begins anew. One round trip, and one process on the router; none just
        after the rules were read for the first time.
        """
        async with self._lock:
            sections = await self._ask("count", self._add_count)
            return self.ruleset.read_counts(sections)

    async def close_connections(self, forwards: Collection[Forward]) -> int:
        """End what is still connected by these forwards, which are no longer live.

        Returns how many ports had connections. Raises ConnectionsStay where the
        router has no `conntrack`, ClosingRefused where we may not use it.
        """
        if not (tools := self.probe.tools).conntrack:
            if denied := tools.denied.get("conntrack"):
                raise ClosingRefused(command=denied.command)
            raise ConnectionsStay
        address, sudo = self.site.address.ip, self.probe.sudo
        sections = await self._session.run(list_script(address, sudo=sudo))
        if flows := flows_of(forwards, sections, address):
            script = close_script(flows, address, sudo=sudo)
            check_closed(flows, address, await self._session.run(script))
        return len(flows)

    async def listeners(self) -> frozenset[Listener]:
        """Return the services of the router that listen at its LAN address."""
        sections = await self._session.run(listeners_script())
        return read_listeners(sections, self.site.address.ip)

    async def hand_made(self) -> list[HandMade]:
        """Return the forwards that a person has made here by hand.

        One round trip; none just after the rules were read for the first time.
        """
        async with self._lock:
            sections = await self._ask("hand-made", self._add_hand_made)
        found = listings(self.probe.tools)
        return read_hand_made(sections, found, Place(self.site, self.probe.interface))

    @asynccontextmanager
    async def replacing(self, replaced: Mapping[str, HandMade]) -> AsyncIterator[None]:
        """Let rules made by hand go in the very change by which forwards come.

        By the forwards' ids. Rules that stand no more are no obstacle.
        """
        part = Replaced(listings(self.probe.tools), replaced)
        await self._change_parts(lambda parts: (*parts, part))
        try:
            yield
        finally:
            await self._change_parts(lambda parts: [it for it in parts if it != part])

    async def neighbours(self) -> list[Neighbour]:
        """Return the devices of the LAN that the router knows, by address."""
        sections = await self._session.run(neighbours_script(), NEIGHBOURS_TIMEOUT)
        return read_neighbours(sections, self.site.address)

    @property
    def firewall(self) -> str:
        """What translates on this router, as people call it."""
        iptables = self.probe.tools.iptables
        if (
            chosen_backend(self.probe.tools, self._wish) is Backend.NFTABLES
            or not iptables
        ):
            return "nftables"
        return iptables.label

    def removal_commands(self, forward: Forward) -> list[str]:
        """Return the commands by which a person takes a forward's rules away."""
        return self.ruleset.removal_commands(forward)

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
        result = (await self._session.run(script, as_account=True))["key"]
        if not result.ok:
            raise KeyNotInstalled(message=result.message)

    async def remove_key(self, private_key: str) -> None:
        """Take away what `install_key` added. Idempotent; raises KeyNotInstalled."""
        script = remove_script(authorized_line(private_key))
        result = (await self._session.run(script, as_account=True))["key"]
        if not result.ok:
            raise KeyNotInstalled(message=result.message)

    @property
    def closed(self) -> bool:
        """Whether the connection is gone."""
        return self._session.closed

    async def close(self) -> None:
        """End the connection; the rules stay in force."""
        await self._session.close()

    async def _change_parts(
        self, change: Callable[[Sequence[Part[Any]]], Sequence[Part[Any]]]
    ) -> None:
        """Have other parts beside those that translate."""
        async with self._lock:
            count = len(self.ruleset.translators)
            others = change(self.ruleset.parts[count:])
            self.ruleset = Ruleset(self.site, self.ruleset.translators, others)
            self._snapshot = None

    async def _bring_about(
        self,
        wished: Collection[Forward],
        ruleset: Ruleset,
        expected: AbstractSet[Forward] = frozenset(),
        given_up: AbstractSet[str] = frozenset(),
    ) -> Live:
        """Change the rules of the ruleset's owner until they are as wished."""
        snapshot = self._snapshot or await self._read(ruleset)
        refused: FirewallFailed | NotPrivileged | None = None
        left = _ATTEMPTS
        while left:
            left -= 1
            lost = {
                forward.id
                for forward in wished
                if forward in expected
                and snapshot.live.forwards.get(forward.id) != forward
            }
            self._lost |= lost
            over = lost & given_up
            wished = [forward for forward in wished if forward.id not in over]
            ruleset = snapshot.ruleset
            plan = ruleset.plan(wished, snapshot).in_parts(self._most)
            refused, snapshot = await self._carry_out(plan, ruleset)
            if not snapshot.ruleset.plan(wished, snapshot):
                return snapshot.live
            too_long = refused and _TOO_LONG.search(refused.details["message"])
            if too_long and self._most > 1:
                self._most = min(self._most // 2, _PART)
                left = _ATTEMPTS
        raise refused or NotApplied

    async def _carry_out(
        self, plan: Plan, ruleset: Ruleset
    ) -> tuple[FirewallFailed | NotPrivileged | None, Snapshot]:
        """Change the rules as planned, read them back, and take note of it.

        Returns the error too that the router's firewall gave, if it gave one.
        """
        if not plan:
            return None, await self._read(ruleset)
        script = Script()
        plan.add_to(script)
        self._beside.clear()
        started, clock = time.time(), time.monotonic()
        outcome = "given up"
        refused: FirewallFailed | NotPrivileged | None = None
        try:
            sections, snapshot = await self._run(script, ruleset)
            outcome = "done"
            if failed := plan.failed(sections):
                command, result = failed
                outcome = result.message
                refused = _failure(command.removeprefix("sudo -n "), result)
            else:
                self._own_reports += plan.reports
        except RouterError as err:
            outcome = str(err)
            raise
        finally:
            seconds = time.monotonic() - clock
            self.transactions.append(Transaction(started, seconds, plan.size, outcome))
        return refused, snapshot

    def _add_count(self, script: Script) -> None:
        """Ask for the rules' counters."""
        self.ruleset.add_count(script)

    def _add_hand_made(self, script: Script) -> None:
        """Ask for the rules that a person may have made."""
        for listing in listings(self.probe.tools):
            listing.add_to(script)

    async def _ask(
        self, name: str, add: Callable[[Script], None]
    ) -> Mapping[str, Result]:
        """Return the answers that were given with the rules a moment ago, or ask."""
        sections = self._beside.pop(name, None)
        if sections is None or time.monotonic() > (self._beside_until or 0):
            script = Script()
            add(script)
            sections = await self._session.run(script)
        return sections

    async def _read(self, ruleset: Ruleset) -> Snapshot:
        """Look at the rules, without changing any."""
        return (await self._run(Script(), ruleset))[1]

    async def _run(
        self, script: Script, ruleset: Ruleset
    ) -> tuple[Mapping[str, Result], Snapshot]:
        """Run a script and read the rules back, in one round trip."""
        ruleset.add_read(script)
        of_rules = script.labels
        first = self._beside_until is None
        if first:
            # What is asked at the start anyway needs no round trip of its own.
            self._add_count(script)
            self._add_hand_made(script)
        # Until the answer is there, nobody knows what the rules are.
        self._snapshot = None
        sections = await self._session.run(script)
        if first:
            self._beside = dict.fromkeys(("count", "hand-made"), sections)
            self._beside_until = time.monotonic() + _FRESH
        self.listing = {
            label: result.output
            for label, result in sections.items()
            if label in of_rules and not label.startswith("apply")
        }
        snapshot = ruleset.read(sections).without_retired()
        if ruleset is self.ruleset:
            self.ruleset = snapshot.ruleset
        self._snapshot = snapshot
        return sections, snapshot


async def _ask_rights(session: Session) -> Rights:
    """Ask sudo what the account may do, and be patient with it from then on."""
    session.by_sudo = True
    session.patience = PATIENCE
    rights = read_rights(await session.run(rights_script()))
    session.patience = rights.patience
    return rights


def _failure(command: str, result: Result) -> FirewallFailed | NotPrivileged:
    """Return the error that a change means that failed."""
    if refused_by_sudo(result):
        return NotPrivileged(command=command, message=result.message)
    # What follows is more than people need to know.
    return FirewallFailed(command=command.split(" -", 1)[0], message=result.message)
