"""The rules of ours on a router: read, planned, changed, and read back."""

import asyncio
from collections.abc import (
    AsyncIterator,
    Callable,
    Collection,
    Iterable,
    Mapping,
    Sequence,
    Set as AbstractSet,
)
from contextlib import asynccontextmanager
from dataclasses import replace
from typing import Any

from .at_boot.text import body
from .backend import Backend, choose, chosen_backend
from .errors import FirewallFailed, NotPrivileged, PortTaken, RouterError
from .forward import Forward
from .isolation import applied_in_part, apply_apart
from .monitor import Change
from .prefetch import Prefetch
from .probe.probe import Probe
from .rule_import.detect import Location, read_manual_forwards
from .rule_import.replace import ManualForward, Replaced, listings
from .rules.base import (
    Applied,
    Live,
    Part,
    Problem,
    RouterContext,
    Tag,
    target_of,
)
from .rules.obstacles import Obstacle
from .rules.ruleset import Ruleset, Snapshot
from .ssh.script import Result, Run, Script
from .transactions import Transaction, Transactions

# Another program may change the rules between our look and our change. The
# change is refused whole then, and planned again on what is there now.
_ATTEMPTS = 4


class LiveRules:
    """What of ours is live on one router. Changes are carried out one at a time."""

    def __init__(
        self,
        run: Run,
        context: RouterContext,
        probe: Probe,
        backend: Backend = Backend.AUTO,
    ) -> None:
        """Take what runs a script, whose rules are ours, and what the router is.

        Raises FirewallNotThere where the router lacks the firewall.
        """
        self._run_script = run
        self._context = context
        self._probe = probe
        self._backend = backend
        self.ruleset = self._choose(context)
        """All places of the rules on this router."""
        self._lock = asyncio.Lock()
        self._snapshot: Snapshot | None = None
        self._seen: Snapshot | None = None
        self._prefetch = Prefetch(
            run, {"count": self._add_count, "manual": self._add_manual}
        )
        self._lost: set[str] = set()
        self._was: Mapping[str, Forward] = {}
        self._come: set[Forward] = set()
        self._sections: Mapping[str, Result] = {}
        self.listing: Mapping[str, str] = {}
        """The rules as they were printed last, by the label of each section."""
        self.printed: dict[str, str] = {}
        """What each command has printed that was run last for a look at the rules."""
        self.on_read: Callable[[], None] | None = None
        """Called when the rules were read."""
        self.changes = Transactions(self._run)
        """The changes that the router was asked for."""

    def _choose(self, context: RouterContext) -> Ruleset:
        """Return all places of an owner's rules. Raises FirewallNotThere."""
        probe = self._probe
        return choose(
            context, probe.interface, probe.tools, self._backend, bridge=probe.bridge
        )

    async def read(self) -> Live:
        """Return what the router's kernel does now. One round trip."""
        async with self._lock:
            return (await self._read(self.ruleset)).live

    async def problems(self, forward: Forward) -> frozenset[Problem]:
        """Return what keeps our rules from carrying a forward. One round trip."""
        async with self._lock:
            return (await self._read(self.ruleset)).problems(forward)

    async def apply(self, desired: Collection[Forward]) -> Live:
        """Make exactly these forwards live, as `apply_each` does.

        Raises the error of one that could not be changed, when all others are.
        """
        return (await self.apply_each(desired)).checked()

    async def apply_each(
        self,
        desired: Collection[Forward],
        expected: AbstractSet[Forward] = frozenset(),
        given_up: AbstractSet[str] = frozenset(),
        untouched: AbstractSet[str] = frozenset(),
    ) -> Applied:
        """Make exactly these forwards live, as far as the router takes them.

        Those whose ids are to be left `untouched` stay as they are, or away.

        Those that are `expected` to be live already, and turn out to be lost, are
        named by `take_lost`. They are put back, but for those whose ids say that they
        are to be `given_up` then.

        One round trip, which is one transaction and its read-back; more if someone
        else changes the rules at the same time, and where the router refuses some of
        it: what it refuses is found then, and the rest is done. Rules of other owners
        and programs stay as they are. Raises NotPrivileged if sudo refuses the
        command, FirewallFailed and NotApplied for what belongs to no single forward;
        what is live then, `read` tells.
        """
        async with self._lock:
            return await self._apply(
                desired, self.ruleset, expected, given_up, untouched
            )

    @property
    def transactions(self) -> Sequence[Transaction]:
        """The last changes that the router was asked for."""
        return self.changes.log

    def rival(self, forward: Forward) -> Tag | None:
        """Return which forward of another Home Assistant has a port of this one.

        As the rules were read last.
        """
        return self._seen.rival(forward) if self._seen else None

    def obstacles(self, forward: Forward) -> Sequence[Obstacle]:
        """Return what keeps a forward's packets out that is not ours to take away.

        As the rules were read last.
        """
        return self._seen.obstacles(forward) if self._seen else []

    def cause_of(self, changes: Iterable[Change]) -> str | None:
        """Return which program made the first of these changes that we did not."""
        return self.changes.cause_of(changes)

    def take_lost(self) -> frozenset[str]:
        """Return the ids of those that changes found to be lost, and forget them."""
        lost, self._lost = frozenset(self._lost), set()
        return lost

    def take_come(self) -> frozenset[Forward]:
        """Return the forwards that were seen to come on, and forget them.

        Those too that were live when the router was read for the first time: whoever
        brought them may have been stopped before all was done that comes after it.
        """
        come, self._come = frozenset(self._come), set()
        return come

    def differs(
        self,
        desired: Collection[Forward],
        untouched: AbstractSet[str] = frozenset(),
    ) -> bool:
        """Return whether the rules that were read last are not what is desired.

        But for those that are to be left `untouched`.
        """
        if (snapshot := self._snapshot) is None:
            return True
        target = target_of(desired, untouched, snapshot.live.forwards)
        return bool(snapshot.ruleset.plan(target, snapshot) or _taken(target, snapshot))

    async def remove_owner(self, owner: str) -> None:
        """Remove the rules of another Home Assistant, which is no more.

        Raises FirewallFailed and NotApplied.
        """
        # What cuts connections would stay there, as nobody takes it away.
        context = replace(self._context, owner=owner, cuts=False)
        async with self._lock:
            # What was read is kept by places, which may be others for another owner.
            self._snapshot = None
            try:
                ruleset = self._choose(context)
                (await self._apply([], ruleset)).checked()
            finally:
                self._snapshot = None

    async def count(self) -> Mapping[str, int]:
        """Return how many connections each forward has had, by its id.

        Since its rules were set: a restart of the router, or whoever removes the
        rules, begins again. One round trip, and one process on the router; none just
        after the rules were read for the first time.
        """
        async with self._lock:
            return self.ruleset.read_counts(await self._prefetch.ask("count"))

    async def manual_forwards(self) -> list[ManualForward]:
        """Return the forwards that a person has made here by hand, as `count` does."""
        async with self._lock:
            sections = await self._prefetch.ask("manual")
        location = Location(self._context, self._probe.interface)
        return read_manual_forwards(sections, listings(self._probe.tools), location)

    @asynccontextmanager
    async def replacing(
        self, replaced: Mapping[str, ManualForward]
    ) -> AsyncIterator[None]:
        """Let rules made by hand go in the very change by which forwards come.

        By the forwards' ids. Rules that stand no more are no obstacle.
        """
        part = Replaced(listings(self._probe.tools), replaced)
        await self._change_parts(lambda parts: (*parts, part))
        try:
            yield
        finally:
            await self._change_parts(
                lambda parts: [one for one in parts if one != part]
            )

    async def at_boot(self, forwards: Collection[Forward]) -> list[str]:
        """Return lines of sh that bring forwards back when the router starts.

        As the rules were read last. Raises RouterError.
        """
        async with self._lock:
            ruleset = self._choose(self._context)
            if not self._sections:
                await self._read(ruleset)
            return body(ruleset, self._sections, forwards)

    @property
    def firewall(self) -> str:
        """What translates on this router, as people call it."""
        tools = self._probe.tools
        if (
            chosen_backend(tools, self._backend) is Backend.NFTABLES
            or not tools.iptables
        ):
            return "nftables"
        return tools.iptables.label

    @property
    def cuts(self) -> bool:
        """Whether there may be rules that cut connections, which end by themselves."""
        return self._context.cuts

    @property
    def ends_forwards(self) -> bool:
        """Whether the router ends forwards by itself that are open for a while."""
        return self._by_nft or self._probe.tools.timed

    @property
    def by_clock(self) -> bool:
        """Whether it does so by its clock, which may be set at any time."""
        return self._probe.tools.timed and not self._by_nft

    @property
    def _by_nft(self) -> bool:
        """Whether nftables translates."""
        return chosen_backend(self._probe.tools, self._backend) is Backend.NFTABLES

    def removal_commands(self, forward: Forward) -> list[str]:
        """Return the commands by which a person takes a forward's rules away."""
        return self.ruleset.removal_commands(forward)

    async def _change_parts(
        self, change: Callable[[Sequence[Part[Any]]], Sequence[Part[Any]]]
    ) -> None:
        """Have other parts beside those that translate."""
        async with self._lock:
            count = len(self.ruleset.translators)
            others = change(self.ruleset.parts[count:])
            self.ruleset = Ruleset(self._context, self.ruleset.translators, others)
            self._snapshot = None

    async def _apply(
        self,
        desired: Collection[Forward],
        ruleset: Ruleset,
        expected: AbstractSet[Forward] = frozenset(),
        given_up: AbstractSet[str] = frozenset(),
        untouched: AbstractSet[str] = frozenset(),
    ) -> Applied:
        """Change the rules of the ruleset's owner until they are as desired."""
        wanted, snapshot = desired, self._snapshot
        fresh = (
            snapshot is None
            # Whoever had the port may have let it go since.
            or bool(_taken(wanted, snapshot))
            # Nor were all places read with the last change.
            or not self.differs(wanted, untouched)
        )
        if snapshot is None or fresh:
            snapshot = await self._read(ruleset)
        refused: FirewallFailed | NotPrivileged | None = None
        taken: dict[str, RouterError] = {}
        for _ in range(_ATTEMPTS):
            desired = target_of(wanted, untouched, snapshot.live.forwards)
            lost = {
                forward.id
                for forward in desired
                if forward in expected
                and snapshot.live.forwards.get(forward.id) != forward
            }
            self._lost |= lost
            over = lost & given_up
            desired = [forward for forward in desired if forward.id not in over]
            taken |= _taken(desired, snapshot)
            desired = [forward for forward in desired if forward.id not in taken]
            if fresh and not snapshot.ruleset.plan(desired, snapshot):
                return Applied(snapshot.live, taken)
            before, fresh = snapshot, False
            refused, snapshot = await self.changes.change(desired, snapshot)
            if not snapshot.ruleset.plan(desired, snapshot):
                if not _taken(desired, snapshot):
                    return Applied(snapshot.live, taken)
                # Someone came first meanwhile; nothing of ours is to lie in wait there.
                continue
            if refused and snapshot.states == before.states:
                # No one else's change was in the way.
                break
        if isinstance(refused, NotPrivileged):
            raise refused
        if refused is None:
            applied = applied_in_part(desired, snapshot.live)
        else:
            applied = await apply_apart(desired, snapshot, refused, self.changes.change)
        return replace(applied, refused={**taken, **applied.refused})

    def _add_count(self, script: Script) -> None:
        """Ask for the rules' counters."""
        self.ruleset.add_count(script)

    def _add_manual(self, script: Script) -> None:
        """Ask for the rules that a person may have made."""
        for listing in listings(self._probe.tools):
            listing.add_to(script)

    async def _read(self, ruleset: Ruleset) -> Snapshot:
        """Look at the rules, without changing any."""
        return (await self._run(Script(), ruleset))[1]

    async def _run(
        self, script: Script, ruleset: Ruleset
    ) -> tuple[Mapping[str, Result], Snapshot]:
        """Run a script and read the rules back, in one round trip."""
        if script.labels:
            # A change, after which the counts may be others.
            self._prefetch.forget()
        ruleset.add_read(script)
        of_rules = script.labels
        self._prefetch.add_to(script)
        # Until the answer is there, no one knows what the rules are.
        self._snapshot = None
        sections = await self._run_script(script)
        self._prefetch.keep(sections)
        self._sections = {
            label: result
            for label, result in sections.items()
            if label in of_rules and not label.startswith("apply")
        }
        self.listing = {
            label: result.output for label, result in self._sections.items()
        }
        self.printed |= {
            command: sections[label].output
            for label, command in script.commands.items()
        }
        if self.on_read:
            self.on_read()
        snapshot = ruleset.read(sections).without_stale()
        if ruleset.context == self._context:
            live = snapshot.live.forwards
            self._come |= set(live.values()).difference(self._was.values())
            self._was = live
        self._snapshot = self._seen = snapshot
        return sections, snapshot


def _taken(
    desired: Collection[Forward], snapshot: Snapshot
) -> Mapping[str, RouterError]:
    """Return which forwards another Home Assistant keeps from being live."""
    live = snapshot.live.forwards
    return {
        forward.id: PortTaken(ports=str(forward.external), owner=rival.owner)
        for forward in desired
        if live.get(forward.id) != forward and (rival := snapshot.rival(forward))
    }
