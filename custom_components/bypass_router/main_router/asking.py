"""What one main router is asked, with what was found out about it meanwhile."""

from collections.abc import Collection, Mapping
from dataclasses import replace
import math
import time

from ..router.port_mapping.base import (
    LASTS,
    Answer,
    Entry,
    Listed,
    Outcome,
    PortMapper,
    PortMapping,
    PublicPort,
    Refusal,
)
from .plan import (
    Desired,
    Owner,
    longer_lease,
    next_lease,
    opening,
    plan_of,
    replaced_by,
)
from .recording import after, is_as_old, renewed
from .records import Record, Records

# Seconds in which one that has gone was not kept at all.
_KEPT = 20.0
# Seconds that a lease may last longer than its forward.
_LATER = 60.0


class Asking:
    """Asks one main router by one protocol, as it was found."""

    def __init__(self, mapper: PortMapper, owner: Owner, records: Records) -> None:
        """Take what asks, for whom, and where it is recorded before."""
        self.mapper = mapper
        self.owner = owner
        self._records = records
        self._lease = LASTS
        self._agreed: dict[PublicPort, int] = {}
        self._unkept: set[PublicPort] = set()
        self._told = False
        self._asked_until: dict[PublicPort, int | None] = {}
        self.ends: Mapping[str, int] = {}
        """By id, when forwards end by themselves, in Unix time; their leases do too."""
        self.silent = False
        """Whether the main router has left a question unanswered."""
        self.lost = False
        """Whether nobody understands any more what is asked: it is to be found anew."""
        self.opened: Collection[PublicPort] = ()
        """What was asked for the last time, of which it is to be seen whether it is
        kept."""

    async def bring_about(
        self,
        desired: Desired,
        anew: Collection[str],
        known: Mapping[PublicPort, Outcome],
    ) -> Mapping[PublicPort, Outcome]:
        """Have it be as desired, and return what it says of each desired port.

        Forwards `anew` are asked for though they are listed, and ports that are `known`
        are not asked about. Raises RouterError where the bypass router can't be asked,
        NotSaved where nothing can be recorded.
        """
        outcomes = await self._bring_about(
            {public: it for public, it in desired.items() if public not in known},
            anew,
            known,
        )
        return {**known, **outcomes}

    async def _bring_about(
        self, desired: Desired, anew: Collection[str], known: Collection[PublicPort]
    ) -> Mapping[PublicPort, Outcome]:
        """Have these ports be as desired; what is recorded of known ones stays."""
        recorded = self._records.mappings.keys() - set(known)
        done: Mapping[PublicPort, Outcome] = {}
        leases: Mapping[PublicPort, int] = {}
        self.opened = ()
        # What is for good is not to be there without a record that it is ours.
        if recorded or not self.mapper.lists or not self._lease:
            listed = await self._listed(desired.keys() | recorded)
        else:
            listed, done, leases = await self._open_free(desired)
        outcomes = {public: Outcome(None, listed[public]) for public in desired}
        outcomes |= done
        said = (*listed.values(), *(it.refusal for it in done.values()))
        self.silent = any(map(_is_silence, said))
        self.lost = self._is_lost(listed.values())
        if self.silent or self.lost:
            # Nothing is opened over what no one has seen.
            return outcomes
        await self._recognize(listed)
        desired = {public: it for public, it in desired.items() if public not in done}
        now = time.time()
        records = {
            public: record
            for public, record in self._records.mappings.items()
            if public in listed and public not in done
        }
        due = {
            public
            for public, (forward_id, _) in desired.items()
            if (record := records.get(public))
            and (
                forward_id in anew
                or record.is_due(now)
                or self._ends_otherwise(public, forward_id, record)
                # What lists nothing tells by its answer to the same once more.
                or not self.mapper.lists
            )
        }
        seen = {public: it for public, it in desired.items() if public not in leases}
        given_up = self._look_again(seen, listed, now)
        plan = plan_of(self.owner, desired, listed, records, due)
        opens = {key: it for key, it in plan.opens.items() if key not in given_up}
        closes = plan.closes
        if not self.mapper.lists:
            closes += replaced_by(opens, self._records.mappings)
        outcomes |= await self._carry_out(opens, closes, leases)
        # Of those, it is not believed before it is looked at again.
        forgets = dict.fromkeys(self._unkept & outcomes.keys(), Outcome(None, None))
        return outcomes | forgets

    async def _open_free(
        self, desired: Desired
    ) -> tuple[
        Mapping[PublicPort, Listed],
        Mapping[PublicPort, Outcome],
        Mapping[PublicPort, int],
    ]:
        """Open, by one script, what is free as the main router says in it.

        Returns what it had at each port; what became of those that were asked for; and
        by which lease others of these are to be asked for next.
        """
        if not desired:
            return {}, {}, {}
        before, now, first = self._records.mappings, time.time(), self._lease
        asked = {
            public: replace(
                self._record(public, desired[public], first, now), looked=False
            )
            for public in desired
        }
        await self._records.save({**before, **asked})
        opens = [opening(self.owner, record) for record in asked.values()]
        found = await self.mapper.open_free(opens)
        outcomes = {public: it.outcome for public, it in found.items() if it.outcome}
        # It had been looked at. What is listed by our name is ours in any case, and
        # worth no second record.
        known = {
            public: replace(asked[public], looked=not self._is_named(outcome.listed))
            for public, outcome in outcomes.items()
        }
        await self._records.save(after(self.owner, before, known, (), outcomes))
        self._learn(dict.fromkeys(known, first), outcomes)
        again = {
            public: lease
            for public, outcome in outcomes.items()
            if (lease := next_lease(first, first, outcome)) is not None
        }
        listed = {public: it.listed for public, it in found.items()}
        # A slow one does not come to all of them at once.
        unheard = {public for public, it in outcomes.items() if _is_silence(it.refusal)}
        if unheard != outcomes.keys():
            again |= dict.fromkeys(unheard, first)
        left = {public for public, it in listed.items() if _is_silence(it)}
        if left != listed.keys():
            listed |= await self._listed(left)
        done = {public: it for public, it in outcomes.items() if public not in again}
        return listed, done, again

    def _is_named(self, listed: Listed) -> bool:
        """Return whether something is listed by a name of ours."""
        return isinstance(listed, Entry) and self.owner.has_named(listed)

    async def _listed(
        self, ports: Collection[PublicPort]
    ) -> Mapping[PublicPort, Listed]:
        """Return what it has at these ports: as it says, or as it was asked.

        A slow one does not come to all of them at once.
        """
        if not self.mapper.lists:
            return {public: self._recorded(public) for public in ports}
        listed: dict[PublicPort, Listed] = {}
        left = set(ports)
        while left:
            listed |= await self.mapper.look(sorted(left))
            before, left = left, {it for it in left if _is_silence(listed[it])}
            if left == before:
                break
        return listed

    def _is_lost(self, listed: Collection[Listed]) -> bool:
        """Return whether there is no UPnP any more where there was.

        Some have it at another place each time that they begin.
        """
        if not listed or not self.mapper.lists:
            return False
        strange = all(isinstance(it, Refusal) and it.code is None for it in listed)
        self._told |= not strange
        return strange and self._told

    def _recorded(self, public: PublicPort) -> Listed:
        """Return what is there as far as it was asked for."""
        record = self._records.mappings.get(public)
        if record is None or not record.agreed or record.until < time.time():
            return Refusal(Answer.UNSUPPORTED)
        asked = opening(self.owner, record)
        return Entry(self.owner.client, record.mapping.port, asked.description)

    async def _recognize(self, listed: Mapping[PublicPort, Listed]) -> None:
        """Record what is ours, and what is others' no more, going by what is listed."""
        before, now = self._records.mappings, time.time()
        found = {
            public: self._recognized(listed.get(public), record, now)
            for public, record in before.items()
        }
        records = {public: record for public, record in found.items() if record}
        if records != before:
            await self._records.save(records)

    def _recognized(self, entry: Listed, record: Record, now: float) -> Record | None:
        """Return what is recorded of what is listed; None: nothing of ours is left.

        It may be ours though it could not be recorded that it was free.
        """
        if not isinstance(entry, Entry):
            return record
        free = replace(record, looked=True)
        if (
            not self.owner.has_named(entry)
            and self.owner.has(entry, free)
            and is_as_old(entry, record, now)
        ):
            return free
        return record if self.owner.has(entry, record) else None

    def _look_again(
        self, desired: Desired, listed: Mapping[PublicPort, Listed], now: float
    ) -> frozenset[PublicPort]:
        """Return the ports that it has agreed to, and kept by no lease at all.

        Where there is another lease, that is asked for from now on. What was asked for
        before it was found anew says nothing: it may have been restarted.
        """
        records = self._records.mappings
        self._unkept -= {it for it in self._unkept if listed.get(it) is not None}
        gone = {
            public: lease
            for public, lease in self._agreed.items()
            if public in desired
            and public in records
            and listed[public] is None
            and 0 <= now - records[public].asked < _KEPT
        }
        if not gone:
            return frozenset()
        lease = longer_lease(next(iter(gone.values())))
        if lease is not None:
            self._lease = lease
            return frozenset()
        self._unkept |= gone.keys()
        return frozenset(gone)

    async def _carry_out(
        self,
        opens: Desired,
        closes: Collection[PortMapping],
        begin: Mapping[PublicPort, int],
    ) -> Mapping[PublicPort, Outcome]:
        """Ask for what is planned, and return what was answered to each opening.

        Some `begin` with another lease, for theirs did not do.
        """
        outcomes: dict[PublicPort, Outcome] = {}
        first = self._lease
        leases = {public: begin.get(public, first) for public in opens}
        while leases or closes:
            before, now = self._records.mappings, time.time()
            asked = {
                public: renewed(
                    before.get(public), self._record(public, opens[public], lease, now)
                )
                for public, lease in leases.items()
            }
            if asked:
                # What only closes something needs no room on the disk before.
                await self._records.save({**before, **asked})
            wanted = [opening(self.owner, record) for record in asked.values()]
            found = await self.mapper.apply(wanted, closes)
            outcomes |= {public: found[public] for public in asked}
            await self._records.save(after(self.owner, before, asked, closes, found))
            self._learn(leases, found)
            unheard = {public for public in found if _is_silence(found[public].refusal)}
            self.silent = len(unheard) == len(found)
            if self.silent:
                break
            # A slow one does not come to all of them at once.
            closes = [mapping for mapping in closes if mapping.public in unheard]
            again = {
                public: lease
                if public in unheard
                else next_lease(lease, first, found[public])
                for public, lease in leases.items()
            }
            leases = {key: lease for key, lease in again.items() if lease is not None}
        return outcomes

    def _record(
        self,
        public: PublicPort,
        opened: tuple[str, PortMapping],
        lease: int,
        now: float,
    ) -> Record:
        """Return what is asked for: a lease that is over with its forward.

        What is for good has no end.
        """
        forward_id, mapping = opened
        until = self._asked_until[public] = self.ends.get(forward_id)
        if until is not None and lease:
            lease = max(1, min(lease, math.ceil(until - now)))
        return Record(forward_id, mapping, 0, lease, now)

    def _ends_otherwise(
        self, public: PublicPort, forward_id: str, record: Record
    ) -> bool:
        """Return whether it was asked for until an end that is another by now."""
        until = self.ends.get(forward_id)
        # As we were started since, that is not known.
        if until != self._asked_until.get(public, until):
            return True
        return until is not None and record.until > until + _LATER

    def _learn(
        self, leases: Mapping[PublicPort, int], found: Mapping[PublicPort, Outcome]
    ) -> None:
        """Take note of what it agrees to, and by which kind of lease it lists that."""
        refusals = [outcome.refusal for outcome in found.values()]
        if not self.mapper.lists:
            unsupported = [
                it for it in refusals if it and it.kind is Answer.UNSUPPORTED
            ]
            self._told |= None in refusals
            self.lost = self._told and len(unsupported) == len(refusals)
        for public, lease in leases.items():
            self._agreed.pop(public, None)
            outcome = found[public]
            if outcome.refusal is None:
                if self.mapper.lists:
                    self.opened = (*self.opened, public)
                self._agreed[public] = lease
                if outcome.listed is not None:
                    self._lease = lease


def _is_silence(answer: Listed) -> bool:
    """Return whether the main router did not answer."""
    return isinstance(answer, Refusal) and answer.kind is Answer.SILENT
