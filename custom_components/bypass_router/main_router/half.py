"""What is known of the main router's half of a forward."""

from dataclasses import dataclass
from enum import StrEnum

from ..router.doctor.report import Check


class MainState(StrEnum):
    """Whether the main router forwards the ports to the bypass router."""

    ON = "on"
    """As it says itself, of every port."""
    OFF = "off"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True)
class MainHalf:
    """How the main router's half stands."""

    state: MainState
    check: Check
    """What the doctor, the status and a repair say of it: of `Step.MAIN_ROUTER`."""
    since: float = 0.0
    """When the check's cause was found first, in Unix time."""
