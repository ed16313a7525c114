"""What the picture of a forward shows, by all that is known of it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Final

from ..diagnosis.status import ForwardStatus
from ..router.doctor.report import Diagnosis
from ..router.forward import Forward, PortRange
from .labels import Labels
from .look import Role, State
from .places import Place, failing, proved
from .svg import Node, PathModel, Segment


@dataclass(frozen=True, slots=True)
class Situation:
    """What is known of a forward."""

    title: str
    forward: Forward
    public: PortRange
    """The main router's ports that lead to it."""
    router: str
    """The bypass router's address, or empty before it is known."""
    connected: bool
    status: ForwardStatus
    labels: Labels
    diagnosis: Diagnosis | None = None
    """The last one, if it is of this forward as it is."""
    now: float = 0
    """Unix time."""
    answered_at: float | None = None
    """When the last connection from the internet was answered, in Unix time."""
    seen: str = ""
    """What is wrong, in a sentence."""
    do: str = ""
    """What to do about that."""
    language: str = "en"


_STATES: Final[Mapping[ForwardStatus, State]] = {
    ForwardStatus.OFF: State.UNKNOWN,
    ForwardStatus.CHECKING: State.PENDING,
    ForwardStatus.TRY_NOW: State.PENDING,
    ForwardStatus.UNTESTED: State.PENDING,
    ForwardStatus.WORKS_AT_HOME: State.PENDING,
    ForwardStatus.WORKS: State.OK,
    ForwardStatus.FAILS: State.FAILED,
    ForwardStatus.REFUSED: State.FAILED,
}
# In which someone has to come from outside, for more to be known.
_UNTRIED: Final = (
    ForwardStatus.TRY_NOW,
    ForwardStatus.UNTESTED,
    ForwardStatus.WORKS_AT_HOME,
)
# Of the way to the bypass router, the parts are proved together.
_BEFORE: Final = (Place.OUTSIDE, Place.MAIN, Place.ARRIVING)
_DOWN: Final = (ForwardStatus.OFF, ForwardStatus.REFUSED)


def model_of(situation: Situation) -> PathModel:
    """Return what is to be drawn."""
    labels, forward = situation.labels, situation.forward
    states = _states(situation)
    reached = f"{situation.router}:{forward.external}" if situation.router else ""
    return PathModel(
        title=situation.title,
        state=_STATES[situation.status] if situation.connected else State.FAILED,
        word=_word(situation),
        nodes=(
            Node(
                Role.CLIENT,
                labels.client,
                _sources(forward, labels),
                states[Place.OUTSIDE],
            ),
            Node(
                Role.MAIN,
                labels.main_router,
                f"→ {reached}" if reached else "",
                states[Place.MAIN],
            ),
            Node(
                Role.BYPASS,
                labels.bypass_router,
                reached or str(forward.external),
                states[Place.BYPASS],
            ),
            Node(
                Role.TARGET,
                labels.target,
                f"{forward.target}:{forward.target_ports}",
                states[Place.TARGET],
            ),
        ),
        segments=tuple(
            Segment(
                f"{_protocol(forward)} {ports}",
                states[place],
                _of_hop(situation, place, states[place]),
            )
            for place, ports in (
                (Place.OUTSIDE, situation.public),
                (Place.ARRIVING, forward.external),
                (Place.LEAVING, forward.target_ports),
            )
        ),
        advice=_advice(situation),
        language=situation.language,
    )


def _states(situation: Situation) -> Mapping[Place, State]:
    """Return how each part of the path stands."""
    red, green = _red(situation), _green(situation)
    return {
        place: State.FAILED
        if place in red
        else State.OK
        if place in green
        else State.UNKNOWN
        for place in Place
    }


def _red(situation: Situation) -> frozenset[Place]:
    """Return where it fails."""
    if not situation.connected or situation.status is ForwardStatus.REFUSED:
        return frozenset({Place.BYPASS})
    if situation.status is ForwardStatus.FAILS:
        found = failing(situation.diagnosis) if situation.diagnosis else None
        # What is known without a diagnosis is what the router's own rules say.
        return found or frozenset({Place.BYPASS})
    # What a diagnosis blamed before may have been mended since.
    return frozenset()


def _green(situation: Situation) -> frozenset[Place]:
    """Return what was seen to work."""
    if not _counts(situation):
        return frozenset()
    # Its rules were read back from the kernel.
    green = {Place.BYPASS}
    if situation.diagnosis:
        green |= proved(situation.diagnosis)
    fails = situation.status is ForwardStatus.FAILS
    if situation.answered_at is not None:
        # Behind the main router, something has changed since.
        green |= set(_BEFORE) if fails else set(Place)
    if not _red(situation).isdisjoint(_BEFORE):
        green -= set(_BEFORE)
    return frozenset(green)


def _counts(situation: Situation) -> bool:
    """Return whether the forward is on and its router there; else nothing counts."""
    return situation.connected and situation.status not in _DOWN


def _word(situation: Situation) -> str:
    """Return how the forward stands as a whole: what is wrong, or else a word."""
    if not situation.connected:
        return situation.seen or situation.labels.away
    word: str = getattr(situation.labels, situation.status)
    return situation.seen or word if _fails(situation) else word


def _advice(situation: Situation) -> str:
    """Return what to do."""
    if not situation.connected or _fails(situation):
        return situation.do
    if situation.status in _UNTRIED:
        return situation.labels.use_it.format(ports=situation.public)
    return ""


def _fails(situation: Situation) -> bool:
    """Return whether something is wrong with the forward itself."""
    return _STATES[situation.status] is State.FAILED


def _of_hop(situation: Situation, place: Place, state: State) -> str:
    """Return the word for the way from one to the next; what was seen, with its age."""
    labels, fails = situation.labels, _fails(situation)
    if state is State.FAILED:
        return labels.failed
    checked = situation.diagnosis is not None and place in proved(situation.diagnosis)
    # A visit tells most of the way to the router, and a test of the way behind it.
    newer = checked and (fails or place is Place.LEAVING)
    known = state is State.OK or (fails and place is Place.OUTSIDE)
    if _counts(situation) and situation.answered_at is not None and known and not newer:
        return labels.answered(situation.now - situation.answered_at)
    return labels.ok if state is State.OK else labels.unknown


def _protocol(forward: Forward) -> str:
    """Return the transports as people call them."""
    return " + ".join(name.upper() for name in forward.protocol.transports)


def _sources(forward: Forward, labels: Labels) -> str:
    """Return who may come in."""
    return (
        ", ".join(
            str(network.network_address) if network.num_addresses == 1 else str(network)
            for network in forward.sources
        )
        or labels.anyone
    )
