"""What one main router is asked, with what was found out about it meanwhile."""

from collections.abc import Collection, Mapping
from dataclasses import replace
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
from .plan import LEASES, Owner, Plan, next_lease, opening, plan_of
from .records import Record, Records

# Seconds in which one that has gone was not kept at all.
_KEPT = 20.0
# Seconds of a lease that may have passed when it is read back; not worth a record.
_READ_BACK = 10
# Seconds of a lease at the least, whatever the main router makes of it.
_SHORTEST = 120

type Desired = Mapping[PublicPort, tuple[str, PortMapping]]
"""By port of the main router: the id of the forward, and what is to be there."""


class Asking:
    """Asks one main router by one protocol, as it was found."""

    def __init__(self, mapper: PortMapper, owner: Owner, records: Records) -> None:
        """Take what asks, for whom, and where it is recorded before."""
        self.mapper = mapper
        self.owner = owner
        self._records = records
        self._lease = LASTS
        self._unkept: set[PublicPort] = set()
        self.silent = False
        """Whether the main router has left a question unanswered."""
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
            {
                public: record
                for public, record in self._records.mappings.items()
                if public not in known
            },
        )
        return {**known, **outcomes}

    async def _bring_about(
        self,
        desired: Desired,
        anew: Collection[str],
        records: Mapping[PublicPort, Record],
    ) -> Mapping[PublicPort, Outcome]:
        """Have these ports be as desired; what is recorded of others stays."""
        listed = await self._listed(desired.keys() | records.keys())
        outcomes = {public: Outcome(None, listed[public]) for public in desired}
        self.silent = any(map(_is_silence, listed.values()))
        if self.silent:
            # Nothing is opened over what no one has seen.
            return outcomes
        now = time.time()
        due = {
            public
            for public, (forward_id, _) in desired.items()
            if public in records
            and (
                forward_id in anew
                or records[public].renew_at <= now
                # What lists nothing tells by its answer to the same once more.
                or not self.mapper.lists
            )
        }
        given_up = self._look_again(desired, listed, now)
        plan = plan_of(self.owner, desired, listed, records, due)
        opens = {key: it for key, it in plan.opens.items() if key not in given_up}
        self.opened = tuple(opens) if self.mapper.lists else ()
        outcomes |= await self._carry_out(replace(plan, opens=opens))
        # Of those, it is not believed before it is looked at again.
        forgets = dict.fromkeys(self._unkept & outcomes.keys(), Outcome(None, None))
        return outcomes | forgets

    async def _listed(
        self, ports: Collection[PublicPort]
    ) -> Mapping[PublicPort, Listed]:
        """Return what it has at these ports: as it says, or as it was asked."""
        if self.mapper.lists:
            return await self.mapper.look(ports)
        return {public: self._recorded(public) for public in ports}

    def _recorded(self, public: PublicPort) -> Listed:
        """Return what is there as far as it was asked for."""
        record = self._records.mappings.get(public)
        if record is None or record.until < time.time():
            return Refusal(Answer.UNSUPPORTED)
        asked = opening(self.owner, record)
        return Entry(self.owner.client, record.mapping.port, asked.description)

    def _look_again(
        self, desired: Desired, listed: Mapping[PublicPort, Listed], now: float
    ) -> frozenset[PublicPort]:
        """Return the ports that it has agreed to, and kept by no lease at all.

        Where there is another lease, that is asked for from now on.
        """
        records = self._records.mappings
        self._unkept -= {it for it in self._unkept if listed.get(it) is not None}
        gone = {
            public: records[public]
            for public in desired
            if public in records
            and listed[public] is None
            and now - records[public].asked < _KEPT
        }
        if not gone:
            return frozenset()
        lease = LEASES.get(next(iter(gone.values())).lease)
        if lease is not None:
            self._lease = lease
            return frozenset()
        self._unkept |= gone.keys()
        return frozenset(gone)

    async def _carry_out(self, plan: Plan) -> Mapping[PublicPort, Outcome]:
        """Ask for what is planned, and return what was answered to each opening."""
        outcomes: dict[PublicPort, Outcome] = {}
        left, closes, lease = dict(plan.opens), plan.closes, self._lease
        while left or closes:
            before = self._records.mappings
            asked = {
                public: Record(
                    forward_id,
                    mapping,
                    before[public].number + 1 if public in before else 0,
                    lease,
                    time.time(),
                )
                for public, (forward_id, mapping) in left.items()
            }
            await self._records.save({**before, **asked})
            opens = [opening(self.owner, record) for record in asked.values()]
            found = await self.mapper.apply(opens, closes)
            outcomes |= {public: found[public] for public in left}
            self.silent |= any(_is_silence(it.refusal) for it in found.values())
            await self._records.save(after(self.owner, before, asked, closes, found))
            if any(found[public].refusal is None for public in left):
                self._lease = lease
            closes = ()
            left = {
                public: it
                for public, it in left.items()
                if next_lease(lease, found[public]) is not None
            }
            lease = LEASES.get(lease, lease)
        return outcomes


def _is_silence(answer: Listed) -> bool:
    """Return whether the main router did not answer."""
    return isinstance(answer, Refusal) and answer.kind is Answer.SILENT


def after(
    owner: Owner,
    before: Mapping[PublicPort, Record],
    asked: Mapping[PublicPort, Record],
    closed: Collection[PortMapping],
    outcomes: Mapping[PublicPort, Outcome],
) -> Mapping[PublicPort, Record]:
    """Return what is recorded once the main router has answered."""
    records = {**before, **asked}
    for public, record in asked.items():
        outcome = outcomes[public]
        if outcome.refusal is None:
            records[public] = replace(
                record, lease=_granted(record.lease, outcome.listed)
            )
        elif outcome.refusal.kind is not Answer.SILENT:
            # It was not done: what was there before still is, or nothing.
            records.pop(public)
            if public in before:
                records[public] = before[public]
    for mapping in closed:
        public = mapping.public
        if _is_closed(owner, outcomes[public], before[public]):
            records.pop(public)
    return records


def _is_closed(owner: Owner, outcome: Outcome, record: Record) -> bool:
    """Return whether nothing of ours is left at a port."""
    if isinstance(outcome.listed, Entry):
        return not owner.has(outcome.listed, record)
    return outcome.refusal is None or outcome.listed is None


def _granted(lease: int, entry: Listed) -> int:
    """Return for how long it is, in seconds, which may be less than was asked for."""
    told = entry.lease if isinstance(entry, Entry) else None
    if not told or lease - _READ_BACK <= told <= lease:
        return lease
    return max(min(told, lease or told), _SHORTEST)
