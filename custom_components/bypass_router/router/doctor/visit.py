"""Watching while someone tries from outside, and what became of that.

Rules that only count stand on the router meanwhile; see `packet_count`.
"""

from collections.abc import Callable, Mapping
from ipaddress import IPv4Address

from ..errors import RouterError
from ..forward import Forward, PortRange
from ..router import Router
from .doctor import diagnose, unreachable
from .packet_count import PacketCounts, watch_packets
from .report import (
    Cause,
    Check,
    Diagnosis,
    Reason,
    Step,
    by_transport,
    failed,
    ok,
    skipped,
    unknown,
)
from .visitors import is_for_home

type OnProgress = Callable[[int, int], None]
"""Called each second with the seconds that are left, and the packets seen so far; first
as soon as they are counted."""


async def await_client(
    router: Router,
    forward: Forward,
    seconds: int,
    on_progress: OnProgress,
    *,
    public: PortRange | None = None,
    remembered: str | None = None,
) -> Diagnosis:
    """Watch while someone tries from outside, and say what became of it.

    `public` are the main router's ports that lead to the forward, where they may be
    others than its own, for the sentences alone.
    Ends early when a visitor was answered, or was not for a few seconds. In that case
    the path is diagnosed as well, while the router still knows of the visitor.
    """
    try:
        found = await watch_packets(router, forward, seconds, on_progress)
    except RouterError as err:
        return unreachable(err)
    if not found.unanswered:
        words = {
            "seconds": str(seconds),
            "ports": str(forward.external),
            "public": str(public or forward.external),
            "router": str(router.context.address.ip),
        }
        return Diagnosis(tuple(_checks(found, forward, router, words)))
    path = await diagnose(router, forward, remembered=remembered, missed=_missed(found))
    return path.followed_by(Diagnosis(tuple(_of_unanswered(found, forward, path))))


def _missed(found: PacketCounts) -> IPv4Address | None:
    """Return a client over TCP who was passed on to the target, without an answer."""
    source = found.clients.get("passed")
    return IPv4Address(source) if source and found.of("passed", "tcp") else None


def _checks(
    found: PacketCounts, forward: Forward, router: Router, words: Mapping[str, str]
) -> list[Check]:
    """Return what is seen where nobody came, or somebody was answered.

    `words` are for the sentences about nobody.
    """
    if found.answered:
        seen = _seen(found, "answered")
        transports = forward.protocol.transports
        return [
            ok(Step.ARRIVAL, **seen),
            by_transport(Step.VISIT, found.answered, transports, **seen),
        ]
    if found.replied:
        return [
            ok(Step.ARRIVAL, **_seen(found, "seen")),
            unknown(Step.VISIT, Reason.UNHEARD, **_seen(found, "answered")),
        ]
    if is_for_home(forward, router.context.address.network):
        return [skipped(it, Reason.NOT_CONCERNED) for it in (Step.ARRIVAL, Step.VISIT)]
    visit = skipped(Step.VISIT, Reason.NO_VISITOR)
    if not found.counting:
        return [unknown(Step.ARRIVAL, Reason.NO_COUNTER), visit]
    if found.of("near"):
        near = {**words, **_seen(found, "near")}
        return [unknown(Step.ARRIVAL, Reason.FROM_HOME, **near), visit]
    return [unknown(Step.ARRIVAL, Reason.NOBODY, **words), visit]


def _of_unanswered(
    found: PacketCounts, forward: Forward, path: Diagnosis
) -> list[Check]:
    """Return the checks of a visitor who got no answer, beside those of the path."""
    seen = _seen(found, "seen")
    checks = [ok(Step.ARRIVAL, **seen)]
    if not found.of("admitted") and found.of("opened"):
        excluded = failed(Step.PASSAGE, Cause.SOURCE_EXCLUDED, **seen)
        visit = unknown(Step.VISIT, Reason.EARLIER)
        # What is wrong there for all has to be mended first.
        passage = [it for it in path.checks if it.name is Step.PASSAGE and it.cause]
        return [*checks, *(passage or [excluded]), visit]
    if path.causes:
        return [*checks, unknown(Step.VISIT, Reason.EARLIER)]
    over_tcp = found.of("opened", "tcp") or found.of("going", "tcp")
    if over_tcp or found.of("refusals"):
        return [*checks, failed(Step.VISIT, Cause.DIED_ON_THE_WAY, **seen)]
    return [*checks, unknown(Step.VISIT, Reason.SILENCE)]


def _seen(found: PacketCounts, kind: str) -> dict[str, str]:
    """Return what is known of visitors; some routers can't tell their addresses."""
    seen = {"packets": str(found.packets)}
    return {"source": found.clients[kind], **seen} if kind in found.clients else seen
