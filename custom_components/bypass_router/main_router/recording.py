"""What is recorded of a mapping before the main router is asked, and once it answered.

Pure: what is on disk is `records`'.
"""

from collections.abc import Collection, Mapping
from dataclasses import replace

from ..router.port_mapping.base import (
    Answer,
    Entry,
    Listed,
    Outcome,
    PortMapping,
    PublicPort,
    Refusal,
)
from .plan import LEASES, Owner
from .records import Record

# Seconds of a lease that may have passed when it is read back; not worth a record.
_READ_BACK = 10
# Seconds of a lease at the least, whatever the main router makes of it.
_SHORTEST = 120


def renewed(before: Record | None, record: Record) -> Record:
    """Return how a mapping is asked for after what it was asked for before."""
    if before is None:
        return record
    former = before.ports - {record.mapping.port}
    return replace(record, number=before.number + 1, former=former)


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
            granted = _granted(record.lease, outcome.listed)
            records[public] = replace(
                record,
                # What is not for good after all is to be renewed.
                lease=min(granted, record.lease or granted),
                kept=granted if 0 < record.lease < granted else 0,
                agreed=True,
                former=frozenset(),
            )
        elif not _may_be_done(owner, outcome, record):
            # What was there before still is, or nothing.
            records.pop(public)
            if public in before and not _is_anothers(outcome):
                records[public] = before[public]
    for mapping in closed:
        public = mapping.public
        if public in asked:
            # It has made room there for what was opened.
            continue
        if _is_closed(owner, outcomes[public], before[public]):
            records.pop(public)
    return records


def _may_be_done(owner: Owner, outcome: Outcome, record: Record) -> bool:
    """Return whether it may have opened what it has not agreed to open."""
    listed, refusal = outcome.listed, outcome.refusal
    if isinstance(listed, Entry):
        return owner.has(listed, record)
    unheard = refusal and refusal.kind in (Answer.SILENT, Answer.NONSENSE)
    return bool(unheard) and listed is not None


def _is_anothers(outcome: Outcome) -> bool:
    """Return whether another has the port, by what is said of it instead of a list."""
    listed = outcome.listed
    return isinstance(listed, Refusal) and listed.kind is Answer.TAKEN


def _is_closed(owner: Owner, outcome: Outcome, record: Record) -> bool:
    """Return whether nothing of ours is left at a port."""
    if isinstance(outcome.listed, Entry):
        return not owner.has(outcome.listed, record)
    return outcome.refusal is None or outcome.listed is None


def _granted(lease: int, entry: Listed) -> int:
    """Return for how long it is, in seconds, be it less than was asked for or more."""
    told = entry.lease if isinstance(entry, Entry) else None
    if not told or lease - _READ_BACK <= told <= lease:
        return lease
    return min(max(told, _SHORTEST), LEASES[-1])


def is_as_old(entry: Entry, record: Record, now: float) -> bool:
    """Return whether as much of a lease is left as of one that was asked for then.

    What was there before has less, or is for good.
    """
    left = entry.lease or 0
    return record.until - now - _READ_BACK <= left <= record.lease and left > 0
