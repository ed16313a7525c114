"""What the main router's answers mean for a forward: a check of the doctor's."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address
from typing import Final

from ..router.doctor.report import (
    Cause,
    Check,
    Reason,
    Step,
    failed,
    ok,
    skipped,
    unknown,
)
from ..router.port_mapping.base import (
    Answer,
    Entry,
    Listed,
    Outcome,
    PortMapping,
    PublicPort,
    Refusal,
)
from .half import MainHalf, MainState
from .plan import Desired, leads_to

_CAUSES: Final[Mapping[Answer, Cause]] = {
    Answer.NOT_ALLOWED: Cause.MAIN_NOT_ALLOWED,
    Answer.TAKEN: Cause.MAIN_PORT_HELD,
    Answer.PORT_REFUSED: Cause.MAIN_PORT_REFUSED,
    Answer.NO_PUBLIC_ADDRESS: Cause.NO_PUBLIC_ADDRESS,
    Answer.FULL: Cause.MAIN_FULL,
    Answer.ONLY_FOR_GOOD: Cause.MAIN_FAILED,
    Answer.INVALID: Cause.MAIN_FAILED,
    Answer.FAILED: Cause.MAIN_FAILED,
    Answer.UNSUPPORTED: Cause.MAIN_SILENT,
    Answer.SILENT: Cause.MAIN_SILENT,
    Answer.NONSENSE: Cause.MAIN_FAILED,
}


@dataclass(frozen=True, slots=True)
class Port:
    """One port of a forward at the main router."""

    mapping: PortMapping
    """What is to be there."""
    outcome: Outcome
    """What it was asked last, and what it lists."""
    leads: bool = False
    """Whether what it lists leads to the forward."""


OFF: Final = MainHalf(MainState.OFF, skipped(Step.MAIN_ROUTER, Reason.NOT_CONCERNED))
"""Of a forward that is off, and of which the main router has nothing from us."""

# What is said of a port that no one may open; by some versions of one program, as if
# someone had it.
_OF_LOW_PORTS: Final = (Answer.NOT_ALLOWED, Answer.TAKEN)
_UNPRIVILEGED: Final = 1024

# Where nothing else is said of a port, it may be open.
_UNHEARD: Final = (Answer.SILENT, Answer.NONSENSE)

type PublicAddress = IPv4Address | Refusal | None
"""The main router's address at the internet's side; None where it has none."""


def halves_of(
    desired: Desired,
    outcomes: Mapping[PublicPort, Outcome],
    client: IPv4Address,
    public: PublicAddress,
    gateway: IPv4Address | None,
) -> Mapping[str, MainHalf]:
    """Return how each forward's half stands, whose ports are to lead to a client."""
    ports: dict[str, list[Port]] = {}
    for port, (key, mapping) in desired.items():
        outcome = outcomes[port]
        entry = outcome.listed
        leads = isinstance(entry, Entry) and leads_to(entry, client, mapping)
        ports.setdefault(key, []).append(Port(mapping, outcome, leads))
    return {key: half_of(it, public, gateway) for key, it in ports.items()}


def half_of(
    ports: Iterable[Port], public: PublicAddress, gateway: IPv4Address | None
) -> MainHalf:
    """Return how the main router's half stands, by what it says of each port."""
    words = {"main_router": str(gateway or "")}
    ports = list(ports)
    for port in ports:
        if check := _fault(port, public, words):
            return MainHalf(_state(port.outcome.listed), check)
    if not all(port.leads for port in ports):
        return MainHalf(
            MainState.UNKNOWN, unknown(Step.MAIN_ROUTER, Reason.MAIN_UNTOLD, **words)
        )
    if check := _unreached(public, words):
        return MainHalf(MainState.ON, check)
    return MainHalf(MainState.ON, ok(Step.MAIN_ROUTER, **words))


def _state(listed: Listed) -> MainState:
    """Return whether a port is closed that does not lead to the forward."""
    unheard = isinstance(listed, Refusal) and listed.kind in _UNHEARD
    return MainState.UNKNOWN if unheard else MainState.OFF


def _fault(port: Port, public: PublicAddress, words: Mapping[str, str]) -> Check | None:
    """Return why the main router does not forward a port; None if it does, or may."""
    if port.leads:
        return None
    words = {"port": str(port.mapping.public.port), **words}
    listed = port.outcome.listed
    if isinstance(listed, Entry):
        # It lists nothing of ours that leads elsewhere for longer than a moment.
        cause = Cause.MAIN_PORT_TAKEN if listed.enabled else Cause.MAIN_DISABLED
        return failed(Step.MAIN_ROUTER, cause, holder=_holder(listed), **words)
    if refusal := _why(port.outcome):
        return _refused(refusal, port.mapping, public, words)
    if listed is None:
        return failed(Step.MAIN_ROUTER, Cause.MAIN_NOT_SET, **words)
    return None


def _why(outcome: Outcome) -> Refusal | None:
    """Return why it was not done; where it was not asked, why it was not told."""
    if outcome.refusal:
        return outcome.refusal
    listed = outcome.listed
    if isinstance(listed, Refusal) and listed.kind is Answer.SILENT:
        return listed
    return None


def _refused(
    refusal: Refusal,
    mapping: PortMapping,
    public: PublicAddress,
    words: Mapping[str, str],
) -> Check:
    """Return what the main router has said against it."""
    cause = _CAUSES[refusal.kind]
    lowest = min(mapping.public.port, mapping.port)
    if refusal.kind in _OF_LOW_PORTS and lowest < _UNPRIVILEGED:
        # Few have a code of their own for that.
        cause = Cause.MAIN_PORT_REFUSED
    if refusal.kind is Answer.FAILED and _is_none(public):
        # Behind a provider's NAT, some say no more than that it failed.
        cause = Cause.NO_PUBLIC_ADDRESS
    told = {"answer": _answer(refusal)}
    if cause is Cause.NO_PUBLIC_ADDRESS:
        told = {"address": str(public) if isinstance(public, IPv4Address) else "–"}
    return failed(Step.MAIN_ROUTER, cause, **told, **words)


def _answer(refusal: Refusal) -> str:
    """Return the code and the words that the main router gave."""
    code = "" if refusal.code is None else str(refusal.code)
    return f"{code} {refusal.said}".strip() or refusal.kind.value


def _holder(entry: Entry) -> str:
    """Return who has a port: his address and port, and what he calls it."""
    name = entry.description.strip()
    place = f"{entry.client or '?'}:{entry.port or '?'}"
    return f"{place} ({name})" if name else place


def _is_none(public: PublicAddress) -> bool:
    """Return whether no one on the internet can reach this address."""
    if isinstance(public, IPv4Address):
        return not public.is_global
    return public is None


def _unreached(public: PublicAddress, words: Mapping[str, str]) -> Check | None:
    """Return that what is listed is of no use, at an address of no one's.

    Some main routers have mappings, and tell of no address at all.
    """
    if not isinstance(public, IPv4Address) or public.is_global:
        return None
    address = str(public)
    return failed(Step.MAIN_ROUTER, Cause.NO_PUBLIC_ADDRESS, address=address, **words)


def nobody(gateway: IPv4Address | None) -> MainHalf:
    """Return the half where no one can be asked."""
    words = {"main_router": str(gateway or "?")}
    return MainHalf(
        MainState.UNKNOWN, failed(Step.MAIN_ROUTER, Cause.MAIN_SILENT, **words)
    )


def not_known(reason: Reason, **words: str) -> MainHalf:
    """Return the half of which nothing is known, and why."""
    return MainHalf(MainState.UNKNOWN, unknown(Step.MAIN_ROUTER, reason, **words))
