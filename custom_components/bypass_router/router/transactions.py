"""Changes of the rules: carried out, noted, and told from those of others."""

from collections import deque
from collections.abc import Awaitable, Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
import re
import sys
import time

from .errors import FirewallFailed, NotPrivileged, RouterError
from .forward import Forward
from .monitor import Change
from .rules.base import not_changed
from .rules.ruleset import Plan, Ruleset, Snapshot
from .ssh.script import Result, Script
from .ssh.sudo import SUDO

# Lines of a transaction, where all are too much for one. In a container whose root is
# not the host's, the kernel takes 208 KB at once: some 330 rules of iptables.
_PART = 100
# In the words of glibc, and of musl.
_TOO_LONG = re.compile(r"Message too (?:long|large)")
TRANSACTIONS_KEPT = 20

type RunAndRead = Callable[
    [Script, Ruleset], Awaitable[tuple[Mapping[str, Result], Snapshot]]
]
"""Runs a script, and reads the rules back in the same round trip."""


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


class Transactions:
    """The changes that one router is asked for, one at a time."""

    def __init__(self, run: RunAndRead) -> None:
        """Take what runs a script."""
        self._run = run
        self._most = sys.maxsize
        self._own_reports: list[str] = []
        self.log: deque[Transaction] = deque(maxlen=TRANSACTIONS_KEPT)
        """The last ones."""

    def cause_of(self, changes: Iterable[Change]) -> str | None:
        """Return which program made the first of these changes that we did not.

        Our own changes are reported like anyone else's. The process id in a
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

    async def change(
        self, desired: Collection[Forward], snapshot: Snapshot
    ) -> tuple[FirewallFailed | NotPrivileged | None, Snapshot]:
        """Change the rules once, in parts where all is too long for the router.

        Returns what was read back, and the error of the firewall if it gave one.
        """
        while True:
            ruleset = snapshot.ruleset
            plan = ruleset.plan(desired, snapshot).in_parts(self._most)
            refused, snapshot = await self._carry_out(plan, ruleset)
            too_long = refused and _TOO_LONG.search(refused.details["message"])
            if not too_long or self._most == 1:
                return refused, snapshot
            self._most = min(self._most // 2, _PART)

    async def _carry_out(
        self, plan: Plan, ruleset: Ruleset
    ) -> tuple[FirewallFailed | NotPrivileged | None, Snapshot]:
        """Change the rules as planned, read them back, and take note of it.

        Returns the error too that the router's firewall gave, if it gave one.
        """
        if not plan:
            return None, (await self._run(Script(), ruleset))[1]
        script = Script()
        plan.add_to(script)
        started, clock = time.time(), time.monotonic()
        outcome = "given up"
        refused: FirewallFailed | NotPrivileged | None = None
        try:
            sections, snapshot = await self._run(script, ruleset)
            outcome = "done"
            if failed := plan.failed(sections):
                command, result = failed
                outcome = result.message
                refused = not_changed(command.removeprefix(SUDO), result)
            else:
                self._own_reports += plan.reports
        except RouterError as err:
            outcome = str(err)
            raise
        finally:
            seconds = time.monotonic() - clock
            self.log.append(Transaction(started, seconds, plan.size, outcome))
        return refused, snapshot
