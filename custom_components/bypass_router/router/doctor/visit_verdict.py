"""The judgement of the way from outside, by who is known to have been answered.

That someone is answered says nothing against a fault that was found: what he has may
have begun before. So it counts only where nothing else is wrong.
"""

from collections.abc import Iterable, Iterator

from .evidence import Analysis
from .report import Check, Reason, Step, by_transport, ok, skipped, unknown
from .visitors import is_for_home


def evaluate_visit(case: Analysis, path: Iterable[Check]) -> Iterator[Check]:
    """Yield what is known of clients from outside, beside the checks of the path."""
    transports = case.forward.protocol.transports
    visitors, visited = case.facts.clients.visitors, case.facts.visited
    proved = [it for it in transports if it in visitors or it in visited]
    if any(check.cause for check in path):
        yield skipped(Step.VISIT, Reason.EARLIER)
    elif is_for_home(case.forward, case.probe.address.network):
        yield skipped(Step.VISIT, Reason.NOT_CONCERNED)
    elif not proved:
        yield unknown(Step.VISIT, Reason.NO_VISITOR)
    else:
        past = [visited[it] for it in proved if it not in visitors]
        seen = {"ago": str(max(past))} if past else {}
        if not past:
            seen["source"] = str(visitors[proved[0]])
        yield ok(Step.ARRIVAL, **seen)
        yield by_transport(Step.VISIT, proved, transports, **seen)
