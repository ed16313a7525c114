"""What the picture of a forward shows, by the live state and the last diagnosis."""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Final

from ..router.doctor.report import Diagnosis, Status, Step
from ..router.forward import Forward
from .labels import Labels
from .svg import Node, PathModel, Role, Segment, State


@dataclass(frozen=True, slots=True)
class Situation:
    """What is known of a forward."""

    title: str
    forward: Forward
    router: str
    """The bypass router's address, or empty before it is known."""
    connected: bool
    on: bool
    labels: Labels
    diagnosis: Diagnosis | None = None
    """The last one, if it is of this forward as it is."""
    remark: str = ""
    """What that says of the first fault."""
    language: str = "en"


@dataclass(frozen=True, slots=True)
class _Section:
    """A part of the path: the checks that concern it, and which of them prove it."""

    steps: Collection[Step]
    proofs: Collection[Step]

    def state(self, diagnosis: Diagnosis | None) -> State:
        """Return how this part stands."""
        checks = (
            {check.name: check.status for check in diagnosis.checks}
            if (diagnosis)
            else {}
        )
        if any(checks.get(step) is Status.FAILED for step in self.steps):
            return State.FAILED
        if any(checks.get(step) is Status.OK for step in self.proofs):
            return State.OK
        return State.UNKNOWN


# No one here sees where before the bypass router a packet got lost; what did arrive
# has come all the way.
_OUTSIDE: Final = _Section((), (Step.ARRIVAL, Step.VISIT))
_ARRIVING: Final = _Section((Step.ARRIVAL,), (Step.ARRIVAL, Step.VISIT))
_BYPASS: Final = _Section(
    (
        Step.CONNECTION,
        Step.PRIVILEGES,
        Step.FORWARDING,
        Step.CONNECTIONS,
        Step.RULES,
        Step.PROXY,
        Step.PASSAGE,
        Step.REVERSE_PATH,
    ),
    (Step.RULES,),
)
_LEAVING: Final = _Section(
    (Step.PASSAGE, Step.TARGET, Step.PORT, Step.ANSWERS, Step.THROUGH, Step.VISIT),
    (Step.PORT, Step.THROUGH, Step.VISIT),
)
_TARGET: Final = _Section(
    (Step.TARGET, Step.PORT), (Step.TARGET, Step.PORT, Step.VISIT)
)
# What is passed through from end to end, or at least from the home.
_WHOLE: Final = _Section((), (Step.THROUGH, Step.VISIT))


def model_of(situation: Situation) -> PathModel:
    """Return what is to be drawn."""
    labels = situation.labels
    forward = situation.forward
    state, word = _whole(situation, labels)
    diagnosis = situation.diagnosis if situation.connected and situation.on else None
    outside = _OUTSIDE.state(diagnosis)
    reached = f"{situation.router}:{forward.external}" if situation.router else ""
    bypass = _BYPASS.state(diagnosis)
    if not situation.connected:
        bypass = State.FAILED
    elif situation.on and bypass is State.UNKNOWN:
        # Its rules were read back from the kernel.
        bypass = State.OK
    return PathModel(
        title=situation.title,
        state=state,
        word=word,
        nodes=(
            Node(Role.CLIENT, labels.client, _sources(forward, labels), outside),
            Node(
                Role.MAIN,
                labels.main_router,
                f"→ {reached}" if reached else "",
                outside,
            ),
            Node(
                Role.BYPASS,
                labels.bypass_router,
                reached or str(forward.external),
                bypass,
            ),
            Node(
                Role.TARGET,
                labels.target,
                f"{forward.target}:{forward.target_ports}",
                _TARGET.state(diagnosis),
            ),
        ),
        segments=tuple(
            _segment(f"{_protocol(forward)} {ports}", state, labels)
            for ports, state in (
                (forward.external, outside),
                (forward.external, _ARRIVING.state(diagnosis)),
                (forward.target_ports, _LEAVING.state(diagnosis)),
            )
        ),
        remark=situation.remark if diagnosis and diagnosis.causes else "",
        language=situation.language,
    )


def _whole(situation: Situation, labels: Labels) -> tuple[State, str]:
    """Return how the forward stands as a whole, and the word for it."""
    if not situation.connected:
        return State.FAILED, labels.away
    if not situation.on:
        return State.UNKNOWN, labels.off
    if situation.diagnosis and situation.diagnosis.causes:
        return State.FAILED, labels.broken
    if _WHOLE.state(situation.diagnosis) is State.OK:
        return State.OK, labels.works
    return State.OK, labels.on


def _segment(label: str, state: State, labels: Labels) -> Segment:
    """Return a segment with the word for its state."""
    word = {
        State.OK: labels.ok,
        State.FAILED: labels.failed,
        State.UNKNOWN: labels.unknown,
    }[state]
    return Segment(label, state, word)


def _protocol(forward: Forward) -> str:
    """Return the transports as people call them."""
    return " + ".join(name.upper() for name in forward.protocol.transports)


def _sources(forward: Forward, labels: Labels) -> str:
    """Return who may come in."""
    return (
        ", ".join(
            str(network.network_address) if network.prefixlen == 32 else str(network)  # noqa: PLR2004 - a single host
            for network in forward.sources
        )
        or labels.anyone
    )
