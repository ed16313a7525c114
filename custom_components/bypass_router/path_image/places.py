"""Where on the path something fails, and what proves that a part of it works."""

from collections.abc import Collection, Mapping
from enum import Enum, auto
from typing import Final

from ..router.doctor.report import Cause, Diagnosis, Status, Step


class Place(Enum):
    """The parts of the path that can be told apart, in its order.

    No one here sees where before the bypass router a packet got lost, unless the main
    router says so; what did arrive has come all the way.
    """

    OUTSIDE = auto()
    """The internet, and the way from there to the main router."""
    MAIN = auto()
    """The main router, where it can be asked what it does."""
    ARRIVING = auto()
    """The way from the main router to the bypass router."""
    BYPASS = auto()
    LEAVING = auto()
    """The way from the bypass router to the device, and back."""
    TARGET = auto()


_CAME: Final = (Place.OUTSIDE, Place.MAIN, Place.ARRIVING)
_WHOLE: Final = tuple(Place)

FAILING: Final[Mapping[Cause, Place]] = {
    # What the router does not do, or does to packets that have come to it; and where it
    # leads the answers.
    Cause.UNREACHABLE: Place.BYPASS,
    Cause.NOT_PRIVILEGED: Place.BYPASS,
    Cause.FIREWALL_UNUSABLE: Place.BYPASS,
    Cause.IP_FORWARD_OFF: Place.BYPASS,
    Cause.CONNTRACK_FULL: Place.BYPASS,
    Cause.RULE_MISSING: Place.BYPASS,
    Cause.RULE_SHADOWED: Place.BYPASS,
    Cause.OTHER_BACKEND_FIRST: Place.BYPASS,
    Cause.HIJACKED_BY_TPROXY: Place.BYPASS,
    Cause.DROPPED_IN_FORWARD: Place.BYPASS,
    Cause.RP_FILTER: Place.BYPASS,
    Cause.ALLOW_LIST: Place.BYPASS,
    Cause.DENIED: Place.BYPASS,
    Cause.OWNED: Place.BYPASS,
    Cause.QUEUED: Place.BYPASS,
    Cause.UNTRACKED: Place.BYPASS,
    Cause.DROPPED_EARLY: Place.BYPASS,
    Cause.BRIDGED: Place.BYPASS,
    Cause.EARLIER_FLOW: Place.BYPASS,
    Cause.SOURCE_EXCLUDED: Place.BYPASS,
    Cause.NO_ROUTE: Place.BYPASS,
    Cause.NO_GATEWAY: Place.BYPASS,
    Cause.HIJACKED_BY_TUNNEL: Place.BYPASS,
    # What the main router does not do, as it says itself, or its switch.
    Cause.MAIN_SILENT: Place.MAIN,
    Cause.MAIN_NOT_ALLOWED: Place.MAIN,
    Cause.MAIN_PORT_TAKEN: Place.MAIN,
    Cause.MAIN_DISABLED: Place.MAIN,
    Cause.MAIN_PORT_HELD: Place.MAIN,
    Cause.MAIN_PORT_REFUSED: Place.MAIN,
    Cause.MAIN_FULL: Place.MAIN,
    Cause.MAIN_FAILED: Place.MAIN,
    Cause.MAIN_NOT_SET: Place.MAIN,
    Cause.NO_PUBLIC_ADDRESS: Place.MAIN,
    Cause.MAIN_SWITCH_OFF: Place.MAIN,
    Cause.MAIN_SWITCH_GONE: Place.MAIN,
    Cause.MAIN_SWITCH_FAILED: Place.MAIN,
    # Packets leave for the device, and nothing tells at which end answers get lost.
    Cause.DIED_ON_THE_WAY: Place.LEAVING,
    # What is to be mended on the device.
    Cause.TARGET_DOWN: Place.TARGET,
    Cause.TARGET_MOVED: Place.TARGET,
    Cause.PORT_CLOSED: Place.TARGET,
    Cause.TARGET_REFUSES: Place.TARGET,
    Cause.NO_ANSWER: Place.TARGET,
    Cause.GATEWAY_BYPASSES: Place.TARGET,
}
"""Where each cause is red: where it fails, and there alone."""

# A client who is kept out has come that far, and one who says no was reached.
_PROVED_BY_CAUSE: Final[Mapping[Cause, Collection[Place]]] = {
    Cause.SOURCE_EXCLUDED: _CAME,
    Cause.EARLIER_FLOW: _CAME,
    Cause.DIED_ON_THE_WAY: _CAME,
    Cause.PORT_CLOSED: (Place.LEAVING,),
}
_PROVED_BY_STEP: Final[Mapping[Step, Collection[Place]]] = {
    Step.RULES: (Place.BYPASS,),
    Step.TARGET: (Place.TARGET,),
    Step.PORT: (Place.LEAVING, Place.TARGET),
    Step.THROUGH: (Place.LEAVING,),
    Step.ARRIVAL: _CAME,
    Step.VISIT: _WHOLE,
}


def failing(diagnosis: Diagnosis) -> frozenset[Place]:
    """Return where it fails."""
    return frozenset(FAILING[cause] for cause in diagnosis.causes)


def proved(diagnosis: Diagnosis) -> frozenset[Place]:
    """Return what a diagnosis has seen work."""
    steps = [check.name for check in diagnosis.checks if check.status is Status.OK]
    return frozenset(
        place
        for places in (
            *(_PROVED_BY_STEP.get(step, ()) for step in steps),
            *(_PROVED_BY_CAUSE.get(cause, ()) for cause in diagnosis.causes),
        )
        for place in places
    )
